"""One fixed neutral prompt embedding, computed once; the text encoder never stays in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vdmfewshot.backbones.checkpoint import Checkpoint
from vdmfewshot.cache import cache_home, save_tensors

#: a checkpoint without text encoder ships its neutral embedding in this file
SHIPPED = "prompt_embeds.safetensors"


def prompt_embeds(checkpoint: Checkpoint, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    """Embedding of ``prompt`` and of the empty negative prompt, each (1, length, D).

    Comes from the checkpoint's ``prompt_embeds.safetensors`` if it has one, else from its T5 encoder through a cache
    on disk keyed by checkpoint, revision, prompt and length.

    Raises:
        ValueError: for a prompt other than "" with a checkpoint that ships no text encoder.
    """
    shipped = checkpoint.folder / SHIPPED if checkpoint.folder is not None else None
    if shipped is not None and shipped.is_file():
        if prompt:
            raise ValueError(f"prompt must be '' for {checkpoint.path!r}, which has no text encoder, got {prompt!r}")
        tensors = load_file(shipped)
        embeds = tensors["prompt_embeds"]
        return embeds, tensors.get("negative_prompt_embeds", torch.zeros_like(embeds))
    file = _cache_file(checkpoint, prompt, length)
    if not file.is_file():
        embeds, negative = torch.chunk(_encode(checkpoint, [prompt, ""], length), 2)
        save_tensors(file, {"prompt_embeds": embeds, "negative_prompt_embeds": negative}, {"prompt": prompt})
    tensors = load_file(file)
    return tensors["prompt_embeds"], tensors["negative_prompt_embeds"]


def _cache_file(checkpoint: Checkpoint, prompt: str, length: int) -> Path:
    location = str(checkpoint.folder.resolve()) if checkpoint.folder is not None else checkpoint.location
    name = hashlib.sha256(repr((location, checkpoint.revision, prompt, length)).encode()).hexdigest()
    return cache_home() / "prompts" / f"{name}.safetensors"


@torch.no_grad()
def _encode(checkpoint: Checkpoint, prompts: list[str], length: int) -> Tensor:
    """(len(prompts), length, D) from the checkpoint's tokenizer and T5, which are dropped afterwards.

    Padded to ``length`` and without attention mask, as the stock pipeline does.
    """
    from transformers import AutoTokenizer, T5EncoderModel  # seconds to import, needed once per prompt

    where: dict[str, Any] = {"revision": checkpoint.revision}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.location, subfolder="tokenizer", **where)
    encoder = checkpoint.model(T5EncoderModel, "text_encoder", torch.bfloat16)
    tokens = tokenizer(
        prompts,
        padding="max_length",
        max_length=length,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    )
    # One prompt at a time, so that the bits are those of the stock pipeline, whatever the batch.
    return torch.cat([encoder(ids[None])[0] for ids in tokens.input_ids]).float()
