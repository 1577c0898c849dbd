"""Decodes M-Bus telegrams (EN 13757-3): a pure function from the bytes of a long frame to exact values."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple
from zlib import adler32

from core.errors import CmeError
from core.mbus import crypto
from core.mbus.address import SecondaryAddress
from core.mbus.layout import Layout, LayoutCache
from core.mbus.medium import FIXED_MODE_2, fixed_medium_name, medium_name
from core.mbus.record import Function, Record
from core.mbus.structure import Walk, fixed_templates

__all__ = ["Function", "Layout", "Record", "Telegram", "TelegramError", "decode", "forget_layouts"]

APPLICATION_ERRORS: Final[dict[int, str]] = {
    0x00: "unspecified error",
    0x01: "CI field not implemented",
    0x02: "buffer too long, truncated",
    0x03: "too many records",
    0x04: "premature end of record",
    0x05: "more than 10 DIFEs",
    0x06: "more than 10 VIFEs",
    0x07: "reserved",
    0x08: "application too busy to handle the request",
    0x09: "too many readouts",
    0x10: "no such function",
    0x11: "no data available",
    0x12: "routing error",
    0x13: "access denied",
    0x14: "wrong parameter",
    0x15: "wrong size",
    0xF0: "dynamic application error",
}
"""Application error codes behind CI 70h (EN 13757-3, application error protocol)."""

_FRAME_OVERHEAD: Final = 6  # start, L, L, start, checksum, stop
_CONTENT: Final = 4
_CI: Final = 6
_LONG_HEADER: Final = 12
_SHORT_HEADER: Final = 4
_FIXED_LENGTH: Final = 16

_plain_layouts = LayoutCache()
_opened_layouts = LayoutCache()
_sealed_layouts = LayoutCache()


class TelegramError(CmeError):
    """The bytes are no valid M-Bus telegram."""


class Telegram(NamedTuple):
    """One decoded telegram. Immutable. What a telegram lacks is "" or 0; see `header`."""

    frame: bytes
    """As received."""
    body: bytes
    """The frame with its content decrypted; the frame itself if it was not encrypted."""
    layout: Layout
    """The structure; the same object for all telegrams of the same structure."""
    records: tuple[Record, ...]
    encrypted: bool
    """The content could not be opened: no records, and `problem` says why."""
    problem: str
    seal: crypto.Seal | None = None
    """What keeps it closed."""

    @property
    def address(self) -> int:
        """A field: primary address, 253 after secondary selection."""
        return self.frame[5]

    @property
    def ci(self) -> int:
        """CI field, of the application layer where an authentication layer (CI 90h) is in front."""
        return self.frame[self.layout.header_offset - 1]

    @property
    def structure(self) -> str:
        """ "variable", "fixed", "application error" or "alarm"."""
        return self.layout.structure

    @property
    def more_follows(self) -> bool:
        """DIF 1Fh: the meter has another telegram to be asked for."""
        return self.layout.more_follows

    @property
    def header(self) -> str:
        """Which header there is: "long" (all fields), "short" (access number, status, signature), "fixed"
        (identification, access number, status, medium) or "none". A field that it lacks is "" or 0.
        """
        return _header_of(self.ci)

    @property
    def identification(self) -> str:
        """Identification number, 8 hex digits (in practice decimal ones); "" if the header lacks it."""
        if self.header not in ("long", "fixed"):
            return ""
        return self._field(0, 4).hex().upper()

    @property
    def manufacturer(self) -> str:
        """Three letters (EN 62056-21 flag id), "" if the header lacks it."""
        return manufacturer_name(int.from_bytes(self._field(4, 2))) if self.header == "long" else ""

    @property
    def version(self) -> int:
        """Version (generation) of the meter."""
        return self._field(6, 1)[0] if self.header == "long" else 0

    @property
    def medium_code(self) -> int:
        """Device type 0..255; of a fixed data structure the medium 0..15, that of mode 2 as that of mode 1."""
        match self.header:
            case "long":
                return self._field(7, 1)[0]
            case "fixed":
                first, second = self.body[self.layout.header_offset + 6 : self.layout.header_offset + 8]
                code = first >> 6 | second >> 4 & 0xC
                return FIXED_MODE_2.get(code, code)
        return 0

    @property
    def medium(self) -> str:
        """Name of the medium: "water"; "" if the header lacks it."""
        match self.header:
            case "long":
                return medium_name(self.medium_code)
            case "fixed":
                return fixed_medium_name(self.medium_code)
        return ""

    @property
    def access_number(self) -> int:
        """Counts the meter's answers, modulo 256."""
        match self.header:
            case "long":
                return self._field(8, 1)[0]
            case "fixed":
                return self._field(4, 1)[0]
            case "short":
                return self._field(0, 1)[0]
        return 0

    @property
    def status(self) -> int:
        """Status byte (EN 13757-7, status field)."""
        match self.header:
            case "long":
                return self._field(9, 1)[0]
            case "fixed":
                return self._field(5, 1)[0]
            case "short":
                return self._field(1, 1)[0]
        return 0

    @property
    def signature(self) -> int:
        """Configuration word (in older meters a signature); 0 if the header lacks it."""
        match self.header:
            case "long":
                return int.from_bytes(self._field(10, 2))
            case "short":
                return int.from_bytes(self._field(2, 2))
        return 0

    @property
    def application_error(self) -> str:
        """Name of the error that the meter reports instead of data (CI 70h), "" for other telegrams."""
        if self.structure != "application error":
            return ""
        if len(self.frame) <= _CI + 3:
            return APPLICATION_ERRORS[0]
        code = self.frame[_CI + 1]
        return APPLICATION_ERRORS.get(code) or f"unknown application error {code:02X}h"

    @property
    def alarm(self) -> int | None:
        """Alarm status byte (CI 71h), None for other telegrams."""
        if self.structure != "alarm":
            return None
        return self.frame[_CI + 1] if len(self.frame) > _CI + 3 else 0

    @property
    def missing(self) -> int:
        """Bytes that are to be encrypted and are not there, if this is of a meter that encrypts."""
        if self.header not in ("long", "short"):
            return 0
        content = self.layout.header_offset + (_LONG_HEADER if self.header == "long" else _SHORT_HEADER)
        word = int.from_bytes(
            self.frame[content - 2 : content], "big" if _is_msb_first(self.ci) else "little"
        )
        return crypto.missing(word, content, len(self.frame) - 2)

    def _field(self, offset: int, length: int) -> bytes:
        """Bytes of the header, most significant first."""
        start = self.layout.header_offset + offset
        field = self.body[start : start + length]
        return field if _is_msb_first(self.ci) else field[::-1]


def decode(frame: bytes, key: bytes | None = None, sender: SecondaryAddress | None = None) -> Telegram:
    """Decode a whole long frame, 68h to 16h. `key`: 16 bytes, for a meter that encrypts.

    `sender` has nothing left open; it opens an encrypted telegram with a short header, which does not name it.

    A record that holds no valid value does not stop the others: it says why in `Record.error`. An encrypted
    telegram that cannot be opened has no records and says why in `Telegram.problem`. Raises `TelegramError`,
    and nothing else, for bytes that are no valid telegram.
    """
    frame = bytes(frame)
    layout = _plain_layouts.find(frame)
    if layout is not None and adler32(frame[4:-2], 0) & 0xFF == frame[-2]:
        return Telegram(frame, frame, layout, layout.read(frame), False, "")
    check_frame(frame)
    return _decode_unknown(frame, key, sender)


def forget_layouts() -> None:
    """Forget all structures seen so far; the next telegrams are taken apart anew."""
    for layouts in (_plain_layouts, _opened_layouts, _sealed_layouts):
        layouts.clear()


def check_frame(frame: bytes) -> None:
    """Check start, length, stop and checksum of a long frame (EN 13757-2); raises `TelegramError`."""
    size = len(frame)
    if size == 0:
        raise TelegramError("There is no telegram: not a single byte.")
    if frame[0] != 0x68:
        raise TelegramError(f"This is no long frame: it starts with {frame[0]:02X}h instead of 68h.")
    if size < _FRAME_OVERHEAD + 3:
        raise TelegramError(f"The frame is cut off: {size} bytes, a long frame has at least 9.")
    if frame[1] != frame[2]:
        raise TelegramError(
            f"The two length bytes differ: {frame[1]:02X}h and {frame[2]:02X}h; read the meter again."
        )
    if frame[3] != 0x68:
        raise TelegramError(
            f"The second start byte (byte 3) is {frame[3]:02X}h instead of 68h; read the meter again."
        )
    wanted = frame[1] + _FRAME_OVERHEAD
    if frame[1] < 3:
        raise TelegramError(
            f"The length byte says {frame[1]}, a long frame has at least 3 (C, A and CI field)."
        )
    if size < wanted:
        raise TelegramError(f"The frame is cut off: {size} of {wanted} bytes; read the meter again.")
    if size > wanted:
        raise TelegramError(f"There are {size - wanted} bytes behind the end of the frame (byte {wanted}).")
    if frame[-1] != 0x16:
        raise TelegramError(f"The stop byte is {frame[-1]:02X}h instead of 16h; read the meter again.")
    checksum = sum(frame[_CONTENT:-2]) & 0xFF
    if checksum != frame[-2]:
        raise TelegramError(
            f"The checksum is {frame[-2]:02X}h, the bytes give {checksum:02X}h: read the meter again."
        )


NO_MANUFACTURER: Final = "@@@"
"""`manufacturer_name` of a meter that has none: its code is 0."""


@lru_cache(maxsize=512)
def manufacturer_name(code: int) -> str:
    """Three letters of a 16-bit manufacturer code (EN 13757-3 and EN 62056-21)."""
    return "".join(chr((code >> shift & 0x1F) + 64) for shift in (10, 5, 0))


def _header_of(ci: int) -> str:
    match ci:
        case 0x72 | 0x76:
            return "long"
        case 0x73 | 0x77:
            return "fixed"
        case 0x7A:
            return "short"
    return "none"


def _is_msb_first(ci: int) -> bool:
    return ci in (0x76, 0x77)


def _decode_unknown(frame: bytes, key: bytes | None, sender: SecondaryAddress | None) -> Telegram:
    """Decode a valid frame whose structure was not seen yet, or which may be encrypted."""
    end = len(frame) - 2
    ci_at, counter = _behind_authentication(frame, end)
    ci = frame[ci_at]
    header_at = ci_at + 1
    structural = {0, 1, 2, 3, len(frame) - 1, *range(_CI, header_at)}
    match ci:
        case 0x70 | 0x71:
            layout = Layout(
                "application error" if ci == 0x70 else "alarm", frame, structural, header_offset=header_at
            )
            layout = _plain_layouts.share(layout, frame)
            return Telegram(frame, frame, layout, (), False, "")
        case 0x73 | 0x77:
            return _decode_fixed(frame, header_at, structural)
        case 0x72 | 0x76 | 0x78 | 0x7A:
            return _decode_variable(frame, header_at, structural, key, counter, sender)
    raise TelegramError(
        f"The CI field {ci:02X}h is not one that a meter answers a readout with (70h..73h, 76h..78h, 7Ah)."
    )


def _behind_authentication(frame: bytes, end: int) -> tuple[int, bytes]:
    """Offset of the application's CI field, and the message counter of an authentication layer before it.

    The layer (CI 90h, EN 13757-7 clause 6) has a length byte, a control field, and optional fields: key
    information (2), message counter (4), MAC and message length.
    """
    if frame[_CI] != 0x90:
        return _CI, bytes(4)
    if end < _CI + 2 or end <= _CI + 2 + frame[_CI + 1]:
        raise TelegramError("The telegram ends inside of its authentication layer (CI 90h).")
    ci_at = _CI + 2 + frame[_CI + 1]
    control = int.from_bytes(frame[_CI + 2 : min(_CI + 4, ci_at)], "little")
    at = _CI + 4 + (1 if control & 0x2000 else 0) + (2 if control & 0x0200 else 0)
    counter = frame[at : at + 4] if control & 0x0800 and at + 4 <= ci_at else bytes(4)
    return ci_at, counter


def _decode_fixed(frame: bytes, header_at: int, structural: set[int]) -> Telegram:
    if len(frame) - 2 - header_at != _FIXED_LENGTH:
        raise TelegramError(
            f"A fixed data structure (CI 73h) has {_FIXED_LENGTH} bytes, not {len(frame) - 2 - header_at}."
        )
    status, first, second = frame[header_at + 5 : header_at + 8]
    structural |= {header_at + 5, header_at + 6, header_at + 7}
    msb_first = _is_msb_first(frame[header_at - 1])
    templates = fixed_templates(
        (first & 0x3F, second & 0x3F),
        offset=header_at + 8,
        binary=bool(status & 0x01),
        historic=bool(status & 0x02),
        msb_first=msb_first,
    )
    layout = Layout(
        "fixed", frame, structural, header_offset=header_at, templates=tuple(templates), msb_first=msb_first
    )
    layout = _plain_layouts.share(layout, frame)
    return Telegram(frame, frame, layout, layout.read(frame), False, "")


def _decode_variable(
    frame: bytes,
    header_at: int,
    structural: set[int],
    key: bytes | None,
    counter: bytes,
    sender: SecondaryAddress | None,
) -> Telegram:
    ci = frame[header_at - 1]
    end = len(frame) - 2
    msb_first = _is_msb_first(ci)
    header = {"long": _LONG_HEADER, "short": _SHORT_HEADER, "none": 0}[_header_of(ci)]
    content = header_at + header
    if content > end:
        raise TelegramError(f"The telegram ends inside of its header: {end - header_at} of {header} bytes.")
    body, layouts = frame, _plain_layouts
    if header:
        structural |= {content - 2, content - 1}
        sealed = crypto.envelope(
            int.from_bytes(frame[content - 2 : content], "big" if msb_first else "little"), content, end
        )
        if sealed is not None:
            identity = _identity(frame, header_at, ci, sender)
            body, problem, seal = crypto.opened(frame, sealed, key, identity, counter)
            if not body:
                layout = _sealed_layouts.share(
                    Layout("variable", frame, structural, header_offset=header_at), frame
                )
                return Telegram(frame, frame, layout, (), True, problem, seal)
            content, layouts = sealed.start, _opened_layouts
            known = layouts.find(body)
            if known is not None:
                return Telegram(frame, body, known, known.read(body), False, "")
    walk = Walk(body, content, end, msb_first=msb_first)
    if walk.error:
        raise TelegramError(f"The telegram is not complete: {walk.error}.")
    layout = Layout(
        "variable",
        body,
        structural | walk.structural,
        header_offset=header_at,
        templates=tuple(walk.templates),
        more_follows=walk.more_follows,
        msb_first=msb_first,
    )
    layout = layouts.share(layout, body)
    return Telegram(frame, body, layout, layout.read(body), False, "")


def _identity(frame: bytes, header_at: int, ci: int, sender: SecondaryAddress | None) -> crypto.Identity:
    if _header_of(ci) == "short":
        if sender is not None and sender.exact:
            header = sender.to_bytes()
            return crypto.Identity(header[:4], header[4:6], header[6], header[7], frame[header_at])
        return crypto.Identity(b"", b"", 0, 0, frame[header_at])
    step = -1 if _is_msb_first(ci) else 1
    return crypto.Identity(
        identification=frame[header_at : header_at + 4][::step],
        manufacturer=frame[header_at + 4 : header_at + 6][::step],
        version=frame[header_at + 6],
        medium=frame[header_at + 7],
        access_number=frame[header_at + 8],
    )
