"""Is a new model better than the one that ships? Ceilings, probe tasks and a part of the evidence, side by side.

python scripts/judge_embedded.py embedded runs/new
python scripts/judge_embedded.py embedded runs/new --tasks nuclei invert --steps 50

About three minutes a model on one core; finished results in --out are kept. Adaptation is in the one-frame mode, with
support sets of five pairs, the same for all models. Scores of one support set differ from another one by a decibel or
some hundredths: ask --seeds 0 1 2 3 before a model is believed to be better.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from pathlib import Path

from diffusers import AutoencoderKLCogVideoX

from vdmfewshot.cli.evidence import compare
from vdmfewshot.pretrain.ceilings import report
from vdmfewshot.pretrain.models import pipeline_folder
from vdmfewshot.pretrain.probe import TASKS, write_tasks
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.summary import Summary

SHOTS = 5


def main() -> None:
    """Measure every model, then print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="'embedded' or folders that vdmfewshot.pretrain.export wrote")
    parser.add_argument("--tasks", nargs="+", default=["horizontal_flip", "invert", "denoise", "nuclei", "rule_110"])
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps of an adaptation")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="support sets, whose mean is shown")
    parser.add_argument("--out", type=Path, default=Path("runs/judge"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # Lightning greets every adaptation with some
    folders = [pipeline_folder(name) for name in args.models]
    if not (args.out / "probe").is_dir():
        write_tasks(args.out / "probe")
    tasks = [*args.tasks, *(f"{'masks' if t == 'segment' else 'pairs'}:{args.out / 'probe' / t}" for t in TASKS)]
    columns = []
    for name, folder in zip(args.models, folders, strict=True):
        print(f"== {name}", flush=True)
        vae = AutoencoderKLCogVideoX.from_pretrained(folder / "vae").eval()
        scores = {f"ceiling {key}": value for key, value in report(vae, 96, 8).items()}
        out = args.out / folder.resolve().name
        columns.append({**scores, **adaptation(name, tasks, args.steps, args.seeds, out)})
    print_table(args.models, columns)


def adaptation(model: str, tasks: list[str], steps: int, seeds: list[int], out: Path) -> dict[str, float]:
    """Main score of every task; that of copying the input and the ceiling in the names of their rows."""
    settings = Settings(
        tasks=tasks, methods=["pretrained"], shots=[SHOTS], seeds=seeds, out=str(out), backbone=model, num_frames=5,
        transition="immediate", steps=steps, sampling_steps=1,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        summary = compare(settings)
    return {
        f"{Path(row).name} {score} (copy {value(summary, row, score, 'copy_input')})": entry.mean
        for row, _, score in summary.main
        if (entry := summary.find(row, score, "pretrained", SHOTS)) is not None
    }


def value(summary: Summary, row: str, score: str, method: str) -> str:
    """A reference's score, as text."""
    entry = summary.find(row, score, method, SHOTS)
    return "-" if entry is None else f"{entry.mean:.3g}"


def print_table(models: list[str], columns: list[dict[str, float]]) -> None:
    """One row a score, one column a model."""
    rows = list(dict.fromkeys(name for column in columns for name in column))
    width = max(map(len, rows))
    print(" " * width, *(f"{Path(name).name:>12}" for name in models))
    for row in rows:
        print(f"{row:{width}}", *(f"{column[row]:12.3f}" if row in column else f"{'-':>12}" for column in columns))


if __name__ == "__main__":
    main()
