"""Parts of pretraining on tiny networks: losses fall, tables follow the stock pipeline, the optimiser is Muon."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vdmfewshot.pretrain import transformer, vae
from vdmfewshot.pretrain.averages import WeightAverage
from vdmfewshot.pretrain.clock import StageClock, rate_factor
from vdmfewshot.pretrain.corpus import to_unit
from vdmfewshot.pretrain.latents import encode_clips
from vdmfewshot.pretrain.muon import COEFFICIENTS, MuonAdamW, orthogonalize, orthogonalize_bf16
from vdmfewshot.pretrain.transformer import DenoisingLoss, build_transformer, first_frame_condition, pad_front, rotary
from vdmfewshot.pretrain.vae import autoencoder_loss, build_vae


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def losses_of(model: torch.nn.Module, groups: list[dict], loss, lr: float, steps: int) -> list[float]:
    """Losses of repeated optimiser steps with the same noise each time."""
    optimizer = MuonAdamW(groups, lr=lr)
    losses = []
    for _ in range(steps):
        torch.manual_seed(1)
        value: Tensor = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


@pytest.mark.parametrize("last", [False, True])
def test_autoencoder_steps_lower_the_loss(last: bool) -> None:
    model = build_vae((8, 8, 8))
    clips = torch.rand(2, 3, 5 if last else 9, 16, 16) * 2 - 1
    losses = losses_of(model, vae.muon_groups(model), lambda: autoencoder_loss(model, clips, last), 5e-3, 8)
    assert losses[-1] < losses[0]


def test_denoiser_steps_lower_the_loss() -> None:
    model = build_transformer(heads=1, layers=1)
    latents, objective = torch.randn(4, 4, 16, 8, 8), DenoisingLoss(24, torch.device("cpu"))

    def loss() -> Tensor:
        return objective(model, latents, 1.0, torch.Generator().manual_seed(2))

    losses = losses_of(model, transformer.muon_groups(model), loss, 3e-3, 12)
    assert losses[-1] < 0.9 * losses[0]


def test_denoising_loss_is_the_schedulers_velocity() -> None:
    """A model that answers with zeros has the mean square of the stock scheduler's velocity as its loss."""
    latents, seen = torch.randn(3, 3, 16, 8, 8), {}

    def zeros(**inputs: Tensor) -> tuple[Tensor]:
        seen.update(inputs)
        return (torch.zeros_like(inputs["hidden_states"][:, :, :16]),)

    objective = DenoisingLoss(24, torch.device("cpu"), unconditional=0.0)
    loss = objective(zeros, latents, 1.5, torch.Generator().manual_seed(0))
    clean, steps = latents[:, 1:] * 1.5, seen["timestep"]
    scheduler = transformer.build_scheduler()
    alpha = scheduler.alphas_cumprod[steps].float().view(-1, 1, 1, 1, 1)
    assert (alpha < 1).all()
    noise = (seen["hidden_states"][:, :, :16] - alpha.sqrt() * clean) / (1 - alpha).sqrt()
    torch.testing.assert_close(seen["hidden_states"][:, :, :16], scheduler.add_noise(clean, noise, steps).float())
    torch.testing.assert_close(loss, scheduler.get_velocity(clean, noise, steps).float().square().mean())
    torch.testing.assert_close(seen["hidden_states"][:, 0, 16:], latents[:, 0] / 1.5)
    assert not seen["hidden_states"][:, 1:, 16:].any()


def test_first_latent_is_that_of_the_first_frame_alone() -> None:
    model, clips = build_vae((8, 8, 8)).eval(), torch.rand(3, 3, 9, 16, 16) * 2 - 1
    latents = encode_clips(model, clips)
    assert latents.shape == (3, 4, 16, 4, 4)
    with torch.no_grad():
        image, video = (model.encode(part).latent_dist.mode().movedim(2, 1) for part in (clips[:, :, :1], clips))
    torch.testing.assert_close(latents, torch.cat([image, video], 1))


def test_average_of_constant_weights_is_them_and_follows_a_change() -> None:
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model)
    before = model.weight.detach().clone()
    for _ in range(50):
        average.update(model)
    torch.testing.assert_close(average.module.weight, before)
    with torch.no_grad():
        model.weight += 1
    for _ in range(100):
        average.update(model)
    assert (average.module.weight - before).min() > 0.9


def test_padding_and_condition_follow_cogvideox_1_5() -> None:
    latents = torch.randn(2, 3, 16, 4, 4)
    padded = pad_front(latents)
    assert padded.shape[1] == 4
    torch.testing.assert_close(padded[:, 0], padded[:, 1])
    condition = first_frame_condition(latents[:, 0], 4)
    torch.testing.assert_close(condition[:, 0], latents[:, 0])
    assert not condition[:, 1:].any()


def test_rotary_window_at_the_origin_is_the_pipelines_slice() -> None:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    cos, sin = get_3d_rotary_pos_embed(64, None, (8, 8), 2, grid_type="slice", max_size=(12, 12))
    mine = rotary(8, 2, 12)
    torch.testing.assert_close(mine[0], cos)
    torch.testing.assert_close(mine[1], sin)


def test_orthogonalize_makes_singular_values_about_one() -> None:
    values = torch.linalg.svdvals(orthogonalize(torch.randn(2, 24, 48)))
    assert values.min() > 0.5
    assert values.max() < 1.4


@pytest.mark.parametrize("shape", [(2, 24, 48), (2, 48, 24), (3, 16, 16)])
def test_orthogonalize_is_the_plain_newton_schulz_iteration(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, dtype=torch.float64)
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True)
    for a, b, c in COEFFICIENTS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(matrices), x, atol=2e-4, rtol=1e-3)
    assert (orthogonalize_bf16(matrices) - x).norm() < 0.05 * x.norm()


def test_muon_counts_one_step_and_updates_both_groups() -> None:
    model = torch.nn.Linear(4, 4)
    before = [p.clone() for p in model.parameters()]
    optimizer = MuonAdamW([{"params": [model.weight], "muon": True}, {"params": [model.bias], "muon": False}], lr=0.1)
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))


def test_shifted_timesteps_lean_towards_noise() -> None:
    objective, u = DenoisingLoss(24, torch.device("cpu")), torch.rand(20_000)
    uniform = objective._timesteps(u, 1.0)
    assert uniform.min() >= 0
    assert uniform.max() <= 999
    assert uniform.float().mean() == pytest.approx(499.5, abs=8)
    # the median u = 0.5 moves to 3 u / (1 + 2 u) = 0.75
    assert objective._timesteps(u, 3.0).float().median() == pytest.approx(750, abs=12)


def test_adamw_group_is_torchs_adamw() -> None:
    mine, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(mine.state_dict())
    first = MuonAdamW([{"params": list(mine.parameters()), "muon": False}], lr=0.1, weight_decay=0.1)
    second = torch.optim.AdamW(theirs.parameters(), lr=0.1, betas=(0.9, 0.98), weight_decay=0.1)
    for _ in range(4):
        inputs = torch.randn(5, 3)
        for model, optimizer in ((mine, first), (theirs, second)):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(mine.weight, theirs.weight, atol=1e-5, rtol=1e-4)


def test_muon_group_follows_torchs_muon() -> None:
    """Torch iterates in bfloat16, so directions agree to a few per cent."""
    mine, theirs = (torch.nn.Linear(24, 16, bias=False) for _ in range(2))
    theirs.load_state_dict(mine.state_dict())
    start = mine.weight.detach().clone()
    first = MuonAdamW([{"params": [mine.weight], "muon": True}], lr=0.01, muon_scale=1.0, weight_decay=0.0)
    second = torch.optim.Muon(theirs.parameters(), lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        inputs = torch.randn(64, 24)
        for model, optimizer in ((mine, first), (theirs, second)):
            optimizer.zero_grad()
            (model(inputs) - inputs[:, :16]).square().mean().backward()
            optimizer.step()
    moved, expected = mine.weight - start, theirs.weight - start
    assert (moved - expected).norm() < 0.05 * expected.norm()


def test_rate_rises_stays_and_falls() -> None:
    assert rate_factor(0.0, 0) == pytest.approx(0.01)
    assert rate_factor(0.01, 500) == pytest.approx(1.0)
    assert rate_factor(0.05, 3) == pytest.approx(1.0)
    assert rate_factor(0.8, 500) == pytest.approx(0.51)
    assert rate_factor(1.5, 500) == pytest.approx(0.02)


def test_clock_counts_steps_or_seconds() -> None:
    assert StageClock(1e9, steps=4).progress(1) == 0.25
    assert StageClock(0.0).progress(0) >= 1
    assert StageClock(1e9).progress(10**9) < 1


def test_pixels_map_to_minus_one_and_one() -> None:
    frames = np.array([0, 255], np.uint8).reshape(1, 2, 1, 1, 1).repeat(3, -1)
    assert to_unit(frames).flatten().tolist() == [-1, 1] * 3
