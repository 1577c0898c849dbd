"""What the UI tests share: a small terminal emulator, and the app as a program on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

for name in ("NO_COLOR", "TEXTUAL_THEME", "COLUMNS", "LINES"):
    os.environ.pop(name, None)
os.environ["TZ"] = "UTC"
time.tzset()

PROGRAM = Path(__file__).parent / "recorded_app.py"
LIMIT = 20.0

KEYS = {
    "F1": b"\x1bOP",
    "F2": b"\x1bOQ",
    "F3": b"\x1bOR",
    "F4": b"\x1bOS",
    "F5": b"\x1b[15~",
    "F6": b"\x1b[17~",
    "F7": b"\x1b[18~",
    "F10": b"\x1b[21~",
    "F12": b"\x1b[24~",
}


class VirtualTerminal:
    """A terminal as ECMA-48 has it, as far as a full-screen program needs it; written apart from the code it checks."""

    TOKEN = re.compile(
        rb"\x1b\[([?>=<]?)([\d;]*)([\x20-\x2f]*)([\x40-\x7e])|\x1b([\x20-\x2f]*[\x30-\x5a\x5c-\x7e])"
    )

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self.width, self.height = width, height
        self.x = self.y = 0
        self.sgr: tuple = ((), "", "")
        self.clear()
        self._rest = b""

    def clear(self) -> None:
        self.cells = [[(" ", ((), "", ""))] * self.width for _ in range(self.height)]

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        self._rest = b""
        at = 0
        while at < len(data):
            byte = data[at]
            if byte == 0x1B:
                token = self.TOKEN.match(data, at)
                if token is None:
                    self._rest = data[at:]
                    return
                at = token.end()
                if token[5] is None and not token[1]:
                    self._control(token[4].decode(), token[2].decode())
            elif byte in b"\r\n\x07":
                if byte == 0x0D:
                    self.x = 0
                elif byte == 0x0A:
                    self.y = min(self.y + 1, self.height - 1)
                at += 1
            else:
                size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                if at + size > len(data):
                    self._rest = data[at:]
                    return
                self._put(data[at : at + size].decode())
                at += size

    def _put(self, character: str) -> None:
        if unicodedata.combining(character):
            return
        cells = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if self.x + cells <= self.width:
            row = self.cells[self.y]
            for x in range(self.x, self.x + cells):
                if row[x][0] == "" and x:
                    row[x - 1] = (" ", row[x - 1][1])
                if x + 1 < self.width and row[x + 1][0] == "":
                    row[x + 1] = (" ", row[x + 1][1])
            row[self.x] = (character, self.sgr)
            if cells == 2:
                row[self.x + 1] = ("", self.sgr)
        self.x = min(self.x + cells, self.width)

    def _control(self, final: str, parameters: str) -> None:
        numbers = [int(p or 0) for p in parameters.split(";")]
        first = numbers[0] or 1
        if final == "H":
            column = (numbers[1] if len(numbers) > 1 else 0) or 1
            self.y, self.x = min(first, self.height) - 1, min(column, self.width) - 1
        elif final == "C":
            self.x = min(self.x + first, self.width - 1)
        elif final == "K":
            self.cells[self.y][self.x :] = [(" ", ((), "", ""))] * (self.width - self.x)
        elif final == "J":
            if numbers[0] == 2:
                self.clear()
            else:
                blank = (" ", ((), "", ""))
                self.cells[self.y][self.x :] = [blank] * (self.width - self.x)
                for y in range(self.y + 1, self.height):
                    self.cells[y] = [blank] * self.width
        elif final == "m":
            self._style(numbers)

    def _style(self, numbers: list[int]) -> None:
        flags, foreground, background = set(self.sgr[0]), self.sgr[1], self.sgr[2]
        while numbers:
            code = numbers.pop(0)
            if code == 0:
                flags, foreground, background = set(), "", ""
            elif code in (38, 48):
                length = 4 if numbers[0] == 2 else 2
                colour = ";".join(str(n) for n in [code, *numbers[:length]])
                del numbers[:length]
                if code == 38:
                    foreground = colour
                else:
                    background = colour
            elif code < 20:
                flags.add(code)
            elif code < 30:
                flags -= {1, 2} if code == 22 else {code - 20}
            elif code == 39:
                foreground = ""
            elif code == 49:
                background = ""
            elif code < 40 or 90 <= code < 98:
                foreground = str(code)
            else:
                background = str(code)
        self.sgr = (tuple(sorted(flags)), foreground, background)

    @property
    def lines(self) -> list[str]:
        return ["".join(text for text, _ in row) for row in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def looks(self) -> list[list[tuple]]:
        """The cells as an eye sees them: a blank has no text colour and is not bold."""
        return [[self._look(*cell) for cell in row] for row in self.cells]

    @staticmethod
    def _look(text: str, style: tuple) -> tuple:
        flags, foreground, background = style
        if text == " ":
            flags = tuple(flag for flag in flags if flag in (4, 7, 9))
            if not flags:
                foreground = ""
        return text, flags, foreground, background


class Program:
    """The app on a pseudo-terminal, its screen, and every byte that it sent."""

    def __init__(
        self, width: int = 80, height: int = 24, environment: dict | None = None, **options: object
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(width, height, tell=False)
        self.screen = VirtualTerminal(width or 80, height or 24)
        self.received = 0
        self.beat, beat = os.pipe()
        os.set_blocking(beat, False)
        env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "TEXTUAL_DISABLE_KITTY_KEY": "1",
        }
        env.update(environment or {})
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps({**options, "beat": beat})],
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE if options.get("driver") != "stock" else slave,
            env=env,
            pass_fds=(beat,),
            start_new_session=True,
        )
        os.close(slave)
        os.close(beat)

    def resize(self, width: int, height: int, tell: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if tell:
            self.screen = VirtualTerminal(width, height)
            self.process.send_signal(signal.SIGWINCH)

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self.master, KEYS.get(key, key.encode()))

    def read(self, seconds: float) -> bool:
        """Take what has come, waiting up to `seconds`; False if nothing came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.received += len(data)
        self.screen.feed(data)
        return bool(data)

    def until(self, true: Callable[[], bool]) -> None:
        """Read until `true()`, at most `LIMIT` seconds."""
        deadline = time.monotonic() + LIMIT
        while not true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"not reached; the screen shows\n{self.screen.text}")
            self.read(0.1)

    def until_shown(self, text: str) -> None:
        self.until(lambda: text in self.screen.text)

    def bytes_until_quiet(self, quiet: float = 1.3) -> int:
        """Bytes sent until nothing comes for longer than the slowest look at the gateway."""
        before = self.received
        while self.read(quiet):
            pass
        return self.received - before

    def beats(self, number: int) -> None:
        """Wait until `number` more snapshots have been taken, without reading the terminal."""
        deadline = time.monotonic() + LIMIT
        while number > 0:
            left = deadline - time.monotonic()
            assert left > 0, "the loop of the app stands still"
            if select.select([self.beat], [], [], left)[0]:
                number -= len(os.read(self.beat, 1))

    def ended(self) -> int:
        """Exit code; reads the terminal meanwhile so that the program can say good-bye."""
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the program does not end"
            self.read(0.05) or self.process.poll()
        return self.process.returncode

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.beat)
        if self.process.stderr:
            self.process.stderr.close()


@pytest.fixture(scope="session")
def virtual_terminal() -> type[VirtualTerminal]:
    """The emulator, to be given a size."""
    return VirtualTerminal


@pytest.fixture
def start():
    """Starts the app as a program on a pseudo-terminal; ends it after the test."""
    programs: list[Program] = []

    def begin(*arguments: object, **options: object) -> Program:
        programs.append(Program(*arguments, **options))
        return programs[-1]

    yield begin
    for program in programs:
        program.close()


class Session:
    """An app over a recorded gateway with a pilot at its keys."""

    def __init__(self, app, pilot, gateway):
        self.app, self.pilot, self.gateway = app, pilot, gateway

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self):
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    def lines(self, name):
        from cme_tui.widgets.lines import Lines

        return self.app.screen.query_one(name, Lines).text

    def table(self, name):
        from cme_tui.widgets.table import Table

        return self.app.screen.query_one(name, Table)

    @property
    def status(self):
        return self.lines("#status")

    @property
    def screen(self):
        return self.app.screen


@pytest.fixture
def session():
    """Begins a session: `async with session(...) as s`."""
    from recorded import RecordedGateway

    from cme_tui.app import CmeApp, wall_clock

    @contextlib.asynccontextmanager
    async def begin(gateway=None, size=(80, 24), profile="rich", **recorded):
        gateway = gateway or RecordedGateway(**recorded)
        clock = gateway.clock if isinstance(gateway, RecordedGateway) else wall_clock
        app = CmeApp(gateway, clock=clock, profile=profile)
        async with app.run_test(size=size) as pilot:
            yield Session(app, pilot, gateway)

    return begin


@pytest.fixture
def looks_as_accepted(snap_compare):
    """Compares the app over a recorded gateway, after some keys, with the accepted picture."""
    from recorded import RecordedGateway

    from cme_tui.app import CmeApp

    def compare(*keys, gateway=None, size=(80, 24), profile="rich", **recorded):
        gateway = gateway or RecordedGateway(**recorded)
        app = CmeApp(gateway, clock=gateway.clock, profile=profile)

        async def press(pilot):
            for key in keys:
                await pilot.press(key)
                await pilot.app.workers.wait_for_complete()
                await pilot.pause()
            pilot.app.pull()
            await pilot.pause()

        return snap_compare(app, terminal_size=size, run_before=press)

    return compare
