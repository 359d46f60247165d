"""What reaches the screen, and what does not."""

from __future__ import annotations

import pytest
from lightning import seed_everything
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from vdmfewshot.data.survey import say
from vdmfewshot.training.quiet import quiet


def test_libraries_are_silent_and_we_are_not(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with quiet(), caplog.at_level("INFO", "lightning.pytorch"):
        seed_everything(0)
        rank_zero_info("GPU available: False")
        rank_zero_warn("The dirpath has changed from 'a' to 'b', therefore ...")
        say("ours")
    told = caplog.text + capfd.readouterr().err
    assert "ours" in told
    assert "Seed set" not in told
    assert "GPU available" not in told
    assert not [warning for warning in recwarn if "dirpath" in str(warning.message)]
