"""Masks and label maps as people have them: palettes, instance numbers, colours, ids, ignored pixels, turned photos."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import picture, save
from tests.data.test_pictures import exif_rotated
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.data.segmentation import CocoInstancesDataModule

SIZE = (24, 20)


def blob(index):
    mask = np.zeros(SIZE, bool)
    mask[3 + index : 12 + index, 4:15] = True
    return mask


def folder(root, write, count=3):
    for i in range(count):
        save(root / "input" / f"a{i}.png", picture(i, SIZE))
        (root / "target").mkdir(exist_ok=True)
        write(root / "target" / f"a{i}.png", blob(i))
    return root


def targets(root, **kwargs):
    data = PairsDataModule(str(root), **({"target": "mask", "height": 16, "width": 16} | kwargs))
    data.setup("fit")
    return data, {pair.key: pair.target for pair in data.support}


def right(found):
    return all(np.array_equal(found[f"a{i}"], blob(i)) for i in range(3))


def paletted(colours):
    def write(path, mask):
        image = Image.fromarray(mask.astype(np.uint8), mode="P")
        image.putpalette([v for colour in colours for v in colour])
        image.save(path)

    return write


def inverted(path, mask):
    image = Image.fromarray((~mask).astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(path)


@pytest.mark.parametrize(
    "write",
    [
        paletted([(0, 0, 0), (255, 255, 255)]),
        paletted([(0, 0, 0), (128, 0, 0)]),
        paletted([(3, 3, 3), (200, 0, 90)]),
        inverted,
        lambda path, mask: Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB").quantize(2).save(path),
        lambda path, mask: Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="GIF"),
        lambda path, mask: save(path, mask.astype(np.uint8) * 38),
        lambda path, mask: save(path, mask.astype(np.uint16) * 65535),
        lambda path, mask: save(path, mask[..., None] * np.array([128, 0, 0], np.uint8)),
        lambda path, mask: Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="JPEG", quality=90),
    ],
)
def test_two_values_are_a_mask_whatever_they_are(tmp_path, write):
    assert right(targets(folder(tmp_path, write))[1])


def test_a_palette_without_black_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither colour of this mask is black"):
        targets(folder(tmp_path, paletted([(90, 0, 0), (255, 255, 255)])))


def numbered(path, mask):
    labels = np.zeros(SIZE, np.uint8)
    rows, columns = np.indices(SIZE)
    labels[mask] = (1 + rows // 3 * 20 + columns // 3)[mask]
    save(path, labels)


def test_numbers_of_objects_are_refused_unless_told(tmp_path):
    folder(tmp_path, numbered)
    with pytest.raises(DataError, match=r"--data\.foreground nonzero"):
        targets(tmp_path)
    assert right(targets(tmp_path, foreground="nonzero")[1])


def test_every_mask_is_read_like_the_others(tmp_path):
    """A file with 0 and 255 alone holds no object where 255 stands for ignored pixels in other files."""
    folder(tmp_path, lambda path, mask: save(path, mask.astype(np.uint8)))
    edge = np.zeros(SIZE, np.uint8)
    edge[:2] = 255
    save(tmp_path / "target" / "a0.png", edge)
    save(tmp_path / "target" / "a1.png", np.maximum(edge, blob(1).astype(np.uint8)))
    data, found = targets(tmp_path)
    assert not (found["a0"] == 1).any()
    assert np.array_equal(found["a1"] == 1, blob(1))
    assert (found["a1"][:2] == 255).all()
    pair = next(pair for pair in data.support if pair.key == "a1")
    metric = data.make_metric()
    metric.update(metric.measure([data.decode(data.codec.encode(pair.target, data.box(pair)), pair)], pair))
    assert metric.compute()["iou_dataset"] > 0.9


def test_masks_of_both_kinds_in_one_folder_are_refused_unless_told(tmp_path):
    """With 255 taken for pixels to ignore, the object of one of them would be lost."""
    folder(tmp_path, lambda path, mask: save(path, mask.astype(np.uint8) * (255 if path.stem == "a0" else 1)))
    with pytest.raises(DataError, match=r"some masks hold 0 and 1, others 0 and 255: .*--data\.foreground nonzero"):
        targets(tmp_path)
    assert right(targets(tmp_path, foreground="nonzero")[1])
    _, found = targets(tmp_path, target="labels", num_classes=2)
    assert {name: sorted(set(label.ravel())) for name, label in found.items()} == {
        "a0": [0, 255],
        "a1": [0, 1],
        "a2": [0, 1],
    }


def test_lossy_masks_of_zero_and_one_are_refused(tmp_path):
    folder(tmp_path, lambda path, mask: save(path, mask.astype(np.uint8)))
    for i in range(3):
        (tmp_path / "target" / f"a{i}.png").unlink()
        Image.fromarray(blob(i).astype(np.uint8)).save(tmp_path / "target" / f"a{i}.webp", quality=60)
    with pytest.raises(DataError, match="lossy WebP change the values of a 0/1 mask"):
        targets(tmp_path)
    for i in range(3):
        Image.fromarray(blob(i).astype(np.uint8)).save(tmp_path / "target" / f"a{i}.webp", lossless=True)
    assert right(targets(tmp_path)[1])


COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 64, 200]], np.uint8)
TABLE = {"ground": [0, 0, 0], "thing": [128, 0, 0], "other": [0, 64, 200]}


def coloured(path, mask):
    labels = mask.astype(np.uint8)
    labels[-2:] = 2
    save(path, COLOURS[labels])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\nthing,128,0,0\nother,0,64,200\n"),
        ("target/class_dict.csv", "\ufeffname, r, g, b\nground, 0, 0, 0\nthing, 128, 0, 0\nother, 0, 64, 200"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\nthing:128,0,0::\nother:0,64,200::\n"),
        ("label_colors.txt", "0 0 0\tground\n128 0 0\tthing\n0 64 200\tother\n"),
        ("", ""),
    ],
)
def test_colours_are_classes_by_a_table(tmp_path, name, text):
    folder(tmp_path, coloured)
    if name:
        (tmp_path / name).write_text(text, encoding="utf-8")
    data, found = targets(tmp_path, target="labels", **({} if name else {"classes": TABLE}))
    assert data.num_classes == 3
    assert np.array_equal(found["a1"][:-2] == 1, blob(1)[:-2])
    assert (found["a1"][-2:] == 2).all()


def test_colours_without_a_table_are_listed(tmp_path):
    folder(tmp_path, coloured)
    with pytest.raises(DataError, match=r"--data\.classes '\{background: \[0, 0, 0\], class1: \[0, 64, 200\], class2"):
        targets(tmp_path, target="labels", num_classes=3)
    with pytest.raises(DataError, match="a mask has black and one other colour"):
        targets(tmp_path)
    with pytest.raises(DataError, match=r"\[0, 64, 200\] not in the classes of --data\.classes: a, b"):
        targets(tmp_path, target="labels", classes={"a": [0, 0, 0], "b": [128, 0, 0]})
    (tmp_path / "class_dict.csv").write_text("name,r\nx,y,z\n")
    with pytest.raises(DataError, match=r"class_dict\.csv: not a table of classes"):
        targets(tmp_path, target="labels")


def test_masks_of_several_colours_are_no_mask(tmp_path):
    folder(tmp_path, lambda path, mask: save(path, mask[..., None] * COLOURS[1]))
    save(tmp_path / "target" / "a2.png", blob(2)[..., None] * COLOURS[2])
    with pytest.raises(DataError, match=r"the masks have several colours; name its colours"):
        targets(tmp_path)


def test_sparse_ids_are_classes_by_a_map(tmp_path):
    folder(tmp_path, lambda path, mask: save(path, np.where(mask, 26, 7).astype(np.uint8)))
    with pytest.raises(DataError, match=r"values 7, 26 are not classes.*\{class0: 7, class1: 26\}"):
        targets(tmp_path, target="labels", num_classes=2)
    edge = np.where(blob(0), 26, 7).astype(np.uint8)
    edge[0] = 99
    save(tmp_path / "target" / "a0.png", edge)
    found = targets(tmp_path, target="labels", classes={"ground": 7, "car": 26, "void": 99})[1]
    assert np.array_equal(found["a1"], blob(1).astype(np.uint8))
    assert (found["a0"][0] == 255).all()


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(24, 20), (22, 22)])
def test_masks_of_turned_photos(tmp_path, orientation, size):
    """The stored picture and its mask agree pixel by pixel; so must what is read."""
    stored = picture(orientation, size)
    mask = stored[..., 0] > 127
    (tmp_path / "input").mkdir()
    exif_rotated(tmp_path / "input" / "a.png", stored, orientation)
    save(tmp_path / "target" / "a.png", mask.astype(np.uint8) * 255)

    def check(**kwargs):
        data, found = targets(tmp_path, **kwargs)
        assert np.array_equal(found["a"], data.support[0].image[..., 0] > 127)

    check(exif="stored")
    if orientation >= 5 and size == (24, 20):
        check()
    else:
        with pytest.raises(DataError, match=rf"turned by EXIF orientation {orientation}.*--data\.exif upright"):
            targets(tmp_path)
        assert not np.array_equal(targets(tmp_path, exif="upright")[1]["a"], np.zeros(size, bool))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_annotations_of_turned_photos(tmp_path, orientation):
    """A bright square in the stored picture, annotated there: mask and joints must lie on it in the upright one."""
    stored = np.zeros((40, 50, 3), np.uint8)
    stored[6:18, 10:22] = 255
    (tmp_path / "images").mkdir()
    exif_rotated(tmp_path / "images" / "a.png", stored, orientation)
    record = {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 6, 12, 12], "iscrowd": 0, "area": 144,
        "segmentation": [[10, 6, 22, 6, 22, 18, 10, 18]], "keypoints": [10.5, 6.5, 2, 21.5, 17.5, 2],
    }  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}],
        "annotations": [record],
        "categories": [{"id": 1, "name": "thing", "keypoints": ["low", "high"]}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    exif = "auto" if orientation >= 5 else "stored"
    arguments = {"category": "thing", "exif": exif, "height": 16, "width": 16}
    masks = CocoInstancesDataModule(str(tmp_path / "images"), str(tmp_path / "ann.json"), **arguments)
    masks.setup("fit")
    assert np.array_equal(masks.support[0].target, masks.support[0].image[..., 0] > 0)
    people = CocoPoseDataModule(str(tmp_path / "images"), str(tmp_path / "ann.json"), **arguments)
    people.setup("fit")
    crop, points = people.support[0].image, people.support[0].target
    rows, columns = np.nonzero(crop[..., 0])
    assert sorted(points[:, 0]) == [columns.min() + 0.5, columns.max() + 0.5]
    assert sorted(points[:, 1]) == [rows.min() + 0.5, rows.max() + 0.5]
    if orientation < 5:
        for module in (CocoInstancesDataModule, CocoPoseDataModule):
            with pytest.raises(DataError, match=r"--data\.exif"):
                module(str(tmp_path / "images"), str(tmp_path / "ann.json"), category="thing").setup("fit")
