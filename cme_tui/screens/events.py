"""F7: the event logs of the gateway and its meters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.event_file import GATEWAY, Device, event_csv, iso_time, removed_meter
from cme_tui.period import EXAMPLES, Period, PeriodError, parse_period
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.event import EventScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.widgets.lines import Line
from cme_tui.widgets.table import WIDE, Column, Row, Table
from cme_tui.wording import count
from core.config import GatewayConfig
from core.errors import CmeError
from core.events import Event, EventPage, Log, event_name
from core.snapshot import Snapshot
from core.statedir import write_atomically
from core.store import Origin

MOST: Final = 10_000
"""Events that the list keeps; the file of `cme-tui events --csv` has no such limit."""

LOGS: Final = (
    ("all logs", Origin()),
    ("gateway, standard log", Origin("gateway", Log.STANDARD)),
    ("gateway, fraud log", Origin("gateway", Log.FRAUD)),
    ("meters", Origin("meters")),
)
"""What `l` steps through."""


NEW: Final = Device("new meter", "", None)
"""Installed so lately that the snapshot does not have it yet."""
GONE: Final = Device("meter that is gone", "", None)


class _File(NamedTuple):
    """What is to be written."""

    events: int
    content: bytes


class EventsScreen(FilteredScreen):
    """What was logged, newest last; of one meter, or of all that `l` steps through."""

    TAB = "events"
    HELP = (
        "What happened to the gateway and its meters, newest last: time in the gateway's time zone, whose event it "
        "is, its log (the fraud log has what concerns security), code, name and message. The list follows what is "
        "new while the cursor is on its last row, and keeps the newest 10000 events.\n"
        "Enter shows an event in full, with its cause and what to do. l steps through all logs, the gateway's "
        "standard log, its fraud log, and the meters. t asks for a time: "
        + EXAMPLES
        + "; an empty answer shows all "
        "times. / filters: an event stays if all words are found in its device, log, code, name or message.\n"
        "x writes what is listed to a CSV file, with times that spreadsheets understand. On the screen of a meter, "
        "e opens its events."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "open", "Open", key_display="Enter", tooltip="the event in full, its cause, what to do"
        ),
        FILTER,
        Binding("l", "next_log", "Log", tooltip="next log: all, gateway standard, gateway fraud, meters"),
        Binding("t", "ask_period", "Time", tooltip="show the events of a time only, or of all times again"),
        Binding("x", "export", "Export", tooltip="write what is listed to a CSV file"),
    ]

    def __init__(self, meter: int | None = None) -> None:
        """`meter`: key of the one whose events are shown."""
        super().__init__()
        self._meter = meter
        self._log = 0
        self._events: list[Event] = []
        self._devices: dict[int | None, Device] = {None: GATEWAY}
        self._newest = 0
        self._asking = False
        self._problem = ""
        self._period: Period | None = None
        self._period_text = ""
        self._shown: list[Event] = []
        self._keys: list[int] = []
        self._shown_for: object = None
        self._zone: tzinfo = UTC

    def body(self) -> ComposeResult:
        yield from self.list_title()
        yield Table(
            [
                Column("Year", 4, wide=True),
                Column("When", 14),
                Column("Where", 16),
                Column("Log", 8),
                Column("Code", 4, right=True),
                Column("Event", 0),
                Column("Message", 40, wide=True),
            ],
            id="events",
        )

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        if not self._asking:
            self._asking = True
            self.run_worker(self._load())
        self._show_list()

    def hint(self) -> Line:
        if self._problem:
            return ((f" ✗ {self._problem}", "bad"),)
        event = self._event()
        if event is None:
            return ()
        name = self._devices[event.meter].name
        text = f" {iso_time(event, self._zone)} {name}: {event_name(event.code)}"
        return ((f"{text}, {event.message}" if event.message else text, "faint"),)

    def offered(self) -> list[tuple[str, str, str]]:
        missing = {"l"} if self._meter is not None else set()
        if not self._shown:
            missing |= {"Enter", "x"}
        return [key for key in super().offered() if key[0] not in missing or self.typing]

    def on_table_moved(self) -> None:
        self.update_status()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self._shown:
            cursor = self.filtered.cursor
            self.cme.push_screen(EventScreen(self._shown, cursor, dict(self._devices), self._zone))

    def action_next_log(self) -> None:
        if self._meter is None:
            self._log = (self._log + 1) % len(LOGS)
            self._events, self._newest = [], 0
            self.update_view()

    @property
    def _origin(self) -> Origin:
        return LOGS[self._log][1] if self._meter is None else Origin(self._meter)

    async def _load(self) -> None:
        origin, after = self._origin, self._newest
        try:
            page: EventPage = await asyncio.wrap_future(self.cme.gateway.events(after, MOST, origin))
            self._problem = ""
        except CmeError as error:
            self._problem = str(error)
            return
        finally:
            self._asking = False
        if (origin, after) == (self._origin, self._newest):
            self._take(page)
        else:  # another log is wanted by now
            self.update_view()

    def _take(self, page: EventPage) -> None:
        first = not self._newest
        self._newest = page.newest
        self._devices |= {key: removed_meter(record) for key, record in page.removed.items()}
        for event in page.events:
            self._devices.setdefault(event.meter, NEW)
        self._events = [*self._events, *page.events][-MOST:]
        if first:
            setting = next(one for one in self.cme.gateway.settings() if one.name == "gateway.timezone")
            self._zone = GatewayConfig(timezone=str(setting.value)).zone
        if first or page.events:
            self._show_list()
            self.update_status()

    def _show_list(self) -> None:
        installed = self.cme.current.meters
        self._devices |= {
            one.key: Device(one.name, one.identification, one.logical_device) for one in installed
        }
        self._narrow()
        shown, devices, zone, wide = self._shown, self._devices, self._zone, self.size.width >= WIDE
        self.filtered.show_growing(
            self._keys, lambda index: _row(shown[index], devices[shown[index].meter].name, zone, wide)
        )
        self.show_list_title(self._title())

    def _narrow(self) -> None:
        """Choose what is listed, anew only where something has changed: there may be thousands of events."""
        words, period, devices = self.words, self._period, self._devices
        wanted = (self._newest, self._origin, words, period, [device.name for device in devices.values()])
        if wanted == self._shown_for:
            return
        self._shown_for = wanted
        self._shown = [
            event
            for event in self._events
            if (period is None or event.time_ms in period)
            and (not words or _has(event, devices[event.meter].name, words))
        ]
        self._keys = [event.id for event in self._shown]

    def _title(self) -> Line:
        total, shown = len(self._events), len(self._shown)
        number = f"{shown} of {total}" if self._period or self.words else str(total)
        whose = LOGS[self._log][0] if self._meter is None else self._devices.get(self._meter, GONE).name
        when = f", {self._period_text}" if self._period else ""
        older = "  the newest" if total == MOST else ""
        return ((f" Events {number}", "title"), (f"{older}  {whose}{when}", "faint"))

    def _event(self) -> Event | None:
        cursor = self.filtered.cursor
        return self._shown[cursor] if cursor < len(self._shown) else None

    def action_ask_period(self) -> None:
        def wrong(text: str) -> str:
            try:
                self._parsed(text)
            except PeriodError as error:
                return str(error)
            return ""

        def taken(text: str | None) -> None:
            if text is not None:
                self._period, self._period_text = self._parsed(text), text.strip()
                self.update_view()

        question = f"Show the events of which time? {EXAMPLES}; nothing for all times."
        self.app.push_screen(AskScreen(question, self._period_text, wrong=wrong), taken)

    def _parsed(self, text: str) -> Period | None:
        now_ms = self.cme.clock() + self.cme.current.clock_offset_ms
        return parse_period(text, self._zone, now_ms) if text.strip() else None

    def action_export(self) -> None:
        if self._shown:
            today = datetime.fromtimestamp(self.cme.clock() / 1000, self._zone).date()
            file = _File(len(self._shown), event_csv(self._shown, self._devices, self._zone).encode())
            self._ask_path(file, f"{self.cme.current.state_dir}/events-{today}.csv")

    def _ask_path(self, file: _File, path: str, problem: str = "") -> None:
        def taken(answer: str | None) -> None:
            if answer is not None:
                self.run_worker(self._write(file, _path(answer)))

        question = f"{problem}Write the {count(file.events, 'event')} of the list to which CSV file?"
        self.app.push_screen(AskScreen(question, path, wrong=_no_path), taken)

    async def _write(self, file: _File, path: Path, overwrite: bool = False) -> None:
        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._write(file, path, overwrite=True))
            else:
                self._ask_path(file, str(path))

        if not overwrite and await asyncio.to_thread(path.is_file):
            question = f"{path} exists. What is in it will be lost."
            self.app.push_screen(ConfirmScreen(question, "Overwrite"), decided)
            return
        try:
            await asyncio.to_thread(write_atomically, path, file.content, 0o644)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._ask_path(file, str(path), f"✗ {path} cannot be written: {reason}.\n")
        else:
            self.cme.say(f"● {count(file.events, 'event')} written to {path}", "good")


def _path(text: str) -> Path:
    return Path(text.strip()).expanduser().absolute()


def _no_path(text: str) -> str:
    return "" if text.strip() else "The name of a file is needed."


def _has(event: Event, device: str, words: list[str]) -> bool:
    text = f"{device} {event.log} {event.code} {event_name(event.code)} {event.message}".casefold()
    return all(word in text for word in words)


def _row(event: Event, device: str, zone: tzinfo, wide: bool) -> Row:
    when, name = datetime.fromtimestamp(event.time_ms // 1000, zone), event_name(event.code)
    return (
        (f"{when:%Y}", "faint"),
        (f"{when:%m-%d %H:%M:%S}", "faint"),
        device,
        ("! fraud", "warn") if event.log is Log.FRAUD else (str(event.log), "faint"),
        str(event.code),
        name if wide or not event.message else f"{name}: {event.message}",
        event.message,
    )
