"""The installed meters of a state directory with their last good readouts, whether its gateway runs or not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cme_tui.event_file import GATEWAY, Device, removed_meter
from core.config import Config, ConfigError, MeterConfig, load_config
from core.config_tables import InstalledAt
from core.mapping.engine import Readout
from core.mapping.lint import MeterReadout
from core.mapping.simplified import Site
from core.mapping.workshop import InstalledMeter
from core.mbus.address import SecondaryAddress, parse_address
from core.meter import open_telegram
from core.secrets import load_secrets
from core.statedir import StateDir
from core.store import StoredMeter, open_readonly


def installed_meters(state_dir: Path) -> list[InstalledMeter]:
    """Every configured meter, in the order of the configuration. Raises `CmeError` where the state cannot be read."""
    state = StateDir(state_dir)
    config = load_config(state.config)
    if not state.database.exists():
        return [_meter(item, None, None) for item in config.meters]
    keys = load_secrets(state.secrets).meter_keys if state.secrets.exists() else {}
    site = Site(config.gateway.serial, config.gateway.zone)
    with open_readonly(state.database) as store:
        stored = {(meter.line, meter.address): meter for meter in store.meters()}
        readings = store.latest_all()
    meters: list[InstalledMeter] = []
    for item in config.meters:
        record = stored.get((item.line, str(parse_address(str(item.address)))))
        reading = readings.get(record.key) if record else None
        readout = (
            Readout(tuple(open_telegram(frame, keys) for frame in reading.frames), reading.time_ms)
            if reading
            else None
        )
        meters.append(_meter(item, record, MeterReadout(_name(item), readout, site) if readout else None))
    return meters


def installed_at(state_dir: Path) -> tuple[Config, list[InstalledAt]]:
    """The configuration, and its meters with who they are as far as that is known. Raises `CmeError`."""
    state = StateDir(state_dir)
    config = load_config(state.config)
    identities: dict[tuple[str, str], SecondaryAddress | None] = {}
    if state.database.exists():
        with open_readonly(state.database) as store:
            identities = {(meter.line, meter.address): meter.identity for meter in store.meters()}
    return config, [InstalledAt(meter, identities.get(meter.place)) for meter in config.meters]


def fitting(
    installed: Iterable[InstalledAt], wanted: str, else_say: str = "'cme-tui meters list' shows what there is"
) -> InstalledAt:
    """The meter with this name, identification, address or logical device. Raises `ConfigError` if not exactly one."""
    found = [
        meter
        for meter in installed
        if wanted
        in (
            meter.config.name,
            meter.config.place[1] if "." in wanted else "",
            meter.known.identification if meter.known else "",
            str(meter.config.logical_device),
        )
    ]
    if len(found) != 1:
        raise ConfigError(
            f'{len(found)} meters are called "{wanted}"; name one by its logical device.'
            if found
            else f'There is no meter "{wanted}"; {else_say}.'
        )
    return found[0]


def chosen(meters: Iterable[InstalledMeter], wanted: Sequence[str]) -> list[InstalledMeter]:
    """Those with one of these names, identifications or logical devices. Raises `ConfigError` for one that is not."""
    known = list(meters)
    found: list[InstalledMeter] = []
    for text in wanted:
        fitting = [
            each for each in known if text in (each.name, each.identification, str(each.logical_device))
        ]
        if not fitting:
            near = difflib.get_close_matches(text, [each.name for each in known], n=1)
            hint = f"did you mean {near[0]}?" if near else "'cme-tui meters list' shows what there is."
            raise ConfigError(f'--meter: there is no "{text}"; {hint}')
        found += fitting
    return found


def devices_of(config: Config, stored: Iterable[StoredMeter]) -> dict[int | None, Device]:
    """By key of the meter; those that were removed go by their address."""
    installed = {(item.line, str(parse_address(str(item.address)))): item for item in config.meters}
    devices: dict[int | None, Device] = {None: GATEWAY}
    for record in stored:
        devices[record.key] = removed_meter(record)
        item = installed.get((record.line, record.address))
        if item is not None and record.removed_ms is None:
            name = item.name or devices[record.key].name
            devices[record.key] = Device(name, record.identification, item.logical_device)
    return devices


def chosen_devices(devices: Mapping[int | None, Device], wanted: str) -> set[int | None]:
    """Keys of those with this name, identification or logical device. Raises `ConfigError` where there is none."""
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


def _meter(item: MeterConfig, record: StoredMeter | None, last: MeterReadout | None) -> InstalledMeter:
    address = parse_address(str(item.address))
    identification = address.identification if isinstance(address, SecondaryAddress) else ""
    identity = None
    if record is not None and record.identification:
        identification = record.identification
    if last is not None:
        first = last.readout.telegrams[0]
        identification = identification or first.identification
        identity = (first.medium_code, first.manufacturer, first.version)
    return InstalledMeter(_name(item), identification, item.logical_device, identity, last)


def _name(item: MeterConfig) -> str:
    return item.name or f"meter {item.address}"
