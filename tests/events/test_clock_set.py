"""Setting the gateway's clock: the machine's where that is wanted and allowed, else an offset that is kept."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.clock import EARLIEST_MS, LATEST_MS, ClockError, GatewayClock, SystemClock
from core.events import Events
from core.events.clock import ClockSetter, ClockWatch
from core.store import Store, StoreError

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


class Plant:
    """A gateway clock on top of `system`, with all that setting it needs."""

    def __init__(self, store: Store, events: Events, system: Any, offset_ms: int = 0) -> None:
        self.clock = GatewayClock(system, offset_ms)
        self.watch = ClockWatch(events, lambda: BERLIN)
        self.setter = ClockSetter(self.clock, store, self.watch)
        self.set_times: list[int] = []
        self._system = system

    def set_system(self, ms: int) -> None:
        self.set_times.append(ms)
        self._system.ms = ms


@pytest.fixture
def plant(store: Store, events: Events, clock: Any) -> Plant:
    return Plant(store, events, clock)


async def logged(events: Events) -> list[tuple[int, int, str]]:
    await events.flush()
    return [(event.code, event.time_ms, event.message) for event in await events.recent()]


def test_a_clock_with_an_offset_runs_with_the_machine() -> None:
    """And says how long to sleep by its own time, never so long that a clock set would be missed."""
    clock = GatewayClock(SystemClock())
    before = SystemClock().now_ms()
    assert before <= clock.now_ms() <= SystemClock().now_ms()
    clock.offset_ms = HOUR
    assert clock.now_ms() >= before + HOUR
    assert clock.seconds_until(before + HOUR) == 0
    assert 0 < clock.seconds_until(clock.now_ms() + 20_000) <= 20
    assert clock.seconds_until(clock.now_ms() + 10 * HOUR) == 30.0


async def test_a_clock_that_is_set_keeps_an_offset_over_a_restart(
    store: Store, events: Events, clock: Any, plant: Plant
) -> None:
    """The machine's clock stays as it is; old and new time are logged with who set it, once."""
    old = clock.ms
    plant.watch.tick(plant.clock.now_ms(), 10.0)
    await plant.setter.set(old + HOUR, "by 192.0.2.7")
    assert (plant.clock.now_ms(), clock.ms) == (old + HOUR, old)
    clock.ms += 1000
    plant.watch.tick(plant.clock.now_ms(), 11.0)
    assert await logged(events) == [(4, old, "Set by 192.0.2.7"), (5, old + HOUR, "Set by 192.0.2.7")]
    again = Plant(store, events, clock, await store.clock_offset())
    assert again.clock.now_ms() == old + HOUR + 1000
    await again.setter.set(old + 1000, "by 192.0.2.7")
    assert await store.clock_offset() == 0


async def test_the_clock_of_the_machine_is_set_where_that_is_allowed(
    store: Store, events: Events, clock: Any
) -> None:
    """The offset that was kept before is gone then."""
    await store.set_clock_offset(5000)
    plant = Plant(store, events, clock, 5000)
    old = plant.clock.now_ms()
    plant.watch.tick(old, 10.0)
    await plant.setter.set(old + HOUR, "by 192.0.2.7", plant.set_system)
    assert plant.set_times == [old + HOUR]
    assert (plant.clock.now_ms(), plant.clock.offset_ms, await store.clock_offset()) == (old + HOUR, 0, 0)
    plant.watch.tick(plant.clock.now_ms(), 10.0)
    assert await logged(events) == [(4, old, "Set by 192.0.2.7"), (5, old + HOUR, "Set by 192.0.2.7")]


async def test_where_the_system_refuses_the_offset_is_kept(
    store: Store, events: Events, clock: Any, plant: Plant
) -> None:
    """As for a gateway that does not run as root."""

    def refuse(ms: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    await plant.setter.set(clock.ms + HOUR, "by 192.0.2.7", refuse)
    assert plant.clock.now_ms() == clock.ms + HOUR
    assert await store.clock_offset() == HOUR
    assert [code for code, _, _ in await logged(events)] == [4, 5]


@pytest.mark.parametrize("ms", [EARLIEST_MS - 1, LATEST_MS, 0, -1, 1 << 60])
async def test_a_time_before_2020_or_after_2099_is_refused(
    store: Store, events: Events, clock: Any, plant: Plant, ms: int
) -> None:
    """Nothing is set and nothing logged."""
    with pytest.raises(ClockError, match="2020 to 2099"):
        await plant.setter.set(ms, "by 192.0.2.7", plant.set_system)
    assert (plant.clock.offset_ms, await store.clock_offset(), plant.set_times) == (0, 0, [])
    assert await logged(events) == []


@pytest.mark.parametrize("ms", [EARLIEST_MS, LATEST_MS - 1])
async def test_the_limits_themselves_can_be_set(plant: Plant, ms: int) -> None:
    """The first and the last moment."""
    await plant.setter.set(ms, "by 192.0.2.7")
    assert plant.clock.now_ms() == ms


async def test_a_time_that_cannot_be_kept_is_not_set(store: Store, clock: Any, plant: Plant) -> None:
    """Neither in the gateway nor in the machine: the client is told that it failed."""
    await store.close()
    for set_system in (None, plant.set_system):
        with pytest.raises(StoreError):
            await plant.setter.set(clock.ms + HOUR, "by 192.0.2.7", set_system)
    assert (plant.clock.offset_ms, plant.set_times) == (0, [])
