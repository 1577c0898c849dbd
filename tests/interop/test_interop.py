"""Three DLMS clients that others wrote, each in its own process, find in the gateway what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from dlms_plant import FIRST_ROW_MS, METER_NAMES, PASSWORD, STEP_MS, ZONE, Plant

from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer
from tests.interop.library import LIBRARIES, Client, Library

CANNOT = {
    "dlms_cosem": {"4 8.0.7.0.0.255 2", "7 1.0.99.1.0.255 by entry"},  # no float32, no entry descriptor
}


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    library = Library(request.param)
    yield library
    library.stop()


@pytest.fixture
def client(library: Library) -> Client:
    return Client(library, "client")


@pytest.fixture
async def server() -> AsyncIterator[DlmsServer]:
    plant = Plant()
    plant.release_slow.set()
    server = plant.server(ServerLimits(rejection=0.05))
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def test_a_foreign_client_reads_everything_as_it_is(
    server: DlmsServer, client: Client, library: Library
) -> None:
    """LLS, names, lists, values with scaler and unit, clock, profile by range and entry in blocks, channels."""
    start, end = (datetime.fromtimestamp((FIRST_ROW_MS + row * STEP_MS) / 1000, UTC) for row in (100, 799))
    report = await client.tour(
        port=server.port, server=16, level="low", password=PASSWORD.decode(), pdu=512,
        start=start, end=end, entries=[2, 3], channels=[17, 99],
    )  # fmt: skip
    assert report["association"]
    assert {item["what"] for item in report["refused"]} == {
        "3 8.0.3.0.0.255 2", "3 8.0.5.0.0.255 2", "channel 99", *CANNOT.get(library.name, ()),
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
    if library.name != "dlms_cosem":
        assert values["4 8.0.7.0.0.255"] == {"value": 1.5, "scaler": 0, "unit": 15}
    profile = report["profiles"]["1.0.99.1.0.255"]
    assert profile["columns"][0] == [8, obis.parse("0.0.1.0.0.255").hex(), 2, 0]
    assert profile["entries"] == 1200
    assert profile["by_range"] == [row(number) for number in range(100, 800)]
    if library.name != "dlms_cosem":
        assert profile["by_entry"] == [row(1), row(2)]
    other = METER_NAMES[17].encode().hex()
    assert report["channels"] == {
        "17": {"selected": True, "reads": 17, "name": other},
        "99": {"selected": False, "reads": 17, "name": other},
    }


async def test_a_foreign_client_without_authentication_sees_what_is_public(
    server: DlmsServer, client: Client
) -> None:
    """Client 16 on the management device: the four objects that there are for it, and nothing refused."""
    report = await client.tour(port=server.port, client=16)
    assert report["association"]
    assert report["refused"] == []
    assert sorted(report["objects"]) == [
        [1, "0.0.42.0.0.255"], [8, "0.0.1.0.0.255"], [15, "0.0.40.0.0.255"], [17, "0.0.41.0.0.255"],
    ]  # fmt: skip


async def test_a_foreign_client_with_a_wrong_password_understands_that_it_is_refused(
    server: DlmsServer, client: Client
) -> None:
    """It says so, reads nothing, and the server goes on."""
    refused = await client.refused("open", port=server.port, level="low", password="wrong")
    assert refused["rejected"] == 13  # authentication failure
    report = await client.tour(port=server.port, level="low", password=PASSWORD.decode())
    assert report["association"]


def row(number: int) -> list[object]:
    """A row of the plant as the clients report it."""
    time = cosem_time.encode(FIRST_ROW_MS + number * STEP_MS, ZONE)
    return [time.hex(), number * 10 + 1, number * 10 + 2]
