"""The frames of the M-Bus link layer (EN 13757-2): building them, and finding them in a stream of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from core.errors import CmeError
from core.mbus.address import HEADER_LENGTH, SELECTED, SecondaryAddress
from core.mbus.watch import Fault

ACK = b"\xe5"
"""Single character: the slave received a frame that asks for no data."""

BITS_PER_BYTE = 11
"""On the wire: start bit, eight data bits, even parity, stop bit."""

LONGEST = 261
"""Bytes of the longest frame: four header bytes, L = 255, checksum, stop byte."""

SND_NKE = 0x40
"""C field: reset the link; the slave forgets its frame count bit and acknowledges."""
SND_UD = 0x53
"""C field with FCB = 0: user data for the slave, which acknowledges."""
REQ_UD1 = 0x5A
"""C field with FCB = 0: ask for alarm data (class 1)."""
REQ_UD2 = 0x5B
"""C field with FCB = 0: ask for user data (class 2)."""
RSP_UD = 0x08
"""C field of an answer with user data."""
FCB = 0x20
"""Frame count bit: toggled by the master for every new frame, left alone for a repetition."""
FCV = 0x10
"""Frame count bit valid: the slave compares FCB with the one before."""
CI_SELECT = 0x52
"""CI field of a selection by secondary address (EN 13757-3, 11.3)."""

_START_LONG, _START_SHORT, _STOP = 0x68, 0x10, 0x16
_SHORT_LENGTH = 5
_LONG_HEADER = 4
_OVERLAID_STARTS = ACK[0] & _START_LONG  # where two send at once, a 0 bit wins
_FABRICATION_RECORD = b"\x0c\x78"  # DIF and VIF of 8 BCD digits with the fabrication number
_OVERHEAD = 6  # bytes of a long frame that L does not count
_LEAST_L = 3  # C, A and CI
_MOST_L = 255


class FrameError(CmeError):
    """A frame that cannot be built because a field is out of range."""


class Kind(Enum):
    """The forms of a frame."""

    ACK = "acknowledgement"
    SHORT = "short frame"
    LONG = "long frame"  # a control frame is a long one without user data


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame whose start, length, checksum and stop bytes are right.

    `control` and `address` are the C and A field, -1 for an acknowledgement. `ci` is -1 except in a long
    frame, and `payload` is what follows the CI field there.
    """

    kind: Kind
    raw: bytes
    control: int = -1
    address: int = -1
    ci: int = -1
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that belong to no valid frame, and why.

    `COLLISION` stands for the shapes that two answers at once have and that a disturbed bit seldom makes: a frame that
    begins with 68h and has another framing byte wrong, or the start bytes E5h and 68h laid over each other. Two
    telegrams of one length keep their shape; they have a wrong checksum.
    """

    raw: bytes
    reason: str
    fault: Fault = Fault.NOISE


def snd_nke(address: int) -> bytes:
    """Reset the link to a slave. `address` 0..255."""
    return short_frame(SND_NKE, address)


def req_ud2(address: int, fcb: bool) -> bytes:
    """Ask a slave for user data. `address` 0..255."""
    return short_frame(REQ_UD2 | (FCB if fcb else 0), address)


def snd_ud(address: int, fcb: bool, ci: int, data: bytes = b"") -> bytes:
    """Send user data to a slave. `address` and `ci` 0..255, at most 252 bytes of data."""
    return long_frame(SND_UD | (FCB if fcb else 0), address, ci, data)


def select(address: SecondaryAddress) -> bytes:
    """Select the meters that match a secondary address, and deselect all others (EN 13757-3, 11.3).

    With a fabrication number it is the enhanced selection (11.5), which only meters know that have such a record.
    """
    extra = b""
    if address.fabrication is not None:
        extra = _FABRICATION_RECORD + bytes.fromhex(address.fabrication)[::-1]
    return snd_ud(SELECTED, False, CI_SELECT, address.to_bytes() + extra)


def short_frame(control: int, address: int) -> bytes:
    """A frame of C and A field only. Raises `FrameError` for a field beyond 0..255."""
    _require_bytes(control=control, address=address)
    return bytes((_START_SHORT, control, address, (control + address) & 0xFF, _STOP))


def long_frame(control: int, address: int, ci: int, data: bytes = b"") -> bytes:
    """A frame with user data. Raises `FrameError` for a field beyond 0..255 or over 252 bytes of data."""
    _require_bytes(control=control, address=address, ci=ci)
    length = _LEAST_L + len(data)
    if length > _MOST_L:
        raise FrameError(f"A frame takes at most 252 bytes of user data, not {len(data)}.")
    body = bytes((control, address, ci)) + data
    return bytes((_START_LONG, length, length, _START_LONG)) + body + bytes((sum(body) & 0xFF, _STOP))


def identity_of(frame: Frame) -> SecondaryAddress | None:
    """The meter that a telegram's header names; `None` if the telegram carries no identification.

    CI 72h and 76h have the whole secondary address, CI 73h and 77h (fixed structure) the identification only;
    in 76h and 77h the fields have their most significant byte first (EN 13757-3, 5.2).
    """
    header = frame.payload[:HEADER_LENGTH]
    if frame.ci in (0x72, 0x76) and len(header) == HEADER_LENGTH:
        if frame.ci == 0x76:
            header = header[3::-1] + header[5:3:-1] + header[6:]
        return SecondaryAddress.from_header(header)
    if frame.ci in (0x73, 0x77) and len(header) >= 4:
        identification = header[:4] if frame.ci == 0x77 else header[3::-1]
        return SecondaryAddress(identification.hex().upper())
    return None


class FrameReader:
    """Finds frames in received bytes, however they are cut into pieces.

    A frame ends at its length byte, so no silence has to be awaited. After bytes that fit no frame it looks
    for the next start byte. It never holds more than one frame's bytes between two calls.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def missing(self) -> int:
        """How many bytes the frame in progress still needs at least; 0 if none is in progress."""
        buffer = self._buffer
        if not buffer:
            return 0
        if buffer[0] == _START_SHORT:
            return _SHORT_LENGTH - len(buffer)
        if len(buffer) < _LONG_HEADER:
            return _LONG_HEADER + _LEAST_L + 2 - len(buffer)
        return buffer[1] + _OVERHEAD - len(buffer)

    def feed(self, data: bytes) -> list[Frame | Garbage]:
        """Take received bytes and return what became complete, in the order of reception."""
        self._buffer += data
        found: list[Frame | Garbage] = []
        skipped = bytearray()
        cause = Garbage(b"", "")
        position = 0
        while position < len(self._buffer):
            result = _examine(self._buffer, position)
            if result is None:
                break
            # What has the extent of a frame is an item of its own, even with a wrong checksum.
            if isinstance(result, Frame) or result.fault is Fault.CHECKSUM:
                _report(found, skipped, cause)
                found.append(result)
            else:
                # The first reason is the cause; what follows it is the rest of the same disturbance.
                cause = cause if skipped else result
                skipped += result.raw
            position += len(result.raw)
        _report(found, skipped, cause)
        del self._buffer[:position]
        return found

    def flush(self) -> Garbage | None:
        """Give up the frame in progress, because no more bytes come."""
        if not self._buffer:
            return None
        missing = self.missing
        raw = bytes(self._buffer)
        self._buffer.clear()
        return Garbage(raw, f"cut off after {len(raw)} bytes, at least {missing} more expected", Fault.CUT)


def _report(found: list[Frame | Garbage], skipped: bytearray, cause: Garbage) -> None:
    if skipped:
        found.append(Garbage(bytes(skipped), cause.reason, cause.fault))
        skipped.clear()


def _examine(buffer: bytearray, start: int) -> Frame | Garbage | None:
    """What begins at `start`: a frame, bytes to skip, or `None` where more bytes are needed to tell."""
    first = buffer[start]
    if first == ACK[0]:
        return Frame(Kind.ACK, ACK)
    if first == _START_SHORT:
        return _examine_short(bytes(buffer[start : start + _SHORT_LENGTH]))
    if first == _START_LONG:
        return _examine_long(buffer, start)
    raw = bytes((first,))
    if first == _OVERLAID_STARTS:
        return Garbage(raw, f"{first:02X} is E5 and 68 at once", Fault.COLLISION)
    return Garbage(raw, f"{first:02X} is no start byte")


def _examine_short(raw: bytes) -> Frame | Garbage | None:
    if len(raw) < _SHORT_LENGTH:
        return None
    if raw[4] != _STOP:
        return Garbage(raw[:1], f"stop byte {raw[4]:02X} instead of 16")
    if (raw[1] + raw[2]) & 0xFF != raw[3]:
        expected = (raw[1] + raw[2]) & 0xFF
        return Garbage(raw, f"checksum {raw[3]:02X} instead of {expected:02X}", Fault.CHECKSUM)
    return Frame(Kind.SHORT, raw, raw[1], raw[2])


def _examine_long(buffer: bytearray, start: int) -> Frame | Garbage | None:
    header = bytes(buffer[start : start + _LONG_HEADER])
    if len(header) > 1 and header[1] < _LEAST_L:
        return Garbage(header[:1], f"length byte {header[1]:02X} is below 03", Fault.COLLISION)
    if len(header) > 2 and header[1] != header[2]:
        reason = f"length bytes {header[1]:02X} and {header[2]:02X} differ"
        return Garbage(header[:1], reason, Fault.COLLISION)
    if len(header) < _LONG_HEADER:
        return None
    if header[3] != _START_LONG:
        return Garbage(header[:1], f"second start byte {header[3]:02X} instead of 68", Fault.COLLISION)
    end = start + header[1] + _OVERHEAD
    if len(buffer) < end:
        return None
    raw = bytes(buffer[start:end])
    if raw[-1] != _STOP:
        return Garbage(header[:1], f"stop byte {raw[-1]:02X} instead of 16", Fault.COLLISION)
    checksum = sum(raw[_LONG_HEADER:-2]) & 0xFF
    if checksum != raw[-2]:
        # The framing bytes all fit, so the frame's extent is known: no frame is searched for within it.
        return Garbage(raw, f"checksum {raw[-2]:02X} instead of {checksum:02X}", Fault.CHECKSUM)
    return Frame(Kind.LONG, raw, raw[4], raw[5], raw[6], raw[7:-2])


def _require_bytes(**fields: int) -> None:
    for name, value in fields.items():
        if not 0 <= value <= 0xFF:
            raise FrameError(f"The {name} field of a frame must be 0 to 255, not {value}.")
