"""The mapping files that come with the product, made from the standard table: `python -m core.mapping.ready`.

Only rows of grade A and B are used. A register is written once with the scaler of the table and once more
for each step that a VIF of its range can be finer, so that every meter gets a scaler that holds its values
exactly.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from core.dlms.axdr import Tag
from core.mapping import units
from core.mapping.keys import description_key
from core.mapping.library import read_mapping
from core.mapping.media import normal_type, types_of
from core.mapping.model import ANY_MANUFACTURER, CLASSES, MappingFile
from core.mapping.probe import record_for
from core.mapping.table import ANY_MEDIUM, TableRow, table

_GRADES = "AB"
_FINEST = -6  # no meter counts finer than 10^-6
_STEP = 3
_REGISTER = CLASSES["register"]


class ReadyFile(NamedTuple):
    """What one of the files is for."""

    name: str
    type: str
    manufacturer: str
    medium: str  # of the rows in the table
    group: int  # value group A of its codes


_FILES = (
    ReadyFile("water", "water", "all", "water", 8),
    ReadyFile("hot-water", "hot-water", "all", "hot water", 9),
    ReadyFile("heat", "heat", "all", "heat", 6),
    ReadyFile("cooling", "cooling", "all", "cooling", 5),
    ReadyFile("gas", "gas", "all", "gas", 7),
    ReadyFile("electricity", "electricity", "all", "electricity", 1),
    ReadyFile("heat-cost-allocator", "heat-cost-allocator", "all", "heat cost allocator", 4),
    ReadyFile("temperature-humidity", "temperature-humidity", "all", "room sensor", 0),
    # Elvaco's room sensors call their medium "other"
    ReadyFile("temperature-humidity-elv", "other", "ELV", "room sensor", 0),
)

# description and scaler of quantities that Elvaco's room sensors send under a plain-text VIF
_PLAIN_TEXT: dict[str, tuple[tuple[str, ...], int]] = {"relative humidity": (("%rh",), -2)}

_WIDER = {
    Tag.INTEGER: Tag.LONG64,
    Tag.LONG: Tag.LONG64,
    Tag.DOUBLE_LONG: Tag.LONG64,
    Tag.UNSIGNED: Tag.LONG64_UNSIGNED,
    Tag.LONG_UNSIGNED: Tag.LONG64_UNSIGNED,
    Tag.DOUBLE_LONG_UNSIGNED: Tag.LONG64_UNSIGNED,
}
RESERVED: Final = ("0.0.96.1.1.255",)
"""Codes of the table that are never proposed: every meter's logical device has its manufacturer id there."""

_LARGER_THAN_TABLE = {"error flags": Tag.LONG64_UNSIGNED}  # electricity meters send 8 bytes of flags


@cache
def ready_mappings() -> tuple[MappingFile, ...]:
    """The mapping files that come with the product. Raises `MappingError` if one of them was damaged."""
    return tuple(read_mapping(path) for path in sorted(ready_directory().glob("*.json")))


def ready_directory() -> Path:
    """Where the ready mapping files are: in the installed package, else in the source tree."""
    installed = Path(__file__).parent / "ready"
    return installed if installed.is_dir() else _source_directory()


def ready_texts() -> dict[str, str]:
    """Content of every ready mapping file by its name, made from the table now."""
    return {f"{file.name}.json": _text(file) for file in _FILES}


def file_for(medium_code: int, manufacturer: str) -> ReadyFile | None:
    """The ready file for the meters of an M-Bus device type, that of their maker before that of all."""
    types = types_of(medium_code)
    files = [file for file in _FILES if normal_type(file.type) in types]
    return next(
        (file for maker in (manufacturer, ANY_MANUFACTURER) for file in files if file.manufacturer == maker),
        None,
    )


def main() -> None:
    """Write the ready mapping files into the source tree."""
    for name, text in ready_texts().items():
        (_source_directory() / name).write_text(text, encoding="utf-8")


def _source_directory() -> Path:
    return Path(__file__).parents[2] / "mappings"


def _text(file: ReadyFile) -> str:
    content = {"type": file.type, "manufacturer": file.manufacturer, "version": 0, "entries": _entries(file)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _entries(file: ReadyFile) -> list[dict[str, Any]]:
    rows = [row for row in table() if row.medium in (file.medium, ANY_MEDIUM) and row.grade in _GRADES]
    rows = [row for row in rows if row.obis not in RESERVED]
    rows.sort(key=lambda row: row.medium == ANY_MEDIUM)
    taken: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row.medium == ANY_MEDIUM, row.grade)):
        for key in _keys(row):
            taken.setdefault(key, row.obis)
    entries: dict[tuple[str, int | None, int], dict[str, Any]] = {}
    for row in rows:
        keys = [key for key in _keys(row) if taken[key] == row.obis]
        if not keys:
            continue  # its record already has a code in this file; which is right only a person can tell
        for scaler in _scalers(row):
            entry = entries.setdefault((row.obis, row.unit, scaler), _entry(file, row, scaler))
            entry["mbusKeys"].extend(key for key in keys if key not in entry["mbusKeys"])
        _, scaler = _PLAIN_TEXT.get(row.quantity, ((), 0))
        for text in texts(row):
            entry = entries.setdefault((row.obis, row.unit, scaler), _entry(file, row, scaler))
            entry["mbusKeys"].append(_key(row, text))
    return list(entries.values())


def _entry(file: ReadyFile, row: TableRow, scaler: int) -> dict[str, Any]:
    names = {number: name for name, number in CLASSES.items()}
    data_type = _LARGER_THAN_TABLE.get(row.quantity, row.data_type)
    if scaler != row.scaler:
        data_type = _WIDER.get(Tag(data_type), data_type)
    return {
        "includeInPush": "ALL",
        "mbusTelegram": 0,
        "mbusKeys": [],
        "dlmsObisCode": row.obis.replace("A", str(file.group)),
        "dlmsScaler": scaler,
        "dlmsUnit": row.unit or 0,
        "dlmsClass": names[row.class_id],
        "dlmsDataType": int(data_type),
        "dlmsDefaultValue": None,
        "mbusUnit": None,
        "mbusDescriptionLong": row.quantity,
        "mbusTariff": row.tariff,
        "mbusStorageNumber": row.storage,
        "mbusSubUnit": row.subunit,
        "mbusFunction": None,
    }


@cache
def descriptions(row: TableRow) -> tuple[str, ...]:
    """How the decoder describes the records of a row; a range of VIFs mostly has one description."""
    records = (record_for(_dif(vib) + vib) for vib in row.vibs)
    return tuple(dict.fromkeys(record.description for record in records if record))


def texts(row: TableRow) -> tuple[str, ...]:
    """Plain-text VIFs under which makers are known to send the quantity of a row."""
    return _PLAIN_TEXT.get(row.quantity, ((), 0))[0]


def _keys(row: TableRow) -> list[str]:
    """Description keys of a row; a range of VIFs has one description, and so one key."""
    return [_key(row, description) for description in descriptions(row)]


def _key(row: TableRow, description: str) -> str:
    return description_key(description, row.storage, row.tariff, row.subunit, int(row.function))


def _scalers(row: TableRow) -> list[int]:
    """The table's scaler, then finer ones until every VIF of the range has an exact one."""
    if row.class_id != _REGISTER or row.unit is None:
        return [row.scaler]
    finest = row.scaler
    for vib in row.vibs:
        record = record_for(_dif(vib) + vib)
        if record is not None and (record.unit or record.exponent):
            finest = min(finest, _exact_scaler(record.unit, record.exponent, row.unit))
    if finest == row.scaler:
        return [row.scaler]
    lowest = max(finest, _FINEST) // _STEP * _STEP
    next_finer = (row.scaler - 1) // _STEP * _STEP
    return [row.scaler, *range(next_finer, lowest - 1, -_STEP)]


def _exact_scaler(unit: str, exponent: int, dlms_unit: int) -> int:
    """The largest scaler at which every number in that unit and exponent is whole."""
    try:
        factor = units.factor(unit, dlms_unit)
    except units.UnitMismatchError:
        return 0
    while (factor / 10).denominator == 1:
        factor, exponent = factor / 10, exponent + 1
    return exponent


def _dif(vib: bytes) -> bytes:
    return b"\x02" if vib[0] & 0x7F == 0x6C else b"\x04"


if __name__ == "__main__":
    main()
