"""Start-up in whole processes: import, --help, the first training step.

The baseline imports torch, lightning and diffusers' pipeline alone, which nothing built on them can beat.

    python -m benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from benchmarks.harness import arguments, interleave, publish, ratios
from benchmarks.models import MODELS

BASELINE = "import torch, lightning, diffusers, peft"
LIBRARIES = "import torch, lightning.pytorch, peft; from diffusers import CogVideoXImageToVideoPipeline"


def process(*command: str) -> Callable[[], None]:
    """Run Python with arguments; an error of the command is an error here."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "PYTHONPATH": str(MODELS.parents[1])}
            subprocess.run([sys.executable, *command], check=True, cwd=folder, env=env, capture_output=True)

    return run


def cases(args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """What is compared, by name; the baseline first."""
    verb = ("-m", "vdmfewshot")
    experiment = str(MODELS.parent / "nuclei.yaml")
    step = ("--trainer.max_steps", "1", "--trainer.precision", "32", "--trainer.limit_val_batches", "0")
    return {
        BASELINE: process("-c", LIBRARIES),
        "import vdmfewshot.cli.command": process("-c", "import vdmfewshot.cli.command"),
        "vdmfewshot --help": process(*verb, "--help"),
        "vdmfewshot fit --help": process(*verb, "fit", "--help"),
        "vdmfewshot fit, one step, exported": process(
            *verb, "fit", "-c", experiment, f"--model={MODELS / args.backbone}.yaml", *step
        ),
    }


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = arguments(__doc__ or "")
    options.add_argument("--backbone", default="embedded", help="name of a YAML file in experiments/model")
    return options


def main() -> None:
    """Time the cases, print and write them."""
    args = parser().parse_args()
    publish("startup", ratios(interleave(cases(args), args.repeats), BASELINE), args)


if __name__ == "__main__":
    main()
