"""The bodies of the notifications: five structures, and cutting rows into as many as are needed. Pure.

Names of logical devices are octet-strings of ASCII letters and digits; logical names have 6 bytes, date-times 12.
Rows and events come encoded, as the store's profiles and `event` give them. CMe3100 DLMS manual 7.6.1, 7.6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.cosem import names
from core.cosem.profile import CaptureObject
from core.dlms.axdr import (
    array,
    date_time,
    double_long_unsigned,
    enum,
    integer,
    length,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
    visible_string,
)
from core.dlms.errors import EncodeError
from core.dlms.security import GENERAL_GLO
from core.dlms.wrapper import LARGEST_APDU
from core.push import notification
from core.store.records import Log

MOST_ROWS: Final = 180
"""Rows or events of one notification, as in the original."""

EVENT_OBJECTS: Final = {Log.STANDARD: names.STANDARD_EVENT_ID, Log.FRAUD: names.FRAUD_EVENT_ID}
"""The logical name that stands in each event, by its log."""


class RowTooLargeError(EncodeError):
    """A row that fits into no notification, even alone."""

    def __init__(self, row: int, size: int, room: int) -> None:
        super().__init__(
            f"A row of {size} bytes does not fit into a notification, which has room for {room}; raise the receiver's "
            "size limit, or take columns out of the pushes with includeInPush NONE."
        )
        self.row = row
        """Its place among the rows given, from 0."""


def profile(
    gateway: bytes,
    meter: bytes,
    setup: bytes,
    profile: bytes,
    columns: Sequence[CaptureObject],
    rows: Sequence[bytes],
    units: Sequence[tuple[int, int]],
) -> bytes:
    """Body of a load or billing profile. `units`: scaler (power of ten) and unit of each column but the clock.

    Raises `EncodeError` for a scaler outside of -128..127 or a unit outside of 0..255.
    """
    return structure(
        octet_string(gateway),
        octet_string(meter),
        octet_string(setup),
        octet_string(profile),
        array([column.encode() for column in columns]),
        array(rows),
        array([structure(integer(scaler), enum(unit)) for scaler, unit in units]),
    )


def gateway_log(gateway: bytes, setup: bytes, log: bytes, events: Sequence[bytes]) -> bytes:
    """Body of an event log of the gateway."""
    return structure(octet_string(gateway), octet_string(setup), octet_string(log), array(events))


def meter_log(
    gateway: bytes,
    meter: bytes,
    setup: bytes,
    log: bytes,
    manufacturer: bytes,
    device_type: int,
    version: int,
    events: Sequence[bytes],
) -> bytes:
    """Body of an event log of a meter.

    `manufacturer`: three letters. `device_type` and `version`: those of the M-Bus header, 0..255.
    """
    return structure(
        octet_string(gateway),
        octet_string(meter),
        octet_string(setup),
        octet_string(log),
        octet_string(manufacturer),
        _small(device_type),
        _small(version),
        array(events),
    )


def on_installation(gateway: bytes, setup: bytes, address: int, system_title: bytes) -> bytes:
    """Body of the notification on installation. `address`: IPv4, 192.168.1.2 is 3232235778; `system_title`: 8 bytes."""
    return structure(
        octet_string(gateway),
        octet_string(setup),
        double_long_unsigned(address),
        octet_string(system_title),
    )


def event(time: bytes, log: Log, code: int, message: str = "", *, short_codes: bool = False) -> bytes:
    """One event. `code`: 0..65535; without a message the structure has three elements instead of four.

    `short_codes`: a code up to 255 goes as unsigned, the data type in the manual, which does not hold those of
    meters (4000..4255); without it every code is long-unsigned.
    """
    elements = [
        date_time(time),
        octet_string(EVENT_OBJECTS[log]),
        unsigned(code) if short_codes and code <= 0xFF else long_unsigned(code),
    ]
    if message:
        elements.append(visible_string(message))
    return structure(*elements)


def body_room(limit: int = LARGEST_APDU, *, ciphered: bool) -> int:
    """Bytes of the largest body whose notification, ciphered or not, is an APDU of at most `limit` bytes.

    `limit`: what the receiver takes, 64..65535.
    """
    return (GENERAL_GLO.room(limit) if ciphered else limit) - notification.HEADER_SIZE


def split(rows: Sequence[bytes], room: int, empty: int, most: int = MOST_ROWS) -> list[slice]:
    """Which rows, or events, go into one notification each, in order: none is empty, none has more than `most`.

    `room`: bytes of a body (`body_room`); `empty`: bytes of the body without rows. Raises `RowTooLargeError`.
    """
    parts: list[slice] = []
    start, size = 0, empty
    for number, row in enumerate(rows):
        count = number - start
        if count and (count == most or size + len(row) + _count_growth(count + 1) > room):
            parts.append(slice(start, number))
            start, size = number, empty
        size += len(row)
        if size > room:
            raise RowTooLargeError(number, len(row), max(0, room - empty))
    if start < len(rows):
        parts.append(slice(start, len(rows)))
    return parts


def _count_growth(count: int) -> int:
    """By how much the count of an array is longer than that of an empty one."""
    return len(length(count)) - 1


def _small(number: int) -> bytes:
    """Integer, the data type in the manual, where it holds the number (up to 127), else unsigned."""
    return integer(number) if number <= 0x7F else unsigned(number)
