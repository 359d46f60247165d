"""Pretraining modules on tiny configurations: they learn, resume, export and follow the stock pipeline."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from vdmfewshot.pretrain.bank import make_bank
from vdmfewshot.pretrain.callbacks import ExportWeights
from vdmfewshot.pretrain.data import LatentBank, LatentData, VAEData, to_unit
from vdmfewshot.pretrain.muon import COEFFICIENTS, MuonAdamW, orthogonalize
from vdmfewshot.pretrain.schedule import wsd
from vdmfewshot.pretrain.transformer import TransformerPretraining, first_frame_condition, pad_front, rotary
from vdmfewshot.pretrain.vae import VAEPretraining, build_vae, treat_as_images

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "pretrain"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    build_vae((8, 8, 8)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, vae_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    make_bank(vae_folder, folder, size=32, shards=2, per_shard=4)
    return folder


def trainer(folder: Path, steps: int, *callbacks: L.Callback) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), default_root_dir=folder,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )  # fmt: skip


def fixed_batch_losses(module: L.LightningModule, batch: torch.Tensor, steps: int) -> list[float]:
    """Losses of repeated optimiser steps on one batch with the same noise each time."""
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    optimizer = module.configure_optimizers()["optimizer"]  # type: ignore[call-overload,index]
    losses = []
    for _ in range(steps):
        torch.manual_seed(1)
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_vae_steps_lower_the_loss() -> None:
    module = VAEPretraining(widths=(8, 8, 8), lr=5e-3)
    batch = next(iter(VAEData(crop=16, crops=4, batch_size=2, num_workers=0).train_dataloader()))
    assert batch.shape == (8, 3, 1, 16, 16)
    losses = fixed_batch_losses(module, batch, 8)
    assert losses[-1] < losses[0]


def test_image_shortcut_equals_the_stock_forward() -> None:
    vae = build_vae((8, 8, 8)).eval()
    frame = torch.randn(2, 3, 1, 16, 16)
    with torch.no_grad():
        expected = vae.decode(vae.encode(frame).latent_dist.mode()).sample
        treat_as_images(vae)
        torch.testing.assert_close(vae.decode(vae.encode(frame).latent_dist.mode()).sample, expected)


def test_bank_holds_the_image_latent_and_the_clip(bank: Path, vae_folder: Path) -> None:
    shards = sorted(bank.glob("*.safetensors"))
    assert [load_file(path)["latents"].shape for path in shards] == [(4, 4, 16, 8, 8)] * 2
    before = [path.stat().st_mtime_ns for path in shards]
    make_bank(vae_folder, bank, size=32, shards=2, per_shard=4)
    assert [path.stat().st_mtime_ns for path in shards] == before


def test_bank_without_shards_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make_bank"):
        next(iter(LatentBank(tmp_path, 2, 0)))


def test_transformer_steps_lower_the_loss(bank: Path) -> None:
    module = TransformerPretraining(heads=1, layers=1, warmup=1, lr=3e-3)
    losses = fixed_batch_losses(module, next(iter(LatentBank(bank, 4, 0))), 12)
    assert losses[-1] < 0.9 * losses[0]


def test_resumed_run_goes_on_where_it_stopped(bank: Path, tmp_path: Path) -> None:
    def fit(steps: int, folder: Path, resume: Path | None = None) -> TransformerPretraining:
        torch.manual_seed(3)
        module = TransformerPretraining(heads=1, layers=1, warmup=1, total_steps=4)
        torch.manual_seed(4 if resume is None else 5)
        saver = ModelCheckpoint(folder, every_n_train_steps=2, save_top_k=-1, filename="{step}")
        trainer(folder, steps, saver).fit(module, LatentData(bank, 2), ckpt_path=resume, weights_only=False)
        return module

    first = fit(2, tmp_path / "a")
    saved = torch.load(tmp_path / "a" / "step=2.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(saved["average.module.proj_out.weight"], first.average.module.proj_out.weight)
    resumed = fit(4, tmp_path / "a", tmp_path / "a" / "step=2.ckpt")
    assert resumed.trainer.global_step == 4
    assert int(resumed.average.n_averaged) == 4


def test_export_runs_in_the_stock_pipeline(bank: Path, vae_folder: Path, tmp_path: Path) -> None:
    module = TransformerPretraining(heads=1, layers=1, warmup=1)
    trainer(tmp_path, 2, ExportWeights(tmp_path)).fit(module, LatentData(bank, 2))
    prompt = load_file(tmp_path / "prompt_embeds.safetensors")["prompt_embeds"]
    assert prompt.shape == (1, 4, 64)
    pipeline = CogVideoXImageToVideoPipeline(
        tokenizer=None,  # type: ignore[arg-type]
        text_encoder=None,  # type: ignore[arg-type]
        vae=AutoencoderKLCogVideoX.from_pretrained(vae_folder),
        transformer=CogVideoXTransformer3DModel.from_pretrained(tmp_path / "transformer"),
        scheduler=module.scheduler,
    )
    pipeline.set_progress_bar_config(disable=True)
    video = pipeline(
        image=torch.zeros(1, 3, 32, 32), prompt_embeds=prompt, height=32, width=32, num_frames=9,
        num_inference_steps=2, guidance_scale=1.0, output_type="np",
    ).frames  # fmt: skip
    assert np.asarray(video).shape == (1, 9, 32, 32, 3)


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


def test_shifted_timesteps_lean_towards_noise() -> None:
    uniform, shifted = (TransformerPretraining(heads=1, layers=1, timestep_shift=s) for s in (1.0, 3.0))
    steps = uniform._timesteps(20_000).float()
    assert steps.min() >= 0
    assert steps.max() <= 999
    assert steps.mean() == pytest.approx(499.5, abs=8)
    # the median u = 0.5 moves to 3 u / (1 + 2 u) = 0.75
    assert shifted._timesteps(20_000).float().median() == pytest.approx(750, abs=12)


def test_a_resumed_autoencoder_sees_new_clips() -> None:
    data = VAEData(crop=16, crops=1, batch_size=2, num_workers=0)
    first = [batch for batch, _ in zip(data.train_dataloader(), range(2), strict=False)]
    data.trainer = SimpleNamespace(global_step=1)  # type: ignore[assignment]
    torch.testing.assert_close(next(iter(data.train_dataloader())), first[1])


def test_muon_counts_one_step_and_updates_both_groups() -> None:
    model = torch.nn.Linear(4, 4)
    before = [p.clone() for p in model.parameters()]
    optimizer = MuonAdamW([{"params": [model.weight], "muon": True}, {"params": [model.bias], "muon": False}], lr=0.1)
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))


def test_schedule_rises_stays_and_falls() -> None:
    factor = wsd(100, 10, 0.5, 0.1)
    assert factor(0) == pytest.approx(0.1)
    assert factor(30) == pytest.approx(1.0)
    assert factor(75) == pytest.approx(0.55)
    assert factor(200) == pytest.approx(0.1)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_fit_the_constructors(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    parser = ArgumentParser()
    parser.add_subclass_arguments(L.LightningModule, "model")
    parser.add_subclass_arguments(L.LightningDataModule, "data")
    parser.add_class_arguments(L.Trainer, "trainer")
    config["model"]["init_args"].pop("init_from", None)
    built = parser.parse_object({key: config[key] for key in ("model", "data", "trainer")})
    assert built.model.init_args.total_steps == config["trainer"]["max_steps"]


def test_pixels_map_to_minus_one_and_one() -> None:
    frames = np.array([0, 255], np.uint8).reshape(1, 2, 1, 1, 1).repeat(3, -1)
    assert to_unit(frames).flatten().tolist() == [-1, 1] * 3
