"""One fixed neutral prompt embedding, computed once; the text encoder never stays in memory."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vdmfewshot.backbones.checkpoint import Checkpoint
from vdmfewshot.storage.tensors import cache_home, save_tensors

#: a checkpoint without text encoder ships its neutral embedding in this file
SHIPPED = "prompt_embeds.safetensors"


#: (checkpoint, N prompts, length) → N tensors (...) by the pipeline's own argument names; prompts may differ in length
PromptEncoder = Callable[[Checkpoint, Sequence[str], int], Mapping[str, Sequence[Tensor] | Tensor]]


def prompt_embeds(
    checkpoint: Checkpoint, prompt: str, length: int, encode: PromptEncoder, **shapes: tuple[int, ...]
) -> dict[str, Tensor]:
    """What the pipeline wants to know of ``prompt`` and, under ``negative_...``, of the empty one; each (1, ...).

    Comes from the checkpoint's ``prompt_embeds.safetensors`` if it has one, else from its text encoder through a cache
    on disk keyed by checkpoint, revision, prompt, length and encoder.

    Args:
        checkpoint: where tokenizer and text encoder are.
        prompt: the neutral text.
        length: of the embedding in tokens.
        encode: runs the family's text encoder.
        shapes: of one prompt's tensors by name, for checkpoints without weights.

    Raises:
        ValueError: for a prompt other than "" with a checkpoint that ships no text encoder.
    """
    shipped = checkpoint.folder / SHIPPED if checkpoint.folder is not None else None
    if shipped is not None and shipped.is_file():
        if prompt:
            raise ValueError(f"prompt must be '' for {checkpoint.path!r}, which has no text encoder, got {prompt!r}")
        tensors: dict[str, Tensor] = load_file(shipped)
        for name in [name for name in tensors if name.startswith("prompt_embeds")]:
            default = tensors[name] if "mask" in name else torch.zeros_like(tensors[name])
            tensors.setdefault(f"negative_{name}", default)
        return tensors
    if not checkpoint.has_weights:
        empty = {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}
        return {f"{prefix}{name}": tensor for prefix in ("", "negative_") for name, tensor in empty.items()}
    file = _cache_file(checkpoint, prompt, length, encode)
    stored = _read(file)
    if stored is None:
        encoded = encode(checkpoint, [prompt, ""], length)
        rows = {f"{prefix}{k}": v[i][None] for k, v in encoded.items() for i, prefix in enumerate(["", "negative_"])}
        save_tensors(file, rows, {"prompt": prompt})
        stored = load_file(file)
    return stored


def _read(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a cache entry; ``None``, with a warning, if it is damaged."""
    if not file.is_file():
        return None
    try:
        stored: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"{file} is damaged ({error}); the prompt is encoded again", stacklevel=3)
        return None
    return stored


def _cache_file(checkpoint: Checkpoint, prompt: str, length: int, encode: PromptEncoder) -> Path:
    location = str(checkpoint.folder.resolve()) if checkpoint.folder is not None else checkpoint.location
    key = (location, checkpoint.revision, prompt, length, encode.__module__, encode.__qualname__)
    return cache_home() / "prompts" / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.safetensors"


def text_pipeline(
    checkpoint: Checkpoint, cls: Any, models: Mapping[str, Any], tokenizers: Mapping[str, Any], **others: Any
) -> Any:
    """A stock pipeline of a checkpoint that can encode prompts and nothing else, in bf16.

    Args:
        checkpoint: where the parts are.
        cls: diffusers pipeline class.
        models: classes of transformers by the pipeline's own names.
        tokenizers: likewise.
        others: parts that its constructor needs.
    """
    parts: dict[str, Any] = dict.fromkeys(inspect.signature(cls).parameters) | others
    parts |= {part: checkpoint.model(model, part, torch.bfloat16) for part, model in models.items()}
    for part, tokenizer in tokenizers.items():
        parts[part] = checkpoint.processor(tokenizer, part)
    return cls(**parts)


def t5(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, Tensor]:
    """``prompt_embeds`` (N, length, D) from the checkpoint's tokenizer and T5, which are dropped afterwards.

    Padded to ``length`` and without attention mask, as the stock CogVideoX pipeline does.
    """
    return {"prompt_embeds": _t5(checkpoint, prompts, length, mask_encoder=False)["prompt_embeds"]}


def t5_with_mask(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, Tensor]:
    """As ``t5``, with ``prompt_attention_mask`` (N, length) bool: T5 sees the padding, the denoiser does not.

    So does the stock ``LTXImageToVideoPipeline``.
    """
    return _t5(checkpoint, prompts, length, mask_encoder=False)


def t5_masked(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, Tensor]:
    """As ``t5_with_mask``, but T5 does not see the padding either: the stock ``LTXConditionPipeline``."""
    return _t5(checkpoint, prompts, length, mask_encoder=True)


@torch.no_grad()
def _t5(checkpoint: Checkpoint, prompts: Sequence[str], length: int, mask_encoder: bool) -> dict[str, Tensor]:
    from transformers import AutoTokenizer, T5EncoderModel  # seconds to import, needed once per prompt

    tokenizer = checkpoint.processor(AutoTokenizer, "tokenizer")
    encoder = checkpoint.model(T5EncoderModel, "text_encoder", torch.bfloat16)
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=length,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    )
    masks = tokens.attention_mask.bool()
    # One prompt at a time, so that the bits are those of the stock pipeline, whatever the batch.
    embeds = [
        encoder(ids[None], attention_mask=mask[None] if mask_encoder else None)[0]
        for ids, mask in zip(tokens.input_ids, masks, strict=True)
    ]
    return {"prompt_embeds": torch.cat(embeds).float(), "prompt_attention_mask": masks}
