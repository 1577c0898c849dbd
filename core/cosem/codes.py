"""The logical names that no book and no manual fixes: decided here, in one table, and open to the user.

A head-end that expects others gets them through a dialect (`core.cosem.dialect`) or the table `[obis]` of config.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from core.config import ConfigError, nearest
from core.cosem import names, obis


@dataclass(frozen=True, slots=True)
class Codes:
    """One logical name (6 bytes) for each decided object; the names are the keys of `[obis]`."""

    gateway_name: bytes = bytes((0, 128, 42, 0, 0, 255))
    meter_firmware_version: bytes = bytes((1, 0, 0, 2, 0, 255))
    meter_manufacturer: bytes = bytes((0, 0, 96, 1, 1, 255))
    meter_device_type: bytes = bytes((0, 0, 96, 1, 2, 255))
    load_profile_1: bytes = bytes((1, 0, 99, 1, 0, 255))
    load_profile_2: bytes = bytes((1, 0, 99, 2, 0, 255))
    billing_profile: bytes = bytes((0, 0, 98, 1, 0, 255))
    push_load_profile_1: bytes = bytes((0, 1, 25, 9, 0, 255))
    push_load_profile_2: bytes = bytes((0, 2, 25, 9, 0, 255))
    push_billing_profile: bytes = bytes((0, 3, 25, 9, 0, 255))
    push_standard_event_log: bytes = bytes((0, 5, 25, 9, 0, 255))
    push_fraud_event_log: bytes = bytes((0, 6, 25, 9, 0, 255))


NAMES: Final = tuple(field.name for field in fields(Codes))
"""Names of the decided objects."""


def resolve(
    overrides: Mapping[str, str], given: Codes = Codes(), where: str = "config.toml: [obis]"
) -> Codes:
    """The table `given` with other codes. Raises `ConfigError` for an unknown name or a code that is taken.

    `where` is what the sentence names: file and table of the overrides.
    """
    for name in overrides:
        if name not in NAMES:
            raise ConfigError(f'{where} knows no "{name}"{nearest(name, NAMES)}')
    codes = replace(given, **{name: obis.parse(text) for name, text in overrides.items()})
    names_of: dict[bytes, str] = {}
    for name in NAMES:
        code = getattr(codes, name)
        if code in names.OF_METERS:
            raise ConfigError(
                f"{where} gives {name} the code {obis.text(code)}, which another object of every "
                "meter has; choose a different one."
            )
        first = names_of.setdefault(code, name)
        if first != name:
            raise ConfigError(f"{where} gives {first} and {name} the same code; change one of the two.")
    return codes
