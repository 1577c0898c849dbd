"""What tests of reports and their schedules share: a real store, real meters with real telegrams, a clock in hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from push_plant import FakeClock

from core.config import MeterConfig, PushConfig, PushReportConfig, Report
from core.cosem.codes import Codes
from core.dlms import axdr
from core.interval import Interval
from core.mapping.model import MappingFile, parse_mapping
from core.mapping.ready import ready_mappings
from core.mapping.simplified import Site
from core.mbus.simulator import load_meters
from core.meter import Meter
from core.profiles import MeterRows, RowCache
from core.push import content
from core.push.content import Content
from core.push.reports import Reports
from core.push.scheduler import PushScheduler
from core.snapshot import MeterState
from core.store import Event, Log, Reading, Store

ZONE = ZoneInfo("Europe/Stockholm")
SITE = Site("0016000000", ZONE)
TITLE = bytes.fromhex("454C560000F42400")
ADDRESS = 3232235778
EVERY = tuple(Report.__args__)  # type: ignore[attr-defined]
WATER: MappingFile = next(file for file in ready_mappings() if file.name == "water.json")
SIMULATED = next(meter for meter in load_meters() if str(meter.identity) == "70112345.ELS.0A.07")


def at(text: str) -> int:
    """Of "2025-10-24 06:00" on the clock in Stockholm, in ms since 1970 UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()) * 1000


def water(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> MappingFile:
    """The mapping of water meters; `change` gives each entry anew, None to leave it out."""
    document = json.loads(json.dumps(WATER.document))
    changed = [change(entry) for entry in document["entries"]]
    document["entries"] = [entry for entry in changed if entry is not None]
    return parse_mapping(json.dumps(document), "water.json")


@dataclass
class Facts:
    """What the reports read of the gateway."""

    name: str = "ELV0016000000"
    system_title: bytes = TITLE
    codes: Codes = field(default_factory=Codes)
    zone: tzinfo = ZONE


class Plant:
    """A gateway's reports without the gateway around them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.clock.ms = at("2025-10-24 10:07")
        self.facts = Facts()
        self.config = PushConfig(host="hes.example")
        self.meters: list[Meter] = []
        self.filled = 0
        self.cache = RowCache()
        self.reports: Reports
        self.scheduler: PushScheduler

    async def start(self) -> None:
        """Begin, or go on after a crash: only what is in the store is known."""
        self.reports = Reports(
            self.store, self.clock, lambda: self.meters, self.rows, lambda: self.facts, lambda: self.config
        )
        self.scheduler = PushScheduler(
            self.store,
            self.reports,
            self.clock,
            lambda: ZONE,
            lambda: self.config,
            self._address,
            self._fill,
        )
        await self.scheduler.open()

    def rows(self, meter: Meter, profile: int) -> MeterRows:
        """The rows of a profile with the columns that go into pushes."""
        return MeterRows(meter, profile, 0, self.store, self.cache, SITE, meter.pushed)

    async def _address(self) -> int:
        return ADDRESS

    def _fill(self) -> None:
        self.filled += 1

    def report(self, kind: Report, schedule: str = "every 15 min", **more: Any) -> None:
        """Have this report, besides others, with this schedule."""
        others = tuple(report for report in self.config.reports if report.type != kind)
        report = PushReportConfig(kind, schedule=schedule, **more)
        self.config = replace(self.config, reports=(*others, report))

    async def install(self, count: int, version: int = 0x0A, medium: int = 7) -> list[Meter]:
        """More water meters, or what `medium` says, that were never read."""
        new = []
        for _ in range(count):
            number = len(self.meters) + 1
            address = f"{20_000_000 + number}.ELS.{version:02X}.{medium:02X}"
            key = await self.store.install_meter("cellar", address, self.clock.ms)
            config = MeterConfig(line="cellar", address=address, logical_device=15 + number)
            new.append(Meter(key, config, site=SITE, clock=self.clock, read=self.never, keys={}))
            self.meters += new[-1:]
        return new

    async def never(self, meter: Meter) -> None:
        """Reads a meter, which no report needs."""
        raise AssertionError(f"{meter.name} was read for a report")

    async def read(self, *meters: Meter, mapping: MappingFile | None = WATER) -> None:
        """A readout now, mapped with `mapping`."""
        frames = SIMULATED.telegrams_at(self.clock.ms / 1000)
        await self.store.add_readings(
            [Reading(meter.key, "cellar", self.clock.ms, MeterState.OK, frames) for meter in meters]
        )
        for meter in meters:
            meter.accept(meter.decode(frames), self.clock.ms)
            meter.remap(mapping)

    async def turn(self, ms: int | None = None) -> list[Content]:
        """Let it be `ms` and the scheduler look; what came into the outbox, which is then empty."""
        self.clock.ms = self.clock.ms if ms is None else ms
        await self.scheduler.turn()
        return await self.taken()

    async def read_and_turn(self, *moments: int) -> list[Content]:
        """A readout and a look of the scheduler at each of these moments."""
        found = []
        for self.clock.ms in moments:
            await self.read(*self.meters)
            found += await self.turn()
        return found

    async def taken(self) -> list[Content]:
        """What is in the outbox, oldest first; a head-end takes all of it."""
        waiting = await self.store.outbox.waiting(EVERY, 100_000, 1 << 40)
        await self.store.outbox.delivered({each.id: 1 for each in waiting}, self.clock.ms)
        return [content.read(axdr.decode(each.body)) for each in waiting]

    async def event(self, code: int, message: str = "", meter: Meter | None = None) -> None:
        key = meter.key if meter else None
        await self.store.add_events([Event(key, Log.STANDARD, self.clock.ms, code, message)])


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Plant]:
    """A plant whose first profile has a row for every readout."""
    store = await Store.open(path / "gateway.db")
    await store.set_profiles({number: Interval.parse("all") for number in (1, 2, 3)}, ZONE)
    plant = Plant(store)
    await plant.start()
    yield plant
    await store.close()


def times(found: Iterable[Content]) -> list[int]:
    """The times of the rows, or events, in the order in which they arrived."""
    return [round(row.time.timestamp()) * 1000 for each in found for row in (*each.rows, *each.events)]
