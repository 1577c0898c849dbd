"""The bus doctor's side of a recorded gateway: a line with two troubles, its counters and its trace."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from core.diagnosis import (
    CheckView,
    Finding,
    LineDiagnosis,
    LineTraceEntry,
    MeterDiagnosis,
    Severity,
    Statistics,
)
from core.errors import CmeError
from core.mbus.address import PrimaryAddress
from core.mbus.commands import Command, SetPrimaryAddress, SwitchBaud
from core.mbus.frame import ACK, req_ud2, snd_nke

NOW_MS: Final = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC."""
HOUR: Final = 3_600_000

TELEGRAMS: Final = Path(__file__).parents[2] / "core" / "mbus" / "telegrams"

COLLIDING: Final = Finding(
    Severity.FAULT,
    "heat flat 1",
    "two meters on one address",
    "Two meters answer at primary address 3: give one of them another address.",
    "17 of the last 20 answers are two telegrams at once, and both select alone by their secondary addresses.",
)
SLOW: Final = Finding(
    Severity.WARNING,
    "gas boiler",
    "slow answerer",
    "The meter begins its answers only just in time: give it margin_ms = 120.",
    "its answers begin after 168 to 194 ms of the 187.5 ms that the standard allows; 4 came late.",
)


def _counted(tries: int, wrong: int = 0, **more: Any) -> Statistics:
    delays = {"delay_min_s": 0.061, "delay_mean_s": 0.0743, "delay_max_s": 0.118}
    return Statistics(NOW_MS - 2 * HOUR, tries, tries - wrong, **{**delays, **more})


METERS: Final = (
    MeterDiagnosis(1, "water kitchen", "1", _counted(96), ()),
    MeterDiagnosis(2, "hot water kitchen", "2", _counted(97, 1, checksum_errors=1), ()),
    MeterDiagnosis(3, "heat flat 1", "3", _counted(130, 51, collisions=49, cut=2), (COLLIDING,)),
    MeterDiagnosis(4, "heat flat 2", "4", _counted(96), ()),
    MeterDiagnosis(
        5,
        "gas boiler",
        "5",
        _counted(104, 8, timeouts=8, delay_min_s=0.168, delay_mean_s=0.181, delay_max_s=0.194),
        (SLOW,),
    ),
)

_FRAMES: Final = ("oms_frame2", "siemens_water", "kamstrup_multical_601")


def _entry(number: int) -> LineTraceEntry:
    meter = METERS[number // 2 % 3]
    begins = number % 2 == 0
    address = PrimaryAddress(int(meter.address)).number
    telegram = bytes.fromhex((TELEGRAMS / f"{_FRAMES[number // 2 % 3]}.hex").read_text())
    fault = "collision" if meter.findings and not begins else ""
    return LineTraceEntry(
        id=number + 1,
        time_ms=NOW_MS - (20 - number) * 1000,
        baud=2400,
        purpose="read",
        address=meter.address,
        meter=meter.name,
        number=2 if fault else 1,
        request=snd_nke(address) if begins else req_ud2(address, True),
        received=ACK if begins else telegram[: 40 if fault else None],
        echo=False,
        fault=fault,
        delay_s=0.0613 + number / 1000,
        request_meaning=f"SND_NKE {address}" if begins else f"REQ_UD2 {address} FCB 1",
        answer_meaning="acknowledgement" if begins else fault or f"RSP_UD from {address}, 9 records",
    )


class RecordedLines:
    """The calls of `core.facade.Gateway` about the state of lines, and those that command meters."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.diagnoses = {
            "main": LineDiagnosis(
                "main",
                _counted(523, 60, timeouts=8, checksum_errors=1, collisions=49, cut=2, delay_max_s=0.194),
                0.43,
                COLLIDING.sentence,
                (COLLIDING, SLOW),
                METERS,
            )
        }
        self.tries = [_entry(number) for number in range(12)]
        self.refused: dict[type, str] = {}
        """What a kind of command fails with."""

    def diagnosis(self, line: str) -> Future[LineDiagnosis]:
        if line in self.diagnoses:
            return _answer(self.diagnoses[line])
        return _failed(f"There is no line {line}.")

    def reset_diagnosis(self, line: str) -> Future[None]:
        self.commands.append(f"reset {line}")
        fresh = tuple(replace(meter, statistics=Statistics(NOW_MS), findings=()) for meter in METERS)
        self.diagnoses[line] = LineDiagnosis(
            line, Statistics(NOW_MS), 0.0, "Nothing was asked on this line yet.", (), fresh
        )
        return _answer(None)

    def start_check(self, line: str) -> Future[None]:
        return self._check(line, CheckView(2, 5, "heat flat 1"))

    def stop_check(self, line: str) -> Future[None]:
        return self._check(line, CheckView(2, 5, "", "it was stopped"))

    def _check(self, line: str, check: CheckView) -> Future[None]:
        self.commands.append(f"{'start' if check.running else 'stop'} check {line}")
        self.diagnoses[line] = replace(self.diagnoses[line], check=check)
        return _answer(None)

    def line_trace(self, line: str, after: int) -> Future[tuple[LineTraceEntry, ...]]:
        return _answer(tuple(entry for entry in self.tries if entry.id > after))

    def record_line(self, line: str, path: Path | None) -> Future[None]:
        self.commands.append(f"record {line} {path}")
        if path is not None and not path.parent.is_dir():
            return _failed(f"{path} cannot be written: there is no such directory.")
        found = self.diagnoses[line]
        self.diagnoses[line] = replace(found, recording=str(path or ""), recorded=0)
        return _answer(None)

    def command_meter(self, line: str, address: str, command: Command) -> Future[str]:
        self.commands.append(f"command {line} {address} {command}")
        if type(command) in self.refused:
            return _failed(self.refused[type(command)])
        match command:
            case SetPrimaryAddress(number):
                return _answer(f"The meter answers at primary address {number} now.")
            case SwitchBaud(baud):
                return _answer(f"The meter speaks at {baud} baud now.")
        return _answer("The meter has done it.")


def _answer(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _failed(sentence: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(CmeError(sentence))
    return future
