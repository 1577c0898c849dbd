"""The installed meters: those of the configuration, with what the store knows of each.

The configuration says which meters there are; the store knows who answered at their addresses, what they ever
sent, and their last readings. Both meet here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from core.clock import Clock
from core.config import Config, MeterConfig, Place
from core.errors import CmeError
from core.mapping.simplified import Site
from core.mbus.address import SecondaryAddress, parse_address
from core.mbus.telegram import Telegram, TelegramError
from core.meter import Fields, Meter, sent_fields
from core.outcome import Outcome
from core.secrets import Secrets
from core.snapshot import MeterState
from core.store import Reading, Store, StoredMeter

NOWHERE: Final[Mapping[int, Place]] = MappingProxyType({})

_SLICE: Final = 50
"""Telegrams that are opened between two looks at the event loop, some 10 ms."""

_OPEN: Final = 0xFF
"""A version or medium that says nothing: the wildcard of secondary addresses (EN 13757-3, 11.3)."""


@dataclass(slots=True)
class Plan:
    """The meters of a configuration with what the store knows, by key."""

    known: dict[int, tuple[MeterConfig, StoredMeter]]
    readings: Mapping[int, Reading] = field(default_factory=dict)
    failures: Mapping[int, Reading] = field(default_factory=dict)
    fields: Mapping[int, Iterable[tuple[int, str]]] = field(default_factory=dict)


class Fleet:
    """All installed meters by key. Belongs to the core's event loop."""

    def __init__(self, clock: Clock, read: Callable[[Meter], Awaitable[None]]) -> None:
        """`read` makes a readout of a meter that a client asks for."""
        self._clock = clock
        self._read = read
        self._meters: dict[int, Meter] = {}
        self._store: Store

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._meters.values())

    def __contains__(self, meter: Meter) -> bool:
        return self._meters.get(meter.key) is meter

    def on_line(self, name: str) -> list[Meter]:
        """The meters of one line, in the order of the configuration."""
        return [meter for meter in self if meter.config.line == name]

    def meter(self, key: int) -> Meter:
        """Raises `CmeError` if there is no such meter."""
        meter = self._meters.get(key)
        if meter is None:
            raise CmeError("There is no such meter; it may have been removed.")
        return meter

    async def plan(self, store: Store, config: Config, moved: Mapping[int, Place] = NOWHERE) -> Plan:
        """Bring the store to the meters of `config`, and fetch what it knows of them; no meter changes yet.

        `moved`: meters, by key, that go on at another place. Raises `StoreError`.
        """
        self._store = store
        places = {item.place: item for item in config.meters}
        stored = await self._settle(places, moved)
        plan = Plan({stored[place].key: (item, stored[place]) for place, item in places.items()})
        await store.remember(
            config.gateway.serial, {key: item.logical_device or 0 for key, (item, _) in plan.known.items()}
        )
        if any(key not in self._meters for key in plan.known):
            plan.readings, plan.failures = await store.latest_all(), await store.latest_failures()
            plan.fields = await store.fields()
        return plan

    async def install(self, plan: Plan, secrets: Secrets, site: Site) -> None:
        """Make the meters those of `plan`; one whose settings did not change goes on undisturbed."""
        meters: dict[int, Meter] = {}
        for key, (item, record) in plan.known.items():
            meter = self._meters.get(key)
            if meter is None:
                meter = self._make(item, record, secrets, site, frozenset(plan.fields.get(key, ())))
                _recall(meter, plan.readings.get(key), plan.failures.get(key))
            else:
                if item.way != meter.config.way:
                    meter.last_try_ms = None  # it was not tried on this way yet
                meter.configure(item, site, secrets.meter_keys)
            meters[key] = meter
            await asyncio.sleep(0)
        self._meters = meters

    async def take(self, meter: Meter, outcome: Outcome) -> None:
        """Store what a readout came to; only then let it be seen. Raises `StoreError`, and then nothing is seen."""
        if outcome.state is not MeterState.LINE_DOWN:
            await self._store.add_reading(
                Reading(
                    meter.key,
                    meter.config.line,
                    outcome.time_ms,
                    outcome.state,
                    outcome.frames,
                    outcome.reason,
                )
            )
        if outcome.telegrams:
            await self._learn(meter, outcome.telegrams)
        if outcome.state is MeterState.OK:
            meter.accept(outcome.telegrams, outcome.time_ms)
            meter.fcb_fault = outcome.fcb_fault
        else:
            meter.fail(outcome.state, outcome.reason, self._clock.now_ms())

    async def unseal(self, meter: Meter) -> bool:
        """Take the telegrams that were kept for want of the right key as the readings that they are, if it is there.

        Whether the meter has a newer reading by that. Raises `StoreError`.
        """
        newest: Reading | None = None
        after = 0
        while rows := await self._store.sealed_readings(meter.key, after, _SLICE):
            after = rows[-1].id
            opened = [row for row in rows if _opens(meter, row)]
            if opened:
                await self._store.open_readings(meter.key, opened)
                newest = opened[-1]
            await asyncio.sleep(0)
        if newest is None:
            return False
        telegrams = meter.decode(newest.frames)
        await self._learn(meter, telegrams)
        if meter.reading is not None and meter.reading.time_ms >= newest.time_ms:
            return False
        meter.accept(telegrams, newest.time_ms)
        return True

    async def _settle(self, places: Iterable[Place], moved: Mapping[int, Place]) -> dict[Place, StoredMeter]:
        """Bring the store to the places of the configuration; its meters by place."""
        store, now = self._store, self._clock.now_ms()
        stored = {(item.line, item.address): item for item in await store.meters()}
        gone = {record.key: record for place, record in stored.items() if place not in places}
        new = [place for place in places if place not in stored]
        homes = {
            **dict(_moved(new, gone.values())),
            **dict(_moved_back(new, gone.values())),
            **{place: key for key, place in moved.items()},
        }
        for place, key in homes.items():
            if gone.pop(key, None):
                await store.move_meter(key, *place)
        confirmed = [item.key for place, item in stored.items() if item.former_line and place in places]
        await asyncio.gather(*(store.confirm_place(key) for key in confirmed))
        await asyncio.gather(*(store.remove_meter(key, now) for key in gone))
        await asyncio.gather(*(store.install_meter(*place, now) for place in new))
        return {(item.line, item.address): item for item in await store.meters()} if new else stored

    def _make(
        self, item: MeterConfig, record: StoredMeter, secrets: Secrets, site: Site, fields: Fields
    ) -> Meter:
        return Meter(
            record.key,
            item,
            site=site,
            clock=self._clock,
            read=self._read,
            keys=secrets.meter_keys,
            identity=record.identity,
            fields=fields,
        )

    async def _learn(self, meter: Meter, telegrams: tuple[Telegram, ...]) -> None:
        """Keep who answered at this address, and which fields it sends."""
        first = telegrams[0]
        if meter.identity is None and first.identification:
            known = SecondaryAddress(
                first.identification.upper(),
                first.manufacturer if first.manufacturer.isalpha() else None,
                first.version if first.manufacturer and first.version < _OPEN else None,
                first.medium_code if first.medium_code < _OPEN else None,
            )
            await self._store.learn_identity(
                meter.key, known.identification, known.manufacturer or "", known.version, known.medium
            )
            meter.identity = known
        new = sent_fields(telegrams) - meter.fields
        if new:
            await self._store.learn_fields(meter.key, sorted(new))


def _moved(new: Iterable[Place], gone: Iterable[StoredMeter]) -> Iterable[tuple[Place, int]]:
    """Places whose secondary address is that of one meter known so far by another line or spelling; its key."""
    known: dict[str, list[tuple[SecondaryAddress, int]]] = {}
    for record in gone:
        address = record.identity or parse_address(record.address)
        if isinstance(address, SecondaryAddress) and "F" not in address.identification:
            known.setdefault(address.identification, []).append((address, record.key))
    for place in new:
        wanted = parse_address(place[1])
        if isinstance(wanted, SecondaryAddress):
            found = [key for address, key in known.get(wanted.identification, ()) if wanted.agrees(address)]
            if len(found) == 1:
                yield place, found[0]


def _moved_back(new: Iterable[Place], gone: Iterable[StoredMeter]) -> Iterable[tuple[Place, int]]:
    """Places from which a meter was moved without config.toml saying so, and its key.

    The store is changed first: a gateway that is killed before config.toml is leaves such a meter.
    """
    former = {(record.former_line, record.former_address): record.key for record in gone}
    return [(place, former[place]) for place in new if place in former]


def _opens(meter: Meter, reading: Reading) -> bool:
    try:
        return not any(telegram.encrypted for telegram in meter.decode(reading.frames))
    except TelegramError:
        return False


def _recall(meter: Meter, reading: Reading | None, failure: Reading | None) -> None:
    """Bring a meter to where it was when the gateway stopped."""
    if reading is not None:
        with contextlib.suppress(TelegramError):
            meter.accept(meter.decode(reading.frames), reading.time_ms)
    if failure is not None and (reading is None or failure.id > reading.id):
        meter.fail(failure.result, failure.detail, failure.time_ms)
