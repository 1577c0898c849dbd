"""What a mapping file would change for the meters that are installed, before it is used."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.mapping import engine, units
from core.mapping.engine import MappedValue
from core.mapping.library import MappingSet
from core.mapping.lint import MeterReadout
from core.mapping.model import Entry, MappingFile

_LONGEST = 40  # characters of a text value


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One COSEM object of a meter, before and after."""

    obis: str
    class_id: int
    before: str | None  # what a client gets; None: there is no such object
    after: str | None
    from_default: bool = False  # `after` is the default of the entry, as the meter sends no such value

    @property
    def changed(self) -> bool:
        """Whether a client sees a difference."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class MeterChange:
    """What a meter would show."""

    meter: str
    mapping_before: str  # label of the file that serves it now, "" for none
    mapping_after: str
    objects: tuple[ObjectChange, ...]  # all of them, changed or not, those of the new mapping first


def dry_run(active: MappingSet, new: MappingFile, meters: Iterable[MeterReadout]) -> tuple[MeterChange, ...]:
    """What would change with `new` among the active files, for each meter that it would serve."""
    after = active.with_file(new)
    return tuple(
        _change(meter, active.match(*identity), new)
        for meter in meters
        if after.match(*(identity := _identity(meter))) is new
    )


def _identity(meter: MeterReadout) -> tuple[int, str, int]:
    first = meter.readout.telegrams[0]
    return first.medium_code, first.manufacturer, first.version


def _change(meter: MeterReadout, old: MappingFile | None, new: MappingFile) -> MeterChange:
    before = dict(_shown(old, meter)) if old else {}
    after = dict(_shown(new, meter))
    rows = (
        ObjectChange(
            *place,
            before=before[place].text if place in before else None,
            after=after[place].text if place in after else None,
            from_default=place in after and after[place].from_default,
        )
        for place in dict.fromkeys((*after, *before))
    )
    return MeterChange(meter.name, old.label if old else "", new.label, tuple(rows))


class _Shown(NamedTuple):
    text: str
    from_default: bool


def _shown(mapping: MappingFile, meter: MeterReadout) -> Iterator[tuple[tuple[str, int], _Shown]]:
    shown: list[Entry] = []
    for value in engine.evaluate(mapping, meter.readout, meter.site):
        item = value.object
        if item.held or item.entry.default is not None:
            shown.append(item.entry)
            yield (item.entry.obis_text, item.class_id), _Shown(shown_text(value), value.from_default)
    for profile, entry in engine.histories(mapping, shown).items():
        yield (profile.obis_text, profile.class_id), _Shown(f"history of {entry.obis_text}", False)


def shown_text(value: MappedValue) -> str:
    """What a client gets, with scaler and unit applied: `"85.946 m³"`; why there is nothing."""
    if value.encoded is None:
        return f"no value: {value.error}"
    decoded = axdr.decode(value.encoded)
    content, item = decoded.content, value.object
    raw = value.record.raw if value.record is not None and not value.error else None
    if isinstance(content, str) and not content.isprintable():
        text = content.encode().hex()
    elif decoded.tag is Tag.OCTET_STRING and value.record is not None and isinstance(raw, dt.date | dt.time):
        text = value.record.value_text  # the octets are that date in full (Blue Book 4.1.6.1)
    elif isinstance(content, bytes):
        readable = (
            decoded.tag is Tag.OCTET_STRING and content.isascii() and content.decode("ascii").isprintable()
        )
        text = content.decode("ascii") if readable else content.hex()
    elif item.scaler is not None and isinstance(content, int | float) and not isinstance(content, bool):
        number = Decimal(repr(content) if isinstance(content, float) else content).scaleb(item.scaler)
        text = f"{number:f} {units.symbol(item.unit or units.NO_UNIT)}".strip()
    else:
        text = str(content)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
