"""A mapping that changes while clients are connected and profiles hold history: the next read, the columns and the old
rows follow, and nobody ever sees a value with the scaler of another one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dlms_wire import AARQ_NONE, Wire, aarq, fetch, get
from test_core import simulated

from core.dlms import axdr
from core.dlms.xdlms import DataAccessResult
from core.facade import RunOptions
from core.launch import RunningGateway, open_gateway
from core.mbus.telegram import decode
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store
from tests.interop.library import Client, Library, Refused

LIMIT = 60.0  # seconds
ROWS = 40
QUARTER_S = 900
WATER = 16
PROFILE = "1.0.99.1.0.255"
VOLUME = "8.0.1.0.0.255"
VOLUME_NAME = bytes((8, 0, 1, 0, 0, 255))
PROFILE_NAME = bytes((1, 0, 99, 1, 0, 255))
OUTDATED = int(DataAccessResult.OBJECT_UNAVAILABLE)
UNDEFINED = int(DataAccessResult.OBJECT_UNDEFINED)
OTHER_CLASS = int(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
M3, LITRE = 13, -3
REGISTERS = (3, 4)

_CONFIG = """
[dlms]
host = "127.0.0.1"
authentication = "none"
policy = "none"
[profiles]
load_profile_1 = "15 min"
[[line]]
name = "cellar"
url = "tcp:127.0.0.1:1"  # nobody: clients get what was read last, so every value is known
[[meter]]
line = "cellar"
address = "70112345.ELS.0A.07"
logical_device = 16
"""


def entry(**changes: Any) -> dict[str, Any]:
    """The entry of the volume, or another one."""
    return {
        "includeInPush": "ALL",
        "mbusTelegram": 0,
        "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue"],
        "dlmsObisCode": VOLUME,
        "dlmsScaler": LITRE,
        "dlmsUnit": M3,
        "dlmsClass": "register",
        "dlmsDataType": 21,
        "dlmsDefaultValue": None,
        **changes,
    }


DUE_DATE = entry(dlmsObisCode="8.0.1.2.0.255", mbusKeys=["mbus.dib.4c13.unmodifiedvalue"])
NEVER_SENT = entry(dlmsObisCode="8.0.3.0.0.255", mbusKeys=["mbus.dib.0413.unmodifiedvalue"])
BOTH = [entry(), DUE_DATE]


class Cabinet:
    """A gateway with a water meter that sent `ROWS` telegrams, and answers no more."""

    def __init__(self, state_dir: Path) -> None:
        self.state = StateDir(state_dir)
        self.gateway: RunningGateway
        self.sent: list[dict[str, Decimal]] = []  # oldest first: by DIB what each telegram says, in m³

    async def prepare(self) -> None:
        """Give the state directory its past."""
        self.state.create()
        self.state.config.write_text(_CONFIG)
        self.write(BOTH)
        meter = simulated("70112345")
        last = int(time.time()) // QUARTER_S * QUARTER_S
        store = await Store.open(self.state.database)
        key = await store.install_meter("cellar", "70112345.ELS.0A.07", last * 1000)
        for number in range(ROWS):
            moment = last - QUARTER_S * (ROWS - 1 - number)
            frames = meter.telegrams_at(moment)
            await store.add_reading(Reading(key, "cellar", moment * 1000, MeterState.OK, frames))
            records = decode(frames[0]).records
            self.sent.append({each.dib: each.value for each in records if isinstance(each.value, Decimal)})
        await store.close()

    async def begin(self) -> None:
        await self.prepare()
        self.gateway = await asyncio.to_thread(open_gateway, RunOptions(self.state.path, dlms_port=0))

    @property
    def port(self) -> int:
        return self.gateway.snapshot().dlms.port

    def write(self, entries: list[dict[str, Any]], name: str = "water.json", **properties: Any) -> None:
        document = {"type": "water", "manufacturer": "all", "version": 0, **properties, "entries": entries}
        (self.state.mappings / name).write_text(json.dumps(document))

    async def change(
        self, entries: list[dict[str, Any]], name: str = "water.json", **properties: Any
    ) -> None:
        self.write(entries, name, **properties)
        await self.reload()

    async def reload(self) -> None:
        await asyncio.wrap_future(self.gateway.reload())

    @property
    def file_in_use(self) -> str:
        return self.gateway.snapshot().meters[0].mapping

    def history(self, dib: str) -> list[Decimal]:
        return [telegram[dib] for telegram in self.sent]


@pytest.fixture
async def cabinet(tmp_path: Path) -> AsyncIterator[Cabinet]:
    cabinet = Cabinet(tmp_path / "state")
    await cabinet.begin()
    yield cabinet
    await asyncio.to_thread(cabinet.gateway.stop)


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in ("gurux", "pydlms")}
    yield libraries
    for library in libraries.values():
        library.stop()


class HeadEnd:
    """A client that stays connected, and multiplies values by what it read of scalers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.get: Callable[..., Awaitable[Any]] = client.get

    async def open(self, port: int) -> None:
        await self._client.open(port=port, server=WATER)

    async def access(self, class_id: int, name: str, attribute: int) -> int:
        """The Data-Access-Result of a read that must fail."""
        told = await self._client.refused("get", class_id, name, attribute)
        return int(told["access"])

    async def value(self, name: str = VOLUME, class_id: int = 3) -> Decimal:
        scaler, _ = await self.get(class_id, name, 3)
        return Decimal(await self.get(class_id, name, 2)).scaleb(scaler)

    async def history(self) -> dict[tuple[int, str], list[Decimal]]:
        """The rows of the profile by column, in the unit of each."""
        columns = [(item[0], _code(item[1])) for item in await self.get(7, PROFILE, 3)]
        scalers = [(await self.get(*each, 3))[0] if each[0] in REGISTERS else 0 for each in columns]
        rows = await self.get(7, PROFILE, 2)
        assert {len(row) for row in rows} <= {len(columns)}
        return {
            column: [Decimal(row[place]).scaleb(scalers[place]) for row in rows]
            for place, column in enumerate(columns)
            if column[0] in REGISTERS
        }


def _code(name: str) -> str:
    return ".".join(map(str, bytes.fromhex(name)))


@pytest.fixture(params=["gurux", "pydlms"])
async def client(
    request: pytest.FixtureRequest, libraries: dict[str, Library], cabinet: Cabinet
) -> AsyncIterator[HeadEnd]:
    foreign = Client(libraries[request.param], "client")
    head_end = HeadEnd(foreign)
    await head_end.open(cabinet.port)
    yield head_end
    await foreign.drop()


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        ([entry(dlmsObisCode="8.0.9.0.0.255"), DUE_DATE], {(3, "8.0.9.0.0.255"): "0c13"}),
        ([entry(dlmsScaler=-6), DUE_DATE], {(3, VOLUME): "0c13"}),
        ([*BOTH, entry(dlmsObisCode="8.0.9.0.0.255")], {(3, VOLUME): "0c13", (3, "8.0.9.0.0.255"): "0c13"}),
        ([entry()], {(3, VOLUME): "0c13"}),
        ([entry(dlmsClass="extended_register"), DUE_DATE], {(4, VOLUME): "0c13"}),
        ([entry(mbusKeys=["mbus.dib.volume.1.0.0.0.unmodifiedvalue"])], {(3, VOLUME): "4c13"}),
        ([entry(includeInPush="NONE"), DUE_DATE], {(3, VOLUME): "0c13"}),
        ([DUE_DATE, entry()], {(3, VOLUME): "0c13"}),
    ],
    ids=["code", "scaler", "added", "removed", "class", "another field", "push", "order"],
)
async def test_a_change_shows_in_the_next_read_in_the_columns_and_in_old_rows(
    client: HeadEnd, cabinet: Cabinet, entries: list[dict[str, Any]], shown: dict[tuple[int, str], str]
) -> None:
    """To a client that stays connected and has read everything under the old mapping."""
    before = await client.history()
    assert before[3, VOLUME] == cabinet.history("0c13")
    assert await client.value() == before[3, VOLUME][-1]
    await cabinet.change(entries)
    after = await client.history()
    assert {code for _, code in after} == {each["dlmsObisCode"] for each in entries}
    for column, dib in shown.items():
        assert after[column] == cabinet.history(dib)
        assert await client.value(column[1], column[0]) == cabinet.sent[-1][dib]
    if (3, VOLUME) not in after:
        assert await client.access(3, VOLUME, 2) in (UNDEFINED, OTHER_CLASS)


async def test_a_default_that_is_added_shows_in_every_row(client: HeadEnd, cabinet: Cabinet) -> None:
    """A field that the meter never sent has no object; with a default it has one, and a column."""
    await cabinet.change([*BOTH, NEVER_SENT])
    assert await client.access(3, "8.0.3.0.0.255", 2) == UNDEFINED
    await cabinet.change([*BOTH, {**NEVER_SENT, "dlmsDefaultValue": "12"}])
    assert await client.value("8.0.3.0.0.255") == Decimal("0.012")
    assert (await client.history())[3, "8.0.3.0.0.255"] == [Decimal("0.012")] * ROWS


async def test_a_scaler_that_a_client_knows_is_never_wrong(client: HeadEnd, cabinet: Cabinet) -> None:
    """Value and rows are refused until it reads the new scaler, or unit; other values are not."""
    await client.history()
    await cabinet.change([entry(dlmsScaler=-6), DUE_DATE])
    assert await client.access(3, VOLUME, 2) == OUTDATED
    assert await client.access(7, PROFILE, 2) == OUTDATED
    assert Decimal(await client.get(3, "8.0.1.2.0.255", 2)).scaleb(LITRE) == cabinet.sent[-1]["4c13"]
    assert await client.value() == cabinet.sent[-1]["0c13"]
    await client.get(7, PROFILE, 2)
    await cabinet.change([entry(dlmsScaler=-6, dlmsUnit=14), DUE_DATE])
    assert await client.access(3, VOLUME, 2) == OUTDATED


async def test_columns_that_a_client_knows_are_never_mixed_up(client: HeadEnd, cabinet: Cabinet) -> None:
    """Two columns that change places look alike: the rows are refused until the client reads the capture objects."""
    await client.history()
    await cabinet.change(BOTH[::-1])
    assert await client.access(7, PROFILE, 2) == OUTDATED
    assert (await client.history())[3, VOLUME] == cabinet.history("0c13")


async def test_a_client_that_associates_anew_knows_nothing(cabinet: Cabinet) -> None:
    """It is refused nothing, also over the same connection."""
    scaler, value = (get(3, VOLUME_NAME, attribute) for attribute in (3, 2))
    async with Wire(cabinet.port, server=WATER) as wire:
        await wire.ask(AARQ_NONE)
        await fetch(wire, scaler)
        await cabinet.change([entry(dlmsScaler=-6)])
        assert (await wire.ask(value))[3:] == bytes((1, OUTDATED))
        await wire.ask(AARQ_NONE)
        expected = int(cabinet.sent[-1]["0c13"].scaleb(6))
        assert axdr.decode(await fetch(wire, value)).content == expected


async def test_a_more_specific_file_takes_over_and_gives_back(client: HeadEnd, cabinet: Cabinet) -> None:
    """Type, then maker, then version; each goes again and leaves the one before."""
    assert cabinet.file_in_use == "water/all/0"
    await cabinet.change([entry(dlmsScaler=-4)], "els.json", manufacturer="ELS")
    assert cabinet.file_in_use == "water/ELS/0"
    assert await client.get(3, VOLUME, 3) == [-4, M3]
    await cabinet.change([entry(dlmsScaler=-5)], "els10.json", manufacturer="ELS", version=10)
    assert await client.get(3, VOLUME, 3) == [-5, M3]
    assert await client.history() == {(3, VOLUME): cabinet.history("0c13")}
    (cabinet.state.mappings / "els10.json").unlink()
    await cabinet.reload()
    assert await client.get(3, VOLUME, 3) == [-4, M3]
    (cabinet.state.mappings / "els.json").unlink()
    await cabinet.reload()
    assert cabinet.file_in_use == "water/all/0"
    assert set(await client.history()) == {(3, VOLUME), (3, "8.0.1.2.0.255")}


async def test_a_file_that_becomes_invalid_changes_nothing_but_the_alarms(
    client: HeadEnd, cabinet: Cabinet
) -> None:
    """Clients do not even see that the folder was read again; the corrected file ends the alarm."""
    before = await client.history()
    (cabinet.state.mappings / "water.json").write_text('{"type": "water", "entries": [')
    await cabinet.reload()
    assert [alarm for alarm in cabinet.gateway.snapshot().alarms if "water.json: is no valid JSON" in alarm]
    assert await client.get(7, PROFILE, 2)
    assert await client.history() == before
    await cabinet.change([entry()])
    assert not [alarm for alarm in cabinet.gateway.snapshot().alarms if "water.json" in alarm]
    assert set(await client.history()) == {(3, VOLUME)}


async def test_a_valid_file_goes_before_what_an_invalid_one_was(client: HeadEnd, cabinet: Cabinet) -> None:
    """Whoever replaces a broken file by another one for the same meters gets what the other one says."""
    (cabinet.state.mappings / "water.json").write_text("{")
    await cabinet.change([entry(dlmsScaler=-6)], "zz-new.json")
    assert await client.get(3, VOLUME, 3) == [-6, M3]
    mapping_alarms = [each for each in cabinet.gateway.snapshot().alarms if each.startswith("Mapping")]
    assert [each.split(": ")[0] for each in mapping_alarms] == ["Mapping water.json"]


async def test_the_answer_that_runs_keeps_its_columns_to_the_end(cabinet: Cabinet) -> None:
    """The mapping changes with each block that is fetched: the rows are those that were asked for."""
    async with Wire(cabinet.port, server=WATER) as wire:
        await wire.ask(aarq(pdu=160))
        answer = await wire.ask(get(7, PROFILE_NAME, 2))
        parts: list[bytes] = []
        while True:
            assert answer[:2] == b"\xc4\x02"
            head = 10 if answer[9] < 0x80 else 10 + (answer[9] & 0x7F)
            parts.append(answer[head:])
            if answer[3]:
                break
            await cabinet.change(
                [entry(dlmsScaler=-6)] if len(parts) % 2 else [DUE_DATE, entry(dlmsScaler=-5)]
            )
            answer = await wire.ask(bytes((0xC0, 2, 0xC1)) + answer[4:8])
        assert len(parts) > 5
        rows = axdr.decode(b"".join(parts)).content
        assert isinstance(rows, list)
        shown = [
            [value.content for value in row.content][1:] for row in rows if isinstance(row.content, list)
        ]
        assert shown == [[int(sent[dib].scaleb(3)) for dib in ("0c13", "4c13")] for sent in cabinet.sent]


async def test_changes_in_a_row_confuse_no_client(cabinet: Cabinet, libraries: dict[str, Library]) -> None:
    """One polls a value, one the profile, while mappings follow one another: what they get is exact or refused."""
    values, profiles = Poll(cabinet), Poll(cabinet)

    async def value(client: HeadEnd) -> None:
        assert await client.value() == cabinet.sent[-1]["0c13"]

    async def profile(client: HeadEnd) -> None:
        for column, rows in (await client.history()).items():
            assert rows == cabinet.history("4c13" if column[1] == "8.0.1.2.0.255" else "0c13")

    async with asyncio.TaskGroup() as polls:
        polls.create_task(values.run(libraries["gurux"], value))
        polls.create_task(profiles.run(libraries["pydlms"], profile))
        for number in range(12):
            entries = [
                entry(dlmsScaler=-3 - number % 4),
                DUE_DATE,
                entry(dlmsObisCode=f"8.0.9.0.{number}.255"),
            ]
            await cabinet.change(entries[:: 1 - 2 * (number % 2)])
            await values.goes_on()
            await profiles.goes_on()
        values.stopping = profiles.stopping = True
    assert values.good > 0
    assert profiles.good > 0


class Poll:
    """A client that does the same again and again over one association."""

    def __init__(self, cabinet: Cabinet) -> None:
        self._cabinet = cabinet
        self._round = asyncio.Condition()
        self._rounds = 0
        self.good = 0
        self.stopping = False

    async def run(self, library: Library, do: Callable[[HeadEnd], Awaitable[None]]) -> None:
        foreign = Client(library, "poll")
        client = HeadEnd(foreign)
        await client.open(self._cabinet.port)
        while not self.stopping:
            try:
                await do(client)
                self.good += 1
            except Refused as refused:
                if refused.told.get("access") not in (OUTDATED, UNDEFINED):
                    raise
            async with self._round:
                self._rounds += 1
                self._round.notify_all()
        await do(client)
        await foreign.drop()

    async def goes_on(self) -> None:
        """Wait for the end of the next round."""
        async with asyncio.timeout(LIMIT), self._round:
            rounds = self._rounds
            await self._round.wait_for(lambda: self._rounds > rounds)
