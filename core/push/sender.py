"""Takes notifications from the outbox to their head-ends, again and again until each was taken.

A destination that fails delays all that goes there, and nothing else. Each meter's notifications arrive in order.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from core.clock import Clock
from core.dlms.admission import Credentials
from core.push.courier import Address, Courier, Destination, Means, kept
from core.push.delivery import Limits
from core.store import Store
from core.store.outbox import Outgoing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DestinationState:
    """How it goes with one destination. Times are ms since 1970 UTC."""

    address: Address | None
    """`None`: for reports that have no destination."""
    reports: tuple[str, ...]
    """Those of which something waits for it."""
    waiting: int
    """How many notifications that are."""
    sending: bool
    """Whether there is a connection now, or one is tried."""
    failing: bool
    """Whether several tries in a row came to nothing."""
    failures: int
    """How many those are."""
    reason: str
    """Why the last one came to nothing, a sentence; "" after one that did not."""
    since_ms: int | None
    """When the first of them was."""
    next_try_ms: int | None
    delivered_ms: int | None
    """When something was delivered last, since the start."""


class Sender:
    """Sends what waits in the outbox. Belongs to the event loop of the core."""

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        destinations: Callable[[str], Destination | None],
        zone: Callable[[], tzinfo],
        clock: Clock,
        *,
        limits: Limits | None = None,
        follow: Callable[[DestinationState], None] | None = None,
        chance: random.Random | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`destinations` is asked with every try where a report goes now; `None` for nowhere.

        `follow` is told when a destination begins to fail and when it is back, without counting what waits. `clock`
        gives the times that are shown; how long is waited, with `pause`, does not depend on it.
        """
        self._outbox = store.outbox
        self._follow = follow
        self._means = Means(
            store.outbox,
            credentials,
            destinations,
            zone,
            clock,
            limits or Limits(),
            self._tell,
            chance or random.SystemRandom(),
            pause,
            self.wake,
        )
        self._couriers: dict[Address | None, Courier] = {}
        self._tasks: dict[Address | None, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._hurried = False  # also where nobody has gone to yet
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what has waited since the last run."""
        self._news.set()
        self._task = asyncio.create_task(self._run(), name="push")

    async def close(self) -> None:
        """End. What is on the wire now will be sent again, under the same id. May be called twice."""
        tasks = [*self._tasks.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._task = None

    def wake(self) -> None:
        """Look into the outbox: something was put into it."""
        self._news.set()

    def changed(self) -> None:
        """Destinations may have changed: what failed is tried again, after the random start."""
        for address in [address for address, courier in self._couriers.items() if courier.idle]:
            self._couriers.pop(address)
            self._tasks.pop(address).cancel()
        self._try_again(at_once=False)

    def hurry(self) -> None:
        """Try all that waits now: a person wants to see it."""
        self._hurried = True
        self._try_again(at_once=True)

    async def send_beside(self, batch: Sequence[Outgoing], destination: Destination) -> None:
        """Deliver what is not in the outbox, once, over one connection. Raises `CmeError` where it is not taken."""
        means = replace(self._means, destinations=lambda _: destination, on_the_wire=set())
        await Courier(destination.address, means).send(batch)

    async def states(self) -> list[DestinationState]:
        """How it goes with each destination that something was sent to or waits for. Raises `StoreError`."""
        backlog = await self._outbox.backlog()
        reports: dict[Address | None, list[str]] = {address: [] for address in self._couriers}
        for report in sorted(backlog):
            reports.setdefault(self._means.address(report), []).append(report)
        found = []
        for address in sorted(reports, key=lambda address: address or ("", 0)):
            courier = self._couriers.get(address) or Courier(address, self._means)
            names = reports[address]
            if names or not courier.reason:  # else it failed, and what it failed with is gone
                waiting = sum(backlog[name].notifications for name in names)
                found.append(_state(courier, tuple(names), waiting))
        return found

    async def _run(self) -> None:
        """Have a courier for each destination that something waits for."""
        while True:
            await self._news.wait()
            self._news.clear()
            hurried = self._hurried
            for report in await kept(self._outbox.backlog, self._means.pause):
                address = self._means.address(report)
                if address not in self._couriers:
                    courier = self._couriers[address] = Courier(address, self._means)
                    if self._hurried:
                        courier.try_again(at_once=True)
                    self._tasks[address] = asyncio.create_task(courier.run(), name=f"push {address}")
            if hurried:  # else somebody hurries since the outbox was asked: the next look is for that
                self._hurried = False
            for courier in self._couriers.values():
                courier.wake()

    def _try_again(self, *, at_once: bool) -> None:
        for courier in self._couriers.values():
            courier.try_again(at_once=at_once)
        self._news.set()

    def _tell(self, courier: Courier) -> None:
        if self._follow is None:
            return
        try:
            self._follow(_state(courier, (), 0))
        except Exception:
            log.exception("That a destination fails or is back could not be passed on")


def _state(courier: Courier, reports: tuple[str, ...], waiting: int) -> DestinationState:
    return DestinationState(
        courier.address,
        reports,
        waiting,
        courier.sending,
        courier.failing,
        courier.failures,
        courier.reason,
        courier.since_ms,
        courier.next_try_ms,
        courier.delivered_ms,
    )
