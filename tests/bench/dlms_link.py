"""A client that costs little: blocking, with prebuilt requests, plain or ciphered; answers are looked into afterwards.

Client and servers of the benchmarks have password and keys from here.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence

from core.dlms import security
from core.dlms.axdr import decode_length, length
from core.dlms.security import GLO, Suite

PASSWORD = "12345678"
ENCRYPTION_KEY = bytes(range(16))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
PEER_TITLE = b"PYD\0\0\0\0\1"
PDU = 1024

INITIATE = bytes.fromhex("01000000065f1f0400007e1f") + PDU.to_bytes(2, "big")
LLS = bytes.fromhex("8a0207808b0760857405080201ac0a8008") + PASSWORD.encode()
CONTROL = security.AUTHENTICATED | security.ENCRYPTED


class Link:
    """One connection with the wrapper and one association on it, in clear."""

    def __init__(self, port: int, client: int = 1, device: int = 16) -> None:
        self.client, self.device = client, device
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def associate(self) -> None:
        """LLS, PDU size 1024. Raises `ValueError` if the server refuses."""
        answer = self.exchange([self.frame(self.aarq())])[0]
        if b"\xa2\x03\x02\x01\x00" not in answer:
            raise ValueError(f"refused: {answer.hex()}")
        self.associated(answer)

    def aarq(self) -> bytes:
        return field(0x60, bytes.fromhex("a109060760857405080101") + LLS + user_information(INITIATE))

    def associated(self, aare: bytes) -> None:
        """Take what is needed of the AARE."""

    def protect(self, plain: bytes) -> bytes:
        return plain

    def unprotect(self, apdu: bytes) -> bytes:
        return apdu

    def frame(self, apdu: bytes) -> bytes:
        return struct.pack(">HHHH", 1, self.client, self.device, len(apdu)) + apdu

    def ask(self, plain: bytes) -> bytes:
        return self.unprotect(self.exchange([self.frame(self.protect(plain))])[0])

    def fetch(self, request: bytes) -> list[bytes]:
        """The plain answers with the blocks of one value, or the one that holds it."""
        answers = [self.ask(request)]
        while answers[-1][1] == 2 and not answers[-1][3]:
            answers.append(self.ask(b"\xc0\x02\xc1" + answers[-1][4:8]))
        return answers

    def timed(self, plain: Sequence[bytes], expected: Iterable[bytes]) -> float:
        """Seconds for these requests, one after the other.

        The answers must be genuine, as long as expected, and begin like it: a meter may be read meanwhile. Else
        raises `ValueError`.
        """
        frames = [self.frame(self.protect(request)) for request in plain]
        started = time.perf_counter()
        answers = self.exchange(frames)
        elapsed = time.perf_counter() - started
        for answer, wanted in zip(answers, expected, strict=True):
            got = self.unprotect(answer)
            if len(got) != len(wanted) or got[:5] != wanted[:5]:
                raise ValueError(f"{got[:20].hex()} is not what was asked for, {wanted[:20].hex()}")
        return elapsed

    def exchange(self, frames: Iterable[bytes]) -> list[bytes]:
        """The answer APDUs to these requests, each of which waits for the answer before."""
        send, receive = self.socket.sendall, self.socket.recv
        answers = []
        for frame in frames:
            send(frame)
            data = receive(65536)
            size = 8 + (data[6] << 8) + data[7]
            while len(data) < size:
                data += receive(65536)
            answers.append(data)
        return [data[8:] for data in answers]


class CipheredLink(Link):
    """The same with the ciphered context: glo, authenticated and encrypted."""

    def __init__(
        self,
        port: int,
        client: int = 1,
        device: int = 16,
        title: bytes = b"CLI\0\0\0\0\1",
        counter: int = 0,
    ) -> None:
        """`counter`: the last one that was used with this title."""
        super().__init__(port, client, device)
        self._title = title
        self._server_title = b""
        self._counter = counter
        self._suite = Suite(ENCRYPTION_KEY, AUTHENTICATION_KEY)

    def aarq(self) -> bytes:
        initiate = security.encode_ciphered(
            security.INITIATE_CIPHERINGS[0x21], INITIATE[0], b"", self._protected(INITIATE)
        )
        context = bytes.fromhex("a109060760857405080103") + field(0xA6, field(0x04, self._title))
        return field(0x60, context + LLS + user_information(initiate))

    def associated(self, aare: bytes) -> None:
        self._server_title = aare[aare.index(b"\xa4\x0a\x04\x08") + 4 :][:8]

    def protect(self, plain: bytes) -> bytes:
        return security.encode_ciphered(GLO, plain[0], b"", self._protected(plain))

    def unprotect(self, apdu: bytes) -> bytes:
        return self._suite.unprotect(self._server_title, security.decode_ciphered(apdu, GLO))

    def _protected(self, plain: bytes) -> bytes:
        self._counter += 1
        return self._suite.protect(CONTROL, self._title, self._counter, plain)


def value(answers: Sequence[bytes]) -> bytes:
    """What the blocks of a GET hold together."""
    return b"".join(answer[decode_length(answer, 9)[1] :] for answer in answers)


def user_information(contents: bytes) -> bytes:
    return field(0xBE, field(0x04, contents))


def field(tag: int, contents: bytes) -> bytes:
    return bytes((tag,)) + length(len(contents)) + contents
