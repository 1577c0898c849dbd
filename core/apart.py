"""Calls that may block for good, such as those of a driver or a name server, apart from all that has to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, TypeVarTuple, Unpack

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


async def apart(name: str, work: Callable[[Unpack[_Arguments]], _Result], *arguments: *_Arguments) -> _Result:
    """What `work` returns or raises, for as long as that takes.

    In a thread of its own, called `name`: at the end of the process one waits for those of a loop's pool, and there
    are few. Who stops waiting leaves `work` going on.
    """
    outcome: Future[_Result] = Future()
    outcome.set_running_or_notify_cancel()  # so that it cannot be cancelled: what `work` was given is its to close

    def run() -> None:
        try:
            outcome.set_result(work(*arguments))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)
