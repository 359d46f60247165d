"""``vdmfewshot`` and ``python -m vdmfewshot``."""

from vdmfewshot.cli.front import run

if __name__ == "__main__":
    run()
