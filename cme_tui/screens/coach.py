"""The coach: every M-Bus field of a meter type, and how it is to be shown to DLMS clients."""

from __future__ import annotations

from textual.app import ComposeResult

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Lines
from cme_tui.widgets.table import Column, Row, Table
from core.mapping import units
from core.mapping.coach import Proposal
from core.mapping.workshop import Coaching
from core.snapshot import Snapshot


class CoachScreen(GatewayScreen):
    """The fields of one meter type with the proposed OBIS codes."""

    TAB = "mapping"
    HELP = "Every M-Bus field of a meter type with its value now, and the OBIS code that is proposed for it."

    def __init__(self, coaching: Coaching) -> None:
        super().__init__()
        self._coaching = coaching

    def body(self) -> ComposeResult:
        yield Lines(id="coach-title")
        yield Table(
            [
                Column("Field", 0),
                Column("Value", 16, right=True),
                Column("Unit", 6),
                Column("OBIS code", 15),
                Column("Unit", 6),
            ],
            id="fields",
        )

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        proposals = self._coaching.proposals
        self.query_one("#coach-title", Lines).show([((f" Coach {self._coaching.kind.label}", "title"),)])
        table = self.query_one("#fields", Table)
        table.show(range(len(proposals)), lambda index: _row(proposals[index]))


def _row(proposal: Proposal) -> Row:
    record, choice = proposal.field.record, proposal.choice
    value = record.value_text if record.raw is not None else record.error
    if choice is None:
        return (proposal.field.meaning, value, record.unit, ("-", "faint"), "")
    return (proposal.field.meaning, value, record.unit, choice.obis, units.symbol(choice.unit))
