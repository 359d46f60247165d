"""Several processes with the same frozen weights: read once, sent to nobody, known to be equal."""

from __future__ import annotations

from typing import Any

from vdmfewshot.backbones.base import Backbone
from vdmfewshot.backbones.late_cast import LateCast


def read_together(backbone: Backbone) -> None:
    """Let processes of one machine share what they read, see ``vdmfewshot.backbones.late_cast``.

    Quantised and offloaded weights are cast where they are read: what stores them otherwise takes their dtype over.
    """
    memory = backbone.memory
    if memory.quantization in ("none", "auto") and memory.offload in ("none", "auto"):
        backbone.late_cast = LateCast(backbone.dtype)


def leave_frozen_alone(module: Any) -> None:
    """Tell DDP that frozen weights and buffers need not be sent around.

    All processes have read the same, and writing to pages that they share would make each of them a copy of its own.
    """
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    # What DDP and Lightning read; the setter of torch is private, too.
    module._ddp_params_and_buffers_to_ignore = [*frozen, *(name for name, _ in module.named_buffers())]


def require_same_weights(strategy: Any, fingerprint: str) -> None:
    """Refuse to train together on different frozen weights: a file that is older on one machine, say.

    Args:
        strategy: of Lightning, whose processes can talk to each other.
        fingerprint: of this process's weights.

    Raises:
        ValueError: on all processes.
    """
    same = strategy.broadcast(fingerprint) == fingerprint
    if not strategy.reduce_boolean_decision(same, all=True):
        raise ValueError(
            "the processes have read different weights: the checkpoint is not the same file on all machines; copy it "
            "again, or name a revision of the hub"
        )
