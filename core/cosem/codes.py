"""The logical names that no book and no manual fixes: decided here, in one table, and open to the user.

A head-end that expects others gets them through the table `[obis]` of config.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from core.config import ConfigError, nearest
from core.cosem import obis


@dataclass(frozen=True, slots=True)
class Codes:
    """One logical name (6 bytes) for each decided object; the names are the keys of `[obis]`."""

    gateway_name: bytes = bytes((0, 128, 42, 0, 0, 255))
    meter_manufacturer: bytes = bytes((0, 0, 96, 1, 1, 255))
    meter_device_type: bytes = bytes((0, 0, 96, 1, 2, 255))
    load_profile_1: bytes = bytes((1, 0, 99, 1, 0, 255))
    load_profile_2: bytes = bytes((1, 0, 99, 2, 0, 255))
    billing_profile: bytes = bytes((0, 0, 98, 1, 0, 255))


def resolve(overrides: Mapping[str, str]) -> Codes:
    """The table with the user's own codes. Raises `ConfigError` for an unknown name or one code used twice."""
    known = [field.name for field in fields(Codes)]
    for name in overrides:
        if name not in known:
            raise ConfigError(f'config.toml: [obis] knows no "{name}"{nearest(name, known)}')
    codes = replace(Codes(), **{name: obis.parse(text) for name, text in overrides.items()})
    names_of: dict[bytes, str] = {}
    for name in known:
        first = names_of.setdefault(getattr(codes, name), name)
        if first != name:
            raise ConfigError(
                f"config.toml: [obis] gives {first} and {name} the same code; change one of the two."
            )
    return codes
