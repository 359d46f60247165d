"""What is Kandinsky's own: clips too short for the stock pipeline, the loss, the rules, the text encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import Kandinsky5I2VPipeline
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from tests.backbones.families import FAMILIES, generators
from tests.tiny_kandinsky import POOLED, SCALING, TEXT, tiny_kandinsky
from tests.tiny_wan import change
from vdmfewshot.backbones import Kandinsky5
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample
from vdmfewshot.backbones.prompt import SHIPPED

LITE = FAMILIES["kandinsky"]
VARIANTS = ["lite", "lite without mask"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kandinsky")
    return {variant: tiny_kandinsky(root / str(i), variant) for i, variant in enumerate(VARIANTS)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_short_clips_are_what_the_stock_pipeline_gives_without_its_normalisation(
    folders: dict[str, Path], variant: str
) -> None:
    """With it, diffusers 0.42 gives NaN; when that is repaired, this test says so."""
    folder = folders[variant]
    backbone, stock = LITE.load(folder), LITE.stock_pipeline(folder)
    assert LITE.stock_videos(stock, folder, 9, 1.0).isnan().all()
    stock.normalize_first_frame = lambda latents: latents
    for num_frames, guidance in ((9, 3.0), (13, 1.0)):
        ours = backbone.generate(LITE.first_frames(), num_frames, generators(), 3, guidance)
        theirs = LITE.stock_videos(stock, folder, num_frames, guidance)
        assert theirs.isfinite().all()
        assert torch.equal((ours / 2 + 0.5).clamp(0, 1), theirs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_loss_equals_an_independent_reference(folders: dict[str, Path], variant: str) -> None:
    """Rectified flow from its definition, on inputs made by hand; the first latent is no part."""
    backbone, clips = Kandinsky5(str(folders[variant])), torch.stack([LITE.first_frames()] * 9, dim=1).flip(0)
    backbone.load()
    clips[:, 5:] = -clips[:, 5:]
    latents, objective = backbone.encode(clips), backbone.objective
    u, eps = draw_noise(0, [5, 6], latents.x0.shape[1:])
    t = objective.timestep(u)
    prediction = backbone.denoise(objective.corrupt(latents.x0, eps, t), t, latents.condition)
    ours = loss_per_sample(prediction[:, 1:], objective.target(latents.x0, eps, t)[:, 1:])

    x0 = SCALING * backbone.vae.encode(clips.transpose(1, 2)).latent_dist.mode()
    image = SCALING * backbone.vae.encode(clips[:, :1].transpose(1, 2)).latent_dist.mode()
    noise, sigma = eps.transpose(1, 2), (10 * u / (1 + 9 * u)).view(-1, 1, 1, 1, 1)
    x_t = (1 - sigma) * x0 + sigma * noise
    x_t[:, :, :1] = image
    hidden = x_t.permute(0, 2, 3, 4, 1)
    if variant == "lite":
        mask = torch.zeros(*hidden.shape[:-1], 1)
        mask[:, 0] = 1
        hidden = torch.cat([hidden, torch.zeros_like(hidden), mask], dim=-1)
    text = load_file(folders[variant] / SHIPPED)
    flow = backbone.transformer(
        hidden,
        text["prompt_embeds_qwen"].expand(2, -1, -1),
        1000 * sigma.flatten(),
        text["prompt_embeds_clip"].expand(2, -1),
        [torch.arange(3), torch.arange(2), torch.arange(3)],
        torch.arange(3),
        (1, 3.16, 3.16),
    ).sample
    error = (flow.permute(0, 4, 1, 2, 3) - (noise - x0))[:, :, 1:] ** 2
    torch.testing.assert_close(ours, error.mean(dim=(1, 2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_positions_are_scaled_at_the_published_size_as_in_the_stock_pipeline(folders: dict[str, Path]) -> None:
    backbone, seen = LITE.load(folders["lite"]), []
    backbone.transformer.register_forward_pre_hook(lambda m, a, kw: seen.append(kw["scale_factor"]), with_kwargs=True)
    for height, width in ((512, 768), (32, 32)):
        x_t = torch.zeros(1, 2, 4, height // 8, width // 8)
        with torch.no_grad():
            backbone.denoise(x_t, torch.tensor([500.0]), {"image": x_t[:, :1]})
    assert seen == [(1, 2, 2), (1, 3.16, 3.16)]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 32, 32), r"num_frames must be 4k\+1 for Kandinsky 5, got 16; nearest: 13, 17"),
        ((9, 40, 32), r"height must be a multiple of 16 for Kandinsky 5, got 40; nearest: 32, 48"),
        ((9, 32, 8), r"width must be a multiple of 16 for Kandinsky 5, got 8; nearest: 16, 32"),
    ],
)
def test_illegal_clips_are_refused_before_weights_are_read(
    folders: dict[str, Path], shape: tuple[int, int, int], message: str
) -> None:
    backbone = Kandinsky5(str(folders["lite"]))
    backbone.check_clip(9, 48, 32)
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


@pytest.mark.parametrize(
    ("part", "setting", "value", "message"),
    [
        ("transformer/config.json", "attention_type", "nabla", "attention_type must be regular, got nabla"),
        ("scheduler/scheduler_config.json", "use_dynamic_shifting", True, "use_dynamic_shifting must be False"),
    ],
)
def test_other_checkpoints_are_refused_before_weights_are_read(
    tmp_path: Path, part: str, setting: str, value: object, message: str
) -> None:
    change(tiny_kandinsky(tmp_path / "other"), part, **{setting: value})
    with pytest.raises(ValueError, match=message):
        Kandinsky5(str(tmp_path / "other")).check_clip(9, 32, 32)


@pytest.fixture
def with_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint like those on the hub: Qwen2.5-VL, CLIP and their tokenizers, no shipped embedding."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_kandinsky(tmp_path / "checkpoint")
    (folder / SHIPPED).unlink()
    torch.manual_seed(0)
    sizes = dict(hidden_size=TEXT, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    rope = dict(rope_type="default", mrope_section=[2, 2, 2])
    text = dict(sizes, vocab_size=8, num_key_value_heads=1, rope_parameters=rope)
    vision = dict(depth=1, hidden_size=8, num_heads=1, out_hidden_size=TEXT, intermediate_size=8)
    qwen = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    qwen.to(torch.bfloat16).save_pretrained(folder / "text_encoder")
    sizes = dict(sizes, hidden_size=POOLED, vocab_size=8, max_position_embeddings=77, eos_token_id=1)
    CLIPTextModel(CLIPTextConfig(**sizes)).to(torch.bfloat16).save_pretrained(folder / "text_encoder_2")
    for part in ("tokenizer", "tokenizer_2"):
        words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "mask": 4}, unk_token="<unk>"))
        words.pre_tokenizer = Whitespace()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        )
        tokenizer.save_pretrained(folder / part)
    return folder


def test_text_embeddings_equal_those_of_the_stock_pipeline(with_text: Path) -> None:
    backbone = Kandinsky5(str(with_text), prompt="a mask")
    backbone.load()
    parts = {
        "text_encoder": Qwen2_5_VLForConditionalGeneration.from_pretrained(
            with_text / "text_encoder", dtype=torch.bfloat16
        ),
        "text_encoder_2": CLIPTextModel.from_pretrained(with_text / "text_encoder_2", dtype=torch.bfloat16),
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer"),
        "tokenizer_2": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer_2"),
    }
    stock = Kandinsky5I2VPipeline.from_pretrained(with_text, **parts)
    for prefix, prompt in (("", "a mask"), ("negative_", "")):
        with torch.no_grad():
            qwen, clip, lengths = stock.encode_prompt(prompt, device=torch.device("cpu"))
        assert torch.equal(getattr(backbone, f"{prefix}prompt_embeds_qwen"), qwen.float())
        assert torch.equal(getattr(backbone, f"{prefix}prompt_embeds_clip"), clip.float())
        assert lengths.tolist() == [0, qwen.shape[1]]
    assert backbone.prompt_embeds_qwen.shape[1] == backbone.negative_prompt_embeds_qwen.shape[1] + 2
    video = backbone.generate(LITE.first_frames(), 5, generators(), 1, 2.0)
    assert video.isfinite().all()
