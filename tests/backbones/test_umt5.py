"""Wan's text path with a real, tiny UMT5: equal to the stock encode_prompt."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import WanImageToVideoPipeline
from diffusers.pipelines.wan import pipeline_wan_i2v
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from tests.tiny_wan import TEXT, tiny_wan
from vdmfewshot.backbones import Wan, umt5
from vdmfewshot.backbones.prompt import SHIPPED

PROMPT = "  a \n mask "


@pytest.fixture
def with_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint like those on the hub: UMT5 encoder and tokenizer, no shipped embedding."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_wan(tmp_path / "checkpoint", "2.1-i2v-14b")
    (folder / SHIPPED).unlink()
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=8, d_model=TEXT, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    UMT5EncoderModel(config).to(torch.bfloat16).save_pretrained(folder / "text_encoder")
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "mask": 4}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def test_embeddings_equal_those_of_the_stock_pipeline(with_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ftfy, without which the stock pipeline fails, leaves plain ASCII as it is.
    monkeypatch.setattr(pipeline_wan_i2v, "ftfy", SimpleNamespace(fix_text=lambda text: text), raising=False)
    parts = {
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(with_text / "tokenizer"),
        "text_encoder": UMT5EncoderModel.from_pretrained(with_text / "text_encoder", dtype=torch.bfloat16),
    }
    stock = WanImageToVideoPipeline.from_pretrained(with_text, **parts)
    device = torch.device("cpu")
    with torch.no_grad():
        theirs = stock.encode_prompt(PROMPT, "", True, max_sequence_length=umt5.LENGTH, device=device)
    backbone = Wan(str(with_text), prompt=PROMPT)
    backbone.load()
    assert torch.equal(backbone.prompt_embeds, theirs[0].float())
    assert torch.equal(backbone.negative_prompt_embeds, theirs[1].float())
    assert backbone.prompt_embeds.shape == (1, 512, TEXT)
    assert backbone.prompt_embeds[:, :2].any(dim=-1).all()
    assert not backbone.prompt_embeds[:, 4:].any(), "zero beyond the text"


def test_cleaning_is_the_stock_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_wan_i2v, "ftfy", SimpleNamespace(fix_text=lambda text: text), raising=False)
    for prompt in ("", " two  words\n", "a\tb", "it's (fine): 100%"):
        assert umt5.clean(prompt) == pipeline_wan_i2v.prompt_clean(prompt)
    monkeypatch.setattr(umt5, "is_ftfy_available", lambda: True)
    assert umt5.clean("a &amp;amp; b") == "a & b"


def test_text_that_needs_repair_needs_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umt5, "is_ftfy_available", lambda: False)
    for prompt in ("schÃ¶n", "a &amp; b", "a\x1b[1mb"):
        with pytest.raises(ImportError, match="install ftfy"):
            umt5.clean(prompt)
