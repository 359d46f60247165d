"""Adapters interoperate with stock diffusers and peft, and everything that does not fit is refused (C10)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_checkpoint
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.lora import adapters, export
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule


@pytest.fixture(scope="module")
def trained(tiny: Path, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FewShotModule, Path]:
    """A module trained for a few steps with alpha ≠ rank, and its exported adapter."""
    folder = tmp_path_factory.mktemp("trained")
    module = make_module(tiny, lora=LoraArgs(rank=4, alpha=9))
    make_trainer(folder, 5).fit(module, datamodule=make_data(pairs_root))
    transformer = module.backbone.denoiser
    export.save_adapter(folder / "adapter", transformer, CogVideoXImageToVideoPipeline, module.manifest())
    return module, folder / "adapter"


def frozen(tiny: Path) -> CogVideoX:
    backbone = CogVideoX(str(tiny))
    backbone.load()
    return backbone


def test_the_export_is_one_folder_of_known_files(trained: tuple[FewShotModule, Path]) -> None:
    assert {f.name for f in trained[1].iterdir()} == {
        "pytorch_lora_weights.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "vdmfewshot.json",
        "README.md",
    }


def test_others_may_read_it(trained: tuple[FewShotModule, Path]) -> None:
    (folder := trained[1].with_name("new")).mkdir()
    assert trained[1].stat().st_mode == folder.stat().st_mode
    assert {f.stat().st_mode & 0o777 for f in trained[1].iterdir()} == {folder.stat().st_mode & 0o666}


def test_stock_diffusers_loads_it_and_gives_the_same_output(trained: tuple[FewShotModule, Path], tiny: Path) -> None:
    module, folder = trained
    expected = module.backbone.probe()
    other = frozen(tiny)
    untrained = other.probe()
    stock = CogVideoXImageToVideoPipeline.from_pretrained(tiny, tokenizer=None, text_encoder=None)
    stock.load_lora_weights(folder)
    other.transformer = stock.transformer
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)
    assert (untrained - expected).abs().max() > 1e-3


def test_peft_loads_it_and_gives_the_same_output(trained: tuple[FewShotModule, Path], tiny: Path) -> None:
    module, folder = trained
    base = CogVideoXTransformer3DModel.from_pretrained(tiny, subfolder="transformer")
    other = frozen(tiny)
    other.transformer = PeftModel.from_pretrained(base, folder).base_model.model
    torch.testing.assert_close(other.probe(), module.backbone.probe(), rtol=0, atol=1e-6)


def test_we_load_it_and_give_the_same_output(trained: tuple[FewShotModule, Path], tiny: Path) -> None:
    module, folder = trained
    other = make_module(tiny, lora=LoraArgs(rank=4, alpha=9), adapter=str(folder))
    other.configure_model()
    assert torch.equal(other.backbone.probe(), module.backbone.probe())


def test_verification_measures_and_leaves_everything_as_it_was(trained: tuple[FewShotModule, Path]) -> None:
    module, folder = trained
    output, weights = module.backbone.probe(), adapter_weights(module)
    assert export.verify_export(folder, module.backbone) < 1e-6
    assert torch.equal(module.backbone.probe(), output)
    assert adapter_weights(module).keys() == weights.keys()


def test_verification_notices_a_lost_alpha(trained: tuple[FewShotModule, Path], tmp_path: Path) -> None:
    """What third-party trainers do: no metadata, so that loaders take alpha = rank."""
    module, folder = trained
    shutil.copytree(folder, tmp_path / "lost")
    file = tmp_path / "lost" / adapters.DIFFUSERS_FILE
    save_file(load_file(file), file)
    with pytest.raises(ValueError, match="gives other outputs in diffusers"):
        export.verify_export(tmp_path / "lost", module.backbone)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change the weights and make the manifest agree, as a faulty tool would."""
    file = folder / adapters.DIFFUSERS_FILE
    save_file(change(load_file(file)), file)
    manifest = json.loads((folder / adapters.MANIFEST_FILE).read_text())
    manifest["weights_sha256"] = adapters.sha256(file)
    (folder / adapters.MANIFEST_FILE).write_text(json.dumps(manifest))


def load(folder: Path, tiny: Path, codec_hash: str | None = None, **lora: object) -> None:
    backbone = frozen(tiny)
    args = LoraArgs(**{"rank": 4, "alpha": 9, **lora})  # type: ignore[arg-type]
    adapters.inject(backbone.denoiser, args, backbone.lora_targets, seed=0)
    adapters.load_adapter(folder, backbone.denoiser, str(backbone.fingerprint), codec_hash)


@pytest.fixture
def copy(trained: tuple[FewShotModule, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[1], tmp_path / "adapter"))


def test_wrong_rank_alpha_and_targets_are_refused(copy: Path, tiny: Path) -> None:
    with pytest.raises(ValueError, match="set lora.rank to the rank"):
        load(copy, tiny, rank=8)
    with pytest.raises(ValueError, match="was trained with lora.alpha 9"):
        load(copy, tiny, alpha=4)
    with pytest.raises(ValueError, match="does not fit lora.targets"):
        load(copy, tiny, targets=["to_q"])


def test_a_wrong_base_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained on another backbone"):
        load(copy, tiny_checkpoint(tmp_path / "other", seed=1))


def test_another_codec_is_refused(copy: Path, tiny: Path) -> None:
    with pytest.raises(ValueError, match="draws with codec ImageCodec"):
        load(copy, tiny, codec_hash="0" * 16)


def test_renamed_and_missing_keys_are_refused(copy: Path, tiny: Path) -> None:
    rewrite(copy, lambda state: {k.replace("to_q", "to_query"): v for k, v in state.items()})
    with pytest.raises(ValueError, match="tensors missing"):
        load(copy, tiny)


def test_an_untrained_adapter_is_refused(copy: Path, tiny: Path) -> None:
    rewrite(copy, lambda state: {k: v * 0 if "lora_B" in k else v for k, v in state.items()})
    with pytest.raises(ValueError, match="is untrained"):
        load(copy, tiny)


def test_empty_and_damaged_files_are_refused(copy: Path, tiny: Path) -> None:
    rewrite(copy, lambda state: {})
    with pytest.raises(ValueError, match="is empty"):
        load(copy, tiny)
    (copy / adapters.DIFFUSERS_FILE).write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        load(copy, tiny)
    (copy / adapters.MANIFEST_FILE).unlink()
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load(copy, tiny)


def test_a_manifest_of_another_format_is_refused(copy: Path, tiny: Path) -> None:
    manifest = json.loads((copy / adapters.MANIFEST_FILE).read_text())
    (copy / adapters.MANIFEST_FILE).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match="has format 99, this version reads 1"):
        load(copy, tiny)


SPOIL: list[tuple[str, Callable[[dict[str, object]], object]]] = [
    (adapters.MANIFEST_FILE, lambda content: []),
    (adapters.MANIFEST_FILE, lambda content: {"format": 1}),
    (adapters.MANIFEST_FILE, lambda content: {**content, "backbone": {}}),
    (adapters.MANIFEST_FILE, lambda content: {**content, "codec": "mask"}),
    (adapters.MANIFEST_FILE, lambda content: {**content, "colour": "blue"}),
    ("adapter_config.json", lambda content: {}),
    ("adapter_config.json", lambda content: {"lora_alpha": "9"}),
]


@pytest.mark.parametrize(("name", "spoil"), SPOIL)
def test_damaged_descriptions_are_refused_with_file_and_remedy(
    name: str, spoil: Callable[[dict[str, object]], object], copy: Path, tiny: Path
) -> None:
    (copy / name).write_text(json.dumps(spoil(json.loads((copy / name).read_text()))))
    with pytest.raises(ValueError, match=rf"{name} is damaged .*; export the adapter again"):
        load(copy, tiny)
    (copy / name).write_text("{")
    with pytest.raises(ValueError, match=rf"{name} cannot be read as JSON .*; export the adapter again"):
        load(copy, tiny)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value: float, copy: Path, tiny: Path) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(iter(state.values())).view(-1)[3] = value
        return state

    rewrite(copy, spoil)
    with pytest.raises(ValueError, match="holds NaN or infinity in 1 tensors"):
        load(copy, tiny)


def test_a_missing_adapter_is_an_error_before_weights(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny, adapter=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no adapter at"):
        make_trainer(tmp_path, 1).fit(module, datamodule=make_data(pairs_root))
    assert module.backbone.fingerprint is None


def test_targets_that_match_nothing_are_refused_with_what_there_is(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"lora.targets must match.*to_q"):
        adapters.inject(frozen(tiny).denoiser, LoraArgs(targets=["to_nothing"]), "", seed=0)


def test_an_adapter_of_the_usual_size_is_not_scaled() -> None:
    assert LoraArgs().alpha / LoraArgs().rank == 1


def test_sizes_and_origin_of_an_adapter_cannot_be_changed() -> None:
    for value in (LoraArgs(), adapters.Manifest({}, {}, {}, "")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, 1)


def test_the_smallest_sizes_are_sizes() -> None:
    smallest = LoraArgs(rank=1, alpha=0.5, dropout=0.999)
    assert (smallest.rank, smallest.alpha, smallest.dropout) == (1, 0.5, 0.999)


def test_the_adapter_alone_learns_and_has_full_precision(tiny: Path) -> None:
    model = frozen(tiny).denoiser.to(torch.bfloat16)
    adapters.inject(model, LoraArgs(rank=2, targets=["to_q"]), "", seed=0)
    kinds = {("lora_" in name, p.requires_grad, p.dtype) for name, p in model.named_parameters()}
    assert kinds == {(True, True, torch.float32), (False, False, torch.bfloat16)}


def test_a_backbone_takes_one_adapter(tiny: Path) -> None:
    model = frozen(tiny).denoiser
    adapters.inject(model, LoraArgs(rank=2, targets=["to_q"]), "", seed=0)
    with pytest.raises(ValueError, match="carries an adapter of another run"):
        adapters.inject(model, LoraArgs(rank=2, targets=["to_q"]), "", seed=0)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"alpha": -1}, {"dropout": 1}, {"dropout": -0.1}])
def test_sizes_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"lora\.{next(iter(wrong))} must be .*, got"):
        LoraArgs(**wrong)  # type: ignore[arg-type]


def test_the_adapter_is_a_function_of_the_seed(tiny: Path) -> None:
    states = []
    for seed in (0, 0, 1):
        backbone = frozen(tiny)
        adapters.inject(backbone.denoiser, LoraArgs(rank=2), backbone.lora_targets, seed)
        states.append(adapters.adapter_state(backbone.denoiser))
    key = next(k for k in states[0] if "lora_A" in k)
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key])


def test_saving_again_replaces_the_folder_as_a_whole(trained: tuple[FewShotModule, Path], copy: Path) -> None:
    (copy / "stale.txt").write_text("old")
    module = trained[0]
    export.save_adapter(copy, module.backbone.denoiser, CogVideoXImageToVideoPipeline, module.manifest())
    assert not (copy / "stale.txt").exists()
    assert [f.name for f in copy.parent.iterdir()] == ["adapter"], "no temporary folder is left"
