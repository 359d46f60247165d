from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vdmfewshot.clips.transition import TRANSITIONS, still_frames, transition

X, Y = torch.zeros(3, 8, 12), torch.ones(3, 8, 12)


@given(name=st.sampled_from(sorted(TRANSITIONS)), num_frames=st.integers(2, 49), seed=st.integers(0, 9))
def test_starts_at_the_input_and_ends_at_the_target(name: str, num_frames: int, seed: int) -> None:
    x, y = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(seed))
    clip = transition(x, y, num_frames, name)  # type: ignore[arg-type]
    assert clip.shape == (num_frames, 3, 8, 12)
    assert torch.equal(clip[0], x)
    assert torch.equal(clip[-1], y)


def test_discrete_of_nine_frames_is_four_inputs_and_five_targets() -> None:
    assert transition(X, Y, 9)[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "middle"), [("convex", 0.5), ("quadratic", 0.25), ("square_root", 0.5**0.5), ("tiles", 0.5)]
)
def test_the_middle_of_the_others_is_where_their_formula_says(name: str, middle: float) -> None:
    clip = transition(X, Y, 9, name)  # type: ignore[arg-type]
    assert clip[4].mean().item() == pytest.approx(middle)
    means = clip.mean(dim=(1, 2, 3))
    assert (means.diff() > 0).all()


@pytest.mark.parametrize(("name", "power"), [("convex", 1.0), ("quadratic", 2.0), ("square_root", 0.5)])
def test_frames_in_between_are_mixtures_by_a_power_of_progress(name: str, power: float) -> None:
    x, y = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    clip = transition(x, y, 6, name)  # type: ignore[arg-type]
    for f in range(6):
        alpha = (f / 5) ** power
        torch.testing.assert_close(clip[f], x * (1 - alpha) + y * alpha)


@pytest.mark.parametrize("num_frames", [2, 3, 4, 5, 8, 13])
def test_discrete_shows_the_input_in_the_first_half_of_the_frames(num_frames: int) -> None:
    shown = transition(X, Y, num_frames)[:, 0, 0, 0].tolist()
    assert shown == [0] * (num_frames // 2) + [1] * (num_frames - num_frames // 2)


def test_immediate_shows_nothing_but_the_target_after_the_input() -> None:
    assert transition(X, Y, 5, "immediate")[:, 0, 0, 0].tolist() == [0, 1, 1, 1, 1]


def test_tiles_change_as_wholes() -> None:
    clip = transition(X, Y, 9, "tiles")
    blocks = clip.unfold(2, 2, 2).unfold(3, 3, 3).flatten(4)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1)), "every pixel of a 2x3 tile is on the same side"


def test_tiles_change_in_the_same_order_in_every_release() -> None:
    """An adapter goes on with the clips that it was trained on; 17 frames change one tile each."""
    clip = transition(torch.zeros(3, 4, 4), torch.ones(3, 4, 4), 17, "tiles")[:, 0].flatten(1)
    assert clip.sum(dim=1).tolist() == list(range(17))
    assert clip.diff(dim=0).argmax(dim=1).tolist() == [12, 10, 9, 6, 11, 8, 13, 5, 2, 14, 15, 0, 4, 3, 7, 1]


def test_rules_are_named() -> None:
    with pytest.raises(ValueError, match="num_frames must be at least 2 for a transition, got 1"):
        transition(X, Y, 1)
    with pytest.raises(ValueError, match="must have one shape"):
        transition(X, Y[:, :4], 9)
    with pytest.raises(ValueError, match=r"transition must be one of discrete, immediate, convex.*got 'wipe'"):
        transition(X, Y, 9, "wipe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "num_frames", "expected"),
    [
        ("discrete", 9, 5),
        ("discrete", 5, 3),
        ("discrete", 2, 1),
        ("immediate", 5, 4),
        ("convex", 9, 1),
        ("tiles", 9, 1),
        ("tiles", 49, 1),
    ],
)
def test_frames_that_show_the_target_alone(name: str, num_frames: int, expected: int) -> None:
    assert still_frames(num_frames, name) == expected  # type: ignore[arg-type]
