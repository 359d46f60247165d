from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.samples import CASES
from vdmfewshot.callbacks.draw import (
    BLUE,
    DETAIL,
    GREY,
    ORANGE,
    WHITE,
    artist_for,
    class_colors,
    compare_grids,
    compare_images,
    compare_keypoints,
    compare_label_maps,
    draw_grid,
    draw_keypoints,
    draw_label_map,
)
from vdmfewshot.callbacks.panel import LINE, Row, fit, panel
from vdmfewshot.codecs.palette import ARC_PALETTE
from vdmfewshot.metrics import ArcMetric, SegmentationMetric

IMAGE = np.full((20, 30, 3), 100, dtype=np.uint8)


def test_false_positives_are_blue_and_misses_orange_at_half_alpha():
    truth = np.zeros((20, 30), bool)
    truth[5:15, 5:15] = True
    predicted = np.roll(truth, 8, axis=1)
    shown = compare_label_maps(predicted, truth, IMAGE)
    assert shown[10, 20].tolist() == [50 + c // 2 for c in BLUE]
    assert shown[10, 8].tolist() == [50 + c // 2 for c in ORANGE]
    assert shown[5, 8].tolist() == list(WHITE)  # outline of the truth
    assert shown[10, 13].tolist() == [100, 100, 100]  # right
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert (IMAGE == 100).all()


def test_ignored_pixels_are_no_errors():
    truth = np.full((20, 30), 255, dtype=np.uint8)
    assert (compare_label_maps(np.ones((20, 30), np.uint8), truth, IMAGE) == IMAGE).all()
    assert (draw_label_map(truth) == GREY).all()


def test_classes_differ():
    shown = draw_label_map(np.arange(9)[None])
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 9
    assert draw_label_map(np.array([[False, True]])).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_grid_cells_have_their_colours():
    grid = np.arange(10).reshape(2, 5)
    shown = draw_grid(grid)
    side = DETAIL // 5
    assert shown.shape == (2 * side, 5 * side, 3)
    for (i, j), value in np.ndenumerate(grid):
        assert shown[i * side + side // 2, j * side + side // 2].tolist() == list(ARC_PALETTE[value])


def test_wrong_cells_and_wrong_sizes():
    truth = np.zeros((2, 2), int)
    shown = compare_grids([[0, 3, 0]], truth)
    side = DETAIL // 3
    centres = shown[side // 2 :: side, side // 2 :: side][:2, :3].tolist()
    right, wrong, outside = [40] * 3, list(ORANGE), list(BLUE)
    assert centres == [[right, wrong, outside], [outside, outside, outside]]


def test_keypoints_are_drawn_where_they_are():
    points = np.zeros((17, 3))
    points[0] = (15.0, 10.0, 2)
    shown = draw_keypoints(points, IMAGE)
    scale = DETAIL / 30
    assert shown.shape[:2] == (round(20 * scale), DETAIL)
    assert shown[round(10 * scale), round(15 * scale)].tolist() == list(WHITE)
    assert shown[5, 5].tolist() == [50, 50, 50]  # dimmed, nothing of the unlabelled joints at the origin
    missed = compare_keypoints(np.zeros((17, 3)), points, IMAGE)
    assert (missed == np.array(BLUE)).all(axis=2).any()
    assert not (missed == np.array(ORANGE)).all(axis=2).any()


@pytest.mark.parametrize("bad", [np.full((17, 3), np.nan), np.full((17, 3), 1e30), np.full((17, 3), -np.inf)])
def test_keypoints_anywhere_do_not_crash(bad):
    draw_keypoints(bad, IMAGE)


def test_difference_is_dark_where_equal():
    image = np.zeros((4, 4, 3))
    image[0, 0] = 255
    shown = compare_images(image, np.zeros((4, 4, 3), np.uint8)).astype(int).sum(axis=2)
    assert shown[0, 0] > 400
    assert shown[3, 3] < 20


@pytest.mark.parametrize("name", CASES)
def test_every_metric_has_an_artist(name):
    make, sample = CASES[name]
    pair, attempts = sample(np.random.default_rng(0), 0)
    size = (100, 100) if name == "pose" else np.shape(pair.target)[:2]
    image = np.full((*size, 3), 90, dtype=np.uint8)
    artist = artist_for(make())
    for picture in (artist.draw(attempts[0].label, image), artist.compare(attempts[0].label, pair.target, image)):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1


def test_label_maps_come_with_a_legend():
    colors = class_colors(SegmentationMetric(num_classes=4), ("background", "a very long name of a class", "cell"))
    assert [name for name, _ in colors] == ["0 background", "1 a very long name of a class", "2 cell", "class 3"]
    row = Row("x", [draw_label_map(np.array([[0, 1], [2, 3]]))])
    plain, told = panel(["truth"], [row]), panel(["truth"], [row], colors)
    assert np.array_equal(told[: len(plain)], plain)
    for index, (_, color) in enumerate(colors):
        shown = told[len(plain) + index * LINE :][:LINE]
        assert (shown == color).all(axis=2).sum() > 100
    assert not class_colors(SegmentationMetric()), "a mask is white on black"
    assert not class_colors(ArcMetric())


def test_fit_keeps_pixels_and_aspect():
    picture = np.random.default_rng(0).integers(0, 256, (5, 10, 3)).astype(np.uint8)
    large = fit(picture, 200)
    assert large.shape == (100, 200, 3)
    assert (large[10::20, 10::20] == picture).all()
    assert fit(np.zeros((4000, 10, 3), np.uint8), 200).shape == (200, 1, 3)
