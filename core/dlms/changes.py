"""Writes and actions of one request: one after the other, each to its end, whatever becomes of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

from core.dlms.service import Answer
from core.dlms.xdlms import DataAccessResult, Outcome

Change: TypeAlias = Callable[[], Outcome | Awaitable[Outcome]]
"""Writes one attribute, or invokes one method; never raises."""

_under_way: Final[set[asyncio.Task[None]]] = set()  # the event loop alone does not keep a task


def carry_out(changes: Sequence[Change], limit: float, answer: Callable[[list[Outcome]], bytes]) -> Answer:
    """Make the changes; `answer` makes the answer of their outcomes.

    What is not done after `limit` seconds is answered as a temporary failure, and is done nevertheless.
    To be called in the event loop.
    """
    outcomes: list[Outcome] = []
    rest = iter(changes)
    for change in rest:
        outcome = change()
        if not isinstance(outcome, Outcome):
            task = asyncio.get_running_loop().create_task(_go_on(outcomes, outcome, rest))
            _under_way.add(task)
            task.add_done_callback(_under_way.discard)
            return _answer_in_time(task, outcomes, len(changes), limit, answer)
        outcomes.append(outcome)
    return answer(outcomes)


async def _go_on(outcomes: list[Outcome], pending: Awaitable[Outcome], rest: Iterator[Change]) -> None:
    outcomes.append(await pending)
    for change in rest:
        outcome = change()
        outcomes.append(outcome if isinstance(outcome, Outcome) else await outcome)


async def _answer_in_time(
    task: asyncio.Task[None],
    outcomes: list[Outcome],
    count: int,
    limit: float,
    answer: Callable[[list[Outcome]], bytes],
) -> bytes:
    # Other than `wait_for`, this cancels the task neither when it is late nor when this coroutine is cancelled.
    await asyncio.wait((task,), timeout=limit)
    late = [Outcome(DataAccessResult.TEMPORARY_FAILURE)] * (count - len(outcomes))
    return answer([*outcomes, *late])
