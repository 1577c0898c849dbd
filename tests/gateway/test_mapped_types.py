"""One meter, one mapping file, every class and data type: what gurux-dlms and pydlms-client read is the meter's."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_process import LIMIT, GatewayProcess

from core.cosem import datetime as cosem_time
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store
from tests.interop.library import Client, Library
from tests.mbus.telegram_frames import HEADER, long_frame

DEVICE: Final = 16
UNAVAILABLE: Final = 11  # data access result object-unavailable
CONFIG: Final = """
[gateway]
timezone = "UTC"

[dlms]
authentication = "none"
policy = "none"

[readout]
interval = "15 min"

[[line]]
name = "cellar"
url = "tcp:127.0.0.1:1"

[[meter]]
line = "cellar"
address = 1
logical_device = 16
"""

QUARTER_MS: Final = 900_000
READINGS: Final = 8


def telegram(count: int) -> bytes:
    """What the meter sends; only its volume counts on, and only the last telegram has an odd status."""
    records = (
        f"0413{(85946 + count).to_bytes(4, 'little').hex()}"  # m3 x 10^-3
        "025af5ff"  # -1.1 °C
        "055b9a99ab41"  # 21.45 °C
        "0a264200"  # 42 h
        "01fd1705"  # error flags 0 and 2
        "01fd1b01"  # a digital input that is on
        "0c7825029904"  # number plate 04990225
        "0d7806 333b6e6cf64b"  # Köln;3 in Latin 1
        "471307000000 00010000"  # 2^40 + 7 at the due date
        "426c0621"  # 2016-01-06
        "046d32100621"  # 2016-01-06 16:50
        "036d1e2d10"  # 16:45:30
        "8c1013ee590800"  # volume of tariff 1, with a digit that is none
    )
    status = 4 if count == READINGS - 1 else 0
    return long_frame(records, header=HEADER[:9] + bytes((status,)) + HEADER[10:])


Says = dict[int, tuple[str, object, object, object]]

BOTH_SAY: Final[Says] = {
    # data type: DIB, what is read, default in the file, what is read of that
    3: ("01fd1b", True, "true", True),
    5: ("025a", -11, "-2147483648", -(2**31)),
    6: ("0413", 85946 + READINGS - 1, 2**32 - 1, 2**32 - 1),
    9: ("0c78", b"04990225".hex(), "none", b"none".hex()),
    10: ("0c78", "04990225", "none", "none"),
    13: ("0a26", 0x42, "99", 0x99),  # two digits in an octet, which both libraries hand on as it is
    15: ("025a", -11, -128, -128),
    16: ("025a", -11, "-32768", -32768),
    17: ("0a26", 42, "255", 255),
    18: ("0a26", 42, 65535, 65535),
    20: ("4713", 2**40 + 7, -(2**63), -(2**63)),
    21: ("4713", 2**40 + 7, str(2**64 - 1), 2**64 - 1),
    22: ("01fd17", 5, "7", 7),
    23: ("055b", struct.unpack("<f", bytes.fromhex("9a99ab41"))[0], -0.5, -0.5),
    24: ("055b", 21.45, "0.1", 0.1),
}
GURUX_SAYS: Final[Says] = {
    **BOTH_SAY,
    4: ("01fd17", "10100000", "011", "011"),
    12: ("0d78", "Köln;3".encode().hex(" ").upper(), "none", "none"),
    25: ("046d", "01/06/16 16:50:00", "2020-02-29 23:59:58", "02/29/20 23:59:58"),
    26: ("426c", "01/06/16", "2020-02-29", "02/29/20"),
    27: ("036d", "16:45:30", "23:59:58", "23:59:58"),
}
PYDLMS_SAYS: Final[Says] = {
    **BOTH_SAY,
    4: ("01fd17", [bit == "1" for bit in "10100000"], "011", [False, True, True]),
    12: ("0d78", "Köln;3", "none", "none"),
    25: ("046d", "07e0010603103200ff8000ff", "2020-02-29 23:59:58", "07e4021d06173b3aff8000ff"),
    26: ("426c", "07e0010603", "2020-02-29", "07e4021d06"),
    27: ("036d", "102d1eff", "23:59:58", "173b3aff"),
}
SAYS: Final = {"gurux": GURUX_SAYS, "pydlms": PYDLMS_SAYS}
SCALERS: Final = {"025a": -1, "0413": -3, "4713": -3}
VALUE, INVALID, ABSENT, NOTHING = range(1, 5)  # value group B of the codes of the test
VOLUME, TEMPERATURE, TIME = "8.0.1.0.0.255", "8.0.2.0.0.255", "8.0.3.0.0.255"
HISTORY, HISTORY_OF_TEXT, NO_HISTORY = "8.0.99.1.0.255", "8.0.99.2.0.255", "8.0.99.3.0.255"
LOAD_PROFILE = "1.0.99.1.0.255"
CLOCK_COLUMN = [8, "0000010000ff", 2, 0]
INVALID_RECORD, ABSENT_RECORD = "8c1013", "0cff7f"


def entry(kind: str, data_type: int, dib: str, code: str, **more: Any) -> dict[str, Any]:
    """An entry with the scaler of the meter."""
    return {
        "mbusKeys": [f"mbus.dib.{dib}.unmodifiedvalue"], "dlmsObisCode": code, "dlmsClass": kind,
        "dlmsDataType": data_type, "dlmsScaler": SCALERS.get(dib, 0), "dlmsUnit": 255, **more,
    }  # fmt: skip


def code(group: int, data_type: int) -> str:
    return f"8.{group}.96.99.{data_type}.255"


def mapping(**volume: Any) -> dict[str, Any]:
    """Every class; every type as value, as default of what is invalid or absent, and without one."""
    entries = [
        entry("profile_generic", 1, "0413", HISTORY),
        entry("profile_generic", 1, "0d78", HISTORY_OF_TEXT),
        entry("profile_generic", 1, "0c01", NO_HISTORY),
        entry("profile_generic", 1, "0413", LOAD_PROFILE),
        entry("register", 6, "0413", VOLUME, **{"dlmsUnit": 13, **volume}),
        entry("extended_register", 16, "025a", TEMPERATURE, dlmsUnit=9, includeInPush="NONE"),
        entry("clock", 25, "046d", TIME),
    ]
    for data_type, (dib, _, default, _) in GURUX_SAYS.items():
        entries += [
            entry("data", data_type, dib, code(VALUE, data_type), dlmsDefaultValue=default),
            entry("data", data_type, INVALID_RECORD, code(INVALID, data_type), dlmsDefaultValue=default),
            entry("data", data_type, ABSENT_RECORD, code(ABSENT, data_type), dlmsDefaultValue=default),
            entry("data", data_type, INVALID_RECORD, code(NOTHING, data_type)),
        ]
    return {"type": "water", "manufacturer": "HYD", "version": 40, "entries": entries}


@dataclass
class Plant:
    """A gateway with the past of one meter, whose line leads nowhere: clients get what was read last."""

    gateway: GatewayProcess
    times: list[datetime]  # of the readings


@pytest.fixture(scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    state = StateDir(tmp_path_factory.mktemp("types"))
    state.create()
    state.config.write_text(CONFIG)
    (state.mappings / "every.json").write_text(json.dumps(mapping()))
    now = round(time.time()) * 1000
    times = [now - (READINGS - 1 - count) * QUARTER_MS for count in range(READINGS)]
    store = await Store.open(state.database)
    key = await store.install_meter("cellar", "1", now)
    await store.learn_identity(key, "12345678", "HYD", 40, 7)
    await store.add_readings(
        [Reading(key, "cellar", at, MeterState.OK, (telegram(count),)) for count, at in enumerate(times)]
    )
    await store.close()
    gateway = GatewayProcess(state.path)
    yield Plant(gateway, [datetime.fromtimestamp(at / 1000, UTC) for at in times])
    gateway.stop()


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in SAYS}
    yield libraries
    for library in libraries.values():
        library.stop()


@pytest.fixture(params=SAYS)
async def client(
    request: pytest.FixtureRequest, libraries: dict[str, Library], plant: Plant
) -> AsyncIterator[Client]:
    """A client of each library, associated with the meter."""
    client = Client(libraries[request.param], request.param)
    await client.open(port=plant.gateway.port, server=DEVICE)
    yield client
    await client.drop()


@pytest.fixture
def says(request: pytest.FixtureRequest, client: Client) -> Says:
    return SAYS[request.node.callspec.params["client"]]


@pytest.mark.parametrize("data_type", sorted(GURUX_SAYS))
async def test_a_value_of_each_type_is_what_the_meter_sent(
    client: Client, says: Says, data_type: int
) -> None:
    """Two foreign clients decode the type and get the exact value; what is missing is the default or an error."""
    _, value, _, default = says[data_type]
    assert await client.get(1, code(VALUE, data_type), 2) == value
    assert await client.get(1, code(INVALID, data_type), 2) == default
    assert await client.get(1, code(ABSENT, data_type), 2) == default
    assert (await client.refused("get", 1, code(NOTHING, data_type), 2))["access"] == UNAVAILABLE


async def test_a_register_has_its_scaler_and_an_extended_one_status_and_capture_time(
    client: Client, plant: Plant
) -> None:
    """The status byte is that of the meter's last telegram, the capture time that of the readout."""
    assert await client.get(3, VOLUME, 2) == 85946 + READINGS - 1
    assert await client.get(3, VOLUME, 3) == [-3, 13]
    assert await client.get(4, TEMPERATURE, 2) == -11  # included in no push, and readable
    assert await client.get(4, TEMPERATURE, 3) == [-1, 9]
    assert await client.get(4, TEMPERATURE, 4) == 4
    assert await client.get(4, TEMPERATURE, 5) == stamp(plant.times[-1])


async def test_a_clock_shows_the_time_of_the_meter(client: Client) -> None:
    """Date-time in an octet-string, without a deviation, which M-Bus does not tell."""
    assert await client.get(8, TIME, 2) == "07e0010603103200ff8000ff"


async def test_a_profile_of_the_mapping_shows_every_reading(client: Client, plant: Plant) -> None:
    """Clock and the register that reads the same key: whole, by range with both ends, and by entry."""
    rows = [[stamp(at), 85946 + count] for count, at in enumerate(plant.times)]
    assert await client.get(7, HISTORY, 2) == rows
    assert await client.get(7, HISTORY, 3) == [CLOCK_COLUMN, [3, "0800010000ff", 2, 0]]
    assert await client.get(7, HISTORY, 4) == 900
    assert await client.get(7, HISTORY, 7) == READINGS
    assert await client.rows_by_range(HISTORY, plant.times[2], plant.times[4]) == rows[2:5]
    assert await client.rows_by_entry(HISTORY, 2, 4) == rows[1:4]


async def test_a_profile_of_the_mapping_can_hold_texts(client: Client, says: Says, plant: Plant) -> None:
    """What is captured is attribute 2 of any class and type."""
    assert await client.get(7, HISTORY_OF_TEXT, 2) == [[stamp(at), says[12][1]] for at in plant.times]
    assert await client.get(7, HISTORY_OF_TEXT, 3) == [CLOCK_COLUMN, [1, "080160630cff", 2, 0]]


async def test_the_profiles_of_the_gateway_stay_what_they_are(client: Client) -> None:
    """A mapped profile takes no code of theirs and is no column; one without a value to show is not there."""
    profiles = [name for class_id, name in map(tuple, await client.objects()) if class_id == 7]
    assert len(profiles) == len(set(profiles))
    assert {HISTORY, HISTORY_OF_TEXT, LOAD_PROFILE} <= set(profiles)
    assert NO_HISTORY not in profiles
    columns = await client.get(7, LOAD_PROFILE, 3)
    assert columns == [CLOCK_COLUMN, [3, "0800010000ff", 2, 0], [4, "0800020000ff", 2, 0]]


async def test_old_rows_follow_a_changed_mapping(client: Client, plant: Plant, tmp_path: Path) -> None:
    """The client stays connected; capture objects and rows are those of the new mapping, then of the old one again."""
    before = await client.get(7, HISTORY, 2)
    use(plant, mapping(dlmsScaler=-4, dlmsObisCode="8.0.1.9.0.255"), tmp_path)
    try:
        assert await client.get(7, HISTORY, 2) == [[at, 10 * volume] for at, volume in before]
        assert await client.get(7, HISTORY, 3) == [CLOCK_COLUMN, [3, "0800010900ff", 2, 0]]
    finally:
        use(plant, mapping(), tmp_path)
    assert await client.get(7, HISTORY, 2) == before


def stamp(at: datetime) -> str:
    """A moment as the gateway, which is in UTC, writes it."""
    return cosem_time.encode(round(at.timestamp() * 1000), UTC).hex()


def use(plant: Plant, document: dict[str, Any], folder: Path) -> None:
    """Replace the active mapping, as a technician would."""
    file = folder / "every.json"
    file.write_text(json.dumps(document))
    add = ["mapping", "add", "--replace", str(file), "--state-dir", str(plant.gateway.state_dir)]
    subprocess.run([sys.executable, "-m", "cme_tui", *add], check=True, capture_output=True, timeout=LIMIT)
