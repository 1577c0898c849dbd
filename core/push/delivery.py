"""One connection to a head-end: frames are written, and the end of the connection says whether they were taken."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import CmeError

_CHUNK: Final = 4096
_MOST_ANSWERED: Final = 65536
"""Bytes; what a receiver says is read and not looked at, but not for ever."""
_POLL_S: Final = 0.02
_MOST_ADDRESSES: Final = 4
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
_IN_ORDER: Final = struct.pack("ii", 0, 0)


class DeliveryError(CmeError):
    """Notifications were not taken, or nobody can know that they were."""


class Delivered(StrEnum):
    """What counts as delivered."""

    CLOSED = "closed"
    """All was written and acknowledged, our side is closed, and the receiver has closed its own in order."""
    WRITTEN = "written"
    """All was written and acknowledged, and no reset came for a moment; for receivers that never close."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each step may take, in s."""

    connect_s: float = 20.0
    """For looking up the name, and for connecting."""
    write_s: float = 60.0
    close_s: float = 30.0
    reset_s: float = 1.0
    """So long after the last acknowledgement a reset still counts, where the receiver does not close."""


async def deliver(
    host: str, port: int, make: Callable[[], Awaitable[Sequence[bytes]]], how: Delivered, limits: Limits
) -> None:
    """Connect, write what `make` then gives, and return when it was delivered.

    In every other case the connection is reset, so that the receiver knows too. Raises `DeliveryError` with the reason,
    and whatever `make` raises.
    """
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with await _connect(host, port, name, limits.connect_s) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        try:
            await _write(link, await make(), name, limits.write_s)
            if how is Delivered.CLOSED:
                link.shutdown(socket.SHUT_WR)
                await _closed(link, name, limits.close_s)
            await _acknowledged(link, name, limits.close_s)
            if how is Delivered.WRITTEN:
                await _not_reset(link, limits.reset_s)
        except OSError as error:
            why = error.strerror or error
            raise DeliveryError(
                f"The connection to {name} ended before everything was taken ({why})."
            ) from error
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _IN_ORDER)


async def _connect(host: str, port: int, name: str, limit_s: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            found = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[:_MOST_ADDRESSES]
    except TimeoutError as error:
        raise DeliveryError(f'The name server does not answer about "{host}": check the network.') from error
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DeliveryError(
            f'The host "{host}" is not found ({why}): check its name and the name server.'
        ) from error
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in found:
        link = socket.socket(family, kind, protocol)
        link.setblocking(False)
        try:
            async with asyncio.timeout(limit_s / len(found)):
                await loop.sock_connect(link, address)
        except BaseException as error:
            link.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return link
    raise DeliveryError(f"{name} {_reason(failure)}") from failure


def _reason(error: OSError) -> str:
    match error:
        case TimeoutError():
            return "does not answer: check host, port, network and firewall."
        case ConnectionRefusedError():
            return "refuses connections: check the port, and that the head-end is running."
    return f"cannot be reached ({error.strerror or error}): check host and network."


async def _write(link: socket.socket, frames: Sequence[bytes], name: str, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            for frame in frames:
                await asyncio.get_running_loop().sock_sendall(link, frame)
    except TimeoutError as error:
        raise DeliveryError(f"{name} did not take everything within {limit_s:g} s.") from error


async def _closed(link: socket.socket, name: str, limit_s: float) -> None:
    answered = 0
    try:
        async with asyncio.timeout(limit_s):
            while data := await asyncio.get_running_loop().sock_recv(link, _CHUNK):
                answered += len(data)
                if answered > _MOST_ANSWERED:
                    raise DeliveryError(f"{name} answers without end instead of closing the connection.")
    except TimeoutError as error:
        raise DeliveryError(
            f"{name} did not close the connection within {limit_s:g} s, so nobody knows whether it took the "
            'notifications; for a head-end that never closes set [push] delivered to "written".'
        ) from error


async def _acknowledged(link: socket.socket, name: str, limit_s: float) -> None:
    """Wait until the other system has acknowledged every byte. Raises OSError for a reset instead."""
    try:
        async with asyncio.timeout(limit_s):
            while _unacknowledged(link):
                _check(link)
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise DeliveryError(f"{name} did not acknowledge everything within {limit_s:g} s.") from error
    _check(link)


async def _not_reset(link: socket.socket, limit_s: float) -> None:
    """Read for a while what the receiver may say. Raises OSError for a reset."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while await asyncio.get_running_loop().sock_recv(link, _CHUNK):  # noqa: ASYNC110
                # Where there is always something to read, nobody else would have a turn.
                await asyncio.sleep(0)
    _check(link)


def _unacknowledged(link: socket.socket) -> int:
    """Bytes, and one for the end of the stream."""
    count = array.array("i", (0,))
    fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def _check(link: socket.socket) -> None:
    error = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
