"""Start-up in whole processes: help, a mistake, the first word of a run, its first training step.

The baseline imports torch, lightning, diffusers and peft and reads the weights, which nothing built on them can beat.

    python -m benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import arguments, interleave, publish, ratios
from benchmarks.models import MODELS

BASELINE = "import torch, lightning, diffusers, peft; read the weights"
BEGINS, COLD, DONE = "adapt: first step begins", "adapt: first step begins, no cache", "adapt: first step done"
LIBRARIES = """
import sys, torch, lightning.pytorch, peft
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
CogVideoXTransformer3DModel.from_pretrained(sys.argv[1], subfolder="transformer")
AutoencoderKLCogVideoX.from_pretrained(sys.argv[1], subfolder="vae")
"""
#: a run that ends where a hook of the module is called first
UNTIL = """
import os, sys
from vdmfewshot.training.module import FewShotModule
setattr(FewShotModule, sys.argv.pop(1), lambda *args, **kwargs: os._exit(0))
from vdmfewshot.cli.front import run
run()
raise SystemExit("the run has ended before")
"""
ROOT = MODELS.parents[1]


def process(*command: str, cache: Path | None = None, status: int = 0) -> Callable[[], None]:
    """Run Python with arguments in an empty folder; another exit status than this one is an error.

    Args:
        command: arguments of Python.
        cache: what earlier runs have kept; nothing if not given.
        status: of the process.
    """

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache or folder)}
            done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True)
            if done.returncode != status:
                raise subprocess.CalledProcessError(done.returncode, command, stderr=done.stderr)

    return run


def first_word(*command: str) -> Callable[[], None]:
    """Run Python until it writes to standard error; then it is stopped."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": folder}
            with subprocess.Popen([sys.executable, *command], cwd=folder, env=env, stderr=subprocess.PIPE) as child:
                said = child.stderr.read(1) if child.stderr else b""
                child.kill()
            if not said:
                raise RuntimeError("the run has said nothing")

    return run


def cases(args: argparse.Namespace, cache: Path) -> dict[str, Callable[[], None]]:
    """What is compared, by name; the baseline first."""
    verb = ("-m", "vdmfewshot")
    run = ("adapt", "-c", str(MODELS.parent / "nuclei.yaml"), f"--model={MODELS / args.backbone}.yaml")
    return {
        BASELINE: process("-c", LIBRARIES, str(ROOT / "vdmfewshot" / "backbones" / "embedded")),
        "--help": process(*verb, "--help"),
        "adapt --help": process(*verb, "adapt", "--help"),
        "an unknown option": process(*verb, *run, "--data.shotz", "3", status=2),
        "adapt: first word": first_word(*verb, *run),
        BEGINS: process("-c", UNTIL, "training_step", *run, cache=cache),
        COLD: process("-c", UNTIL, "training_step", *run),
        DONE: process("-c", UNTIL, "on_train_batch_end", *run, cache=cache),
    }


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = arguments(__doc__ or "")
    options.add_argument("--backbone", default="embedded", help="name of a YAML file in experiments/model")
    return options


def main() -> None:
    """Time the cases, print and write them."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as cache:
        seconds = interleave(cases(args, Path(cache)), args.repeats)
    base = seconds[BASELINE]
    times = {
        name: statistics.median(value / other for value, other in zip(seconds[name], base, strict=True))
        for name in (BEGINS, COLD, DONE)
    }
    publish("startup", ratios(seconds, BASELINE), args, times_the_baseline=times)


if __name__ == "__main__":
    main()
