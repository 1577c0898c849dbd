"""One installed meter: what it is, what it said last, and what a DLMS client gets of it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.clock import Clock
from core.config import MeterConfig
from core.cosem import datetime as cosem_time
from core.cosem.base import DataAccessError, Source
from core.cosem.profile import CaptureObject
from core.dlms.axdr import octet_string, unsigned
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError
from core.mapping import engine
from core.mapping.engine import MappedObject, MappedValue
from core.mapping.keys import Key, normal_description
from core.mapping.keys import Source as KeySource
from core.mapping.model import CLASSES, Entry, MappingFile
from core.mapping.simplified import Site
from core.mbus.address import Address, SecondaryAddress, parse_address
from core.mbus.telegram import Telegram, TelegramError, decode
from core.snapshot import MeterState

FRESH_MS: Final = 60_000
"""A client gets no older value than this without a new readout."""

FAILED_MS: Final = 10_000
"""How long a failed readout counts as the answer, so that a client that asks for 20 values of a meter that is
dead waits for one time-out and not for 20."""

CLOCK: Final = CaptureObject(8, bytes((0, 0, 1, 0, 0, 255)), 2)
_REGISTERS: Final = (CLASSES["register"], CLASSES["extended_register"])
_UNKNOWN_MAKER: Final = "XXX"

Fields = frozenset[tuple[int, str]]
"""What a meter has ever sent: number of the telegram, and DIB or description of the record."""


class Columns:
    """What a profile of one meter captures at one time; compared by identity, so that rows can be kept by it."""

    def __init__(self, objects: Iterable[MappedObject]) -> None:
        self.objects = tuple(objects)
        self.captured = (CLOCK, *(CaptureObject(item.class_id, item.obis, 2) for item in self.objects))


class Shown:
    """What the mapping gives one meter at one time; compared by identity."""

    def __init__(
        self, objects: tuple[MappedObject, ...] = (), histories: Mapping[Entry, Entry] | None = None
    ) -> None:
        """`histories`: the entry whose values each entry of class profile generic shows."""
        self.objects = objects
        self.registers = Columns(item for item in objects if item.class_id in _REGISTERS)
        pushed = tuple(item for item in self.registers.objects if item.in_push)
        # The same object where nothing is left out: rows that are kept serve both.
        self.pushed = self.registers if pushed == self.registers.objects else Columns(pushed)
        of_entries = {item.entry: item for item in objects}
        self.histories = {
            profile.obis: Columns((of_entries[entry],)) for profile, entry in (histories or {}).items()
        }


@dataclass(frozen=True, slots=True)
class LastReading:
    """The last good readout, decoded and mapped."""

    time_ms: int
    telegrams: tuple[Telegram, ...]
    values: tuple[MappedValue, ...]  # of `Meter.objects`, in that order

    def status(self, number: int) -> int:
        """Status byte of the telegram with this number, of the first one where there are fewer."""
        return self.telegrams[number if number < len(self.telegrams) else 0].status


class Meter:
    """Belongs to the core's loop. Others see it through views (`core.views`)."""

    def __init__(
        self,
        key: int,
        config: MeterConfig,
        *,
        site: Site,
        clock: Clock,
        read: Callable[[Meter], Awaitable[None]],
        keys: Mapping[str, bytes],
        identity: SecondaryAddress | None = None,
        fields: Fields = frozenset(),
    ) -> None:
        """`keys`: of encrypted meters, by identification. `identity`: what the header of the first telegram said."""
        self.key = key
        self.identity = identity
        self.fields = fields
        self.mapping: MappingFile | None = None
        self.shown = Shown()
        self.reading: LastReading | None = None
        self.state = MeterState.WAITING
        self.reason = ""
        self.last_try_ms: int | None = None
        self.next_try_ms: int | None = None  # where it is silent: when the schedule tries it again
        self.fcb_fault = ""  # how it mishandles the frame count bit, as its last good readout knew
        self._clock = clock
        self._read = read
        self.configure(config, site, keys)

    def configure(self, config: MeterConfig, site: Site, keys: Mapping[str, bytes]) -> None:
        """Take settings, which a reload may have changed, the address among them if it names the same meter."""
        assert config.logical_device is not None
        self.config = config
        self.address: Address = parse_address(str(config.address))
        self.logical_device = config.logical_device
        self._site = site
        self._keys = keys
        if not config.enabled or self.state is MeterState.DISABLED:
            self._set_state(MeterState.WAITING, "")

    @property
    def objects(self) -> tuple[MappedObject, ...]:
        """The COSEM objects that the mapping gives this meter, in the order of the mapping."""
        return self.shown.objects

    @property
    def columns(self) -> Columns:
        """What the load profiles and the billing profile capture: every register."""
        return self.shown.registers

    @property
    def pushed(self) -> Columns:
        """What goes into pushes: `columns` without those that the mapping keeps out."""
        return self.shown.pushed

    @property
    def histories(self) -> Mapping[bytes, Columns]:
        """What each profile of the mapping captures, by its logical name."""
        return self.shown.histories

    @property
    def telegrams(self) -> int:
        """How many it sent in its last good readout; 0 before that."""
        return len(self.reading.telegrams) if self.reading else 0

    @property
    def enabled(self) -> bool:
        return self.config.enabled

    @property
    def name(self) -> str:
        """The given name, else the address."""
        return self.config.name or f"meter {self.address}"

    @property
    def known(self) -> SecondaryAddress | None:
        """Identification, manufacturer, version and medium: as learned, else as far as the address says."""
        if self.identity is not None:
            return self.identity
        return self.address if isinstance(self.address, SecondaryAddress) else None

    @property
    def medium_code(self) -> int | None:
        return self.known.medium if self.known else None

    @property
    def logical_device_name(self) -> str | None:
        """Manufacturer, identification, medium and version, 15 characters; None before the meter has told them.

        A HES knows a meter by this name, so it must not change. A telegram without a long header does not tell
        all: XXX then stands for the manufacturer, the logical device address for the identification, 00 for the rest.
        """
        known = self.known
        if self.reading is None and (known is None or not known.exact):
            return None
        if known is None:
            return f"{_UNKNOWN_MAKER}{self.logical_device:08d}0000"
        maker = known.manufacturer or _UNKNOWN_MAKER
        return f"{maker}{known.identification}{known.medium or 0:02X}{known.version or 0:02X}"

    def decode(self, frames: Sequence[bytes]) -> tuple[Telegram, ...]:
        """The telegrams in `frames`, opened with the meter's key. Raises `TelegramError`."""
        return tuple(open_telegram(frame, self._keys, self.known) for frame in frames)

    def last_opened(self) -> str:
        """When the key that it has now opened a telegram last, "2026-01-09 12:00"; "" for never."""
        if self.reading is None:
            return ""
        opened = self.decode([telegram.frame for telegram in self.reading.telegrams])
        if any(telegram.encrypted for telegram in opened) or all(each.body == each.frame for each in opened):
            return ""
        return f"{datetime.fromtimestamp(self.reading.time_ms / 1000, self._site.zone):%Y-%m-%d %H:%M}"

    def accept(self, telegrams: tuple[Telegram, ...], time_ms: int) -> None:
        """Take a good readout as the current one; `remap` then works out its values."""
        self._set_state(MeterState.OK, "")
        self.last_try_ms = time_ms
        self.fields |= sent_fields(telegrams)
        self.reading = LastReading(time_ms, telegrams, ())

    def fail(self, state: MeterState, reason: str, time_ms: int) -> None:
        """Note a readout that failed; the last good one stays."""
        self._set_state(state, reason)
        self.last_try_ms = time_ms

    def _set_state(self, state: MeterState, reason: str) -> None:
        # A readout that ends after the meter was disabled, or one of the past, does not enable it.
        self.state, self.reason = (state, reason) if self.enabled else (MeterState.DISABLED, "")

    def remap(self, mapping: MappingFile | None) -> None:
        """Use `mapping` from now on; `shown` stays the same object where nothing in it changes."""
        before, self.mapping = self.mapping, mapping
        if self.reading is None or mapping is None:
            if self.objects:
                self.shown = Shown()
            return
        values: list[MappedValue] = []
        readout = engine.Readout(self.reading.telegrams, self.reading.time_ms)
        current = frozenset(item.entry for item in self.objects)
        for value in engine.evaluate(mapping, readout, self._site, current):
            entry = value.object.entry
            if value.object.held or entry.default is not None or was_sent(entry, self.fields):
                values.append(value)
        objects = tuple(value.object for value in values)
        entries = [item.entry for item in objects]
        if mapping is not before or entries != [item.entry for item in self.objects]:
            self.shown = Shown(objects, engine.histories(mapping, entries))
        self.reading = LastReading(self.reading.time_ms, self.reading.telegrams, tuple(values))

    def source(self, position: int) -> Source:
        """Attribute 2 of `objects[position]`: at once while the reading is fresh, else after a readout."""
        wanted = self.objects[position]
        return self._fresh(lambda: self._encoded(wanted, position))

    def status_source(self, position: int) -> Source:
        """The M-Bus status byte of the telegram that `source` shows a value of, unsigned."""
        number = self.objects[position].entry.telegram
        return self._fresh(lambda: unsigned(self._last().status(number)))

    def capture_time_source(self) -> Source:
        """When the reading that `source` shows was taken, date-time in an octet-string."""
        return self._fresh(lambda: octet_string(cosem_time.encode(self._last().time_ms, self._site.zone)))

    def _fresh(self, get: Callable[[], bytes]) -> Source:
        def read() -> bytes | Awaitable[bytes]:
            return get() if self._is_settled() else self._after_readout(get)

        return read  # type: ignore[return-value]  # a union of results, not of functions

    def _is_settled(self) -> bool:
        """Whether a client gets what is there: it is fresh, or trying again just now would not help."""
        now = self._clock.now_ms()
        if self.reading is not None and 0 <= now - self.reading.time_ms <= FRESH_MS:
            return True
        failed = self.state is not MeterState.OK and self.last_try_ms is not None
        return failed and 0 <= now - (self.last_try_ms or 0) <= FAILED_MS

    async def _after_readout(self, get: Callable[[], bytes]) -> bytes:
        # Disabled, removed, or not stored: the last known value is all there is.
        with contextlib.suppress(CmeError):
            await self._read(self)
        return get()

    def _encoded(self, wanted: MappedObject, position: int) -> bytes:
        reading = self._last()
        if position >= len(self.objects) or not _is_same(self.objects[position], wanted):
            # The mapping changed while the client waited: its scaler may not be the one that the client knows.
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        encoded = reading.values[position].encoded
        if encoded is None:
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        return encoded

    def _last(self) -> LastReading:
        if self.reading is None:
            raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE)
        return self.reading


def open_telegram(
    frame: bytes, keys: Mapping[str, bytes], sender: SecondaryAddress | None = None
) -> Telegram:
    """The telegram in a frame, opened with the key of its meter where that is among `keys`, by identification.

    `sender`: who sent it, where it does not say so itself. Raises `TelegramError`.
    """
    telegram = decode(frame)
    key = keys.get(telegram.identification or (sender.identification if sender else ""))
    if key and telegram.encrypted:
        return decode(frame, key, sender)
    if key and telegram.missing:
        raise TelegramError(
            f"The telegram is cut off: it lacks {telegram.missing} of its encrypted bytes; read the meter again."
        )
    return telegram


def _is_same(one: MappedObject, other: MappedObject) -> bool:
    """Whether a client sees the same object; reading the mapping files again makes others of the same content."""
    return (one.obis, one.class_id, one.scaler, one.unit) == (
        other.obis,
        other.class_id,
        other.scaler,
        other.unit,
    )


def sent_fields(telegrams: Sequence[Telegram]) -> Fields:
    """DIB and description of every record, so that any kind of mapping key can be looked up later."""
    return frozenset(
        (number, text)
        for number, telegram in enumerate(telegrams)
        for record in telegram.records
        for text in (
            record.dib,
            _described(record.description, record.storage, record.tariff, record.subunit, record.function),
        )
    )


def was_sent(entry: Entry, fields: Fields) -> bool:
    """Whether the meter has ever sent what the entry shows."""
    return any((entry.telegram, _field(key)) in fields for key in entry.keys)


def _field(key: Key) -> str:
    if key.source is KeySource.DIB:
        return key.dib
    return _described(key.description, key.storage, key.tariff, key.subunit, key.function)


def _described(description: str, storage: int, tariff: int, subunit: int, function: int) -> str:
    return f"{normal_description(description)}.{storage}.{tariff}.{subunit}.{int(function)}"
