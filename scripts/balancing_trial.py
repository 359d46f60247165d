"""The people of Pose2Sim's balancing trial: which frames are used, and where in them the person is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

import av
import cv2
import numpy as np
from numpy.typing import NDArray

TRIAL = "Pose2Sim/S00_Demo_BatchSession/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial"
CAMERAS = ("cam01", "cam02", "cam03", "cam04")
#: frames of each camera
TIMES = {"train": range(0, 48, 6), "test": (60, 68, 76, 84, 92, 99)}


def people(archive: ZipFile) -> Iterator[tuple[str, str, NDArray[np.uint8], NDArray[np.float64]]]:
    """Part, name, frame and joints of the person, part by part and camera by camera."""
    frames = {camera: read_video(archive, f"{TRIAL}/videos/{camera}.mp4") for camera in CAMERAS}
    for part, times in TIMES.items():
        for camera, t in [(camera, t) for camera in CAMERAS for t in times]:
            labels = json.loads(archive.read(f"{TRIAL}/pose/{camera}_json/{camera}.{t:04d}.json"))
            yield part, f"{camera}-{t:03d}", frames[camera][t], largest(labels)


def read_video(archive: ZipFile, member: str) -> list[NDArray[np.uint8]]:
    """All frames, (height, width, 3) RGB."""
    with av.open(io.BytesIO(archive.read(member))) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def largest(labels: dict[str, Any]) -> NDArray[np.float64]:
    """(17, 3) x, y, confidence of the person with the largest box; BODY_25B begins with the COCO joints."""
    people = [np.reshape(person["pose_keypoints_2d"], (25, 3))[:17] for person in labels["people"]]
    return max(people, key=lambda joints: float(np.prod(np.ptp(joints[joints[:, 2] > 0.2, :2], axis=0))))


def box(joints: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the extent of the joints that are seen, plus 10 % a side."""
    seen = joints[joints[:, 2] > 0.2, :2]
    low, high = seen.min(axis=0), seen.max(axis=0)
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def square_around(joints: NDArray[np.float64], factor: float) -> tuple[int, int, int]:
    """Left, top and side of the square around the middle of the box."""
    low, high = box(joints)
    side = round(factor * float((high - low).max()))
    left, top = np.round((low + high) / 2 - side / 2).astype(int).tolist()
    return left, top, side


def cut(frame: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square of the frame, black beyond it."""
    framed = cv2.copyMakeBorder(frame, side, side, side, side, cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(framed[top + side : top + 2 * side, left + side : left + 2 * side])
