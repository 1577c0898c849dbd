"""Keys of `cme-tui simulate`: misfortunes that come and go while the line is served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import termios
import tty
from collections.abc import Iterator

from core.mbus.simulator import SimulatedBus, SimulatedMeter
from core.mbus.simulator.misfortune import KINDS, described

_BY_KEY = {kind.key: kind for kind in KINDS}
_TOKENS = re.compile(r"\x1b\[[AB]|\x1b\[[0-9;]*[@-~]|[\s\S]")
_STEPS = {"\x1b[A": -1, "\x1b[B": 1, "-": -1, "+": 1}


@contextlib.contextmanager
def misfortune_keys(bus: SimulatedBus) -> Iterator[None]:
    """Listen to keys, where standard input is a terminal that belongs to this program; else do nothing."""
    descriptor = sys.stdin.fileno() if sys.stdin else -1
    if not os.isatty(descriptor) or os.tcgetpgrp(descriptor) != os.getpgrp():
        yield
        return
    keys = MisfortuneKeys(bus)
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(descriptor, 1024)
        if not data:
            loop.remove_reader(descriptor)
        for line in keys.press(data.decode(errors="ignore")):
            print(line, flush=True)

    tty.setcbreak(descriptor)  # keys without Enter, and Ctrl+C still ends the program
    try:
        loop.add_reader(descriptor, read)
        print(keys.guide, flush=True)
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class MisfortuneKeys:
    """What keys do to a line: a letter turns a misfortune on or off, others choose whose."""

    guide = "Keys: a letter turns a misfortune on or off (? lists them), arrows or an address choose a meter, a all"

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus
        self._meters = sorted(bus.meters, key=lambda meter: meter.address)
        self._place = 0
        self._all = False
        self._typed = ""

    def press(self, keys: str) -> list[str]:
        """Do what these keys mean; lines that say what has come of each."""
        return [line for key in _TOKENS.findall(keys) for line in self._press(key)]

    def _press(self, key: str) -> list[str]:
        if key.isascii() and key.isdigit():
            return self._choose_by_address(key)
        self._typed = ""
        if key == "?":
            return [f"  {kind.key}  {kind.name:<10} {kind.meaning}" for kind in KINDS]
        if key == "a":
            self._all = True
        elif key in _STEPS and self._meters:
            self._all = False
            self._place = (self._place + _STEPS[key]) % len(self._meters)
        elif kind := _BY_KEY.get(key):
            if kind.of_line:
                self._bus.misfortune = kind.toggled(self._bus.misfortune)
            for meter in () if kind.of_line else self._chosen():
                meter.misfortune = kind.toggled(meter.misfortune)
        else:
            return []
        return [self._state()]

    def _choose_by_address(self, digit: str) -> list[str]:
        """Digits typed one after the other are one primary address."""
        self._typed = (self._typed + digit)[-3:]
        for place, meter in enumerate(self._meters):
            if meter.address == int(self._typed):
                self._place, self._all = place, False
                return [self._state()]
        return []

    def _chosen(self) -> list[SimulatedMeter]:
        return self._meters if self._all else self._meters[self._place : self._place + 1]

    def _state(self) -> str:
        line = f"the line: {described(self._bus.misfortune) or 'well'}"
        if not self._meters:
            return line
        meter = self._meters[self._place]
        who = "all meters" if self._all else f"meter {meter.address} {meter.identity or ''}".rstrip()
        fates = {described(meter.misfortune) or "well" for meter in self._chosen()}
        return f"{who}: {fates.pop() if len(fates) == 1 else 'some are unwell'}; {line}"
