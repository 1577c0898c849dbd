"""What a search for meters found on a line, and what of it could not be told apart or searched, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.mbus.address import Address, PrimaryAddress, SecondaryAddress
from core.mbus.link import Probe
from core.mbus.narrowing import CONTROL

SURE: Final = 3
"""Answers to the same question that prove something."""

_MOST_LISTED: Final = 8
_HIGHEST_PRIMARY: Final = 250
_LATE: Final = "answers late: give it or its line a longer time-out (margin_ms)"


@dataclass(slots=True)
class Found:
    """A meter that answered."""

    address: str  # to read it by
    identity: str  # its secondary address by its header, "" where that says nothing
    primary: int | None
    baud: int
    leg: int
    by_primary: bool
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Finds:
    """All that a search can tell."""

    found: list[Found] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Sentences."""
    clashes: dict[str, list[str]] = field(default_factory=dict)
    """Sentences about meters that cannot be told apart, by leg of the search."""
    strangers: dict[str, list[str]] = field(default_factory=dict)
    """Addresses at which a meter answered that are not its own, by meter."""

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Finds:
        """Those of which `dataclasses.asdict` gave this. Raises `KeyError` or `TypeError`."""
        return cls(**{**state, "found": [Found(**meter) for meter in state["found"]]})

    @property
    def sentences(self) -> tuple[str, ...]:
        """What could not be told apart or searched, and why."""
        clashes = (sentence for leg in self.clashes.values() for sentence in leg)
        return (*self.troubles, *clashes, *self._of_strangers())

    def take(self, address: Address, probe: Probe, leg: int, baud: int) -> str:
        """Note who answered at an address; its name."""
        identity = "" if probe.found is None else str(probe.found)
        by_primary = isinstance(address, PrimaryAddress)
        primary = address.number if isinstance(address, PrimaryAddress) else _said(probe.frame)
        own = str(address) if by_primary or not identity else identity
        if isinstance(address, SecondaryAddress) and address.fabrication and identity:
            own = f"{identity}+{address.fabrication}"
        meter = self._same(own, identity, by_primary)
        if meter is None:
            twins = [other for other in self.found if identity and other.identity == identity]
            notes = [_LATE] if probe.late else []
            self.found.append(Found(own, identity, primary, baud, leg, by_primary, notes))
            if twins and by_primary:
                places = f"primary addresses {twins[0].primary} and {primary}"
                self.troubles.append(f"The meters at {places} have the same secondary address {identity}.")
        elif meter.leg != leg:
            if meter.baud != baud:
                meter.notes.append(f"answers at {baud} baud as well")
            if by_primary and not meter.by_primary:
                meter.primary = primary
                meter.notes.append(f"answers at primary address {primary} as well")
            elif meter.by_primary and not by_primary:
                meter.notes.append("answers to its secondary address as well")
            meter.leg = leg
            meter.notes = list(dict.fromkeys(meter.notes))
        return own

    def meet(self, meter: str, address: Address) -> None:
        """A meter answered that is not at this address, or not by the name that it has in its telegrams."""
        places = self.strangers.setdefault(meter, [])
        if len(places) < _MOST_LISTED:
            places.append(str(address))

    def clash(self, text: str, leg: int, *, by_primary: bool) -> int:
        """Several meters answer to an address that cannot be narrowed any more; how many such there are in this leg."""
        if by_primary:
            what = f"primary address {text}"
            way_out = "search for their secondary addresses, and give each a primary address of its own"
        else:
            what = text.partition("+")[0]
            way_out = (
                "read one of them by its primary address, or take one off the line; others with this number may be "
                "hidden behind them"
            )
        sentence = (
            f"Two or more meters answer to {what} and cannot be told apart (or one, whose telegrams are broken each "
            f"time): {way_out}."
        )
        clashes = self.clashes.setdefault(str(leg), [])
        if sentence not in clashes:
            clashes.append(sentence)
        return len(clashes)

    def _of_strangers(self) -> Iterator[str]:
        there = {meter.identity for meter in self.found}
        for meter, places in self.strangers.items():
            whole = [place for place in places if "F" not in place[:8] and place != str(CONTROL)]
            if meter not in there and len(whole) >= SURE:
                yield (
                    f"The meter that is selected as {whole[0]} calls itself {meter} in its telegrams, so it cannot be "
                    "read by secondary address: give it a primary address."
                )
            elif len(places) >= SURE:
                yield (
                    f"Meter {meter} answered to addresses that are not its own, such as {places[0]}: it is late, "
                    "talks unasked, or does not look whom a selection is for."
                )

    def _same(self, own: str, identity: str, by_primary: bool) -> Found | None:
        """The meter that was found before and is this one."""
        for meter in self.found:
            if meter.address == own:
                return meter
            # Meters may share an identity by mistake, but none has two primary addresses.
            if identity and meter.identity == identity and meter.by_primary != by_primary:
                return meter
        return None


def listed(texts: list[str]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(texts[:_MOST_LISTED])
    return f"{shown} and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else shown


def _said(frame: bytes) -> int | None:
    """The primary address that a telegram has in its A field (EN 13757-2, 5.7.5); `None` where that is none."""
    return frame[5] if len(frame) > 5 and frame[5] <= _HIGHEST_PRIMARY else None
