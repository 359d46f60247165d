"""The text path with a real, tiny T5: equal to the stock encode_prompt, computed once, then read from disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline, LTXConditionPipeline, LTXImageToVideoPipeline
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tests.tiny import tiny_checkpoint
from tests.tiny_ltx import BACKBONES, tiny_ltx
from vdmfewshot.backbones.checkpoint import Checkpoint
from vdmfewshot.backbones.prompt import SHIPPED, prompt_embeds, t5

LENGTH = 4


def add_text_encoder(folder: Path) -> Path:
    """Make a checkpoint like those on the hub: T5 encoder and tokenizer, no shipped embedding."""
    (folder / SHIPPED).unlink()
    torch.manual_seed(0)
    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(config).to(torch.bfloat16).save_pretrained(folder / "text_encoder")
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "mask": 4}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def text_parts(folder: Path) -> dict[str, object]:
    return {
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
        "text_encoder": T5EncoderModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.bfloat16),
    }


@pytest.fixture
def with_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return add_text_encoder(tiny_checkpoint(tmp_path / "checkpoint"))


def test_embeddings_equal_those_of_the_stock_pipeline(with_text: Path) -> None:
    tensors = prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)
    ours, negative = tensors["prompt_embeds"], tensors["negative_prompt_embeds"]
    stock = CogVideoXImageToVideoPipeline.from_pretrained(with_text, **text_parts(with_text))
    with torch.no_grad():
        theirs = stock.encode_prompt("a mask", "", True, max_sequence_length=LENGTH, device=torch.device("cpu"))
    assert torch.equal(ours, theirs[0].float())
    assert torch.equal(negative, theirs[1].float())
    assert not torch.equal(ours, negative)


@pytest.mark.parametrize(("version", "length"), [("0.9.1", 128), ("0.9.5", 256)])
def test_masks_and_embeddings_equal_those_of_the_stock_ltx_pipelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, length: int
) -> None:
    """With each pipeline's own default length; one of them hides the padding from T5, the other does not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = add_text_encoder(tiny_ltx(tmp_path / "checkpoint", version))
    backbone = BACKBONES[version](str(folder), prompt="a mask")
    backbone.load()
    cls = LTXImageToVideoPipeline if version == "0.9.1" else LTXConditionPipeline
    stock = cls.from_pretrained(folder, **text_parts(folder))
    with torch.no_grad():
        theirs = stock.encode_prompt("a mask", "", True, device=torch.device("cpu"))
    names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
    for name, expected in zip(names, theirs, strict=True):
        found = getattr(backbone, name)
        assert found.shape[1] == length
        assert torch.equal(found, expected if expected.dtype == torch.bool else expected.float()), name
    assert backbone.prompt_attention_mask.sum() == 2
    assert not torch.equal(backbone.prompt_embeds, backbone.negative_prompt_embeds)


def test_the_text_encoder_is_needed_once(with_text: Path) -> None:
    first = prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)
    shutil.rmtree(with_text / "text_encoder")
    second = prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    with pytest.raises(FileNotFoundError, match="cannot read safetensors weights of text_encoder"):
        prompt_embeds(Checkpoint(str(with_text)), "another text", LENGTH, t5)


def test_a_damaged_embedding_is_made_again(with_text: Path, tmp_path: Path) -> None:
    read = prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)
    first = {name: tensor.clone() for name, tensor in read.items()}  # what is read is mapped to the file
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = file.read_bytes()
    for damaged in (b"", whole[:20], whole[:-10]):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged .* the prompt is encoded again"):
            again = prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)
        assert all(torch.equal(first[k], again[k]) for k in first)
    assert file.read_bytes() == whole


def test_a_checkpoint_without_its_tokenizer_is_named(with_text: Path) -> None:
    shutil.rmtree(with_text / "tokenizer")
    with pytest.raises(FileNotFoundError, match=r"cannot read tokenizer of .*; download the whole checkpoint with"):
        prompt_embeds(Checkpoint(str(with_text)), "a mask", LENGTH, t5)


def test_a_shipped_embedding_knows_one_prompt(tiny: Path) -> None:
    tensors = prompt_embeds(Checkpoint(str(tiny)), "", LENGTH, t5)
    assert {k: v.shape for k, v in tensors.items()} == dict.fromkeys(tensors, (1, LENGTH, 8))
    assert tensors.keys() == {"prompt_embeds", "negative_prompt_embeds"}
    with pytest.raises(ValueError, match="has no text encoder, got 'a mask'"):
        prompt_embeds(Checkpoint(str(tiny)), "a mask", LENGTH, t5)
