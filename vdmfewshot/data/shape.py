"""Shape of a data module's clips: given, or what suits the model that is run."""

from __future__ import annotations

from typing import ClassVar

from lightning.pytorch import LightningDataModule

from vdmfewshot.clips.transition import TransitionName
from vdmfewshot.data.limits import at_least
from vdmfewshot.defaults import PAPERS, Preset


class ShapedDataModule(LightningDataModule):
    """A data module that knows the shape of its clips.

    Args:
        num_frames: F; that of the model's preset if not given.
        height: of frames in pixels.
        width: of frames in pixels.
        transition: from input to target; that of the model's preset if not given.
    """

    offered: ClassVar[bool] = False

    def __init__(self, num_frames: int | None, height: int, width: int, transition: TransitionName | None) -> None:
        super().__init__()
        self._num_frames = at_least("num_frames", num_frames, 2)
        self._transition = transition
        self.height = at_least("height", height, 8)
        self.width = at_least("width", width, 8)

    @property
    def num_frames(self) -> int:
        """F, frames of a training clip."""
        return self._num_frames or self._preset.num_frames

    @property
    def transition(self) -> TransitionName:
        """How the input becomes the target within a clip."""
        return self._transition or self._preset.transition

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(F, H, W) of training clips."""
        return self.shape_for(self._preset)

    def shape_for(self, preset: Preset) -> tuple[int, int, int]:
        """(F, H, W) of training clips for a model of this preset, known before a Trainer runs it."""
        return self._num_frames or preset.num_frames, self.height, self.width

    @property
    def _preset(self) -> Preset:
        """Of the model that the Trainer runs; the papers' before there is one."""
        module = None if self.trainer is None else self.trainer.lightning_module
        preset: Preset = getattr(getattr(module, "backbone", None), "preset", PAPERS)
        return preset
