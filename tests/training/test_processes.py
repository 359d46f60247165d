"""What processes that train together share: pages of memory while they read, and frozen weights that nobody sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel

from tests.tiny import tiny_checkpoint
from tests.tiny_training import make_data, make_module, make_trainer
from tests.tiny_wan import tiny_wan
from vdmfewshot.backbones import CogVideoX, Wan
from vdmfewshot.backbones.late_cast import LateCast, stored_dtype
from vdmfewshot.training.processes import require_same_weights

pytestmark = pytest.mark.usefixtures("meeting_port")

#: one step on so many processes: memory of each of them beyond what it had before it read, at most and afterwards
SCRIPT = """
import json, os, re, sys, threading, time
from pathlib import Path
from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.training.sharding import ShardedStrategy

def pages(name):
    return 1024 * int(re.search(rf"^{name}: +([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M)[1])

class Watch(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.first, self.peak, self.own = pages("Pss"), 0, 0
        self.before, self.file = pages("Pss_Anon"), pages("Pss_File")
    def run(self):
        while True:
            self.peak = max(self.peak, pages("Pss") - self.first)
            self.own = max(self.own, pages("Pss_Anon") - self.before)
            time.sleep(0.01)

checkpoint, roots, folder, strategy, devices = sys.argv[1:]
if __name__ == "__main__":
    devices = int(devices)
    kinds = {"one": "auto", "ddp": "ddp", "sharded": ShardedStrategy()}
    trainer = make_trainer(Path(folder), 1, strategy=kinds[strategy], devices=devices, callbacks=[])
    module, data = make_module(Path(checkpoint)), make_data(Path(roots), batch_size=1)
    watch = Watch()
    watch.start()
    trainer.fit(module, datamodule=data)
    found = {"peak": watch.peak, "own": watch.own, "file": pages("Pss_File") - watch.file}
    (Path(folder) / f"found-{trainer.global_rank}.json").write_text(json.dumps(found))
"""


def measure(folder: Path, checkpoint: Path, roots: Path, strategy: str, devices: int) -> dict[str, float]:
    """GB of all processes together, see ``SCRIPT``: at most, of that its own, and of files at the end."""
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, folder / "script.py", checkpoint, roots, folder, strategy, devices]
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("found-*.json"))]
    assert len(found) == devices
    return {name: sum(f[name] for f in found) / 1e9 for name in found[0]}


#: the denoiser's blocks
BLOCKS = 32
#: strategies and their processes
RUNS = {"one": 1, "ddp": 2, "sharded": 2}


def large(folder: Path) -> tuple[Path, float]:
    """A checkpoint whose denoiser takes 1 GB in fp32, and those GB."""
    tiny_checkpoint(folder)
    config = json.loads((folder / "transformer/config.json").read_text())
    sizes = {"num_attention_heads": 12, "attention_head_dim": 64, "num_layers": BLOCKS}
    model = CogVideoXTransformer3DModel.from_config({**config, **sizes})
    model.save_pretrained(folder / "transformer")
    return folder, sum(p.nbytes for p in model.parameters()) / 1e9


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of shared pages")
def test_two_processes_read_a_gigabyte_once_and_keep_half_of_it_each_if_it_is_sharded(
    pairs_root: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    checkpoint, size = large(tmp_path / "large")
    assert 0.9 < size < 1.3
    runs = {name: measure(tmp_path / name, checkpoint, pairs_root, name, n) for name, n in RUNS.items()}
    one, ddp, sharded = runs.values()
    for name, found in runs.items():
        record_property(name, found)
    assert one["peak"] > 0.9 * size
    assert ddp["peak"] < one["peak"] + 0.35 * size, "both read the same pages, and nobody writes to them"
    assert ddp["own"] < 0.4 * size
    gathered = 2 * 8 * size / BLOCKS  # whole blocks that torch and gloo hold in each of the two
    assert size < sharded["own"] < size + ddp["own"] + gathered, "half of the blocks each, and few whole ones"
    assert sharded["file"] < 0.2 * size, "the file is let go"


@pytest.mark.parametrize(("cls", "make"), [(CogVideoX, tiny_checkpoint), (Wan, lambda f: tiny_wan(f, "2.2-i2v-a14b"))])
def test_weights_that_are_cast_late_are_those_that_are_cast_at_once(cls: Any, make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path / "checkpoint")
    at_once, late = (cls(str(folder), dtype="bf16") for _ in range(2))
    at_once.load()
    late.late_cast = LateCast(torch.bfloat16)
    late.load()
    assert late.fingerprint == at_once.fingerprint
    assert late.denoiser.proj_out.weight.dtype == torch.float32, "as in the file"
    late.to("cpu")
    expected = at_once.state_dict()
    assert expected.keys() == late.state_dict().keys()
    for name, tensor in late.state_dict().items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name


def test_the_dtype_of_a_file_is_read_from_its_header(tmp_path: Path) -> None:
    checkpoint = CogVideoX(str(tiny_checkpoint(tmp_path / "c"))).checkpoint
    assert stored_dtype(checkpoint, "transformer") == torch.float32
    (tmp_path / "c/transformer/diffusion_pytorch_model.safetensors").unlink()
    assert stored_dtype(checkpoint, "transformer") is None


class Strategy:
    """Of two processes, as the second one sees it."""

    def broadcast(self, value: str) -> str:
        return "of rank 0"

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return decision


def test_processes_with_different_weights_are_refused() -> None:
    require_same_weights(Strategy(), "of rank 0")
    with pytest.raises(ValueError, match="read different weights"):
        require_same_weights(Strategy(), "of an older file")


def test_one_process_sends_nothing_and_casts_at_once(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny, dtype="bf16")
    make_trainer(tmp_path, 1, callbacks=[]).fit(module, datamodule=make_data(pairs_root))
    assert module.backbone.late_cast is None
    assert not hasattr(module, "_ddp_params_and_buffers_to_ignore")
