"""The bodies of notifications, byte for byte, and how rows are cut into as many as are needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from push_samples import (
    CLOCK_COLUMN,
    CODES,
    COLUMNS,
    GATEWAY,
    JULY,
    METER,
    NOON,
    SAMPLES,
    TITLE,
    UNITS,
    VOLUME,
    ciphered,
)

from core.cosem import names
from core.cosem.codes import Codes
from core.cosem.profile import CaptureObject
from core.dlms import axdr
from core.dlms.errors import DecodeError
from core.push import content, notification, payload
from core.push.content import PushedEvent, Reading, Row
from core.push.payload import MOST_ROWS, RowTooLargeError
from core.store.records import Log

STANDARD_TIME = timezone(timedelta(hours=1))
SUMMER_TIME = timezone(timedelta(hours=2))


def test_the_body_of_a_profile() -> None:
    """Seven elements: names, capture objects, rows, and scaler and unit of each register."""
    row = axdr.structure(axdr.date_time(NOON), axdr.double_long(85946))
    body = payload.profile(
        GATEWAY,
        METER,
        CODES.push_load_profile_1,
        CODES.load_profile_1,
        [CLOCK_COLUMN, CaptureObject(3, VOLUME, 2)],
        [row],
        [(-3, 13)],
    )
    assert body.hex() == (
        "0207"
        "090d454c5630303136303030303030"  # ELV0016000000
        "090f485944313233343536373830373235"  # HYD123456780725
        "09060001190900ff"  # 0.1.25.9.0.255
        "09060100630100ff"  # 1.0.99.1.0.255
        "0102"
        "0204" "120008" "09060000010000ff" "0f02" "120000"
        "0204" "120003" "09060800010000ff" "0f02" "120000"
        "0101"
        "0202" "090c07ea0109050d000000ffc400" "0500014fba"
        "0101"
        "0202" "0ffd" "160d"
    )  # fmt: skip


def test_the_body_of_the_gateways_log() -> None:
    """Four elements; an event has a fourth one only where it has a message."""
    events = [payload.event(NOON, Log.FRAUD, 50), payload.event(NOON, Log.FRAUD, 46, "192.0.2.7")]
    body = payload.gateway_log(GATEWAY, names.PUSH_GATEWAY_FRAUD_EVENT_LOG, names.FRAUD_EVENT_LOG, events)
    assert body.hex() == (
        "0204"
        "090d454c5630303136303030303030"
        "09060008190900ff"  # 0.8.25.9.0.255
        "09060000636201ff"  # 0.0.99.98.1.255
        "0102"
        "0203" "090c07ea0109050d000000ffc400" "09060000600b01ff" "120032"
        "0204" "090c07ea0109050d000000ffc400" "09060000600b01ff" "12002e" "0a093139322e302e322e37"
    )  # fmt: skip


def test_the_body_of_a_meters_log() -> None:
    """Eight elements; type and version are integers up to 127, and unsigned above."""
    event = payload.event(NOON, Log.STANDARD, 4004)
    arguments = GATEWAY, METER, CODES.push_standard_event_log, names.STANDARD_EVENT_LOG, b"HYD"
    body = payload.meter_log(*arguments, 7, 127, [event])
    assert body.hex() == (
        "0208"
        "090d454c5630303136303030303030"
        "090f485944313233343536373830373235"
        "09060005190900ff"  # 0.5.25.9.0.255
        "09060000636200ff"  # 0.0.99.98.0.255
        "0903485944"  # HYD
        "0f07" "0f7f"
        "0101"
        "0203" "090c07ea0109050d000000ffc400" "09060000600b00ff" "120fa4"
    )  # fmt: skip
    assert b"\x11\x80\x11\xff" in payload.meter_log(*arguments, 128, 255, [event])


def test_the_body_on_installation() -> None:
    """Four elements: who, push setup, address, system title."""
    body = payload.on_installation(GATEWAY, names.PUSH_ON_INSTALLATION, 3232235778, TITLE)
    assert body.hex() == (
        "0204" "090d454c5630303136303030303030" "09060007190900ff" "06c0a80102" "0908454c560000f42400"
    )  # fmt: skip


def test_codes_can_be_sent_as_the_manual_has_them() -> None:
    """Unsigned where they fit, and long-unsigned where not."""
    assert b"\x11\xff" in payload.event(NOON, Log.STANDARD, 255, short_codes=True)
    assert b"\x12\x0f\xa4" in payload.event(NOON, Log.STANDARD, 4004, short_codes=True)


def test_a_profile_is_read_with_times_values_and_units() -> None:
    """Exact numbers; what is missing is missing; bytes that are no text in hex."""
    read = content.read(axdr.decode(SAMPLES["load_profile_1"].body))
    assert (read.type, read.gateway, read.meter) == ("load_profile_1", "ELV0016000000", "HYD123456780725")
    assert (read.setup, read.object) == ("0.1.25.9.0.255", "1.0.99.1.0.255")
    assert read.rows[0] == Row(
        datetime(2026, 1, 9, 13, tzinfo=STANDARD_TIME),
        (
            Reading("8.0.1.0.0.255", Decimal("85.946"), "m³"),
            Reading("6.0.1.0.0.255", Decimal(4711000), "Wh"),
            Reading("8.0.0.0.0.255", "12345678", ""),
        ),
    )
    assert [reading.value for reading in read.rows[1].readings] == [None, Decimal(4712000), "009f"]


def test_events_are_read_with_codes_and_messages() -> None:
    """In local time, with the offset that was sent."""
    read = content.read(axdr.decode(SAMPLES["standard_event_log"].body))
    assert (read.type, read.meter, read.object) == ("standard_event_log", "", "0.0.99.98.0.255")
    assert read.events == (
        PushedEvent(datetime(2026, 1, 9, 13, tzinfo=STANDARD_TIME), "0.0.96.11.0.255", 2, ""),
        PushedEvent(datetime(2026, 7, 9, 13, tzinfo=SUMMER_TIME), "0.0.96.11.0.255", 47, "dlms.port"),
    )
    assert [event.time.utcoffset() for event in read.events] == [timedelta(hours=1), timedelta(hours=2)]


def test_the_log_of_a_meter_and_the_installation_are_read() -> None:
    """Who the meter is; where the gateway is."""
    log = content.read(axdr.decode(SAMPLES["standard_event_log of a meter"].body))
    assert (log.type, log.meter, log.manufacturer, log.device_type, log.version) == (
        "standard_event_log", "HYD123456780725", "HYD", 7, 200,
    )  # fmt: skip
    assert log.events[0].code == 4004
    found = content.read(axdr.decode(SAMPLES["on_installation"].body))
    assert (found.type, found.address, found.system_title) == ("on_installation", "192.168.1.2", TITLE)


def test_a_gateway_with_codes_of_its_own_is_understood() -> None:
    """With its table; without it the reason is said."""
    codes = Codes(push_billing_profile=bytes((0, 9, 25, 9, 0, 255)))
    body = axdr.decode(
        payload.profile(GATEWAY, METER, codes.push_billing_profile, codes.billing_profile, COLUMNS, (), UNITS)
    )
    assert content.read(body, codes).type == "billing_profile"
    with pytest.raises(DecodeError, match=r"0\.9\.25\.9\.0\.255 is no known push setup"):
        content.read(body)


@pytest.mark.parametrize(
    ("rows", "units", "why"),
    [
        ((axdr.structure(axdr.date_time(NOON)),), UNITS, "1 values for 4 capture objects"),
        ((), UNITS[:2], "2 scalers and units stand there for 3 registers"),
        ((axdr.unsigned(1),), UNITS, "A row is no structure"),
        ((axdr.structure(*[axdr.unsigned(1)] * 4),), UNITS, "A time is no octet-string"),
    ],
)
def test_a_profile_that_does_not_fit_together_is_refused(
    rows: tuple[bytes, ...], units: tuple[tuple[int, int], ...], why: str
) -> None:
    """Rather than a value under the wrong unit."""
    body = payload.profile(
        GATEWAY, METER, CODES.push_load_profile_1, CODES.load_profile_1, COLUMNS, rows, units
    )
    with pytest.raises(DecodeError, match=why):
        content.read(axdr.decode(body))


@pytest.mark.parametrize("limit", [100, 143, 144, 145, 146, 147, 271, 272, 273, 274, 275, 1024, 65534, 65535])
def test_the_largest_body_fits_and_one_more_byte_does_not(limit: int) -> None:
    """Plain and ciphered, at every step of the length fields."""
    for is_ciphered in (False, True):
        room = payload.body_room(limit, ciphered=is_ciphered)
        sizes = []
        for size in (room, room + 1):
            encoded = notification.encode(1, NOON, bytes(size))
            sizes.append(len(ciphered(encoded, 1) if is_ciphered else encoded))
        assert sizes[0] <= limit < sizes[1]


@given(
    st.lists(st.integers(2, 400), max_size=400),
    st.integers(500, 5000),
    st.integers(1, MOST_ROWS),
)
def test_rows_are_cut_so_that_each_notification_fits(sizes: list[int], room: int, most: int) -> None:
    """All rows, in order, none twice; each body fits; none could have taken the next row as well."""
    rows = [bytes(size) for size in sizes]
    empty = len(payload.gateway_log(GATEWAY, names.PUSH_GATEWAY_FRAUD_EVENT_LOG, names.FRAUD_EVENT_LOG, ()))

    def size_of(part: list[bytes]) -> int:
        return len(
            payload.gateway_log(GATEWAY, names.PUSH_GATEWAY_FRAUD_EVENT_LOG, names.FRAUD_EVENT_LOG, part)
        )

    parts = [rows[part] for part in payload.split(rows, room, empty, most)]
    assert [row for part in parts for row in part] == rows
    assert all(part and len(part) <= most and size_of(part) <= room for part in parts)
    for number, part in enumerate(parts[:-1]):
        assert len(part) == most or size_of([*part, parts[number + 1][0]]) > room


def test_180_rows_are_the_most_of_one_notification() -> None:
    """As in the original."""
    assert payload.split([b"\x00"] * 400, 60_000, 100) == [slice(0, 180), slice(180, 360), slice(360, 400)]


def test_the_byte_that_the_count_takes_from_128_rows_on_is_counted() -> None:
    """128 rows that would fill the room to the last byte, were it not for that one."""
    rows = [bytes(10)] * 128
    assert payload.split(rows, 100 + 1280, 100) == [slice(0, 127), slice(127, 128)]
    assert payload.split(rows, 100 + 1281, 100) == [slice(0, 128)]


def test_a_row_that_is_too_large_is_named() -> None:
    """Which one, how large, and what to do."""
    with pytest.raises(RowTooLargeError, match=r"501 bytes does not fit .* 500; raise") as caught:
        payload.split([bytes(10), bytes(501)], 600, 100)
    assert caught.value.row == 1


def test_times_without_an_offset_are_read_as_utc() -> None:
    """A gateway always sends one; others may not."""
    open_time = JULY[:9] + b"\x80\x00" + JULY[11:]
    event = axdr.structure(
        axdr.date_time(open_time), axdr.octet_string(names.STANDARD_EVENT_ID), axdr.long_unsigned(1)
    )
    body = payload.gateway_log(
        GATEWAY, names.PUSH_GATEWAY_STANDARD_EVENT_LOG, names.STANDARD_EVENT_LOG, [event]
    )
    assert content.read(axdr.decode(body)).events[0].time == datetime(2026, 7, 9, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    "time",
    ["270f0c1f05173b3b00003c00", "0001010101000000" + "00ffc400", "07ea0109050d000000270f00", "ff" * 12],
)
def test_a_time_that_nobody_can_show_is_refused(time: str) -> None:
    """The first and the last hour of all, an impossible offset, nothing but wildcards."""
    event = axdr.structure(
        axdr.date_time(bytes.fromhex(time)),
        axdr.octet_string(names.STANDARD_EVENT_ID),
        axdr.long_unsigned(1),
    )
    body = payload.gateway_log(
        GATEWAY, names.PUSH_GATEWAY_STANDARD_EVENT_LOG, names.STANDARD_EVENT_LOG, [event]
    )
    with pytest.raises(DecodeError):
        content.read(axdr.decode(body))
