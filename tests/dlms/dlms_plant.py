"""A small gateway made of the real classes: a management device and two meters, for tests of the DLMS side.

`python tests/dlms/dlms_plant.py [PORT [ROWS [COLUMNS]]]` serves it until it is killed and prints
the port first.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.cosem.objects import (
    AssociationLN,
    CaptureObject,
    ChannelSelection,
    Clock,
    Context,
    CosemObject,
    Data,
    DataAccessError,
    DataAccessResult,
    ExtendedRegister,
    ProfileGeneric,
    Register,
    SapAssignment,
)
from core.dlms import axdr
from core.dlms.admission import Keys, Level, Policy
from core.dlms.errors import CounterError
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer
from core.dlms.server import DlmsServer

ZONE = ZoneInfo("Europe/Berlin")
NOW_MS = 1_750_000_000_000  # 2025-06-15 15:06:40 UTC
FIRST_ROW_MS = 1_740_009_600_000  # 2025-02-20 00:00 UTC
STEP_MS = 900_000
PASSWORD = b"12345678"
KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))  # of the Green Book's examples, like the title
TITLE = bytes.fromhex("4D4D4D0000BC614E")
MANAGEMENT_NAME = "ELV0016000000"
METER_NAMES = {16: "HYD123456780725", 17: "KAM876543210416"}
VOLUME = obis.parse("8.0.1.0.0.255")
FLOW = obis.parse("8.0.2.0.0.255")
BROKEN = obis.parse("8.0.3.0.0.255")
SLOW = obis.parse("8.0.4.0.0.255")
SILENT = obis.parse("8.0.5.0.0.255")
NOTE = obis.parse("8.0.6.0.0.255")
MAXIMUM = obis.parse("8.0.7.0.0.255")
PROFILE = obis.parse("1.0.99.1.0.255")
NAME = obis.parse("0.0.42.0.0.255")
CLOCK = obis.parse("0.0.1.0.0.255")
SAPS = obis.parse("0.0.41.0.0.255")
ASSOCIATION = obis.parse("0.0.40.0.0.255")
CHANNEL = obis.parse("0.128.1.0.0.255")
CLOCK_COLUMN = CaptureObject(8, CLOCK, 2)


@dataclass(frozen=True)
class Device:
    sap: int
    name: str
    objects: Mapping[tuple[int, bytes], CosemObject]


@dataclass
class Directory:
    by_sap: dict[int, Device] = field(default_factory=dict)

    def device(self, sap: int) -> Device | None:
        return self.by_sap.get(sap)

    def devices(self) -> list[Device]:
        return list(self.by_sap.values())


@dataclass
class Rows:
    """Rows of a clock and `width` - 1 registers, a quarter of an hour apart; value = 10 x row + column."""

    count: int
    width: int = 3

    def __post_init__(self) -> None:
        self.encoded = [self._row(number) for number in range(self.count)]

    def _row(self, number: int) -> bytes:
        time = axdr.date_time(cosem_time.encode(FIRST_ROW_MS + number * STEP_MS, ZONE))
        values = (axdr.double_long_unsigned(number * 10 + column) for column in range(1, self.width))
        return axdr.structure(time, *values)

    def columns(self) -> Sequence[CaptureObject]:
        registers = (CaptureObject(3, VOLUME[:4] + bytes((n, 255)), 2) for n in range(self.width - 1))
        return [CLOCK_COLUMN, *registers]

    def capture_period(self) -> int:
        return STEP_MS // 1000

    def capacity(self) -> int:
        return 5000

    def entries(self) -> int:
        return self.count

    def rows(self, start_ms: int | None, end_ms: int | None, limit: int) -> list[bytes]:
        first = 0 if start_ms is None else max(0, -((FIRST_ROW_MS - start_ms) // STEP_MS))
        last = self.count - 1 if end_ms is None else min(self.count - 1, (end_ms - FIRST_ROW_MS) // STEP_MS)
        return self.encoded[first : last + 1][-limit:] if last >= first else []

    async def rows_by_entry(self, first: int, last: int) -> list[bytes]:
        await asyncio.sleep(0)
        return self.encoded[first - 1 : last]


class Counters:
    """Invocation counters in memory, which a test can turn, break, and let wait."""

    def __init__(self) -> None:
        self.sent = 0
        self.exhausted = False
        self.accepted: dict[bytes, int] = {}
        self.disk: asyncio.Event | None = None  # that `accept` waits for

    def next(self) -> int:
        if self.exhausted:
            raise CounterError("The encryption key is used up; transfer a new one.")
        self.sent += 1
        return self.sent

    def last(self, title: bytes) -> int:
        return self.accepted.get(title, -1)

    def accept(self, title: bytes, counter: int) -> Awaitable[None] | None:
        self.accepted[title] = counter
        return None if self.disk is None else self._durable(self.disk)

    async def _durable(self, disk: asyncio.Event) -> None:
        await disk.wait()


@dataclass
class Access:
    """Credentials that a test can change."""

    lowest: Level = Level.LOW
    password: bytes = PASSWORD
    protection: Policy = Policy.NONE
    present: Keys = KEYS
    title: bytes = TITLE
    counters: Counters = field(default_factory=Counters)

    def level(self) -> Level:
        return self.lowest

    def policy(self) -> Policy:
        return self.protection

    def lls_password(self) -> bytes:
        return self.password

    def keys(self) -> Keys:
        return self.present

    def system_title(self) -> bytes:
        return self.title


class Plant:
    """The gateway and what a test can turn in it."""

    def __init__(self, rows: int = 1200, width: int = 3, lowest: Level = Level.LOW) -> None:
        self.access = Access(lowest)
        self.rows = Rows(rows, width)
        self.release_slow = asyncio.Event()
        self.slow_asked = asyncio.Event()
        self.note = axdr.octet_string(b"as delivered")
        self.times: list[int] = []
        management = self._device(1, MANAGEMENT_NAME, ())
        meters = [self._device(sap, name, self._meter(sap)) for sap, name in METER_NAMES.items()]
        self.directory = Directory({device.sap: device for device in (management, *meters)})

    def server(self, limits: ServerLimits | None = None, observer: Observer | None = None) -> DlmsServer:
        return DlmsServer(self.directory, self.access, limits, observer)

    def _device(self, sap: int, name: str, more: Sequence[CosemObject]) -> Device:
        common = (
            SapAssignment(),
            AssociationLN(),
            Clock(lambda: NOW_MS, ZONE, set_time=lambda ms, _: self.times.append(ms)),
            Data(NAME, axdr.octet_string(name.encode()), public=True),
            ChannelSelection(),
        )
        return Device(sap, name, {(item.class_id, item.logical_name): item for item in (*common, *more)})

    def _meter(self, sap: int) -> Sequence[CosemObject]:
        time = axdr.date_time(cosem_time.encode(NOW_MS, ZONE))
        return (
            Register(VOLUME, axdr.double_long_unsigned(85946 + sap), -3, 13),
            Register(FLOW, lambda: axdr.long(-12), 6, 15),
            Register(BROKEN, self._broken, 0, 13),
            Register(SLOW, self._slow, 0, 13),
            Register(SILENT, self._silent, 0, 13),
            ExtendedRegister(MAXIMUM, axdr.float32(1.5), 0, 15, axdr.unsigned(4), time),
            Data(NOTE, lambda: self.note, set_value=self._set_note),
            ProfileGeneric(PROFILE, self.rows, ZONE),
        )

    def _broken(self) -> bytes:
        raise RuntimeError("a fault in a source")

    async def _slow(self) -> bytes:
        self.slow_asked.set()
        await self.release_slow.wait()
        return axdr.long_unsigned(7)

    async def _silent(self) -> bytes:
        raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE)

    async def _set_note(self, value: axdr.Value, _: Context) -> None:
        await asyncio.sleep(0)
        if value.tag != axdr.Tag.OCTET_STRING or not isinstance(value.content, bytes):
            raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
        self.note = axdr.octet_string(value.content)


def last_error(server: DlmsServer) -> str:
    """What was wrong with the last request of the only client."""
    (session,) = server.sessions()
    return session.last_error


async def serve(port: int, rows: int, width: int) -> None:
    plant = Plant(rows, width)
    plant.release_slow.set()
    server = plant.server()
    await server.start("127.0.0.1", port)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(serve(*(numbers + [0, 1200, 3][len(numbers) :])))
