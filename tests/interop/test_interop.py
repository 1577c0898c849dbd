"""Three DLMS clients that others wrote, each in its own process, find in the gateway what is in it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dlms_plant import FIRST_ROW_MS, METER_NAMES, STEP_MS, ZONE, Plant

from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer

CLIENTS = ["gurux", "pydlms", "dlms_cosem"]
TIME_LIMIT = 20.0  # seconds for a whole tour; one of the clients hangs where it does not understand
CANNOT = {
    "dlms_cosem": {"4 8.0.7.0.0.255 2", "7 1.0.99.1.0.255 by entry"},  # no float32, no entry descriptor
}


@pytest.fixture
async def server() -> AsyncIterator[DlmsServer]:
    plant = Plant()
    plant.release_slow.set()
    server = plant.server(ServerLimits(rejection=0.05))
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def tour(client: str, port: int, *arguments: str) -> dict[str, Any]:
    """What the client reports."""
    script = Path(__file__).parent / f"{client}_client.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "127.0.0.1", str(port), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIME_LIMIT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    report: dict[str, Any] = json.loads(output)
    return report


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_reads_everything_as_it_is(server: DlmsServer, client: str) -> None:
    """LLS, names, lists, values with scaler and unit, clock, profile by range and entry in blocks, channels."""
    start, end = (
        datetime.fromtimestamp((FIRST_ROW_MS + row * STEP_MS) / 1000, UTC).isoformat() for row in (100, 799)
    )
    report = await tour(
        client, server.port, "--server", "16", "--password", "12345678", "--from", start, "--to", end,
        "--entries", "2:3", "--channel", "17", "--channel", "99", "--pdu", "512",
    )  # fmt: skip
    assert report["association"]
    assert {item["what"] for item in report["refused"]} == {
        "3 8.0.3.0.0.255 2", "3 8.0.5.0.0.255 2", "channel 99", *CANNOT.get(client, ()),
    }  # fmt: skip
    assert bytes.fromhex(report["name"]) == METER_NAMES[16].encode()
    assert report["list"] == [METER_NAMES[16].encode().hex(), -60, "00002a0000ff"]
    assert [1, "0.128.1.0.0.255"] in report["objects"]
    assert len(report["objects"]) == 13
    values = report["values"]
    assert values["8 0.0.1.0.0.255"] == {"value": "07e9060f0711062800ff8880"}
    assert values["3 8.0.1.0.0.255"] == {"value": 85962, "scaler": -3, "unit": 13}
    assert values["3 8.0.2.0.0.255"] == {"value": -12, "scaler": 6, "unit": 15}
    assert values["3 8.0.4.0.0.255"] == {"value": 7, "scaler": 0, "unit": 13}
    if client != "dlms_cosem":
        assert values["4 8.0.7.0.0.255"] == {"value": 1.5, "scaler": 0, "unit": 15}
    profile = report["profiles"]["1.0.99.1.0.255"]
    assert profile["columns"][0] == [8, obis.parse("0.0.1.0.0.255").hex(), 2, 0]
    assert profile["entries"] == 1200
    assert profile["by_range"] == [row(number) for number in range(100, 800)]
    if client != "dlms_cosem":
        assert profile["by_entry"] == [row(1), row(2)]
    other = METER_NAMES[17].encode().hex()
    assert report["channels"] == {
        "17": {"selected": True, "reads": 17, "name": other},
        "99": {"selected": False, "reads": 17, "name": other},
    }


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_without_authentication_sees_what_is_public(
    server: DlmsServer, client: str
) -> None:
    """Client 16 on the management device: the four objects that there are for it, and nothing refused."""
    report = await tour(client, server.port, "--client", "16", "--server", "1")
    assert report["association"]
    assert report["refused"] == []
    assert sorted(report["objects"]) == [
        [1, "0.0.42.0.0.255"], [8, "0.0.1.0.0.255"], [15, "0.0.40.0.0.255"], [17, "0.0.41.0.0.255"],
    ]  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_with_a_wrong_password_understands_that_it_is_refused(
    server: DlmsServer, client: str
) -> None:
    """It says so, reads nothing, and the server goes on."""
    report = await tour(client, server.port, "--password", "wrong")
    assert not report["association"]
    assert [item["what"] for item in report["refused"]] == ["association"]


def row(number: int) -> list[object]:
    """A row of the plant as the clients report it."""
    time = cosem_time.encode(FIRST_ROW_MS + number * STEP_MS, ZONE)
    return [time.hex(), number * 10 + 1, number * 10 + 2]
