"""Depth, normals and classes as pictures: back within the stated error, and illegal labels refused."""

from __future__ import annotations

import numpy as np
import pytest

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import AnswerCodec, DepthCodec, NormalCodec

BOX = Letterbox((32, 48), (32, 48))


def unit_vectors(rng):
    vectors = rng.normal(size=(32, 48, 3))
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def test_depth_comes_back_to_half_a_grey_level_within_its_limits():
    codec = DepthCodec(0.5, 3.0)
    depth = np.random.default_rng(0).uniform(0.5, 3.0, (32, 48))
    decoded = codec.decode(codec.encode(depth, BOX), BOX)
    assert np.abs(decoded.label - depth).max() <= 2.5 / 510 + 1e-5
    assert decoded.confidence == 1
    beyond = codec.decode(codec.encode(np.where(depth > 2, 9.0, depth), BOX), BOX).label
    assert beyond[depth > 2] == pytest.approx(3.0)


def test_normals_come_back_within_half_a_degree():
    codec, normals = NormalCodec(), unit_vectors(np.random.default_rng(0))
    decoded = codec.decode(codec.encode(normals, BOX), BOX)
    assert np.degrees(np.arccos(np.clip((decoded.label * normals).sum(axis=2), -1, 1))).max() < 0.5
    assert decoded.confidence > 0.95
    assert np.linalg.norm(decoded.label, axis=2) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("classes", [2, 6, 16])
def test_classes_come_back_under_noise_and_a_colour_cast(classes):
    codec, rng = AnswerCodec(classes), np.random.default_rng(0)
    for label in range(classes):
        frame = codec.encode(label, BOX) + rng.normal(0, 12, 3) + rng.normal(0, 15, (32, 48, 3))
        decoded = codec.decode(frame, BOX)
        assert decoded.label == label
        assert decoded.confidence > 0.8


@pytest.mark.parametrize("codec", [AnswerCodec(6), DepthCodec(1, 2), NormalCodec()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("level", [0, 128, 255, np.nan])
def test_a_blank_frame_answers_nothing(codec, level):
    assert codec.decode(np.full((32, 48, 3), level), BOX).confidence == 0


def test_a_frame_of_two_classes_is_unsure():
    codec = AnswerCodec(6)
    frame = codec.encode(1, BOX).copy()
    frame[:, :20] = codec.palette[4]
    decoded = codec.decode(frame, BOX)
    assert decoded.label == 1
    assert decoded.confidence == pytest.approx(8 / 48)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DepthCodec(2, 1), "near=2, far=1"),
        (lambda: DepthCodec(1, 2).encode(np.ones((32, 48), int), BOX), "floating point metres"),
        (lambda: DepthCodec(1, 2).encode(np.zeros((32, 48)), BOX), "above 0 metres"),
        (lambda: DepthCodec(1, 2).encode(np.full((32, 48), np.inf), BOX), "finite"),
        (lambda: NormalCodec().encode(np.ones((32, 48, 3)), BOX), "length 1, got 1.732"),
        (lambda: NormalCodec().encode(np.ones((32, 48)), BOX), r"\(h, w, 3\)"),
        (lambda: AnswerCodec(1), "2 to 16"),
        (lambda: AnswerCodec(3).encode(3, BOX), "0 to 2, got 3"),
        (lambda: AnswerCodec(3).encode(1.0, BOX), "whole number"),
        (lambda: AnswerCodec(3).encode(True, BOX), "whole number"),
    ],
)
def test_illegal_labels_and_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
