"""The policy as a table, and what each of its measures does to a real model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.budget import memory
from vdmfewshot.budget.cost import Cost, Denoiser
from vdmfewshot.budget.memory import MARGIN, MemoryArgs, decide
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs, Manifest
from vdmfewshot.lora.export import save_adapter, verify_export

GB = 1e9
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def cost(blocks: int = 10) -> Cost:
    """10 GB of weights, of which 8 linear; 1 GB a block of activations, of which 0.1 GB stay if it is recomputed."""
    block = Denoiser(forward=1.0, backward=1.5, frozen=1 * GB, linear=0.8 * GB, trainable=0, activations=1 * GB)
    nothing = Denoiser(0, 0, 0, 0, 0, 0)
    return Cost(
        tokens=100,
        batch_size=1,
        blocks=blocks,
        total=nothing.plus(block, blocks),
        block=block,
        boundary=0.1 * GB,
        working=0,
        recomputing=1 * GB,
        encode=1,
        decode=1,
        decoding=2 * GB,
        encoders=0.5 * GB,
        itemsize=2,
    )


# none 20 GB; each recomputed block saves 0.9; all 12 GB (one block has its activations back), then fp8 and offload.
@pytest.mark.parametrize(
    ("free", "device", "args", "checkpointing", "recomputed", "quantization", "offload", "training"),
    [
        (24, GPU, {}, "none", 0, "none", "none", 20.0),
        (22, GPU, {}, "segmented", 1, "none", "none", 19.1),
        (18, GPU, {}, "segmented", 5, "none", "none", 15.5),
        (14, GPU, {}, "segmented", 9, "none", "none", 11.9),
        (13, GPU, {}, "full", 10, "fp8", "none", 8.8),
        (9, GPU, {}, "full", 10, "fp8", "group", 4.8),
        (2, GPU, {}, "full", 10, "fp8", "group", 4.8),
        (9, CPU, {}, "full", 10, "none", "none", 12.5),
        (24, CPU, {}, "segmented", 7, "none", "none", 14.2),
        (46, CPU, {}, "none", 0, "none", "none", 20.5),
        (9, GPU, {"checkpointing": "none"}, "none", 0, "none", "none", 20.0),
        (9, GPU, {"checkpointing": "segmented"}, "segmented", 5, "none", "none", 15.5),
        (9, GPU, {"quantization": "none", "offload": "none"}, "full", 10, "none", "none", 12.0),
        (28, GPU, {"quantization": "fp8"}, "none", 0, "fp8", "none", 24.0),
        (17, GPU, {"quantization": "fp8"}, "segmented", 6, "fp8", "none", 13.8),
    ],
)
def test_the_fastest_that_fits_is_chosen(
    free: float,
    device: torch.device,
    args: dict[str, Any],
    checkpointing: str,
    recomputed: int,
    quantization: str,
    offload: str,
    training: float,
) -> None:
    plan = decide(cost(), MemoryArgs(**args), free * GB, device)
    chosen = plan.memory
    assert (chosen.checkpointing, chosen.quantization, chosen.offload) == (checkpointing, quantization, offload)
    assert chosen.recomputed(10) == recomputed
    assert plan.training / GB == pytest.approx(training)
    activations = cost().activations(chosen.recomputed(10))
    assert plan.kept == (1.5 * activations if device == CPU else 0), "freed blocks stay with a process on a CPU"
    assert ("expect a failure" in plan.reason) == (training + plan.kept / GB > MARGIN * free)


def test_a_prediction_needs_no_activations() -> None:
    plan = decide(cost(), MemoryArgs(), 17 * GB, GPU, eval_batch_size=2, training=False)
    assert plan.memory.quantization == "none"
    assert plan.predicting / GB == pytest.approx(10 + 0.5 + 2 * 2)
    tight = decide(cost(), MemoryArgs(), 14 * GB, GPU, eval_batch_size=2, training=False)
    assert tight.memory.quantization == "fp8"
    assert tight.predicting / GB == pytest.approx(10 - 4 + 0.8 + 0.5 + 2 * 2)


@pytest.mark.parametrize(("blocks", "share", "recomputed"), [(2, 0.5, 1), (42, 0.5, 21), (3, 0.1, 1), (30, 1.0, 30)])
def test_share_of_blocks(blocks: int, share: float, recomputed: int) -> None:
    assert MemoryArgs(checkpointing="segmented", recompute=share).recomputed(blocks) == recomputed
    assert MemoryArgs(recompute=share).recomputed(blocks) == 0, "auto, not decided"


@pytest.mark.parametrize("share", [0, 1.5])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"memory.recompute must be in \(0, 1\], got"):
        MemoryArgs(recompute=share)


def test_offload_needs_an_accelerator() -> None:
    with pytest.raises(ValueError, match="offload=group needs an accelerator"):
        decide(cost(), MemoryArgs(offload="group"), 100 * GB, CPU)


@pytest.mark.parametrize(("quantization", "library"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_a_missing_library_is_named_before_weights(monkeypatch: Any, quantization: Any, library: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"needs {library}.*pip install 'vdmfewshot\[quant\]'"):
        MemoryArgs(quantization=quantization)


def step(backbone: CogVideoX) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of one step of an adapter that is no longer zero, in bf16 autocast."""
    adapters.inject(backbone.denoiser, LoraArgs(rank=4), backbone.lora_targets, seed=0)
    trainable = [p for p in backbone.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(0)
    for p in trainable:
        p.data = torch.randn(p.shape, generator=generator) / 10
    x_t = torch.randn(2, 2, 4, 4, 4, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = backbone.denoise(x_t, torch.tensor([5, 500]), {"image": x_t})
    loss = prediction.float().square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in trainable if p.grad is not None]


def loaded(folder: Path, **args: Any) -> CogVideoX:
    backbone = CogVideoX(str(folder), dtype="bf16", memory=MemoryArgs(**args))
    backbone.load()
    return backbone


def frozen(backbone: CogVideoX) -> dict[str, Tensor]:
    state = backbone.denoiser.state_dict()
    # torchao's tensors are not comparable, the integers in them are.
    plain = {k.replace(".base_layer", ""): getattr(v, "qdata", v) for k, v in state.items() if "lora_" not in k}
    return {k: v.float().clone() for k, v in plain.items()}


QUANTIZED = [
    "fp8",
    pytest.param("int8", marks=pytest.mark.skipif(not importlib.util.find_spec("torchao"), reason="needs torchao")),
    pytest.param("nf4", marks=pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="bitsandbytes")),
]


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_quantised_weights_train_the_same_adapter(tiny: Path, tmp_path: Path, quantization: Any) -> None:
    plain, backbone = loaded(tiny), loaded(tiny, quantization=quantization, checkpointing="full")
    assert backbone.fingerprint == plain.fingerprint, "an adapter fits the model however its weights are stored"
    before = frozen(backbone)
    expected, gradients = step(plain)
    loss, found = step(backbone)
    torch.testing.assert_close(loss, expected, rtol=0.05, atol=0)
    assert {gradient.dtype for gradient in found} == {torch.float32}
    ours, theirs = (torch.cat([g.flatten() for g in grads]) for grads in (found, gradients))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.95
    after = frozen(backbone)
    assert all(torch.equal(before[name], after[name]) for name in before)
    folder, part = tmp_path / "adapter", {"path": "tiny", "family": "CogVideoX", "pipeline": "P", "fingerprint": "f"}
    codec, clip = {"name": "c"}, {"num_frames": 9, "height": 32, "width": 32, "transition": "discrete"}
    save_adapter(folder, backbone.denoiser, backbone.pipeline_class, Manifest(part, codec, clip, "task"))
    assert verify_export(folder, backbone) < 3e-2


def test_fp8_halves_the_weights(tiny: Path) -> None:
    backbone = loaded(tiny, quantization="fp8")
    layers = [m for m in backbone.blocks.modules() if isinstance(m, torch.nn.Linear)]
    stored = [m.weight.dtype for m in layers]
    assert stored.count(torch.float8_e4m3fn) > len(stored) / 2, "norms are left alone"
    assert set(stored) == {torch.float8_e4m3fn, torch.bfloat16}


def test_offloaded_layers_compute_the_same_and_stay(tiny: Path) -> None:
    """The hooks around real training; diffusers' moving of weights needs an accelerator to be seen."""
    plain, backbone = loaded(tiny), loaded(tiny, checkpointing="full")
    memory.offload(backbone.denoiser, CPU)
    object.__setattr__(backbone.memory, "offload", "group")
    expected, gradients = step(plain)
    loss, found = step(backbone)
    assert torch.equal(loss, expected)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients, strict=True))
    backbone.to("meta")
    devices = {"lora" if "lora_" in n else "frozen": p.device.type for n, p in backbone.denoiser.named_parameters()}
    assert devices == {"lora": "meta", "frozen": "cpu"}, "adapters move, offloaded weights do not"
    assert backbone.prompt_embeds.is_meta
    assert all(p.is_meta for p in backbone.vae.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("args", [{}, {"quantization": "fp8"}, {"offload": "group"}])
def test_measures_on_an_accelerator(tiny: Path, args: Any) -> None:
    backbone = loaded(tiny, checkpointing="full", **args)
    adapters.inject(backbone.denoiser, LoraArgs(rank=4), backbone.lora_targets, seed=0)
    backbone.cuda()
    linear = backbone.denoiser.transformer_blocks[0].attn1.to_q
    assert linear.lora_A["default"].weight.is_cuda
    assert linear.base_layer.weight.is_cuda == ("offload" not in args)
    x_t = torch.randn(2, 2, 4, 4, 4, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        prediction = backbone.denoise(x_t, torch.tensor([5, 500], device="cuda"), {"image": x_t})
    prediction.float().square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters() if p.requires_grad)
