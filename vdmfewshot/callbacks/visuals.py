"""Pictures of what the model sees, draws and gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from vdmfewshot.callbacks.draw import Artist, artist_for, class_colors, compare_images, draw_image
from vdmfewshot.callbacks.evaluation import TaskData, count_passes, decoders, joiner, run_folder, score_clips
from vdmfewshot.callbacks.mirror import log_images
from vdmfewshot.callbacks.panel import Row, panel, save_gif, strip
from vdmfewshot.callbacks.passes import Joiner, answering
from vdmfewshot.clips.clip import ClipBatch, Pair, to_image
from vdmfewshot.clips.rng import named_generator
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import recompute
from vdmfewshot.storage.errors import storage_error

HEADINGS = ("input", "generated", "decoded", "truth")


@dataclass(frozen=True)
class Sample:
    """A query and its task in a stack, its K attempts (K, F', 3, H, W), the first one's clip (F, 3, H, W); on CPU.

    ``views`` is the number of versions in which it was asked.
    """

    pair: Pair
    clips: Tensor
    clip: Tensor
    task: str = ""
    views: int = 1


class Visuals(Callback):
    """One panel (input, generated, decoded, truth, error) and a transition clip per sample.

    Written to ``<run>/pictures/{val,test}``: ``step=N.png``, and per sample ``step=N/<key>.png`` and ``.gif``; sent to
    loggers that take pictures (W&B, TensorBoard, MLflow). They show the first attempt of the first samples of rank 0.
    Those of a stack of tasks are in a folder per task. Errors in drawing are warnings.

    Args:
        max_samples: rows of a panel, at least 1.
        every_n_validations: draw every n-th validation, starting with the first, at least 1.
        fps: frames per second of the clips, 1 to 50.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, max_samples: int = 8, every_n_validations: int = 1, fps: int = 8) -> None:
        for name, value in (("max_samples", max_samples), ("every_n_validations", every_n_validations)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 1 <= fps <= 50:
            raise ValueError(f"fps must be 1 to 50 (what GIF players show), got {fps}")
        self.max_samples = max_samples
        self.every_n_validations = every_n_validations
        self.fps = fps
        self._validations = 0
        self._samples: list[Sample] = []
        self._joiner: Joiner | None = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the first samples."""
        if not trainer.sanity_checking and self._validations % self.every_n_validations == 0:
            self._keep(trainer, pl_module, outputs)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the first samples."""
        self._keep(trainer, pl_module, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not trainer.sanity_checking:
            self._validations += 1
            self._publish("val", trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._publish("test", trainer)

    def _keep(self, trainer: Trainer, module: LightningModule, outputs: Any) -> None:
        if not trainer.is_global_zero or not isinstance(outputs, ClipBatch) or outputs.generated is None:
            return
        if len(self._samples) == self.max_samples:
            return
        self._joiner = self._joiner or Joiner(trainer)
        for part in self._joiner.parts(outputs).values():
            self._keep_part(module, part)

    def _keep_part(self, module: LightningModule, part: ClipBatch) -> None:
        assert part.generated is not None, "generate fills it"
        known = {(sample.task, sample.pair.key) for sample in self._samples}
        for i, (pair, clips, task) in enumerate(zip(part.pairs, part.generated, part.tasks, strict=True)):
            if len(self._samples) < self.max_samples and (task, pair.key) not in known:
                clip = whole_clip(module, part, i)
                shown = (clips.detach().float().cpu(), clip.detach().float().cpu())
                self._samples.append(Sample(pair, *shown, task, part.views))

    def _publish(self, stage: Literal["val", "test"], trainer: Trainer) -> None:
        folder = run_folder(trainer) / "pictures" / stage  # on every rank: it is broadcast
        samples, self._samples, self._joiner = self._samples, [], None
        if not samples:
            return
        try:
            name = f"step={trainer.global_step}"
            sheets: dict[str, Path] = {}
            clips: list[Path] = []
            for task, data in answering(trainer).items():
                if own := [sample for sample in samples if sample.task == task]:
                    sheet, drawn = write_pictures(folder / task, name, own, data, self.fps)
                    sheets[task or "all"], clips = sheet, [*clips, *drawn]
            log_images(trainer.loggers, f"pictures/{stage}", [*sheets.values()], trainer.global_step, [*sheets])
            log_images(trainer.loggers, f"clips/{stage}", clips, trainer.global_step)
        except Exception as error:
            known = storage_error(error) or f"{type(error).__name__}: {error}"
            rank_zero_warn(f"pictures are skipped: {known}")


def whole_clip(module: LightningModule, outputs: ClipBatch, index: int) -> Tensor:
    """(F, 3, H, W), the first attempt of a sample; decoded here if prediction decoded no more than the last frame."""
    assert outputs.generated is not None, "generate fills it"
    clip = outputs.generated[index, 0]
    if len(clip) > 1 or outputs.latents is None:
        return clip
    noise = [named_generator("pictures", outputs.pairs[index].key)]
    # torch: an attribute is a Tensor or a Module
    decoded: Tensor = module.backbone.decode(outputs.latents[index, :1], noise)[0]  # type: ignore[operator, union-attr]
    return decoded


def write_pictures(folder: Path, name: str, samples: list[Sample], data: TaskData, fps: int) -> tuple[Path, list[Path]]:
    """Write a panel ``<name>.png``, and per sample its pictures ``<name>/<key>.png`` and a clip ``<name>/<key>.gif``.

    Returns:
        the panel and the clips.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    metric = data.make_metric()
    sheet, clips = folder / f"{name}.png", [folder / name / f"{sample.pair.key}.gif" for sample in samples]
    artist = artist_for(metric) or encoding_artist(data)
    colors = class_colors(metric, getattr(data, "class_names", ()))
    rows = [row(sample, data, metric, artist) for sample in samples]
    Image.fromarray(panel((*HEADINGS, f"error: {artist.legend}"), rows, colors)).save(sheet)
    for sample, drawn, clip in zip(samples, rows, clips, strict=True):
        Image.fromarray(strip(drawn.pictures)).save(clip.with_suffix(".png"))
        save_gif(clip, [draw_image(to_image(frame)) for frame in sample.clip], fps)
    return sheet, clips


def row(sample: Sample, data: TaskData, metric: TaskMetric, artist: Artist) -> Row:
    """Pictures and score of one sample; input and frame alone if its label cannot be read or drawn."""
    try:
        return _full_row(sample, data, metric, artist)
    except Exception as error:
        frame = draw_image(to_image(sample.clips[0, -1]))
        title = f"{sample.pair.key}   not drawn: {type(error).__name__}: {error}"
        return Row(title, (sample.pair.image, frame, None, None, None))


def _full_row(sample: Sample, data: TaskData, metric: TaskMetric, artist: Artist) -> Row:
    pair, readers = sample.pair, decoders(data, sample.views, len(sample.clips))
    frames = [to_image(clip[-1]) for clip in sample.clips[: count_passes(data)]]
    (decoded,) = joiner(data)([read(frame, pair) for read, frame in zip(readers, frames, strict=False)])
    first = (pair.image, draw_image(np.hstack(frames)), artist.draw(decoded.label, pair.image))
    title = f"{pair.key}   confidence {decoded.confidence:.2f}"
    if pair.target is None:
        return Row(title, (*first, None, None))
    record = score_clips(metric, readers, sample.clips, pair, joiner(data))
    score = recompute([record], metric)[metric.main]
    failure = f"   failure: {record['failure']}" if record["failure"] else ""
    truth = artist.draw(pair.target, pair.image)
    error = artist.compare(decoded.label, pair.target, pair.image)
    return Row(f"{title}   {metric.main} {score:.3f}{failure}", (*first, truth, error))


def encoding_artist(data: TaskData) -> Artist:
    """For labels that only their codec knows how to draw."""

    def draw(label: Any, image: Any) -> Any:
        return data.codec.encode(label, data.box(Pair("label", image)))

    def compare(label: Any, truth: Any, image: Any) -> Any:
        return compare_images(draw(label, image), draw(truth, image))

    return Artist(draw, compare, "bright is far")
