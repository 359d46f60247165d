"""Bytes of the tensors that a computation holds, on real, fake or meta tensors alike."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of storages that operations made and that are still referenced.

    Args:
        weights: tensors that do not count, nor do views of them.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.alive = 0
        self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet(w.untyped_storage() for w in weights)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and watch its results."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._seen:
                self._seen.add(storage)
                weakref.finalize(storage, self._free, storage.nbytes())
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
        return out

    def _free(self, nbytes: int) -> None:
        self.alive -= nbytes
