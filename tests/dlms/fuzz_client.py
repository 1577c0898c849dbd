"""A client that sends tampered requests, over a socket or straight to an association, and judges every answer."""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Sequence
from random import Random
from types import TracebackType
from typing import NamedTuple

from dlms_plant import MANAGEMENT_NAME, METER_NAMES, NAME, PASSWORD, Access, Plant
from dlms_wire import AUTHENTICATION_KEY, CLIENT_TITLE, CTOS, CipheredWire, aarq, aarq_of, ber, get
from fuzz_answers import check_acse, check_answer, check_service, is_exception
from fuzz_corpus import ALL_SERVICES, REQUESTS, SCENARIOS, in_blocks
from fuzz_mutate import mutate

from core.cosem.objects import DataAccessError, DataAccessResult
from core.dlms import axdr, gbt, security
from core.dlms.association import Association
from core.dlms.describe import describe
from core.dlms.errors import DecodeError
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer
from core.dlms.security import DED, GENERAL_DED, GENERAL_GLO, GLO, Ciphered, Ciphering
from core.dlms.wrapper import frame

LIMIT = 60.0  # seconds, for a group of answers on a loaded machine
DEDICATED_KEY = bytes(range(16, 32))
ROOM_TO_CIPHER = 40  # bytes around a plain APDU
NAMES = {axdr.octet_string(name.encode()) for name in (MANAGEMENT_NAME, *METER_NAMES.values())}

_BARRIER = 0x7000  # server SAP without an association, and the first of the client SAPs
_BARRIERS = 0x1000
_REFUSED = bytes.fromhex("d80101")


class Mode(NamedTuple):
    """How the association of a client is opened, and how its requests travel."""

    mechanism: int
    ciphered: bool = False
    client: int = 1
    forms: tuple[Ciphering, ...] = (GLO,)
    control: int = 0x30
    pdu: int = 0
    conformance: int = ALL_SERVICES


PLAIN_MODES = (
    Mode(0, client=16),
    Mode(1),
    Mode(1, pdu=64),
    Mode(1, pdu=1024, conformance=0x007E1F),
    Mode(1, pdu=300, conformance=0x000019),  # no blocks, no lists
    Mode(5, pdu=200),
)
CIPHERED_MODES = (
    Mode(5, True, forms=(GLO, GENERAL_GLO, DED, GENERAL_DED)),
    Mode(1, True, forms=(GLO, DED), pdu=1024),
    Mode(5, True, forms=(GENERAL_GLO, GLO), pdu=64),
    Mode(5, True, forms=(GLO, GENERAL_DED), control=0x10, pdu=300),
)


class Case(NamedTuple):
    """An APDU to be sent."""

    apdu: bytes
    request: bytes | None  # the plain request, if the answer can only be to this one
    form: Ciphering = GLO
    forged: bool = False  # ciphered, and nobody with the keys made it so


class FuzzClient(CipheredWire, ABC):
    """One association in one mode. What it did wrong shows as an `AssertionError` with the bytes."""

    def __init__(self, mode: Mode, port: int = 0, server: int = 16, counter: int = 0) -> None:
        super().__init__(
            port, mode.client, server, form=mode.forms[0], control=mode.control, dedicated=DEDICATED_KEY,
            counter=counter, conformance=mode.conformance,
        )  # fmt: skip
        self.mode = mode
        self.scenarios = SCENARIOS  # requests that belong together
        self.names = NAMES  # of the devices that the association can have selected
        self._genuine: list[bytes] = []  # ciphered APDUs that were sent as they are
        self.reopened = False  # a tampered request opened or released the association

    @abstractmethod
    async def exchange(self, apdus: Sequence[bytes]) -> list[list[bytes]]:
        """The answers to each of the APDUs."""

    async def ask(self, apdu: bytes) -> bytes:
        """The one answer to an APDU."""
        ((answer,),) = await self.exchange([apdu])
        return answer

    async def start(self) -> None:
        """Open the association. Fails unless that succeeds."""
        self.received.clear()
        if self.mode.ciphered:
            secret = PASSWORD if self.mode.mechanism == 1 else None
            opened = await self.open(self.mode.mechanism, secret, self.mode.pdu)
        else:
            opened = await self.ask(self.opening())
            if self.mode.mechanism == 5:
                self.hear(opened)
                opened = await self.ask(self.reply())
        assert opened[0] == 0x61 or opened[:4] == bytes.fromhex("c701c100"), f"not opened: {opened.hex()}"
        self.reopened = False

    def opening(self) -> bytes:
        """A valid AARQ."""
        mode = self.mode
        if mode.ciphered:
            return self.aarq(mode.mechanism, PASSWORD if mode.mechanism == 1 else None, mode.pdu)
        if mode.mechanism == 5:
            return aarq_of(5, CTOS, self.initiate(), title=CLIENT_TITLE)
        return aarq(PASSWORD if mode.mechanism == 1 else None, mode.pdu, mode.conformance)

    def initiate(self) -> bytes:
        """A plain InitiateRequest."""
        numbers = struct.pack(">IH", self.mode.conformance, self.mode.pdu)
        return bytes.fromhex("01000000065f1f04") + numbers

    def hear(self, aare: bytes) -> bool:
        """Take title and challenge out of an AARE; whether there is a challenge."""
        fields = ber(aare[2:])
        self.server_title, self.stoc = fields.get(0xA4, b"\0\0")[2:], fields.get(0xAA, b"\0\0")[2:]
        return bool(self.stoc)

    def seal(self, plain: bytes, tag: int, form: Ciphering) -> bytes:
        """`plain` under valid ciphering with a fresh counter, sent as if its tag were `tag`."""
        self.counter += 1
        content = self.suite(form).protect(self.control, self.title, self.counter, plain)
        return security.encode_ciphered(form, tag, self.title, content)

    def group(self, count: int, chance: Random) -> list[Case]:
        """Cases of which at least `count` are tampered with."""
        cases: list[Case] = []
        tampered = 0
        while tampered < count:
            requests = list(chance.choice(self.scenarios))
            disorder = chance.random()
            if disorder < 0.05:
                chance.shuffle(requests)
            elif disorder < 0.1:
                requests.insert(0, chance.choice(requests))
            for request in requests:
                changed = chance.random() < 0.8
                tampered += changed
                cases += self._cases(request, changed, chance)
            if self._genuine and chance.random() < 0.1:  # once more what has been accepted
                tampered += 1
                cases.append(Case(chance.choice(self._genuine), None, forged=True))
        return cases

    def check(self, case: Case, answers: list[bytes]) -> None:
        """Fail unless these are the answers that a server may give."""
        if case.apdu[0] == gbt.TAG:
            answer = self._unblocked(case.apdu, answers)
            if answer is None:
                return
        else:
            assert len(answers) == 1, f"{len(answers)} answers"
            answer = answers[0]
        if case.apdu[0] == 0x60:
            self.reopened = True  # an AARQ ends what was open, also one that is refused
        if is_exception(answer):
            return
        if case.apdu[0] in (0x60, 0x62):
            self.reopened = True
            check_acse(case.apdu, answer)
            return
        assert not case.forged, "a forged APDU was answered"
        if self.mode.ciphered:
            assert len(answer) <= self._pdu or case.apdu[0] == gbt.TAG
            message = security.decode_ciphered(answer, case.form)
            assert message.control == self.control
            answer = self.decipher(answer, case.form)
        if case.request is None:
            check_service(answer)
        else:
            in_blocks = case.apdu[0] == gbt.TAG
            check_answer(case.request, answer, 1 << 22 if in_blocks else self._pdu)

    async def check_alive(self) -> None:
        """Fail unless the association goes on after all that."""
        if self.reopened:
            return
        request = get(1, NAME, 2)
        answer = await self.ask(self.seal(request, request[0], GLO) if self.mode.ciphered else request)
        plain = self.decipher(answer, GLO) if self.mode.ciphered else answer
        assert plain[:4] == bytes.fromhex("c401c100"), f"the association is not as it was: {plain.hex()}"
        assert plain[4:] in self.names, f"another value: {plain.hex()}"
        self.received.clear()

    @property
    def _pdu(self) -> int:
        return self.mode.pdu or ServerLimits().apdu

    def _cases(self, request: bytes, changed: bool, chance: Random) -> Iterator[Case]:
        """One request, plain or ciphered, whole or in blocks, with the change on one of the layers."""
        layers = ["service", "blocks"] + ["ciphering", "ciphering"] * self.mode.ciphered
        layer = chance.choices(layers, (6, 1, 3, 3)[: len(layers)])[0] if changed else ""
        plain = (
            mutate(request, REQUESTS, chance)[: -ROOM_TO_CIPHER or None] if layer == "service" else request
        )
        plain = plain or b"\x00"
        form, apdu, forged = GLO, plain, False
        if self.mode.ciphered:
            form = chance.choice(self.mode.forms)
            apdu = self.seal(plain, request[0], form)
            if layer == "ciphering":
                genuine, apdu = apdu, mutate(apdu, (apdu, self.aarq(), request), chance)
                forged = _taken_apart(genuine) != _taken_apart(apdu)
        if layer != "blocks" and chance.random() < 0.9:
            if self.mode.ciphered and layer != "ciphering":
                self._genuine.append(apdu)
            yield Case(apdu, plain, form, forged)
            return
        blocks = in_blocks(apdu, chance.choice((7, 20, 100, 1000)), chance.choice((0, 1, 5, 63)))
        known: bytes | None = plain
        if layer == "blocks":
            known = None
            place = chance.randrange(len(blocks))
            blocks[place] = mutate(blocks[place], (*blocks, request), chance)
        for block in blocks:
            yield Case(block, known, form, forged)

    def _unblocked(self, block: bytes, answers: list[bytes]) -> bytes | None:
        """The answer that came in general blocks, if it begins and ends here; an exception that came without."""
        if len(answers) == 1 and is_exception(answers[0]):
            return answers[0]
        sent = gbt.decode(block)
        taken = [gbt.decode(answer) for answer in answers]
        assert all(len(answer) <= self._pdu for answer in answers)
        assert len(taken) <= max(1, sent.window)
        numbers = [answer.number for answer in taken]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        if not sent.data or not taken or not taken[-1].last:
            return None
        return b"".join(answer.data for answer in taken)


class SocketClient(FuzzClient):
    """Over TCP. Between any two APDUs it asks something else, so that their answers can be told apart."""

    tear: Random | None = None  # to write in pieces of any size

    async def __aenter__(self) -> SocketClient:
        await super().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def exchange(self, apdus: Sequence[bytes]) -> list[list[bytes]]:
        clients = [_BARRIER + number % _BARRIERS for number in range(len(apdus))]
        data = b"".join(
            frame(self.client, self.server, apdu) + frame(client, _BARRIER, b"\xc0")
            for client, apdu in zip(clients, apdus, strict=True)
        )
        async with asyncio.timeout(LIMIT):
            _, answers = await asyncio.gather(
                write_torn(self.writer, data, self.tear), self._answers(clients)
            )
        return answers

    async def _answers(self, barriers: Sequence[int]) -> list[list[bytes]]:
        return [await self._until(barrier) for barrier in barriers]

    async def _until(self, barrier: int) -> list[bytes]:
        """What comes before the answer to this barrier."""
        answers: list[bytes] = []
        while True:
            version, source, destination, size = struct.unpack(">HHHH", await self.reader.readexactly(8))
            apdu = await self.reader.readexactly(size)
            assert version == 1
            if source == _BARRIER:
                assert (destination, apdu) == (barrier, _REFUSED)
                return answers
            assert (source, destination) == (self.server, self.client)
            answers.append(apdu)


class DirectClient(FuzzClient):
    """Without a network: calls the association, which is traced and explained as for one who watches."""

    def __init__(
        self, mode: Mode, plant: Plant, limits: ServerLimits, counter: int = 0, server: int = 16
    ) -> None:
        super().__init__(mode, server=server, counter=counter)
        self.association = Association(
            self.client, self.server, "test", plant.directory, plant.access, limits, settle, Explaining()
        )

    async def exchange(self, apdus: Sequence[bytes]) -> list[list[bytes]]:
        return [await self._answers(apdu) for apdu in apdus]

    async def _answers(self, apdu: bytes) -> list[bytes]:
        answer = self.association.handle(apdu)
        if not isinstance(answer, bytes | list):
            answer = await answer
        self.association.turn = None
        return answer if isinstance(answer, list) else [answer]


class Explaining(Observer):
    """Has every APDU explained, which must not raise, either."""

    tracing = True

    def apdu(
        self, peer: str, client_sap: int, sap: int, apdu: bytes, *, sent: bool, protection: str, size: int
    ) -> None:
        explained = describe(apdu, sent=sent)
        assert explained.title
        assert AUTHENTICATION_KEY not in apdu


async def write_torn(writer: asyncio.StreamWriter, data: bytes, tear: Random | None) -> None:
    """Write in pieces of any size, between which the other end can read; in one piece without `tear`."""
    while data and not writer.is_closing():
        size = len(data) if tear is None else tear.choice((1, 1, 2, 7, 8, 9, 50, 2000))
        writer.write(data[:size])
        data = data[size:]
        await asyncio.sleep(0)


async def settle(values: Sequence[Awaitable[bytes]]) -> list[bytes | DataAccessResult]:
    """What the values come to, one after the other."""

    async def one(value: Awaitable[bytes]) -> bytes | DataAccessResult:
        try:
            return await value
        except DataAccessError as error:
            return error.code
        except RuntimeError:  # the broken object
            return DataAccessResult.OTHER_REASON

    return [await one(value) for value in values]


def last_counter(access: Access, title: bytes = CLIENT_TITLE) -> int:
    """From which on a new client with this title goes on."""
    return max(0, access.counters.last(title))


async def run_group(client: FuzzClient, name: str, seed: int, number: int, count: int) -> None:
    """Send group `number` of the campaign `name` and judge the answers; the failure says how to have it again."""
    chance = Random(f"{seed} {name} {number}")
    cases = client.group(count, chance)
    apdus = [case.apdu for case in cases]
    place, answers = -1, []
    try:
        exchanged = await client.exchange(apdus)
        for place, case in enumerate(cases):
            answers = exchanged[place]
            client.check(case, answers)
        await client.check_alive()
    except Exception as error:
        sent = "\n".join(apdu.hex() for apdu in apdus[: place + 1 or None][-10:])
        raise AssertionError(
            f"{error!r}: seed {seed}, {name}, group {number}, APDU {place} of {client.mode}\n"
            f"{cases[place]}\nanswered {[answer.hex() for answer in answers]}\nafter\n{sent}"
        ) from error


def _taken_apart(apdu: bytes) -> tuple[Ciphered, int] | None:
    """What a ciphered APDU says, however its lengths are coded; None if it is none."""
    form = security.SERVICE_CIPHERINGS.get(apdu[0])
    try:
        return (security.decode_ciphered(apdu, form), apdu[0]) if form else None
    except DecodeError:
        return None
