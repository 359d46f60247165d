"""Randomness with a name: every draw is a pure function of the run's seed and of what is drawn, never of history.

That makes resumed runs repeat the same noise, and results independent of batch size, workers, ranks and device.
"""

from __future__ import annotations

import hashlib
import os

import torch


def derive_seed(*parts: object) -> int:
    """Hash names and numbers to a seed in [0, 2^63): ``derive_seed(seed, "noise", ordinal)``."""
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def named_generator(*parts: object) -> torch.Generator:
    """CPU generator seeded with ``derive_seed(*parts)``; CPU, so that a GPU run draws the same numbers."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def run_seed(seed: int | None) -> int:
    """``seed`` itself, or what ``--seed_everything`` set (0 if nothing did) when it is ``None``."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
