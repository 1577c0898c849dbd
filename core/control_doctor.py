"""The calls of the control socket that are about the bus doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from core.clock import iso
from core.control_push import Call
from core.diagnosis import CheckView, Finding, LineDiagnosis, LineTraceEntry, Statistics
from core.errors import CmeError
from core.facade import Gateway


def diagnosis_json(diagnosis: LineDiagnosis) -> dict[str, Any]:
    """A line as the answer to `diagnosis` has it; times as ISO 8601 in UTC, delays in s, null where not known."""
    return {
        "line": diagnosis.line,
        "verdict": diagnosis.verdict,
        "load": round(diagnosis.load, 4),
        "statistics": _statistics(diagnosis.statistics),
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "meters": [
            {
                "name": meter.name,
                "address": meter.address,
                "statistics": _statistics(meter.statistics),
                "findings": [_finding(finding) for finding in meter.findings],
            }
            for meter in diagnosis.meters
        ],
        "recording": diagnosis.recording,
        "recorded": diagnosis.recorded,
        "recording_reason": diagnosis.recording_reason,
        "check": _check(diagnosis.check),
    }


def entry_json(entry: LineTraceEntry) -> dict[str, Any]:
    """A request and its answer as the answer to `line_trace` has it; bytes as hex digits."""
    return {
        "id": entry.id,
        "time": iso(entry.time_ms),
        "baud": entry.baud,
        "purpose": entry.purpose,
        "address": entry.address,
        "meter": entry.meter,
        "try": entry.number,
        "request": entry.request.hex(),
        "request_meaning": entry.request_meaning,
        "received": entry.received.hex(),
        "answer_meaning": entry.answer_meaning,
        "echo": entry.echo,
        "fault": entry.fault,
        "delay": _seconds(entry.delay_s),
    }


def _statistics(statistics: Statistics) -> dict[str, Any]:
    found = asdict(statistics)
    delays = {kind: _seconds(found.pop(f"delay_{kind}_s")) for kind in ("min", "mean", "max")}
    return {"since": iso(found.pop("since_ms")), **found, "delay": delays}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.value,
        "meter": finding.meter,
        "fault": finding.fault,
        "sentence": finding.sentence,
        "evidence": finding.evidence,
    }


def _check(check: CheckView | None) -> dict[str, Any] | None:
    return None if check is None else {**asdict(check), "running": check.running}


def _seconds(delay: float | None) -> float | None:
    return None if delay is None else round(delay, 4)


async def _diagnosis(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    lines = (
        [line.name for line in gateway.snapshot().lines] if request.get("line") is None else [_line(request)]
    )
    found = [await asyncio.wrap_future(gateway.diagnosis(line)) for line in lines]
    return {"lines": [diagnosis_json(diagnosis) for diagnosis in found]}


async def _trace(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    after = request.get("after", 0)
    if type(after) is not int:
        raise CmeError('The call takes "after", the id of an entry.')
    entries = await asyncio.wrap_future(gateway.line_trace(_line(request), after))
    return {"entries": [entry_json(entry) for entry in entries]}


async def _record(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    path = request.get("path")
    if path is not None and (not isinstance(path, str) or not path):
        raise CmeError('The call takes "path", the file to record to, or null to end that.')
    return await _done(gateway.record_line(_line(request), None if path is None else Path(path)))


async def _reset(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return await _done(gateway.reset_diagnosis(_line(request)))


async def _start_check(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return await _done(gateway.start_check(_line(request)))


async def _stop_check(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return await _done(gateway.stop_check(_line(request)))


CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "diagnosis": _diagnosis,
        "line_trace": _trace,
        "record_line": _record,
        "reset_diagnosis": _reset,
        "start_check": _start_check,
        "stop_check": _stop_check,
    }
)


async def _done(change: Future[None]) -> Mapping[str, Any]:
    await asyncio.wrap_future(change)
    return {"done": True}


def _line(request: Mapping[str, Any]) -> str:
    line = request.get("line")
    if not isinstance(line, str):
        raise CmeError('The call takes "line", the name of a line.')
    return line
