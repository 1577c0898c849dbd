"""The settings of the plain tables of config.toml, one by one: for commands and screens that show and change them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from core.config import (
    SECTIONS,
    Config,
    ConfigError,
    PushConfig,
    PushReportConfig,
    allowed_value,
    nearest,
    wanted_instead,
)
from core.cosem import obis
from core.cosem.codes import NAMES
from core.cosem.dialect import SHIPPED, STANDARD, Dialect
from core.interval import PROFILE_INTERVALS, READOUT_INTERVALS, Interval

Value = str | int | bool
"""As config.toml has it; intervals as text."""

FIXED: Final = frozenset({"gateway.serial"})
"""Made once: head-end systems know the gateway by it."""

_LEVELS: Final = get_args(get_type_hints(SECTIONS["dlms"])["authentication"])
_POLICIES: Final = get_args(get_type_hints(SECTIONS["dlms"])["policy"])
_LOWERED: Final = {
    "none": "Any program that reaches the DLMS port can then read meters and change settings without a password.",
    "low": "The LLS password can then be read by anybody on the network, unless the policy has it ciphered.",
    "policy": "Readings and commands can then be read and forged by anybody on the network.",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a plain table."""

    name: str
    """With its table, "dlms.port"."""
    value: Value
    default: Value
    """That of the program, for a code that of the dialect; "" for time zone and name is what the machine has."""
    allowed: str
    """What it must be, in words: "a whole number from 1 to 65535"."""
    choices: tuple[str, ...] = ()
    """All values that it can have, as typed; none where there are too many."""

    @property
    def table(self) -> str:
        return self.name.partition(".")[0]

    @property
    def key(self) -> str:
        return self.name.partition(".")[2]

    @property
    def fixed(self) -> bool:
        """Whether it is only shown."""
        return self.name in FIXED

    def wanted_instead(self, value: Value) -> str:
        """What it must be, where it cannot have this value whatever the others have; "" where it can."""
        return wanted_instead(self.table, self.key, value)


def settings(
    config: Config, dialect: Dialect = STANDARD, dialects: Sequence[str] = SHIPPED
) -> tuple[Setting, ...]:
    """Every setting with its value in `config`, whose dialect is `dialect`; `dialects` are those to choose from."""
    found = []
    for table, kind in SECTIONS.items():
        for key in _keys(kind):
            value, default = (plain(getattr(each, key)) for each in (getattr(config, table), kind()))
            choices = tuple(dialects) if (table, key) == ("dlms", "dialect") else _choices(table, key)
            words = f"one of {', '.join(choices)}" if choices else allowed_value(table, key)
            found.append(Setting(f"{table}.{key}", value, default, words, choices))
    for name in NAMES:
        default = obis.text(getattr(dialect.codes, name))
        value = obis.text(obis.parse(config.obis.get(name, default)))
        found.append(Setting(f"obis.{name}", value, default, allowed_value("obis", name)))
    return tuple(found)


def typed(name: str, text: str) -> Value:
    """The value for a setting that a person typed; text that cannot be one is left for the check that follows.

    Raises ConfigError for a name that is not known.
    """
    table, _, key = name.partition(".")
    if table == "obis":
        return text
    if table not in SECTIONS:
        raise ConfigError(f"{table} is no known table{nearest(table, (*SECTIONS, 'obis'))}")
    kind = SECTIONS[table]
    if key not in _keys(kind):
        raise ConfigError(f"[{table}] {key} is no known key{nearest(key, _keys(kind))}")
    match get_type_hints(kind)[key]:
        case hint if hint is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        case hint if hint is int and re.fullmatch(r"-?[0-9]{1,18}", text):
            return int(text)
    return text


def check_changeable(values: Mapping[str, Any]) -> None:
    """Raises ConfigError where a setting is among them that is only shown."""
    for name in FIXED.intersection(values):
        raise ConfigError(
            f"{name} is made once, and head-end systems know the gateway by it; "
            "to give it that of a gateway which it replaces, stop it and edit config.toml."
        )


def lowered(old: Config, new: Config) -> tuple[str, ...]:
    """What becomes less secure with `new`, a sentence or two each; nothing where all stays or gets better."""
    found = []
    before, after = old.dlms, new.dlms
    if _LEVELS.index(after.authentication) < _LEVELS.index(before.authentication):
        change = f"This lowers the authentication from {before.authentication} to {after.authentication}."
        found.append(f"{change} {_LOWERED[after.authentication]}")
    if _POLICIES.index(after.policy) < _POLICIES.index(before.policy):
        change = f"This lowers the security policy from {before.policy} to {after.policy}."
        found.append(f"{change} {_LOWERED['policy']}")
    return tuple(found)


def report_tables(reports: Iterable[PushReportConfig]) -> list[dict[str, Value]]:
    """The value of "push.report" for these reports: their tables, without what is left to its default."""
    return [_report_table(report) for report in reports]


def changed_reports(push: PushConfig, changed: PushReportConfig) -> tuple[PushReportConfig, ...]:
    """All reports with one of them changed, or added where there was none of its type."""
    if all(report.type != changed.type for report in push.reports):
        return (*push.reports, changed)
    return tuple(changed if report.type == changed.type else report for report in push.reports)


def _report_table(report: PushReportConfig) -> dict[str, Value]:
    table: dict[str, Value] = {"type": report.type, "enabled": report.enabled}
    if report.type != "on_installation":
        table["schedule"] = report.schedule
    for key, value in (("host", report.host), ("port", report.port), ("client_sap", report.client_sap)):
        if value:
            table[key] = value
    if report.last_rows:
        table["last_rows"] = report.last_rows
    return table


def plain(value: Any) -> Value:
    """A value of a configuration as the file has it."""
    return str(value) if isinstance(value, Interval) else value


def _keys(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "reports"]


@cache
def _choices(table: str, key: str) -> tuple[str, ...]:
    hint = get_type_hints(SECTIONS[table])[key]
    if hint is Interval:
        return tuple(map(str, READOUT_INTERVALS if table == "readout" else PROFILE_INTERVALS))
    if hint is bool:
        return "true", "false"
    return get_args(hint) if get_origin(hint) is Literal else ()
