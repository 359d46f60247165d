import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import vdmfewshot.data
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.examples import picture_digest
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.data.segmentation import MaskFolderDataModule

SAMPLES = Path(vdmfewshot.data.__file__).parent / "samples"
MANIFEST = json.loads((SAMPLES / "MANIFEST.json").read_text())
ROOT = Path(__file__).parents[2]


def masks(name, **kwargs):
    return MaskFolderDataModule(f"sample:{name}", **kwargs)


def people(**kwargs):
    return CocoPoseDataModule(
        "sample:people/images", "sample:people/train.json", test_annotations="sample:people/test.json", **kwargs
    )


#: name, data module, training pairs, test pairs
SETS = [
    ("nuclei", lambda: masks("nuclei"), 30, 40),
    ("cells", lambda: masks("cells"), 15, 12),
    ("nuclei-dense", lambda: masks("nuclei-dense"), 8, 8),
    ("people", people, 32, 24),
    ("person-masks", lambda: masks("person-masks"), 32, 24),
]


@pytest.mark.parametrize(("name", "make", "train", "test"), SETS, ids=[row[0] for row in SETS])
def test_samples_load_encode_decode_and_score(name, make, train, test):
    data = make()
    data.setup("fit")
    assert (len(data.support), len(data.queries("test"))) == (train, test)
    metric = data.make_metric()
    for pair in data.queries("test"):
        frame = data.codec.encode(pair.target, data.box(pair))
        metric.update(metric.measure([data.decode(frame, pair)], pair))
    assert metric.compute()[metric.main] > 0.9
    assert len({picture_digest(pair) for pair in [*data.support, *data.queries("test")]}) == train + test


@pytest.mark.parametrize("name", ["nuclei", "nuclei-dense"])
def test_nuclei_are_brighter_than_what_surrounds_them(name):
    data = masks(name)
    data.setup("fit")
    for pair in data.support:
        grey = pair.image[..., 0].astype(float)
        assert np.median(grey[pair.target]) > 1.5 * np.median(grey[~pair.target])


def test_cells_are_rougher_than_the_gap():
    data = masks("cells")
    data.setup("fit")
    rough = []
    for pair in data.support:
        grey = pair.image[..., 0].astype(float)
        inside, outside = grey[pair.target].std(), grey[~pair.target].std()
        rough.append(inside > outside)
    assert np.mean(rough) > 0.9


def test_labelled_joints_lie_in_the_box_and_on_the_person():
    data = people()
    data.setup("fit")
    assert not data.skipped
    for pair in [*data.support, *data.queries("test")]:
        x, y, width, height = pair.meta["bbox"]
        joints = pair.target[pair.target[:, 2] > 0]
        assert len(joints) >= 12
        assert ((joints[:, :2] >= (x, y)) & (joints[:, :2] <= (x + width, y + height))).all()
        side = max(pair.image.shape)
        assert max(width, height) == pytest.approx(side / 1.25, rel=0.02)
        hips = pair.target[[11, 12], 1].mean()
        shoulders = pair.target[[5, 6], 1].mean()
        assert shoulders < hips


def test_masks_of_a_person_cover_the_joints_that_another_model_found():
    """Both samples show the same frames, cropped to 1.25 times the same box, at different sizes."""
    joints, pictures = people(), masks("person-masks")
    joints.setup("fit")
    pictures.setup("fit")
    found = {p.key[:9]: p.target[:, :2] / p.image.shape[0] for p in [*joints.support, *joints.queries("test")]}
    covered = []
    for pair in [*pictures.support, *pictures.queries("test")]:
        shoulders_and_hips = found[pair.key[-9:]][[5, 6, 11, 12]]
        x, y = (shoulders_and_hips * len(pair.target)).astype(int).T
        covered += pair.target[y, x].tolist()
        assert 0.05 < pair.target.mean() < 0.2
    assert np.mean(covered) > 0.98


def test_splits_are_apart_in_time():
    frames = {
        part: {
            int(record["file_name"][6:9])
            for record in json.loads((SAMPLES / "people" / f"{part}.json").read_text())["images"]
        }
        for part in ("train", "test")
    }
    masked = {
        part: {int(f.stem[6:9]) for f in (SAMPLES / "person-masks" / part / "images").iterdir()} for part in frames
    }
    assert masked == frames
    assert max(frames["train"]) + 15 <= min(frames["test"])
    for name in ("nuclei", "cells"):
        times = {
            part: {int(f.name[1]) for f in (SAMPLES / name / part / "images").iterdir()} for part in ("train", "test")
        }
        assert max(times["train"]) + 2 <= min(times["test"])


def test_manifest_lists_exactly_the_files_that_ship():
    shipped = {p.relative_to(SAMPLES).as_posix() for p in SAMPLES.rglob("*") if p.is_file()} - {"MANIFEST.json"}
    listed = {f"{name}/{file}": digest for name, entry in MANIFEST.items() for file, digest in entry["files"].items()}
    assert shipped == set(listed)
    assert all(hashlib.sha256((SAMPLES / file).read_bytes()).hexdigest() == digest for file, digest in listed.items())
    assert sum((SAMPLES / file).stat().st_size for file in listed) < 4_000_000


def test_every_source_is_credited():
    notice = (ROOT / "NOTICE").read_text()
    for name, entry in MANIFEST.items():
        assert f"samples/{name}" in notice
        assert entry["licence"] in {"BSD-3-Clause", "Apache-2.0"}
        assert f"{entry['source']['version']}" in notice
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_manifest_agrees_with_the_build_script():
    script = (ROOT / "scripts" / "make_fixtures.py").read_text()
    for entry in MANIFEST.values():
        assert entry["source"]["sha256"] in script
        assert f'"{entry["source"]["version"]}"' in script


def test_miniarc_on_a_small_canvas():
    data = ArcDataModule(task="yflip_l699qy8cyl67x9b0h3h", source="miniarc")
    data.setup()
    for pair in data.support:
        drawn = data.codec.decode(pair.image, data.box(pair)).label
        assert drawn.shape == pair.target.shape == (5, 5)
