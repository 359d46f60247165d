"""One part of the GPU benchmark, in a process of its own: the cases of one model, or stacks of tasks.

Every row is on disk as soon as it is measured. A case that fails is a row with an error, and the next case goes on.

    python -m benchmarks.gpu_part kandinsky5-lite rows.json --tiny --seconds 30
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import stack
from benchmarks.gpu_rows import Rows, autocast, collect, current_device
from benchmarks.harness import timed
from benchmarks.models import MODELS, preset, random_checkpoint
from benchmarks.step import plain_losses, random_batch
from scripts.table_models import MODELS as NATIVE
from vdmfewshot.budget.cost import Cost
from vdmfewshot.budget.memory import MemoryArgs, Plan, decide, free_bytes, recompute
from vdmfewshot.callbacks.cost import describe
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.training.estimate import estimate
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs, sample_clips

Shape = tuple[int, int, int]
AUTO = MemoryArgs()
FULL = MemoryArgs(checkpointing="full", quantization="none", offload="none")
#: of clips: legal for every family, and of a rehearsal
USUAL, TINY = (9, 480, 704), (9, 64, 96)
STACKS = (1, 4, 16)
#: warm-up of a case, and at most so many timed steps; of a rehearsal
REPEATS, TINY_REPEATS = (2, 5), (1, 1)
PEERS = "as peers do it: VAE each step, full checkpointing"
PUBLISHED = "as peers do it: 50 steps, guidance 6"
OURS = "10 steps, no guidance"


@dataclass(frozen=True)
class Case:
    """A training step in one setting.

    Attributes:
        name: in the table.
        shape: (F, H, W) of the clip.
        memory: what may cost time to save memory; ``auto`` is decided as a run does.
        cached: latents of before are used, and the VAE has left the card.
        compiled: the denoiser's blocks are compiled.
        card: GB of a smaller card that the plan is made for; ``None`` for what is free on this one.
    """

    name: str
    shape: Shape
    memory: MemoryArgs = AUTO
    cached: bool = True
    compiled: bool = False
    card: int | None = None


def train_cases(usual: Shape, native: Shape) -> tuple[list[Case], list[Case]]:
    """What is measured before the predictions, and what after them if there is time, by worth."""
    first = [
        Case(PEERS, usual, FULL, cached=False),
        Case("cached, full checkpointing", usual, FULL),
        Case("cached, auto plan", usual),
    ]
    rest = [
        Case("cached, fp8 weights", usual, replace(FULL, quantization="fp8")),
        Case(PEERS, native, FULL, cached=False),
        Case("cached, auto plan", native),
        *(Case(f"cached, plan for {card} GB", native, card=card) for card in (24, 48)),
        Case("cached, auto plan, compiled", usual, compiled=True),
    ]
    return first, rest


class Model:
    """One published model with random weights, built again where a case needs it otherwise."""

    def __init__(self, name: str, tiny: bool) -> None:
        self.name = name
        self.compiler = "aot_eager" if tiny else "inductor"  # the one without code generation takes a second
        self.warm_up, self.repeats = TINY_REPEATS if tiny else REPEATS
        self.checkpoint = random_checkpoint(preset(MODELS / f"{name}.yaml").backbone, name, tiny)
        self.usual: Shape = TINY if tiny else USUAL
        height, width = NATIVE[name][0]
        self.native: Shape = TINY if tiny else (9, height, width)
        self._built: tuple[Any, FewShotModule | None] = (None, None)

    def fresh(self) -> FewShotModule:
        """The preset's module, without weights."""
        module = preset(MODELS / f"{self.name}.yaml")
        module.backbone.checkpoint = self.checkpoint
        if autocast() is None:
            module.backbone.dtype = torch.float32
        return module

    def plan(self, case: Case) -> tuple[Cost, Plan]:
        """What a run of this case would cost, and how it would fit."""
        self.forget_if_other(case)
        module, device = self.fresh(), current_device()
        cost = estimate(module.backbone, case.shape, 1, module.lora, device, autocast())
        free = free_bytes(device) if case.card is None else case.card * 1e9
        return cost, decide(cost, case.memory, free, device)

    def forget_if_other(self, case: Case) -> None:
        """Let go of weights that a case cannot use, so that the memory that is free is what a run would find."""
        kept = self._built[0]
        undecided = case.memory.quantization == "auto" and case.card is None
        if kept is None or undecided or kept != (case.memory.quantization, case.memory.offload, case.compiled):
            self._built = (None, None)
            collect()

    def module(self, memory: MemoryArgs, compiled: bool) -> FewShotModule:
        """The module on the card, as the plan says; recomputed blocks are switched without building it again."""
        key = (memory.quantization, memory.offload, compiled)
        if self._built[1] is None or self._built[0] != key:
            self._built = (None, None)
            collect()
            module = self.fresh()
            module.backbone.memory = replace(memory, checkpointing="none")
            module.configure_model()
            if compiled:
                module.backbone.compile_blocks(self.compiler)
            self._built = (key, module.to(current_device()).train())
        module = self._built[1]  # type: ignore[assignment]
        denoiser, blocks = module.backbone.denoiser, module.backbone.blocks
        denoiser.disable_gradient_checkpointing()
        recompute(denoiser, blocks[: memory.recomputed(len(blocks))])
        return module


@contextmanager
def peak_gb(into: dict[str, Any]) -> Iterator[None]:
    """Note the most memory of the card that tensors take within the context."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield
    into["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def optimiser_step(module: FewShotModule, batch: ClipBatch, cached: bool) -> Callable[[], None]:
    """One step on the adapter, in mixed precision on an accelerator."""
    optimizer, losses = module.configure_optimizers(), FewShotModule.losses if cached else plain_losses
    optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer

    def step() -> None:
        with torch.autocast(module.device.type, autocast(), enabled=autocast() is not None):
            loss = losses(module, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def train(model: Model, case: Case, rows: Rows) -> dict[str, Any]:
    """Seconds and peak of a training step, beside what was predicted. Model FLOP leave out what is done twice."""
    cost, plan = model.plan(case)
    module = model.module(plan.memory, case.compiled)
    backbone, found = module.backbone, dict[str, Any]()
    batch = random_batch(case.shape, 1).to(module.device)
    backbone.move_encoders(module.device)
    if case.cached:
        module.latents(batch)
        backbone.move_encoders("cpu")
        collect()
    step = optimiser_step(module, batch, case.cached)
    for _ in range(model.warm_up):
        step()
    seconds: list[float] = []
    with peak_gb(found):
        while len(seconds) < model.repeats and (not seconds or rows.left > 0):
            seconds.append(timed(step))
    predicted = plan.training / 1e9 if case.cached else None
    how = describe(plan.memory, cost.blocks)
    return {**spread(seconds), **found, "predicted_gb": predicted, "tflop": cost.step() / 1e12, "plan": how}


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"seconds": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}


def predict(model: Model, sampling: SamplingArgs) -> dict[str, Any]:
    """Seconds and peak of one prediction, its picture encoded and its clip decoded."""
    case = Case("", model.usual)
    cost, plan = model.plan(case)
    module = model.module(plan.memory, compiled=False).eval()
    backbone, found = module.backbone, dict[str, Any]()
    backbone.move_encoders(module.device)
    first_frame = random_batch(model.usual, 1).frames[:, 0].to(module.device)
    still = model.usual[0] // 2

    def run() -> None:
        noise = [torch.Generator().manual_seed(0)]
        sample_clips(backbone, first_frame, model.usual[0], noise, sampling, still)

    with torch.no_grad(), peak_gb(found):
        seconds = timed(run)
    flop = cost.prediction(sampling.num_inference_steps(backbone.preset), sampling.guidance_scale)
    predicted = plan.predicting / 1e9
    module.train()
    return {**spread([seconds]), **found, "predicted_gb": predicted, "tflop": flop / 1e12}


def measure_model(name: str, tiny: bool, rows: Rows) -> None:
    """All cases of a model: training, predictions, and what else there is time for."""
    model = Model(name, tiny)
    first, rest = train_cases(model.usual, model.native)

    def row(case: str, phase: str, shape: Shape) -> dict[str, Any]:
        return {"model": name, "phase": phase, "case": case, "shape": "x".join(map(str, shape))}

    for case in first:
        rows.add(row(case.name, "train", case.shape), partial(train, model, case, rows))
    few = SamplingArgs(quality="fast")
    rows.add(row(f"{OURS}, first call", "predict", model.usual), partial(predict, model, few))
    rows.add(row(OURS, "predict", model.usual), partial(predict, model, few))
    many = SamplingArgs(quality="paper", decode="clip", merge=False)
    needs = 10 * rows.rows[-1].get("seconds", 0.0)
    rows.add(row(PUBLISHED, "predict", model.usual), partial(predict, model, many), needs)
    for case in rest:
        rows.add(row(case.name, "train", case.shape), partial(train, model, case, rows))


def measure_stacks(tiny: bool, rows: Rows) -> None:
    """K tasks at once against one after another, on the embedded model: tasks that ship with the package."""
    small = ["--steps", "2", "--shape", "5", "32", "32"] if tiny else ["--steps", "20", "--shape", "9", "96", "96"]
    args = stack.parser().parse_args([*small, "--source", "miniarc", "--repeats", "1"])
    with tempfile.TemporaryDirectory() as folder:
        bench = stack.Bench(args, Path(folder))
        bench.stacked(1)  # warms up
        for count in STACKS:
            rows.add({"phase": "stack", "case": f"K = {count}"}, partial(compare_stacks, bench, count))


def compare_stacks(bench: stack.Bench, count: int) -> dict[str, Any]:
    """Seconds of both, and how far their adapters are apart."""
    bench.stacked(count)  # encodes the latents, for both sides
    both = next(row for row in stack.compare(bench, count) if row["phase"] == "both")
    names = {"one_by_one": "seconds_one_by_one", "stacked": "seconds", "times_faster": "times_faster"}
    return {new: both[old] for old, new in names.items()} | {"difference": both["difference"]}


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part", help="a model of experiments/model with published configurations, or stack")
    options.add_argument("file", type=Path, help="JSON file of the rows")
    options.add_argument("--seconds", type=float, default=120.0, help="after which nothing new is begun")
    options.add_argument("--tiny", action="store_true", help="models of a few thousand parameters: a rehearsal")
    return options


def main() -> None:
    """Measure one part."""
    args = parser().parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    rows = Rows(args.file, args.seconds)
    if args.part == "stack":
        measure_stacks(args.tiny, rows)
    else:
        measure_model(args.part, args.tiny, rows)


if __name__ == "__main__":
    main()
