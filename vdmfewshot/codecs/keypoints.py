"""Keypoints: one coloured disc per joint on black, read by a matched filter."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.palette import Color, estimate_shift, max_min_palette, shifted

Points = NDArray[np.float64]
Maps = NDArray[np.float32]

#: least matched-filter response of a drawn joint; a full disc has 1, a disc half covered by its neighbours about 0.5
MIN_RESPONSE = 0.2

#: a mean response below this is a dim drawing, which is looked at again with more light
DIM = 0.5
#: factors of brightness that are tried, smallest first: at most so many times darker than drawn can a disc be found
GAINS = (1.4, 2.0, 2.8, 4.0, 5.6, 8.0)

#: weight of the squared distance along a joint's line to its full colour, against that off the line
_FADE = 0.12


class KeypointCodec(Codec[Points]):
    """Label = (J, 3) float64: x, y in source pixels (top-left pixel centre at 0.5, 0.5) and COCO visibility v.

    v = 0 is missing (not drawn, decoded as 0, 0, 0), 1 occluded and 2 visible are drawn alike and decoded as 2.
    Where discs overlap, the nearest joint owns the pixel, so that no joint is erased by drawing order.

    Args:
        num_joints: J, 1 to 64. Joints 1-2, 3-4, ... (left and right in COCO order) get the most different colours.
        radius: radius of a disc as a share of the canvas's shorter side.
    """

    def __init__(self, num_joints: int = 17, radius: float = 0.04) -> None:
        if not 1 <= num_joints <= 64:
            raise ValueError(f"num_joints must be 1 to 64, got {num_joints}; split more joints over several clips")
        if not 0.01 <= radius <= 0.25:
            raise ValueError(f"radius must be 0.01 to 0.25 of the shorter side, got {radius}")
        self.num_joints = num_joints
        self.radius = radius

    @property
    def palette(self) -> tuple[Color, ...]:
        """Colour of each joint."""
        return _joint_palette(self.num_joints)

    def encode(self, label: Points, box: Letterbox) -> NDArray[np.uint8]:
        """Draw anti-aliased discs.

        Raises:
            ValueError: if the label is not (J, 3), holds non-finite coordinates or a v other than 0, 1, 2.
        """
        points = np.asarray(label, dtype=np.float64)
        if points.shape != (self.num_joints, 3):
            raise ValueError(f"keypoints must be ({self.num_joints}, 3) rows of x, y, v, got {points.shape}")
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            raise ValueError(f"visibility must be 0, 1 or 2, got {sorted(set(points[:, 2].tolist()))}")
        drawn = points[:, 2] > 0
        if not np.isfinite(points[drawn]).all():
            raise ValueError("coordinates of drawn keypoints must be finite")
        alpha = discs(box.points_to_canvas(points[drawn, :2]), box.canvas, self._pixels(box))
        colors = np.array(self.palette, dtype=np.float32)[drawn]
        frame: NDArray[np.uint8] = np.rint(np.tensordot(alpha, colors, axes=(0, 0))).astype(np.uint8)
        return frame

    def decode(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> Decoded[Points]:
        """Find every joint by correlation with its disc, to a fraction of a pixel.

        A model that is not sure answers with dim discs, the mean of what it takes for possible: see ``lit``.

        Returns:
            (J, 3) points; confidence is the mean response of the joints found (0 when none is), details hold it as
            ``score`` with each joint's response as ``score_0`` ... ``score_{J-1}``. Dim discs have small responses.
        """
        radius = self._pixels(box)
        likeness, peaks, scores, gain = lit(on_canvas(frame, box), self.palette, radius)
        found = scores >= MIN_RESPONSE
        points = np.zeros((self.num_joints, 3))
        if found.any():
            points[found, :2] = box.points_to_source(refine(likeness[found], peaks[found], radius))
            points[found, 2] = 2.0
        scores = scores / gain
        mean = float(scores[found].mean()) if found.any() else 0.0
        details = {"score": mean} | {f"score_{j}": float(score) for j, score in enumerate(scores)}
        return Decoded(points, confidence=min(1.0, mean), details=details)

    def _pixels(self, box: Letterbox) -> float:
        """Disc radius in canvas pixels, at least 1.5 so that a disc has an inside."""
        return max(1.5, self.radius * min(box.canvas))

    def spec(self) -> dict[str, Any]:
        """Number of joints and relative radius."""
        return {"num_joints": self.num_joints, "radius": self.radius}


@functools.lru_cache(maxsize=16)
def _joint_palette(num_joints: int) -> tuple[Color, ...]:
    """Max-min colours away from black, ordered so that the joints 2k-1 and 2k (left and right) differ most.

    Pairs exchange partners for as long as that raises the smaller of their two distances.
    """
    colors = np.array(max_min_palette(num_joints))
    pairs = [(k, k + 1) for k in range(1, num_joints - 1, 2)]

    def gap(*of: tuple[int, int]) -> float:
        return min(float(np.linalg.norm(colors[a] - colors[b])) for a, b in of)

    improved = True
    while improved:
        improved = False
        for (a, b), (c, d) in itertools.combinations(pairs, 2):
            for x, y in ((c, d), (d, c)):
                if gap((a, x), (b, y)) > gap((a, b), (c, d)):
                    # a's new partner x moves to b's place
                    colors[[b, x]] = colors[[x, b]]
                    improved = True
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def _grid(size: tuple[int, ...]) -> tuple[Points, Points]:
    """Pixel centres of a (H, W) frame: x of shape (1, W) and y of shape (H, 1)."""
    return np.arange(size[1], dtype=np.float64)[None] + 0.5, np.arange(size[0], dtype=np.float64)[:, None] + 0.5


def discs(centres: Points, size: tuple[int, int], radius: float) -> Maps:
    """(J, 2) centres (x, y) in pixels → (J, H, W) coverage in [0, 1] of discs; the nearest joint owns a pixel."""
    if len(centres) == 0:
        return np.zeros((0, *size), dtype=np.float32)
    x, y = _grid(size)
    distance = np.hypot(x - centres[:, 0, None, None], y - centres[:, 1, None, None])
    owner = distance.argmin(axis=0)
    coverage = np.clip(radius + 0.5 - distance, 0.0, 1.0)
    coverage[owner[None] != np.arange(len(centres))[:, None, None]] = 0.0
    maps: Maps = coverage.astype(np.float32)
    return maps


def color_likeness(frame: NDArray[np.float32], palette: tuple[Color, ...]) -> Maps:
    """(H, W, 3) frame → (J, H, W) share in [0, 1] of each joint's colour in each pixel, after a global colour shift.

    A pixel belongs to the joint whose line from the background colour to its own passes nearest, with a preference for
    the full colour, since a muted colour lies near the line of a bright one. Its share is the place on that line, so
    that edges that fade into the background keep their sub-pixel weight, minus what is off the line.
    """
    table = np.array([(0, 0, 0), *palette], dtype=np.float32)
    table = shifted(table, estimate_shift(frame[::2, ::2].reshape(-1, 3), table))
    flat, rays = frame.reshape(-1, 3) - table[0], table[1:] - table[0]
    lengths = np.maximum((rays**2).sum(axis=1), 1.0)
    along = flat @ rays.T
    share = np.clip(along / lengths, 0.0, 1.0)
    off_ray = (flat**2).sum(axis=1)[:, None] - 2.0 * share * along + share**2 * lengths
    owner = (off_ray + _FADE * (1.0 - share) ** 2 * lengths).argmin(axis=1)
    pixel = np.arange(len(flat))
    error = np.sqrt(np.maximum(off_ray[pixel, owner], 0.0))
    maps = np.zeros((len(palette), len(flat)), dtype=np.float32)
    maps[owner, pixel] = np.clip(share[pixel, owner] - error / 128.0, 0.0, 1.0)
    return maps.reshape(len(palette), *frame.shape[:2])


def lit(
    frame: NDArray[np.float32], palette: tuple[Color, ...], radius: float
) -> tuple[Maps, Points, NDArray[np.float64], float]:
    """What ``color_likeness`` and ``matched_filter`` find, in the brightness in which they find most.

    A clearly drawn frame is taken as it is. Of a dim one, the gain counts that gives the joints found the highest sum
    of responses: too much light makes muted colours bright ones and loses more than it finds.

    Returns:
        (J, H, W) likeness, (J, 2) peaks, (J,) responses, and the gain.
    """

    def seen(gain: float) -> tuple[Maps, Points, NDArray[np.float64], float]:
        likeness = color_likeness(np.minimum(frame * gain, 255.0), palette)
        return likeness, *matched_filter(likeness, radius), gain

    first = seen(1.0)
    found = first[2][first[2] >= MIN_RESPONSE]
    if len(found) and found.mean() >= DIM:
        return first
    # noise has bright pixels among dark ones: it is given no more light than a drawing with such pixels can need
    most = 2.0 * 255.0 / max(1.0, float(np.quantile(frame, 0.999)))
    views = (first, *(seen(gain) for gain in GAINS if gain <= most))
    return max(views, key=lambda view: view[2][view[2] >= MIN_RESPONSE].sum())


def matched_filter(likeness: Maps, radius: float) -> tuple[Points, NDArray[np.float64]]:
    """Best disc position per (H, W) map: (J, 2) x, y in pixels and (J,) responses.

    The kernel is a disc minus the ring around it: 1 on an isolated disc, 0 on a uniformly coloured frame.
    """
    reach = int(np.ceil(1.5 * radius)) + 1
    offsets = np.arange(-reach, reach + 1)
    distance = np.hypot(offsets[None], offsets[:, None])
    disc = (distance <= radius).astype(np.float32)
    ring = ((distance > radius + 1.0) & (distance <= 1.5 * radius + 1.0)).astype(np.float32)
    kernel = disc / disc.sum() - ring / ring.sum()
    responses = np.stack([cv2.filter2D(m, -1, kernel, borderType=cv2.BORDER_REPLICATE) for m in likeness])
    flat = responses.reshape(len(likeness), -1)
    rows, cols = np.unravel_index(flat.argmax(axis=1), likeness.shape[1:])
    return np.stack([cols + 0.5, rows + 0.5], axis=1), flat.max(axis=1).astype(np.float64)


def refine(likeness: Maps, peaks: Points, radius: float, rounds: int = 4) -> Points:
    """Sub-pixel positions of (J, 2) peaks: local centroids, corrected for what neighbouring discs cover.

    Where discs overlap, the visible part of a disc lies off its centre. Each round draws the discs at the current
    estimate and moves every joint by the difference of the seen and the drawn centroid, in a patch around its peak.
    """
    patch = _patches(peaks, radius, likeness.shape[1:])
    own = np.arange(len(peaks))[:, None, None]
    seen = likeness[own, patch[1], patch[0]]
    x, y = (indices.astype(np.float64) + 0.5 for indices in patch)
    estimate = peaks.copy()
    for _ in range(rounds):
        distance = np.hypot(x[None] - estimate[:, 0, None, None, None], y[None] - estimate[:, 1, None, None, None])
        to_own = distance[np.arange(len(peaks)), np.arange(len(peaks))]
        drawn = np.where(distance.argmin(axis=0) == own, np.clip(radius + 0.5 - to_own, 0.0, 1.0), 0.0)
        window = to_own <= radius + 2.0
        move = _centroids(seen * window, x, y, estimate) - _centroids(drawn * window, x, y, estimate)
        estimate = estimate + np.clip(move, -radius, radius)
    return estimate


def _patches(peaks: Points, radius: float, size: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row indices, each (J, P, P), of a square around every peak; squares at the edge are moved inwards."""
    reach = int(np.ceil(radius)) + 4
    side = [min(2 * reach + 1, length) for length in size]
    corner = np.clip(peaks.astype(np.int64) - reach, 0, np.array([size[1] - side[1], size[0] - side[0]]))
    columns = corner[:, 0, None, None] + np.arange(side[1])[None, None]
    rows = corner[:, 1, None, None] + np.arange(side[0])[None, :, None]
    shape = (len(peaks), side[0], side[1])
    return np.broadcast_to(columns, shape), np.broadcast_to(rows, shape)


def _centroids(weights: NDArray[np.floating[Any]], x: Points, y: Points, fallback: Points) -> Points:
    """(J, P, P) weights at positions x, y → (J, 2) centroids; ``fallback`` where a patch is empty."""
    total = weights.sum(axis=(1, 2), dtype=np.float64)
    sums = np.stack([(weights * x).sum(axis=(1, 2)), (weights * y).sum(axis=(1, 2))], axis=1)
    return np.where(total[:, None] > 0.0, sums / np.maximum(total, 1e-9)[:, None], fallback)
