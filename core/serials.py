"""A list of the meters that should be on a line, out of a CSV file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Final

from core.errors import BadInputError
from core.mbus.address import AddressError, parse_address

MOST_BYTES: Final = 1 << 20
MOST_METERS: Final = 5000
_MOST_ERRORS: Final = 10
_LONGEST_NAME: Final = 64
_SEPARATORS: Final = ";,\t"

_NUMBER: Final = re.compile(r"[0-9]{1,8}")
_NAME_HEADERS: Final = ("name", "label", "place", "location", "description", "designation")


class SerialsError(BadInputError):
    """A list that cannot be used; each wrong line is named."""


@dataclass(frozen=True, slots=True)
class Serials:
    """The meters of a list."""

    addresses: tuple[str, ...]
    """Identifications (8 digits) or secondary addresses, each once."""
    names: tuple[str, ...]
    """In the same order, "" for none."""
    notes: tuple[str, ...]
    """Sentences about what was put right."""


def parse_serials(data: bytes) -> Serials:
    """The meters in a CSV file: serials of up to 8 digits or secondary addresses, and names.

    Comma, semicolon or tab, quotes, a byte order mark, empty lines and a header line are all right. The column of the
    serials is the first one that holds nothing else; one beside it that is headed as a name, or the next one, has the
    names. Raises `SerialsError`.
    """
    rows = _rows(data)
    if not rows:
        raise SerialsError("The list of expected meters is empty: give a serial in each line.")
    header = [] if any(_is_serial(cell) for cell in rows[0][1]) else [cell.lower() for cell in rows.pop(0)[1]]
    column = _serial_column(rows)
    names = _name_column(header, column)
    found: dict[str, str] = {}
    errors: list[str] = []
    short = twice = 0
    for number, cells in rows:
        text = cells[column] if column < len(cells) else ""
        try:
            address = _address(text)
        except AddressError:
            errors.append(
                f"line {number}: {text[:30]!r} is neither a serial of 8 digits nor an address like 12345678.HYD.25.07"
            )
            continue
        short += bool(_NUMBER.fullmatch(text)) and len(text) < 8
        twice += address in found
        name = cells[names] if names < len(cells) else ""
        found.setdefault(address, name[:_LONGEST_NAME] if name.isprintable() else "")
    if errors:
        more = f"; and {len(errors) - _MOST_ERRORS} more lines" if len(errors) > _MOST_ERRORS else ""
        raise SerialsError(
            f"The list of expected meters is wrong in {'; '.join(errors[:_MOST_ERRORS])}{more}."
        )
    if len(found) > MOST_METERS:
        raise SerialsError(f"The list names {len(found)} meters; {MOST_METERS} can be expected at most.")
    notes = []
    if short:
        notes.append(f"{short} of the serials had lost zeros in front; they were put back.")
    if twice:
        notes.append(f"{twice} of the serials were there more than once.")
    return Serials(tuple(found), tuple(found.values()), tuple(notes))


def _rows(data: bytes) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line that is not empty."""
    if len(data) > MOST_BYTES:
        raise SerialsError(f"The list of expected meters is larger than {MOST_BYTES >> 20} MiB.")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append((reader.line_num, stripped))
    except csv.Error as error:
        raise SerialsError(
            f"The list of expected meters is no CSV in line {reader.line_num}: {error}."
        ) from error
    return rows


def _serial_column(rows: list[tuple[int, list[str]]]) -> int:
    """The column that has most serials, the first of them."""
    counts: dict[int, int] = {}
    for _, cells in rows:
        for column, cell in enumerate(cells):
            counts[column] = counts.get(column, 0) + _is_serial(cell)
    return max(counts, key=lambda column: (counts[column], -column), default=0)


def _name_column(header: list[str], serials: int) -> int:
    for column, title in enumerate(header):
        if column != serials and any(word in title for word in _NAME_HEADERS):
            return column
    return serials + 1 if serials == 0 else 0


def _is_serial(text: str) -> bool:
    try:
        return len(_address(text)) >= 8
    except AddressError:
        return False


def _address(text: str) -> str:
    """The address that a cell names, with the zeros in front that spreadsheets take away. Raises `AddressError`."""
    if _NUMBER.fullmatch(text):
        return text.zfill(8)
    if len(text) < 8:
        raise AddressError("")
    return str(parse_address(text))
