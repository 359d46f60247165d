import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.folders import make_masks, make_pairs, picture, save
from tests.data.test_pictures import broken_files
from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.examples import DataError, safe_key
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.segmentation import MaskFolderDataModule


def ready(root, **kwargs):
    data = PairsDataModule(str(root), **({"height": 16, "width": 16} | kwargs))
    data.setup("fit")
    return data


def keys(pairs):
    return [pair.key for pair in pairs]


def test_flat_layout_trains_on_the_shots_and_tests_on_the_rest(tmp_path):
    data = ready(make_pairs(tmp_path, 6), shots=2)
    assert len(data.support) == 2
    assert sorted(keys(data.support) + keys(data.queries("test"))) == [f"a{i}" for i in range(6)]
    assert len(data.queries("validate")) == 0
    assert keys(data.queries("predict")) == keys(data.queries("test"))
    for pair in [*data.support, *data.queries("test")]:
        assert np.array_equal(pair.target, 255 - pair.image)


def test_split_layout_with_queries(tmp_path):
    for seed, (part, count) in enumerate({"train": 3, "val": 2, "test": 4}.items()):
        make_pairs(tmp_path / part, count, seed=seed)
    save(tmp_path / "queries" / "new one.png", picture(99))
    data = ready(tmp_path)
    assert keys(data.support) != []
    assert {part: len(data.queries(part)) for part in ("validate", "test", "predict")} == {
        "validate": 2,
        "test": 4,
        "predict": 1,
    }
    assert keys(data.queries("test")) == [f"test-a{i}" for i in range(4)]
    query = data.queries("predict")[0]
    assert query.target is None
    assert query.key.startswith("new_one-")


def test_inputs_without_targets_can_only_be_predicted(tmp_path):
    make_pairs(tmp_path, 3)
    shutil.rmtree(tmp_path / "target")
    data = ready(tmp_path)
    assert keys(data.queries("predict")) == ["a0", "a1", "a2"]
    with pytest.raises(ValueError, match="no labelled training pairs"):
        data.train_dataloader()
    with pytest.raises(ValueError, match="no queries to test"):
        data.test_dataloader()


def test_a_finished_adapter_can_be_used_on_folders_without_training_pairs(tmp_path):
    make_pairs(tmp_path / "a" / "test", 3)
    save(tmp_path / "b" / "queries" / "x.png", picture(0))
    assert len(ready(tmp_path / "a", shots=5).queries("test")) == 3
    assert len(ready(tmp_path / "b", shots=5).queries("predict")) == 1
    save(tmp_path / "b" / "input" / "x.png", picture(1))
    assert keys(ready(tmp_path / "b").queries("predict")) == ["x", "input-x"]


def test_support_sets_are_nested_and_depend_on_the_seed(tmp_path):
    make_pairs(tmp_path, 12)
    by_shots = [keys(ready(tmp_path, shots=n, support_seed=5).support) for n in (1, 3, 7, 12)]
    for small, large in itertools.pairwise(by_shots):
        assert large[: len(small)] == small
    assert keys(ready(tmp_path, shots=7, support_seed=6).support) != by_shots[2]
    assert keys(ready(tmp_path, support_seed=5).support) == by_shots[-1]


def test_names_match_across_suffixes_and_case(tmp_path):
    save(tmp_path / "input" / "köln 1.jpg", picture(1))
    save(tmp_path / "target" / "köln 1.png", picture(2))
    Image.fromarray(picture(3)).save(tmp_path / "input" / "b.WEBP", format="WEBP", lossless=True)
    save(tmp_path / "target" / "b.bmp", picture(4))
    data = ready(tmp_path)
    assert len(data.support) == 2
    by_source = {Path(pair.meta["source"]).name: pair for pair in data.support}
    assert np.array_equal(by_source["köln 1.jpg"].target, picture(2))
    assert np.array_equal(by_source["b.WEBP"].target, picture(4))


def test_every_bad_name_and_file_is_reported_at_once(tmp_path):
    make_pairs(tmp_path, 6)
    for name, reason in (broken := broken_files(tmp_path / "input")).items():
        if name != "missing.png":
            stem = name.replace(".", "-")
            (tmp_path / "input" / name).rename(tmp_path / "input" / f"{stem}.{name.rsplit('.')[-1]}")
            save(tmp_path / "target" / f"{stem}.png", picture(7))
            assert reason
    (tmp_path / "input" / "good.jpg").unlink()
    (tmp_path / "input" / "good.png").unlink()
    save(tmp_path / "input" / "lonely.png", picture(8))
    save(tmp_path / "target" / "lonley.png", picture(8))
    save(tmp_path / "input" / "a0.jpg", picture(8))
    (tmp_path / "input" / "phone.heic").write_bytes(b"x")
    save(tmp_path / "target" / "a3.png", picture(8, (24, 24)))
    with pytest.raises(DataError) as caught:
        ready(tmp_path)
    text, found = str(caught.value), caught.value.problems
    for name in broken:
        if name != "missing.png":
            assert sum(name.replace(".", "-") in problem for problem in found) == 1, name
    assert "rename lonley.png?" in text
    assert "no file named 'lonley'" in text
    assert "phone.heic: unsupported" in text
    assert "a0.jpg: same name as a0.png" in text or "a0.png: same name as a0.jpg" in text
    assert "a3.png: 24 x 24 pixels, its input 20 x 24" in text
    assert len(found) == (len(broken) - 1) + 5
    assert text.startswith(f"{len(found)} problems in the data:")


def test_a_file_deleted_after_the_start_is_named(tmp_path):
    data = ready(make_pairs(tmp_path, 4), shots=1)
    victim = data.queries("test")[0].meta["source"]
    (tmp_path / "input" / victim).unlink()
    with pytest.raises(ValueError, match=rf"{victim}: no such file"):
        next(iter(data.test_dataloader()))


def test_a_query_that_shows_a_training_picture_is_refused(tmp_path):
    make_pairs(tmp_path / "train", 3)
    make_pairs(tmp_path / "test", 2, seed=9)
    shutil.copy(tmp_path / "train" / "input" / "a1.png", tmp_path / "test" / "input" / "a0.png")
    with pytest.raises(DataError, match=r"test/input/a0\.png: same picture as training pair 'train-a1'"):
        ready(tmp_path)


@pytest.mark.parametrize(("size", "legal"), [((48, 40), True), ((12, 10), True), ((24, 21), False), ((20, 24), False)])
def test_target_pictures_may_be_larger_or_smaller_but_not_stretched(tmp_path, size, legal):
    save(tmp_path / "input" / "a.png", picture(0))
    save(tmp_path / "target" / "a.png", picture(1, size))
    if legal:
        assert ready(tmp_path).support[0].target.shape == (24, 20, 3)
    else:
        with pytest.raises(DataError, match="aspect ratios must agree"):
            ready(tmp_path)


def test_masks_must_have_exactly_the_size_of_their_input(tmp_path):
    save(tmp_path / "input" / "a.png", picture(0))
    save(tmp_path / "target" / "a.png", np.zeros((48, 40), np.uint8))
    with pytest.raises(DataError, match="masks must have the input's size"):
        ready(tmp_path, target="mask")


def test_labels_outside_the_classes_are_listed(tmp_path):
    save(tmp_path / "input" / "a.png", picture(0, (2, 3)))
    save(tmp_path / "target" / "a.png", np.array([[0, 1, 255], [4, 9, 2]], np.uint8))
    with pytest.raises(DataError, match=r"values 4, 9 are not classes; legal are 0 to 2, and 255"):
        ready(tmp_path, target="labels", num_classes=3)
    save(tmp_path / "target" / "a.png", np.array([[0, 1, 255], [0, 1, 2]], np.uint8))
    label = ready(tmp_path, target="labels", num_classes=3).support[0].target
    assert label.tolist() == [[0, 1, 255], [0, 1, 2]]


@pytest.mark.parametrize(("target", "num_classes"), [("image", None), ("mask", None), ("labels", 3)])
def test_codec_and_metric_agree_on_the_label(tmp_path, target, num_classes):
    make_masks(tmp_path, folders=("input", "target"), value=1)
    data = ready(tmp_path, target=target, num_classes=num_classes, height=24, width=20)
    pair = data.support[0]
    decoded = data.decode(data.codec.encode(pair.target, data.box(pair)), pair)
    assert np.array_equal(decoded.label, pair.target)
    metric = data.make_metric()
    metric.update(metric.measure([decoded], pair))
    assert metric.compute()[metric.main] > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "image", "classes": {"a": 0, "b": 1}}, "classes are for"),
        ({"target": "labels", "classes": {"a": 0, "b": [1, 2]}}, "b must be a pixel value or a colour"),
        ({"target": "labels", "classes": {"a": 0, "b": 0}}, "b has the value of another class"),
        ({"target": "labels", "classes": {"a": 0}}, "at least two classes"),
        ({"target": "labels", "num_classes": 3, "classes": {"a": 0, "b": 1}}, "num_classes is 3"),
        ({"pattern": "mask.png"}, "pattern must hold {stem} once"),
        ({"target": "mask", "num_classes": 2}, "num_classes is needed"),
        ({"target": "labels", "num_classes": 9}, "2 to 8"),
        ({"val_fraction": 1.0}, r"\[0, 1\)"),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"num_frames": 1}, "num_frames must be at least 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"variants": 0}, "variants must be at least 1"),
    ],
)
def test_settings_are_checked_before_any_file(arguments, message):
    with pytest.raises(ValueError, match=message):
        PairsDataModule("/nowhere", **arguments)


def test_label_maps_need_a_number_of_classes_or_a_table(tmp_path):
    make_masks(tmp_path, folders=("input", "target"), value=1)
    with pytest.raises(ValueError, match="num_classes is needed"):
        ready(tmp_path, target="labels")


def test_wrong_folders_are_explained(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        ready(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no data; expected .*input,target"):
        ready(tmp_path)
    with pytest.raises(DataError, match=r"no such sample; there are .*sample:nuclei"):
        ready("sample:nucleus")
    with pytest.raises(DataError, match="no such sample"):
        ready("sample:../../data")
    make_pairs(tmp_path / "train", 2)
    (tmp_path / "input").mkdir()
    with pytest.raises(DataError, match=r"has both input/ and one of train"):
        ready(tmp_path)


def test_too_many_shots(tmp_path):
    with pytest.raises(ValueError, match="shots must be at most 3, the number of labelled training pairs, got 4"):
        ready(make_pairs(tmp_path, 3), shots=4)


def test_nothing_is_read_before_setup(tmp_path):
    data = PairsDataModule(str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match="setup"):
        _ = data.codec
    assert data.clip_shape == (9, 96, 96)


def test_query_limit_spreads_evenly(tmp_path):
    data = ready(make_pairs(tmp_path, 11), shots=1, max_queries=5)
    every = keys(ready(tmp_path, shots=1).queries("test"))
    assert keys(data.queries("test")) == [every[i] for i in (0, 2, 4, 6, 8)]


def test_mean_target_is_the_mean_of_the_targets(tmp_path):
    data = ready(make_pairs(tmp_path, 5), height=24, width=20)
    mean = np.mean([255.0 - pair.image for pair in data.support], axis=0)
    assert data.mean_target().shape == (24, 20, 3)
    assert np.abs(data.mean_target() - mean).max() <= 0.5


def test_letterbox_keeps_the_aspect_ratio_of_both_frames(tmp_path):
    x = np.full((40, 20, 3), 200, np.uint8)
    save(tmp_path / "input" / "a.png", x)
    save(tmp_path / "target" / "a.png", x // 2)
    data = ready(tmp_path, height=32, width=32)
    clip = next(iter(data.train_dataloader())).frames[0]
    assert (clip[0, :, :, 8:24] > 0.5).all()
    assert (clip[0, :, :, :8] == -1).all()
    assert (clip[-1, :, :, 24:] == -1).all()
    assert clip[-1, 0, 0, 16].item() == pytest.approx(100 / 127.5 - 1)


def test_a_changed_support_set_changes_its_digest(tmp_path):
    make_pairs(tmp_path, 3)
    before = ready(tmp_path).state_dict()["support"]
    assert ready(tmp_path).state_dict()["support"] == before
    save(tmp_path / "target" / "a1.png", picture(77))
    assert ready(tmp_path).state_dict()["support"] != before


@given(st.text(min_size=1, max_size=20) | st.text(alphabet="ab ", min_size=90, max_size=130))
@settings(max_examples=200, deadline=None)
def test_any_name_makes_a_legal_key(name):
    assert len(Pair(safe_key(name), picture(0)).key) <= 120


@given(st.lists(st.text(alphabet="a. _-é/", min_size=1, max_size=6), min_size=2, max_size=8, unique=True))
@settings(max_examples=200, deadline=None)
def test_different_names_make_different_keys(names):
    assert len({safe_key(name) for name in names}) == len(names)


def test_mask_folders_in_both_formats(tmp_path):
    make_masks(tmp_path / "white", value=255)
    make_masks(tmp_path / "index", value=1)
    save(tmp_path / "index" / "masks" / "a0.png", np.where(np.eye(24, 20) > 0, 255, 0).astype(np.uint8))
    white = MaskFolderDataModule(str(tmp_path / "white"), height=16, width=16)
    index = MaskFolderDataModule(str(tmp_path / "index"), mask_format="indices", height=16, width=16)
    for data in (white, index):
        data.setup("fit")
    assert {pair.target.dtype for pair in white.support} == {np.dtype(bool)}
    ignored = next(pair for pair in index.support if pair.key == "a0")
    assert set(np.unique(ignored.target)) == {0, 255}
    with pytest.raises(ValueError, match='use "indices"'):
        MaskFolderDataModule("/nowhere", num_classes=3)
