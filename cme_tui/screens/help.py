"""F1: what the screen is for, its keys, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Line, Lines
from core.snapshot import Snapshot

EVERYWHERE = (
    ("F1 ?", "this help; Esc goes back"),
    ("F2", "Overview: the whole gateway at a glance"),
    ("F3", "Settings: how the gateway works, password and keys"),
    ("F4", "OBIS mapping: active files, meter types, and what a file would change"),
    ("F5", "Push reports: schedules, destinations, and what became of each notification"),
    ("F6", "Meters: find and install them, the list, and each meter's values and telegrams"),
    ("F7", "Events: what happened to the gateway and its meters, and what to do"),
    ("F8", "DLMS: clients, what happened to them, and their APDUs"),
    ("F12", "switch between rich (colours) and basic (serial console)"),
    ("Ctrl+L", "draw the screen again, when the line has garbled it"),
    ("F10", "quit; asks first if that stops something"),
    ("Up Down PgUp PgDn Home End", "move; j and k work as well"),
)


class HelpScreen(GatewayScreen):
    """Help for the screen that it lies over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", "Scroll", key_display="Up/Down"),
        Binding("pageup", "scroll(-15)", show=False),
        Binding("pagedown", "scroll(15)", show=False),
    ]

    def __init__(self, about: GatewayScreen) -> None:
        super().__init__()
        self._about = about
        self._text = about.HELP
        self._keys = [
            (b.key_display or b.key, b.tooltip)
            for b in about.BINDINGS
            if isinstance(b, Binding) and b.tooltip
        ]

    @property
    def tab(self) -> str:
        return self._about.tab

    def body(self) -> ComposeResult:
        with VerticalScroll(id="help-text", can_focus=False):
            yield Lines(id="help")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        width = max(40, min(100, self.size.width - 4))
        lines: list[Line] = [(("What this screen is for", "title"),)]
        for paragraph in self._text.split("\n"):
            lines += [(text,) for text in wrap(paragraph, width)]
        lines += [("",), (("Keys here", "title"),)]
        lines += _keys(self._keys, width)
        lines += [("",), (("Keys everywhere", "title"),)]
        lines += _keys(EVERYWHERE, width)
        lines += [("",), (("Files", "title"),)]
        here = snapshot.state_dir
        files = (
            ("config.toml", f"{here}/config.toml, settings, lines and meters"),
            ("mappings", f"{here}/mappings/, which value goes to which OBIS code"),
            ("secrets.toml", f"{here}/secrets.toml, keys and passwords, readable by its owner only"),
            ("gateway.db", f"{here}/gateway.db, every telegram as it was received"),
            ("cme-tui.log", f"{here}/cme-tui.log, what happened while this UI ran"),
        )
        lines += _keys(files, width)
        lines += [
            ("",),
            (("Signs", "title"),),
            ("● good   ○ waiting   ✗ failed   ! look at it   - switched off",),
        ]
        self.query_one("#help", Lines).show(lines)

    def action_scroll(self, by: int) -> None:
        self.query_one("#help-text", VerticalScroll).scroll_relative(y=by, animate=False)


def _keys(keys: Sequence[tuple[str, str]], width: int) -> list[Line]:
    lines: list[Line] = []
    for key, what in keys:
        name = f"  {key:<14}" if len(key) <= 13 else f"  {key}  "
        first, *more = wrap(f"{name}{what}", width, subsequent_indent=" " * 16)
        lines += [((name, "strong"), first[len(name) :]), *((line,) for line in more)]
    return lines
