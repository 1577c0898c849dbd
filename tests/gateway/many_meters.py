"""The state directory of a gateway with many meters: `python many_meters.py STATE_DIR [METERS]`.

The meters send the telegrams of eight real ones, each under an identification of its own, and have been read for
some hours. A register is current for a minute after the state was made, then a client's request leads to a readout,
which nobody answers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from core.config_file import ConfigFile
from core.demo import METERS
from core.logical_devices import profile_intervals
from core.mapping.model import dump
from core.mapping.ready import ready_mappings
from core.mbus.address import SecondaryAddress
from core.mbus.simulator import SimulatedMeter, load_meters
from core.mbus.telegram import decode
from core.meter import sent_fields
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store

MANY = 1000
ON_A_LINE = 250  # as many primary addresses as there are
READINGS = 8  # of each meter
QUARTER_MS = 900_000

CONFIG = """\
[gateway]
serial = "0016000000"
timezone = "Europe/Stockholm"
[dlms]
host = "127.0.0.1"
authentication = "high"
[readout]
interval = "15 min"
[profiles]
load_profile_1 = "15 min"
"""


class Installed(NamedTuple):
    """One meter of the gateway."""

    number: int
    model: SimulatedMeter  # that its telegrams are taken from
    own: bool = True  # whether it has an identification of its own

    @property
    def line(self) -> str:
        return f"line {1 + self.number // ON_A_LINE}"

    @property
    def address(self) -> SecondaryAddress:
        assert self.model.identity is not None
        if not self.own:
            return self.model.identity
        return replace(self.model.identity, identification=f"{20_000_000 + self.number}")

    def frames(self, moment_ms: int) -> tuple[bytes, ...]:
        """What the model sends then, under its identification and with a checksum that fits (EN 13757-2)."""
        identification = bytes.fromhex(self.address.identification)[::-1]
        frames = []
        for frame in self.model.telegrams_at(moment_ms / 1000):
            own = frame[:7] + identification + frame[11:-2]
            frames.append(own + bytes((sum(own[4:]) & 0xFF, 0x16)))
        return tuple(frames)


def installed(count: int) -> Iterator[Installed]:
    """Meters of all eight models in turn."""
    models = [
        meter
        for meter in load_meters()
        if meter.identity and meter.identity.identification in METERS.values()
    ]
    return (Installed(number, model) for number, model in enumerate(islice(cycle(models), count)))


def prepare(state: StateDir, count: int = MANY) -> None:
    """Make the state directory; the gateway has given out its logical device addresses, 16 and up."""
    state.create()
    meters = list(installed(count))
    lines = {meter.line: f'[[line]]\nname = "{meter.line}"\nurl = "sim:"\n' for meter in meters}
    tables = [
        f'[[meter]]\nline = "{meter.line}"\naddress = "{meter.address}"\nname = "flat {meter.number}"\n'
        f"logical_device = {16 + meter.number}\n"
        for meter in meters
    ]
    state.config.write_text("".join((CONFIG, *lines.values(), *tables)))
    for mapping in ready_mappings():
        (state.mappings / mapping.name).write_bytes(dump(mapping).encode())
    asyncio.run(_fill(state, meters))


async def _fill(state: StateDir, meters: Iterable[Installed]) -> None:
    now = time.time_ns() // 1_000_000
    store = await Store.open(state.database)
    config = ConfigFile(state.config).load()
    await store.set_profiles(profile_intervals(config), config.gateway.zone)
    await asyncio.gather(*(_enter(store, meter, now) for meter in meters))
    await store.close()


async def _enter(store: Store, meter: Installed, now: int) -> None:
    key = await store.install_meter(meter.line, str(meter.address), now)
    times = [now - QUARTER_MS * number for number in reversed(range(READINGS))]
    await store.add_readings(
        [Reading(key, meter.line, moment, MeterState.OK, meter.frames(moment)) for moment in times]
    )
    fields = sent_fields([decode(frame) for frame in meter.frames(now)])
    await store.learn_fields(key, sorted(fields))


if __name__ == "__main__":
    prepare(StateDir(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else MANY)
