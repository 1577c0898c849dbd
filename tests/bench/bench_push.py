"""How fast load profiles go out: `python tests/bench/bench_push.py`.

A thousand meters have four unsent rows of ten columns each. One report of them is made, ciphered and taken by a
receiver in another process; the same bytes then go there from a bare socket. Prints notifications a second as a ratio
to the bare socket, and where the time goes: each part alone, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), *(str(HERE.parent / name) for name in ("push", "gateway", "dlms"))]

from push_plant import FakeClock, PlainCredentials, until_sent  # noqa: E402
from report_plant import EVERY, SITE, ZONE, Plant, at  # noqa: E402

from core.config import MeterConfig  # noqa: E402
from core.cosem import datetime as cosem_time  # noqa: E402
from core.dlms import wrapper  # noqa: E402
from core.dlms.admission import Policy  # noqa: E402
from core.dlms.protection import Envelope, Protection  # noqa: E402
from core.dlms.security import AUTHENTICATED, ENCRYPTED, GENERAL_GLO  # noqa: E402
from core.interval import Interval  # noqa: E402
from core.mapping.model import MappingFile, parse_mapping  # noqa: E402
from core.mapping.ready import ready_mappings  # noqa: E402
from core.mbus.simulator import SimulatedMeter, load_meters  # noqa: E402
from core.meter import Meter  # noqa: E402
from core.profiles import RowCache  # noqa: E402
from core.push import notification, payload  # noqa: E402
from core.push.courier import Destination  # noqa: E402
from core.push.delivery import Delivered, Limits, deliver  # noqa: E402
from core.push.sender import Sender  # noqa: E402
from core.snapshot import MeterState  # noqa: E402
from core.store import Reading, Store  # noqa: E402
from core.store.outbox import NewNotification  # noqa: E402

METERS, ROWS, COLUMNS, ROUNDS = 1000, 4, 10, 5
REPORT = "load_profile_1"
PLENTY = 1 << 40
# A connection at a time, read to its end.
RECEIVER = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    with server.accept()[0] as link:
        while link.recv(1 << 18):
            pass
"""


def model() -> tuple[SimulatedMeter, MappingFile]:
    """A heat meter, and a mapping that gives it as many registers as the profile has columns beside the clock."""
    simulated = next(each for each in load_meters() if str(each.identity) == "06855817.KAM.08.04")
    (heat,) = (file for file in ready_mappings() if file.name == "heat.json")
    meter = meter_of(1, simulated)
    meter.accept(meter.decode(simulated.telegrams_at(0)), 0)
    meter.remap(heat)
    codes = {item.entry.obis_text for item in meter.pushed.objects[: COLUMNS - 1]}
    document = json.loads(json.dumps(heat.document))
    document["entries"] = [entry for entry in document["entries"] if entry["dlmsObisCode"] in codes]
    return simulated, parse_mapping(json.dumps(document), "heat.json")


async def never(meter: Meter) -> None:
    raise AssertionError(f"{meter.name} was read")


def meter_of(key: int, simulated: SimulatedMeter) -> Meter:
    config = MeterConfig(line="cellar", address=f"{20_000_000 + key}.KAM.08.04", logical_device=15 + key)
    return Meter(key, config, site=SITE, clock=FakeClock(), read=never, keys={})


class Bench:
    """The plant with its meters, and a receiver."""

    def __init__(self, store: Store, port: int) -> None:
        self.store, self.port = store, port
        self.plant = Plant(store)
        self.simulated, self.mapping = model()
        self.credentials = PlainCredentials(Policy.AUTHENTICATED_ENCRYPTED)
        self.moment = at("2025-10-24 10:00")
        self.parts: dict[str, list[float]] = {}

    async def install(self) -> None:
        plant = self.plant
        await self.store.set_profiles({1: Interval.parse("15 min")}, ZONE)
        for number in range(METERS):
            key = await self.store.install_meter("cellar", str(number), self.moment)
            meter = meter_of(key, self.simulated)
            frames = self.simulated.telegrams_at(self.moment / 1000)
            meter.accept(meter.decode(frames), self.moment)
            meter.remap(self.mapping)
            plant.meters.append(meter)
        await plant.start()
        plant.report(REPORT, "every 1 h")
        await self.store.outbox.begin_report(REPORT, 1)

    async def read(self) -> None:
        """Four rows of every meter."""
        for _ in range(ROWS):
            self.moment += 900_000
            frames = self.simulated.telegrams_at(self.moment / 1000)
            await self.store.add_readings(
                [
                    Reading(meter.key, "cellar", self.moment, MeterState.OK, frames)
                    for meter in self.plant.meters
                ]
            )
        self.plant.clock.ms = self.moment

    async def whole(self) -> float:
        """Seconds from rows in the store to the last notification delivered."""
        self.plant.cache = RowCache()
        sender = Sender(
            self.store,
            self.credentials,
            {REPORT: Destination("127.0.0.1", self.port)}.get,
            lambda: ZONE,
            self.plant.clock,
        )
        started = time.perf_counter()
        assert await self.plant.reports.put_unsent(REPORT)
        sender.start()
        await until_sent(self.store)
        seconds = time.perf_counter() - started
        await sender.close()
        return seconds

    async def take_apart(self) -> bytes:
        """Each part alone, for the same notifications; the bytes that go over the wire."""
        plant, outbox = self.plant, self.store.outbox
        plant.cache = RowCache()
        with self.part("rows from the store"):
            waiting = await outbox.unsent(REPORT)
            found = [
                (key, await outbox.unsent_rows(1, key or 0, after, 720)) for key, after in waiting.items()
            ]
        meters = {meter.key: meter for meter in plant.meters}
        with self.part("decoding and mapping"):
            encoded = [
                (meters[key or 0], rows, await plant.rows(meters[key or 0], 1).encoded(rows))
                for key, rows in found
            ]
        with self.part("bodies"):
            new = [self.new(meter, len(rows), cells) for meter, rows, cells in encoded]
        cursors = {(REPORT, key): rows[-1].reading for key, rows in found}
        with self.part("into the outbox"):
            for start in range(0, METERS, 64):
                part = new[start : start + 64]
                upto = {(REPORT, each.meter): cursors[REPORT, each.meter] for each in part}
                await outbox.enqueue(part, upto, PLENTY, 0)
        with self.part("out of the outbox, and noted"):
            outgoing = []
            while batch := await outbox.waiting(EVERY, 16, 1 << 18):
                outgoing += batch
                await outbox.delivered({each.id: each.sap for each in batch}, self.moment)
        protection = Protection(self.credentials)
        envelope = Envelope(GENERAL_GLO, AUTHENTICATED | ENCRYPTED)
        time_text = cosem_time.encode(self.moment, ZONE)
        with self.part("ciphering"):
            frames = [
                wrapper.frame(
                    each.sap,
                    1,
                    protection.cipher(notification.encode(each.id, time_text, each.body), envelope),
                )
                for each in outgoing
            ]
        with self.part("connections"):
            for start in range(0, len(frames), 16):
                await self.send(frames[start : start + 16])
        return b"".join(frames)

    def new(self, meter: Meter, rows: int, cells: Sequence[bytes]) -> NewNotification:
        codes = self.plant.facts.codes
        units = [(item.entry.scaler, item.entry.unit) for item in meter.pushed.objects]
        name = (meter.logical_device_name or "").encode()
        setup = codes.push_load_profile_1
        body = payload.profile(
            b"ELV0016000000", name, setup, codes.load_profile_1, meter.pushed.captured, cells, units
        )
        return NewNotification(REPORT, meter.key, meter.logical_device, setup, rows, 0, 0, body)

    async def send(self, frames: Sequence[bytes]) -> None:
        async def made() -> Sequence[bytes]:
            return frames

        await deliver("127.0.0.1", self.port, made, Delivered.CLOSED, Limits())

    def bare(self, data: bytes) -> float:
        """Seconds in which a bare socket writes the same bytes, and the receiver has them."""
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b""
        return time.perf_counter() - started

    def part(self, name: str) -> Part:
        return Part(self.parts.setdefault(name, []))


class Part:
    """Measures what is done within it."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds.append(time.perf_counter() - self._started)


async def measure(path: Path, port: int) -> None:
    store = await Store.open(path / "gateway.db")
    bench = Bench(store, port)
    await bench.install()
    whole, bare = [], []
    for _ in range(ROUNDS):
        await bench.read()
        whole.append(await bench.whole())
        await bench.read()
        data = await bench.take_apart()
        bare.append(min(bench.bare(data) for _ in range(3)))
    await store.close()
    ours, theirs = METERS / statistics.median(whole), METERS / statistics.median(bare)
    print(f"{METERS} notifications of {ROWS} rows x {COLUMNS} columns, {len(data) / METERS:.0f} bytes each")
    print(
        f"report made, sent, taken {ours:9.0f} /s   bare socket {theirs:9.0f} /s   ratio {ours / theirs:.4f}"
    )
    for name, seconds in bench.parts.items():
        print(f"  {name:<30} {statistics.median(seconds) * 1e6 / METERS:7.0f} µs a notification")


def main() -> None:
    with subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        try:
            with tempfile.TemporaryDirectory() as path:
                asyncio.run(measure(Path(path), int(receiver.stdout.readline())))
        finally:
            receiver.kill()


if __name__ == "__main__":
    main()
