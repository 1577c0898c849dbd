"""What people type about pushes, taken apart: destinations, schedules, times and meters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from core.config import ConfigError
from core.interval import first_instant, local_time
from core.push.schedule import Schedule, ScheduleError
from core.snapshot import MeterView

_DESTINATION: Final = re.compile(r"(\[[^\]\s]+\]|[^:\s\[\]]+)(?::([0-9]{1,5}))?(?: +([0-9]{1,5}))?")
_NEXT_RUNS: Final = 3


class Where(NamedTuple):
    """A destination; None for what was left out."""

    host: str
    port: int | None
    client_sap: int | None

    def __str__(self) -> str:
        if not self.host:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{host}{port}" + ("" if self.client_sap is None else f" {self.client_sap}")


def destination(text: str) -> Where:
    """`hes.example.net:4059 1`: host, port, client SAP, the last two of which may be left out; "" is none.

    Raises `ConfigError`.
    """
    if not text.strip():
        return Where("", None, None)
    found = _DESTINATION.fullmatch(text.strip())
    numbers = [None if each is None else int(each) for each in found.groups()[1:]] if found else [0]
    if found is None or any(each is not None and not 1 <= each <= 65535 for each in numbers):
        raise ConfigError(
            "A destination is a host, its port and the client SAP, such as hes.example.net:4059 1, both numbers from "
            "1 to 65535 and either left out; IPv6 addresses in brackets."
        )
    return Where(found[1].strip("[]"), *numbers)


def objection(read: Callable[[str], object]) -> Callable[[str], str]:
    """What is wrong with an answer, for `AskScreen`; `read` raises `ConfigError` for one that it cannot take."""

    def wrong(text: str) -> str:
        try:
            read(text)
        except ConfigError as error:
            return str(error)
        return ""

    return wrong


def schedule_problem(text: str) -> str:
    """What is wrong with a schedule, a sentence; "" for nothing."""
    try:
        Schedule.parse(text)
    except ScheduleError as error:
        return str(error)
    return ""


def next_runs(text: str, now_ms: int, zone: tzinfo) -> str:
    """The next moments of a schedule on the gateway's clock; "" for a text that is none yet."""
    if schedule_problem(text):
        return ""
    schedule, moments, moment = Schedule.parse(text), [], now_ms
    for _ in range(_NEXT_RUNS):
        moment = schedule.next_after(moment, zone)
        moments.append(local(moment, zone, "%a %Y-%m-%d %H:%M"))
    return "next: " + ", ".join(moments)


def local(ms: int, zone: tzinfo, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment as the local clock of the gateway shows it."""
    return local_time(ms, zone).strftime(form)


def moment(text: str, zone: tzinfo, *, end: bool = False) -> int:
    """The moment, in ms since 1970 UTC, of `2026-01-09`, `2026-01-09 12:00`, `2026-01-09 12:00+01:00`.

    A day is its first moment, with `end` its last one. Raises `ConfigError`.
    """
    try:
        cleaned = text.strip()
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cleaned):
            day = date.fromisoformat(cleaned) + timedelta(days=end)
            return first_instant(datetime.combine(day, time()), zone) - end
        found = datetime.fromisoformat(cleaned)
        return first_instant(found, zone) if found.tzinfo is None else round(found.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f'"{text}" is no time; write 2026-01-09, or 2026-01-09 12:00, on the clock of the gateway.'
        ) from None


def month(text: str) -> date:
    """The first day of `2026-01`. Raises `ConfigError`."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m").date()
    except ValueError:
        raise ConfigError(f'"{text}" is no month; write it as 2026-01.') from None


def meters(text: str, known: Sequence[MeterView]) -> list[MeterView] | None:
    """The meters with these names, identifications or logical devices, with commas between them; None for none typed.

    Raises `ConfigError`.
    """
    chosen: list[MeterView] = []
    for wanted in filter(None, map(str.strip, text.split(","))):
        fitting = [
            meter
            for meter in known
            if wanted in (meter.name, meter.identification, str(meter.logical_device))
        ]
        if not fitting:
            raise ConfigError(
                f'There is no meter "{wanted}"; give a name, an identification or a logical device.'
            )
        chosen += fitting
    return chosen or None
