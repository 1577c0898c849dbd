"""`cme-tui meters add`, `remove`, `import`, `export` and `keys`, on a running gateway or on a stopped one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cme_tui.client import change
from cme_tui.commands.misfits import tell_misfits
from cme_tui.commands.stored import fitting, installed_at
from cme_tui.wording import count
from core.config import Config, ConfigError, MeterConfig, parse_meter
from core.config_file import ConfigFile
from core.config_tables import Addresses, InstalledAt, add_meters, meter_table, on_their_lines, remove_meters
from core.meter_list import ListedMeter, plan_import, read_keys, read_meters, written
from core.secrets import changed_secrets, ensure_secrets, load_secrets, set_secrets
from core.statedir import StateDir

_STOPPED = "No gateway is running here: this holds from the next start on."


def add(state_dir: Path, address: str, values: Mapping[str, Any]) -> int:
    """Install one meter; `values` are keys of a [[meter]], None for a default. Raises `CmeError`."""
    config, installed = installed_at(state_dir)
    given = {key: value for key, value in values.items() if value is not None}
    typed: str | int = (
        int(address) if address.isascii() and address.isdigit() and len(address) <= 3 else address
    )
    (meter,) = on_their_lines([parse_meter({"address": typed, **given}, "The meter:")], config.lines)
    Addresses(installed).take(InstalledAt(meter))
    _tell_misfits(state_dir, config, [meter])
    running = _install(state_dir, [meter])
    print(f"{meter.name or f'Meter {meter.address}'} is installed on {meter.line}.")
    if not running:
        print(_STOPPED)
    return 0


def remove(state_dir: Path, wanted: Sequence[str]) -> int:
    """Take meters out; their readings stay. Raises `CmeError`, and then none is."""
    _, installed = installed_at(state_dir)
    meters = {meter.config.place: meter.config for text in wanted for meter in [fitting(installed, text)]}

    def stopped(state: StateDir) -> None:
        ConfigFile(state.config).edited(remove_meters(list(meters)))

    devices = [meter.logical_device for meter in meters.values()]
    running = change(state_dir, stopped, "remove_meters", logical_devices=devices)
    print(f"{count(len(meters), 'meter')} removed; what was read of them stays in the database.")
    if not running:
        print(_STOPPED)
    return 0


def import_file(state_dir: Path, path: Path, *, dry_run: bool, as_json: bool) -> int:
    """Install what a list has, with its keys. Raises `CmeError`, and then nothing is."""
    config, installed = installed_at(state_dir)
    listed = read_meters(_content(path))
    plan = plan_import(listed, config, installed)
    keys = _named(listed.keys)
    _check_keys(state_dir, keys)
    new = [meter.config for meter in plan.new]
    misfits = _tell_misfits(state_dir, config, new) if new else []
    running = True
    if not dry_run:
        # Keys first: those of a meter that is not installed then do no harm.
        if keys:
            running = _save_keys(state_dir, keys)
        if new:
            running = _install(state_dir, new)
    if as_json:
        answer = {
            "installed": [_row(meter) for meter in plan.new],
            "present": [_row(meter) for meter in plan.present],
            "keys": len(keys),
            "misfits": misfits,
            "dry_run": dry_run,
        }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    _print_plan(plan.new, plan.present, len(keys), dry_run=dry_run)
    if not running:
        print(_STOPPED)
    _hint(path, keys)
    return 0


def export(state_dir: Path) -> int:
    """Print the installed meters as `import_file` takes them. Raises `CmeError`."""
    _, installed = installed_at(state_dir)
    print(written(installed), end="")
    return 0


def import_keys(state_dir: Path, path: Path) -> int:
    """Save the keys of a file, all or none. Raises `CmeError`; no message has a key."""
    keys = _named(read_keys(_content(path)))
    _check_keys(state_dir, keys)
    running = _save_keys(state_dir, keys)
    _, installed = installed_at(state_dir)
    known = {identity.identification for meter in installed if (identity := meter.known)}
    strangers = [name for name in keys if name.partition(".")[2] not in known]
    print(f"{count(len(keys), 'key')} saved.")
    if strangers:
        print(
            f"{count(len(strangers), 'key')} of meters that are not installed, or were never read, among them."
        )
    if not running:
        print(_STOPPED)
    _hint(path, keys)
    return 0


def _tell_misfits(state_dir: Path, config: Config, meters: Sequence[MeterConfig]) -> list[str]:
    with_them = dataclasses.replace(config, meters=(*config.meters, *meters))
    return tell_misfits(state_dir, with_them, meters=[meter_table(meter) for meter in meters])


def _install(state_dir: Path, meters: Sequence[MeterConfig]) -> bool:
    def stopped(state: StateDir) -> None:
        ConfigFile(state.config).edited(add_meters(meters))

    return change(state_dir, stopped, "install_meters", meters=[meter_table(meter) for meter in meters])


def _named(keys: Mapping[str, str]) -> dict[str, str]:
    return {f"meter_keys.{identification}": key for identification, key in keys.items()}


def _check_keys(state_dir: Path, keys: Mapping[str, str]) -> None:
    secrets = StateDir(state_dir).secrets
    if keys and secrets.exists():
        changed_secrets(load_secrets(secrets), keys)


def _save_keys(state_dir: Path, keys: Mapping[str, str]) -> bool:
    def stopped(state: StateDir) -> None:
        ensure_secrets(state.secrets)
        set_secrets(state.secrets, keys)

    return change(state_dir, stopped, "set_secrets", values=keys)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _print_plan(
    new: Sequence[ListedMeter], present: Sequence[ListedMeter], keys: int, *, dry_run: bool
) -> None:
    for word, meters in (
        ("would be installed" if dry_run else "installed", new),
        ("is there already", present),
    ):
        for meter in meters:
            name = f"  {meter.config.name}" if meter.config.name else ""
            print(f"row {meter.row}: {meter.config.address} on {meter.config.line}{name}: {word}")
    done = "would be" if dry_run else "were"
    print(
        f"{count(len(new), 'meter')} {done} installed, {len(present)} there already, "
        f"{count(keys, 'key')} {done} saved."
    )


def _row(meter: ListedMeter) -> dict[str, Any]:
    config = meter.config
    return {"row": meter.row, "line": config.line, "address": str(config.address), "name": config.name}


def _hint(path: Path, keys: Mapping[str, str]) -> None:
    """Keys that lie about are none."""
    if keys and path.is_file() and path.stat().st_mode & 0o077:
        print(f"Others can read {path}, which has keys: delete it, or chmod 600 it.", file=sys.stderr)
