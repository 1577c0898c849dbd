"""The logical devices that clients see now: mapping files and readings made into COSEM objects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from core.config import Config
from core.cosem.devices import Device, Directory, GatewayFacts, meter_device
from core.cosem.dialect import STANDARD, Dialect
from core.interval import Interval
from core.mapping.library import MappingSet
from core.mapping.model import MappingError, MappingFile
from core.mapping.simplified import Site
from core.mapping.translation import Translation, translate
from core.meter import Meter, Shown
from core.profiles import MeterRows, ReadingRows, RowCache, period_s
from core.store import Store

PROFILES: Final = {"load_profile_1": 1, "load_profile_2": 2, "billing_profile": 3}
"""Number of each profile in the store, by its name in the configuration and in the table of codes."""


class LogicalDevices:
    """Management and meter devices, by server SAP. Belongs to the core's event loop."""

    def __init__(self, store: Store, facts: GatewayFacts, config: Config) -> None:
        self.directory = Directory(facts)
        self._store = store
        self._facts = facts
        self._config = config
        self._mappings = MappingSet()
        self._dialect = STANDARD
        self._translations: dict[MappingFile, Translation] = {}
        self._rows = RowCache()
        self._devices: dict[int, Device] = {}
        self._made: dict[int, tuple[str, Shown]] = {}  # what the device of a meter was made of

    @property
    def mappings(self) -> MappingSet:
        """The mapping files that are used."""
        return self._mappings

    @property
    def problems(self) -> Sequence[MappingError]:
        """What is wrong with mapping files that cannot be used, or of which a part cannot."""
        translated = (problem for each in self._translations.values() for problem in each.problems)
        return (*self._mappings.problems, *translated)

    @property
    def count(self) -> int:
        """How many logical devices there are, with that of the gateway."""
        return 1 + len(self._devices)

    async def load(self, mappings: Path, dialect: Dialect, facts: GatewayFacts, config: Config) -> None:
        """Read the mapping files anew and begin afresh with another dialect, other facts or settings.

        Each meter is to be remapped then; clients see the old devices until `show`.
        """
        self._facts, self._config = facts, config
        # What did not change stays the same object: a meter keeps its choice among alternatives by it.
        known = self._translations if dialect == self._dialect else {}
        self._mappings, self._translations = await asyncio.to_thread(
            _read, mappings, self._mappings, dialect, known
        )
        self._dialect = dialect
        self._devices = {}
        self._made.clear()
        # Kept rows show zone, keys and serial of their time.
        self._rows = RowCache()

    def remap(self, meter: Meter) -> bool:
        """Map the meter's last reading; whether its logical device was made anew."""
        known = meter.known
        mapping = None
        if known is not None:
            mapping = self._mappings.match(known.medium, known.manufacturer or "", known.version)
        meter.remap(self._translations[mapping].mapping if mapping else None)
        name = meter.logical_device_name
        if name is None or self._made.get(meter.key) == (name, meter.shown):
            return False
        self._made[meter.key] = (name, meter.shown)
        self._devices[meter.logical_device] = meter_device(self._facts, meter, name, self._profiles(meter))
        return True

    def show(self) -> None:
        """Let clients see the devices as they are now."""
        self.directory.set_meters(self._facts, self._devices)

    def pushed_rows(self, meter: Meter, profile: int) -> MeterRows:
        """The rows of a profile, by its number in the store, with the columns that go into pushes."""
        site = Site(self._config.gateway.serial, self._facts.zone)
        return MeterRows(meter, profile, 0, self._store, self._rows, site, meter.pushed)

    def _profiles(self, meter: Meter) -> dict[bytes, ReadingRows]:
        """The rows of each profile by logical name; those of the mapping take no place of the gateway's own."""
        site = Site(self._config.gateway.serial, self._facts.zone)
        readout = meter.config.interval or self._config.readout.interval
        own = {
            getattr(self._facts.codes, title): MeterRows(
                meter, PROFILES[title], period_s(interval, readout), self._store, self._rows, site
            )
            for title, interval in _titled(self._config).items()
        }
        every = period_s(readout, readout)
        mapped = {
            code: ReadingRows(meter, columns, every, self._store, self._rows, site)
            for code, columns in meter.histories.items()
            if code not in own
        }
        return {**own, **mapped}


def _read(
    folder: Path, active: MappingSet, dialect: Dialect, known: Mapping[MappingFile, Translation]
) -> tuple[MappingSet, dict[MappingFile, Translation]]:
    """The active files and what clients get of each; `known` from before in this dialect."""
    mappings = MappingSet.from_directory(folder, active)
    return mappings, {file: known.get(file) or translate(file, dialect) for file in mappings.files}


def profile_intervals(config: Config) -> Mapping[int, Interval]:
    """The interval of each profile, by its number in the store."""
    return {PROFILES[title]: interval for title, interval in _titled(config).items()}


def _titled(config: Config) -> dict[str, Interval]:
    return {title: getattr(config.profiles, title) for title in PROFILES}
