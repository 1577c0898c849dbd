"""What readouts cost: how long they take the wire, and whether the schedule of a line can be kept.

One line is half-duplex and carries one exchange at a time, so its bytes, the meters' answer delays and the silence
between two exchanges are a limit that no master can beat (EN 13757-2, 5.5). All times are in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.config import Config, LineConfig, MeterConfig
from core.interval import READOUT_INTERVALS, Interval
from core.mbus.address import Address, SecondaryAddress
from core.mbus.exchange import ANSWER_BITS, ANSWER_SECONDS, IDLE_BITS
from core.mbus.frame import BITS_PER_BYTE
from core.snapshot import ScheduleView

DELAY_BITS: Final = 33
"""A quick meter answers after this many bit times plus `DELAY_SECONDS`."""
DELAY_SECONDS: Final = 0.03

TYPICAL_BYTES: Final = 121
"""Length of a meter's telegram as long as it is not known."""

_REQUEST, _ACK, _SELECTION = 5, 1, 17  # bytes of a short frame, an acknowledgement, a selection
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Demand:
    """What one meter asks of its line."""

    interval: Interval  # in which it is read once
    cost_s: float  # of its readouts, for each interval


def exchange_s(baud: int, request: int, answer: int) -> float:
    """A request and its answer of so many bytes, with the answer delay and the silence that follows."""
    bits = (request + answer) * BITS_PER_BYTE + DELAY_BITS + IDLE_BITS
    return bits / baud + DELAY_SECONDS


def selection_s(baud: int) -> float:
    """The selection of a meter by its secondary address."""
    return exchange_s(baud, _SELECTION, _ACK)


def reset_s(baud: int) -> float:
    """SND_NKE, which sets a meter's frame count bit back."""
    return exchange_s(baud, _REQUEST, _ACK)


def readout_s(baud: int, address: Address, telegrams: Sequence[int] = (TYPICAL_BYTES,)) -> float:
    """A readout of telegrams with so many bytes each, when all goes well.

    A meter with several telegrams behind a primary address is reset first, so that it begins with the first one.
    """
    if isinstance(address, SecondaryAddress):
        opening = selection_s(baud)
    else:
        opening = reset_s(baud) if len(telegrams) > 1 else 0.0
    return opening + sum(exchange_s(baud, _REQUEST, length) for length in telegrams)


def silence_s(baud: int, address: Address, repeats: int, margin: float = 0.0) -> float:
    """What a meter costs that does not answer: a time-out, `margin` longer than the standard's, for each try."""
    request = _SELECTION if isinstance(address, SecondaryAddress) else _REQUEST
    timeout = ANSWER_BITS / baud + ANSWER_SECONDS + margin
    return (1 + repeats) * (request * BITS_PER_BYTE / baud + timeout)


def schedule(demands: Iterable[Demand], *, skipped: int = 0, late_s: float = 0.0) -> ScheduleView | None:
    """Whether a line can meet the demands of its meters; None without any.

    Where intervals differ, a shortest one has its share of the readouts that come more rarely: whoever has to be read
    soonest goes first, so the line keeps up exactly if all demands together fit.
    """
    wanted = list(demands)
    if not wanted:
        return None
    shortest = min((demand.interval for demand in wanted), key=_length)
    cost = sum(demand.cost_s * _length(shortest) / _length(demand.interval) for demand in wanted)
    fits = cost <= _length(shortest)
    sentence = "" if fits else f"{shortest} cycle, this line needs {_lasting(cost)}. {_way_out(cost)}"
    return ScheduleView(str(shortest), _length(shortest), cost, fits, sentence, skipped, late_s)


def misfits(config: Config, cost_s: Callable[[LineConfig, MeterConfig], float]) -> Iterator[str]:
    """Lines whose schedule does not fit with `config`, a sentence or two each; `cost_s` is that of one readout."""
    for line in config.lines:
        view = schedule(
            Demand(meter.interval or config.readout.interval, cost_s(line, meter))
            for meter in config.meters
            if meter.line == line.name and meter.enabled
        )
        if view and not view.fits:
            yield misfit(line.name, view)


def misfit(name: str, view: ScheduleView) -> str:
    """What is wrong with the schedule of a line, a sentence or two: "Line main: 15 min cycle, this line needs ..."."""
    return f"Line {name}: {view.sentence}"


def _length(interval: Interval) -> int:
    return interval.seconds or _DAY_S


def _way_out(cost: float) -> str:
    longer = next((choice for choice in READOUT_INTERVALS if _length(choice) >= cost), None)
    interval = f"a readout interval of {longer}, " if longer else ""
    return f"Choose {interval}a higher baud rate, or a second line for some of its meters."


def _lasting(seconds: float) -> str:
    """Rounded up, so that it never looks as if it fitted."""
    minutes = math.ceil(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
