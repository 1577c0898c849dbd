"""The standard table: which OBIS code, unit and scaler a quantity of a medium has, and how sure that is.

`obis_table.csv` grades each row: A and B are used as they are, C is to be checked by a person, D is a guess.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from core.mbus.telegram import Function

ANY_MEDIUM = "any"


class TableRow(NamedTuple):
    """One quantity of a medium, as M-Bus sends it and as COSEM shows it."""

    medium: str  # "water", "heat cost allocator", "any"
    quantity: str  # for people
    vibs: tuple[bytes, ...]  # every VIF of the row with its VIFEs
    function: Function
    storage: int
    tariff: int
    subunit: int
    obis: str  # value group A may be the letter A: that of the medium
    class_id: int
    unit: int | None
    scaler: int
    data_type: int
    grade: str  # A..D
    device_types: frozenset[int]  # M-Bus device types, empty for all
    source: str  # who uses the code, in the table's abbreviations
    note: str

    @property
    def historic(self) -> bool:
        """Whether the row stands for all historic registers of its quantity."""
        return self.obis.endswith(".F")


@cache
def table() -> tuple[TableRow, ...]:
    """The rows that name one VIF or a range of VIFs and one OBIS code, in the order of the table."""
    return tuple(row for row in _rows() if not row.historic)


@cache
def historic_registers() -> tuple[TableRow, ...]:
    """The rows of historic billing registers, whose number is value group F of the code (OMS vol. 2, annex G).

    Their code ends with the letter F; the storage number is of no meaning in them.
    """
    return tuple(row for row in _rows() if row.historic)


@cache
def _rows() -> tuple[TableRow, ...]:
    with (Path(__file__).parent / "obis_table.csv").open(encoding="utf-8", newline="") as file:
        rows = (_row(item) for item in csv.DictReader(file))
        return tuple(row for row in rows if row is not None)


def _row(item: dict[str, str]) -> TableRow | None:
    vibs = _vibs(item["vif"], item["vife"])
    historic = item["storage"] == "register"
    pattern = r"[A\d]+(\.\d+){4}\.F" if historic else r"[A\d]+(\.\d+){5}"
    complete = (historic or item["storage"].isdecimal()) and re.fullmatch(pattern, item["obis"])
    if not vibs or not complete or item["medium"].startswith("dialect"):
        return None  # a pattern over storage numbers or a header field: no record has it as it stands
    return TableRow(
        medium=item["medium"],
        quantity=item["quantity"],
        vibs=vibs,
        function=_FUNCTIONS[item["function"]],
        storage=0 if historic else int(item["storage"]),
        tariff=int(item["tariff"] or 0),
        subunit=int(item["subunit"] or 0),
        obis=item["obis"],
        class_id=int(item["cosem_class"]),
        unit=int(item["dlms_unit"]) if item["dlms_unit"] else None,
        scaler=int(item["scaler"] or 0),
        data_type=int(item["dlms_type"]),
        grade=item["confidence"],
        device_types=frozenset(
            int(code, 16) for code in re.findall(r"\b[0-9A-F]{2}\b", item["mbus_device_types"])
        ),
        source=item["source"],
        note=item["note"],
    )


_FUNCTIONS = {"inst": Function.INSTANTANEOUS, "max": Function.MAXIMUM, "min": Function.MINIMUM}


def _vibs(vif: str, vife: str) -> tuple[bytes, ...]:
    """`"FB00-FB01"` and `"3C"` as FB803C and FB813C: all bytes but the last carry the extension bit."""
    vibs: list[bytes] = []
    for part in vif.split("|"):
        found = re.fullmatch(r"((?:[0-9A-F]{2})+)(?:-((?:[0-9A-F]{2})+))?", part)
        if not found:
            return ()
        first, last = found[1], found[2] or found[1]
        for number in range(int(first, 16), int(last, 16) + 1):
            codes = number.to_bytes(len(first) // 2, "big") + bytes.fromhex(vife)
            vibs.append(bytes([code | 0x80 for code in codes[:-1]] + [codes[-1] & 0x7F]))
    return tuple(vibs)
