"""Importing a CSV file of meters or of keys: what it would do, row by row, before anything is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.meters.listed import Import, seen_by_others
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import count
from core.config import MeterConfig
from core.config_tables import NewMeters
from core.errors import CmeError
from core.meter_list import ListedMeter
from core.secrets import shown_fingerprint
from core.snapshot import Snapshot

_METERS: Final = (
    Column("Does", 12),
    Column("Row", 4, right=True),
    Column("Address", 20),
    Column("Name", 0),
    Column("Line", 10),
    Column("Baud", 5, right=True),
    Column("Interval", 8, wide=True),
)
_KEYS: Final = (Column("Does", 12), Column("Meter", 10), Column("Fingerprint of the key", 0))
_PROBLEMS: Final = (Column("To be corrected in the file", 0),)


class ImportScreen(GatewayScreen):
    """The preview of an import; a file with a mistake does nothing at all."""

    TAB = "meters"
    HELP = (
        "What the import of a CSV file would do. A list of meters has headings, in any order: name, secondary address, "
        "baud rate, addressing mode (primary or secondary), primary address, and line, interval, key; only an address "
        "is needed. A list of keys has the identification, 8 digits, and 32 hex digits. Commas, semicolons and tabs "
        "are understood.\n"
        "+ is installed, = is installed already and stays as it is. Where a row has a mistake, nothing is imported: "
        "all mistakes are listed with their rows; correct them in the file, and r reads it again.\n"
        "s imports it, all or nothing, after a question. Keys are shown as fingerprints only."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "import", "Import", tooltip="do what is shown; asks first"),
        Binding("r", "again", "Read again", tooltip="read the file again, after a correction"),
    ]

    def __init__(self, planned: Import, read: Callable[[], Import], done: Callable[[], object]) -> None:
        """`read` reads the file again, in a thread; `done` is called when all is imported and this screen is gone."""
        super().__init__()
        self._planned = planned
        self._read = read
        self._done = done

    def body(self) -> ComposeResult:
        yield Lines(id="import-title")
        yield Table(_METERS, id="import")
        yield Lines(id="detail")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        plan, table = self._planned, self.query_one("#import", Table)
        self.query_one("#import-title", Lines).show([self._heading()])
        meters = [(meter, True) for meter in plan.new] + [(meter, False) for meter in plan.present]
        meters.sort(key=lambda item: item[0].row)
        if plan.problems:
            table.show_columns(_PROBLEMS)
            table.show(range(len(plan.problems)), lambda index: ((f"✗ {plan.problems[index]}", "bad"),))
        elif meters:
            table.show_columns(_METERS)
            table.show([meter.row for meter, _ in meters], lambda index: _row(*meters[index]))
        else:
            keys = list(plan.keys)
            table.show_columns(_KEYS)
            table.show(keys, lambda index: _key_row(keys[index], plan.keys[keys[index]]))
        sentence, tone = "", ""
        if table.cursor < len(plan.problems):
            sentence, tone = plan.problems[table.cursor], "bad"
        elif table.cursor < len(meters):
            sentence = _named(meters[table.cursor][0].config)
        lines = wrap(sentence, max(20, self.size.width - 2))[:2]
        self.query_one("#detail", Lines).show([((f" {line}", tone),) for line in lines] or [("",)])

    def hint(self) -> Line:
        if self._planned.problems:
            return (" Nothing is imported; correct the file, then r reads it again",)
        if self._empty:
            return (" There is nothing to do: all of it is installed and set already",)
        return ((" s imports it; nothing has changed yet", "faint"),)

    def offered(self) -> list[tuple[str, str, str]]:
        idle = {"s"} if self._planned.problems or self._empty else set()
        return [key for key in super().offered() if key[0] not in idle]

    @property
    def _empty(self) -> bool:
        return not self._planned.new and not self._planned.keys

    def on_table_moved(self) -> None:
        self.update_view()

    def action_again(self) -> None:
        self.run_worker(self._read_again())

    def action_import(self) -> None:
        plan = self._planned
        if plan.problems or self._empty:
            return  # the screen says so
        self.run_worker(self._ask(plan))

    async def _ask(self, plan: Import) -> None:
        misfits = self.cme.gateway.misfits(NewMeters([meter.config for meter in plan.new]))
        if not await self.cme.answer(misfits, "Checking") or self.cme.screen is not self:
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._import(plan))

        question = " ".join((*misfits.result(), _question(plan)))
        self.cme.push_screen(ConfirmScreen(question, "Import"), decided)

    def _heading(self) -> Line:
        plan = self._planned
        title = (f" Import {plan.path.name}", "title")
        if plan.problems:
            return title, (f"  ✗ {count(len(plan.problems), 'mistake')}", "bad")
        there = f", {len(plan.present)} there already" if plan.present else ""
        keys = f", {count(len(plan.keys), 'key')} to save" if plan.keys else ""
        meters = f"{count(len(plan.new), 'meter')} to install{there}" if plan.new or plan.present else ""
        return title, f"  {meters}{keys}".replace("  , ", "  ")

    async def _read_again(self) -> None:
        try:
            self._planned = await asyncio.to_thread(self._read)
        except CmeError as error:
            self.cme.say(f"✗ {error}", "bad")
        self.update_view()

    async def _import(self, plan: Import) -> None:
        # Keys first: the first readout needs them, and those of a meter that is not installed do no harm.
        if plan.keys and not await self.cme.answer(
            self.cme.gateway.set_secrets(plan.named_keys()), "Saving the keys"
        ):
            return
        meters = [meter.config for meter in plan.new]
        if meters and not await self.cme.answer(self.cme.gateway.install_meters(meters), "Installing"):
            return
        others = await asyncio.to_thread(seen_by_others, plan.path) if plan.keys else False
        warning = f". Others can read {plan.path}, which has keys: delete it" if others else ""
        self.cme.pull()
        self._leave()
        self.cme.say(f"● {_done(plan)}{warning}", "warn" if warning else "good", seconds=30)

    def _leave(self) -> None:
        if self.cme.screen is self:
            self.cme.pop_screen()
            self._done()


def _question(plan: Import) -> str:
    parts = []
    if plan.new:
        devices = (
            "a logical device that head-end systems see" if len(plan.new) == 1 else "a logical device each"
        )
        parts.append(f"Install {count(len(plan.new), 'meter')}? Readouts begin, and they get {devices}.")
    if plan.keys:
        replaced = f" {plan.replaced} of them in place of another one." if plan.replaced else ""
        parts.append(f"Save {count(len(plan.keys), 'key')}?{replaced} There is no undo for keys.")
    return " ".join(parts)


def _done(plan: Import) -> str:
    parts = []
    if plan.new:
        parts.append(f"{count(len(plan.new), 'meter')} installed")
    if plan.keys:
        parts.append(f"{count(len(plan.keys), 'key')} saved")
    return ", ".join(parts)


def _row(meter: ListedMeter, new: bool) -> Row:
    config = meter.config
    return (
        ("+ installs", "good") if new else ("= there", "faint"),
        str(meter.row),
        str(config.address),
        config.name,
        config.line,
        "" if config.baud is None else str(config.baud),
        "" if config.interval is None else str(config.interval),
    )


def _named(config: MeterConfig) -> str:
    """What a narrow list cuts off."""
    return f"{config.name or config.address}: {config.address} on {config.line}"


def _key_row(identification: str, key: str) -> Row:
    return ("+ saves", "good"), identification, shown_fingerprint(bytes.fromhex(key))
