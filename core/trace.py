"""What goes over the DLMS port, for people who watch it: APDUs while somebody looks, events always."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.dlms.describe import describe
from core.dlms.observer import Observer, SessionView
from core.snapshot import LogEntry, TraceEntry

MOST_APDUS: Final = 500
MOST_BYTES: Final = 4 << 20
LONGEST: Final = 4096
"""Bytes that are kept of one APDU."""

AT_ONCE: Final = 100
"""APDUs in one answer to a watcher."""

LEASE_S: Final = 30.0
MOST_EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class _Apdu:
    id: int
    time_ms: int
    peer: str
    client_sap: int
    sap: int
    sent: bool
    protection: str
    size: int
    content: bytes


class Trace:
    """The last APDUs, in memory that is bounded. It records for `LEASE_S` seconds after each look at it."""

    def __init__(self, now_ms: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._kept: deque[_Apdu] = deque()
        self._bytes = 0
        self._last = 0
        self._until = float("-inf")

    @property
    def watched(self) -> bool:
        """Whether somebody looked lately. What nobody looks at any more is forgotten."""
        if self._monotonic() < self._until:
            return True
        self._kept.clear()
        self._bytes = 0
        return False

    def add(
        self, peer: str, client_sap: int, sap: int, apdu: bytes, *, sent: bool, protection: str, size: int
    ) -> None:
        """Keep an APDU; `size` is that on the wire."""
        self._last += 1
        content = bytes(apdu[:LONGEST])
        self._kept.append(
            _Apdu(self._last, self._now_ms(), peer, client_sap, sap, sent, protection, size, content)
        )
        self._bytes += len(content)
        while len(self._kept) > MOST_APDUS or self._bytes > MOST_BYTES:
            self._bytes -= len(self._kept.popleft().content)

    async def entries(self, after: int) -> tuple[TraceEntry, ...]:
        """The first `AT_ONCE` APDUs with an id above `after`, oldest first, without their secrets."""
        found = [apdu for apdu in self._kept if apdu.id > after] if self.watched else []
        self._until = self._monotonic() + LEASE_S
        if not found:
            return ()
        # Not in the core's loop: explaining a long profile takes a millisecond.
        return await asyncio.to_thread(lambda: tuple(map(_entry, found[:AT_ONCE])))


class AssociationLog:
    """The last events of connections and associations, in memory that is bounded."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._kept: deque[LogEntry] = deque(maxlen=MOST_EVENTS)
        self._last = 0

    def add(
        self, event: str, peer: str, client_sap: int | None = None, sap: int | None = None, text: str = ""
    ) -> None:
        """Note an event; the words are those of `LogEntry`."""
        self._last += 1
        self._kept.append(LogEntry(self._last, self._now_ms(), peer, client_sap, sap, event, text))

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """Oldest first."""
        return tuple(self._kept)


class DlmsLog(Observer):
    """Feeds a trace and a log with what the DLMS server tells. Belongs to the server's event loop."""

    def __init__(self, now_ms: Callable[[], int], touch: Callable[[], None]) -> None:
        """`touch` is called when something changed that a picture of the gateway shows."""
        self._trace = Trace(now_ms)
        self._log = AssociationLog(now_ms)
        self._touch = touch

    async def trace(self, after: int) -> tuple[TraceEntry, ...]:
        """APDUs with an id above `after`; recording starts, or goes on, with this call."""
        self.tracing = True
        return await self._trace.entries(after)

    def events(self) -> tuple[LogEntry, ...]:
        """What happened lately, oldest first."""
        return self._log.entries

    def connected(self, peer: str) -> None:
        self._note("connected", peer)

    def associated(self, session: SessionView) -> None:
        text = f"authentication {session.authentication}, ciphering {session.ciphering}"
        self._note("associated", session.peer, session.client_sap, session.sap, text)

    def authentication_failed(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        self._note("refused", peer, client_sap, sap, reason)

    def not_deciphered(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        self._note("not deciphered", peer, client_sap, sap, reason)

    def replayed(self, peer: str, client_sap: int, sap: int, counter: int, last: int) -> None:
        self._note("replay", peer, client_sap, sap, f"counter {counter} is not above {last}")

    def apdu(
        self, peer: str, client_sap: int, sap: int, apdu: bytes, *, sent: bool, protection: str, size: int
    ) -> None:
        if self._trace.watched:
            self._trace.add(peer, client_sap, sap, apdu, sent=sent, protection=protection, size=size)
        else:
            self.tracing = False

    def released(self, peer: str, client_sap: int, sap: int) -> None:
        self._note("released", peer, client_sap, sap)

    def disconnected(self, peer: str, reason: str) -> None:
        self._note("disconnected", peer, text=reason)

    def _note(
        self, event: str, peer: str, client_sap: int | None = None, sap: int | None = None, text: str = ""
    ) -> None:
        self._log.add(event, peer, client_sap, sap, text)
        self._touch()


def _entry(apdu: _Apdu) -> TraceEntry:
    description = describe(apdu.content, sent=apdu.sent)
    return TraceEntry(
        id=apdu.id,
        time_ms=apdu.time_ms,
        peer=apdu.peer,
        client_sap=apdu.client_sap,
        sap=apdu.sap,
        sent=apdu.sent,
        protection=apdu.protection,
        size=apdu.size,
        title=description.title,
        apdu=description.redacted(apdu.content),
        hidden=tuple((span.start, len(span)) for span in description.hidden),
    )
