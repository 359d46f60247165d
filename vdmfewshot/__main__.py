"""``vdmfewshot`` and ``python -m vdmfewshot``."""

import os
import sys

# `python -m` looks for modules in the working folder first, where a configuration from elsewhere may have brought some.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from vdmfewshot.cli.front import run

if __name__ == "__main__":
    run()
