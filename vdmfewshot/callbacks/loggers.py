"""Weights & Biases as a mirror that may fail at any time: local files are the truth, training goes on."""

from __future__ import annotations

import configparser
import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_warn

if TYPE_CHECKING:
    import wandb

#: seconds that the end of a run waits for a dead server; what is not uploaded stays on disk for ``wandb sync``
FINISH_TIMEOUT = 60
#: what a ``wandb/settings`` file in the working folder may say, as ``wandb init`` and ``wandb offline`` write it
LOCAL_SETTINGS = ("entity", "project", "mode", "disabled", "quiet", "silent", "console")


def _guarded(name: str) -> Callable[..., Any]:
    """A method of ``WandbLogger`` that warns, once per run, instead of raising."""
    method = getattr(WandbLogger, name)

    @functools.wraps(method)
    def call(self: ResilientWandbLogger, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.warn_once(name, f"W&B {name} failed and is skipped ({_reason(error)})")
            return None

    return call


class ResilientWandbLogger(WandbLogger):
    """``WandbLogger`` whose failures are warnings: no server, no key, a time-out or a dead service never stop a run.

    If a run cannot be started online it is started offline (``wandb sync`` uploads it later); if that fails too,
    nothing is logged. Offline and disabled runs make no network call.

    Args:
        project: W&B project; the environment's ``WANDB_PROJECT`` or ``lightning_logs`` if not given.
        name: of the run; W&B invents one if not given.
        group: of runs, e.g. a sweep over shots.
        save_dir: where the ``wandb`` folder with the run's files goes; created. The run's own folder if not given.
        offline: keep everything local; the same as ``mode="offline"``.
        mode: ``online``, ``offline`` or ``disabled``; the environment's ``WANDB_MODE`` if not given.
        id: of the run, to resume it.
        entity: W&B team or user.
        tags: of the run.
        notes: a longer description.
        job_type: kind of run within its group.
        log_model: upload checkpoints as artifacts, see ``WandbLogger``.
        log_adapter: upload the exported adapter as an artifact with its manifest as metadata.
        init_timeout: seconds that the server has to answer before the run goes offline, 1 to 30.

    Raises:
        ValueError: if ``offline`` and ``mode`` disagree, the time-out is out of range, or a file in the working folder
            would send the key elsewhere.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        group: str | None = None,
        save_dir: str | Path | None = None,
        offline: bool = False,
        mode: Literal["online", "offline", "disabled"] | None = None,
        id: str | None = None,
        entity: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        job_type: str | None = None,
        log_model: Literal["all"] | bool = False,
        log_adapter: bool = False,
        init_timeout: float = 12.0,
    ) -> None:
        if offline and mode not in (None, "offline"):
            raise ValueError(f"offline: true contradicts mode: {mode}; leave one of them out")
        if not 1 <= init_timeout <= 30:
            raise ValueError(f"init_timeout must be 1 to 30 seconds, got {init_timeout}")
        refuse_local_settings(Path(os.environ.get("WANDB_DIR", ".")))
        super().__init__(
            project=project,
            name=name,
            save_dir=str(save_dir or "."),
            id=id,
            log_model=log_model,
            group=group,
            entity=entity,
            tags=tags,
            notes=notes,
            job_type=job_type,
            mode="offline" if offline else mode,
            settings=_settings(init_timeout),
        )
        self._wandb_init.pop("anonymous", None)  # Lightning's, which W&B warns of
        self.log_adapter = log_adapter
        self._warned: set[str] = set()
        self._first_step = 0
        self._settled = save_dir is not None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run: online, else offline, else one that does nothing."""
        if self._experiment is not None:
            return self._experiment
        try:
            Path(self.save_dir or ".").mkdir(parents=True, exist_ok=True)
            self._choose_id()
            return self._go_on(super().experiment)
        except Exception as error:
            self.warn_once("init", f"W&B cannot start a run, going offline ({_reason(error)})")
        try:
            self._wandb_init["mode"] = "offline"
            self._release_id()
            return self._go_on(super().experiment)
        except Exception as error:
            self.warn_once("offline", f"W&B cannot write an offline run either, nothing is logged ({_reason(error)})")
            self._experiment = DummyLogger().experiment
        return self._experiment

    def _choose_id(self) -> None:
        """One id for whatever becomes of the run: the server may know it before an offline run takes over."""
        if (
            self._wandb_init.get("id") is None
            and "WANDB_RUN_ID" not in os.environ
            and "WANDB_SWEEP_ID" not in os.environ
        ):
            self._wandb_init["id"] = uuid4().hex[:8]

    def _release_id(self) -> None:
        """W&B's service still holds the id of the run that did not start, and serves nobody else in this process."""
        import wandb

        if wandb.run is None:
            wandb.teardown()

    def _go_on(self, run: Any) -> Any:
        """Number rows on from those of the run's earlier part, of which an offline run knows nothing."""
        if self._first_step:
            run.log({}, step=self._first_step, commit=False)
        return run

    log_hyperparams = _guarded("log_hyperparams")
    log_metrics = _guarded("log_metrics")
    log_table = _guarded("log_table")
    log_text = _guarded("log_text")
    log_image = _guarded("log_image")
    log_audio = _guarded("log_audio")
    log_video = _guarded("log_video")
    watch = _guarded("watch")
    after_save_checkpoint = _guarded("after_save_checkpoint")
    finalize = _guarded("finalize")

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints: ``id`` and ``name`` of the run and its next ``step``; empty if there is no run."""
        run = self._experiment
        # Of a run that does nothing, every attribute is something; a dead service is not asked twice.
        if run is None or getattr(run, "disabled", True) or "state" in self._warned:
            return {}
        try:
            return {"id": str(run.id), "name": run.name, "step": int(run.step)}
        except Exception as error:
            self.warn_once("state", f"W&B does not say where the run is, a resumed one will be new ({_reason(error)})")
            return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the run of a checkpoint, unless the user names another or it has begun.

        Args:
            state: as ``state_dict`` gave it; anything else is ignored, for the id is a part of a folder's name.
        """
        run, name, step = (state.get(part) for part in ("id", "name", "step"))
        known = isinstance(run, str) and re.fullmatch(r"\w[\w-]{0,63}", run, re.ASCII)
        if not known or not isinstance(step, int) or self._experiment is not None or self._id not in (None, run):
            return
        self._id, self._first_step = run, max(0, step)
        self._wandb_init |= {"id": run, "name": self._name or (name if isinstance(name, str) and name else None)}

    def settle(self, folder: Path) -> None:
        """Keep the run's files in this folder, unless the user has named another."""
        if not self._settled:
            self._save_dir = self._wandb_init["dir"] = str(folder)
            self._settled = True

    def warn_once(self, topic: str, message: str) -> None:
        """Warn on rank 0, the first time that a topic comes up."""
        if topic not in self._warned:
            self._warned.add(topic)
            rank_zero_warn(message)


def refuse_local_settings(root: Path) -> None:
    """W&B reads ``wandb/settings`` of the working folder, which may have come with a configuration from elsewhere.

    Server, proxy and the like belong into the environment or into the user's own ``~/.config/wandb/settings``.

    Raises:
        ValueError: naming file and setting.
    """
    for file in (root / "wandb" / "settings", root / ".wandb" / "settings"):
        if file.is_file():
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            try:
                parser.read(file, encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError) as error:
                raise ValueError(f"{file} is no settings file of W&B: {error}; remove it") from error
            named = {*parser.defaults(), *(key for section in parser.sections() for key in parser[section])}
            for key in sorted(named - set(LOCAL_SETTINGS)):
                raise ValueError(
                    f"{file} sets {key}, which can send your W&B key elsewhere; remove it, or set it in the "
                    "environment (WANDB_BASE_URL) or in ~/.config/wandb/settings"
                )


def _settings(init_timeout: float) -> wandb.Settings:
    """Bounded waiting at both ends of a run."""
    import wandb  # slow to import, and most runs do without

    settings: dict[str, float] = {"init_timeout": init_timeout, "login_timeout": init_timeout}
    if "finish_timeout" in getattr(wandb.Settings, "model_fields", {}):
        settings["finish_timeout"] = FINISH_TIMEOUT  # not in every supported release
    return wandb.Settings(**settings)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
