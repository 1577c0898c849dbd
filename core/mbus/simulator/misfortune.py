"""What can go wrong on a simulated line: at a meter, and on the cable with its level converter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from core.errors import CmeError

FcbFault = Literal["", "ignored", "stuck", "lost"]


class SimulationError(CmeError):
    """A simulated line that cannot be made: of these telegrams, or with this misfortune."""


@dataclass(frozen=True, slots=True)
class Misfortune:
    """What goes wrong at a meter."""

    dead: bool = False  # hears and says nothing
    late: float = 0.0  # seconds that every answer comes too late
    wrong_checksum: int = 0  # every n-th telegram has one, the first to begin with; 0 = none
    noise: bytes = b""  # in front of every answer
    cut: int = 0  # bytes of a telegram after which it breaks off; 0 = none
    twin: bool = False  # another meter with the same primary and secondary address answers as well
    impostor: bool = False  # its telegrams carry another identification than the one it is selected by
    fcb: FcbFault = ""  # sends the next telegram always, the same one for ever, or begins anew with the first
    repeating: bool = False  # announces a further telegram, and sends the same one again
    endless: bool = False  # announces a further telegram for ever, and each is different
    chatty: float = 0.0  # seconds between two telegrams that it sends unasked; 0 = never


@dataclass(frozen=True, slots=True)
class LineMisfortune:
    """What goes wrong on the line as a whole."""

    echo: bool = False  # the level converter repeats every byte of the master
    noise: float = (
        0.0  # share of the answers that are disturbed, and bursts per second on the idle line; 0..1
    )
    broken: bool = False  # the cable: neither side hears the other
    loose: float = 0.0  # seconds for which the cable is broken and whole in turn, by the clock; 0 = never


UNHARMED = Misfortune()
"""Nothing is wrong with the meter ..."""
LINE_UNHARMED = LineMisfortune()
"""... or with the line."""

F = TypeVar("F", Misfortune, LineMisfortune)


@dataclass(frozen=True, slots=True)
class Kind:
    """A misfortune by the name that people give it."""

    name: str
    argument: str  # what may follow the name, "" for nothing
    meaning: str
    of_line: bool
    key: str  # the letter that turns it on and off while `cme-tui simulate` runs
    change: Callable[[str], dict[str, Any]]  # argument, "" for none -> fields

    def __call__(self, subject: F, argument: str = "") -> F:
        """`subject` with this misfortune as well. Raises `SimulationError` for a wrong argument."""
        return replace(subject, **self._fields(argument))

    def toggled(self, subject: F) -> F:
        """`subject` with this misfortune if it had none of the kind, else without."""
        wanted = self._fields("")
        calm = type(subject)()
        if any(getattr(subject, field) != getattr(calm, field) for field in wanted):
            wanted = {field: getattr(calm, field) for field in wanted}
        return replace(subject, **wanted)

    def _fields(self, argument: str) -> dict[str, Any]:
        try:
            if argument and not self.argument:
                raise ValueError
            return self.change(argument)
        except ValueError as error:
            expected = f"takes {self.argument}" if self.argument else "takes no argument"
            raise SimulationError(f"The misfortune {self.name} {expected}, not {argument!r}.") from error


def _flag(field: str) -> Callable[[str], dict[str, Any]]:
    return lambda _: {field: True}


def _number(
    field: str, convert: Callable[[str], float], default: float, most: float
) -> Callable[[str], dict[str, Any]]:
    def change(argument: str) -> dict[str, Any]:
        number = convert(argument) if argument else default
        if not 0 < number <= most:
            raise ValueError
        return {field: number}

    return change


def _noise(argument: str) -> dict[str, Any]:
    return {"noise": bytes.fromhex(argument or "00FF6811")}


def _fcb(argument: str) -> dict[str, Any]:
    if argument not in ("", "ignored", "stuck", "lost"):
        raise ValueError
    return {"fcb": argument or "ignored"}


KINDS: tuple[Kind, ...] = (
    Kind("dead", "", "hears and says nothing", False, "d", _flag("dead")),
    Kind("slow", "seconds", "answers late, but in time (0.1)", False, "s", _number("late", float, 0.1, 60)),
    Kind("late", "seconds", "answers after the time-out (0.6)", False, "l", _number("late", float, 0.6, 60)),
    Kind(
        "checksum",
        "a whole number",
        "every n-th telegram has a wrong one (1)",
        False,
        "c",
        _number("wrong_checksum", int, 1, 1000),
    ),
    Kind("garbage", "hex digits", "bytes in front of every answer (00FF6811)", False, "g", _noise),
    Kind(
        "cut",
        "a whole number",
        "telegrams break off after n bytes (20)",
        False,
        "x",
        _number("cut", int, 20, 260),
    ),
    Kind("twin", "", "a second meter has the same addresses", False, "t", _flag("twin")),
    Kind("impostor", "", "its telegrams name another meter", False, "i", _flag("impostor")),
    Kind(
        "fcb",
        "ignored, stuck or lost",
        "the frame count bit is ignored, stuck or lost (ignored)",
        False,
        "f",
        _fcb,
    ),
    Kind("repeating", "", "announces a further telegram and repeats itself", False, "r", _flag("repeating")),
    Kind("endless", "", "announces further telegrams for ever", False, "m", _flag("endless")),
    Kind(
        "chatty",
        "seconds",
        "talks unasked, once in so many (2)",
        False,
        "u",
        _number("chatty", float, 2, 3600),
    ),
    Kind("echo", "", "the converter repeats what the master sends", True, "e", _flag("echo")),
    Kind(
        "noise",
        "a share up to 1",
        "that many answers, and the idle line, are disturbed (0.2)",
        True,
        "n",
        _number("noise", float, 0.2, 1),
    ),
    Kind("broken", "", "the cable is broken", True, "b", _flag("broken")),
    Kind(
        "loose",
        "seconds",
        "the cable is whole and broken in turn, for so long (60)",
        True,
        "o",
        _number("loose", float, 60, 86400),
    ),
)
"""All misfortunes, those of a meter first."""

BY_NAME = {kind.name: kind for kind in KINDS}


def described(subject: Misfortune | LineMisfortune) -> str:
    """What is wrong, in the names of `KINDS`, with what differs from their default; "" for nothing."""
    calm = type(subject)()
    words = []
    for field in fields(subject):
        value = getattr(subject, field.name)
        if value == getattr(calm, field.name):
            continue
        name = {"wrong_checksum": "checksum"}.get(field.name, field.name)
        if isinstance(subject, Misfortune) and name == "noise":
            name = "garbage"
        text = value.hex().upper() if isinstance(value, bytes) else f"{value}"
        words.append(name if value is True else f"{name}:{re.sub(r'[.]0$', '', text)}")
    return " ".join(words)
