"""The `type` of a mapping file: how it is spelled, and which M-Bus device types it serves."""

from __future__ import annotations

import re

from core.mbus.medium import MEDIUM_NAMES

_GROUPS: dict[str, tuple[int, ...]] = {
    "water": (0x07, 0x16),
    "hot-water": (0x06, 0x15),
    "heat": (0x04, 0x0C, 0x0D),
    "cooling": (0x0A, 0x0B),
    "gas": (0x03,),
    "electricity": (0x02,),
    "heat-cost-allocator": (0x08,),
    "room-sensor": (0x1B, 0x1F, 0x18),
}
_ALIASES = {
    "temperature-humidity": "room-sensor",
    "heat-cost-allocators": "heat-cost-allocator",
    "hca": "heat-cost-allocator",
    "h-c-a": "heat-cost-allocator",
    "heat-outlet": "heat",
    "drinking-water": "water",
}
_NAMES = {code: re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for code, name in MEDIUM_NAMES.items()}


def normal_type(text: str) -> str:
    """The normal spelling of a type: case, blanks, underscores and hyphens make no difference."""
    spelled = re.sub(r"[\s_/:.-]+", "-", text.strip().lower()).strip("-")
    return _ALIASES.get(spelled, spelled)


def types_of(medium_code: int) -> tuple[str, ...]:
    """Types that serve an M-Bus device type (EN 13757-7, table of device types), the exact name first."""
    exact = _NAMES.get(medium_code)
    names = [] if exact is None else [_ALIASES.get(exact, exact)]
    names.extend(group for group, codes in _GROUPS.items() if medium_code in codes and group not in names)
    return tuple(names)


def known_types() -> frozenset[str]:
    """Every type that at least one M-Bus device type has."""
    return frozenset(_GROUPS) | {_ALIASES.get(name, name) for name in _NAMES.values()}
