"""The calls of the control socket that are about pushes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast, get_args

from core.clock import iso
from core.config import Report
from core.errors import CmeError
from core.facade import Gateway
from core.snapshot import DestinationView, PushReportView, PushView

Call = Callable[[Gateway, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Takes the gateway and the request; gives the only line of the answer. Raises `CmeError`."""


def push_json(push: PushView) -> dict[str, Any]:
    """The push side as the answer to `push` has it; times as ISO 8601 in UTC, null for never."""
    return {
        "receiver": push.receiver,
        "client": push.client_sap,
        "reports": [_report_json(report) for report in push.reports],
        "destinations": [_destination_json(destination) for destination in push.destinations],
    }


def _report_json(report: PushReportView) -> dict[str, Any]:
    return {
        "report": report.type,
        "enabled": report.enabled,
        "schedule": report.schedule,
        "destination": report.destination,
        "last_rows": report.last_rows,
        "next": iso(report.next_ms),
        "last": iso(report.last_ms),
        "waiting": report.waiting,
        "waiting_bytes": report.waiting_bytes,
        "oldest": iso(report.oldest_ms),
        "problem": report.problem,
    }


def _destination_json(destination: DestinationView) -> dict[str, Any]:
    return {
        "address": destination.address,
        "reports": list(destination.reports),
        "waiting": destination.waiting,
        "sending": destination.sending,
        "failures": destination.failures,
        "reason": destination.reason,
        "since": iso(destination.since_ms),
        "next_try": iso(destination.next_try_ms),
        "delivered": iso(destination.delivered_ms),
    }


async def _push(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return push_json(gateway.snapshot().push)


async def _send(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    await asyncio.wrap_future(gateway.send_report(_report(request)))
    return {"sent": True}


async def _test(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"notifications": await asyncio.wrap_future(gateway.test_report(_report(request)))}


async def _resend(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    start, end = (_number(request.get(name), name) for name in ("start_ms", "end_ms"))
    meters = None if request.get("meters") is None else _numbers(request["meters"], "meters")
    sending = gateway.resend_report(_report(request), meters, start, end)
    return {"notifications": await asyncio.wrap_future(sending)}


async def _retry(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    ids = None if request.get("ids") is None else _numbers(request["ids"], "ids")
    return {"notifications": await asyncio.wrap_future(gateway.retry_notifications(ids))}


async def _cancel(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    ids = _numbers(request.get("ids"), "ids")
    return {"notifications": await asyncio.wrap_future(gateway.cancel_notifications(ids))}


CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "push": _push,
        "send_report": _send,
        "test_report": _test,
        "resend_report": _resend,
        "retry_notifications": _retry,
        "cancel_notifications": _cancel,
    }
)


def _report(request: Mapping[str, Any]) -> Report:
    report = request.get("report")
    if report not in get_args(Report):
        raise CmeError(f'The call takes "report", one of {", ".join(get_args(Report))}.')
    return cast("Report", report)


def _numbers(value: object, name: str) -> list[int]:
    if not isinstance(value, list):
        raise CmeError(f'The call takes "{name}", a list of whole numbers.')
    return [_number(item, name) for item in value]


def _number(value: object, name: str) -> int:
    if type(value) is not int or abs(value) >= 1 << 53:
        raise CmeError(f'The call takes "{name}" as whole numbers of at most 53 bits.')
    return value
