"""What a record measures: the VIF tables of EN 13757-3, turned into quantity, unit and power of ten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple


class Kind(Enum):
    """How the quantity wants its data to be read, where the data field (DIF) alone does not say."""

    NUMBER = "number"  # signed integers (type B), BCD (type A), real numbers (type H)
    UNSIGNED = "unsigned"  # integers without a sign (type C)
    BITS = "bits"  # a set of flags (type D): no sign, and no code for "not available"
    OPAQUE = "opaque"  # manufacturer specific: signed, and no code for "not available" is known
    TIME = "time"  # date and time by length: 2 bytes type G, 3 type J, 4 type F, 6 type I
    OBIS = "obis"  # the OBIS code of the quantity, declared by the meter


class Meaning(NamedTuple):
    """What a VIF with all its VIFEs says about a record."""

    quantity: str  # "volume", "flow-temp"
    modifiers: tuple[str, ...]  # ("backward-flow",); in the order of the VIFEs
    unit: str  # "m3", "Wh", "" for none
    exponent: int  # value = data * 10**exponent, in `unit`
    kind: Kind
    error: str  # why a value cannot be trusted, from a VIFE; "" if it can


class Entry(NamedTuple):
    """One code of a VIF table."""

    quantity: str
    unit: str = ""
    exponent: int = 0
    kind: Kind = Kind.NUMBER


MAX_EXTENSIONS: Final = 10
"""Largest number of DIFEs, and of VIFEs, in a record (EN 13757-3 clause 6)."""

_DURATIONS: Final = ("s", "min", "h", "d")
_LONG_DURATIONS: Final = ("h", "d", "month", "year")


def _scaled(base: int, count: int, quantity: str, unit: str, exponent: int) -> Iterator[tuple[int, Entry]]:
    for n in range(count):
        yield base + n, Entry(quantity, unit, exponent + n)


def _timed(base: int, quantity: str, units: tuple[str, ...] = _DURATIONS) -> Iterator[tuple[int, Entry]]:
    for n, unit in enumerate(units):
        yield base + n, Entry(quantity, unit)


def _plain(kind: Kind, names: dict[int, str]) -> Iterator[tuple[int, Entry]]:
    for code, name in names.items():
        yield code, Entry(name, "", 0, kind)


PRIMARY: Final[dict[int, Entry]] = dict(
    [
        *_scaled(0x00, 8, "energy", "Wh", -3),
        *_scaled(0x08, 8, "energy", "J", 0),
        *_scaled(0x10, 8, "volume", "m3", -6),
        *_scaled(0x18, 8, "mass", "kg", -3),
        *_timed(0x20, "on-time"),
        *_timed(0x24, "op-time"),
        *_scaled(0x28, 8, "power", "W", -3),
        *_scaled(0x30, 8, "power", "J/h", 0),
        *_scaled(0x38, 8, "volume-flow", "m3/h", -6),
        *_scaled(0x40, 8, "volume-flow", "m3/min", -7),
        *_scaled(0x48, 8, "volume-flow", "m3/s", -9),
        *_scaled(0x50, 8, "mass-flow", "kg/h", -3),
        *_scaled(0x58, 4, "flow-temp", "°C", -3),
        *_scaled(0x5C, 4, "return-temp", "°C", -3),
        *_scaled(0x60, 4, "temp-diff", "K", -3),
        *_scaled(0x64, 4, "external-temp", "°C", -3),
        *_scaled(0x68, 4, "pressure", "bar", -3),
        (0x6C, Entry("date", kind=Kind.TIME)),
        (0x6D, Entry("datetime", kind=Kind.TIME)),
        (0x6E, Entry("hca-units")),
        *_timed(0x70, "averaging-duration"),
        *_timed(0x74, "actuality-duration"),
        *_plain(Kind.UNSIGNED, {0x78: "fabrication-no", 0x79: "enhanced-id", 0x7A: "address"}),
        (0x7E, Entry("any")),
    ]
)
"""Primary VIFs (EN 13757-3 table 10)."""

FIRST_EXTENSION: Final[dict[int, Entry]] = dict(
    [
        *_scaled(0x00, 2, "energy", "Wh", 5),
        *_scaled(0x02, 2, "reactive-energy", "varh", 3),
        *_scaled(0x04, 2, "apparent-energy", "VAh", 3),
        *_scaled(0x08, 2, "energy", "J", 8),
        *_scaled(0x0C, 4, "energy", "cal", 5),
        *_scaled(0x10, 2, "volume", "m3", 2),
        *_scaled(0x14, 4, "reactive-power", "var", 0),
        *_scaled(0x18, 2, "mass", "kg", 5),
        *_scaled(0x1A, 2, "relative-humidity", "%", -1),
        (0x20, Entry("volume", "ft3")),
        (0x21, Entry("volume", "ft3", -1)),
        (0x22, Entry("volume", "gal", -1)),
        (0x23, Entry("volume", "gal")),
        (0x24, Entry("volume-flow", "gal/min", -3)),
        (0x25, Entry("volume-flow", "gal/min")),
        (0x26, Entry("volume-flow", "gal/h")),
        *_scaled(0x28, 2, "power", "W", 5),
        (0x2A, Entry("phase-u-u", "°", -1)),
        (0x2B, Entry("phase-u-i", "°", -1)),
        *_scaled(0x2C, 4, "frequency", "Hz", -3),
        *_scaled(0x30, 2, "power", "J/h", 8),
        *_scaled(0x34, 4, "apparent-power", "VA", 0),
        *_scaled(0x58, 4, "flow-temp", "°F", -3),
        *_scaled(0x5C, 4, "return-temp", "°F", -3),
        *_scaled(0x60, 4, "temp-diff", "°F", -3),
        *_scaled(0x64, 4, "external-temp", "°F", -3),
        *_scaled(0x70, 4, "temp-limit", "°F", -3),
        *_scaled(0x74, 4, "temp-limit", "°C", -3),
        *_scaled(0x78, 8, "cumulative-max-power", "W", -3),
    ]
)
"""VIFEs behind VIF FBh (EN 13757-3 table 14); gallons and °F are of older editions."""

SECOND_EXTENSION: Final[dict[int, Entry]] = dict(
    [
        *_scaled(0x00, 4, "credit", "currency", -3),
        *_scaled(0x04, 4, "debit", "currency", -3),
        *_plain(
            Kind.UNSIGNED,
            {
                0x08: "access-no",
                0x09: "medium",
                0x0A: "manufacturer",
                0x0B: "parameter-set-id",
                0x0C: "model-version",
                0x0D: "hardware-version",
                0x0E: "firmware-version",
                0x0F: "software-version",
                0x10: "customer-location",
                0x11: "customer",
                0x12: "access-code-user",
                0x13: "access-code-operator",
                0x14: "access-code-system-operator",
                0x15: "access-code-developer",
                0x16: "password",
                0x19: "security-key",
                0x1E: "retry",
                0x20: "first-cyclic-storage",
                0x21: "last-cyclic-storage",
                0x22: "storage-block-size",
                0x23: "tariff-subunit-descriptor",
                0x2A: "operator-data",
                0x3B: "wireless-container",
                0x60: "reset-counter",
                0x61: "cumulation-counter",
                0x63: "day-of-week",
                0x64: "week-number",
                0x65: "day-change",
                0x66: "parameter-activation",
                0x67: "supplier-info",
                0x73: "listening-window",
                0x75: "stop-counter",
                0x76: "manufacturer-container",
            },
        ),
        *_plain(
            Kind.BITS,
            {
                0x17: "error-flags",
                0x18: "error-mask",
                0x1A: "digital-output",
                0x1B: "digital-input",
                0x1F: "remote-control",
                0x62: "control-signal",
                0x72: "daylight-saving",
            },
        ),
        (0x1C, Entry("baud-rate", "Bd", kind=Kind.UNSIGNED)),
        (0x1D, Entry("response-delay", "bit-times", kind=Kind.UNSIGNED)),
        *_timed(0x24, "storage-interval"),
        (0x28, Entry("storage-interval", "month")),
        (0x29, Entry("storage-interval", "year")),
        (0x2B, Entry("time-point-second", "s", kind=Kind.UNSIGNED)),
        *_timed(0x2C, "time-since-readout"),
        (0x30, Entry("tariff-start", kind=Kind.TIME)),
        (0x31, Entry("tariff-duration", "min")),
        (0x32, Entry("tariff-duration", "h")),
        (0x33, Entry("tariff-duration", "d")),
        *_timed(0x34, "tariff-period"),
        (0x38, Entry("tariff-period", "month")),
        (0x39, Entry("tariff-period", "year")),
        (0x3A, Entry("dimensionless")),
        *_timed(0x3C, "transmission-period"),
        *_scaled(0x40, 16, "voltage", "V", -9),
        *_scaled(0x50, 16, "current", "A", -12),
        *_timed(0x68, "time-since-cumulation", _LONG_DURATIONS),
        *_timed(0x6C, "battery-op-time", _LONG_DURATIONS),
        (0x70, Entry("datetime-of-battery-change", kind=Kind.TIME)),
        (0x71, Entry("rf-level", "dBm")),
        (0x74, Entry("battery-remaining", "d")),
    ]
)
"""VIFEs behind VIF FDh (EN 13757-3 table 12)."""

SECOND_LEVEL: Final[dict[int, Entry]] = {
    0x00: Entry("selected-application", kind=Kind.UNSIGNED),
    0x02: Entry("battery-remaining", "month"),
    0x03: Entry("battery-remaining", "year"),
}
"""VIFEs behind VIF FDh FDh (EN 13757-3 table 13)."""

_STANDARD_QUANTITIES: Final = frozenset(
    entry.quantity
    for table in (PRIMARY, FIRST_EXTENSION, SECOND_EXTENSION, SECOND_LEVEL)
    for entry in table.values()
)

RECORD_ERRORS: Final[dict[int, str]] = {
    0x01: "too-many-difes",
    0x02: "storage-not-implemented",
    0x03: "subunit-not-implemented",
    0x04: "tariff-not-implemented",
    0x05: "function-not-implemented",
    0x06: "data-class-not-implemented",
    0x07: "data-size-not-implemented",
    0x0B: "too-many-vifes",
    0x0C: "illegal-vif-group",
    0x0D: "illegal-vif-exponent",
    0x0E: "vif-dif-mismatch",
    0x0F: "action-not-implemented",
    0x15: "no-data",
    0x16: "data-overflow",
    0x17: "data-underflow",
    0x18: "data-error",
    0x1C: "premature-end",
}
"""VIFEs with which a meter says what is wrong with a record (EN 13757-3 table 17)."""

_ERRORS_WITHOUT_VALUE: Final = frozenset(RECORD_ERRORS) - {0x18}  # a "data error" still comes with its value

_NOTES: Final[dict[int, str]] = {
    0x12: "average",
    0x13: "inverse-compact-profile",
    0x1D: "standard-conform",
    0x1E: "compact-profile-registers",
    0x1F: "compact-profile",
    0x3A: "uncorrected",
    0x3B: "forward-flow",
    0x3C: "backward-flow",
    0x3E: "base-conditions",
    0x68: "during-lower-limit-exceed",
    0x69: "leakage",
    0x6C: "during-upper-limit-exceed",
    0x6D: "overflow",
    0x78: "offset-e-3",
    0x79: "offset-e-2",
    0x7A: "offset-e-1",
    0x7B: "offset-e0",
    0x7E: "future",
    0x40: "lower-limit",
    0x48: "upper-limit",
}

_UNIT_CHANGES: Final[dict[int, tuple[str, str]]] = {
    0x20: ("per-second", "/s"),
    0x21: ("per-minute", "/min"),
    0x22: ("per-hour", "/h"),
    0x23: ("per-day", "/d"),
    0x24: ("per-week", "/week"),
    0x25: ("per-month", "/month"),
    0x26: ("per-year", "/year"),
    0x27: ("per-measurement", "/measurement"),
    0x28: ("per-input-pulse-0", "/pulse"),
    0x29: ("per-input-pulse-1", "/pulse"),
    0x2A: ("per-output-pulse-0", "/pulse"),
    0x2B: ("per-output-pulse-1", "/pulse"),
    0x2C: ("per-litre", "/l"),
    0x2D: ("per-m3", "/m3"),
    0x2E: ("per-kg", "/kg"),
    0x2F: ("per-kelvin", "/K"),
    0x30: ("per-kwh", "/kWh"),
    0x31: ("per-gj", "/GJ"),
    0x32: ("per-kw", "/kW"),
    0x33: ("per-kelvin-litre", "/(K*l)"),
    0x34: ("per-volt", "/V"),
    0x35: ("per-ampere", "/A"),
    0x36: ("times-second", "*s"),
    0x37: ("times-second-per-volt", "*s/V"),
    0x38: ("times-second-per-ampere", "*s/A"),
}

_SECOND_NOTES: Final[dict[int, str]] = {
    0x01: "phase-l1",
    0x02: "phase-l2",
    0x03: "phase-l3",
    0x04: "neutral",
    0x05: "phase-l1-l2",
    0x06: "phase-l2-l3",
    0x07: "phase-l3-l1",
    0x08: "quadrant-1",
    0x09: "quadrant-2",
    0x0A: "quadrant-3",
    0x0B: "quadrant-4",
    0x0C: "import-export-delta",
    0x10: "absolute-sum",
    0x11: "type-c",
    0x12: "type-d",
    0x13: "to-meter",
    0x14: "from-meter",
}
"""VIFEs behind VIFE FCh (EN 13757-3 table 16)."""

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9%°/]+")


@lru_cache(maxsize=4096)
def resolve(vib: bytes, text: str = "") -> Meaning:
    """Meaning of a VIF with its VIFEs; `vib` without a plain text, which is in `text` (in reading order).

    Codes that the standard reserves get a token of their own ("reserved-7b"): records stay distinguishable.
    """
    vif = vib[0]
    if vif in (0xFB, 0xFD) and len(vib) > 1:
        table, rest, prefix = (FIRST_EXTENSION, 1, "fb") if vif == 0xFB else (SECOND_EXTENSION, 1, "fd")
        if vif == 0xFD and vib[1] == 0xFD and len(vib) > 2:
            table, rest, prefix = SECOND_LEVEL, 2, "fdfd"
        code = vib[rest] & 0x7F
        entry = table.get(code) or Entry(f"reserved-{prefix}{code:02x}")
        return _modify(entry, vib[rest + 1 :])
    code = vif & 0x7F
    if code == 0x7C:
        token = _NOT_TOKEN.sub("-", text).strip("-") or "text"
        if token.lower() in _STANDARD_QUANTITIES:
            token = f"text-{token}"  # its unit and power of ten are not those of the standard's quantity
        return _modify(Entry(token), vib[1:])
    if code == 0x7F:
        tokens = tuple(f"manufacturer-{vife & 0x7F:02x}" for vife in vib[1:])
        return Meaning("manufacturer-specific", tokens, "", 0, Kind.OPAQUE, "")
    return _modify(PRIMARY.get(code) or Entry(f"reserved-{code:02x}"), vib[1:])


def _modify(entry: Entry, vifes: bytes) -> Meaning:
    """Apply the orthogonal VIFEs (EN 13757-3 table 15 and 16) to what the VIF says."""
    quantity, unit, exponent, kind = entry
    modifiers: list[str] = []
    error = ""
    codes = iter([vife & 0x7F for vife in vifes])
    for code in codes:
        if code == 0x00:
            continue
        if code in _NOTES:
            modifiers.append(_NOTES[code])
        elif 0x70 <= code <= 0x77:
            exponent += code - 0x76
        elif code == 0x7D:
            exponent += 3
        elif code in _UNIT_CHANGES:
            token, change = _UNIT_CHANGES[code]
            modifiers.append(token)
            unit = (unit or "1") + change
        elif code in RECORD_ERRORS:
            modifiers.append(RECORD_ERRORS[code])
            if code in _ERRORS_WITHOUT_VALUE:
                error = f"the meter reports {RECORD_ERRORS[code].replace('-', ' ')}"
        elif code == 0x3D:
            modifiers.append("non-metric")
            unit = "non-metric"  # which one, another table says: the metric unit would be wrong by a factor
        elif code == 0x39:
            modifiers.append("start-of")
            unit, exponent, kind = "", 0, Kind.TIME
        elif code == 0x3F:
            modifiers.append("obis-declaration")
            unit, exponent, kind = "", 0, Kind.OBIS
        elif code == 0x7C:
            token = _extended(next(codes, None))
            modifiers.append(token)
            kind = {"type-c": Kind.UNSIGNED, "type-d": Kind.BITS}.get(token, kind)
        elif code == 0x7F:
            rest = [f"manufacturer-{vife:02x}" for vife in codes]
            modifiers.extend(rest or ["manufacturer-specific"])
        elif 0x41 <= code <= 0x6F:
            token, unit, exponent, kind = _limit(code, unit, exponent, kind)
            modifiers.append(token)
        else:
            modifiers.append(f"reserved-{code:02x}")
    return Meaning(quantity, tuple(modifiers), unit, exponent, kind, error)


def _extended(code: int | None) -> str:
    if code is None:
        return "reserved-fc"
    return _SECOND_NOTES.get(code) or f"reserved-fc{code:02x}"


def _limit(code: int, unit: str, exponent: int, kind: Kind) -> tuple[str, str, int, Kind]:
    """Counts, dates and durations of limits and of the quantity itself (VIFE 41h..6Fh)."""
    limit = "upper" if code & 0x08 else "lower"
    which = "last" if code & 0x04 else "first"
    if code in (0x41, 0x49):
        return f"{limit}-limit-exceed-count", "", 0, Kind.UNSIGNED
    if code & 0x70 == 0x40 and code & 0x02:
        return f"{('begin', 'end')[code & 1]}-of-{which}-{limit}-limit-exceed", "", 0, Kind.TIME
    if code & 0x70 == 0x50:
        return f"duration-of-{which}-{limit}-limit-exceed", _DURATIONS[code & 3], 0, Kind.NUMBER
    if code & 0x78 == 0x60:
        return f"duration-of-{which}", _DURATIONS[code & 3], 0, Kind.NUMBER
    if code & 0x7A == 0x6A:
        return f"{('begin', 'end')[code & 1]}-of-{which}", "", 0, Kind.TIME
    return f"reserved-{code:02x}", unit, exponent, kind
