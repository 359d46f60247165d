"""``vdmfewshot`` and ``python -m vdmfewshot``."""

import sys

from vdmfewshot import __version__


def run() -> None:
    """Console script. ``--version`` is answered here, before seconds of imports."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"vdmfewshot {__version__}\n")
        return
    from vdmfewshot.cli.command import run as run_cli

    run_cli()


if __name__ == "__main__":
    run()
