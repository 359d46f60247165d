from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift

from vdmfewshot.backbones.objective import (
    FlowMatching,
    LogitNormalFlow,
    VPrediction,
    append_dims,
    draw_noise,
    loss_per_sample,
    paint_weight,
)
from vdmfewshot.clips.rng import derive_seed, named_generator, run_seed

SCHEDULER = CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0)
OBJECTIVE = VPrediction(SCHEDULER.alphas_cumprod)


def test_corruption_and_target_equal_those_of_the_scheduler() -> None:
    x0, eps = torch.randn(2, 5, 3, 4, 6, 6)
    t = torch.tensor([0, 1, 400, 998, 999])
    torch.testing.assert_close(OBJECTIVE.corrupt(x0, eps, t), SCHEDULER.add_noise(x0, eps, t), check_dtype=False)
    torch.testing.assert_close(OBJECTIVE.target(x0, eps, t), SCHEDULER.get_velocity(x0, eps, t), check_dtype=False)


def test_x0_follows_from_velocity() -> None:
    x0, eps, t = torch.randn(4, 8), torch.randn(4, 8), torch.tensor([0, 200, 700, 999])
    x_t, v = OBJECTIVE.corrupt(x0, eps, t), OBJECTIVE.target(x0, eps, t)
    alpha_bar = append_dims(SCHEDULER.alphas_cumprod[t].float(), x0)
    torch.testing.assert_close(alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v, x0, rtol=1e-4, atol=1e-4)


def test_timesteps_cover_the_schedule() -> None:
    t = OBJECTIVE.timestep(torch.tensor([0.0, 0.5, 0.9999999]))
    assert t.tolist() == [0, 500, 999]


def test_a_shift_spends_more_of_the_training_where_noise_is_high() -> None:
    """With s = 4, half of the samples lie above 800 of 1000: s u / (1 + (s - 1) u) = 0.8 at u = 1/2."""
    u = torch.linspace(0, 1, 10_001)[:-1]
    t = VPrediction(SCHEDULER.alphas_cumprod, shift=4.0).timestep(u)
    assert t.min() == 0
    assert t.max() == 999
    assert (t >= 800).float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shift", [1.0, 2.0, 4.0, 1000.0])
def test_rounding_never_leaves_the_schedule(shift: float) -> None:
    u = torch.tensor([0.0, 1 - 2**-24])
    assert VPrediction(SCHEDULER.alphas_cumprod, shift).timestep(u).tolist() == [0, 999]
    assert VPrediction(SCHEDULER.alphas_cumprod[:7], shift).timestep(u).tolist() == [0, 6]
    below = FlowMatching(shift).timestep(u)
    assert below[0] == 0
    assert 999 < below[1] < 1000


@pytest.mark.parametrize("objective", [OBJECTIVE, FlowMatching(), LogitNormalFlow()])
def test_an_objective_does_not_change_in_the_middle_of_a_run(objective: FlowMatching) -> None:
    with pytest.raises(FrozenInstanceError):
        objective.shift = 2.0  # type: ignore[misc]


def test_flows_are_not_shifted_unless_told_so() -> None:
    u = torch.linspace(0, 1, 101)[:-1]
    torch.testing.assert_close(FlowMatching().timestep(u), 1000 * u)


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0, 5.0])
def test_flow_matching_equals_the_stock_scheduler(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    objective = FlowMatching(shift)
    u = torch.linspace(1, 1000, 1000).flip(0) / 1000
    torch.testing.assert_close(objective.timestep(u), scheduler.timesteps, rtol=1e-5, atol=1e-3)
    x0, eps = torch.randn(2, 3, 2, 4, 4)
    t = scheduler.timesteps[[0, 500, 999]]
    torch.testing.assert_close(objective.corrupt(x0, eps, t), scheduler.scale_noise(x0, t, eps))
    # One Euler step along the target ends where the corruption at the next timestep is.
    stepped = scheduler.step(objective.target(x0[:1], eps[:1], t[:1]), t[0], objective.corrupt(x0[:1], eps[:1], t[:1]))
    torch.testing.assert_close(
        stepped.prev_sample, objective.corrupt(x0[:1], eps[:1], scheduler.timesteps[1:2]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.3, 0.9), (0.9, 1.0), (0.0, 0.4)])
def test_an_expert_draws_from_its_part_of_the_schedule_as_the_whole_does(low: float, high: float) -> None:
    """The noise levels of a part are those of the whole that fall into it, its lower end included, its upper not."""
    part, whole = FlowMatching(5.0, sigma_min=low, sigma_max=high), FlowMatching(5.0)
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    every = whole.timestep(u)
    inside = every[(every >= 1000 * low) & (every < 1000 * high)]
    share = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    torch.testing.assert_close(part.timestep(share), torch.quantile(inside, share), rtol=0, atol=0.5)
    ends = part.timestep(torch.tensor([0.0, 1 - 2**-24]))
    assert ends[0].item() == pytest.approx(1000 * low, abs=1e-3)
    assert ends[0] >= ends.new_tensor(low * 1000)
    assert 1000 * high - 0.01 < ends[1] < ends.new_tensor(high * 1000)


@pytest.mark.parametrize("shape", [(2, 128, 16, 16), (3, 128, 15, 22), (21, 128, 16, 22)])
def test_logit_normal_noise_is_shifted_as_the_stock_scheduler_shifts(shape: tuple[int, int, int, int]) -> None:
    """LTX-Video's scheduler at the pipeline's μ, applied to the unshifted logit-normal."""
    settings = dict(base_image_seq_len=1024, max_image_seq_len=4096, base_shift=0.95, max_shift=2.05)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **settings)
    mu = calculate_shift(shape[0] * shape[2] * shape[3], 1024, 4096, 0.95, 2.05)
    u = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    plain = torch.sigmoid(torch.distributions.Normal(0.0, 1.0).icdf(u))
    shifted = 1000 * scheduler.time_shift(mu, 1.0, plain)
    torch.testing.assert_close(LogitNormalFlow().timestep(u, shape), shifted, rtol=1e-5, atol=1e-4)
    edges = LogitNormalFlow().timestep(torch.tensor([0.0, 1 - 2**-24]), shape)
    assert edges[0] == 0
    assert edges[1] < 1000


def test_losses_are_per_sample_and_in_fp32() -> None:
    prediction, target = (
        torch.zeros(2, 3, 4, dtype=torch.bfloat16),
        torch.stack([torch.ones(3, 4), 2 * torch.ones(3, 4)]),
    )
    losses = loss_per_sample(prediction, target)
    assert losses.tolist() == [1.0, 4.0]
    assert losses.dtype == torch.float32


def test_paint_counts_more_and_a_sample_as_much_as_before() -> None:
    x0 = torch.randn(3, 3, 4, 5, 5)  # other frames have no say
    x0[:, 2] = 0.0
    x0[0, 2, :, 2, 3] = 4.0  # one patch of paint on the last frame of the first sample
    x0[2, 2] = 7.0
    x0[2, 2, :, 0] = 1.0  # a fifth, on another background
    weight = paint_weight(x0, 9.0)
    assert weight.shape == (3, 1, 1, 5, 5)
    torch.testing.assert_close(weight.mean((1, 2, 3, 4)), torch.ones(3))
    torch.testing.assert_close(weight[0, 0, 0, 2, 3] / weight[0, 0, 0, 0, 0], torch.tensor(10.0))
    assert (weight[1] == 1).all(), "nothing is painted"
    assert ((weight[2] > 1) == (x0[2, 2, :1] == 1.0)).all()
    assert (paint_weight(x0, 0.0) == 1).all()
    torch.testing.assert_close(loss_per_sample(x0, x0 + 1, weight), torch.ones(3))


def test_noise_belongs_to_the_ordinal_not_to_the_batch() -> None:
    u, eps = draw_noise(0, [3, 4, 5], (2, 2))
    u_4, eps_4 = draw_noise(0, [4], (2, 2))
    assert u[1] == u_4[0]
    assert torch.equal(eps[1], eps_4[0])
    assert not torch.equal(draw_noise(1, [4], (2, 2))[1], eps_4)


def test_seeds_depend_on_every_part() -> None:
    seeds = {derive_seed(*parts) for parts in [(0, "a"), (0, "b"), (1, "a"), ("0", "a"), (0, "a", 0), ("0a",)]}
    assert len(seeds) == 6
    assert all(0 <= s < 2**63 for s in seeds)
    assert torch.rand(1, generator=named_generator(1)) == torch.rand(1, generator=named_generator(1))


def test_the_run_seed_is_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert (run_seed(None), run_seed(3)) == (7, 3)
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert run_seed(None) == 0
