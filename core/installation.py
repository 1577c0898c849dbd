"""Installs meters and lines in a running gateway: config.toml is changed and applied in one step, or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.changes import Changes
from core.config import Config, ConfigError, MeterConfig, Place
from core.config_file import Edit
from core.config_tables import (
    Addresses,
    InstalledAt,
    LineChange,
    MeterChange,
    NewMeters,
    TableChange,
    add_meters,
    change_meter,
    on_their_lines,
    remove_line,
    remove_meters,
    set_line,
)
from core.fleet import Fleet
from core.mbus.address import SecondaryAddress, parse_address
from core.meter import Meter


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of config.toml, and the meters, by key, that get another place by it."""

    edit: Edit
    moved: Mapping[int, Place] = field(default_factory=dict)


class Installation:
    """Belongs to the core's event loop. Where a method raises `CmeError` nothing has changed."""

    def __init__(self, changes: Changes, fleet: Fleet) -> None:
        self._changes = changes
        self._fleet = fleet

    async def planned(self, change: TableChange) -> tuple[Config, Mapping[int, Place]]:
        """What config.toml would say after a change, and the places that meters, by key, would move to."""
        step = self._step(change, await self._changes.prepared())
        return await self._changes.planned_edit(step.edit), step.moved

    async def install_meters(self, meters: Collection[MeterConfig]) -> int:
        """Append meters to config.toml, in this order; how many those were.

        Also fails where one of them is installed already: at its address, or at another one.
        """
        if meters:
            await self._make(NewMeters(meters))
        return len(meters)

    async def change_meter(self, key: int, values: Mapping[str, Any]) -> None:
        """Set keys of a meter, `None` for a default. With another address or line it goes on with its history."""
        await self._make(MeterChange(key, values))

    async def remove_meters(self, keys: Collection[int]) -> int:
        """Take meters out of config.toml; their readings stay. How many those were."""

        async def change() -> int:
            await self._changes.prepared()
            places = {self._fleet.meter(key).config.place for key in keys}
            await self._changes.edit(remove_meters(places))
            return len(places)

        return await self._changes.alone(change)

    async def change_line(self, name: str | None, values: Mapping[str, Any]) -> None:
        """Set keys of a line, `None` for a default; without a name, add a line.

        The meters of a line that gets another name stay on it.
        """
        await self._make(LineChange(name, values))

    async def remove_line(self, name: str) -> None:
        """Take out a line. Also fails while meters are installed on it."""

        async def change() -> None:
            await self._changes.prepared()
            await self._changes.edit(remove_line(name))

        await self._changes.alone(change)

    async def _make(self, change: TableChange) -> None:
        async def work() -> None:
            step = self._step(change, await self._changes.prepared())
            await self._changes.edit(step.edit, step.moved)

        await self._changes.alone(work)

    def _step(self, change: TableChange, config: Config) -> _Step:
        match change:
            case NewMeters(meters):
                return self._installing(meters, config)
            case MeterChange(key, values):
                return self._changing_meter(self._fleet.meter(key), values, config)
            case LineChange(name, values):
                return self._changing_line(name, values)

    def _installing(self, meters: Collection[MeterConfig], config: Config) -> _Step:
        placed = on_their_lines(meters, config.lines)
        addresses = Addresses(self._installed(config))
        for meter in placed:
            addresses.take(InstalledAt(meter))
        return _Step(add_meters(placed))

    def _changing_meter(self, meter: Meter, values: Mapping[str, Any], config: Config) -> _Step:
        now = meter.config
        place = (values.get("line") or now.line, _canonical(values.get("address", now.address)))
        edit = change_meter(now.place, values)
        if place == now.place:
            return _Step(edit)
        _check_same_meter(meter, place)
        others = [item for item in self._installed(config) if item.config.place != now.place]
        placed = dataclasses.replace(now, line=place[0], address=place[1])
        Addresses(others).take(InstalledAt(placed, meter.identity))
        return _Step(edit, {meter.key: place})

    def _changing_line(self, name: str | None, values: Mapping[str, Any]) -> _Step:
        called = values.get("name", name)
        if not called:
            raise ConfigError("A line needs a name; its meters go by it.")
        moving = self._fleet.on_line(name) if name is not None and called != name else []
        return _Step(set_line(name, values), {meter.key: (called, meter.config.place[1]) for meter in moving})

    def _installed(self, config: Config) -> list[InstalledAt]:
        identities = {meter.config.place: meter.identity for meter in self._fleet}
        return [InstalledAt(meter, identities.get(meter.place)) for meter in config.meters]


def _canonical(address: object) -> str:
    return str(parse_address(str(address)))


def _check_same_meter(meter: Meter, place: Place) -> None:
    """A meter that was read is the one that it is: it cannot get the secondary address of another."""
    address = parse_address(place[1])
    if isinstance(address, SecondaryAddress) and meter.identity and not address.agrees(meter.identity):
        raise ConfigError(
            f"{meter.name} is {meter.identity}: with address {address} it would be another meter; install that "
            "one, and remove this one."
        )
