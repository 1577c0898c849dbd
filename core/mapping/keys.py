"""M-Bus keys of mapping files: how they are written, and which record of a telegram they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

MAX_KEY_LENGTH = 200

_DIB = "mbus.dib."
_HEX = re.compile(r"(?:[0-9a-f]{2}){2,22}")  # DIF, at most 10 DIFE, VIF, at most 10 VIFE (EN 13757-3, 6.3)
_NUMBERED = re.compile(r"(?P<description>.*\S)\s*\.(\d{1,13})\.(\d{1,10})\.(\d{1,10})\.([0-3])")
_BLANKS = re.compile(r"\s+")


class Source(Enum):
    """What a key reads."""

    DIB = "the record with these DIF and VIF bytes"
    DESCRIPTION = "the record with this description, storage, tariff, subunit and function"
    FRAME = "mbus.frame.raw"
    DECODED_VALUE = "mbus.telegram.decoded.value"
    DECODED_HEADER = "mbus.telegram.decoded.header"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an entry. Numbers are 0 and texts "" where the source has none. Equal if both mean the same."""

    text: str = field(compare=False)  # trimmed, as written
    source: Source
    scaled: bool = False  # `.value`: the number in the unit of the VIF; else `.unmodifiedvalue`
    dib: str = ""  # hex, lower case
    description: str = ""  # one blank between words
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    function: int = 0  # 0 instantaneous, 1 maximum, 2 minimum, 3 error state


class KeyFormatError(ValueError):
    """A text that is no key; the message says what a key looks like."""


def parse_key(text: str) -> Key:
    """Read one key; blanks around it do not count, nor does the case of letters outside of a description.

    Descriptions may hold blanks and dots, so the four numbers are found from the right.
    Raises `KeyFormatError`.
    """
    trimmed = text.strip()
    if len(trimmed) > MAX_KEY_LENGTH:
        raise KeyFormatError(f"is longer than {MAX_KEY_LENGTH} characters")
    folded = trimmed.lower()
    for source in (Source.FRAME, Source.DECODED_VALUE, Source.DECODED_HEADER):
        if folded == source.value:
            return Key(trimmed, source)
    middle, _, kind = trimmed.rpartition(".")
    if folded.startswith(_DIB) and kind.lower() in ("unmodifiedvalue", "value"):
        scaled = kind.lower() == "value"
        middle = middle[len(_DIB) :]
        if _HEX.fullmatch(middle.lower()):
            return Key(trimmed, Source.DIB, scaled, dib=middle.lower())
        numbered = _NUMBERED.fullmatch(middle)
        if numbered:
            storage, tariff, subunit, function = map(int, numbered.groups()[1:])
            return Key(
                text=trimmed,
                source=Source.DESCRIPTION,
                scaled=scaled,
                description=_BLANKS.sub(" ", numbered["description"].strip()),
                storage=storage,
                tariff=tariff,
                subunit=subunit,
                function=function,
            )
    raise KeyFormatError(
        f"{trimmed!r} is no M-Bus key; write mbus.dib.<DIF and VIF in hex>.unmodifiedvalue, "
        "mbus.dib.<description>.<storage>.<tariff>.<subunit>.<function 0-3>.unmodifiedvalue, "
        + ", ".join(source.value for source in (Source.FRAME, Source.DECODED_VALUE))
        + f" or {Source.DECODED_HEADER.value}"
    )


def description_key(description: str, storage: int, tariff: int, subunit: int, function: int) -> str:
    """The text of the key that names a record by its description."""
    return f"{_DIB}{description}.{storage}.{tariff}.{subunit}.{function}.unmodifiedvalue"


def normal_description(text: str) -> str:
    """The form in which descriptions are compared: lower case, one blank between words."""
    return _BLANKS.sub(" ", text.strip().lower())
