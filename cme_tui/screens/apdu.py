"""One APDU of the trace: its bytes, and what each of them says."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.anatomy import Anatomy
from cme_tui.widgets.lines import Line, Lines
from cme_tui.wording import clock, count
from core.dlms.describe import Part, describe
from core.snapshot import Snapshot, TraceEntry


class ApduScreen(GatewayScreen):
    """Bytes and fields side by side; the bytes of the field under the cursor are marked."""

    TAB = "dlms"
    HELP = (
        "One APDU as it was received or sent, in clear. To the left its bytes, to the right its fields; those of a "
        "structure stand below it, further to the right. Moving over the fields marks their bytes, and the status line "
        "has the whole value.\n"
        "What is a password or a key, or may be a part of one, is ** in the bytes and not shown among the fields."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "step(1)", "Next", tooltip="next APDU of the list"),
        Binding("p", "step(-1)", "Previous", tooltip="previous APDU of the list"),
    ]

    def __init__(self, apdus: tuple[TraceEntry, ...], index: int) -> None:
        super().__init__()
        self._apdus = apdus
        self._index = index
        self._parts: tuple[Part, ...] = ()
        self._explain()

    def body(self) -> ComposeResult:
        yield Lines(id="apdu")
        yield Anatomy()

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        apdu = self._apdu
        self.query_one("#apdu", Lines).show(_heading(apdu, self._index + 1, len(self._apdus)))
        hidden = [range(start, start + length) for start, length in apdu.hidden]
        self.query_one(Anatomy).show(apdu.id, apdu.apdu, self._parts, hidden)

    def hint(self) -> Line:
        return self.query_one(Anatomy).hint()

    def on_table_moved(self) -> None:
        self.query_one(Anatomy).light()
        self.update_status()

    def action_step(self, by: int) -> None:
        self._index = (self._index + by) % len(self._apdus)
        self._explain()
        self.query_one(Anatomy).restart()
        self.update_view()

    @property
    def _apdu(self) -> TraceEntry:
        return self._apdus[self._index]

    def _explain(self) -> None:
        self._parts = describe(self._apdu.apdu, sent=self._apdu.sent).parts


def _heading(apdu: TraceEntry, number: int, total: int) -> list[Line]:
    way = "sent to" if apdu.sent else "received from"
    cut = f", the first {len(apdu.apdu)} of them" if len(apdu.apdu) == 4096 else ""
    return [
        ((f" {apdu.title}", "title"), (f"  {number} of {total}", "faint")),
        (
            f" {clock(apdu.time_ms)} {way} {apdu.peer}",
            (
                f"  {apdu.client_sap}>{apdu.sap}, {apdu.protection or 'in clear'}, "
                f"{count(apdu.size, 'byte')}{cut}",
                "faint",
            ),
        ),
    ]
