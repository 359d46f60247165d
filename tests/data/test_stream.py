import collections
import dataclasses
import itertools
import os
import signal
import time

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from tests.data.folders import make_pairs
from vdmfewshot.clips.clip import collate
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.stream import ClipStream, OrderedShard, QueryClips, StreamLoader, shuffled


def pairs_module(root, **kwargs):
    settings = {"height": 16, "width": 16, "num_frames": 3, "batch_size": 2, "seed": 3} | kwargs
    return PairsDataModule(str(root), **settings)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_pairs(tmp_path_factory.mktemp("pairs"), count=6)


def ready(root, **kwargs):
    data = pairs_module(root, **kwargs)
    data.setup("fit")
    return data


def stream(data, rank=0, world_size=1, batch_size=2):
    return ClipStream(
        data.support,
        data.variants,
        data.augment,
        data._builder,
        data.seed,
        batch_size,
        rank=rank,
        world_size=world_size,
    )


def take(loader, count):
    iterator = iter(loader)
    return [next(iterator) for _ in range(count)]


def test_one_rank_alone_sees_every_sample(root):
    data = ready(root)
    alone = ClipStream(data.support, data.variants, data.augment, data._builder, data.seed, batch_size=2)
    assert [clip.ordinal for clip in itertools.islice(alone, 6)] == list(range(6))


@pytest.mark.parametrize(
    ("first", "count", "shown"), [(0, 1, 1), (0, 5, 5), (6, 4, 4), (5, 7, 6), (3, 1000, 6), (17, 0, 0), (12, 6, 6)]
)
def test_clips_of_a_part_of_the_run_are_drawn_once_each(root, first, count, shown):
    """Six pairs: a part within an epoch shows as many clips as samples, a longer one each of the six."""
    data = ready(root)
    found = [clip.digest for clip in stream(data).distinct(first, count)]
    wanted = {stream(data).clip(n).digest for n in range(first, first + min(count, 50))}
    assert set(found) == wanted
    assert len(found) == shown


def test_how_clips_are_drawn_cannot_change_in_the_middle_of_a_run(root):
    with pytest.raises(dataclasses.FrozenInstanceError):
        ready(root)._builder.num_frames = 9


def test_a_loader_draws_in_this_process_unless_told_otherwise(root):
    assert StreamLoader(stream(ready(root)), lambda: 0).num_workers == 0


def test_finished_clips_are_kept_up_to_the_limit(root, monkeypatch):
    data = ready(root, variants=3)
    clips = stream(data)
    size = clips.clip(0).frames.nbytes
    for limit, kept in ((3 * size, 3), (3 * size - 1, 2), (0, 0)):
        monkeypatch.setattr("vdmfewshot.data.stream.MEMO_BYTES", limit)
        clips = stream(data)
        digests = [clips.clip(n).digest for n in range(18)]
        assert len(clips._memo) == kept
        assert digests == [clips.clip(n).digest for n in range(18)]


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = [[shuffled(n, 7, seed=1) for n in range(e * 7, (e + 1) * 7)] for e in range(20)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10
    assert [shuffled(n, 7, seed=2) for n in range(7)] != epochs[0]


def test_order_is_a_pure_function_of_seed_and_ordinal(root):
    forward = [shuffled(n, 5, 3) for n in range(40)]
    backward = [shuffled(n, 5, 3) for n in reversed(range(40))]
    assert forward == backward[::-1]


@pytest.mark.parametrize("workers", [2, 4])
def test_worker_count_changes_neither_order_nor_pixels(root, workers):
    alone = take(ready(root, variants=3).train_dataloader(), 9)
    shared = take(ready(root, variants=3, num_workers=workers).train_dataloader(), 9)
    assert [b.ordinals for b in alone] == [(2 * m, 2 * m + 1) for m in range(9)]
    assert [b.ordinals for b in shared] == [b.ordinals for b in alone]
    assert [b.digests for b in shared] == [b.digests for b in alone]
    assert [[p.key for p in b.pairs] for b in shared] == [[p.key for p in b.pairs] for b in alone]


def test_ranks_share_micro_batches_without_overlap(root):
    data = ready(root)
    whole = take(DataLoader(stream(data, batch_size=6), batch_size=6, collate_fn=collate), 4)
    parts = [take(DataLoader(stream(data, rank, 3), batch_size=2, collate_fn=collate), 4) for rank in range(3)]
    for m in range(4):
        assert sum((parts[r][m].ordinals for r in range(3)), ()) == whole[m].ordinals
        assert sum((parts[r][m].digests for r in range(3)), ()) == whole[m].digests


def test_all_variants_of_all_pairs_are_seen_once_an_epoch(root):
    data = ready(root, variants=4, shots=3)
    clips = [c for batch in take(data.train_dataloader(), 6) for c in batch.pairs]
    assert collections.Counter(pair.key for pair in clips) == collections.Counter(
        f"{p.key}.v{v}" if v else p.key for p in data.support for v in range(4)
    )


def test_memoised_clips_equal_fresh_ones(root):
    data = ready(root, variants=2)
    one = stream(data)
    first = {n: one.clip(n) for n in range(24)}
    again = {n: stream(data).clip(n) for n in range(24)}
    assert all(torch.equal(first[n].frames, again[n].frames) for n in first)
    assert len(one._memo) == 12


def test_training_clip_goes_from_input_to_target(root):
    clip = stream(ready(root)).clip(0)
    box = ready(root).box(clip.pair)
    x = torch.from_numpy(box.place(clip.pair.image)).permute(2, 0, 1) / 127.5 - 1
    y = torch.from_numpy(box.place(255 - clip.pair.image)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(clip.frames[0], x, atol=1e-6)
    assert torch.allclose(clip.frames[-1], y, atol=1e-6)


@pytest.mark.parametrize(("count", "ranks"), [(7, 3), (4, 4), (6, 2)])
def test_shards_cover_every_query_once(root, count, ranks):
    data = ready(root)
    clips = QueryClips(data.support[:1] * count, data._builder)
    shards = [list(OrderedShard(clips, ranks, rank)) for rank in range(ranks)]
    assert sorted(i for shard in shards for i in shard) == list(range(count))
    assert all(len(OrderedShard(clips, ranks, r)) == len(shards[r]) for r in range(ranks))


def test_ranks_without_a_query_repeat_the_first(root):
    data = ready(root)
    clips = QueryClips(data.support[:2], data._builder)
    assert [list(OrderedShard(clips, 4, rank)) for rank in range(4)] == [[0], [1], [0], [0]]


class Recorder(LightningModule):
    """Trains one number and writes down which samples it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        self.seen += list(zip(batch.ordinals, batch.digests, strict=True))
        return (self.weight - batch.frames.mean()) ** 2

    def validation_step(self, batch, batch_idx):
        self.validated += [pair.key for pair in batch.pairs]

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, tmp_path, max_steps, ckpt_path=None, callbacks=(), **kwargs):
    trainer = Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        callbacks=list(callbacks),
        default_root_dir=tmp_path,
        **kwargs,
    )
    model = Recorder()
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return model, trainer


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_steps_equal_seven_and_thirteen(root, tmp_path, accumulate, workers):
    settings = {"accumulate_grad_batches": accumulate}
    whole, _ = fit(ready(root, variants=2), tmp_path, 20, **settings)
    saver = ModelCheckpoint(dirpath=tmp_path / "c", every_n_train_steps=7, save_top_k=-1, filename="{step}")
    first, _ = fit(ready(root, variants=2, num_workers=workers), tmp_path, 9, callbacks=[saver], **settings)
    path = str(tmp_path / "c" / "step=7.ckpt")
    second, _ = fit(ready(root, variants=2, num_workers=workers), tmp_path, 20, path, **settings)
    assert [n for n, _ in whole.seen] == list(range(20 * 2 * accumulate))
    assert first.seen[: 7 * 2 * accumulate] + second.seen == whole.seen
    assert torch.equal(second.weight, whole.weight)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
def test_a_run_resumed_twice_and_cut_into_epochs_goes_on(root, tmp_path):
    whole, _ = fit(ready(root), tmp_path, 12)
    seen, path = [], None
    for stop in (3, 7, 12):
        model, trainer = fit(ready(root), tmp_path, stop, path, limit_train_batches=4)
        path = str(tmp_path / f"{stop}.ckpt")
        trainer.save_checkpoint(path)
        seen += model.seen
    assert seen == whole.seen


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_batch_size_continues_after_the_samples_already_seen(root, tmp_path):
    first, trainer = fit(ready(root), tmp_path, 5)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    second, trainer = fit(ready(root, batch_size=3), tmp_path, 7, str(tmp_path / "a.ckpt"))
    assert [n for n, _ in first.seen + second.seen] == list(range(5 * 2 + 2 * 3))
    assert trainer.datamodule.state_dict()["samples"] == 16
    assert trainer.datamodule.state_dict()["micro_batches"] == 7


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_checkpoint_of_another_support_set_is_refused(root, tmp_path):
    _, trainer = fit(ready(root, shots=3), tmp_path, 2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="another support set"):
        fit(ready(root, shots=4), tmp_path, 3, str(tmp_path / "a.ckpt"))


def test_a_run_without_end_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"set trainer\.max_steps"):
        fit(ready(root), tmp_path, -1)


def test_validation_sees_queries_and_no_training_pair(root, tmp_path):
    data = ready(root, val_fraction=0.34, shots=2)
    model, _ = fit(data, tmp_path, 2, limit_train_batches=1, num_sanity_val_steps=0)
    assert model.validated == [p.key for p in data.queries("validate")] * 2
    assert not {p.key for p in data.support} & set(model.validated)


def test_predict_visits_every_query_in_order(root, tmp_path):
    class Predictor(Recorder):
        def predict_step(self, batch, batch_idx):
            return [pair.key for pair in batch.pairs]

    data = ready(root, shots=1, eval_batch_size=2)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    found = trainer.predict(Predictor(), data)
    assert [key for batch in found for key in batch] == [pair.key for pair in data.queries("predict")]


def exhaust(batches):
    try:
        collections.deque(batches, maxlen=0)
    except ConnectionError:  # a worker died while it sent a batch; the handler of its signal comes a moment later
        time.sleep(30)


def test_a_killed_worker_is_an_error_not_a_hang(root):
    batches = iter(ready(root, num_workers=2).train_dataloader())
    next(batches)
    os.kill(batches._workers[1].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"killed|exited unexpectedly"):
        exhaust(batches)


def test_query_clips_hold_the_input_alone(root):
    data = ready(root, shots=2)
    batches = list(data.test_dataloader())
    assert [b.frames.shape for b in batches] == [(4, 1, 3, 16, 16)]
    keys = [pair.key for pair in batches[0].pairs]
    assert keys == [f"a{i}" for i in range(6) if f"a{i}" not in {p.key for p in data.support}]
    for frame, pair in zip(batches[0].first_frame, batches[0].pairs, strict=True):
        expected = data.box(pair).place(pair.image)
        assert np.array_equal(((frame.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8), expected)
