"""Pictures, tables, settings and adapters for whatever loggers a run has: W&B, TensorBoard and MLflow know them all.

Files are the truth. Other loggers get Lightning's metrics alone, and a logger that fails is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from PIL import Image

Row = Mapping[str, Any]
#: the column of a table whose cells are files of pictures, or None
PICTURE = "picture"
MOVING = ".gif"


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Settings, flat as on the command line: ``model.lora.rank``. CSV files and the like have ``config.yaml``."""
    settings = flatten(config)
    _each(filter(is_rich, loggers), "the configuration", lambda logger: logger.log_hyperparams(settings))


def is_rich(logger: Logger) -> bool:
    """Whether a logger takes more than numbers."""
    return isinstance(logger, WandbLogger | TensorBoardLogger | MLFlowLogger)


def log_images(
    loggers: Iterable[Logger], key: str, files: Sequence[Path], step: int, captions: Sequence[str] | None = None
) -> None:
    """Pictures of one kind.

    Args:
        loggers: of the trainer.
        key: under which they are found, such as ``pictures/test``.
        files: PNG, or GIF, which TensorBoard does without.
        step: of training.
        captions: one for each file; their names if not given.
    """
    titles = [file.stem for file in files] if captions is None else list(captions)
    if files:
        _each(loggers, key, lambda logger: send_images(logger, key, list(files), step, titles))


def log_table(loggers: Iterable[Logger], key: str, rows: Sequence[Row], step: int) -> None:
    """A table.

    Args:
        loggers: of the trainer.
        key: under which it is found, such as ``samples/test``.
        rows: with the same columns; ``picture`` is a file, ``key`` names the row.
        step: of training.
    """
    if rows:
        _each(loggers, key, lambda logger: send_table(logger, key, rows, step))


def log_adapter(loggers: Iterable[Logger], name: str, folder: Path, manifest: Mapping[str, Any]) -> None:
    """An exported adapter with its manifest, to W&B loggers that say ``log_adapter: true`` and to MLflow.

    Args:
        loggers: of the trainer.
        name: of the adapter; what no artifact's name may have becomes ``-``.
        folder: as written by ``save_adapter``.
        manifest: kept as the artifact's metadata.
    """
    plain = re.sub(r"[^\w.-]+", "-", f"adapter-{name}")
    _each(loggers, "the adapter", lambda logger: send_adapter(logger, plain, folder, manifest))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names without ``init_args``; lists of objects (callbacks, loggers) are left out."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        path = prefix if name == "init_args" else f"{prefix}.{name}".lstrip(".")
        if isinstance(value, Mapping):
            found |= flatten(value, path)
        elif not (isinstance(value, list) and any(isinstance(item, Mapping) for item in value)):
            found[path] = value if isinstance(value, str | int | float | list | None) else str(value)
    return found


@singledispatch
def send_images(logger: Logger, key: str, files: list[Path], step: int, captions: list[str]) -> None:
    """Send pictures to one kind of logger; none of the others take any."""


@send_images.register
def _(logger: WandbLogger, key: str, files: list[Path], step: int, captions: list[str]) -> None:
    moving = all(file.suffix == MOVING for file in files)
    log = logger.log_video if moving else logger.log_image
    log(key, [str(file) for file in files], step, caption=captions)


@send_images.register
def _(logger: TensorBoardLogger, key: str, files: list[Path], step: int, captions: list[str]) -> None:
    for file, caption in zip(files, captions, strict=True):
        if file.suffix != MOVING:
            picture = np.asarray(Image.open(file).convert("RGB"))
            logger.experiment.add_image(f"{key}/{caption}", picture, step, dataformats="HWC")


@send_images.register
def _(logger: MLFlowLogger, key: str, files: list[Path], step: int, captions: list[str]) -> None:
    for file in files:
        logger.experiment.log_artifact(logger.run_id, str(file), f"{key}/step={step}")


@singledispatch
def send_table(logger: Logger, key: str, rows: Sequence[Row], step: int) -> None:
    """Send a table to one kind of logger; none of the others take any."""


@send_table.register
def _(logger: WandbLogger, key: str, rows: Sequence[Row], step: int) -> None:
    import wandb  # slow to import, and most runs do without

    def cell(name: str, value: Any) -> Any:
        return wandb.Image(str(value)) if name == PICTURE and value is not None else value

    columns = list(rows[0])
    logger.log_table(
        key, columns=columns, data=[[cell(name, row[name]) for name in columns] for row in rows], step=step
    )


@send_table.register
def _(logger: TensorBoardLogger, key: str, rows: Sequence[Row], step: int) -> None:
    send_images(logger, key, *_pictures(rows, step))
    logger.experiment.add_text(key, markdown(rows), step)


@send_table.register
def _(logger: MLFlowLogger, key: str, rows: Sequence[Row], step: int) -> None:
    send_images(logger, key, *_pictures(rows, step))
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != PICTURE}
    logger.experiment.log_table(logger.run_id, columns, f"{key}/step={step}.json")


@singledispatch
def send_adapter(logger: Logger, name: str, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Send an adapter to one kind of logger; none of the others take any."""


@send_adapter.register
def _(logger: WandbLogger, name: str, folder: Path, manifest: Mapping[str, Any]) -> None:
    if not getattr(logger, "log_adapter", False):
        return
    import wandb

    artifact = wandb.Artifact(name, type="model", description=manifest.get("task"), metadata=dict(manifest))
    # W&B would copy the files to the user's home, and names like `a/b` of a stack's tasks are no part of this adapter.
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        artifact.add_file(str(file), policy="immutable")
    logger.experiment.log_artifact(artifact)


@send_adapter.register
def _(logger: MLFlowLogger, name: str, folder: Path, manifest: Mapping[str, Any]) -> None:
    logger.experiment.log_artifacts(logger.run_id, str(folder), name)


def markdown(rows: Sequence[Row]) -> str:
    """A table for people, without its pictures; text of samples stays text."""
    columns = [name for name in rows[0] if name != PICTURE]
    lines = [columns, ["---"] * len(columns), *([_text(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return re.sub(r"([|<>`*_\[\]\\])", r"\\\1", " ".join(str(value).split()))


def _pictures(rows: Sequence[Row], step: int) -> tuple[list[Path], int, list[str]]:
    shown = [row for row in rows if row.get(PICTURE) is not None]
    return [Path(row[PICTURE]) for row in shown], step, [str(row["key"]) for row in shown]


@rank_zero_only
def _each(loggers: Iterable[Logger], what: str, send: Callable[[Logger], None]) -> None:
    """Whatever happens in one logger, the run goes on and the others are served."""
    for logger in loggers:
        try:
            send(logger)
        except Exception as error:
            rank_zero_warn(f"{type(logger).__name__} does not take {what}: {type(error).__name__}: {error}")
