"""Brings the notifications of one destination there, the oldest first, in one connection at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import takewhile
from typing import Final, TypeVar

from core.clock import Clock
from core.cosem import datetime as cosem_time
from core.dlms import wrapper
from core.dlms.admission import Credentials, Policy
from core.dlms.protection import Envelope, Protection
from core.dlms.security import AUTHENTICATED, ENCRYPTED, GENERAL_GLO
from core.errors import CmeError
from core.push import notification
from core.push.delivery import Delivered, DeliveryError, Limits, deliver
from core.store import StoreError
from core.store.outbox import Outgoing
from core.store.outbox.service import Outbox

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST: Final = 16
"""Notifications in one connection."""
MOST_BYTES: Final = 256 * 1024
"""Of bodies in one connection."""
LONGEST_DELAY_S: Final = 3600.0
SPREAD: Final = 0.25
"""By this part, at random, each delay is longer or shorter."""
FAILING_AFTER: Final = 3
"""Tries in a row that came to nothing, after which a destination counts as failing."""
RETENTION_MS: Final = 40 * 86_400_000
"""So long a notification waits before it is given up."""
TRIES_BEFORE_EXPIRY: Final = 24
"""Tries in a row, about a day, before anything is given up: neither a clock that jumps nor a gateway that was switched
off for a season makes anything too old that was never tried."""

_LONGEST_PAUSE_S: Final = 0.1
_PAUSE: Final = (0.5, 1.0)
"""So many times as long as a connection took, at random, is the pause after it, so that others have their turn."""
_STORE_PAUSE_S: Final = 5.0
_ENVELOPE: Final = Envelope(GENERAL_GLO, AUTHENTICATED | ENCRYPTED)

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the notifications of a report go, and how."""

    host: str
    port: int
    client_sap: int = 1
    delivered: Delivered = Delivered.CLOSED
    randomisation_s: float = 0.0
    """The first try is so late at most, at random, that a thousand gateways do not come at once."""
    delay_s: float = 60.0
    """After the first try that came to nothing; then twice as long each time, up to an hour."""

    @property
    def address(self) -> Address:
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class Means:
    """What every courier works with."""

    outbox: Outbox
    credentials: Credentials
    destinations: Callable[[str], Destination | None]
    """Where a report goes now; asked with every try."""
    zone: Callable[[], tzinfo]
    clock: Clock
    """Gives the times that are shown; how long is waited does not depend on it."""
    limits: Limits
    follow: Callable[[Courier], None]
    """Is told when a destination begins to fail (`FAILING_AFTER`), and when it is back."""
    chance: random.Random
    pause: Callable[[float], Awaitable[None]]
    landed: Callable[[], None]
    """Is told that what was on the wire to a destination of before is so no longer."""
    on_the_wire: set[int] = field(default_factory=set)
    """Notifications of which nobody knows yet whether they are taken: another destination does not get them now."""

    def address(self, report: str) -> Address | None:
        """Where a report goes now, `None` for nowhere."""
        destination = self.destinations(report)
        return destination.address if destination else None


class Courier:
    """The one who goes to one destination. Belongs to an event loop."""

    def __init__(self, address: Address | None, means: Means) -> None:
        """`address` `None`: for the reports without a destination, to say so and look again."""
        self.address = address
        self.sending = False
        self.idle = True
        """Whether nothing waits."""
        self.failures = 0
        self.reason = ""
        self.since_ms: int | None = None
        self.next_try_ms: int | None = None
        self.delivered_ms: int | None = None
        self._means = means
        self._protection = Protection(means.credentials)
        self._news = asyncio.Event()
        self._again = asyncio.Event()
        self._at_once = False
        self._delays = 0  # since the last success or fresh start

    @property
    def failing(self) -> bool:
        """Whether it fails for good, as far as one can see."""
        return self.failures >= FAILING_AFTER

    def wake(self) -> None:
        """Look into the outbox, unless it waits for the next try."""
        self._news.set()

    def try_again(self, *, at_once: bool) -> None:
        """Do not wait for the next try; `at_once`: nor for the random start."""
        self._at_once = at_once
        self._again.set()
        self._news.set()

    async def run(self) -> None:
        """Send what waits and what will come; never returns."""
        while True:
            await self._news.wait()
            self._news.clear()
            self.idle = False
            begins = True
            while batch := await self._due():
                if begins:
                    await self._begin(batch)
                    begins = False
                else:
                    begins = await self._rest(await self._try(batch))
            self.next_try_ms = None
            if not self._news.is_set():  # else it may be meant for what came since the outbox was asked
                self._at_once = False
            self.idle = True

    async def _due(self) -> list[Outgoing]:
        """What is to be sent in the next connection. After a failure one, to see whether it is taken."""
        backlog = await self._kept(self._means.outbox.backlog)
        reports = [report for report in backlog if self._means.address(report) == self.address]
        most = 1 if self.failures else MOST
        batch = await self._kept(lambda: self._means.outbox.waiting(reports, most, MOST_BYTES))
        # While the store was asked, a report may have got another destination.
        meant = (one for one in batch if self._means.address(one.report) == self.address)
        return list(takewhile(lambda one: one.id not in self._means.on_the_wire, meant))

    async def _begin(self, batch: Sequence[Outgoing]) -> None:
        """Wait for the random start, unless a person waits for it."""
        self._again.clear()
        self._delays = 0
        destination = self._means.destinations(batch[0].report)
        if destination is not None and not self._at_once and not any(one.manual for one in batch):
            await self._rest(self._means.chance.uniform(0, destination.randomisation_s))
        self._again.clear()
        self._at_once = False

    async def _rest(self, seconds: float) -> bool:
        """Wait; whether that was cut short because of `try_again`."""
        done = asyncio.ensure_future(self._means.pause(seconds))
        cut = asyncio.ensure_future(self._again.wait())
        try:
            await asyncio.wait((done, cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            done.cancel()
            cut.cancel()
        return self._again.is_set()

    async def _try(self, batch: Sequence[Outgoing]) -> float:
        """Try to deliver, note what came of it; seconds until the next connection."""
        try:
            return await self._attempt(batch)
        finally:
            self._means.on_the_wire.difference_update(one.id for one in batch)
            if any(self._means.address(one.report) != self.address for one in batch):
                self._means.landed()

    async def _attempt(self, batch: Sequence[Outgoing]) -> float:
        self.sending = True
        self.next_try_ms = None
        began = time.monotonic()
        try:
            sizes = await self.send(batch)
        except CmeError as error:
            return await self._failed(batch, str(error))
        except Exception as error:
            # Whatever it is, the others must not wait for ever, and somebody must see it.
            log.exception("A notification could not be sent")
            return await self._failed(batch, f"It could not be sent: {error!r}; please report this.")
        finally:
            self.sending = False
        now = self._means.clock.now_ms()
        await self._kept(lambda: self._means.outbox.delivered(sizes, now))
        self.delivered_ms = now
        failed = self.failing
        self._succeeded()
        if failed:
            self._means.follow(self)
        return min(time.monotonic() - began, _LONGEST_PAUSE_S) * self._means.chance.uniform(*_PAUSE)

    async def send(self, batch: Sequence[Outgoing]) -> dict[int, int]:
        """Deliver all of it over one connection, and note nothing; by id how many bytes went over the wire.

        Raises `CmeError`.
        """
        routes = {report: self._means.destinations(report) for report in {one.report for one in batch}}
        first = routes[batch[0].report]
        if self.address is None or first is None:
            raise DeliveryError(
                "There is no head-end for this report: set host in [push] or in its [[push.report]]."
            )
        sizes: dict[int, int] = {}

        async def frames() -> list[bytes]:
            if any(self._means.address(one.report) != self.address for one in batch):
                raise DeliveryError("The destination was changed while it was called; the new one gets it.")
            self._means.on_the_wire.update(one.id for one in batch)
            made = []
            for one in batch:
                route = routes[one.report] or first
                frame = self._frame(one, route.client_sap)
                sizes[one.id] = len(frame)
                made.append(frame)
                await asyncio.sleep(0)  # ciphering takes its time
            return made

        await deliver(*self.address, frames, first.delivered, self._means.limits)
        return sizes

    def _frame(self, one: Outgoing, client_sap: int) -> bytes:
        """The notification as it goes over the wire this time. Raises `CounterError`."""
        created = cosem_time.encode(one.created_ms, self._means.zone())
        apdu = notification.encode(one.id, created, one.body)
        if self._means.credentials.policy() != Policy.NONE:
            apdu = self._protection.cipher(apdu, _ENVELOPE)
        return wrapper.frame(one.sap, client_sap, apdu)

    def _succeeded(self) -> None:
        self.failures = self._delays = 0
        self.reason = ""
        self.since_ms = self.next_try_ms = None

    async def _failed(self, batch: Sequence[Outgoing], reason: str) -> float:
        means = self._means
        now = means.clock.now_ms()
        destination = means.destinations(batch[0].report) or Destination("", 0)
        delay_s = min(destination.delay_s * 2.0 ** min(self._delays, 12), LONGEST_DELAY_S)
        delay_s *= means.chance.uniform(1 - SPREAD, 1 + SPREAD)
        self._delays += 1
        self.failures += 1
        self.reason = reason
        self.since_ms = now if self.since_ms is None else self.since_ms
        self.next_try_ms = now + round(delay_s * 1000)
        log.info("Push: %s", reason)
        ids, next_try_ms = [one.id for one in batch], self.next_try_ms
        await self._kept(lambda: means.outbox.failed(ids, now, reason, next_try_ms))
        if self.failures >= TRIES_BEFORE_EXPIRY:
            await self._expire(now - RETENTION_MS, batch[0].report)
        if self.failures == FAILING_AFTER:
            means.follow(self)
        return delay_s

    async def _expire(self, before_ms: int, report: str) -> None:
        """Give up what is too old of the report whose turn it is; those of others have theirs after it."""
        while count := await self._kept(lambda: self._means.outbox.expire(before_ms, (report,))):
            log.warning("%d notifications of %s are too old and will not be sent.", count, report)

    async def _kept(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await kept(ask, self._means.pause)


async def kept(ask: Callable[[], Awaitable[T]], pause: Callable[[float], Awaitable[None]]) -> T:
    """What the store answers, as soon as its disk lets it. What was asked for is done, also where the caller ends."""
    while True:
        try:
            return await asyncio.shield(asyncio.ensure_future(ask()))
        except StoreError as error:
            log.error("Push waits for the database: %s", error)
            await pause(_STORE_PAUSE_S)
