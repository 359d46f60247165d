"""The tasks of the evidence: generated ones, real data that ship with us, 60 small ARC training tasks, own folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vdmfewshot.clips.transition import TransitionName
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.generated import physics
from vdmfewshot.data.generated.data import EvidenceDataModule
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.data.stack import ListedDataModule

#: the first 60 ids, in order, of ARC-AGI-1 training tasks with at least 3 demonstrations, all of whose grids (test
#: outputs included) are at most 10 x 10 and keep their input's size; ``tests/data/test_evidence.py`` checks that
ARC_IDS = (
    *("05269061", "0ca9ddb6", "0d3d703e", "11852cab", "1b60fb0c", "1caeab9d", "1e0a9b12", "1f0c79e5", "1f642eb9"),
    *("1f876c06", "2204b7a8", "22168020", "22233c11", "2281f1f4", "228f6490", "22eb0ac0", "25d8a9c8", "25ff71a9"),
    *("2bcee788", "31aa019c", "3618c87e", "3906de3d", "3c9b0459", "444801d8", "5582e5ca", "5c0a986e", "63613498"),
    *("67385a82", "67a3c6ac", "68b16354", "6e02f1e3", "6e82a1ae", "6f8cd79b", "74dd1130", "760b3cac", "794b24be"),
    *("7ddcd7ec", "8403a5d5", "8f2ea7aa", "93b581b8", "941d9a10", "952a094c", "9565186b", "99fa7670", "9dfd6313"),
    *("a1570a43", "a3df8b1e", "a65b410d", "a699fb00", "a78176bb", "a79310a0", "a85d4709", "a9f96cdd", "aba27056"),
    *("aedd82e4", "af902bf9", "b1948b0a", "b230c067", "b8cdaf2b", "bda2d7a6"),
)
ARC = "arc"
#: scores of a kind of task: the main one first, which the figure shows
PSNR, IOU, PCK, CELLS = ("psnr_db", "ssim"), ("iou_dataset",), ("pck@0.1",), ("cell_accuracy", "pass@1")
#: scores of folders of pairs by what their names begin with: pictures, or black-and-white masks
FOLDERS = {"pairs": PSNR, "masks": IOU}
#: real pictures and masks that ship with the package, by name of the task
MASKS = {"nuclei": "sample:nuclei", "person_masks": "sample:person-masks"}


@dataclass(frozen=True)
class Task:
    """A row of the table, or one of the 60 tasks behind the row of ARC.

    Attributes:
        name: of the task; ``arc-<id>`` for ARC, ``pairs:<folder>`` or ``masks:<folder>`` for a folder of pairs.
        row: the row it counts in: its name, or ``arc``.
        title: of the row.
        scores: names of the metric's scores that are shown, the main one first.
    """

    name: str
    row: str
    title: str
    scores: tuple[str, ...]

    def data(self, **kwargs: Any) -> FewShotDataModule:
        """The task's data module; the arguments are those of ``FewShotDataModule``."""
        kind, _, root = self.name.partition(":")
        if kind in FOLDERS:
            return PairsDataModule(root, target="mask" if kind == "masks" else "image", **kwargs)
        if self.row == ARC:
            return ArcDataModule(self.name.removeprefix("arc-"), split="training", **kwargs)
        if self.name in MASKS:
            return MaskFolderDataModule(MASKS[self.name], **kwargs)
        if self.name == "people":
            people = ("sample:people/images", "sample:people/train.json")
            return CocoPoseDataModule(*people, test_annotations="sample:people/test.json", **kwargs)
        return EvidenceDataModule(self.name, **kwargs)

    @property
    def missing(self) -> str:
        """What would have to be installed for this task; empty if nothing."""
        return "" if self.name != "depth" or physics.available() else "pip install 'vdmfewshot[physics]'"


def _task(name: str, title: str, scores: tuple[str, ...]) -> Task:
    return Task(name, name, title, scores)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("horizontal_flip", "horizontal flip", PSNR),
        _task("vertical_flip", "vertical flip", PSNR),
        _task("rotate_90", "rotate by 90°", PSNR),
        _task("zoom", "zoom in 2x", PSNR),
        _task("invert", "invert colours", PSNR),
        _task("edges", "edges (Sobel)", PSNR),
        _task("colourise", "colourise photos", PSNR),
        _task("denoise", "denoise", PSNR),
        _task("inpaint", "inpaint", PSNR),
        _task("objects_on_texture", "objects on textures", IOU),
        _task("objects_on_photo", "objects on photos", IOU),
        _task("nuclei", "nuclei (real)", IOU),
        _task("person_masks", "person (real)", IOU),
        _task("rendered_people", "pose, rendered people", PCK),
        _task("people", "pose, real people", PCK),
        _task("depth", "depth of physics scenes", PSNR),
        _task("life", "Game of Life", CELLS),
        _task("seeds", "Seeds (B2/S)", CELLS),
        _task("rule_110", "rule 110, row by row", CELLS),
        *(Task(f"arc-{name}", ARC, f"ARC ({len(ARC_IDS)} tasks)", CELLS) for name in ARC_IDS),
    )
}


def find_task(name: str) -> Task:
    """Task by name: one of ``TASKS``, or a folder as ``PairsDataModule`` reads it.

    Raises:
        ValueError: naming an unknown task and what there is.
    """
    if name in TASKS:
        return TASKS[name]
    kind, _, root = name.partition(":")
    if kind not in FOLDERS or not root:
        rows = dict.fromkeys(task.row for task in TASKS.values())
        raise ValueError(f"tasks must be among all, {', '.join(rows)}, pairs:FOLDER, masks:FOLDER, got {name!r}")
    return Task(name, name, name, FOLDERS[kind])


def choose_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks by name or row, in the order of ``TASKS``, then folders in that of the names.

    Args:
        names: of tasks; ``arc`` stands for all 60, ``all`` for all of ``TASKS``.

    Raises:
        ValueError: for no name, and as ``find_task``.
    """
    if not names:
        raise ValueError("tasks must name at least one task, got none")
    listed = [task for task in TASKS.values() if {task.name, task.row, "all"} & set(names)]
    known = {"all", *(name for task in listed for name in (task.name, task.row))}
    return [*listed, *(find_task(name) for name in dict.fromkeys(names) if name not in known)]


class EvidenceStackDataModule(ListedDataModule):
    """Tasks of the evidence by name, one adapter each. Those of different kinds make a fleet or a study, not one stack.

    Args:
        tasks: names, see ``choose_tasks``; all whose packages are installed if not given.
        shots: n; all that a task has if not given.
        support_seed: see ``FewShotDataModule``.
        num_frames: of the clips.
        height: of the frames in pixels; equal to the width.
        width: of the frames in pixels.
        transition: from input to target.
        batch_size: clips of a step, for each task.
        eval_batch_size: queries of a batch on each device, of whichever tasks.
        seed: of the order of training clips.
        max_queries: at most this many queries a task.
    """

    def __init__(
        self,
        tasks: list[str] | None = None,
        shots: int | None = None,
        support_seed: int = 0,
        num_frames: int | None = None,
        height: int = 64,
        width: int = 64,
        transition: TransitionName | None = None,
        batch_size: int = 2,
        eval_batch_size: int = 8,
        seed: int | None = None,
        max_queries: int | None = None,
    ) -> None:
        super().__init__(tasks, eval_batch_size)
        shape: dict[str, Any] = {"num_frames": num_frames, "height": height, "width": width, "transition": transition}
        support = {"shots": shots, "support_seed": support_seed, "seed": seed, "max_queries": max_queries}
        self.options = {**shape, **support, "batch_size": batch_size, "eval_batch_size": eval_batch_size}

    def all_ids(self) -> list[str]:
        """Names of the tasks that can be drawn here, in the order of the table."""
        return [task.name for task in TASKS.values() if not task.missing]

    def make_task(self, task: str) -> FewShotDataModule:
        """The task's data module."""
        return find_task(task).data(**self.options)
