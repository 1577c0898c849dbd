"""The bus doctor: looks on at every line, and says how line and meters do, what is wrong, and why it thinks so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from core.casefile import CaseFile, trace_entry
from core.checkup import check
from core.clock import Clock
from core.config import LineConfig
from core.diagnosis import (
    CheckView,
    Finding,
    LineDiagnosis,
    LineTraceEntry,
    MeterDiagnosis,
    Severity,
)
from core.errors import BadInputError, CmeError
from core.findings import diagnose, worst_first
from core.mbus.address import SecondaryAddress
from core.mbus.master import Master
from core.mbus.watch import Try
from core.meter import Meter
from core.symptoms import GOOD, Case, Patient

log = logging.getLogger(__name__)

AT_ONCE: Final = 100
"""Entries of a trace in one answer."""

LOOK_S: Final = 15.0
"""Between two looks at all lines; a verdict that holds for two of them is told."""


class Doctor:
    """Watches the lines in use. Belongs to the core's event loop."""

    def __init__(self, clock: Clock, zone: Callable[[], tzinfo], master: Callable[[str], Master]) -> None:
        """`zone` is that of the times in its sentences; `master` who speaks on the line of a name."""
        self._master = master
        self._clock = clock
        self._zone = zone
        self._files: dict[str, CaseFile] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def use(self, configs: Iterable[LineConfig], meters_on: Callable[[str], list[Meter]]) -> None:
        """Take the lines and meters that are in use from now on.

        A line that did not change keeps its counters; the trace and the recording of one that did go on.
        """
        wanted = {config.name: config for config in configs}
        for name in [name for name in self._files if name not in wanted]:
            self._let_go(name)
        for name, config in wanted.items():
            if name not in self._files:
                self._files[name] = CaseFile(config, self._clock.now_ms())
            elif self._files[name].config != config:
                self._end_check(name)
                self._files[name].change(config, self._clock.now_ms())
            self._files[name].use(meter for meter in meters_on(name) if meter.enabled)

    def watch(self, line: str, item: Try) -> None:
        """Take what went over a line."""
        if file := self._files.get(line):
            file.take(item)

    async def keep(self) -> None:
        """Look at the lines now and then, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Judge all lines; what two looks in a row agree on is told by `health` and `alarms`."""
        for file in list(self._files.values()):
            if file.fresh:
                file.fresh = False
                found = await self._examine(file)
                file.health.judge(next(iter(found.findings), None))

    def health(self, line: str) -> str:
        """What is wrong with a line, a sentence or two; "" for nothing."""
        file = self._files.get(line)
        return _told(file.health.finding) if file and file.health.finding else ""

    def alarms(self) -> Iterator[str]:
        """The faults of lines of which somebody has to be told."""
        for name, file in self._files.items():
            finding = file.health.finding
            if finding and finding.severity is Severity.FAULT:
                yield f"Line {name}: {_told(finding)}"

    async def diagnosis(self, line: str) -> LineDiagnosis:
        """How a line and its meters do. Raises `CmeError` where there is no such line; as do the next ones."""
        return await self._examine(self._file(line))

    async def reset(self, line: str) -> None:
        """Count from now."""
        self._file(line).reset(self._clock.now_ms())

    async def trace(self, line: str, after: int) -> tuple[LineTraceEntry, ...]:
        """The first `AT_ONCE` entries with an id above `after`, oldest first."""
        file = self._file(line)
        found = [kept for kept in file.trace if kept[0] > after][:AT_ONCE]
        names = {address: meter.name for address, meter in file.meters.items()}
        # Not in the core's loop: decoding a hundred telegrams takes a while.
        return await asyncio.to_thread(
            lambda: tuple(trace_entry(number, item, names.get(item.address, "")) for number, item in found)
        )

    async def record(self, line: str, path: Path | None) -> None:
        """Write all that goes over a line to a new file from now on; None ends that."""
        await self._file(line).record(path, self._clock.now_ms())

    async def start_check(self, line: str) -> None:
        """Ask every meter of a line a few times, between its readouts; `LineDiagnosis.check` tells how far it is."""
        file = self._file(line)
        if line in self._checks:
            raise CmeError(f"The line {line} is being checked already; wait for the end, or stop that check.")
        if not file.meters:
            raise CmeError(
                f"No meter of the line {line} is read; search the line, and install what is found."
            )
        master = self._master(line)
        file.check = CheckView(0, len(file.meters), next(iter(file.meters.values())).name)
        task = self._checks[line] = asyncio.create_task(check(file, master), name=f"check {line}")
        task.add_done_callback(lambda _: self._checks.pop(line, None))

    async def stop_check(self, line: str) -> None:
        """End a check; what it learned stays."""
        self._file(line)
        if task := self._checks.get(line):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End checks and recordings."""
        for name in list(self._files):
            self._let_go(name)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _end_check(self, name: str) -> None:
        if running := self._checks.get(name):
            running.cancel()

    def _let_go(self, name: str) -> None:
        self._end_check(name)
        file = self._files.pop(name)
        if file.recorder:
            log.warning(
                "The recording %s has ended: its line %s is not in use any more.", file.recorder.path, name
            )
        self._closing.add(task := asyncio.ensure_future(file.record(None, 0)))
        task.add_done_callback(self._closing.discard)

    def _file(self, line: str) -> CaseFile:
        file = self._files.get(line)
        if file is None:
            names = ", ".join(self._files) or "none"
            raise BadInputError(f"There is no line {line!r}; there are: {names}.")
        return file

    async def _examine(self, file: CaseFile) -> LineDiagnosis:
        tally = file.tally
        patients = [
            Patient.of(
                meter.name,
                address,
                _identity(meter),
                file.rate(meter),
                file.margin(meter),
                tally.tally(address),
            )
            for address, meter in file.meters.items()
        ]
        case = Case.of(tally, patients, self._clock.now_ms(), self._local)
        statistics = {address: tally.tally(address).counters.statistics() for address in file.meters}
        total, recorder = tally.counters.statistics(), file.recorder
        # Not in the core's loop: a thousand meters take a while.
        line, of_meters = await asyncio.to_thread(diagnose, case)
        findings = worst_first([*line, *(finding for found in of_meters.values() for finding in found)])
        return LineDiagnosis(
            line=file.config.name,
            statistics=total,
            load=case.load,
            verdict=_told(findings[0]) if findings else _well(case),
            findings=tuple(findings),
            meters=tuple(
                MeterDiagnosis(
                    file.meters[patient.address].key if patient.address in file.meters else None,
                    patient.name,
                    patient.address,
                    statistics[patient.address],
                    tuple(of_meters.get(patient.address, ())),
                )
                for patient in patients
            ),
            recording=str(recorder.path) if recorder else "",
            recorded=recorder.recorded if recorder else 0,
            recording_reason=recorder.reason if recorder else "",
            check=file.check,
        )

    def _local(self, ms: int) -> str:
        return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(self._zone()):%Y-%m-%d %H:%M}"


def _identity(meter: Meter) -> SecondaryAddress | None:
    """That its telegrams should have, as far as that is known."""
    if isinstance(meter.address, SecondaryAddress):
        return meter.address
    return meter.identity


def _told(finding: Finding) -> str:
    return f"{finding.meter}: {finding.sentence}" if finding.meter else finding.sentence


def _well(case: Case) -> str:
    """That nothing is wrong, as far as that is known."""
    asked, installed = len(case.asked), len(case.patients)
    if not asked:
        return "Nothing can be said yet: no meter has been asked often enough. A check asks all of them now."
    again = sum(sample.fault not in GOOD for sample in case.samples)
    repeated = f"{again or 'none'} of the last {len(case.samples)} requests had to be repeated"
    if asked < installed:
        was = "was" if asked == 1 else "were"
        return f"{asked} of {installed} meters {was} asked often enough so far: no fault is known, and {repeated}."
    who = "The meter answers" if asked == 1 else f"All is well: all {asked} meters answer"
    return f"{who}, and {repeated}."
