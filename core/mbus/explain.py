"""Says what every byte of a telegram means, for the screen that shows a telegram beside its values."""

from __future__ import annotations

from typing import Final

from core.mbus import vif
from core.mbus.address import HEADER_LENGTH, SecondaryAddress
from core.mbus.medium import medium_name
from core.mbus.record import Record, Template
from core.mbus.structure import Walk
from core.mbus.telegram import NO_MANUFACTURER, Telegram, TelegramError, decode
from core.snapshot import TelegramPart

_C_FIELDS: Final = {
    0x08: "RSP_UD, answer with data",
    0x18: "RSP_UD, answer with data, access demand",
    0x28: "RSP_UD, answer with data, flow control",
    0x38: "RSP_UD, answer with data, access demand and flow control",
    0x53: "SND_UD, data to the meter",
    0x73: "SND_UD, data to the meter",
}
_CI_FIELDS: Final = {
    0x70: "application error",
    0x71: "alarm",
    0x72: "variable data, long header",
    0x73: "fixed data",
    0x76: "variable data, long header, most significant byte first",
    0x77: "fixed data, most significant byte first",
    0x78: "variable data without a header",
    0x7A: "variable data, short header",
    0x90: "authentication and fragmentation layer",
}
_REQUESTS: Final = {
    0x40: "SND_NKE, reset the link",
    0x5A: "REQ_UD1, ask for alarms",
    0x5B: "REQ_UD2, ask for data",
}
"""C fields of short frames, with FCB 0."""
_COMMANDS: Final = {
    0x50: "application reset or select",
    0x51: "data for the meter",
    0x52: "select by secondary address",
    0x55: "data for the meter, most significant byte first",
    0x56: "select by secondary address, most significant byte first",
    **{0xB8 + n: f"switch to {300 << n} baud" for n in range(8)},
}
"""CI fields of what a master sends (EN 13757-3, table of CI fields)."""
_ACK: Final = 0xE5
_FCB: Final = 0x20
_STATUS_BITS: Final = (
    (0x04, "power low"),
    (0x08, "permanent error"),
    (0x10, "temporary error"),
)
_STATUS_CODES: Final = ("no error", "application busy", "application error", "abnormal condition or alarm")
_DATA_FIELDS: Final = (
    "no data",
    "8-bit integer",
    "16-bit integer",
    "24-bit integer",
    "32-bit integer",
    "32-bit real number",
    "48-bit integer",
    "64-bit integer",
    "selection for readout",
    "2-digit BCD",
    "4-digit BCD",
    "6-digit BCD",
    "8-digit BCD",
    "variable length",
    "12-digit BCD",
    "special function",
)
_LINK_END: Final = 6
_TAIL: Final = 2


def explain(source: Telegram | bytes) -> tuple[TelegramPart, ...]:
    """Every byte of a telegram or frame, in order and without gaps, in words.

    A frame that cannot be decoded is explained as far as possible. Never raises.
    """
    if isinstance(source, Telegram):
        return _explain_telegram(source)
    frame = bytes(source)
    if frame == bytes((_ACK,)):
        return (TelegramPart(0, 1, "acknowledgement", "received, nothing to send", None),)
    if len(frame) == 5 and frame[0] == 0x10:
        return _explain_short(frame)
    try:
        return _explain_telegram(decode(frame))
    except TelegramError as error:
        return _explain_broken(frame, str(error))


def status_text(status: int) -> str:
    """What the bits of a status byte say (EN 13757-3, status field): "power low, temporary error"."""
    words = [_STATUS_CODES[status & 3]] if status & 3 else []
    words += [name for bit, name in _STATUS_BITS if status & bit]
    if status & 0xE0:
        words.append(f"manufacturer's bits {status >> 5:03b}b")
    return ", ".join(words) or _STATUS_CODES[0]


class _Parts:
    """Collects parts in order and leaves no gaps."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.parts: list[TelegramPart] = []
        self.at = 0

    def add(self, length: int, label: str, meaning: str, record: int | None = None) -> None:
        """The next `length` bytes, or as many as there are."""
        length = min(length, len(self.frame) - self.at)
        if length > 0:
            self.parts.append(TelegramPart(self.at, length, label, meaning, record))
            self.at += length

    def fill(self, stop: int, label: str, meaning: str) -> None:
        """Everything up to `stop` that is not explained yet; filler bytes under their own name."""
        while self.at < stop:
            run = self.at
            filler = self.frame[run] == 0x2F
            while run < stop and (self.frame[run] == 0x2F) == filler:
                run += 1
            if filler:
                self.add(run - self.at, "filler", "fills up the telegram, means nothing")
            else:
                self.add(run - self.at, label, meaning)


def _explain_telegram(telegram: Telegram) -> tuple[TelegramPart, ...]:
    parts = _Parts(telegram.frame)
    body = telegram.body
    end = len(body) - _TAIL
    _link(parts)
    header_at = telegram.layout.header_offset
    if header_at - 1 > _LINK_END:
        parts.add(header_at - 1 - _LINK_END, "authentication layer", "message counter and authentication")
    parts.add(1, "CI field", _CI_FIELDS[telegram.ci])
    match telegram.structure:
        case "application error":
            parts.add(min(1, end - parts.at), "error code", telegram.application_error)
            parts.add(end - parts.at, "details", "manufacturer specific")
        case "alarm":
            parts.add(min(1, end - parts.at), "alarm status", f"{telegram.alarm:08b}b")
            parts.add(end - parts.at, "details", "manufacturer specific")
        case _:
            _header(parts, telegram)
            if telegram.encrypted:
                parts.add(end - parts.at, "encrypted content", telegram.problem)
            _records(parts, telegram.records, end)
    _tail(parts)
    return tuple(parts.parts)


def _explain_short(frame: bytes) -> tuple[TelegramPart, ...]:
    parts = _Parts(frame)
    count = ", frame count bit 1" if frame[1] & _FCB and frame[1] != 0x40 else ""
    right = (frame[1] + frame[2]) & 0xFF
    parts.add(1, "start", "begin of a short frame")
    parts.add(1, "C field", f"{_REQUESTS.get(frame[1] & ~_FCB, 'control')}{count}")
    parts.add(1, "A field", _address_words(frame[2]))
    parts.add(1, "checksum", "right" if frame[3] == right else f"wrong, the bytes give {right:02X}h")
    parts.add(1, "stop", "end of the frame" if frame[4] == 0x16 else "not 16h")
    return tuple(parts.parts)


def _explain_broken(frame: bytes, error: str) -> tuple[TelegramPart, ...]:
    parts = _Parts(frame)
    if frame[:1] != b"\x68" or frame[3:4] not in (b"\x68", b""):
        parts.add(len(frame), "bytes", error)
        return tuple(parts.parts)
    _link(parts)
    whole = len(frame) > _LINK_END + _TAIL and frame[1] == frame[2] == len(frame) - _LINK_END
    end = len(frame) - _TAIL if whole else len(frame)
    if end > _LINK_END:
        ci = frame[_LINK_END]
        parts.add(1, "CI field", _CI_FIELDS.get(ci, _COMMANDS.get(ci, "not known")))
        if ci in _COMMANDS:
            _command(parts, ci, end)
        length = {0x72: 12, 0x76: 12, 0x78: 0, 0x7A: 4}.get(ci)
        if length is not None:
            parts.add(min(length, end - parts.at), "header", "identification, status and the like")
            walk = Walk(frame, parts.at, end, msb_first=ci == 0x76)
            _records(parts, tuple(walk.templates), end, error)
        parts.fill(end, "not readable", error)
    if whole:
        _tail(parts)
    return tuple(parts.parts)


def _link(parts: _Parts) -> None:
    frame = parts.frame
    parts.add(1, "start", "begin of a long frame")
    parts.add(1, "L field", f"{frame[1]} bytes from C field to checksum" if len(frame) > 1 else "")
    parts.add(1, "L field", "repeated")
    parts.add(1, "start", "repeated")
    if len(frame) > 4:
        parts.add(1, "C field", _C_FIELDS.get(frame[4], "control"))
    if len(frame) > 5:
        parts.add(1, "A field", _address_words(frame[5]))


def _address_words(address: int) -> str:
    names = {
        253: "the selected meter",
        254: "every meter, which all answer",
        255: "every meter, none answers",
    }
    return names.get(address, f"primary address {address}")


def _command(parts: _Parts, ci: int, end: int) -> None:
    """What a master's frame says after its CI field."""
    if ci in (0x52, 0x56) and end - parts.at >= HEADER_LENGTH:
        wanted = SecondaryAddress.from_header(parts.frame[parts.at : parts.at + HEADER_LENGTH])
        for length, label, meaning in (
            (4, "identification", f"{wanted.identification}, F for any digit"),
            (2, "manufacturer", wanted.manufacturer or "any"),
            (1, "version", "any" if wanted.version is None else str(wanted.version)),
            (1, "medium", "any" if wanted.medium is None else medium_name(wanted.medium)),
        ):
            parts.add(length, label, meaning)
    elif ci == 0x50:
        parts.add(1, "subcode", "which application")
    if ci in (0x51, 0x52, 0x56):
        walk = Walk(parts.frame, parts.at, end, msb_first=False)
        _records(parts, tuple(walk.templates), end, "no record")


def _tail(parts: _Parts) -> None:
    frame = parts.frame
    right = sum(frame[4:-_TAIL]) & 0xFF
    parts.add(1, "checksum", "right" if frame[-2] == right else f"wrong, the bytes give {right:02X}h")
    parts.add(1, "stop", "end of the frame")


def _header(parts: _Parts, telegram: Telegram) -> None:
    match telegram.header:
        case "long":
            parts.add(4, "identification", telegram.identification)
            parts.add(2, "manufacturer", telegram.manufacturer.replace(NO_MANUFACTURER, "none"))
            parts.add(1, "version", str(telegram.version))
            parts.add(1, "medium", telegram.medium)
            parts.add(1, "access number", str(telegram.access_number))
            parts.add(1, "status", status_text(telegram.status))
            parts.add(2, "signature", f"{telegram.signature:04X}h")
        case "short":
            parts.add(1, "access number", str(telegram.access_number))
            parts.add(1, "status", status_text(telegram.status))
            parts.add(2, "signature", f"{telegram.signature:04X}h")
        case "fixed":
            parts.add(4, "identification", telegram.identification)
            parts.add(1, "access number", str(telegram.access_number))
            counting = "binary" if telegram.status & 1 else "BCD"
            parts.add(1, "status", f"{telegram.status:02X}h, counters are {counting}")
            parts.add(2, "medium and units", telegram.medium)


def _records(
    parts: _Parts, records: tuple[Record, ...] | tuple[Template, ...], end: int, error: str = ""
) -> None:
    for record in records:
        template = record.template if isinstance(record, Record) else record
        parts.fill(template.offset, "configuration", "more about the encryption")
        n = template.index
        _information(parts, template)
        parts.add(template.data_offset - parts.at, "length byte", f"{template.data_length} bytes of data", n)
        if isinstance(record, Record):
            said = f"{record.value_text} {record.unit}".rstrip() if record.raw is not None else record.error
            label = "not readable" if template.quantity == "unreadable" else "data"
            parts.add(template.data_length, label, said, n)
        else:
            parts.add(template.data_length, "data", template.description, n)
    parts.fill(end, "not readable", error)


def _information(parts: _Parts, template: Template) -> None:
    """DIF, DIFEs, VIF, VIFEs and the plain text of a record."""
    n = template.index
    if template.dif_length == 0:
        return
    if template.vif_length == 0:
        more = ", another telegram follows" if template.dif_hex == "1f" else ""
        parts.add(1, "DIF", f"manufacturer's own data up to the end{more}", n)
        return
    dif = bytes.fromhex(template.dif_hex)
    parts.add(1, "DIF", f"{_DATA_FIELDS[dif[0] & 0x0F]}, {template.function.label}", n)
    places = f"storage {template.storage}, tariff {template.tariff}, subunit {template.subunit}"
    for _ in dif[1:]:
        parts.add(1, "DIFE", places, n)
    vib = bytes.fromhex(template.vif_hex)
    old_text = template.text_offset == parts.at + 1
    parts.add(1, "VIF", _vif_words(vib, template.text), n)
    if old_text:
        _plain_text(parts, template)
    for length in range(2, len(vib) + 1):
        parts.add(1, "VIFE", _vife_words(vib, length, template.text), n)
    if template.text_offset and not old_text:
        _plain_text(parts, template)


def _plain_text(parts: _Parts, template: Template) -> None:
    parts.add(1, "text length", f"{len(template.text)} characters", template.index)
    parts.add(len(template.text), "text", template.text, template.index)


def _vif_words(vib: bytes, text: str) -> str:
    if vib[0] in (0xFB, 0xFD) and len(vib) > 1:
        return "the quantity is in the next byte"
    return _scaled_words(vif.resolve(vib[:1], text))


def _vife_words(vib: bytes, length: int, text: str) -> str:
    """What the last of the first `length` bytes adds to those before it."""
    before, after = vif.resolve(vib[: length - 1], text), vif.resolve(vib[:length], text)
    if vib[0] in (0xFB, 0xFD) and (length == 2 or (length == 3 and vib[:2] == b"\xfd\xfd")):
        if vib[:2] == b"\xfd\xfd" and length == 2 and len(vib) > 2:
            return "the quantity is in the next byte"
        return _scaled_words(after)
    new = after.modifiers[len(before.modifiers) :]
    if new:
        return " ".join(new)
    if after.modifiers != before.modifiers and after.modifiers:
        return after.modifiers[-1]
    if after.exponent != before.exponent:
        return f"times 10^{after.exponent - before.exponent}"
    return "says more about the quantity"


def _scaled_words(meaning: vif.Meaning) -> str:
    if not meaning.unit and not meaning.exponent:
        return meaning.quantity
    factor = f"10^{meaning.exponent} " if meaning.exponent else ""
    return f"{meaning.quantity}, {factor}{meaning.unit}".rstrip()
