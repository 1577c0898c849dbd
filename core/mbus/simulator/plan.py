"""A simulated line as people write it down: `FOLDER?meters:40&echo&late:0.3@12345678`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.mbus.address import Address, AddressError, PrimaryAddress, parse_address
from core.mbus.simulator.bus import SimulatedBus
from core.mbus.simulator.fleet import encrypt, fleet, serials
from core.mbus.simulator.meter import SimulatedMeter, load_meters
from core.mbus.simulator.misfortune import BY_NAME, KINDS, LINE_UNHARMED, UNHARMED, SimulationError
from core.mbus.transport import BAUD_RATES

_MOST_METERS = 5000


def planned_bus(text: str, baud: int | None = None, clock: Callable[[], float] = time.time) -> SimulatedBus:
    """The line that stands behind `sim:` in a URL: a folder of telegrams, `?`, and items with `&` between them.

    See `arrange` for the items; `meters:N` among them makes a fleet of N meters instead of the folder's. `baud` and
    `clock` are those of `SimulatedBus`. Raises `SimulationError`.
    """
    folder, sizes, items = _parts(text)
    meters = make_fleet(sizes[-1]) if sizes else load_meters(Path(folder) if folder else None)
    bus = SimulatedBus(meters, clock, baud=baud)
    arrange(bus, items)
    return bus


def check_plan(text: str) -> None:
    """Raise `SimulationError` for what `planned_bus` refuses by itself, whatever meters there are; reads no file."""
    _, sizes, items = _parts(text)
    for size in sizes:
        _size(size)
    for item in items:
        _read(item)


def make_fleet(size: str) -> list[SimulatedMeter]:
    """A fleet of that many meters, 1 to 5000. Raises `SimulationError`."""
    return fleet(serials(_size(size)))


def arrange(bus: SimulatedBus, items: Iterable[str]) -> None:
    """Carry out items `NAME[:ARGUMENT][@METER]` on a line, in their order.

    NAME is a misfortune, or `address:N` (its primary address), `baud:N` (the rate that it understands) or
    `encrypted[:5|7]`. METER is a primary address or a secondary one, with F for any digit; without it, all meters are
    meant. Raises `SimulationError`.
    """
    for text in items:
        item = _read(text)
        kind = BY_NAME.get(item.name)
        if kind and kind.of_line:
            bus.misfortune = kind(bus.misfortune, item.argument)
            continue
        meant = _meant(bus, item)
        if kind:
            for meter in meant:
                meter.misfortune = kind(meter.misfortune, item.argument)
        else:
            _set(meant, item)


@dataclass(frozen=True, slots=True)
class _Item:
    """An item that is right by itself."""

    text: str
    name: str
    argument: str
    meter: Address | None
    number: int = 0  # what the argument of an arrangement means


def _parts(text: str) -> tuple[str, list[str], list[str]]:
    """Folder, sizes of fleets, and the other items of a plan."""
    folder, _, rest = text.partition("?")
    items = [item for item in rest.split("&") if item]
    sizes = [item for item in items if item.startswith("meters:")]
    if sizes and folder:
        raise SimulationError(
            f"{text!r}: the meters come out of a folder or are a fleet (meters:N), not both."
        )
    return folder, [item.removeprefix("meters:") for item in sizes], [i for i in items if i not in sizes]


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_METERS:
        raise SimulationError(f"{text!r} meters cannot be simulated: give a number from 1 to {_MOST_METERS}.")
    return int(text)


def _read(item: str) -> _Item:
    words, _, where = item.partition("@")
    name, _, argument = words.partition(":")
    kind = BY_NAME.get(name)
    if kind and kind.of_line:
        if where:
            raise SimulationError(f"{item!r}: {name} is of the whole line: leave @{where} out.")
        kind(LINE_UNHARMED, argument)
        return _Item(item, name, argument, None)
    try:
        meter = parse_address(where) if where else None
    except AddressError as error:
        raise SimulationError(f"{item!r}: {error}") from error
    if kind:
        kind(UNHARMED, argument)
        return _Item(item, name, argument, meter)
    if name not in _ARRANGEMENTS:
        known = ", ".join([*_ARRANGEMENTS, *(kind.name for kind in KINDS)])
        raise SimulationError(f"{item!r} is nothing that can be simulated: choose among {known}.")
    allowed, expected, default = _ARRANGEMENTS[name]
    given = argument or default
    if not (given.isascii() and given.isdigit() and int(given) in allowed):
        raise SimulationError(f"{item!r}: give {expected}.")
    return _Item(item, name, argument, meter, int(given))


def _meant(bus: SimulatedBus, item: _Item) -> list[SimulatedMeter]:
    if not bus.meters:
        raise SimulationError(f"{item.text!r}: a recording has no meters that it could be said of.")
    address = item.meter
    if address is None:
        return list(bus.meters)
    if isinstance(address, PrimaryAddress):
        meant = [meter for meter in bus.meters if meter.address == address.number]
    else:
        meant = [meter for meter in bus.meters if address.matches(meter.header)]
    if not meant:
        where = item.text.partition("@")[2]
        raise SimulationError(f"{item.text!r}: there is no meter {where} on the simulated line.")
    return meant


def _set(meant: list[SimulatedMeter], item: _Item) -> None:
    match item.name:
        case "address":
            for meter in meant:
                meter.address = item.number
        case "baud":
            for meter in meant:
                meter.baud = item.number
        case "encrypted" if not [meter for meter in meant if encrypt(meter, item.number)]:
            raise SimulationError(
                f"{item.text!r}: a telegram of this meter is too long for encryption, or has no long header."
            )


_ARRANGEMENTS: Final[Mapping[str, tuple[Collection[int], str, str]]] = {
    "address": (range(251), "an address from 0 to 250", ""),
    "baud": (BAUD_RATES, "one of " + ", ".join(map(str, BAUD_RATES)), ""),
    "encrypted": ((5, 7), "security mode 5 or 7", "5"),
}
"""What is allowed, in words as well, and what holds where nothing is given."""
