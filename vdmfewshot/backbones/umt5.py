"""Wan's text embedding: UMT5, zero beyond the text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.utils import is_ftfy_available
from torch import Tensor

from vdmfewshot.backbones.checkpoint import Checkpoint

#: tokens of the stock pipelines, which the image-to-video attention processor of Wan 2.1 takes for granted
LENGTH = 512


def clean(prompt: str) -> str:
    """The stock pipeline's ``prompt_clean``: repaired by ftfy, HTML entities resolved, white space collapsed.

    The stock pipeline fails without ftfy. Plain ASCII without entities needs no repair, so that it works here.

    Raises:
        ImportError: if ftfy is missing and the prompt may need it.
    """
    collapsed = " ".join(prompt.split())
    if collapsed.isascii() and collapsed.isprintable() and "&" not in collapsed:
        return collapsed
    if not is_ftfy_available():
        raise ImportError(f"prompt must be plain ASCII without '&' if ftfy is missing, got {prompt!r}; install ftfy")
    from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

    cleaned: str = prompt_clean(prompt)
    return cleaned


@torch.no_grad()
def umt5(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, Tensor]:
    """``prompt_embeds`` (N, length, D) from the checkpoint's tokenizer and UMT5, which are dropped afterwards.

    With attention mask, and zero where there is no text, as the stock Wan pipelines do.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel  # seconds to import, needed once per prompt

    tokenizer = checkpoint.processor(AutoTokenizer, "tokenizer")
    encoder = checkpoint.model(UMT5EncoderModel, "text_encoder", torch.bfloat16)
    tokens = tokenizer(
        [clean(prompt) for prompt in prompts],
        padding="max_length",
        max_length=length,
        truncation=True,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    # One prompt at a time, so that the bits are those of the stock pipeline, whatever the batch.
    ids, mask = tokens.input_ids, tokens.attention_mask
    rows = [encoder(ids[i : i + 1], mask[i : i + 1])[0] for i in range(len(ids))]
    embeds = torch.cat(rows) * mask[..., None]
    return {"prompt_embeds": embeds.float()}
