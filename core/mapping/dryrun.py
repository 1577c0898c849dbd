"""What a mapping file would change for the meters that are installed, before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

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
        ObjectChange(obis, class_id, before.get((obis, class_id)), after.get((obis, class_id)))
        for obis, class_id in dict.fromkeys((*after, *before))
    )
    return MeterChange(meter.name, old.label if old else "", new.label, tuple(rows))


def _shown(mapping: MappingFile, meter: MeterReadout) -> Iterator[tuple[tuple[str, int], str]]:
    shown: list[Entry] = []
    for value in engine.evaluate(mapping, meter.readout, meter.site):
        item = value.object
        if item.held or item.entry.default is not None:
            shown.append(item.entry)
            yield (item.entry.obis_text, item.class_id), shown_text(value)
    for profile, entry in engine.histories(mapping, shown).items():
        yield (profile.obis_text, profile.class_id), f"history of {entry.obis_text}"


def shown_text(value: MappedValue) -> str:
    """What a client gets, with scaler and unit applied: `"85.946 m³"`; why there is nothing."""
    if value.encoded is None:
        return f"no value: {value.error}"
    decoded = axdr.decode(value.encoded)
    content, item = decoded.content, value.object
    if isinstance(content, str) and not content.isprintable():
        text = content.encode().hex()
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
