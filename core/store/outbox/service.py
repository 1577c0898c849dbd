"""The outbox as the running gateway uses it: coroutines in front of the threads of the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.store.outbox.records import (
    NEWEST,
    Backlog,
    NewNotification,
    Notification,
    NotificationState,
    Outgoing,
    ReportState,
    RowReport,
)
from core.store.records import Event, Log, ProfileRow
from core.store.workers import Reader, Writer


class Outbox:
    """Every method may raise StoreError, a sentence. Times are ms since 1970 UTC.

    A method that changes something returns when the change is on the disk. A meter is known by its key, the gateway
    is `None`.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def begin_report(self, report: str, source: int | Log, newest: int = NEWEST) -> bool:
        """Begin to report a profile (by its number) or a log, with the newest rows of its past; from then on all.

        A report that has begun goes on as it is. False where the profile was never cut: then nothing has begun.
        """
        return await self._writer.do(lambda changes: changes.outbox.begin_report(report, source, newest))

    async def drop_report(self, report: str) -> None:
        """Note that a report was switched off. What waits in the outbox stays there.

        When it begins again, it does so with the newest rows of its past, but with none that it has sent.
        """
        await self._writer.do(lambda changes: changes.outbox.drop_report(report))

    async def states(self) -> dict[str, ReportState]:
        """By report: where its schedule is."""
        return await self._reader.do(lambda reader: reader.outbox.states())

    async def save_states(self, states: Mapping[str, ReportState]) -> None:
        """Keep where the schedules of these reports are."""
        await self._writer.do(lambda changes: changes.outbox.save_states(states))

    async def unsent(self, report: str) -> dict[int | None, int]:
        """The devices of which something is unsent, and the reading or event after which that begins.

        Of a report that has not begun there is nothing.
        """
        return await self._reader.do(lambda reader: reader.outbox.unsent(report))

    async def unsent_rows(self, profile: int, meter: int, after: int, limit: int) -> list[ProfileRow]:
        """The first `limit` rows of a profile after the reading `after`, in the order in which they were read."""
        return await self._reader.do(lambda reader: reader.outbox.unsent_rows(profile, meter, after, limit))

    async def unsent_events(self, meter: int | None, log: Log, after: int, limit: int) -> list[Event]:
        """The first `limit` events of a log after the event `after`, in the order in which they came."""
        return await self._reader.do(lambda reader: reader.outbox.unsent_events(meter, log, after, limit))

    async def enqueue(
        self,
        notifications: Sequence[NewNotification],
        cursors: Mapping[tuple[str, int | None], int],
        limit: int,
        now_ms: int,
        states: Mapping[str, ReportState] | None = None,
    ) -> list[int] | None:
        """Put notifications into the outbox, raise the cursors of their (report, meter), and keep `states`.

        All of it or nothing, also in a crash. `limit`: bytes that the waiting notifications of one report may take
        on the disk, about; where they would take more, nothing is done and `None` is returned. Raises ValueError for
        a body or a logical name of a size that cannot be.
        """
        return await self._writer.do(
            lambda changes: changes.outbox.enqueue(notifications, cursors, limit, now_ms, states or {})
        )

    async def waiting(self, reports: Collection[str], limit: int, size: int) -> list[Outgoing]:
        """What is to be sent next of these reports, oldest first: at most `limit`, of `size` bytes together.

        The first comes however large it is.
        """
        return await self._reader.do(lambda reader: reader.outbox.waiting(reports, limit, size))

    async def delivered(self, wire_sizes: Mapping[int, int], now_ms: int) -> None:
        """Note that notifications were taken, by id with the bytes that went over the wire; keeps the ledger short."""
        await self._writer.do(lambda changes: changes.outbox.delivered(wire_sizes, now_ms))

    async def failed(self, ids: Collection[int], now_ms: int, reason: str, next_try_ms: int) -> None:
        """Note that a try came to nothing, why, and when the next one is."""
        await self._writer.do(lambda changes: changes.outbox.failed(ids, now_ms, reason, next_try_ms))

    async def expire(self, before_ms: int, reports: Collection[str]) -> int:
        """Give up what waits of these reports since before `before_ms`, some 1000 at once; how many those were."""
        return await self._writer.do(lambda changes: changes.outbox.expire(before_ms, reports))

    async def cancel(self, ids: Collection[int]) -> int:
        """Give up notifications that wait; how many of these did."""
        return await self._writer.do(lambda changes: changes.outbox.cancel(ids))

    async def retry(self, ids: Collection[int] | None = None) -> int:
        """Let notifications that wait, `None` for all, be due now; how many those were."""
        return await self._writer.do(lambda changes: changes.outbox.retry(ids))

    async def notification(self, number: int) -> Notification | None:
        """The row of the ledger with this id."""
        return await self._reader.do(lambda reader: reader.outbox.notification(number))

    async def ledger(
        self,
        limit: int,
        report: str | None = None,
        meter: int | None = None,
        state: NotificationState | None = None,
    ) -> list[Notification]:
        """The newest first; of one report, one meter (0 = the gateway), in one state where given."""
        return await self._reader.do(lambda reader: reader.outbox.ledger(limit, report, meter, state))

    async def body(self, number: int) -> bytes | None:
        """The plain body of a notification: while it waits, and of the newest that were delivered."""
        return await self._reader.do(lambda reader: reader.outbox.body(number))

    async def backlog(self) -> dict[str, Backlog]:
        """By report: what waits; without those of which nothing does."""
        return await self._reader.do(lambda reader: reader.outbox.backlog())

    async def completeness(
        self, profile: int, report: str, meter: int, start_ms: int, end_ms: int
    ) -> list[RowReport]:
        """The rows of a profile from the boundary `start_ms` until before `end_ms`, and what became of each."""
        return await self._reader.do(
            lambda reader: reader.outbox.completeness(profile, report, meter, start_ms, end_ms)
        )
