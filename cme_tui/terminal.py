"""Looks at the terminal before the UI starts, and says what to do where it will not serve. Loads no Textual."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
import tty
from dataclasses import dataclass
from typing import Final, Literal

from core.errors import CmeError

Profile = Literal["rich", "basic"]
"""rich: colours, four looks a second. basic: a serial console, mono, ASCII, one look a second."""

MIN_WIDTH: Final = 80
MIN_HEIGHT: Final = 24

PLAIN_TERMINALS: Final = re.compile(r"(vt\d|ansi|wy|tvi|h19|adm)")
SERIAL_DEVICES: Final = re.compile(r"/dev/(tty(S|AMA|USB|ACM|O|mxc|LP|PS|SAC|GS)\d+|hvc\d+)$")
SIZE_REPORT_SECONDS: Final = 0.5


class TerminalError(CmeError):
    """This terminal cannot show the UI; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal that is fit: where to read and write, the look to begin with, its size where it told us."""

    in_fd: int = 0
    out_fd: int = 1
    profile: Profile = "rich"
    told_size: tuple[int, int] | None = None  # columns, rows; where the device does not know its own

    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        return device_size(self.out_fd) or self.told_size or (MIN_WIDTH, MIN_HEIGHT)


def open_terminal(serial_console: bool = False, in_fd: int = 0, out_fd: int = 1) -> Terminal:
    """The terminal on `in_fd` and `out_fd`, checked. To be called before Textual is imported.

    `serial_console` asks for the basic profile whatever the terminal says it is. Raises `TerminalError`.
    """
    if not (os.isatty(in_fd) and os.isatty(out_fd)):
        raise TerminalError(
            "Standard input and output are no terminal, so there is no place for the screens; "
            "run cme-tui --headless, or cme-tui status."
        )
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        raise TerminalError(
            f"The terminal type TERM={term or '(not set)'} cannot place text on the screen; "
            "set TERM (for a serial console TERM=vt220), or run cme-tui --headless."
        )
    profile = _profile(term, out_fd, serial_console)
    told = None
    if device_size(out_fd) is None:
        told = ask_size(in_fd, out_fd) or (MIN_WIDTH, MIN_HEIGHT)
    terminal = Terminal(in_fd, out_fd, profile, told)
    width, height = terminal.size()
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        raise TerminalError(
            f"The terminal has {width} columns and {height} rows and the screens need {MIN_WIDTH} and {MIN_HEIGHT}; "
            "make it larger, or run cme-tui --headless."
        )
    # A stale COLUMNS or LINES in a login shell would overrule what the device says.
    os.environ.pop("COLUMNS", None)
    os.environ.pop("LINES", None)
    if profile == "basic":
        os.environ.setdefault("ESCDELAY", "250")
    return terminal


def device_size(fd: int) -> tuple[int, int] | None:
    """Columns and rows as the device knows them; None where it does not, as on a serial line."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (columns, rows) if columns and rows else None


def ask_size(in_fd: int, out_fd: int, wait: float = SIZE_REPORT_SECONDS) -> tuple[int, int] | None:
    """Columns and rows by a cursor report (ECMA-48 CPR) from the far corner; None without one in `wait` s."""
    before = termios.tcgetattr(in_fd)
    try:
        tty.setcbreak(in_fd, termios.TCSANOW)
        os.write(out_fd, b"\x1b7\x1b[999;999H\x1b[6n\x1b8")
        deadline = time.monotonic() + wait
        answer = b""
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([in_fd], [], [], left)[0]:
                break
            data = os.read(in_fd, 64)
            if not data:
                break
            answer += data
            if found := re.search(rb"\x1b\[(\d{1,4});(\d{1,4})R", answer):
                return int(found[2]), int(found[1])
        return None
    finally:
        termios.tcsetattr(in_fd, termios.TCSANOW, before)


def _profile(term: str, out_fd: int, serial_console: bool) -> Profile:
    if serial_console or PLAIN_TERMINALS.match(term) or SERIAL_DEVICES.match(os.ttyname(out_fd)):
        return "basic"
    return "rich"
