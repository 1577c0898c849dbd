"""F6: the list of meters, with filter and order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.meters.fields import installed
from cme_tui.meters.listed import Import, keys_of, meters_of
from cme_tui.screens.choose import ChooseScreen, Option
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.import_meters import ImportScreen
from cme_tui.screens.lines import LinesScreen
from cme_tui.screens.meter_form import MeterFormScreen
from cme_tui.screens.meter_table import OPEN, READ, READ_ALL, MeterTableScreen
from cme_tui.screens.pick import PickFileScreen
from cme_tui.screens.search import open_search
from cme_tui.settings import secrets
from cme_tui.settings.secrets import NEW_METER_KEY
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import age, meter_identity, moment, state, trouble, value
from core.errors import CmeError
from core.snapshot import MeterState, MeterView, Snapshot

ORDERS = ("name", "state", "age", "medium", "identification")
"""What `s` steps through."""
GIVES_WAY = ("R", "i", "d", "s", "x", "F12", "c", "a", "l")
"""Keys that a narrow footer leaves out, the first ones first; F1 tells all of them."""
_KINDS: Final = (
    Option(1, "meters", "and the keys in the list"),
    Option(2, "keys", "of meters that encrypt"),
)


class MetersScreen(FilteredScreen, MeterTableScreen):
    """All meters; `/` narrows the list, Enter opens one."""

    TAB = "meters"
    HELP = (
        "Every installed meter with its state, its main value and the age of that value.\n"
        "/ filters: a meter stays in the list if all words are found in its name, identification, manufacturer, "
        "medium, state, line or address. Enter keeps the filter, Esc removes it.\n"
        "s changes the order: name, state (what needs attention first), age (oldest first), medium, identification.\n"
        "f finds the meters on a line and installs them; a installs one by hand, i those of a CSV file, or saves the "
        "keys of one. c changes what config.toml says about the meter under the cursor, x takes it out: its logical "
        "device disappears for head-end systems, its readings stay. d sets the key of a meter that encrypts its "
        "telegrams. l shows the lines."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        OPEN,
        FILTER,
        Binding("s", "sort", "Sort", tooltip="next order: name, state, age, medium, identification"),
        Binding("b", "doctor", "Bus", tooltip="the bus doctor: how the line of this meter does, and why"),
        Binding("f", "find", "Find", tooltip="find the meters on a line, and install them"),
        Binding("a", "add", "Add", tooltip="install a meter by hand"),
        Binding("i", "import", "Import", tooltip="install the meters of a CSV file, or save the keys of one"),
        Binding("c", "change", "Change", tooltip="change address, name, baud rate or interval of the meter"),
        Binding("x", "remove", "Remove", tooltip="take the meter out of config.toml; asks first"),
        Binding("d", "decrypt", "Key", tooltip="set the key of a meter that encrypts its telegrams"),
        Binding("l", "lines", "Lines", tooltip="the M-Bus lines: add, change, remove"),
        READ,
        READ_ALL,
    ]

    def __init__(self) -> None:
        super().__init__()
        self._order = 0
        self._folder = Path.home()

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
        yield Lines(id="detail")

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
        table.show_ordered([m.key for m in meters], lambda index: _row(meters[index], now_ms, coarse))
        if meters:
            position = (f"  at {table.cursor + 1}", "faint")
        title: Line = ((f" Meters {numbers}", "title"), (f"  by {order}", "faint"), position)
        if not total:
            next_step = "f finds them, a installs one by hand" if snapshot.lines else "l adds a line first"
            title = ((" Meters 0", "title"), f"  none installed; {next_step}")
        elif not meters:
            title = (*title, "  no meter matches")
        self.show_list_title(title)
        self.show_detail()

    def detail(self) -> str:
        meter = self.meter
        if meter is None:
            return ""
        if meter.reason:
            return trouble(meter)
        mapping = (
            f"{meter.mapped} objects by {meter.mapping}"
            if meter.mapping
            else "no mapping fits it (F4 makes one)"
        )
        return (
            f"{meter.name}: {meter.address} on {meter.line}, device {meter.logical_device}, {mapping}, read "
            f"{moment(meter.last_reading_ms)}"
        )

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if not self.meters:
            keys = [key for key in keys if key[0] not in ("Enter", "c", "x", "d", "r")]
        if not self.cme.current.meters:
            keys = [key for key in keys if key[0] not in ("/", "s", "R")]
        return fitting(keys, self.size.width, GIVES_WAY)

    def on_table_moved(self) -> None:
        self.update_view()

    def action_doctor(self) -> None:
        lines = self.cme.current.lines
        if lines:
            self.cme.push_screen(DoctorScreen(self.meter.line if self.meter else lines[0].name))
        else:
            self._say_no_line()

    def action_find(self) -> None:
        lines = self.cme.current.lines

        def chosen(number: int | None) -> None:
            if number is not None:
                open_search(self.cme, lines[number])

        if len(lines) > 1:
            options = [Option(number, line.name, line.url) for number, line in enumerate(lines)]
            at = next(
                (number for number, line in enumerate(lines) if self.meter and line.name == self.meter.line),
                0,
            )
            self.cme.push_screen(ChooseScreen("Find meters on which line?", options, at), chosen)
        elif lines:
            open_search(self.cme, lines[0])
        else:
            self._say_no_line()

    def action_add(self) -> None:
        lines = self.cme.gateway.config().lines
        if lines:
            line = self.meter.line if self.meter else lines[0].name
            self.cme.push_screen(MeterFormScreen(lines, line))
        else:
            self._say_no_line()

    def action_change(self) -> None:
        meter, config = self.meter, self.cme.gateway.config()
        said = installed(config, meter) if meter else None
        if meter is not None and said is not None:
            self.cme.push_screen(MeterFormScreen(config.lines, said.line, meter, said))

    def action_remove(self) -> None:
        meter = self.meter
        if meter is None:
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._remove(meter))

        question = (
            f"Remove {meter.name}, {meter.address} on {meter.line}? It is no longer read, and logical device "
            f"{meter.logical_device} disappears for head-end systems; its readings stay."
        )
        self.cme.push_screen(ConfirmScreen(question, "Remove"), decided)

    def action_decrypt(self) -> None:
        meter = self.meter
        if meter is None:
            return
        if meter.identification:
            secrets.replace(self.cme, f"{NEW_METER_KEY}{meter.identification}", self._take_key)
        else:
            self.cme.say(
                f"{meter.name} has not told its identification yet, which its key goes with; r reads it"
            )

    def action_import(self) -> None:
        def chosen(kind: int | None) -> None:
            if kind is not None:
                title = "Import meters" if kind == 1 else "Import keys"
                picker = PickFileScreen(
                    title, self.TAB, self._folder, ".csv", lambda path: self._look_at(path, kind == 1, picker)
                )
                self.cme.push_screen(picker)

        self.cme.push_screen(ChooseScreen("Import what from a CSV file?", _KINDS, 1), chosen)

    async def _look_at(self, path: Path, meters: bool, picker: PickFileScreen) -> str:
        """Show what a file would do; why it is refused, "" where it is not."""
        gateway = self.cme.gateway

        def read() -> Import:
            if meters:
                return meters_of(path, gateway.config(), gateway.secrets(), gateway.snapshot())
            return keys_of(path, gateway.secrets())

        try:
            planned = await asyncio.to_thread(read)
        except CmeError as error:
            return str(error)
        self._folder = path.parent

        def done() -> None:
            if self.cme.screen is picker:
                self.cme.pop_screen()

        if self.cme.screen is picker:
            self.cme.push_screen(ImportScreen(planned, read, done))
        return ""

    def action_lines(self) -> None:
        self.cme.push_screen(LinesScreen())

    async def _remove(self, meter: MeterView) -> None:
        if await self.cme.answer(self.cme.gateway.remove_meters([meter.key]), "Removing"):
            self.cme.say(f"● {meter.name} is removed; its readings stay", "good")
        self.cme.pull()

    def _take_key(self, name: str, key: str) -> None:
        self.run_worker(self._keep_key(name, key))

    async def _keep_key(self, name: str, key: str) -> None:
        if await self.cme.answer(self.cme.gateway.set_secrets({name: key}), "Saving"):
            self.cme.say(f"● {secrets.title(name)} is saved and in force; r reads the meter with it", "good")
        self.cme.pull()

    def _say_no_line(self) -> None:
        self.cme.say("There is no M-Bus line yet; l shows the lines, and a adds one there")

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
