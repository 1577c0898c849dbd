"""`cme-tui events`: the event logs of a running or a stopped gateway, newest last."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from core.config import Config, ConfigError, load_config
from core.cosem.base import MANAGEMENT_DEVICE
from core.events import Event, Log, event_name
from core.mbus.address import parse_address
from core.statedir import StateDir
from core.store import StoredMeter, StoreReader, open_readonly

_COLUMNS = ("time", "device", "log", "code", "name", "message")


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    identification: str
    logical_device: int | None


_GATEWAY = _Device("gateway", "", MANAGEMENT_DEVICE)


def show(state_dir: Path, *, as_json: bool, meter: str | None, log: str | None, last: int | None) -> int:
    """Print one object or one line an event. Raises `CmeError` where the state cannot be read.

    `meter`: name, identification or logical device of the one to look at; `last`: how many events at most.
    """
    state = StateDir(state_dir)
    config = load_config(state.config)
    with open_readonly(state.database) as store:
        devices = _devices(config, store.meters(removed=True))
        events = _events(store, devices, meter, Log(log) if log else None, last)
    if as_json:
        print(json.dumps([_object(event, devices) for event in events], indent=2))
    else:
        print(_table(events, devices, config.gateway.zone))
    return 0


def _events(
    store: StoreReader,
    devices: Mapping[int | None, _Device],
    meter: str | None,
    log: Log | None,
    last: int | None,
) -> list[Event]:
    if meter is None:
        return store.recent_events(last, log)
    keys = _chosen(devices, meter)
    found = [event for event in store.recent_events(None, log) if event.meter in keys]
    return found if last is None else found[-last:]


def _devices(config: Config, stored: Iterable[StoredMeter]) -> dict[int | None, _Device]:
    """By key of the meter; those that were removed go by their address."""
    installed = {(item.line, str(parse_address(str(item.address)))): item for item in config.meters}
    devices: dict[int | None, _Device] = {None: _GATEWAY}
    for record in stored:
        item = installed.get((record.line, record.address)) if record.removed_ms is None else None
        name = item.name if item and item.name else f"meter {record.address}"
        number = item.logical_device if item else record.logical_device
        devices[record.key] = _Device(name, record.identification, number)
    return devices


def _chosen(devices: Mapping[int | None, _Device], wanted: str) -> set[int | None]:
    keys = {
        key
        for key, device in devices.items()
        if wanted in (device.name, device.identification, str(device.logical_device))
    }
    if not keys:
        near = difflib.get_close_matches(wanted, [device.name for device in devices.values()], n=1)
        hint = f"did you mean {near[0]}?" if near else "'cme-tui meters list' shows what there is."
        raise ConfigError(f'--meter: there is no "{wanted}"; {hint}')
    return keys


def _object(event: Event, devices: Mapping[int | None, _Device]) -> dict[str, str | int | None]:
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


def _table(events: Iterable[Event], devices: Mapping[int | None, _Device], zone: tzinfo) -> str:
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
