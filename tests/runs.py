"""Runs the real command line in this process on tiny pictures and a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path

from vdmfewshot.cli.command import FewShotCLI, main


def options(tiny: Path, runs: Path, root: Path | None = None) -> list[str]:
    """What makes any verb small and quiet."""
    data = [] if root is None else ["--data", "PairsDataModule", "--data.root", str(root), "--data.shots", "4"]
    return [
        *data,
        *("--data.height", "32", "--data.width", "32", "--data.batch_size", "2"),
        *("--model.backbone.path", str(tiny), "--model.sampling.steps", "1", "--model.lora.rank", "4"),
        *("--trainer.default_root_dir", str(runs), "--trainer.accelerator", "cpu", "--trainer.precision", "32"),
        *("--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false"),
    ]


def run(verb: str, *args: str) -> FewShotCLI:
    cli = main([verb, *args])
    assert cli is not None
    return cli
