"""A gateway that is killed again and again while its head-end fails in every way: nothing is lost, nothing is doubled.

The gateway is a process that is killed at random, while it starts as well as while it reads, logs and sends. Its
receiver drops connections, delays them, closes them half-way, refuses them, never closes them, loses its answer, and
is gone for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import struct
from collections import Counter
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from dlms_wire import CipheredWire, Wire, aarq, set_
from gateway_process import LIMIT, GatewayProcess, Process
from push_plant import KEYS
from test_core import port_of, serve, simulated
from test_events_of_gateway import Status

from cme_tui.client import ClientError, ask
from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.dlms import axdr
from core.dlms.security import GENERAL_GLO
from core.mbus.simulator import SimulatedBus
from core.push import notification
from core.push.behaviour import Behaviour, Kind, parse
from core.push.received import Received
from core.push.receiver import Receiver
from core.secrets import Secrets, save_secrets
from core.store import Log, open_readonly
from core.store.outbox import NotificationState

SEED: Final = 20261122
KILLS: Final = 20
"""Of them so many while the gateway starts."""
EARLY: Final = 6
METERS: Final = (16, 17)
WAYS: Final = "take*6,drop,delay:1,half:0,half:30,half:200,half:700,refuse:0,hang,lose*3,die"
PASSWORD: Final = b"a password of tests"
REPORTS: Final = {
    "0.1.25.9.0.255": METERS,
    "0.5.25.9.0.255": METERS,
    "0.4.25.9.0.255": (1,),
    "0.8.25.9.0.255": (1,),
}
ZONE: Final = ZoneInfo("Europe/Stockholm")
CHANNEL: Final = obis.parse("0.128.1.0.0.255")


class Tapped(socket.socket):
    """A connection of which every byte that was received is kept."""

    def __init__(self, link: socket.socket) -> None:
        super().__init__(fileno=link.detach())
        self.setblocking(False)
        self.seen = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self.seen += data
        return data


class HeadEnd(Receiver):
    """Keeps what arrived, over which connection, how that was treated, and all counters, also of what broke off."""

    def __init__(self, chance: random.Random) -> None:
        own = random.Random(chance.randrange(1 << 30))
        super().__init__(self._arrived, keys=KEYS, behaviours=self._ways(own), die=self._gone)
        self.good = False
        """Whether it takes everything from now on."""
        self.arrivals: list[tuple[int, str]] = []
        """Id and connection."""
        self.received: dict[int, Received] = {}
        """By id: the first arrival, in that order."""
        self.kinds: dict[str, Kind] = {}
        self.run_of: dict[str, int] = {}
        """In which run of the gateway a connection began."""
        self.run = 0
        self.nonces: list[tuple[bytes, int]] = []

    def _ways(self, chance: random.Random):  # type: ignore[no-untyped-def]
        while True:
            for way in chance.sample(ways := parse(WAYS), len(ways)):
                yield Behaviour() if self.good else way

    def _gone(self) -> None:  # type: ignore[override]
        raise ConnectionAbortedError

    def _arrived(self, received: Received) -> None:
        if received.report_id is not None:
            self.arrivals.append((received.report_id, received.source))
            self.received.setdefault(received.report_id, received)

    async def _serve(self, link: socket.socket, source: str, behaviour: Behaviour) -> None:
        self.kinds[source], self.run_of[source] = behaviour.kind, self.run
        with Tapped(link) as tapped:
            try:
                await super()._serve(tapped, source, behaviour)
            finally:
                self.nonces += nonces(tapped.seen)


def nonces(stream: bytes) -> list[tuple[bytes, int]]:
    """Title and counter of each ciphered frame of a stream, also of a last one that broke off."""
    found = []
    while len(stream) >= 8:
        size = struct.unpack(">H", stream[6:8])[0]
        apdu, stream = stream[8 : 8 + size], stream[8 + size :]
        # tag, length and title, length, security control, counter
        body = apdu[10:]
        if body:
            assert (apdu[0], apdu[1]) == (GENERAL_GLO.tag, 8)
            start = 1 + (body[0] & 0x7F if body[0] & 0x80 else 0) + 1
            if len(body) >= start + 4:
                found.append((apdu[2:10], int.from_bytes(body[start : start + 4], "big")))
    return found


class Plant:
    """The gateway's state directory, its line, and clients who keep it busy."""

    def __init__(
        self, state: Path, head_end: HeadEnd, line: int, meters: list[Status], chance: random.Random
    ) -> None:
        self.state = state
        self.head_end = head_end
        self.meters = meters
        self.chance = chance
        self.answers: list[int] = []
        """Counters of all answers of the DLMS server."""
        self.counter = 1000
        self.running: Process | None = None
        self.delivered: dict[int, set[int]] = {}
        """By run: which notifications the gateway knew to be delivered at its end."""
        state.mkdir()
        tables = "".join(
            f'[[push.report]]\ntype = "{kind}"\nschedule = "every 1 min"\n'
            for kind in ("load_profile_1", "standard_event_log", "fraud_event_log")
        )
        installed = "".join(f'[[meter]]\naddress = "{meter.address}"\n' for meter in meters)
        (state / "config.toml").write_text(
            f"""[gateway]
timezone = "Europe/Stockholm"
[dlms]
host = "127.0.0.1"
authentication = "low"
policy = "authenticated-encrypted"
[profiles]
load_profile_1 = "all"
[readout]
interval = "1 d"
[push]
host = "127.0.0.1"
port = {head_end.port}
randomisation = 0
repetition_delay = 1
{tables}[[line]]
url = "tcp:127.0.0.1:{line}"
baud = 38400
repeats = 0
{installed}"""
        )
        save_secrets(
            state / "secrets.toml",
            Secrets(PASSWORD.decode(), bytes(16), KEYS.authentication, KEYS.encryption),
        )

    async def start(self) -> GatewayProcess:
        gateway = await asyncio.to_thread(GatewayProcess, self.state)
        self.running = gateway
        return gateway

    def begin_to_start(self) -> Process:
        """A gateway that may not be ready yet."""
        self.running = Process("--state-dir", str(self.state), "--headless", "--dlms-port", "0")
        return self.running

    async def kill(self, process: Process) -> None:
        await asyncio.to_thread(process.stop, signal.SIGKILL)
        for _ in range(10):
            await asyncio.sleep(0)  # what the dead one had begun is accepted before the next one runs
        if (self.state / "gateway.db").exists():
            self.delivered[self.head_end.run] = await asyncio.to_thread(self._delivered)
        self.head_end.run += 1

    def _delivered(self) -> set[int]:
        with open_readonly(self.state / "gateway.db") as store:
            return {row.id for row in store.outbox.ledger(1 << 30, state=NotificationState.DELIVERED)}

    async def work(self, gateway: GatewayProcess) -> None:
        """Readouts, status changes, wrong passwords and pushes, until the gateway is gone."""
        jobs = self._read(), self._guess(gateway.port), self._ask_for_pushes(gateway.port)
        for error in await asyncio.gather(*jobs, return_exceptions=True):
            if error is not None and not isinstance(error, OSError | EOFError | TimeoutError | ClientError):
                raise error

    async def _read(self) -> None:
        while True:
            place = self.chance.randrange(len(METERS))
            self.meters[place].status = self.chance.randrange(256)
            await asyncio.to_thread(ask, self.state, "read", logical_device=METERS[place])
            await asyncio.sleep(self.chance.uniform(0, 0.05))

    async def _guess(self, port: int) -> None:
        wire = Wire(port, server=1)
        # From elsewhere: who fails is slowed down.
        wire.reader, wire.writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=("127.0.0.77", 0)
        )
        await wire.ask(aarq(b"wrong"))
        wire.writer.close()

    async def _ask_for_pushes(self, port: int, times: int = 1 << 30) -> None:
        self.counter += 1000
        wire = CipheredWire(
            port,
            server=1,
            counter=self.counter,
            encryption=KEYS.encryption,
            authentication=KEYS.authentication,
        )
        async with wire:
            try:
                await wire.associate(1, PASSWORD)
                for _ in range(times):
                    for name, devices in REPORTS.items():
                        for device in devices:
                            await wire.ask_ciphered(set_(1, CHANNEL, 2, axdr.long_unsigned(device)))
                            answer = await wire.ask_ciphered(push(name))
                            assert answer[3] in (0, 2, 4), (
                                answer.hex()
                            )  # done, not now, or nobody has read the meter yet
                    await asyncio.sleep(self.chance.uniform(0, 0.1))
            finally:
                self.answers += wire.received
                self.counter = wire.counter

    async def drain(self, gateway: GatewayProcess) -> None:
        """Have everything sent to a head-end that takes it."""
        self.head_end.good = True
        async with asyncio.timeout(4 * LIMIT):
            while True:
                with contextlib.suppress(OSError, EOFError, TimeoutError):  # on a machine that is busy
                    await self._ask_for_pushes(gateway.port, times=1)
                if await asyncio.to_thread(self._all_is_told):
                    return

    def _all_is_told(self) -> bool:
        with open_readonly(self.state / "gateway.db") as store:
            reports = ("load_profile_1", "standard_event_log", "fraud_event_log")
            return not store.outbox.backlog() and not any(store.outbox.unsent(report) for report in reports)


def push(name: str) -> bytes:
    """ACTION: method push of a push set-up."""
    return bytes((0xC3, 1, 0xC1)) + struct.pack(">H6sb", 40, obis.parse(name), 1) + b"\x01\x0f\x00"


@pytest.mark.slow
async def test_everything_arrives_once_whatever_is_killed_and_whatever_the_head_end_does(
    tmp_path: Path,
) -> None:
    """Every row and event, in order for each meter and log; again only where the answer was lost; no nonce twice."""
    chance = random.Random(SEED)
    head_end = HeadEnd(chance)
    await head_end.start()
    meters = []
    for address, identification in enumerate(("70112345", "06855817"), 1):
        meters.append(Status([simulated(identification).telegram_at(0)], address=address))
    line = await serve(SimulatedBus(meters))
    plant = Plant(tmp_path / "state", head_end, port_of(line), meters, chance)
    early = set(chance.sample(range(1, KILLS), EARLY))
    try:
        for number in range(KILLS):
            if number in early:
                process = plant.begin_to_start()
                await asyncio.sleep(chance.uniform(0.2, 1.2))
            else:
                process = await plant.start()
                working = asyncio.create_task(plant.work(process))
                await asyncio.sleep(chance.uniform(0, 1.0))
            if chance.random() < 0.1:
                await head_end.stop()
                await plant.kill(process)
                await head_end.start(port=head_end.port)
            else:
                await plant.kill(process)
            if number not in early:
                await working
        gateway = await plant.start()
        await plant.drain(gateway)
        await plant.kill(gateway)  # a clean end would be one more event
    finally:
        if plant.running:
            await asyncio.to_thread(plant.running.stop, signal.SIGKILL)
        line.close()
        await head_end.stop()
    note = f"seed {SEED}, {len(head_end.received)} notifications, {Counter(head_end.kinds.values())}"
    check_all_arrived(plant, note)
    check_repeats(plant, note)
    every = [*head_end.nonces, *((b"ELV" + bytes(1) + title(plant), counter) for counter in plant.answers)]
    assert len({title for title, _ in every}) == 1, note
    assert len(set(every)) == len(every), (note, Counter(every).most_common(3))
    assert len(head_end.received) > KILLS, note
    assert set(head_end.kinds.values()) >= set(Kind) - {Kind.REFUSE}, note


def title(plant: Plant) -> bytes:
    """The second half of the gateway's system title."""
    with open_readonly(plant.state / "gateway.db") as store:
        return int(store.serial()).to_bytes(4, "big")


def check_all_arrived(plant: Plant, note: str) -> None:
    """What arrived first of each notification is what the store has, in its order, of each meter and log."""
    arrived: dict[tuple[int, str], list[object]] = {}
    for received in plant.head_end.received.values():
        assert received.content is not None, (note, received.problem)
        body = notification.decode(received.plain).body.content
        assert isinstance(body, list)
        rows = body[5 if received.content.type == "load_profile_1" else -1].content
        told = [tuple(cell.content for cell in row.content[:3]) for row in rows]
        place = received.server_sap or 0, received.content.setup
        arrived[place] = arrived.get(place, []) + told
    with open_readonly(plant.state / "gateway.db") as store:
        keys = {meter.logical_device: meter.key for meter in store.meters()}
        for device, key in [(1, None), *keys.items()]:
            for log, name in ((Log.STANDARD, "0.5.25.9.0.255"), (Log.FRAUD, "0.6.25.9.0.255")):
                setup = name if key else {Log.STANDARD: "0.4.25.9.0.255", Log.FRAUD: "0.8.25.9.0.255"}[log]
                kept = [
                    (cosem_time.encode(e.time_ms, ZONE), e.code) for e in store.event_entries(key, log, 1, 0)
                ]
                told = [(time, code) for time, _, code in arrived.get((device, setup), [])]  # type: ignore[misc]
                assert len(kept) <= len(told)  # what was told may have made room
                assert told[len(told) - len(kept) :] == kept, (note, device, log)
            if key:
                rows = store.profile_entries(key, 1, 1, 0, 100_000)
                kept = [(cosem_time.encode(row.time_ms, ZONE),) for row in rows]
                told = [row[:1] for row in arrived[device, "0.1.25.9.0.255"]]  # type: ignore[index]
                assert told == kept, (note, device)
                assert len(kept) > KILLS, note


def check_repeats(plant: Plant, note: str) -> None:
    """A notification came again only where the gateway could not know that it had arrived."""
    head_end = plant.head_end
    last: dict[int, str] = {}
    for number, source in head_end.arrivals:
        before = last.get(number)
        last[number] = source
        if before is None:
            continue
        run, now = head_end.run_of[before], head_end.run_of[source]
        killed = now > run and number not in plant.delivered.get(run, set())
        assert head_end.kinds[before] is not Kind.TAKE or killed, (note, number, before, source)
