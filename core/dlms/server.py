"""The DLMS server: listens on one TCP port for any number of head-ends and keeps their connections."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from core.cosem.base import DeviceDirectory
from core.dlms.admission import Credentials
from core.dlms.connection import Connection
from core.dlms.errors import DlmsError
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer, SessionView
from core.dlms.throttle import Throttle

_log = logging.getLogger(__name__)

CLOSING_TIME = 1.0  # seconds for answers on their way when the server stops


class ListenError(DlmsError):
    """The address and port cannot be listened on."""


class DlmsServer:
    """Serves the logical devices of a directory. All methods belong to one event loop."""

    def __init__(
        self,
        directory: DeviceDirectory,
        credentials: Credentials,
        limits: ServerLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._directory = directory
        self._credentials = credentials
        self._limits = limits or ServerLimits()
        self._observer = observer or Observer()
        self._throttle = Throttle(self._limits)
        self._connections: dict[Connection, str] = {}
        self._work: set[asyncio.Future[Any]] = set()  # that goes on without its client
        self._listener: asyncio.Server | None = None
        self._address = ("", 0)  # that is listened on

    @property
    def listening(self) -> bool:
        """Whether new clients can connect."""
        return self._listener is not None

    @property
    def port(self) -> int:
        """The TCP port that is listened on, 0 for none."""
        if self._listener is None or not self._listener.sockets:
            return 0
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def limits(self) -> ServerLimits:
        """The limits for connections from now on; those that are open keep the ones they began with."""
        return self._limits

    @limits.setter
    def limits(self, limits: ServerLimits) -> None:
        self._limits = self._throttle.limits = limits

    async def start(self, host: str, port: int) -> None:
        """Listen on `host` ("" for every address) and `port` (0 for any that is free).

        A server that listens already moves there; open connections live on. Raises `ListenError`, and then
        goes on listening where it did.
        """
        before, self._listener = self._listener, None
        if before is not None and self._address[1] == port:
            before.close()  # one port cannot be listened on twice, not even for another address
        try:
            await self._listen(host, port)
        except (OSError, UnicodeError) as error:  # the latter for what can be no host name at all
            if before is not None and before.is_serving():
                self._listener = before
            elif before is not None:
                await self._listen(*self._address)
            raise _not_listening(host, port, error) from None
        if before is not None:
            before.close()
        self._address = (host, self.port)
        _log.info("DLMS server listens on %s:%d", host or "*", self.port)

    async def check(self, host: str, port: int) -> None:
        """Raise `ListenError` where `start` would, as far as that can be told without listening there."""
        if self.listening and port == self._address[1]:
            return  # its own listener is in the way, and gives way in `start`
        loop = asyncio.get_running_loop()
        try:
            bound = await loop.create_server(asyncio.Protocol, host or None, port, start_serving=False)
        except (OSError, UnicodeError) as error:
            raise _not_listening(host, port, error) from None
        bound.close()

    async def stop(self) -> None:
        """Stop listening and end every connection; answers and writes on their way get a second."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self._connections):
            connection.close("the server stops")
        closed = [asyncio.ensure_future(connection.closed.wait()) for connection in self._connections]
        if closed:
            await asyncio.wait(closed, timeout=CLOSING_TIME)
            for connection in tuple(self._connections):
                connection.abort()
            await asyncio.wait(closed)
        if self._work:
            await asyncio.wait(tuple(self._work), timeout=CLOSING_TIME)

    def sessions(self) -> tuple[SessionView, ...]:
        """The associations that are open now and the connections without one, oldest connection first."""
        return tuple(view for connection in self._connections for view in connection.views())

    async def _listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, host or None, port, backlog=64)

    def _connection(self) -> Connection:
        return Connection(
            self._directory,
            self._credentials,
            self._limits,
            self._observer,
            self._throttle,
            self._connections,
            self._work,
        )


def _not_listening(host: str, port: int, error: OSError | UnicodeError) -> ListenError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ListenError(
        f"The DLMS server cannot listen on {host or '*'}:{port} ({reason}); "
        "check the address, stop the program that uses the port, or choose another port."
    )
