"""Label maps of more classes than one clip holds: how they are shared out, and how the passes become one map."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.data.folders import save
from tests.runs import options, run
from vdmfewshot.callbacks.evaluation import decoders, drawings, joiner, score_clips
from vdmfewshot.clips.clip import to_frame
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.passes import ClassPassesDataModule, PassAnswer, PassShard, groups_of, merge, restrict

CLASSES = 12


def make_many(root: Path, count: int = 8, classes: int = CLASSES) -> Path:
    """Pictures of 16 cells, each of one of 12 classes; grey level = class."""
    for i in range(count):
        cells = np.random.default_rng(i).integers(0, classes, (4, 4))
        label = np.kron(cells, np.ones((8, 8), np.uint8)).astype(np.uint8)
        save(root / "input" / f"p{i}.png", np.repeat(label[..., None] * 20, 3, axis=2))
        save(root / "target" / f"p{i}.png", label)
    return root


def ready(root: Path, **kwargs: object) -> ClassPassesDataModule:
    data = ClassPassesDataModule(str(root), num_classes=CLASSES, shots=4, height=32, width=32, **kwargs)
    data.setup()
    return data


@pytest.mark.parametrize(
    ("classes", "sizes"), [(2, [1]), (8, [7]), (9, [4, 4]), (12, [6, 5]), (255, [7] * 32 + [6] * 5)]
)
def test_every_class_is_in_one_group_and_groups_are_small_and_alike(classes: int, sizes: list[int]) -> None:
    groups = groups_of(classes)
    assert [value for group in groups for value in group] == list(range(1, classes))
    assert sorted(map(len, groups)) == sorted(sizes)


def test_a_pass_sees_its_classes_and_what_is_to_be_ignored() -> None:
    label = np.array([[0, 3, 5], [7, 255, 4]], dtype=np.uint8)
    assert restrict(label, (3, 4, 5)).tolist() == [[0, 1, 3], [0, 255, 2]]


def test_what_all_passes_draw_is_read_as_one_map(tmp_path: Path) -> None:
    data = ready(make_many(tmp_path))
    assert list(data.tasks) == ["pass-1", "pass-2"]
    assert data.task_name.endswith("12 classes in 2 passes")
    whole = data.merged
    for key in ("p0", "p5"):
        pair = next(p for p in [*whole.support, *whole.queries("test")] if p.key == key)
        clips = torch.stack([to_frame(frame) for frame in drawings(whole, pair)])[:, None]
        (answer,) = joiner(whole)(
            [r(f, pair) for r, f in zip(decoders(whole, 2, 2), drawings(whole, pair), strict=True)]
        )
        assert np.array_equal(answer.label, pair.target)
        assert answer.confidence > 0.99
        assert answer.details["contested"] == 0
        record = score_clips(whole.make_metric(), decoders(whole, 2, 2), clips, pair, joiner(whole))
        assert record["iou"] == 1.0


def test_a_picture_that_lacks_a_pass_has_no_answer(tmp_path: Path) -> None:
    whole = ready(make_many(tmp_path)).merged
    pair = whole.queries("test")[0]
    clips = torch.stack([to_frame(frame) for frame in drawings(whole, pair)])[:, None]
    clips[1] = torch.nan
    record = score_clips(whole.make_metric(), decoders(whole, 2, 2), clips, pair, joiner(whole))
    assert record["attempts"] == 0
    assert record["iou"] == 0.0
    assert "non-finite" in record["failure"]


def test_a_contested_pixel_goes_to_the_pass_with_more_evidence() -> None:
    def answer(values: list[int], evidence: list[float]) -> PassAnswer:
        return PassAnswer(np.array([values], np.uint8), 0.5, {}, np.array([evidence], np.float32))

    found = merge([answer([0, 1, 1, 0], [0, 0.9, 0.2, 0]), answer([0, 0, 9, 9], [0, 0, 0.6, 0.1])])
    assert found.label.tolist() == [[0, 1, 9, 9]]
    assert found.details["contested"] == 0.25


@pytest.mark.parametrize(("size", "rank", "order"), [(1, 0, [0, 3, 1, 4, 2, 5]), (2, 1, [1, 4]), (4, 3, [0, 3])])
def test_passes_of_a_query_follow_each_other_on_one_rank(size: int, rank: int, order: list[int]) -> None:
    """Three queries, two passes; a rank without a query repeats the first."""
    assert list(PassShard(range(6), 2, rank, size)) == order  # type: ignore[arg-type]


def test_more_classes_than_a_clip_holds_are_refused_with_the_way_out(tmp_path: Path) -> None:
    make_many(tmp_path)
    with pytest.raises(ValueError, match=r"must be 2 to 8 .*--data ClassPassesDataModule\), got 12"):
        PairsDataModule(str(tmp_path), "labels", num_classes=12)
    table = {f"c{i}": i for i in range(9)}
    with pytest.raises(ValueError, match=r"names 9 classes; one clip holds 2 to 8.*ClassPassesDataModule"):
        PairsDataModule(str(tmp_path), "labels", classes=table)
    with pytest.raises(ValueError, match=r"must be 2 to 255, got 256"):
        ClassPassesDataModule(str(tmp_path), num_classes=256)


def test_one_call_trains_all_passes_and_one_call_answers_with_one_map(tmp_path: Path, tiny: Path) -> None:
    """The scores in ``scores.json`` are those of the maps that ``predict`` writes."""
    root = make_many(tmp_path / "many")
    args = ["--data", "ClassPassesDataModule", "--data.root", str(root), "--data.num_classes", "12"]
    args += ["--data.shots", "4", "--data.eval_batch_size", "3", *options(tiny, tmp_path / "runs")]
    run("adapt", "--name", "all", *args)
    folder = tmp_path / "runs/all/version_0"
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == ["pass-1", "pass-2"]
    head = json.loads((folder / "scores/test/step=2/scores.json").read_text())
    score = head["scores"]["iou_dataset"]
    assert (score["n"], score["ceiling"] > 0) == (4, True)
    assert "iou_class_11" in head["scores"]
    run("predict", "--name", "ask", *args, "--model.adapter", str(folder / "adapter"))
    place = tmp_path / "runs/ask/version_0/predictions"
    rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    matrix = np.zeros((CLASSES, CLASSES))
    for row in rows:
        (attempt,) = row["attempts"]
        found = cv2.imread(str(place / attempt["file"]), cv2.IMREAD_UNCHANGED)
        truth = cv2.imread(str(root / "target" / f"{row['key']}.png"), cv2.IMREAD_UNCHANGED)
        np.add.at(matrix, (truth.ravel(), found.ravel()), 1)
        assert (place / f"{row['key']}.frame2.png").is_file(), "a frame of each pass"
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    assert score["score"] == pytest.approx((np.diag(matrix) / union)[union > 0].mean())
    run("test", "--name", "again", *args, "--model.adapter", str(folder / "adapter"))
    again = json.loads((tmp_path / "runs/again/version_0/scores/test/step=0/scores.json").read_text())
    assert again["scores"]["iou_dataset"]["score"] == pytest.approx(score["score"])
    assert (folder / "pictures/test/step=2.png").is_file()
