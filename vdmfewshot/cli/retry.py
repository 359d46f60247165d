"""Out of memory: once more with less at a time, which changes no result, then a message that names what to set."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_warn

from vdmfewshot.storage.errors import causes

#: what allocators say that have no exception of their own
WORDS = ("can't allocate memory", "out of memory", "Cannot allocate memory")
ADVICE = (
    "out of memory, also with the smallest batches; set data.height, data.width or data.num_frames lower, or of the "
    "backbone memory.checkpointing=full, memory.quantization=fp8 or memory.offload=group"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what led to it, is an allocation that failed."""
    return any(
        isinstance(e, torch.OutOfMemoryError | MemoryError)
        or (isinstance(e, RuntimeError | OSError) and any(word in str(e) for word in WORDS))
        for e in causes(error)
    )


def take_less(config: Namespace) -> str:
    """Divide what is in memory at a time, in place; the samples of an optimiser step stay the same.

    Args:
        config: of a verb, with ``data``, ``model`` and ``trainer``.

    Returns:
        what has changed; empty if nothing can be divided.
    """
    changes: list[str] = []
    data, trainer = config.data.get("init_args", Namespace()), config.trainer
    factor = smallest_factor(_whole(data.get("batch_size")))
    if factor > 1:
        data.batch_size //= factor
        trainer.accumulate_grad_batches = factor * (_whole(trainer.accumulate_grad_batches))
        if isinstance(trainer.val_check_interval, int):  # counts micro-batches
            trainer.val_check_interval *= factor
        changes += [f"batch_size {data.batch_size}", f"accumulate_grad_batches {trainer.accumulate_grad_batches}"]
    sampling = config.model.get("init_args", Namespace()).get("sampling")
    for part, name in ((data, "eval_batch_size"), (sampling, "max_batch")):
        size = _whole(part.get(name)) if isinstance(part, Namespace) else 1
        if size > 1:
            part[name] = size // 2
            changes.append(f"{name} {size // 2}")
    return ", ".join(changes)


def run_or_retry(run: Callable[[], None], start_again: Callable[[], None], config: Namespace) -> None:
    """Run; if memory runs out, once more with less at a time.

    Args:
        run: the work.
        start_again: builds everything anew from ``config``.
        config: of the verb, changed by ``take_less``.

    Raises:
        ValueError: naming what to set, if that does not help.
    """
    try:
        run()
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    less = take_less(config)
    if not less:
        raise ValueError(ADVICE)
    rank_zero_warn(f"out of memory; the run starts again with {less}, which gives the same result")
    start_again()
    try:
        run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(ADVICE) from None


def free_memory() -> None:
    """Give back what dropped objects, which refer to each other, still hold."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()


def smallest_factor(number: int) -> int:
    """The smallest prime factor; 1 of 1."""
    return next((k for k in range(2, number + 1) if number % k == 0), 1)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 1
