"""F6: the list of meters, with filter and order."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.meter_table import OPEN, READ, READ_ALL, MeterTableScreen
from cme_tui.widgets.lines import Line
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import age, meter_identity, moment, state, trouble, value
from core.snapshot import MeterState, MeterView, Snapshot

ORDERS = ("name", "state", "age", "medium", "identification")
"""What `s` steps through."""


class MetersScreen(FilteredScreen, MeterTableScreen):
    """All meters; `/` narrows the list, Enter opens one."""

    TAB = "meters"
    HELP = (
        "Every installed meter with its state, its main value and the age of that value.\n"
        "/ filters: a meter stays in the list if all words are found in its name, identification, manufacturer, "
        "medium, state, line or address. Enter keeps the filter, Esc removes it.\n"
        "s changes the order: name, state (what needs attention first), age (oldest first), medium, identification."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        OPEN,
        FILTER,
        Binding("s", "sort", "Sort", tooltip="next order: name, state, age, medium, identification"),
        READ,
        READ_ALL,
    ]

    def __init__(self) -> None:
        super().__init__()
        self._order = 0

    def body(self) -> ComposeResult:
        yield from self.list_title()
        yield Table(
            [
                Column("State", 13),
                Column("Name", 0),
                Column("Meter id", 12),
                Column("Medium", 9),
                Column("Address", 20, wide=True),
                Column("LD", 3, right=True, wide=True),
                Column("Value", 12, right=True),
                Column("Unit", 5),
                Column("Age", 6, right=True),
            ],
            id="list",
        )

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        coarse = self.cme.profile == "basic"
        words = self.words
        found = [m for m in snapshot.meters if all(word in _haystack(m) for word in words)]
        order = ORDERS[self._order]
        self.meters = sorted(found, key=lambda meter: _sort_key(meter, order))
        meters = self.meters
        total = len(snapshot.meters)
        numbers = f"{len(found)} of {total}" if words else str(total)
        position = ("", "faint")
        table = self.query_one("#list", Table)
        table.show([m.key for m in meters], lambda index: _row(meters[index], now_ms, coarse))
        if meters:
            position = (f"  at {table.cursor + 1}", "faint")
        title: Line = ((f" Meters {numbers}", "title"), (f"  by {order}", "faint"), position)
        if not total:
            title = ((" Meters 0", "title"), "  none installed; the Overview (F2) says what to do")
        elif not meters:
            title = (*title, "  no meter matches")
        self.show_list_title(title)

    def hint(self) -> Line:
        meter = self.meter
        if meter is None:
            return ()
        if meter.reason:
            return (f" {trouble(meter)}",)
        mapping = (
            f"{meter.mapped} objects by {meter.mapping}"
            if meter.mapping
            else "no mapping fits it (F4 makes one)"
        )
        read = moment(meter.last_reading_ms)
        return (
            (
                f" {meter.address} on {meter.line}, device {meter.logical_device}, {mapping}, {read}",
                "faint",
            ),
        )

    def on_table_moved(self) -> None:
        self.update_view()

    def action_sort(self) -> None:
        self._order = (self._order + 1) % len(ORDERS)
        self.update_view()


def _haystack(meter: MeterView) -> str:
    return " ".join(
        (
            meter.name,
            meter.identification,
            meter.manufacturer,
            meter.medium,
            meter.state.value,
            meter.line,
            meter.address,
        )
    ).casefold()


def _sort_key(meter: MeterView, order: str) -> tuple[int | str, str]:
    name = meter.name.casefold()
    match order:
        case "state":
            quiet = {MeterState.OK: 1, MeterState.WAITING: 2, MeterState.DISABLED: 3}
            return quiet.get(meter.state, 0), name
        case "age":
            return meter.last_reading_ms or 0, name
        case "medium":
            return meter.medium, name
        case "identification":
            return meter.identification, name
    return name, meter.identification


def _row(meter: MeterView, now_ms: int, coarse: bool) -> Row:
    shown = meter.headline
    broken = shown is not None and bool(shown.error)
    return (
        state(meter),
        meter.name,
        meter_identity(meter),
        meter.medium,
        meter.address,
        str(meter.logical_device),
        (value(shown), "warn") if broken else value(shown),
        shown.unit if shown is not None and not broken else "",
        (age(meter.last_reading_ms, now_ms, coarse), "faint"),
    )
