"""What the two screens with a table of meters share: the meter under the cursor, opening and reading it."""

from __future__ import annotations

from textual.binding import Binding

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.table import Table
from core.snapshot import MeterView

OPEN = Binding(
    "enter",
    "open",
    "Open",
    key_display="Enter",
    tooltip="open the meter under the cursor: values and telegrams",
)
READ = Binding("r", "read", "Read", tooltip="read the meter under the cursor now, in front of any sweep")
READ_ALL = Binding("R", "read_all", "Read all", tooltip="start a sweep of all lines now")


class MeterTableScreen(GatewayScreen):
    """A screen with one `Table`, whose rows are `meters`."""

    def __init__(self) -> None:
        super().__init__()
        self.meters: list[MeterView] = []

    @property
    def meter(self) -> MeterView | None:
        """The meter under the cursor."""
        cursor = self.query_one(Table).cursor
        return self.meters[cursor] if cursor < len(self.meters) else None

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self.meter is not None:
            self.cme.open_meter(self.meter.key, [meter.key for meter in self.meters])

    def action_read(self) -> None:
        if self.meter is not None:
            self.run_worker(self.cme.read_meter(self.meter.key))

    def action_read_all(self) -> None:
        self.run_worker(self.cme.read_all())
