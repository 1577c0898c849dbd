"""How the registers of a simulated meter move: pure functions of time, so that a restart changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from core.mbus.telegram import Function, Record

EPOCH = 1_577_836_800.0
"""2020-01-01 UTC: when every register shows what the recorded telegram says. Seconds since 1970."""

Motion = Callable[[float], bytes]
"""The data bytes of a record at a time in seconds since 1970-01-01 UTC."""

_DAY = 86_400.0
_LEAST_LIFE = 30 * 365 * _DAY  # no counter runs through all its digits sooner

_PER_DAY = {
    ("volume", "m3"): 0.9,
    ("energy", "Wh"): 21_000.0,
    ("energy", "J"): 75_600_000.0,
    ("reactive-energy", "varh"): 3_000.0,
    ("apparent-energy", "VAh"): 22_000.0,
    ("mass", "kg"): 900.0,
    ("hca-units", ""): 6.0,
}
"""What an average meter counts in a day, in the unit."""

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": _DAY}
_RUNNING_TIMES = ("on-time", "op-time")

_TARIFF_SHARES = (1.0, 0.65, 0.35, 0.1)
"""Tariff 0 is the total, the others are parts of it."""


@dataclass(frozen=True, slots=True)
class _Swing:
    """How far a measured value moves around its recorded one."""

    typical: float  # where the recording shows nothing usable, in the unit
    share: float = 0.0  # of the value
    distance: float = 0.0  # in the unit


_SWINGS = {
    ("volume-flow", "m3/h"): _Swing(0.12, share=0.6),
    ("power", "W"): _Swing(900.0, share=0.5),
    ("power", "J/h"): _Swing(3_240_000.0, share=0.5),
    # All temperatures of a meter swing together, so that their difference stays right.
    ("flow-temp", "°C"): _Swing(58.0, distance=4.0),
    ("return-temp", "°C"): _Swing(36.0, distance=2.0),
    ("temp-diff", "K"): _Swing(22.0, distance=2.0),
    ("external-temp", "°C"): _Swing(20.0, distance=3.0),
    ("relative-humidity", "%"): _Swing(45.0, distance=6.0),
    ("voltage", "V"): _Swing(230.0, share=0.01),
    ("current", "A"): _Swing(0.0, share=0.4),
}


def motion_of(record: Record, *, seed: int, order: Literal["little", "big"] = "little") -> Motion | None:
    """How this record of a meter moves; `None` if it stays as it was recorded.

    Records of the past (storage above 0), extremes, texts, floats and negative numbers stay. `seed` makes
    meters of one type differ. `order` is that of the bytes in the telegram.
    """
    if record.storage or record.function is not Function.INSTANTANEOUS or record.modifiers or record.error:
        return None
    if record.quantity in ("date", "datetime"):
        return _clock(record.quantity, len(record.data), order)
    encode = _encoder(record, order)
    number = record.raw
    if encode is None or not isinstance(number, int) or number < 0:
        return None
    field = _Field(number, 10.0**record.exponent, _span(record), 0.6 + seed % 997 / 997, seed % 86_399)
    if record.quantity in _RUNNING_TIMES and record.unit in _SECONDS:
        moved = field.running(_SECONDS[record.unit])
    elif per_day := _PER_DAY.get((record.quantity, record.unit)):
        share = _TARIFF_SHARES[min(record.tariff, len(_TARIFF_SHARES) - 1)]
        moved = field.counting(per_day * share / _DAY)
    elif swing := _SWINGS.get((record.quantity, record.unit)):
        moved = field.swinging(swing)
    else:
        return None
    return lambda time: encode(moved(time))


@dataclass(frozen=True, slots=True)
class _Field:
    start: int  # recorded number
    step: float  # value of one in the unit
    span: int  # numbers that the field can show, from 0
    pace: float  # of this meter, 1.0 on average
    shift: int  # of its daily rhythm, s

    def running(self, seconds: float) -> Callable[[float], int]:
        return lambda time: (self.start + int((time - EPOCH) / seconds)) % self.span

    def counting(self, per_second: float) -> Callable[[float], int]:
        """Never steps back, except from the highest number to 0."""
        rate = min(per_second * self.pace / self.step, self.span / _LEAST_LIFE)

        def count(time: float) -> int:
            # The integral of a consumption that swings by 60 % over the day: its rate never gets negative.
            day = 2 * math.pi / _DAY
            swing = math.cos(day * self.shift) - math.cos(day * (time - EPOCH + self.shift))
            return (self.start + int(rate * (time - EPOCH + 0.6 * swing / day))) % self.span

        return count

    def swinging(self, swing: _Swing) -> Callable[[float], int]:
        middle = self.start
        if not 0 < middle < 0.9 * self.span:
            # Nothing flowed in the recording, or the meter showed its highest number for "out of range".
            middle = min(round(swing.typical / self.step), self.span // 2)
        reach = middle * swing.share + swing.distance / self.step

        def value(time: float) -> int:
            turn = 2 * math.pi * (time + self.shift)
            wave = 0.6 * math.sin(turn / _DAY) + 0.3 * math.sin(turn / 5400) + 0.1 * math.sin(turn / 700)
            return min(max(middle + round(reach * wave), 0), self.span - 1)

        return value


def _is_bcd(record: Record) -> bool:
    return int(record.dib[:2], 16) & 0x0F in (0x9, 0xA, 0xB, 0xC, 0xE)


def _span(record: Record) -> int:
    size = len(record.data)
    if _is_bcd(record):
        return int(10 ** (2 * size))
    return 1 << (8 * size - 1)


def _encoder(record: Record, order: Literal["little", "big"]) -> Callable[[int], bytes] | None:
    size = len(record.data)
    coding = int(record.dib[:2], 16) & 0x0F if record.dib else 0
    if coding in (0x1, 0x2, 0x3, 0x4, 0x6, 0x7):
        return lambda number: number.to_bytes(size, order)
    if coding in (0x9, 0xA, 0xB, 0xC, 0xE):
        step = 1 if order == "big" else -1
        return lambda number: bytes.fromhex(f"{number:0{2 * size}d}")[::step]
    return None


def _clock(quantity: str, size: int, order: Literal["little", "big"]) -> Motion | None:
    """The meter's clock in UTC: type G, F or I by the size of the record (EN 13757-3, annex A)."""
    if quantity == "date" and size == 2:
        encode = _type_g
    elif quantity == "datetime" and size in (4, 6):
        encode = _type_f if size == 4 else _type_i
    else:
        return None
    step = 1 if order == "little" else -1
    return lambda time: encode(datetime.fromtimestamp(time, UTC))[::step]


def _type_g(now: datetime) -> bytes:
    year = now.year % 100
    return bytes((now.day | (year & 0x07) << 5, now.month | (year & 0x78) << 1))


def _type_f(now: datetime) -> bytes:
    return bytes((now.minute, now.hour)) + _type_g(now)


def _type_i(now: datetime) -> bytes:
    hour = now.hour | now.isoweekday() << 5
    return bytes((now.second, now.minute, hour)) + _type_g(now) + bytes((now.isocalendar().week,))
