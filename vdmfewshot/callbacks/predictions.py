"""Writes what ``predict`` found: one decoded file per query and one line each in ``predictions.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from vdmfewshot.callbacks.draw import draw_grid
from vdmfewshot.callbacks.evaluation import (
    NOT_FINITE,
    Decoder,
    TaskData,
    count_passes,
    decoders,
    gather,
    joiner,
    last_frames,
    run_folder,
)
from vdmfewshot.callbacks.passes import Joiner, answering
from vdmfewshot.clips.clip import ClipBatch, Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.records import publish
from vdmfewshot.storage.atomic import replacing

#: what is written of an attempt that is none
FAILED = {"confidence": 0.0, "failure": NOT_FINITE}


class Predictions(Callback):
    """Saves predictions to ``<run>/predictions``.

    Images, masks and label maps become PNG files; grids and keypoints are in ``predictions.jsonl``, with the confidence
    of every attempt (0, and a ``failure``, for one that holds NaN) and the path of the input; joints are in pixels of
    the whole picture. They are named like the
    input; ``<name>.frame.png`` is the raw last frame, before decoding. Where attempts are voted on (ARC), ``answers``
    are the most voted grids with their votes, as many as the benchmark allows; ``<name>.png`` shows the first,
    ``<name>.answer2.png`` the second. Files of a stack of tasks are in a folder per task; passes over one picture are
    one answer, with a frame each.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._folder = Path()
        self._joiner: Joiner | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        self._rows, self._folder = [], run_folder(trainer) / "predictions"
        self._joiner = Joiner(trainer)
        self._folder.mkdir(parents=True, exist_ok=True)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: ClipBatch,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Decode and save each query of the batch."""
        assert self._joiner is not None, "setup makes it"
        tasks = answering(trainer)
        for name, part in self._joiner.parts(outputs).items():
            assert part.generated is not None, "generate fills it"
            readers = decoders(tasks[name], part.views, part.generated.shape[1])
            for pair, clips in zip(part.pairs, part.generated, strict=True):
                row = save_query(self._folder / name, tasks[name], pair, last_frames(clips), readers)
                self._rows.append({"task": name, **row} if name else row)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish the list of all ranks.

        Raises:
            FloatingPointError: if no query has an answer.
        """
        rows = {(row.get("task", ""), row["key"]): row for part in gather(self._rows) for row in part}
        if trainer.is_global_zero:
            publish(self._folder, [rows[key] for key in sorted(rows)], "predictions.jsonl")
        lost = [row["key"] for row in rows.values() if all("failure" in answer for answer in row["attempts"])]
        if not lost:
            return
        text = f"{len(lost)} of {len(rows)} queries have no answer ({lost[0]}, ...): {NOT_FINITE}; use dtype fp32"
        if len(lost) == len(rows):
            raise FloatingPointError(text)
        rank_zero_warn(text)


def save_query(
    folder: Path, data: TaskData, pair: Pair, frames: Sequence[NDArray[np.float32] | None], readers: Sequence[Decoder]
) -> dict[str, Any]:
    """Write the files of one query; returns its line in ``predictions.jsonl``."""
    stem = str(pair.meta.get("name", pair.key))
    (folder / stem).parent.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames[: count_passes(data)], 1):
        if frame is not None:
            save_png(folder / f"{stem}.frame{i if i > 1 else ''}.png", frame.round().astype(np.uint8))
    source = {"source": pair.meta["source"]} if "source" in pair.meta else {}
    read = [
        None if frame is None else moved(reader(frame, pair), pair)
        for reader, frame in zip(readers, frames, strict=True)
    ]
    decoded = [answer for answer in read if answer is not None]
    if count_passes(data) > 1:
        read = [*joiner(data)(decoded)] or [None]
    attempts = [dict(FAILED) if a is None else save_label(folder, stem, i, a) for i, a in enumerate(read)]
    row = {"key": pair.key, **source, "attempts": attempts}
    voted: Callable[[Sequence[Decoded[Any]]], list[tuple[NDArray[Any], int]]] | None = getattr(data, "voted", None)
    return row | ({"answers": save_answers(folder, stem, voted(decoded))} if voted else {})


def moved(decoded: Decoded[Any], pair: Pair) -> Decoded[Any]:
    """Joints of a cut-out in pixels of the whole picture; anything else as it is."""
    offset, label = pair.meta.get("offset"), decoded.label
    if offset is None or not isinstance(label, np.ndarray) or label.ndim != 2 or label.shape[1] != 3:
        return decoded
    return replace(decoded, label=label + np.array([*offset, 0.0]) * (label[:, 2:] > 0))


def save_answers(folder: Path, stem: str, voted: Sequence[tuple[NDArray[Any], int]]) -> list[dict[str, Any]]:
    """Draw the most voted grids as PNG; returns each with its votes and its file."""
    rows = []
    for i, (grid, votes) in enumerate(voted, 1):
        name = f"{stem}.png" if i == 1 else f"{stem}.answer{i}.png"
        save_png(folder / name, draw_grid(grid))
        rows.append({"label": grid.tolist(), "votes": votes, "file": name})
    return rows


def save_label(folder: Path, stem: str, attempt: int, decoded: Decoded[Any]) -> dict[str, Any]:
    """Write a picture, mask or label map as PNG; returns the confidence, and the file's name or the label itself."""
    row: dict[str, Any] = {"confidence": decoded.confidence}
    label = np.asarray(decoded.label)
    if label.dtype in (np.bool_, np.uint8):
        name = f"{stem}.png" if attempt == 0 else f"{stem}.attempt{attempt + 1}.png"
        save_png(folder / name, label * np.uint8(255) if label.dtype == np.bool_ else label)
        return row | {"file": name}
    return row | {"label": label.tolist()}


def save_png(file: Path, image: NDArray[np.uint8]) -> None:
    """Write (h, w) or (h, w, 3) RGB uint8 without loss, see ``replacing``."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    with replacing(file) as draft:
        draft.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
