"""Says in a few words what a request asks and what an answer says, for the trace of a line."""

from __future__ import annotations

from core.mbus.address import HEADER_LENGTH, SELECTED, SecondaryAddress
from core.mbus.frame import (
    CI_SELECT,
    FCB,
    FCV,
    REQ_UD1,
    REQ_UD2,
    RSP_UD,
    SND_NKE,
    SND_UD,
    Frame,
    FrameReader,
    Garbage,
    Kind,
)
from core.mbus.telegram import NO_MANUFACTURER, TelegramError, decode
from core.mbus.watch import Fault

_DIRECTION = 0x40
_COMMANDS = {
    0x50: "application reset",
    0x51: "data",
    0xB8: "300 baud",
    0xB9: "600 baud",
    0xBA: "1200 baud",
    0xBB: "2400 baud",
    0xBC: "4800 baud",
    0xBD: "9600 baud",
    0xBE: "19200 baud",
    0xBF: "38400 baud",
}


def request_meaning(request: bytes) -> str:
    """What a master asks: "select 12345678.HYD.25.07", "SND_NKE 5", "REQ_UD2 253 FCB 1"."""
    return ", ".join(_meaning(part) for part in _parts(request)) or "nothing"


def answer_meaning(received: bytes, fault: Fault | None) -> str:
    """What came back: "RSP_UD from 5, HYD 12345678, 14 records"; for a bad answer what is wrong, and what it has."""
    if not received:
        return str(fault or "nothing")
    said = ", ".join(_meaning(part) for part in _parts(received))
    return said if fault is None else f"{fault}: {said}"


def _parts(data: bytes) -> list[Frame | Garbage]:
    reader = FrameReader()
    rest = reader.feed(data), reader.flush()
    return [*rest[0], *([rest[1]] if rest[1] else [])]


def _meaning(part: Frame | Garbage) -> str:
    if isinstance(part, Garbage):
        return f"{len(part.raw)} bytes, {part.reason}"
    if part.kind is Kind.ACK:
        return "acknowledgement"
    if part.control & _DIRECTION:
        return _asked(part)
    if part.kind is Kind.LONG and part.control & 0x4F == RSP_UD:
        return _telegram(part)
    return f"{part.kind.value} C {part.control:02X} from {part.address}"


def _asked(frame: Frame) -> str:
    bit = f" FCB {int(bool(frame.control & FCB))}" if frame.control & FCV else ""
    name = {
        SND_NKE: "SND_NKE",
        REQ_UD1 & ~FCV: "REQ_UD1",
        REQ_UD2 & ~FCV: "REQ_UD2",
        SND_UD & ~FCV: "SND_UD",
    }.get(frame.control & ~(FCB | FCV), f"C {frame.control:02X}")
    if frame.kind is Kind.LONG and (frame.address, frame.ci) == (SELECTED, CI_SELECT):
        header = frame.payload[:HEADER_LENGTH]
        return f"select {SecondaryAddress.from_header(header)}" if len(header) == HEADER_LENGTH else "select"
    text = f"{name} {frame.address}{bit}"
    if frame.kind is Kind.LONG:
        text += f", {_COMMANDS.get(frame.ci, f'CI {frame.ci:02X}')}"
        if frame.payload:
            text += f" {frame.payload.hex(' ')}"
    return text


def _telegram(frame: Frame) -> str:
    try:
        telegram = decode(frame.raw)
    except TelegramError as error:
        return f"RSP_UD from {frame.address}, {error}"
    maker = "no manufacturer" if telegram.manufacturer == NO_MANUFACTURER else telegram.manufacturer
    who = f"{maker} {telegram.identification}".strip()
    what = "encrypted" if telegram.encrypted else f"{len(telegram.records)} records"
    more = ", more follows" if telegram.more_follows else ""
    return ", ".join(text for text in (f"RSP_UD from {frame.address}", who, what) if text) + more
