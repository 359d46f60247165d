"""Every board task: encode, decode, no query among the training boards, one file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vdmfewshot.data.generated import chess_mates
from vdmfewshot.data.generated.board_data import BoardDataModule, make_boards, part_of
from vdmfewshot.data.generated.board_tasks import BOARDS

EXPERIMENTS = Path(__file__).parents[3] / "experiments" / "tasks"


def made(name: str, parity: bool, **options: int) -> BoardDataModule:
    height, width = BOARDS[name].paper[:2] if parity else (64, 64)
    data = BoardDataModule(name, paper_parity=parity, height=height, width=width, **options)
    data.setup()
    return data


@pytest.mark.parametrize("parity", [False, True], ids=["small", "paper"])
@pytest.mark.parametrize("name", BOARDS)
def test_answers_come_back_from_their_pictures_and_blank_frames_do_not(name: str, parity: bool) -> None:
    if name.startswith("chess") and not chess_mates.available():
        pytest.skip("python-chess is not installed")
    data = made(name, parity, shots=1, max_queries=1)
    for pair in (*data.support, *data.queries("test")):
        frame = data.codec.encode(pair.target, data.box(pair))
        decoded = data.decode(frame.astype(np.float32), pair)
        assert decoded.confidence > 0
        assert decoded.label.tolist() == pair.target.tolist()
        assert frame.shape == (*pair.image.shape[:2], 3)
        for level in (0, 255):
            assert data.decode(np.full(frame.shape, level, np.uint8), pair).confidence == 0


def test_no_query_is_among_the_training_boards_whatever_the_support_seed() -> None:
    queries = [make_boards("eca_30", "query", 0, i)[0].tobytes() for i in range(200)]
    for seed in range(3):
        assert not set(queries) & {make_boards("eca_30", "support", seed, i)[0].tobytes() for i in range(300)}
    assert {part_of(np.frombuffer(q, np.int64).reshape(8, 16)) for q in queries} == {"query"}


def test_support_sets_are_nested_and_reproducible() -> None:
    few, many = (made("life", False, shots=n, max_queries=2) for n in (3, 30))
    assert {p.key for p in few.support} <= {p.key for p in many.support}
    assert made("life", False, shots=3, max_queries=2).support[0].target.tolist() == few.support[0].target.tolist()
    assert [p.key for p in few.queries("test")] == [p.key for p in many.queries("test")]


def test_generalisation_trains_on_small_mazes_and_asks_about_large_ones() -> None:
    data = made("maze_generalisation", False, shots=2, max_queries=1)
    assert {pair.target.shape for pair in data.support} == {(13, 13)}
    assert data.queries("test")[0].target.shape == (21, 21)


def test_another_canvas_than_the_papers_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="128 x 256 pixels .* got 96 x 96; set height to 128 and width to 256"):
        BoardDataModule("eca_30", paper_parity=True)


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="task must be one of hitori.*got 'chess'"):
        BoardDataModule("chess")


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_task_has_its_file(name: str) -> None:
    config = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())
    assert config["data"]["init_args"]["task"] == name
    BoardDataModule(**config["data"]["init_args"])
