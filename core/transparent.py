"""The transparent TCP port of a line: other M-Bus software speaks to its meters, in turns with the schedule."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
from collections.abc import Callable

from core.errors import CmeError
from core.mbus.frame import BITS_PER_BYTE, LONGEST
from core.mbus.link import Link
from core.mbus.master import Master
from core.mbus.tcp import keep_alive
from core.mbus.watch import Fault, Purpose, Try
from core.snapshot import TransparentView

log = logging.getLogger(__name__)

LEASE = 2.0
"""Seconds without a byte after which the line goes back to the schedule."""
TURN = 30.0
"""Seconds after which the client's next bytes wait while somebody else wants the line."""

_OTHERS = 30.0  # s for which they have it then, if they want it for so long
_CHATTER = 5.0  # s beyond a turn until a line that does not become silent is taken back
_LOOK = 0.1  # s between two looks whether the turn is over
_HANG_UP = 0.2  # s of silence after which the turn of a client that left with its answer is over
_RETRY = 5.0  # s until a port that is taken is tried again
_CHUNK = 512  # bytes to the line at once; the longest frame has 261
_MOST_LEAVING = 8  # clients that have said all and wait for their turn
_MOST_UNSENT = 4096  # bytes that wait for the line, about
_MOST_KEPT = 1024  # bytes of an answer to be looked at
_MOST_UNREAD = 65_536  # bytes that wait for a client


class TransparentPort:
    """Serves one client at a time. `start` it, `close` it; all on the master's event loop.

    What a client sends goes to the line as it is, and what the line brings goes back. The line is the client's
    alone from its first byte until `LEASE` after the last one in either direction.
    """

    def __init__(
        self,
        master: Master,
        host: str,
        port: int,
        *,
        on_change: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int],
    ) -> None:
        """`on_change` is called when `view` has changed. `now_ms` gives the time in ms since 1970-01-01 UTC."""
        self._master = master
        self._host, self._port = host, port
        self._on_change = on_change
        self._now_ms = now_ms
        self._reason = ""
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._client: _Client | None = None  # who is here, else who was here last
        self._refused = 0

    def start(self) -> None:
        """Begin to listen; where the port is taken, as soon as it is free."""
        self._opening = asyncio.create_task(self._listen(), name=f"transparent port {self._port}")

    async def close(self) -> None:
        """Stop listening, and let the client go."""
        if self._server:
            self._server.close()
        tasks = [*self._serving, *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def view(self) -> TransparentView:
        """The port as screens show it."""
        client = self._client
        return TransparentView(
            host=self._host,
            port=self._port,
            listening=self._server is not None,
            reason=self._reason,
            client=client.name if client and client.here else "",
            since_ms=client.since_ms if client and client.here else None,
            sent=client.sent if client else 0,
            received=client.received if client else 0,
            refused=self._refused,
        )

    async def _listen(self) -> None:
        while True:
            try:
                self._server = await asyncio.start_server(
                    self._accept, self._host, self._port, limit=_CHUNK, start_serving=False
                )
                # Handed down to connections: what is sent too fast stays with the client.
                for listener in self._server.sockets:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MOST_UNSENT)
                await self._server.start_serving()
            except (OSError, ValueError) as error:  # the latter for what can be no name at all
                if self._server:
                    self._server.close()
                    self._server = None
                self._tell(
                    f"The transparent port {self._host}:{self._port} cannot be opened: {_explain(error)}."
                )
                await asyncio.sleep(_RETRY)
            else:
                self._tell("")
                return

    def _tell(self, reason: str) -> None:
        if reason and reason != self._reason:
            log.warning(reason)
        self._reason = reason
        self._on_change()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        name = "{}:{}".format(*peer) if peer else "somebody who has gone already"
        if (self._client and self._client.here) or len(self._serving) == _MOST_LEAVING:
            log.info("Transparent port %s: %s is refused: somebody is there.", self._port, name)
            self._refused += 1
            writer.close()
        else:
            log.info("Transparent port %s: %s is there.", self._port, name)
            keep_alive(writer.get_extra_info("socket"))
            self._client = _Client(name, self._now_ms(), reader, writer)
            serving = asyncio.create_task(self._serve(self._client))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        self._on_change()

    async def _serve(self, client: _Client) -> None:
        try:
            while data := await client.read():
                try:
                    async with self._master.session() as link:
                        turn = _Turn(self._master, link, client, self._on_change, self._now_ms)
                        try:
                            await turn.run(data)
                        finally:
                            link.forget()
                        over_time = turn.taken_back
                    if over_time:
                        await self._let_others()
                except CmeError as error:
                    log.debug("Transparent port %s: %s", self._port, error)
                    await asyncio.sleep(_wire_time(len(data), self._master.baud))  # as lost on the wire
        finally:
            log.debug("Transparent port %s: %s has gone.", self._port, client.name)
            client.drop()
            self._on_change()

    async def _let_others(self) -> None:
        """Wait until nobody wants the line any more: a whole sweep, and not one readout between two turns."""
        now = asyncio.get_running_loop().time
        free, end = 0, now() + _OTHERS
        while free < 2 and now() < end:  # between two readouts it is free for a moment
            await asyncio.sleep(_LOOK)
            free = 0 if self._master.busy else free + 1


class _Client:
    def __init__(
        self, name: str, since_ms: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.name, self.since_ms = name, since_ms
        self.sent = self.received = 0
        self._reader, self._writer = reader, writer

    @property
    def here(self) -> bool:
        """Whether it may have more to say; one that only waits for its last answer keeps nobody out."""
        gone = self._reader.at_eof() or self._reader.exception() or self._writer.is_closing()
        return not gone

    async def read(self) -> bytes:
        """What it sends; `b""` when it has no more to say."""
        try:
            return await self._reader.read(_CHUNK)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Bytes for one that does not read do not pile up: it is let go."""
        if self._writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.drop()
        elif not self._writer.is_closing():
            self.received += len(data)
            self._writer.write(data)

    def drop(self) -> None:
        self._writer.transport.abort()


class _Turn:
    """The line in the hands of a client: until it is silent or has gone, or others have waited for long enough."""

    def __init__(
        self,
        master: Master,
        link: Link,
        client: _Client,
        on_change: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._master, self._link, self._line, self._client = master, link, link.transport, client
        self._on_change = on_change
        self._now_ms = now_ms
        self._baud = link.baud
        self._end = self._now() + TURN  # all in the loop's time
        self._until = 0.0  # when it is over, if nothing more comes
        self._latest = math.inf  # when it is over whatever comes, once the client has no more to say
        self._asked: _Asked | None = None

    async def run(self, data: bytes) -> None:
        """Begin with `data`. Raises `LineError` where the line is lost."""
        self._line.discard()
        self._send(data)
        self._on_change()
        sender = asyncio.create_task(self._pass_on(data))
        try:
            while (now := self._now()) < self._until and not self._is_over(self._end + _CHATTER):
                if heard := await self._line.read(min(self._until, now + _LOOK)):
                    self._client.write(heard)
                    if self._asked:
                        self._asked.hear(heard, self._now())
                    self._extend(LEASE if self._latest == math.inf else _HANG_UP)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            self._tell()
            self._on_change()

    @property
    def taken_back(self) -> bool:
        """Whether it is over because others want the line."""
        return self._is_over(self._end)

    async def _pass_on(self, data: bytes) -> None:
        """Send what the client has to say until its turn is over; what it says later waits."""
        while data:
            await asyncio.sleep(_wire_time(len(data), self._baud))  # so that bytes pile up nowhere
            if self._is_over(self._end):
                return
            data = await self._client.read()
            if data:
                self._send(data)
        self._latest = self._now() + LEASE + _wire_time(LONGEST, self._baud)
        if self._asked and self._asked.heard:
            self._until = self._now() + _HANG_UP

    def _send(self, data: bytes) -> None:
        self._line.write(data)
        self._client.sent += len(data)
        self._tell()
        out = _wire_time(len(data), self._baud)
        self._asked = _Asked(data, self._now_ms(), self._now(), self._now() + out)
        self._extend(out + LEASE)

    def _tell(self) -> None:
        if self._asked:
            self._link.tell(self._asked.as_try(self._baud))

    def _extend(self, seconds: float) -> None:
        self._until = min(max(self._until, self._now() + seconds), self._latest)

    def _is_over(self, end: float) -> bool:
        return self._now() > end and self._master.wanted

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class _Asked:
    """What a client sent at once, and what came back until it sent again."""

    def __init__(self, request: bytes, time_ms: int, begin: float, out: float) -> None:
        """`begin` and `out` are when it goes to the wire and when all of it is there, in the loop's time."""
        self.heard = bytearray()
        self._request, self._time_ms = request, time_ms
        self._begin, self._out, self._end = begin, out, out
        self._first: float | None = None

    def hear(self, data: bytes, now: float) -> None:
        if self._first is None:
            self._first = now
        self._end = max(self._end, now)
        self.heard += data[: _MOST_KEPT - len(self.heard)]

    def as_try(self, baud: int) -> Try:
        return Try(
            self._time_ms,
            baud,
            Purpose.FOREIGN,
            address="",
            number=1,
            request=self._request,
            received=bytes(self.heard.removeprefix(self._request)),
            echo=self.heard.startswith(self._request),
            fault=None if self.heard else Fault.SILENCE,
            delay=None if self._first is None else max(0.0, self._first - self._out),
            busy=self._end - self._begin,
        )


def _wire_time(count: int, baud: int) -> float:
    return count * BITS_PER_BYTE / baud


def _explain(error: OSError | ValueError) -> str:
    if isinstance(error, socket.gaierror | ValueError):
        return "its host is not known; look at transparent_host"
    match error.errno:
        case errno.EADDRINUSE:
            return "another program has it; stop that one, or choose another transparent_port"
        case errno.EACCES:
            return "ports below 1024 are for root; choose another transparent_port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; look at transparent_host"
    return error.strerror or str(error)
