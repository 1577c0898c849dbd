"""Clients of bare bytes, plain and ciphered: what goes over the wire is what the test says."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType

from core.dlms import security
from core.dlms.axdr import length
from core.dlms.security import DED, GENERAL_DED, GENERAL_GLO, GLO, Ciphering, Suite

LIMIT = 5.0  # seconds, for any answer

AARQ_NONE = bytes.fromhex("601da109060760857405080101be10040e01000000065f1f0400007e1f04b0")
AARQ_LLS = bytes.fromhex(
    "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
    "be10040e01000000065f1f0400007e1f04b0"
)

# Exception responses: state error and service error.
MALFORMED = bytes.fromhex("d80203")
NOT_POSSIBLE = bytes.fromhex("d80101")
NOT_NEGOTIATED = bytes.fromhex("d80102")
TOO_LONG = bytes.fromhex("d80104")
RLRQ = bytes.fromhex("6203800100")
CLIENT_TITLE = bytes.fromhex("4D4D4D0000000001")  # client and keys of the Green Book's examples
ENCRYPTION_KEY = bytes(range(16))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
CTOS = b"K56iVagY"
NO_TITLE = b""


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


class CipheredWire(Wire):
    """A connection whose APDUs are ciphered as the client would, in one form that each call can change."""

    def __init__(
        self,
        port: int,
        client: int = 1,
        server: int = 16,
        *,
        form: Ciphering = GLO,
        control: int = 0x30,
        title: bytes = CLIENT_TITLE,
        encryption: bytes = ENCRYPTION_KEY,
        authentication: bytes = AUTHENTICATION_KEY,
        dedicated: bytes = b"",
        counter: int = 0,
        conformance: int = 0x007E1F,
    ) -> None:
        """`counter`: the last one that was used; `dedicated`: the key to agree on, which `DED` needs."""
        super().__init__(port, client, server)
        self.form, self.control, self.title = form, control, title
        self.encryption, self.authentication, self.dedicated = encryption, authentication, dedicated
        self.counter = counter
        self.conformance = conformance  # to propose
        self.received: list[int] = []  # counters of the server's messages
        self.server_title = b""
        self.stoc = b""

    def cipher(
        self,
        apdu: bytes,
        form: Ciphering | None = None,
        control: int | None = None,
        counter: int | None = None,
    ) -> bytes:
        """An APDU as this client sends it, with the next counter unless one is given."""
        form = form or self.form
        control = self.control if control is None else control
        if counter is None:
            self.counter += 1
            counter = self.counter
        content = self.suite(form).protect(control, self.title, counter, apdu)
        return security.encode_ciphered(form, apdu[0], self.title, content)

    def decipher(self, apdu: bytes, form: Ciphering | None = None) -> bytes:
        """What the server sent. Raises `DecipherError` if it is not genuine; an exception comes in clear."""
        if apdu[0] == 0xD8:
            return apdu
        form = form or self.form
        message = security.decode_ciphered(apdu, form)
        assert message.title in (None, self.server_title)
        assert message.counter not in self.received, "a nonce was used twice"
        self.received.append(message.counter)
        plain = self.suite(form).unprotect(self.server_title, message)
        assert not form.offset or plain[0] == apdu[0] - form.offset
        return plain

    async def ask_ciphered(
        self, apdu: bytes, form: Ciphering | None = None, control: int | None = None
    ) -> bytes:
        """The plain answer to a plain request, both of which travel ciphered."""
        return self.decipher(await self.ask(self.cipher(apdu, form, control)), form)

    async def open(self, mechanism: int = 5, secret: bytes | None = None, pdu: int = 0) -> bytes:
        """Associate, both steps of HLS included; the answer to the last step, which need not be a success."""
        aare = await self.associate(mechanism, secret, pdu)
        if mechanism != 5 or not self.stoc:
            return aare
        return await self.ask_ciphered(self.reply())

    async def associate(self, mechanism: int = 5, secret: bytes | None = None, pdu: int = 0) -> bytes:
        """The first step: the AARE, from which title and StoC are taken."""
        answer = await self.ask(self.aarq(mechanism, secret, pdu))
        fields = ber(answer[2:]) if answer[0] == 0x61 else {}
        self.server_title = fields.get(0xA4, b"\0\0")[2:]
        self.stoc = fields.get(0xAA, b"\0\0")[2:]
        return answer

    def aarq(self, mechanism: int = 5, secret: bytes | None = None, pdu: int = 0) -> bytes:
        """An AARQ with the context with ciphering; `secret` is the password or CtoS."""
        key = b"\x01" + length(len(self.dedicated)) + self.dedicated if self.dedicated else b"\x00"
        initiate = b"\x01" + key + bytes.fromhex("0000065f1f0400")
        initiate += self.conformance.to_bytes(3, "big") + pdu.to_bytes(2, "big")
        form = INITIATE if self.form.offset else GENERAL_GLO
        return aarq_of(
            mechanism,
            CTOS if secret is None and mechanism == 5 else secret,
            self.cipher(initiate, form),
            title=self.title,
            ciphered=True,
        )

    def reply(self, proof: bytes | None = None, invoke: int = 0xC1) -> bytes:
        """The plain ACTION of the second step of HLS."""
        if proof is None:
            proof = self.suite(GLO).gmac(self.title, self.counter, self.stoc)
        return reply_to_hls(proof, invoke)

    def suite(self, form: Ciphering) -> Suite:
        """The keys of this client as they are now."""
        key = self.dedicated if form in (DED, GENERAL_DED) else self.encryption
        return Suite(key, self.authentication)


INITIATE = security.INITIATE_CIPHERINGS[0x21]


def reply_to_hls(proof: bytes, invoke: int = 0xC1) -> bytes:
    """ACTION on association LN, method 1."""
    head = bytes((0xC3, 1, invoke)) + bytes.fromhex("000f0000280000ff010109")
    return head + length(len(proof)) + proof


def ber(data: bytes) -> dict[int, bytes]:
    """The fields of BER data, each tag once; a length of one byte or behind 81."""
    fields: dict[int, bytes] = {}
    while data:
        start = 2 if data[1] < 0x80 else 3
        end = start + data[start - 1]
        fields[data[0]], data = data[start:end], data[end:]
    return fields


def aarq_of(
    mechanism: int,
    secret: bytes | None,
    information: bytes,
    *,
    title: bytes = NO_TITLE,
    ciphered: bool = False,
) -> bytes:
    """An AARQ of any parts; mechanism 0 goes without a name."""
    body = bytes.fromhex("a1090607608574050801") + (b"\x03" if ciphered else b"\x01")
    if title:
        body += b"\xa6" + bytes((len(title) + 2, 4, len(title))) + title
    if mechanism:
        body += bytes.fromhex("8a0207808b07608574050802") + bytes((mechanism,))
    if secret is not None:
        body += bytes((0xAC, len(secret) + 2, 0x80, len(secret))) + secret
    body += b"\xbe" + length(1 + len(length(len(information))) + len(information))
    body += b"\x04" + length(len(information)) + information
    return b"\x60" + length(len(body)) + body


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
