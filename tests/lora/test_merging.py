"""Within ``merged`` the adapter is part of the weights; afterwards the very weights from before are back."""

from __future__ import annotations

from pathlib import Path

import accelerate
import pytest
import torch
from diffusers.hooks import apply_layerwise_casting

from tests.tiny_training import everything, make_data, make_module, make_trainer, same
from vdmfewshot.backbones.checkpoint import fingerprint
from vdmfewshot.lora import adapters
from vdmfewshot.training.module import FewShotModule


@pytest.fixture
def trained(tiny: Path, pairs_root: Path, tmp_path: Path) -> FewShotModule:
    """A module whose adapter has moved far enough to show."""
    module = make_module(tiny, lr=5e-2)
    make_trainer(tmp_path, 5).fit(module, datamodule=make_data(pairs_root))
    return module


def test_merged_weights_predict_the_same_and_the_old_ones_come_back_bit_for_bit(trained: FewShotModule) -> None:
    backbone, model = trained.backbone, trained.backbone.denoiser
    before, apart, name = everything(trained), backbone.probe(), fingerprint(model, {})
    parameters = {k: id(p) for k, p in trained.named_parameters()}
    model.disable_adapters()
    frozen = backbone.probe()
    model.enable_adapters()
    with adapters.merged(model) as merged:
        assert merged
        assert not same(before, everything(trained)), "the weights hold the adapter"
        together = backbone.probe()
    assert (apart - frozen).abs().max() > 1e-2, "the adapter matters"
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    assert not torch.equal(together, apart), "the path through the adapter is skipped"
    assert same(before, everything(trained))
    assert fingerprint(model, {}) == name
    assert {k: id(p) for k, p in trained.named_parameters()} == parameters, "the optimiser's tensors are the module's"
    assert torch.equal(backbone.probe(), apart)


def test_weights_come_back_after_an_exception(trained: FewShotModule, monkeypatch: pytest.MonkeyPatch) -> None:
    model, before = trained.backbone.denoiser, everything(trained)
    with pytest.raises(KeyError), adapters.merged(model):
        raise KeyError("in the middle of generation")
    assert same(before, everything(trained))
    layer = [m for m in model.modules() if isinstance(m, adapters.lora.Linear)][3]
    monkeypatch.setattr(layer, "merge", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError), adapters.merged(model):
        pass
    assert same(before, everything(trained))
    assert not any(m.merged for m in model.modules() if isinstance(m, adapters.lora.Linear))


def test_merging_bf16_weights_adds_little_to_the_error_of_bf16(tiny: Path) -> None:
    exact, rounded = make_module(tiny), make_module(tiny, dtype="bf16")
    for module in (exact, rounded):
        module.configure_model()
        generator = torch.Generator().manual_seed(0)
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    before, reference, apart = everything(rounded), exact.backbone.probe(), rounded.backbone.probe()
    with adapters.merged(rounded.backbone.denoiser) as merged:
        assert merged
        together = rounded.backbone.probe()
    assert (together - reference).norm() < 1.5 * (apart - reference).norm()
    assert same(before, everything(rounded))


@pytest.mark.parametrize("tool", ["accelerate", "diffusers"])
def test_offloaded_weights_are_not_merged(trained: FewShotModule, tool: str) -> None:
    model = trained.backbone.denoiser
    if tool == "accelerate":
        accelerate.cpu_offload(model, torch.device("cpu"))
    else:
        apply_layerwise_casting(model, torch.float8_e4m3fn, torch.float32)
    with adapters.merged(model) as merged:
        assert not merged
