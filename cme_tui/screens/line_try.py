"""One request on a line and what came back: the bytes of both, and what each of them says."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.hexview import HexView
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Table
from cme_tui.wording import clock, count
from core.diagnosis import LineTraceEntry
from core.mbus.explain import explain
from core.snapshot import Snapshot, TelegramPart


class LineTryScreen(GatewayScreen):
    """The answer byte by byte; t goes to the request and back."""

    TAB = "meters"
    HELP = (
        "The bytes of an answer to the left, their meaning to the right; moving over the parts marks their bytes. "
        "t goes to the bytes of the request, and back to the answer. What is no valid telegram is explained as far as "
        "that goes. n and p step through the list that you came from."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "other", "Request", tooltip="the bytes of the request, or of the answer"),
        Binding("n", "step(1)", "Next", tooltip="next entry of the list"),
        Binding("p", "step(-1)", "Previous", tooltip="previous entry of the list"),
    ]

    def __init__(self, entries: tuple[LineTraceEntry, ...], index: int) -> None:
        super().__init__()
        self._entries = entries
        self._index = index
        self._request = not entries[index].received
        self._parts: tuple[TelegramPart, ...] = explain(self._bytes)

    def body(self) -> ComposeResult:
        yield Lines(id="line-try")
        with Horizontal(id="telegram"):
            yield HexView(id="hex")
            yield Table([Column("Part", 14), Column("Meaning", 0)], id="parts")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self.query_one("#line-try", Lines).show(self._heading())
        self.query_one("#hex", HexView).show(self._bytes)
        parts, key = self._parts, (self._entry.id, self._request)
        self.query_one("#parts", Table).show(
            [(key, part.offset) for part in parts],
            lambda index: ((parts[index].label, "faint"), parts[index].meaning),
        )
        self._light()

    def hint(self) -> Line:
        part = self._part()
        return () if part is None else (f" {part.label}: {part.meaning}",)

    def offered(self) -> list[tuple[str, str, str]]:
        label = "Answer" if self._request else "Request"
        return [(k, label if k == "t" else name, action) for k, name, action in super().offered()]

    def on_table_moved(self) -> None:
        self._light()
        self.update_status()

    def action_other(self) -> None:
        self._request = not self._request
        self._restart()

    def action_step(self, by: int) -> None:
        self._index = (self._index + by) % len(self._entries)
        self._request = not self._entry.received
        self._restart()

    def _restart(self) -> None:
        self._parts = explain(self._bytes)
        self.query_one("#parts", Table).move_to(0)
        self.update_view()

    @property
    def _entry(self) -> LineTraceEntry:
        return self._entries[self._index]

    @property
    def _bytes(self) -> bytes:
        return self._entry.request if self._request else self._entry.received

    def _part(self) -> TelegramPart | None:
        cursor = self.query_one("#parts", Table).cursor
        return self._parts[cursor] if cursor < len(self._parts) else None

    def _light(self) -> None:
        part = self._part()
        bright = range(part.offset, part.offset + part.length) if part else range(0)
        self.query_one("#hex", HexView).light(range(0), bright)

    def _heading(self) -> list[Line]:
        entry = self._entry
        who = entry.meter or entry.address or "no meter"
        after = "" if entry.delay_s is None else f" after {entry.delay_s * 1000:.0f} ms"
        answer = (f"✗ {entry.answer_meaning}", "bad") if entry.fault else entry.answer_meaning
        which = "request" if self._request else "answer"
        return [
            (
                (f" {who}", "title"),
                f"  {clock(entry.time_ms)}",
                (
                    f"  {self._index + 1} of {len(self._entries)}, {entry.baud} baud, try {entry.number}",
                    "faint",
                ),
            ),
            (f" asked: {entry.request_meaning}", ("  (echoed)" if entry.echo else "", "faint")),
            (" heard: ", answer, after),
            ((f" the {which}, {count(len(self._bytes), 'byte')}:", "faint"),),
        ]
