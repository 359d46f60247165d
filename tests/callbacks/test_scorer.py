from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from tests.callbacks.tiny_task import ConvModule, SquareData, square_pair
from vdmfewshot.callbacks.evaluation import score_clips, still_clip
from vdmfewshot.callbacks.references import References
from vdmfewshot.callbacks.scorer import Scorer
from vdmfewshot.callbacks.table import score_table
from vdmfewshot.clips.clip import Clip, collate, to_frame
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.metrics import SegmentationMetric
from vdmfewshot.metrics.records import read_records, recompute, summarize


def trainer(folder, scorer, **kwargs):
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults = {"accelerator": "cpu", "devices": 1, "default_root_dir": folder, "callbacks": [scorer]}
    return Trainer(**(dict.fromkeys(quiet, False) | defaults | kwargs))


def module(**kwargs):
    torch.manual_seed(0)
    return ConvModule(**kwargs)


def scores_of(folder, stage="test", step=0):
    content = json.loads((folder / "scores" / stage / f"step={step}" / "scores.json").read_text())
    assert (content["main"], content["step"]) == ("iou_dataset", step)
    return content["scores"]


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    logged = trainer(folder, Scorer()).test(module(), SquareData(), verbose=False)[0]
    return folder, logged


def test_scores_equal_a_direct_evaluation(tested):
    folder, _ = tested
    data, model = SquareData(), module()
    inter = union = 0
    for pair in data.pairs:
        answer = torch.tanh(model.answer(data.clip(pair).frames[:1]))[0].detach()
        # the generator's noise of the first attempt is part of its answer, so compare to the saved frame instead
        saved = np.asarray(Image.open(folder / "scores/test/step=0/frames" / f"{pair.key}_0.png"))
        assert np.abs(saved / 127.5 - 1 - answer.permute(1, 2, 0).numpy()).max() < 0.3
        mask = data.codec.decode(saved, data.box(pair)).label
        inter, union = inter + (mask & pair.target).sum(), union + (mask | pair.target).sum()
    # 8-bit frames against floats may move single pixels over the threshold
    assert scores_of(folder)["iou_dataset"]["score"] == pytest.approx(inter / union, abs=5e-3)


def test_everything_is_logged_and_written(tested):
    folder, logged = tested
    row = scores_of(folder)["iou_dataset"]
    assert set(row) == {"score", "low", "high", "n", "n_expected", "ceiling", "copy_input", "mean_target", "seconds"}
    assert row["n"] == row["n_expected"] == 5
    assert row["low"] <= row["score"] <= row["high"]
    assert logged["test/n"] == 5
    for name, field in (("iou_dataset", "score"), ("iou_dataset_low", "low"), ("iou_dataset_high", "high")):
        assert logged[f"test/{name}"] == pytest.approx(row[field], abs=1e-6)
    for reference in ("ceiling", "copy_input", "mean_target"):
        assert logged[f"test/{reference}/iou_dataset"] == pytest.approx(row[reference], abs=1e-6)


def test_scores_come_back_from_the_records(tested):
    folder, _ = tested
    place = folder / "scores/test/step=0"
    records, manifest = read_records(place), read_records(place / "manifest.jsonl")
    row = scores_of(folder)["iou_dataset"]
    assert recompute(records, SegmentationMetric())["iou_dataset"] == pytest.approx(row["score"], abs=1e-12)
    again = summarize(records, SegmentationMetric(), manifest)["iou_dataset"]
    assert (again.low, again.high, again.coverage) == (pytest.approx(row["low"]), pytest.approx(row["high"]), "5/5")
    lost = summarize(records[:4], SegmentationMetric(), manifest)["iou_dataset"]
    assert lost.coverage == "4/5"
    assert lost.score < row["score"]


def test_references_are_what_they_say(tested):
    folder, _ = tested
    data, metric = SquareData(), SegmentationMetric()
    row = scores_of(folder)["iou_dataset"]
    rebuilt = [
        module().backbone.reconstruct(still_clip([data.codec.encode(p.target, data.box(p))], 5))[0] for p in data.pairs
    ]
    by_hand = {
        "ceiling": rebuilt,
        "copy_input": [to_frame(data.box(p).place(p.image))[None] for p in data.pairs],
        "mean_target": [to_frame(data.mean_target())[None]] * len(data.pairs),
    }
    for name, clips in by_hand.items():
        decode = lambda frame, pair: data.codec.decode(frame, data.box(pair))  # noqa: E731
        records = [score_clips(metric, decode, clip[None], p) for clip, p in zip(clips, data.pairs, strict=True)]
        assert row[name] == pytest.approx(recompute(records, metric)["iou_dataset"], abs=1e-12)
    assert 0.9 < row["ceiling"] < 1
    assert row["mean_target"] < row["ceiling"]


def test_nan_in_one_frame_costs_that_sample_only(tested, tmp_path):
    clean = scores_of(tested[0])["iou_image"]
    with pytest.warns(UserWarning, match="1 of 5 samples have no usable prediction .* square-03: non-finite"):
        trainer(tmp_path, Scorer()).test(module(spoil="square-03"), SquareData(), verbose=False)
    row = scores_of(tmp_path)["iou_image"]
    records = {record["key"]: record for record in read_records(tmp_path / "scores/test/step=0")}
    assert records["square-03"]["iou"] == 0.0
    assert (row["n"], row["n_expected"]) == (4, 5)
    good = {record["key"]: record for record in read_records(tested[0] / "scores/test/step=0")}
    assert row["score"] == pytest.approx(clean["score"] - good["square-03"]["iou"] / 5, abs=1e-9)


def test_failing_decoder_and_absent_prediction_are_recorded():
    pair, metric = square_pair(0), SegmentationMetric()

    def explode(frame, pair):
        raise RuntimeError("no such colour")

    record = score_clips(metric, explode, torch.zeros(2, 5, 3, 32, 32), pair)
    assert record["failure"] == "RuntimeError: no such colour"
    assert (record["iou"], record["attempts"]) == (0.0, 0)
    assert score_clips(metric, explode, None, pair)["failure"] == "no prediction"


def test_one_finite_attempt_of_two_is_used():
    pair, metric = square_pair(0), SegmentationMetric()
    clips = torch.zeros(2, 5, 3, 32, 32)
    clips[0, 2, 0, 0, 0] = math.nan
    record = score_clips(metric, lambda frame, pair: Decoded(pair.target, 1.0), clips, pair)
    assert (record["attempts"], record["iou"]) == (1, 1.0)
    assert "non-finite" in record["failure"]


def test_padding_duplicates_do_not_count(tmp_path):
    data = SquareData()
    data.pairs += data.pairs[:3]
    trainer(tmp_path, Scorer()).test(module(), data, verbose=False)
    assert scores_of(tmp_path)["iou_dataset"]["n"] == 5


def test_validation_in_training_caches_references_and_logs_to_csv(tmp_path):
    model, scorer = module(), Scorer(save_images=False)
    fit = trainer(
        tmp_path, scorer, logger=CSVLogger(tmp_path), max_epochs=30, check_val_every_n_epoch=10, log_every_n_steps=1,
        num_sanity_val_steps=2,
    )  # fmt: skip
    fit.fit(model, SquareData())
    folder = Path(fit.log_dir)
    assert sorted(p.name for p in (folder / "scores/val").iterdir()) == ["step=10", "step=20", "step=30"]
    assert model.backbone.calls == 3  # one per batch of the first validation, none later
    first, last = (scores_of(folder, "val", step)["iou_dataset"] for step in (10, 30))
    assert first["ceiling"] == last["ceiling"]
    assert last["score"] > 0.8  # the little generator has learnt to segment
    assert "val/iou_dataset" in (folder / "metrics.csv").read_text().splitlines()[0]


def test_step_without_output_counts_as_failure(tmp_path):
    class Mute(ConvModule):
        def test_step(self, batch, batch_idx):
            return None

    with pytest.warns(UserWarning, match="5 of 5 samples have no usable prediction"):
        trainer(tmp_path, Scorer(ceiling=False, baselines=False)).test(Mute(), SquareData(), verbose=False)
    row = scores_of(tmp_path)["iou_dataset"]
    assert (row["score"], row["n"], row["n_expected"]) == (0.0, 0, 5)
    assert "ceiling" not in row


def test_table_is_shown_after_testing(tmp_path, capsys):
    trainer(tmp_path, Scorer(save_images=False)).test(module(), SquareData(), verbose=False)
    shown = capsys.readouterr().out
    assert shown.count("squares, step 0") == 1
    for word in ("iou_dataset", "interval", "ceiling", "copy", "mean", "5/5", "seconds"):
        assert word in shown, shown
    assert f"{scores_of(tmp_path)['iou_dataset']['score']:.3f}" in shown
    assert "…" not in shown


def test_table_of_one_sample_claims_no_interval():
    row = {"score": 1.0, "low": math.nan, "high": None, "n": 1, "n_expected": 1, "ceiling": 1.0, "seconds": 2.0}
    table = score_table("t", {"a": row, "b": row}, main="b")
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["b", "a"]
    assert cells[2] == ["-", "-"]


def test_fast_dev_run(tmp_path):
    trainer(tmp_path, Scorer(), fast_dev_run=True).fit(module(), SquareData())
    assert scores_of(tmp_path, "val", 1)["iou_dataset"]["n"] == 2


def test_bare_loaders_are_refused(tmp_path):
    with pytest.raises(TypeError, match="pass datamodule="):
        trainer(tmp_path, Scorer()).test(module(), SquareData().test_dataloader(), verbose=False)


def _test_on_two_ranks(rank, folder):
    import os

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29631", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}
    torch.set_num_threads(1)
    trainer(folder, Scorer(), devices=2, strategy="ddp").test(module(), SquareData(), verbose=False)


def test_two_ranks_with_five_samples_score_as_one(tested, tmp_path):
    # Lightning pads five samples to six: the duplicate must not count.
    mp.spawn(_test_on_two_ranks, args=(tmp_path,), nprocs=2)
    one, two = scores_of(tested[0]), scores_of(tmp_path)
    assert one.keys() == two.keys()
    for name in one:
        a, b = ({k: v for k, v in row.items() if k != "seconds"} for row in (one[name], two[name]))
        assert a == pytest.approx(b, abs=1e-7), name
    assert sorted(p.name for p in (tmp_path / "scores/test/step=0").iterdir()) == [
        *("ceiling.jsonl", "copy_input.jsonl", "frames", "manifest.jsonl"),
        *("mean_target.jsonl", "records.jsonl", "samples.jsonl", "scores.json"),
    ]


def test_a_truth_that_cannot_be_drawn_has_a_ceiling_of_zero() -> None:
    """An ARC answer too large for the canvas counts against the encoding; it does not end the run."""
    data = SquareData(n=2)
    first, second = (data.clip(pair) for pair in data.pairs)
    undrawable = dataclasses.replace(second.pair, target=np.zeros((3, 3), bool))  # not of the picture's size
    references = References(("ceiling",))
    batch = collate([first, Clip(second.frames, undrawable)])
    references.add(batch, data, ConvModule().backbone, data.make_metric())
    records = {record["key"]: record["attempts"] for record in references.gathered()["ceiling"]}
    assert records == {first.pair.key: 1, undrawable.key: 0}


class Oracle(ConvModule):
    """Answers every view of an ARC input with the truth in that view."""

    def test_step(self, batch, batch_idx):
        data = self.trainer.datamodule
        truths = [[data._variants().draw(pair.target, view) for view in range(4)] for pair in batch.pairs]
        drawn = torch.stack([torch.stack([to_frame(truth) for truth in views]) for views in truths])
        return dataclasses.replace(batch, generated=drawn[:, :, None], views=4)


def test_each_view_of_a_query_is_turned_back_before_the_vote(tmp_path):
    data = ArcDataModule("c8f0f002", augmentation="dihedral")
    scorer = Scorer(ceiling=False, baselines=False)
    trainer(tmp_path, scorer).test(Oracle(), datamodule=data, verbose=False)
    (record,) = read_records(tmp_path / "scores/test/step=0")
    assert (record["rank"], record["votes"]) == (1, [4])
