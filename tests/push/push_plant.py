"""What tests of the sender share: keys and counters, bodies that can be recognised, receivers of many kinds."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import count

from core.dlms.admission import Keys, Level, Policy
from core.dlms.axdr import double_long_unsigned
from core.dlms.errors import CounterError
from core.push import notification
from core.push.behaviour import Behaviour, Kind
from core.push.received import Received
from core.push.receiver import Receiver
from core.store import Store
from core.store.outbox import NewNotification

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
TITLE = bytes.fromhex("454C560000F42400")
SETUP = bytes((0, 1, 25, 9, 0, 255))
START = 1_761_264_000_000
PLENTY = 1 << 30


class FakeClock:
    """Shows what it is told to."""

    def __init__(self) -> None:
        self.ms = START

    def now_ms(self) -> int:
        return self.ms

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - self.ms, 0) / 1000


class PlainCounters:
    """Counts up, and can be used up."""

    def __init__(self) -> None:
        self.used_up = False
        self._numbers = count(1)

    def next(self) -> int:
        if self.used_up:
            raise CounterError("All invocation counters of the encryption key are used up.")
        return next(self._numbers)

    def last(self, title: bytes) -> int:
        return -1

    def accept(self, title: bytes, counter: int) -> Awaitable[None] | None:
        return None


class PlainCredentials:
    """Of a gateway without clients."""

    def __init__(self, policy: Policy = Policy.NONE) -> None:
        self.counters = PlainCounters()
        self.policy_now = policy

    def level(self) -> Level:
        return Level.HIGH

    def policy(self) -> Policy:
        return self.policy_now

    def lls_password(self) -> bytes:
        return b""

    def keys(self) -> Keys:
        return KEYS

    def system_title(self) -> bytes:
        return TITLE


class Head:
    """A head-end: what arrived, and how each connection was treated."""

    def __init__(self, behaviours: Iterable[Behaviour] = ()) -> None:
        self.received: list[Received] = []
        self.connections: list[Behaviour] = []
        """Those that were accepted, and how they are treated."""
        self.arrivals: list[tuple[int, int]] = []
        """Report id and number of the connection, in the order of arrival."""
        self.receiver = Receiver(self._take, keys=KEYS, behaviours=self._noted(behaviours), die=self._die)

    async def __aenter__(self) -> Head:
        await self.receiver.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.stop()

    def _noted(self, behaviours: Iterable[Behaviour]) -> Iterator[Behaviour]:
        for behaviour in behaviours:
            self.connections.append(behaviour)
            yield behaviour
        while True:
            self.connections.append(Behaviour())
            yield Behaviour()

    def _take(self, received: Received) -> None:
        if received.report_id is not None:
            self.received.append(received)
            self.arrivals.append((received.report_id, len(self.connections) - 1))

    def _die(self) -> None:  # type: ignore[override]
        raise ConnectionAbortedError

    def bodies(self) -> list[object]:
        """What arrived, each notification once, in the order of the first arrivals."""
        found = {one.report_id: notification.decode(one.plain).body.content for one in self.received}
        assert len(set(found.values())) == len(found)
        return list(found.values())

    def twice(self) -> set[int]:
        """Report ids that arrived more than once."""
        return {
            number for number, times in Counter(number for number, _ in self.arrivals).items() if times > 1
        }

    def assert_repeats_only_after_a_lost_answer(self, uncertain: Iterable[int] = ()) -> None:
        """A notification came again only where its connection ended badly, or is one of `uncertain`."""
        bad = {n for n, behaviour in enumerate(self.connections) if behaviour.kind is not Kind.TAKE}
        for number in self.twice():
            before = [connection for other, connection in self.arrivals if other == number][:-1]
            assert set(before) <= bad | set(uncertain), (number, before)

    def assert_no_nonce_comes_twice(self) -> None:
        """Of all that arrived."""
        nonces = [(one.title, one.counter) for one in self.received]
        assert len(set(nonces)) == len(nonces)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def put(
    store: Store, numbers: Iterable[int], report: str = "load_profile_1", manual: bool = False
) -> list[int]:
    """Put a notification with each number as its body into the outbox; their ids."""
    new = [
        NewNotification(report, n % 3, 16 + n % 3, SETUP, 1, START, START, double_long_unsigned(n), manual)
        for n in numbers
    ]
    ids = await store.outbox.enqueue(new, {}, PLENTY, START)
    assert ids is not None
    return ids


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that must happen."""
    async with asyncio.timeout(60):
        while True:
            if await true():
                return
            await asyncio.sleep(0.005)


async def until_sent(store: Store) -> None:
    """Until nothing waits in the outbox."""

    async def empty() -> bool:
        return not await store.outbox.backlog()

    await until(empty)
