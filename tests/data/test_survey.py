"""What a person is told about a data set before training."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import make_pairs, picture, save
from vdmfewshot.data.examples import LeftOut
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.survey import summarize


def photo(seed, size=(120, 160)):
    """Smooth shapes with some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / 20
    waves = sum(np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-2, 2, (6, 3)))
    grey = 128 + 25 * waves + rng.normal(0, 6, size)
    return np.clip(np.repeat(grey[..., None], 3, axis=2) * rng.uniform(0.6, 1, 3), 0, 255).astype(np.uint8)


def notes(root, **kwargs):
    data = PairsDataModule(str(root), height=16, width=16, **kwargs)
    data.setup("fit")
    return data.survey.notes()


@pytest.mark.parametrize("quality", [95, 80, 60])
def test_a_training_picture_saved_again_is_noticed(tmp_path, quality):
    for i, part in enumerate(("train", "train", "test", "test")):
        save(tmp_path / part / "input" / f"a{i}.png", photo(i))
        save(tmp_path / part / "target" / f"a{i}.png", photo(10 + i))
    assert notes(tmp_path) == []
    buffer = io.BytesIO()
    Image.fromarray(photo(1)).save(buffer, format="JPEG", quality=quality)
    (tmp_path / "test" / "input" / "a3.jpg").write_bytes(buffer.getvalue())
    (tmp_path / "test" / "input" / "a3.png").unlink()
    (note,) = notes(tmp_path)
    assert "test picture test-a3 looks like training picture train-a1" in note


def test_a_small_thing_that_moved_is_another_picture(tmp_path):
    scene = photo(5)
    for i, part in enumerate(("train", "test")):
        frame = scene.copy()
        frame[20 + 40 * i : 34 + 40 * i, 30:44] = 255 - frame[20 + 40 * i : 34 + 40 * i, 30:44]
        save(tmp_path / part / "input" / f"a{i}.png", frame)
        save(tmp_path / part / "target" / f"a{i}.png", frame)
    assert notes(tmp_path) == []


def test_a_picture_in_other_colours_of_the_same_brightness_is_another(tmp_path):
    for i, (part, colour) in enumerate((("train", (200, 60, 40)), ("test", (40, 200, 60)))):
        frame = np.full((120, 160, 3), 100, np.uint8)
        frame[20:90, 30:120] = colour
        save(tmp_path / part / "input" / f"a{i}.png", frame)
        save(tmp_path / part / "target" / f"a{i}.png", frame)
    assert notes(tmp_path) == []


def test_classes_that_no_training_pair_shows_are_named(tmp_path):
    make_pairs(tmp_path / "train", 2)
    make_pairs(tmp_path / "test", 2, seed=7)
    for part, top in (("train", 1), ("test", 3)):
        for i in range(2):
            save(
                tmp_path / part / "target" / f"a{i}.png", (np.arange(480).reshape(24, 20) % (top + 1)).astype(np.uint8)
            )
    (note,) = notes(tmp_path, target="labels", num_classes=4)
    assert "classes 2, 3 occur in scored pictures and in no training pair" in note


def test_targets_without_an_object_are_noticed(tmp_path):
    save(tmp_path / "input" / "a.png", picture(0))
    save(tmp_path / "target" / "a.png", np.zeros((24, 20), np.uint8))
    assert notes(tmp_path, target="mask") == ["no training target shows anything but background"]


def test_what_was_left_out_is_counted_and_named_in_one_line():
    items = [LeftOut(f"annotation {i}", "too short") for i in range(5)] + [LeftOut("annotation 9", "no picture")]
    text = summarize(items)
    assert text.startswith("6: 5 × too short (annotation 0, annotation 1, annotation 2 and 2 more); 1 × no picture")
    assert "\n" not in text


def test_pictures_that_are_almost_black_are_noticed(tmp_path):
    """12 bits in a file of 16, as microscopes write them."""
    make_pairs(tmp_path, 2)
    Image.fromarray(picture(0)[..., 0].astype(np.uint16) * 16).save(tmp_path / "input" / "a0.png")
    (note,) = notes(tmp_path)
    assert note.startswith("almost black (nothing above 16 of 255): 1 picture (a0)")
