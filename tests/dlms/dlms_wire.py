"""A client of bare bytes: what goes over the wire is what the test says."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType

LIMIT = 5.0  # seconds, for any answer

AARQ_NONE = bytes.fromhex("601da109060760857405080101be10040e01000000065f1f0400007e1f04b0")
AARQ_LLS = bytes.fromhex(
    "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
    "be10040e01000000065f1f0400007e1f04b0"
)
RLRQ = bytes.fromhex("6203800100")


class Wire:
    """One TCP connection with the wrapper."""

    def __init__(self, port: int, client: int = 1, server: int = 16) -> None:
        self.port = port
        self.client = client
        self.server = server

    async def __aenter__(self) -> Wire:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def send(self, apdu: bytes) -> None:
        self.writer.write(struct.pack(">HHHH", 1, self.client, self.server, len(apdu)) + apdu)

    async def receive(self) -> bytes:
        async with asyncio.timeout(LIMIT):
            version, source, destination, size = struct.unpack(">HHHH", await self.reader.readexactly(8))
            assert (version, source, destination) == (1, self.server, self.client)
            return await self.reader.readexactly(size)

    async def ask(self, apdu: bytes) -> bytes:
        self.send(apdu)
        return await self.receive()

    async def ended(self) -> bool:
        """Whether the server closes the connection without another byte."""
        async with asyncio.timeout(LIMIT):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


def aarq(password: bytes | None = None, pdu: int = 0, conformance: int = 0x007E1F) -> bytes:
    """An AARQ with logical names, LLS if there is a password; PDU size 0 = no limit."""
    initiate = bytes.fromhex("01000000065f1f0400") + conformance.to_bytes(3, "big") + pdu.to_bytes(2, "big")
    secret = b""
    if password is not None:
        secret = bytes.fromhex("8a0207808b0760857405080201") + bytes(
            (0xAC, len(password) + 2, 0x80, len(password))
        )
        secret += password
    body = bytes.fromhex("a109060760857405080101") + secret + b"\xbe\x10\x04\x0e" + initiate
    return bytes((0x60, len(body))) + body


def get(class_id: int, name: bytes, attribute: int, selection: bytes = b"\x00", invoke: int = 0xC1) -> bytes:
    return bytes((0xC0, 1, invoke)) + struct.pack(">H6sb", class_id, name, attribute) + selection


def set_(class_id: int, name: bytes, attribute: int, value: bytes, invoke: int = 0xC1) -> bytes:
    return bytes((0xC1, 1, invoke)) + struct.pack(">H6sb", class_id, name, attribute) + b"\x00" + value


async def fetch(wire: Wire, request: bytes) -> bytes:
    """The whole value of a GET, over as many blocks as it takes."""
    answer = await wire.ask(request)
    if answer[1] == 1:
        assert answer[3] == 0, f"refused: {answer.hex()}"
        return answer[4:]
    parts: list[bytes] = []
    number = 1
    while True:
        assert answer[:3] == bytes((0xC4, 2, request[2]))
        assert int.from_bytes(answer[4:8], "big") == number
        assert answer[8] == 0, f"ended early: {answer.hex()}"
        size, start = answer[9], 10
        if size >= 0x80:
            start += size & 0x7F
            size = int.from_bytes(answer[10:start], "big")
        assert len(answer) == start + size
        parts.append(answer[start:])
        if answer[3]:
            return b"".join(parts)
        answer = await wire.ask(bytes((0xC0, 2, request[2])) + number.to_bytes(4, "big"))
        number += 1
