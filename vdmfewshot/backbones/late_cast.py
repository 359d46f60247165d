"""Weights of several processes on one machine: read through the same pages of memory, and cast as late as possible.

diffusers builds models on the meta device and maps the file into memory, where all processes that read it share its
pages. A cast makes each of them a copy of its own. Here the weights keep the dtype of their file until they move to
their device, tensor by tensor, or until their block is shared out; what is left behind of a tensor is freed at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vdmfewshot.backbones.checkpoint import Checkpoint, is_kept

#: names of dtypes in safetensors files
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


class LateCast:
    """Reads denoisers in the dtype of their file, and casts them when they move.

    Args:
        dtype: that the weights are to have.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._waiting: dict[int, nn.Parameter] = {}

    def read(self, checkpoint: Checkpoint, cls: Any, part: str) -> Any:
        """``checkpoint.model`` without a cast; the model is not to be used before ``settle`` has cast it."""
        model = checkpoint.model(cls, part, stored_dtype(checkpoint, part) or self.dtype)
        waiting = [p for name, p in model.named_parameters() if p.dtype != self.dtype and not is_kept(model, name)]
        self._waiting |= {id(p): p for p in waiting if p.is_floating_point()}
        return model

    def settle(
        self, parameters: Iterable[nn.Parameter], move: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> None:
        """Cast those of these parameters that wait for it, one by one, and move each before the next is cast."""
        if self._waiting:
            for p in parameters:
                if self._waiting.pop(id(p), None) is not None:
                    p.data = move(p.data.to(self.dtype))


def stored_dtype(checkpoint: Checkpoint, part: str) -> torch.dtype | None:
    """That of most tensors in the first weight file of a part; ``None`` if it is not on this machine."""
    folder = checkpoint.local_folder(part)
    file = min(folder.glob("*.safetensors"), default=None) if folder is not None else None
    if file is None:
        return None
    with safe_open(file, "pt") as stored:
        names = Counter(str(stored.get_slice(key).get_dtype()) for key in stored.keys())  # noqa: SIM118 (no mapping)
    return DTYPES.get(names.most_common(1)[0][0]) if names else None
