"""How the screens say things: ages, durations, states and sizes as short words, never colour alone."""

from __future__ import annotations

import time
from typing import Final

from core.snapshot import LineState, MeterState, MeterView, SweepView, ValueView

SYMBOLS: Final[dict[MeterState | LineState, tuple[str, str]]] = {
    MeterState.OK: ("●", "good"),
    MeterState.WAITING: ("○", "faint"),
    MeterState.NO_ANSWER: ("✗", "bad"),
    MeterState.GARBLED: ("✗", "bad"),
    MeterState.COLLISION: ("✗", "bad"),
    MeterState.UNDECODABLE: ("!", "warn"),
    MeterState.NO_KEY: ("!", "warn"),
    MeterState.WRONG_KEY: ("!", "warn"),
    MeterState.WRONG_METER: ("!", "warn"),
    MeterState.LINE_DOWN: ("✗", "bad"),
    MeterState.DISABLED: ("-", "faint"),
    LineState.UP: ("●", "good"),
    LineState.CONNECTING: ("○", "warn"),
    LineState.DOWN: ("✗", "bad"),
}
"""Symbol and tone of every state; the word is the value of the state itself."""

FUNCTIONS: Final = {"instantaneous": "inst", "maximum": "max", "minimum": "min", "error state": "err"}
"""The function field of a DIF in four letters."""


def age(since_ms: int | None, now_ms: int, coarse: bool = False) -> str:
    """How long ago, in at most six characters; `coarse` counts seconds in tens, for slow terminals."""
    if since_ms is None:
        return "never"
    seconds = max(0, now_ms - since_ms) // 1000
    if seconds < 60:
        if coarse:
            seconds = max(10, seconds // 10 * 10)
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} d"


def until(at_ms: int | None, now_ms: int, coarse: bool = False) -> str:
    """How long until then, as `age` says it; "now" for what is due."""
    if at_ms is None:
        return "never"
    return "now" if at_ms <= now_ms else age(now_ms, at_ms, coarse)


def moment(at_ms: int | None) -> str:
    """Date and time in the time zone of this process, to the second."""
    if at_ms is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def clock(at_ms: int) -> str:
    """Time of day in the time zone of this process, to the millisecond."""
    return f"{time.strftime('%H:%M:%S', time.localtime(at_ms / 1000))}.{at_ms % 1000:03}"


def count(number: int, singular: str, plural: str = "") -> str:
    """`3 meters`, `1 meter`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def lowest(level: str) -> str:
    """The lowest authentication level that the management client may use: "low or higher"."""
    return level if level == "high" else f"{level} or higher"


def clock_offset(offset_ms: int) -> str:
    """How far the gateway's clock is from the machine's: "25 h ahead of"; "" where nobody would notice."""
    if abs(offset_ms) < 1000:
        return ""
    return f"{age(0, round(abs(offset_ms), -3))} {'ahead of' if offset_ms > 0 else 'behind'} this machine's"


def bar(done: int, total: int, width: int) -> str:
    """A progress bar of `width` cells."""
    filled = width if total <= 0 else min(width, done * width // total)
    return "█" * filled + "░" * (width - filled)


def sweep_left(sweep: SweepView, now_ms: int) -> str:
    """Time left of a running sweep, from the pace so far; "" before the first meter."""
    if sweep.done <= 0 or sweep.total <= sweep.done:
        return ""
    elapsed = max(0, now_ms - sweep.started_ms)
    seconds = -(-elapsed * (sweep.total - sweep.done) // (sweep.done * 1000))
    return f"{seconds} s" if seconds < 60 else f"{-(-seconds // 60)} min"


def state(meter: MeterView) -> tuple[str, str]:
    """Symbol with word, and the tone, of a meter's state."""
    symbol, tone = SYMBOLS[meter.state]
    return f"{symbol} {meter.state.value}", tone


def value(view: ValueView | None) -> str:
    """The number of a value, or the reason for having none."""
    if view is None:
        return ""
    return view.text or view.error


def obis(code: str) -> str:
    """`8.0.1.0.0.255` as `8-0:1.0.0`: value group F 255 means "current" and is left out (IEC 62056-61)."""
    groups = code.split(".")
    if len(groups) != 6:
        return code
    a, b, c, d, e, f = groups
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == "255" else f"*{f}")


def meter_identity(meter: MeterView) -> str:
    """`HYD 12345678`, what is printed on the meter's front."""
    return f"{meter.manufacturer or '???'} {meter.identification or '????????'}"
