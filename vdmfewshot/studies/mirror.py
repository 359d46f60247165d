"""One W&B run for a study: progress while it runs, a table of its units at the end. Files stay the record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vdmfewshot.callbacks.loggers import ResilientWandbLogger
from vdmfewshot.studies.export import rows_of
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.settings import Study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, hashed
from vdmfewshot.studies.work import Outcome

#: of the run unless the study says otherwise
DEFAULTS = {"project": "vdmfewshot", "job_type": "study"}


class WandbMirror:
    """Hears of outcomes, see ``Listener``. It never stops a study, whatever W&B does.

    The run has the same id at every start of the same study, and goes on.

    Args:
        study: settings; ``wandb`` are the arguments of the logger.
        manifest: all units.
    """

    def __init__(self, study: Study, manifest: Manifest) -> None:
        self.study = study
        self.manifest = manifest
        options: dict[str, Any] = {**DEFAULTS, "name": study.name, "group": study.name, **(study.wandb or {})}
        run = hashed(study.name, [unit.id for unit in manifest.units])
        self.logger = ResilientWandbLogger(save_dir=study.folder, id=run, **options)
        self.logger.log_hyperparams(
            {"units": len(manifest.units), "axes": dict(study.axes), "tasks": dict(study.tasks)}
        )

    def heard(self, outcome: Outcome, progress: Progress) -> None:
        """Log counts and the mean score so far."""
        self.logger.log_metrics(metrics_of(progress), step=len(progress.done) + len(progress.failed))

    def finish(self, store: Store) -> None:
        """Log the table of units and end the run, which later loggers of this process would take for theirs."""
        rows = rows_of(self.manifest, store)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self.logger.log_table(
            "units", columns=columns, data=[[plain(row.get(name)) for name in columns] for row in rows]
        )
        self.logger.finalize("success")
        with suppress(Exception):
            self.logger.experiment.finish()


def metrics_of(progress: Progress) -> Mapping[str, float]:
    """Counts, and the mean of the main scores so far."""
    scores = progress.scores.values()
    counts = {"study/done": float(len(progress.done)), "study/failed": float(len(progress.failed))}
    return {**counts, **({"study/mean": sum(scores) / len(scores)} if scores else {})}


def plain(value: Any) -> Any:
    """What a W&B table can hold."""
    return value if isinstance(value, str | int | float | type(None)) else str(value)
