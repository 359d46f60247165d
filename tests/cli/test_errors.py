"""What is said when processes of one run lose each other."""

from __future__ import annotations

import os

import pytest
from torch import distributed as dist

from vdmfewshot.cli.errors import LOST, is_lost_process, plain_errors

#: as gloo says it (torch 2.13), and as NCCL does
GLOO = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3")
NCCL = dist.DistBackendError("NCCL error: remote process exited or there was a network error")


@pytest.mark.parametrize("error", [GLOO, NCCL])
def test_a_lost_process_is_told_in_one_message(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, plain_errors():
        raise error
    assert stopped.value.code == os.EX_TEMPFAIL
    assert capsys.readouterr().err == f"error: {LOST}\n"


def test_other_errors_of_a_program_stay_what_they_are() -> None:
    assert not is_lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"), plain_errors():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
