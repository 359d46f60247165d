"""Parity with stock diffusers: our generation and our training inputs are those of its two LTX-Video pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LTXConditionPipeline, LTXImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.tiny_ltx import BACKBONES, VAES, tiny_ltx
from tests.tiny_training import make_data, make_module
from vdmfewshot.backbones import LtxVideo, LtxVideoCondition
from vdmfewshot.backbones.ltx import PROMPTS
from vdmfewshot.backbones.objective import draw_noise
from vdmfewshot.backbones.prompt import SHIPPED
from vdmfewshot.clips.clip import to_frame
from vdmfewshot.clips.rng import derive_seed
from vdmfewshot.lora import adapters

SIDES = (64, 96)
VERSIONS = list(VAES)


def pictures(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *SIDES, 3), dtype=np.uint8)


def generators(n: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(n)]


def to_unit(frames: torch.Tensor) -> torch.Tensor:
    return (frames / 2 + 0.5).clamp(0, 1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ltx")
    return {version: tiny_ltx(root / version, version) for version in VERSIONS}


def load(folder: Path, version: str = "0.9.0", **kwargs: Any) -> LtxVideo:
    backbone = BACKBONES[version](str(folder), **kwargs)
    backbone.load()
    return backbone


def stock_pipeline(folder: Path, version: str) -> Any:
    cls = LTXConditionPipeline if version == "0.9.5" else LTXImageToVideoPipeline
    stock = cls.from_pretrained(folder, tokenizer=None, text_encoder=None)
    stock.set_progress_bar_config(disable=True)
    return stock


def stock_call(folder: Path, images: Any, generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Arguments of a stock call for a batch: pictures, sizes and the shipped prompt."""
    n = len(images)
    embeds = {k: v.expand(n, *v.shape[1:]) for k, v in load_file(folder / SHIPPED).items()}
    settings = {"height": SIDES[0], "width": SIDES[1], "decode_timestep": 0.05, "decode_noise_scale": 0.025}
    return {"image": images, "generator": generator, "output_type": "pt", **settings, **embeds, **kwargs}


@pytest.mark.parametrize(("num_frames", "guidance"), [(9, 1.0), (17, 3.0)])
@pytest.mark.parametrize("version", VERSIONS)
def test_generation_equals_the_stock_pipeline(
    checkpoints: dict[str, Path], version: str, num_frames: int, guidance: float
) -> None:
    folder, images = checkpoints[version], pictures()
    backbone = load(folder, version)
    adapters.inject(backbone.denoiser, adapters.LoraArgs(rank=4), backbone.lora_targets, seed=0)  # untrained: B = 0
    frames = torch.stack([to_frame(i) for i in images])
    ours = backbone.generate(frames, num_frames, generators(), 3, guidance)
    alone = [backbone.generate(frames[i : i + 1], num_frames, [g], 3, guidance) for i, g in enumerate(generators())]
    torch.testing.assert_close(ours, torch.cat(alone), rtol=0, atol=5e-5)  # does not depend on the batch

    stock = stock_pipeline(folder, version)
    settings = {"num_frames": num_frames, "num_inference_steps": 3, "guidance_scale": guidance}
    settings |= {"image_cond_noise_scale": 0.0} if version == "0.9.5" else {}
    for image, clip, generator in zip(images, alone, generators(), strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("decoder noise", generator.initial_seed()))
            theirs = stock(**stock_call(folder, [Image.fromarray(image)], generator, **settings)).frames
        assert torch.equal(to_unit(clip), theirs)
    if version != "0.9.1":  # whose decoder takes a batch from the stock pipeline with one generator only
        theirs = stock(**stock_call(folder, frames / 2 + 0.5, generators(), **settings)).frames
        assert torch.equal(to_unit(ours), theirs)


def test_latents_of_a_batch_equal_those_of_the_stock_pipeline(checkpoints: dict[str, Path]) -> None:
    """With a timestep-conditioned VAE, up to the point where the stock pipeline fails with a list of generators."""
    folder, images = checkpoints["0.9.1"], pictures()
    stock, settings = stock_pipeline(folder, "0.9.1"), {"num_frames": 9, "num_inference_steps": 2}
    call = stock_call(folder, [Image.fromarray(i) for i in images], generators(), **settings)
    theirs = stock(**{**call, "output_type": "latent"}).frames
    frames = torch.stack([to_frame(i) for i in images])
    ours = load(folder).sample(frames, 9, generators(), 2, 3.0)
    assert torch.equal(ours.permute(0, 1, 3, 4, 2).flatten(1, 3), theirs)
    with pytest.raises(TypeError):
        stock(**{**call, "generator": generators()})


def test_distilled_timesteps_are_those_of_the_stock_pipeline(checkpoints: dict[str, Path]) -> None:
    folder, timesteps = checkpoints["0.9.5"], [1000.0, 981.0, 725.0, 0.03]
    image = pictures(1)[0]
    call = stock_call(folder, [Image.fromarray(image)], generators(1)[0], num_frames=9, guidance_scale=1.0)
    theirs = stock_pipeline(folder, "0.9.5")(**call, timesteps=timesteps, image_cond_noise_scale=0.0).frames
    backbone = load(folder, "0.9.5", timesteps=timesteps)
    ours, other = (backbone.generate(to_frame(image)[None], 9, generators(1), steps, 1.0) for steps in (4, 3))
    assert torch.equal(to_unit(ours), theirs)
    assert torch.equal(other, load(folder, "0.9.5").generate(to_frame(image)[None], 9, generators(1), 3, 1.0))


def test_decoding_leaves_the_global_generator_alone(checkpoints: dict[str, Path]) -> None:
    backbone, state = load(checkpoints["0.9.1"]), torch.random.get_rng_state()
    latents = torch.randn(1, 2, 8, 2, 3, generator=torch.Generator().manual_seed(0))
    first, second = (backbone.decode(latents, generators(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, backbone.decode(latents, generators()[1:]))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_slicing_of_the_vae_does_not_mix_up_samples(checkpoints: dict[str, Path]) -> None:
    """diffusers' own sliced decoding pairs latents with latents when there are timesteps."""
    backbone = load(checkpoints["0.9.5"], "0.9.5")
    latents = torch.randn(2, 2, 8, 2, 3, generator=torch.Generator().manual_seed(0))
    whole = backbone.decode(latents, generators())
    backbone.vae.enable_slicing()
    torch.testing.assert_close(backbone.decode(latents, generators()), whole, rtol=0, atol=5e-5)


def take_spread_away(vae: Any) -> None:
    """The pipelines sample the posterior: clamp its log-variance at -30 (σ = 3e-7)."""
    with torch.no_grad():
        conv = vae.encoder.conv_out.conv
        conv.weight[-1].zero_()
        conv.bias[-1].fill_(-60.0)


def assert_same(ours: Any, stock: Any) -> None:
    assert torch.equal(ours, stock) if isinstance(stock, torch.Tensor) else ours == stock


@pytest.mark.parametrize("num_frames", [9, 17])
@pytest.mark.parametrize("version", VERSIONS)
def test_training_inputs_equal_those_of_the_stock_pipeline(
    checkpoints: dict[str, Path], version: str, num_frames: int
) -> None:
    """At every step of the pipeline: give ``denoise`` its noisy latents, with rubbish where the image belongs."""
    backbone = load(checkpoints[version], version, frame_rate=24)
    take_spread_away(backbone.vae)
    calls: list[dict[str, Any]] = []
    backbone.transformer.register_forward_pre_hook(lambda m, a, kw: calls.append(kw), with_kwargs=True)
    frames = torch.stack([to_frame(i) for i in pictures()])[:, None].expand(-1, num_frames, -1, -1, -1)
    backbone.generate(frames[:, 0], num_frames, generators(), 3, 1.0)
    condition = backbone.encode(frames).condition
    image_tokens = (SIDES[0] // 32) * (SIDES[1] // 32)
    for stock in calls[:3]:
        noisy = stock["hidden_states"].unflatten(1, (-1, SIDES[0] // 32, SIDES[1] // 32)).permute(0, 1, 4, 2, 3).clone()
        noisy[:, 0] = 7.0
        backbone.denoise(noisy, stock["timestep"][:, -1], condition)
        ours = calls.pop()
        torch.testing.assert_close(ours.pop("hidden_states"), stock["hidden_states"], rtol=0, atol=2e-5)
        assert not stock["timestep"][:, :image_tokens].any()
        assert (stock["timestep"][:, image_tokens:] > 0).all()
        assert ours.keys() == stock.keys() - {"hidden_states", "attention_kwargs"}
        for name, value in ours.items():
            assert_same(value, stock[name])


def test_latent_frames_lie_where_the_version_says(checkpoints: dict[str, Path]) -> None:
    """Why there are two backbones: seconds of the latent frames of 17 pixel frames at 8 per second."""
    device = torch.device("cpu")
    early = load(checkpoints["0.9.0"], frame_rate=8)._positions(1, (3, 1, 1), device)
    late = load(checkpoints["0.9.5"], "0.9.5", frame_rate=8)._positions(1, (3, 1, 1), device)
    assert early["rope_interpolation_scale"] == (1.0, 32, 32)
    assert late["video_coords"][0, 0].tolist() == [0, 1 / 8, 9 / 8]


@pytest.mark.parametrize("version", VERSIONS)
def test_training_loss_equals_an_independent_reference(
    checkpoints: dict[str, Path], pairs_root: Path, version: str
) -> None:
    """The loss of LTX-Video-Trainer, from its definition: velocity ε - x0 on all tokens but those of the image."""
    module = make_module(checkpoints[version], backbone=BACKBONES[version], seed=3)
    module.configure_model()
    data = make_data(pairs_root, height=SIDES[0], width=SIDES[1])
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    x0, image = module.latents(batch).x0, module.latents(batch).condition["image"]
    u, eps = draw_noise(3, batch.ordinals, x0.shape[1:])
    tokens = x0[0, :, 0].numel()
    z = torch.distributions.Normal(0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024), 1).icdf(u)
    sigma = (z.exp() / (1 + z.exp())).view(-1, 1, 1)
    packed, noise, first = (v.permute(0, 1, 3, 4, 2).flatten(1, 3) for v in (x0, eps, image))
    noisy = torch.cat([first, ((1 - sigma) * packed + sigma * noise)[:, first.shape[1] :]], dim=1)
    timestep = (1000 * sigma[:, :, 0]).repeat(1, tokens)
    timestep[:, : first.shape[1]] = 0
    backbone = module.backbone
    with torch.no_grad():
        v = backbone.transformer(
            noisy,
            backbone.prompt_embeds.expand(2, -1, -1),
            timestep,
            backbone.prompt_attention_mask.expand(2, -1),
            **backbone._positions(2, (x0.shape[1], *x0.shape[3:]), x0.device),
        ).sample
        ours = module.losses(batch)
    reference = ((v - (noise - packed)) ** 2)[:, first.shape[1] :].mean(dim=(1, 2))
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 64, 64), r"num_frames must be 8k\+1 for LTX-Video, got 16; nearest: 9, 17"),
        ((1, 64, 64), r"num_frames must be 8k\+1 for LTX-Video, got 1; nearest: 9, 17"),
        ((9, 80, 64), "height must be a multiple of 32 for LTX-Video, got 80; nearest: 64, 96"),
        ((9, 64, 16), "width must be a multiple of 32 for LTX-Video, got 16; nearest: 32, 64"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_illegal_clips_are_refused_before_weights_are_read(
    checkpoints: dict[str, Path], version: str, shape: tuple[int, int, int], message: str
) -> None:
    backbone = BACKBONES[version](str(checkpoints[version]))
    backbone.check_clip(9, 64, 96)
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


def test_each_version_has_its_backbone(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="0.9.5 or later; for that the backbone must be LtxVideoCondition, got LtxVideo"
    ):
        LtxVideo(str(checkpoints["0.9.5"])).check_clip(9, 64, 64)
    with pytest.raises(ValueError, match="0.9 or 0.9.1; for that the backbone must be LtxVideo, got LtxVideoCondition"):
        LtxVideoCondition(str(checkpoints["0.9.1"])).check_clip(9, 64, 64)
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler/scheduler_config.json").write_text(json.dumps({"stochastic_sampling": True}))
    with pytest.raises(ValueError, match="must not set stochastic_sampling"):
        LtxVideoCondition(str(tmp_path)).check_clip(9, 64, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_rate": 0}, "frame_rate must be positive, got 0"),
        ({"decode_timestep": 1.5}, r"decode_timestep must be in \[0, 1\], got 1.5"),
        ({"decode_noise_scale": -1}, r"decode_noise_scale must be in \[0, 1\], got -1"),
        ({"timesteps": [500.0, 900.0]}, r"timesteps must fall within \[0, 1000\], got"),
        ({"timesteps": [1001.0]}, r"timesteps must fall within \[0, 1000\], got"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LtxVideoCondition("nobody/nothing", **settings)


def test_masks_are_read_and_default_to_all_tokens(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    backbone = load(checkpoints["0.9.0"])
    assert backbone.prompt_attention_mask.tolist() == [[True, True, True, False]]
    bare = tiny_ltx(tmp_path / "bare")
    save_file({"prompt_embeds": load_file(bare / SHIPPED)["prompt_embeds"]}, bare / SHIPPED)
    buffers = dict(load(bare).named_buffers(recurse=False))
    assert buffers.keys() == set(PROMPTS)
    assert buffers["prompt_attention_mask"].all()
    assert buffers["negative_prompt_attention_mask"].all()
    assert not buffers["negative_prompt_embeds"].any()


@pytest.mark.parametrize("version", VERSIONS)
def test_reconstruction_inverts_normalisation(checkpoints: dict[str, Path], version: str) -> None:
    """Against the VAE alone, without noise in the decoder."""
    backbone = load(checkpoints[version], version, decode_noise_scale=0.0)
    frames = torch.rand(2, 9, 3, *SIDES) * 2 - 1
    vae = backbone.vae
    for name, p in vae.named_parameters():
        if "per_channel_scale" in name:
            p.data.zero_()
    timestep = torch.full((2,), 0.05) if vae.config.timestep_conditioning else None
    with torch.no_grad():
        decoded = vae.decode(vae.encode(frames.transpose(1, 2)).latent_dist.mode(), timestep).sample
    expected = decoded.transpose(1, 2).clamp(-1, 1)
    torch.testing.assert_close(backbone.reconstruct(frames), expected, rtol=0, atol=1e-4)
