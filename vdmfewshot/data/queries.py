"""Pictures in memory to be answered with a finished adapter."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from vdmfewshot.clips.clip import Pair
from vdmfewshot.clips.transition import TransitionName
from vdmfewshot.codecs.base import Codec
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits, picture_digest
from vdmfewshot.data.memory import AnyPicture, as_picture
from vdmfewshot.data.pictures import read_picture
from vdmfewshot.metrics.base import TaskMetric


@dataclass(frozen=True)
class Canvas:
    """Clips of an adapter: F frames of (height, width) pixels, and how the input becomes the target within them."""

    num_frames: int
    height: int
    width: int
    transition: TransitionName


class QueryDataModule(FewShotDataModule):
    """Pictures to answer with a finished adapter.

    Args:
        images: see ``adapt``.
        codec: of the adapter.
        clip: of the adapter.
    """

    offered: ClassVar[bool] = False

    task_name = "queries"

    def __init__(self, images: Sequence[AnyPicture], codec: Codec[Any], clip: Canvas) -> None:
        super().__init__(num_frames=clip.num_frames, height=clip.height, width=clip.width, transition=clip.transition)
        self.images = images
        self._codec = codec

    def load(self) -> Splits:
        """Every picture, to be predicted; its content names it, so that its noise depends on nothing else."""
        return Splits([], predict=[self._example(i, image) for i, image in enumerate(self.images)])

    def _example(self, index: int, image: AnyPicture) -> Example:
        return Example(f"{index}", f"picture {index}", functools.partial(read_query, image))

    def make_codec(self) -> Codec[Any]:
        """Of the adapter."""
        return self._codec

    def make_metric(self) -> TaskMetric:
        """Raise: there is no truth to compare with."""
        raise NotImplementedError("queries have no targets to be scored against")


def read_query(image: AnyPicture) -> Pair:
    """A picture named after its content."""
    pair = Pair("query", read_picture(as_picture(image)))
    return Pair(picture_digest(pair)[:16], pair.image)


def is_one(images: Any) -> bool:
    """Whether this is one picture, not several."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim < 4
    return isinstance(images, str | Path | Image.Image | Mapping)
