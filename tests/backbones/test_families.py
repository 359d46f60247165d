"""What every family promises: generation, training inputs and adapters are those of its stock diffusers pipeline."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict

from tests.backbones.families import FAMILIES, generators
from tests.tiny_training import make_data, make_trainer
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.lora.export import save_adapter, verify_export
from vdmfewshot.training.estimate import estimate
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs

LORA = LoraArgs(rank=4, alpha=9)
NAMES = list(FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: family.make(root / str(i)) for i, (name, family) in enumerate(FAMILIES.items())}


@cache
def load(name: str, folder: Path, **kwargs: Any) -> Any:
    """Shared by the tests, which leave it as it is."""
    return FAMILIES[name].load(folder, **kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_generation_equals_the_stock_pipeline(folders: dict[str, Path], name: str) -> None:
    """Ours as a batch, theirs one by one: nor does a result depend on the batch."""
    family, folder = FAMILIES[name], folders[name]
    backbone = family.load(folder)
    adapters.inject(backbone.denoiser, LORA, backbone.lora_targets, seed=0)  # untrained: B = 0
    stock = family.stock_pipeline(folder)
    for num_frames, guidance in zip(family.frames, (3.0, 1.0), strict=True):
        ours = backbone.generate(family.first_frames(), num_frames, generators(), 3, guidance)
        theirs = family.stock_videos(stock, folder, num_frames, guidance)
        assert ours.shape == (2, num_frames, 3, *family.size)
        assert theirs.isfinite().all()
        assert torch.equal((ours / 2 + 0.5).clamp(0, 1), theirs), (num_frames, guidance)
        assert not torch.equal(theirs[0], theirs[1])


def record_calls(network: torch.nn.Module) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    # What is changed in place later must be seen as it was.
    network.register_forward_pre_hook(lambda m, a, kw: calls.append(copied(kw)), with_kwargs=True)
    return calls


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value


def assert_equal(ours: Any, theirs: Any, name: str) -> None:
    if isinstance(theirs, torch.Tensor):
        # A posterior without variance still has a deviation of e^-15.
        torch.testing.assert_close(ours.float(), theirs.float().expand_as(ours), rtol=0, atol=2e-6, msg=name)
    elif isinstance(theirs, list | tuple):
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b, name)
    else:
        assert ours == theirs, name


@pytest.mark.parametrize("name", NAMES)
def test_training_inputs_equal_those_of_the_stock_pipeline(folders: dict[str, Path], name: str) -> None:
    """Everything that the network is given, at every timestep."""
    family, backbone = FAMILIES[name], FAMILIES[name].load(folders[name])
    calls = record_calls(backbone.denoiser)
    frames = family.first_frames()[:1, None].expand(-1, family.frames[0], -1, -1, -1)
    family.certain(backbone)
    backbone.generate(frames[:, 0], family.frames[0], generators(1), 4, 1.0)
    stock = list(calls)
    assert len(stock) == 4
    condition = backbone.encode(frames).condition
    for theirs in stock:
        calls.clear()
        x_t, t = family.noised(backbone, theirs)
        backbone.denoise(x_t, t, condition)
        (ours,) = calls
        for key in theirs.keys() - {"return_dict", *family.others}:
            assert_equal(ours.get(key), theirs[key], key)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_costs_are_known_without_values(folders: dict[str, Path], name: str) -> None:
    family = FAMILIES[name]
    clip = torch.zeros(1, family.frames[0], 3, *family.size)
    real, backbone = load(name, folders[name]).encode(clip), family.load(folders[name])
    latents = backbone.to("meta").encode(clip.to("meta"))
    assert latents.x0.shape == real.x0.shape
    assert {k: v.shape for k, v in latents.condition.items()} == {k: v.shape for k, v in real.condition.items()}
    cost = estimate(family.backbone(str(folders[name]), **family.kwargs), clip.shape[1:2] + family.size, 2, LORA)
    parameters = load(name, folders[name]).denoiser.parameters()
    assert cost.total.frozen == sum(p.nbytes for p in parameters)
    assert cost.total.forward > cost.block.forward > 0
    assert cost.encode > 0
    assert cost.decode > 0


@pytest.mark.parametrize("name", NAMES)
def test_latents_decode_to_what_the_vae_can_show(folders: dict[str, Path], name: str) -> None:
    backbone, family = load(name, folders[name]), FAMILIES[name]
    frames = torch.rand(2, family.frames[0], 3, *family.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = backbone.encode(frames)
    assert {len(tensor) for tensor in latents.condition.values()} == {2}
    alone = backbone.encode(frames[1:])
    assert torch.equal(latents.x0[1:], alone.x0)
    decoded = backbone.decode(latents.x0, generators())
    torch.testing.assert_close(decoded, backbone.reconstruct(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_keeps_what_must_be_precise(folders: dict[str, Path], name: str) -> None:
    backbone, random = (load(name, folders[name], dtype="bf16", init=init) for init in ("pretrained", "random"))
    dtypes = [{k: v.dtype for k, v in b.transformer.named_parameters()} for b in (backbone, random)]
    assert dtypes[0] == dtypes[1]
    assert torch.bfloat16 in dtypes[0].values()
    frames = FAMILIES[name].first_frames()
    video = backbone.generate(frames, FAMILIES[name].frames[0], generators(), 2, 1.0)
    assert video.dtype == torch.float32
    assert video.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backbone.generate(frames, FAMILIES[name].frames[0], generators(), 2, 1.0), video)


def trained(name: str, folder: Path, **kwargs: Any) -> Any:
    """A backbone with an adapter that has an effect."""
    backbone = FAMILIES[name].load(folder, **kwargs)
    adapters.inject(backbone.denoiser, LORA, backbone.lora_targets, seed=0)
    generator = torch.Generator().manual_seed(1)
    for key, p in backbone.denoiser.named_parameters():
        if "lora_B" in key:
            p.data = torch.randn(p.shape, generator=generator) / 10
    return backbone


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_of_ours_works_in_diffusers_and_peft(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    family, folder = FAMILIES[name], folders[name]
    backbone = trained(name, folder)
    expected = backbone.probe()
    manifest = adapters.Manifest(
        {"path": "p", "fingerprint": str(backbone.fingerprint), "pipeline": family.pipeline.__name__},
        {"name": "c", "hash": "h", "spec": {}},
        {"num_frames": 9, "height": 32, "width": 32, "transition": "discrete"},
        "task",
    )
    save_adapter(tmp_path / "adapter", backbone.denoiser, backbone.pipeline_class, manifest)
    assert verify_export(tmp_path / "adapter", backbone) < 1e-5

    other = family.load(folder)
    assert (other.probe() - expected).abs().max() > 1e-3, "the adapter has an effect"
    stock = family.stock_pipeline(folder)
    attrgetter(backbone.lora_loader)(stock)(tmp_path / "adapter", **backbone.lora_kwargs)
    other.transformer = stock.transformer
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)

    base = type(backbone.transformer).from_pretrained(folder, subfolder="transformer")
    other.transformer = PeftModel.from_pretrained(base, tmp_path / "adapter").base_model.model
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_made_elsewhere_works_here(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Diffusers' own format, without a manifest of ours."""
    family, backbone = FAMILIES[name], FAMILIES[name].load(folders[name])
    stock = family.stock_pipeline(folders[name])
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=9, init_lora_weights=False, target_modules=backbone.lora_targets)
    stock.transformer.add_adapter(config)
    if hasattr(stock, "save_lora_weights"):
        stock.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(stock.transformer))
    else:
        stock.transformer.save_lora_adapter(tmp_path)

    untrained = backbone.probe()
    adapters.inject(backbone.denoiser, LORA, backbone.lora_targets, seed=0)
    adapters.load_adapter(tmp_path, backbone.denoiser, str(backbone.fingerprint))
    ours = backbone.probe()
    backbone.transformer = stock.transformer
    assert torch.equal(backbone.probe(), ours)
    assert (untrained - ours).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_activations_give_the_same_gradients(folders: dict[str, Path], name: str) -> None:
    gradients, family = [], FAMILIES[name]
    for memory in (MemoryArgs(), MemoryArgs(checkpointing="full")):
        backbone = trained(name, folders[name], memory=memory)
        generator = torch.Generator().manual_seed(0)
        clip = torch.rand(1, family.frames[0], 3, *family.size, generator=generator) * 2 - 1
        latents = backbone.encode(clip)
        backbone.denoise(latents.x0, torch.tensor([500.0]), latents.condition).square().mean().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters() if p.requires_grad})
    assert all(torch.equal(gradient, gradients[1][n]) for n, gradient in gradients[0].items())
    assert all(gradient.any() for gradient in gradients[0].values()), "every adapted module learns"


@pytest.mark.parametrize("name", NAMES)
def test_a_random_denoiser_can_be_adapted(folders: dict[str, Path], name: str) -> None:
    """The control experiment: no gate starts closed."""
    backbone = trained(name, folders[name], init="random")
    clip = torch.zeros(1, FAMILIES[name].frames[0], 3, *FAMILIES[name].size)
    latents = backbone.encode(clip)
    backbone.denoise(latents.x0, torch.tensor([500.0]), latents.condition).square().mean().backward()
    assert all(p.grad.any() for n, p in backbone.named_parameters() if "lora_B" in n)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_trains_and_predicts(folders: dict[str, Path], pairs_root: Path, tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    module = FewShotModule(
        family.backbone(str(folders[name]), **family.kwargs),
        lora=LORA,
        optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2),
        sampling=SamplingArgs(steps=2),
    )
    height, width = family.size
    data = make_data(pairs_root, shots=2, num_frames=family.frames[0], height=height, width=width)
    trainer = make_trainer(tmp_path, 2, limit_test_batches=1)
    trainer.fit(module, data)
    trainer.test(module, data)
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
