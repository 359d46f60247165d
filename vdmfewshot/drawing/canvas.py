"""Colours, textures and shapes that the sources draw with. Frames are (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Color = tuple[int, int, int]
Rng = np.random.Generator

NUM_FRAMES = 9

CRAYONS: tuple[Color, ...] = (
    (0, 0, 0), (255, 255, 255), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0), (170, 170, 170),
    (240, 18, 190), (255, 133, 27), (127, 219, 255), (135, 12, 37), (128, 128, 128), (255, 0, 0), (0, 255, 0),
    (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0), (128, 0, 128), (0, 128, 128),
)  # fmt: skip
"""Saturated colours of toys, signs and diagrams, which random colours seldom hit exactly."""

TRAIN_PHOTOS = ("coffee", "camera", "brick", "grass", "gravel", "astronaut", "rocket")
"""CC0 and public-domain photos bundled with scikit-image that the corpus may use."""

HELD_OUT_PHOTOS = ("chelsea", "hubble_deep_field")
"""Photos kept for validation: no training clip shows them."""


def to_frame(values: npt.ArrayLike) -> Frame:
    """Clip values to 0..255 and truncate them to uint8."""
    clipped: Frame = np.clip(np.asarray(values), 0, 255).astype(np.uint8)
    return clipped


def random_color(rng: Rng) -> Color:
    """Draw a colour: a crayon, a grey, or any RGB value."""
    kind = rng.random()
    if kind < 0.35:
        return CRAYONS[rng.integers(len(CRAYONS))]
    if kind < 0.45:
        grey = int(rng.integers(256))
        return grey, grey, grey
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def distinct_colors(rng: Rng, count: int, distance: int = 60) -> list[Color]:
    """Draw colours that differ pairwise by at least ``distance`` in L1, as far as 20 tries a colour allow."""
    colors: list[Color] = []
    for _ in range(count):
        for _ in range(20):
            color = random_color(rng)
            if all(sum(abs(a - b) for a, b in zip(color, other, strict=True)) >= distance for other in colors):
                break
        colors.append(color)
    return colors


def solid(size: int, color: Color) -> Frame:
    """A (size, size, 3) frame of one colour."""
    return np.full((size, size, 3), color, np.uint8)


def noise_field(rng: Rng, size: int, cells: int) -> Floats:
    """A smooth random field (size, size) in 0..1 with about ``cells`` bumps a side."""
    coarse = rng.random((cells + 1, cells + 1)).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(field, 0, 1), np.float64)


def blend(low: Color, high: Color, weight: Floats) -> Frame:
    """Mix two colours by a (H, W) weight in 0..1."""
    start, end = np.array(low, np.float32), np.array(high, np.float32)
    return (start + weight[..., None].astype(np.float32) * (end - start)).astype(np.uint8)


def texture(rng: Rng, size: int, photos: bool = True) -> Frame:
    """A random (size, size, 3) surface: flat, gradient, cloud, stripes, checks, grain, dots or a photo crop."""
    makers = [_flat, _gradient, _clouds, _colored_clouds, _stripes, _checks, _grain, _dots]
    if photos and photo_bank(TRAIN_PHOTOS) and rng.random() < 0.22:
        return photo_crop(rng, size, TRAIN_PHOTOS)
    return makers[rng.integers(len(makers))](rng, size)


def _flat(rng: Rng, size: int) -> Frame:
    return solid(size, random_color(rng))


def _gradient(rng: Rng, size: int) -> Frame:
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[0:size, 0:size] / size - 0.5
    weight = np.clip(0.5 + (xs * np.cos(angle) + ys * np.sin(angle)) * rng.uniform(0.5, 1.4), 0, 1)
    return blend(random_color(rng), random_color(rng), weight)


def _clouds(rng: Rng, size: int) -> Frame:
    field = noise_field(rng, size, int(rng.integers(2, 7)))
    field = field + 0.5 * noise_field(rng, size, int(rng.integers(8, 17)))
    return blend(random_color(rng), random_color(rng), np.clip(field / 1.4, 0, 1))


def _colored_clouds(rng: Rng, size: int) -> Frame:
    cells = int(rng.integers(2, 10))
    coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _stripes(rng: Rng, size: int) -> Frame:
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, size / 3)
    ys, xs = np.mgrid[0:size, 0:size]
    wave = np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * 2 * np.pi / period)
    sharpness = 1.0 if rng.random() < 0.4 else 8.0
    return blend(random_color(rng), random_color(rng), np.clip(0.5 + wave * sharpness / 2, 0, 1))


def _checks(rng: Rng, size: int) -> Frame:
    cell = int(rng.integers(4, max(5, size // 4)))
    ys, xs = np.mgrid[0:size, 0:size] // cell
    return blend(random_color(rng), random_color(rng), ((ys + xs) % 2).astype(np.float64))


def _grain(rng: Rng, size: int) -> Frame:
    base = np.array(random_color(rng), np.float32)
    grain = rng.normal(0, rng.uniform(4, 30), (size, size, 1)).astype(np.float32)
    if rng.random() < 0.6:
        grain = cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None] * 2
    return to_frame(base + grain)


def _dots(rng: Rng, size: int) -> Frame:
    frame = solid(size, random_color(rng))
    color, step = random_color(rng), int(rng.integers(7, 20))
    for y in range(step // 2, size, step):
        for x in range(step // 2, size, step):
            cv2.circle(frame, (x, y), max(1, step // 4), color, -1, cv2.LINE_AA)
    return frame


@functools.cache
def photo_bank(names: tuple[str, ...]) -> tuple[Frame, ...]:
    """Bundled scikit-image photos as RGB, or nothing when scikit-image is not installed."""
    try:
        from skimage import data
    except ImportError:
        return ()
    images = [np.asarray(getattr(data, name)()) for name in names]
    return tuple(np.stack([i] * 3, -1) if i.ndim == 2 else np.ascontiguousarray(i[..., :3]) for i in images)


def photo_crop(rng: Rng, size: int, names: tuple[str, ...]) -> Frame:
    """A random crop of a bundled photo, rescaled to (size, size, 3), maybe mirrored and tinted."""
    bank = photo_bank(names)
    photo = bank[rng.integers(len(bank))]
    side = int(rng.integers(min(size, *photo.shape[:2]), min(photo.shape[:2]) + 1))
    y, x = (int(rng.integers(limit - side + 1)) for limit in photo.shape[:2])
    crop = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.3:
        crop = np.clip(crop * rng.uniform(0.5, 1.5, 3), 0, 255)
    return np.ascontiguousarray(crop, np.uint8)


def outline(rng: Rng) -> Floats:
    """A random closed outline (K, 2) within the unit disc: disc, box, polygon, star, cross, ring sector or blob."""
    kind = int(rng.integers(7))
    if kind in (0, 1):
        return _on_circle(24) * (np.array([1.0, rng.uniform(0.4, 1)]) if kind else 1.0)
    if kind == 2:
        half = rng.uniform(0.35, 0.95)
        return np.array([[-0.95, -half], [0.95, -half], [0.95, half], [-0.95, half]])
    if kind == 3:
        return _on_circle(int(rng.integers(3, 8)))
    if kind == 4:
        points = _on_circle(2 * int(rng.integers(4, 7)))
        points[::2] *= rng.uniform(0.35, 0.6)
        return points
    if kind == 5:
        w = rng.uniform(0.2, 0.45)
        return np.array([[-w, -1], [w, -1], [w, -w], [1, -w], [1, w], [w, w], [w, 1], [-w, 1], [-w, w], [-1, w],
                         [-1, -w], [-w, -w]])  # fmt: skip
    radius = 0.7 + 0.3 * np.interp(np.arange(24), np.arange(0, 25, 4), np.append(r := rng.uniform(-1, 1, 6), r[0]))
    return np.asarray(_on_circle(24) * radius[:, None])


def _on_circle(count: int) -> Floats:
    angles = np.arange(count) * 2 * np.pi / count
    return np.asarray(np.stack([np.cos(angles), np.sin(angles)], 1))


def place(points: Floats, center: Floats, scale: float, angle: float) -> Floats:
    """Scale, turn (radians) and move (K, 2) points to pixel coordinates (x, y)."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(points * scale @ turn + center)


def fill(frame: Frame, points: Floats, color: Color, smooth: bool = True) -> None:
    """Fill a polygon of (K, 2) pixel coordinates in place, with 1/16 px precision."""
    fixed = np.round(points * 16).astype(np.int32)
    cv2.fillPoly(frame, [fixed], color, cv2.LINE_AA if smooth else cv2.LINE_8, 4)


def paste(frame: Frame, surface: Frame, points: Floats, center: Floats, scale: float, angle: float) -> None:
    """Fill a polygon in place with a surface (S, S, 3) that moves, scales and turns with it."""
    size, half = frame.shape[0], surface.shape[0] / 2
    c, s = np.cos(angle) * scale / half, np.sin(angle) * scale / half
    matrix = np.array([[c, -s, center[0] - half * (c - s)], [s, c, center[1] - half * (s + c)]])
    moved = cv2.warpAffine(surface, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    cv2.copyTo(moved, (mask > 127).astype(np.uint8), frame)


def ease(rng: Rng) -> Floats:
    """Progress (9,) from 0 to 1: steady, eased, hold-then-move, move-then-hold or there-and-back."""
    t = np.linspace(0, 1, NUM_FRAMES)
    kind = rng.random()
    if kind < 0.4:
        return t
    if kind < 0.55:
        return t * t * (3 - 2 * t)
    if kind < 0.72:
        start = rng.uniform(0.2, 0.7)
        return np.clip((t - start) / (1 - start), 0, 1)
    if kind < 0.9:
        return np.clip(t / rng.uniform(0.25, 0.75), 0, 1)
    return np.asarray(np.sin(np.pi * t))
