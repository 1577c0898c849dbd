"""The desk of a client process: takes orders from stdin, one JSON object a line, and answers each with one line.

`{"name": client, "do": what, "args": [...], "named": {...}}`; "open" and "tour" make the client of that name, from
`Choice` in "named". `{"ok": value}` or `{"error": {"type": ..., "text": ..., ...}}` comes back; bytes go there as
`{"octets": hex}` and come back as hex, moments go there as `{"moment": ISO 8601}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tour import Choice, Client, tour

_TOUR = ("start", "end", "entries", "channels")


class Desk:
    """The clients of one process, by name."""

    def __init__(self, make: Callable[[Choice], Client]) -> None:
        self._make = make
        self._clients: dict[str, Client] = {}
        self._keys: dict[str, tuple[bytes, bytes]] = {}
        self._counters: dict[
            tuple[bytes, bytes], int
        ] = {}  # by title and encryption key; go on over associations

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        name, do = order["name"], order["do"]
        args, named = given(order["args"]), given(order["named"])
        try:
            if do in ("open", "tour"):
                wanted = {key: named.pop(key) for key in list(named) if key not in _TOUR}
                client = self._new(name, Choice(**wanted))
                result = client.open() if do == "open" else tour(client, **named)
            else:
                result = getattr(self._clients[name], do)(*args, **named)
            return {"ok": plain(result)}
        except Exception as error:
            told = {"type": type(error).__name__, "text": str(error)}
            return {"error": told | self._clients[name].explain(error)}
        finally:
            self._counters[self._keys[name]] = self._clients[name].counter()

    def _new(self, name: str, choice: Choice) -> Client:
        if name in self._clients:
            self._clients[name].drop()
        key = self._keys[name] = choice.title, choice.encryption
        if not choice.afresh:
            choice.counter = self._counters.get(key, choice.counter)
        client = self._clients[name] = self._make(choice)
        return client


def serve(make: Callable[[Choice], Client]) -> None:
    """Answer orders until stdin ends. What a library prints leads nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    desk = Desk(make)
    for line in sys.stdin:
        print(json.dumps(desk.answer(json.loads(line))), file=answers, flush=True)


def given(value: Any) -> Any:
    """Arguments as they were meant."""
    if isinstance(value, list):
        return [given(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "octets" in value:
        return bytes.fromhex(value["octets"])
    if "moment" in value:
        return datetime.fromisoformat(value["moment"])
    return {key: given(item) for key, item in value.items()}


def plain(value: Any) -> Any:
    """Bytes as hex, tuples as lists, everything else as JSON has it."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return str(value)
