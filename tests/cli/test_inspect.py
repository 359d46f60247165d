"""``inspect``: what it says and what it draws."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import make_masks, picture, save
from tests.data.formats.exports import coco, labelme
from vdmfewshot.cli.command import main
from vdmfewshot.cli.inspect import inspect


def run(root, tmp_path, *args):
    (sheet,) = inspect(["--data", "PairsDataModule", "--data.root", str(root), "--out", str(tmp_path / "out"), *args])
    return sheet


def test_a_folder_of_masks_is_described_and_drawn(tmp_path, capsys):
    make_masks(tmp_path / "cells", 4, ("input", "target"))
    sheet = run(tmp_path / "cells", tmp_path, "--data.target", "mask", "--data.shots", "3")
    text = capsys.readouterr().out
    assert "pairs: 3 training, 0 validate, 1 test, 1 predict" in text
    assert "pictures: 4 of 20 x 24; drawn on 96 x 96" in text
    assert "classes: 0 (in 3 training, 1 scored), 1 (in 3 training, 1 scored)" in text
    assert str(sheet) in text
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (28 + 4 * 228, 4 * 208 + 8, 3)
    target, decoded = (pixels[48:248, left : left + 166] for left in (216, 632))
    assert {0, 255} == set(np.unique(target))
    assert np.array_equal(target, decoded)


def test_what_was_left_out_is_said_once(tmp_path, capsys):
    labelme(tmp_path / "dogs")
    file = tmp_path / "dogs" / "a1.json"
    file.write_text(file.read_text().replace('"mask": "', '"mask": "!'))
    run(tmp_path / "dogs", tmp_path, "--data.target", "labels")
    out = capsys.readouterr()
    assert (out.out + out.err).count("left out 1: 1 × its mask is not a PNG picture (a1.json: shape 0)") == 1
    assert "1 cat (in 3 training), 2 dog (in 2 training)" in out.out


def test_twenty_kinds_of_trouble_end_in_words(tmp_path):
    """Whatever lies in the folder: a description, or one message that names files."""
    coco(tmp_path / "a")
    for name, content in {
        "empty.png": b"",
        "text.png": b"hello",
        "b.heic": b"x",
        "broken.json": b"{",
        "nan.json": b'{"images": [NaN]}',
        "c.xml": b"<annotations",
        "d.txt": b"7 a b c d",
        "e.yaml": b"names: [",
    }.items():
        (tmp_path / "a" / name).write_bytes(content)
    save(tmp_path / "a" / "more" / "a0.png", picture(5))
    arguments = ("--data.target", "mask", "--data.category", "dog", "--data.format")
    for kind in ("auto", "coco"):
        assert run(tmp_path / "a", tmp_path, *arguments, kind).is_file()
    for kind in ("pairs", "voc", "yolo", "labelme", "cvat", "labelstudio", "hf"):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
            run(tmp_path / "a", tmp_path, *arguments, kind)


def test_the_verb_is_one_of_the_command_line(tmp_path, capsys):
    make_masks(tmp_path / "cells", 3, ("input", "target"))
    main(["inspect", "--data", "PairsDataModule", "--data.root", str(tmp_path / "cells"), "--out", str(tmp_path)])
    assert (tmp_path / "cells.png").is_file()
    assert "cells" in capsys.readouterr().out
    with pytest.raises(ValueError, match="rows must be at least 1"):
        run(tmp_path / "cells", tmp_path, "--rows", "0")
