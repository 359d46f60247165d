"""Tensors without values where a network looks at values: so that its cost can be counted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode


class Valueless(TorchFunctionMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Within it, masks of fake tensors select everything, their negations nothing, and conditions do not hold.

    Some networks sort text tokens into valid ones and padding. What follows has the same shapes however many are valid.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or give what it would if all values were valid."""
        if not args or not isinstance(args[0], FakeTensor):
            return func(*args, **(kwargs or {}))
        if func is Tensor.__bool__:
            return False
        if func is Tensor.__getitem__ and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            return args[0][:0] if getattr(args[1], "selects_nothing", False) else args[0]
        out = func(*args, **(kwargs or {}))
        if func is Tensor.__invert__:
            out.selects_nothing = True
        return out
