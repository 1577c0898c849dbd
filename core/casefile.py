"""What the bus doctor keeps of one line: counters, the last requests for a trace, a recording, a verdict that holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from core.config import LineConfig
from core.diagnosis import CheckView, Finding, LineTraceEntry, Severity
from core.errors import CmeError
from core.mbus.address import SELECTED
from core.mbus.frame import snd_nke
from core.mbus.meaning import answer_meaning, request_meaning
from core.mbus.recording import Recorder
from core.mbus.tally import LineTally
from core.mbus.watch import Fault, Try
from core.meter import Meter

MOST_TRIES: Final = 500
MOST_BYTES: Final = 256 << 10
"""What the trace of a line keeps."""


class CaseFile:
    """One line with its installed meters."""

    def __init__(self, config: LineConfig, now_ms: int) -> None:
        self.config = config
        self.tally = LineTally(now_ms, config.baud)
        self.meters: dict[str, Meter] = {}
        """Those that are read, by address."""
        self.trace: deque[tuple[int, Try]] = deque()
        """Requests by their number, oldest first."""
        self.recorder: Recorder | None = None
        self.health = Health()
        self.check: CheckView | None = None
        self.fresh = False
        """Whether something went over the line since this was set to False."""
        self._bytes = 0
        self._last = 0

    def use(self, meters: Iterable[Meter]) -> None:
        """Take the meters that are read from now on."""
        self.meters = {str(meter.address): meter for meter in meters}
        for address in [address for address in self.tally.meters if address not in self.meters]:
            del self.tally.meters[address]

    def take(self, item: Try) -> None:
        """Take what went over the line."""
        self.fresh = True
        self.tally.take(
            item,
            self.meters.__contains__,
            lambda address: self.rate(self.meters[address]),
            checking=self.check is not None and self.check.running,
        )
        self._last += 1
        self.trace.append((self._last, item))
        self._bytes += _size(item)
        while len(self.trace) > MOST_TRIES or self._bytes > MOST_BYTES:
            self._bytes -= _size(self.trace.popleft()[1])
        if self.recorder:
            self.recorder.add(item)

    def rate(self, meter: Meter) -> int:
        """At which a meter is read, bit/s."""
        return meter.config.baud or self.config.baud

    def margin(self, meter: Meter) -> float:
        """For which its answer is waited longer than the standard says, s."""
        return (meter.config.margin_ms + self.config.margin_ms) / 1000

    def change(self, config: LineConfig, now_ms: int) -> None:
        """Take another configuration of the line; its counters begin anew."""
        self.config = config
        self.reset(now_ms)

    def reset(self, now_ms: int) -> None:
        """Count from now."""
        self.tally = LineTally(now_ms, self.config.baud)
        self.health = Health()

    async def record(self, path: Path | None, now_ms: int) -> None:
        """Record to a new file from now on; None ends that. Raises `CmeError`."""
        if path is not None and not path.is_absolute():
            raise CmeError(f"{path} is no absolute path; say where the recording goes from the root on.")
        now = self.recorder
        if path is not None and now and not now.reason:
            raise CmeError(f"The line {self.config.name} is recorded to {now.path} already; end that first.")
        self.recorder = None
        if now:
            await now.close()
        if path is not None:
            self.recorder = await Recorder.open(path, self.config.name, self.config.baud, now_ms)


class Health:
    """The worst finding of a line, so that it does not flicker: a change counts when it was seen twice in a row."""

    def __init__(self) -> None:
        self.finding: Finding | None = None
        """None where nothing is wrong."""
        self._other: tuple[str, str] | None = None

    def judge(self, worst: Finding | None) -> None:
        """Take what was found now."""
        if worst and worst.severity not in (Severity.FAULT, Severity.WARNING):
            worst = None
        found = _subject(worst)
        if found in (_subject(self.finding), self._other):
            self.finding = worst
        self._other = found


def trace_entry(number: int, item: Try, meter: str) -> LineTraceEntry:
    """A request in words; `meter` is the name of the one that was meant."""
    # Only a meter that is still selected acknowledges that.
    nobody = item.fault is Fault.SILENCE and item.request == snd_nke(SELECTED)
    return LineTraceEntry(
        id=number,
        time_ms=item.time_ms,
        baud=item.baud,
        purpose=item.purpose.value,
        address=item.address,
        meter=meter,
        number=item.number,
        request=item.request,
        received=item.received,
        echo=item.echo,
        fault="" if item.fault is None or nobody else item.fault.value,
        delay_s=item.delay,
        request_meaning=request_meaning(item.request),
        answer_meaning="nobody was selected" if nobody else answer_meaning(item.received, item.fault),
    )


def _subject(finding: Finding | None) -> tuple[str, str]:
    return (finding.meter, finding.fault) if finding else ("", "")


def _size(item: Try) -> int:
    return len(item.request) + len(item.received) + len(item.before)
