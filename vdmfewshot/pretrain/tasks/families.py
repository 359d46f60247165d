"""Which families of tasks `embedded-tasks` is trained on, which are kept back, and the clips of the former.

A family is a kind of rule, such as a shift; a rule is a family with its parameters, such as a shift by a third to the
left; a pair is a picture and what the rule makes of it. Rules have numbers, so that they are the same in every corpus.
"""

from __future__ import annotations

import functools
import zlib
from typing import get_args

import numpy as np

from vdmfewshot.clips.clip import to_frame, to_image
from vdmfewshot.clips.transition import TransitionName, transition
from vdmfewshot.drawing.canvas import NUM_FRAMES, Frame
from vdmfewshot.pretrain.tasks.arc import arc_training
from vdmfewshot.pretrain.tasks.boards import BOARDS
from vdmfewshot.pretrain.tasks.coloring import COLORS, RESTORATION
from vdmfewshot.pretrain.tasks.geometric import FAMILIES as GEOMETRIC
from vdmfewshot.pretrain.tasks.pairs import Draw, Rule
from vdmfewshot.pretrain.tasks.things import KEYPOINTS, MASKS

RULES = 512
"""Rules of each family."""

KINDS: dict[str, tuple[dict[str, Rule], float]] = {
    "geometric": (GEOMETRIC, 0.24),
    "colour": (COLORS, 0.12),
    "restoration": (RESTORATION, 0.08),
    "masks": (MASKS, 0.16),
    "keypoints": (KEYPOINTS, 0.1),
    "boards": (BOARDS, 0.15),
    "arc": ({"arc_training": arc_training}, 0.15),
}
"""Families by kind, with the kind's share of the corpus; families of a kind have equal shares of it."""

TRAINED: dict[str, tuple[Rule, float]] = {
    name: (rule, share / len(families)) for families, share in KINDS.values() for name, rule in families.items()
}
"""Families of the corpus, with their shares."""

KEPT_BACK: dict[str, tuple[str, ...]] = {
    "geometric": ("horizontal_flip", "vertical_flip", "rotate_90", "rotate_180", "transpose", "zoom", "jigsaw"),
    "colour": ("invert", "channel_swap", "colourise", "board_recolour"),
    "style": ("style_mosaic", "style_pixels", "style_woodcut"),
    "edges and surfaces": ("edges", "canny", "depth", "normals"),
    "restoration": ("denoise", "deblur", "inpaint"),
    "masks": ("objects_on_texture", "objects_on_photo", "nuclei", "person_masks", "image_to_mask", "mask_to_image"),
    "keypoints": ("people", "rendered_people"),
    "boards": (
        *("life", "seeds", "seeds_rule", "day_and_night", "maze_rule", "b3_s2", "rule_110", "eca", "ant"),
        *("hitori", "mini_sudoku", "sudoku", "connect4", "chess_mate"),
        *("maze", "maze_generalisation", "shortest_path"),
    ),
    "arc": ("arc1 evaluation", "arc2 evaluation", "conceptarc", "miniarc", "62 training tasks (tasks.arc.MEASURED)"),
    "answers": ("classification",),
}
"""Families that no clip shows, since the evidence, `experiments/tasks` or the probes measure them as unseen."""


@functools.lru_cache(maxsize=4096)
def rule(family: str, number: int) -> Draw:
    """A rule of a family: the same in every corpus."""
    return TRAINED[family][0](np.random.default_rng((zlib.crc32(family.encode()), number)))


def task_clip(seed: int, index: int, size: int, family: str | None = None) -> Frame:
    """Make one clip: a pair of a random rule as a transition.

    Args:
        seed: Names the corpus.
        index: Number of the clip within it.
        size: Side of the square frames in pixels.
        family: A key of `TRAINED`; None draws one by its share.

    Returns:
        RGB frames (9, size, size, 3), uint8; the first shows the input and the last the target.
    """
    rng = np.random.default_rng((seed, index))
    if family is None:
        shares = np.array([share for _, share in TRAINED.values()])
        family = list(TRAINED)[int(rng.choice(len(TRAINED), p=shares / shares.sum()))]
    first, last = rule(family, int(rng.integers(RULES)))(rng, size)
    if rng.random() < 0.7:
        return np.stack([first] * 4 + [last] * 5)  # as `discrete`, without a detour
    name: TransitionName = get_args(TransitionName)[int(rng.integers(len(get_args(TransitionName))))]
    frames = transition(to_frame(first), to_frame(last), NUM_FRAMES, name)
    return np.stack([np.rint(to_image(frame)) for frame in frames]).astype(np.uint8)
