"""How a receiver treats a connection: as it should, or badly in one of the ways of real head-ends. Pure."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from core.errors import BadInputError


class Kind(StrEnum):
    """What the receiver does with one connection."""

    TAKE = "take"
    """What it should do."""
    DROP = "drop"
    """Resets it at once."""
    DELAY = "delay"
    """Reads nothing for so many seconds, then takes it."""
    HALF = "half"
    """Takes so many bytes, then resets it."""
    REFUSE = "refuse"
    """Resets it, and does not listen for so many seconds."""
    HANG = "hang"
    """Takes everything and never closes."""
    LOSE = "lose"
    """Takes everything, then resets it: the sender does not hear that it arrived."""
    DIE = "die"
    """Ends the process when the first bytes have come, before it handed anything over."""


class Behaviour(NamedTuple):
    """How one connection is treated."""

    kind: Kind = Kind.TAKE
    amount: int = 0
    """Seconds (delay, refuse) or bytes (half)."""


class BehaviourError(BadInputError):
    """A text that names no behaviour."""


_MEASURED: Final = (Kind.DELAY, Kind.HALF, Kind.REFUSE)
_ITEM: Final = re.compile(r"([a-z]+)(?::([0-9]{1,5}))?(?:\*([0-9]{1,3}))?")


def parse(text: str) -> list[Behaviour]:
    """Read "drop,half:100,take*3": kinds, seconds or bytes (0..99999) behind a colon, how often behind an asterisk.

    Raises `BehaviourError`.
    """
    return [behaviour for item in text.split(",") for behaviour in _parse_item(item.strip())]


def in_turn(behaviours: Sequence[Behaviour]) -> Iterator[Behaviour]:
    """One after the other, from the first again after the last."""
    return itertools.cycle(behaviours)


def at_random(behaviours: Sequence[Behaviour], seed: int) -> Iterator[Behaviour]:
    """Any of them, each time; the same ones for the same seed."""
    chance = random.Random(seed)
    while True:
        yield chance.choice(behaviours)


def _parse_item(item: str) -> list[Behaviour]:
    found = _ITEM.fullmatch(item)
    if found is None or found[1] not in list(Kind):
        raise BehaviourError(f'"{item}" is no behaviour; known are {", ".join(map(_spelling, Kind))}.')
    kind = Kind(found[1])
    if (kind in _MEASURED) != (found[2] is not None):
        raise BehaviourError(f'"{item}" must be written {_spelling(kind)}.')
    return [Behaviour(kind, int(found[2] or 0))] * int(found[3] or 1)


def _spelling(kind: Kind) -> str:
    if kind not in _MEASURED:
        return kind
    return f"{kind}:{'BYTES' if kind is Kind.HALF else 'SECONDS'}"
