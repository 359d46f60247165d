"""``python -m vdmfewshot``."""

from vdmfewshot.cli import run

if __name__ == "__main__":
    run()
