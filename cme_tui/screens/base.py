"""What all screens share: title bar, status line, key bar, and being shown the newest snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from cme_tui.widgets.bars import KeyBar, TitleBar
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import WIDE
from core.snapshot import Snapshot

if TYPE_CHECKING:
    from cme_tui.app import CmeApp


class GatewayScreen(Screen[None]):
    """A screen over the gateway. Subclasses say what is on it (`body`) and keep it current (`show`)."""

    AUTO_FOCUS = "Table"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012  # Textual declares it so
    TAB: ClassVar[str] = ""
    HELP: ClassVar[str] = ""  # what the screen is for, shown by F1

    _composed = False  # a screen resumes, and may be asked to show something, before its widgets are there

    @property
    def tab(self) -> str:
        """Which entry of the title bar is marked."""
        return self.TAB

    def body(self) -> ComposeResult:
        """The widgets between title bar and status line."""
        raise NotImplementedError

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        """Bring the screen up to `snapshot`, changing only what differs."""
        raise NotImplementedError

    def hint(self) -> Line:
        """The status line while there is no message."""
        return ()

    def unsaved(self) -> str:
        """What leaving this screen would lose, "2 changes of settings"; "" for nothing."""
        return ""

    def forget(self) -> None:
        """Drop what is not saved."""

    @property
    def cme(self) -> CmeApp:
        """The app, typed."""
        return cast("CmeApp", self.app)

    def compose(self) -> ComposeResult:
        yield TitleBar(self.tab)
        yield from self.body()
        yield Lines(id="status")
        yield KeyBar()

    def on_mount(self) -> None:
        self._composed = True
        self.update_view()

    def on_screen_resume(self) -> None:
        self.update_view()

    def on_descendant_focus(self) -> None:
        self.update_view()

    def update_view(self) -> None:
        """Show the newest snapshot now."""
        if not self._composed:
            return
        snapshot = self.cme.current
        now_ms = self.cme.clock() + snapshot.clock_offset_ms
        demo = "demo · " if snapshot.demo else ""
        self.query_one(TitleBar).show(f"{demo}{snapshot.name or snapshot.serial}")
        self.show(snapshot, now_ms)
        self.update_status()

    def update_status(self) -> None:
        """The app's message if there is one, else the screen's hint; and the keys that work here."""
        if not self._composed:
            return
        line = self.cme.message or self.hint()
        self.query_one("#status", Lines).show([line] if line else [("",)])
        self.query_one(KeyBar).show(self.offered())

    def offered(self) -> list[tuple[str, str, str]]:
        """Printed key, label and action of everything that works here and is meant to be seen."""
        shown = [b for b in self.BINDINGS if isinstance(b, Binding) and b.show and b.description]
        own = [("Esc", "Back", "app.leave")] if self.cme.can_go_back else []
        basic = self.cme.profile == "basic"
        return [
            ("F1", "Help", "app.help"),
            *own,
            *((_printed(b), b.description, _scoped(b.action)) for b in shown),
            ("F12", "Rich" if basic else "Basic", "app.toggle_profile"),
            ("F10", "Quit", "app.quit_gateway"),
        ]


def _printed(binding: Binding) -> str:
    return binding.key_display or binding.key


def _scoped(action: str) -> str:
    return action if "." in action else f"screen.{action}"
