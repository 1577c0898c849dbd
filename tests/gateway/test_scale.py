"""A gateway with a thousand meters: it stays small, and twenty clients at once are served in turn."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import cycle, islice
from pathlib import Path

import pytest
from dlms_wire import CipheredWire, get, set_
from gateway_process import LIMIT, GatewayProcess
from many_meters import MANY, READINGS, installed, prepare

from core.dlms import axdr, security
from core.secrets import load_secrets
from core.statedir import StateDir

CLIENTS = 20
FAIR = 100  # answers that everybody has when the first client has three times as many
MOST_BYTES = 200_000_000
FIRST_DEVICE = 16
OBJECTS = 20  # of each meter at least

CHANNEL = bytes((0, 128, 1, 0, 0, 255))
SAP_LIST = get(17, bytes((0, 0, 41, 0, 0, 255)), 2)
OBJECT_LIST = get(15, bytes((0, 0, 40, 0, 0, 255)), 2)
NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)
CLOCK = get(8, bytes((0, 0, 1, 0, 0, 255)), 2)
PROFILE = get(7, bytes((1, 0, 99, 1, 0, 255)), 2)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A thousand meters; its clients change nothing."""
    directory = tmp_path_factory.mktemp("many")
    prepare(StateDir(directory))
    running = GatewayProcess(directory)
    yield running
    running.process.kill()
    running.process.wait(LIMIT)


class Clients:
    """Clients with HLS 5 and ciphering, each with a system title of its own."""

    def __init__(self, gateway: GatewayProcess, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self._stack = stack
        self._secrets = load_secrets(gateway.state_dir / "secrets.toml")

    async def open(self, number: int, server: int, pdu: int = 0) -> CipheredWire:
        """The association of client `number` with a logical device."""
        wire = CipheredWire(
            self.gateway.port,
            server=server,
            title=b"TST\0\0\0" + number.to_bytes(2, "big"),
            encryption=self._secrets.encryption_key,
            authentication=self._secrets.authentication_key,
        )
        await self._stack.enter_async_context(wire)
        answer = await wire.open(pdu=pdu)
        assert answer[:4] == bytes.fromhex("c701c100"), answer.hex()
        return wire


@pytest.fixture
async def clients(gateway: GatewayProcess) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(gateway, stack)


async def value(wire: CipheredWire, request: bytes) -> bytes:
    """The value of an attribute, which fits into one APDU."""
    answer = await wire.ask_ciphered(request)
    assert answer[:4] == bytes((0xC4, 1, request[2], 0)), answer[:20].hex()
    return answer[4:]


def memory(process: int) -> int:
    """Bytes of memory in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def test_a_thousand_devices_are_read_in_200_megabytes(clients: Clients) -> None:
    """Every meter has its device, its objects and its profile, and all of it has been asked for."""
    management = await clients.open(0, server=1)
    sap_list = axdr.decode(await whole(management, SAP_LIST)).content
    names = {item.content[0].content: item.content[1].content for item in sap_list}
    assert len(names) == 1 + MANY
    for meter in installed(MANY):
        device = FIRST_DEVICE + meter.number
        maker, identification = meter.address.manufacturer, meter.address.identification
        assert names[device].startswith(f"{maker}{identification}".encode())
        selected = await management.ask_ciphered(set_(1, CHANNEL, 2, axdr.long_unsigned(device)))
        assert selected == bytes.fromhex("c501c100")
        assert await value(management, NAME) == axdr.octet_string(names[device])
        assert axdr.decode_length(await value(management, OBJECT_LIST), 1)[0] >= OBJECTS
        assert axdr.decode_length(await value(management, PROFILE), 1)[0] == READINGS
    assert memory(clients.gateway.process.pid) < MOST_BYTES


async def whole(wire: CipheredWire, request: bytes) -> bytes:
    """The value of an attribute, over as many blocks as it takes."""
    answer = await wire.ask_ciphered(request)
    parts = [block(answer)]
    while not answer[3]:
        answer = await wire.ask_ciphered(b"\xc0\x02" + request[2:3] + answer[4:8])
        parts.append(block(answer))
    return b"".join(parts)


def block(answer: bytes) -> bytes:
    assert answer[:2] == b"\xc4\x02", answer[:20].hex()
    assert answer[8] == 0
    return answer[axdr.decode_length(answer, 9)[1] :]


async def test_twenty_floods_of_requests_are_answered_in_turn(clients: Clients) -> None:
    """All requests of twenty clients are there at once; those of one are not all answered before the others'.

    The counters of the gateway's answers say in which order they were made.
    """
    sent = 3 * FAIR
    wires = [await clients.open(100 + n, server=FIRST_DEVICE + n) for n in range(CLIENTS)]
    process = clients.gateway.process
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.to_thread(wait_until_stopped, process.pid)
        for wire in wires:
            for _ in range(sent):
                wire.send(wire.cipher(NAME))
            assert wire.writer.transport.get_write_buffer_size() == 0
    finally:
        process.send_signal(signal.SIGCONT)
    answered = [[counter(await wire.receive()) for _ in range(sent)] for wire in wires]
    first_done = min(counters[-1] for counters in answered)
    assert all(counters[FAIR - 1] < first_done for counters in answered)


def wait_until_stopped(process: int) -> None:
    """Until every thread has heard SIGSTOP."""
    deadline = time.monotonic() + LIMIT
    while any(
        "State:\tT" not in (task / "status").read_text() for task in Path(f"/proc/{process}/task").iterdir()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counter(answer: bytes) -> int:
    return security.decode_ciphered(answer, security.GLO).counter


async def test_twenty_clients_advance_together(clients: Clients) -> None:
    """Each asks for values and object lists, in blocks, one request after the other: nobody falls far behind."""
    wires = [await clients.open(200 + n, server=FIRST_DEVICE + 40 * n, pdu=512) for n in range(CLIENTS)]
    answers = [0] * CLIENTS
    done = asyncio.Event()

    async def ask(place: int) -> None:
        for request in islice(cycle((NAME, OBJECT_LIST, CLOCK)), place, None):
            answer = await wires[place].ask_ciphered(request)
            answers[place] += 1
            while answer[1] == 2 and not answer[3]:
                answer = await wires[place].ask_ciphered(b"\xc0\x02\xc1" + answer[4:8])
                answers[place] += 1
            assert answer[:2] in (b"\xc4\x01", b"\xc4\x02"), answer[:20].hex()
            if answers[place] >= 3 * FAIR:
                done.set()
            if done.is_set():
                return

    await asyncio.gather(*map(ask, range(CLIENTS)))
    assert min(answers) >= FAIR, answers
