"""Reads the meters of one line: whoever asks for a value now goes first, the schedule fills the rest.

The schedule reads every meter once in each of its intervals. Of those that are due, the one goes first whose interval
ends first: so a meter that is read every 5 min does not wait for those that are read once a day, and where a line
cannot keep up, the meter that has waited longest is next, and none starves. Among equals those go first that speak at
the rate that the line has now, then those whose last readout is older. What failed for noise is tried once more when
all others have been read. A meter that is silent is tried last, and more and more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from core.clock import Clock
from core.config import Place
from core.errors import CmeError
from core.mbus.errors import Garbled, LineDown, MbusError, NoAnswer, RateRefused
from core.mbus.link import Readout
from core.mbus.master import Master
from core.meter import Meter
from core.snapshot import MeterState, SweepView

log = logging.getLogger(__name__)

Record = Callable[[Meter, Readout | MbusError], Awaitable[None]]
"""Stores what a readout came to and updates the meter; returns when it is durable."""

Span = Callable[[Meter, int], tuple[int, int]]
"""Start and end of a meter's readout interval that holds a moment; all ms UTC."""

LONGEST_REST_MS: Final = 3_600_000
"""A silent meter is tried at least so often, or once in its interval where that is longer: who repairs it sees it."""

_MOST_DOUBLED: Final = 4  # 2 ** 4 intervals of 5 min, the shortest, are more than an hour
_NEWEST: Final = 0.25  # weight of the newest readout in what a readout costs


@dataclass(slots=True)
class _Turn:
    """When a meter is to be read, and how it went."""

    meter: Meter
    way: tuple[Place, int | None, int]  # on which the meter is asked; with another one it begins anew
    due_ms: int = 0
    cost_s: float | None = None  # of a readout, smoothed; None before the first one
    silence_s: float = 0.0  # that it costs for each interval while it is silent
    silent: int = 0  # intervals in a row without an answer
    silent_in_ms: int | None = None  # start of the last of them
    garbled: bool = False  # the last time, by noise

    def plan(self, due_ms: int) -> None:
        self.due_ms = due_ms
        self.meter.next_try_ms = due_ms if self.silent else None

    def cost(self, took_s: float) -> None:
        known = took_s if self.cost_s is None else self.cost_s
        self.cost_s = known + _NEWEST * (took_s - known)


@dataclass(slots=True)
class _Wait:
    """A meter that waits for its turn in a sweep."""

    since_ms: int
    start_ms: int  # of the interval in which it was due
    deadline_ms: int  # the end of that
    again: bool = False  # after a try that noise spoiled

    def is_skipped(self, now_ms: int) -> bool:
        """Whether that interval is over. One that came late into it, after a start say, had no fair chance."""
        fair = 2 * (self.deadline_ms - self.since_ms) > self.deadline_ms - self.start_ms
        return self.deadline_ms <= now_ms and fair and not self.again


@dataclass(slots=True)
class _Sweep:
    started_ms: int
    waiting: dict[int, _Wait] = field(default_factory=dict)
    running: int = 0  # readouts that are made or recorded
    done: int = 0
    failed: int = 0
    total: int = 0
    skipped: int = 0  # readouts that were due again before the line came to them
    current: str = ""
    finished_ms: int | None = None

    def add(self, key: int, wait: _Wait) -> None:
        self.waiting[key] = wait
        self.total += 1

    def keep(self, meters: Container[int], now_ms: int) -> None:
        """Forget the meters that were removed."""
        for key in [key for key in self.waiting if key not in meters]:
            del self.waiting[key]
            self.total -= 1
        self._end(now_ms)

    def count(self, good: bool, now_ms: int) -> None:
        self.done += 1
        self.failed += not good
        self.running -= 1
        self._end(now_ms)

    def postpone(self, key: int, wait: _Wait) -> None:
        """Have a meter that had its turn wait for another one."""
        self.waiting[key] = wait
        self.running -= 1

    def _end(self, now_ms: int) -> None:
        if not self.waiting and not self.running:
            self.finished_ms = now_ms

    def view(self) -> SweepView:
        return SweepView(self.started_ms, self.done, self.failed, self.total, self.current, self.finished_ms)


@dataclass(frozen=True, slots=True)
class _Job:
    """A readout: for whom, and in which sweep."""

    turn: _Turn
    waiter: asyncio.Future[None]
    sweep: _Sweep | None
    wait: _Wait | None
    started_ms: int
    known: bool  # who has to answer; else anybody would do

    def is_void(self, outcome: Readout | MbusError) -> bool:
        """Whether the meter is to be asked on another way by now, so that this tells nothing about it."""
        good = isinstance(outcome, Readout) and self.known
        return not good and self.turn.way != self.turn.meter.config.way


class LineReader:
    """One task that owns the readouts of one line; a line carries one transaction at a time.

    `read` may be called for one meter many times at once: all callers share one readout. While an outcome is recorded
    the line goes on with the next readout.
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
        self._turns: dict[int, _Turn] = {}
        self._looked_ms = 0
        self._urgent: deque[_Turn] = deque()
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._sweep: _Sweep | None = None
        self._unheard: set[int] = set()  # who was silent since anybody answered
        self._baud = master.baud  # of the last readout
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._recording: asyncio.Task[None] | None = None

    @property
    def sweep(self) -> SweepView | None:
        """The running sweep, or the last one."""
        return self._sweep.view() if self._sweep else None

    @property
    def next_sweep_ms(self) -> int | None:
        """When the next scheduled readout begins, ms UTC; None without an enabled meter."""
        return min((turn.due_ms for turn in self._turns.values()), default=None)

    @property
    def skipped(self) -> int:
        """Readouts of the running sweep, or of the last one, that were due again before the line came to them."""
        return self._sweep.skipped if self._sweep else 0

    @property
    def late_s(self) -> float:
        """For how long the readout that waits longest should have been made, s; 0 while all are in time."""
        waiting = self._sweep.waiting.values() if self._sweep else ()
        oldest = min((wait.deadline_ms for wait in waiting), default=None)
        return 0.0 if oldest is None else max(0, self._clock.now_ms() - oldest) / 1000

    def cost_s(self, key: int) -> float | None:
        """What the readouts of a meter took of late, s for each of its intervals; None before the first one."""
        turn = self._turns.get(key)
        if turn is None:
            return None
        return turn.silence_s if turn.silent else turn.cost_s

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="line-reader")

    async def stop(self) -> None:
        """End the readout that runs, and refuse those that wait."""
        tasks = [task for task in (self._task, self._recording) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drop(list(self._waiters))

    def set_meters(self, meters: Iterable[Meter]) -> None:
        """The meters to read from now on; a readout that waits for another one is refused."""
        now = self._clock.now_ms()
        before, self._turns = self._turns, {}
        for meter in meters:
            if meter.enabled:
                turn = before.get(meter.key)
                if turn is None or turn.way != meter.config.way:
                    turn = _Turn(meter, meter.config.way)
                self._turns[meter.key] = turn
                turn.meter = meter
                turn.plan(self._due(turn, now))
            else:
                meter.next_try_ms = None
        keys = [turn.meter.key for turn in self._urgent]
        self._urgent = deque(self._turns[key] for key in keys if key in self._turns)
        if self._sweep and self._sweep.finished_ms is None:
            self._sweep.keep(self._turns, now)
        self._drop([key for key in self._waiters if key not in self._turns])
        self._wake.set()

    async def read(self, meter: Meter) -> None:
        """Read `meter` before anything else; returns when the outcome is stored and the meter is up to date.

        Does not fail because the meter does not answer: look at `meter.state` then. Raises `CmeError` where
        the meter is disabled or removed, or the outcome could not be stored.
        """
        waiter = self._waiters.get(meter.key)
        if waiter is None:
            turn = self._turns.get(meter.key)
            if turn is None:
                raise CmeError(f"{meter.name} is not read: it is disabled or was removed.")
            waiter = self._promise(turn)
            self._urgent.append(turn)
            self._wake.set()
        await asyncio.shield(waiter)

    def line_changed(self, up: bool) -> None:
        """A line that is up again: read now what it could not bring meanwhile.

        Who was silent since anybody answered last may have been so because the line was gone already.
        """
        if up:
            now = self._clock.now_ms()
            for key, turn in self._turns.items():
                if turn.meter.state is MeterState.LINE_DOWN or key in self._unheard:
                    turn.plan(now)
            self._wake.set()

    def sweep_now(self) -> None:
        """Read all meters once, from now, silent ones too."""
        now = self._clock.now_ms()
        for turn in self._turns.values():
            turn.plan(now)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if await self._read_next():
                await asyncio.sleep(0)  # a line that is down refuses a thousand meters without waiting once
                continue
            self._wake.clear()
            due = self.next_sweep_ms
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else self._clock.seconds_until(due)):
                    await self._wake.wait()

    def _first(self) -> _Turn | None:
        """Who is to be read now."""
        self._look()
        if self._urgent:
            return self._urgent[0]
        if self._sweep is None or not self._sweep.waiting:
            return None
        now = self._clock.now_ms()
        waiting = self._sweep.waiting
        return self._turns[min(waiting, key=lambda key: self._rank(key, waiting[key], now))]

    def _rank(self, key: int, wait: _Wait, now: int) -> tuple[int, int, bool, int, int]:
        """Sorts the meters that wait; equal ones keep the order of the configuration."""
        turn = self._turns[key]
        late = wait.deadline_ms <= now
        last = 0 if late else 2 if turn.silent else int(wait.again)
        baud = self._baud_of(turn)
        return last, wait.deadline_ms, baud != self._baud, baud, turn.meter.last_try_ms or 0

    def _look(self) -> None:
        """Have the meters that are due wait for their turn."""
        now = self._clock.now_ms()
        if now < self._looked_ms:
            self._set_back(now)
        self._looked_ms = now
        due = [turn for turn in self._turns.values() if turn.due_ms <= now]
        if not due:
            return
        if self._sweep is None or self._sweep.finished_ms is not None:
            self._sweep = _Sweep(now)
        skipped = sum(self._enter(self._sweep, turn, now) for turn in due)
        if skipped:
            self._sweep.skipped += skipped
            log.warning("%s: %d readouts are due again before they were made", self._master.url, skipped)

    def _enter(self, sweep: _Sweep, turn: _Turn, now: int) -> bool:
        """Put a meter that is due into the sweep; whether it waits there since an interval that is over."""
        key, (start, end) = turn.meter.key, self._span(turn.meter, now)
        wait = sweep.waiting.get(key)
        if wait is None:
            sweep.add(key, _Wait(now, start, end))
        elif wait.again:
            sweep.waiting[key] = _Wait(now, start, end)
        turn.plan(end)
        return wait is not None and wait.is_skipped(now)

    def _set_back(self, now: int) -> None:
        """The clock was set back: the times to come are those of the new one."""
        for turn in self._turns.values():
            turn.plan(self._due(turn, now))
        for key, wait in self._sweep.waiting.items() if self._sweep else ():
            wait.since_ms, (wait.start_ms, wait.deadline_ms) = now, self._span(self._turns[key].meter, now)

    def _due(self, turn: _Turn, now: int) -> int:
        """A meter that was not tried in the interval that runs is late: it is read at once.

        So is one that was tried by a clock that was set back since.
        """
        start = self._span(turn.meter, now)[0]
        tried = turn.meter.last_try_ms
        if tried is None or tried > now or (tried < start and not turn.silent):
            return start
        return max(start, self._rest(turn, tried))

    def _rest(self, turn: _Turn, tried: int) -> int:
        """When a meter that was tried at `tried` is due again: 1, 2, 4 ... intervals later while it is silent."""
        start, end = self._span(turn.meter, tried)
        for _ in range(1, 1 << min(max(turn.silent - 1, 0), _MOST_DOUBLED)):
            later = self._span(turn.meter, end)[1]
            if later - start > LONGEST_REST_MS:
                break
            end = later
        return end

    def _baud_of(self, turn: _Turn) -> int:
        return turn.meter.config.baud or self._master.baud

    async def _read_next(self) -> bool:
        """One transaction; whether there was somebody to read."""
        turn = self._first()
        if turn is None:
            return False
        job: _Job | None = None
        outcome: Readout | MbusError | Exception
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with self._master.session(*self._terms(turn)) as link:
                # Somebody else may have had the line: who asked for a value meanwhile goes first.
                first = self._first()
                if first is None:
                    return True
                job = self._begin(first)
                if first is not turn:
                    await link.use(*self._terms(first))
                began = loop.time()
                self._baud = self._baud_of(first)
                outcome = await link.read(first.meter.address, first.meter.identity, first.meter.telegrams)
        except Exception as error:  # one meter's trouble must not end the readouts of all others on this line
            outcome = error
        if job is None:
            if self._turns.get(turn.meter.key) is not turn:
                return True  # removed while it waited for the line
            job = self._begin(turn)
        postponed = self._note(job, outcome, loop.time() - began)
        if self._recording:
            await self._recording
        self._recording = asyncio.create_task(self._finish(job, outcome, postponed), name="line-record")
        return True

    def _terms(self, turn: _Turn) -> tuple[int, float]:
        return self._baud_of(turn), turn.meter.config.margin_ms / 1000

    def _begin(self, turn: _Turn) -> _Job:
        """Take a meter out of those that wait; one that was asked for amid a sweep has its turn in it, too."""
        key = turn.meter.key
        with contextlib.suppress(ValueError):
            self._urgent.remove(turn)
        waiter = self._waiters.get(key) or self._promise(turn)
        sweep = self._sweep
        wait = sweep.waiting.pop(key, None) if sweep else None
        if sweep and wait:
            sweep.running += 1
            sweep.current = turn.meter.name
            self._on_change()
        known = turn.meter.identity is not None
        return _Job(turn, waiter, sweep if wait else None, wait, self._clock.now_ms(), known)

    def _note(self, job: _Job, outcome: Readout | Exception, took_s: float) -> bool:
        """Learn from a readout when the next one is due; whether its turn in the sweep is still to come."""
        turn = job.turn
        if self._turns.get(turn.meter.key) is not turn:
            return False
        again = isinstance(outcome, Garbled) and not turn.garbled
        match outcome:
            case LineDown() | RateRefused():
                pass  # tells nothing about the meter
            case NoAnswer():
                start, end = self._span(turn.meter, job.started_ms)
                turn.silent += start != turn.silent_in_ms  # however often it was asked for in it
                turn.silent_in_ms = start
                turn.silence_s = took_s * (end - start) / (self._rest(turn, job.started_ms) - start)
                turn.garbled = False
                self._unheard.add(turn.meter.key)
            case _:
                self._unheard.clear()
                turn.cost(took_s)
                turn.silent, turn.silent_in_ms = 0, None
                turn.garbled = isinstance(outcome, Garbled)
        # By the time that the reading gets, which may be in the next interval already.
        began = round(outcome.started * 1000) if isinstance(outcome, Readout) else job.started_ms
        turn.plan(self._rest(turn, began))
        if again and job.sweep and job.wait:
            job.wait.again = True
            job.sweep.postpone(turn.meter.key, job.wait)
            return True
        return False

    async def _finish(self, job: _Job, outcome: Readout | Exception, postponed: bool) -> None:
        """Record what a readout came to, and tell those who wait for it."""
        meter, problem = job.turn.meter, None
        try:
            if not isinstance(outcome, Readout | MbusError):
                raise outcome
            if job.is_void(outcome):
                raise CmeError("The meter was changed while it was read: read it again.")
            await self._record(meter, outcome)
        except CmeError as error:
            log.error("%s: %s", meter.name, error)
            problem = error
        except Exception:
            log.exception("%s: the readout failed in an unforeseen way", meter.name)
            problem = CmeError(
                f"{meter.name}: the readout failed in an unforeseen way; please report the log."
            )
        finally:
            # Removed and installed again meanwhile, the meter has a new waiter, whose readout is still to come.
            if self._waiters.get(meter.key) is job.waiter:
                del self._waiters[meter.key]
            _settle(job.waiter, problem)
        if job.sweep and not postponed:
            job.sweep.count(isinstance(outcome, Readout) and problem is None, self._clock.now_ms())
            if not job.sweep.running:
                job.sweep.current = ""
            self._on_change()

    def _promise(self, turn: _Turn) -> asyncio.Future[None]:
        waiter = self._waiters[turn.meter.key] = asyncio.get_running_loop().create_future()
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
