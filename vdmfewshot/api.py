"""The package from Python: adapt a model to pairs, ask it, save it, load it.

It stands above data, training and callbacks, which it puts together, and below the command line, whose ``adapt`` runs
the same data modules, defaults and ``FewShotTrainer.adapt``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger

from vdmfewshot import backbones
from vdmfewshot.backbones import Backbone
from vdmfewshot.callbacks.default import default_callbacks, switched_off
from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.clips.clip import to_image
from vdmfewshot.codecs import Codec, codec_from_spec
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.memory import AnyPicture
from vdmfewshot.data.pairs import PairsDataModule, TargetName
from vdmfewshot.data.queries import Canvas, QueryDataModule, is_one
from vdmfewshot.defaults import TRAINER
from vdmfewshot.lora.adapters import MANIFEST_FILE, REMEDY, LoraArgs, Manifest
from vdmfewshot.lora.export import save_adapter
from vdmfewshot.lora.source import check_whole, locate
from vdmfewshot.storage.documents import NUMBER, damaged, read_object
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.quiet import quiet
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.trainer import FewShotTrainer, native_precision


def adapt(
    pairs: Iterable[Any] | FewShotDataModule,
    target: TargetName = "image",
    model: str | Backbone | FewShotModule = "embedded",
    shots: int | None = None,
    *,
    steps: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    accelerator: str = "auto",
    trainer: Mapping[str, Any] | None = None,
    **data: Any,
) -> Adapted:
    """Adapt a frozen video model to a few labelled pairs, and score it on those that are left.

    Args:
        pairs: (input, target) each, or rows of a table with these two columns, such as those of a Hugging Face
            dataset; pictures are arrays, PIL pictures, tensors or paths. Or a data module, which says all about the
            task itself: ``vdm.ArcDataModule("b1948b0a")``.
        target: what the targets are: pictures, black-and-white masks, or label maps (with ``num_classes``).
        model: name of a model that the package has a file for (``embedded`` needs no download), a backbone, or a
            module of your own.
        shots: n, pairs that train; the others are scored. All train if not given.
        steps: of the training; the default of ``vdmfewshot.defaults`` if not given.
        folder: where the run's folder ``version_k`` is made, with scores, pictures, checkpoints and adapter; if not
            given, nothing is left on disk.
        seed: of adapter, noise and order.
        accelerator: as Lightning has it.
        trainer: further arguments of the Trainer, ``{"val_check_interval": 10}``; ``callbacks`` join the default ones.
        **data: further arguments of ``PairsDataModule``, such as ``variants``, ``height``, ``width``, ``support_seed``.

    Returns:
        the adapted model.

    Raises:
        ValueError: naming every pair that breaks a rule, before weights are read.
        TypeError: for arguments that there are not, or of pairs beside a data module.
    """
    _check_count("shots", shots)
    _check_count("steps", steps)
    if isinstance(pairs, FewShotDataModule):
        if target != "image" or shots is not None or data:
            raise TypeError("a data module has its own target, shots and further arguments: give them to it")
        task = pairs
    else:
        task = PairsDataModule.from_pairs(pairs, target, shots=shots, seed=seed, **data)
    task.setup()
    module = make_module(model, seed)
    scratch = tempfile.TemporaryDirectory() if folder is None else None
    place = Path(scratch.name if scratch else str(folder))
    with quiet():
        runner = make_trainer(place, accelerator, steps, keep=scratch is None, **(trainer or {}))
        run = runner.adapt if task.queries("test") else runner.fit
        run(module, datamodule=task)
    found = sorted(run_folder(runner).glob("scores/test/step=*/scores.json"))
    scores = read_object(found[-1], {"scores": dict}, "run it again")["scores"] if found else {}
    clip = Canvas(*task.clip_shape, task.transition)
    kept = None if scratch else run_folder(runner)
    return Adapted(module, task.codec, clip, module.manifest(task), scores, kept, accelerator)


def load(folder: str | Path, model: str | Backbone | None = None, accelerator: str = "auto") -> Adapted:
    """An adapter that was saved by ``Adapted.save``, by a run (``<run>/adapter``) or by ``vdmfewshot push``.

    Args:
        folder: of the adapter, or ``hf:owner/name`` or ``hf:owner/name@revision`` for one on the Hub.
        model: the backbone, where it is not at the path that the adapter names.
        accelerator: as Lightning has it.

    Raises:
        FileNotFoundError: if there is no adapter.
        ValueError: if it was made elsewhere, is damaged, cannot be had from the Hub, or does not fit the backbone.
    """
    place = locate(folder)
    manifest = check_whole(place)
    if manifest is None:
        raise ValueError(f"adapter {place} was not made by vdmfewshot: {MANIFEST_FILE} is missing; use diffusers")
    config = read_object(place / "adapter_config.json", {"r": int, "lora_alpha": NUMBER}, "export it again")
    backbone = model if isinstance(model, Backbone) else _backbone_of(manifest, model)
    module = FewShotModule(
        backbone,
        lora=LoraArgs(config["r"], config["lora_alpha"], targets=config["target_modules"]),
        sampling=_stored_sampling(manifest, place),
        adapter=str(place),
        seed=manifest.seed,
    )
    codec = codec_from_spec(manifest.codec["name"], manifest.codec["spec"], manifest.codec["version"])
    return Adapted(module, codec, _canvas(manifest), manifest, {}, place, accelerator)


@dataclass
class Adapted:
    """A model that has learned a task.

    Attributes:
        module: the frozen model with its adapter.
        codec: how answers are read from frames.
        clip: of the adapter.
        manifest: what is stored beside the adapter's weights.
        scores: by name, each with ``score``, ``low`` and ``high`` (95 %), ``n``, ``n_expected``, ``ceiling``,
            ``copy_input`` and ``mean_target``, as in ``scores.json``; empty if nothing was left to score.
        folder: of the run, or of the adapter that was loaded; ``None`` if nothing was kept.
        accelerator: that predicts.
    """

    module: FewShotModule = field(repr=False)
    codec: Codec[Any]
    clip: Canvas
    manifest: Manifest = field(repr=False)
    scores: Mapping[str, Mapping[str, Any]] = field(repr=False)
    folder: Path | None = None
    accelerator: str = "auto"

    def predict(self, images: AnyPicture | Sequence[AnyPicture]) -> Any:
        """Answer one picture, or each of a list.

        The same picture always gets the same answer, alone or in a list.

        Args:
            images: see ``adapt``.

        Returns:
            the label, in pixels of the picture: (h, w, 3) uint8, a (h, w) bool mask or a (h, w) uint8 label map; a list
            of them for a list.

        Raises:
            ValueError: naming every picture that cannot be read.
        """
        one = is_one(images)
        queries = QueryDataModule([images] if one else list(images), self.codec, self.clip)
        if not one and not len(images):
            return []
        with quiet(), tempfile.TemporaryDirectory() as place:
            trainer = FewShotTrainer(
                # native_precision gives a word of the Literal
                accelerator=self.accelerator, devices=1, precision=native_precision(self.accelerator),  # type: ignore[arg-type]
                logger=False, enable_progress_bar=False, enable_checkpointing=False, default_root_dir=place,
            )  # fmt: skip
            batches: Any = trainer.predict(self.module, datamodule=queries)
        answers = [
            self.codec.decode(to_image(attempts[0][-1]), queries.box(pair)).label
            for batch in batches
            for pair, attempts in zip(batch.pairs, batch.generated, strict=True)
        ]
        return answers[0] if one else answers

    def save(self, folder: str | Path) -> Path:
        """Write the adapter for vdmfewshot, diffusers and peft.

        Args:
            folder: made, or replaced if it holds an adapter.

        Raises:
            ValueError: if the folder holds anything else.
        """
        place = Path(folder)
        if place.exists() and not (place / MANIFEST_FILE).is_file() and (place.is_file() or any(place.iterdir())):
            raise ValueError(f"{place} holds something that is not an adapter and would be lost; name another folder")
        backbone = self.module.backbone
        self.module.configure_model()
        save_adapter(place, backbone.denoiser, backbone.pipeline_class, self.manifest)
        return place


def make_module(model: str | Backbone | FewShotModule, seed: int) -> FewShotModule:
    """The module to adapt, by name, around a backbone, or as it is.

    Raises:
        ValueError: for a name that there is no file for, with those that there are.
    """
    if isinstance(model, FewShotModule):
        return model
    if isinstance(model, Backbone):
        return FewShotModule(model, seed=seed)
    files = {file.stem: file for root in _packages() for file in sorted((root / "experiments/model").glob("*.yaml"))}
    if model not in files:
        raise ValueError(f"model must be one of {', '.join(sorted(files))}, a backbone or a module, got {model!r}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FewShotModule, "model")
    parser.add_argument("--config", action="config")
    settings = parser.parse_args([f"--model={files[model]}", f"--model.init_args.seed={seed}"])
    module: FewShotModule = parser.instantiate_classes(settings).model
    return module


def make_trainer(
    folder: Path, accelerator: str = "auto", steps: int | None = None, keep: bool = True, **more: Any
) -> FewShotTrainer:
    """The command line's Trainer, on one device, with the run's folder below ``folder``; for ``more`` see ``adapt``.

    Without ``keep`` no adapter is exported: the folder is a temporary one.
    """
    without = switched_off(more) | (set() if keep else {AdapterExport.__name__})
    settings = {
        **TRAINER,
        **({} if steps is None else {"max_steps": steps}),
        "devices": 1,
        "precision": native_precision(accelerator),
        "logger": CSVLogger(folder, name="", flush_logs_every_n_steps=10),
        **more,
        "callbacks": [*default_callbacks(without), *more.get("callbacks", ())],
    }
    try:
        return FewShotTrainer(**settings, accelerator=accelerator, default_root_dir=folder)
    except MisconfigurationException as error:
        raise ValueError(f"the Trainer refuses its arguments: {error} ({accelerator=}; 'cpu' is everywhere)") from error


def _check_count(name: str, value: Any) -> None:
    """Whole and positive, if given."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def _stored_sampling(manifest: Manifest, place: Path) -> SamplingArgs:
    try:
        return SamplingArgs.stored(manifest.sampling)
    except ValueError as error:
        raise damaged(place / MANIFEST_FILE, error, REMEDY) from error


def _canvas(manifest: Manifest) -> Canvas:
    return Canvas(**{part.name: manifest.clip[part.name] for part in fields(Canvas)})


def _backbone_of(manifest: Manifest, model: str | None) -> Backbone:
    name = str(manifest.backbone.get("family"))
    family: Any = getattr(backbones, name, None) if name in backbones.__all__ else None
    if family in (None, Backbone) or not issubclass(family, Backbone):
        raise ValueError(f"the adapter's backbone is a {name!r}, which this version has not")
    backbone: Backbone = family(path=model or manifest.backbone["path"])
    return backbone


def _packages() -> tuple[Path, Path]:
    """Where ``experiments`` lies: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package.parent, package
