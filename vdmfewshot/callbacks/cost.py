"""What a run will cost, said before it starts, and what it did cost."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from vdmfewshot.budget.cost import Cost
from vdmfewshot.budget.memory import MemoryArgs, Plan, decide, free_bytes
from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.data.survey import speaks
from vdmfewshot.metrics.records import write_atomically
from vdmfewshot.training.estimate import estimate
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sharding import ShardedStrategy, shared, whole_layers

#: steps that allocate and tune kernels, and are not timed
WARMUP = 2
#: what Linux says of the process
STATUS = Path("/proc/self/status")


class CostReport(Callback):
    """Chooses how the model fits before its weights are read, and compares prediction with measurement.

    Prints tokens, TFLOP, gigabytes and the choice, then the measured gigabytes and seconds a step; logs them as
    ``cost/…`` and writes ``<run>/cost.json``. Without it, ``auto`` in ``memory`` means none.

    Args:
        enabled: ``false`` skips the estimate, a second or two, where ``memory`` is fixed anyway.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.values: dict[str, float] = {}
        self._plan: Plan | None = None
        self._begin: float | None = None
        self._seconds: list[float] = []
        self._resident = 0.0

    # -- before -------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Estimate, decide, tell the backbone, print; once, and before ``configure_model``."""
        data = getattr(trainer, "datamodule", None)
        if not self.enabled or self._plan is not None or data is None or not isinstance(pl_module, FewShotModule):
            return
        backbone, device = pl_module.backbone, trainer.strategy.root_device
        backbone.check_clip(*data.clip_shape)
        precision = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(str(trainer.precision))
        cost = estimate(backbone, data.clip_shape, data.batch_size, pl_module.lora, device, precision)
        free = free_bytes(device) / (trainer.num_devices if device.type == "cpu" else 1)
        if isinstance(trainer.strategy, ShardedStrategy):
            cost, backbone.memory = shared(cost, trainer.strategy.shares), whole_layers(backbone.memory)
        plan = decide(cost, backbone.memory, free, device, data.eval_batch_size, training=stage == "fit")
        self._plan = trainer.strategy.broadcast(plan)  # ranks have different free memory and must not differ
        backbone.memory = self._plan.memory
        self._resident = peak_bytes(device)
        self._note(cost, pl_module, trainer.accumulate_grad_batches)
        if trainer.is_global_zero and speaks():
            clips = describe_clips(data.clip_shape, data.transition, pl_module)
            Console().print(f"{clips}\n{self._summary(cost, stage == 'fit')}", highlight=False)

    def _note(self, cost: Cost, module: FewShotModule, accumulate: int) -> None:
        assert self._plan is not None, "setup makes it"
        sampling, steps = module.sampling, module.sampling.num_inference_steps(module.backbone.preset)
        recomputed = self._plan.memory.recomputed(cost.blocks)
        prediction = cost.prediction(steps, sampling.guidance_scale, sampling.attempts)
        self.values = {
            "tokens": float(cost.tokens),
            "tflop_per_step": accumulate * cost.step(recomputed) / 1e12,
            "tflop_per_prediction": prediction / 1e12,
            "predicted_training_gb": self._plan.process / 1e9,
            "predicted_predicting_gb": self._plan.predicting / 1e9,
            "free_gb": self._plan.free / 1e9,
        }

    def _summary(self, cost: Cost, training: bool) -> str:
        assert self._plan is not None, "setup makes it"
        v, plan = self.values, self._plan
        lines = [f"Cost: {cost.tokens} tokens a clip; {number(v['tflop_per_prediction'])} TFLOP a prediction"]
        if training:
            lines[0] += f", {number(v['tflop_per_step'])} a training step of {cost.batch_size} clips on a device"
        lines.append(f"Memory: {describe(plan.memory, cost.blocks if training else 0)}: {plan.reason}")
        if plan.predicting > plan.free:
            lines.append(
                f"Predicting needs {plan.predicting / 1e9:.1f} of {plan.free / 1e9:.1f} GB: lower "
                "data.eval_batch_size, or set memory.vae_tiling=true"
            )
        return "\n".join(lines)

    # -- during -------------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the times and the peak of memory before."""
        self._begin, self._seconds = None, []
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock, unless it runs since the last batch."""
        self._begin = self._begin or time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """From the end of one batch to the end of the next; accelerators run behind, on average not."""
        now = time.perf_counter()
        self._seconds.append(now - (self._begin or now))
        self._begin = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is no part of a step."""
        self._begin = None

    # -- after --------------------------------------------------------------------------------------------------------

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, log and write what was measured, beside what was predicted."""
        folder = run_folder(trainer)  # on all ranks: the path is broadcast
        if self._plan is None or not self._seconds:
            return
        timed = self._seconds[WARMUP:] or self._seconds
        seconds = trainer.accumulate_grad_batches * median(timed)
        peak = peak_bytes(pl_module.device) - (self._resident if pl_module.device.type == "cpu" else 0)
        self.values |= {
            "measured_training_gb": peak / 1e9,
            "seconds_per_step": seconds,
            "tflop_per_second": self.values["tflop_per_step"] / seconds,
        }
        for logger in trainer.loggers:
            logger.log_metrics({f"cost/{k}": v for k, v in self.values.items()}, step=trainer.global_step)
        if trainer.is_global_zero:
            predicted = f"predicted {self._plan.process / 1e9:.2f} GB"
            if speaks():
                Console().print(f"Measured: {seconds:.3g} s a step, {peak / 1e9:.2f} GB; {predicted}", highlight=False)
            report = {**self.values, "memory": asdict(self._plan.memory), "reason": self._plan.reason}
            write_atomically(folder / "cost.json", json.dumps(report, indent=2) + "\n")


def describe_clips(shape: tuple[int, int, int], transition: str, module: FewShotModule) -> str:
    """What the settings come to where the model has chosen them."""
    steps, guidance = module.sampling.num_inference_steps(module.backbone.preset), module.sampling.guidance_scale
    guided = "" if guidance == 1 else f" at guidance {guidance:g}"
    k = module.paint_emphasis
    painted = f"; errors on paint count {1 + k:g} times" if k else ""
    return (
        f"Clips: {shape[0]} frames of {shape[1]}x{shape[2]}, {transition}; a prediction takes {steps} "
        f"step{'s' * (steps != 1)}{guided}{painted}"
    )


def describe(memory: MemoryArgs, blocks: int) -> str:
    """A choice in words; ``blocks`` is 0 for a run that does not train."""
    recomputed = memory.recomputed(blocks)
    words = [f"{recomputed} of {blocks} blocks recomputed" if blocks and recomputed else "nothing recomputed"]
    words += [f"{memory.quantization} weights"] if memory.quantization != "none" else []
    words += ["weights offloaded"] if memory.offload != "none" else []
    return ", ".join(words)


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def peak_bytes(device: torch.device) -> float:
    """Largest use of memory so far: of the allocator on a GPU, of the process otherwise."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0.0
    if STATUS.is_file():  # of this program alone; what follows also counts the one that started it
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * float(peak.split()[1])
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
