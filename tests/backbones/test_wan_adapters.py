"""Adapters of Wan: trained and exported here, read by diffusers and peft, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
from lightning.pytorch import Trainer
from peft import LoraConfig, PeftModel, get_peft_model_state_dict

from tests.tiny_training import make_data, make_trainer
from vdmfewshot.backbones import Wan
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs

#: (checkpoint, arguments) of everything that can be adapted
ADAPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "2.1-i2v-14b": ("2.1-i2v-14b", {}),
    "2.1-t2v-1.3b": ("2.1-t2v-1.3b", {}),
    "2.2-ti2v-5b": ("2.2-ti2v-5b", {}),
    "2.2-i2v-a14b high": ("2.2-i2v-a14b", {"expert": "high_noise"}),
    "2.2-i2v-a14b low": ("2.2-i2v-a14b", {"expert": "low_noise"}),
}
LORA = LoraArgs(rank=4, alpha=9)


def make_module(folder: Path, arguments: dict[str, Any], **kwargs: Any) -> FewShotModule:
    return FewShotModule(
        Wan(str(folder), **arguments),
        lora=LORA,
        optimizer=lambda p: torch.optim.AdamW(p, lr=3e-2),
        sampling=SamplingArgs(steps=2),
        **kwargs,
    )


def stock_pipeline(folder: Path, backbone: Wan) -> WanImageToVideoPipeline:
    nothing = {"tokenizer": None, "text_encoder": None}
    return WanImageToVideoPipeline.from_pretrained(folder, **nothing, **backbone.pipeline_kwargs)


def frozen(folder: Path, arguments: dict[str, Any]) -> Wan:
    backbone = Wan(str(folder), **arguments)
    backbone.load()
    return backbone


def clip(backbone: Wan) -> torch.Tensor:
    frame = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    return backbone.generate(frame, 5, [torch.Generator().manual_seed(0)], 4, 1.0)


class Kept(AdapterExport):
    """Remembers where the verified export lies, and what was generated in the test."""

    folder: Path
    generated: torch.Tensor

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        super().on_fit_end(trainer, pl_module)
        self.folder = run_folder(trainer) / "adapter"

    def on_test_batch_end(self, trainer: Trainer, module: Any, outputs: Any, *args: Any) -> None:
        self.generated = outputs.generated


def adapt(folder: Path, arguments: dict[str, Any], root: Path, runs: Path) -> tuple[FewShotModule, Kept]:
    module, kept = make_module(folder, arguments), Kept()
    trainer = make_trainer(runs, 3, callbacks=[kept], limit_test_batches=1)
    trainer.adapt(module, make_data(root, shots=2, num_frames=5))
    return module, kept


@pytest.mark.parametrize("name", list(ADAPTED))
def test_from_fit_to_diffusers_and_peft(
    wan_checkpoints: dict[str, Path], pairs_root: Path, tmp_path: Path, name: str
) -> None:
    variant, arguments = ADAPTED[name]
    checkpoint = wan_checkpoints[variant]
    module, kept = adapt(checkpoint, arguments, pairs_root, tmp_path)
    folder = kept.folder
    assert kept.generated.shape == (4, 1, 5, 3, 32, 32)
    trained, expected, video = module.backbone, module.backbone.probe(), clip(module.backbone)
    part = "transformer" if trained.denoiser is trained.transformer else "transformer_2"

    other = frozen(checkpoint, arguments)
    assert (other.probe() - expected).abs().max() > 1e-3, "the adapter has an effect"
    stock = stock_pipeline(checkpoint, other)
    stock.load_lora_weights(folder, **other.lora_kwargs)
    other.transformer, other.transformer_2 = stock.transformer, stock.transformer_2
    other.pipeline.register_modules(transformer=stock.transformer, transformer_2=stock.transformer_2)
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(clip(other), video, rtol=0, atol=1e-5)

    base = WanTransformer3DModel.from_pretrained(checkpoint, subfolder=part)
    setattr(other, part, PeftModel.from_pretrained(base, folder).base_model.model)
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)

    ours = make_module(checkpoint, arguments, adapter=str(folder))
    ours.configure_model()
    assert torch.equal(ours.backbone.probe(), expected)

    card = (folder / "README.md").read_text()
    assert (", expand_timesteps=True)\n" in card) == (variant == "2.1-t2v-1.3b"), "the checkpoint does not say it"
    argument = ", load_into_transformer_2=True" if part == "transformer_2" else ""
    assert f'pipeline.load_lora_weights("this folder"{argument})\n' in card


@pytest.mark.parametrize("name", list(ADAPTED))
def test_an_adapter_made_elsewhere_loads_here(wan_checkpoints: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Diffusers' own format, without a manifest of ours."""
    variant, arguments = ADAPTED[name]
    backbone = frozen(wan_checkpoints[variant], arguments)
    stock = stock_pipeline(wan_checkpoints[variant], backbone)
    network = stock.transformer_2 if backbone.lora_kwargs else stock.transformer
    torch.manual_seed(0)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    network.add_adapter(LoraConfig(r=4, lora_alpha=9, init_lora_weights=False, target_modules=targets))
    stock.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(network))

    adapters.inject(backbone.denoiser, LORA, backbone.lora_targets, seed=0)
    adapters.load_adapter(tmp_path, backbone.denoiser, str(backbone.fingerprint))
    ours = backbone.probe()
    backbone.transformer, backbone.transformer_2 = stock.transformer, stock.transformer_2
    assert torch.equal(backbone.probe(), ours)
    network.disable_adapters()
    assert (backbone.probe() - ours).abs().max() > 1e-3


def test_recomputed_activations_give_the_same_gradients(wan_checkpoints: dict[str, Path]) -> None:
    gradients = []
    for memory in (MemoryArgs(), MemoryArgs(checkpointing="full")):
        backbone = frozen(wan_checkpoints["2.2-ti2v-5b"], {"memory": memory})
        adapters.inject(backbone.denoiser, LORA, backbone.lora_targets, seed=0)
        generator = torch.Generator().manual_seed(0)
        latents = backbone.encode(torch.rand(1, 5, 3, 32, 32, generator=generator) * 2 - 1)
        backbone.denoise(latents.x0, torch.tensor([500.0]), latents.condition).square().mean().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters() if p.requires_grad})
    assert all(torch.equal(gradient, gradients[1][n]) for n, gradient in gradients[0].items())
    assert any(gradient.any() for gradient in gradients[0].values())
