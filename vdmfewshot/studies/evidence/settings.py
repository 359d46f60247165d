"""Settings of the evidence: what is compared, and the budget that every method gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from vdmfewshot.defaults import TransitionName
from vdmfewshot.studies.settings import Executor

Method = Literal["pretrained", "random", "scratch"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Settings:
    """Every method trains for the same steps on the same clips.

    Args:
        tasks: names of tasks, ``arc`` for the 60 ARC tasks, ``all`` for the whole list, and own folders of inputs and
            targets (``PairsDataModule``): ``pairs:FOLDER`` for pictures, ``masks:FOLDER`` for black-and-white masks.
            A folder with ``train`` and ``test`` asks all support sets the same queries.
        methods: ``pretrained`` and ``random`` weights with LoRA, ``scratch``: random weights, all of them trained.
        shots: sizes n of the support sets.
        seeds: support seeds; each is also the seed of the order.
        arc_shots: as ``shots`` for ARC, whose demonstrations are the supports: every listed task has three or more.
        arc_seeds: as ``seeds`` for ARC, whose band is over tasks.
        out: folder of results, table and figure; finished results in it are kept.
        backbone: the model, see ``CogVideoX``.
        size: side of the frames in pixels.
        num_frames: of the clips.
        transition: from input to target, see ``vdmfewshot.clips.transition``.
        steps: optimiser steps.
        batch_size: clips of a step.
        queries: at most this many queries a task, the same for all methods and support sets.
        rank: of the adapter; alpha is equal to it.
        lr: AdamW's rate of adapters, without weight decay.
        scratch_lr: AdamW's rate of all weights from scratch.
        timestep_shift: of training, see ``CogVideoX``.
        sampling_steps: denoising steps of a prediction.
        precision: Lightning's ``precision``; CPUs without bf16 units are ten times slower with ``bf16-mixed``.
        accelerator: Lightning's ``accelerator``.
        frames: keep the generated last frames of every unit, to look at.
        executor: where units run, as in a study.
    """

    tasks: list[str] = field(default_factory=lambda: ["all"])
    methods: list[Method] = field(default_factory=lambda: list(METHODS))
    shots: list[int] = field(default_factory=lambda: [1, 3, 5, 10, 30])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    arc_shots: list[int] = field(default_factory=lambda: [3])
    arc_seeds: list[int] = field(default_factory=lambda: [0])
    out: str = "runs/evidence"
    backbone: str = "embedded"
    size: int = 64
    num_frames: int = 9
    transition: TransitionName = "discrete"
    steps: int = 100
    batch_size: int = 2
    queries: int = 12
    rank: int = 16
    lr: float = 4e-3
    scratch_lr: float = 1e-3
    timestep_shift: float = 4.0
    sampling_steps: int = 4
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    frames: bool = False
    executor: Executor = field(default_factory=Executor)

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming rule and value.
        """
        for name in ("methods", "shots", "seeds", "arc_shots", "arc_seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be one or more different values, got {values}")
        for name in ("size", "steps", "batch_size", "queries", "rank", "sampling_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not set(self.shots) <= set(range(1, 31)):
            raise ValueError(f"shots must be 1 to 30, the pairs of a support seed, got {self.shots}")
