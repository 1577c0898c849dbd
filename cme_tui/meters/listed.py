"""A CSV file of meters or of keys, held against what is installed: what an import of it would do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cme_tui.settings.secrets import NEW_METER_KEY
from core.config import Config, ConfigError
from core.config_tables import InstalledAt
from core.mbus.address import SecondaryAddress
from core.meter_list import ListedMeter, MeterListError, plan_import, read_keys, read_meters
from core.secrets import Secrets, changed_secrets
from core.serials import Serials, parse_serials
from core.snapshot import MeterView, Snapshot

_OPEN_TO_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Import:
    """What an import would do; nothing where there are `problems`."""

    path: Path
    new: tuple[ListedMeter, ...] = ()
    present: tuple[ListedMeter, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By identification; only those that are not set like this already."""
    replaced: int = 0
    """How many of them take the place of another key."""
    problems: tuple[str, ...] = ()

    def named_keys(self) -> dict[str, str]:
        """The keys as `Gateway.set_secrets` takes them."""
        return {f"{NEW_METER_KEY}{identification}": key for identification, key in self.keys.items()}


def meters_of(path: Path, config: Config, secrets: Secrets, snapshot: Snapshot) -> Import:
    """What a list of meters, perhaps with their keys, would do. Reads the disk.

    Raises `ConfigError` where the file cannot be read; what is wrong in it are the `problems`.
    """

    def plan(data: bytes) -> Import:
        listed = read_meters(data)
        found = plan_import(listed, config, _installed(config, snapshot.meters))
        return Import(path, found.new, found.present, *_keys(listed.keys, secrets))

    return _planned(path, plan)


def keys_of(path: Path, secrets: Secrets) -> Import:
    """What a list of keys would do. Reads the disk; raises as `meters_of` does."""
    return _planned(path, lambda data: Import(path, (), (), *_keys(read_keys(data), secrets)))


def expected_of(path: Path) -> Serials:
    """The meters that a list says should be there. Reads the disk.

    Raises `CmeError`, one sentence, where the file cannot be used.
    """
    try:
        return parse_serials(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def seen_by_others(path: Path) -> bool:
    """Whether others can read a file. Reads the disk."""
    return bool(path.stat().st_mode & _OPEN_TO_OTHERS)


def _planned(path: Path, plan: Callable[[bytes], Import]) -> Import:
    try:
        return plan(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except MeterListError as error:
        return Import(path, problems=error.problems)


def _keys(keys: Mapping[str, str], secrets: Secrets) -> tuple[dict[str, str], int]:
    other = {each: key for each, key in keys.items() if secrets.meter_keys.get(each) != bytes.fromhex(key)}
    changed_secrets(
        secrets, {f"{NEW_METER_KEY}{identification}": key for identification, key in other.items()}
    )
    return other, sum(identification in secrets.meter_keys for identification in other)


def _installed(config: Config, meters: Collection[MeterView]) -> list[InstalledAt]:
    identities = {meter.logical_device: _identity(meter) for meter in meters}
    return [InstalledAt(meter, identities.get(meter.logical_device or 0)) for meter in config.meters]


def _identity(meter: MeterView) -> SecondaryAddress | None:
    if not meter.identification:
        return None
    return SecondaryAddress(
        meter.identification, meter.manufacturer or None, meter.version, meter.medium_code
    )
