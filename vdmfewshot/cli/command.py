"""The command line: LightningCLI over our modules. The signatures of the classes are its schema."""

from __future__ import annotations

import importlib
import pkgutil
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import Any, Literal, TextIO, TypeVar

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vdmfewshot.callbacks.config import SaveRunConfig
from vdmfewshot.callbacks.default import DEFAULT
from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.loggers import ResilientWandbLogger
from vdmfewshot.cli import front, switches
from vdmfewshot.cli.allowlist import read_safely
from vdmfewshot.cli.guarded import GuardedCLI
from vdmfewshot.cli.naming import run_name
from vdmfewshot.cli.parser import FewShotParser
from vdmfewshot.cli.results import interrupted, results
from vdmfewshot.cli.retry import free_memory, run_or_retry
from vdmfewshot.cli.suggestions import HelpFormatter
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_folds import FOLDS, ArcFold, ArcFoldsDataModule
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.data.survey import log
from vdmfewshot.defaults import TRAINER
from vdmfewshot.training.module import UNTRAINED, FewShotModule
from vdmfewshot.training.refusals import nothing_to_score, require_clip, require_hardware, require_steps
from vdmfewshot.training.stacked_module import StackedModule
from vdmfewshot.training.trainer import FewShotTrainer, native_precision


def import_rooms(*rooms: str) -> None:
    """Import every module of these sub-packages: configurations may then name their classes without a path."""
    for room in rooms:
        package = importlib.import_module(f"vdmfewshot.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


import_rooms("backbones", "callbacks", "data", "training")

CLI = TypeVar("CLI", bound="FewShotCLI")
DEFAULTS: dict[str, Any] = {
    "model": {
        "class_path": "vdmfewshot.training.module.FewShotModule",
        "init_args": {"backbone": {"class_path": "vdmfewshot.backbones.CogVideoX"}},
    },
    **{f"trainer.{name}": value for name, value in TRAINER.items()},
    "trainer.callbacks": [{"class_path": path, "init_args": arguments} for path, arguments in DEFAULT.items()],
}

read_safely()


class FewShotCLI(GuardedCLI):
    """LightningCLI with one verb more, safe configurations and one folder per run."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's verbs and ``adapt``, that is fit and then test."""
        return {"adapt": {"model", "datamodule"}, **LightningCLI.subcommands()}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Use the parser that suggests the nearest valid key."""
        self.parser_class = FewShotParser
        return super().init_parser(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's name and set what differs from Lightning's defaults."""
        parser.add_argument(
            "--name", type=str | None, help="Folder under runs/; default: name of the experiment or of the data"
        )
        parser.add_argument("--export", type=Literal["comfyui"] | None, help="Save the adapter for ComfyUI, too")
        parser.add_argument("--quiet", type=bool, default=False, help="Say nothing but warnings and results; no bar")
        super().add_arguments_to_parser(parser)
        parser.set_defaults(DEFAULTS)

    def _parse_ckpt_path(self) -> None:
        """Refuse a missing or damaged checkpoint; nothing in one may override the configuration."""
        path = self._sub.get("ckpt_path")
        if path == "last":
            self._sub.ckpt_path = str(self._last_checkpoint())
        super()._parse_ckpt_path()
        if path is not None and self.config.subcommand in ("adapt", "fit"):
            require_steps(Path(self._sub.ckpt_path), self._sub.trainer.max_steps)

    def _last_checkpoint(self) -> Path:
        """The newest ``last.ckpt`` of the runs of this name."""
        home = Path(self._sub.trainer.default_root_dir or "runs") / self._name()
        found = sorted(home.glob("version_*/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
        if not found:
            raise FileNotFoundError(f"no checkpoint at {home}/version_*/checkpoints/last.ckpt; give --name or a file")
        return found[-1]

    def tell_results(self, stream: TextIO) -> None:
        """Say where everything is."""
        folder = run_folder(self.trainer)  # on all ranks: it is broadcast
        if self.trainer.is_global_zero:
            stream.write(results(str(self.config.subcommand), folder, self.trainer.global_step))

    def before_instantiate_classes(self) -> None:
        """Check what was parsed and that there is something to evaluate; give the run its folder."""
        super().before_instantiate_classes()
        self._require_adapter()
        require_hardware(str(self._sub.trainer.accelerator), str(self._sub.trainer.precision))
        self._fold_data()
        self._stack_model()
        self._choose_precision()
        switches.silence(self._sub)
        switches.drop_switched_off(self._sub)
        switches.add_export(self._sub)
        self._add_csv_logger()

    def instantiate_classes(self) -> None:
        """Build everything; files of W&B go to the run's folder, which is known now."""
        super().instantiate_classes()
        for logger in self.trainer.loggers:
            if isinstance(logger, ResilientWandbLogger):
                logger.settle(run_folder(self.trainer))

    def before_predict(self) -> None:
        """Refuse an adapter of another clip shape."""
        folder = getattr(self.model, "adapter", None)
        if folder is not None:
            if isinstance(self.datamodule, StackedDataModule):
                self.datamodule.setup(str(self.config.subcommand))  # only then it knows its tasks
            tasks = getattr(self.datamodule, "tasks", {"": self.datamodule})
            for name, task in tasks.items():
                require_clip(folder / name, task.shape_for(self.model.backbone.preset))

    before_validate = before_test = before_predict

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb; if memory runs out, once more with less at a time."""
        try:
            run_or_retry(partial(super()._run_subcommand, subcommand), self._start_again, self._sub)
        except SystemExit as stop:
            if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has saved what callbacks save, and left
                raise interrupted(subcommand, run_folder(self.trainer), self.trainer.global_step) from None
            raise

    def _start_again(self) -> None:
        vars(self).update(config_init=None, model=None, datamodule=None, trainer=None)
        free_memory()
        self.instantiate_classes()

    def after_fit(self) -> None:
        """Tell the shell if the fit was terminated."""
        assert isinstance(self.trainer, FewShotTrainer), "make_cli asks for it"
        self.trainer.exit_if_terminated()

    def before_adapt(self) -> None:
        """Refuse to train for a score when nothing is left to score."""
        data = self.datamodule
        data.setup("fit")
        for task in data.tasks.values() if isinstance(data, StackedDataModule) else [data]:
            if isinstance(task, FewShotDataModule) and not isinstance(task, ArcFold) and not task.queries("test"):
                shots, unknown = len(task.support), len(task.queries("predict"))
                raise ValueError(f"{task.task_name}: {nothing_to_score(shots, unknown)}")

    def _require_adapter(self) -> None:
        args = self._sub.model.get("init_args", Namespace())
        untrained = "adapter" in args and args.adapter is None and self._sub.get("ckpt_path") is None
        if self.config.subcommand in ("test", "predict", "validate") and untrained:
            raise ValueError(
                f"{self.config.subcommand} needs something trained: give --ckpt_path FILE or --model.adapter FOLDER "
                f"(--model.adapter {UNTRAINED} scores the frozen backbone itself)"
            )

    def _fold_data(self) -> None:
        """``--data.leave_out auto`` turns an ARC task into a stack of itself and its folds, validated four times."""
        data, trainer = self._sub.data, self._sub.trainer
        if locate(str(data.class_path)) is not ArcDataModule or data.init_args.get("leave_out") != "auto":
            return
        data.class_path = f"{ArcFoldsDataModule.__module__}.{ArcFoldsDataModule.__qualname__}"
        data.init_args.folds = FOLDS
        if trainer.val_check_interval == TRAINER["val_check_interval"] and trainer.max_steps > 0:
            trainer.val_check_interval = max(1, trainer.max_steps // 4)

    def _stack_model(self) -> None:
        """Data of several tasks turn the model into a stack of adapters, so that every model fragment fits both."""
        model, data = self._sub.model, locate(str(self._sub.data.class_path))
        plain = locate(str(model.class_path)) is FewShotModule  # by whichever of its paths
        if isinstance(data, type) and issubclass(data, StackedDataModule) and plain:
            model.class_path = f"{StackedModule.__module__}.{StackedModule.__qualname__}"

    def _choose_precision(self) -> None:
        """What the hardware does fastest, unless the user says."""
        trainer = self._sub.trainer
        if trainer.precision is None and trainer.plugins is None:
            trainer.precision = native_precision(str(trainer.accelerator))

    def _add_csv_logger(self) -> None:
        """Metrics always go to runs/<name>/version_<k>/metrics.csv, whatever other loggers there are."""
        trainer = self._sub.trainer
        if trainer.logger is False:
            return
        others = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        if any("CSVLogger" in str(logger) for logger in others):
            return
        csv = Namespace(
            class_path="lightning.pytorch.loggers.CSVLogger",
            init_args=Namespace(
                save_dir=trainer.default_root_dir or "runs",
                name=self._name(),
                version=None,
                prefix="",
                flush_logs_every_n_steps=10,
            ),
        )
        trainer.logger = [csv, *(logger for logger in others if logger not in (None, True))]

    def _name(self) -> str:
        if self._sub.name:
            return str(self._sub.name)
        files = [Path(str(file)) for file in self._sub.get("config") or self.config.get("config") or []]
        words = self._typed if isinstance(self._typed, list) else []
        return run_name(files, words, str(self._sub.data.class_path))


def main(args: ArgsType = None) -> Any:
    """Run the command line.

    Args:
        args: list of arguments for use from Python, where errors are raised; ``sys.argv[1:]`` if not given, where they
            are printed.

    Returns:
        What the verb returns: of ``adapt``, ``fit``, ``validate``, ``test`` and ``predict`` the CLI object with
        ``trainer``, ``model`` and ``datamodule``.
    """
    if args is None:
        return front.run()
    if isinstance(args, list):
        return front.main(args)
    return make_cli(args, FewShotCLI)


def _lightning_verb(name: str, args: Sequence[str]) -> FewShotCLI:
    try:
        return make_cli([name, *args], FewShotCLI)
    except SIGTERMException:  # Lightning's has no status, which a shell would take for success
        raise SystemExit(128 + signal.SIGTERM) from None


adapt, fit, validate, test, predict = (
    partial(_lightning_verb, name) for name in ("adapt", "fit", "validate", "test", "predict")
)


def make_cli(args: ArgsType, kind: type[CLI]) -> CLI:
    """Parse a command line and do what it says, or what a subclass of ``FewShotCLI`` makes of it."""
    level = log.level
    try:
        return kind(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=FewShotTrainer,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            parser_kwargs={"prog": "vdmfewshot", "formatter_class": HelpFormatter},
            args=args,
        )
    finally:
        log.setLevel(level)  # of ``--quiet``
