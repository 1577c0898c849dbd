"""The differential driver: sends what changed from a thread of its own; no terminal can hold up the loop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from codecs import getincrementaldecoder
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, cast

from textual import events
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.geometry import Size

from cme_tui.cells import Grid, Painter, basic_cell, rich_cell
from cme_tui.terminal import Profile

if TYPE_CHECKING:
    from cme_tui.app import CmeApp

MAX_QUEUED_BYTES: Final = 128
"""Bytes the device may still hold when the next frame is begun; at 9600 baud 0.13 s."""

RETRY_SECONDS: Final = 0.02
WRITE_BYTES: Final = 1024
LEAVE_SECONDS: Final = 1.5
KEY_TICKS_SECONDS: Final = 0.05
KEY_SETTLES_SECONDS: Final = 0.6

ENTER_RICH: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?1000h\x1b[?1006h\x1b[?2004h"
LEAVE_RICH: Final = "\x1b[m\x1b[?2004l\x1b[?1006l\x1b[?1000l\x1b[?7h\x1b[?25h\x1b[?1049l"
ENTER_BASIC: Final = "\x1b[?25l\x1b[?7l"
LEAVE_BASIC: Final = "\x1b[m\x1b[H\x1b[J\x1b[?7h\x1b[?25h"


class TerminalDriver(Driver):
    """Reads keys from and paints on the app's terminal. `write` never blocks, whatever the terminal does.

    One thread does all input and output of the terminal. It paints the newest state of the cells whenever the device
    has taken the frame before, so a slow terminal sees fewer frames, never old ones. A hang-up ends the app.
    """

    def __init__(
        self,
        app: CmeApp,
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._cme = app
        self._terminal = app.terminal
        self._profile: Profile = app.profile
        self._lock = threading.Lock()
        self._grid = Grid(*self._terminal.size())
        self._painter = Painter(basic_cell if self._profile == "basic" else rich_cell)
        self._forget = False
        self._dirty = False
        self._resized = False
        self._reading = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pending = b""
        self._wake_in, self._wake_out = -1, -1
        self._out = -1
        self._attributes: list[Any] | None = None
        self._old_winch: Any = None

    def write(self, data: str) -> None:
        """Take output of Textual into the cells; the thread brings it to the terminal."""
        with self._lock:
            self._grid.feed(data)
            self._dirty = True
        self._wake()

    def redraw(self) -> None:
        """Clear the terminal and paint everything again."""
        with self._lock:
            self._forget = self._dirty = True
        self._wake()

    def set_profile(self, profile: Profile) -> None:
        """Paint for another kind of terminal from now on."""
        with self._lock:
            if profile == self._profile:
                return
            self._profile = profile
            self._forget = self._dirty = True
        self._wake()

    def start_application_mode(self) -> None:
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._out = _own_description(self._terminal.out_fd)
        with contextlib.suppress(termios.error):
            self._attributes = termios.tcgetattr(self._terminal.in_fd)
            keys_only = _keys_only(self._attributes, flow_control=self._profile == "basic")
            termios.tcsetattr(self._terminal.in_fd, termios.TCSANOW, keys_only)
        if threading.current_thread() is threading.main_thread():
            self._old_winch = signal.signal(signal.SIGWINCH, self._on_winch)
        self._pending = (ENTER_BASIC if self._profile == "basic" else ENTER_RICH).encode()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()
        self._post_size()

    def disable_input(self) -> None:
        self._reading = False
        self._wake()

    def stop_application_mode(self) -> None:
        if self._thread is None:
            return
        self._stopping = True
        self._wake()
        self._thread.join(LEAVE_SECONDS + 0.5)
        self._thread = None
        if self._old_winch is not None:
            signal.signal(signal.SIGWINCH, self._old_winch)
        if self._attributes is not None:
            with contextlib.suppress(termios.error):
                termios.tcflush(self._terminal.in_fd, termios.TCIFLUSH)
                termios.tcsetattr(self._terminal.in_fd, termios.TCSANOW, self._attributes)
        for fd in (self._out, self._wake_in, self._wake_out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._out = self._wake_in = self._wake_out = -1

    def resized(self) -> None:
        """The terminal may have another size now."""
        self._resized = True
        self._wake()

    def _on_winch(self, number: int, frame: FrameType | None) -> None:
        self.resized()

    def _wake(self) -> None:
        if self._wake_out >= 0:
            with contextlib.suppress(OSError):  # full: the thread is being woken already
                os.write(self._wake_out, b"w")

    def _post_size(self) -> None:
        width, height = self._terminal.size()
        with self._lock:
            if (width, height) != (self._grid.width, self._grid.height):
                self._grid.resize(width, height)
        size = Size(width, height)
        self._size = (width, height)
        self.send_message(events.Resize(size, size))

    def _run(self) -> None:
        try:
            self._serve()
            if self._stopping:
                self._leave()
        except OSError:
            # The device is gone: EIO after a hang-up.
            self._hung_up()

    def _serve(self) -> None:
        keys = _Keys(self)
        tick_until = 0.0
        while not self._stopping:
            poll = select.poll()
            poll.register(self._wake_in, select.POLLIN)
            poll.register(self._terminal.in_fd, select.POLLIN if self._reading else 0)
            if self._pending:
                poll.register(self._out, select.POLLOUT)
            wait = None
            if self._dirty and not self._pending:
                wait = RETRY_SECONDS
            elif time.monotonic() < tick_until:
                wait = KEY_TICKS_SECONDS
            ready = dict(poll.poll(None if wait is None else wait * 1000))
            if ready.get(self._wake_in):
                os.read(self._wake_in, 4096)
            state = ready.get(self._terminal.in_fd, 0)
            if state & select.POLLIN:
                data = os.read(self._terminal.in_fd, 4096)
                if not data:
                    self._hung_up()
                    return
                keys.feed(data)
                tick_until = time.monotonic() + KEY_SETTLES_SECONDS
            elif state & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                self._hung_up()
                return
            keys.tick()
            if self._resized:
                self._resized = False
                self._post_size()
            self._paint()

    def _paint(self) -> None:
        if not self._pending and self._dirty and _queued(self._out) <= MAX_QUEUED_BYTES:
            with self._lock:
                rows = [list(row) for row in self._grid.rows]
                forget, self._forget, self._dirty = self._forget, False, False
                translate = basic_cell if self._profile == "basic" else rich_cell
            if forget:
                self._painter.forget(translate)
            self._pending = self._painter.paint(rows).encode("utf-8", "replace")
        if self._pending:
            self._send()

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = os.write(self._out, self._pending[:WRITE_BYTES])
            self._pending = self._pending[sent:]

    def _leave(self) -> None:
        """Give the terminal back as it was; one that takes nothing is left alone after a moment."""
        self._pending += (LEAVE_BASIC if self._terminal.profile == "basic" else LEAVE_RICH).encode()
        deadline = time.monotonic() + LEAVE_SECONDS
        poll = select.poll()
        poll.register(self._out, select.POLLOUT)
        while self._pending and (left := deadline - time.monotonic()) > 0:
            state = dict(poll.poll(left * 1000)).get(self._out, 0)
            if state & (select.POLLHUP | select.POLLERR):
                return
            self._send()

    def _hung_up(self) -> None:
        if not self._stopping:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._cme.exit)


class _Keys:
    """Bytes from the terminal into Textual's events."""

    def __init__(self, driver: TerminalDriver) -> None:
        self._driver = driver
        self._parser = XTermParser()
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            for message in self._parser.feed(text):
                self._driver.process_message(message)

    def tick(self) -> None:
        """Let a lone Esc become a key when its time is up."""
        for message in self._parser.tick():
            self._driver.process_message(message)


def _keys_only(attributes: list[Any], flow_control: bool) -> list[Any]:
    """Terminal attributes under which every key arrives at once and unchanged, with speed and parity left alone.

    `flow_control` leaves XON/XOFF as it is: a terminal on a serial line may have no other way to say "wait".
    """
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
    iflag &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.BRKINT)
    if not flow_control:
        iflag &= ~(termios.IXON | termios.IXOFF)
    lflag &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


def _own_description(fd: int) -> int:
    """The same device opened once more without blocking, so that the shell's descriptor keeps its own mode."""
    try:
        return os.open(os.ttyname(fd), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        copy = os.dup(fd)
        os.set_blocking(copy, False)
        return copy


def _queued(fd: int) -> int:
    """Bytes that the device has taken and not sent yet (TIOCOUTQ); 0 where it cannot say."""
    try:
        return cast("int", struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
