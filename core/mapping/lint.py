"""What is wrong with a mapping file, and what a valid one says that will not work as its author may think.

A file that cannot be used has one error, the reason why it is refused. Everything else is a warning: a file of the
original works here even where it could be better.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from core.cosem import names
from core.mapping import coach, convert, engine, units
from core.mapping.engine import Readout
from core.mapping.keys import Key, Source
from core.mapping.media import known_types, types_of
from core.mapping.model import (
    ANY_MANUFACTURER,
    ANY_VERSION,
    CLASSES,
    ENTRY_PROPERTIES,
    PROFILE,
    PROPERTIES,
    Entry,
    MappingError,
    MappingFile,
)
from core.mapping.probe import record_for
from core.mapping.simplified import Site
from core.mbus.telegram import Function, Record
from core.mbus.values import Coding

_BILLING: Final = ("energy", "volume", "mass", "hca-units")  # quantities that somebody pays for
_TIMES: Final = (Coding.DATE, Coding.TIME, Coding.DATETIME, Coding.DATETIME_SECONDS)
_NO_NUMBERS: Final = (*_TIMES, Coding.TEXT, Coding.BYTES, Coding.OBIS)
_REGISTERS: Final = (CLASSES["register"], CLASSES["extended_register"])
_DUE_DATE: Final = 1  # the highest storage number that the standard table gives a meaning
_NO_HISTORY: Final = (
    "no entry of class data, register or extended_register reads one of these keys of the same mbusTelegram, so there "
    "is no history to show and clients do not see the profile; add such an entry"
)


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The file is refused."""
    WARNING = "warning"
    """The file is used, and does perhaps not what its author wants."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a mapping file."""

    severity: Severity
    file: str
    path: str  # in the JSON of the file: "entries[3].dlmsUnit"; "" for the whole file
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.text}" if self.path else f"{self.file}: {self.text}"


class MeterReadout(NamedTuple):
    """The last readout of a meter, for looking at what a mapping makes of it."""

    name: str
    readout: Readout
    site: Site


def refusal(error: MappingError) -> Finding:
    """The finding for a file that cannot be used."""
    return Finding(Severity.ERROR, error.file, error.path, error.reason)


def findings(mapping: MappingFile, meters: Iterable[MeterReadout] = ()) -> tuple[Finding, ...]:
    """Every doubt about a valid file, in its own order; then those that only the values of `meters` show."""
    doubts = [*_of_file(mapping)]
    histories = engine.histories(mapping, mapping.entries)
    for entry in mapping.entries:
        doubts += _of_entry(entry, mapping.document["entries"][entry.index])
        if entry.class_id != PROFILE:
            doubts += _of_value(entry)
        elif entry not in histories:
            doubts.append((f"entries[{entry.index}].mbusKeys", _NO_HISTORY))
    for meter in meters:
        doubts += _with_meter(mapping, meter)
    return tuple(Finding(Severity.WARNING, mapping.name, path, text) for path, text in doubts)


_Doubt = tuple[str, str]  # JSON path and sentence


def _of_file(mapping: MappingFile) -> Iterator[_Doubt]:
    yield from _unknown_properties(mapping.document, PROPERTIES, "")
    if mapping.type not in known_types():
        yield "type", f"no M-Bus medium is called {mapping.type!r}, so no meter uses it"
    if mapping.manufacturer == ANY_MANUFACTURER and mapping.version != ANY_VERSION:
        yield "version", "counts only with a manufacturer, so no meter uses this file; use 0"
    if mapping.without_code:
        first, *more = mapping.without_code
        which = f"this one and {len(more)} more have" if more else "has"
        yield (
            f"entries[{first}].dlmsObisCode",
            f"{which} no OBIS code yet, so clients do not see the value; write one, or take the entry out",
        )


def _of_entry(entry: Entry, item: dict[str, Any]) -> Iterator[_Doubt]:
    path = f"entries[{entry.index}]"
    yield from _unknown_properties(item, ENTRY_PROPERTIES, f"{path}.")
    if entry.obis in names.OF_METERS:
        yield (
            f"{path}.dlmsObisCode",
            f"{entry.obis_text} is an object of every meter's logical device, which this entry cannot replace",
        )
    mark = item.get("mbusDescriptionLong")
    if isinstance(mark, str) and mark.startswith(coach.CHECK):
        yield (
            f"{path}.mbusDescriptionLong",
            f"{entry.obis_text} is to be checked with the meter's manual; then take out the word {coach.CHECK}",
        )


def _of_value(entry: Entry) -> Iterator[_Doubt]:
    path = f"entries[{entry.index}]"
    if entry.unit not in units.dlms_units():
        yield f"{path}.dlmsUnit", f"{entry.unit} is no DLMS unit that is known here"
    if entry.class_id in _REGISTERS and not convert.is_numeric(entry.data_type) and not _is_line(entry):
        yield f"{path}.dlmsClass", f"a register shows a number; for data type {entry.data_type} use data"
    records = {number: _announced(key) for number, key in enumerate(entry.keys)}
    for number, key in enumerate(entry.keys):
        if key.source is Source.DIB and (text := _of_key(entry, key, records[number])):
            yield f"{path}.mbusKeys[{number}]", text
        if text := _of_storage(key, records[number]):
            yield f"{path}.mbusKeys[{number}]", text
    if text := _of_steps(entry, [record for record in records.values() if record is not None]):
        yield f"{path}.mbusKeys", text


def _unknown_properties(item: dict[str, Any], known: Sequence[str], path: str) -> Iterator[_Doubt]:
    for name in item:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            shown = name if name.isprintable() else json.dumps(name)
            shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
            yield f"{path}{shown}", f"is no property that is known here; it is kept and not used{meant}"


def _is_line(entry: Entry) -> bool:
    return any(key.source not in (Source.DIB, Source.DESCRIPTION) for key in entry.keys)


def _announced(key: Key) -> Record | None:
    return record_for(bytes.fromhex(key.dib)) if key.source is Source.DIB else None


def _of_key(entry: Entry, key: Key, record: Record | None) -> str:
    if record is None:
        return f"{key.dib} is no DIF and VIF of a record"
    if text := _wrong_kind(entry, record):
        return f"never gives a value, as {text}"
    if not convert.is_numeric(entry.data_type):
        return ""
    try:
        factor, ratio = engine.ratios(entry, record)
    except units.UnitMismatchError as error:
        return f"never gives a value, as {error}"
    if ratio.denominator == 1 or record.coding is Coding.REAL or convert.is_float(entry.data_type):
        return ""
    converted = f"{units.symbol(entry.unit)} at " if factor != 1 else ""
    text = (
        f"counts in 10^{record.exponent} {record.unit or 'a bare number'}, finer than {converted}dlmsScaler "
        f"{entry.scaler}: a value that is no whole number there is not shown"
    )
    return f"{text}; use dlmsScaler {record.exponent}" if factor == 1 else text


def _wrong_kind(entry: Entry, record: Record) -> str:
    """Why class or data type never fit what the VIF stands for."""
    is_time = record.coding in _TIMES
    if entry.class_id == CLASSES["clock"] and (not is_time or record.coding is Coding.TIME):
        return f"{record.description} is no date and time, which class clock needs"
    if (
        convert.is_numeric(entry.data_type)
        and entry.class_id != CLASSES["clock"]
        and record.coding in _NO_NUMBERS
    ):
        return f"{record.description} is no number, and dlmsDataType {entry.data_type} is one"
    return ""


def _of_storage(key: Key, record: Record | None) -> str:
    if key.source is Source.DESCRIPTION:
        storage, historic = key.storage, key.description.endswith(" register")
    elif record is not None:
        storage, historic = record.storage, "register" in record.modifiers
    else:
        return ""
    if storage <= _DUE_DATE or historic:
        return ""
    return f"storage number {storage} has no meaning in the standard; see in the meter's manual which time it is of"


def _of_steps(entry: Entry, records: Sequence[Record]) -> str:
    """Whether keys of one entry count in different steps: the factor that is found when the bill is wrong."""
    if not convert.is_numeric(entry.data_type):
        return ""
    steps: dict[object, str] = {}
    for record in records:
        try:
            _, ratio = engine.ratios(entry, record)
        except units.UnitMismatchError:
            continue
        steps.setdefault(ratio, f"{record.dib} in 10^{record.exponent} {record.unit}".rstrip())
    if len(steps) < 2:
        return ""
    return (
        f"count in different steps ({', '.join(steps.values())}): here each is converted to dlmsScaler "
        f"{entry.scaler}, but a gateway that passes raw numbers on is wrong by the factor; make an entry for each, "
        "with a scaler of its own"
    )


def _with_meter(mapping: MappingFile, meter: MeterReadout) -> Iterator[_Doubt]:
    telegrams = meter.readout.telegrams
    kind = coach.meter_type(telegrams[0])
    fits = mapping.type in types_of(telegrams[0].medium_code)
    fits = fits and mapping.manufacturer in (ANY_MANUFACTURER, telegrams[0].manufacturer)
    if not fits or mapping.version not in (ANY_VERSION, telegrams[0].version):
        yield "", f"is for {mapping.label}, and {meter.name} is {kind.label}: that meter does not use it"
        return
    yield from _competing(mapping, meter)
    for value in engine.evaluate(mapping, meter.readout, meter.site):
        record = value.record
        unreadable = (
            record is not None and record.raw is None
        )  # the meter says so, the mapping cannot help it
        if value.error and value.error != engine.NO_SUCH_RECORD and not unreadable:
            sent = f" sends {coach.Field(value.telegram, record, ()).value}" if record is not None else ""
            yield (
                f"entries[{value.object.entry.index}]",
                f"{meter.name}{sent}, which is not shown: {value.error}",
            )
    yield from _unmapped(mapping, meter)


def _competing(mapping: MappingFile, meter: MeterReadout) -> Iterator[_Doubt]:
    """Codes for which a meter has two fields: only one can be shown."""
    held: dict[tuple[bytes, int], tuple[int, Record]] = {}
    for entry in mapping.entries:
        if entry.class_id == PROFILE or entry.telegram >= len(meter.readout.telegrams):
            continue
        records = meter.readout.telegrams[entry.telegram].records
        for number, key in enumerate(entry.keys):
            for record in engine.meant(key, records)[:1]:
                place = (entry.telegram, record)
                first = held.setdefault((entry.obis, entry.class_id), place)
                if first != place:
                    yield (
                        f"entries[{entry.index}].mbusKeys[{number}]",
                        f"{meter.name} has two fields for {entry.obis_text}, {_named(first[1])} and "
                        f"{_named(record)}: only one of them is shown",
                    )


def _unmapped(mapping: MappingFile, meter: MeterReadout) -> Iterator[_Doubt]:
    """Values that somebody pays for and that no entry shows, although the coach knows a code."""
    telegrams = meter.readout.telegrams
    shown = engine.record_of(engine.objects(mapping, telegrams), telegrams)
    for proposal in coach.propose([telegrams]):
        field, choice = proposal.field, proposal.choice
        if choice is None or (field.telegram, field.record.index) in shown:
            continue
        if field.record.quantity in _BILLING and field.record.function is Function.INSTANTANEOUS:
            yield (
                "",
                f"no entry shows a value that is for billing: {meter.name} sends {field.meaning} "
                f"({field.record.dib}) = {field.value}; the coach proposes {choice.obis}",
            )


def _named(record: Record) -> str:
    return f"{coach.Field(0, record, ()).meaning} ({record.dib})"
