"""One event: what happened, what causes such an event, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from cme_tui.event_file import Device, iso_time
from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.wording import age
from core.events import Event, event_name
from core.events.codes import METER_STATUS
from core.events.meaning import meaning, status_bits
from core.snapshot import Snapshot

_MARGIN = 13


class EventScreen(GatewayScreen):
    """Time, device, message, cause, what to do; of a status byte every bit."""

    TAB = "events"
    HELP = (
        "One event in full: when it happened, with the offset of the time zone; whose it is and in which log; the "
        "message; what causes such an event; what to do about it. A change of a meter's status byte (codes 4000 to "
        "4255) is taken apart into its bits, as EN 13757-3 has them.\n"
        "cme-tui events --explain CODE prints the same for any code."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "step(1)", "Next", tooltip="next event of the list"),
        Binding("p", "step(-1)", "Previous", tooltip="previous event of the list"),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
    ]

    def __init__(
        self, events: Sequence[Event], index: int, devices: Mapping[int | None, Device], zone: tzinfo
    ) -> None:
        super().__init__()
        self._events = tuple(events)
        self._index = index
        self._devices = devices
        self._zone = zone

    def body(self) -> ComposeResult:
        with VerticalScroll(id="event-text", can_focus=False):
            yield Lines(id="event")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        event, width = self._events[self._index], max(40, min(100, self.size.width - 4))
        said = meaning(event.code)
        ago = age(event.time_ms, now_ms, self.cme.profile == "basic")
        log = ("! fraud log", "warn") if event.log == "fraud" else f"{event.log} log"
        lines: list[Line] = [
            (
                (f"{event.code} {event_name(event.code)}", "title"),
                (f"  {self._index + 1} of {len(self._events)}", "faint"),
            ),
            ("",),
            *_paragraph("When", f"{iso_time(event, self._zone)} {self._zone}, {ago} ago", width),
            *_paragraph("Where", _whose(self._devices[event.meter]), width),
            (("Log".ljust(_MARGIN), "faint"), log),
            *_paragraph("Message", event.message or "-", width),
            ("",),
            *_paragraph("Cause", said.cause, width),
            ("",),
            *_paragraph("What to do", said.action, width),
        ]
        if METER_STATUS <= event.code <= METER_STATUS + 0xFF:
            lines += _status(event.code - METER_STATUS)
        self.query_one("#event", Lines).show(lines)

    def action_step(self, by: int) -> None:
        self._index = (self._index + by) % len(self._events)
        self.query_one("#event-text", VerticalScroll).scroll_home(animate=False)
        self.update_view()

    def action_scroll(self, by: int) -> None:
        self.query_one("#event-text", VerticalScroll).scroll_relative(y=by, animate=False)


def _paragraph(heading: str, text: str, width: int) -> list[Line]:
    rows = wrap(text, width - _MARGIN)
    return [((("" if number else heading).ljust(_MARGIN), "faint"), row) for number, row in enumerate(rows)]


def _whose(device: Device) -> str:
    number = "" if device.logical_device is None else f", device {device.logical_device}"
    return f"{device.name}{number}" + (f", meter {device.identification}" if device.identification else "")


def _status(status: int) -> list[Line]:
    lines: list[Line] = [("",), ((f"Status byte {status:02X}h", "title"),)]
    for bit in status_bits(status):
        tone = "warn" if "1" in bit.value else "faint"
        lines.append(((f"  {bit.bits:<{_MARGIN - 2}}", "faint"), f"{bit.value:<5}", (bit.says, tone)))
    return lines
