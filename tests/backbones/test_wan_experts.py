"""Wan 2.2 I2V-A14B: each expert denoises its own noise levels, and an adapter belongs to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from vdmfewshot.backbones import Wan
from vdmfewshot.clips.clip import Clip, Pair, collate
from vdmfewshot.lora import adapters
from vdmfewshot.training.module import FewShotModule

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


def record_outputs(network: torch.nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    network.register_forward_hook(lambda m, a, output: seen.append(output[0]))
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


@pytest.mark.parametrize("expert", EXPERTS)
def test_training_calls_the_adapted_expert_alone(wan_checkpoints: dict[str, Path], expert: Expert) -> None:
    module = FewShotModule(load(wan_checkpoints, expert), lora=adapters.LoraArgs(rank=2), seed=0)
    module.configure_model()
    high, low = record_timesteps(module.backbone.transformer), record_timesteps(module.backbone.transformer_2)
    pair = Pair("a", np.zeros((32, 32, 3), np.uint8))
    frames = torch.rand(5, 3, 32, 32) * 2 - 1
    for start in range(0, 40, 8):
        losses = module.losses(collate([Clip(frames, pair, ordinal) for ordinal in range(start, start + 8)]))
        assert losses.isfinite().all()
    seen, other = (high, low) if expert == "high_noise" else (low, high)
    assert len(set(seen)) == 40
    assert not other
    assert all((t >= BOUNDARY) == (expert == "high_noise") for t in seen)


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

    frame, high = torch.zeros(1, 3, 32, 32), record_outputs(backbone.transformer)
    before = backbone.generate(frame, 5, [torch.Generator().manual_seed(0)], 6, 1.0)
    untrained = high.copy()
    high.clear()
    for name, p in backbone.named_parameters():
        if "lora_B" in name:
            p.data.fill_(0.1)
    after = backbone.generate(frame, 5, [torch.Generator().manual_seed(0)], 6, 1.0)
    # High noise comes first: what the frozen expert says there does not depend on the other one's adapter.
    same = [torch.equal(a, b) for a, b in zip(untrained, high, strict=True)]
    assert all(same) if expert == "low_noise" else not any(same)
    assert not torch.equal(before, after)


def test_each_expert_has_its_own_name(wan_checkpoints: dict[str, Path]) -> None:
    high, low = (load(wan_checkpoints, expert) for expert in EXPERTS)
    assert high.fingerprint != low.fingerprint
    assert high.encoder_fingerprint == low.encoder_fingerprint
    assert high.denoiser is high.transformer
    assert low.denoiser is low.transformer_2


def test_an_expert_that_is_not_there_is_refused(wan_checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="expert must be high_noise for a checkpoint with one network, got low_noise"):
        Wan(str(wan_checkpoints["2.1-i2v-14b"]), expert="low_noise").check_clip(9, 32, 32)
