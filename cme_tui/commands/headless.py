"""`cme-tui --headless`: the core without a UI, for a service manager or a plain shell.

stdout carries one line, the ready line; everything else goes to stderr. SIGTERM and SIGINT stop the gateway
cleanly, SIGHUP reloads the configuration, or stops it when it comes because the terminal went away.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from typing import Final, TextIO

from core.errors import CmeError
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway

log = logging.getLogger("cme_tui.headless")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TICK_S: Final = 1.0
_HUNG_S: Final = 30.0


def run(options: RunOptions) -> int:
    """Run until a signal ends it. Returns 0 after a clean stop; raises `CmeError` if it cannot start."""
    # Blocked before the core's threads start, so that they inherit it and only `sigtimedwait` sees the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    had_terminal = _has_terminal()
    gateway = _open(options)
    try:
        dlms = gateway.snapshot().dlms
        if dlms.enabled:
            _say(sys.stdout, f"DLMS server listening on {dlms.host}:{dlms.port}")
        for line in gateway.how_to_connect():
            _say(sys.stderr, line)
        _notify("READY=1")
        _serve(gateway, had_terminal)
        _notify("STOPPING=1")
    finally:
        gateway.stop()
    return 0


def _open(options: RunOptions) -> RunningGateway:
    """Start the gateway and keep what it has then out of the search for garbage.

    It stays, and to look through it again and again makes a start with a thousand meters a third longer, and holds
    every client up for a tenth of a second each time later.
    """
    gc.disable()
    try:
        return open_gateway(options)
    finally:
        gc.freeze()
        gc.enable()


def _serve(gateway: RunningGateway, had_terminal: bool) -> None:
    while True:
        arrived = signal.sigtimedwait(_SIGNALS, _TICK_S)
        # Stopped and continued, or frozen with the machine, it wakes with no signal at all: when the time is over by
        # then, Python gives out what the kernel has not filled in.
        if arrived is None or arrived.si_signo not in _SIGNALS:
            # Answered by the core's own loop: a core that hangs must not look alive to the watchdog.
            try:
                gateway.ping().result(timeout=_HUNG_S)
            except TimeoutError:
                raise CmeError(
                    f"The core has not answered for {_HUNG_S:.0f} s: the gateway ends; please report the log."
                ) from None
            _notify("WATCHDOG=1")
        elif arrived.si_signo != signal.SIGHUP or (had_terminal and not _has_terminal()):
            log.info("Stopping on %s", signal.Signals(arrived.si_signo).name)
            return
        else:
            _reload(gateway)


def _reload(gateway: RunningGateway) -> None:
    try:
        gateway.reload().result()
    except CmeError as error:
        log.error("Configuration not reloaded, the old one stays: %s", error)
    except Exception:
        log.exception("The configuration could not be reloaded for an unforeseen reason; please report this")
    else:
        log.info("Configuration reloaded")


def _say(stream: TextIO, line: str) -> None:
    """Print a line. Whoever reads it may have gone away: no reason to end the readouts.

    Not through the stream's buffer, which would complain of the same line again when the process ends.
    """
    with contextlib.suppress(OSError):
        os.write(stream.fileno(), f"{line}\n".encode())


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); does nothing outside of a systemd service."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # Without a listener meters are read all the same.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(state.encode(), address)
