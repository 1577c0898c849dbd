"""A gateway with every telegram of the data set and coached mappings: what a DLMS client reads is exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dlms_wire import AARQ_NONE, Wire, fetch, get
from exactness import is_exact
from gateway_process import GatewayProcess

from core.dlms import axdr
from core.mapping import engine
from core.mapping.coach import Choice, Field, MeterType, entries_of, meter_type, propose, proposed
from core.mapping.folder import add_file
from core.mapping.keys import parse_key
from core.mapping.model import CLASSES
from core.mapping.ready import ready_mappings
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import Telegram, decode
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store

FIRST_DEVICE = 16
NOBODY = "tcp:127.0.0.1:1"  # a line without a level converter: clients get what was read last

_CONFIG = """
[dlms]
authentication = "none"
policy = "none"

[[line]]
name = "cellar"
url = "{url}"
"""
_METER = """
[[meter]]
line = "cellar"
address = {address}
logical_device = {device}
"""


def telegrams() -> list[Telegram]:
    """The first telegram of each file."""
    return [decode(read_telegrams(path)[0]) for path in sorted(TELEGRAMS.glob("*.hex"))]


async def remember(state: StateDir, sent: list[Telegram]) -> None:
    """A past in which each meter, at the primary addresses from 1 on, was read once."""
    now = round(time.time() * 1000)
    store = await Store.open(state.database)
    for number, telegram in enumerate(sent, 1):
        key = await store.install_meter("cellar", str(number), now)
        maker = telegram.manufacturer if telegram.manufacturer.isalpha() else ""
        identity = (telegram.identification, maker, telegram.version, telegram.medium_code)
        await store.learn_identity(key, *identity)
        await store.add_reading(Reading(key, "cellar", now, MeterState.OK, (telegram.frame,)))
    await store.close()


def coach(state: StateDir, sent: list[Telegram]) -> dict[MeterType, list[tuple[Field, Choice]]]:
    """The coached mapping of each meter type is active beside the ready ones."""
    for ready in ready_mappings():
        add_file(state.mappings, ready)
    accepted: dict[MeterType, list[tuple[Field, Choice]]] = {}
    for kind in {meter_type(telegram) for telegram in sent}:
        accepted[kind] = proposed(propose([[each] for each in sent if meter_type(each) == kind]))
        add_file(state.mappings, entries_of(accepted[kind], kind), replace=True)
    return accepted


async def test_every_value_that_a_client_reads_is_exact(
    start: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    """Value, scaler and unit over DLMS, for every field that the coach has a code for, of every telegram."""
    state, sent = StateDir(tmp_path), telegrams()
    state.create()
    meters = "".join(
        _METER.format(address=number + 1, device=FIRST_DEVICE + number) for number in range(len(sent))
    )
    state.config.write_text(_CONFIG.format(url=NOBODY) + meters)
    await remember(state, sent)
    accepted = coach(state, sent)
    gateway = start(tmp_path)
    compared = 0
    for device, telegram in enumerate(sent, FIRST_DEVICE):
        async with Wire(gateway.port, server=device) as wire:
            await wire.ask(AARQ_NONE)
            for field, choice in accepted[meter_type(telegram)]:
                found = engine.meant(parse_key(field.keys[0]), telegram.records)
                if not found or found[0].raw is None:
                    continue  # a field of another meter of this type, or without a valid value
                name = bytes(map(int, choice.obis.split(".")))
                value = await fetch(wire, get(choice.class_id, name, 2))
                scaler = unit = None
                if choice.class_id == CLASSES["register"]:
                    content = axdr.decode(await fetch(wire, get(choice.class_id, name, 3))).content
                    assert isinstance(content, tuple | list)
                    scaler, unit = (int(item.content) for item in content)
                assert is_exact(value, scaler, unit, found[0]), (telegram, field, choice, value)
                compared += 1
    assert compared > 200
