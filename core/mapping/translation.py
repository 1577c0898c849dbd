"""Mapping files in a dialect: the same entries under the codes that clients expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from core.cosem.dialect import REGISTERS, Dialect
from core.mapping.model import Entry, MappingError, MappingFile

_REGISTERS: Final = tuple(REGISTERS.values())


class Translation(NamedTuple):
    """What clients get of a mapping file."""

    mapping: MappingFile  # the file itself where nothing in it changes
    problems: tuple[MappingError, ...]


class _Pair(NamedTuple):
    entry: Entry  # of the file
    shown: Entry


def translate(mapping: MappingFile, dialect: Dialect) -> Translation:
    """`mapping` with the codes and classes of `dialect`.

    Entries that were of different objects and would be of one are left out, all of them, and are a problem: none of
    them is what a client that reads this code expects more than the others.
    """
    pairs = [_Pair(entry, _shown(entry, dialect)) for entry in mapping.entries]
    if all(pair.shown is pair.entry for pair in pairs):
        return Translation(mapping, ())
    by_code: dict[bytes, list[_Pair]] = {}
    for pair in pairs:
        by_code.setdefault(pair.shown.obis, []).append(pair)
    clashes = [_clash(mapping, dialect, group) for group in by_code.values()]
    problems = tuple(clash for clash in clashes if clash)
    left_out = {code for code, clash in zip(by_code, clashes, strict=True) if clash}
    entries = tuple(pair.shown for pair in pairs if pair.shown.obis not in left_out)
    return Translation(replace(mapping, entries=entries), problems)


def _shown(entry: Entry, dialect: Dialect) -> Entry:
    target = dialect.values.get(entry.obis)
    if target is None:
        return entry
    if target.class_id is None:
        return replace(entry, obis=target.code)
    # A rule for a class is one for a register: text or a time under that code would not be what it stands for.
    return (
        replace(entry, obis=target.code, class_id=target.class_id) if entry.class_id in _REGISTERS else entry
    )


def _clash(mapping: MappingFile, dialect: Dialect, group: Sequence[_Pair]) -> MappingError | None:
    """The problem of entries that are shown under one code; None where they were of one object before."""
    first = group[0]
    other = next((pair for pair in group if _were_two(first, pair)), None)
    if other is None:
        return None
    return MappingError(
        mapping.name,
        f"entries[{other.entry.index}].dlmsObisCode",
        f'in the dialect "{dialect.name}" {other.entry.obis_text} would have the code {other.shown.obis_text}, and so '
        f"would {first.entry.obis_text} of entries[{first.entry.index}], so that clients get neither; take one of the "
        "two out of this file, or give it another code in a dialect of your own",
    )


def _were_two(one: _Pair, other: _Pair) -> bool:
    if one.entry.obis != other.entry.obis:
        return True
    return one.shown.class_id == other.shown.class_id and one.entry.class_id != other.entry.class_id
