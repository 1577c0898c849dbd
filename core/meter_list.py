"""Lists of meters as CSV: what a technician keeps in a spreadsheet, read with all its quirks, checked as a whole.

Columns go by their heading, in any order and spelling: name, secondary address, baud rate, addressing mode (primary
or secondary), primary address; and line, readout interval, key. Only an address is needed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.config import Config, ConfigError, MeterConfig, parse_meter
from core.config_tables import Addresses, InstalledAt, on_their_lines
from core.errors import CmeError
from core.mbus.address import PrimaryAddress, SecondaryAddress, parse_address

_COLUMNS: Final[Mapping[str, str]] = {
    "name": "name",
    "position": "name",
    "metername": "name",
    "secondaryaddress": "secondary",
    "secondary": "secondary",
    "identification": "secondary",
    "id": "secondary",
    "serialnumber": "secondary",
    "serial": "secondary",
    "baudrate": "baud",
    "baud": "baud",
    "addressingmode": "mode",
    "addressing": "mode",
    "mode": "mode",
    "primaryaddress": "primary",
    "primary": "primary",
    "line": "line",
    "interval": "interval",
    "readoutinterval": "interval",
    "key": "key",
    "encryptionkey": "key",
    "decryptionkey": "key",
    "meterkey": "key",
    "aeskey": "key",
}
"""Heading without blanks and in lower case -> what is in the column."""

HEADINGS: Final = (
    "name",
    "secondary address",
    "baud rate",
    "addressing mode",
    "primary address",
    "line",
    "interval",
)
"""Those that `written` gives; it never writes a key."""

_MODES: Final = {"p": "primary", "primary": "primary", "s": "secondary", "secondary": "secondary"}
_SECRET: Final = re.compile(r"[0-9A-Fa-f]{16,}")
_GROUPS: Final = re.compile(r"[\s:-]")  # between which the digits of a key are written in groups
_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}")
_BOMS: Final = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))

LONGEST_LIST: Final = 4 << 20
"""Bytes; a list of ten thousand meters has a quarter of it."""


class MeterListError(ConfigError):
    """A list that cannot be used: `problems` has a sentence for each mistake, and none of them a key."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ListedMeter:
    """A meter as a row has it."""

    row: int  # its line in the file, from 1
    config: MeterConfig  # the line of the bus may be open


@dataclass(frozen=True, slots=True)
class MeterList:
    """What a file says."""

    meters: tuple[ListedMeter, ...]
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """32 hex digits by identification."""


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would do."""

    new: tuple[ListedMeter, ...]  # with their lines
    present: tuple[ListedMeter, ...]  # installed at this place already


def read_meters(data: bytes) -> MeterList:
    """The meters of a CSV file, with the keys that it has. Raises `MeterListError` with all that is wrong."""
    headed, problems = _headed(data)
    meters: list[ListedMeter] = []
    keys: dict[str, str] = {}
    for row, cells in headed:
        try:
            meters.append(_meter(row, cells))
            if cells.get("key"):
                _take_key(keys, row, cells)
        except CmeError as error:
            problems.append(str(error))
    if not meters and not problems:
        problems.append("The list has no meter: below the headings it is empty.")
    if problems:
        raise MeterListError(problems)
    return MeterList(tuple(meters), keys)


def read_keys(data: bytes) -> Mapping[str, str]:
    """Keys by identification: a CSV file with these two columns, with or without headings.

    Raises `MeterListError` with all that is wrong.
    """
    rows = list(_rows(data))
    if rows and re.fullmatch(r"[0-9]{1,8}", rows[0][1][0]):
        headed: Iterable[tuple[int, dict[str, str]]] = (
            (row, {"secondary": cells[0], "key": cells[1] if len(cells) > 1 else ""}) for row, cells in rows
        )
        problems: list[str] = []
    else:
        headed, problems = _headed(data)
    keys: dict[str, str] = {}
    for row, cells in headed:
        try:
            _take_key(keys, row, cells)
        except CmeError as error:
            problems.append(str(error))
    if not keys and not problems:
        problems.append("The file has no key.")
    if problems:
        raise MeterListError(problems)
    return keys


def plan_import(listed: MeterList, config: Config, installed: Iterable[InstalledAt]) -> ImportPlan:
    """Which meters of the list are new. Raises `MeterListError` where one of these cannot be installed."""
    installed = list(installed)
    there = {meter.config.place for meter in installed}
    addresses = Addresses(installed)
    new: list[ListedMeter] = []
    present: list[ListedMeter] = []
    problems = []
    for meter in listed.meters:
        try:
            (placed,) = on_their_lines([meter.config], config.lines)
            if placed.place in there:
                present.append(ListedMeter(meter.row, placed))
                continue
            addresses.take(InstalledAt(placed))
        except CmeError as error:
            problems.append(f"Row {meter.row}: {error}")
        else:
            new.append(ListedMeter(meter.row, placed))
    if problems:
        raise MeterListError(problems)
    return ImportPlan(tuple(new), tuple(present))


def written(installed: Iterable[InstalledAt]) -> str:
    """The meters as a list that `read_meters` takes."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter=";", lineterminator="\n")
    rows.writerow(HEADINGS)
    for meter in installed:
        config, address = meter.config, parse_address(str(meter.config.address))
        primary = isinstance(address, PrimaryAddress)
        secondary = meter.identity if primary else address
        rows.writerow(
            (
                config.name,
                secondary or "",
                config.baud or "",
                "primary" if primary else "secondary",
                address if primary else "",
                config.line,
                config.interval or "",
            )
        )
    return text.getvalue()


def _headed(data: bytes) -> tuple[Iterator[tuple[int, dict[str, str]]], list[str]]:
    """The rows below the headings by what is in each column, and what is wrong with the headings."""
    rows = iter(_rows(data))
    _, headings = next(rows, (0, []))
    names: dict[int, str] = {}
    problems = []
    for number, heading in enumerate(headings):
        name = _COLUMNS.get(re.sub(r"[^a-z]", "", heading.lower()))
        if not heading:
            continue
        if name is None:
            shown = "" if _is_secret(heading) else f' "{heading[:40]}"'
            problems.append(
                f"Column {number + 1}{shown} is not known; known are: {', '.join((*HEADINGS, 'key'))}."
            )
        elif name in names.values():
            problems.append(f'Column {number + 1} "{heading}" is there twice; keep one of them.')
        else:
            names[number] = name
    if not {"secondary", "primary"} & set(names.values()) and not problems:
        problems.append('The list needs headings, among them "secondary address" or "primary address".')
    if problems:
        raise MeterListError(problems)

    def below() -> Iterator[tuple[int, dict[str, str]]]:
        for row, cells in rows:
            if any(cells[len(headings) :]):
                problems.append(f"Row {row}: it has more columns than there are headings.")
            yield row, {name: cells[number] for number, name in names.items() if number < len(cells)}

    return below(), problems


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their number; blanks around a cell do not count."""
    text = _text(data)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(";\t,", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            stripped = [cell.strip().lstrip("'") for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise MeterListError([f"Row {reader.line_num}: {error}."]) from None


def _text(data: bytes) -> str:
    if len(data) > LONGEST_LIST:
        raise MeterListError([f"The file is larger than {LONGEST_LIST >> 20} MiB: it is no list of meters."])
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what spreadsheets in western Europe save
    if "\0" in text:
        raise MeterListError(["The file is no text; save it as CSV."])
    return text


def _meter(row: int, cells: Mapping[str, str]) -> ListedMeter:
    where = f"Row {row}:"
    for name, cell in cells.items():
        if name != "key" and _is_secret(cell):
            raise ConfigError(f"{where} there is what looks like a key in the wrong column.")
    values: dict[str, Any] = {"address": _address(where, cells)}
    values |= {name: cells[name] for name in ("name", "line", "interval") if cells.get(name)}
    if baud := cells.get("baud"):
        values["baud"] = int(baud) if baud.isascii() and baud.isdigit() else baud
    return ListedMeter(row, parse_meter(values, where))


def _address(where: str, cells: Mapping[str, str]) -> int | str:
    primary, secondary = cells.get("primary", ""), cells.get("secondary", "")
    typed = cells.get("mode", "")
    mode = _MODES.get(typed.lower()) if typed else "secondary" if secondary else "primary"
    if mode is None:
        raise ConfigError(f'{where} the addressing mode is primary or secondary, not "{typed}".')
    chosen = primary if mode == "primary" else secondary
    if not chosen:
        raise ConfigError(f"{where} the {mode} address is missing.")
    if mode == "secondary":
        return str(_secondary(where, secondary))
    if not (primary.isascii() and primary.isdigit() and int(primary) <= 250):
        raise ConfigError(f'{where} "{primary}" is no primary address; it is a number from 1 to 250.')
    return int(primary)


def _secondary(where: str, text: str) -> SecondaryAddress:
    """With the zeros in front that a spreadsheet takes away from a number."""
    if re.fullmatch(r"[0-9][.,][0-9]+E\+?[0-9]+", text, re.IGNORECASE):
        raise ConfigError(
            f'{where} "{text}" was rounded by a spreadsheet; format the column as text and enter the address again.'
        )
    identification, dot, rest = text.upper().partition(".")
    try:
        address = parse_address(identification.zfill(8) + dot + rest)
    except CmeError as error:
        raise ConfigError(f"{where} {error}") from None
    assert isinstance(address, SecondaryAddress)
    return address


def _is_secret(cell: str) -> bool:
    """Whether it may be a key, in one piece or in groups, so that no message may show it."""
    return bool(_SECRET.search(cell) or _KEY.fullmatch(_GROUPS.sub("", cell)))


def _take_key(keys: dict[str, str], row: int, cells: Mapping[str, str]) -> None:
    where = f"Row {row}:"
    key, text = cells.get("key", ""), cells.get("secondary", "")
    if not text or _is_secret(text):
        raise ConfigError(f"{where} a key goes with the secondary address of its meter, 8 digits.")
    identification = _secondary(where, text).identification
    if not identification.isdigit():
        raise ConfigError(f"{where} a key goes with 8 digits, without wildcards.")
    key = _GROUPS.sub("", key)
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{where} the key must be 32 hex digits, not {len(key)} characters.")
    if keys.get(identification, key).lower() != key.lower():
        raise ConfigError(f"{where} meter {identification} has another key further up.")
    keys[identification] = key
