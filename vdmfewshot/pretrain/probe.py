"""Small tasks that ask whether pretraining helps adaptation: folders of pairs for `vdmfewshot adapt`.

The tasks are made of validation scenes and are not in the corpus, which holds no image-to-target change at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import CRAYONS, Frame, Rng, fill, outline, place, random_color, texture
from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.sources.grids import paint

Pair = tuple[Frame, Frame]
VALIDATION_SEED = 997


def flip(rng: Rng, size: int) -> Pair:
    """A scene and its mirror image."""
    scene = clip(VALIDATION_SEED, int(rng.integers(1 << 30)), size, "moving_shapes")[0]
    return scene, scene[:, ::-1]


def recolor(rng: Rng, size: int) -> Pair:
    """An 8x8 board of four colours; red becomes blue and green becomes yellow."""
    board = rng.integers(0, 4, (8, 8)) * (rng.random((8, 8)) < 0.6)
    ground = np.full((size, size, 3), 60, np.uint8)
    black, white, blue, red, green, yellow = CRAYONS[:6]
    return tuple(  # type: ignore[return-value]  # as many as were given
        paint(board, size, (size - 1) // 8, [black, *colors], (128, 128, 128), ground)
        for colors in ([white, red, green], [white, blue, yellow])
    )


def segment(rng: Rng, size: int) -> Pair:
    """One flat object before a texture, and its white silhouette on black."""
    scene, silhouette = np.ascontiguousarray(texture(rng, size)), np.zeros((size, size, 3), np.uint8)
    center, radius = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(0.15, 0.3) * size
    points = place(outline(rng), center, radius, rng.uniform(0, 6))
    fill(scene, points, random_color(rng))
    fill(silhouette, points, (255, 255, 255), smooth=False)
    return scene, silhouette


TASKS: dict[str, Callable[[Rng, int], Pair]] = {"flip": flip, "recolor": recolor, "segment": segment}


def write_tasks(folder: Path, size: int = 64, shots: int = 5, queries: int = 16) -> None:
    """Write ``folder/TASK/{train,test}/{input,target}/NN.png`` for every task, the layout of `PairsDataModule`.

    Args:
        folder: Where the tasks go.
        size: Side of the pictures in pixels.
        shots: Training pairs of each task.
        queries: Test pairs of each task.
    """
    for number, (name, make) in enumerate(TASKS.items()):
        rng = np.random.default_rng((VALIDATION_SEED, number))
        for i in range(shots + queries):
            part = folder / name / ("train" if i < shots else "test")
            for kind, frame in zip(("input", "target"), make(rng, size), strict=True):
                (part / kind).mkdir(parents=True, exist_ok=True)
                picture = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
                if not cv2.imwrite(str(part / kind / f"{i:02d}.png"), picture):
                    raise OSError(f"cannot write into {part / kind}")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(write_tasks)
