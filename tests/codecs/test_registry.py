import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import GridCodec, ImageCodec, KeypointCodec, LabelMapCodec, MaskCodec, codec_from_spec

VARIANTS = [
    ImageCodec(),
    MaskCodec(),
    LabelMapCodec(3),
    LabelMapCodec(4),
    LabelMapCodec(3, smooth=True),
    KeypointCodec(),
    KeypointCodec(num_joints=5),
    KeypointCodec(radius=0.05),
    GridCodec(5),
    GridCodec(6),
    GridCodec(5, border=2),
    GridCodec(5, canvas_colour=(255, 255, 255)),
    GridCodec(5, palette="separated"),
    GridCodec(5, size_mode="oracle"),
    GridCodec(5, size_mode="train_rule"),
    GridCodec.paper_parity(11),
]


def test_every_argument_changes_the_spec_hash():
    for a, b in itertools.combinations(VARIANTS, 2):
        assert a.spec_hash != b.spec_hash, (a.spec(), b.spec())


@pytest.mark.parametrize("codec", VARIANTS, ids=lambda c: f"{type(c).__name__}-{c.spec_hash[:4]}")
def test_codec_comes_back_from_its_json_spec(codec):
    again = codec_from_spec(type(codec).__name__, codec.spec(), codec.version)
    assert again.spec_hash == codec.spec_hash
    assert type(again) is type(codec)


@pytest.mark.parametrize(
    ("name", "spec", "version", "message"),
    [
        ("Grid", {}, 1, "must be one of .*GridCodec"),
        ("GridCodec", {"cell": 5}, 99, "must be of version 1, got 99"),
        ("GridCodec", {"cells": 5}, 1, "does not accept"),
        ("LabelMapCodec", {"num_classes": 9}, 1, "2 to 8"),
    ],
)
def test_unknown_codecs_are_refused(name, spec, version, message):
    with pytest.raises(ValueError, match=message):
        codec_from_spec(name, spec, version)


def junk_frames(seed, count, side):
    rng = np.random.default_rng(seed)
    shape = (side, side, 3)
    for i in range(count):
        kind = i % 10
        if kind == 0:
            yield np.full(shape, rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e300]))
        elif kind == 1:
            yield np.full(shape, rng.integers(256), dtype=np.uint8)
        elif kind == 2:
            yield rng.integers(0, 256, shape, dtype=np.uint8)
        elif kind == 3:
            yield rng.normal(0, 1e4, shape).astype(np.float32)
        elif kind == 4:
            frame = rng.uniform(0, 255, shape)
            frame[rng.random(shape) < 0.3] = np.nan
            yield frame
        elif kind == 5:
            yield rng.integers(0, 256, (1, 1, 3), dtype=np.uint8)
        elif kind == 6:
            yield np.kron(rng.uniform(0, 255, (side // 8, side // 8, 3)), np.ones((8, 8, 1))).astype(np.float16)
        elif kind == 7:
            yield rng.uniform(0, 1, shape)
        elif kind == 8:
            yield rng.uniform(0, 255, (side, side))
        else:
            yield np.zeros((0, 0, 3))


def check_valid(codec, decoded, box):
    label = decoded.label
    assert 0.0 <= decoded.confidence <= 1.0
    assert all(np.isfinite(v) for v in decoded.details.values())
    if isinstance(codec, ImageCodec):
        assert label.shape == (*box.source, 3)
        assert label.dtype == np.uint8
    elif isinstance(codec, MaskCodec):
        assert label.shape == box.source
        assert label.dtype == np.bool_
    elif isinstance(codec, LabelMapCodec):
        assert label.shape == box.source
        assert label.dtype == np.uint8
        assert label.max() < codec.num_classes
    elif isinstance(codec, KeypointCodec):
        assert label.shape == (codec.num_joints, 3)
        assert np.isfinite(label).all()
        assert set(label[:, 2]) <= {0.0, 2.0}
    else:
        assert label.dtype == np.int64
        assert label.ndim == 2
        assert all(1 <= side <= 30 for side in label.shape)
        assert label.min() >= 0
        assert label.max() <= 9


@pytest.mark.parametrize(
    "codec",
    [ImageCodec(), MaskCodec(), LabelMapCodec(8, smooth=True), KeypointCodec(5), GridCodec(2), GridCodec(7)],
    ids=lambda c: f"{type(c).__name__}-{c.spec_hash[:4]}",
)
def test_no_frame_raises_and_every_label_is_valid(codec):
    box = Letterbox((48, 48), (48, 48))
    for frame in junk_frames(0, 100, 48):
        check_valid(codec, codec.decode(frame, box), box)


@pytest.mark.slow
def test_fuzz_ten_thousand_frames():
    codecs = [ImageCodec(), MaskCodec(), LabelMapCodec(8, smooth=True), KeypointCodec(17), GridCodec(2), GridCodec(7)]
    box = Letterbox((48, 48), (48, 48))
    for i, frame in enumerate(junk_frames(1, 10_000, 48)):
        codec = codecs[(i // 10) % len(codecs)]
        check_valid(codec, codec.decode(frame, box), box)


@given(st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_tiny_canvases_do_not_raise(height, width):
    box = Letterbox((height, width), (height, width))
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for codec in (ImageCodec(), MaskCodec(), LabelMapCodec(3, smooth=True), KeypointCodec(3), GridCodec(2)):
        check_valid(codec, codec.decode(frame, box), box)
