"""Pictures on the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vdmfewshot.cli.app import show


@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (64, 64)])
def test_a_mask_that_is_painted_again_without_a_stroke_stays_what_it_is(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[3:20, 5:30] = 255
    value = show.canvas(picture, mask)
    assert value["background"].shape == (show.CANVAS, show.CANVAS, 3)
    again = show.painted(value["layers"], picture).astype(np.float32)
    assert (cv2.resize(again, shape[::-1], interpolation=cv2.INTER_AREA) == mask / 255).all()


def test_names_and_messages_stay_text() -> None:
    nasty = "<script>alert(1)</script>"
    picture = np.zeros((4, 4, 3), np.uint8)
    for text in (show.figure([picture], nasty), show.note(nasty), show.problems([nasty]), show.bar(1, 2, nasty)):
        assert nasty not in text
        assert "&lt;script&gt;" in text
    assert show.problems([""]) == show.note("") == ""
