"""An event loop whose clock jumps: hours on a simulated line pass as fast as the processor can play them.

`@fast` above an async test runs it on such a loop, `run_fast(coroutine)` anything else. All times of the loop
(`asyncio.sleep`, time-outs, `call_at`) go by the jumping clock, so the wire at 300 baud and time-outs of minutes are
kept exactly and cost nothing. Hand `wall_clock` to whatever wants the time of day: `SimulatedBus`, `Master` and the
rest. It is for lines in the same process (`open_simulated`): what sockets, ptys and other processes need is real
time, for which nobody would wait here. Async fixtures of pytest run on a loop of their own; use context managers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

START = 1_780_000_000.0
"""The wall clock when a fast loop begins: 2026-05-28 20:26:40 UTC, in seconds since 1970."""
_BEGIN = 1000.0  # s on the loop's own clock: no machine that runs a line has just been switched on


class FastLoop(asyncio.SelectorEventLoop):
    """When nothing is ready, its `time()` jumps to the next timer.

    While a thread works for the loop (`asyncio.to_thread`, or anything within `outside()`), the clock stands still
    instead, so that no time-out runs out meanwhile.
    """

    def __init__(self) -> None:
        self._time = _BEGIN
        self._outside = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._time

    @property
    def may_jump(self) -> bool:
        return self._outside == 0

    def jump(self, seconds: float) -> None:
        self._time += seconds

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Let the clock stand still: something outside of the loop works and will wake it."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        job = super().run_in_executor(executor, func, *args)
        self._outside += 1
        job.add_done_callback(self._back)
        return job

    def _back(self, _job: asyncio.Future[Any]) -> None:
        self._outside -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for the loop's next timer by telling the loop that the time is over."""

    def __init__(self, loop: FastLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or not self._loop.may_jump:
            # No timer, or a thread is at work: the loop goes on when something else wakes it.
            return super().select(timeout if timeout is None or timeout <= 0 else None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready


def wall_clock() -> float:
    """Seconds since 1970-01-01 UTC on the clock of the running fast loop."""
    return START + asyncio.get_running_loop().time() - _BEGIN


def run_fast(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fast loop of its own."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main)


def fast(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Has an async test run on a fast loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_fast(test(*args, **kwargs))

    return run
