"""Fourteen kinds of odd and corrupt items (fault tests D1 and D2): read as they look, or named with file and reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.arc_files import task, write
from tests.data.coco_files import people
from tests.data.coco_files import write as write_coco
from tests.data.folders import make_masks, make_pairs, picture
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.command import main
from vdmfewshot.data.examples import DataError

PICTURE = picture(7)


def first(root: Path) -> Path:
    return root / "input" / "a0.png"


def cut(root: Path) -> None:
    first(root).write_bytes(first(root).read_bytes()[:300])


def rotated(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PICTURE)).save(first(root), exif=exif)


def odd(change: Callable[[Path], Any]) -> Callable[[Path], list[str]]:
    """Six pairs, the first of which is changed."""

    def make(root: Path) -> list[str]:
        change(make_pairs(root, 6))
        return ["PairsDataModule", "--data.root", str(root)]

    return make


def masks(value: Any) -> Callable[[Path], list[str]]:
    def make(root: Path) -> list[str]:
        make_masks(root, 4, ("input", "target"))
        Image.fromarray(value).save(root / "target" / "a0.png")
        return ["PairsDataModule", "--data.root", str(root), "--data.target", "labels", "--data.num_classes", "3"]

    return make


def joints(root: Path) -> list[str]:
    content = people(root)
    content["annotations"][0]["keypoints"] = [500, 400, 2] * 17
    write_coco(root, content)
    return ["CocoPoseDataModule", f"--data.annotations={root / 'ann.json'}", f"--data.images={root / 'images'}"]


def grids(text: str) -> Callable[[Path], list[str]]:
    def make(root: Path) -> list[str]:
        content = json.dumps({**task(), "train": [{"input": "GRID", "output": [[1]]}, *task()["train"]]})
        write(root / "t.json", content.replace('"GRID"', text))
        return ["ArcDataModule", "--data.source", str(root), "--data.task", "t"]

    return make


#: what is read as a person sees it
LEGAL: dict[str, Callable[[Path], Any]] = {
    "RGBA": lambda root: Image.fromarray(np.dstack([PICTURE, np.full((24, 20), 255, np.uint8)])).save(first(root)),
    "16 bit": lambda root: Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257).save(first(root)),
    "palette": lambda root: Image.fromarray(PICTURE).quantize(256).save(first(root)),
    "EXIF-rotated": rotated,
    "greyscale": lambda root: Image.fromarray(PICTURE[..., 0]).save(first(root)),
}
#: what is named
CORRUPT: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "truncated PNG": (odd(cut), r"a0\.png: .*(damaged|truncated)"),
    "0 bytes": (odd(lambda root: first(root).write_bytes(b"")), r"a0\.png: the file is empty \(0 bytes\)"),
    "mask of another size": (masks(np.zeros((12, 10), np.uint8)), r"a0\.png: 10 x 12 pixels, its input 20 x 24"),
    "class outside": (masks(np.full((24, 20), 7, np.uint8)), r"a0\.png: .*7"),
    "joints outside": (joints, r"all its joints lie beyond"),
    "NaN": (grids("[[NaN]]"), r"t\.json: not readable as JSON \(NaN"),
    "grid of 31": (grids(json.dumps([[0] * 31])), r"t\.json: train pair 0, input: .*at most 30"),
    "ragged": (grids("[[1, 2], [3]]"), r"t\.json: train pair 0, input: .*one length"),
    "colour 10": (grids("[[10]]"), r"t\.json: train pair 0, input: .*0 to 9, got 10"),
}


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the item was noticed")

    monkeypatch.setattr(CogVideoX, "load", load)


@pytest.mark.parametrize("kind", LEGAL)
def test_odd_pictures_are_read_as_they_look(kind: str, tmp_path: Path) -> None:
    main(["inspect", "--data", *odd(LEGAL[kind])(tmp_path / "d"), "--data.shots=1", f"--out={tmp_path / 'out'}"])
    from vdmfewshot.data.readers import read_picture

    shown = read_picture(first(tmp_path / "d")).astype(int)
    expected = PICTURE if kind in ("RGBA", "palette", "EXIF-rotated") else np.repeat(PICTURE[..., :1], 3, axis=2)
    assert shown.shape == (24, 20, 3)
    assert np.abs(shown - expected).mean() <= (20 if kind == "palette" else 0), "a palette of 256 for 480 colours"


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("kind", CORRUPT)
def test_corrupt_items_are_named_with_their_reason(
    kind: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = CORRUPT[kind]
    data = ["--data", *make(tmp_path / "d"), "--data.height=32", "--data.width=32"]
    try:
        main(["inspect", *data, f"--out={tmp_path / 'out'}"])
        told = capsys.readouterr().out + caplog.text
        assert re.search(r"left out: 1, .*\n +- 1 × ", told), "what can be left out is, and said"
    except DataError as error:
        told = str(error)
        with pytest.raises(DataError, match=re.escape(told)):
            main(["fit", *data, f"--model.backbone.path={tiny}", f"--trainer.default_root_dir={tmp_path}"])
    assert re.search(reason, told), told


@pytest.mark.slow
def test_four_hundred_tasks_with_bad_ones_name_every_bad_one(tmp_path: Path) -> None:
    bad = {"t7": "colour 10", "t199": "ragged", "t399": "NaN"}
    for i in range(400):
        write(tmp_path / f"t{i}.json", task(seed=i))
    for name, kind in bad.items():
        CORRUPT[kind][0](tmp_path / "bad")
        (tmp_path / "bad" / "t.json").rename(tmp_path / f"{name}.json")
    (tmp_path / "bad").rmdir()
    names = json.dumps([f"t{i}" for i in range(400)])
    with pytest.raises(DataError) as caught:
        main(["inspect", "--data=ArcStackDataModule", f"--data.source={tmp_path}", f"--data.tasks={names}"])
    for name in bad:
        assert any(f"{name}.json" in problem for problem in caught.value.problems), name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_deleted_after_the_start_ends_the_run_with_its_name(
    workers: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_pairs(tmp_path / "d", 4, size=(32, 32))
    victim = root / "input" / "a1.png"
    setup = CogVideoX.load

    def load(self: CogVideoX) -> None:
        victim.unlink(missing_ok=True)
        setup(self)

    monkeypatch.setattr(CogVideoX, "load", load)
    with pytest.raises((ValueError, FileNotFoundError), match=r"a1\.png: no such file"):
        main(
            [
                *("adapt", "--data=PairsDataModule", f"--data.root={root}", "--data.shots=1", "--data.support_seed=0"),
                *("--data.height=32", "--data.width=32", f"--data.num_workers={workers}", "--trainer.max_steps=1"),
                *(f"--model.backbone.path={tiny}", f"--trainer.default_root_dir={tmp_path}"),
                *("--trainer.accelerator=cpu", "--trainer.precision=32", "--model.sampling.steps=1"),
            ]
        )
