"""What each report has to say: rows and events, cut into notifications and put into the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from itertools import islice
from typing import Final, NamedTuple, Protocol

from core.clock import Clock
from core.config import PushConfig, Report
from core.cosem import datetime as cosem_time
from core.cosem import names
from core.cosem.base import MANAGEMENT_DEVICE
from core.cosem.codes import Codes
from core.dlms.errors import EncodeError
from core.errors import CmeError
from core.meter import Meter
from core.profiles import MeterRows
from core.push import payload
from core.store import Event, Log, ProfileRow, Store, StoreError
from core.store.outbox import NewNotification, ReportState
from core.store.outbox.records import LARGEST_BODY

log = logging.getLogger(__name__)

PROFILES: Final[dict[Report, int]] = {"load_profile_1": 1, "load_profile_2": 2, "billing_profile": 3}
"""Number in the store of the profile that a report sends."""
LOGS: Final[dict[Report, Log]] = {"standard_event_log": Log.STANDARD, "fraud_event_log": Log.FRAUD}
ON_INSTALLATION: Final = "on_installation"

_AT_ONCE: Final = 720
"""Rows that are worked out before they are cut into notifications."""
_TOGETHER: Final = 16
"""Devices whose rows are fetched from the store together: one wait for its thread."""
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


class _Made(NamedTuple):
    """A notification, and the reading or event up to which it takes its device."""

    notification: NewNotification
    upto: int


NO_ROOM: Final = (
    "The outbox is full: the rest waits in the store, and follows when the receiver takes what is there."
)


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
        self.forget_problems(report, devices)
        batch: list[_Made] = []
        async for made in self._unsent(report, wanted):
            batch.append(made)
            if len(batch) == _BATCH:
                if not await self._enqueue(batch):
                    return False
                batch = []
        return await self._enqueue(batch, {report: state} if state else None)

    async def put_newest(
        self,
        report: Report,
        count: int,
        state: ReportState | None = None,
        devices: Collection[int | None] | None = None,
    ) -> bool:
        """Put the newest `count` rows or events of each device into the outbox, sent before or not.

        `state` and `devices` as in `put_unsent`. False, and nothing done, where the outbox has no room for all.
        """
        self.forget_problems(report, devices)
        made: list[NewNotification] = []
        for device in self._devices(report):
            if devices is None or device in devices:
                newest = await self._try_to_cut(report, device, await self._newest(report, device, count))
                made += [each.notification for each in newest or ()]
        return await self._put(made, {report: state} if state else None)

    async def put_range(
        self, report: Report, devices: Collection[int | None], start_ms: int, end_ms: int
    ) -> int:
        """Put what lies between two times into the outbox again, both included; how many notifications that makes.

        Raises `CmeError` where the outbox has no room for all of it: then it has that of the first devices.
        """
        count = 0
        for device in devices:
            found = await self._between(report, device, start_ms, end_ms)
            made = await self._cut(report, device, found) or ()
            if not await self._put([each.notification._replace(manual=True) for each in made]):
                raise CmeError(
                    f"The outbox has no room for all of that, only for the first {count} notifications: choose a "
                    "shorter time, or raise [push] outbox_mb."
                )
            count += len(made)
        return count

    async def put_test(self, report: Report, address: int) -> int:
        """Put the newest row or event of the first device that has one into the outbox; how many notifications.

        `address`: IPv4 of the gateway as a number, for the report on installation. Raises `CmeError` where there is no
        room.
        """
        made = [self._installation(address)] if report == ON_INSTALLATION else await self._sample(report)
        if not await self._put([new._replace(manual=True) for new in made]):
            raise CmeError(NO_ROOM)
        return len(made)

    async def samples(self, address: int) -> list[NewNotification]:
        """One notification of each report that there is something for, configured or not: its newest row or event."""
        made = [await self._sample(report) for report in (*PROFILES, *LOGS)]
        return [*(new for sample in made for new in sample), self._installation(address)]

    async def put_installation(self, address: int, state: ReportState) -> bool:
        """Put the notification on installation into the outbox, and keep `state`."""
        return await self._put([self._installation(address)], {ON_INSTALLATION: state})

    def _devices(self, report: Report) -> list[int | None]:
        meters: list[int | None] = [meter.key for meter in self._meters()]
        return meters if report in PROFILES else [None, *meters]

    def _meter(self, key: int | None) -> Meter | None:
        return next((meter for meter in self._meters() if meter.key == key), None)

    async def _sample(self, report: Report) -> list[NewNotification]:
        for device in self._devices(report):
            if made := await self._cut(report, device, await self._newest(report, device, 1)):
                return [each.notification for each in made]
        return []

    async def _unsent(self, report: Report, wanted: Mapping[int | None, int]) -> AsyncIterator[_Made]:
        """What follows the reading or event of each device, one device after the other, as far as it can be told."""
        devices = iter(wanted.items())
        while some := list(islice(devices, _TOGETHER)):
            beginnings = await asyncio.gather(*(self._rows_after(report, *each) for each in some))
            for (device, _), beginning in zip(some, beginnings, strict=True):
                async for made in self._of_device(report, device, beginning):
                    yield made
                await asyncio.sleep(0)

    async def _of_device(
        self, report: Report, device: int | None, found: Sequence[ProfileRow] | Sequence[Event]
    ) -> AsyncIterator[_Made]:
        """`found` and what follows."""
        while made := await self._try_to_cut(report, device, found):
            for each in made:
                yield each
            if len(found) < _AT_ONCE:
                return
            found = await self._rows_after(report, device, made[-1].upto)

    async def _try_to_cut(
        self, report: Report, device: int | None, found: Sequence[ProfileRow] | Sequence[Event]
    ) -> list[_Made] | None:
        """As `_cut`; None also where that is not possible, which is then a problem of this device only."""
        meter = self._meter(device)
        name = meter.name if meter else "The gateway"
        try:
            return await self._cut(report, device, found)
        except EncodeError as error:
            self.problems[report, device] = f"{name}: {error}"
        except StoreError:
            raise
        except Exception as error:
            # Whatever it is, the other devices must not wait for ever, and somebody must see it.
            log.exception("What %s has for %s could not be worked out", name, report)
            self.problems[report, device] = f"{name}: could not be worked out: {error!r}; please report this."
        return None

    def forget_problems(self, report: str, devices: Collection[int | None] | None = None) -> None:
        """Forget what was a problem of a report, of some `devices` only, where given."""
        self.problems = {
            (kind, device): text
            for (kind, device), text in self.problems.items()
            if kind != report or (devices is not None and device not in devices)
        }

    async def _rows_after(
        self, report: Report, device: int | None, after: int
    ) -> Sequence[ProfileRow] | Sequence[Event]:
        outbox = self._store.outbox
        if report in LOGS:
            return await outbox.unsent_events(device, LOGS[report], after, _AT_ONCE)
        if device is None:
            return ()
        return await outbox.unsent_rows(PROFILES[report], device, after, _AT_ONCE)

    async def _newest(
        self, report: Report, device: int | None, count: int
    ) -> Sequence[ProfileRow] | Sequence[Event]:
        if report in LOGS:
            number = await self._store.event_count(device, LOGS[report])
            first = max(1, number - count + 1)
            return await self._store.event_entries(device, LOGS[report], first, 0, count)
        assert device is not None
        number = await self._store.profile_count(device, PROFILES[report])
        first = max(1, number - count + 1)
        return await self._store.profile_entries(device, PROFILES[report], first, 0, count)

    async def _between(
        self, report: Report, device: int | None, start_ms: int, end_ms: int
    ) -> Sequence[ProfileRow] | Sequence[Event]:
        if report in LOGS:
            return await self._store.event_rows(device, LOGS[report], start_ms, end_ms, _NEVER)
        assert device is not None
        return await self._store.profile_rows(device, PROFILES[report], start_ms, end_ms, _NEVER)

    async def _cut(
        self, report: Report, device: int | None, found: Sequence[ProfileRow] | Sequence[Event]
    ) -> list[_Made] | None:
        """The notifications for rows or events of a device; None where the device cannot be told yet.

        Raises `EncodeError` for a row that fits into none.
        """
        meter = self._meter(device)
        if not found:
            return []
        if report in LOGS:
            return self._of_events(report, meter, device, [each for each in found if isinstance(each, Event)])
        if meter is None or not meter.pushed.objects or meter.logical_device_name is None:
            return None
        return await self._of_rows(report, meter, [each for each in found if isinstance(each, ProfileRow)])

    async def _of_rows(self, report: Report, meter: Meter, rows: Sequence[ProfileRow]) -> list[_Made]:
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
            _Made(
                self._new(report, meter, setup, [row.time_ms for row in rows[part]], body(encoded[part])),
                rows[part][-1].reading,
            )
            for part in parts
        ]

    def _of_events(
        self, report: Report, meter: Meter | None, device: int | None, events: Sequence[Event]
    ) -> list[_Made] | None:
        kind = LOGS[report]
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

        room, empty = self._room(), len(body(()))
        encoded = [self._event(kind, each, room - empty) for each in events]
        return [
            _Made(
                self._new(report, meter, setup, [each.time_ms for each in events[part]], body(encoded[part])),
                events[part][-1].id,
            )
            for part in payload.split(encoded, room, empty)
        ]

    def _event(self, kind: Log, event: Event, room: int) -> bytes:
        """One event; one that is too large with its message goes without."""
        push, time = self._push(), cosem_time.encode(event.time_ms, self._gateway().zone)

        def encoded(message: str) -> bytes:
            return payload.event(time, kind, event.code, message, short_codes=push.short_event_codes)

        whole = encoded(event.message if push.event_messages else "")
        return whole if len(whole) <= room else encoded("")

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

    async def _enqueue(self, batch: Sequence[_Made], states: dict[str, ReportState] | None = None) -> bool:
        """Put all into the outbox and keep `states`; where there is no room for all, put the first ones there are."""
        made = [each.notification for each in batch]
        cursors = {(new.report, new.meter): upto for new, upto in batch}
        if await self._put(made, states, cursors):
            return True
        half = len(batch) // 2
        if half and await self._enqueue(batch[:half]):
            await self._enqueue(batch[half:])
        return False

    async def _put(
        self,
        made: Sequence[NewNotification],
        states: dict[str, ReportState] | None = None,
        cursors: dict[tuple[str, int | None], int] | None = None,
    ) -> bool:
        limit: int = self._push().outbox_mb << 20
        ids = await self._store.outbox.enqueue(made, cursors or {}, limit, self._clock.now_ms(), states)
        return ids is not None
