"""DataNotification: the APDU that a push is (Green Book 9.3.10, 9.5). Pure, no I/O.

Tag 0F, long-invoke-id-and-priority (bit 31 high priority, bit 30 confirmed, low 24 bits the invoke id), date-time as an
octet-string without a tag, which may be empty, and one value of any type, the body.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from core.dlms import axdr
from core.dlms.axdr import Value
from core.dlms.errors import DecodeError, EncodeError

DATA_NOTIFICATION: Final = 0x0F
HEADER_SIZE: Final = 18
"""Bytes around the body, with a date-time."""

_HEADER: Final = struct.Struct(">BIB")  # tag, long-invoke-id-and-priority, length of the date-time
_HIGH_PRIORITY: Final = 1 << 31
_CONFIRMED: Final = 1 << 30
_INVOKE_ID: Final = (1 << 24) - 1
_DATE_TIME_SIZE: Final = 12


class DataNotification(NamedTuple):
    """A DataNotification, taken apart."""

    report_id: int
    """The low 24 bits of the id of the report; the same in every attempt to deliver it."""
    date_time: bytes
    """12 bytes of COSEM date-time, when the notification was made; empty where it does not say."""
    body: Value
    high_priority: bool
    confirmed: bool


def encode(report_id: int, date_time: bytes, body: bytes) -> bytes:
    """A DataNotification of high priority, unconfirmed.

    `report_id`: 0 or more, of which the low 24 bits are sent. `date_time`: 12 bytes, or empty. `body`: one encoded
    value. Raises `EncodeError` for a date-time of another length.
    """
    if len(date_time) not in (0, _DATE_TIME_SIZE):
        raise EncodeError(f"A date-time has 12 bytes, not {len(date_time)}.")
    invoke_id = _HIGH_PRIORITY | report_id & _INVOKE_ID
    return _HEADER.pack(DATA_NOTIFICATION, invoke_id, len(date_time)) + date_time + body


def decode(apdu: bytes) -> DataNotification:
    """Take a DataNotification apart. Raises `DecodeError`, also for bytes that follow the body."""
    if apdu[:1] != bytes((DATA_NOTIFICATION,)):
        raise DecodeError(f"A DataNotification begins with 0f, not with {apdu[:1].hex() or 'nothing'}.")
    if len(apdu) < _HEADER.size:
        raise DecodeError(f"A DataNotification has {_HEADER.size} bytes before its body, not {len(apdu)}.")
    _, invoke_id, size = _HEADER.unpack_from(apdu)
    if size not in (0, _DATE_TIME_SIZE):
        raise DecodeError(f"The date-time of a DataNotification has 0 or 12 bytes, not {size}.")
    start = _HEADER.size + size
    if start > len(apdu):
        raise DecodeError("The DataNotification ends in its date-time.")
    return DataNotification(
        invoke_id & _INVOKE_ID,
        apdu[_HEADER.size : start],
        axdr.decode(apdu[start:]),
        bool(invoke_id & _HIGH_PRIORITY),
        bool(invoke_id & _CONFIRMED),
    )
