"""The push side of a recorded gateway: a head-end that refuses, one that takes, and a ledger with real bodies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC
from typing import Any, Final

from core.config import Config, GatewayConfig, PushConfig, PushReportConfig, Report
from core.cosem import datetime as cosem_time
from core.cosem import names
from core.cosem.codes import Codes
from core.cosem.profile import CaptureObject
from core.dlms import axdr, wrapper
from core.errors import CmeError
from core.push import notification, payload
from core.push.reports import PROFILES
from core.push.schedule import Schedule
from core.push.service import NotificationDetail
from core.snapshot import DestinationView, PushReportView, PushView
from core.store.outbox import Notification, NotificationState, RowFate, RowReport

NOW_MS: Final = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC."""
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR

CONFIG: Final = Config(
    gateway=GatewayConfig(timezone="UTC"),
    push=PushConfig(
        host="hes.example.net",
        reports=(
            PushReportConfig("load_profile_1", schedule="every 1 h + 5 min"),
            PushReportConfig(
                "billing_profile", schedule="monthly 1 06:00", host="billing.example.net", port=4061
            ),
            PushReportConfig("standard_event_log", enabled=False),
            PushReportConfig("on_installation"),
        ),
    ),
)

REFUSED: Final = "billing.example.net:4061 refuses connections: start the receiver, or correct the port."

_VOLUME: Final = bytes((8, 0, 1, 0, 0, 255))


def _profile() -> bytes:
    """Two rows of a water meter, a quarter of an hour apart."""
    codes = Codes()
    rows = [
        axdr.structure(
            axdr.date_time(cosem_time.encode(NOW_MS - HOUR // before, UTC)), axdr.double_long(volume)
        )
        for before, volume in ((1, 85946), (4, 85949))
    ]
    columns = (CaptureObject(8, names.CLOCK, 2), CaptureObject(3, _VOLUME, 2))
    setup, profile = codes.push_load_profile_1, codes.load_profile_1
    return payload.profile(b"ELV0016000000", b"ELS70112345070A", setup, profile, columns, rows, [(-3, 13)])


PROFILE: Final = _profile()


def _notification(
    number: int, report: str, meter: int | None, state: NotificationState, age_ms: int, **more: Any
) -> Notification:
    created = NOW_MS - age_ms
    has_rows = report != "on_installation"
    values: dict[str, Any] = {
        "id": number,
        "report": report,
        "meter": meter,
        "sap": 1 if meter is None else meter + 1,
        "setup": bytes(6),
        "rows": 2 if has_rows else 0,
        "first_ms": created - HOUR if has_rows else None,
        "last_ms": created - HOUR // 4 if has_rows else None,
        "manual": False,
        "created_ms": created,
        "size": len(PROFILE),
        "state": state,
        "has_body": True,
        "tries": 1,
        "last_try_ms": created + 4000,
        "next_try_ms": None,
        "reason": "",
        "delivered_ms": created + 4000 if state is NotificationState.DELIVERED else None,
        "wire_size": len(PROFILE) + notification.HEADER_SIZE + wrapper.HEADER_SIZE
        if state is NotificationState.DELIVERED
        else None,
    }
    return Notification(**values | more)


def _ledger() -> list[Notification]:
    delivered, waiting = NotificationState.DELIVERED, NotificationState.WAITING
    failing = {"tries": 7, "next_try_ms": NOW_MS + 12 * 60_000, "reason": REFUSED}
    return [
        _notification(9, "on_installation", None, waiting, 20_000, tries=0),
        *(_notification(9 - key, "load_profile_1", key, delivered, 55 * 60_000) for key in (1, 2, 3)),
        _notification(5, "billing_profile", 1, waiting, 2 * HOUR, **failing),
        _notification(4, "billing_profile", 3, waiting, 2 * HOUR, **failing),
        _notification(3, "load_profile_1", 1, NotificationState.CANCELLED, 2 * DAY, tries=3, reason=REFUSED),
        _notification(2, "load_profile_1", 4, NotificationState.EXPIRED, 41 * DAY, tries=900, reason=REFUSED),
        _notification(1, "load_profile_1", 99, delivered, 42 * DAY, has_body=False),
    ]


class RecordedPush:
    """The part of `core.facade.Gateway` that is about pushes; what is asked of it stands in `commands`."""

    def __init__(self, *, push: bool = True) -> None:
        """Without `push` no report is configured and nothing was ever sent."""
        self.push_config = CONFIG if push else replace(CONFIG, push=PushConfig())
        self.notifications = _ledger() if push else []
        self.ledgers = 0  # how often it was asked for
        self.pushes: list[str] = []

    def config(self) -> Config:
        return self.push_config

    def set_push(self, values: Mapping[str, Any]) -> None:
        """Apply what was saved."""
        push = self.push_config.push
        for name, value in values.items():
            if name == "push.report":
                push = replace(push, reports=tuple(PushReportConfig(**table) for table in value))
            else:
                key = name.removeprefix("push.")
                push = replace(push, **{key: getattr(PushConfig(), key) if value is None else value})
        self.push_config = replace(self.push_config, push=push)

    def push_view(self) -> PushView:
        push = self.push_config.push
        return PushView(
            receiver=f"{push.host}:{push.port}" if push.host else "",
            client_sap=push.client_sap,
            reports=tuple(self._report(report) for report in push.reports),
            destinations=self._destinations(),
        )

    def _report(self, report: PushReportConfig) -> PushReportView:
        waiting = [each for each in self._waiting() if each.report == report.type]
        scheduled = report.enabled and report.type != "on_installation"
        schedule = Schedule.parse(report.schedule)
        destination = self.push_config.push.receiver(report.type)
        return PushReportView(
            type=report.type,
            enabled=report.enabled,
            schedule=report.schedule if report.type != "on_installation" else "",
            destination=str(destination or ""),
            last_rows=report.last_rows,
            next_ms=schedule.next_after(NOW_MS, UTC) if scheduled else None,
            last_ms=schedule.last_slot(NOW_MS, UTC) if scheduled else None,
            waiting=len(waiting),
            waiting_bytes=sum(each.size for each in waiting),
            oldest_ms=min((each.created_ms for each in waiting), default=None),
            problem="",
        )

    def _destinations(self) -> tuple[DestinationView, ...]:
        if not self.notifications:
            return ()
        waiting = self._waiting()
        failing = sum(bool(each.reason) for each in waiting)
        took = DestinationView(
            "hes.example.net:4059", ("on_installation",), len(waiting) - failing, False, 0, "", None, None,
            NOW_MS - 55 * 60_000 + 4000,
        )  # fmt: skip
        refuses = DestinationView(
            "billing.example.net:4061", ("billing_profile",), failing, False, 7, REFUSED, NOW_MS - 2 * HOUR,
            NOW_MS + 12 * 60_000, None,
        )  # fmt: skip
        return (refuses, took) if failing else (took,)

    def _waiting(self) -> list[Notification]:
        return [each for each in self.notifications if each.state is NotificationState.WAITING]

    def send_report(self, report: Report) -> Future[None]:
        return self._told(f"send {report}", None)

    def test_report(self, report: Report) -> Future[int]:
        if self.push_config.push.report(report) is None:
            return failed(f"The report {report} is not enabled; enable it first.")
        return self._told(f"test {report}", 1)

    def resend_report(
        self, report: Report, meters: Collection[int] | None, start_ms: int, end_ms: int
    ) -> Future[int]:
        return self._told(f"resend {report} {meters} {start_ms} {end_ms}", 3)

    def retry_notifications(self, ids: Collection[int] | None = None) -> Future[int]:
        return self._told(f"retry {ids}", len(self._waiting()) if ids is None else len(ids))

    def cancel_notifications(self, ids: Collection[int]) -> Future[int]:
        given_up = {"state": NotificationState.CANCELLED, "next_try_ms": None}
        self.notifications = [
            replace(each, **given_up) if each.id in ids else each for each in self.notifications
        ]
        return self._told(f"cancel {list(ids)}", len(ids))

    def ledger(
        self, report: str | None = None, meter: int | None = None, state: NotificationState | None = None
    ) -> Future[tuple[Notification, ...]]:
        self.ledgers += 1
        return done(tuple(self.notifications))

    def notification(self, number: int) -> Future[NotificationDetail]:
        found = next(each for each in self.notifications if each.id == number)
        time = cosem_time.encode(found.created_ms, UTC)
        return done(
            NotificationDetail(found, notification.encode(number, time, PROFILE) if found.has_body else b"")
        )

    def completeness(
        self, report: Report, meter: int, start_ms: int, end_ms: int
    ) -> Future[tuple[RowReport, ...]]:
        """Hourly rows since 28 December; 3 of them lack on the 4th, the 6th was given up, those of today wait.

        The meter 7 was never read.
        """
        if PROFILES[report] != 1 or meter % 7 == 0:
            return done(())
        rows = [
            RowReport(at, at, self._fate(at))
            for at in range(NOW_MS - 12 * DAY - 12 * HOUR, NOW_MS + 1, HOUR)
            if start_ms <= at < end_ms and not (meter % 2 and at // HOUR * HOUR in _MISSING)
        ]
        return done(tuple(rows))

    def _fate(self, at: int) -> RowFate:
        midnight = NOW_MS - 12 * HOUR
        if at >= midnight + 8 * HOUR:
            return RowFate.WAITING
        return RowFate.GIVEN_UP if 0 <= at - midnight + 3 * DAY < 2 * HOUR else RowFate.DELIVERED

    def _told(self, command: str, result: Any) -> Future[Any]:
        self.pushes.append(command)
        return done(result)


_MISSING: Final = {NOW_MS - 12 * HOUR - 5 * DAY + hour * HOUR for hour in (3, 4, 5)}


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(sentence: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(CmeError(sentence))
    return future
