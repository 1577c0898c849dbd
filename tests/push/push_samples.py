"""One notification of every type, with what a head-end must see of it; ciphering as a gateway does it."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final, NamedTuple

from core.cosem import names
from core.cosem.codes import Codes
from core.cosem.profile import CaptureObject
from core.dlms import axdr, wrapper
from core.dlms.admission import Keys
from core.dlms.security import GENERAL_GLO, Suite, encode_ciphered
from core.push import notification, payload
from core.store.records import Log

LIMIT: Final = 30.0
"""Seconds for anything to happen."""

_OUTCOMES: Final = {
    errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ENOTCONN: "reset",
}  # fmt: skip

CODES: Final = Codes()
GATEWAY: Final = b"ELV0016000000"
METER: Final = b"HYD123456780725"
KEYS: Final = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
TITLE: Final = bytes.fromhex("454c560000f42400")
VOLUME: Final = bytes((8, 0, 1, 0, 0, 255))
HEAT: Final = bytes((6, 0, 1, 0, 0, 255))
SERIAL: Final = bytes((8, 0, 0, 0, 0, 255))

# Friday, 9 January 2026, 13:00:00 in Stockholm, and 15 minutes later
NOON: Final = bytes.fromhex("07ea0109050d000000ffc400")
QUARTER: Final = bytes.fromhex("07ea0109050d0f0000ffc400")
# Thursday, 9 July 2026, 13:00:00 there: daylight saving
JULY: Final = bytes.fromhex("07ea0709040d000000ff8880")

CLOCK_COLUMN: Final = CaptureObject(8, names.CLOCK, 2)
COLUMNS: Final = (
    CLOCK_COLUMN,
    CaptureObject(3, VOLUME, 2),
    CaptureObject(4, HEAT, 2),
    CaptureObject(3, SERIAL, 2),
)
UNITS: Final = ((-3, 13), (3, 30), (0, 255))


def row(time: bytes, volume: int | None, heat: int, serial: bytes) -> bytes:
    counted = axdr.NULL if volume is None else axdr.double_long(volume)
    return axdr.structure(
        axdr.date_time(time), counted, axdr.double_long_unsigned(heat), axdr.octet_string(serial)
    )


ROWS: Final = (row(NOON, 85946, 4711, b"12345678"), row(QUARTER, None, 4712, b"\x00\x9f"))


def profile(setup: bytes, name: bytes) -> bytes:
    return payload.profile(GATEWAY, METER, setup, name, COLUMNS, ROWS, UNITS)


class Sample(NamedTuple):
    """A body and what others must decode: octets in hex, arrays and structures as lists."""

    body: bytes
    seen: list[Any]


def _profile_seen(setup: bytes, name: bytes) -> list[Any]:
    return [
        GATEWAY.hex(),
        METER.hex(),
        setup.hex(),
        name.hex(),
        [
            [8, "0000010000ff", 2, 0],
            [3, "0800010000ff", 2, 0],
            [4, "0600010000ff", 2, 0],
            [3, "0800000000ff", 2, 0],
        ],
        [
            ["07ea0109050d000000ffc400", 85946, 4711, "3132333435363738"],
            ["07ea0109050d0f0000ffc400", None, 4712, "009f"],
        ],
        [[-3, 13], [3, 30], [0, 255]],
    ]


def _profile_sample(setup: bytes, name: bytes) -> Sample:
    return Sample(profile(setup, name), _profile_seen(setup, name))


SAMPLES: Final[dict[str, Sample]] = {
    "load_profile_1": _profile_sample(CODES.push_load_profile_1, CODES.load_profile_1),
    "load_profile_2": _profile_sample(CODES.push_load_profile_2, CODES.load_profile_2),
    "billing_profile": _profile_sample(CODES.push_billing_profile, CODES.billing_profile),
    "standard_event_log": Sample(
        payload.gateway_log(
            GATEWAY,
            names.PUSH_GATEWAY_STANDARD_EVENT_LOG,
            names.STANDARD_EVENT_LOG,
            [payload.event(NOON, Log.STANDARD, 2), payload.event(JULY, Log.STANDARD, 47, "dlms.port")],
        ),
        [
            GATEWAY.hex(),
            "0004190900ff",
            "0000636200ff",
            [
                ["07ea0109050d000000ffc400", "0000600b00ff", 2],
                ["07ea0709040d000000ff8880", "0000600b00ff", 47, "dlms.port"],
            ],
        ],
    ),
    "fraud_event_log": Sample(
        payload.gateway_log(
            GATEWAY,
            names.PUSH_GATEWAY_FRAUD_EVENT_LOG,
            names.FRAUD_EVENT_LOG,
            [payload.event(NOON, Log.FRAUD, 50, short_codes=True)],
        ),
        [
            GATEWAY.hex(),
            "0008190900ff",
            "0000636201ff",
            [["07ea0109050d000000ffc400", "0000600b01ff", 50]],
        ],
    ),
    "standard_event_log of a meter": Sample(
        payload.meter_log(
            GATEWAY,
            METER,
            CODES.push_standard_event_log,
            names.STANDARD_EVENT_LOG,
            b"HYD",
            7,
            200,
            [payload.event(NOON, Log.STANDARD, 4004)],
        ),
        [
            GATEWAY.hex(),
            METER.hex(),
            "0005190900ff",
            "0000636200ff",
            "485944",
            7,
            200,
            [["07ea0109050d000000ffc400", "0000600b00ff", 4004]],
        ],
    ),
    "on_installation": Sample(
        payload.on_installation(GATEWAY, names.PUSH_ON_INSTALLATION, 3232235778, TITLE),
        [GATEWAY.hex(), "0007190900ff", 3232235778, "454c560000f42400"],
    ),
}


def ciphered(plain: bytes, counter: int, keys: Keys = KEYS, control: int = 0x30) -> bytes:
    protected = Suite(keys.encryption, keys.authentication).protect(control, TITLE, counter, plain)
    return encode_ciphered(GENERAL_GLO, plain[0], TITLE, protected)


def apdu(name: str, report_id: int = 17, counter: int | None = None) -> bytes:
    """A notification, ciphered where a counter is given."""
    plain = notification.encode(report_id, NOON, SAMPLES[name].body)
    return plain if counter is None else ciphered(plain, counter)


def framed(*apdus: bytes, server: int = 16) -> bytes:
    return b"".join(wrapper.frame(server, 1, each) for each in apdus)


def push(port: int, data: bytes, *, end: bool = True) -> str:
    """Send it as a gateway does; what became of the connection: "closed" in order, "reset", "refused"."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as link:
            link.sendall(data)
            if end:
                link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b""
            return "closed"
    except OSError as error:
        return _OUTCOMES[error.errno or 0]
