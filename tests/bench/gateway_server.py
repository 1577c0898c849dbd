"""A whole gateway to be measured: `python gateway_server.py STATE_DIR`. Prints the ready line and serves.

One heat meter on a simulated line, 1000 rows of load profile 1 in the store, and a mapping of 9 registers of 32 bits,
so that a row has 10 columns and as many bytes as the peer's. The LLS password is 12345678.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from core.config_file import ConfigFile
from core.dlms.axdr import Tag
from core.interval import Interval
from core.mapping.ready import ready_mappings
from core.mbus.simulator import load_meters
from core.secrets import Secrets, save_secrets
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store

ROWS, REGISTERS = 1000, 9
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
    file.add_line({"name": "bench", "url": "sim:"})
    file.add_meter({"line": "bench", "address": METER})
    save_secrets(state.secrets, replace(Secrets.generate(), lls_password="12345678"))
    heat = next(mapping for mapping in ready_mappings() if mapping.name == "heat.json")
    entries = [
        {**entry, "dlmsDataType": Tag.DOUBLE_LONG}
        for entry in heat.document["entries"]
        if entry["dlmsObisCode"].rpartition(".")[0] in CODES
    ]
    (state.mappings / "heat.json").write_text(json.dumps({**heat.document, "entries": entries}))
    asyncio.run(fill(state))


async def fill(state: StateDir) -> None:
    meter = next(meter for meter in load_meters() if str(meter.identity) == METER)
    store = await Store.open(state.database)
    zone = ConfigFile(state.config).load().gateway.zone
    await store.set_profiles({1: Interval.parse("15 min")}, zone)
    last = time.time_ns() // 1_000_000 // QUARTER_MS * QUARTER_MS
    times = [last - QUARTER_MS * number for number in reversed(range(ROWS))]
    key = await store.install_meter("bench", METER, times[0])
    await store.add_readings(
        [Reading(key, "bench", moment, MeterState.OK, meter.telegrams_at(moment / 1000)) for moment in times]
    )
    await store.close()


if __name__ == "__main__":
    directory = sys.argv[1]
    prepare(StateDir(Path(directory)))
    arguments = ["--state-dir", directory, "--headless", "--dlms-port", "0"]
    os.execv(sys.executable, [sys.executable, "-m", "cme_tui", *arguments])
