"""The plan for a GPU of 24, 48 and 80 GB, of every preset at its native size, and the page that compares them."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml

from scripts import table_models
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.estimate import estimate

PRESETS = table_models.ROOT / "experiments/model"

#: preset → for each GPU: recomputed blocks, weights, where they are, GB at the peak of a training step
PLANS: dict[str, list[tuple[int, str, str, float]]] = {
    "kandinsky5-lite": [(0, "none", "none", 20.2), (0, "none", "none", 20.2), (0, "none", "none", 20.2)],
    "wan2.1-1.3b": [(4, "none", "none", 21.4), (0, "none", "none", 24.1), (0, "none", "none", 24.1)],
    "skyreels-v2-1.3b": [(1, "none", "none", 21.5), (0, "none", "none", 22.1), (0, "none", "none", 22.1)],
    "ltx-video-2b": [(0, "none", "none", 9.0), (0, "none", "none", 9.0), (0, "none", "none", 9.0)],
    "cogvideox-1.5-5b": [(34, "none", "none", 21.1), (6, "none", "none", 43.0), (0, "none", "none", 47.8)],
    "cogvideox-5b": [(22, "none", "none", 21.5), (0, "none", "none", 30.4), (0, "none", "none", 30.4)],
    "wan2.2-ti2v-5b": [(18, "none", "none", 21.0), (0, "none", "none", 34.3), (0, "none", "none", 34.3)],
    "hunyuanvideo-1.5-480p": [(50, "none", "none", 21.5), (14, "none", "none", 42.8), (0, "none", "none", 51.0)],
    "ltx-video-13b": [(48, "fp8", "none", 19.5), (4, "none", "none", 43.0), (0, "none", "none", 44.0)],
    "wan2.1-i2v-14b-480p": [(40, "fp8", "group", 7.9), (37, "none", "none", 42.5), (15, "none", "none", 71.8)],
    "ltx-2": [(48, "fp8", "group", 6.8), (48, "fp8", "none", 25.7), (0, "none", "none", 60.1)],
    "wan2.1-i2v-14b-720p": [(40, "fp8", "group", 12.8), (40, "fp8", "none", 29.2), (30, "none", "none", 71.7)],
    "wan2.2-i2v-a14b": [(40, "fp8", "group", 8.5), (40, "fp8", "none", 37.0), (33, "none", "none", 71.8)],
}
COSTS = table_models.read_costs()


@pytest.mark.parametrize("name", list(table_models.MODELS))
def test_plans(name: str) -> None:
    for free, expected in zip((24, 48, 80), PLANS[name], strict=True):
        plan = table_models.plan(COSTS[name], free)
        memory = plan.memory
        assert (memory.recomputed(COSTS[name].blocks), memory.quantization, memory.offload) == expected[:3], free
        assert plan.training / 1e9 == pytest.approx(expected[3], abs=0.06)
        assert "expect a failure" not in plan.reason


def test_presets_that_are_not_in_the_table_have_plans_too() -> None:
    """The distilled LTX-Video is the same network; the model that ships needs nothing, on any card."""
    presets = {file.stem: yaml.safe_load(file.read_text())["init_args"] for file in PRESETS.glob("*.yaml")}
    assert presets.keys() - PLANS.keys() == {"embedded", "embedded-random", "ltx-video-13b-distilled"}
    same, other = presets["ltx-video-13b-distilled"], presets["ltx-video-13b"]
    assert same["lora"] == other["lora"]
    assert same["backbone"]["init_args"]["dtype"] == other["backbone"]["init_args"]["dtype"]
    plan = table_models.plan(estimate(CogVideoX("embedded"), (9, 96, 96), 1, LoraArgs(rank=16)), 24)
    assert (plan.memory.checkpointing, plan.memory.quantization, plan.memory.offload) == ("none", "none", "none")
    assert plan.training < 1e9


def test_the_page_has_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_models.memory, "LIBRARIES", {})
    assert table_models.BEGIN + table_models.table() + table_models.END in table_models.PAGE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(table_models.MODELS))
def test_stored_costs_are_those_that_are_counted(name: str) -> None:
    counted, stored = asdict(table_models.count(name)), asdict(COSTS[name])
    assert counted.keys() == stored.keys()
    for key, value in stored.items():
        assert counted[key] == (value if isinstance(value, dict) else pytest.approx(value)), key
