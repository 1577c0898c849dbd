"""The words of the books for what stands in APDUs: names of numbers, values as people write them.

Green Book 9.4.2 (ACSE), 9.5 (xDLMS APDUs), Blue Book 4 (interface classes). Pure.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

from core.cosem import obis
from core.dlms import acse, xdlms
from core.dlms.acse import Diagnostic
from core.dlms.axdr import Tag, Value


def date_time_text(raw: bytes) -> str:
    """A COSEM date-time (Blue Book 4.1.6.1) for people, "2026-01-09 13:00:00 UTC+01:00"; "" if it is none.

    What is not specified is `*`.
    """
    if len(raw) != 12:
        return ""
    year = int.from_bytes(raw[:2], "big")
    month, day, weekday, hour, minute, second, hundredths = raw[2:9]
    fields = ((month, 12), (day, 31), (weekday, 7), (hour, 23), (minute, 59), (second, 59), (hundredths, 99))
    if year != 0xFFFF and not 1900 <= year <= 2200:
        return ""
    if not all(value <= highest or value >= 0xFD for value, highest in fields):
        return ""
    date = "-".join(("*" if year == 0xFFFF else str(year), _two(month), _two(day)))
    text = f"{date} {_two(hour)}:{_two(minute)}:{_two(second)}"
    deviation = int.from_bytes(raw[9:11], "big", signed=True)
    if deviation == -0x8000:
        return text
    if abs(deviation) > 840:
        return ""
    return f"{text} UTC{'+' if deviation <= 0 else '-'}{abs(deviation) // 60:02}:{abs(deviation) % 60:02}"


def _two(number: int) -> str:
    return "*" if number == 0xFF else {0xFE: "last", 0xFD: "second last"}.get(number, f"{number:02}")


def type_name(tag: Tag) -> str:
    """ "long-unsigned"."""
    return tag.name.lower().replace("_", "-")


def value_text(value: Value) -> str:
    """Data type and value: "long-unsigned 17", "octet-string 8.0.1.0.0.255"; not for arrays and structures."""
    content = value.content
    if content is None:
        return "null-data"
    if isinstance(content, bytes):
        return f"{type_name(value.tag)} {octets_text(content)}".strip()
    if isinstance(content, str) and value.tag != Tag.BIT_STRING:
        return f"{type_name(value.tag)} {_quoted(content)}"
    return f"{type_name(value.tag)} {content}"


def octets_text(content: bytes) -> str:
    """An octet-string as the logical name, date-time or text that it is, else as `hex_text`."""
    if len(content) == 6 and content[5] == 0xFF:
        return obis.text(content)
    moment = date_time_text(content)
    if moment:
        return moment
    if len(content) > 2 and all(byte in _PRINTABLE for byte in content):
        return _quoted(content.decode("ascii"))
    return hex_text(content)


def _quoted(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{shown}"' if len(shown) <= 80 else f'"{shown[:79]}…"'


def hex_text(content: bytes) -> str:
    """Hexadecimal, at most 64 bytes of it."""
    return content.hex() if len(content) <= 64 else f"{content[:64].hex()}… ({len(content)} bytes)"


def name_of(names: type[xdlms.DataAccessResult | xdlms.StateError | xdlms.ServiceError], code: int) -> str:
    """The name of a code, "object-undefined"; "unknown" for one that the books do not have."""
    try:
        return names(code).name.lower().replace("_", "-")
    except ValueError:
        return "unknown"


def acse_text(tag: int, content: bytes) -> str:
    """The value of a field of an AARQ, AARE, RLRQ or RLRE, by its tag."""
    if tag == 0xA1 and content[:-1] == b"\x06\x07" + acse.LN_CONTEXT[:-1]:
        return _CONTEXTS.get(content[-1], content.hex())
    if tag in (0x8B, 0x89) and content:
        return MECHANISMS.get(content[-1], content.hex())
    if tag == 0xA2 and len(content) == 3:
        return {0: "accepted", 1: "rejected for good", 2: "rejected for now"}.get(content[2], content.hex())
    if tag == 0xA3:
        return _refusal(content)
    if tag in (0xA4, 0xA6, 0xAA, 0xAC) and len(content) > 2:
        return content[2:].hex()
    if tag == 0x80 and len(content) == 1:
        return {0: "normal", 1: "urgent", 30: "user defined"}.get(content[0], content.hex())
    return content.hex()


def _refusal(content: bytes) -> str:
    if len(content) != 5 or content[0] != 0xA1:
        return content.hex()
    try:
        return Diagnostic(content[4]).name.lower().replace("_", " ")
    except ValueError:
        return f"diagnostic {content[4]}"


_PRINTABLE: Final = frozenset((string.ascii_letters + string.digits + string.punctuation + " ").encode())

CLASS_NAMES: Final = {
    1: "data", 3: "register", 4: "extended register", 5: "demand register", 6: "register activation",
    7: "profile generic", 8: "clock", 9: "script table", 10: "schedule", 11: "special days table",
    12: "association SN", 15: "association LN", 17: "SAP assignment", 18: "image transfer",
    20: "activity calendar", 21: "register monitor", 22: "single action schedule", 40: "push setup",
    41: "TCP-UDP setup", 42: "IPv4 setup", 61: "register table", 62: "compact data", 63: "status mapping",
    64: "security setup", 70: "disconnect control", 71: "limiter", 72: "M-Bus client",
}  # fmt: skip
"""Interface classes by their number (Blue Book 4)."""

CONFORMANCE: Final = (
    "reserved 0", "general-protection", "general-block-transfer", "read", "write", "unconfirmed-write",
    "delta-value-encoding", "reserved 7", "attribute0-with-set", "priority-management", "attribute0-with-get",
    "block-transfer-with-get", "block-transfer-with-set", "block-transfer-with-action", "multiple-references",
    "information-report", "data-notification", "access", "parameterized-access", "get", "set",
    "selective-access", "event-notification", "action",
)  # fmt: skip
"""Bits 0 to 23 of the conformance block (Green Book 9.4.6.1)."""

_WHO: Final = ("gateway", "meter", "push setup")
PUSHED: Final[dict[tuple[int, Tag], tuple[str, Sequence[str]]]] = {
    (4, Tag.ARRAY): ("event log", ("gateway", "push setup", "event log", "events")),
    (4, Tag.OCTET_STRING): ("on installation", ("gateway", "push setup", "IP address", "system title")),
    (7, Tag.ARRAY): ("profile", (*_WHO, "profile", "capture objects", "rows", "scalers and units")),
    (8, Tag.ARRAY): (
        "event log of a meter",
        (*_WHO, "event log", "manufacturer", "device type", "version", "events"),
    ),
}
"""Bodies of notifications by the number of elements and the tag of the last one, with the names of the elements."""

SELECTORS: Final = {1: "by range", 2: "by entry"}
"""Of selective access to a profile (Blue Book 4.3.6)."""
SECURITY_BITS: Final = (
    (0x10, "authenticated"), (0x20, "encrypted"), (0x40, "broadcast key"), (0x80, "compressed"),
)  # fmt: skip
"""Of the security control (Green Book 9.2.7)."""
_CONTEXTS: Final = {
    1: "logical names",
    2: "short names",
    3: "logical names with ciphering",
    4: "short names with ciphering",
}
MECHANISMS: Final = {
    0: "none", 1: "low", 2: "high", 3: "high MD5", 4: "high SHA-1", 5: "high GMAC", 6: "high SHA-256",
    7: "high ECDSA",
}  # fmt: skip
"""Of authentication, by the last number of their object identifier (Green Book 9.4.2)."""
AARQ_FIELDS: Final = {
    0x80: "protocol version", 0xA1: "application context", 0xA2: "called AP title", 0xA6: "calling AP title",
    0xA7: "calling AE qualifier", 0x8A: "ACSE requirements", 0x8B: "authentication mechanism",
    0xAC: "authentication value", 0xBE: "user information",
}  # fmt: skip
"""By their tags (Green Book 9.4.2)."""
AARE_FIELDS: Final = {
    0x80: "protocol version", 0xA1: "application context", 0xA2: "result", 0xA3: "diagnostic",
    0xA4: "responding AP title", 0x88: "ACSE requirements", 0x89: "authentication mechanism",
    0xAA: "authentication value", 0xBE: "user information",
}  # fmt: skip
"""By their tags (Green Book 9.4.2)."""
RELEASE_FIELDS: Final = {0x80: "reason", 0xBE: "user information"}
"""By their tags (Green Book 9.4.2)."""

CIPHERED: Final = {
    0x21: "glo initiate request", 0x28: "glo initiate response", 0x2E: "glo confirmed service error",
    0x41: "ded initiate request", 0x48: "ded initiate response", 0x4E: "ded confirmed service error",
    0xC8: "glo GET request", 0xC9: "glo SET request", 0xCA: "glo event notification", 0xCB: "glo ACTION request",
    0xCC: "glo GET response", 0xCD: "glo SET response", 0xCF: "glo ACTION response",
    0xD0: "ded GET request", 0xD1: "ded SET request", 0xD2: "ded event notification", 0xD3: "ded ACTION request",
    0xD4: "ded GET response", 0xD5: "ded SET response", 0xD7: "ded ACTION response",
}  # fmt: skip
"""Ciphered APDUs by their tags (Green Book 9.5)."""
UNSERVED: Final = {
    0x05: "read request", 0x06: "write request", 0x0C: "read response", 0x0D: "write response",
    0x16: "unconfirmed write request", 0x18: "information report", 0xC2: "event notification",
    0xD9: "access request", 0xDA: "access response", 0xDF: "general-signing",
}  # fmt: skip
"""APDUs that the gateway does not serve, by their tags (Green Book 9.5)."""

ERROR_SERVICES: Final = {1: "initiate", 5: "read", 6: "write"}
"""Of a confirmed service error (Green Book 9.5)."""
ERROR_CLASSES: Final = {
    0: "application reference", 1: "hardware resource", 2: "VDE state", 3: "service", 4: "definition",
    5: "access", 6: "initiate", 7: "load data set", 9: "task", 10: "other",
}  # fmt: skip
"""Of a confirmed service error (Green Book 9.5)."""
ERRORS: Final = {
    6: {
        0: "other",
        1: "DLMS version too low",
        2: "incompatible conformance",
        3: "PDU size too short",
        4: "refused by the VDE handler",
    }
}
"""By class of error; the others are shown as numbers."""
