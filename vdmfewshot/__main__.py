"""``vdmfewshot`` and ``python -m vdmfewshot``."""

import sys

from vdmfewshot import __version__


def run() -> None:
    """Console script. ``--version`` is answered here, before seconds of imports."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"vdmfewshot {__version__}\n")
        return
    if sys.argv[1:2] == ["study"]:  # a finished study reports without torch
        from vdmfewshot.cli.study import run as run_study

        raise SystemExit(run_study(sys.argv[2:]))
    from vdmfewshot.cli.command import run as run_cli

    run_cli()


if __name__ == "__main__":
    run()
