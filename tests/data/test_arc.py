import json
import math

import numpy as np
import pytest

from tests.data.arc_files import grid, ready, task, write
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.data.arc import ArcDataModule, colour_permutation, dihedral
from vdmfewshot.data.arc_tasks import list_tasks


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
    ("source", "split"), [("arcagi1", "evaluation"), ("arcagi2", "evaluation"), ("miniarc", "training")]
)
def test_public_tasks_can_be_set_up_on_a_small_canvas(source, split):
    for name in list_tasks(source, split)[::10]:
        data = ArcDataModule(task=name, source=source, split=split)
        data.setup()
        assert data.codec.cell >= 2


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
