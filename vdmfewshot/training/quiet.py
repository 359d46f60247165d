"""Silence about the insides of libraries, so that what a run says is about the run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: warnings of libraries that are about their own insides, or about what we do on purpose
WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning with torch 2.13
    r"Total length of `list` across ranks is zero",  # no validation queries
    r"Already found a `peft_config` attribute",  # verification loads the adapter a second time, and
    r"Adapter verify was active which is now deleted",  # removes it again
    r"While injecting the PEFT adapters, an inconsistency",  # diffusers adds zeros for the image keys of Wan 2.1 I2V
    r"Found \d+ module\(s\) in eval mode",  # the frozen backbone
    r"Experiment logs directory .* exists and is not empty",  # W&B's files are there first, metrics.csv is not
    r"The .* does not have many workers",  # a handful of clips in memory
    r"The dirpath has changed from",  # a run that goes on has a folder of its own
    r"The `local_dir_use_symlinks` argument is deprecated",  # diffusers with huggingface_hub 1
    r"install \"ipywidgets\" for Jupyter",  # rich in a notebook: there is no bar, and no harm
    r"LightningCLI's args parameter is intended",  # main() called from Python
)
#: where Lightning lists accelerators that it did not find, advertises, and repeats the seed
CHATTY = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed")


@contextmanager
def quiet() -> Iterator[None]:
    """Within the context, none of these warnings, and no news from Lightning below a warning."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
