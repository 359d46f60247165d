"""The corpora: video, of which `embedded` is made; transition clips of tasks, for `embedded-tasks`; both by halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from vdmfewshot.drawing.canvas import Frame
from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.tasks.families import task_clip

CorpusName = Literal["video", "tasks", "mix"]


def _mixed(seed: int, index: int, size: int) -> Frame:
    return (task_clip if index % 2 else clip)(seed, index, size)


CORPORA: dict[CorpusName, Callable[[int, int, int], Frame]] = {"video": clip, "tasks": task_clip, "mix": _mixed}
"""(seed, index, size) → clip (9, S, S, 3), by the name of the corpus."""
