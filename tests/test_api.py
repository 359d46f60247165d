"""Adapting, asking, saving and loading from Python, on a tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vdmfewshot as vdm
from tests.runs import options, run
from vdmfewshot.api import make_trainer
from vdmfewshot.storage.errors import DamagedFileError

Pairs = list[tuple[Any, Any]]


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Coloured noise, and where it is bright; in a form of its own each."""
    rng = np.random.default_rng(0)
    images = [np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(5)]
    masks = [image.mean(2) > 127 for image in images]
    return [
        (images[0], masks[0]),
        (Image.fromarray(images[1]), Image.fromarray(masks[1])),
        (torch.from_numpy(images[2]).permute(2, 0, 1) / 255, torch.from_numpy(masks[2])),
        *zip(images[3:], masks[3:], strict=True),
    ]


@pytest.fixture(scope="module")
def adapted(pairs: Pairs, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> vdm.Adapted:
    size: dict[str, Any] = {"height": 32, "width": 32}
    folder = tmp_path_factory.mktemp("runs")
    model = vdm.CogVideoX(str(tiny))
    return vdm.adapt(pairs, "mask", model, shots=3, steps=2, folder=folder, accelerator="cpu", **size)


def test_what_is_left_over_is_scored_as_the_command_line_does(adapted: vdm.Adapted) -> None:
    assert adapted.scores["iou_dataset"].keys() >= {"score", "low", "high", "ceiling", "copy_input", "mean_target"}
    assert adapted.scores["iou_dataset"]["n"] == 2
    assert adapted.folder is not None
    assert {"adapter", "checkpoints", "scores", "pictures", "cost.json"} <= {f.name for f in adapted.folder.iterdir()}


def test_a_picture_gets_the_same_answer_alone_and_in_a_list_and_after_loading(
    adapted: vdm.Adapted, pairs: Pairs, tmp_path: Path
) -> None:
    one, many = adapted.predict(pairs[3][0]), adapted.predict([image for image, _ in pairs])
    assert one.shape == (32, 32)
    assert one.dtype == bool
    assert len(many) == 5
    assert (many[3] == one).all()
    again = vdm.load(adapted.save(tmp_path / "mine"), accelerator="cpu")
    assert (again.predict(pairs[3][0]) == one).all()
    assert again.save(tmp_path / "copy").is_dir()
    assert adapted.predict([]) == []


def test_saving_does_not_replace_what_is_no_adapter(adapted: vdm.Adapted, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="would be lost"):
        adapted.save(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("part", "name", "value", "expected"),
    [
        ("backbone", "family", "Latents", "which this version has not"),
        ("sampling", "steps", "ten", "steps is str, not int or NoneType"),
        ("sampling", "quality", "best", "must be one of auto, one, few, fast, paper"),
        ("sampling", "decode", "first", "must be one of last, clip"),
        ("sampling", "colour", 1, "colour is unknown"),
        ("clip", "height", "tall", "height is str, not int"),
    ],
)
def test_a_manifest_that_was_changed_by_hand_is_refused_by_name(
    adapted: vdm.Adapted, tmp_path: Path, part: str, name: str, value: object, expected: str
) -> None:
    file = adapted.save(tmp_path / "mine") / "vdmfewshot.json"
    content = json.loads(file.read_text())
    content[part][name] = value
    file.write_text(json.dumps(content))
    with pytest.raises((ValueError, DamagedFileError), match=expected):
        vdm.load(file.parent)


def test_arguments_of_the_trainer_win_over_the_defaults(tmp_path: Path) -> None:
    more = {"enable_progress_bar": False, "enable_checkpointing": False, "precision": "64-true"}
    trainer = make_trainer(tmp_path, "cpu", steps=3, **more)
    assert (trainer.max_steps, trainer.precision) == (3, "64-true")
    assert not {"Progress", "ModelCheckpoint"} & {type(callback).__name__ for callback in trainer.callbacks}
    assert len(vdm.default_callbacks({"Progress"})) == len(vdm.default_callbacks()) - 1
    with pytest.raises(ValueError, match="the default callbacks are ModelCheckpoint, Progress, .*; got Progres"):
        vdm.default_callbacks({"Progres"})


def test_an_adapter_of_the_command_line_loads(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    run("fit", *options(tiny, tmp_path, pairs_root), "--name", "mirror")
    loaded = vdm.load(tmp_path / "mirror/version_0/adapter", accelerator="cpu")
    assert loaded.predict(pairs_root / "input/p0.png").shape == (32, 32, 3)


def test_bad_pictures_are_listed_together_before_weights_are_read(pairs: Pairs) -> None:
    bad = [(pairs[0][0], "nowhere.png"), (np.full((8, 8), 300), pairs[0][1]), *pairs]
    with pytest.raises(ValueError, match=r"(?s)2 problems.*pair \d: .*pair \d: ") as error:
        vdm.adapt(bad, "mask", vdm.CogVideoX("no such checkpoint"))
    assert "pair 0: target: nowhere.png: no such file" in str(error.value)
    assert "pair 1: input: values must be" in str(error.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pairs": None}, "pairs must be a list of .input, target."),
        ({"pairs": "my_task"}, "a folder is PairsDataModule"),
        ({"target": "masks"}, "target must be one of image, mask, labels, got 'masks'"),
        ({"shots": 1.5}, "shots must be a whole number of at least 1, got 1.5"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"hight": 64}, "pairs take no 'hight', but .*height"),
        ({"trainer": {"fast_dev_run": -1}}, "the Trainer refuses its arguments"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_before_weights_are_read(
    pairs: Pairs, given: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, TypeError), match=expected):
        vdm.adapt(**{"pairs": pairs, "target": "mask", "folder": tmp_path, **given})


def test_an_unknown_model_lists_what_there_is(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match=r"model must be one of .*embedded, .*got 'embeded'"):
        vdm.adapt(pairs, "mask", "embeded")


def test_a_model_by_name_is_the_one_of_its_file() -> None:
    from vdmfewshot.api import make_module

    module = make_module("ltx-video-2b", seed=3)
    assert type(module.backbone) is vdm.LTXVideo
    assert module.seed == 3


def test_a_data_module_says_all_about_its_task(tiny: Path) -> None:
    size: dict[str, Any] = {"height": 32, "width": 32}
    data = vdm.ArcDataModule("c8f0f002", **size)
    adapted = vdm.adapt(data, model=vdm.CogVideoX(str(tiny)), steps=1, accelerator="cpu")
    assert adapted.scores["pass@2"]["n"] == 1
    assert adapted.folder is None
    with pytest.raises(TypeError, match="a data module has its own target, shots"):
        vdm.adapt(data, shots=2)


def test_a_backbone_serves_one_run(pairs: Pairs, tiny: Path) -> None:
    backbone = vdm.CogVideoX(str(tiny))
    size: dict[str, Any] = {"height": 32, "width": 32, "accelerator": "cpu"}
    vdm.adapt(pairs[:2], "mask", backbone, steps=1, **size)
    with pytest.raises(ValueError, match="make a new backbone for each run"):
        vdm.adapt(pairs[:2], "mask", backbone, steps=1, **size)
