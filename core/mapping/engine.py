"""Applies a mapping file to the telegrams of a meter: which COSEM objects it has, and their encoded values.

Which record an entry reads, and how, depends only on the structure of the telegrams, which a meter hardly
ever changes. So that is worked out once for a mapping and a structure; a value is then one look-up and one
packing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from core.dlms import axdr
from core.mapping import convert, units
from core.mapping.convert import Converter, NoValueError
from core.mapping.keys import Key, Source, normal_description
from core.mapping.model import CLASSES, PROFILE, Entry, MappingFile
from core.mapping.simplified import Site, header_line, value_line
from core.mbus.values import Coding

if TYPE_CHECKING:
    from core.mbus.telegram import Layout, Record, Telegram

_K = TypeVar("_K")
_V = TypeVar("_V")

_REGISTERS = (CLASSES["register"], CLASSES["extended_register"])
_WITH_HISTORY = (CLASSES["data"], *_REGISTERS)
_REMEMBERED = 10_000  # plans at most
_BARE = ("manufacturer-", "reserved-", "dimensionless", "any")


NO_SUCH_RECORD: Final = "the meter sends no such record"
"""`MappedValue.error` where no key of the entry is in the telegram, which is nothing to worry about."""


class Readout(NamedTuple):
    """All telegrams of one readout, in order, and when it was made."""

    telegrams: tuple[Telegram, ...]
    created_ms: int


@dataclass(frozen=True, slots=True)
class MappedObject:
    """A COSEM object that a mapping gives to a meter."""

    entry: Entry  # of several alternatives for one OBIS code the one that fits this meter
    obis: bytes
    class_id: int
    scaler: int | None  # None for classes without one
    unit: int | None
    in_push: bool
    held: bool  # the telegrams have such a record, valid or not


@dataclass(frozen=True, slots=True)
class MappedValue:
    """What a client gets for one object."""

    object: MappedObject
    encoded: bytes | None  # A-XDR with tag; None = neither a value nor a default
    record: Record | None  # that was read, also where it holds no valid value
    telegram: int  # its number in the readout
    error: str  # why there is no value from the telegram; "" if there is one
    from_default: bool
    status: int | None  # status byte of the telegram, None without one


def objects(
    mapping: MappingFile, telegrams: Sequence[Telegram], current: frozenset[Entry] = frozenset()
) -> tuple[MappedObject, ...]:
    """The objects of a mapping that hold one value, in file order, one for each OBIS code and class.

    Where entries are alternatives for one code, the first one wins that holds a record without loss, in the
    meter's own unit before in another, else the first that holds one at all, else the first. One of the
    `current` entries stays as long as it can show what is sent: clients may keep its scaler.
    """
    layouts = _layouts(telegrams)
    known = _objects.get((mapping, layouts, current))
    if known is None:
        groups: dict[tuple[bytes, int], list[_Step]] = {}
        for entry in mapping.entries:
            if entry.class_id != PROFILE:
                groups.setdefault((entry.obis, entry.class_id), []).append(_step(entry, telegrams, layouts))
        known = tuple(_mapped(_choose(group, current)) for group in groups.values())
        _remember(_objects, (mapping, layouts, current), known)
    return known


def evaluate(
    mapping: MappingFile, readout: Readout, site: Site, current: frozenset[Entry] = frozenset()
) -> tuple[MappedValue, ...]:
    """The values of `objects(mapping, readout.telegrams, current)` in one readout, in that order."""
    telegrams = readout.telegrams
    layouts = _layouts(telegrams)
    return tuple(
        _evaluate(item, _step(item.entry, telegrams, layouts), readout, site)
        for item in objects(mapping, telegrams, current)
    )


def histories(mapping: MappingFile, shown: Iterable[Entry]) -> dict[Entry, Entry]:
    """For each entry of class profile generic, the first of the `shown` ones whose values it keeps.

    That is one of class data, register or extended register with one of its keys, of the same telegram. A profile
    without any is left out: there is nothing to show.
    """
    profiles = [entry for entry in mapping.entries if entry.class_id == PROFILE]
    if not profiles:
        return {}
    readers: dict[tuple[int, Key], tuple[int, Entry]] = {}
    for place, entry in enumerate(shown):
        if entry.class_id in _WITH_HISTORY:
            for key in entry.keys:
                readers.setdefault((entry.telegram, key), (place, entry))
    found: dict[Entry, Entry] = {}
    for profile in profiles:
        wanted = ((profile.telegram, key) for key in profile.keys)
        same = [readers[key] for key in wanted if key in readers]
        if same:
            found[profile] = min(same, key=lambda reader: reader[0])[1]
    return found


def columns(
    chosen: Sequence[MappedObject], readouts: Iterable[Readout], site: Site
) -> list[tuple[bytes, ...]]:
    """One row of encoded values a readout for the chosen objects: default or null-data for a missing value.

    The objects fix unit and scaler for all rows, also where an older telegram had another structure.
    """
    plans: dict[_Layouts, list[_Column]] = {}
    rows: list[tuple[bytes, ...]] = []
    for readout in readouts:
        layouts = _layouts(readout.telegrams)
        plan = plans.get(layouts)
        if plan is None:
            plan = [_column(_step(item.entry, readout.telegrams, layouts)) for item in chosen]
            plans[layouts] = plan
        rows.append(tuple([column(readout, site) for column in plan]))
    return rows


def record_of(
    chosen: Sequence[MappedObject], telegrams: Sequence[Telegram]
) -> dict[tuple[int, int], MappedObject]:
    """For each mapped record, by telegram number and record index, the first chosen object that shows it."""
    layouts = _layouts(telegrams)
    shown: dict[tuple[int, int], MappedObject] = {}
    for item in chosen:
        for candidate in _step(item.entry, telegrams, layouts).candidates[:1]:
            shown.setdefault((item.entry.telegram, candidate.position), item)
    return shown


def ratios(entry: Entry, record: Record) -> tuple[Fraction, Fraction]:
    """What leads from the record's unit to the entry's, and from the number as sent to the one that is served.

    Raises `UnitMismatchError`.
    """
    if _is_bare(record):
        return Fraction(1), Fraction(1)
    physical = record.unit and entry.class_id in _REGISTERS
    factor = units.factor(record.unit, entry.unit) if physical else Fraction(1)
    return factor, factor * Fraction(10) ** (record.exponent - entry.scaler)


def meant(key: Key, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records that a key of a record means, the one that it reads first."""
    return tuple(record for _, record in _meant(key, records))


class _Candidate(NamedTuple):
    position: int  # in Telegram.records
    convert: Converter
    fit: int  # 0: some values cannot be shown; 1: every value that fits the data type; 2: in the meter's unit


class _Step(NamedTuple):
    """How one entry is read from telegrams of one structure."""

    entry: Entry
    candidates: tuple[_Candidate, ...]  # in the order of the keys
    line: _Column | None  # frame.raw, decoded.*
    problem: str  # why a record that is there cannot be shown, or ""


_Column = Callable[[Readout, Site], bytes]
_Layouts = tuple["Layout", ...]

_objects: dict[tuple[MappingFile, _Layouts, frozenset[Entry]], tuple[MappedObject, ...]] = {}
_steps: dict[tuple[Entry, _Layouts], _Step] = {}


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= _REMEMBERED:
        cache.clear()  # a gateway's meters need far less; this only bounds what odd telegrams can take
    cache[key] = value


def _layouts(telegrams: Sequence[Telegram]) -> _Layouts:
    return tuple([telegram.layout for telegram in telegrams])


def _step(entry: Entry, telegrams: Sequence[Telegram], layouts: _Layouts) -> _Step:
    step = _steps.get((entry, layouts))
    if step is None:
        step = _compile(entry, telegrams)
        _remember(_steps, (entry, layouts), step)
    return step


def _mapped(step: _Step) -> MappedObject:
    entry = step.entry
    register = entry.class_id in _REGISTERS
    return MappedObject(
        entry=entry,
        obis=entry.obis,
        class_id=entry.class_id,
        scaler=entry.scaler if register else None,
        unit=entry.unit if register else None,
        in_push=entry.in_push,
        held=bool(step.candidates) or step.line is not None,
    )


def _choose(steps: list[_Step], current: frozenset[Entry]) -> _Step:
    kept = next((step for step in steps if step.entry in current), None)
    if kept is not None and (
        kept.candidates[0].fit if kept.candidates else not any(s.candidates for s in steps)
    ):
        return kept
    for fit in (2, 1):
        for step in steps:
            if step.candidates and step.candidates[0].fit == fit:
                return step
    return next((step for step in steps if step.candidates or step.line), steps[0])


def _compile(entry: Entry, telegrams: Sequence[Telegram]) -> _Step:
    candidates: list[_Candidate] = []
    problem = ""
    if entry.telegram < len(telegrams):
        for key in entry.keys:
            if key.source not in (Source.DIB, Source.DESCRIPTION):
                # every telegram has it, so no later key can matter
                return _Step(entry, tuple(candidates), _line(entry, key.source), problem)
            found, reason = _find(entry, key, telegrams[entry.telegram].records)
            if found is not None and found.position not in [c.position for c in candidates]:
                candidates.append(found)
            problem = problem or reason
    return _Step(entry, tuple(candidates), None, problem)


def _find(entry: Entry, key: Key, records: Sequence[Record]) -> tuple[_Candidate | None, str]:
    """The first record that the key means and the entry can show, or the reason why none can be shown."""
    reason = ""
    for index, record in _meant(key, records):
        try:
            converter, fit = _converter(entry, key, record)
        except units.UnitMismatchError as error:
            reason = reason or str(error)
            if key.source is Source.DIB:
                break  # a DIB names the first record that has it, no other
            continue
        return _Candidate(index, converter, fit), ""
    return None, reason


def _meant(key: Key, records: Sequence[Record]) -> list[tuple[int, Record]]:
    found = [(index, record) for index, record in enumerate(records) if _means(key, record)]
    # A maker's own texts may differ in nothing but the case of letters: "C" and "c".
    found.sort(key=lambda item: item[1].description != key.description)
    return found


def _means(key: Key, record: Record) -> bool:
    if key.source is Source.DIB:
        return record.dib == key.dib
    return (
        record.storage == key.storage
        and record.tariff == key.tariff
        and record.subunit == key.subunit
        and record.function == key.function
        and normal_description(record.description) == normal_description(key.description)
    )


def _converter(entry: Entry, key: Key, record: Record) -> tuple[Converter, int]:
    if entry.class_id == CLASSES["clock"]:
        return convert.clock, 2
    if not convert.is_numeric(entry.data_type):
        return convert.plain(key.scaled, entry.data_type), 2
    factor, ratio = ratios(entry, record)
    lossless = record.coding is Coding.REAL or ratio.denominator == 1
    return convert.number(ratio, entry.scaler, entry.data_type), lossless + (lossless and factor == 1)


def _is_bare(record: Record) -> bool:
    """Whether only the entry can know what the number stands for: a VIF that is a maker's own, or a text."""
    if record.unit or record.exponent:
        return False
    return record.template.text_offset > 0 or record.quantity.startswith(_BARE)


def _line(entry: Entry, source: Source) -> _Column:
    number, data_type = entry.telegram, entry.data_type

    def frame(readout: Readout, site: Site) -> bytes:
        return convert.raw_bytes(readout.telegrams[number].frame, data_type)

    def header(readout: Readout, site: Site) -> bytes:
        return convert.text(header_line(readout.telegrams[number]), data_type)

    def value(readout: Readout, site: Site) -> bytes:
        line = value_line(readout.telegrams[number], number, readout.created_ms, site)
        return convert.text(line, data_type)

    return {Source.FRAME: frame, Source.DECODED_HEADER: header, Source.DECODED_VALUE: value}[source]


def _evaluate(item: MappedObject, step: _Step, readout: Readout, site: Site) -> MappedValue:
    number, default = step.entry.telegram, step.entry.default
    present = number < len(readout.telegrams)
    status = readout.telegrams[number].status if present else None
    record: Record | None = None
    error = ""
    try:
        for candidate in step.candidates:
            record = readout.telegrams[number].records[candidate.position]
            if record.raw is not None:
                return MappedValue(item, candidate.convert(record), record, number, "", False, status)
            error = error or record.error
        if step.line is not None:
            return MappedValue(item, step.line(readout, site), None, number, "", False, status)
    except NoValueError as reason:
        # no other record takes its place: it would be another quantity from one readout to the next
        error = str(reason)
    error = error or step.problem or NO_SUCH_RECORD
    return MappedValue(item, default, record, number, error, default is not None, status)


def _column(step: _Step) -> _Column:
    missing = step.entry.default or axdr.NULL
    number, line = step.entry.telegram, step.line
    pairs = [(candidate.position, candidate.convert) for candidate in step.candidates]

    def column(readout: Readout, site: Site) -> bytes:
        try:
            for position, converter in pairs:
                record = readout.telegrams[number].records[position]
                if record.raw is not None:
                    return converter(record)
            return missing if line is None else line(readout, site)
        except NoValueError:
            return missing

    return column
