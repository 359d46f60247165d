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
    r"The .* does not have many workers",  # a handful of clips in memory
    r"LightningCLI's args parameter is intended",  # main() called from Python
)
#: where Lightning lists accelerators that it did not find, and advertises
CHATTY = "lightning.pytorch.utilities.rank_zero"


@contextmanager
def quiet() -> Iterator[None]:
    """Within the context, none of these warnings, and no news from Lightning below a warning."""
    logger = logging.getLogger(CHATTY)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        logger.setLevel(level)
