"""Task metrics: per-sample records in, scores with 95 % intervals out."""

from vdmfewshot.metrics.answer import AnswerMetric
from vdmfewshot.metrics.arc import ArcMetric
from vdmfewshot.metrics.base import Interval, TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.pose import PoseMetric
from vdmfewshot.metrics.route import RouteMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric
from vdmfewshot.metrics.surface import DepthMetric, NormalMetric

__all__ = [
    "AnswerMetric",
    "ArcMetric",
    "DepthMetric",
    "ImageMetric",
    "Interval",
    "NormalMetric",
    "PoseMetric",
    "RouteMetric",
    "SegmentationMetric",
    "TaskMetric",
]
