"""Task metrics: per-sample records in, scores with 95 % intervals out."""

from vdmfewshot.metrics.arc import ArcMetric
from vdmfewshot.metrics.base import Interval, TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.pose import PoseMetric
from vdmfewshot.metrics.route import RouteMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

__all__ = ["ArcMetric", "ImageMetric", "Interval", "PoseMetric", "RouteMetric", "SegmentationMetric", "TaskMetric"]
