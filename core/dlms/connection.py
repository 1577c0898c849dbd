"""One TCP connection of a client: frames in, answers out, one request at a time, all of it bounded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, cast

from core.cosem.base import DataAccessError, DeviceDirectory
from core.dlms import acse
from core.dlms.acse import Diagnostic, Mechanism
from core.dlms.admission import Credentials
from core.dlms.association import Association
from core.dlms.errors import DecodeError
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer, SessionView
from core.dlms.services import MALFORMED, NOT_POSSIBLE
from core.dlms.throttle import Throttle
from core.dlms.wrapper import HEADER_SIZE, Deframer, WrapperError, frame
from core.dlms.xdlms import DataAccessResult

_log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 32  # of one client before others get their turn


class Connection(asyncio.Protocol):
    """Serves the associations of one connection. `DlmsServer` makes and keeps them.

    An answer that is at hand leaves within `data_received`; only one that waits for a meter becomes a task,
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
    ) -> None:
        """`connections`: all of the server, with their peers' hosts; a connection keeps itself in there."""
        self.peer = ""
        self.closed = asyncio.Event()
        self._directory = directory
        self._credentials = credentials
        self._limits = limits
        self._observer = observer
        self._throttle = throttle
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._deframer = Deframer(limits.apdu)
        self._associations: dict[tuple[int, int], Association] = {}
        self._transport: asyncio.Transport | None = None
        self._pending: asyncio.Task[None] | asyncio.TimerHandle | None = None  # the request in flight
        self._turn: asyncio.Handle | None = None  # to go on with what is buffered
        self._watch: asyncio.TimerHandle | None = None
        self._writable = True
        self._reading = True
        self._reason = "closed by the client"
        self._since = self._last = 0.0
        self._requests = 0
        self._host = ""

    def view(self) -> SessionView:
        """How things stand; of several associations, the one that was opened last."""
        now = time.time() - self._loop.time()
        context = next(reversed(self._associations.values())).context if self._associations else None
        return SessionView(
            peer=self.peer,
            client_sap=context.client_sap if context else None,
            sap=context.addressed if context else None,
            channel=context.selected if context else None,
            authentication=Mechanism(context.mechanism).name.lower() if context else "",
            ciphering="none" if context else "",
            since_ms=round((now + self._since) * 1000),
            last_ms=round((now + self._last) * 1000),
            requests=self._requests,
            errors=context.errors if context else 0,
            last_error=context.last_error if context else "",
        )

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
        self._since = self._last = self._loop.time()
        of_peer = sum(host == self._host for host in self._connections.values())
        full = len(self._connections) >= self._limits.connections
        self._connections[self] = self._host
        self._observer.connected(self.peer)
        if full or of_peer >= self._limits.connections_per_peer:
            _log.info("%s is sent away: too many connections are open", self.peer)
            self._reason = "too many connections"
            self.abort()
            return
        self._watch = self._loop.call_later(self._limits.first_request, self._check_inactivity)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._connections.pop(self, None)
        for handle in (self._pending, self._turn, self._watch):
            if handle is not None:
                handle.cancel()
        self._pending = self._turn = self._watch = None
        for client_sap, sap in self._associations:
            self._observer.released(self.peer, client_sap, sap)
        self._associations.clear()
        self.closed.set()
        self._observer.disconnected(self.peer, str(exc) if exc else self._reason)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._deframer.feed(data)
        if self._pending is None and self._turn is None:
            self._serve()
        if self._deframer.buffered > self._limits.apdu + HEADER_SIZE and self._transport is not None:
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
                _log.info("%s is disconnected: %s", self.peer, error)
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
        if apdu[0] == acse.AARQ:
            self._associate(client_sap, sap, apdu)
            return
        association = self._associations.get((client_sap, sap))
        if association is None:
            self._send(client_sap, sap, NOT_POSSIBLE)
            return
        answer = association.handle(apdu)
        if not isinstance(answer, bytes):
            self._pending = self._loop.create_task(self._later(client_sap, sap, answer))
            return
        self._send(client_sap, sap, answer)
        if not association.associated:
            del self._associations[client_sap, sap]
            self._observer.released(self.peer, client_sap, sap)

    def _associate(self, client_sap: int, sap: int, apdu: bytes) -> None:
        key = (client_sap, sap)
        association = self._associations.get(key)
        if association is None:
            if len(self._associations) >= self._limits.associations_per_connection:
                self._send(client_sap, sap, NOT_POSSIBLE)
                return
            association = self._association(client_sap, sap)
        try:
            answer, diagnostic = association.associate(apdu)
        except DecodeError as error:
            _log.debug("%s sent an AARQ that is not valid: %s", self.peer, error)
            self._send(client_sap, sap, MALFORMED)
            return
        if self._associations.pop(key, None) is not None:
            self._observer.released(self.peer, client_sap, sap)
        due = self._last
        if association.associated:
            if association.context.mechanism != Mechanism.NONE:
                due = self._throttle.due(self._host, self._last, accepted=True)
        else:
            due = self._throttle.due(self._host, self._last, accepted=False)
            reason = diagnostic.name.lower().replace("_", " ")
            _log.warning(
                "%s: association of client %d with logical device %d refused: %s",
                self.peer, client_sap, sap, reason,
            )  # fmt: skip
            if diagnostic is not Diagnostic.NO_REASON_GIVEN:
                self._observer.authentication_failed(self.peer, client_sap, sap, reason)
        if due > self._last:
            self._pending = self._loop.call_at(due, self._late_aare, association, answer)
        else:
            self._opened(association, answer)

    def _association(self, client_sap: int, sap: int) -> Association:
        return Association(
            client_sap, sap, self.peer, self._directory, self._credentials, self._limits, self._settle_all
        )

    def _late_aare(self, association: Association, answer: bytes) -> None:
        self._pending = None
        self._opened(association, answer)
        self._go_on()

    def _opened(self, association: Association, answer: bytes) -> None:
        context = association.context
        self._send(context.client_sap, context.addressed, answer)
        if association.associated:
            self._associations[context.client_sap, context.addressed] = association
            self._observer.associated(self.view())

    async def _later(self, client_sap: int, sap: int, answer: Coroutine[Any, Any, bytes]) -> None:
        apdu = await answer
        self._last = self._loop.time()
        self._pending = None
        self._send(client_sap, sap, apdu)
        self._go_on()

    async def _settle_all(self, values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
        if len(values) == 1:
            return [await self._settle(values[0])]
        return await asyncio.gather(*map(self._settle, values))

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

    def _send(self, client_sap: int, sap: int, apdu: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(sap, client_sap, apdu))

    def _check_inactivity(self) -> None:
        limit = self._limits.inactivity if self._associations else self._limits.first_request
        idle = self._loop.time() - self._last
        if self._pending is not None:
            idle = 0.0
        if idle >= limit:
            self.close("inactive")
            self._watch = self._loop.call_later(5.0, self.abort)  # where the client takes no bytes either
            return
        self._watch = self._loop.call_later(max(0.05, limit - idle), self._check_inactivity)
