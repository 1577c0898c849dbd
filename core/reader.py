"""Reads the meters of one line: whoever asks for a value now goes first, the scheduled sweep fills the rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass, field

from core.clock import Clock
from core.errors import CmeError
from core.mbus.errors import MbusError
from core.mbus.link import Readout
from core.mbus.master import Master
from core.meter import Meter
from core.snapshot import MeterState, SweepView

log = logging.getLogger(__name__)

Record = Callable[[Meter, Readout | MbusError], Awaitable[None]]
"""Stores what a readout came to and updates the meter; returns when it is durable."""

Span = Callable[[Meter, int], tuple[int, int]]
"""Start and end of a meter's readout interval that holds a moment; all ms UTC."""


@dataclass(slots=True)
class _Sweep:
    started_ms: int
    waiting: dict[int, Meter] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    total: int = 0
    current: str = ""
    finished_ms: int | None = None

    def keep(self, meters: Container[int], now_ms: int) -> None:
        """Forget the meters that were removed."""
        for key in [key for key in self.waiting if key not in meters]:
            del self.waiting[key]
            self.total -= 1
        if not self.waiting and not self.current:
            self.finished_ms = now_ms

    def count(self, good: bool, now_ms: int) -> None:
        self.done += 1
        self.failed += not good
        self.current = ""
        if not self.waiting:
            self.finished_ms = now_ms

    def view(self) -> SweepView:
        return SweepView(self.started_ms, self.done, self.failed, self.total, self.current, self.finished_ms)


class LineReader:
    """One task that owns the readouts of one line; a line carries one transaction at a time.

    `request` may be called for one meter many times at once: all callers share one readout.
    """

    def __init__(
        self,
        master: Master,
        record: Record,
        span: Span,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called whenever the progress of a sweep changes."""
        self._master = master
        self._record = record
        self._span = span
        self._clock = clock
        self._on_change = on_change
        self._meters: dict[int, Meter] = {}
        self._next: dict[int, int] = {}
        self._looked_ms = 0
        self._urgent: deque[Meter] = deque()
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._sweep: _Sweep | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def sweep(self) -> SweepView | None:
        """The running sweep, or the last one."""
        return self._sweep.view() if self._sweep else None

    @property
    def next_sweep_ms(self) -> int | None:
        """When the next scheduled readout begins, ms UTC; None without an enabled meter."""
        return min(self._next.values(), default=None)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="line-reader")

    async def stop(self) -> None:
        """End the readout that runs, and refuse those that wait."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._drop(list(self._waiters))

    def set_meters(self, meters: Iterable[Meter]) -> None:
        """The meters to read from now on; a readout that waits for another one is refused."""
        now = self._clock.now_ms()
        self._meters = {meter.key: meter for meter in meters if meter.enabled}
        self._next = {key: self._first_due(meter, now) for key, meter in self._meters.items()}
        self._urgent = deque(meter for meter in self._urgent if meter.key in self._meters)
        if self._sweep and self._sweep.finished_ms is None:
            self._sweep.keep(self._meters, now)
        self._drop([key for key in self._waiters if key not in self._meters])
        self._wake.set()

    async def read(self, meter: Meter) -> None:
        """Read `meter` before anything else; returns when the outcome is stored and the meter is up to date.

        Does not fail because the meter does not answer: look at `meter.state` then. Raises `CmeError` where
        the meter is disabled or removed, or the outcome could not be stored.
        """
        waiter = self._waiters.get(meter.key)
        if waiter is None:
            if meter.key not in self._meters:
                raise CmeError(f"{meter.name} is not read: it is disabled or was removed.")
            waiter = self._promise(meter)
            self._urgent.append(meter)
            self._wake.set()
        await asyncio.shield(waiter)

    def line_changed(self, up: bool) -> None:
        """A line that is up again: read now what it could not bring meanwhile."""
        if up:
            now = self._clock.now_ms()
            for key, meter in self._meters.items():
                if meter.state is MeterState.LINE_DOWN:
                    self._next[key] = now
            self._wake.set()

    def sweep_now(self) -> None:
        """Read all meters once, from now."""
        now = self._clock.now_ms()
        self._next = dict.fromkeys(self._next, now)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            meter = self._choose()
            if meter is not None:
                await self._read_one(meter)
                await asyncio.sleep(0)  # a line that is down refuses a thousand meters without waiting once
                continue
            self._wake.clear()
            due = self.next_sweep_ms
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else self._clock.seconds_until(due)):
                    await self._wake.wait()

    def _choose(self) -> Meter | None:
        if self._urgent:
            return self._urgent.popleft()
        now = self._clock.now_ms()
        if now < self._looked_ms:
            # The clock was set back: the times to come are those of the new one.
            self._next = {key: self._first_due(meter, now) for key, meter in self._meters.items()}
        self._looked_ms = now
        due = [meter for key, meter in self._meters.items() if self._next[key] <= now]
        if due:
            self._begin(due, now)
        return next(iter(self._sweep.waiting.values()), None) if self._sweep else None

    def _begin(self, due: list[Meter], now: int) -> None:
        """Put the meters that are due into the running sweep, else begin a new one."""
        if self._sweep is None or self._sweep.finished_ms is not None:
            self._sweep = _Sweep(now)
        for meter in due:
            if meter.key not in self._sweep.waiting:
                self._sweep.waiting[meter.key] = meter
                self._sweep.total += 1
            self._next[meter.key] = self._span(meter, now)[1]

    def _first_due(self, meter: Meter, now: int) -> int:
        """A meter that was not tried in the interval that runs is late: it is read at once."""
        start, end = self._span(meter, now)
        return start if meter.last_try_ms is None or meter.last_try_ms < start else end

    async def _read_one(self, meter: Meter) -> None:
        """One transaction. A meter that was asked for in the middle of a sweep has had its turn in it."""
        waiter = self._waiters.get(meter.key) or self._promise(meter)
        sweep = self._sweep
        in_sweep = sweep is not None and sweep.waiting.pop(meter.key, None) is not None
        if sweep and in_sweep:
            sweep.current = meter.name
            self._on_change()
        good, problem = False, None
        try:
            good = await self._transact(meter)
        except CmeError as error:
            log.error("%s: %s", meter.name, error)
            problem = error
        except Exception:
            # One meter's trouble must not end the readouts of all others on this line.
            log.exception("%s: the readout failed in an unforeseen way", meter.name)
            problem = CmeError(
                f"{meter.name}: the readout failed in an unforeseen way; please report the log."
            )
        finally:
            # Removed and installed again meanwhile, the meter has a new waiter, whose readout is still to come.
            if self._waiters.get(meter.key) is waiter:
                del self._waiters[meter.key]
            _settle(waiter, problem)
        if sweep and in_sweep:
            sweep.count(good, self._clock.now_ms())
            self._on_change()

    async def _transact(self, meter: Meter) -> bool:
        """Read and record; whether the meter answered."""
        outcome: Readout | MbusError
        try:
            outcome = await self._master.read(meter.address, expected=meter.identity)
        except MbusError as error:
            outcome = error
        await self._record(meter, outcome)
        return isinstance(outcome, Readout)

    def _promise(self, meter: Meter) -> asyncio.Future[None]:
        waiter = self._waiters[meter.key] = asyncio.get_running_loop().create_future()
        return waiter

    def _drop(self, keys: Iterable[int]) -> None:
        for key in keys:
            _settle(
                self._waiters.pop(key), CmeError("The meter is no longer read: it was disabled or removed.")
            )


def _settle(waiter: asyncio.Future[None], error: Exception | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
        waiter.exception()  # nobody may be waiting: not worth a warning of the loop's
