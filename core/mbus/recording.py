"""Recordings of a line: everything that went over it, written to a file, and played again as a simulated line.

A recording is text in UTF-8, one JSON object a line. The first is the header:
`{"recording": "cme-tui line", "format": 1, "version": "0.1.0", "line": "cellar", "baud": 2400, "started": MS}`. Each
further one is a request and what came back: `time` (ms since 1970-01-01 UTC), `baud`, `purpose`, `address` of
the meter that was meant, `number` of the try, `request` and `received` (hex digits, without the echo of the request),
`echo`, `fault` (null for a good answer), `delay` (s, null where nothing came), `busy` (s), `before` (hex digits: what
came unasked before the request). Keys, passwords and names
of meters are not in it; the telegrams are those of the meters, with what these have counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from core import VERSION
from core.errors import CmeError
from core.mbus.address import SELECTED
from core.mbus.frame import ACK, BITS_PER_BYTE, CI_SELECT, FCB, FCV, REQ_UD2, SND_NKE, Frame, Kind
from core.mbus.simulator.bus import Answer, SimulatedBus
from core.mbus.simulator.misfortune import LineMisfortune
from core.mbus.simulator.serving import DELAY_BITS, DELAY_SECONDS
from core.mbus.watch import Fault, Purpose, Try

FORMAT: Final = 1
MOST_BYTES: Final = 100 << 20
"""At which a recording ends by itself; more than a week of a line at 2400 baud that never rests."""

MOST_WAITING: Final = 4 << 20
"""Bytes that may wait for a disk that is slow."""

_AFTERWARDS: Final = 0.02
"""Seconds after the end of a try at which that is played which came before the next one."""

_KIND: Final = "cme-tui line"


class RecordingError(CmeError):
    """A file that cannot be written, or that is no recording."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file has."""

    line: str
    baud: int
    started_ms: int  # since 1970-01-01 UTC
    tries: tuple[Try, ...]


class Recorder:
    """Writes the tries of a line to a file, in a thread, so that neither loop nor line wait for the disk."""

    def __init__(self, path: Path, file: BinaryIO, header: bytes, most_bytes: int) -> None:
        self.path = path
        self.recorded = 0
        """Tries that were taken."""
        self.reason = ""
        """Why it has ended by itself, a sentence; "" while it goes on."""
        self._file = file
        self._room = most_bytes
        self._waiting = bytearray()
        self._wake = asyncio.Event()
        self._closing = False
        self._put(header)
        self._task = asyncio.create_task(self._write(), name=f"recording {path}")

    @classmethod
    async def open(
        cls, path: Path, line: str, baud: int, now_ms: int, *, most_bytes: int = MOST_BYTES
    ) -> Recorder:
        """Begin a recording in a new file, mode 0600. Raises `RecordingError`, also where the file exists."""
        header = {
            "recording": _KIND,
            "format": FORMAT,
            "version": VERSION,
            "line": line,
            "baud": baud,
            "started": now_ms,
        }
        try:
            file = await asyncio.to_thread(_create, path)
        except FileExistsError:
            raise RecordingError(
                f"There is a file {path} already; give the recording another name."
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RecordingError(f"{path} cannot be written ({reason}); choose another place.") from None
        return cls(path, file, _json(header), most_bytes)

    def add(self, item: Try) -> None:
        """Take a try; never waits. Does nothing once the recording has ended."""
        if self.reason or self._closing:
            return
        if self._put(_json(_as_object(item))):
            self.recorded += 1

    async def close(self) -> None:
        """Write what waits, and close the file."""
        self._closing = True
        self._wake.set()
        await asyncio.shield(self._task)

    def _put(self, line: bytes) -> bool:
        if len(line) > self._room:
            self._end(f"The recording {self.path} has ended: it is full. Begin another one.")
        elif len(self._waiting) + len(line) > MOST_WAITING:
            self._end(f"The recording {self.path} has ended: the disk is too slow. Record to another one.")
        else:
            self._room -= len(line)
            self._waiting += line
            self._wake.set()
            return True
        return False

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._closing = True
        self._wake.set()

    async def _write(self) -> None:
        try:
            while self._waiting or not self._closing:
                await self._wake.wait()
                self._wake.clear()
                chunk, self._waiting = self._waiting, bytearray()
                await asyncio.to_thread(_append, self._file, bytes(chunk))
        except OSError as error:
            self._waiting.clear()
            self._end(
                f"The recording {self.path} has ended ({error.strerror}): free space, then begin another."
            )
        finally:
            with contextlib.suppress(OSError):  # told already
                self._file.close()


def read_recording(path: Path) -> Recording:
    """What a file has. A last line that was cut off by a crash does not count. Raises `RecordingError`."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RecordingError(f"The recording {path} cannot be read ({error.strerror}).") from None
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    header = _parse(path, 1, lines[0]) if lines else {}
    if header.get("recording") != _KIND:
        raise RecordingError(f"{path} is no recording of a line; 'cme-tui meters doctor --record' makes one.")
    if header.get("format") != FORMAT:
        raise RecordingError(
            f"The recording {path} has format {header.get('format')}, and this version reads format {FORMAT}: "
            "use the version that made it, or a newer one."
        )
    try:
        line, baud, started = str(header["line"]), int(header["baud"]), int(header["started"])
    except (KeyError, TypeError, ValueError):
        raise RecordingError(f"{path}, line 1: the header is not whole; record anew.") from None
    return Recording(
        line, baud, started, tuple(_try(path, number, text) for number, text in enumerate(lines[1:], 2))
    )


def load_recording(path: Path) -> RecordedBus:
    """A recording as a bus that can be played. Reads the whole file: not for an event loop. Raises `RecordingError`."""
    return RecordedBus(read_recording(path).tries)


class RecordedBus(SimulatedBus):
    """Answers as a recorded line did. No I/O and no waiting: `respond` says what would be heard.

    The same request gets its recorded answers in their order, and then from the first one on again; one that is
    repeated gets those that were recorded for its repetitions, or the last one again. A request to the address of
    selected meters counts together with the selection before it. What was never asked gets silence; but a
    reset of the link to a meter that once answered is acknowledged, and its telegram is given for the other frame
    count bit as well, because a recording may begin in the middle of a conversation. What came unasked before a
    request comes late after the one before it. It has no meters; the line may get an echo, noise on the idle line or a
    broken cable.

    It plays what was heard in the order of the requests, not by the clock: what came at random moments, such as noise
    or a chatty meter's telegrams, may meet other requests than it did, so that others of them have to be repeated.
    """

    def __init__(self, tries: Iterable[Try]) -> None:
        tries = list(tries)
        echo = 2 * sum(item.echo for item in tries) > len(tries)
        super().__init__((), misfortune=LineMisfortune(echo=echo))
        self._scripts: defaultdict[_Key, _Script] = defaultdict(_Script)
        self._selection = b""
        self._asked: _Key | None = None
        heard = {item.request[2] for item in tries if item.fault is None and len(item.request) == 5}
        self._alive = heard - {SELECTED}
        selection, asked = b"", None
        for item, later in zip(tries, (*(after.before for after in tries[1:]), b""), strict=False):
            selection, key = _context(selection, item.request)
            self._scripts[key].lines.append((_answer(item, later), key == asked))
            asked = key

    def respond(self, frame: Frame) -> Answer | None:
        """What a master hears after it sent `frame`; `None` for silence."""
        if self.broken:
            return None
        self._selection, key = _context(self._selection, frame.raw)
        if key not in self._scripts:
            if frame.kind is Kind.SHORT and frame.control == SND_NKE and frame.address in self._alive:
                return Answer(ACK)
            key = (key[0], _other_fcb(frame.raw))
        repeated, self._asked = key == self._asked, key
        return self._scripts[key].next(repeated=repeated) if key in self._scripts else None


_Key = tuple[bytes, bytes]
"""The selection that holds, where it matters, and the request."""


@dataclass(slots=True)
class _Script:
    """The answers to one request, each with whether the request was repeated for it."""

    lines: list[tuple[Answer | None, bool]] = field(default_factory=list)
    at: int = -1  # the last one that was given

    def next(self, *, repeated: bool) -> Answer | None:
        coming = (self.at + 1) % len(self.lines)
        if not repeated:
            fresh = (place % len(self.lines) for place in range(coming, coming + len(self.lines)))
            self.at = next((place for place in fresh if not self.lines[place][1]), coming)
        elif self.lines[coming][1]:
            self.at = coming
        return self.lines[self.at][0]


def _context(selection: bytes, request: bytes) -> tuple[bytes, _Key]:
    """The selection that holds after a request, and what its answers are kept under."""
    if request[:1] == b"\x68" and request[5:7] == bytes((SELECTED, CI_SELECT)):
        return request, (b"", request)
    to_selected = len(request) == 5 and request[2] == SELECTED
    return selection, (selection if to_selected else b"", request)


def _other_fcb(request: bytes) -> bytes:
    """The request for data with the other frame count bit; any other as it is."""
    if len(request) != 5 or request[1] & ~(FCB | FCV) != REQ_UD2 & ~FCV:
        return request
    control = request[1] ^ FCB
    return bytes((request[0], control, request[2], (control + request[2]) & 0xFF, request[4]))


def _answer(item: Try, later: bytes) -> Answer | None:
    """What came after a request, and `later` what came when nobody waited any more."""
    usual = DELAY_BITS / item.baud + DELAY_SECONDS
    if item.received:
        return Answer(item.received + later, (item.delay or 0.0) - usual)
    if not later:
        return None
    request = len(item.request) * BITS_PER_BYTE / item.baud
    return Answer(later, max(0.0, item.busy - request) + _AFTERWARDS - usual)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _append(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)
    file.flush()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _as_object(item: Try) -> dict[str, Any]:
    return {
        "time": item.time_ms,
        "baud": item.baud,
        "purpose": item.purpose.value,
        "address": item.address,
        "number": item.number,
        "request": item.request.hex(),
        "received": item.received.hex(),
        "echo": item.echo,
        "fault": None if item.fault is None else item.fault.value,
        "delay": None if item.delay is None else round(item.delay, 6),
        "busy": round(item.busy, 6),
        "before": item.before.hex(),
    }


def _try(path: Path, number: int, text: bytes) -> Try:
    item = _parse(path, number, text)
    try:
        baud, delay, busy = int(item["baud"]), item["delay"], float(item["busy"])
        if baud <= 0:
            raise ValueError(f"{baud} baud")
        return Try(
            time_ms=int(item["time"]),
            baud=baud,
            purpose=Purpose(item["purpose"]),
            address=str(item["address"]),
            number=int(item["number"]),
            request=bytes.fromhex(item["request"]),
            received=bytes.fromhex(item["received"]),
            echo=bool(item["echo"]),
            fault=None if item["fault"] is None else Fault(item["fault"]),
            delay=None if delay is None else float(delay),
            busy=busy,
            before=bytes.fromhex(item["before"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"{path}, line {number}: {error!s} is missing or wrong; record anew.") from None


def _parse(path: Path, number: int, text: bytes) -> Mapping[str, Any]:
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        item = None
    if not isinstance(item, dict):
        if number == 1:
            return {}
        raise RecordingError(f"{path}, line {number}: this is no JSON object; record anew.")
    return item
