"""Where a run has left its results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: what a run folder may hold: heading, pattern below the folder
PLACES = {
    "adapter": "adapter",
    "scores": "scores/{stage}/step={step}/scores.json",
    "pictures": "pictures/{stage}/step={step}.png",
    "pictures of the tasks": "pictures/{stage}/*/step={step}.png",
    "predictions": "predictions/predictions.jsonl",
    "checkpoint": "checkpoints/last.ckpt",
}
#: which of them each verb makes
OF_VERB = {
    "adapt": ("adapter", "scores", "pictures", "pictures of the tasks", "checkpoint"),
    "fit": ("adapter", "scores", "pictures", "pictures of the tasks", "checkpoint"),
    "validate": ("scores", "pictures", "pictures of the tasks"),
    "test": ("scores", "pictures", "pictures of the tasks"),
    "predict": ("predictions",),
}
STAGES = {"fit": "val", "validate": "val"}


def results(verb: str, run: Path, step: int) -> str:
    """What a verb has written, a line each; the run's folder first.

    Args:
        verb: what was run.
        run: its folder.
        step: of training that the scores belong to.
    """
    rows = {"results": str(run), **dict(_found(verb, run, step))}
    width = max(map(len, rows)) + 1
    return "\n".join(f"{name + ':':<{width}} {place}" for name, place in rows.items()) + "\n"


def interrupted(verb: str, run: Path, step: int) -> KeyboardInterrupt:
    """What to raise after Ctrl-C: it says what is left and how to go on."""
    trains = verb in ("adapt", "fit")
    goes_on = trains and (run / PLACES["checkpoint"]).is_file()
    remedy = f"; the same command with --name {run.parent.name} --ckpt_path last goes on" if goes_on else ""
    return KeyboardInterrupt(f"{verb} stopped{f' after step {step}' if trains else ''}, see {run}{remedy}")


def _found(verb: str, run: Path, step: int) -> Iterator[tuple[str, str]]:
    for name in OF_VERB[verb]:
        pattern = PLACES[name].format(stage=STAGES.get(verb, "test"), step=step)
        files = sorted(run.glob(pattern))
        if files:
            yield name, str(files[0]) if len(files) == 1 and "*" not in pattern else str(run / pattern)
