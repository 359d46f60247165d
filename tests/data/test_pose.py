import json

import numpy as np
import pytest
from lightning import Trainer

from tests.data.coco_files import NAMES, SIZE, people, pose, write
from tests.data.folders import picture, save
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.joints import mirrored_joints
from vdmfewshot.data.persons import Window
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.defaults import EMBEDDED, PAPERS
from vdmfewshot.training.module import FewShotModule


def test_crops_show_the_person_and_joints_move_with_it(tmp_path):
    content = people(tmp_path)
    data = pose(write(tmp_path, content), shots=2)
    for pair in [*data.support, *data.queries("test")]:
        annotation = next(a for a in content["annotations"] if a["id"] == pair.meta["annotation_id"])
        source = picture(annotation["image_id"], SIZE)
        assert pair.image.shape == (38, 38, 3)  # 1.25 x the longer side of the box, rounded
        left, top = 18 - 19, 21 - 19
        inside = pair.image[:, 1:]
        assert np.array_equal(inside, source[top : top + 38, 0:37])
        assert (pair.image[:, 0] == 0).all()
        expected = np.array(annotation["keypoints"]).reshape(17, 3) - (left, top, 0)
        labelled = expected[:, 2] > 0
        assert np.allclose(pair.target[labelled], expected[labelled])
        assert (pair.target[~labelled] == 0).all()
        assert pair.meta["area"] == 321.5
        assert pair.meta["bbox"] == [9.0, 4.0, 20.0, 30.0]


def test_left_out_persons_are_counted(tmp_path):
    content = people(tmp_path, 6)
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["keypoints"] = [0] * 51
    content["annotations"][2]["bbox"] = [5, 5, 0, 9]
    data = pose(write(tmp_path, content))
    assert data.skipped == {"crowd": 1, "no labelled joint": 1}
    assert len(data.survey.left_out) == 1
    assert len(data.support) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(keypoints=[1] * 50), "51 numbers"),
        (lambda a: a["keypoints"].__setitem__(2, 4), "visibility 0, 1 or 2"),
        (lambda a: a.pop("keypoints"), "not a list of numbers"),
        (lambda a: a.pop("bbox"), "not four finite numbers"),
        (lambda a: a.update(bbox=[1, 2]), "not four finite numbers"),
        (lambda a: a.update(bbox=[1, float("nan"), 3, 4]), "not four finite numbers"),
        (lambda a: a.update(bbox=[5, 5, 0, 9]), "box is empty"),
        (lambda a: a.update(bbox=[60, 5, 9, 9]), "beside the picture"),
        (lambda a: a.update(bbox=[0, 0, 900, 700]), "much larger than the picture"),
        (lambda a: a.update(bbox=[0.1, 0.1, 0.5, 0.5], keypoints=[0.5, 0.25, 2] * 17), "within 0-1"),
        (lambda a: a.update(keypoints=[500, 400, 2] * 17), "all its joints lie beyond"),
        (lambda a: a.update(image_id=77), "its image 77 is not in the file"),
    ],
)
def test_one_broken_person_is_left_out_and_named(tmp_path, change, reason):
    content = people(tmp_path)
    change(content["annotations"][0])
    data = pose(write(tmp_path, content))
    assert len(data.support) == 4
    (left_out,) = data.survey.left_out
    assert left_out.source == "ann.json: annotation 11"
    assert reason in left_out.reason
    with pytest.raises(DataError, match=reason):
        pose(tmp_path, strict=True)
    content["annotations"] = content["annotations"][:1]
    with pytest.raises(DataError, match=rf"can be used: left out 1: 1 × .*{reason}"):
        pose(write(tmp_path, content))


@pytest.mark.parametrize(("place", "value"), [(0, 51.5), (1, -2.0), (2, 3)])
def test_a_joint_beyond_the_picture_is_not_labelled(tmp_path, place, value):
    content = people(tmp_path)
    content["annotations"][0]["keypoints"][place] = value
    data = pose(write(tmp_path, content))
    assert len(data.support) == 5
    assert [item.source for item in data.survey.left_out] == ["ann.json: annotation 11"]
    first = next(pair for pair in data.support if pair.meta["annotation_id"] == 11)
    assert (first.target[0] == 0).all()


def test_resized_pictures_are_refused_with_both_sizes(tmp_path):
    content = people(tmp_path)
    save(tmp_path / "images" / "p2.png", picture(2, (80, 100)))
    with pytest.raises(DataError, match=r"p2\.png: 100 x 80 pixels, the annotation file says 50 x 40"):
        pose(write(tmp_path, content))


def test_infinite_numbers_and_missing_joint_names(tmp_path):
    content = people(tmp_path)
    text = json.dumps(content).replace("321.5", "Infinity", 1).replace('"keypoints": [', '"keypoints": [NaN, 0, 0, ', 1)
    data = pose(write(tmp_path, text))
    assert all(0 < pair.meta["area"] < 1e9 for pair in data.support)
    (left_out,) = data.survey.left_out
    assert left_out.reason == "its list of keypoints holds a number that is not finite"
    del content["categories"][0]["keypoints"]
    with pytest.raises(DataError, match="needs keypoint names"):
        pose(write(tmp_path, content))


def test_padding_below_the_box_is_refused():
    with pytest.raises(ValueError, match="padding must be at least 1"):
        CocoPoseDataModule("/nowhere", "/nowhere", padding=0.9)


def test_other_skeletons_have_one_constant_for_all_joints(tmp_path):
    content = people(tmp_path)
    content["categories"][0]["keypoints"] = ["tail", "left_paw", "right_paw"]
    for annotation in content["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:9]
        annotation["keypoints"][2] = 2
        annotation["keypoints"][:2] = [10, 10]
    data = pose(write(tmp_path, content))
    assert data.support[0].target.shape == (3, 3)
    assert data.make_metric().sigmas == (0.05,) * 3
    assert pose(tmp_path, sigmas=[0.1, 0.2, 0.3]).make_metric().sigmas == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(("preset", "given", "expected"), [(EMBEDDED, None, 9), (PAPERS, None, 0), (EMBEDDED, 2.0, 2)])
def test_paint_of_joints_counts_more_where_that_was_measured(tmp_path, preset, given, expected):
    module = FewShotModule(CogVideoX("embedded"), emphasis=given)
    module.backbone.preset = preset
    assert module.paint_emphasis == (given or 0), "no joints, no emphasis"
    write(tmp_path, people(tmp_path))
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.datamodule = pose(tmp_path)
    assert module.paint_emphasis == expected


def test_discs_are_large_on_small_canvases_unless_said_otherwise(tmp_path):
    write(tmp_path, people(tmp_path))
    small, given = pose(tmp_path, height=96, width=128), pose(tmp_path, height=96, width=96, radius=0.05)
    assert [data.codec.spec()["radius"] for data in (small, given)] == [0.08, 0.05]
    assert pose(tmp_path, height=128, width=160).codec.spec()["radius"] == 0.04


def test_mirrored_joints_swap_sides():
    mirrored = mirrored_joints(NAMES)
    assert mirrored[0] == 0
    assert all(mirrored[mirrored[i]] == i for i in range(17))
    assert NAMES[mirrored[NAMES.index("left_knee")]] == "right_knee"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["nose", "L-hand", "R-hand"], (0, 2, 1)),
        (["leftB", "rightB", "B"], (1, 0, 2)),
        (["LKnee", "RKnee"], (1, 0)),
        (["kneeL", "kneeR", "tail"], (1, 0, 2)),
        (["Left Eye", "Right Eye"], (1, 0)),
        (["eye.left", "eye.right"], (1, 0)),
        (["LEFT_EAR", "RIGHT_EAR"], (1, 0)),
        (["lhip", "rhip"], (1, 0)),
        (["l1", "r1", "l2", "r2"], (1, 0, 3, 2)),
        (["head", "tail", "lip"], (0, 1, 2)),
        (["0", "1"], (0, 1)),
    ],
)
def test_sides_are_found_in_names_of_any_style(names, expected):
    assert mirrored_joints(names) == expected


@pytest.mark.parametrize("names", [["a", "left_b"], ["a", "a", "b"], ["left_hand", "hand_r"]])
def test_joints_whose_twin_is_unknown_are_refused_unless_told(names):
    with pytest.raises(ValueError, match=r"--data\.swaps"):
        mirrored_joints(names)
    assert mirrored_joints(names, [[0, 1]])[:2] == (1, 0)
    assert mirrored_joints(names, []) == tuple(range(len(names)))
    with pytest.raises(ValueError, match="swaps must be pairs"):
        mirrored_joints(names, [[0, 9]])


@pytest.mark.parametrize("bbox", [(0, 0, 10, 10), (-30, -30, 10, 10), (45, 35, 30, 20), (200, 200, 5, 5)])
def test_windows_over_the_border_are_black_outside(bbox):
    source = picture(0, SIZE)
    window = Window.around(bbox, 1.25)
    crop = window.cut(source)
    for row in range(window.side):
        for column in range(window.side):
            y, x = row + window.top, column + window.left
            inside = 0 <= y < SIZE[0] and 0 <= x < SIZE[1]
            assert crop[row, column].tolist() == (source[y, x].tolist() if inside else [0, 0, 0])
