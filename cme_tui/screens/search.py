"""A search on a line: how far it is, what it found as it comes, and installing that."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from textwrap import wrap
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.meters.wording import RESTING, STATES, VERDICTS, found, installable, progress
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.commission import Target, commission
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.search_form import SearchFormScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import age, count
from core.config import MeterConfig, wanted_instead
from core.config_tables import NewMeters
from core.searching import FoundMeter, SearchState, SearchView, Verdict
from core.snapshot import LineView, Snapshot

if TYPE_CHECKING:
    from cme_tui.app import CmeApp

MOST_NAMES: Final = 4  # that a question names
MOST_TROUBLES: Final = 3  # that are in view at once


def open_search(app: CmeApp, line: LineView) -> None:
    """Show the search of a line; where there has been none, the form that begins one."""
    screen = SearchScreen(line.name)
    if line.search is not None:
        app.push_screen(screen)
    else:
        app.push_screen(SearchFormScreen(line, lambda: app.push_screen(screen)))


class SearchScreen(GatewayScreen):
    """The search goes on in the gateway, whoever looks at it; this screen shows it and can be left."""

    TAB = "meters"
    HELP = (
        "A search for meters on one line. It goes on when this screen is left, and after a restart of the gateway; "
        "readouts go on between its questions.\n"
        "✓ found, ! found but not in the list of expected ones, ✗ expected and not found. The lower list, reached with "
        "Tab, tells what could not be searched or told apart, in full below it.\n"
        "i installs all that was found and is not installed yet, or only what Space has marked; it asks first. Enter "
        "gives a meter its name. p has the search rest and go on, x ends it and keeps what was found; p goes on with "
        "it later. n begins another one, which replaces this list.\n"
        "w tells the meter under the cursor something, also before it is installed: another primary address or baud "
        "rate, the time, an application reset or select. It is read again to see whether it did."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "name", "Name", key_display="Enter", tooltip="give the meter under the cursor a name"
        ),
        Binding(
            "space",
            "mark",
            "Mark",
            key_display="Space",
            tooltip="mark the meter, to install only what is marked",
        ),
        Binding(
            "i", "install", "Install", tooltip="install all that was found, or what is marked; asks first"
        ),
        Binding("p", "pause", "Pause", tooltip="have the search rest, or go on with it"),
        Binding("x", "stop", "Stop", tooltip="end the search; what it found stays"),
        Binding("n", "new", "New", tooltip="begin another search on this line"),
        Binding("w", "tell", "Write", tooltip="give it an address, a baud rate, the time, or reset it"),
        Binding(
            "tab", "other", show=False, priority=True, key_display="Tab", tooltip="to the troubles, and back"
        ),
        Binding("shift+tab", "other", show=False, priority=True),
    ]

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line
        self._marked: set[str] = set()
        self._names: dict[str, str] = {}  # of meters that are not installed yet, by address
        self._busy = False  # what was told last is not done yet, so the view is an old one

    def body(self) -> ComposeResult:
        yield Lines(id="search-title")
        yield Table(
            [
                Column("", 1),
                Column("Verdict", 12),
                Column("Address", 18),
                Column("Mfr", 3),
                Column("Medium", 12),
                Column("Primary", 7, right=True, wide=True),
                Column("Baud", 5, right=True),
                Column("Name", 0),
                Column("Inst.", 5),
            ],
            id="found",
        )
        yield Table([Column("Troubles (Tab)", 0)], id="troubles")
        yield Lines(id="detail")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        view, coarse = self.view, self.cme.profile == "basic"
        self.query_one("#search-title", Lines).show(self._heading(view, now_ms, coarse))
        meters = view.meters if view else ()
        self.query_one("#found", Table).show(
            [(meter.address, meter.baud) for meter in meters], lambda index: self._row(meters[index])
        )
        troubles = view.troubles if view else ()
        table = self.query_one("#troubles", Table)
        table.display = bool(troubles)
        table.styles.height = min(len(troubles), MOST_TROUBLES) + 1
        table.show(range(len(troubles)), lambda index: ((f"! {troubles[index]}", "warn"),))
        text = wrap(self._detail(meters, troubles), max(20, self.size.width - 2))
        self.query_one("#detail", Lines).show(
            [((f" {line}", "faint"),) for line in [*text, "", ""][: max(2, len(text))]]
        )

    def hint(self) -> Line:
        view = self.view
        if view is None:
            return (" There has been no search on this line; n begins one",)
        new = len(installable(view))
        if self._marked:
            return (f" {len(self._marked)} marked; i installs only what is marked",)
        if new:
            return (f" {count(new, 'meter')} to install: i installs {'it' if new == 1 else 'them'}",)
        if view.state in RESTING:
            return (" p goes on where it was left",)
        return ()

    def offered(self) -> list[tuple[str, str, str]]:
        view = self.view
        idle = set()
        if view is None or view.state is SearchState.DONE:
            idle |= {"p", "x"}
        elif view.state in RESTING:
            idle |= {"x"} if view.state is SearchState.STOPPED else set()
        if view is None or not view.meters:
            idle |= {"Enter", "Space", "w"}
        if view is None or not installable(view):
            idle |= {"i", "Space"}
        if view is not None and view.state not in (SearchState.DONE, SearchState.STOPPED):
            idle.add("n")
        resting = view is not None and view.state in RESTING
        keys = [
            (key, "Go on" if key == "p" and resting else label, action)
            for key, label, action in super().offered()
            if key not in idle
        ]
        return fitting(keys, self.size.width, ("Space", "F12", "Enter", "w"))

    def unsaved(self) -> str:
        number = len(self._names)
        return count(number, "name of a meter", "names of meters") if number else ""

    def forget(self) -> None:
        self._names.clear()

    @property
    def view(self) -> SearchView | None:
        """The search as it is now."""
        line = self._line_view
        return line.search if line else None

    @property
    def _line_view(self) -> LineView | None:
        return next((line for line in self.cme.current.lines if line.name == self._line), None)

    @property
    def _here(self) -> FoundMeter | None:
        view, cursor = self.view, self.query_one("#found", Table).cursor
        return view.meters[cursor] if view and cursor < len(view.meters) else None

    @property
    def _on_troubles(self) -> bool:
        return self.focused is self.query_one("#troubles", Table)

    def on_table_moved(self) -> None:
        self.update_view()

    def on_table_chosen(self) -> None:
        self.action_name()

    def action_other(self) -> None:
        troubles, meters = self.query_one("#troubles", Table), self.query_one("#found", Table)
        self.set_focus(troubles if troubles.display and self.focused is meters else meters)

    def action_mark(self) -> None:
        meter = self._here
        if meter is not None and not meter.installed and meter.verdict is not Verdict.MISSING:
            self._marked ^= {meter.address}
            self.query_one("#found", Table).action_move(1)
            self.update_view()

    def action_pause(self) -> None:
        view = self.view
        if view is None or view.state is SearchState.DONE or self._busy:
            return
        if view.state in RESTING:
            self._do(self.cme.gateway.resume_search(self._line), "Going on")
        else:
            self._do(self.cme.gateway.pause_search(self._line), "Pausing")

    def action_stop(self) -> None:
        view = self.view
        if view is None or view.state in (SearchState.DONE, SearchState.STOPPED):
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self._do(self.cme.gateway.stop_search(self._line), "Stopping")

        kept = count(len(found(view)), "meter that was", "meters that were")
        self.cme.push_screen(
            ConfirmScreen(f"Stop the search? The {kept} found stay; p goes on later.", "Stop"), decided
        )

    def action_new(self) -> None:
        line, view = self._line_view, self.view
        if line is not None and (view is None or view.state in (SearchState.DONE, SearchState.STOPPED)):
            self.cme.push_screen(SearchFormScreen(line, self._begun))

    def action_name(self) -> None:
        meter = self._here
        if meter is None or meter.verdict is Verdict.MISSING or self._on_troubles:
            return

        def answered(text: str | None) -> None:
            if text is not None:
                self._rename(meter, text.strip())

        question = f"Name of {_described(meter)}. Where is it, what does it measure?"
        wrong = _wrong_name
        self.cme.push_screen(AskScreen(question, self._called(meter), wrong=wrong), answered)

    def action_tell(self) -> None:
        meter, line = self._here, self._line_view
        if meter is None or line is None or self._on_troubles:
            return
        if meter.verdict is Verdict.MISSING:
            self.cme.say(f"{meter.address} was not found, so it cannot be told anything")
        elif not meter.installed and meter.baud != line.baud:
            self.cme.say(
                f"It speaks at {meter.baud} baud, {line.name} at {line.baud}: install it first, then w tells it"
            )
        else:
            name = (
                self._called(meter) or f"{meter.manufacturer} {meter.medium}".strip() or meter.identification
            )
            commission(self.cme, Target(self._line, meter.address, name, meter.installed))

    def action_install(self) -> None:
        view = self.view
        if self._busy:
            return
        every = installable(view) if view else []
        chosen = [meter for meter in every if not self._marked or meter.address in self._marked]
        if not chosen:
            self.cme.say(
                f"There is nothing to install: all that {'is marked' if self._marked else 'was found'} is installed"
            )
            return
        self.run_worker(self._ask(chosen))

    async def _ask(self, chosen: Sequence[FoundMeter]) -> None:
        meters = self._configs(chosen)
        misfits = self.cme.gateway.misfits(NewMeters(meters))
        if not await self.cme.answer(misfits, "Checking") or self.cme.screen is not self:
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._install(meters))

        question = " ".join((*misfits.result(), self._question(chosen)))
        self.cme.push_screen(ConfirmScreen(question, "Install"), decided)

    def _question(self, chosen: Sequence[FoundMeter]) -> str:
        named = ", ".join(self._called(meter) or meter.address for meter in chosen[:MOST_NAMES])
        more = f" and {len(chosen) - MOST_NAMES} more" if len(chosen) > MOST_NAMES else ""
        strange = sum(meter.verdict is Verdict.UNEXPECTED for meter in chosen)
        unexpected = (
            f" {strange} of them {'was' if strange == 1 else 'were'} not expected." if strange else ""
        )
        devices = (
            "a logical device that head-end systems see" if len(chosen) == 1 else "a logical device each"
        )
        many = count(len(chosen), "meter")
        return f"Install {many} on {self._line}: {named}{more}?{unexpected} Readouts begin, and they get {devices}."

    def _configs(self, chosen: Sequence[FoundMeter]) -> list[MeterConfig]:
        line = self._line_view
        baud = line.baud if line else None
        return [
            MeterConfig(
                line=self._line,
                address=int(meter.address)
                if meter.address.isdigit() and len(meter.address) <= 3
                else meter.address,
                name=self._called(meter),
                baud=None if meter.baud == baud else meter.baud,
            )
            for meter in chosen
        ]

    async def _install(self, meters: Sequence[MeterConfig]) -> None:
        future = self.cme.gateway.install_meters(meters)
        self._busy = True
        installed = await self.cme.answer(future, f"Installing {count(len(meters), 'meter')}")
        self._busy = False
        if installed:
            for meter in meters:
                self._names.pop(str(meter.address), None)
            self._marked.clear()
            self.cme.say(
                f"● {count(future.result(), 'meter')} installed; R on Meters (F6) reads all now", "good"
            )
        self.cme.pull()

    def _rename(self, meter: FoundMeter, name: str) -> None:
        if not meter.installed:
            self._names[meter.address] = name
            self.update_view()
            return
        key = next(
            (
                each.key
                for each in self.cme.current.meters
                if _same(each.address, meter) and each.line == self._line
            ),
            None,
        )
        if key is not None:
            self._do(self.cme.gateway.change_meter(key, {"name": name or None}), "Saving")

    def _called(self, meter: FoundMeter) -> str:
        return self._names.get(meter.address, meter.name)

    def _begun(self) -> None:
        self._marked.clear()
        self._names.clear()
        self.update_view()

    def _do(self, future: Future[Any], doing: str) -> None:
        self._busy = True

        async def done() -> None:
            await self.cme.answer(future, doing)
            self._busy = False
            self.cme.pull()

        self.run_worker(done())

    def _heading(self, view: SearchView | None, now_ms: int, coarse: bool) -> list[Line]:
        title = (f" Search on {self._line}", "title")
        if view is None:
            return [(title,)]
        bar_cells = 20 if self.size.width < 100 else 40
        reason = wrap(view.reason, max(20, self.size.width - 2))
        rests = view.state in RESTING
        ran = "" if rests else f"  after {age(view.started_ms, view.finished_ms or now_ms, coarse)}"
        missing = sum(meter.verdict is Verdict.MISSING for meter in view.meters)
        lost = (f", {missing} missing", "bad") if missing else ""
        numbers = f"  {len(found(view))} found"
        return [
            (title, "  ", STATES[view.state], numbers, lost, (ran, "faint")),
            (" ", *progress(view, bar_cells, coarse)),
            *(((f" {text}", "warn"),) for text in reason),
            *([] if reason else [((f" {view.step}", "faint"),)]),
        ]

    def _row(self, meter: FoundMeter) -> Row:
        return (
            ("*", "strong") if meter.address in self._marked else "",
            VERDICTS[meter.verdict],
            meter.address
            if meter.address.startswith(meter.identification)
            else f"{meter.address} ({meter.identification})",
            meter.manufacturer,
            meter.medium,
            "" if meter.primary is None else str(meter.primary),
            str(meter.baud) if meter.verdict is not Verdict.MISSING else "",
            self._called(meter),
            ("● yes", "good") if meter.installed else ("○ no", "faint"),
        )

    def _detail(self, meters: Sequence[FoundMeter], troubles: Sequence[str]) -> str:
        cursor = self.query_one("#troubles", Table).cursor
        if self._on_troubles and cursor < len(troubles):
            return f"! {troubles[cursor]}"
        meter = self._here
        return f"{_described(meter)}{f': {meter.note}' if meter.note else ''}" if meter else ""


def _address(meter: FoundMeter) -> str:
    """A primary address tells nothing of the meter."""
    known = meter.address.startswith(meter.identification)
    return meter.address if known else f"{meter.address} ({meter.identification})"


def _described(meter: FoundMeter) -> str:
    version = "" if meter.version is None else f" version {meter.version}"
    primary = "" if meter.primary is None else f", primary {meter.primary}"
    who = f"{meter.manufacturer}{version} {meter.medium}".strip()
    return f"{meter.address} {f'({who}) ' if who else ''}at {meter.baud} baud{primary}".replace(" ,", ",")


def _same(address: str, meter: FoundMeter) -> bool:
    return address.removeprefix("primary ") == meter.address


def _wrong_name(text: str) -> str:
    wanted = wanted_instead("meter", "name", text.strip())
    return f"A name must be {wanted}." if wanted else ""
