"""Every picture task of arXiv 2506.07280, on photos and scenes that packages ship or that are drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vdmfewshot.codecs.answer import AnswerCodec
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.surface import DepthCodec, NormalCodec
from vdmfewshot.data.generated import environments, physics, pictures, shapes, styles
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Rng
from vdmfewshot.metrics.answer import AnswerMetric
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric
from vdmfewshot.metrics.surface import DepthMetric, NormalMetric


@dataclass(frozen=True)
class PictureTask:
    """How examples of a task are made, drawn and scored.

    Attributes:
        draw: (random numbers, side in pixels, part) → input picture and label.
        codec: makes the codec of the label.
        metric: makes the metric.
        needs: package without which there are no examples, and the extra that brings it.
    """

    draw: Callable[[Rng, int, Part], tuple[Any, Any]]
    codec: Callable[[], Codec[Any]] = ImageCodec
    metric: Callable[[], TaskMetric] = ImageMetric
    needs: tuple[str, str] = ("skimage", "synth")

    @property
    def missing(self) -> str:
        """The extra that has to be installed; empty if nothing has."""
        return "" if not self.needs[0] or importlib.util.find_spec(self.needs[0]) else self.needs[1]


NOTHING, PHYSICS = ("", ""), ("pybullet", "physics")
PICTURES: dict[str, PictureTask] = {
    **{name: PictureTask(pictures.mapped(name)) for name in ("zoom", "vertical_flip", "horizontal_flip")},
    "canny": PictureTask(pictures.seen_as(pictures.canny)),
    "colourise": PictureTask(pictures.colourise),
    "style_pixels": PictureTask(pictures.seen_as(styles.pixels)),
    "style_mosaic": PictureTask(pictures.seen_as(styles.mosaic)),
    "style_woodcut": PictureTask(pictures.seen_as(styles.woodcut)),
    "mask_to_image": PictureTask(environments.mask_to_image, needs=NOTHING),
    "image_to_mask": PictureTask(
        environments.image_to_mask,
        lambda: LabelMapCodec(environments.CLASSES),
        lambda: SegmentationMetric(environments.CLASSES),
        NOTHING,
    ),
    "jigsaw": PictureTask(pictures.jigsaw),
    "inpaint": PictureTask(pictures.inpaint),
    "denoise": PictureTask(pictures.denoise),
    "deblur": PictureTask(pictures.deblur),
    "depth": PictureTask(
        physics.metric_depth,
        lambda: DepthCodec(physics.NEAR, physics.FAR),
        lambda: DepthMetric(physics.FAR),
        PHYSICS,
    ),
    "normals": PictureTask(physics.normals, NormalCodec, NormalMetric, PHYSICS),
    "classification": PictureTask(shapes.shape, lambda: AnswerCodec(len(shapes.SHAPES)), AnswerMetric, NOTHING),
}
