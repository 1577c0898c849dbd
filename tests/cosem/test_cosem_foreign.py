"""Three DLMS clients that others wrote make of object list and clock what is in them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.cosem import obis
from core.cosem.devices import Device, Directory
from core.cosem.objects import AssociationLN, Clock, Context, Register
from core.dlms import axdr
from tests.cosem.house import House

LIBRARIES = ["gurux", "pydlms", "dlms_cosem"]
TIME_LIMIT = 60.0  # seconds; one of the libraries hangs where it does not understand


def decoded(library: str, listed: bytes, clock: Clock, context: Context) -> dict[str, Any]:
    """What the library's decoder reports, in a process of its own."""
    attributes = [clock.read(number, None, context) for number in range(2, 10)]
    given = {"list": listed.hex(), "clock": [raw.hex() for raw in attributes if isinstance(raw, bytes)]}
    script = Path(__file__).parent / "foreign_decoders.py"
    run = subprocess.run(
        [sys.executable, str(script), library],
        input=json.dumps(given), capture_output=True, text=True, timeout=TIME_LIMIT, check=True,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def listed(context: Context) -> bytes:
    answer = AssociationLN().read(2, None, context)
    assert isinstance(answer, bytes)
    return answer


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("sap", "client"), [(1, 1), (16, 1), (16, 16)])
def test_the_object_list_of_a_device_is_understood(house: House, library: str, sap: int, client: int) -> None:
    """Classes, versions, names, rights of attributes and methods, as the objects themselves have them."""
    expected = []
    for item in house.device(sap).objects.values():
        rights = item.access(client)
        if rights.any:
            name = obis.text(item.logical_name)
            expected.append(
                [item.class_id, item.version, name, list(rights.attributes), [int(m) for m in rights.methods]]
            )
    context = house.context(sap, client)
    report = decoded(library, listed(context), Clock(house.bench.clock.now_ms, UTC), context)
    assert report["objects"] == expected
    assert len(expected) == (5 if client == 16 else len(house.device(sap).objects))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_list_of_a_thousand_objects_is_understood(house: House, library: str) -> None:
    """Whole and in order."""
    names = [bytes((8, 0, number >> 8, number & 0xFF, 0, 255)) for number in range(1000)]
    objects = {(3, name): Register(name, axdr.unsigned(1), 0, 13) for name in names}
    directory = Directory(house.facts)
    directory.set_meters(house.facts, {16: Device(16, "ELS70112345070A", objects)})
    context = Context(1, 16, "", directory)
    report = decoded(library, listed(context), Clock(house.bench.clock.now_ms, UTC), context)
    assert report["objects"] == [[3, 0, obis.text(name), [1, 1, 1], [0]] for name in names]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (
            "Europe/Berlin",
            ["2025-07-01T14:00:00", -60, 128, "2025-03-30T02:00:00", "2025-10-26T03:00:00", 60, True, 1],
        ),
        (
            "Australia/Sydney",
            ["2025-07-01T22:00:00", -600, 0, "2025-10-05T02:00:00", "2025-04-06T03:00:00", 60, True, 1],
        ),
        ("Asia/Kolkata", ["2025-07-01T17:30:00", -330, 0, None, None, 0, False, 1]),
    ],
)
def test_the_clock_is_understood(house: House, library: str, zone: str, expected: list[object]) -> None:
    """Local time, zone, status, begin and end of daylight saving, deviation, enabled, base."""
    summer = int(datetime(2025, 7, 1, 12, tzinfo=UTC).timestamp() * 1000)
    context = house.context(1)
    report = decoded(library, listed(context), Clock(lambda: summer, ZoneInfo(zone)), context)
    assert report["clock"] == expected
