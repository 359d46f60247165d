"""Writes the table of docs/models.md, and the costs behind it, from configuration files alone: no weight is read.

``--recount`` counts the costs anew (minutes) and writes benchmarks/published/costs.json; without it they are read.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

import vdmfewshot.backbones
from vdmfewshot.budget import memory
from vdmfewshot.budget.cost import Cost, Denoiser
from vdmfewshot.budget.memory import MemoryArgs, Plan, decide
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.estimate import estimate

ROOT = Path(__file__).parents[1]
PUBLISHED, PAGE = ROOT / "benchmarks/published", ROOT / "docs/models.md"
COSTS = PUBLISHED / "costs.json"
BEGIN, END = "<!-- table: python -m scripts.table_models -->\n", "<!-- end of table -->"
#: preset → native height and width, licence of the weights
MODELS: dict[str, tuple[tuple[int, int], str]] = {
    "kandinsky5-lite": ((512, 768), "MIT"),
    "wan2.1-1.3b": ((480, 832), "Apache 2.0"),
    "skyreels-v2-1.3b": ((544, 960), "Skywork Community"),
    "ltx-video-2b": ((512, 704), "LTX-Video 0.9 RAIL-M"),
    "cogvideox-1.5-5b": ((768, 1360), "CogVideoX"),
    "cogvideox-5b": ((480, 720), "CogVideoX"),
    "wan2.2-ti2v-5b": ((704, 1280), "Apache 2.0"),
    "hunyuanvideo-1.5-480p": ((480, 848), "Tencent Hunyuan Community, not in EU, UK, South Korea"),
    "ltx-video-13b": ((512, 704), "LTXV Open Weights"),
    "wan2.1-i2v-14b-480p": ((480, 832), "Apache 2.0"),
    "ltx-2": ((512, 768), "LTX-2 Community"),
    "wan2.1-i2v-14b-720p": ((720, 1280), "Apache 2.0"),
    "wan2.2-i2v-a14b": ((480, 832), "Apache 2.0"),
}
#: presets whose network is that of another one, by its name
SAME = {"wan2.1-i2v-14b-720p": "wan2.1-i2v-14b-480p"}
GPU = torch.device("cuda")


def count(name: str) -> Cost:
    """What a step on one 9-frame clip at native size costs with the preset's adapter, in bf16."""
    config = yaml.safe_load((ROOT / "experiments/model" / f"{name}.yaml").read_text())["init_args"]
    settings = {
        **config["backbone"]["init_args"],
        "path": str(PUBLISHED / SAME.get(name, name)),
        "memory": MemoryArgs(),
    }
    cls = getattr(vdmfewshot.backbones, config["backbone"]["class_path"].rpartition(".")[2])
    backbone = cls(**settings)
    clip = (9, *MODELS[name][0])
    backbone.check_clip(*clip)
    return estimate(backbone, clip, 1, LoraArgs(**config["lora"]), autocast=torch.bfloat16)


def read_costs() -> dict[str, Cost]:
    """The counted costs."""
    stored: dict[str, Any] = json.loads(COSTS.read_text())
    parts = {name: {k: Denoiser(**c[k]) for k in ("total", "block")} for name, c in stored.items()}
    return {name: Cost(**{**c, **parts[name]}) for name, c in stored.items()}


def plan(cost: Cost, free_gb: float, **args: Any) -> Plan:
    """What is chosen on a GPU with so much free memory."""
    return decide(cost, MemoryArgs(**args), free_gb * 1e9, GPU)


def row(name: str, cost: Cost) -> str:
    """A line of the table."""
    (height, width), licence = MODELS[name]
    cells = [f"`{name}`", f"{cost.total.frozen / cost.itemsize / 1e9:.1f}", f"{height}x{width}", f"{cost.tokens:,}"]
    cells += [f"{cost.step() / 1e12:.0f}", f"{cost.step(cost.blocks) / 1e12:.0f}"]
    for quantization in ("none", "fp8", "nf4"):
        sizes = [
            plan(cost, 1e6, checkpointing=checkpointing, quantization=quantization, offload="none").training / 1e9
            for checkpointing in ("none", "full")
        ]
        cells.append(" / ".join(f"{size:.0f}" for size in sizes))
    return "| " + " | ".join([*cells, licence]) + " |\n"


def table() -> str:
    """All lines."""
    memory.LIBRARIES.clear()  # a prediction needs no library of quantisation
    head = ("model", "billion parameters", "native size", "tokens", "TFLOP a step", "with checkpointing")
    head += ("GB bf16", "GB fp8", "GB nf4", "licence of the weights")
    lines = [f"| {' | '.join(head)} |\n", "|" + "---|" * len(head) + "\n"]
    return "".join(lines) + "".join(row(name, cost) for name, cost in read_costs().items())


def main() -> None:
    """Count if asked to, and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recount", action="store_true")
    if options.parse_args().recount:
        costs = {name: asdict(count(name)) for name in MODELS}
        COSTS.write_text(json.dumps(costs, indent=1) + "\n")
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
