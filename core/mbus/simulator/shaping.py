"""Makes telegrams out of telegrams: another identity, other records, as long as can be, encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.mbus import crypto
from core.mbus.address import HEADER_LENGTH, SecondaryAddress
from core.mbus.frame import long_frame
from core.mbus.simulator.misfortune import SimulationError
from core.mbus.telegram import Telegram, decode

MORE_FOLLOWS = b"\x1f"
"""DIF of a readout that has another telegram (EN 13757-3, 6.3)."""

_MANUFACTURER_DATA = 0x0F
_FILLER = b"\x2f"
_HEADER = 7  # bytes in front of the payload
_LONG = 12  # bytes of the long header
_HEADERS = {0x72: 12, 0x76: 12, 0x7A: 4, 0x78: 0}  # CI -> bytes in front of the records
_MOST = 252  # bytes behind the CI field
FABRICATION = b"\x0c\x78"
"""DIF and VIF of a fabrication number, 8 BCD digits."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a meter encrypts: security mode 5 or 7 of EN 13757-7 with a key of 16 bytes."""

    mode: Literal[5, 7]
    key: bytes

    def seal(self, raw: bytes) -> bytes:
        """The telegram `raw` encrypted; it has a long header with the least significant byte first (CI 72h).

        Raises `SimulationError` for any other, and where the records do not fit into the blocks of a telegram.
        """
        header, records = raw[_HEADER : _HEADER + _LONG], raw[_HEADER + _LONG : -2]
        if raw[6] != 0x72 or len(records) > most_sealed(self.mode):
            raise SimulationError(
                f"Only telegrams with CI 72h and up to {most_sealed(self.mode)} bytes of records can be encrypted."
            )
        identity = crypto.Identity(header[:4], header[4:6], header[6], header[7], header[8])
        return rebuilt(raw, header[:10] + crypto.sealed(self.mode, self.key, identity, records))


def most_sealed(mode: Literal[5, 7]) -> int:
    """Bytes of records that one encrypted telegram can take."""
    return 238 if mode == 5 else 222


def rebuilt(raw: bytes, payload: bytes) -> bytes:
    """The frame `raw` with another payload behind its CI field, at most 252 bytes."""
    return long_frame(raw[4], raw[5], raw[6], payload)


def renamed(
    raw: bytes, address: SecondaryAddress, *, fabrication: str | None = None, primary: int | None = None
) -> bytes:
    """The telegram of another meter: fields that `address` leaves open stay as they are.

    `fabrication` is its fabrication number, 8 digits, in a record of its own. Raises `SimulationError` for
    telegrams without a long header (CI 72h).
    """
    if raw[6] != 0x72:
        raise SimulationError("Only a telegram with a long header (CI 72h) can get another identity.")
    wanted, had = address.to_bytes(), raw[_HEADER : _HEADER + HEADER_LENGTH]
    open_fields = (
        address.manufacturer is None,
        address.manufacturer is None,
        address.version is None,
        address.medium is None,
    )
    rest = bytes(h if is_open else w for h, w, is_open in zip(had[4:], wanted[4:], open_fields, strict=True))
    records = raw[_HEADER + _LONG : -2]
    if fabrication is not None:
        records = _with_fabrication(raw, fabrication)
    frame = bytearray(rebuilt(raw, wanted[:4] + rest + raw[15:19] + records))
    if primary is not None:
        frame[5] = primary
    return summed(frame)


def fabrication_of(telegram: Telegram) -> bytes | None:
    """The fabrication number in a telegram, 4 bytes BCD, least significant first; `None` if there is none."""
    for record in telegram.records:
        if telegram.body[record.offset : record.offset + 2] == FABRICATION:
            return bytes(record.data)
    return None


def end_of_records(telegram: Telegram) -> int:
    """Offset behind the last record and its filler: of DIF 0Fh or 1Fh, or of the checksum."""
    body = telegram.body
    position = _HEADER + _HEADERS.get(telegram.ci, 0)
    for record in telegram.records:
        if body[record.offset] & 0xEF == _MANUFACTURER_DATA:
            return record.offset
        position = record.offset + record.length
    while position < len(body) - 2 and body[position] == _FILLER[0]:
        position += 1
    return position


def ending(raw: bytes, end: int, tail: bytes) -> bytes:
    """The telegram with `tail` in the place of all from `end` on."""
    return rebuilt(raw, raw[_HEADER : min(end, _HEADER + _MOST - len(tail))] + tail)


def lengthened(raw: bytes) -> bytes:
    """The telegram as long as one can be: L = 255, 261 bytes in all, with idle filler behind its records."""
    payload = raw[_HEADER:-2]
    end = end_of_records(decode(raw)) - _HEADER
    return rebuilt(raw, payload[:end] + _FILLER * (_MOST - len(payload)) + payload[end:])


def summed(raw: bytes | bytearray) -> bytes:
    """The frame with a checksum that is right."""
    return bytes(raw[:-2]) + bytes((sum(raw[4:-2]) & 0xFF, raw[-1]))


def _with_fabrication(raw: bytes, digits: str) -> bytes:
    """The records with this fabrication number, in its record or in front of the others."""
    number = FABRICATION + bytes.fromhex(digits)[::-1]
    telegram = decode(raw)
    for record in telegram.records:
        if raw[record.offset : record.offset + 2] == FABRICATION:
            return raw[_HEADER + _LONG : record.offset] + number + raw[record.offset + 6 : -2]
    return number + raw[_HEADER + _LONG : -2]
