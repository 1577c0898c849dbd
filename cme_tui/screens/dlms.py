"""F8: the DLMS server: who is connected, what happened, and what goes over the wire."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.polled import Polled
from cme_tui.screens.apdu import ApduScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.rehearsal import rehearsal_screen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import age, clock, clock_offset, count, lowest, moment
from core.errors import CmeError
from core.snapshot import AssociationView, LogEntry, Snapshot, TraceEntry

MOST_APDUS: Final = 500
"""That the list keeps; more than a minute of a head-end that reads as fast as it can is no help to anybody."""

TONES: Final = {
    "refused": "bad",
    "not deciphered": "bad",
    "replay": "bad",
    "associated": "good",
    "connected": "",
    "released": "faint",
    "disconnected": "faint",
}
SYMBOLS: Final = {"bad": "✗", "good": "●", "": "○", "faint": "-"}


class DlmsScreen(FilteredScreen):
    """Clients above; below, the log of their associations or the live trace of their APDUs."""

    TAB = "dlms"
    AUTO_FOCUS = ""
    HELP = (
        "At the top, the lowest authentication of the management client, the security policy, and the frame counter: "
        "the highest invocation counter that the gateway has taken, a head-end has to go on above it.\n"
        "Below that, every client that is connected: the logical device that it addressed and the channel that it "
        "selected, its authentication, how its last request was ciphered, and its requests and errors. The status "
        "line says what the last error was.\n"
        "Then the log (l): clients that came, associated, were refused, and left, with the reason. Or the trace (t): "
        "each APDU as it comes, > received, < sent, with client and server address, its size on the wire and its "
        "meaning; ciphered ones in clear, where they could be deciphered. Enter explains the APDU under the cursor "
        "byte by byte; passwords and keys are never shown. APDUs are recorded while the trace is open, only.\n"
        "r sends a head-end, gurux-dlms, through the whole gateway and reports what it sees; it tries one wrong "
        "password on purpose, which the fraud log notes.\n"
        "/ filters both: an entry stays if all words are found in it, a client's address for instance. The list "
        "follows what is new while the cursor is on its last row."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="Enter", tooltip="explain the APDU under the cursor"),
        Binding(
            "tab",
            "other_side",
            "Below",
            key_display="Tab",
            tooltip="from the clients to the list below, and back",
            priority=True,
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        Binding("l", "watch(False)", "Log", tooltip="what happened to associations"),
        Binding("t", "watch(True)", "Trace", tooltip="the APDUs as they come"),
        Binding("p", "pause", "Pause", tooltip="stop the trace here, or let it go on"),
        FILTER,
        Binding("r", "rehearse", "Rehearse", tooltip="send a head-end through the whole gateway"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._tracing = False
        self._paused = False
        self._clients: tuple[AssociationView, ...] = ()
        self._apdus: deque[TraceEntry] = deque(maxlen=MOST_APDUS)
        self._shown_apdus: list[TraceEntry] = []
        self._shown_log: list[LogEntry] = []
        self._log: Polled[tuple[LogEntry, ...]] = Polled(lambda: self.cme.gateway.association_log())
        self._trace: Polled[tuple[TraceEntry, ...]] = Polled(
            lambda: self.cme.gateway.trace(self._apdus[-1].id if self._apdus else 0)
        )

    def body(self) -> ComposeResult:
        yield Lines(id="server")
        yield Table(
            [
                Column("Client at", 0),
                Column("Client", 14),
                Column("LD", 3, right=True),
                Column("Chan", 4, right=True),
                Column("Auth", 4),
                Column("Ciphering", 11),
                Column("Since", 6, right=True),
                Column("Req", 5, right=True),
                Column("Err", 3, right=True),
            ],
            id="clients",
        )
        yield from self.list_title()
        yield Table(
            [
                Column("Date", 10, wide=True),
                Column("When", 8),
                Column("Client at", 21),
                Column("SAPs", 6),
                Column("What", 16),
                Column("", 0),
            ],
            id="log",
        )
        trace = Table(
            [
                Column("When", 12),
                Column("Client at", 21, wide=True),
                Column("SAPs", 7),
                Column("", 1),
                Column("Protection", 14, wide=True),
                Column("Bytes", 5, right=True),
                Column("APDU", 0),
            ],
            id="trace",
        )
        trace.display = False
        yield trace

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self._log.look()
        if self._tracing and not self._paused and self._trace.look():
            self._apdus.extend(self._trace.value or ())
        coarse = self.cme.profile == "basic"
        clients = self._clients = snapshot.associations
        self.query_one("#server", Lines).show(_server(snapshot))
        table = self.query_one("#clients", Table)
        table.show(
            [(client.peer, client.client, client.logical_device) for client in clients],
            lambda index: _client(clients[index], now_ms, coarse),
        )
        height = 1 + min(len(clients), max(1, self.size.height // 4))
        if table.styles.height is None or table.styles.height.value != height:
            table.styles.height = height
        table.display = bool(clients)
        self._show_lower()
        if self.focused is None or not self.focused.display:
            self.filtered.focus()

    def hint(self) -> Line:
        if self.focused is self.query_one("#clients", Table):
            return _about_client(self._client_under_cursor())
        if self._tracing:
            apdu = self._apdu()
            if apdu is None:
                return ((" Nothing was sent or received since the trace was opened", "faint"),)
            return ((f" {apdu.peer}, {apdu.protection or 'in clear'}: {apdu.title}", "faint"),)
        cursor = self.query_one("#log", Table).cursor
        if cursor >= len(self._shown_log):
            return ()
        event = self._shown_log[cursor]
        return (
            (
                f" {moment(event.time_ms)} {event.peer} {event.event}{': ' if event.text else ''}{event.text}",
                "faint",
            ),
        )

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        above = self.focused is self.query_one("#clients", Table)
        labels = {"Tab": "Below" if above else "Above", "p": "Go on" if self._paused else "Pause"}
        missing = {"l"} if not self._tracing else {"t"}
        if not self._tracing:
            missing |= {"Enter", "p"}
        else:
            missing |= {"r"}  # works, but 80 columns are full
        if self._tracing and (above or self._apdu() is None):
            missing |= {"Enter"}
        if not self._clients:
            missing |= {"Tab"}
        return [(key, labels.get(key, label), action) for key, label, action in keys if key not in missing]

    def on_table_moved(self) -> None:
        self.update_status()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self._tracing and self._apdu() is not None and self.focused is self.filtered:
            self.cme.push_screen(ApduScreen(tuple(self._shown_apdus), self.filtered.cursor))

    def action_other_side(self) -> None:
        clients = self.query_one("#clients", Table)
        (clients if clients.display and self.focused is self.filtered else self.filtered).focus()
        self.update_view()

    def action_watch(self, trace: bool) -> None:
        below = self.focused is not self.query_one("#clients", Table)
        self._tracing = trace
        if below:
            self.filtered.display = True
            self.filtered.focus()
        self.update_view()

    def action_pause(self) -> None:
        if self._tracing:
            self._paused = not self._paused
            self.update_view()

    def action_rehearse(self) -> None:
        try:
            self.cme.push_screen(rehearsal_screen(self.cme.current))
        except CmeError as error:
            self.cme.say(f"✗ {error}", "bad")

    def _show_lower(self) -> None:
        words = self.words
        log, trace = self.query_one("#log", Table), self.query_one("#trace", Table)
        log.display, trace.display = not self._tracing, self._tracing
        if self._tracing:
            apdus = self._shown_apdus = [a for a in self._apdus if all(w in _haystack(a) for w in words)]
            trace.show_growing([apdu.id for apdu in apdus], lambda index: _apdu_row(apdus[index]))
            shown, total = len(apdus), len(self._apdus)
        else:
            known = self._log.value or ()
            entries = self._shown_log = [e for e in known if all(w in _log_haystack(e) for w in words)]
            log.show_growing([entry.id for entry in entries], lambda index: _log_row(entries[index]))
            shown, total = len(entries), len(known)
        number = f"{shown} of {total}" if words else str(total)
        state: Line = ()
        if self._tracing:
            state = (("  paused", "warn"),) if self._paused else (("  ● recording", "good"),)
        title: Line = ((f" {'Trace' if self._tracing else 'Log'} {number}", "title"), *state)
        self.show_list_title(title)

    @property
    def filtered(self) -> Table:
        return self.query_one("#trace" if self._tracing else "#log", Table)

    def _apdu(self) -> TraceEntry | None:
        cursor = self.query_one("#trace", Table).cursor
        return self._shown_apdus[cursor] if cursor < len(self._shown_apdus) else None

    def _client_under_cursor(self) -> AssociationView | None:
        cursor = self.query_one("#clients", Table).cursor
        return self._clients[cursor] if cursor < len(self._clients) else None


def _server(snapshot: Snapshot) -> list[Line]:
    server = snapshot.dlms
    if server.listening:
        status = ("● listening ", "good")
        devices = count(server.logical_devices, "device")
        rest = f"on {server.host}:{server.port}, {devices}"
    else:
        status = ("✗ not listening ", "bad") if server.enabled else ("- off ", "faint")
        rest = server.reason
    lines: list[Line] = [((" DLMS server ", "title"), status, rest)]
    lines.append(
        (
            f"   auth {lowest(server.authentication)}, policy {server.policy}, "
            f"frame counter {server.frame_counter}",
        )
    )
    if offset := clock_offset(snapshot.clock_offset_ms):
        lines.append((f"   clock set to {offset}",))
    if not snapshot.associations:
        lines.append((("   no client connected", "faint"),))
    return lines


def _client(client: AssociationView, now_ms: int, coarse: bool) -> Row:
    return (
        client.peer,
        client.client or ("not associated", "faint"),
        "" if client.logical_device is None else str(client.logical_device),
        "" if client.channel is None else str(client.channel),
        client.authentication,
        client.ciphering,
        (age(client.since_ms, now_ms, coarse), "faint"),
        str(client.requests),
        (str(client.errors), "warn") if client.errors else "0",
    )


def _about_client(client: AssociationView | None) -> Line:
    if client is None:
        return ()
    if client.errors:
        return (f" {client.peer}: {count(client.errors, 'error')}, the last: {client.last_error}",)
    return ((f" {client.peer}: {count(client.requests, 'request')}, no error", "faint"),)


def _saps(client_sap: int | None, sap: int | None) -> str:
    return "" if client_sap is None else f"{client_sap}>{sap}"


def _apdu_row(apdu: TraceEntry) -> Row:
    return (
        (clock(apdu.time_ms), "faint"),
        apdu.peer,
        _saps(apdu.client_sap, apdu.sap),
        ("<", "good") if apdu.sent else (">", "strong"),
        apdu.protection,
        str(apdu.size),
        apdu.title,
    )


def _log_row(entry: LogEntry) -> Row:
    tone = TONES.get(entry.event, "")
    return (
        (moment(entry.time_ms)[:10], "faint"),
        (moment(entry.time_ms)[11:], "faint"),
        entry.peer,
        _saps(entry.client_sap, entry.sap),
        (f"{SYMBOLS[tone]} {entry.event}", tone),
        entry.text,
    )


def _haystack(apdu: TraceEntry) -> str:
    saps = _saps(apdu.client_sap, apdu.sap)
    return f"{apdu.peer} {saps} {'<' if apdu.sent else '>'} {apdu.protection} {apdu.title}".casefold()


def _log_haystack(entry: LogEntry) -> str:
    return f"{entry.peer} {_saps(entry.client_sap, entry.sap)} {entry.event} {entry.text}".casefold()
