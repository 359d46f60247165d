"""What is LTX-2's own: two streams of which one is trained, the loss, the rules, the text encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import LTX2ImageToVideoPipeline
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

from tests.backbones.families import FAMILIES, generators
from tests.tiny_ltx2 import CAPTION, tiny_ltx2
from tests.tiny_wan import change
from vdmfewshot.backbones import Ltx2
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample
from vdmfewshot.backbones.prompt import SHIPPED
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs

FAMILY = FAMILIES["ltx2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ltx2(tmp_path_factory.mktemp("ltx2") / "checkpoint")


def test_version_2_3_equals_the_stock_pipeline(tmp_path: Path) -> None:
    """Gated attention, modulated cross attention, prompts projected by the connectors, timesteps across streams."""
    family = replace(FAMILY, make=lambda folder: tiny_ltx2(folder, "2.3"))
    folder = family.make(tmp_path / "checkpoint")
    backbone, stock = family.load(folder), family.stock_pipeline(folder)
    ours = backbone.generate(family.first_frames(), 9, generators(), 3, 3.0)
    assert torch.equal((ours / 2 + 0.5).clamp(0, 1), family.stock_videos(stock, folder, 9, 3.0))


def test_training_loss_equals_an_independent_reference(folder: Path) -> None:
    """Rectified flow from its definition, on inputs made by hand; whatever sound is there has no effect."""
    backbone, clips = Ltx2(str(folder)), torch.stack([FAMILY.first_frames()] * 9, dim=1).flip(0)
    backbone.load()
    clips[:, 5:] = -clips[:, 5:]
    latents, objective = backbone.encode(clips), backbone.objective
    u, eps = draw_noise(0, [5, 6], latents.x0.shape[1:])
    t = objective.timestep(u, latents.x0.shape[1:])
    prediction = backbone.denoise(objective.corrupt(latents.x0, eps, t), t, latents.condition)
    ours = loss_per_sample(prediction[:, 1:], objective.target(latents.x0, eps, t)[:, 1:])

    vae, text = backbone.vae, load_file(folder / SHIPPED)
    mean, std = (s.view(1, -1, 1, 1, 1) for s in (vae.latents_mean, vae.latents_std))
    x0 = (vae.encode(clips.transpose(1, 2)).latent_dist.mode() - mean) * 0.8 / std
    image = (vae.encode(clips[:, :1].transpose(1, 2)).latent_dist.mode() - mean) / std
    mu = 0.95 + (2 * 2 * 3 - 1024) * (2.05 - 0.95) / (4096 - 1024)
    sigma = torch.sigmoid(mu + torch.distributions.Normal(0, 1).icdf(u)).view(-1, 1, 1, 1, 1)
    noise = eps.transpose(1, 2)
    x_t = torch.cat([image, ((1 - sigma) * x0 + sigma * noise)[:, :, 1:]], dim=2)
    per_token = 1000 * sigma.view(-1, 1) * torch.cat([torch.zeros(6), torch.ones(6)])
    sound = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        flow = backbone.transformer(
            x_t.flatten(2).transpose(1, 2),
            sound,
            text["video_prompt_embeds"].expand(2, -1, -1),
            text["audio_prompt_embeds"].expand(2, -1, -1),
            per_token,
            audio_timestep=torch.tensor([3.0, 700.0]),
            sigma=1000 * sigma.flatten(),
            encoder_attention_mask=text["prompt_embeds_mask"].expand(2, -1),
            num_frames=2,
            height=2,
            width=3,
            fps=24.0,
            audio_num_frames=5,
            isolate_modalities=True,
        ).sample
    flow = flow.transpose(1, 2).unflatten(2, (2, 2, 3))
    error = (flow - (noise - x0))[:, :, 1:] ** 2
    torch.testing.assert_close(ours.detach(), error.mean(dim=(1, 2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_only_the_video_stream_is_adapted(folder: Path) -> None:
    backbone = FAMILY.load(folder)
    adapters.inject(backbone.denoiser, LoraArgs(rank=2), backbone.lora_targets, seed=0)
    names = set(adapters.adapter_state(backbone.denoiser))
    assert not any("audio" in name or "video_to" in name for name in names)
    assert len(names) == 2 * 2 * 10, "per block: A and B of two attentions of four matrices, and two of the MLP"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 64, 64), r"num_frames must be 8k\+1 for LTX-2, got 16; nearest: 9, 17"),
        ((9, 80, 64), r"height must be a multiple of 32 for LTX-2, got 80; nearest: 64, 96"),
        ((9, 64, 32), r"width must be at least 64 for LTX-2, got 32"),
    ],
)
def test_illegal_clips_are_refused_before_weights_are_read(
    folder: Path, shape: tuple[int, int, int], message: str
) -> None:
    backbone = Ltx2(str(folder))
    backbone.check_clip(9, 96, 64)
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


def test_a_decoder_that_takes_noise_is_refused(tmp_path: Path) -> None:
    change(tiny_ltx2(tmp_path / "other"), "vae/config.json", timestep_conditioning=True)
    with pytest.raises(ValueError, match="timestep_conditioning must be False for LTX-2"):
        Ltx2(str(tmp_path / "other")).check_clip(9, 64, 64)


@pytest.fixture
def with_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint like those on the hub: Gemma 3 and its tokenizer, no shipped embedding."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_ltx2(tmp_path / "checkpoint")
    (folder / SHIPPED).unlink()
    torch.manual_seed(0)
    sizes = dict(hidden_size=CAPTION, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1)
    text = dict(sizes, vocab_size=8, num_key_value_heads=1, head_dim=8, pad_token_id=0, eos_token_id=1, bos_token_id=1)
    vision = dict(sizes, image_size=16, patch_size=8)
    gemma = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))
    gemma.to(torch.bfloat16).save_pretrained(folder / "text_encoder")
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "mask": 4}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "tokenizer")
    change(folder, "model_index.json", text_encoder=["transformers", "Gemma3ForConditionalGeneration"])
    return folder


def test_text_embeddings_equal_those_of_the_stock_pipeline(with_text: Path) -> None:
    backbone = Ltx2(str(with_text), prompt="a mask")
    backbone.load()
    parts = {
        "text_encoder": Gemma3ForConditionalGeneration.from_pretrained(
            with_text / "text_encoder", dtype=torch.bfloat16
        ),
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer"),
    }
    stock = LTX2ImageToVideoPipeline.from_pretrained(with_text, torch_dtype=torch.bfloat16, **parts)
    with torch.no_grad():
        embeds, mask, negative, negative_mask = stock.encode_prompt("a mask", "", True, device=torch.device("cpu"))
        for prefix, row in (("", (embeds, mask)), ("negative_", (negative, negative_mask))):
            theirs = stock.connectors(*row, padding_side="left")
            for name, expected in zip(("video_prompt_embeds", "audio_prompt_embeds"), theirs, strict=False):
                assert torch.equal(getattr(backbone, prefix + name), expected.float()), prefix + name
    assert backbone.video_prompt_embeds.shape == (1, 1024, CAPTION)
    assert not torch.equal(backbone.video_prompt_embeds, backbone.negative_video_prompt_embeds)


def test_a_text_encoder_of_another_kind_is_refused(with_text: Path) -> None:
    change(with_text, "model_index.json", text_encoder=["transformers", "T5EncoderModel"])
    with pytest.raises(ValueError, match="text_encoder must be one of Gemma3ForConditionalGeneration"):
        Ltx2(str(with_text), prompt="another").load()
