"""What a GPU makes of published models: training steps, predictions and stacks, as peers run them and as we do.

Each part (a model, or the stacks) is a process of its own with its own time; its rows are on disk as soon as they are
measured, so that a part that breaks, hangs or is cut off costs nothing else. Weights are random, drawn on the card.

    benchmarks/gpu.sh                      # on one GPU, at most 9 minutes; a README of it: docs/explanation/speed.md
    benchmarks/gpu.sh --device cpu --tiny  # a rehearsal, two minutes
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.card import card_name, matmul_tflops, peak_tflops, share
from benchmarks.gpu_part import PEERS, PUBLISHED
from benchmarks.harness import RESULTS, hardware

#: parts in their order, the most worth first, and how much of the time each gets
PARTS = {"cogvideox-1.5-5b": 3.0, "wan2.2-ti2v-5b": 2.5, "kandinsky5-lite": 2.0, "ltx-video-2b": 2.0, "stack": 2.0}
#: seconds that a part may go on after its time, to finish the case that it has begun
GRACE = 20.0
#: of a table of results: column, digits
COLUMNS = {"seconds": 3, "times_faster": 2, "peak_gb": 1, "predicted_gb": 1, "mfu": 3, "of_matmul": 3}


def time_for(part: str, left: float, parts: Mapping[str, float] = PARTS) -> float:
    """Seconds of a part, of those that are left: its share among the parts that are still to come."""
    names = list(parts)
    return left * parts[part] / sum(parts[name] for name in names[names.index(part) :])


def with_ratios(rows: Sequence[Mapping[str, Any]], peak: float | None, matmul: float) -> list[dict[str, Any]]:
    """Rows with what follows from them: times faster than peers of the same model and shape, and utilisation.

    Args:
        rows: as the parts wrote them.
        peak: TFLOP a second of the card by data sheet.
        matmul: TFLOP a second of a large product, measured.
    """
    baselines = {key(row): row.get("seconds") for row in rows if row["case"] in (PEERS, PUBLISHED)}
    found = []
    for row in rows:
        more: dict[str, Any] = {}
        if seconds := row.get("seconds"):
            if (baseline := baselines.get(key(row))) and row["phase"] != "stack":
                more["times_faster"] = baseline / seconds
            more["mfu"] = share(row.get("tflop"), seconds, peak)
            more["of_matmul"] = share(row.get("tflop"), seconds, matmul)
        found.append({**row, **more})
    return found


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What rows share that are compared with each other."""
    return row.get("model"), row["phase"], row.get("shape")


def read_rows(file: Path, part: str, code: int | None) -> list[dict[str, Any]]:
    """Rows of a part; one more if it did not end by itself (``code`` is ``None``) or failed."""
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
    if code is None:
        rows.append({"phase": "part", "case": part, "error": "cut off: its time was over"})
    elif code != 0:
        rows.append({"phase": "part", "case": part, "error": f"ended with status {code}"})
    return rows


def run_part(part: str, file: Path, seconds: float, args: argparse.Namespace) -> int | None:
    """Exit status of a part, or ``None`` if it was cut off; what it prints stands in a file beside its rows."""
    command = [sys.executable, "-m", "benchmarks.gpu_part", part, str(file), "--seconds", f"{seconds:.0f}"]
    command += ["--tiny"] if args.tiny else []
    with file.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(seconds + GRACE)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of all rows."""
    table = Table("case", *COLUMNS, "what went wrong")
    for row in rows:
        name = " ".join(str(row[k]) for k in ("model", "shape", "case") if k in row)
        cells = ["" if row.get(c) is None else f"{row[c]:.{digits}f}" for c, digits in COLUMNS.items()]
        table.add_row(name, *cells, row.get("error", ""))
    Console(width=180).print(table)


def write(file: Path, rows: Sequence[Mapping[str, Any]], **content: Any) -> None:
    """The results so far, whole at any moment."""
    draft = file.with_suffix(".partial")
    command = f"benchmarks/gpu.sh {shlex.join(sys.argv[1:])}".strip()
    draft.write_text(json.dumps({"command": command, **content, "rows": list(rows)}, indent=1) + "\n")
    draft.replace(file)


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, help="in all; default: 510, or 110 of a rehearsal")
    options.add_argument("--tiny", action="store_true", help="models of a few thousand parameters: a rehearsal")
    options.add_argument("--device", choices=["auto", "cpu"], default="auto", help="cpu leaves a GPU alone")
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="which")
    options.add_argument("--output", type=Path, help="folder; default: benchmarks/results, or runs/gpu of a rehearsal")
    return options


def main() -> None:
    """Run all parts, write after each, print."""
    started, args = time.monotonic(), parser().parse_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a part is ended, too
    total = args.seconds or (110.0 if args.tiny else 510.0)
    output: Path = args.output or (Path("runs/gpu") if args.tiny else RESULTS)
    card = card_name()
    slug = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    raw = output / f"gpu_{slug}"
    raw.mkdir(parents=True, exist_ok=True)
    about = {"card": card, "peak_tflops": peak_tflops(card), "matmul_tflops": matmul_tflops(), "hardware": hardware()}
    parts, rows = {part: PARTS[part] for part in args.parts}, list[dict[str, Any]]()
    for part in parts:
        seconds = time_for(part, total - (time.monotonic() - started) - GRACE, parts)
        file = raw / f"{part}.json"
        file.unlink(missing_ok=True)
        code = run_part(part, file, seconds, args)
        rows += with_ratios(read_rows(file, part, code), about["peak_tflops"], about["matmul_tflops"])
        write(raw.with_suffix(".json"), rows, **about)
        print(f"{part}: {time.monotonic() - started:.0f} s of {total:.0f}", flush=True)
    show(rows)


if __name__ == "__main__":
    main()
