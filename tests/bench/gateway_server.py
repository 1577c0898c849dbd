"""A whole gateway to be measured: `python gateway_server.py STATE_DIR`. Prints the ready line and serves.

Heat meters on a simulated line, where the first one answers, each with 1000 rows of load profile 1 in the store, and a
mapping of 9 registers of 32 bits, so that a row has 10 columns and as many bytes as the peer's. Password and keys are
those of the bench's client.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "gateway"))

from dlms_link import AUTHENTICATION_KEY, ENCRYPTION_KEY, PASSWORD
from many_meters import Installed

from core.config import MeterConfig
from core.config_file import ConfigFile
from core.config_tables import add_meters, set_line
from core.dlms.axdr import Tag
from core.interval import Interval
from core.mapping.ready import ready_mappings
from core.mbus.simulator import load_meters
from core.secrets import Secrets, save_secrets
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store

ROWS, REGISTERS, METERS = 1000, 9, 8
METER = "06855817.KAM.08.04"
CODES = (
    "6.0.1.0.0",
    "6.0.1.0.1",
    "6.0.1.0.2",
    "6.0.2.0.0",
    "6.0.8.0.0",
    "6.0.9.0.0",
    "6.0.10.0.0",
    "6.0.11.0.0",
    "6.0.12.0.0",
)
QUARTER_MS = 900_000


def prepare(state: StateDir) -> None:
    state.create()
    file = ConfigFile(state.config)
    file.set_values(
        {
            "dlms.authentication": "low",
            "dlms.host": "127.0.0.1",
            "profiles.load_profile_1": "15 min",
            "gateway.timezone": "Europe/Stockholm",
        }
    )
    file.edited(set_line(None, {"name": "bench", "url": "sim:"}))
    file.edited(add_meters([MeterConfig(line="bench", address=str(meter.address)) for meter in meters()]))
    secrets = replace(
        Secrets.generate(),
        lls_password=PASSWORD,
        encryption_key=ENCRYPTION_KEY,
        authentication_key=AUTHENTICATION_KEY,
    )
    save_secrets(state.secrets, secrets)
    heat = next(mapping for mapping in ready_mappings() if mapping.name == "heat.json")
    entries = [
        {**entry, "dlmsDataType": Tag.DOUBLE_LONG}
        for entry in heat.document["entries"]
        if entry["dlmsObisCode"].rpartition(".")[0] in CODES
    ]
    (state.mappings / "heat.json").write_text(json.dumps({**heat.document, "entries": entries}))
    asyncio.run(fill(state))


def meters() -> list[Installed]:
    """The one that answers, and others that send the same under identifications of their own."""
    model = next(meter for meter in load_meters() if str(meter.identity) == METER)
    return [Installed(number, model, own=number > 0) for number in range(METERS)]


async def fill(state: StateDir) -> None:
    store = await Store.open(state.database)
    zone = ConfigFile(state.config).load().gateway.zone
    await store.set_profiles({1: Interval.parse("15 min")}, zone)
    last = time.time_ns() // 1_000_000 // QUARTER_MS * QUARTER_MS
    times = [last - QUARTER_MS * number for number in reversed(range(ROWS))]
    for meter in meters():
        key = await store.install_meter("bench", str(meter.address), times[0])
        await store.add_readings(
            [Reading(key, "bench", moment, MeterState.OK, meter.frames(moment)) for moment in times]
        )
    await store.close()


if __name__ == "__main__":
    directory = sys.argv[1]
    prepare(StateDir(Path(directory)))
    arguments = ["--state-dir", directory, "--headless", "--dlms-port", "0"]
    os.execv(sys.executable, [sys.executable, "-m", "cme_tui", *arguments])
