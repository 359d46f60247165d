"""First frames are remembered up to a limit (that the bits stay: tests/test_sampling.py)."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny_training import make_module


def test_memory_is_bounded_and_forgets_the_longest_unused(tiny: Path) -> None:
    backbone = make_module(tiny).backbone
    backbone.load()
    memory, images = backbone._posteriors, torch.rand(4, 1, 3, 1, 32, 32)
    memory.limit = 2
    calls: list[int] = []
    backbone.vae.encoder.register_forward_pre_hook(lambda module, args: calls.append(1))
    with memory.of(backbone.vae), torch.no_grad():
        for i in (0, 1, 0, 2, 0, 1):
            backbone.vae.encode(images[i])
    assert len(memory) == 2
    assert len(calls) == 4, "0 stays in use; 1 has to be encoded again"
