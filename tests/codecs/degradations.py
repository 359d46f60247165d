"""What video models and their VAEs do to a frame (RGB 0-255), simulated independently of the codecs."""

from __future__ import annotations

import cv2
import numpy as np

#: blur in px, chroma subsampling, JPEG quality, sd of global cast, low-frequency cast, noise sd (RGB units)
LEVELS = {
    "mild": (0.5, 2, 92, 8.0, 4.0, 3.0),
    "medium": (0.8, 2, 80, 15.0, 8.0, 6.0),
    "severe": (1.2, 2, 60, 22.0, 12.0, 10.0),
}


def blur(frame, sigma):
    return frame if sigma == 0 else cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def subsample_chroma(frame, factor):
    ycc = cv2.cvtColor(np.clip(frame, 0, 255).astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    height, width = ycc.shape[:2]
    small = cv2.resize(ycc[..., 1:], (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    ycc[..., 1:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB) * 255


def jpeg(frame, quality):
    bgr = np.rint(np.clip(frame[..., ::-1], 0, 255)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)


def low_frequency(rng, shape, sd, knots=3):
    coarse = rng.normal(0, sd, (knots, knots, 3)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def correlated_noise(rng, shape, sd):
    noise = blur(rng.normal(0, 1, shape).astype(np.float32), 0.7)
    return noise / noise.std() * sd


def degrade(frame, level, rng):
    """Blur, chroma subsampling, JPEG, global and low-frequency colour cast, correlated noise."""
    sigma, factor, quality, cast, slow, noise = LEVELS[level]
    out = subsample_chroma(blur(frame.astype(np.float32), sigma), factor)
    out = (
        out + rng.normal(0, cast, 3) + low_frequency(rng, frame.shape, slow) + correlated_noise(rng, frame.shape, noise)
    )
    return jpeg(out, quality)


def translate(frame, dx, dy, fill):
    """Move by (sub-)pixels; what comes in from outside is ``fill``."""
    matrix = np.float32([[1, 0, dx], [0, 1, dy]])
    size = frame.shape[1::-1]
    return cv2.warpAffine(
        frame.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def stretch(frame, factor_x, factor_y, fill):
    """Scale about the centre: a grid whose pitch drifts."""
    height, width = frame.shape[:2]
    matrix = np.float32(
        [[factor_x, 0, (1 - factor_x) * (width - 1) / 2], [0, factor_y, (1 - factor_y) * (height - 1) / 2]]
    )
    return cv2.warpAffine(
        frame.astype(np.float32),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )


def wobble(frame, rng, amplitude):
    """Smooth random displacement field of at most about ``amplitude`` px: slightly non-uniform cells."""
    height, width = frame.shape[:2]
    field = np.clip(low_frequency(rng, frame.shape, 1.0, knots=5)[..., :2], -1, 1) * amplitude
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        frame.astype(np.float32),
        x + field[..., 0],
        y + field[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def ghost(frame, other, opacity):
    """An unfinished transition: ``other`` still shines through."""
    return (1 - opacity) * frame.astype(np.float32) + opacity * other.astype(np.float32)


def contrast(frame, gain, towards=127.5):
    return towards + gain * (frame.astype(np.float32) - towards)
