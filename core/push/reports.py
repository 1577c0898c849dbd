"""What each report has to say: rows and events, cut into notifications and put into the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final, Protocol

from core.clock import Clock
from core.config import PushConfig, Report
from core.cosem import datetime as cosem_time
from core.cosem import names
from core.cosem.base import MANAGEMENT_DEVICE
from core.cosem.codes import Codes
from core.errors import CmeError
from core.meter import Meter
from core.profiles import MeterRows
from core.push import payload
from core.push.payload import RowTooLargeError
from core.store import Event, Log, ProfileRow, Store
from core.store.outbox import NewNotification, ReportState
from core.store.outbox.records import LARGEST_BODY

PROFILES: Final[dict[Report, int]] = {"load_profile_1": 1, "load_profile_2": 2, "billing_profile": 3}
"""Number in the store of the profile that a report sends."""
LOGS: Final[dict[Report, Log]] = {"standard_event_log": Log.STANDARD, "fraud_event_log": Log.FRAUD}
ON_INSTALLATION: Final = "on_installation"

_AT_ONCE: Final = 720
"""Rows that are worked out before they are cut into notifications."""
_BATCH: Final = 64
"""Notifications that are put into the outbox at once: one wait for the disk."""
_LOG_NAMES: Final = {Log.STANDARD: names.STANDARD_EVENT_LOG, Log.FRAUD: names.FRAUD_EVENT_LOG}
_GATEWAY_SETUPS: Final = {
    Log.STANDARD: names.PUSH_GATEWAY_STANDARD_EVENT_LOG,
    Log.FRAUD: names.PUSH_GATEWAY_FRAUD_EVENT_LOG,
}
_NEVER: Final = 1 << 53


def source(report: Report) -> int | Log | None:
    """The profile, by its number in the store, or the log that a report sends; None for that on installation."""
    return PROFILES.get(report) or LOGS.get(report)


class Gateway(Protocol):
    """What the reports read of the gateway."""

    @property
    def name(self) -> str:
        """Its logical device name."""

    @property
    def system_title(self) -> bytes: ...

    @property
    def codes(self) -> Codes: ...

    @property
    def zone(self) -> tzinfo: ...


class PushedRows(Protocol):
    """Gives the rows of a profile with the columns that go into pushes."""

    def __call__(self, meter: Meter, profile: int, /) -> MeterRows: ...


@dataclass(slots=True)
class _Parcel:
    """Notifications of one device, and how far they take it."""

    notifications: list[NewNotification]
    cursor: tuple[str, int | None]
    upto: int


class Reports:
    """Fills the outbox. Belongs to the core's event loop; every coroutine may raise `StoreError`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        meters: Callable[[], Iterable[Meter]],
        rows: PushedRows,
        gateway: Callable[[], Gateway],
        push: Callable[[], PushConfig],
    ) -> None:
        self._store = store
        self._clock = clock
        self._meters = meters
        self._rows = rows
        self._gateway = gateway
        self._push = push
        self.problems: dict[tuple[Report, int | None], str] = {}
        """Why something of a device cannot be sent as things are, a sentence; it waits in the store."""

    async def put_unsent(
        self,
        report: Report,
        state: ReportState | None = None,
        devices: Collection[int | None] | None = None,
    ) -> bool:
        """Put all that was not sent yet into the outbox, and then keep `state`; of some `devices` only, where given.

        False where the outbox is full before that: the rest waits in the store, and `state` is not kept.
        """
        waiting = await self._store.outbox.unsent(report)
        wanted = {key: after for key, after in waiting.items() if devices is None or key in devices}
        batch: list[_Parcel] = []
        async for parcel in self._unsent(report, wanted):
            batch.append(parcel)
            if sum(len(each.notifications) for each in batch) >= _BATCH:
                if not await self._enqueue(batch):
                    return False
                batch = []
        return await self._enqueue(batch, {report: state} if state else None)

    async def put_newest(self, report: Report, count: int, state: ReportState | None = None) -> bool:
        """Put the newest `count` rows or events of each device into the outbox, sent before or not."""
        made = [new for device in self._devices(report) for new in await self._newest(report, device, count)]
        return await self._put(made, {report: state} if state else None)

    async def put_range(
        self, report: Report, devices: Collection[int | None], start_ms: int, end_ms: int
    ) -> int:
        """Put what lies between two times into the outbox again, both included; how many notifications that makes.

        Raises `CmeError` where the outbox has no room for all of it.
        """
        made: list[NewNotification] = []
        for device in devices:
            made += await self._between(report, device, start_ms, end_ms)
        if not await self._put([new._replace(manual=True) for new in made]):
            raise CmeError(
                "The outbox has no room for all of that: choose a shorter time, or raise [push] outbox_mb."
            )
        return len(made)

    async def put_test(self, report: Report, address: int) -> int:
        """Put the newest row or event of the first device that has one into the outbox; how many notifications.

        `address`: IPv4 of the gateway as a number, for the report on installation.
        """
        if report == ON_INSTALLATION:
            await self._put([self._installation(address)._replace(manual=True)])
            return 1
        for device in self._devices(report):
            made = await self._newest(report, device, 1)
            if made:
                await self._put([new._replace(manual=True) for new in made])
                return len(made)
        return 0

    async def put_installation(self, address: int, state: ReportState) -> bool:
        """Put the notification on installation into the outbox, and keep `state`."""
        return await self._put([self._installation(address)], {ON_INSTALLATION: state})

    def _devices(self, report: Report) -> list[int | None]:
        meters: list[int | None] = [meter.key for meter in self._meters()]
        return meters if report in PROFILES else [None, *meters]

    def _meter(self, key: int | None) -> Meter | None:
        return next((meter for meter in self._meters() if meter.key == key), None)

    async def _unsent(self, report: Report, devices: dict[int | None, int]) -> AsyncIterator[_Parcel]:
        self.problems = {place: text for place, text in self.problems.items() if place[0] != report}
        for device, after in devices.items():
            more = True
            while more:
                found = await self._rows_after(report, device, after)
                if not found:
                    break
                try:
                    notifications = await self._cut(report, device, found)
                except RowTooLargeError as error:
                    self.problems[report, device] = str(error)
                    break
                if notifications is None:
                    break  # nobody could tell what the rows are: they wait for a mapping
                after = found[-1].reading if isinstance(found[-1], ProfileRow) else found[-1].id
                more = len(found) == _AT_ONCE
                yield _Parcel(notifications, (report, device), after)
            await asyncio.sleep(0)

    async def _rows_after(
        self, report: Report, device: int | None, after: int
    ) -> Sequence[ProfileRow] | Sequence[Event]:
        outbox = self._store.outbox
        if report in LOGS:
            return await outbox.unsent_events(device, LOGS[report], after, _AT_ONCE)
        if device is None:
            return ()
        return await outbox.unsent_rows(PROFILES[report], device, after, _AT_ONCE)

    async def _newest(self, report: Report, device: int | None, count: int) -> list[NewNotification]:
        if report in LOGS:
            number = await self._store.event_count(device, LOGS[report])
            events = await self._store.event_entries(
                device, LOGS[report], max(1, number - count + 1), 0, count
            )
            return await self._cut(report, device, events) or []
        assert device is not None
        number = await self._store.profile_count(device, PROFILES[report])
        first = max(1, number - count + 1)
        rows = await self._store.profile_entries(device, PROFILES[report], first, 0, count)
        return await self._cut(report, device, rows) or []

    async def _between(
        self, report: Report, device: int | None, start_ms: int, end_ms: int
    ) -> list[NewNotification]:
        if report in LOGS:
            events = await self._store.event_rows(device, LOGS[report], start_ms, end_ms, _NEVER)
            return await self._cut(report, device, events) or []
        assert device is not None
        rows = await self._store.profile_rows(device, PROFILES[report], start_ms, end_ms, _NEVER)
        return await self._cut(report, device, rows) or []

    async def _cut(
        self, report: Report, device: int | None, found: Sequence[ProfileRow] | Sequence[Event]
    ) -> list[NewNotification] | None:
        """The notifications for rows or events of a device; None where the device cannot be told yet.

        Raises `RowTooLargeError`.
        """
        meter = self._meter(device)
        if not found:
            return []
        if report in LOGS:
            return self._of_events(report, meter, device, [each for each in found if isinstance(each, Event)])
        if meter is None or not meter.pushed.objects or meter.logical_device_name is None:
            return None
        return await self._of_rows(report, meter, [each for each in found if isinstance(each, ProfileRow)])

    async def _of_rows(
        self, report: Report, meter: Meter, rows: Sequence[ProfileRow]
    ) -> list[NewNotification]:
        pushed = self._rows(meter, PROFILES[report])
        units = [(item.entry.scaler, item.entry.unit) for item in meter.pushed.objects]
        captured = pushed.columns()
        setup, log = self._profile_names(report)
        who = self._who(), (meter.logical_device_name or "").encode()

        def body(part: Sequence[bytes]) -> bytes:
            return payload.profile(*who, setup, log, captured, part, units)

        encoded = await pushed.encoded(rows)
        parts = payload.split(encoded, self._room(), len(body(())))
        return [
            self._new(report, meter, setup, [row.time_ms for row in rows[part]], body(encoded[part]))
            for part in parts
        ]

    def _of_events(
        self, report: Report, meter: Meter | None, device: int | None, events: Sequence[Event]
    ) -> list[NewNotification] | None:
        kind, push, zone = LOGS[report], self._push(), self._gateway().zone
        if device is not None and (meter is None or meter.logical_device_name is None):
            return None
        setup = self._log_setup(kind, meter)

        def body(part: Sequence[bytes]) -> bytes:
            if meter is None:
                return payload.gateway_log(self._who(), setup, _LOG_NAMES[kind], part)
            name, known = (meter.logical_device_name or "").encode(), meter.known
            version = (known.version if known else None) or 0
            code = meter.medium_code or 0
            return payload.meter_log(
                self._who(), name, setup, _LOG_NAMES[kind], name[:3], code, version, part
            )

        encoded = [
            payload.event(
                cosem_time.encode(each.time_ms, zone),
                kind,
                each.code,
                each.message if push.event_messages else "",
                short_codes=push.short_event_codes,
            )
            for each in events
        ]
        parts = payload.split(encoded, self._room(), len(body(())))
        return [
            self._new(report, meter, setup, [each.time_ms for each in events[part]], body(encoded[part]))
            for part in parts
        ]

    def _installation(self, address: int) -> NewNotification:
        title = self._gateway().system_title
        body = payload.on_installation(self._who(), names.PUSH_ON_INSTALLATION, address, title)
        return self._new(ON_INSTALLATION, None, names.PUSH_ON_INSTALLATION, [], body)

    def _new(
        self, report: str, meter: Meter | None, setup: bytes, times: Sequence[int], body: bytes
    ) -> NewNotification:
        return NewNotification(
            report=report,
            meter=meter.key if meter else None,
            sap=meter.logical_device if meter else MANAGEMENT_DEVICE,
            setup=setup,
            rows=len(times),
            first_ms=min(times, default=None),
            last_ms=max(times, default=None),
            body=body,
        )

    def _who(self) -> bytes:
        return self._gateway().name.encode()

    def _room(self) -> int:
        # As if ciphered: the policy may be raised while the notification waits.
        room: int = payload.body_room(self._push().max_size, ciphered=True)
        return min(room, LARGEST_BODY)

    def _profile_names(self, report: Report) -> tuple[bytes, bytes]:
        """Logical names of the push setup and of the profile."""
        codes = self._gateway().codes
        setup: bytes = getattr(codes, f"push_{report}")
        profile: bytes = getattr(codes, report)
        return setup, profile

    def _log_setup(self, kind: Log, meter: Meter | None) -> bytes:
        codes = self._gateway().codes
        if meter is None:
            return _GATEWAY_SETUPS[kind]
        return codes.push_standard_event_log if kind is Log.STANDARD else codes.push_fraud_event_log

    async def _enqueue(self, batch: Sequence[_Parcel], states: dict[str, ReportState] | None = None) -> bool:
        made = [new for parcel in batch for new in parcel.notifications]
        cursors = {parcel.cursor: parcel.upto for parcel in batch}
        return await self._put(made, states, cursors)

    async def _put(
        self,
        made: Sequence[NewNotification],
        states: dict[str, ReportState] | None = None,
        cursors: dict[tuple[str, int | None], int] | None = None,
    ) -> bool:
        limit: int = self._push().outbox_mb << 20
        ids = await self._store.outbox.enqueue(made, cursors or {}, limit, self._clock.now_ms(), states)
        return ids is not None
