"""Warnings on import: what a valid mapping file says that will not work as its author may think."""

from __future__ import annotations

from core.mapping import convert, engine, units
from core.mapping.keys import Source
from core.mapping.media import known_types
from core.mapping.model import ANY_MANUFACTURER, ANY_VERSION, Entry, MappingFile
from core.mapping.probe import record_for
from core.mbus.values import Coding


def warnings(mapping: MappingFile) -> tuple[str, ...]:
    """One sentence for each doubt, with the file and the JSON path."""
    found: list[str] = []
    if mapping.type not in known_types():
        found.append(f"{mapping.name}: type: no M-Bus medium is called {mapping.type!r}, so no meter uses it")
    if mapping.manufacturer == ANY_MANUFACTURER and mapping.version != ANY_VERSION:
        found.append(
            f"{mapping.name}: version: counts only with a manufacturer, so no meter uses this file; use 0"
        )
    for entry in mapping.entries:
        path = f"{mapping.name}: entries[{entry.index}]"
        if entry.unit not in units.dlms_units():
            found.append(f"{path}.dlmsUnit: {entry.unit} is no DLMS unit that is known here")
        for number, text in enumerate(_doubts(entry)):
            if text:
                found.append(f"{path}.mbusKeys[{number}]: {text}")
    return tuple(found)


def _doubts(entry: Entry) -> list[str]:
    doubts: list[str] = []
    for key in entry.keys:
        doubts.append("")
        if key.source is not Source.DIB:
            continue
        record = record_for(bytes.fromhex(key.dib))
        if record is None:
            doubts[-1] = f"{key.dib} is no DIF and VIF of a record"
        elif convert.is_numeric(entry.data_type):
            try:
                factor, ratio = engine.ratios(entry, record)
            except units.UnitMismatchError as error:
                doubts[-1] = f"never gives a value, as {error}"
                continue
            if ratio.denominator == 1 or record.coding is Coding.REAL or convert.is_float(entry.data_type):
                continue
            converted = f"{units.symbol(entry.unit)} at " if factor != 1 else ""
            doubts[-1] = (
                f"counts in 10^{record.exponent} {record.unit or 'a bare number'}, finer than {converted}dlmsScaler "
                f"{entry.scaler}: a value that is no whole number there is not shown"
            )
            if factor == 1:
                doubts[-1] += f"; use dlmsScaler {record.exponent}"
    return doubts
