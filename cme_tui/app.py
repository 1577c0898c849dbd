"""The Textual application: asks the core for its newest snapshot and shows it on the visible screen."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input

from cme_tui.driver import TerminalDriver
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.dlms import DlmsScreen
from cme_tui.screens.events import EventsScreen
from cme_tui.screens.help import HelpScreen
from cme_tui.screens.mapping import MappingScreen
from cme_tui.screens.meter import MeterScreen
from cme_tui.screens.meters import MetersScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.push import PushScreen
from cme_tui.screens.settings import SettingsScreen
from cme_tui.terminal import Profile, Terminal
from cme_tui.themes import BASIC, RICH
from cme_tui.widgets.lines import Span
from cme_tui.wording import count
from core.errors import CmeError
from core.facade import Gateway
from core.snapshot import LineState, MeterDetail, Snapshot

PULL_SECONDS = {"rich": 0.25, "basic": 1.0}
"""How often the visible screen asks for a snapshot."""

PROGRESS_AFTER_SECONDS = 0.1
PROGRESS_AT_LEAST_SECONDS = 1.0


def wall_clock() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class CmeApp(App[None]):
    """One operator's view of a gateway. It never waits for the core, and the core never for it."""

    TITLE = "cme-tui"
    CSS_PATH = "styles.tcss"
    ENABLE_COMMAND_PALETTE = False
    ESCAPE_TO_MINIMIZE = False
    SCREENS: ClassVar = {
        "overview": OverviewScreen,
        "settings": SettingsScreen,
        "mapping": MappingScreen,
        "push": PushScreen,
        "meters": MetersScreen,
        "events": EventsScreen,
        "dlms": DlmsScreen,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", show=False),
        Binding("f2", "go('overview')", show=False),
        Binding("f3", "go('settings')", show=False),
        Binding("f4", "go('mapping')", show=False),
        Binding("f5", "go('push')", show=False),
        Binding("f6", "go('meters')", show=False),
        Binding("f7", "go('events')", show=False),
        Binding("f8", "go('dlms')", show=False),
        Binding("f10", "quit_gateway", show=False),
        Binding("f12", "toggle_profile", show=False),
        Binding("ctrl+l", "redraw", show=False),
        Binding("escape", "leave", show=False),
        # Textual's own: Ctrl+Q is XON on a serial line, and Ctrl+C must not end a gateway by accident.
        Binding("ctrl+q", "nothing", show=False, priority=True),
        Binding("ctrl+c", "say_quit_key", show=False, priority=True),
    ]

    def __init__(
        self,
        gateway: Gateway,
        clock: Callable[[], int] = wall_clock,
        profile: Profile = "rich",
        terminal: Terminal | None = None,
    ) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.gateway = gateway
        self.clock = clock
        self.terminal = terminal or Terminal(profile=profile)
        self.profile: Profile = profile
        self.current: Snapshot = gateway.snapshot()
        self.message: Span = ""
        self._message_until = 0.0
        self._stop_pull: Callable[[], None] = lambda: None
        self._reading: set[int] = set()
        self.register_theme(RICH)
        self.register_theme(BASIC)
        self.animation_level = "none"

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(RICH.variables)

    def on_mount(self) -> None:
        self._apply_profile()
        self.push_screen("overview")
        if threading.current_thread() is threading.main_thread() and not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Paste):
            # What no key types is in no name, path or value; a NUL in a path is not even an OSError.
            event.text = "".join(each for each in event.text if each.isprintable() or each in "\r\n")
        if isinstance(event, events.Key) and event.is_forwarded and event.character and event.is_printable:
            field = self.focused
            if isinstance(field, Input):
                # Typed in one go with the key that opened the field, so it went to what had the focus then.
                field.insert_text_at_cursor(event.character)
                return
        await super().on_event(event)

    def copy_to_clipboard(self, text: str) -> None:
        """Give text to the terminal's clipboard, but not that of a hidden field."""
        if not (isinstance(self.focused, Input) and self.focused.password):
            super().copy_to_clipboard(text)

    @property
    def can_go_back(self) -> bool:
        """Whether a screen lies under the visible one."""
        return len(self.screen_stack) > 2

    def pull(self) -> None:
        """Take the newest snapshot and show it."""
        if not self.is_running:
            return
        self.current = self.gateway.snapshot()
        if self.message and time.monotonic() > self._message_until:
            self.message = ""
        if isinstance(self.screen, GatewayScreen):
            self.screen.update_view()

    def say(self, text: str, tone: str = "", seconds: float = 10.0) -> None:
        """Put a sentence on the status line, which grows to hold it, for a while."""
        self.message = (text, tone) if tone else text
        self._message_until = time.monotonic() + seconds
        if isinstance(self.screen, GatewayScreen):
            self.screen.update_status()

    def _say_nothing(self) -> None:
        self.message = ""
        if isinstance(self.screen, GatewayScreen):
            self.screen.update_status()

    async def answer(self, future: Future[Any], doing: str) -> bool:
        """Wait for a command; shows progress, and the sentence of an error. False after an error."""
        waiting = asyncio.wrap_future(future)
        started = time.monotonic()
        shown_at = None
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=PROGRESS_AFTER_SECONDS)
                if done:
                    break
                now = time.monotonic()
                if shown_at is None:
                    shown_at = now
                self.say(f"{doing} ... {int(now - started)} s", "strong", seconds=3600)
            if shown_at is not None:
                await asyncio.sleep(max(0.0, shown_at + PROGRESS_AT_LEAST_SECONDS - time.monotonic()))
                self._say_nothing()
            await waiting
            return True
        except CmeError as error:
            self.say(f"✗ {error}", "bad", seconds=30)
            return False

    async def read_meter(self, key: int) -> MeterDetail | None:
        """Read one meter now and say how it went."""
        name = next((m.name for m in self.current.meters if m.key == key), "the meter")
        if key in self._reading:
            return None
        self._reading.add(key)
        future = self.gateway.read_meter(key)
        try:
            read = await self.answer(future, f"Reading {name}")
        finally:
            self._reading.discard(key)
        detail = future.result() if read else None
        if detail is not None:
            self.say(f"● {name}: read {count(len(detail.values), 'value')}", "good")
        self.pull()
        return detail

    async def read_all(self) -> None:
        """Start a sweep of all lines."""
        if not self.current.meters:
            self.say("There is no meter to read; f on Meters (F6) finds them.")
            return
        if await self.answer(self.gateway.read_all(), "Starting a sweep"):
            self.say(
                f"Reading all {count(len(self.current.meters), 'meter')}; the Overview shows the progress"
            )
        self.pull()

    async def reload(self) -> None:
        """Apply what changed in config.toml and mappings."""
        if await self.answer(self.gateway.reload(), "Reading config.toml and mappings"):
            self.say("● config.toml and mappings are read again", "good")
        self.pull()

    def open_meter(self, key: int, neighbours: Sequence[int]) -> None:
        """Show one meter's values and telegrams; `neighbours` are the meters to step through from there."""
        self.push_screen(MeterScreen(key, neighbours))

    def open_events(self, meter: int) -> None:
        """Show the events of one meter, by its key."""
        self.push_screen(EventsScreen(meter))

    def action_go(self, name: str) -> None:
        if self._asking():
            return
        target = self.get_screen(name)
        self._leaving([each for each in self.screen_stack if each is not target], lambda: self._go(name))

    def _go(self, name: str) -> None:
        self.message = ""  # "u takes it back" is of the screen that said it
        while self.can_go_back:
            self.pop_screen()
        self.switch_screen(name)

    def action_leave(self) -> None:
        if self.can_go_back and not self._asking():
            self._leaving([self.screen], self._go_back)

    def _go_back(self) -> None:
        self.pop_screen()
        self._say_nothing()  # "the reason stands above" is of the screen that said it

    def _leaving(self, screens: Sequence[Screen[Any]], leave: Callable[[], object]) -> None:
        """Leave these screens; first asks where that loses what is not saved."""
        losing = _unsaved(screens)
        if not losing:
            leave()
            return

        def decided(yes: bool | None) -> None:
            if yes:
                for screen in losing:
                    screen.forget()
                leave()

        self.push_screen(ConfirmScreen(f"{_lost(losing)} Leaving drops that.", "Leave"), decided)

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, GatewayScreen) and not isinstance(screen, HelpScreen):
            self.push_screen(HelpScreen(screen))

    def action_nothing(self) -> None:
        pass

    def action_say_quit_key(self) -> None:
        self.say("F10 quits")

    def action_redraw(self) -> None:
        if isinstance(self._driver, TerminalDriver):
            self._driver.redraw()

    def action_toggle_profile(self) -> None:
        self.profile = "rich" if self.profile == "basic" else "basic"
        self._apply_profile()
        self.pull()

    def action_quit_gateway(self) -> None:
        if self._asking():
            return
        stops = self._what_quitting_stops()
        quits = f"Quit stops the gateway: {stops}." if stops else ""
        question = " ".join(filter(None, (_lost(_unsaved(self.screen_stack)), quits)))
        if not question:
            self.exit()
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.exit()

        self.push_screen(ConfirmScreen(question, "Quit"), decided)

    def _what_quitting_stops(self) -> str:
        now = self.current
        stops = []
        if now.associations:
            stops.append(f"{count(len(now.associations), 'DLMS client is', 'DLMS clients are')} connected")
        reading = [line for line in now.lines if line.state is LineState.UP and line.meters]
        if not now.demo and reading:
            meters = sum(line.meters for line in reading)
            stops.append(f"{count(meters, 'meter is', 'meters are')} no longer read")
        return ", ".join(stops)

    def _asking(self) -> bool:
        return isinstance(self.screen, ConfirmScreen | AskScreen)

    def _apply_profile(self) -> None:
        basic = self.profile == "basic"
        self.theme = BASIC.name if basic else RICH.name
        self.set_class(basic, "-basic")
        if isinstance(self._driver, TerminalDriver):
            self._driver.set_profile(self.profile)
        self._stop_pull()
        self._stop_pull = self.set_interval(PULL_SECONDS[self.profile], self.pull).stop


def _unsaved(screens: Sequence[Screen[Any]]) -> list[GatewayScreen]:
    return [each for each in screens if isinstance(each, GatewayScreen) and each.unsaved()]


def _lost(screens: Sequence[GatewayScreen]) -> str:
    lost = ", ".join(screen.unsaved() for screen in screens)
    return f"Not saved yet: {lost}." if lost else ""


def run_app(gateway: Gateway, terminal: Terminal) -> int:
    """Show the UI on a terminal until the operator quits, the terminal hangs up, or a signal ends the process.

    Returns 0, or 1 if the UI failed (the traceback is on stderr then).
    """
    app = CmeApp(gateway, profile=terminal.profile, terminal=terminal)
    app.run(mouse=terminal.profile == "rich")
    return app.return_code or 0
