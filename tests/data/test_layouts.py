"""Folders as people have them: other names, sub-folders, patterns, side-cars, names from a Mac."""

import re
import unicodedata

import numpy as np
import pytest

from tests.data.folders import make_masks, make_pairs, picture, save
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.names import NamePattern, propose, propose_single
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.segmentation import MaskFolderDataModule


def ready(root, kind=PairsDataModule, **kwargs):
    data = kind(str(root), **({"height": 16, "width": 16} | kwargs))
    data.setup("fit")
    return data


def rename(folder, change):
    for file in sorted(folder.iterdir()):
        file.rename(folder / change(file.name))


@pytest.mark.parametrize("folders", [("input", "target"), ("images", "masks"), ("imgs", "labels"), ("image", "gt")])
@pytest.mark.parametrize("kind", [PairsDataModule, MaskFolderDataModule])
def test_usual_names_of_folders_are_known(tmp_path, folders, kind):
    make_masks(tmp_path, 3, folders)
    arguments = {"target": "mask"} if kind is PairsDataModule else {}
    data = ready(tmp_path, kind, **arguments)
    assert len(data.support) == 3
    assert all(pair.target.mean() > 0.1 for pair in data.support)


@pytest.mark.parametrize("name", ["{part}/images", "images/{part}"])
def test_splits_lie_outside_or_inside(tmp_path, name):
    for part, count in {"train": 3, "valid": 2, "test": 1}.items():
        folders = [name.replace("{part}", part).replace("images", kind) for kind in ("images", "masks")]
        make_pairs(tmp_path, count, folders, seed=count)
    data = ready(tmp_path)
    assert [len(data.support), len(data.queries("validate")), len(data.queries("test"))] == [3, 2, 1]


def test_folders_of_camvid_lie_beside_each_other(tmp_path):
    for part in ("train", "test"):
        make_masks(tmp_path, 2, (part, f"{part}annot"))
        save(tmp_path / part / "a0.png", picture(len(part)))
        save(tmp_path / part / "a1.png", picture(len(part) + 9))
    (tmp_path / "label_colors.txt").write_text("0 0 0 road\n255 255 255 car\n")
    data = ready(tmp_path, target="labels")
    assert data.class_names == ("road", "car")
    assert [len(data.support), len(data.queries("test"))] == [2, 2]


def test_sub_folders_are_searched_and_stay_in_the_key(tmp_path):
    for site in ("site_a", "site_b"):
        make_pairs(tmp_path, 2, (f"input/{site}", f"target/{site}"), seed=len(site) + ord(site[-1]))
    data = ready(tmp_path)
    assert sorted(pair.key.rpartition("-")[0] for pair in data.support) == [
        f"site_{site}_a{i}" for site in "ab" for i in range(2)
    ]
    assert all(np.array_equal(pair.target, 255 - pair.image) for pair in data.support)


@pytest.mark.parametrize(
    ("inputs", "targets", "pattern"),
    [
        ("{}.png", "{}_mask.png", "{stem}_mask"),
        ("{}.png", "mask-{}.png", "mask-{stem}"),
        ("{}_rgb.png", "{}_gt.png", "{stem}_rgb -> {stem}_gt"),
    ],
)
def test_names_that_follow_a_pattern(tmp_path, inputs, targets, pattern):
    make_pairs(tmp_path, 3)
    rename(tmp_path / "input", lambda name: inputs.format(name[:2]))
    rename(tmp_path / "target", lambda name: targets.format(name[:2]))
    with pytest.raises(DataError) as caught:
        ready(tmp_path)
    assert f"--data.pattern '{pattern}'" in str(caught.value)
    assert len(caught.value.problems) == 1
    for text in (pattern, pattern + ".png"):
        data = ready(tmp_path, pattern=text)
        assert len(data.support) == 3
        assert all(np.array_equal(pair.target, 255 - pair.image) for pair in data.support)


def test_inputs_and_targets_beside_each_other(tmp_path):
    make_pairs(tmp_path, 3)
    for file in (tmp_path / "input").iterdir():
        file.rename(tmp_path / file.name)
    for file in (tmp_path / "target").iterdir():
        file.rename(tmp_path / f"{file.stem}_mask.png")
    for folder in ("input", "target"):
        (tmp_path / folder).rmdir()
    with pytest.raises(DataError, match=r"no data; expected .* --data\.pattern '\{stem\}_mask'"):
        ready(tmp_path)
    save(tmp_path / "queries" / "new.png", picture(77))
    data = ready(tmp_path, pattern="{stem}_mask.png")
    assert sorted(pair.key for pair in data.support) == ["a0", "a1", "a2"]
    assert all(np.array_equal(pair.target, 255 - pair.image) for pair in data.support)
    assert [pair.key for pair in data.queries("predict")] == ["new"]


def test_a_target_may_be_named_after_the_whole_input_file(tmp_path):
    make_pairs(tmp_path, 3)
    rename(tmp_path / "target", lambda name: name.replace(".png", ".jpg.png"))
    assert all(np.array_equal(pair.target, 255 - pair.image) for pair in ready(tmp_path).support)


def test_composed_and_decomposed_names_are_one(tmp_path):
    make_pairs(tmp_path, 2)
    for folder, form in (("input", "NFC"), ("target", "NFD")):
        rename(tmp_path / folder, lambda name, form=form: unicodedata.normalize(form, name.replace("a", "ä")))
    assert sorted(pair.key for pair in ready(tmp_path).support) == ["ä0", "ä1"]


def test_text_beside_pictures_is_no_problem_and_other_pictures_are(tmp_path):
    make_pairs(tmp_path, 2)
    for name in ("a0.txt", "a1.caption", "notes.md", "LICENSE", "metadata.jsonl"):
        (tmp_path / "input" / name).write_text("a cat")
    assert len(ready(tmp_path).support) == 2
    (tmp_path / "input" / "a2.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a2\.heic: unsupported file type"):
        ready(tmp_path)


def test_a_folder_above_the_data_is_told_apart(tmp_path):
    make_pairs(tmp_path / "export" / "one", 2)
    with pytest.raises(DataError, match=rf"no data; expected .*there is {tmp_path}/export/one"):
        ready(tmp_path)


def test_patterns_are_proposed_only_where_they_fit():
    assert propose({"p0": 0, "p1": 0}, {"p0_m": 0, "p1_m": 0}) == "if names follow a pattern: --data.pattern '{stem}_m'"
    assert propose({"p0": 0, "p1": 0}, {"p0_m": 0, "x1_m": 0}) == ""
    assert propose({"lonely": 0}, {"lonley": 0}) == ""
    assert propose_single(["a", "a_x", "b", "b_x"]).endswith("'{stem}_x'")
    assert propose_single(["a", "b", "c"]) == ""


@pytest.mark.parametrize("text", ["", "mask.png", "{stem}{stem}", "{stem} -> x", "{stem} -> {stem} -> {stem}"])
def test_patterns_without_one_stem_are_refused(text):
    with pytest.raises(ValueError, match="pattern must hold"):
        NamePattern.parse(text)


def test_problems_are_listed_in_the_order_of_names(tmp_path):
    make_pairs(tmp_path, 8)
    names = [f"a{index}.png" for index in (7, 2, 5, 1)]
    for name in names:
        (tmp_path / "input" / name).write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        ready(tmp_path)
    named = [re.search(r"a\d\.png", problem).group() for problem in caught.value.problems]
    assert named == sorted(names)
