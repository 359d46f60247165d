"""A step or a loader that hangs ends the process (fault test W5)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vdmfewshot.callbacks.watchdog import Watchdog

HANGING = """
import sys, time
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from tests.callbacks.tiny_task import ConvModule, SquareData
from vdmfewshot.callbacks.watchdog import Watchdog
from vdmfewshot.clips.clip import collate

where = sys.argv[1]

class Module(ConvModule):
    def training_step(self, batch, batch_idx):
        if where == "step" and batch_idx == 4:
            time.sleep(3600)
        return super().training_step(batch, batch_idx)

class Clips:
    def __iter__(self):
        data = SquareData()
        for i in range(8):
            if where == "loader" and i == 4:
                time.sleep(3600)
            yield collate([data.clip(p) for p in data.support])

quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
trainer = Trainer(max_steps=8, accelerator="cpu", callbacks=[Watchdog(patience=2.0, factor=2.0)], **quiet)
trainer.fit(Module(), train_dataloaders=Clips())
print("done")
"""


def run(where: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, "-c", HANGING, where], capture_output=True, text=True, env=env, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["step", "loader"])
def test_what_hangs_is_ended_with_a_message(where: str) -> None:
    done = run(where)
    assert done.returncode == os.EX_TEMPFAIL
    assert "error: training hangs: a step or its data took over" in done.stderr
    assert 'File "<string>"' in done.stderr, "it says where"


@pytest.mark.slow
def test_what_does_not_hang_is_let_alone() -> None:
    done = run("nowhere")
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_the_limit_follows_the_median() -> None:
    dog = Watchdog(patience=5, factor=20)
    dog._seconds.extend([0.1, 0.1, 9.0])
    assert dog.limit() == 5
    dog._seconds.extend([1.0, 1.0, 1.0])
    assert dog.limit() == 20
    for wrong in ({"patience": 0}, {"factor": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            Watchdog(**wrong)
