"""Many simulated meters out of the telegrams that come with the program, each with an identity of its own."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

from core.mbus.address import SecondaryAddress
from core.mbus.frame import LONGEST
from core.mbus.simulator.meter import TELEGRAMS, SimulatedMeter, read_telegrams
from core.mbus.simulator.misfortune import SimulationError
from core.mbus.simulator.shaping import Encryption, most_sealed, renamed
from core.mbus.telegram import decode

FIRST_SERIAL = 70_000_000
"""Identification of the first meter of a fleet; those of the others follow closely."""
_HEX_EVERY = 16  # meters, of which the last one has letters in its identification
_HEX_DIGITS = "ABCDE"
_ADDRESSES = range(1, 251)
_ROOM = LONGEST - 6  # bytes of a telegram to which a fabrication number can be added


def fleet(identifications: Iterable[str | SecondaryAddress], *, of: str = "") -> list[SimulatedMeter]:
    """A meter for each identification (8 hex digits), or secondary address, whose open fields stay as recorded.

    They are made of real telegrams in turn, so that neighbours are of other makers, media and sizes; `of` is the name
    of a telegram of which all are made instead. The first 250 get the primary addresses 1 to 250, the others 0. The
    same identification may come twice. The same call gives the same meters. Raises `SimulationError`.
    """
    patterns = (_pattern(of),) if of else _patterns()
    meters = []
    for place, wanted in enumerate(identifications):
        address = wanted if isinstance(wanted, SecondaryAddress) else SecondaryAddress(wanted)
        pattern = patterns[place % len(patterns)]
        number = _ADDRESSES[place] if place < len(_ADDRESSES) else 0
        fabrication = address.identification if address.identification.isdigit() else None
        raw = renamed(pattern, address, fabrication=fabrication if len(pattern) <= _ROOM else None)
        meters.append(SimulatedMeter([raw], address=number))
    return meters


def serials(count: int, first: int = FIRST_SERIAL) -> list[str]:
    """Identifications that are hard to tell apart: nearly equal numbers, and hex digits in every 16th.

    `first` is 0..99,999,999; it goes up by 1 to 3 from one to the next.
    """
    found = []
    for place in range(count):
        digits = f"{(first + 2 * place + place % 3 - place % 2) % 100_000_000:08d}"
        if place % _HEX_EVERY == _HEX_EVERY - 1:
            letter = _HEX_DIGITS[place // _HEX_EVERY % len(_HEX_DIGITS)]
            digits = digits[:5] + letter + digits[6:]
        found.append(digits)
    return found


def encrypt(meter: SimulatedMeter, mode: int) -> bool:
    """Have a meter send its telegrams encrypted, with `training_key`; whether it can.

    It can where all of its telegrams have a long header (CI 72h), are not encrypted and not too long. `mode` is 5 or 7.
    """
    if mode not in (5, 7):
        raise SimulationError(f"Security mode {mode} cannot be simulated: give 5 or 7.")
    meter.encryption = Encryption(5 if mode == 5 else 7, training_key(meter))
    try:
        meter.telegrams_at(0.0)
    except SimulationError:
        meter.encryption = None
        return False
    return True


def training_key(meter: SimulatedMeter) -> bytes:
    """The 16-byte key of a simulated meter that encrypts: made of its secondary address, thus no secret."""
    return hashlib.sha256(b"cme-tui training key" + meter.header).digest()[:16]


def _pattern(name: str) -> bytes:
    return read_telegrams(TELEGRAMS / f"{name}.hex")[0]


@functools.cache
def _patterns() -> tuple[bytes, ...]:
    """Telegrams that can get another identity and stay readable, also when they are encrypted."""
    found = []
    for path in sorted(TELEGRAMS.glob("*.hex")):
        raw, *more = read_telegrams(path)
        if more or raw[6] != 0x72 or len(raw) > most_sealed(7):
            continue
        telegram = decode(raw)
        if telegram.records and not telegram.encrypted and not telegram.more_follows:
            found.append(raw)
    return tuple(found)
