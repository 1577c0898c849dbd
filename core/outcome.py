"""What a readout came to: a state, a reason for people, and telegrams where it was good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.mbus.crypto import Seal
from core.mbus.errors import (
    Garbled,
    Incomplete,
    LineDown,
    MbusError,
    NoAnswer,
    NoData,
    RateRefused,
    WrongMeter,
)
from core.mbus.link import Readout
from core.mbus.telegram import Telegram, TelegramError
from core.mbus.watch import Fault
from core.meter import Meter
from core.snapshot import MeterState

_STATES: Final[dict[type[MbusError], MeterState]] = {
    NoAnswer: MeterState.NO_ANSWER,
    NoData: MeterState.NO_ANSWER,
    Garbled: MeterState.GARBLED,
    Incomplete: MeterState.GARBLED,
    WrongMeter: MeterState.WRONG_METER,
    LineDown: MeterState.LINE_DOWN,
    RateRefused: MeterState.LINE_DOWN,
}


_SEALS: Final[dict[Seal | None, MeterState]] = {
    Seal.NO_KEY: MeterState.NO_KEY,
    Seal.WRONG_KEY: MeterState.WRONG_KEY,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A readout, judged."""

    state: MeterState
    reason: str  # a sentence where `state` is not OK
    time_ms: int  # when it began, or when it failed
    frames: tuple[bytes, ...]  # as received, good or not
    telegrams: tuple[Telegram, ...] = ()  # of a good one, and of an encrypted one, which have no records
    fcb_fault: str = ""  # `Readout.fcb_fault`


def judge(meter: Meter, result: Readout | MbusError, now_ms: int) -> Outcome:
    """Whether what the line brought for `meter` can be used."""
    if isinstance(result, MbusError):
        state = _STATES.get(type(result), MeterState.GARBLED)
        if result.fault is Fault.COLLISION:
            state = MeterState.COLLISION
        return Outcome(state, str(result), now_ms, _bytes_of(result))
    time_ms = round(result.started * 1000)
    try:
        telegrams = meter.decode(result.frames)
    except TelegramError as error:
        return Outcome(MeterState.UNDECODABLE, str(error), time_ms, result.frames)
    for telegram in telegrams:
        if reason := _unusable(meter, telegram):
            state = _SEALS.get(telegram.seal, MeterState.UNDECODABLE)
            named = telegrams if state in _SEALS.values() else ()
            return Outcome(state, reason, time_ms, result.frames, named)
    return Outcome(MeterState.OK, "", time_ms, result.frames, telegrams, result.fcb_fault)


def _unusable(meter: Meter, telegram: Telegram) -> str:
    if telegram.application_error:
        return f"The meter reports: {telegram.application_error}."
    if telegram.alarm is not None:
        return "The meter sent an alarm instead of its values."
    name = telegram.identification or (meter.known.identification if meter.known else "")
    match telegram.seal:
        case Seal.NO_KEY:
            give = f": 'cme-tui secrets set meter_keys.{name}' gives it" if name else ""
            return f"Meter {meter.address} encrypts its telegrams, and its key is missing{give}."
        case Seal.WRONG_KEY:
            last = meter.last_opened()
            since = f" It did last on {last}: the meter has a new key, or was replaced." if last else ""
            return f"The key of meter {name} does not open its telegram.{since} Give it the right one."
    return telegram.problem


def _bytes_of(error: MbusError) -> tuple[bytes, ...]:
    match error:
        case Garbled(raw=raw):
            return (raw,)
        case Incomplete(frames=frames) | WrongMeter(frames=frames):
            return frames
    return ()
