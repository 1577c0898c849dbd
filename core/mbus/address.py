"""How a meter is named on an M-Bus: by primary address, or by the secondary address of its header."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.errors import BadInputError

SELECTED = 253
"""Primary address FDh: whichever meter was selected by its secondary address (EN 13757-3, 11.3)."""
POINT_TO_POINT = 254
"""Primary address FEh: every meter answers; of use only with a single meter on the line."""
BROADCAST = 255
"""Primary address FFh: every meter listens and none answers."""

HEADER_LENGTH = 8
"""Bytes of a secondary address on the wire: identification 4, manufacturer 2, version 1, medium 1."""

_ANY_CODE = 0xFFFF
_ANY_BYTE = 0xFF
_IDENTIFICATION = re.compile(r"[0-9A-F]{8}")
_MANUFACTURER = re.compile(r"[A-Z]{3}")
_HEX_BYTE = re.compile(r"[0-9A-F]{2}")


class AddressError(BadInputError):
    """A text or number that is no M-Bus address."""


@dataclass(frozen=True, slots=True, order=True)
class PrimaryAddress:
    """Link layer address 1..250; 0 (not configured) and 254 (point to point) only when set by hand.

    Raises `AddressError` for every other number.
    """

    number: int

    def __post_init__(self) -> None:
        if not (0 <= self.number <= 250 or self.number == POINT_TO_POINT):
            raise AddressError(
                f"Primary address {self.number} is not usable: give 1 to 250 (0 or 254 for a lone meter)."
            )

    def __str__(self) -> str:
        return str(self.number)


@dataclass(frozen=True, slots=True)
class SecondaryAddress:
    """Identification, manufacturer, version and medium of a meter, each possibly left open.

    `identification` is 8 hex digits, upper case, where F stands for any digit; `None` in another field stands
    for any. `version` and `medium` are 0..254, since FFh is the wildcard on the wire (EN 13757-3, 11.3).
    `fabrication` is the number that the maker gave the meter, written as the identification is: it tells apart
    meters that have the rest in common (enhanced selection, 11.5). Raises `AddressError` for fields out of range.
    """

    identification: str
    manufacturer: str | None = None
    version: int | None = None
    medium: int | None = None
    fabrication: str | None = None

    def __post_init__(self) -> None:
        if not _IDENTIFICATION.fullmatch(self.identification):
            raise AddressError(
                f"Identification {self.identification!r} is not valid: give 8 digits, with F for any digit."
            )
        if self.manufacturer is not None and not _MANUFACTURER.fullmatch(self.manufacturer):
            raise AddressError(
                f"Manufacturer {self.manufacturer!r} is not valid: give three letters, or * for any."
            )
        for name, value in (("Version", self.version), ("Medium", self.medium)):
            if value is not None and not 0 <= value < _ANY_BYTE:
                raise AddressError(f"{name} {value} is not valid: give 0 to 254 (two hex digits 00 to FE).")
        if self.fabrication is not None and not _IDENTIFICATION.fullmatch(self.fabrication):
            raise AddressError(
                f"Fabrication number {self.fabrication!r} is not valid: give 8 digits, with F for any digit."
            )

    @classmethod
    def from_header(cls, header: bytes) -> SecondaryAddress:
        """The address in the 8 bytes of a telegram header or select frame, least significant byte first.

        Fields that hold no valid value (a manufacturer code that is no three letters, FFh) are left open.
        """
        if len(header) != HEADER_LENGTH:
            raise AddressError(f"A secondary address has 8 bytes, not {len(header)}.")
        letters = manufacturer_letters(int.from_bytes(header[4:6], "little"))
        version, medium = header[6], header[7]
        return cls(
            identification=header[3::-1].hex().upper(),
            manufacturer=letters if _MANUFACTURER.fullmatch(letters) else None,
            version=None if version == _ANY_BYTE else version,
            medium=None if medium == _ANY_BYTE else medium,
        )

    @property
    def exact(self) -> bool:
        """Whether nothing is left open, so that at most one meter can be meant."""
        return "F" not in self.identification and None not in (self.manufacturer, self.version, self.medium)

    def to_bytes(self) -> bytes:
        """The 8 bytes of a header or select frame, with F digits and FFh bytes as wildcards.

        The fabrication number is no part of them.
        """
        code = _ANY_CODE if self.manufacturer is None else manufacturer_code(self.manufacturer)
        version = _ANY_BYTE if self.version is None else self.version
        medium = _ANY_BYTE if self.medium is None else self.medium
        return (
            bytes.fromhex(self.identification)[::-1] + code.to_bytes(2, "little") + bytes((version, medium))
        )

    def matches(self, header: bytes) -> bool:
        """Whether a meter with this 8-byte header is meant; a slave's rule for a select frame."""
        wanted = self.to_bytes()
        for have, want in zip(header[:4], wanted[:4], strict=True):
            if want & 0xF0 != 0xF0 and (have ^ want) & 0xF0:
                return False
            if want & 0x0F != 0x0F and (have ^ want) & 0x0F:
                return False
        rest = zip(header[4:], wanted[4:], strict=True)
        return all(want in (_ANY_BYTE, have) for have, want in rest)

    def agrees(self, other: SecondaryAddress) -> bool:
        """Whether both can name the same meter; a field that either leaves open does not count."""
        if not _digits_agree(self.identification, other.identification):
            return False
        if self.fabrication and other.fabrication and not _digits_agree(self.fabrication, other.fabrication):
            return False
        fields = (
            (self.manufacturer, other.manufacturer),
            (self.version, other.version),
            (self.medium, other.medium),
        )
        return all(a is None or b is None or a == b for a, b in fields)

    def __str__(self) -> str:
        fabrication = "" if self.fabrication is None else f"+{self.fabrication}"
        if self.manufacturer is None and self.version is None and self.medium is None:
            return self.identification + fabrication
        version = "*" if self.version is None else f"{self.version:02X}"
        medium = "*" if self.medium is None else f"{self.medium:02X}"
        return f"{self.identification}.{self.manufacturer or '*'}.{version}.{medium}{fabrication}"


Address = PrimaryAddress | SecondaryAddress


def parse_address(text: str) -> Address:
    """The address that a text names: `5`, `12345678`, `12345678.HYD.25.07` or `12345678.HYD.25.07+00012345`.

    Version and medium are two hex digits. `*` stands for any manufacturer, version or medium, and so does a
    field left out at the end. What follows a `+` is the fabrication number. `str()` of the result is the same
    address again. Raises `AddressError`.
    """
    wanted = text.strip().upper()
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 3:
        return PrimaryAddress(int(wanted))
    header, plus, fabrication = wanted.partition("+")
    fields = header.split(".")
    if not _IDENTIFICATION.fullmatch(fields[0]) or len(fields) > 4:
        raise AddressError(
            f"{text.strip()!r} is no M-Bus address: give a primary address (1 to 250), or a secondary one "
            "like 12345678 or 12345678.HYD.25.07."
        )
    identification, manufacturer, version, medium = (*fields, "*", "*", "*")[:4]
    return SecondaryAddress(
        identification,
        None if manufacturer == "*" else manufacturer,
        _parse_byte("version", version, text),
        _parse_byte("medium", medium, text),
        fabrication if plus else None,
    )


def manufacturer_code(letters: str) -> int:
    """The 15-bit number of a three-letter manufacturer (EN 13757-3, 5.6): "HYD" is 2324h."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return first << 10 | second << 5 | third


def manufacturer_letters(code: int) -> str:
    """The three letters of a manufacturer number, not all A..Z if it is none; bit 15 does not count."""
    return "".join(chr(64 + (code >> shift & 0x1F)) for shift in (10, 5, 0))


def _digits_agree(one: str, other: str) -> bool:
    return all(a == b or "F" in (a, b) for a, b in zip(one, other, strict=True))


def _parse_byte(name: str, text: str, whole: str) -> int | None:
    if text == "*":
        return None
    if not _HEX_BYTE.fullmatch(text):
        raise AddressError(
            f"The {name} {text!r} in {whole.strip()!r} is not valid: give two hex digits, or * for any."
        )
    return int(text, 16)
