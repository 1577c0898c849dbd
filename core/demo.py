"""The demo gateway: real meters' telegrams on a simulated line, and a past, so that profiles can be read at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from core.config import Config, ConfigError, MeterConfig
from core.interval import Interval
from core.mbus.simulator import SimulatedMeter, load_meters
from core.secrets import Secrets
from core.snapshot import MeterState, Snapshot
from core.statedir import write_atomically
from core.store import Reading, Store

log = logging.getLogger(__name__)

LINE: Final = "demo line"

METERS: Final = {
    "cold water, flat 1": "70112345",
    "warm water, flat 1": "04990254",
    "heat, whole house": "06855817",
    "heat, flat 2": "11817314",
    "electricity, lift": "00032629",
    "electricity, flat 1": "19000055",
    "gas, boiler": "10020387",
    "climate, stairwell": "54000834",
}
"""Name and identification of the demo's meters; their telegrams come with the program."""

FINE_PAST: Final = timedelta(days=3)
"""This far back every scheduled readout is there ..."""
COARSE_PAST: Final = timedelta(days=70)
"""... and this far back one a day."""

_CONFIG: Final = f"""\
# The demo gateway. Change what you like; delete the directory to have it as new.

[gateway]
name = "Demo gateway"

[dlms]
host = "127.0.0.1"
authentication = "low"            # so that any DLMS client can try it

[profiles]
load_profile_1 = "15 min"

[readout]
interval = "5 min"

[[line]]
name = "{LINE}"
url = "sim:"
"""


def write_config(path: Path) -> None:
    """Make the demo's configuration file. Raises `ConfigError`."""
    addresses = {meter.identity.identification: meter.identity for meter in load_meters() if meter.identity}
    meters = "".join(
        f'\n[[meter]]\nline = "{LINE}"\naddress = "{addresses[identification]}"\nname = "{name}"\n'
        for name, identification in METERS.items()
    )
    # In one step: whatever ends the first start, the next one finds all meters or makes the file again.
    try:
        write_atomically(path, (_CONFIG + meters).encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; free space there.") from error


async def make_past(store: Store, config: Config, zone: ZoneInfo, now_ms: int) -> None:
    """Give every simulated meter without a reading its past. Simulated meters are pure functions of time."""
    simulated = {str(meter.identity): meter for meter in load_meters()}
    lines = {line.name for line in config.lines if line.url == "sim:"}
    times = _past(config.readout.interval, zone, now_ms)
    for place, item in enumerate(config.meters):
        meter = simulated.get(str(item.address))
        if meter is None or item.line not in lines:
            continue
        key = await store.install_meter(item.line, str(item.address), now_ms)
        if await store.readings_count(key) == 0:
            readings = _readings(key, item, meter, place, times)
            await store.add_readings([reading for reading in readings if reading.time_ms < now_ms])


def how_to_connect(snapshot: Snapshot, secrets: Secrets) -> Iterable[str]:
    """Lines that say how a HES reaches the demo."""
    dlms = snapshot.dlms
    yield f"A HES connects to {dlms.host}:{dlms.port} (DLMS TCP wrapper, logical name referencing):"
    yield f"  management client 1, LLS password {secrets.lls_password}; public client 16 without authentication"
    yield "  logical device 1 is the gateway; the meters:"
    for meter in snapshot.meters:
        yield f"  {meter.logical_device:>5}  {meter.name} ({meter.manufacturer} {meter.identification})"


def _past(interval: Interval, zone: ZoneInfo, now_ms: int) -> list[int]:
    """The boundaries of a past: days far back, readout intervals of late; oldest first."""
    times = []
    moment = now_ms
    fine, coarse = (now_ms - round(span.total_seconds() * 1000) for span in (FINE_PAST, COARSE_PAST))
    day = Interval.parse("1 d")
    while (moment := (interval if moment > fine else day).boundary(moment - 1, zone)) > coarse:
        times.append(moment)
    return times[::-1]


def _readings(
    key: int, item: MeterConfig, meter: SimulatedMeter, place: int, times: list[int]
) -> list[Reading]:
    """One good readout at each time; the meters of a sweep come one after the other."""
    return [
        Reading(key, item.line, moment, MeterState.OK, meter.telegrams_at(moment / 1000))
        for moment in (time + 800 * place for time in times)
    ]
