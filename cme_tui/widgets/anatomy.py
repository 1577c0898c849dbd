"""The bytes of an APDU beside its fields: the bytes of the field under the cursor stand out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal

from cme_tui.widgets.hexview import HexView
from cme_tui.widgets.lines import Line
from cme_tui.widgets.table import Column, Row, Table
from core.dlms.describe import Part


class Anatomy(Horizontal):
    """Shows one APDU. `Table.Moved` comes from it where another field is under the cursor; `hint` tells of that one."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: Sequence[Part] = ()

    def compose(self) -> ComposeResult:
        yield HexView(id="hex")
        yield Table([Column("Field", 24), Column("Value", 0)], id="parts")

    def show(self, key: Hashable, apdu: bytes, parts: Sequence[Part], hidden: Sequence[range] = ()) -> None:
        """Show another APDU, with its first field under the cursor, or the same again; `key` tells them apart."""
        self._parts = parts
        self.query_one(HexView).show(apdu, hidden)
        table = self.query_one(Table)
        table.show([(key, index) for index in range(len(parts))], lambda index: _row(parts[index]))
        self.light()

    def light(self) -> None:
        """Mark the bytes of the field under the cursor."""
        part = self._part
        bright = range(part.offset, part.offset + part.length) if part else range(0)
        self.query_one(HexView).light(range(0), bright)

    def restart(self) -> None:
        """Put the cursor on the first field."""
        self.query_one(Table).move_to(0)

    def hint(self) -> Line:
        """Where the field under the cursor is, and its whole value."""
        part = self._part
        if part is None:
            return ()
        return (f" {_span(part)}{part.label}{': ' if part.value else ''}{part.value}",)

    @property
    def _part(self) -> Part | None:
        cursor = self.query_one(Table).cursor
        return self._parts[cursor] if cursor < len(self._parts) else None


def _row(part: Part) -> Row:
    return ((f"{'  ' * part.depth}{part.label}", "faint"), part.value)


def _span(part: Part) -> str:
    if not part.length:
        return ""
    return (
        f"{part.offset:04x}-{part.offset + part.length - 1:04x} "
        if part.length > 1
        else f"{part.offset:04x} "
    )
