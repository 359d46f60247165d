"""Exports by the libraries' own writers, read back."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import picture, save
from tests.data.formats.exports import SIZE, box_mask
from tests.data.formats.test_readers import overlap, ready
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.formats.hf import is_hub_name
from vdmfewshot.data.pairs import PairsDataModule


def supervised(root, write):
    supervision = pytest.importorskip("supervision")
    paths = [str(save(root / "source" / f"a{i}.jpg", picture(i, SIZE))) for i in range(3)]
    found = supervision.Detections(
        xyxy=np.array([[20.0, 10, 50, 30], [2, 40, 12, 55]]),
        mask=np.stack([box_mask(), box_mask([2, 40, 12, 40, 12, 55, 2, 55])]),
        class_id=np.array([1, 0]),
    )
    data = supervision.DetectionDataset(["cat", "dog"], paths, dict.fromkeys(paths, found))
    out = root / "export"
    write(data, out)
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("yolo", lambda d, out: d.as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))),
        ("voc", lambda d, out: d.as_pascal_voc(str(out / "images"), str(out / "annotations"))),
        ("coco", lambda d, out: d.as_coco(str(out / "images"), str(out / "annotations.json"))),
    ],
)
def test_exports_of_supervision(tmp_path, name, write):
    root = supervised(tmp_path, write)
    for label, polygon in (("dog", box_mask()), ("cat", box_mask([2, 40, 12, 40, 12, 55, 2, 55]))):
        data = ready(root, category=label, format=name)
        assert len(data.support) == 3
        # supervision's polygons run through the outermost pixels, so that a row and a column are lost
        assert min(overlap(pair.target, polygon) for pair in data.support) > 0.8
    assert ready(root, target="labels").class_names == ("background", "cat", "dog")


def rows(kind):
    datasets = pytest.importorskip("datasets")
    images = [Image.fromarray(picture(i, SIZE)) for i in range(4)]
    masks = [Image.fromarray(box_mask().astype(np.uint8) * 255) for _ in range(4)]
    things = [{"bbox": [[20, 10, 30, 20]], "category": [1]} for _ in range(4)]
    picture_column, names = datasets.Image(), datasets.ClassLabel(names=["cat", "dog"])
    if kind == "masks":
        features = datasets.Features({"image": picture_column, "mask": picture_column})
        return datasets.Dataset.from_dict({"image": images, "mask": masks}, features=features)
    boxes = {"bbox": datasets.Sequence(datasets.Value("float32"), length=4), "category": names}
    features = datasets.Features({"image": picture_column, "objects": datasets.Sequence(boxes)})
    return datasets.Dataset.from_dict({"image": images, "objects": things}, features=features)


@pytest.mark.parametrize("kind", ["masks", "boxes"])
@pytest.mark.parametrize("saved", ["disk", "parts", "parquet"])
def test_data_sets_of_hugging_face(tmp_path, kind, saved):
    data, root = rows(kind), tmp_path / "data"
    if saved == "disk":
        data.save_to_disk(str(root))
    elif saved == "parts":
        parts = {"train": data.select(range(3)), "test": data.select([3])}
        sys.modules["datasets"].DatasetDict(parts).save_to_disk(str(root))
    else:
        root.mkdir()
        data.to_parquet(str(root / "train-00000-of-00001.parquet"))
    module = ready(root, shots=3)
    assert [len(module.support), len(module.queries("test"))] == [3, 1]
    for pair in [*module.support, *module.queries("test")]:
        assert np.array_equal(pair.target, box_mask())
        assert any(np.array_equal(pair.image, picture(i, SIZE)) for i in range(4))
    if kind == "boxes":
        assert module.class_names == ("background", "dog")


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_rows_that_lack_something_are_left_out(tmp_path, kind):
    column = "mask" if kind == "masks" else "objects"
    data = rows(kind)
    full = data.to_list()
    full[1][column], full[2]["image"] = None, None
    type(data).from_list(full, features=data.features).save_to_disk(str(tmp_path / "data"))
    module = ready(tmp_path / "data")
    assert len(module.support) == 2
    assert {item.source: item.reason for item in module.survey.left_out} == {
        "row 1": f"nothing in its column '{column}'",
        "row 2": "nothing in its column 'image'",
    }


@pytest.mark.parametrize("corners", [False, True])
def test_boxes_of_two_corners_are_told_apart(tmp_path, corners):
    """Read as width and height, the second would reach beyond its picture."""
    boxes = [[20, 10, 50, 30], [60, 40, 78, 58]] if corners else [[20, 10, 30, 20], [60, 40, 18, 18]]
    data = rows("boxes")
    full = [row | {"objects": {"bbox": boxes, "category": [1, 1]}} for row in data.to_list()]
    type(data).from_list(full, features=data.features).save_to_disk(str(tmp_path / "data"))
    expected = box_mask() | box_mask([60, 40, 78, 40, 78, 58, 60, 58])
    assert all(np.array_equal(pair.target, expected) for pair in ready(tmp_path / "data").support)


def test_a_data_set_without_targets_lists_its_columns(tmp_path):
    rows("masks").remove_columns(["mask"]).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(
        DataError, match=r"needs a column of pictures and one of masks or boxes; there are image \(Image\)"
    ):
        ready(tmp_path / "data")


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'vdmfewshot\[formats\]'"):
        ready(tmp_path)


def test_a_folder_of_parquet_files_may_look_like_a_name_of_the_hub(tmp_path, monkeypatch):
    root = tmp_path / "owner" / "name"
    root.mkdir(parents=True)
    rows("masks").to_parquet(str(root / "train-00000-of-00001.parquet"))
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("owner/name")
    data = PairsDataModule("owner/name", "mask", format="hf", height=32, width=32)
    data.setup()
    assert len(data.support) == 4


def test_a_name_of_the_hub_without_network_ends_in_words(tmp_path, monkeypatch):
    """The tests run with HF_HUB_OFFLINE, as without a network."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("owner/name")
    assert not any(map(is_hub_name, ["name", "../name", "a/b/c", "/a/b", "owner/"]))
    with pytest.raises(DataError, match=r"owner/name: neither a folder here .* nor loaded from the Hugging Face hub"):
        PairsDataModule("owner/name", "mask", format="hf").setup()
    with pytest.raises(DataError, match="no such file or folder"):
        PairsDataModule("owner/name", "mask").setup()
