"""Images, masks and label maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.codecs.degradations import contrast, correlated_noise, degrade
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import ImageCodec, LabelMapCodec, MaskCodec

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def blob(rng, size):
    """A wavy blob that covers a good part of the picture."""
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    cy, cx = rng.uniform(0.35, 0.65, 2) * np.array(size) / max(size)
    angle = np.arctan2(y - cy, x - cx)
    radius = rng.uniform(0.15, 0.3) * (1 + 0.25 * np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 6)))
    return np.hypot(y - cy, x - cx) < radius


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


@given(st.data(), SIZES)
@settings(max_examples=40, deadline=None)
def test_bijection_at_source_size(data, size):
    box = Letterbox(size, size)
    image = data.draw(hnp.arrays(np.uint8, (*size, 3)))
    assert (ImageCodec().decode(ImageCodec().encode(image, box), box).label == image).all()
    mask = data.draw(hnp.arrays(np.bool_, size))
    assert (MaskCodec().decode(MaskCodec().encode(mask, box), box).label == mask).all()
    classes = data.draw(st.integers(2, 8))
    labels = data.draw(hnp.arrays(np.uint8, size, elements=st.integers(0, classes - 1)))
    codec = LabelMapCodec(classes)
    assert (codec.decode(codec.encode(labels, box), box).label == labels).all()


def test_ignored_pixels_are_drawn_as_background():
    label = np.array([[0, 255], [1, 2]], dtype=np.uint8)
    box = Letterbox((2, 2), (2, 2))
    codec = LabelMapCodec(3)
    assert codec.decode(codec.encode(label, box), box).label.tolist() == [[0, 0], [1, 2]]


@pytest.mark.parametrize("size", [(480, 640), (333, 127), (60, 90)])
def test_masks_survive_the_letterbox_at_original_resolution(size):
    box = Letterbox(size, (96, 96))
    scores = []
    for seed in range(8):
        mask = blob(np.random.default_rng(seed), size)
        scores.append(iou(MaskCodec().decode(MaskCodec().encode(mask, box), box).label, mask))
    assert np.mean(scores) >= 0.985


@pytest.mark.parametrize(("level", "least"), [("mild", 0.995), ("medium", 0.99), ("severe", 0.97)])
def test_masks_survive_degradation(level, least):
    box = Letterbox((256, 256), (256, 256))
    scores = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mask = blob(rng, box.source)
        scores.append(iou(MaskCodec().decode(degrade(MaskCodec().encode(mask, box), level, rng), box).label, mask))
    assert np.mean(scores) >= least, scores


@pytest.mark.parametrize("gain", [0.7, 0.5])
def test_unfinished_masks_are_read(gain):
    box = Letterbox((64, 64), (64, 64))
    mask = blob(np.random.default_rng(0), (64, 64))
    frame = contrast(MaskCodec().encode(mask, box), gain, towards=0)
    assert iou(MaskCodec().decode(frame, box).label, mask) == 1.0


@pytest.mark.parametrize("full", [False, True])
def test_noise_on_an_empty_or_full_mask_is_no_object(full):
    box = Letterbox((64, 64), (64, 64))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        frame = np.full((64, 64, 3), 255.0 * full) + correlated_noise(rng, (64, 64, 3), 15) + rng.normal(0, 15, 3)
        decoded = MaskCodec().decode(frame, box)
        assert decoded.label.all() if full else not decoded.label.any()
        assert decoded.confidence < 0.36


@pytest.mark.parametrize("shift", [(60, 60, 60), (-60, 60, -60), (0, -60, 60)])
def test_label_maps_survive_colour_shift(shift):
    rng = np.random.default_rng(0)
    label = np.zeros((96, 96), dtype=np.uint8)
    for k in range(1, 6):
        label[blob(rng, label.shape)] = k
    box = Letterbox((96, 96), (96, 96))
    codec = LabelMapCodec(6)
    frame = np.clip(codec.encode(label, box) + np.array(shift, dtype=float), 0, 255)
    assert (codec.decode(frame, box).label == label).all()


def test_smoothing_removes_speckle_and_keeps_shapes():
    rng = np.random.default_rng(3)
    label = np.zeros((128, 128), dtype=np.uint8)
    label[blob(rng, label.shape)] = 1
    noisy = np.where(rng.random(label.shape) < 0.02, 2, label).astype(np.uint8)
    box = Letterbox((128, 128), (128, 128))
    frame = LabelMapCodec(3).encode(noisy, box)
    raw = LabelMapCodec(3).decode(frame, box).label
    smooth = LabelMapCodec(3, smooth=True).decode(frame, box)
    assert (raw != label).mean() > 0.015
    assert (smooth.label != label).mean() < 0.005
    assert smooth.details["smoothed"] > 0.01


@pytest.mark.parametrize(
    ("codec", "label", "message"),
    [
        (ImageCodec(), np.zeros((8, 8), np.uint8), "uint8 RGB"),
        (ImageCodec(), np.zeros((8, 8, 3)), "float64"),
        (MaskCodec(), np.full((8, 8), 2, np.uint8), "bool"),
        (MaskCodec(), np.zeros((4, 8), bool), r"size \(8, 8\)"),
        (LabelMapCodec(3), np.full((8, 8), 3, np.uint8), "below 3"),
        (LabelMapCodec(3), np.zeros((8, 8), np.int64), "int64"),
    ],
)
def test_bad_labels_are_refused(codec, label, message):
    with pytest.raises(ValueError, match=message):
        codec.encode(label, Letterbox((8, 8), (8, 8)))


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="2 to 8"):
        LabelMapCodec(9)
