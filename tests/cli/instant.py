"""Command lines in one fresh process, and which of the heavy libraries it has imported by the end of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "diffusers", "transformers", "peft", "torchmetrics", "matplotlib", "jsonargparse")
SCRIPT = """
import contextlib, io, json, sys
from vdmfewshot.cli.front import run
answers = []
for words in json.loads(sys.argv[1]):
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
        run(words)
    answers.append([told.getvalue(), [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(answers))
"""


def answers(lines: Sequence[Sequence[str]], folder: Path) -> list[tuple[str, list[str]]]:
    """What each command line prints, in this working folder, and the heavy libraries that are imported by then."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, json.dumps([list(line) for line in lines]), json.dumps(HEAVY)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return [(text, heavy) for text, heavy in json.loads(done.stdout)]
