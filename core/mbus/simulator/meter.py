"""One simulated meter: recorded telegrams whose registers go on from where the recording ended."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from core.mbus.address import HEADER_LENGTH
from core.mbus.frame import Frame, FrameReader, Kind, identity_of
from core.mbus.simulator.misfortune import UNHARMED, Misfortune, SimulationError
from core.mbus.simulator.motion import Motion, motion_of
from core.mbus.simulator.shaping import (
    MORE_FOLLOWS,
    Encryption,
    end_of_records,
    ending,
    fabrication_of,
    rebuilt,
    summed,
)
from core.mbus.telegram import Record, TelegramError, decode

log = logging.getLogger(__name__)

TELEGRAMS = Path(__file__).parent.parent / "telegrams"
"""The telegrams of real meters that come with the program."""

_NO_MORE = b"\x0f"
_HEADER = 7  # bytes in front of the payload
_ACCESS_NUMBER = {0x72: 8, 0x76: 8, 0x73: 4, 0x77: 4, 0x7A: 0}  # CI -> offset in the payload


_APPLICATIONS: dict[int, Callable[[Record], bool]] = {
    0x2: lambda record: record.storage > 0,
    0x3: lambda record: record.storage > 0,
    0x5: lambda record: record.storage == 0,
}
"""High digit of a subcode (EN 13757-3, application select) -> records that it leaves: billing, present values."""


class SimulatedMeter:
    """A slave with one or more telegrams. What its attributes say may be changed at any time."""

    def __init__(
        self,
        telegrams: Sequence[bytes],
        *,
        address: int | None = None,
        misfortune: Misfortune = UNHARMED,
        baud: int | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """`telegrams` are whole frames in the order of sending. `address` is 0..250, by default as recorded.

        `baud` is the only rate that it understands; `None` is that of the line. With `encryption` it sends its
        telegrams encrypted. Raises `SimulationError` for anything but valid telegrams, and where these cannot be
        encrypted.
        """
        self._frames = [_parse(raw) for raw in telegrams]
        if not self._frames:
            raise SimulationError("A simulated meter needs at least one telegram.")
        first = self._frames[0]
        self.address = first.address if address is None else address
        self.misfortune = misfortune
        self.baud = baud
        self.encryption = encryption
        self.application = 0
        """Subcode of the application that a master selected; 0 sends everything."""
        self.clock_ahead = 0.0
        """Seconds by which its own clock is ahead."""
        self.identity = identity_of(first)
        self.header = self.identity.to_bytes() if self.identity else b"\xff" * HEADER_LENGTH
        self._seed = zlib.crc32(self.header)
        self._pages = {0: self._make_pages(None)}
        self.fabrication = fabrication_of(self._pages[0][0].telegram)
        """Fabrication number, 4 bytes BCD, least significant first; `None` if it has none."""
        if encryption:
            for page in range(len(self)):
                self.telegram_at(0.0, page)

    @property
    def medium(self) -> str:
        """Name of the medium, "" if the telegram has none."""
        return self._pages[0][0].telegram.medium

    @property
    def access_number(self) -> int:
        """The access number of the recording."""
        return self._pages[0][0].telegram.access_number or 0

    def __len__(self) -> int:
        return len(self._frames)

    def telegram_at(self, time: float, page: int = 0, access: int | None = None, tail: bytes = b"") -> bytes:
        """One whole frame as the meter sends it at `time` (seconds since 1970-01-01 UTC, from 2020 on).

        The same time gives the same telegram. `access` is the access number; by default it counts minutes. `tail`
        stands in the place of what is behind the records.
        """
        chosen = self._pages.get(self.application)
        if chosen is None:
            wanted = _APPLICATIONS.get(self.application >> 4)
            chosen = self._pages[self.application] = self._make_pages(wanted)
        number = int(time // 60) if access is None else access
        raw = chosen[page].at(time, self.address, number & 0xFF, self.clock_ahead, tail)
        return self.encryption.seal(raw) if self.encryption else raw

    def telegrams_at(self, time: float) -> tuple[bytes, ...]:
        """All frames of one readout at `time`."""
        return tuple(self.telegram_at(time, page) for page in range(len(self)))

    def _make_pages(self, wanted: Callable[[Record], bool] | None) -> list[_Page]:
        last = len(self._frames) - 1
        return [
            _Page(frame.raw, self._seed, last=index == last, wanted=wanted)
            for index, frame in enumerate(self._frames)
        ]


def load_meters(directory: Path | None = None) -> list[SimulatedMeter]:
    """A meter for each `*.hex` file, by default those that come with the program.

    A file holds the telegrams of one meter as hex digits. Of several files with one secondary address the
    first counts, so that no two meters collide. A meter keeps its recorded primary address where that is
    usable and free, else it gets the lowest free one. Raises `SimulationError`.
    """
    where = directory or TELEGRAMS
    paths = sorted(where.glob("*.hex"))
    if not paths:
        raise SimulationError(f"There are no telegrams in {where}: it needs files *.hex.")
    meters: dict[bytes, SimulatedMeter] = {}
    for path in paths:
        telegrams = read_telegrams(path)
        try:
            meter = SimulatedMeter(telegrams)
        except SimulationError as error:
            raise SimulationError(f"{path}: {error}") from error
        if meters.setdefault(meter.header, meter) is not meter:
            log.debug("%s is left out: there is a meter %s already.", path, meter.identity)
    _spread(meters.values())
    return list(meters.values())


def read_telegrams(path: Path) -> tuple[bytes, ...]:
    """The frames in a file of hex digits; blanks and line ends do not matter. Raises `SimulationError`."""
    try:
        data = bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path} is no file of hex digits: {error}.") from error
    reader = FrameReader()
    items = [*reader.feed(data), reader.flush()]
    frames = []
    for item in items:
        if isinstance(item, Frame) and item.kind is Kind.LONG:
            frames.append(item.raw)
        elif item is not None:
            reason = "it is no telegram" if isinstance(item, Frame) else item.reason
            raise SimulationError(f"{path} holds bytes that are no telegram: {reason}.")
    return tuple(frames)


class _Page:
    """One recorded telegram, or those of its records that are wanted, and the records in it that move."""

    def __init__(
        self, raw: bytes, seed: int, *, last: bool, wanted: Callable[[Record], bool] | None = None
    ) -> None:
        try:
            self.telegram = decode(raw)
            if wanted:
                self.telegram = decode(_with_only(raw, self.telegram.records, wanted, last))
        except TelegramError as error:
            raise SimulationError(f"No meter can be made of this telegram. {error}") from error
        self._raw = bytearray(self.telegram.frame)
        ci = self._raw[6]
        # An access number is part of how a telegram is encrypted: a changed one could not be opened.
        access = None if self.telegram.encrypted else _ACCESS_NUMBER.get(ci)
        self._access = None if access is None else _HEADER + access
        self._end = end_of_records(self.telegram)
        self._moving: list[tuple[int, int, Motion, bool]] = []
        if self.telegram.encrypted:
            return
        if last and self.telegram.more_follows:
            # The rest of the readout was not recorded: announce no further telegram.
            self._raw[self._end : self._end + 1] = _NO_MORE
        for record in self.telegram.records:
            motion = motion_of(record, seed=seed, order="big" if ci == 0x76 else "little")
            if motion:
                end = record.data_offset + len(record.data)
                is_clock = record.quantity in ("date", "datetime")
                self._moving.append((record.data_offset, end, motion, is_clock))

    def at(self, time: float, address: int, access: int, clock_ahead: float, tail: bytes) -> bytes:
        raw = self._raw.copy()
        raw[5] = address
        if self._access is not None:
            raw[self._access] = access
        for start, end, motion, is_clock in self._moving:
            raw[start:end] = motion(time + clock_ahead if is_clock else time)
        if tail and self.telegram.structure == "variable":
            return ending(bytes(raw), self._end, tail)
        return summed(raw)


def _with_only(raw: bytes, records: Iterable[Record], wanted: Callable[[Record], bool], last: bool) -> bytes:
    """The telegram with the wanted ones of its records; the whole of it if there is none of them."""
    kept = b"".join(raw[r.offset : r.offset + r.length] for r in records if wanted(r))
    if not kept:
        return raw
    header = next(iter(records)).offset - _HEADER
    return rebuilt(raw, raw[_HEADER : _HEADER + header] + kept + (b"" if last else MORE_FOLLOWS))


def _parse(raw: bytes) -> Frame:
    found = FrameReader().feed(raw)
    if len(found) != 1 or not isinstance(found[0], Frame) or found[0].kind is not Kind.LONG:
        raise SimulationError("No meter can be made of bytes that are not exactly one telegram.")
    return found[0]


def _spread(meters: Iterable[SimulatedMeter]) -> None:
    """Give every meter a primary address of its own."""
    taken: set[int] = set()
    homeless = []
    for meter in meters:
        if 1 <= meter.address <= 250 and meter.address not in taken:
            taken.add(meter.address)
        else:
            homeless.append(meter)
    free = (number for number in range(1, 251) if number not in taken)
    for meter in homeless:
        meter.address = next(free, 0)
