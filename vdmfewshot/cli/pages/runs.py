"""What a report shows of a run, read from its files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdmfewshot.storage.documents import NUMBER, Kind, damaged, misfit, parse_json, read_object
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.storage.limited_yaml import read_yaml

REMEDY = "run the test again"
#: folder of a study that holds its points, each as a run is kept
POINTS = "points"
#: fields of a score that the table shows; what is undefined is null
UNDEFINED = (*NUMBER, type(None))
ROW: dict[str, Kind] = {
    "score": UNDEFINED,
    "low": UNDEFINED,
    "high": UNDEFINED,
    "n": int,
    "n_expected": int,
    "seconds": NUMBER,
}
#: a sample is right from here on, where its score is a share; other scores have no right and wrong
RIGHT = 0.999
#: below it the decoder was not sure
SURE = 0.5


@dataclass(frozen=True)
class Sample:
    """A scored query.

    Attributes:
        key: of the query, unique in its run.
        score: the main score of this query alone; ``None`` if it has none.
        confidence: of the decoder in the first attempt, in [0, 1]; ``None`` if unknown.
        failure: why there is no usable prediction; ``None`` if there is one.
        picture: input | generated | decoded | truth | error, if drawn.
        clip: the generated transition, if kept.
        record: everything that was measured.
    """

    key: str
    score: float | None
    confidence: float | None
    failure: str | None
    picture: Path | None = None
    clip: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """What the page filters by: ``failed``, ``correct``, ``unsure``."""
        kinds = {"failed": self.failure is not None, "correct": RIGHT <= (self.score or 0) <= 1}
        kinds["unsure"] = self.confidence is not None and self.confidence < SURE
        return [kind for kind, holds in kinds.items() if holds]


@dataclass(frozen=True)
class RunReport:
    """A tested run.

    Attributes:
        folder: of the run.
        task: that was tested.
        main: name of the score that heads tables.
        scores: by name, with the fields of ``scores.json``.
        seconds: training and scoring.
        samples: in the order of their keys.
        settings: what a leaderboard tells runs apart by, as text.
    """

    folder: Path
    task: str
    main: str
    scores: Mapping[str, Mapping[str, Any]]
    seconds: float
    samples: tuple[Sample, ...]
    settings: Mapping[str, Any]

    @property
    def row(self) -> Mapping[str, Any]:
        """The main score."""
        return self.scores[self.main]

    @property
    def failures(self) -> Counter[str]:
        """Kinds of failure by number: what stands before the colon, and wrong sizes of grids."""
        kinds = [str(sample.failure).partition(":")[0] for sample in self.samples if sample.failure]
        kinds += ["wrong size" for sample in self.samples if sample.record.get("size_right") is False]
        return Counter(kinds)

    @property
    def command(self) -> str:
        """Repeats the run, or the study that it is a point of."""
        if self.folder.parent.name == POINTS:
            return f"vdmfewshot study -c {self.folder.parents[1] / 'study.yaml'}"
        return f"vdmfewshot adapt -c {self.folder / 'config.yaml'}"


def read_run(folder: Path, scores: Path) -> RunReport:
    """One run and its last test.

    Args:
        folder: of the run.
        scores: its ``scores.json``.

    Raises:
        DamagedFileError: naming a file that is damaged or of another version.
    """
    content, row = read_scores(scores)
    settings = read_settings(folder / "config.yaml")
    if folder.parent.name == POINTS:
        settings.pop("task", None)  # of the first of many
    try:
        return RunReport(
            folder=folder,
            task=content["task"],
            main=content["main"],
            scores=content["scores"],
            seconds=content["fit_seconds"] + row["seconds"],
            samples=tuple(read_samples(scores.parent, folder / "pictures" / "test" / scores.parent.name)),
            settings=settings,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"a file beside {scores} is damaged or of another version; {REMEDY}") from error


def read_scores(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ``scores.json``, and the row of its main score.

    Raises:
        DamagedFileError: naming the file, if it is damaged or of another version.
    """
    content = read_object(file, {"main": str, "scores": dict, "fit_seconds": NUMBER}, REMEDY)
    row = content["scores"].get(content["main"])
    if problem := misfit(row, ROW):
        raise damaged(file, f"its main score: {problem}", REMEDY)
    return content, row


def read_samples(scores: Path, pictures: Path) -> Iterable[Sample]:
    """Samples of an evaluation folder with what was drawn of them; none if it is of an older version."""
    records = {record["key"]: record for record in _lines(scores / "records.jsonl")}
    for row in _lines(scores / "samples.jsonl"):
        files = [pictures / f"{row['key']}{suffix}" for suffix in (".png", ".gif")]
        picture, clip = (file if file.is_file() else None for file in files)
        record = records.get(row["key"], {})
        yield Sample(row["key"], row["score"], row["confidence"], row["failure"], picture, clip, record)


def _lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [parse_json(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_settings(config: Path) -> dict[str, Any]:
    """Model, data and training settings of a ``config.yaml``; empty if there is none or it is not one."""
    try:
        content = read_yaml(config)
        model, data = content["model"]["init_args"], content["data"].get("init_args") or {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    backbone, sampling = model.get("backbone", {}).get("init_args", {}), model.get("sampling") or {}
    wanted = {
        "model": backbone.get("path"),
        "revision": backbone.get("revision"),
        "weights": backbone.get("init"),
        "data": content["data"].get("class_path", "").rpartition(".")[2],
        "task": data.get("task"),
        "source": data.get("source"),
        "split": data.get("split"),
        "shots": data.get("shots"),
        "support seed": data.get("support_seed"),
        "seed": content.get("seed_everything"),
        "steps": content.get("trainer", {}).get("max_steps"),
        "rank": (model.get("lora") or {}).get("rank"),
        "attempts": sampling.get("attempts"),
        "size": "given (paper parity)" if data.get("paper_parity") else data.get("size_mode"),
    }
    return {name: value for name, value in wanted.items() if value is not None}
