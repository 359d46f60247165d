"""The engine: plan once, run what is missing, report. It is given how to plan and how to run a configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from vdmfewshot.storage.atomic import replacing
from vdmfewshot.studies.local import run_local
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.report import read_summary, show
from vdmfewshot.studies.settings import Study
from vdmfewshot.studies.stacks import cut
from vdmfewshot.studies.store import Failure, Store
from vdmfewshot.studies.units import Manifest, Unit
from vdmfewshot.studies.work import Adapter, MakeAdapter, Planner

#: exit status of a study whose units have not all got a result
PARTIAL = 3


@dataclass(frozen=True)
class Engine:
    """Everything that can be done with a study.

    Attributes:
        study: settings.
        make_planner: called only if there is something to plan.
        make_adapter: called only if there is something to run, in the process that runs it; a function of a module.
        console: for progress and tables.
    """

    study: Study
    make_planner: Callable[[], Planner]
    make_adapter: MakeAdapter
    console: Console

    @property
    def store(self) -> Store:
        """Results."""
        return Store(self.study.folder)

    def manifest(self) -> Manifest:
        """The manifest on disk if planning again would give the same, else a new one."""
        folder, settings = self.study.folder, self.study.digest()
        known = Manifest.read(folder)
        if known is not None and known.is_of(settings):
            return known
        self.say("planning: every point is checked and every task read")
        planned = self.make_planner().plan(self.study)
        planned.write(folder)
        text = yaml.safe_dump(plain(self.study), sort_keys=False, allow_unicode=True)
        with replacing(folder / "study.yaml") as file:
            file.write_text(text, encoding="utf-8")
        return planned

    def run(self, retry: Collection[str] | None = None) -> int:
        """Run what has neither a result nor failed, then report.

        Args:
            retry: kinds of failures that are forgotten first, all if empty; none if not given.

        Returns:
            exit status: 0, or ``PARTIAL``.
        """
        return self.report(self.complete(retry))

    def complete(self, retry: Collection[str] | None = None) -> Manifest:
        """Run what has neither a result nor failed; see ``run``."""
        manifest, store = self.manifest(), self.store
        store.sweep()
        failed = store.failures()
        for again in [unit for unit in failed if retry is not None and (not retry or failed[unit].kind in retry)]:
            store.forget(again)
            del failed[again]
        finished = store.finished(manifest.by_id)
        failed = {unit: why for unit, why in failed.items() if unit in manifest.by_id and unit not in finished}
        pending = [unit for unit in manifest.units if unit.id not in finished and unit.id not in failed]
        for unit in (unit for unit in pending if unit.problem):
            failed[unit.id] = Failure("data", unit.problem)
            store.fail(unit.id, failed[unit.id])
            self.say(f"{unit.label} cannot be read: {unit.problem}")
        left = {unit.id for unit in pending if not unit.problem}
        self.say(f"{len(manifest.units)} units: {len(finished)} done, {len(failed)} failed, {len(left)} to go")
        if left:
            if not self.study.keep:
                self.say(
                    "scores and records are kept; keep: [pictures, adapter] keeps more of units that have yet to run"
                )
            if (devices := self.study.executor.devices_per_unit) > 1:
                self.say(f"each unit runs on {devices} devices, in processes of its own; units are not stacked")
            stacks = [
                [unit for unit in stack if unit.id in left] for stack in cut(manifest.units, self.study.stack_size)
            ]
            progress = Progress(manifest, finished, failed, self.console)
            with self._mirrored(progress):
                self._execute([stack for stack in stacks if stack], progress)
            progress.show(now=True)
        return manifest

    def _execute(self, stacks: Sequence[Sequence[Unit]], progress: Progress) -> None:
        settings, study = self.study.executor, self.study
        if settings.kind == "local":
            run_local(stacks, self._adapter(), self.store, progress, settings)
            return
        from vdmfewshot.studies.ray_cluster import run_on_ray  # an extra

        run_on_ray(stacks, study, self.make_adapter, self.store, progress)

    def _adapter(self) -> Adapter:
        study = self.study
        return self.make_adapter(study.folder, study.keep, study.executor.devices_per_unit)

    @contextmanager
    def _mirrored(self, progress: Progress) -> Iterator[None]:
        """Within, W&B hears of every outcome, if the study asks for it."""
        if self.study.wandb is None:
            yield
            return
        from vdmfewshot.studies.mirror import WandbMirror  # Lightning

        mirror = WandbMirror(self.study, progress.manifest)
        progress.listeners.append(mirror)
        try:
            yield
        finally:
            mirror.finish(self.store)

    def report(self, manifest: Manifest | None = None) -> int:
        """Show the scores; pooled again only if results have changed since.

        Raises:
            ValueError: if there is no result at all.
        """
        manifest, store = manifest or self.manifest(), self.store
        finished = store.finished(manifest.by_id)
        if not finished:
            failures = store.failures()
            why = next((f"; the first: {failures[u.id].reason}" for u in manifest.units if u.id in failures), "")
            raise ValueError(f"none of {len(manifest.units)} units has a result, in {store.folder}{why}")
        summary = read_summary(manifest, store, finished) or self._summarize(manifest)
        show(summary, self.study.name, self.console, store.folder)
        return 0 if summary["done"] == summary["expected"] else PARTIAL

    def _summarize(self, manifest: Manifest) -> dict[str, Any]:
        from vdmfewshot.studies.summary import summarize, write_table  # torchmetrics

        summary = summarize(manifest, self.store, self._adapter().metric)
        write_table(summary, self.study.folder)
        return summary

    def status(self) -> None:
        """Counts, what is running where, and failures by kind. Reads results, and plans nothing."""
        manifest, store = self._planned(), self.store
        finished, failures = store.finished(manifest.by_id), store.failures()
        progress = Progress(manifest, finished, [u for u in failures if u in manifest.by_id], self.console)
        running = {unit: who for unit, who in store.running().items() if unit not in finished}
        progress.running = len(running)
        self.say(f"{self.study.name}: {progress.line()}")
        for who in sorted(set(running.values())):
            self.say(f"  running on {who}: {sum(other == who for other in running.values())} units")
        for unit, failure in failures.items():
            if unit in progress.failed:
                self.say(f"  {manifest.by_id[unit].label} failed ({failure.kind}): {failure.reason}")
        if not manifest.is_of(self.study.digest()):
            self.say(
                "settings or files have changed since; the next `study run` plans again and keeps what still counts"
            )

    def write(self, kind: str, file: Path | None, where: Mapping[str, Any]) -> None:
        """Export the units as a table, or the answers as a submission."""
        from vdmfewshot.studies.export import export, submission  # pandas

        manifest, store = self._planned(), self.store
        if kind == "export":
            file = file or store.folder / "results.parquet"
            self.say(f"{export(manifest, store, file)} units; {file}")
            return
        file = file or store.folder / "submission.json"
        answered = submission(manifest, store, file, where)
        self.say(f"{answered} tasks have answers, the others a placeholder; {file}")

    def _planned(self) -> Manifest:
        manifest = Manifest.read(self.study.folder)
        if manifest is None:
            raise ValueError(f"nothing is planned in {self.study.folder} yet; `vdmfewshot study -c FILE` does that")
        return manifest

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def plain(study: Study) -> dict[str, Any]:
    """Settings as plain values."""
    content = {**vars(study), "executor": vars(study.executor)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}
