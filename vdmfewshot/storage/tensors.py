"""Where caches are kept, and tensors in safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vdmfewshot.storage.atomic import replacing


def cache_home() -> Path:
    """``$XDG_CACHE_HOME/vdmfewshot``, by default ``~/.cache/vdmfewshot``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vdmfewshot"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite: the check of everything that is loaded or generated."""
    return bool(torch.isfinite(tensor).all())


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically: readers see the whole file or none."""
    with replacing(file) as draft:
        save_file({k: v.contiguous() for k, v in tensors.items()}, draft, metadata=dict(metadata))
