"""From renderers to rings: takes in what is ready, at the pace that training asks for."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from vdmfewshot.drawing.canvas import NUM_FRAMES
from vdmfewshot.pretrain.renderers import RenderPool
from vdmfewshot.pretrain.rings import ClipRing, augmented

ENOUGH = {"cuda": 2048, "cpu": 48}
"""Clips before training begins."""


class Feed:
    """Rings of clips by size, filled by a pool of renderers.

    Attributes:
        rings: By size.
        drawn: Clips drawn from them.
    """

    def __init__(self, pool: RenderPool, device: torch.device, gib: float, redraws: int) -> None:
        """Reserve the rings.

        Args:
            pool: Renders.
            device: Of the rings.
            gib: Memory of all of them; 0 is a third of what is free on the GPU.
            redraws: How often each clip is drawn, at least.
        """
        self.pool, self.redraws, self.drawn = pool, redraws, 0
        self.device, self.started = device, time.monotonic()
        free = gib * 2**30 or torch.cuda.mem_get_info(device)[0] / 3
        weights = {size: share * size**2 for size, share in pool.sizes.items()}
        self.rings = {}
        for size, weight in weights.items():
            capacity = int(free * weight / sum(weights.values()) / (NUM_FRAMES * 3 * size**2))
            self.rings[size] = ClipRing(size, max(16, capacity), device)

    def take(self) -> str:
        """Add the clips that are ready, once those before have been drawn often enough; a note for the log."""
        if self.drawn >= self.redraws * self.pool.rendered or self.device.type == "cuda":
            self._add()
        rate = self.pool.rendered / max(1e-9, time.monotonic() - self.started)
        return f"rendered {self.pool.rendered} ({rate:.0f}/s)"

    def _add(self) -> None:
        for block in self.pool.poll():
            self.rings[block.shape[2]].add(block)

    def fill(self, patience: float = 30.0) -> None:
        """Wait until there are some clips of the smallest size; after a while a few will do, or are rendered here."""
        ring, since = self.rings[min(self.rings)], time.monotonic()
        least = min(ENOUGH[self.device.type], len(ring.clips))
        while ring.filled < least:
            self._add()
            time.sleep(0.002)
            if time.monotonic() - since > patience:
                least = 1
                self.pool.inline = self.pool.inline or not ring.filled

    def draw(self, size: int, count: int, rng: torch.Generator) -> Tensor:
        """``count`` changed clips (count, 3, 9, S, S) in -1..1."""
        self.drawn += count
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # places of pixels need float32
            return augmented(self.rings[size].draw(count, rng), rng, self.pool.corpus == "video")
