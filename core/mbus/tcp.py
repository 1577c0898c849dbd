"""TCP connections to level converters and terminal servers, and what to say where they fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from core.mbus.transport import LineError, TransportProtocol

MARGIN = 0.5
"""Seconds that a TCP line may add to an answer: converters gather bytes into packets, networks take their time."""
CONNECT_TIMEOUT = 5.0
"""Seconds until a host counts as unreachable."""
DEAD_AFTER = 90
"""Seconds after which a host that lost its power or network counts as gone."""

_KEEP_IDLE, _KEEP_INTERVAL = 30, 10  # s until the first probe, and between probes
_CLOSED_AT_ONCE = 0.2  # s in which a host closes that has accepted only to say that it is taken


class TcpProtocol(TransportProtocol):
    """A TCP connection as a line."""

    def __init__(self, name: str) -> None:
        """`name` is how sentences call the other side."""
        super().__init__(MARGIN, f"The {name} closed the connection: was it restarted, or taken over?")
        self.name = name

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and not isinstance(exc, ConnectionError):  # timed out, no route ...
            self.transport.lose(
                f"The {self.name} is gone ({exc.strerror or exc}): check its power and network."
            )
        else:
            self.transport.lose(self.gone)


_Protocol = TypeVar("_Protocol", bound=TcpProtocol)


async def connect(host: str, port: int, make: Callable[[], _Protocol]) -> _Protocol:
    """Connect to a level converter or terminal server. Raises `LineError`."""
    protocol = make()
    name = protocol.name
    loop = asyncio.get_running_loop()
    await _look_up(host, port)  # by itself: who keeps us waiting then is the other side, and no name server
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            stream, _ = await loop.create_connection(lambda: protocol, host, port)
    except TimeoutError as error:
        raise LineError(f"No answer from the {name}: check its power and network.") from error
    except ConnectionRefusedError as error:
        raise LineError(
            f"The {name} refuses the connection: check the port, and whether it is taken."
        ) from error
    except OSError as error:
        raise LineError(f"The {name} cannot be reached: {error.strerror or error}.") from error
    keep_alive(stream.get_extra_info("socket"))
    try:
        async with asyncio.timeout(_CLOSED_AT_ONCE):
            reason = await protocol.transport.lost()
    except TimeoutError:
        return protocol
    except BaseException:
        protocol.transport.close()
        raise
    if reason == protocol.gone:
        reason = f"The {name} accepts the connection and closes it at once: does another program use it?"
    raise LineError(reason)


async def _look_up(host: str, port: int) -> None:
    """Raises `LineError` where `host` has no address."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (TimeoutError, socket.gaierror, UnicodeError) as error:  # the last for what can be no name at all
        if isinstance(error, TimeoutError) or error.args[0] == socket.EAI_AGAIN:
            reason = "cannot be looked up now: check the network"
        else:
            reason = "is not known: check it"
        raise LineError(f"The host name {host!r} {reason}, or use the IP address.") from error


def keep_alive(connection: socket.socket) -> None:
    """Have a peer that lost its power or network noticed after `DEAD_AFTER`; without it, it seems to be silent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _KEEP_IDLE),
        ("TCP_KEEPINTVL", _KEEP_INTERVAL),
        ("TCP_KEEPCNT", (DEAD_AFTER - _KEEP_IDLE) // _KEEP_INTERVAL),
        ("TCP_USER_TIMEOUT", DEAD_AFTER * 1000),  # the same for a host that has requests to acknowledge
    ):
        if hasattr(socket, option):  # not every system has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
