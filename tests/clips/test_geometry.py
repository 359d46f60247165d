from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdmfewshot.clips.geometry import Letterbox, resize

SIDES = st.integers(1, 300)


@given(SIDES, SIDES, st.integers(16, 128), st.integers(16, 128), st.integers(0, 99))
def test_points_come_back_where_they_were(h: int, w: int, height: int, width: int, seed: int) -> None:
    box = Letterbox((h, w), (height, width))
    points = np.random.default_rng(seed).uniform(0, [w, h], (5, 2))
    np.testing.assert_allclose(box.points_to_source(box.points_to_canvas(points)), points, atol=1e-9)


@given(SIDES, SIDES, st.integers(16, 128), st.integers(16, 128))
def test_the_picture_lies_within_the_canvas_and_touches_it_in_one_direction(
    h: int, w: int, height: int, width: int
) -> None:
    box = Letterbox((h, w), (height, width))
    placed = box.place(np.full((h, w), 255, np.uint8))
    assert placed.shape == (height, width)
    assert placed.sum() == 255 * box.size[0] * box.size[1]
    assert box.size[0] == height or box.size[1] == width


def test_a_corner_maps_to_the_corner_of_the_window() -> None:
    box = Letterbox((50, 100), (96, 96))
    assert (box.size, box.offset) == ((48, 96), (24, 0))
    np.testing.assert_allclose(box.points_to_canvas(np.array([[0.0, 0.0], [100.0, 50.0]])), [[0, 24], [96, 72]])


def test_place_and_restore_are_inverse_without_resizing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 96, 3), dtype=np.uint8)
    box = Letterbox((40, 96), (96, 96))
    np.testing.assert_array_equal(box.restore(box.place(picture).astype(np.float32)), picture)


def test_nearest_invents_no_label() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 3, 7], np.uint8), (37, 53))
    box = Letterbox((37, 53), (96, 96))
    assert set(np.unique(box.place(labels, nearest=True)[box.window])) <= {0, 3, 7}


def test_the_wrong_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"must be of size \(4, 5\).*got \(5, 4\)"):
        Letterbox((4, 5), (8, 8)).place(np.zeros((5, 4), np.uint8))


def test_resize_keeps_the_mean() -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (64, 64, 3)).astype(np.float32)
    assert resize(picture, (16, 16)).mean() == pytest.approx(picture.mean(), rel=1e-4)
