"""``vdmfewshot app``: adapt and predict in a browser on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vdmfewshot.cli.errors import Mistake

#: the page is served to this machine only
HOST = "127.0.0.1"
#: of one uploaded file: more than any photo has
MAX_FILE_SIZE = "200mb"


def app(args: Sequence[str]) -> None:
    """Serve the page until Ctrl-C, then remove everything that was uploaded.

    Args:
        args: the options, see ``--help``.

    Raises:
        Mistake: if gradio is not installed, or the port is taken.
    """
    parser = argparse.ArgumentParser(
        "vdmfewshot app",
        description="Adapt and predict in the browser. The page is for this machine alone (127.0.0.1); uploaded files "
        "lie in a temporary folder and are removed when the page is closed.",
    )
    parser.add_argument("--port", type=int, help="of the page (default: the first free one from 7860)")
    parser.add_argument("--no_browser", action="store_true", help="print the address only")
    options = parser.parse_args(list(args))
    if options.port is not None and not 1 <= options.port <= 65535:
        raise Mistake(f"--port must be 1 to 65535, got {options.port}", "vdmfewshot app")
    if importlib.util.find_spec("gradio") is None:
        raise Mistake("the app needs gradio, which is not installed; pip install 'vdmfewshot[app]'")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that files are removed then, too
    with tempfile.TemporaryDirectory(prefix="vdmfewshot-app-", ignore_cleanup_errors=True) as folder:
        serve(Path(folder), options.port, not options.no_browser)


def serve(root: Path, port: int | None, browser: bool) -> None:
    """Serve the page until it is interrupted.

    Args:
        root: folder for everything that is uploaded or made.
        port: the first free one from 7860 if not given.
        browser: whether to open the page.

    Raises:
        Mistake: if the port is taken.
    """
    stay_offline(root / "gradio")
    from vdmfewshot.cli.app.page import launch_options, make_page
    from vdmfewshot.cli.app.session import Sessions

    sessions = Sessions(root)
    page = make_page(sessions)
    try:
        page.launch(server_name=HOST, server_port=port, inbrowser=browser, **launch_options())
    except OSError as error:
        raise Mistake(f"port {port or '7860 and the next 99'} is taken; choose another with --port") from error
    sys.stdout.write(f"the page is at {page.local_url} for this machine only; Ctrl-C ends it and removes all files\n")
    sys.stdout.flush()
    try:
        page.block_thread()
    finally:
        sessions.close_all()


def stay_offline(folder: Path) -> None:
    """Tell gradio, before it is imported, to call nobody and to keep its files in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # it would keep answers in the browser
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
