"""One TCP connection of a client: frames in, answers out, one request at a time, all of it bounded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from typing import Any, cast

from core.cosem.base import DataAccessError, DeviceDirectory
from core.dlms import acse
from core.dlms.acse import Mechanism
from core.dlms.admission import Credentials
from core.dlms.association import Association, Turn
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer, SessionView
from core.dlms.services import NOT_POSSIBLE
from core.dlms.throttle import Throttle
from core.dlms.wrapper import HEADER_SIZE, Deframer, WrapperError, frame
from core.dlms.xdlms import DataAccessResult

_log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 32  # of one client before others get their turn

_AUTHENTICATIONS = {Mechanism.NONE: "none", Mechanism.LOW: "low", Mechanism.HIGH_GMAC: "high"}


class Connection(asyncio.BufferedProtocol):
    """Serves the associations of one connection. `DlmsServer` makes and keeps them.

    It brings its own buffer: else asyncio takes 256 KiB of memory for each request and gives them back, which in the
    thread of the core takes longer than the answer.

    An answer that is at hand leaves within `buffer_updated`; only one that waits for a meter becomes a task,
    and until it is out, what the client sends next stays in the buffer.
    """

    def __init__(
        self,
        directory: DeviceDirectory,
        credentials: Credentials,
        limits: ServerLimits,
        observer: Observer,
        throttle: Throttle,
        connections: dict[Connection, str],
        work: set[asyncio.Future[Any]],
    ) -> None:
        """`connections`: all of the server, with their peers' hosts; a connection keeps itself in there.

        `work`: of the server, what has side effects and goes on though its client has gone.
        """
        self.peer = ""
        self.closed = asyncio.Event()
        self._directory = directory
        self._credentials = credentials
        self._limits = limits
        self._observer = observer
        self._throttle = throttle
        self._connections = connections
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._deframer = Deframer(limits.request_apdu)
        self._buffer = bytearray(limits.request_apdu + HEADER_SIZE)
        self._associations: dict[tuple[int, int], Association] = {}
        self._transport: asyncio.Transport | None = None
        self._pending: asyncio.Task[None] | asyncio.TimerHandle | None = None  # the request in flight
        self._asking: Association | None = None  # that the task in flight is for
        self._turn: asyncio.Handle | None = None  # to go on with what is buffered
        self._watch: asyncio.TimerHandle | None = None
        self._writable = True
        self._reading = True
        self._reason = "closed by the client"
        self._since = self._last = 0.0
        self._requests = 0
        self._host = self._local = ""

    def views(self) -> Iterator[SessionView]:
        """How things stand: each association that is open, else the connection without one."""
        opened = [association for association in self._associations.values() if association.associated]
        for association in opened:
            yield self._view(association)
        if not opened:
            yield SessionView(
                peer=self.peer, client_sap=None, sap=None, channel=None, authentication="", ciphering="",
                since_ms=self._epoch_ms(self._since), last_ms=self._epoch_ms(self._last),
                requests=self._requests, errors=0, last_error="",
            )  # fmt: skip

    def close(self, reason: str) -> None:
        """End the connection; what is written already still goes out."""
        if self._transport is not None and not self._transport.is_closing():
            self._reason = reason
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername") or ("?", 0)
        self._host = str(name[0])
        self.peer = f"[{name[0]}]:{name[1]}" if ":" in self._host else f"{name[0]}:{name[1]}"
        local = transport.get_extra_info("sockname")
        self._local = str(local[0]) if local else ""
        self._since = self._last = self._loop.time()
        room = self._has_room()
        self._connections[self] = self._host
        self._observer.connected(self.peer)
        if not room:
            _log.debug("%s is sent away: too many connections are open", self.peer)
            self._reason = "too many connections"
            self.abort()
            return
        self._watch = self._loop.call_later(self._limits.first_request, self._check_inactivity)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._connections.pop(self, None)
        for handle in (self._turn, self._watch):
            if handle is not None:
                handle.cancel()
        if isinstance(self._pending, asyncio.TimerHandle):
            self._pending.cancel()
        elif self._pending is not None:
            self._leave(self._pending)
        self._pending = self._turn = self._watch = None
        for (client_sap, sap), association in self._associations.items():
            if association.associated:
                self._observer.released(self.peer, client_sap, sap)
        self._associations.clear()
        self.closed.set()
        self._observer.disconnected(self.peer, str(exc) if exc else self._reason)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Called by the loop."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        self._deframer.feed(bytes(memoryview(self._buffer)[:nbytes]))
        if self._pending is None and self._turn is None:
            self._serve()
        if self._deframer.buffered > self._limits.request_apdu + HEADER_SIZE and self._transport is not None:
            self._transport.pause_reading()
            self._reading = False

    def pause_writing(self) -> None:
        """Called by the loop: the client does not take its answers."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._writable = True
        self._go_on()

    def _serve(self) -> None:
        """Answer what is buffered, until a request has to wait, or it is the turn of others."""
        self._turn = None
        for _ in range(FRAMES_AT_ONCE):
            if not self._writable or self._transport is None or self._transport.is_closing():
                return
            try:
                received = self._deframer.next()
            except WrapperError as error:
                _log.debug("%s is disconnected: %s", self.peer, error)
                self.close("no wrapper frame")
                return
            if received is None:
                self._read_on()
                return
            self._take(*received)
            if self._pending is not None:
                return
        self._go_on()

    def _go_on(self) -> None:
        if self._turn is None and self._pending is None and self._transport is not None:
            self._turn = self._loop.call_soon(self._serve)

    def _read_on(self) -> None:
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    def _take(self, client_sap: int, sap: int, apdu: bytes) -> None:
        self._last = self._loop.time()
        self._requests += 1
        self._observer.requested(self.peer, client_sap, sap)
        association = self._associations.get((client_sap, sap))
        if association is None or not association.associated:
            association = self._unopened(association, client_sap, sap, apdu)
            if association is None:
                return
        association.requests += 1
        association.last = self._last
        opened = association.associated
        answer = association.handle(apdu)
        if not isinstance(answer, bytes | list):
            self._asking = association
            self._pending = self._loop.create_task(self._later(association, opened, answer))
        elif association.turn is None:
            self._send(client_sap, sap, answer)
        else:
            self._turned(association, opened, answer)

    def _unopened(
        self, association: Association | None, client_sap: int, sap: int, apdu: bytes
    ) -> Association | None:
        """The association that the request opens, or goes on with opening; None if it is refused."""
        if association is not None and self._last > association.deadline:
            del self._associations[client_sap, sap]  # the second step of HLS comes too late
            association = None
        full = len(self._associations) >= self._limits.associations_per_connection
        if association is None and (full or apdu[0] != acse.AARQ):
            if self._observer.tracing:
                for data, sent in ((apdu, False), (NOT_POSSIBLE, True)):
                    self._observer.apdu(
                        self.peer, client_sap, sap, data, sent=sent, protection="", size=len(data)
                    )
            self._send(client_sap, sap, NOT_POSSIBLE)
            return None
        return association or Association(
            client_sap, sap, self.peer, self._directory, self._credentials, self._limits, self._settle_all,
            self._observer, local=self._local,
        )  # fmt: skip

    async def _later(
        self,
        association: Association,
        opened: bool,
        coming: Coroutine[Any, Any, bytes] | Coroutine[Any, Any, list[bytes]],
    ) -> None:
        answer: bytes | list[bytes] = await coming
        self._pending = self._asking = None
        if self.closed.is_set():
            return
        if association.turn is None:
            self._last = self._loop.time()
            self._send(association.context.client_sap, association.context.addressed, answer)
        else:
            self._turned(association, opened, answer)
        self._go_on()

    def _leave(self, task: asyncio.Task[None]) -> None:
        """The client has gone: what has side effects runs to its end, the rest is given up."""
        if self._asking is not None and self._asking.acting:
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        else:
            self._loop.call_soon(task.cancel)  # not before it has begun, or what it holds is never awaited

    def _turned(self, association: Association, opened: bool, answer: bytes | list[bytes]) -> None:
        """A request opened or ended an association, or was refused: tell it, and answer when that is due.

        The throttle counts an attempt when it has come to its end, which for HLS is the second step.
        """
        turn, association.turn = association.turn, None
        context = association.context
        client_sap, sap = context.client_sap, context.addressed
        if opened:
            self._observer.released(self.peer, client_sap, sap)
        due = self._last
        if turn is Turn.OPENED and (context.ciphered or context.mechanism == Mechanism.HIGH_GMAC):
            self._throttle.proven(self._host)
        elif turn is Turn.OPENED and context.mechanism == Mechanism.LOW:
            due = self._throttle.due(self._host, self._last, accepted=True)
        elif turn in (Turn.REFUSED, Turn.DENIED):
            due = self._throttle.due(self._host, self._last, accepted=False)
            failures = self._throttle.failures(self._host)
            if failures.bit_count() == 1:  # 1, 2, 4, ...: nobody can fill the disk with the log of refusals
                _log.warning(
                    "%s: association of client %d with logical device %d refused: %s (%d in a row)",
                    self.peer, client_sap, sap, association.reason, failures,
                )  # fmt: skip
            if turn is Turn.DENIED:
                self._observer.authentication_failed(self.peer, client_sap, sap, association.reason)
        self._associations.pop((client_sap, sap), None)
        if due > self._last:
            self._pending = self._loop.call_at(due, self._answer_late, association, turn, answer)
        else:
            self._answer(association, turn, answer)

    def _answer_late(self, association: Association, turn: Turn | None, answer: bytes | list[bytes]) -> None:
        self._pending = None
        self._answer(association, turn, answer)
        self._go_on()

    def _answer(self, association: Association, turn: Turn | None, answer: bytes | list[bytes]) -> None:
        key = (association.context.client_sap, association.context.addressed)
        self._send(*key, answer)
        if turn is Turn.CHALLENGED:
            self._associations[key] = association
            association.deadline = self._last + self._limits.first_request
        elif turn is Turn.OPENED:
            self._associations[key] = association
            association.since, association.requests = self._last, 0
            self._observer.associated(self._view(association))

    def _has_room(self) -> bool:
        """Whether the limits let this connection in; at a limit, one on which nobody has authenticated gives way.

        Connections that cost nothing could keep every head-end out else. They go where one host has most of them, and
        there the one that was silent longest.
        """
        hosts = list(self._connections.values())
        of_peer = hosts.count(self._host) >= self._limits.connections_per_peer
        if not of_peer and len(hosts) < self._limits.connections:
            return True
        strangers = [
            connection
            for connection, host in self._connections.items()
            if not connection._authenticated and (host == self._host or not of_peer)
        ]
        if not strangers:
            return False
        counts = Counter(connection._host for connection in strangers)
        stranger = min(strangers, key=lambda connection: (-counts[connection._host], connection._last))
        del self._connections[stranger]  # at once, or the next one to come would count it still
        stranger._reason = "gave way to another client"
        stranger.abort()
        return True

    @property
    def _authenticated(self) -> bool:
        return any(
            association.associated and association.context.mechanism != Mechanism.NONE
            for association in self._associations.values()
        )

    async def _settle_all(self, values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
        if len(values) == 1:
            return [await self._settle(values[0])]
        tasks = [self._loop.create_task(self._settle(value)) for value in values]
        try:
            await asyncio.sleep(0)  # all begin: what is cancelled before it has begun is never awaited
            return await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise

    async def _settle(self, value: Awaitable[bytes]) -> bytes | DataAccessResult:
        try:
            async with asyncio.timeout(self._limits.wait):
                return await value
        except TimeoutError:
            return DataAccessResult.TEMPORARY_FAILURE
        except DataAccessError as error:
            return error.code
        except Exception:
            _log.exception("A request of %s failed", self.peer)
            return DataAccessResult.OTHER_REASON

    def _send(self, client_sap: int, sap: int, answer: bytes | list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if isinstance(answer, bytes):
                self._transport.write(frame(sap, client_sap, answer))
            else:
                self._transport.write(b"".join(frame(sap, client_sap, apdu) for apdu in answer))

    def _view(self, association: Association) -> SessionView:
        context = association.context
        return SessionView(
            peer=self.peer,
            client_sap=context.client_sap,
            sap=context.addressed,
            channel=context.selected,
            authentication=_AUTHENTICATIONS[Mechanism(context.mechanism)],
            ciphering=association.ciphering,
            since_ms=self._epoch_ms(association.since),
            last_ms=self._epoch_ms(association.last),
            requests=association.requests,
            errors=context.errors,
            last_error=context.last_error,
        )

    def _epoch_ms(self, moment: float) -> int:
        return round((time.time() - self._loop.time() + moment) * 1000)

    def _check_inactivity(self) -> None:
        opened = any(association.associated for association in self._associations.values())
        limit = self._limits.inactivity if opened else self._limits.first_request
        idle = self._loop.time() - self._last
        if self._pending is not None:
            idle = 0.0
        if idle >= limit:
            self.close("inactive")
            self._watch = self._loop.call_later(5.0, self.abort)  # where the client takes no bytes either
            return
        self._watch = self._loop.call_later(max(0.05, limit - idle), self._check_inactivity)
