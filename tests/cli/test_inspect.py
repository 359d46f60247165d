"""``inspect``: what it says and what it draws."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import make_masks, picture, save
from tests.data.formats.exports import coco, labelme
from vdmfewshot.cli.command import main
from vdmfewshot.cli.inspect import folded, inspect


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
    assert "left out" not in text
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
    assert "  left out: 1, the rest is used (--data.strict true refuses instead)\n" in out.out
    assert (out.out + out.err).count("\n    - 1 × its mask is not a PNG picture (a1.json: shape 0)\n") == 1
    assert "1 cat (in 3 training), 2 dog (in 2 training)" in " ".join(out.out.split())


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


def test_lines_fit_a_terminal_and_keep_paths_whole():
    lines = ["  note: " + "words " * 40, "    - " + "x" * 100 + " end", "", "short"]
    found = list(folded(lines))
    assert [line for line in found if len(line) > 80] == [" " * 6 + "x" * 100]
    assert found[1].startswith("    words")
    assert found[-2:] == ["", "short"]


def test_many_kinds_of_trouble_are_a_line_each(tmp_path, capsys):
    labelme(tmp_path / "dogs")
    file = tmp_path / "dogs" / "a1.json"
    content = json.loads(file.read_text())
    for points, kind in (([[1, 2]], "polygon"), ([[1, 2], [3e9, 4], [5, 6]], "polygon"), ([[1, 1], [9, 9]], "line")):
        content["shapes"].append({"label": "dog", "points": points, "shape_type": kind})
    file.write_text(json.dumps(content))
    (tmp_path / "dogs" / "copy.json").write_text(file.read_text())
    (tmp_path / "dogs" / "torn.json").write_text("{")
    save(tmp_path / "dogs" / "a0.png", np.full((60, 80, 3), 9, np.uint8))
    run(tmp_path / "dogs", tmp_path, "--data.target", "labels", "--data.shots", "3")
    text = capsys.readouterr().out
    assert all(len(line) <= 80 or str(tmp_path) in line for line in text.splitlines())
    for reason in ("fewer than three", "outside the picture", "kind line", "a second file of labels", "not readable"):
        assert text.count("\n    - 1 × ") == 5
        assert reason in text
    assert "\n  note: almost black (nothing above 16 of 255): 1 picture (a0)" in text


def test_the_verb_is_one_of_the_command_line(tmp_path, capsys):
    make_masks(tmp_path / "cells", 3, ("input", "target"))
    main(["inspect", "--data", "PairsDataModule", "--data.root", str(tmp_path / "cells"), "--out", str(tmp_path)])
    assert (tmp_path / "cells.png").is_file()
    assert "cells" in capsys.readouterr().out
    with pytest.raises(ValueError, match="rows must be at least 1"):
        run(tmp_path / "cells", tmp_path, "--rows", "0")
