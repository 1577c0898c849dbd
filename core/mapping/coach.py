"""The coach: which OBIS code, class, data type, unit and scaler each M-Bus field of a meter type should have.

It knows what the ready mappings know (`core.mapping.table`), and looks at the meter's own telegrams: so a proposal has
the scaler at which this meter's numbers are whole, and a data type that holds them. A code that the meter declares
itself goes before the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple

from core.cosem import names, obis
from core.dlms.axdr import Tag
from core.mapping import engine, units
from core.mapping.keys import Key, KeyFormatError, description_key, normal_description, parse_key
from core.mapping.media import normal_type, types_of
from core.mapping.model import ANY_MANUFACTURER, ANY_VERSION, CLASSES, MappingFile, parse_mapping
from core.mapping.ready import RESERVED, ReadyFile, descriptions, file_for, texts
from core.mapping.table import ANY_MEDIUM, TableRow, historic_registers, table
from core.mbus.medium import medium_name
from core.mbus.telegram import Function, Record, Telegram
from core.mbus.values import Coding

CHECK: Final = "CHECK"
"""What the description of an entry begins with whose code is of grade C: a person has to look at it."""

_GRADES: Final = "ABC"  # D is a guess, and wrong is worse than missing
_REGISTER: Final = CLASSES["register"]
_DATA: Final = CLASSES["data"]
_DECLARATION: Final = 0x3F  # VIFE
_EXTENSION: Final = 0x80
_FINEST: Final = -12
_LARGEST_REGISTER: Final = 254  # value group F 255 is "not used"
_COMPLETE: Final = re.compile(
    r"(\d+)-(\d+):(\d+)\.(\d+)\.(\d+)(?:\*(\d+))?"
)  # a code as text, F may be left out
_RANGES: Final[dict[int, tuple[int, int]]] = {
    Tag.INTEGER: (-(2**7), 2**7 - 1),
    Tag.LONG: (-(2**15), 2**15 - 1),
    Tag.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    Tag.LONG64: (-(2**63), 2**63 - 1),
    Tag.UNSIGNED: (0, 2**8 - 1),
    Tag.LONG_UNSIGNED: (0, 2**16 - 1),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    Tag.LONG64_UNSIGNED: (0, 2**64 - 1),
}


Place = tuple[int, str]
"""What names a field in every readout of a meter type: telegram and key."""


class MeterType(NamedTuple):
    """What a mapping file is for, as far as a telegram says it: `"water/HYD/37"`."""

    type: str  # normal form, as in a mapping file
    manufacturer: str  # three capital letters, "all" where the header has none
    version: int  # 0..255, 0 is also "any"

    @property
    def label(self) -> str:
        return f"{self.type}/{self.manufacturer}/{self.version}"

    @property
    def file_name(self) -> str:
        """A name for its mapping file: `"water-HYD-37.json"`."""
        return f"{self.type}-{self.manufacturer}-{self.version}.json"


@dataclass(frozen=True, slots=True)
class Field:
    """One M-Bus field of a meter type, with the value that it has now."""

    telegram: int  # its number in the readout, from 0
    record: Record
    keys: tuple[str, ...]  # that read this field and no other; empty where none can

    @property
    def place(self) -> Place:
        """What names the field in every readout of a meter type."""
        record = self.record
        return self.telegram, self.keys[0] if self.keys else f"{record.index} {record.dib}"

    @property
    def meaning(self) -> str:
        """`"volume-flow, maximum, storage 1"`."""
        record = self.record
        parts = [record.description]
        if record.function is not Function.INSTANTANEOUS:
            parts.append(record.function.label)
        for name in ("storage", "tariff", "subunit"):
            if number := getattr(record, name):
                parts.append(f"{name} {number}")
        return ", ".join(parts)

    @property
    def value(self) -> str:
        """The value with its unit, or why there is none; in hex a text that no screen should be given."""
        record = self.record
        if record.raw is None:
            return record.error
        text = record.value_text
        return f"{text if text.isprintable() else text.encode().hex()} {record.unit}".strip()


@dataclass(frozen=True, slots=True)
class Choice:
    """How a field is shown to DLMS clients. A technician changes one with `dataclasses.replace`."""

    obis: str  # "8.0.1.0.0.255"; "" where nobody knows one
    class_id: int
    data_type: int  # A-XDR tag, Green Book 9.5
    unit: int  # Blue Book 4.3.2, 255 = none
    scaler: int  # power of ten
    grade: str  # "A" and "B" can be used as they are, "C" is to be checked; "" where nobody knows a code
    quantity: str  # in the words of the table
    source: str  # a sentence: where the code is from
    declared: bool = False  # by the meter itself
    default: str | int | float | bool | None = None  # as in a mapping file
    in_push: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """A field and what the coach thinks of it."""

    field: Field
    choice: Choice | None  # None: no code is proposed, for this `reason`
    reason: str
    others: tuple[
        Choice, ...
    ]  # further codes that are known for such a field, also one that another field has


def meter_type(telegram: Telegram) -> MeterType:
    """The type of the meter that sent a telegram, as the name of its own mapping file has it."""
    return type_of(telegram.medium_code, telegram.manufacturer, telegram.version)


def type_of(medium_code: int, manufacturer: str, version: int) -> MeterType:
    """The type of a meter with this identity; `manufacturer` is "" where its header has none."""
    name = next(iter(types_of(medium_code)), normal_type(medium_name(medium_code)))
    if not re.fullmatch("[A-Z]{3}", manufacturer):
        return MeterType(name, ANY_MANUFACTURER, ANY_VERSION)
    return MeterType(name, manufacturer, version)


def propose(readouts: Iterable[Sequence[Telegram]]) -> tuple[Proposal, ...]:
    """What each field of these readouts should become; all readouts are of one meter type.

    A field that several meters send is looked at once, in the telegram that counts in the finest steps. Where two
    fields would get one code, the one for which the meter declares it gets it, then the one with the better grade,
    then the one that comes first.
    """
    fields: dict[tuple[int, str], tuple[Field, Telegram]] = {}
    declared: dict[int, dict[str, str]] = {}
    for telegrams in readouts:
        for number, telegram in enumerate(telegrams):
            declared.setdefault(number, {}).update(_declared(telegram.records))
        for field in fields_of(telegrams):
            known = fields.get(field.place)
            if known is None or field.record.exponent < known[0].record.exponent:
                fields[field.place] = (field, telegrams[field.telegram])
    offers = [
        (field, _offers(field.record, telegram, declared[field.telegram]))
        for field, telegram in fields.values()
    ]
    return _without_competition(offers)


def fields_of(telegrams: Sequence[Telegram]) -> tuple[Field, ...]:
    """Every field of one readout."""
    return tuple(
        Field(number, record, _keys(record, telegram.records))
        for number, telegram in enumerate(telegrams)
        for record in telegram.records
    )


def unknown(record: Record) -> Choice:
    """The form of a field that nobody knows a code for: to be filled in by a person."""
    number = record.coding in _NUMBERS and not record.template.text_offset
    class_id = _REGISTER if number and (record.unit or record.exponent) else _DATA
    unit = units.code_for(record.unit) if class_id == _REGISTER else units.NO_UNIT
    data_type = _PLAIN_TYPES.get(record.coding, Tag.OCTET_STRING)
    base = Choice("", class_id, data_type, unit, record.exponent, "", record.description, "")
    return _fitted(base, record)


def entries_of(
    accepted: Iterable[tuple[Field, Choice]], kind: MeterType, *, marked: bool = False
) -> MappingFile:
    """The mapping file of the fields and what was chosen for each; with `marked`, grade C is marked to be checked.

    A choice without a code becomes an entry whose code is null. Raises `MappingError` where a choice is not valid,
    or two have one code.
    """
    document = {
        "type": kind.type,
        "manufacturer": kind.manufacturer,
        "version": kind.version,
        "entries": [entry_of(field, choice, marked=marked) for field, choice in accepted],
    }
    return parse_mapping(json.dumps(document), kind.file_name)


def template(proposals: Iterable[Proposal], kind: MeterType) -> MappingFile:
    """A mapping file with every field: with the proposed code, grade C marked, and null where none is proposed."""
    chosen = [(item.field, item.choice or unknown(item.field.record)) for item in proposals]
    return entries_of(chosen, kind, marked=True)


def proposed(proposals: Iterable[Proposal]) -> list[tuple[Field, Choice]]:
    """The fields that have a proposal with it, as `entries_of` takes them."""
    return [(item.field, item.choice) for item in proposals if item.choice is not None]


def _without_competition(offers: Sequence[tuple[Field, tuple[Choice, ...]]]) -> tuple[Proposal, ...]:
    """Give each code to one field."""
    taken: dict[tuple[str, int], Field] = {}
    given: dict[int, Choice] = {}
    firsts = [(choices[0], place) for place, (field, choices) in enumerate(offers) if field.keys and choices]
    for choice, place in sorted(firsts, key=lambda item: (not item[0].declared, item[0].grade, item[1])):
        field = offers[place][0]
        if taken.setdefault((choice.obis, choice.class_id), field) is field:
            given[place] = choice
    return tuple(
        Proposal(field, given[place], "", choices[1:])
        if place in given
        else Proposal(field, None, _reason(field, choices, taken), choices if field.keys else ())
        for place, (field, choices) in enumerate(offers)
    )


def _reason(field: Field, choices: Sequence[Choice], taken: dict[tuple[str, int], Field]) -> str:
    if not field.keys:
        return (
            "The telegram has another field with the same bytes in front of it, so no key can mean this one."
        )
    if field.record.obis:
        return f"The field is no value: it declares the OBIS code {field.record.obis} of another one."
    if choices:
        winner = taken[choices[0].obis, choices[0].class_id]
        return f"{choices[0].obis} shows {winner.meaning} ({winner.record.dib}) already."
    return "The standard table has no sure code for this field; its meaning is in the meter's manual."


def _keys(record: Record, records: Sequence[Record]) -> tuple[str, ...]:
    """The keys that read this record: by description, which outlives a change of its data type, and by bytes."""
    places = (record.storage, record.tariff, record.subunit, int(record.function))
    texts_of = (description_key(record.description, *places), f"mbus.dib.{record.dib}.unmodifiedvalue")
    return tuple(text for text in texts_of if (key := _key(text)) and reads(key, record, records))


def _key(text: str) -> Key | None:
    try:
        return parse_key(text)
    except KeyFormatError:
        return None  # plain text of the maker's that is too long, or a record without DIF and VIF


def reads(key: Key, record: Record, records: Sequence[Record]) -> bool:
    """Whether a key reads this one of the records of a telegram."""
    return engine.meant(key, records)[:1] == (record,)


def _declared(records: Sequence[Record]) -> dict[str, str]:
    """OBIS codes that the meter declares, by the place of the record that each is for."""
    codes: dict[str, str] = {}
    for record in records:
        vif = bytes.fromhex(record.vif_hex)
        code = _complete(record.obis)
        if code and len(vif) > 1 and vif[-1] == _DECLARATION:
            meant = vif[:-2] + bytes((vif[-2] & ~_EXTENSION,))
            codes[_place(record, meant.hex())] = code
    return codes


def _place(record: Record, vif: str) -> str:
    return f"{vif} {record.function} {record.storage} {record.tariff} {record.subunit}"


def full_code(code: str) -> str:
    """Six numbers: `"1-0:1.8.0"` and `"1.0.1.8.0.255"` as `"1.0.1.8.0.255"`.

    Raises `ObisError` for what is no code, or is one of every meter's own, which no field can have.
    """
    found = _COMPLETE.fullmatch(code.strip())
    name = obis.parse(".".join((*found.groups()[:5], found[6] or "255")) if found else code)
    text = obis.text(name)
    if name in names.OF_METERS or text in RESERVED:
        raise obis.ObisError(f"{text} is an object that every meter's logical device has; use another code.")
    return text


def _complete(code: str) -> str:
    """A code that a meter declares in full; "" for what is none."""
    try:
        return full_code(code)
    except obis.ObisError:
        return ""


def _offers(record: Record, telegram: Telegram, declared: dict[str, str]) -> tuple[Choice, ...]:
    """Every code for a record, the best first."""
    if record.obis or record.quantity == "unreadable":
        return ()
    file = file_for(telegram.medium_code, telegram.manufacturer)
    rows = [row for row in _rows(telegram, file) if _is_of(row, record)]
    vib = bytes.fromhex(record.vif_hex)
    rows.sort(
        key=lambda row: (
            row.medium == ANY_MEDIUM,
            vib not in row.vibs,
            _factor(row, record) != 1,
            row.grade,
        )
    )
    by_code: dict[tuple[str, int], Choice] = {}
    for row in rows:
        choice = _from_table(row, record, file)
        by_code.setdefault((choice.obis, choice.class_id), choice)
    choices = tuple(by_code.values())
    code = declared.get(_place(record, record.vif_hex))
    if code is None:
        return choices
    form = choices[0] if choices else unknown(record)
    source = "The meter itself declares this code (EN 13757-3, VIFE 3F)."
    return (replace(form, obis=code, grade="A", source=source, declared=True), *choices)


def _rows(telegram: Telegram, file: ReadyFile | None) -> Iterable[TableRow]:
    for row in (*table(), *historic_registers()):
        of_type = telegram.medium_code in row.device_types and row.medium != ANY_MEDIUM
        of_medium = row.medium == ANY_MEDIUM or (file is not None and row.medium == file.medium)
        named = file is not None or not row.obis.startswith("A")  # value group A is that of the medium
        if (of_type or of_medium) and named and row.grade in _GRADES and row.obis not in RESERVED:
            yield row


def _is_of(row: TableRow, record: Record) -> bool:
    if (row.function, row.tariff, row.subunit) != (record.function, record.tariff, record.subunit):
        return False
    described = (*descriptions(row), *texts(row))
    if row.historic:
        if not 1 <= record.storage <= _LARGEST_REGISTER:
            return False
        described = tuple(f"{text} register" for text in described)
    elif row.storage != record.storage:
        return False
    named = {normal_description(text) for text in described}
    return normal_description(record.description) in named and _factor(row, record) is not None


def _factor(row: TableRow, record: Record) -> Fraction | None:
    """What leads from the record's unit to that of the row, None where nothing does."""
    if row.class_id != _REGISTER or not record.unit:
        return Fraction(1)
    try:
        return units.factor(record.unit, row.unit or units.NO_UNIT)
    except units.UnitMismatchError:
        return None


def _from_table(row: TableRow, record: Record, file: ReadyFile | None) -> Choice:
    code = row.obis.replace("A", str(file.group)) if file else row.obis
    if row.historic:
        code = f"{code.removesuffix('F')}{record.storage}"
    note = f"; {row.note}" if row.note else ""
    source = f"Standard table, {row.medium}, {row.quantity}: grade {row.grade} ({row.source}{note})."
    unit = row.unit or units.NO_UNIT
    choice = Choice(code, row.class_id, row.data_type, unit, row.scaler, row.grade, row.quantity, source)
    return _fitted(choice, record)


def _fitted(choice: Choice, record: Record) -> Choice:
    """With the scaler at which the record's numbers are whole, and a data type that holds all that it can send."""
    register = choice.class_id == _REGISTER
    factor = units.factor(record.unit, choice.unit) if register and record.unit else Fraction(1)
    if choice.data_type not in _RANGES or record.coding not in _NUMBERS:
        return choice
    if record.coding is Coding.REAL:
        as_sent = factor == 1 and register
        scaler = record.exponent if as_sent else choice.scaler
        return replace(choice, scaler=scaler, data_type=Tag.FLOAT32 if as_sent else Tag.FLOAT64)
    if not (record.unit or record.exponent):
        ratio = Fraction(1)
    else:
        whole = (s for s in range(choice.scaler, _FINEST, -1) if _ratio(factor, record, s).denominator == 1)
        choice = replace(choice, scaler=next(whole, choice.scaler))
        ratio = _ratio(factor, record, choice.scaler)
    return replace(choice, data_type=_wide_enough(choice.data_type, record, ratio))


def _ratio(factor: Fraction, record: Record, scaler: int) -> Fraction:
    return factor * Fraction(10) ** (record.exponent - scaler)


def _wide_enough(data_type: int, record: Record, ratio: Fraction) -> int:
    """The data type of the table, or one of 64 bits where the field can hold larger numbers or holds a negative one."""
    bits = 8 * len(record.data)
    highest = {Coding.BCD: 10 ** (bits // 4) - 1, Coding.SIGNED: 2 ** max(bits - 1, 0) - 1}.get(
        record.coding, 2**bits - 1
    )
    lowest = min(record.raw, 0) if isinstance(record.raw, int) else 0
    for wider in (data_type, Tag.LONG64_UNSIGNED, Tag.LONG64):
        low, high = _RANGES[wider]
        if low <= lowest * ratio and highest * ratio <= high:
            return wider
    return Tag.LONG64 if lowest < 0 else Tag.LONG64_UNSIGNED


def entry_of(field: Field, choice: Choice, *, marked: bool = False) -> dict[str, Any]:
    """The entry of a mapping file that shows a field as chosen; with `marked`, grade C is marked to be checked."""
    record = field.record
    check = f"{CHECK}: " if marked and choice.grade == "C" else ""
    return {
        "includeInPush": "ALL" if choice.in_push else "NONE",
        "mbusTelegram": field.telegram,
        "mbusKeys": list(field.keys),
        "dlmsObisCode": choice.obis or None,
        "dlmsScaler": choice.scaler,
        "dlmsUnit": choice.unit,
        "dlmsClass": next(name for name, number in CLASSES.items() if number == choice.class_id),
        "dlmsDataType": int(choice.data_type),
        "dlmsDefaultValue": choice.default,
        "mbusUnit": record.unit or None,
        "mbusDescriptionLong": f"{check}{choice.quantity}",
        "mbusTariff": record.tariff,
        "mbusStorageNumber": record.storage,
        "mbusSubUnit": record.subunit,
        "mbusFunction": record.function.label,
    }


_NUMBERS = (Coding.SIGNED, Coding.UNSIGNED, Coding.BCD, Coding.NEGATIVE_BCD, Coding.REAL, Coding.BITS)
_PLAIN_TYPES: dict[Coding, Tag] = {
    Coding.SIGNED: Tag.DOUBLE_LONG,
    Coding.UNSIGNED: Tag.DOUBLE_LONG_UNSIGNED,
    Coding.BCD: Tag.DOUBLE_LONG_UNSIGNED,
    Coding.NEGATIVE_BCD: Tag.DOUBLE_LONG,
    Coding.REAL: Tag.DOUBLE_LONG,
    Coding.BITS: Tag.DOUBLE_LONG_UNSIGNED,
    Coding.TEXT: Tag.VISIBLE_STRING,
    Coding.OBIS: Tag.VISIBLE_STRING,
}
