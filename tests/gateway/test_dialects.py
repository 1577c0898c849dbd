"""The dialect of a running gateway: clients that are connected see other codes for the same values, rows and all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from dlms_wire import Wire, aarq, fetch, get
from test_settings_live import Plant

from core.config import ConfigError, load_config
from core.cosem import obis
from core.dlms import axdr
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError
from core.snapshot import ValueView
from tests.interop.library import Client, Library

VOLUME = (3, obis.parse("8.0.1.0.0.255"))
BILLING = (4, obis.parse("0.1.24.2.1.255"))
PROFILES = tuple(map(obis.parse, ("1.0.99.1.0.255", "1.0.99.2.0.255", "0.0.98.1.0.255")))
OF_IDIS = tuple(map(obis.parse, ("0.1.24.3.0.255", "0.1.24.3.1.255", "0.1.24.3.2.255")))
MINE = 'about = "mine"\n[objects]\nload_profile_1 = "1.0.99.9.0.255"\n[values]\n"8.0.1.0.0.255" = "8.0.1.0.9.255"\n'


class Seen:
    """What the client of one association finds."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def value(self, item: tuple[int, bytes], attribute: int = 2) -> axdr.Value:
        return axdr.decode(await fetch(self.wire, get(*item, attribute)))

    async def is_gone(self, item: tuple[int, bytes]) -> bool:
        gone = bytes((1, DataAccessResult.OBJECT_UNDEFINED))
        return (await self.wire.ask(get(*item, 2)))[3:] == gone

    async def objects(self) -> set[tuple[int, bytes]]:
        listed = (await self.value((15, obis.parse("0.0.40.0.0.255")))).content
        assert isinstance(listed, list)
        return {(item.content[0].content, item.content[2].content) for item in listed}

    async def columns(self, profile: bytes) -> list[tuple[int, bytes]]:
        captured = (await self.value((7, profile), 3)).content
        assert isinstance(captured, list)
        return [(item.content[0].content, item.content[1].content) for item in captured]

    async def rows(self, profile: bytes) -> bytes:
        return await fetch(self.wire, get(7, profile, 2))


class Speaker(Plant):
    """The plant with a folder for dialects, and a client that stays connected."""

    @property
    def dialects(self) -> Path:
        return self.state_dir / "dialects"

    def write(self, text: str, name: str = "mine") -> None:
        self.dialects.mkdir(exist_ok=True)
        (self.dialects / f"{name}.toml").write_text(text)

    async def volume(self) -> ValueView:
        """What the screens show of the meter's volume."""
        detail = await asyncio.wrap_future(self.gateway.meter(self.gateway.snapshot().meters[0].key))
        return next(value for value in detail.values if value.dib == "0c13")

    def setting(self, name: str) -> object:
        return next(each for each in self.gateway.settings() if each.name == name)


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Speaker]:
    plant = Speaker(tmp_path / "state")
    await plant.begin()
    yield plant
    await asyncio.to_thread(plant.gateway.stop)
    plant.line.close()


async def test_a_client_that_stays_connected_sees_the_other_codes_and_back(plant: Speaker) -> None:
    """Value, scaler, unit and old rows are the same under other codes; class, capture objects and list follow."""
    async with Wire(plant.port) as wire:
        seen = Seen(wire)
        await wire.ask(aarq(plant.password))
        value, scale, listed = await seen.value(VOLUME), await seen.value(VOLUME, 3), await seen.objects()
        columns = [await seen.columns(profile) for profile in PROFILES]
        rows = [await seen.rows(profile) for profile in PROFILES]
        assert all(axdr.decode(each).content for each in rows)
        assert await seen.is_gone(BILLING)

        await plant.save(dlms__dialect="idis")
        assert (await seen.value(BILLING), await seen.value(BILLING, 3)) == (value, scale)
        assert (await seen.value(BILLING, 4)).content == 0
        captured = (await seen.value(BILLING, 5)).content
        row = axdr.decode(rows[0]).content[-1].content
        assert captured == row[0].content
        assert await seen.is_gone(VOLUME)
        replaced = {VOLUME: BILLING} | {
            (7, old): (7, new) for old, new in zip(PROFILES, OF_IDIS, strict=True)
        }
        assert await seen.objects() == {replaced.get(item, item) for item in listed}
        for number, profile in enumerate(OF_IDIS):
            assert await seen.columns(profile) == [replaced.get(item, item) for item in columns[number]]
            assert await seen.rows(profile) == rows[number]
            assert await seen.is_gone((7, PROFILES[number]))
        view = await plant.volume()
        assert (view.obis, view.cosem.split(" x ")[0]) == (
            "0.1.24.2.1.255", f"extended register {value.content}",
        )  # fmt: skip
        assert plant.gateway.snapshot().alarms == ()

        assert await plant.undo() == {"dlms.dialect": None}
        assert await seen.objects() == listed
        assert (await seen.value(VOLUME), await seen.rows(PROFILES[0])) == (value, rows[0])
        assert (await plant.volume()).obis == "8.0.1.0.0.255"


async def test_a_dialect_of_ones_own_is_offered_chosen_and_kept_over_a_restart(plant: Speaker) -> None:
    """And the codes under [obis] go over its own; a change of its file counts from the next reload on."""
    plant.write(MINE)
    assert plant.setting("dlms.dialect").choices == ("en13757", "idis", "mine")
    await plant.save(dlms__dialect="mine", obis__load_profile_2="1.0.99.8.0.255")
    theirs = (3, obis.parse("8.0.1.0.9.255"))
    moved = {(7, obis.parse("1.0.99.9.0.255")), (7, obis.parse("1.0.99.8.0.255")), theirs}
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        value = await Seen(wire).value(theirs)
        assert moved <= await Seen(wire).objects()
    profile = plant.setting("obis.load_profile_1")
    assert (profile.value, profile.default) == ("1.0.99.9.0.255", "1.0.99.9.0.255")
    await asyncio.to_thread(plant.gateway.stop)
    await asyncio.to_thread(plant.start)
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        assert moved <= await Seen(wire).objects()
        assert await Seen(wire).is_gone(VOLUME)
        plant.write(MINE.replace("8.0.1.0.9.255", "8.0.1.0.8.255"))
        assert await Seen(wire).value(theirs) == value
        await asyncio.wrap_future(plant.gateway.reload())
        assert await Seen(wire).value((3, obis.parse("8.0.1.0.8.255"))) == value
        assert await Seen(wire).is_gone(theirs)


async def test_a_dialect_that_cannot_hold_is_refused_and_nothing_changes(plant: Speaker) -> None:
    """One that is not there, not valid, or not together with [obis]: no file and no object is touched."""
    before = plant.file.path.read_bytes()
    plant.write(MINE.replace("[values]", "[valeus]"))
    plant.write(MINE, "good")
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        listed = await Seen(wire).objects()
        for values, says in (
            ({"dlms.dialect": "idsi"}, "did you mean idis?"),
            ({"dlms.dialect": "mine"}, "mine.toml: valeus is no known key; did you mean values?"),
            ({"dlms.dialect": "../mine"}, "must be the name of a dialect"),
            ({"dlms.dialect": "good", "obis.billing_profile": "1.0.99.9.0.255"}, "the same code"),
            ({"dlms.dialect": "idis", "obis.billing_profile": "0.1.24.2.1.255"}, 'in the dialect "idis"'),
        ):
            with pytest.raises(ConfigError) as refusal:
                await asyncio.wrap_future(plant.gateway.configure({"gateway.name": "other", **values}))
            assert says in str(refusal.value)
        assert await Seen(wire).objects() == listed
    assert plant.file.path.read_bytes() == before
    assert not plant.file.previous.exists()


async def test_a_reload_with_a_broken_dialect_leaves_the_old_one_in_force(plant: Speaker) -> None:
    """Also where its file is gone; settings still show what holds, and an undo is refused while it cannot be."""
    plant.write(MINE)
    await plant.save(dlms__dialect="mine")
    await plant.save(dlms__dialect="idis")
    (plant.dialects / "mine.toml").unlink()
    with pytest.raises(ConfigError, match=r"there is no file .*mine\.toml"):
        await plant.undo()
    plant.write(MINE)
    await plant.undo()
    plant.write(MINE[:-3])
    with pytest.raises(ConfigError, match=r"mine\.toml is not valid TOML"):
        await asyncio.wrap_future(plant.gateway.reload())
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        assert (3, obis.parse("8.0.1.0.9.255")) in await Seen(wire).objects()
    assert plant.setting("obis.load_profile_1").value == "1.0.99.9.0.255"
    await plant.save(dlms__dialect="en13757")
    assert (await plant.volume()).obis == "8.0.1.0.0.255"


async def test_a_gateway_does_not_start_with_codes_that_nobody_chose(plant: Speaker) -> None:
    """Its dialect is gone: the sentence says so, and with the file it starts again."""
    plant.write(MINE)
    await plant.save(dlms__dialect="mine")
    await asyncio.to_thread(plant.gateway.stop)
    (plant.dialects / "mine.toml").rename(plant.dialects / "away")
    with pytest.raises(CmeError, match=r'dialect "mine" .* there is no file'):
        await asyncio.to_thread(plant.start)
    (plant.dialects / "away").rename(plant.dialects / "mine.toml")
    await asyncio.to_thread(plant.start)
    assert load_config(plant.file.path).dlms.dialect == "mine"


async def test_two_values_that_a_dialect_would_give_one_code_are_an_alarm_and_not_a_guess(
    plant: Speaker,
) -> None:
    """Clients see neither, under no code; the other values of the meter are served, and the default shows all."""
    path = plant.state_dir / "mappings" / "water.json"
    mapping = json.loads(path.read_text())
    place = len(mapping["entries"])
    volume = next(entry for entry in mapping["entries"] if entry["dlmsObisCode"] == "8.0.1.0.0.255")
    mapping["entries"].append(volume | {"dlmsObisCode": "9.0.1.0.0.255"})
    path.write_text(json.dumps(mapping))
    warm = (3, obis.parse("9.0.1.0.0.255"))
    async with Wire(plant.port) as wire:
        seen = Seen(wire)
        await wire.ask(aarq(plant.password))
        await asyncio.wrap_future(plant.gateway.reload())
        both = await seen.objects()
        assert {VOLUME, warm} <= both
        await plant.save(dlms__dialect="idis")
        items = await seen.objects()
        assert not items & {VOLUME, warm, BILLING}
        assert {item for item in both if item[0] == 3} - {VOLUME, warm} <= items
        (alarm,) = plant.gateway.snapshot().alarms
        for part in (
            "Mapping water.json",
            f"entries[{place}]",
            '"idis"',
            "9.0.1.0.0.255",
            "8.0.1.0.0.255",
            "neither",
        ):
            assert part in alarm
        await plant.undo()
        assert await seen.objects() == both
    assert plant.gateway.snapshot().alarms == ()


@pytest.fixture(params=["gurux", "pydlms"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    library = Library(request.param)
    yield Client(library, "client")
    library.stop()


async def test_foreign_clients_read_the_idis_codes(plant: Speaker, client: Client) -> None:
    """The billing value as an extended register with status and capture time, and the hourly profile that holds it."""
    await plant.save(dlms__dialect="idis")
    await client.open(port=plant.port, server=16, level="low", password=plant.password.decode())
    name = obis.text(BILLING[1])
    objects = await client.objects()
    assert [4, name] in objects
    assert [7, "0.1.24.3.0.255"] in objects
    detail = await plant.volume()
    value = await client.get(4, name, 2)
    assert detail.cosem == f"extended register {value} x 10^-3 m³"
    assert await client.get(4, name, 3) == [-3, 13]
    assert await client.get(4, name, 4) == 0
    (row,) = await client.rows_by_entry("0.1.24.3.0.255", 1, 1)
    columns = await client.get(7, "0.1.24.3.0.255", 3)
    place = [column[:3] for column in columns].index([4, BILLING[1].hex(), 2])
    assert (row[0], row[place]) == (await client.get(4, name, 5), value)
    await client.release()
    await client.drop()
