"""The demo gateway, seen by three DLMS clients that others wrote, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_process import LIMIT, GatewayProcess

from core.mapping.units import symbol
from core.mbus.telegram import Telegram, decode
from core.secrets import load_secrets
from core.store import open_readonly

SCRIPTS = Path(__file__).parent.parent / "interop"
CLIENTS = ("gurux", "pydlms", "dlms_cosem")
SYMBOLS = {"m3": "m³", "m3/h": "m³/h", "d": "d", "h": "h"}  # where an M-Bus unit is spelled otherwise
HEAT, WATER, ELECTRICITY, GAS = 18, 16, 20, 22


def tour(client: str, gateway: GatewayProcess, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{client}_client.py"), "127.0.0.1", str(gateway.port), *options],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


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


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("device", [HEAT, WATER, ELECTRICITY, GAS])
def test_every_register_shows_what_the_telegram_says(client: str, device: int, demo: GatewayProcess) -> None:
    """Value x 10^scaler with its unit is a record of a telegram of that meter, exactly."""
    report = tour(client, demo, "--server", str(device), "--password", password(demo))
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


@pytest.mark.parametrize("client", CLIENTS)
def test_a_meter_device_has_its_name_and_its_objects(client: str, demo: GatewayProcess) -> None:
    """The name is that of the telegram's header; the object list holds what the name promises."""
    report = tour(client, demo, "--server", str(WATER), "--password", password(demo))
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


@pytest.mark.parametrize("client", CLIENTS)
def test_the_management_device_lists_all_meters(client: str, demo: GatewayProcess) -> None:
    """Channel selection leads from the management device to each meter and back."""
    report = tour(
        client, demo, "--server", "1", "--password", password(demo), "--channel", "16", "--channel", "20",
        "--channel", "1",
    )  # fmt: skip
    assert bytes.fromhex(report["name"])[:3] == b"ELV"
    names = {number: bytes.fromhex(item["name"]) for number, item in report["channels"].items()}
    assert names["16"] == b"ELS70112345070A"
    assert names["20"].startswith(b"EMU00032629")
    assert names["1"][:3] == b"ELV"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_load_profile_can_be_read_by_range(client: str, demo: GatewayProcess) -> None:
    """Exactly the rows between the two times come, in order; the counter never goes back."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    start = end - timedelta(hours=12)
    report = tour(
        client, demo, "--server", str(WATER), "--password", password(demo),
        "--from", start.isoformat(), "--to", end.isoformat(),
    )  # fmt: skip
    profile = report["profiles"]["1.0.99.1.0.255"]
    rows = profile["by_range"]
    assert len(rows) == 12 * 4 + 1
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    place = [column[1] for column in profile["columns"]].index("0800010000ff")
    volumes = [row[place] for row in rows]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "options",
    [("--password", "certainly-wrong"), (), ("--client", "2", "--password", "x")],
    ids=["wrong password", "no password", "unknown client"],
)
def test_who_may_not_is_refused(client: str, options: tuple[str, ...], demo: GatewayProcess) -> None:
    """A client without the right to is not let in, and told so."""
    report = tour(client, demo, "--server", "16", *options)
    assert report["association"] is False
    assert [item["what"] for item in report["refused"]] == ["association"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_public_client_sees_only_public_objects(client: str, demo: GatewayProcess) -> None:
    """Without a password: who is there, what time it is, and nothing that is measured."""
    report = tour(client, demo, "--client", "16", "--server", "16")
    assert report["association"] is True
    assert {tuple(item) for item in report["objects"]} == {
        (17, "0.0.41.0.0.255"),
        (15, "0.0.40.0.0.255"),
        (8, "0.0.1.0.0.255"),
        (1, "0.0.42.0.0.255"),
        (1, "0.0.43.1.0.255"),
    }


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_the_whole_way_over_a_real_line(
    kind: str, tmp_path: Path, start: Callable[..., GatewayProcess], simulate: Callable[..., str]
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
    for client in CLIENTS:
        report = tour(client, gateway, "--server", "16", "--password", password(gateway))
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
