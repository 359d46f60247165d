"""A stack on two processes is the stack on one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.stacks import make_roots

pytestmark = pytest.mark.usefixtures("meeting_port")


def ddp_script(folder: Path, tiny: Path, roots: Path, devices: int) -> dict[str, torch.Tensor]:
    """Stacked weights after 5 clipped steps of two samples a task, on so many processes."""
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, folder / "script.py", tiny, roots, folder, devices]
    done = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)
    return weights


SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.stacks import SHOTS, make_stack, stack_of
from tests.tiny_training import adapter_weights, make_trainer
tiny, roots, folder, devices = *map(Path, sys.argv[1:4]), int(sys.argv[4])
module = make_stack(tiny)
strategy = "ddp" if devices > 1 else "auto"
trainer = make_trainer(folder, 5, strategy=strategy, devices=devices, gradient_clip_val=0.05, callbacks=[])
if __name__ == "__main__":
    data = stack_of({name: roots / name for name in SHOTS}, batch_size=2 // devices)
    trainer.fit(module, datamodule=data)
    if trainer.is_global_zero:
        torch.save(adapter_weights(module), folder / "weights.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one(tiny: Path, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    make_roots(roots)
    one, two = (ddp_script(tmp_path / str(n), tiny, roots, n) for n in (1, 2))
    assert max(float(w.abs().max()) for name, w in one.items() if "lora_B" in name) > 1e-3, "it has learnt"
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)
