"""What loggers were given is read back from their own files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

from tests.callbacks.wandb_file import Run, read_run
from tests.runs import options, run
from vdmfewshot.callbacks.loggers import ResilientWandbLogger
from vdmfewshot.callbacks.mirror import flatten, log_adapter, log_config, log_images, log_table, markdown
from vdmfewshot.lora.adapters import MANIFEST_FILE

LOGGER = {
    "class_path": "vdmfewshot.callbacks.loggers.ResilientWandbLogger",
    "init_args": {
        **{"project": "p", "mode": "offline", "log_adapter": True},
        **{"group": "shots", "job_type": "adapt", "tags": ["tiny", "masks"]},
    },
}


@pytest.fixture(scope="module", autouse=True)
def _own_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No stored key, and artifacts are staged in a folder of the test."""
    home = str(tmp_path_factory.mktemp("home"))
    wandb.teardown()  # whose address in the environment must not come back
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("HOME", home)
        patch.setenv("WANDB_DATA_DIR", home)
        yield
        wandb.teardown()


@pytest.fixture(autouse=True)
def _one_run() -> Iterator[None]:
    yield
    wandb.finish()


@pytest.fixture(scope="module")
def arguments(tiny: Path, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    runs = tmp_path_factory.mktemp("mirrored")
    return [*options(tiny, runs, pairs_root), "--name=x", f"--trainer.logger={json.dumps(LOGGER)}"]


def mirrored(*args: str) -> tuple[Path, Run]:
    """A run of the command line: its folder and what its W&B file holds."""
    trainer = run(*args).trainer
    (logger,) = (logger for logger in trainer.loggers if isinstance(logger, ResilientWandbLogger))
    logger.experiment.finish()
    (file,) = Path(trainer.log_dir or "").glob("wandb/offline-run-*/*.wandb")
    return Path(trainer.log_dir or ""), read_run(file)


@pytest.fixture(scope="module")
def first(arguments: list[str]) -> tuple[Path, Run]:
    return mirrored("adapt", *arguments, "--trainer.log_every_n_steps=1")


def test_group_kind_tags_and_flat_settings_are_the_users(first: tuple[Path, Run]) -> None:
    _, found = first
    assert (found.record.run_group, found.record.job_type) == ("shots", "adapt")
    assert list(found.record.tags) == ["tiny", "masks"]
    assert found.config["model.lora.rank"] == 4
    assert found.config["data.class_path"].endswith("PairsDataModule")
    assert not any("init_args" in name for name in found.config)


def test_a_table_has_a_row_a_sample_with_its_picture(first: tuple[Path, Run]) -> None:
    home, found = first
    columns, rows = found.table("samples/test")
    assert columns == ["key", "score", "confidence", "failure", "picture"]
    published = [json.loads(line) for line in (home / "scores/test/step=2/samples.jsonl").read_text().splitlines()]
    assert [row[:4] for row in rows] == [[sample[name] for name in columns[:4]] for sample in published]
    assert [row[4] for row in rows] == [(home / f"pictures/test/step=2/{row[0]}.png").read_bytes() for row in rows]
    assert rows


def test_the_summary_has_scores_with_intervals_and_baselines(first: tuple[Path, Run]) -> None:
    home, found = first
    scores = json.loads((home / "scores/test/step=2/scores.json").read_text())
    main = scores["scores"][scores["main"]]
    for name, key in (("", "score"), ("_low", "low"), ("_high", "high")):
        assert found.summary[f"test/{scores['main']}{name}"] == pytest.approx(main[key], rel=1e-6)
    assert found.summary[f"test/copy_input/{scores['main']}"] == pytest.approx(main["copy_input"], rel=1e-6)


def test_the_adapter_is_an_artifact_with_its_manifest(first: tuple[Path, Run]) -> None:
    home, found = first
    (artifact,) = (artifact for artifact in found.artifacts if artifact.type == "model")
    manifest = json.loads((home / "adapter" / MANIFEST_FILE).read_text())
    assert json.loads(artifact.metadata) == manifest
    assert found.files("model") == {file.name: file for file in (home / "adapter").iterdir()}


def test_a_resumed_run_goes_on_in_the_same_run_and_its_steps_grow(
    first: tuple[Path, Run], arguments: list[str]
) -> None:
    home, before = first
    more = ("--trainer.max_steps=4", "--trainer.log_every_n_steps=1", f"--ckpt_path={home}/checkpoints/last.ckpt")
    again, after = mirrored("fit", *arguments, *more)
    assert again != home
    assert after.record.run_id == before.record.run_id
    assert after.record.display_name == before.record.display_name
    for name in ("_step", "trainer/global_step"):
        # What was logged after the checkpoint, here the test, is a part of the finished run alone.
        losses = [[row[name] for row in part.history if "train/loss" in row] for part in (before, after)]
        assert losses[0] + losses[1] == sorted({*losses[0], *losses[1]}), name
        assert len(losses[0]) == len(losses[1]) == 2


@pytest.mark.parametrize("state", [{"id": "../../x", "step": 3}, {"id": "abc", "step": "3"}, {"id": 7, "step": 1}, {}])
def test_a_strange_state_is_not_resumed(state: dict[str, Any]) -> None:
    logger = ResilientWandbLogger(mode="disabled")
    logger.load_state_dict(state)
    assert logger.version is None


def test_a_run_that_the_user_names_is_the_users(tmp_path: Path) -> None:
    logger = ResilientWandbLogger(mode="offline", id="mine", name="my run", save_dir=tmp_path)
    logger.load_state_dict({"id": "theirs", "name": "their run", "step": 3})
    assert (logger.experiment.id, logger.experiment.name) == ("mine", "my run")


def test_a_disabled_run_has_no_state(tmp_path: Path) -> None:
    logger = ResilientWandbLogger(mode="disabled", save_dir=tmp_path)
    assert logger.experiment is not None
    assert logger.state_dict() == {}


@pytest.fixture
def picture(first: tuple[Path, Run]) -> Path:
    return sorted((first[0] / "pictures/test/step=2").glob("*.png"))[0]


def rows_with(picture: Path) -> list[dict[str, Any]]:
    return [
        {"key": "a", "score": 0.5, "confidence": None, "failure": None, "picture": picture},
        {"key": "b", "score": 0.0, "confidence": 0.25, "failure": "a|b <script>", "picture": None},
    ]


def test_tensorboard_gets_pictures_a_table_and_settings(tmp_path: Path, picture: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    log_images([logger], "pictures/test", [picture, picture.with_suffix(".gif")], 2)
    log_table([logger], "samples/test", rows_with(picture), 2)
    log_config([logger], {"model": {"init_args": {"lora": {"rank": 4}}}})
    logger.finalize("success")
    events = EventAccumulator(str(logger.log_dir)).Reload()
    assert sorted(events.Tags()["images"]) == sorted([f"pictures/test/{picture.stem}", "samples/test/a"])
    (text,) = events.Tensors("samples/test/text_summary")
    assert text.tensor_proto.string_val[0].decode() == markdown(rows_with(picture))
    assert logger.hparams == {"model.lora.rank": 4}


def test_mlflow_gets_pictures_a_table_and_the_adapter(tmp_path: Path, picture: Path, first: tuple[Path, Run]) -> None:
    pytest.importorskip("mlflow")
    logger = MLFlowLogger("x", tracking_uri=f"sqlite:///{tmp_path}/db", artifact_location=(tmp_path / "art").as_uri())
    log_images([logger], "pictures/test", [picture], 2)
    log_table([logger], "samples/test", rows_with(picture), 2)
    log_adapter([logger], "my task", first[0] / "adapter", {})
    place = tmp_path / "art" / str(logger.run_id) / "artifacts"
    assert (place / "pictures/test/step=2" / picture.name).read_bytes() == picture.read_bytes()
    assert json.loads((place / "samples/test/step=2.json").read_text())["data"][0][:2] == ["a", 0.5]
    assert (place / "adapter-my-task" / MANIFEST_FILE).is_file()


def test_other_loggers_are_let_alone_and_failures_are_warnings(tmp_path: Path, picture: Path) -> None:
    log_table([CSVLogger(tmp_path)], "samples/test", rows_with(picture), 2)
    log_config([CSVLogger(tmp_path)], {"a": 1})
    assert not list(tmp_path.glob("lightning_logs/version_0/*.yaml"))
    logger = ResilientWandbLogger(mode="offline", save_dir=tmp_path)
    with pytest.warns(UserWarning, match=r"ResilientWandbLogger does not take samples/test: .*missing.png"):
        log_table([logger], "samples/test", rows_with(tmp_path / "missing.png"), 2)


def test_markdown_keeps_text_text(picture: Path) -> None:
    assert markdown(rows_with(picture)).splitlines()[-1] == r"| b | 0 | 0.25 | a\|b \<script\> |"


def test_settings_are_flat() -> None:
    nested = {
        "a": {"class_path": "A", "init_args": {"b": {"c": [1, 2]}}},
        "callbacks": [{"class_path": "C"}],
        "d": None,
    }
    assert flatten(nested) == {"a.class_path": "A", "a.b.c": [1, 2], "d": None}
