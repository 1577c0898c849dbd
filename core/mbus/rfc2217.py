"""Serial ports of terminal servers that set rate and parity on request: Telnet with COM-PORT-OPTION (RFC 2217)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

from core.mbus.tcp import MARGIN, TcpProtocol, connect
from core.mbus.transport import LineError, Transport, check_baud

_T = TypeVar("_T")

_ANSWER_TIMEOUT = 5.0  # s
_MOST_UNFINISHED = 256  # bytes of a command whose end does not come

_BINARY, _SUPPRESS_GO_AHEAD, _COM_PORT = 0, 3, 44
"""Options of Telnet (RFC 856, 858, 2217)."""
_WANTED = (_BINARY, _SUPPRESS_GO_AHEAD, _COM_PORT)


class _Telnet(IntEnum):
    """Commands of Telnet (RFC 854)."""

    SE = 240
    SB = 250
    WILL = 251
    WONT = 252
    DO = 253
    DONT = 254
    IAC = 255


class _Com(IntEnum):
    """Commands of the COM-PORT-OPTION (RFC 2217, 3). The server's answers have 100 more."""

    SET_BAUDRATE = 1
    SET_DATASIZE = 2
    SET_PARITY = 3
    SET_STOPSIZE = 4
    SET_CONTROL = 5
    SET_LINESTATE_MASK = 10
    SET_MODEMSTATE_MASK = 11
    PURGE_DATA = 12


_ANSWER = 100
_FORMAT = (
    (_Com.SET_DATASIZE, 8, "8 data bits"),
    (_Com.SET_PARITY, 3, "even parity"),
    (_Com.SET_STOPSIZE, 1, "1 stop bit"),
)
_WITHOUT_ANSWER = (  # servers do not agree on theirs
    (_Com.SET_CONTROL, 1),  # no flow control
    (_Com.SET_LINESTATE_MASK, 0),  # no notices
    (_Com.SET_MODEMSTATE_MASK, 0),
    (_Com.PURGE_DATA, 3),  # what somebody before us left in both buffers
)

_TOKEN = re.compile(
    rb"(?P<data>[^\xff]+)|\xff(?P<doubled>\xff)|\xff(?P<verb>[\xfb-\xfe])(?P<option>.)"
    rb"|\xff\xfa(?P<sub>(?:[^\xff]|\xff\xff)*)\xff\xf0|\xff[^\xfa-\xff]",
    re.DOTALL,
)


async def open_rfc2217(host: str, port: int, baud: int) -> Transport:
    """Open the serial port behind `host:port` with 8 data bits, even parity, one stop bit, no flow control.

    Raises `LineError` where it cannot be reached, does not know the option, or does not take these settings.
    """
    check_baud(baud)
    line = await connect(host, port, lambda: _Rfc2217Protocol(f"terminal server {host}:{port}"))
    try:
        await line.set_up(baud)
    except BaseException:
        line.transport.close()
        raise
    return line.transport


class _Rfc2217Protocol(TcpProtocol):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._unfinished = b""
        self._said: set[tuple[_Telnet, int]] = set()  # WILL and DO
        self._accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._baud = 0  # 0 until all is set up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        self.transport = Transport(self._send, transport.abort, MARGIN, self._change_baud)
        for verb, option in (
            (_Telnet.WILL, _BINARY),
            (_Telnet.DO, _BINARY),
            (_Telnet.DO, _SUPPRESS_GO_AHEAD),
            (_Telnet.WILL, _COM_PORT),
        ):
            self._agree(verb, option)

    def data_received(self, data: bytes) -> None:
        self._unfinished += data
        heard = b"".join(self._tokens())
        if len(self._unfinished) > _MOST_UNFINISHED:
            self.transport.lose(_plain_tcp(self.name))
        elif heard and self._baud:
            self.transport.deliver(heard)

    async def set_up(self, baud: int) -> None:
        """Agree on the option, then set format and rate. Raises `LineError`."""
        if not await self._wait(self._accepted, _plain_tcp(self.name)):
            raise LineError(_no_com_port(self.name))
        for command, value in _WITHOUT_ANSWER:
            self._command(command, bytes((value,)))
        for command, value, words in _FORMAT:
            if await self._set(command, bytes((value,))) != value:
                raise LineError(
                    f"The {self.name} does not set {words}, which M-Bus needs: look at its settings."
                )
        holds = await self._set_baud(baud)
        if holds != baud:
            raise LineError(self._other_rate(baud, holds))
        self._baud = baud

    async def _change_baud(self, baud: int) -> None:
        # The server may change the rate before it sent all of its buffer: whoever waited for an answer is past that.
        try:
            holds = await self._set_baud(baud)
        except LineError as error:
            self.transport.lose(str(error))  # the rate is not known any more
            raise
        if holds not in (baud, self._baud):
            self.transport.lose(self._other_rate(baud, holds))
        if holds != baud:
            raise LineError(self._other_rate(baud, holds))
        self._baud = baud

    async def _set_baud(self, baud: int) -> int:
        return await self._set(_Com.SET_BAUDRATE, baud.to_bytes(4))

    async def _set(self, command: _Com, value: bytes) -> int:
        """The value that the server says to hold now."""
        answer = self._answers[command + _ANSWER] = asyncio.get_running_loop().create_future()
        self._command(command, value)
        words = command.name.replace("_", "-")
        return await self._wait(answer, f"The {self.name} does not answer {words}: restart it, or update it.")

    async def _wait(self, answer: asyncio.Future[_T], silence: str) -> _T:
        """Raises `LineError`: `silence` where no answer comes, or why the line is lost."""
        lost = asyncio.ensure_future(self.transport.lost())
        try:
            await asyncio.wait((answer, lost), timeout=_ANSWER_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise LineError(lost.result() if lost.done() else silence)
        finally:
            lost.cancel()

    def _tokens(self) -> Iterator[bytes]:
        """Yield received bytes of the bus, and follow the commands between them."""
        position = 0
        while token := _TOKEN.match(self._unfinished, position):
            position = token.end()
            if token["verb"]:
                self._negotiate(_Telnet(token["verb"][0]), token["option"][0])
            elif token["sub"] is not None:
                self._note(token["sub"].replace(b"\xff\xff", b"\xff"))
            else:
                yield token["doubled"] or token["data"] or b""
        self._unfinished = self._unfinished[position:]

    def _negotiate(self, verb: _Telnet, option: int) -> None:
        reply = {_Telnet.WILL: _Telnet.DO, _Telnet.DO: _Telnet.WILL}.get(verb)
        if option == _COM_PORT and not self._accepted.done():
            self._accepted.set_result(reply is not None)
        if reply and option in _WANTED:
            self._agree(reply, option)
        elif reply:
            self._say(_Telnet.DONT if reply is _Telnet.DO else _Telnet.WONT, option)

    def _agree(self, verb: _Telnet, option: int) -> None:
        if (verb, option) not in self._said:  # two sides that confirm confirmations never end
            self._said.add((verb, option))
            self._say(verb, option)

    def _note(self, content: bytes) -> None:
        """Take an answer of the server; what it tells unasked is of no use here."""
        if len(content) > 2 and content[0] == _COM_PORT:
            answer = self._answers.get(content[1])
            if answer and not answer.done():
                size = 4 if content[1] == _Com.SET_BAUDRATE + _ANSWER else 1
                answer.set_result(int.from_bytes(content[2 : 2 + size]))  # sredird appends further bytes

    def _send(self, data: bytes) -> None:
        self._stream.write(data.replace(b"\xff", b"\xff\xff"))

    def _say(self, verb: _Telnet, option: int) -> None:
        self._stream.write(bytes((_Telnet.IAC, verb, option)))

    def _command(self, command: _Com, value: bytes) -> None:
        self._stream.write(bytes((_Telnet.IAC, _Telnet.SB, _COM_PORT, command)))
        self._send(value)
        self._stream.write(bytes((_Telnet.IAC, _Telnet.SE)))

    def _other_rate(self, baud: int, holds: int) -> str:
        return f"The {self.name} does not set {baud} baud but {holds}: choose a rate that it has."


def _plain_tcp(name: str) -> str:
    return f"The {name} does not speak RFC 2217: if it speaks plain TCP, use tcp:HOST:PORT."


def _no_com_port(name: str) -> str:
    return (
        f"The {name} cannot set its serial port over the network: switch RFC 2217 on there, or set it by hand and use "
        "tcp:HOST:PORT."
    )
