"""A simulated line as people write it down: `FOLDER?meters:40&echo&late:0.3@12345678`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from core.mbus.address import AddressError, PrimaryAddress, parse_address
from core.mbus.simulator.bus import SimulatedBus
from core.mbus.simulator.fleet import encrypt, fleet, serials
from core.mbus.simulator.meter import SimulatedMeter, load_meters
from core.mbus.simulator.misfortune import BY_NAME, KINDS, SimulationError
from core.mbus.transport import BAUD_RATES

_MOST_METERS = 5000


def planned_bus(text: str, baud: int | None = None, clock: Callable[[], float] = time.time) -> SimulatedBus:
    """The line that stands behind `sim:` in a URL: a folder of telegrams, `?`, and items with `&` between them.

    See `arrange` for the items; `meters:N` among them makes a fleet of N meters instead of the folder's. `baud` and
    `clock` are those of `SimulatedBus`. Raises `SimulationError`.
    """
    folder, _, rest = text.partition("?")
    items = [item for item in rest.split("&") if item]
    sizes = [item for item in items if item.startswith("meters:")]
    if sizes and folder:
        raise SimulationError(
            f"{text!r}: the meters come out of a folder or are a fleet (meters:N), not both."
        )
    meters = (
        make_fleet(sizes[-1].removeprefix("meters:"))
        if sizes
        else load_meters(Path(folder) if folder else None)
    )
    bus = SimulatedBus(meters, clock, baud=baud)
    arrange(bus, [item for item in items if item not in sizes])
    return bus


def make_fleet(size: str) -> list[SimulatedMeter]:
    """A fleet of that many meters, 1 to 5000. Raises `SimulationError`."""
    if not size.isascii() or not size.isdigit() or not 0 < int(size) <= _MOST_METERS:
        raise SimulationError(f"{size!r} meters cannot be simulated: give a number from 1 to {_MOST_METERS}.")
    return fleet(serials(int(size)))


def arrange(bus: SimulatedBus, items: Iterable[str]) -> None:
    """Carry out items `NAME[:ARGUMENT][@METER]` on a line, in their order.

    NAME is a misfortune, or `address:N` (its primary address), `baud:N` (the rate that it understands) or
    `encrypted[:5|7]`. METER is a primary address or a secondary one, with F for any digit; without it, all meters are
    meant. Raises `SimulationError`.
    """
    for item in items:
        words, _, where = item.partition("@")
        name, _, argument = words.partition(":")
        kind = BY_NAME.get(name)
        if kind and kind.of_line:
            if where:
                raise SimulationError(f"{item!r}: {name} is of the whole line: leave @{where} out.")
            bus.misfortune = kind(bus.misfortune, argument)
            continue
        meant = _meant(bus, where, item)
        if kind:
            for meter in meant:
                meter.misfortune = kind(meter.misfortune, argument)
        elif name in _ARRANGEMENTS:
            _ARRANGEMENTS[name](meant, argument, item)
        else:
            known = ", ".join([*_ARRANGEMENTS, *(kind.name for kind in KINDS)])
            raise SimulationError(f"{item!r} is nothing that can be simulated: choose among {known}.")


def _meant(bus: SimulatedBus, where: str, item: str) -> list[SimulatedMeter]:
    if not bus.meters:
        raise SimulationError(f"{item!r}: a recording has no meters that it could be said of.")
    if not where:
        return list(bus.meters)
    try:
        address = parse_address(where)
    except AddressError as error:
        raise SimulationError(f"{item!r}: {error}") from error
    if isinstance(address, PrimaryAddress):
        meant = [meter for meter in bus.meters if meter.address == address.number]
    else:
        meant = [meter for meter in bus.meters if address.matches(meter.header)]
    if not meant:
        raise SimulationError(f"{item!r}: there is no meter {where} on the simulated line.")
    return meant


def _address(meant: list[SimulatedMeter], argument: str, item: str) -> None:
    number = _whole(argument, range(251), item, "an address from 0 to 250")
    for meter in meant:
        meter.address = number


def _baud(meant: list[SimulatedMeter], argument: str, item: str) -> None:
    rate = _whole(argument, BAUD_RATES, item, "one of " + ", ".join(map(str, BAUD_RATES)))
    for meter in meant:
        meter.baud = rate


def _encrypted(meant: list[SimulatedMeter], argument: str, item: str) -> None:
    mode = _whole(argument or "5", (5, 7), item, "security mode 5 or 7")
    if not [meter for meter in meant if encrypt(meter, mode)]:
        raise SimulationError(
            f"{item!r}: a telegram of this meter is too long for encryption, or has no long header."
        )


def _whole(text: str, allowed: Iterable[int], item: str, expected: str) -> int:
    if text.isascii() and text.isdigit() and int(text) in allowed:
        return int(text)
    raise SimulationError(f"{item!r}: give {expected}.")


_ARRANGEMENTS: dict[str, Callable[[list[SimulatedMeter], str, str], None]] = {
    "address": _address,
    "baud": _baud,
    "encrypted": _encrypted,
}
