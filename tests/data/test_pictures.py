import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import picture, save
from vdmfewshot.data.masks import read_labels, read_mask
from vdmfewshot.data.names import list_pictures
from vdmfewshot.data.pictures import MAX_PIXELS, read_picture


def exif_rotated(path, array, orientation):
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tif"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(picture(0)).save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(read_picture(tmp_path / f"a.{suffix}"), picture(0))


def test_jpeg_is_read_as_rgb(tmp_path):
    flat = np.full((16, 24, 3), (200, 30, 60), np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.JPG", format="JPEG", quality=95)
    assert np.abs(read_picture(tmp_path / "a.JPG").astype(int) - flat).max() < 6


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (4, lambda x: x[::-1]),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: x[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda x: np.rot90(x)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, undo):
    x = picture(1)
    assert np.array_equal(read_picture(exif_rotated(tmp_path / "a.png", x, orientation)), undo(x))


@pytest.mark.parametrize(("background", "value"), [("black", 0), ("white", 255)])
def test_transparency_shows_the_background(tmp_path, background, value):
    rgba = np.dstack([picture(2), np.full((24, 20), 255, np.uint8)])
    rgba[:5, :, 3] = 0
    rgba[5:8, :, 3] = 128
    image = read_picture(save(tmp_path / "a.png", rgba), background)
    assert (image[:5] == value).all()
    assert np.array_equal(image[8:], rgba[8:, :, :3])
    blend = rgba[5:8, :, :3] * (128 / 255) + value * (127 / 255)
    assert np.abs(image[5:8] - blend).max() <= 1


def test_palette_transparency_and_grey_alpha(tmp_path):
    indexed = Image.fromarray(np.tile(np.array([[0, 1]], np.uint8), (4, 4)), mode="P")
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.save(tmp_path / "p.png", transparency=1)
    image = read_picture(tmp_path / "p.png", "white")
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[0, 1].tolist() == [255, 255, 255]
    grey = np.stack([np.full((4, 4), 90, np.uint8), np.full((4, 4), 255, np.uint8)], axis=2)
    Image.fromarray(grey, mode="LA").save(tmp_path / "la.png")
    assert (read_picture(tmp_path / "la.png") == 90).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_absolutely(tmp_path, suffix):
    x = np.array([[0, 257, 257 * 100], [65535, 128, 129]], np.uint16)
    Image.fromarray(x).save(tmp_path / f"a.{suffix}")
    assert read_picture(tmp_path / f"a.{suffix}")[..., 1].tolist() == [[0, 1, 100], [255, 0, 1]]


def test_grey_bilevel_and_cmyk_become_rgb(tmp_path):
    grey = picture(3)[..., 0]
    assert np.array_equal(read_picture(save(tmp_path / "g.png", grey)), np.repeat(grey[..., None], 3, axis=2))
    assert set(np.unique(read_picture(save(tmp_path / "b.png", grey > 127)))) == {0, 255}
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "c.jpg")
    red = read_picture(tmp_path / "c.jpg")
    assert red.shape == (6, 8, 3)
    assert red[0, 0, 0] > 200 > 60 > red[0, 0, 1]


def broken_files(folder):
    """Every way in which a picture file is broken, and what its message must say."""
    good = save(folder / "good.png", picture(0, (64, 64))).read_bytes()
    jpeg = folder / "good.jpg"
    Image.fromarray(picture(0, (64, 64))).save(jpeg)
    bomb = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    header = b"IHDR" + bomb
    huge = good[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    frames[0].save(folder / "animation.webp", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "stack.tif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(folder / "deep.tif")
    (folder / "empty.png").write_bytes(b"")
    (folder / "truncated.png").write_bytes(good[: len(good) // 2])
    (folder / "truncated.jpg").write_bytes(jpeg.read_bytes()[: jpeg.stat().st_size // 2])
    (folder / "text.png").write_text("hello, I am not a picture")
    (folder / "huge.png").write_bytes(huge)
    (folder / "flipped.png").write_bytes(good[:60] + bytes([good[60] ^ 255]) + good[61:])
    (folder / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    np.save(folder / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").rename(folder / "pickle.png")
    return {
        "empty.png": "0 bytes",
        "truncated.png": "damaged|truncated",
        "truncated.jpg": "damaged|truncated",
        "text.png": "not a picture",
        "huge.png": "limit",
        "flipped.png": "damaged|not a picture",
        "script.png": "not a picture",
        "pickle.png": "not a picture",
        "animation.webp": "3 pictures",
        "stack.tif": "3 pictures",
        "float.tif": "floating-point",
        "deep.tif": "16 bits",
        "missing.png": "no such file",
    }


def test_broken_pictures_are_named_with_a_reason(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(ValueError, match=reason) as caught:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value), name


def test_size_limit_is_above_any_camera():
    assert MAX_PIXELS > 100_000_000


@pytest.mark.parametrize("white", [1, 255])
def test_masks_are_zero_and_one_or_black_and_white(tmp_path, white):
    mask = np.zeros((6, 5), np.uint8)
    mask[2:4] = white
    assert np.array_equal(read_mask(save(tmp_path / "m.png", mask)), mask > 0)
    assert np.array_equal(read_mask(save(tmp_path / "b.png", mask > 0)), mask > 0)
    assert np.array_equal(read_mask(save(tmp_path / "c.png", np.repeat(mask[..., None], 3, axis=2))), mask > 0)


def test_soft_and_lossy_masks_are_cut_in_the_middle(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=90)
    assert np.array_equal(read_mask(tmp_path / "m.jpg"), mask > 0)
    mask[8, 8:24], mask[9, 8:24] = 100, 200
    soft = read_mask(save(tmp_path / "s.png", mask))
    assert not soft[8].any()
    assert soft[9, 8:24].all()


def test_empty_and_full_masks(tmp_path):
    assert not read_mask(save(tmp_path / "e.png", np.zeros((4, 4), np.uint8))).any()
    assert read_mask(save(tmp_path / "f.png", np.full((4, 4), 255, np.uint8))).all()


def test_class_indices_are_not_taken_for_a_mask(tmp_path):
    with pytest.raises(ValueError, match="class indices"):
        read_mask(save(tmp_path / "m.png", np.array([[0, 1, 2]] * 3, np.uint8)))


def test_255_beside_0_and_1_is_ignored(tmp_path):
    labels = np.array([[0, 1, 255]] * 3, np.uint8)
    mask = read_mask(save(tmp_path / "m.png", labels))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, labels)


def test_label_maps_keep_indices(tmp_path):
    labels = np.array([[0, 3, 255], [1, 2, 7]], np.uint8)
    assert np.array_equal(read_labels(save(tmp_path / "grey.png", labels)), labels)
    indexed = Image.fromarray(labels, mode="P")
    indexed.putpalette([9, 9, 9] * 256)
    indexed.save(tmp_path / "palette.png")
    assert np.array_equal(read_labels(tmp_path / "palette.png"), labels)
    assert np.array_equal(read_labels(save(tmp_path / "rgb.png", np.repeat(labels[..., None], 3, 2))), labels)
    assert np.array_equal(
        read_labels(save(tmp_path / "deep.png", labels.astype(np.uint16) * 250)), labels.astype(int) * 250
    )


def test_label_maps_with_colours_transparency_or_jpeg_are_refused(tmp_path):
    with pytest.raises(ValueError, match="colours"):
        read_labels(save(tmp_path / "a.png", picture(0)))
    grey = np.repeat(picture(0)[..., :1], 3, 2)
    with pytest.raises(ValueError, match="transparent"):
        read_labels(save(tmp_path / "b.png", np.dstack([grey, np.full((24, 20), 90, np.uint8)])))
    Image.fromarray(grey[..., 0]).save(tmp_path / "c.jpg")
    with pytest.raises(ValueError, match="JPEG"):
        read_labels(tmp_path / "c.jpg")


def test_clutter_is_skipped_and_foreign_types_are_reported(tmp_path):
    for name in ("b.png", "a.JPG", ".DS_Store", "Thumbs.db", "photo.heic"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    pictures, problems = list_pictures(tmp_path)
    assert [f.name for f in pictures] == ["a.JPG", "b.png"]
    assert len(problems) == 1
    assert "photo.heic" in problems[0]
    assert ".heic" in problems[0]
