"""`cme-tui events`: the event logs of a running or a stopped gateway, newest last, and what a code means."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from textwrap import wrap
from typing import Literal

from cme_tui.commands.arguments import METER, add_gateway, number, state_dir
from cme_tui.commands.stored import chosen_devices, devices_of
from cme_tui.event_file import Device, event_csv
from core.config import load_config
from core.events import Event, Log, event_name, log_of
from core.events.codes import METER_STATUS
from core.events.meaning import meaning, status_bits
from core.statedir import StateDir
from core.store import Origin, StoreReader, open_readonly

_COLUMNS = ("time", "device", "log", "code", "name", "message")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_gateway(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true", help="for spreadsheets, times with their offset from UTC")
    parser.add_argument(
        "--meter",
        metavar=METER,
        default=None,
        help="of this one only; LD is a logical device, 1 the gateway",
    )
    parser.add_argument("--log", choices=("standard", "fraud"), default=None)
    parser.add_argument(
        "--last", type=number(1, 1_000_000), metavar="N", default=None, help="the newest N only"
    )
    parser.add_argument(
        "--explain",
        type=number(0, 65535),
        metavar="CODE",
        help="print cause of an event code and what to do, no events",
    )


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    if arguments.explain is not None:
        return explain(arguments.explain, as_json=arguments.json)
    return show(
        state_dir(arguments),
        form="json" if arguments.json else "csv" if arguments.csv else "table",
        meter=arguments.meter,
        log=arguments.log,
        last=arguments.last,
    )


def show(
    state_dir: Path,
    *,
    form: Literal["table", "json", "csv"],
    meter: str | None,
    log: str | None,
    last: int | None,
) -> int:
    """Print one object, row or line an event. Raises `CmeError` where the state cannot be read.

    `meter`: name, identification or logical device of the one to look at; `last`: how many events at most.
    """
    state = StateDir(state_dir)
    config = load_config(state.config)
    with open_readonly(state.database) as store:
        devices = devices_of(config, store.meters(removed=True))
        events = _events(store, devices, meter, Log(log) if log else None, last)
    match form:
        case "json":
            print(json.dumps([_object(event, devices) for event in events], indent=2))
        case "csv":
            sys.stdout.write(event_csv(events, devices, config.gateway.zone))
        case _:
            print(_table(events, devices, config.gateway.zone))
    return 0


def explain(code: int, *, as_json: bool) -> int:
    """Print what an event code means, its cause and what to do. Returns 0."""
    said = meaning(code)
    bits = status_bits(code - METER_STATUS) if METER_STATUS <= code <= METER_STATUS + 0xFF else ()
    if as_json:
        print(
            json.dumps(
                {
                    "code": code,
                    "name": event_name(code),
                    "gateway_log": log_of(code, None).value,
                    "cause": said.cause,
                    "action": said.action,
                    "status": [bit._asdict() for bit in bits],
                },
                indent=2,
            )
        )
        return 0
    print(f"{code} {event_name(code)}")
    for heading, text in (("Cause", said.cause), ("What to do", said.action)):
        print(f"\n{heading}\n" + "\n".join(wrap(text, 78, initial_indent="  ", subsequent_indent="  ")))
    if bits:
        print("\nStatus byte\n" + "\n".join(f"  {bit.bits:<9} {bit.value:<4} {bit.says}" for bit in bits))
    return 0


def _events(
    store: StoreReader,
    devices: Mapping[int | None, Device],
    meter: str | None,
    log: Log | None,
    last: int | None,
) -> list[Event]:
    if meter is None:
        return store.recent_events(last, origin=Origin(log=log))
    keys = chosen_devices(devices, meter)
    found = [event for event in store.recent_events(origin=Origin(log=log)) if event.meter in keys]
    return found if last is None else found[-last:]


def _object(event: Event, devices: Mapping[int | None, Device]) -> dict[str, str | int | None]:
    device = devices[event.meter]
    time = datetime.fromtimestamp(event.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "time": time.replace("+00:00", "Z"),
        "device": device.name,
        "logical_device": device.logical_device,
        "log": event.log.value,
        "code": event.code,
        "name": event_name(event.code),
        "message": event.message,
    }


def _table(events: Iterable[Event], devices: Mapping[int | None, Device], zone: tzinfo) -> str:
    cells = [_COLUMNS]
    for event in events:
        # With the offset: in autumn one hour comes twice.
        time = datetime.fromtimestamp(event.time_ms // 1000, zone).isoformat(" ")
        name = devices[event.meter].name
        cells.append((time, name, event.log.value, str(event.code), event_name(event.code), event.message))
    if len(cells) == 1:
        return "There are no events."
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
