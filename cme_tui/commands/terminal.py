"""`cme-tui`: the terminal UI over a core in the same process."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Final

from cme_tui.terminal import open_terminal
from core.errors import CmeError
from core.facade import RunOptions
from core.launch import open_gateway

LOG_FILE: Final = "cme-tui.log"
_LOG_BYTES: Final = 1 << 20


def run(options: RunOptions, *, serial_console: bool) -> int:
    """Run the gateway until the operator quits. Raises `CmeError` if the terminal or the gateway is unfit."""
    terminal = open_terminal(serial_console)
    gateway = open_gateway(options)
    try:
        # Stands on the terminal when the screens are left again.
        for line in gateway.how_to_connect():
            print(line)
        _log_to(options.state_dir / LOG_FILE)
        # Imported last: a gateway that cannot start says so without waiting for Textual.
        from cme_tui.app import run_app

        return run_app(gateway, terminal)
    finally:
        gateway.stop()


def _log_to(path: Path) -> None:
    """Log to a file: on the terminal, log lines would run across the screen."""
    try:
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
    except OSError as error:
        raise CmeError(
            f"The log {path} cannot be written ({error.strerror}): give this user the right to, or remove it."
        ) from error
    logging.basicConfig(
        handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
