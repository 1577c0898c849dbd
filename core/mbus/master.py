"""The master of one M-Bus line: keeps it connected and reads meters, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from core.errors import CmeError
from core.mbus.address import Address, SecondaryAddress
from core.mbus.errors import LineDown
from core.mbus.link import Link, Readout, telegram_follows
from core.mbus.opener import open_transport, wait_to_open
from core.mbus.transport import Transport
from core.mbus.watch import Watch
from core.snapshot import LineState

log = logging.getLogger(__name__)

Opener = Callable[[str, int], Awaitable[Transport]]
"""Opens the line with this URL and baud rate; raises `LineError`."""

FIRST_RETRY = 1.0
"""Seconds until a line that was lost is opened again; doubled with every failure."""
LAST_RETRY = 60.0
"""Seconds between two attempts at most."""
SLOW_OPENING = 10.0
"""Seconds after which a line that is still being opened counts as down."""


class Master:
    """Owns one line. `start` it, `read` as often as wanted, `close` it; all on one event loop.

    The line is opened again by itself, after 1 s, 2 s ... 60 s, or as soon as its serial device is plugged in. Reads
    wait for each other.
    """

    def __init__(
        self,
        url: str,
        baud: int = 2400,
        *,
        margin: float = 0.0,
        repeats: int = 2,
        most_telegrams: int = 32,
        open_line: Opener = open_transport,
        more_follows: Callable[[bytes], bool | None] = telegram_follows,
        on_change: Callable[[], None] = lambda: None,
        watch: Watch = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`margin` in s is added to the answer time-out of 330 bit times + 50 ms and the transport's own margin.

        `repeats` is how often a request is sent again. `on_change` is called after every change of `state`. `watch`
        gets everything that goes over the line. `now` gives the time of readouts and changes, in seconds since
        1970-01-01 UTC.
        """
        self.url = url
        self.baud = baud
        self.state = LineState.CONNECTING
        self.reason = ""  # why the line is not up
        self.since = now()  # of the state, seconds since 1970-01-01 UTC
        self.next_try: float | None = None  # to open it; None while it is up
        self.lost: tuple[float, str] | None = None  # when a connection was lost the last time, and why
        self._margin = margin
        self._repeats = repeats
        self._most_telegrams = most_telegrams
        self._open_line = open_line
        self._more_follows = more_follows
        self._on_change = on_change
        self._watch = watch
        self._now = now
        self._busy = asyncio.Lock()
        self._waiting = 0
        self._tried = asyncio.Event()  # set when the outcome of the first attempt to connect is known
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None

    def start(self) -> None:
        """Begin to connect, and stay connected from then on."""
        self._task = asyncio.create_task(self._keep_connected(), name=f"mbus-line {self.url}")

    async def close(self) -> None:
        """Let go of the line. A read that waits or runs fails with `LineDown`."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._change(LineState.DOWN, "The line was closed.")
        self._tried.set()

    @contextlib.asynccontextmanager
    async def session(self, baud: int | None = None, extra: float = 0.0) -> AsyncIterator[Link]:
        """Have the line alone, at `baud` (its own rate by default), as soon as who has it now has done.

        Answers may come `extra` s later than the line allows. Raises `LineDown`, or `RateRefused` where the line
        cannot be switched.
        """
        self._waiting += 1
        try:
            await self._busy.acquire()
        finally:
            self._waiting -= 1
        try:
            link = await self._connected()
            await link.use(baud or self.baud, extra)
            yield link
        finally:
            self._busy.release()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the line."""
        return self._waiting > 0

    @property
    def busy(self) -> bool:
        """Whether somebody has the line, or waits for it."""
        return self._busy.locked() or self.wanted

    async def read(
        self,
        address: Address,
        *,
        expected: SecondaryAddress | None = None,
        telegrams: int = 0,
        baud: int | None = None,
        extra: float = 0.0,
    ) -> Readout:
        """Read all telegrams of one meter.

        For a secondary address the answer's header must agree with it, and with `expected` for any address;
        fields that are left open there are not compared. `telegrams`: as many as it sent last time; 0 where that is not
        known.

        A readout that may lack telegrams is begun anew, with a reset of the meter's link: where a request was
        repeated and the meter does not follow the frame count bit, or its number of telegrams is not that of last
        time. Another number is believed when it comes twice; so is that of a meter which announces a telegram and
        then acknowledges instead of sending it: what it sent is right, and there is no more to be had.

        A read may be cancelled at any time. Raises `NoAnswer`, `NoData`, `Garbled`, `WrongMeter`, `Incomplete`, and
        what `session` raises.
        """
        async with self.session(baud, extra) as link:
            return await link.read(address, expected, telegrams)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_RETRY
        while True:
            begin = loop.time()
            try:
                transport = await self._open()
            except CmeError as error:
                reason = str(error)
            except Exception:  # no driver may end the attempts for good
                log.exception("%s cannot be opened", self.url)
                reason = f"Opening {self.url} failed in an unforeseen way; please report the log."
            else:
                try:
                    self._connect(transport)
                    reason = await transport.lost()
                finally:
                    self._link = None
                    transport.close()
                self.lost = (self._now(), reason)
            # A converter that loses us again and again, perhaps to another master, is not fought for.
            if loop.time() > begin + LAST_RETRY:
                delay = FIRST_RETRY
            # Spread, so that masters who lost one host do not come back to it in step.
            pause = delay * random.uniform(0.8, 1.2)
            self._change(LineState.DOWN, reason, self._now() + pause)
            self._tried.set()
            appeared = await wait_to_open(self.url, pause)
            delay = FIRST_RETRY if appeared else min(2 * delay, LAST_RETRY)

    async def _open(self) -> Transport:
        """Nobody waits for a driver that hangs: the line is down until it comes back."""
        slow = asyncio.get_running_loop().call_later(SLOW_OPENING, self._tell_slow)
        try:
            return await self._open_line(self.url, self.baud)
        finally:
            slow.cancel()

    def _tell_slow(self) -> None:
        self._change(
            LineState.DOWN,
            f"Opening {self.url} takes long: its driver or its device hangs. Plug its adapter in anew, or restart it.",
        )
        self._tried.set()

    def _connect(self, transport: Transport) -> None:
        # A new one: what the meters remember is not known, another master may have spoken to them.
        self._link = Link(
            transport,
            self.baud,
            margin=self._margin,
            repeats=self._repeats,
            most_telegrams=self._most_telegrams,
            more_follows=self._more_follows,
            watch=self._watch,
            now=self._now,
        )
        self._change(LineState.UP, "")
        self._tried.set()

    def _change(self, state: LineState, reason: str, next_try: float | None = None) -> None:
        if (state, reason, next_try) == (self.state, self.reason, self.next_try):
            return
        if state is not self.state:
            self.since = self._now()
        if (state, reason) != (self.state, self.reason):
            lost = state is LineState.DOWN and self._task is not None
            log.log(logging.WARNING if lost else logging.INFO, "%s is %s. %s", self.url, state, reason)
        self.state, self.reason, self.next_try = state, reason, next_try
        self._on_change()

    async def _connected(self) -> Link:
        if self._task is not None:
            await self._tried.wait()
        if self._link is None:
            raise LineDown(self.reason or f"The line {self.url} is not started.")
        return self._link
