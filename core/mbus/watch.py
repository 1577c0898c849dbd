"""What goes over a line, for those who look on: statistics, trace, recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """Why the master speaks."""

    READ = "read"
    SEARCH = "search"
    COMMAND = "command"
    FOREIGN = "transparent port"  # other software, through the transparent port


class Fault(StrEnum):
    """What was wrong with an answer."""

    SILENCE = "no answer"
    NOISE = "noise"  # bytes that make no frame
    CHECKSUM = "checksum error"  # the extent of a telegram is right, its checksum is not
    COLLISION = "collision"  # two talk at once: a telegram begins, and its framing is that of two
    CUT = "broken off"  # a telegram begins and does not end
    UNEXPECTED = "unexpected answer"  # a valid frame that answers something else
    LATE = "late answer"  # a valid frame that answers the request before this one
    FCB = "FCB fault"  # a telegram that does not follow the frame count bit; it was accepted all the same


@dataclass(frozen=True, slots=True)
class Try:
    """One request on the wire and what came back."""

    time_ms: int  # when it was sent, ms since 1970-01-01 UTC
    baud: int
    purpose: Purpose
    address: str  # of the meter that is meant, "" for none
    number: int  # 1 = the first try of this request
    request: bytes
    received: bytes  # after the request, without its echo
    echo: bool  # the line repeated the request
    fault: Fault | None  # None for a good answer
    delay: float | None  # s from the end of the request on the wire to the first byte of the answer
    busy: float  # s for which the wire was taken
    before: bytes = b""  # what came unasked before the request, such as a late answer to the one before


Watch = Callable[[Try], None]
"""Gets every try as it ends. Must be quick and must not raise."""
