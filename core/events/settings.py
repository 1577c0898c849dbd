"""Which settings differ between two configurations: names for the event log, and never a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

from core.config import SECTIONS, Config, LineConfig, MeterConfig, Place
from core.events.codes import MESSAGE_BYTES

K = TypeVar("K", bound=Hashable)


def changed_settings(old: Config, new: Config) -> list[str]:
    """Names of what differs, as in config.toml: "dlms.port", 'line "cellar"', 'meter "flat 2" added'."""
    names = []
    for section, kind in SECTIONS.items():
        before, after = getattr(old, section), getattr(new, section)
        for field in dataclasses.fields(kind):
            if getattr(before, field.name) != getattr(after, field.name):
                names.append(f"{section}.{'report' if field.name == 'reports' else field.name}")
    names += [f"obis.{name}" for name in _differing(old.obis, new.obis)]
    names += _listed("line", {line.name: line for line in old.lines}, {line.name: line for line in new.lines})
    names += _listed("meter", _by_place(old.meters), _by_place(new.meters))
    return names


def change_message(names: Iterable[str], longest: int = MESSAGE_BYTES) -> str:
    """As many of the names as fit into `longest` bytes, and the number of the others."""
    text, left = "", list(names)
    while left:
        others = f", {len(left) - 1} more" if len(left) > 1 else ""
        longer = f"{text}, {left[0]}" if text else left[0]
        if len(f"{longer}{others}".encode()) > longest:
            break
        text = longer
        del left[0]
    if not left:
        return text
    return f"{text}, {len(left)} more" if text else f"{len(left)} settings"


def _by_place(meters: Iterable[MeterConfig]) -> dict[Place, MeterConfig]:
    return {meter.place: meter for meter in meters}


def _listed(
    kind: str, old: Mapping[K, LineConfig | MeterConfig], new: Mapping[K, LineConfig | MeterConfig]
) -> list[str]:
    names = []
    for key in _differing(old, new):
        item = new[key] if key in new else old[key]
        name = item.name or f"{getattr(item, 'address', '')}"
        change = "" if key in old and key in new else " added" if key in new else " removed"
        names.append(f'{kind} "{name}"{change}')
    return names


def _differing(old: Mapping[K, Any], new: Mapping[K, Any]) -> list[K]:
    missing = object()
    return [key for key in {**old, **new} if old.get(key, missing) != new.get(key, missing)]
