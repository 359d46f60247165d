"""The whole pretraining by one command, every stage at a fraction of its length: autoencoder to sample sheet.

``python -m vdmfewshot.pretrain.rehearse`` runs the recipes of ``experiments/pretrain`` in their order at 2 % of their
steps, and shows that all of it works before hours are spent; ``--scale 1`` is the whole thing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKLCogVideoX

from vdmfewshot.cli import find_configs, main
from vdmfewshot.pretrain.assemble import assemble
from vdmfewshot.pretrain.bank import make_bank
from vdmfewshot.pretrain.ceilings import report
from vdmfewshot.pretrain.samples import write_sheet

HOME = Path("runs/pretrain")
"""Where the recipes put everything, relative to the folder they are run in."""
VAE, EMBEDDED = HOME / "vae_finetune", HOME / "embedded"


@dataclass(frozen=True)
class Bank:
    """A bank of latents between two recipes.

    Attributes:
        name: Of its folder.
        size: Side of the clips in pixels.
        clips: Number of clips at full scale.
        first: Index of the first clip of the corpus.
    """

    name: str
    size: int
    clips: int
    first: int = 0


STAGES: tuple[str | Bank, ...] = (
    "vae_images",
    "vae",
    "vae_finetune",
    Bank("bank64", 64, 51_200),
    "transformer",
    Bank("bank96", 96, 20_480, 1_000_000),
    "transformer_96",
    Bank("bank_mixed/64", 64, 1_024, 2_000_000),
    Bank("bank_mixed/96", 96, 320, 3_000_000),
    "transformer_finetune",
    Bank("bank_long/64", 64, 7_680, 10_000_000),
    Bank("bank_long/96", 96, 1_536, 12_000_000),
    "transformer_long",
)
"""Recipes by name, and the banks that the ones after them read."""


def recipe(name: str) -> Path:
    """File of a recipe, here or in the installed package."""
    return Path(find_configs(["-c", f"experiments/pretrain/{name}.yaml"])[1])


def scaled_arguments(path: Path, scale: float) -> list[str]:
    """Command-line arguments that run a recipe at a share of its steps, single precision, without progress bar."""
    steps = max(2, round(yaml.safe_load(path.read_text())["trainer"]["max_steps"] * scale))
    return ["fit", "-c", str(path), f"--trainer.max_steps={steps}", f"--model.init_args.total_steps={steps}",
            "--trainer.precision=32-true", "--trainer.enable_progress_bar=false",
            "--trainer.enable_checkpointing=false"]  # fmt: skip


def run_stage(stage: str | Bank, path: Path | None, scale: float) -> None:
    """Run one recipe, or fill one bank."""
    if isinstance(stage, Bank):
        clips = max(16, round(stage.clips * scale))
        make_bank(VAE, HOME / stage.name, stage.size, shards=1, per_shard=clips, first=stage.first)
        return
    assert path is not None
    main(scaled_arguments(path, scale))


@contextlib.contextmanager
def reported(title: str) -> Iterator[None]:
    """Print what begins and how long it took."""
    print(f"== {title}", flush=True)  # noqa: T201
    since = time.monotonic()
    yield
    print(f"== {title}: {time.monotonic() - since:.0f} s", flush=True)  # noqa: T201


def rehearse(folder: Path, scale: float = 0.02, threads: int = 1) -> dict[str, float]:
    """Run every stage, put the pipeline together, measure the autoencoder and draw a sample sheet.

    Args:
        folder: Where ``runs/pretrain`` is made; a bank that is there already is kept.
        scale: Share of the recipes' steps and of the banks' clips.
        threads: Threads of torch.

    Returns:
        The autoencoder's ceilings at 64 px, which are also in ``ceilings.json``.

    Raises:
        ValueError: If the scale is not above 0.
    """
    if scale <= 0:
        raise ValueError(f"scale must be above 0, got {scale}; 0.02 is a rehearsal, 1 the whole pretraining")
    torch.set_num_threads(threads)
    paths = {stage: recipe(stage).resolve() for stage in STAGES if isinstance(stage, str)}
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        for number, stage in enumerate(STAGES, 1):
            name = stage if isinstance(stage, str) else stage.name
            with reported(f"stage {number} of {len(STAGES)}: {name}"):
                run_stage(stage, paths.get(name), scale)
        return _finish()


def _finish() -> dict[str, float]:
    steps: dict[str, Callable[[], Any]] = {
        "assemble": lambda: assemble(VAE, EMBEDDED, 1.15),
        "sample sheet": lambda: write_sheet(EMBEDDED, HOME / "samples.png", 64, 4, 4),
    }
    for title, step in steps.items():
        with reported(title):
            step()
    with reported("ceilings"):
        scores = report(AutoencoderKLCogVideoX.from_pretrained(EMBEDDED / "vae").eval(), 64, 4)
    (HOME / "ceilings.json").write_text(json.dumps(scores, indent=2) + os.linesep)
    return scores


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(rehearse)
