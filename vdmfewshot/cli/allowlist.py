"""What a configuration may name: nothing else is imported, so that a file from elsewhere cannot run code.

jsonargparse imports whatever dotted path stands where a class, a type, a module or a callable is expected. Its own
policy (``import_path_denylist``) sits where it imports, so that the kind of argument does not matter. Here it denies
everything but classes: those of this package, and a list of Lightning's and PyTorch's. Functions cannot be named.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from pydoc import locate
from typing import Any

from jsonargparse import set_parsing_settings

import vdmfewshot
from vdmfewshot.cli.destinations import nodes
from vdmfewshot.cli.limits import limit_yaml

#: public module → classes of it. What calls a function of one's choosing, reads pickles or sends data is left out.
LISTED: dict[str, tuple[str, ...]] = {
    "lightning.pytorch.callbacks": (
        *("ModelCheckpoint", "EarlyStopping", "LearningRateMonitor", "GradientAccumulationScheduler", "Timer"),
        *("DeviceStatsMonitor", "ModelSummary", "RichModelSummary", "RichProgressBar", "TQDMProgressBar"),
        *("StochasticWeightAveraging", "EMAWeightAveraging"),
    ),
    "lightning.pytorch.loggers": ("CSVLogger", "TensorBoardLogger"),
    "lightning.pytorch.strategies": ("SingleDeviceStrategy", "DDPStrategy", "FSDPStrategy", "DeepSpeedStrategy"),
    "lightning.pytorch.plugins": ("MixedPrecision", "DoublePrecision", "HalfPrecision", "FSDPPrecision"),
    "lightning.pytorch.plugins.environments": (
        *("LightningEnvironment", "SLURMEnvironment", "TorchElasticEnvironment"),
    ),
    "lightning.pytorch.profilers": ("PassThroughProfiler", "SimpleProfiler", "AdvancedProfiler", "PyTorchProfiler"),
    "lightning.pytorch.cli": ("ReduceLROnPlateau",),
    "torch.optim": (
        *("Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "Muon", "NAdam", "RAdam", "RMSprop"),
        *("Rprop", "SGD"),
    ),
    "torch.optim.lr_scheduler": (
        *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR"),
        *("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"),
    ),
}
#: arguments of these that lead to code, or out of the working folder, in ways of their own
REFUSED = {"DeepSpeedStrategy": ("config", "nvme_path")}
OURS = "vdmfewshot"
#: sub-packages whose classes are no part of a run's configuration
NOT_NAMED = ("api", "cli", "studies", "pretrain", "storage")


def own_classes() -> Iterator[tuple[str, type]]:
    """Path and class, once for every imported module of this package that has it under a name."""
    for name, module in list(sys.modules.items()):
        if is_ours(name):
            yield from ((f"{name}.{key}", value) for key, value in list(vars(module).items()) if inspect.isclass(value))


def is_ours(module: str) -> bool:
    """Whether a module belongs to the part of this package that configurations are about."""
    package, _, rest = module.partition(".")
    return package == OURS and rest.partition(".")[0] not in NOT_NAMED


def listed_classes() -> Iterator[tuple[str, type]]:
    """Path, as one writes it, and class, of those that this installation has."""
    for module, names in LISTED.items():
        for path in (f"{module}.{name}" for name in names):
            found = locate(path)
            if isinstance(found, type):
                yield path, found


def defined_at(cls: type) -> str:
    """The path of the module that defines a class, and its name there."""
    return f"{cls.__module__}.{cls.__qualname__}"


@functools.cache
def allowed_paths() -> frozenset[str]:
    """Every path under which an allowed class may be named: where it is defined, and where it is re-exported.

    The public names are imported when they are first used. Some are functions: what a name leads to must be allowed as
    well, and functions are not.
    """
    public = {f"{OURS}.{name}" for name in vdmfewshot.__all__}
    listed = dict(listed_classes())
    ours = {path: cls for path, cls in own_classes() if is_ours(cls.__module__) or cls in listed.values()}
    return frozenset({*public, *listed, *ours, *map(defined_at, listed.values()), *map(defined_at, ours.values())})


def allow(*paths: str) -> None:
    """Let configurations name more classes, for programs that bring their own; to be called before ``main``.

    Args:
        paths: dotted paths of classes, or of packages to trust as a whole.
    """
    set_parsing_settings(import_path_allowlist=list(paths))


def read_safely() -> None:
    """From now on jsonargparse imports allowed classes only, and reads local YAML of bounded size.

    To be called after the modules whose classes can be named are imported.
    """
    read_locally()
    set_parsing_settings(import_path_allowlist=sorted(allowed_paths()))


def read_locally() -> None:
    """From now on jsonargparse imports nothing that a file names, and reads local YAML of bounded size."""
    set_parsing_settings(
        import_path_denylist=["*"],
        config_read_mode_fsspec_enabled=False,  # which Lightning switches on: a value could be a file at any address
        config_read_mode_urls_enabled=False,
        instantiate_subclass_spec_in_any=False,
    )
    limit_yaml()


def check_arguments(config: Mapping[str, Any]) -> None:
    """Refuse arguments that no signature names, and those of ``REFUSED``.

    Args:
        config: of a run, plain dictionaries and lists.

    Raises:
        ValueError: naming class and argument.
    """
    for node in nodes(config):
        path, arguments = str(node.get("class_path", "")), node.get("init_args") or {}
        if node.get("dict_kwargs"):
            raise ValueError(f"dict_kwargs are not accepted, got {node['dict_kwargs']} for {path}; use init_args")
        for name in REFUSED.get(path.rpartition(".")[2], ()):
            # an allowed path leads to a class
            default = inspect.signature(locate(path)).parameters[name].default  # type: ignore[arg-type]
            if arguments.get(name, default) != default:
                raise ValueError(f"{name} of {path} is not accepted: it can name code or files anywhere; leave it out")
