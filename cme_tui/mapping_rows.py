"""How the screens say what is in a mapping file and what it changes: table rows and sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from cme_tui.widgets.lines import Span
from cme_tui.widgets.table import Column, Row
from cme_tui.wording import count, obis
from core.dlms.axdr import Tag
from core.mapping import units
from core.mapping.dryrun import MeterChange, ObjectChange
from core.mapping.lint import Finding, Severity
from core.mapping.model import CLASSES, MappingError, MappingFile
from core.mapping.workshop import ActiveMapping, Preview, TypeInUse

CLASS_NAMES: Final = {number: name.replace("_", " ") for name, number in CLASSES.items()}

ENTRY_COLUMNS: Final = (
    Column("", 1),
    Column("OBIS code", 14),
    Column("Class", 17, wide=True),
    Column("Unit", 6),
    Column("10^", 3, right=True),
    Column("Data type", 20),
    Column("Default", 10, wide=True),
    Column("Push", 4, wide=True),
    Column("M-Bus keys", 0),
)
CHANGE_COLUMNS: Final = (
    Column("", 7),
    Column("Meter", 0),
    Column("OBIS code", 14),
    Column("Now", 15, right=True),
    Column("Then", 15, right=True),
    Column("Unit", 6),
)
VALUE_COLUMNS: Final = (
    Column("Meter", 0),
    Column("OBIS code", 14),
    Column("Value", 22, right=True),
    Column("Unit", 6),
)

_NEW, _OTHER, _GONE = ("+ new", "good"), ("! other", "warn"), ("✗ gone", "bad")
_MEASURED: Final = re.compile(r"(-?[0-9.]+) (\S+)")


def type_name(data_type: int) -> str:
    """`"double-long-unsigned"`, as the books have it."""
    return Tag(data_type).name.lower().replace("_", "-")


def entry_rows(file: MappingFile, doubtful: Collection[str]) -> list[Row]:
    """A row for each entry of the file, also for those that have no OBIS code yet; `doubtful` are JSON paths."""
    by_place = {entry.index: entry for entry in file.entries}
    rows: list[Row] = []
    for index, item in enumerate(file.document["entries"]):
        mark: Span = ("!", "warn") if f"entries[{index}]" in doubtful else ""
        entry = by_place.get(index)
        if entry is None:
            rows.append((mark, ("- no code yet", "faint"), "", "", "", "", "", "", _short(_key_texts(item))))
            continue
        rows.append(
            (
                mark,
                obis(entry.obis_text),
                CLASS_NAMES[entry.class_id],
                units.symbol(entry.unit),
                str(entry.scaler),
                type_name(entry.data_type) if entry.data_type else "",
                "" if entry.default is None else str(item.get("dlmsDefaultValue")),
                "yes" if entry.in_push else "no",
                _short([key.text for key in entry.keys]),
            )
        )
    return rows


def entry_text(file: MappingFile, index: int) -> str:
    """One entry in full: where it is in the file, what it says about itself, and its keys."""
    item = file.document["entries"][index]
    described = item.get("mbusDescriptionLong")
    about = f"{described}: " if isinstance(described, str) and described else ""
    return f"entries[{index}]: {about}{', '.join(_key_texts(item))}"


def finding_row(finding: Finding) -> Row:
    """How bad it is, and the sentence with its place."""
    error = finding.severity is Severity.ERROR
    return (("✗ error", "bad") if error else ("! warning", "warn"), finding_text(finding))


def finding_text(finding: Finding) -> str:
    """The sentence after its place in the JSON."""
    return f"{finding.path}: {finding.text}" if finding.path else finding.text


def change_row(meter: MeterChange, change: ObjectChange) -> Row:
    """What a client gets now and then; the unit by itself where both have the same."""
    now, unit = _measured(change.before)
    then, other_unit = _measured(change.after)
    if change.before is not None and change.after is not None and unit != other_unit:
        now, then, unit = change.before, change.after, ""
    return (_mark(change), meter.meter, obis(change.obis), now, then, unit or other_unit)


def value_row(meter: MeterChange, change: ObjectChange) -> Row:
    """What a client gets from a file that is active."""
    value, unit = _measured(change.after)
    return (meter.meter, obis(change.obis), value, unit)


def matrix_cell(change: ObjectChange | None) -> Span:
    """What a client gets then: a value, "default", or "-" for no such object."""
    if change is None or change.after is None:
        return ("-", "faint")
    if change.from_default:
        return ("default", "faint")
    return (change.after, _mark(change)[1])


def change_text(meter: MeterChange, change: ObjectChange) -> str:
    """One object of one meter in full, with the files that give it."""
    what = f"{meter.meter}, {obis(change.obis)}, {CLASS_NAMES[change.class_id]}"
    then = "not shown" if change.after is None else change.after
    default = " (the default of the entry)" if change.from_default else ""
    if meter.mapping_before == meter.mapping_after and not change.changed:
        return f"{what}: {then}{default}"
    now = "not shown" if change.before is None else change.before
    files = f"; by {meter.mapping_before or 'no mapping'} now, by {meter.mapping_after} then"
    other = files if meter.mapping_before != meter.mapping_after else ""
    return f"{what}: now {now}, then {then}{default}{other}"


def users(preview: Preview) -> str:
    """How many meters use the file, or would."""
    if not preview.changes:
        return f"no meter that was read is a {preview.file.label}"
    return count(len(preview.changes), "meter uses it", "meters use it")


def effect(preview: Preview) -> str:
    """`"3 meters use it: 5 values new, 2 other than now, 1 gone"`."""
    if not preview.changes:
        return users(preview)
    marks = Counter(_mark(each) for meter in preview.changes for each in meter.objects)
    numbers = ((marks[_NEW], "new"), (marks[_OTHER], "other than now"), (marks[_GONE], "gone"))
    first, *more = [(number, word) for number, word in numbers if number] or [(0, "that changes")]
    said = [
        f"{count(first[0], 'value') if first[0] else 'no value'} {first[1]}",
        *(f"{n} {word}" for n, word in more),
    ]
    return f"{users(preview)}: {', '.join(said)}"


def file_row(file: ActiveMapping | MappingError) -> Row:
    """A file in the folder of active ones, also one that cannot be used."""
    if isinstance(file, MappingError):
        return (("✗", "bad"), ("cannot be used", "bad"), "", "", "", "", file.file)
    mapping = file.file
    return (
        ("●", "good") if file.meters else ("-", "faint"),
        mapping.type,
        mapping.manufacturer,
        _version(mapping.version),
        str(mapping.obis_codes),
        str(len(file.meters)),
        mapping.name,
    )


def type_row(kind: TypeInUse) -> Row:
    """A meter type, how many meters are of it, and which file serves them."""
    served = kind.mapping or ("none", "warn")
    template: Span = ("empty", "faint") if kind.reason else "ready"
    if kind.kind is None:
        return (("○", "faint"), ("not read yet", "faint"), "", "", str(len(kind.meters)), template, "")
    return (
        ("●", "good") if kind.mapping else ("!", "warn"),
        kind.kind.type,
        kind.kind.manufacturer,
        _version(kind.kind.version),
        str(len(kind.meters)),
        template,
        served,
    )


def names(meters: Sequence[str]) -> str:
    """`"cellar, flat 1 and 140 more"`."""
    shown, more = meters[:3], len(meters) - 3
    return f"{', '.join(shown)} and {more} more" if more > 0 else ", ".join(shown)


def about_file(file: ActiveMapping) -> str:
    """Which meters use a file, and what is left to be done in it."""
    unused = ""
    if number := len(file.file.without_code):
        unused = f"; {count(number, 'entry has', 'entries have')} no OBIS code yet"
    used = f"used by {names(file.meters)}" if file.meters else "used by no meter that was read"
    return f"{file.file.name}: {used}{unused}"


def about_type(kind: TypeInUse) -> str:
    """Which meters are of a type, what serves them, or why there is nothing to map."""
    if kind.reason:
        return f"{names(kind.meters)}: nothing to map and the template is empty: {kind.reason}; r reads now"
    served = (
        f"served by {kind.mapping}"
        if kind.mapping
        else "no mapping file is for them, so clients see no values"
    )
    return f"{names(kind.meters)}: {served}; Enter proposes a file of their own"


def _mark(change: ObjectChange) -> tuple[str, str]:
    if not change.changed:
        return ("", "")
    if change.before is None:
        return _NEW
    return _GONE if change.after is None else _OTHER


def _measured(text: str | None) -> tuple[str, str]:
    """Number and unit of a value; all of another text stands where the number would."""
    found = _MEASURED.fullmatch(text or "-")
    return (found[1], found[2]) if found else (text or "-", "")


def _key_texts(item: dict[str, Any]) -> list[str]:
    keys = item.get("mbusKeys")
    return [str(key).strip() for key in keys] if isinstance(keys, list) else []


def _short(keys: list[str]) -> str:
    """Keys without what all of them begin and end with."""
    return ", ".join(key.removeprefix("mbus.dib.").removesuffix(".unmodifiedvalue") for key in keys)


def _version(version: int) -> str:
    return str(version) if version else "any"
