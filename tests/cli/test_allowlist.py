"""Nothing but listed classes is imported, whatever kind of argument it stands for."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from jsonargparse import ArgumentParser
from jsonargparse import _common as jsonargparse_settings

import vdmfewshot
from tests.runs import options
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli import allowlist
from vdmfewshot.cli.command import main
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.training.trainer import FewShotTrainer

CANARY = "canary_beside_the_file"
CODE = """
open({imported!r}, "w").close()
def function(*args, **kwargs):
    open({called!r}, "w").close()
class Class:
    def __init__(self, *args, **kwargs):
        open({called!r}, "w").close()
    __call__ = function
"""
#: ways to name it where a class, a type, a module, a callable or a collection of them is expected
FORMS: tuple[Any, ...] = (
    f"{CANARY}.function",
    {"class_path": f"{CANARY}.Class"},
    {"class_path": f"{CANARY}.function", "init_args": {"x": 1}},
    [f"{CANARY}.Class"],
    [{"class_path": f"{CANARY}.Class"}],
    {"a": f"{CANARY}.function"},
    CANARY,
)


class Canary:
    def __init__(self, folder: Path) -> None:
        self.marks = [folder / "imported", folder / "called"]
        (folder / f"{CANARY}.py").write_text(CODE.format(imported=str(self.marks[0]), called=str(self.marks[1])))

    def dead(self) -> bool:
        """Whether it was imported or called since last asked."""
        sys.modules.pop(CANARY, None)
        found = [mark for mark in self.marks if mark.exists()]
        for mark in found:
            mark.unlink()
        return bool(found)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield Canary(tmp_path)
    sys.modules.pop(CANARY, None)


def allowed_classes() -> list[type]:
    ours = [cls for _, cls in allowlist.own_classes() if allowlist.is_ours(cls.__module__)]
    classes = [FewShotTrainer, *(cls for _, cls in allowlist.listed_classes()), *ours]
    return [cls for cls in dict.fromkeys(classes) if not inspect.isabstract(cls) and not issubclass(cls, Exception)]


def arguments(cls: type) -> list[tuple[ArgumentParser, str]]:
    """Every argument of a class, those of ``**kwargs`` included, that is a class, a type, a callable, or may be any."""
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(cls, "it", fail_untyped=False)
    except ValueError:  # nothing to configure
        return []
    typed = [(action.dest, getattr(action, "_typehint", action.type)) for action in parser._actions]
    named = [(dest, hint) for dest, hint in typed if dest.startswith("it.") and not dest.endswith(".help")]
    return [(parser, dest) for dest, hint in named if not is_plain(hint)]


def is_plain(hint: Any) -> bool:
    """Whether only texts, numbers and collections of them are accepted."""
    if get_origin(hint) is Literal or hint in (str, int, float, bool, bytes, type(None), Path, ...):
        return True
    inner = get_args(hint)
    return bool(inner) and get_origin(hint) not in (type, Callable) and all(map(is_plain, inner))


def give(parser: ArgumentParser, name: str, form: Any) -> None:
    """As a value of a file, and instantiated if it is accepted as anything but a text."""
    text = form if isinstance(form, str) else json.dumps(form)
    try:
        config = parser.parse_args([f"--{name}={text}"], defaults=False)
        if config[name] != text:
            parser.instantiate(config)
    except (Exception, SystemExit):
        return


def reached(canary: Canary, classes: list[type]) -> set[str]:
    found = set()
    for cls in classes:
        for parser, name in arguments(cls):
            for form in FORMS:
                give(parser, name, form)
                if canary.dead():
                    found.add(f"{cls.__name__}.{name.removeprefix('it.')}")
    return found


def test_no_argument_of_any_allowed_class_imports_what_a_file_names(canary: Canary) -> None:
    classes = allowed_classes()
    assert len({(cls, name) for cls in classes for _, name in arguments(cls)}) > 100
    assert reached(canary, classes) == set()


def test_without_the_policy_the_same_arguments_do_import(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: these are ways in, and more are found as Lightning grows."""
    monkeypatch.setitem(jsonargparse_settings.parsing_settings, "import_path_verdicts", {})
    classes = [cls for cls in allowed_classes() if cls.__name__ in ("FSDPStrategy", "FewShotTrainer", "FewShotModule")]
    expected = {"FSDPStrategy.auto_wrap_policy", "FewShotTrainer.strategy", "FewShotTrainer.callbacks"}
    expected |= {"FewShotTrainer.profiler", "FewShotTrainer.plugins", "FewShotModule.optimizer"}
    assert expected <= reached(canary, classes)


@pytest.mark.parametrize("path", ["lightning.pytorch.callbacks.LambdaCallback", "torch.optim.lr_scheduler.LambdaLR"])
def test_classes_that_call_a_function_of_ones_choosing_cannot_be_named(path: str) -> None:
    assert path not in allowlist.allowed_paths()


@pytest.mark.parametrize("name", vdmfewshot.__all__)
def test_public_classes_have_their_public_names_and_public_functions_none(name: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=type)
    value = getattr(vdmfewshot, name)
    if inspect.isclass(value) and name != "Adapted":
        assert parser.parse_args([f"--it=vdmfewshot.{name}"]).it is value
    else:
        with pytest.raises(Exception, match="not allowed|corresponding to a"):
            parser.parse_args([f"--it=vdmfewshot.{name}"])


def test_everything_listed_is_there_or_optional() -> None:
    """A class that a release has renamed is noticed."""
    listed = {f"{module}.{name}" for module, names in allowlist.LISTED.items() for name in names}
    assert listed == {path for path, _ in allowlist.listed_classes()}


# -- whole runs -------------------------------------------------------------------------------------------------------

FILES = {
    "lambda callback": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: "
    "{on_fit_start: CANARY.function}}]}",
    "lambda schedule": "model: {class_path: FewShotModule, init_args: {backbone: {class_path: CogVideoX}, "
    "lr_scheduler: {class_path: torch.optim.lr_scheduler.LambdaLR, init_args: {lr_lambda: CANARY.function}}}}",
    "wrap policy": "trainer: {strategy: {class_path: FSDPStrategy, init_args: {auto_wrap_policy: CANARY.function}}}",
    "wrap policy types": "trainer: {strategy: {class_path: FSDPStrategy, init_args: {auto_wrap_policy: "
    "[CANARY.Class]}}}",
    "communication hook": "trainer: {strategy: {class_path: DDPStrategy, init_args: {ddp_comm_hook: CANARY.function}}}",
    "strategy": "trainer: {strategy: {class_path: CANARY.Class}}",
    "plugin in a list": "trainer: {plugins: [{class_path: CANARY.Class}]}",
    "profiler": "trainer: {profiler: {class_path: CANARY.Class}}",
    "average": "trainer: {callbacks: [{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 1.0, avg_fn: "
    "CANARY.function}}]}",
    "appended callback": "trainer: {callbacks+: [CANARY.Class]}",
    "appended dotted callback": "trainer.callbacks+: CANARY.Class",
    "text in a file": "trainer: '{callbacks: [CANARY.Class]}'",
    "partial": "model: {class_path: FewShotModule, init_args: {backbone: {class_path: CogVideoX}, optimizer: "
    "{class_path: functools.partial, init_args: {func: CANARY.function}}}}",
    "through a module of ours": "trainer: {callbacks: [vdmfewshot.cli.allowlist.locate]}",
    "public function": "model: {class_path: FewShotModule, init_args: {backbone: {class_path: CogVideoX}, optimizer: "
    "vdmfewshot.adapt}}",
    "pickles": "trainer: {plugins: [lightning.pytorch.plugins.TorchCheckpointIO]}",
    "another server": "trainer: {logger: {class_path: lightning.pytorch.loggers.WandbLogger, dict_kwargs: {settings: "
    "{base_url: 'http://127.0.0.1:9'}}}}",
    "tracking server": "trainer: {logger: {class_path: lightning.pytorch.loggers.MLFlowLogger, init_args: "
    "{tracking_uri: 'http://127.0.0.1:9'}}}",
    "remote file": "model: 'http://127.0.0.1:9/model.yaml'",
    "remote file by fsspec": "model: 'simplecache::http://127.0.0.1:9/model.yaml'",
}


@pytest.mark.parametrize("text", FILES.values(), ids=list(FILES))
def test_files_are_refused_in_plain_words(
    text: str, canary: Canary, tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the file was refused")

    monkeypatch.setattr(CogVideoX, "load", load)
    (tmp_path / "c.yaml").write_text(text.replace("CANARY", CANARY))
    with pytest.raises((SystemExit, Mistake)) as stop:
        main(["fit", *options(tiny, tmp_path / "runs", pairs_root), "-c", str(tmp_path / "c.yaml")])
    assert isinstance(stop.value, Mistake) or stop.value.code == 2
    assert not canary.dead()
    told = f"{stop.value} {capsys.readouterr().err}"
    assert any(words in told for words in ("cannot be named", "path but", "there is no class", "unknown setting"))
    assert "denylist" not in told


def test_arguments_without_a_signature_are_refused(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: x}, dict_kwargs: {settings: {base_url: y}}}}"
    )
    with pytest.raises(ValueError, match=r"dict_kwargs are not accepted|unknown setting .*dict_kwargs"):
        main(["fit", *options(tiny, tmp_path / "runs", pairs_root), "-c", str(file)])


def test_deepspeed_settings_that_name_code_are_refused() -> None:
    path = "lightning.pytorch.strategies.DeepSpeedStrategy"
    allowlist.check_arguments({"strategy": {"class_path": path, "init_args": {"stage": 2, "config": None}}})
    config = {"strategy": {"class_path": path, "init_args": {"config": {"compile": {"backend": "evil.function"}}}}}
    with pytest.raises(ValueError, match="config of .*DeepSpeedStrategy is not accepted"):
        allowlist.check_arguments(config)


def test_programs_can_allow_classes_of_their_own(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = jsonargparse_settings.parsing_settings
    monkeypatch.setitem(settings, "import_path_verdicts", dict(settings["import_path_verdicts"]))
    allowlist.allow(f"{CANARY}.Class")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=type)
    assert parser.parse_args([f"--it={CANARY}.Class"]).it.__name__ == "Class"
    assert canary.dead()


def test_modules_beside_the_file_are_not_found_by_python_m(tmp_path: Path) -> None:
    """``python -m`` puts the working folder first on the path: here it holds an impostor of every optional package."""
    mark = tmp_path / "mark"
    for name in ("wandb", "lightning", "numpy", "ftfy", "omegaconf", "litlogger", "yaml", CANARY):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / "c.yaml").write_text(f"data: {CANARY}.Class")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "vdmfewshot", "fit", "-c", "c.yaml"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{CANARY}.Class cannot be named in a configuration" in done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists()
