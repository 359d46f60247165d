"""Wan 2.2 I2V-A14B: each expert denoises its own noise levels, and an adapter belongs to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from vdmfewshot import adapters
from vdmfewshot.backbones import Wan

BOUNDARY = 900.0  # boundary_ratio 0.9 of 1000 timesteps
Expert = Literal["high_noise", "low_noise"]
EXPERTS: tuple[Expert, ...] = ("high_noise", "low_noise")


def load(wan_checkpoints: dict[str, Path], expert: Expert, **kwargs: Any) -> Wan:
    backbone = Wan(str(wan_checkpoints["2.2-i2v-a14b"]), expert=expert, **kwargs)
    backbone.load()
    return backbone


def record_timesteps(network: torch.nn.Module) -> list[float]:
    seen: list[float] = []
    network.register_forward_pre_hook(lambda m, a, kw: seen.extend(kw["timestep"].tolist()), with_kwargs=True)
    return seen


@pytest.mark.parametrize("expert", EXPERTS)
def test_training_uses_the_noise_levels_of_the_adapted_expert(wan_checkpoints: dict[str, Path], expert: Expert) -> None:
    backbone = load(wan_checkpoints, expert)
    u = torch.cat([torch.linspace(0, 1, 10_001)[:-1], torch.tensor([1 - 2**-24])])
    t = backbone.objective.timestep(u)
    inside = t >= BOUNDARY if expert == "high_noise" else t < BOUNDARY
    assert inside.all()
    assert (t.diff() >= 0).all()
    low, high = (BOUNDARY, 1000) if expert == "high_noise" else (0, BOUNDARY)
    torch.testing.assert_close(t[[0, -1]], torch.tensor([low, high], dtype=torch.float32), rtol=0, atol=0.01)
    # Within the range, the density of the whole schedule: drawing from all of it and rejecting gives the same.
    whole = 1000 * 3 * u / (1 + 2 * u)
    kept = whole[(whole >= low) & (whole < high)]
    levels = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(t.quantile(levels), kept.quantile(levels), rtol=1e-3, atol=0.1)


def test_denoising_goes_to_the_expert_of_the_timestep(wan_checkpoints: dict[str, Path]) -> None:
    backbone = load(wan_checkpoints, "high_noise")
    high, low = record_timesteps(backbone.transformer), record_timesteps(backbone.transformer_2)
    latents = backbone.encode(torch.rand(4, 5, 3, 32, 32) * 2 - 1)
    t = torch.tensor([950.0, 899.9, 900.0, 3.0])
    mixed = backbone.denoise(latents.x0, t, latents.condition)
    assert high == [950.0, 900.0]
    assert low == pytest.approx([899.9, 3.0])
    rows = {k: v[1:2] for k, v in latents.condition.items()}
    assert torch.equal(mixed[1:2], backbone.denoise(latents.x0[1:2], t[1:2], rows))


def test_generation_switches_at_the_boundary(wan_checkpoints: dict[str, Path]) -> None:
    backbone = load(wan_checkpoints, "high_noise")
    high, low = record_timesteps(backbone.transformer), record_timesteps(backbone.transformer_2)
    backbone.generate(torch.zeros(1, 3, 32, 32), 5, [torch.Generator().manual_seed(0)], 6, 1.0)
    assert len(high) + len(low) == 6
    assert min(high) >= BOUNDARY > max(low)


@pytest.mark.parametrize("expert", EXPERTS)
def test_the_adapter_sits_on_one_expert(wan_checkpoints: dict[str, Path], expert: Expert) -> None:
    """Training reaches it and nothing else; in generation it changes that expert's part only."""
    backbone = load(wan_checkpoints, expert)
    adapters.inject(backbone.denoiser, adapters.LoraArgs(rank=2), backbone.lora_targets, seed=0)
    other = backbone.transformer_2 if expert == "high_noise" else backbone.transformer
    assert not [name for name, p in other.named_parameters() if "lora" in name or p.requires_grad]
    latents, objective = backbone.encode(torch.rand(1, 5, 3, 32, 32) * 2 - 1), backbone.objective
    prediction = backbone.denoise(latents.x0, objective.timestep(torch.tensor([0.5])), latents.condition)
    prediction.square().mean().backward()
    gradients = {n: p.grad for n, p in backbone.named_parameters() if p.requires_grad}
    assert all((gradient is not None and gradient.any()) or "lora_A" in n for n, gradient in gradients.items())

    inputs, outside = (latents.x0, latents.condition), 10.0 if expert == "high_noise" else 990.0
    inside = float(objective.timestep(torch.tensor(0.5)))
    before = [backbone.denoise(inputs[0], torch.tensor([t]), inputs[1]) for t in (inside, outside)]
    with torch.no_grad():
        for name, p in backbone.named_parameters():
            if "lora_B" in name:
                p.fill_(0.1)
    after = [backbone.denoise(inputs[0], torch.tensor([t]), inputs[1]) for t in (inside, outside)]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_each_expert_has_its_own_name(wan_checkpoints: dict[str, Path]) -> None:
    high, low = (load(wan_checkpoints, expert) for expert in EXPERTS)
    assert high.fingerprint != low.fingerprint
    assert high.encoder_fingerprint == low.encoder_fingerprint
    assert high.denoiser is high.transformer
    assert low.denoiser is low.transformer_2


def test_an_expert_that_is_not_there_is_refused(wan_checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="expert must be high_noise for a checkpoint with one network, got low_noise"):
        Wan(str(wan_checkpoints["2.1-i2v-14b"]), expert="low_noise").check_clip(9, 32, 32)
