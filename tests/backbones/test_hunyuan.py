"""What is HunyuanVideo 1.5's own: the loss, the sizes, the text and image encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import HunyuanVideo15ImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLTextModel, T5Config, T5EncoderModel
from transformers.models.qwen2_5_vl import Qwen2_5_VLTextConfig

from tests.backbones.families import FAMILIES
from tests.tiny_hunyuan import GLYPH, SCALING, TEXT, tiny_hunyuan
from tests.tiny_wan import change
from vdmfewshot.backbones import HunyuanVideo15
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample
from vdmfewshot.backbones.prompt import SHIPPED

FAMILY = FAMILIES["hunyuan"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hunyuan(tmp_path_factory.mktemp("hunyuan") / "checkpoint")


def test_training_loss_equals_an_independent_reference(folder: Path) -> None:
    """Rectified flow from its definition, on inputs made by hand."""
    backbone, clips = HunyuanVideo15(str(folder)), torch.stack([FAMILY.first_frames()] * 9, dim=1).flip(0)
    backbone.load()
    clips[:, 5:] = -clips[:, 5:]
    latents, objective = backbone.encode(clips), backbone.objective
    u, eps = draw_noise(0, [5, 6], latents.x0.shape[1:])
    t = objective.timestep(u)
    prediction = backbone.denoise(objective.corrupt(latents.x0, eps, t), t, latents.condition)
    ours = loss_per_sample(prediction, objective.target(latents.x0, eps, t))

    vae, pipeline = backbone.vae, backbone.pipeline
    x0 = torch.cat([SCALING * vae.encode(clip[None].transpose(1, 2)).latent_dist.mode() for clip in clips])
    image = torch.cat([SCALING * vae.encode(clip[None, :1].transpose(1, 2)).latent_dist.mode() for clip in clips])
    noise, sigma = eps.transpose(1, 2), (5 * u / (1 + 4 * u)).view(-1, 1, 1, 1, 1)
    given = torch.cat([image, torch.zeros_like(x0[:, :, 1:])], dim=2)
    mask = torch.zeros_like(x0[:, :1])
    mask[:, :, 0] = 1
    pictures = [Image.fromarray(picture) for picture in FAMILY.pictures()[::-1].copy()]
    pixels = pipeline.feature_extractor(images=pictures, return_tensors="pt").pixel_values
    text = {k: v.expand(2, *v.shape[1:]) for k, v in load_file(folder / SHIPPED).items()}
    with torch.no_grad():
        siglip = backbone.image_encoder(pixels).last_hidden_state
        flow = backbone.transformer(
            torch.cat([(1 - sigma) * x0 + sigma * noise, given, mask], dim=1),
            1000 * sigma.flatten(),
            text["prompt_embeds"],
            text["prompt_embeds_mask"],
            encoder_hidden_states_2=text["prompt_embeds_2"],
            encoder_attention_mask_2=text["prompt_embeds_mask_2"],
            image_embeds=siglip,
        ).sample
    error = (flow - (noise - x0)) ** 2
    torch.testing.assert_close(ours.detach(), error.mean(dim=(1, 2, 3, 4)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 32, 64), r"num_frames must be 4k\+1 for HunyuanVideo 1.5, got 16; nearest: 13, 17"),
        ((9, 32, 32), r"multiples of 16 of about 48x48 pixels in all, got 32x32; nearest: 48x48"),
        ((9, 40, 64), r"got 40x64; nearest: 32x48"),
    ],
)
def test_illegal_clips_are_refused_before_weights_are_read(
    folder: Path, shape: tuple[int, int, int], message: str
) -> None:
    backbone = HunyuanVideo15(str(folder))
    for height, width in ((32, 64), (48, 48), (64, 32)):
        backbone.check_clip(9, height, width)
    with pytest.raises(ValueError, match=message):
        backbone.check_clip(*shape)
    assert backbone.fingerprint is None


@pytest.mark.parametrize(
    ("part", "setting", "value", "message"),
    [
        ("transformer/config.json", "use_meanflow", True, "use_meanflow must be False .* got True"),
        ("transformer/config.json", "task_type", "t2v", "task_type must be i2v .* got t2v"),
        ("guider/guider_config.json", "_class_name", "AutoGuidance", "guider must be ClassifierFreeGuidance"),
        ("scheduler/scheduler_config.json", "use_dynamic_shifting", True, "use_dynamic_shifting must be False"),
    ],
)
def test_other_checkpoints_are_refused_before_weights_are_read(
    tmp_path: Path, part: str, setting: str, value: object, message: str
) -> None:
    change(tiny_hunyuan(tmp_path / "other"), part, **{setting: value})
    with pytest.raises(ValueError, match=message):
        HunyuanVideo15(str(tmp_path / "other")).check_clip(9, 48, 48)


@pytest.fixture
def with_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint like those on the hub: Qwen2.5-VL, ByT5 and their tokenizers, no shipped embedding."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_hunyuan(tmp_path / "checkpoint")
    (folder / SHIPPED).unlink()
    torch.manual_seed(0)
    sizes = dict(hidden_size=TEXT, intermediate_size=8, num_attention_heads=1, num_key_value_heads=1, vocab_size=8)
    rope = dict(rope_type="default", mrope_section=[2, 2, 2])
    qwen = Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**sizes, num_hidden_layers=3, rope_parameters=rope))
    qwen.to(torch.bfloat16).save_pretrained(folder / "text_encoder")
    byt5 = T5Config(vocab_size=8, d_model=GLYPH, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(byt5).to(torch.bfloat16).save_pretrained(folder / "text_encoder_2")
    for part in ("tokenizer", "tokenizer_2"):
        words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "mask": 4}, unk_token="<unk>"))
        words.pre_tokenizer = Whitespace()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        )
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
        tokenizer.save_pretrained(folder / part)
    return folder


def test_text_embeddings_equal_those_of_the_stock_pipeline(with_text: Path) -> None:
    prompt = 'a "mask"'
    backbone = HunyuanVideo15(str(with_text), prompt=prompt)
    backbone.load()
    parts = {
        "text_encoder": Qwen2_5_VLTextModel.from_pretrained(with_text / "text_encoder", dtype=torch.bfloat16),
        "text_encoder_2": T5EncoderModel.from_pretrained(with_text / "text_encoder_2", dtype=torch.bfloat16),
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer"),
        "tokenizer_2": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer_2"),
    }
    stock = HunyuanVideo15ImageToVideoPipeline.from_pretrained(with_text, **parts)
    names = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
    for prefix, text in (("", prompt), ("negative_", "")):
        with torch.no_grad():
            theirs = stock.encode_prompt(text, device=torch.device("cpu"))
        for name, expected in zip(names, theirs, strict=True):
            assert torch.equal(getattr(backbone, prefix + name), expected.float()), prefix + name
    assert backbone.prompt_embeds_mask_2.sum() > 0 == backbone.negative_prompt_embeds_mask_2.sum()
    assert backbone.prompt_embeds.shape[1:] == (1000, TEXT)
