"""Build ``vdmfewshot/data/samples/person-masks`` from Pose2Sim's demo, with masks made by MediaPipe Pose.

Run it only to change them: ``python scripts/make_person_masks.py [--wheels DIR]``, in an environment of its own
with ``mediapipe==0.10.21 av pillow tifffile`` (MediaPipe wants NumPy 1 and an old protobuf). Nobody drew these masks:
a model found the person. They follow the outline closely but are no ground truth, as the manifest and NOTICE say.
Frames and split are those of ``people``; see ``make_fixtures.py`` for the checks on the wheel.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import make_fixtures as fixtures
import mediapipe
import numpy as np
from balancing_trial import cut, people, square_around
from numpy.typing import NDArray

TOOL = "0.10.21"
#: px of a side of the crops
SIZE = 128


def build_masks(archive: ZipFile, folder: Path) -> str:
    """Square crops around one person, and where that person is in them."""
    if mediapipe.__version__ != TOOL:
        raise SystemExit(f"mediapipe must be {TOOL}, got {mediapipe.__version__}")
    model = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True)
    for part, name, frame, joints in people(archive):
        picture = cut(frame, *square_around(joints, 1.6))
        mask = model.process(picture).segmentation_mask
        if mask is None:
            raise SystemExit(f"{name}: MediaPipe finds nobody")
        shown, mask = (shrink(middle(pixels, 1.25 / 1.6)) for pixels in (picture, mask))
        fixtures.save_pair(folder / part, name, shown, mask > 0.5, ".jpg")
    return (
        "Balancing trial, frames and split of people; crops of 128 px, 1.25 times the box. Masks are the output of "
        f"MediaPipe Pose {TOOL} (Apache-2.0), full model, above .5: reference masks, not ground truth. People in the "
        "background are not in them."
    )


def middle(pixels: NDArray[Any], share: float) -> NDArray[Any]:
    """The central part with ``share`` of the side."""
    edge = round((1 - share) / 2 * len(pixels))
    return pixels[edge : len(pixels) - edge, edge : len(pixels) - edge]


def shrink(pixels: NDArray[Any]) -> NDArray[Any]:
    """``SIZE`` pixels a side, as means of areas."""
    return np.asarray(cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with Pose2Sim's wheel; downloaded if not given")
    wheels = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as scratch:
        sample = fixtures.Sample(fixtures.POSE2SIM, build_masks)
        fixtures.update_manifest("person-masks", fixtures.build("person-masks", sample, wheels or Path(scratch)))
