"""Every picture task: answers come back, queries differ from what is shown, one file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import LabelMapCodec
from vdmfewshot.data.generated import environments, physics, pictures, shapes, styles
from vdmfewshot.data.generated.picture_data import PictureDataModule, make_picture
from vdmfewshot.data.generated.picture_tasks import PICTURES

EXPERIMENTS = Path(__file__).parents[3] / "experiments" / "tasks"


def skip_without(name: str) -> None:
    if PICTURES[name].missing:
        pytest.skip(f"needs the extra {PICTURES[name].missing}")


@pytest.mark.parametrize("name", PICTURES)
def test_a_drawn_answer_scores_best_and_pairs_are_reproducible(name: str) -> None:
    skip_without(name)
    data = PictureDataModule(name, height=64, width=64, shots=1, max_queries=1)
    data.setup()
    for pair in (*data.support, *data.queries("test")):
        frame = data.codec.encode(pair.target, data.box(pair))
        assert frame.shape == pair.image.shape == (64, 64, 3)
        metric = data.make_metric()
        metric.update(metric.measure([data.decode(frame.astype(np.float32), pair)], pair))
        score = float(metric.compute()[metric.main])
        assert score > (99 if metric.main == "psnr_db" else 0.99)
        _, part, seed, index = pair.key.rsplit("-", 3)
        make_picture.cache_clear()
        again, label = make_picture(name, 64, part, int(seed), int(index))
        assert (again == pair.image).all()
        assert np.array_equal(label, pair.target)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_task_has_its_file(name: str) -> None:
    skip_without(name)
    config = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())
    assert config["data"]["init_args"]["task"] == name
    PictureDataModule(**config["data"]["init_args"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"depth needs pybullet: pip install 'vdmfewshot\[physics\]'"):
        PictureDataModule("depth")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"task": "cubism"}, "task must be one of zoom"), ({"task": "zoom", "width": 64}, "must be equal .* 96 x 64")],
)
def test_illegal_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PictureDataModule(**options)


def test_styles_do_what_they_say() -> None:
    pytest.importorskip("skimage")
    image, _ = make_picture("zoom", 96, "support", 0, 0)
    blocks = styles.pixels(image)
    assert (blocks == blocks[::6, ::6].repeat(6, 0).repeat(6, 1)).all()
    assert len(np.unique(blocks)) <= styles.LEVELS
    cells, joints = styles.mosaic_cells(96)
    painted = styles.mosaic(image)
    for number in np.unique(cells)[::7]:
        inside = (cells == number) & ~joints
        assert len(np.unique(painted[inside], axis=0)) == 1
        assert np.abs(painted[inside][0] - image[cells == number].mean(axis=0)).max() <= 0.51
    assert set(np.unique(styles.woodcut(image))) <= set(np.unique(blocks)) | {0, 64, 128, 191, 255}


def test_a_jigsaw_has_the_quarters_of_the_photo_elsewhere() -> None:
    pytest.importorskip("skimage")
    mixed, photo = pictures.jigsaw(np.random.default_rng(3), 64, "query")

    def quarters(p: np.ndarray) -> list[bytes]:
        return [p[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]

    assert sorted(quarters(mixed)) == sorted(quarters(photo))
    assert all(a != b for a, b in zip(quarters(mixed), quarters(photo), strict=True))


def test_a_coast_follows_from_its_areas_in_both_directions() -> None:
    rng = np.random.default_rng(0)
    mask, image = environments.mask_to_image(rng, 64, "support")
    label = LabelMapCodec(environments.CLASSES).decode(mask, Letterbox((64, 64), (64, 64))).label
    assert (environments.painted(label) == image).all()
    assert set(np.unique(label)) == set(range(environments.CLASSES))
    again, areas = environments.image_to_mask(np.random.default_rng(0), 64, "support")
    assert (again == image).all()
    assert (areas == label).all()


def test_every_shape_is_drawn_as_often_and_differs_from_the_background() -> None:
    rng = np.random.default_rng(0)
    numbers = [shapes.shape(rng, 64, "support")[1] for _ in range(240)]
    counts = np.bincount(numbers, minlength=len(shapes.SHAPES))
    assert counts.min() > 20
    area = {}
    for name in shapes.SHAPES:
        x, y = shapes.corners(name).T
        area[name] = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area["disc"] > area["square"] > area["triangle"] > area["star"]


def test_normals_of_a_tilted_plane_are_its_own() -> None:
    """A plane n·p = -d seen by the camera: its depth is d / (n_z - n·ray), so that the answer is known."""
    size, normal = 64, np.array([0.2, 0.5, 0.8])
    normal /= np.linalg.norm(normal)
    ray = (np.arange(size) + 0.5 - size / 2) * 2 * np.tan(np.radians(physics.FIELD) / 2) / size
    metres = 0.7 / (normal[2] - normal[0] * ray[None] + normal[1] * ray[:, None])
    found = physics.surface_normals(metres)
    assert np.degrees(np.arccos(np.clip(found @ normal, -1, 1))).max() < 1.5
