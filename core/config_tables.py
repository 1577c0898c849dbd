"""Changes of the [[line]] and [[meter]] tables of config.toml (`ConfigFile.edited`), and which meters go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tomlkit import TOMLDocument

from core.config import Config, ConfigError, LineConfig, MeterConfig, Place, nearest
from core.config_file import Edit, append_table
from core.interval import Interval
from core.mbus.address import POINT_TO_POINT, PrimaryAddress, SecondaryAddress, parse_address


@dataclass(frozen=True, slots=True)
class NewMeters:
    """Meters that are to be installed."""

    meters: Collection[MeterConfig]


@dataclass(frozen=True, slots=True)
class MeterChange:
    """Keys of the meter with this `key` in the store that are to be set, `None` for a default."""

    key: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineChange:
    """Keys of the line of this name that are to be set, `None` for a default; without a name, a line to be added."""

    name: str | None
    values: Mapping[str, Any]


TableChange = NewMeters | MeterChange | LineChange

_LONE: Final = ("0", str(POINT_TO_POINT))
"""Primary addresses at which more than one meter may answer."""


@dataclass(frozen=True, slots=True)
class InstalledAt:
    """A meter that is installed, and who it is as far as that is known."""

    config: MeterConfig
    identity: SecondaryAddress | None = None

    @property
    def known(self) -> SecondaryAddress | None:
        """As learned, else as far as its address says."""
        address = parse_address(str(self.config.address))
        return self.identity or (address if isinstance(address, SecondaryAddress) else None)


def meter_table(meter: MeterConfig) -> dict[str, Any]:
    """The keys of a meter that are not at their default."""
    values = ((field, getattr(meter, field.name)) for field in dataclasses.fields(meter))
    return {field.name: _plain(value) for field, value in values if value != field.default}


def add_meters(meters: Collection[MeterConfig]) -> Edit:
    """Append these, in this order."""

    def edit(document: TOMLDocument, config: Config) -> None:
        del config
        for meter in meters:
            append_table(document, "meter", meter_table(meter))

    return edit


def change_meter(place: Place, values: Mapping[str, Any]) -> Edit:
    """Set keys of the meter at `place`, `None` for a default."""

    def edit(document: TOMLDocument, config: Config) -> None:
        _set_keys(document["meter"][_meter_at(config, place)], values)

    return edit


def remove_meters(places: Collection[Place]) -> Edit:
    """Take out the meters at these places."""

    def edit(document: TOMLDocument, config: Config) -> None:
        meters: Any = document.get("meter", [])
        for number in sorted((_meter_at(config, place) for place in places), reverse=True):
            del meters[number]
        if "meter" in document and not meters:
            del document["meter"]

    return edit


def set_line(name: str | None, values: Mapping[str, Any]) -> Edit:
    """Set keys of the line of this name, `None` for a default; without a name, add a line.

    The meters of a line that gets another name go with it.
    """

    def edit(document: TOMLDocument, config: Config) -> None:
        _write_names(document, config)
        if name is None:
            append_table(document, "line", {key: value for key, value in values.items() if value is not None})
            return
        _set_keys(document["line"][_line_number(config, name)], values)
        if values.get("name", name) != name:
            for table, meter in zip(document.get("meter", []), config.meters, strict=True):
                if meter.line == name:
                    table["line"] = values["name"]

    return edit


def remove_line(name: str) -> Edit:
    """Take out a line, which must have no meter."""

    def edit(document: TOMLDocument, config: Config) -> None:
        number = _line_number(config, name)
        if meters := sum(meter.line == name for meter in config.meters):
            which = "a meter is" if meters == 1 else f"{meters} meters are"
            raise ConfigError(f"Line {name} cannot be removed: {which} installed on it; remove them first.")
        _write_names(document, config)
        lines: Any = document["line"]
        del lines[number]
        if not lines:
            del document["line"]

    return edit


def on_their_lines(meters: Iterable[MeterConfig], lines: Collection[LineConfig]) -> list[MeterConfig]:
    """The meters with their line, which may be left open where there is only one. Raises `ConfigError`."""
    names = [line.name for line in lines]
    placed = []
    for meter in meters:
        line = meter.line or (names[0] if len(names) == 1 else "")
        if not names:
            raise ConfigError(f"Meter {meter.address} has no line: there is none yet; add a [[line]] first.")
        if not line:
            raise ConfigError(f"Meter {meter.address} has no line; name one of: {', '.join(names)}.")
        if line not in names:
            raise ConfigError(f'Meter {meter.address}: there is no line "{line}"{nearest(line, names)}')
        placed.append(dataclasses.replace(meter, line=line))
    return placed


class Addresses:
    """The addresses that are taken, and by which meter; of use for one change."""

    def __init__(self, installed: Iterable[InstalledAt]) -> None:
        self._places: dict[Place, InstalledAt] = {}
        self._exact: dict[str, list[InstalledAt]] = {}
        self._open: list[InstalledAt] = []  # a wildcard in the identification: to be compared with everyone
        for meter in installed:
            self._keep(meter)

    def take(self, meter: InstalledAt) -> None:
        """Add a meter. Raises `ConfigError`, a sentence, where its address is that of another one."""
        config = meter.config
        where = f"Meter {config.address} on {config.line}"
        present = self._places.get(config.place)
        if present is not None:
            raise ConfigError(f"{where} is installed already{_as_name(present)}; remove one of the two.")
        address = parse_address(str(config.address))
        if isinstance(address, PrimaryAddress):
            self._check_lone(config, address)
        elif same := self._same_meter(meter, address):
            there = f"at {same.config.address} on {same.config.line}{_as_name(same)}"
            raise ConfigError(f"{where} may be the meter that is installed {there}; change that one instead.")
        self._keep(meter)

    def _check_lone(self, config: MeterConfig, address: PrimaryAddress) -> None:
        others = [at for line, at in self._places if line == config.line]
        lone = [number for number in (str(address), *others) if number in _LONE]
        if lone and others:
            raise ConfigError(
                f"Meter {config.address} on {config.line} cannot be installed: primary address {lone[0]} is of use "
                "only for a meter that is alone on its line; give the meter at it an address of its own, or use "
                "its secondary address."
            )

    def _same_meter(self, meter: InstalledAt, address: SecondaryAddress) -> InstalledAt | None:
        """A meter that may be this one: by identity anywhere, by wildcards on the same line."""
        here = [other for other in self._open if other.config.line == meter.config.line]
        if "F" in address.identification:
            known = (other for others in self._exact.values() for other in others)
            here += [other for other in known if other.config.line == meter.config.line]
        else:
            here += self._exact.get(address.identification, [])
        return next((other for other in here if (other.known or address).agrees(address)), None)

    def _keep(self, meter: InstalledAt) -> None:
        self._places[meter.config.place] = meter
        known = meter.known
        if known is None:
            return
        if "F" in known.identification:
            self._open.append(meter)
        else:
            self._exact.setdefault(known.identification, []).append(meter)


def _as_name(meter: InstalledAt) -> str:
    return f' as "{meter.config.name}"' if meter.config.name else ""


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, Interval) else value


def _set_keys(table: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if value is not None:
            table[key] = _plain(value)
        elif key in table:
            del table[key]


def _meter_at(config: Config, place: Place) -> int:
    places = [meter.place for meter in config.meters]
    if place not in places:
        raise ConfigError(f"There is no meter with address {place[1]} on {place[0]}.")
    return places.index(place)


def _line_number(config: Config, name: str) -> int:
    names = [line.name for line in config.lines]
    if name not in names:
        missing = nearest(name, names) if names else "; there is none."
        raise ConfigError(f'There is no line "{name}"{missing}')
    return names.index(name)


def _write_names(document: TOMLDocument, config: Config) -> None:
    """Names that lines and meters have by their place or for want of another: another line would change that."""
    for table, line in zip(document.get("line", []), config.lines, strict=True):
        table.setdefault("name", line.name)
    for table, meter in zip(document.get("meter", []), config.meters, strict=True):
        table.setdefault("line", meter.line)
