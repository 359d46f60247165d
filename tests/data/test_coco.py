import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.data.folders import picture, save
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.pose import CocoPoseDataModule, Window, mirrored_joints
from vdmfewshot.data.segmentation import CocoInstancesDataModule

NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
SIZE = (40, 50)


def run_length(mask, packed):
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if packed:
        return {"size": code["size"], "counts": code["counts"].decode()}
    flat, counts, value = mask.ravel(order="F"), [], False
    run = 0
    for pixel in flat:
        if bool(pixel) != value:
            counts.append(run)
            run, value = 0, not value
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def instances(folder, count=4):
    """Each image: a polygon dog, a run-length dog, a packed crowd dog and a cat."""
    images, annotations = [], []
    blob = np.zeros(SIZE, bool)
    blob[25:35, 30:45] = True
    crowd = np.zeros(SIZE, bool)
    crowd[2:5, 2:40] = True
    for i in range(1, count + 1):
        save(folder / "images" / f"{i}.png", picture(i, SIZE))
        images.append({"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        shapes = [
            (18, [[5.0, 10.0, 20.0, 10.0, 20.0, 20.0 + i, 5.0, 20.0 + i]], 0),
            (18, run_length(blob, packed=False), 0),
            (18, run_length(crowd, packed=True), 1),
            (17, [[0.0, 0.0, 50.0, 0.0, 50.0, 40.0]], 0),
        ]
        for category, segmentation, is_crowd in shapes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": category,
                    "segmentation": segmentation,
                    "iscrowd": is_crowd,
                    "bbox": [0, 0, 1, 1],
                    "area": 1,
                }
            )
    images.append({"id": 99, "file_name": "empty.png", "height": 4, "width": 4})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    }


def write(folder, content, name="ann.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def dogs(folder, **kwargs):
    arguments = {"category": "dog", "height": 32, "width": 32} | kwargs
    data = CocoInstancesDataModule(str(folder / "images"), str(folder / "ann.json"), **arguments)
    data.setup("fit")
    return data


def test_instances_are_joined_as_pycocotools_draws_them(tmp_path):
    data = dogs(write(tmp_path, instances(tmp_path)), shots=1)
    coco = COCO(str(tmp_path / "ann.json"))
    pairs = [*data.support, *data.queries("test")]
    assert sorted(pair.meta["image_id"] for pair in pairs) == [1, 2, 3, 4]
    for pair in pairs:
        found = coco.loadAnns(coco.getAnnIds(imgIds=[pair.meta["image_id"]], catIds=[18]))
        expected = np.any([coco.annToMask(annotation) for annotation in found], axis=0)
        assert pair.target.dtype == bool
        assert np.array_equal(pair.target, expected)
        assert 0 < expected.mean() < 1


def test_a_test_file_of_its_own(tmp_path):
    write(tmp_path, instances(tmp_path, 2))
    (tmp_path / "more").mkdir()
    content = instances(tmp_path / "more", 3)
    for record in content["images"][:3]:
        save(tmp_path / "more" / "images" / record["file_name"], picture(50 + record["id"], SIZE))
    write(tmp_path / "more", content)
    data = dogs(
        tmp_path, shots=1, test_images=str(tmp_path / "more/images"), test_annotations=str(tmp_path / "more/ann.json")
    )
    assert len(data.support) == 1
    assert len(data.queries("test")) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["images"][0].update(height=41), "the annotation file says"),
        (lambda c: c["images"][0].update(file_name="../ann.json"), "must lie within"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "no such file"),
        (lambda c: c["images"][0].pop("height"), "height"),
        (lambda c: c["annotations"][0].update(segmentation=7), "neither"),
        (lambda c: c["annotations"][0].update(segmentation=None), "neither"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[9, 9], counts=[81]), r"of size \[9, 9\]"),
        (lambda c: c.pop("categories"), "missing: categories"),
        (lambda c: c["annotations"][0].pop("image_id"), "lacks 'image_id'"),
        (lambda c: c["categories"][1].update(name="wolf"), "no category 'dog'; there are cat, wolf"),
    ],
)
def test_broken_instance_files_are_explained(tmp_path, change, reason):
    content = instances(tmp_path)
    change(content)
    with pytest.raises(DataError, match=reason) as caught:
        dogs(write(tmp_path, content))
    assert "ann.json" in str(caught.value)


@pytest.mark.parametrize("text", ['{"images": [NaN]}', "", "[]", "{"])
def test_files_that_are_no_coco_json_are_refused(tmp_path, text):
    instances(tmp_path)
    with pytest.raises(DataError, match=r"ann\.json: not"):
        dogs(write(tmp_path, text))


def skeleton(seed, low=8, high=32):
    points = np.random.default_rng(seed).uniform(low, high, (17, 2))
    seen = np.random.default_rng(seed).integers(0, 3, 17)
    seen[0] = 2
    return np.column_stack([points * (seen > 0)[:, None], seen])


def people(folder, count=5):
    images, annotations = [], []
    for i in range(1, count + 1):
        save(folder / "images" / f"p{i}.png", picture(i, SIZE))
        images.append({"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]})
        annotations.append(
            {
                "id": 10 + i,
                "image_id": i,
                "category_id": 1,
                "keypoints": skeleton(i).ravel().tolist(),
                "bbox": [8, 6, 20, 30],
                "area": 321.5,
                "iscrowd": 0,
            }
        )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES}],
    }


def pose(folder, **kwargs):
    arguments = {"height": 48, "width": 48} | kwargs
    data = CocoPoseDataModule(str(folder / "images"), str(folder / "ann.json"), **arguments)
    data.setup("fit")
    return data


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
    assert data.skipped == {"crowd": 1, "no labelled joint": 1, "empty box": 1}
    assert len(data.support) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(keypoints=[1] * 50), "51 numbers"),
        (lambda a: a["keypoints"].__setitem__(2, 3), "visibility 0, 1 or 2"),
        (lambda a: a["keypoints"].__setitem__(0, 51.5), "lies outside p1.png"),
        (lambda a: a["keypoints"].__setitem__(1, -2.0), "lies outside p1.png"),
        (lambda a: a.pop("keypoints"), "malformed"),
        (lambda a: a.pop("bbox"), "malformed"),
        (lambda a: a.update(bbox=[1, 2]), "values to unpack"),
        (lambda a: a.update(image_id=77), "malformed"),
    ],
)
def test_broken_persons_are_explained(tmp_path, change, reason):
    content = people(tmp_path)
    change(content["annotations"][0])
    with pytest.raises(DataError, match=reason) as caught:
        pose(write(tmp_path, content))
    assert "annotation 11" in str(caught.value)


def test_infinite_keypoints_and_missing_joint_names(tmp_path):
    content = people(tmp_path)
    write(tmp_path, json.dumps(content).replace("321.5", "NaN", 1))
    with pytest.raises(DataError, match="NaN"):
        pose(tmp_path)
    del content["categories"][0]["keypoints"]
    with pytest.raises(DataError, match="needs keypoint names"):
        pose(write(tmp_path, content))


def test_padding_below_the_box_is_refused():
    with pytest.raises(ValueError, match="padding must be at least 1"):
        CocoPoseDataModule("/nowhere", "/nowhere", padding=0.9)


def test_other_skeletons_need_sigmas(tmp_path):
    content = people(tmp_path)
    content["categories"][0]["keypoints"] = ["tail", "left_paw", "right_paw"]
    for annotation in content["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:9]
        annotation["keypoints"][2] = 2
        annotation["keypoints"][:2] = [10, 10]
    data = pose(write(tmp_path, content))
    assert data.support[0].target.shape == (3, 3)
    with pytest.raises(ValueError, match="sigmas must be given for 3 joints"):
        data.make_metric()
    assert pose(tmp_path, sigmas=[0.05] * 3).make_metric().num_joints == 3


def test_mirrored_joints_swap_sides():
    mirrored = mirrored_joints(NAMES)
    assert mirrored[0] == 0
    assert all(mirrored[mirrored[i]] == i for i in range(17))
    assert NAMES[mirrored[NAMES.index("left_knee")]] == "right_knee"
    assert mirrored_joints(["a", "left_b"]) == (0, 1)


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
