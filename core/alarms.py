"""What a gateway needs a person for, a sentence or two each: the alarms of lines, meters and pushes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from core.lines import Line
from core.meter import Meter
from core.push.courier import FAILING_AFTER
from core.snapshot import LineState, MeterState, PushView
from core.timing import misfit

_REPLACED: Final = "If it was replaced, give its new secondary address in config.toml."
_UNMAPPED: Final = (
    "no mapping fits it, so clients see no values; "
    "make one on the OBIS mapping screen (F4) or with 'cme-tui mapping'."
)


def of_lines(lines: Iterable[Line]) -> Iterator[str]:
    """Lines that are down, that cannot keep their schedule, or whose transparent port cannot be had."""
    for line in lines:
        if line.master.state is LineState.DOWN:
            yield f"Line {line.config.name}: {line.master.reason}"
        if line.schedule and not line.schedule.fits:
            yield misfit(line.config.name, line.schedule)
        if line.transparent and (reason := line.transparent.view().reason):
            yield f"Line {line.config.name}: {reason}"


def of_meters(meters: Iterable[Meter]) -> Iterator[str]:
    """Meters that are not the installed ones, that lack their key, or that no mapping fits."""
    for meter in meters:
        if meter.state is MeterState.WRONG_METER:
            yield f"{meter.name}: {meter.reason} {_REPLACED}"
        elif meter.state in (MeterState.NO_KEY, MeterState.WRONG_KEY):
            yield f"{meter.name}: {meter.reason}"
        elif meter.reading is not None and meter.mapping is None:
            yield f"{meter.name}: {_UNMAPPED}"


def of_push(push: PushView) -> Iterator[str]:
    """Head-ends that have not taken anything for a while, and reports that cannot be made."""
    for receiver in push.destinations:
        if receiver.failures >= FAILING_AFTER:
            yield f"Push to {receiver.address}: {receiver.reason} {receiver.waiting} wait."
    for report in push.reports:
        if report.enabled and report.problem:
            yield f"Report {report.type}: {report.problem}"
