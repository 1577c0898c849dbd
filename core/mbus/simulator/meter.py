"""One simulated meter: recorded telegrams whose registers go on from where the recording ended."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import CmeError
from core.mbus.address import HEADER_LENGTH
from core.mbus.frame import Frame, FrameReader, Kind, identity_of
from core.mbus.simulator.motion import Motion, motion_of
from core.mbus.telegram import Telegram, TelegramError, decode

log = logging.getLogger(__name__)

TELEGRAMS = Path(__file__).parent.parent / "telegrams"
"""The telegrams of real meters that come with the program."""

_MORE_FOLLOWS, _NO_MORE, _FILLER = 0x1F, 0x0F, 0x2F
_HEADER = 7  # bytes in front of the payload
_ACCESS_NUMBER = {0x72: 8, 0x76: 8, 0x73: 4, 0x77: 4, 0x7A: 0}  # CI -> offset in the payload


class SimulationError(CmeError):
    """A telegram or directory that no meter can be made of."""


@dataclass(frozen=True, slots=True)
class Misfortune:
    """What goes wrong at a meter."""

    dead: bool = False  # hears and says nothing
    late: float = 0.0  # seconds that every answer comes too late
    wrong_checksum: int = 0  # every n-th telegram has one, the first to begin with; 0 = none
    noise: bytes = b""  # in front of every answer


class SimulatedMeter:
    """A slave with one or more telegrams. `address` and `misfortune` may be changed at any time."""

    def __init__(
        self, telegrams: Sequence[bytes], *, address: int | None = None, misfortune: Misfortune = Misfortune()
    ) -> None:
        """`telegrams` are whole frames in the order of sending. `address` is 0..250, by default as recorded.

        Raises `SimulationError` for anything but valid telegrams.
        """
        frames = [_parse(raw) for raw in telegrams]
        if not frames:
            raise SimulationError("A simulated meter needs at least one telegram.")
        self.address = frames[0].address if address is None else address
        self.misfortune = misfortune
        self.identity = identity_of(frames[0])
        self.header = self.identity.to_bytes() if self.identity else b"\xff" * HEADER_LENGTH
        seed = zlib.crc32(self.header)
        last = len(frames) - 1
        self._pages = [_Page(frame, seed, last=index == last) for index, frame in enumerate(frames)]

    @property
    def medium(self) -> str:
        """Name of the medium, "" if the telegram has none."""
        return self._pages[0].telegram.medium

    @property
    def access_number(self) -> int:
        """The access number of the recording."""
        return self._pages[0].telegram.access_number or 0

    def __len__(self) -> int:
        return len(self._pages)

    def telegram_at(self, time: float, page: int = 0, access: int | None = None) -> bytes:
        """One whole frame as the meter sends it at `time` (seconds since 1970-01-01 UTC, from 2020 on).

        The same time gives the same telegram. `access` is the access number; by default it counts minutes.
        """
        number = int(time // 60) if access is None else access
        return self._pages[page].at(time, self.address, number & 0xFF)

    def telegrams_at(self, time: float) -> tuple[bytes, ...]:
        """All frames of one readout at `time`."""
        return tuple(self.telegram_at(time, page) for page in range(len(self._pages)))


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
    """One recorded telegram and the records in it that move."""

    def __init__(self, frame: Frame, seed: int, *, last: bool) -> None:
        try:
            self.telegram = decode(frame.raw)
        except TelegramError as error:
            raise SimulationError(f"No meter can be made of this telegram. {error}") from error
        self._raw = bytearray(frame.raw)
        # An access number is part of how a telegram is encrypted: a changed one could not be opened.
        access = None if self.telegram.encrypted else _ACCESS_NUMBER.get(frame.ci)
        self._access = None if access is None else _HEADER + access
        self._moving: list[tuple[int, int, Motion]] = []
        if self.telegram.encrypted:
            return
        if last and self.telegram.more_follows:
            self._end_here()
        for record in self.telegram.records:
            motion = motion_of(record, seed=seed, order="big" if frame.ci == 0x76 else "little")
            if motion:
                end = record.data_offset + len(record.data)
                self._moving.append((record.data_offset, end, motion))

    def at(self, time: float, address: int, access: int) -> bytes:
        raw = self._raw.copy()
        raw[5] = address
        if self._access is not None:
            raw[self._access] = access
        for start, end, motion in self._moving:
            raw[start:end] = motion(time)
        raw[-2] = sum(raw[4:-2]) & 0xFF
        return bytes(raw)

    def _end_here(self) -> None:
        """The rest of the readout was not recorded: announce no further telegram."""
        self._raw[_end_of_records(self.telegram, self._raw)] = _NO_MORE


def _end_of_records(telegram: Telegram, raw: bytearray) -> int:
    """Where the DIF 1Fh is that announces a further telegram."""
    for record in telegram.records:
        if raw[record.offset] == _MORE_FOLLOWS:
            return record.offset
    last = telegram.records[-1] if telegram.records else None
    position = last.offset + last.length if last else _HEADER + 12
    while raw[position] == _FILLER:
        position += 1
    return position


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
