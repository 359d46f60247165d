"""Parity with stock diffusers: our generation and our training inputs are those of WanImageToVideoPipeline."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file

from tests.tiny_wan import VARIANTS, Z, change, tiny_wan
from vdmfewshot.backbones import Wan
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample
from vdmfewshot.clips.clip import to_frame
from vdmfewshot.lora import adapters

#: not square, so that a swap of height and width shows
HEIGHT, WIDTH = 32, 64
EULER = "2.1-i2v-14b euler"


def pictures(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)


def first_frames(n: int = 2) -> torch.Tensor:
    return torch.stack([to_frame(image) for image in pictures(n)])


def generators(n: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(n)]


@cache
def load(folder: Path, **kwargs: Any) -> Wan:
    """Shared by the tests, which leave it as it is."""
    backbone = Wan(str(folder), **kwargs)
    backbone.load()
    return backbone


def stock_videos(stock: WanImageToVideoPipeline, folder: Path, num_frames: int, guidance: float) -> torch.Tensor:
    """What a user of diffusers does, sample by sample: (B, F, 3, H, W) in [0, 1]."""
    stock.set_progress_bar_config(disable=True)
    videos = [
        stock(
            image=Image.fromarray(image),
            height=HEIGHT,
            width=WIDTH,
            num_frames=num_frames,
            num_inference_steps=3,
            guidance_scale=guidance,
            generator=generator,
            **load_file(folder / "prompt_embeds.safetensors"),
            output_type="pt",
        ).frames
        for image, generator in zip(pictures(), generators(), strict=True)
    ]
    return torch.cat(videos)


@pytest.mark.parametrize("variant", [*VARIANTS, EULER])
def test_generation_equals_the_stock_pipeline(wan_checkpoints: dict[str, Path], variant: str) -> None:
    folder = wan_checkpoints[variant]
    backbone = Wan(str(folder))
    backbone.load()
    adapters.inject(backbone.denoiser, adapters.LoraArgs(rank=4), backbone.lora_targets, seed=0)  # untrained: B = 0
    nothing = {"tokenizer": None, "text_encoder": None}
    stock = WanImageToVideoPipeline.from_pretrained(folder, **nothing, **backbone.pipeline_kwargs)
    for num_frames, guidance in [(5, 3.0), (9, 1.0)]:
        ours = backbone.generate(first_frames(), num_frames, generators(), 3, guidance)
        theirs = stock_videos(stock, folder, num_frames, guidance)
        assert ours.shape == (2, num_frames, 3, HEIGHT, WIDTH)
        assert torch.equal((ours / 2 + 0.5).clamp(0, 1), theirs), (num_frames, guidance)
        assert not torch.equal(theirs[0], theirs[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_generation_does_not_depend_on_the_batch(wan_checkpoints: dict[str, Path], variant: str) -> None:
    backbone, frames = load(wan_checkpoints[variant]), first_frames(3)
    together = backbone.generate(frames, 5, generators(3), 2, 1.0)
    alone = [backbone.generate(frames[i : i + 1], 5, [generators(3)[i]], 2, 1.0) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_the_stock_pipeline_takes_neither_a_batch_nor_an_embedding(wan_checkpoints: dict[str, Path]) -> None:
    """Why samples go one by one; when diffusers repairs it, so can we."""
    pipeline, frames = load(wan_checkpoints["2.2-ti2v-5b"]).pipeline, first_frames() / 2 + 0.5
    embeds = load_file(wan_checkpoints["2.2-ti2v-5b"] / "prompt_embeds.safetensors")["prompt_embeds"].expand(2, -1, -1)
    with pytest.raises(RuntimeError, match="size"):
        pipeline(frames, prompt_embeds=embeds, guidance_scale=1.0, height=HEIGHT, width=WIDTH, generator=generators())
    with pytest.raises(ValueError, match="Cannot forward both"):
        pipeline(frames[:1], prompt_embeds=embeds[:1], image_embeds=torch.zeros(1, 5, 16), height=HEIGHT, width=WIDTH)


Call = dict[str, torch.Tensor]


def record_calls(network: torch.nn.Module) -> list[Call]:
    calls: list[Call] = []
    network.register_forward_pre_hook(lambda m, a, kw: calls.append(kw), with_kwargs=True)
    return calls


CASES: list[tuple[str, dict[str, Any], int]] = [
    *((variant, {}, 9) for variant in VARIANTS),
    ("2.2-i2v-a14b", {"expert": "low_noise"}, 5),
    ("2.2-ti2v-5b", {}, 5),
    (EULER, {}, 5),
]


@pytest.mark.parametrize(("variant", "arguments", "num_frames"), CASES)
def test_training_inputs_equal_those_of_the_stock_pipeline(
    wan_checkpoints: dict[str, Path], variant: str, arguments: dict[str, Any], num_frames: int
) -> None:
    """Noise, mask and image channels, timesteps, text and CLIP embedding, at every timestep of the network's own."""
    backbone = Wan(str(wan_checkpoints[variant]), **arguments)
    backbone.load()
    calls = record_calls(backbone.denoiser)
    frames = first_frames()[:1, None].expand(-1, num_frames, -1, -1, -1)
    backbone.generate(frames[:, 0], num_frames, generators(1), 4, 1.0)
    stock = list(calls)
    assert stock
    condition = backbone.encode(frames).condition
    for theirs in stock:
        calls.clear()
        x_t = theirs["hidden_states"][:, :Z].transpose(1, 2).clone()
        if backbone.given_latents:
            x_t[:, 0] = torch.nan  # must be replaced
        backbone.denoise(x_t, theirs["timestep"].flatten()[-1:], condition)
        (ours,) = calls
        assert torch.equal(ours["timestep"].float(), theirs["timestep"].float())
        assert torch.equal(ours["hidden_states"], theirs["hidden_states"])
        assert torch.equal(ours["encoder_hidden_states"], theirs["encoder_hidden_states"])
        assert ("clip" in condition) == (theirs["encoder_hidden_states_image"] is not None)
        if "clip" in condition:
            assert torch.equal(ours["encoder_hidden_states_image"], theirs["encoder_hidden_states_image"])


@pytest.mark.parametrize("variant", ["2.1-i2v-14b", "2.2-ti2v-5b"])
def test_shapes_are_known_without_values(wan_checkpoints: dict[str, Path], variant: str) -> None:
    """On the meta device, where costs are estimated."""
    real = load(wan_checkpoints[variant]).encode(torch.zeros(1, 9, 3, HEIGHT, WIDTH))
    backbone = Wan(str(wan_checkpoints[variant]))
    backbone.load()
    latents = backbone.to("meta").encode(torch.empty(1, 9, 3, HEIGHT, WIDTH, device="meta"))
    assert latents.x0.shape == real.x0.shape
    assert {k: v.shape for k, v in latents.condition.items()} == {k: v.shape for k, v in real.condition.items()}
    t = torch.empty(1, device="meta")
    assert backbone.denoise(latents.x0, t, latents.condition).shape == real.x0.shape


@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_are_encoded_one_by_one_into_normalised_latents(wan_checkpoints: dict[str, Path], variant: str) -> None:
    backbone, frames = load(wan_checkpoints[variant]), torch.rand(2, 9, 3, HEIGHT, WIDTH) * 2 - 1
    latents = backbone.encode(frames)
    mode = backbone.vae.encode(frames[1:].transpose(1, 2)).latent_dist.mode()[0]
    mean, std = torch.tensor([0.1 * i for i in range(Z)]), torch.tensor([0.5 + 0.1 * i for i in range(Z)])
    expected = (mode - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1)
    torch.testing.assert_close(latents.x0[1], expected.transpose(0, 1))
    assert {len(tensor) for tensor in latents.condition.values()} == {2}
    decoded = backbone.decode(latents.x0, generators())
    torch.testing.assert_close(decoded, backbone.reconstruct(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_loss_equals_an_independent_reference(wan_checkpoints: dict[str, Path], variant: str) -> None:
    """Rectified flow from its definition, on inputs made by hand; the first latent is no part where it is given."""
    backbone, clips = load(wan_checkpoints[variant]), torch.stack([first_frames()] * 9, dim=1).flip(0)
    clips[:, 5:] = -clips[:, 5:]
    latents, objective = backbone.encode(clips), backbone.objective
    u, eps = draw_noise(0, [5, 6], latents.x0.shape[1:])
    t = objective.timestep(u)
    prediction = backbone.denoise(objective.corrupt(latents.x0, eps, t), t, latents.condition)
    free = slice(backbone.given_latents, None)
    ours = loss_per_sample(prediction[:, free], objective.target(latents.x0, eps, t)[:, free])

    given = 1 if variant in ("2.1-t2v-1.3b", "2.2-ti2v-5b") else 0
    x0, noise = latents.x0.transpose(1, 2), eps.transpose(1, 2)
    image = clips[:, :1].transpose(1, 2)
    low = 0.9 / (3 - 2 * 0.9) if backbone.transformer_2 is not None else 0.0  # u at σ = 0.9
    u = low + (1 - low) * u
    sigma = (3 * u / (1 + 2 * u)).view(-1, 1, 1, 1, 1)
    x_t = (1 - sigma) * x0 + sigma * noise
    timestep = 1000 * sigma.flatten()
    if given:
        x_t = torch.cat([normalised(backbone, image), x_t[:, :, 1:]], dim=2)
        timestep = torch.ones(3, *[side // 2 for side in x0.shape[3:]]) * timestep.view(-1, 1, 1, 1)
        timestep[:, 0] = 0
        timestep = timestep.flatten(1)
    else:
        mask = torch.zeros(2, 4, *x0.shape[2:])
        mask[:, :, 0] = 1
        grey = torch.cat([image, torch.zeros(2, 3, 8, HEIGHT, WIDTH)], dim=2)
        x_t = torch.cat([x_t, mask, normalised(backbone, grey)], dim=1)
    text = load_file(wan_checkpoints[variant] / "prompt_embeds.safetensors")["prompt_embeds"].expand(2, -1, -1)
    clip = latents.condition.get("clip")
    flow = backbone.transformer(x_t, timestep, text, clip, return_dict=False)[0]
    error = (flow - (noise - x0))[:, :, given:] ** 2
    torch.testing.assert_close(ours, error.mean(dim=(1, 2, 3, 4)), rtol=1e-4, atol=1e-5)


def normalised(backbone: Wan, video: torch.Tensor) -> torch.Tensor:
    """(B, 3, F, H, W) → latents, by the VAE's statistics as the test's own checkpoint has them."""
    mode = backbone.vae.encode(video).latent_dist.mode()
    steps = torch.arange(Z).view(-1, 1, 1, 1) * 0.1
    return (mode - steps) / (0.5 + steps)


@pytest.mark.parametrize("variant", ["2.1-i2v-14b", "2.2-ti2v-5b"])
def test_bf16_keeps_what_must_be_precise(wan_checkpoints: dict[str, Path], variant: str) -> None:
    backbone, random = (
        load(wan_checkpoints[variant], dtype="bf16"),
        load(wan_checkpoints[variant], dtype="bf16", init="random"),
    )
    assert {p.dtype for p in backbone.vae.parameters()} == {torch.float32}
    dtypes = [{k: v.dtype for k, v in b.transformer.named_parameters()} for b in (backbone, random)]
    assert dtypes[0] == dtypes[1]
    assert set(dtypes[0].values()) == {torch.float32, torch.bfloat16}
    buffers = [dict(b.transformer.named_buffers()) for b in (backbone, random)]
    assert all(torch.equal(v, buffers[1][k]) and v.dtype == buffers[1][k].dtype for k, v in buffers[0].items())
    video = backbone.generate(first_frames(), 5, generators(), 2, 1.0)
    assert video.dtype == torch.float32
    assert video.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backbone.generate(first_frames(), 5, generators(), 2, 1.0), video)


@pytest.mark.parametrize(
    ("variant", "shape", "message"),
    [
        ("2.1-i2v-14b", (16, 32, 32), r"num_frames must be 4k\+1 for Wan, got 16; nearest: 13, 17"),
        ("2.1-i2v-14b", (1, 32, 32), r"num_frames must be 4k\+1 for Wan, got 1; nearest: 5, 9"),
        ("2.1-i2v-14b", (9, 40, 32), r"height must be a multiple of 16 for this checkpoint, got 40; nearest: 32, 48"),
        ("2.2-i2v-a14b", (9, 32, 8), r"width must be a multiple of 16 for this checkpoint, got 8; nearest: 16, 32"),
        ("2.2-ti2v-5b", (9, 32, 48), r"width must be a multiple of 32 for this checkpoint, got 48; nearest: 32, 64"),
    ],
)
def test_illegal_clips_are_refused_before_weights_are_read(
    wan_checkpoints: dict[str, Path], variant: str, shape: tuple[int, int, int], message: str
) -> None:
    backbone = Wan(str(wan_checkpoints[variant]))
    backbone.check_clip(9, 64, 32)
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


@pytest.mark.parametrize(
    ("variant", "part", "settings", "message"),
    [
        ("2.1-i2v-14b", "transformer/config.json", {"in_channels": 20}, r"in_channels must be 6 .* or 16 .* got 20"),
        ("2.1-i2v-14b", "transformer/config.json", {"pos_embed_seq_len": 10}, "a first and a last frame"),
        ("2.1-i2v-14b", "model_index.json", {"expand_timesteps": True}, "in_channels must be 6"),
        ("2.2-ti2v-5b", "scheduler/scheduler_config.json", {"use_flow_sigmas": False}, "use_flow_sigmas must be True"),
        ("2.2-ti2v-5b", "scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "shifting must be False"),
    ],
)
def test_other_checkpoints_are_refused_before_weights_are_read(
    tmp_path: Path, variant: str, part: str, settings: dict[str, Any], message: str
) -> None:
    change(tiny_wan(tmp_path / "other", variant), part, **settings)
    with pytest.raises(ValueError, match=message):
        Wan(str(tmp_path / "other")).check_clip(9, 32, 32)


def test_a_folder_without_the_pipelines_settings_is_no_checkpoint(tmp_path: Path) -> None:
    (tiny_wan(tmp_path / "parts", "2.2-ti2v-5b") / "model_index.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not a diffusers checkpoint: model_index.json is missing"):
        Wan(str(tmp_path / "parts")).check_clip(9, 32, 32)


def test_conditions_of_checkpoints_that_share_a_vae_are_told_apart(wan_checkpoints: dict[str, Path]) -> None:
    """All published checkpoints but TI2V-5B have the same VAE weights, and so do the twins."""
    shared = [load(wan_checkpoints[v]) for v in VARIANTS if v != "2.2-ti2v-5b"]
    assert len({float(b.vae.encoder.conv_in.weight.sum()) for b in shared}) == 1
    assert len({b.encoder_fingerprint for b in shared}) == 3
    assert shared[0].encoder_fingerprint == load(wan_checkpoints[EULER]).encoder_fingerprint
