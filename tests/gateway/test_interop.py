"""The demo gateway, seen by three DLMS clients that others wrote, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess

from core.mapping.units import symbol
from core.mbus.telegram import Telegram, decode
from core.secrets import load_secrets
from core.store import open_readonly
from tests.interop.library import LIBRARIES, Client, Library, Tap

SYMBOLS = {"m3": "m³", "m3/h": "m³/h", "d": "d", "h": "h"}  # where an M-Bus unit is spelled otherwise
HEAT, WATER, ELECTRICITY, GAS = 18, 16, 20, 22


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in LIBRARIES}
    yield libraries
    for library in libraries.values():
        library.stop()


@pytest.fixture(params=LIBRARIES)
def client(request: pytest.FixtureRequest, libraries: dict[str, Library]) -> Client:
    return Client(libraries[request.param], "client")


def management(gateway: GatewayProcess, device: int) -> dict[str, Any]:
    """How the management client gets in with the LLS password."""
    return {"port": gateway.port, "server": device, "level": "low", "password": password(gateway)}


def password(gateway: GatewayProcess) -> str:
    return load_secrets(gateway.state_dir / "secrets.toml").lls_password


def recent_telegrams(gateway: GatewayProcess, device: int) -> list[Telegram]:
    """All telegrams that a meter sent in the last minutes, decoded: a tour may see values of more than one."""
    since = datetime.now(UTC) - timedelta(minutes=7)
    with open_readonly(gateway.state_dir / "gateway.db") as store:
        (key,) = (meter.key for meter in store.meters() if meter.logical_device == device)
        found = store.good_times(key, (round(since.timestamp() * 1000), 0), 1000)
        readings = [store.reading(number) for _, number in found]
    assert readings
    return [decode(frame) for reading in readings if reading for frame in reading.frames]


@pytest.mark.parametrize("device", [HEAT, WATER, ELECTRICITY, GAS])
async def test_every_register_shows_what_the_telegram_says(
    client: Client, device: int, demo: GatewayProcess
) -> None:
    """Value x 10^scaler with its unit is a record of a telegram of that meter, exactly."""
    report = await client.tour(**management(demo, device))
    assert report["refused"] == []
    said = {
        (record.value, SYMBOLS.get(record.unit, record.unit))
        for telegram in recent_telegrams(demo, device)
        for record in telegram.records
        if isinstance(record.value, Decimal)
    }
    registers = {name: value for name, value in report["values"].items() if name.startswith("3 ")}
    assert len(registers) >= 1
    for name, value in registers.items():
        shown = Decimal(str(value["value"])).scaleb(value["scaler"])
        assert (shown, symbol(value["unit"])) in said, (name, value, said)


async def test_a_meter_device_has_its_name_and_its_objects(client: Client, demo: GatewayProcess) -> None:
    """The name is that of the telegram's header; the object list holds what the name promises."""
    report = await client.tour(**management(demo, WATER))
    assert bytes.fromhex(report["name"]) == b"ELS70112345070A"
    listed = [tuple(item) for item in report["objects"]]
    assert len(listed) == len(set(listed))
    for wanted in (
        (17, "0.0.41.0.0.255"),
        (15, "0.0.40.0.0.255"),
        (8, "0.0.1.0.0.255"),
        (3, "8.0.1.0.0.255"),
    ):
        assert wanted in listed


async def test_the_management_device_lists_all_meters(client: Client, demo: GatewayProcess) -> None:
    """Channel selection leads from the management device to each meter and back."""
    report = await client.tour(**management(demo, 1), channels=[16, 20, 1])
    assert bytes.fromhex(report["name"])[:3] == b"ELV"
    names = {number: bytes.fromhex(item["name"]) for number, item in report["channels"].items()}
    assert names["16"] == b"ELS70112345070A"
    assert names["20"].startswith(b"EMU00032629")
    assert names["1"][:3] == b"ELV"


async def test_a_load_profile_can_be_read_by_range(client: Client, demo: GatewayProcess) -> None:
    """Exactly the rows between the two times come, in order; the counter never goes back."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    start = end - timedelta(hours=12)
    report = await client.tour(**management(demo, WATER), start=start, end=end)
    profile = report["profiles"]["1.0.99.1.0.255"]
    rows = profile["by_range"]
    assert len(rows) == 12 * 4 + 1
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    place = [column[1] for column in profile["columns"]].index("0800010000ff")
    volumes = [row[place] for row in rows]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1]


@pytest.mark.parametrize(
    ("choice", "diagnostic"),
    [
        ({"level": "low", "password": "certainly-wrong"}, 13),  # authentication failure
        ({}, 14),  # authentication required
        ({"client": 2, "level": "low", "password": "x"}, 3),  # calling AP title not recognized
    ],
    ids=["wrong password", "no password", "unknown client"],
)
async def test_who_may_not_is_refused(
    client: Client, choice: dict[str, Any], diagnostic: int, demo: GatewayProcess
) -> None:
    """A client without the right to is not let in, and told why."""
    async with Tap(demo.port) as tap:
        refused = await client.refused("open", port=tap.port, server=16, **choice)
    assert refused["rejected"] == diagnostic


async def test_the_public_client_sees_only_public_objects(client: Client, demo: GatewayProcess) -> None:
    """Without a password: who is there, what time it is, and nothing that is measured."""
    report = await client.tour(port=demo.port, client=16, server=16)
    assert report["association"] is True
    assert {tuple(item) for item in report["objects"]} == {
        (17, "0.0.41.0.0.255"),
        (15, "0.0.40.0.0.255"),
        (8, "0.0.1.0.0.255"),
        (1, "0.0.42.0.0.255"),
        (1, "0.0.43.1.0.255"),
    }


@pytest.mark.parametrize("kind", ["pty", "tcp"])
async def test_the_whole_way_over_a_real_line(
    kind: str,
    tmp_path: Path,
    start: Callable[..., GatewayProcess],
    simulate: Callable[..., str],
    libraries: dict[str, Library],
) -> None:
    """Simulated meters at 2400 baud behind a pty and behind TCP, read, stored, mapped, served."""
    url = simulate("--pty", "--baud", "2400") if kind == "pty" else simulate("--tcp", "0", "--baud", "2400")
    (tmp_path / "config.toml").write_text(
        f"""
[dlms]
authentication = "low"
host = "127.0.0.1"
[[line]]
name = "cellar"
url = "{url}"
baud = 2400
[[meter]]
address = "70112345.ELS.0A.07"
[[meter]]
address = "06855817"
"""
    )
    gateway = start(tmp_path)
    gateway.wait_until("the first sweep", lambda meters: {meter["status"] for meter in meters} == {"ok"})
    for library in libraries.values():
        report = await Client(library, "client").tour(**management(gateway, WATER))
        assert report["refused"] == []
        said = {
            record.value
            for telegram in recent_telegrams(gateway, WATER)
            for record in telegram.records
            if isinstance(record.value, Decimal)
        }
        volume = report["values"]["3 8.0.1.0.0.255"]
        assert Decimal(volume["value"]).scaleb(volume["scaler"]) in said
        assert volume["unit"] == 13
    assert gateway.stop() == 0
