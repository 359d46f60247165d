"""Parity with stock diffusers: our generation and our training inputs are those of CogVideoXImageToVideoPipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file

from tests.tiny import TRANSFORMERS, tiny_checkpoint
from vdmfewshot.backbones.cogvideox import CogVideoX
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample
from vdmfewshot.clips.clip import to_frame
from vdmfewshot.lora import adapters


def pictures(n: int = 2, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def generators(n: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(n)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    folders = {version: tiny_checkpoint(root / version, version) for version in TRANSFORMERS}
    folders["1.5-dpm"] = tiny_checkpoint(root / "1.5-dpm", "1.5", dpm=True)
    return folders


def load(folder: Path, **kwargs: object) -> CogVideoX:
    backbone = CogVideoX(str(folder), **kwargs)  # type: ignore[arg-type]
    backbone.load()
    return backbone


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("num_frames", [5, 9, 13])
@pytest.mark.parametrize("version", [*TRANSFORMERS, "1.5-dpm"])
def test_generation_equals_the_stock_pipeline(
    checkpoints: dict[str, Path], version: str, num_frames: int, guidance: float
) -> None:
    folder, images = checkpoints[version], pictures()
    backbone = load(folder)
    adapters.inject(backbone.denoiser, adapters.LoraArgs(rank=4), backbone.lora_targets, seed=0)  # untrained: B = 0
    ours = backbone.generate(torch.stack([to_frame(i) for i in images]), num_frames, generators(), 3, guidance)

    stock = CogVideoXImageToVideoPipeline.from_pretrained(folder, tokenizer=None, text_encoder=None)
    stock.set_progress_bar_config(disable=True)
    embeds = load_file(folder / "prompt_embeds.safetensors")
    theirs = stock(
        image=[Image.fromarray(i) for i in images],
        height=32,
        width=32,
        num_frames=num_frames,
        num_inference_steps=3,
        guidance_scale=guidance,
        generator=generators(),
        prompt_embeds=embeds["prompt_embeds"].expand(2, -1, -1),
        negative_prompt_embeds=embeds["negative_prompt_embeds"].expand(2, -1, -1),
        output_type="pt",
    ).frames
    assert torch.equal((ours / 2 + 0.5).clamp(0, 1), theirs)
    latent_frames = (num_frames - 1) // 4 + 1
    assert ours.shape[1] == (num_frames if latent_frames % 2 else 4 * latent_frames)


def record_calls(backbone: CogVideoX) -> list[dict[str, torch.Tensor]]:
    calls: list[dict[str, torch.Tensor]] = []
    backbone.transformer.register_forward_pre_hook(lambda m, a, kw: calls.append(kw), with_kwargs=True)
    return calls


@pytest.mark.parametrize("num_frames", [5, 9, 13, 17])
@pytest.mark.parametrize("version", list(TRANSFORMERS))
def test_training_inputs_equal_those_of_the_stock_pipeline(
    checkpoints: dict[str, Path], version: str, num_frames: int
) -> None:
    """Fails if the first-frame latent is scaled the wrong way (peers: by 2x) or padded at the wrong end."""
    backbone = load(checkpoints[version])
    # The pipeline samples the posterior: take its spread away (log-variance is clamped at -30, σ = 3e-7).
    with torch.no_grad():
        conv = backbone.vae.encoder.conv_out.conv
        conv.weight[4:].zero_()
        conv.bias[4:].fill_(-60.0)
    calls = record_calls(backbone)
    frames = torch.stack([to_frame(i) for i in pictures()])[:, None].expand(-1, num_frames, -1, -1, -1)
    backbone.generate(frames[:, 0], num_frames, generators(), 1, 1.0)
    latents = backbone.encode(frames)
    backbone.denoise(torch.zeros_like(latents.x0), torch.tensor([999, 999]), latents.condition)
    stock, ours = calls
    torch.testing.assert_close(ours["hidden_states"][:, :, 4:], stock["hidden_states"][:, :, 4:], rtol=0, atol=1e-5)
    assert ours["hidden_states"].shape == stock["hidden_states"].shape
    assert torch.equal(ours["timestep"], stock["timestep"])
    assert torch.equal(ours["encoder_hidden_states"], stock["encoder_hidden_states"])
    assert (ours["ofs"] is None) == (stock["ofs"] is None)
    if ours["ofs"] is not None:
        assert torch.equal(ours["ofs"], stock["ofs"])
    if ours["image_rotary_emb"] is not None:
        assert all(torch.equal(a, b) for a, b in zip(ours["image_rotary_emb"], stock["image_rotary_emb"], strict=True))


@pytest.mark.parametrize(("num_frames", "padding"), [(5, 0), (9, 1), (13, 0), (17, 1)])
def test_video_latents_are_padded_at_the_front_by_what_the_pipeline_drops(
    checkpoints: dict[str, Path], num_frames: int, padding: int
) -> None:
    backbone = load(checkpoints["1.5"])
    frames = torch.rand(1, num_frames, 3, 32, 32) * 2 - 1
    x0 = backbone.encode(frames).x0
    z = backbone.vae.encode(frames.permute(0, 2, 1, 3, 4)).latent_dist.mode().permute(0, 2, 1, 3, 4) * 0.7
    assert x0.shape[1] == z.shape[1] + padding
    torch.testing.assert_close(x0[:, padding:], z, rtol=0, atol=0)
    torch.testing.assert_close(x0[:, :padding], z[:, :padding], rtol=0, atol=0)


@pytest.mark.parametrize(("version", "factor"), [("1.5", 1 / 0.7), ("1.0", 0.7)])
def test_first_frame_latent_is_scaled_as_the_checkpoint_says(
    checkpoints: dict[str, Path], version: str, factor: float
) -> None:
    backbone = load(checkpoints[version])
    frames = torch.rand(1, 9, 3, 32, 32) * 2 - 1
    condition = backbone.encode(frames).condition["image"]
    z = backbone.vae.encode(frames[:, :1].permute(0, 2, 1, 3, 4)).latent_dist.mode()[:, :, 0]
    torch.testing.assert_close(condition[:, 0], z * factor)
    assert not condition[:, 1:].any()


@pytest.mark.parametrize("version", list(TRANSFORMERS))
def test_training_loss_equals_an_independent_reference(checkpoints: dict[str, Path], version: str) -> None:
    """CogVideo's own loss, written from its definition: x0 error weighted by 1 / (1 - ᾱ), diffusers' scheduler."""
    backbone = load(checkpoints[version])
    latents = backbone.encode(torch.rand(3, 9, 3, 32, 32) * 2 - 1)
    u, eps = draw_noise(0, [5, 6, 7], latents.x0.shape[1:])
    objective = backbone.objective
    t = objective.timestep(u)
    prediction = backbone.denoise(objective.corrupt(latents.x0, eps, t), t, latents.condition)
    ours = loss_per_sample(prediction, objective.target(latents.x0, eps, t))

    scheduler = backbone.pipeline.scheduler
    noisy = scheduler.add_noise(latents.x0, eps, t)
    v = backbone.denoise(noisy, t, latents.condition)
    x0 = scheduler.get_velocity(v, noisy, t)  # √ᾱ x_t - √(1-ᾱ) v
    weight = 1 / (1 - scheduler.alphas_cumprod[t]).view(-1, 1, 1, 1, 1)
    reference = (weight * (x0 - latents.x0) ** 2).mean(dim=(1, 2, 3, 4)).float()
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_perfect_prediction_is_zero(checkpoints: dict[str, Path]) -> None:
    objective = load(checkpoints["1.5"]).objective
    x0, eps, t = torch.randn(4, 4, 4, 8, 8), torch.randn(4, 4, 4, 8, 8), torch.tensor([0, 10, 500, 999])
    assert loss_per_sample(objective.target(x0, eps, t), objective.target(x0, eps, t)).tolist() == [0, 0, 0, 0]
    assert torch.equal(objective.corrupt(x0, eps, t)[3], eps[3]), "zero SNR: the last step is pure noise"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 32, 32), r"num_frames must be 4k\+1 for CogVideoX, got 16; nearest: 13, 17"),
        ((1, 32, 32), r"num_frames must be 4k\+1 for CogVideoX, got 1; nearest: 5, 9"),
        ((9, 36, 32), r"height must be a multiple of 8 for CogVideoX, got 36; nearest: 32, 40"),
        ((9, 64, 32), r"height must be at most 32 for this checkpoint, got 64"),
        ((9, 32, 4), r"width must be a multiple of 8 for CogVideoX, got 4; nearest: 8, 16"),
    ],
)
def test_illegal_clips_are_refused_before_weights_are_read(
    tiny: Path, shape: tuple[int, int, int], message: str
) -> None:
    backbone = CogVideoX(str(tiny))
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


def test_learned_positions_fix_the_size(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="must be 32x32 for this checkpoint"):
        CogVideoX(str(checkpoints["1.0-learned"])).check_clip(9, 64, 64)


def test_generation_does_not_depend_on_the_batch(tiny: Path) -> None:
    backbone, frames = load(tiny), torch.stack([to_frame(i) for i in pictures(3)])
    together = backbone.generate(frames, 9, generators(3), 2, 1.0)
    alone = torch.cat([backbone.generate(frames[i : i + 1], 9, [generators(3)[i]], 2, 1.0) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_missing_backbones_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'embedded', an existing folder or a hub id"):
        CogVideoX(str(tmp_path / "nowhere")).check_clip(9, 32, 32)
    with pytest.raises(FileNotFoundError, match="transformer/config.json is missing"):
        CogVideoX(str(tmp_path)).check_clip(9, 32, 32)
    with pytest.raises(FileNotFoundError, match="hf download nobody/nothing"):
        CogVideoX("nobody/nothing").check_clip(9, 32, 32)


def test_random_init_keeps_the_architecture_and_changes_the_weights(tiny: Path) -> None:
    pretrained, random = load(tiny), load(tiny, init="random")
    assert {k: v.shape for k, v in pretrained.transformer.state_dict().items()} == {
        k: v.shape for k, v in random.transformer.state_dict().items()
    }
    assert pretrained.fingerprint != random.fingerprint
    assert random.fingerprint == load(tiny, init="random").fingerprint


def test_fingerprint_does_not_depend_on_dtype(tmp_path: Path, tiny: Path) -> None:
    assert load(tiny).fingerprint == load(tiny, dtype="bf16").fingerprint
    assert load(tiny).fingerprint != load(tiny_checkpoint(tmp_path / "other", seed=1)).fingerprint
