"""Estimates against the calculated tables of true sizes, against formulas, and against real runs of tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from torch import nn

from tests.tiny import tiny_checkpoint
from tests.true_sizes import true_size_checkpoint
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.backbones.skeleton import skeleton
from vdmfewshot.budget import memory
from vdmfewshot.budget.cost import Cost
from vdmfewshot.budget.live_bytes import LiveBytes
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.estimate import estimate

QKVO = LoraArgs(rank=64, alpha=32, targets=["to_q", "to_k", "to_v", "to_out.0"])
TEXT = 226


@pytest.fixture(scope="module")
def true_sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("true")
    return {version: true_size_checkpoint(root / version, version) for version in ("1.5", "1.0")}


# Calculated by hand: 12 d² multiply-adds a token and layer, attention 4 S² d FLOP forward and 2.5 times that backward.
@pytest.mark.parametrize(
    ("version", "clip", "tokens", "forward", "step", "full"),
    [
        ("1.5", (9, 480, 720), 2926, 32.3, 71, 103),
        ("1.5", (5, 480, 720), 1576, 16.3, 35, 51),
        ("1.5", (9, 256, 256), 738, 7.3, 15, 22),
        ("1.0", (9, 480, 720), 4276, 50.1, 114, 165),
    ],
)
def test_flop_of_true_sizes(
    true_sizes: dict[str, Path],
    version: str,
    clip: tuple[int, int, int],
    tokens: int,
    forward: float,
    step: float,
    full: float,
) -> None:
    cost = estimate(CogVideoX(str(true_sizes[version]), dtype="bf16"), clip, 1, QKVO, autocast=torch.bfloat16)
    assert cost.tokens + TEXT == tokens
    assert cost.blocks == 42
    assert cost.total.forward / 1e12 == pytest.approx(forward, rel=0.03)
    assert cost.step() / 1e12 == pytest.approx(step, rel=0.04)
    assert cost.step(42) / 1e12 == pytest.approx(full, rel=0.04)


def test_bytes_of_true_size(true_sizes: dict[str, Path]) -> None:
    backbone = CogVideoX(str(true_sizes["1.5"]), dtype="bf16")
    cost = estimate(backbone, (9, 480, 720), 1, QKVO, autocast=torch.bfloat16)
    assert cost.total.frozen / 1e9 == pytest.approx(11.1, rel=0.01)
    assert cost.adapter / 1e9 == pytest.approx(1.1, rel=0.05)
    assert cost.activations() / 1e9 == pytest.approx(14, rel=0.3)
    assert cost.activations(42) / 1e9 == pytest.approx(1.5, rel=0.3)
    assert cost.encode / 1e12 == pytest.approx(29 + 5, rel=0.1), "the clip, and its first frame alone"
    assert cost.decode / 1e12 == pytest.approx(59, rel=0.05)
    assert cost.prediction(50, 6.0) / 1e12 == pytest.approx(100 * 32.3 + 59, rel=0.03)
    assert cost.prediction(8, 1.0, attempts=2) == 2 * (8 * cost.total.forward + cost.decode)
    assert backbone.fingerprint is None, "no weight was read"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with six blocks, wide enough that what each operation keeps is seen."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("deep") / "checkpoint")
    config = dict(CogVideoXTransformer3DModel.load_config(folder / "transformer"), num_layers=6, num_attention_heads=4)
    torch.manual_seed(0)
    CogVideoXTransformer3DModel.from_config(config).save_pretrained(folder / "transformer")
    return folder


def adapted(folder: Path, recomputed: int = 0) -> CogVideoX:
    backbone = CogVideoX(str(folder))
    backbone.load()
    memory.recompute(backbone.denoiser, backbone.blocks[:recomputed])
    adapters.inject(backbone.denoiser, LoraArgs(rank=4), backbone.lora_targets, seed=0)
    return backbone


def really(folder: Path, recomputed: int) -> tuple[int, int]:
    """Bytes alive after the forward pass, and at the peak of a training step on real tensors."""
    backbone = adapted(folder, recomputed)
    x_t = torch.randn(3, 4, 4, 8, 8)
    with LiveBytes(list(backbone.state_dict().values())) as live:
        loss = backbone.denoise(x_t, torch.tensor([5, 6, 7]), {"image": x_t}).square().mean()
        alive = live.alive
        loss.backward()
    return alive, live.peak


@pytest.fixture(scope="module")
def cost(deep: Path) -> Cost:
    return estimate(CogVideoX(str(deep)), (9, 32, 32), 3, LoraArgs(rank=4))


def test_parameters_equal_those_of_the_model(deep: Path, cost: Cost) -> None:
    backbone = adapted(deep)
    parameters = list(backbone.denoiser.named_parameters())
    linear = [m for m in backbone.denoiser.modules() if isinstance(m, nn.Linear) and not m.weight.requires_grad]
    assert cost.total.frozen == sum(p.nbytes for n, p in parameters if "lora_" not in n)
    assert cost.total.trainable == sum(p.numel() for n, p in parameters if "lora_" in n)
    assert cost.total.linear == sum(m.weight.nbytes for m in linear)
    assert cost.encoders == sum(t.nbytes for t in backbone.vae.state_dict().values())


@pytest.mark.parametrize("recomputed", [0, 3, 6])
def test_activations_equal_those_of_a_real_step(deep: Path, cost: Cost, recomputed: int) -> None:
    _, peak = really(deep, recomputed)
    gradients = 4 * cost.total.trainable
    assert cost.activations(recomputed) <= peak * 1.02 + gradients
    assert cost.activations(recomputed) + gradients >= peak * 0.98
    assert cost.activations(recomputed) == pytest.approx(peak, rel=0.25)


def test_checkpointing_saves_what_it_promises(deep: Path, cost: Cost) -> None:
    plain, half, full = (really(deep, n)[0] for n in (0, 3, 6))
    saved = cost.block.activations - cost.boundary
    assert plain - half == pytest.approx(3 * saved, rel=0.05)
    assert plain - full == pytest.approx(6 * saved, rel=0.05)


def test_targets_that_name_blocks_are_counted_in_all(deep: Path, cost: Cost) -> None:
    last = estimate(CogVideoX(str(deep)), (9, 32, 32), 3, LoraArgs(rank=4, targets=r"transformer_blocks\.5\..*to_q"))
    assert last.total.trainable == cost.total.trainable


def test_a_skeleton_has_no_weights_and_leaves_its_model_alone(tiny: Path) -> None:
    backbone = CogVideoX(str(tiny))
    backbone.load()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    twin = skeleton(backbone, 1)
    assert all(t.is_meta for t in [*twin.parameters(), *twin.buffers()])
    assert len(twin.blocks) == 1
    assert len(backbone.blocks) == 2
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_an_estimate_is_made_once(tiny: Path) -> None:
    first = estimate(CogVideoX(str(tiny)), (9, 32, 32), 2, LoraArgs(rank=4))
    assert estimate(CogVideoX(str(tiny)), (9, 32, 32), 2, LoraArgs(rank=4)) is first
    assert estimate(CogVideoX(str(tiny)), (9, 32, 32), 3, LoraArgs(rank=4)) is not first
