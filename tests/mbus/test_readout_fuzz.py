"""Readouts on lines on which everything goes wrong at once: what is stored is what the meter showed, and all of it.

The meters send real telegrams, up to three each, and many mishandle the frame count bit; requests and answers are
lost, late and disturbed. One bit of a telegram is wrong at most, so that its checksum is: what is done about those that
are right by chance has a test of its own (`test_link.py`).
"""

from __future__ import annotations

import asyncio
import random

import pytest
from fast_loop import run_fast, wall_clock
from line_rig import of_meter

from core.mbus.address import Address, PrimaryAddress, SecondaryAddress
from core.mbus.errors import MbusError
from core.mbus.exchange import LATEST
from core.mbus.frame import Frame
from core.mbus.link import Readout
from core.mbus.master import Master
from core.mbus.simulator import (
    Answer,
    LineMisfortune,
    Misfortune,
    SimulatedBus,
    SimulatedMeter,
    open_simulated,
    read_telegrams,
)
from core.mbus.simulator.misfortune import FcbFault
from core.mbus.simulator.shaping import MORE_FOLLOWS, rebuilt
from core.mbus.telegram import decode
from core.mbus.transport import Transport
from tests.conftest import TELEGRAMS

LINES = 40
METERS = 4
READOUTS = 50
"""Of all meters of a line together."""


def announcing(raw: bytes) -> bytes:
    """The telegram with the announcement of another one behind its records."""
    return rebuilt(raw, raw[7:-2] + MORE_FOLLOWS)


def can_announce(raw: bytes) -> bool:
    return len(raw) < 250 and raw[6] == 0x72 and decode(announcing(raw)).more_follows


RECORDED = [read_telegrams(path)[0] for path in sorted(TELEGRAMS.glob("*.hex"))]
SINGLE = list(
    {raw[7:15]: raw for raw in RECORDED if can_announce(raw) and not decode(raw).more_follows}.values()
)
"""Of meters of which each has an address of its own."""

FCB_FAULTS: list[FcbFault] = ["", "", "", "ignored", "ignored", "stuck", "lost"]


class Shown(SimulatedMeter):
    """A meter that remembers what it showed."""

    def __init__(self, telegrams: list[bytes], address: int, misfortune: Misfortune, *, counts: bool) -> None:
        self.shown: list[tuple[float, int, bytes]] = []  # when, which telegram, and its bytes
        self.counts = counts  # whether its access number does, as it should
        super().__init__(telegrams, address=address, misfortune=misfortune)

    def telegram_at(self, time: float, page: int = 0, access: int | None = None, tail: bytes = b"") -> bytes:
        raw = super().telegram_at(time, page, access if self.counts else 7, tail)
        self.shown.append((time, page, raw))
        return raw

    def age(self, readout: Readout, page: int) -> float | None:
        """Seconds for which a telegram was out of date when the readout began; `None` if it was never shown."""
        raw = readout.frames[page]
        times = [when for when, shown, data in self.shown if shown == page and data == raw]
        return readout.started - max(times) if times else None


class RoughBus(SimulatedBus):
    """Requests and answers get lost, are late, have a wrong bit, or other bytes around them."""

    def __init__(self, meters: list[Shown], chance: random.Random) -> None:
        super().__init__(meters, wall_clock, seed=chance.randrange(1 << 30))
        self.misfortune = LineMisfortune(
            echo=chance.random() < 0.2, loose=chance.choice((0.0, 0.0, 0.0, 0.0, 0.0, 7.0))
        )
        self.lost = chance.choice((0.0, 0.0, 0.05, 0.15, 0.3))
        self._late = chance.choice((0.0, 0.0, 0.1))
        self._noise = chance.choice((0.0, 0.0, 0.1, 0.3))
        self._chance = chance

    def respond(self, frame: Frame) -> Answer | None:
        chance = self._chance
        if chance.random() < self.lost / 2:
            return None
        answer = super().respond(frame)
        if answer is None or chance.random() < self.lost / 2:
            return None
        data, late = answer.data, answer.late
        if chance.random() < self._late:
            late += chance.uniform(0.05, LATEST)
        if chance.random() < self._noise:
            data = self._disturb(data)
        return Answer(data, late, answer.speakers)

    def _disturb(self, data: bytes) -> bytes:
        noise = self._chance.randbytes(self._chance.randint(1, 6))
        at = self._chance.randrange(len(data))
        wrong = data[:at] + bytes((data[at] ^ 1 << self._chance.randrange(8),)) + data[at + 1 :]
        return self._chance.choice((wrong, wrong, noise + data, data + noise))


def make_meter(address: int, recorded: list[bytes], chance: random.Random) -> Shown:
    """A meter that sends these telegrams, well or with some misfortune."""
    pages = [recorded[0], *(of_meter(raw, recorded[0]) for raw in recorded[1:])]
    fcb: FcbFault = chance.choice(FCB_FAULTS)
    misfortune = Misfortune(fcb=fcb, late=chance.choice((0.0,) * 12 + (0.15, 0.3, 0.6, 1.0)))
    # Who ignores the bit and does not count either cannot be told from one that sends its telegram again.
    counts = len(pages) > 1 or chance.random() < 0.8
    return Shown([*map(announcing, pages[:-1]), pages[-1]], address, misfortune, counts=counts)


async def play(seed: int) -> None:
    chance = random.Random(seed)
    recorded = chance.sample(SINGLE, 3 * METERS)
    meters = [
        make_meter(1 + at, recorded[3 * at :][: chance.choice((1, 1, 2, 3))], chance) for at in range(METERS)
    ]
    bus = RoughBus(meters, chance)

    async def opened(_url: str, baud: int) -> Transport:
        return open_simulated(bus, baud)

    def connected() -> Master:
        made = Master("sim:", 2400, open_line=opened, now=wall_clock)
        made.start()
        return made

    master, counts = connected(), [0] * METERS
    for _ in range(READOUTS):
        at = chance.randrange(METERS)
        meter = meters[at]
        identity = SecondaryAddress.from_header(meter.header)
        address: Address = chance.choice((PrimaryAddress(meter.address), identity))
        try:
            async with asyncio.timeout(chance.uniform(0, 2) if chance.random() < 0.05 else None):
                readout = await master.read(address, expected=identity, telegrams=counts[at])
        except (MbusError, TimeoutError):
            continue
        assert len(readout.frames) == len(meter)
        counts[at] = len(meter)
        for page in range(len(meter)):
            age = meter.age(readout, page)
            assert age is not None
            assert age < LATEST  # an answer that is later than that may be that of a readout before
        if chance.random() < 0.05:
            await master.close()
            master = connected()
        await asyncio.sleep(chance.choice((0, 0.5, 10, 300)))
    await master.close()
    for meter, count in zip(meters, counts, strict=True):
        assert count or meter.misfortune != Misfortune() or bus.lost > 0.05 or bus.misfortune.loose


@pytest.mark.parametrize("seed", range(LINES))
def test_what_is_stored_is_what_the_meter_showed(seed: int) -> None:
    """Every telegram of it, at the time of the readout; and a meter that is well is read on all but the worst lines."""
    run_fast(play(seed))
