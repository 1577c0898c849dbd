"""When reports are made: at their slots, after a change of the meter list, or because somebody asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import tzinfo
from typing import Final

from core.clock import Clock
from core.config import PushConfig, PushReportConfig, Report
from core.errors import CmeError
from core.push.reports import ON_INSTALLATION, Reports, source
from core.push.schedule import Schedule
from core.store import Store, StoreError
from core.store.outbox import ReportState

log = logging.getLogger(__name__)

GROUPING_MS: Final = 180_000
"""Changes of the meter list within this time after the first one make one notification."""

_TURN_S: Final = 1.0
_ROOM: Final = 0.9
"""Part of the outbox that may be full when a report that found no room in it is made again."""


class PushScheduler:
    """Makes reports, one at a time. Belongs to the core's event loop."""

    def __init__(
        self,
        store: Store,
        reports: Reports,
        clock: Clock,
        zone: Callable[[], tzinfo],
        push: Callable[[], PushConfig],
        address: Callable[[], Awaitable[int]],
        filled: Callable[[], None],
    ) -> None:
        """`address` gives the gateway's IPv4 address as its head-end sees it; `filled` is called when there is
        something to send."""
        self._outbox = store.outbox
        self._reports = reports
        self._clock = clock
        self._zone = zone
        self._push = push
        self._address = address
        self._filled = filled
        self._states: dict[str, ReportState] = {}
        self._begun: set[str] = set()
        self._unfinished: set[str] = set()
        self._making = asyncio.Lock()
        self._telling = asyncio.Lock()
        """Guards the state of the report on installation, also while a long report is made."""

    async def open(self) -> None:
        """Take up the schedules where the last run left them. Raises `StoreError`."""
        self._states = await self._outbox.states()

    @property
    def unfinished(self) -> Collection[str]:
        """Reports that found no room in the outbox: the rest of what they send waits in the store."""
        return self._unfinished

    def next_run(self, report: PushReportConfig) -> int | None:
        """When a report is made next, ms since 1970 UTC; None where no time is set."""
        if not report.enabled:
            return None
        if report.type != ON_INSTALLATION:
            return Schedule.parse(report.schedule).next_after(self._clock.now_ms(), self._zone())
        pending = self._pending()
        return None if pending is None else pending + GROUPING_MS

    def last_run(self, report: Report) -> int | None:
        """The time by the schedule at which a report was made last."""
        state = self._states.get(report)
        return state.slot_ms if state else None

    async def run(self) -> None:
        """Make reports as they become due, for ever."""
        while True:
            try:
                await self.turn()
            except StoreError as error:
                log.error("Reports wait: %s", error)
            except Exception:
                # Whatever it is, the reports must go on when its cause is gone, and somebody must see it.
                log.exception("A report could not be made for an unforeseen reason; please report this")
            await asyncio.sleep(_TURN_S)

    async def turn(self) -> None:
        """Make what is due now. Raises `StoreError`, that of the first report that cannot be made; it is still due."""
        async with self._making:
            enabled = {report.type: report for report in self._push().reports if report.enabled}
            for gone in {*self._states, *self._begun} - {*enabled}:
                await self._outbox.drop_report(gone)
                self._states.pop(gone, None)
                self._begun.discard(gone)
                self._unfinished.discard(gone)
                self._reports.forget_problems(gone)
            problem: Exception | None = None
            for report in enabled.values():
                try:
                    await self._make(report)
                except Exception as error:  # a report that cannot be made must not keep the others waiting
                    problem = problem or error
            if problem is not None:
                raise problem

    async def send_now(self, report: PushReportConfig, devices: Collection[int | None] | None = None) -> bool:
        """Make a report now, beside its schedule; of some devices only, where given. False where the outbox is full.

        Raises `CmeError` where nobody knows yet what is unsent.
        """
        try:
            if report.type == ON_INSTALLATION:
                return await self._put_installation()
            async with self._making:
                if not await self._has_begun(report.type):
                    raise CmeError(
                        "The rows of this profile are still being cut: try again in a few minutes."
                    )
                if report.last_rows:
                    return await self._reports.put_newest(report.type, report.last_rows, devices=devices)
                return await self._reports.put_unsent(report.type, devices=devices)
        finally:
            self._filled()

    async def meters_changed(self) -> None:
        """Note that the meter list changed: the notification on installation follows. Raises `StoreError`."""
        wanted = any(report.type == ON_INSTALLATION and report.enabled for report in self._push().reports)
        async with self._telling:
            if wanted and self._pending() is None:
                await self._keep(ON_INSTALLATION, ReportState(pending_ms=self._clock.now_ms()))

    async def _make(self, report: PushReportConfig) -> None:
        if report.type == ON_INSTALLATION:
            await self._tell_of_installation()
        elif await self._has_begun(report.type):
            await self._make_due(report)

    def _pending(self) -> int | None:
        state = self._states.get(ON_INSTALLATION)
        return state.pending_ms if state else None

    async def _tell_of_installation(self) -> None:
        pending, now = self._pending(), self._clock.now_ms()
        # A clock that was set back must not put it off for days.
        if pending is None or 0 <= now - pending < GROUPING_MS:
            return
        if await self._put_installation():
            self._filled()

    async def _put_installation(self) -> bool:
        address = await self._address()  # may have to ask a name server, so not while changes wait
        async with self._telling:
            done = await self._reports.put_installation(address, ReportState())
            if done:
                self._states[ON_INSTALLATION] = ReportState()
        return done

    async def _has_begun(self, report: Report) -> bool:
        """Whether it is known what is unsent of a report; not before its profile was cut for the first time."""
        kind = source(report)
        if kind is not None and report not in self._begun and await self._outbox.begin_report(report, kind):
            self._begun.add(report)
        return report in self._begun

    async def _make_due(self, report: PushReportConfig) -> None:
        slot = Schedule.parse(report.schedule).last_slot(self._clock.now_ms(), self._zone())
        last = self.last_run(report.type)
        if last is None or slot < last:
            # A new report begins with its next slot; so does one whose clock was set back.
            await self._keep(report.type, ReportState(slot))
            return
        if slot == last and report.type not in self._unfinished:
            return
        if report.type in self._unfinished and not await self._has_room(report):
            return
        state = ReportState(slot)
        try:
            if report.last_rows:
                done = await self._reports.put_newest(report.type, report.last_rows, state)
            else:
                done = await self._reports.put_unsent(report.type, state)
        finally:
            self._filled()
        if done:
            self._states[report.type] = state
            self._unfinished.discard(report.type)
            return
        self._unfinished.add(report.type)
        if report.last_rows and await self._has_room(report):
            # There was no room in an empty outbox: no use to try again before the next slot.
            await self._keep(report.type, state)
            self._unfinished.discard(report.type)
            self._reports.problems[report.type, None] = (
                f"The last {report.last_rows} rows of all devices do not fit into the outbox together: raise [push] "
                "outbox_mb, or lower last_rows."
            )

    async def _has_room(self, report: PushReportConfig) -> bool:
        """Whether it is worth while to go on with a report that found no room."""
        waiting = (await self._outbox.backlog()).get(report.type)
        if waiting is None or report.last_rows:  # the newest rows go all together or not at all
            return waiting is None
        return waiting.stored < _ROOM * (self._push().outbox_mb << 20)

    async def _keep(self, report: str, state: ReportState) -> None:
        await self._outbox.save_states({report: state})
        self._states[report] = state
