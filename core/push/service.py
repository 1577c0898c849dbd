"""The push side of the gateway as one part: reports and their schedules, the outbox, and who sends what is in it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from core.clock import Clock
from core.config import PushConfig, PushReportConfig, Receiver, Report
from core.cosem import datetime as cosem_time
from core.cosem.base import MANAGEMENT_DEVICE, Context, DataAccessError
from core.dlms.admission import Credentials
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError
from core.meter import Meter
from core.push import notification
from core.push.courier import Destination
from core.push.delivery import Delivered
from core.push.reports import NO_ROOM, ON_INSTALLATION, PROFILES, Gateway, PushedRows, Reports
from core.push.scheduler import PushScheduler
from core.push.sender import DestinationState, Sender
from core.snapshot import DestinationView, PushReportView, PushView
from core.store import Store, StoreError
from core.store.outbox import Notification, NotificationState, Outgoing, RowReport

LEDGER: Final = 1000
"""Rows of the ledger that are shown at once, the newest."""
_NO_REPORT: Final = 0
"""Id of a notification that is no report's; those of reports begin at 1."""
_ANYWHERE: Final = "192.0.2.1"
"""An address that nobody has (RFC 5737): the way there is the way to everywhere that is not near."""


@dataclass(frozen=True, slots=True)
class NotificationDetail:
    """One notification of the ledger, to be looked at."""

    notification: Notification
    apdu: bytes
    """The DataNotification as it is before it is ciphered; empty where its body is no longer kept."""


class Push:
    """Belongs to the core's event loop."""

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        clock: Clock,
        meters: Callable[[], Iterable[Meter]],
        rows: PushedRows,
        gateway: Callable[[], Gateway],
        push: Callable[[], PushConfig],
        touch: Callable[[], None],
    ) -> None:
        """`touch` is called when there is something else to see."""
        self._outbox = store.outbox
        self._clock = clock
        self._meters = meters
        self._gateway = gateway
        self._push = push
        self._touch = touch
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports = Reports(store, clock, meters, rows, gateway, push)
        self._sender = Sender(
            store, credentials, self._destination, self._zone, clock, follow=lambda _: touch()
        )
        self._scheduler = PushScheduler(
            store, self._reports, clock, self._zone, push, self._address, self._filled
        )
        self._destinations: tuple[DestinationView, ...] = ()
        self._waiting: dict[str, tuple[int, int, int]] = {}

    async def start(self) -> None:
        """Go on with what the last run left. Raises `StoreError`."""
        await self._scheduler.open()
        self._sender.start()
        for work in (self._scheduler.run(), self._look()):
            self._tasks.add(asyncio.create_task(work, name="push"))

    async def close(self) -> None:
        """End; what is on the wire will be sent again under the same id. May be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._sender.close()

    def changed(self) -> None:
        """Other settings hold: receivers may be other ones."""
        self._sender.changed()

    async def meters_changed(self) -> None:
        """The meter list changed. Raises `StoreError`."""
        await self._scheduler.meters_changed()

    def view(self) -> PushView:
        """What screens and commands see."""
        push = self._push()
        return PushView(
            receiver=str(Receiver(push.host, push.port, push.client_sap)) if push.host else "",
            client_sap=push.client_sap,
            reports=tuple(self._report_view(report) for report in push.reports),
            destinations=self._destinations,
        )

    async def send_report(self, report: Report, context: Context) -> None:
        """Method push of a push setup: make the report of the selected device now. Raises `DataAccessError`."""
        config = self._push().report(report)
        if config is None or self._destination(report) is None:
            raise DataAccessError(DataAccessResult.OTHER_REASON)
        meter = next((each.key for each in self._meters() if each.logical_device == context.selected), None)
        device = None if context.selected == MANAGEMENT_DEVICE else meter
        if device is None and context.selected != MANAGEMENT_DEVICE:
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        try:
            done = await self._scheduler.send_now(config, (device,))
        except CmeError as error:
            raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE) from error
        if not done:
            raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE)

    async def send_now(self, report: Report) -> None:
        """Make a report now, beside its schedule, and send it without delay. Raises `CmeError`."""
        config = self._configured(report)
        if not await self._scheduler.send_now(config):
            raise CmeError(NO_ROOM)
        self._sender.hurry()

    async def resend(self, report: Report, meters: Collection[int] | None, start_ms: int, end_ms: int) -> int:
        """Send again what lies between two times, both included, of some meters or of every device.

        How many notifications that makes. Raises `CmeError`.
        """
        self._configured(report)
        if report == ON_INSTALLATION:
            raise CmeError("The notification on installation has no times; send it now instead.")
        every = [meter.key for meter in self._meters()]
        devices: list[int | None] = [*(every if meters is None else meters)]
        if meters is None and report not in PROFILES:
            devices.insert(0, None)
        count = await self._reports.put_range(report, devices, start_ms, end_ms)
        self._sender.hurry()
        return count

    async def test(self, report: Report) -> int:
        """Send the newest row or event of one device, to see whether it arrives; how many notifications that makes.

        Raises `CmeError`.
        """
        self._configured(report)
        count = await self._reports.put_test(report, await self._address())
        if not count:
            raise CmeError("There is nothing to send yet: no device has a row or an event for this report.")
        self._sender.hurry()
        return count

    async def send_samples(self, host: str, port: int) -> int:
        """Send one notification of each report straight to a receiver, for a rehearsal; how many those are.

        Neither settings nor outbox have to do with it, and nothing is kept of it. Raises `CmeError` where it is not
        taken.
        """
        address = await asyncio.to_thread(_own_address, host, port)
        now = self._clock.now_ms()
        batch = [
            Outgoing(_NO_REPORT, new.report, new.sap, True, now, new.body)
            for new in await self._reports.samples(address)
        ]
        await self._sender.send_beside(batch, Destination(host, port, self._push().client_sap))
        return len(batch)

    async def retry(self, ids: Collection[int] | None = None) -> int:
        """Try what waits now; how many notifications. Raises `StoreError`."""
        count = await self._outbox.retry(ids)
        self._sender.hurry()
        return count

    async def cancel(self, ids: Collection[int]) -> int:
        """Give up notifications that wait; how many of these did. Raises `StoreError`."""
        return await self._outbox.cancel(ids)

    async def ledger(
        self,
        report: str | None = None,
        meter: int | None = None,
        state: NotificationState | None = None,
        limit: int = LEDGER,
    ) -> tuple[Notification, ...]:
        """The newest first; `meter`: its key, 0 for the gateway. Raises `StoreError`."""
        return tuple(await self._outbox.ledger(limit, report, meter, state))

    async def notification(self, number: int) -> NotificationDetail:
        """One notification with its APDU. Raises `CmeError` where there is none."""
        found = await self._outbox.notification(number)
        if found is None:
            raise CmeError(f"There is no notification {number}; it may be too old to be remembered.")
        body = await self._outbox.body(number)
        return detail(found, body, self._zone())

    async def completeness(
        self, report: Report, meter: int, start_ms: int, end_ms: int
    ) -> tuple[RowReport, ...]:
        """The rows of a meter's profile between two boundaries and what became of each. Raises `CmeError`."""
        if report not in PROFILES:
            raise CmeError(
                "Only profiles have rows at boundaries: load_profile_1, load_profile_2, billing_profile."
            )
        return tuple(await self._outbox.completeness(PROFILES[report], report, meter, start_ms, end_ms))

    def _configured(self, report: Report) -> PushReportConfig:
        config = self._push().report(report)
        if config is None:
            raise CmeError(f"The report {report} is not enabled; enable it first.")
        if self._destination(report) is None:
            raise CmeError(f"Nobody said where {report} goes: set [push] host, or the host of the report.")
        return config

    def _destination(self, report: str) -> Destination | None:
        push = self._push()
        known = next((each.type for each in push.reports if each.type == report), None)
        receiver = push.receiver(known) if known else None
        if receiver is None:
            return None
        return Destination(
            receiver.host,
            receiver.port,
            receiver.client_sap,
            Delivered(push.delivered),
            push.randomisation,
            push.repetition_delay,
        )

    async def _address(self) -> int:
        """IPv4 address of the gateway as the receiver of the notification on installation sees it; 0 where unknown."""
        destination = self._destination(ON_INSTALLATION)
        if destination is None:
            return 0
        return await asyncio.to_thread(_own_address, destination.host, destination.port)

    def _zone(self) -> tzinfo:
        return self._gateway().zone

    def _filled(self) -> None:
        self._sender.wake()
        self._touch()

    async def _look(self) -> None:
        """Keep the picture fresh while something waits."""
        while True:
            with contextlib.suppress(StoreError):
                before = self._destinations, self._waiting
                states = await self._sender.states()
                backlog = await self._outbox.backlog()
                self._destinations = tuple(map(_destination_view, states))
                self._waiting = {
                    report: (each.notifications, each.stored, each.oldest_ms)
                    for report, each in backlog.items()
                }
                if before != (self._destinations, self._waiting):
                    self._touch()
            await asyncio.sleep(1.0)

    def _report_view(self, report: PushReportConfig) -> PushReportView:
        waiting, size, oldest = self._waiting.get(report.type, (0, 0, 0))
        problems = [text for (kind, _), text in self._reports.problems.items() if kind == report.type]
        if report.type in self._scheduler.unfinished:
            problems.insert(0, NO_ROOM)
        destination = self._push().receiver(report.type)
        if report.enabled and destination is None:
            problems.insert(0, "Nobody said where it goes: set [push] host, or the host of the report.")
        return PushReportView(
            type=report.type,
            enabled=report.enabled,
            schedule="" if report.type == ON_INSTALLATION else report.schedule,
            destination=str(destination or ""),
            last_rows=report.last_rows,
            next_ms=self._scheduler.next_run(report),
            last_ms=self._scheduler.last_run(report.type),
            waiting=waiting,
            waiting_bytes=size,
            oldest_ms=oldest if waiting else None,
            problem=problems[0] if problems else "",
        )


def detail(found: Notification, body: bytes | None, zone: tzinfo) -> NotificationDetail:
    """A notification with its APDU, as it goes out before it is ciphered; `body` where it is still kept."""
    time = cosem_time.encode(found.created_ms, zone)
    return NotificationDetail(found, notification.encode(found.id, time, body) if body else b"")


def _destination_view(state: DestinationState) -> DestinationView:
    return DestinationView(
        address=str(Receiver(*state.address, 0)) if state.address else "",
        reports=state.reports,
        waiting=state.waiting,
        sending=state.sending,
        failures=state.failures,
        reason=state.reason,
        since_ms=state.since_ms,
        next_try_ms=state.next_try_ms,
        delivered_ms=state.delivered_ms,
    )


def _own_address(host: str, port: int) -> int:
    """The IPv4 address from which this machine reaches `host`, else others; 0 where it has none. Sends nothing."""
    for place in (host, _ANYWHERE):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((place, port))
            return int(ipaddress.IPv4Address(probe.getsockname()[0]))
    return 0
