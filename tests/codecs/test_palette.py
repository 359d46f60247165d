import numpy as np
import pytest

from vdmfewshot.codecs.palette import ARC_PALETTE, estimate_shift, max_min_palette, nearest


def smallest_distance(colors):
    table = np.array(colors, dtype=float)
    gaps = np.linalg.norm(table[:, None] - table[None], axis=-1)
    return gaps[~np.eye(len(table), dtype=bool)].min()


@pytest.mark.parametrize(("n", "least"), [(1, 441), (3, 360), (7, 255), (11, 159), (17, 131)])
def test_max_min_palette_reaches_the_known_distances_with_black(n, least):
    assert smallest_distance([(0, 0, 0), *max_min_palette(n)]) >= least


def test_max_min_palette_keeps_away_from_anchors():
    anchors = ((255, 0, 0), (0, 255, 0))
    assert smallest_distance([*anchors, *max_min_palette(6, anchors)]) > 200


def test_smallest_arc_distance_is_red_to_orange():
    assert 73 <= smallest_distance(ARC_PALETTE) < 74


def test_nearest_agrees_with_brute_force():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (40, 30, 3)).astype(np.float32)
    brute = np.linalg.norm(pixels[..., None, :] - np.array(ARC_PALETTE), axis=-1).argmin(-1)
    assert (nearest(pixels, ARC_PALETTE) == brute).all()


@pytest.mark.parametrize("shift", [(60, -60, 30), (-60, -60, -60), (60, 60, 60), (0, 0, 0)])
def test_shift_is_found_although_frames_saturate(shift):
    index = np.random.default_rng(1).integers(0, 8, 4000)
    colors = np.array([(0, 0, 0), *max_min_palette(7, ((0, 0, 0), (255, 255, 255)))], dtype=np.float32)
    pixels = np.clip(colors[index] + np.array(shift), 0, 255).astype(np.float32)
    found = estimate_shift(pixels, colors)
    assert (nearest(pixels, np.clip(colors + found, 0, 255)) == index).all()


def test_palette_of_no_colour_is_refused():
    with pytest.raises(ValueError, match="got n=0"):
        max_min_palette(0)
