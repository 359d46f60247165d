"""The one set of defaults: the command line, its configuration files and Python take them from here."""

from __future__ import annotations

from typing import Any

#: arguments of the Trainer where they are not Lightning's own defaults
TRAINER: dict[str, Any] = {
    "max_steps": 200,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "check_val_every_n_epoch": None,
    "val_check_interval": 100,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}
