"""Two real processes (gloo): nothing is seen twice, nothing is left out, and no rank is left without a query."""

import json

import pytest
from lightning.pytorch import Trainer

from tests.data.folders import make_pairs
from tests.data.test_stream import Recorder, pairs_module

pytestmark = pytest.mark.usefixtures("meeting_port")


class RankRecorder(Recorder):
    """Leaves what this rank saw in a file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.tested = []

    def test_step(self, batch, batch_idx):
        self.tested += [pair.key for pair in batch.pairs]

    def write(self, name, content):
        (self.folder / f"{name}-{self.global_rank}.json").write_text(json.dumps(content))

    def on_train_end(self):
        self.write("train", [ordinal for ordinal, _ in self.seen])

    def on_test_end(self):
        self.write("test", self.tested)


def run(tmp_path, action, data, **kwargs):
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        max_steps=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **kwargs,
    )
    getattr(trainer, action)(RankRecorder(tmp_path), data)
    name = "train" if action == "fit" else "test"
    return [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.filterwarnings("ignore")
def test_two_ranks_train_on_interleaved_micro_batches(tmp_path):
    data = pairs_module(make_pairs(tmp_path / "d", 5))
    first, second = run(tmp_path, "fit", data, accumulate_grad_batches=2)
    assert first == [n for n in range(32) if n % 4 < 2]
    assert second == [n for n in range(32) if n % 4 >= 2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("queries", [1, 5])
def test_two_ranks_test_every_query_once(tmp_path, queries):
    data = pairs_module(make_pairs(tmp_path / "d", queries + 2), shots=2, eval_batch_size=2)
    first, second = run(tmp_path, "test", data)
    assert len({*first, *second}) == queries
    if queries == 1:
        assert first == second
    else:
        assert (len(first), len(second)) == (3, 2)
