"""ARC inputs and masks asked in several versions: what is drawn, how the answer is turned back, who votes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.arc_files import ready, task, write
from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.callbacks.evaluation import decoders, score_clips
from vdmfewshot.callbacks.predictions import save_query
from vdmfewshot.clips.clip import ClipBatch, collate, to_frame
from vdmfewshot.codecs.palette import ARC_PALETTE
from vdmfewshot.data import views
from vdmfewshot.data.arc import colour_permutation, dihedral, undone
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.training.sampling import SamplingArgs


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("permutation", [0, 1, 77])
def test_what_a_view_changes_is_undone(symmetry: int, permutation: int) -> None:
    grid = np.random.default_rng(symmetry).integers(0, 10, (3, 5))
    changed = colour_permutation(permutation)[dihedral(grid, symmetry)]
    assert undone(changed, symmetry, permutation).tolist() == grid.tolist()


@pytest.mark.parametrize(("kind", "count"), [("colours", 5), ("dihedral", 8), ("dihedral_colours", 20)])
def test_right_answers_to_all_views_are_one_answer_with_all_votes(tmp_path: Path, kind: str, count: int) -> None:
    data = ready(write(tmp_path / "t.json", task()), augmentation=kind)
    pair = data.queries("test")[0]
    variants = data._variants()
    pictures = {data.view(pair, view).tobytes() for view in range(count)}
    assert len(pictures) > count // 2, "some versions of a small grid may look alike"
    assert data.view(pair, 0).tobytes() == pair.image.tobytes()
    answers = [to_frame(variants.draw(pair.target, view)) for view in range(count)]
    clips = torch.stack(answers)[:, None]
    record = score_clips(data.make_metric(), decoders(data, count, count), clips, pair)
    assert record["failure"] is None
    assert (record["rank"], record["votes"], record["right"]) == (1, [count], [True] * count)


def test_attempts_belong_to_their_views_even_if_one_is_lost(tmp_path: Path) -> None:
    """Two attempts at each of three views; the first is not finite."""
    data = ready(write(tmp_path / "t.json", task()), augmentation="colours")
    pair = data.queries("test")[0]
    clips = torch.stack([to_frame(data._variants().draw(pair.target, view)) for view in (0, 0, 1, 1, 2, 2)])[:, None]
    clips[0] = torch.nan
    record = score_clips(data.make_metric(), decoders(data, 3, 6), clips, pair)
    assert record["votes"] == [5]


def test_more_views_than_there_are_are_refused(tmp_path: Path, pairs_root: Path) -> None:
    data = ready(write(tmp_path / "t.json", task()), augmentation="dihedral")
    views.check(data, 8)
    with pytest.raises(ValueError, match="at most 8 for t, got 9"):
        views.check(data, 9)
    plain = make_data(pairs_root)
    plain.setup()
    views.check(plain, 1)
    with pytest.raises(ValueError, match="at most 1 .* only ARC tasks"):
        views.check(plain, 2)
    with pytest.raises(ValueError, match="views must be at least 1, got 0"):
        SamplingArgs(views=0)


def test_the_model_is_asked_in_every_view_and_the_query_itself_as_before(tmp_path: Path, tiny: Path) -> None:
    small = {"height": 32, "width": 32, "num_frames": 9}
    data = ready(write(tmp_path / "t.json", task()), augmentation="dihedral", **small)
    batch = collate([data.query_clips("test")[0]])

    def generated(asked: int, attempts: int) -> ClipBatch:
        module = make_module(tiny, sampling=SamplingArgs(steps=1, views=asked, attempts=attempts), seed=0)
        make_trainer(tmp_path, 1).predict(module, datamodule=data)
        return module.generate(batch)

    one, many = generated(1, 2), generated(3, 2)
    assert many.generated.shape[1] == 6
    assert many.views == 3
    assert torch.allclose(one.generated[0], many.generated[0, :2], atol=1e-4)
    assert not torch.allclose(many.generated[0, 2], many.generated[0, 0], atol=1e-2)
    asked = views.first_frames(data, batch, 3)
    assert torch.equal(asked[1], to_frame(data.view(batch.pairs[0], 1)))


def test_predict_writes_the_voted_grids_with_their_votes(tmp_path: Path) -> None:
    """Two of three views say the truth, one another grid; the benchmark allows two answers."""
    data = ready(write(tmp_path / "t.json", task()), augmentation="dihedral")
    pair = data.queries("test")[0]
    other = (np.asarray(pair.target) + 1) % 10
    drawn = [data._variants().draw(grid, view) for view, grid in enumerate((other, pair.target, pair.target))]
    frames = [picture.astype(np.float32) for picture in drawn]
    row = save_query(tmp_path / "out", data, pair, frames, decoders(data, 3, 3))
    assert [answer["votes"] for answer in row["answers"]] == [2, 1]
    assert [answer["label"] for answer in row["answers"]] == [pair.target.tolist(), other.tolist()]
    assert [answer["file"] for answer in row["answers"]] == [f"{pair.key}.png", f"{pair.key}.answer2.png"]
    assert len(row["attempts"]) == 3
    for answer in row["answers"]:
        with Image.open(tmp_path / "out" / answer["file"]) as picture:
            assert picture.getpixel((5, 5)) == ARC_PALETTE[answer["label"][0][0]]


def test_a_mask_is_the_mean_of_the_answers_to_its_picture_and_the_mirror_image(tmp_path: Path, tiny: Path) -> None:
    data = MaskFolderDataModule("sample:nuclei", shots=2, height=32, width=32, num_frames=9, max_queries=2)
    data.setup()
    batch = collate([data.query_clips("test")[i] for i in range(2)])
    asked = views.first_frames(data, batch, 2)
    assert torch.equal(asked[::2], batch.first_frame)
    assert torch.equal(asked[1::2], batch.first_frame.flip(-1))

    def generated(batch: ClipBatch, asked: int, attempts: int) -> ClipBatch:
        module = make_module(tiny, sampling=SamplingArgs(steps=1, views=asked, attempts=attempts), seed=0)
        make_trainer(tmp_path, 1).predict(module, datamodule=data)
        return module.generate(batch)

    both = generated(batch, 2, 2)
    one, mirrored = generated(batch, 1, 2), generated(replace(batch, frames=batch.frames.flip(-1)), 1, 4)
    mean = (one.generated + mirrored.generated[:, 2:].flip(-1)) / 2  # attempts 2 and 3 have the mirror image's noise
    torch.testing.assert_close(both.generated, mean, atol=1e-4, rtol=0)
    assert (both.views, both.latents.shape) == (1, one.latents.shape)


def test_merged_frames_are_the_mean_and_other_tasks_are_left_alone(tmp_path: Path) -> None:
    data = MaskFolderDataModule("sample:nuclei", shots=2, height=32, width=32, num_frames=9, max_queries=1)
    data.setup()
    batch = collate([data.query_clips("test")[0]])
    generated = torch.randn(1, 4, 1, 3, 32, 32)
    asked = replace(batch, generated=generated, latents=torch.randn(1, 4, 1, 2, 2, 2), views=2)
    merged = views.merged(data, asked)
    torch.testing.assert_close(merged.generated, (generated[:, :2] + generated[:, 2:].flip(-1)) / 2)
    boards = ready(write(tmp_path / "t.json", task()), augmentation="colours")
    assert views.merged(boards, asked) is asked


def test_masks_have_two_versions_and_are_not_mixed_with_others(tmp_path: Path) -> None:
    data = MaskFolderDataModule("sample:nuclei", shots=2, height=32, width=32, num_frames=9)
    data.setup()
    views.check(data, 2)
    with pytest.raises(ValueError, match="views must be at most 2 for .* got 3: there are 2"):
        views.check(data, 3)
    boards = ready(write(tmp_path / "t.json", task()), augmentation="colours")
    with pytest.raises(ValueError, match="views must be 1 for a stack of masks and other tasks, got 2"):
        views.check(SimpleNamespace(tasks={"a": data, "b": boards}), 2)
