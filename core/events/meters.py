"""What readouts say about meters, and lines about themselves, as events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.events.codes import METER_STATUS, PERMANENT_ERROR, POWER_LOW, EventCode
from core.events.service import Events
from core.mbus.explain import status_text
from core.mbus.telegram import Telegram
from core.snapshot import MeterState
from core.store import Log

LOST_AFTER: Final = 3
"""Failed readouts in a row after which a meter counts as lost."""

LINE_DOWN_S: Final = 30.0
"""So long a line is down before that is an event: a level converter that restarts is none."""

_COUNTING: Final = 0x03


@dataclass(slots=True)
class _Known:
    status: int | None
    failed: int = 0
    lost: bool = False


class MeterWatch:
    """Compares each readout with the one before, also with that before a restart."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._meters: dict[int, _Known] = {}

    def install(self, meters: Mapping[int, str], statuses: Mapping[int, int | None]) -> None:
        """The meters that are installed now: key and address of each, and the status byte of its last good readout.

        One that has no event yet is installed for the first time. Those that are known already go on as they are.
        """
        known = {}
        for key, address in meters.items():
            meter = self._meters.get(key)
            if meter is None:
                last = self._events.last(key, Log.STANDARD)
                # While a meter is lost nothing else happens to it: this is its last event then.
                meter = _Known(statuses.get(key), lost=last is not None and last.code == EventCode.METER_LOST)
                if last is None:
                    self._events.log(EventCode.METER_INSTALLED, address, meter=key)
            known[key] = meter
        self._meters = known

    def readout(self, key: int, state: MeterState, reason: str, status: int | None, time_ms: int) -> None:
        """What a readout came to: `reason` where `state` is not OK, else the status byte (`status_of`).

        A line that is down says nothing about its meters.
        """
        meter = self._meters.get(key)
        if meter is None or state is MeterState.LINE_DOWN:
            return
        if state is not MeterState.OK:
            meter.failed += 1
            if meter.failed >= LOST_AFTER and not meter.lost:
                meter.lost = True
                self._events.log(EventCode.METER_LOST, reason, meter=key, time_ms=time_ms)
            return
        meter.failed = 0
        if meter.lost:
            meter.lost = False
            self._events.log(EventCode.METER_BACK, meter=key, time_ms=time_ms)
        if status is not None:
            self._compare(key, meter.status, status, time_ms)
            meter.status = status

    def _compare(self, key: int, old: int | None, new: int, time_ms: int) -> None:
        if old is not None and old != new:
            change = f"{status_text(new)} (before: {status_text(old)})"
            self._events.log(METER_STATUS + new, change, meter=key, time_ms=time_ms)
        appeared = new & ~(old or 0)
        if appeared & POWER_LOW:
            self._events.log(EventCode.METER_BATTERY, meter=key, time_ms=time_ms)
        if appeared & PERMANENT_ERROR:
            self._events.log(EventCode.METER_PERMANENT_ERROR, meter=key, time_ms=time_ms)


class LineWatch:
    """Notices lines that stay down."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._down: dict[str, tuple[float, bool]] = {}  # since when, and whether that is logged

    def tick(self, down: Mapping[str, str], monotonic_s: float) -> None:
        """Look at the lines: `down` has name and reason of those that are down now. To be called each second or so."""
        self._down = {name: self._down.get(name, (monotonic_s, False)) for name in down}
        for name, (since, logged) in self._down.items():
            if not logged and monotonic_s - since >= LINE_DOWN_S:
                self._down[name] = (since, True)
                self._events.log(EventCode.MEASUREMENT_SYSTEM_ERROR, f"Line {name} is down: {down[name]}")


def status_of(telegram: Telegram) -> int | None:
    """The M-Bus status byte; None for a telegram without one.

    Its two lowest bits in a fixed data structure say how counters are coded: they are 0 here.
    """
    match telegram.header:
        case "none":
            return None
        case "fixed":
            return telegram.status & ~_COUNTING
    return telegram.status
