"""`cme-tui` in this process: what a command prints and its exit code, without the start of another Python."""

from __future__ import annotations

import io
import threading
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch

from cme_tui.__main__ import main

_alone = threading.Lock()


def cme_tui(*arguments: str, given: str | None = None) -> CompletedProcess[str]:
    """Run a command that comes to its end by itself, with `given` on stdin; from any thread, one at a time.

    Not for a gateway, which would keep its signals blocked in the tests' process and all that this starts.
    """
    assert "--headless" not in arguments
    out, err = io.StringIO(), io.StringIO()
    source = io.TextIOWrapper(io.BytesIO((given or "").encode()), "utf-8")
    with _alone, redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", source):
        try:
            code: int = main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
