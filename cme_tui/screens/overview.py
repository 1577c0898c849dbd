"""F2: the whole gateway at a glance, what is wrong first."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.meters.wording import in_short, notes
from cme_tui.push.wording import summary
from cme_tui.screens.lines import LinesScreen
from cme_tui.screens.meter_table import OPEN, READ, READ_ALL, MeterTableScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.lines import Line, Lines, Span, clip, flow
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import (
    SYMBOLS,
    age,
    bar,
    count,
    lowest,
    meter_identity,
    moment,
    state,
    sweep_left,
    trouble,
    until,
    value,
)
from core.searching import SearchState
from core.snapshot import AssociationView, LineState, LineView, MeterState, MeterView, Snapshot

QUIET = (MeterState.OK, MeterState.WAITING, MeterState.DISABLED)
MAX_ALARM_ROWS = 4
MAX_LINES = 4
MAX_CLIENTS = 3
LONGEST_NAME = 20
"""Cells of the name of a line."""
OTHER_ROWS = 8
"""Rows of what has always as many: both bars, identity, heading and two meters of the table, pushes, status."""
FRAUD_MS = 24 * 3_600_000
"""So long the newest event of the fraud log is pointed at."""


class OverviewScreen(MeterTableScreen):
    """Lines, meters, DLMS server and alarms of the gateway."""

    TAB = "overview"
    HELP = (
        "The state of the whole gateway. Meters that need attention stand first.\n"
        "A line shows its running sweep with the number of meters read and the time left, then when the next one "
        "starts. Under DLMS server stand the clients that are connected, with the logical device that each has "
        "selected and how it authenticated. The last line tells of the pushes, what is wrong with them first.\n"
        "! below a line is what the bus doctor says, or a schedule that the line is too slow for; l shows it in full, "
        "and adds, changes and removes lines.\n"
        "After a change in config.toml or in mappings, c applies it without a restart."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        OPEN,
        READ,
        READ_ALL,
        Binding(
            "c",
            "reload",
            "Reload config",
            tooltip="read config.toml and mappings again and apply what changed",
        ),
        Binding("l", "lines", "Lines", tooltip="the M-Bus lines: add, change, remove, find meters"),
    ]

    def body(self) -> ComposeResult:
        yield Lines(id="identity")
        yield Lines(id="alarms")
        yield Lines(id="lines")
        yield Lines(id="meters-title")
        yield Table(
            [
                Column("State", 13),
                Column("Meter", 0),
                Column("Meter id", 12, wide=True),
                Column("Medium", 12),
                Column("LD", 3, right=True, wide=True),
                Column("Value", 13, right=True),
                Column("Unit", 6),
                Column("Age", 6, right=True),
            ],
            id="meters",
        )
        yield Lines(id="next")
        yield Lines(id="dlms")
        yield Lines(id="pushes")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        coarse = self.cme.profile == "basic"
        self.query_one("#identity", Lines).show([_identity(snapshot, now_ms, coarse)])
        alarms = _alarms(snapshot, now_ms, coarse, self.size.width)
        dlms = _dlms(snapshot, now_ms, coarse)
        title = _meters_title(snapshot, self.size.width)
        room = self.size.height - len(alarms) - len(dlms) - len(title) - OTHER_ROWS
        self.query_one("#alarms", Lines).show(alarms)
        self.query_one("#lines", Lines).show(_lines(snapshot, now_ms, coarse, self.size.width, room))
        self.query_one("#dlms", Lines).show(dlms)
        self.meters = sorted(snapshot.meters, key=lambda meter: meter.state in QUIET)
        self.query_one("#meters-title", Lines).show(title)
        table = self.query_one("#meters", Table)
        meters = self.meters
        table.show_ordered([m.key for m in meters], lambda index: _row(meters[index], now_ms, coarse))
        table.display = bool(meters)
        if meters and self.focused is None:
            table.focus()
        advice = self.query_one("#next", Lines)
        advice.display = not meters
        advice.show(_advice(snapshot))
        self.query_one("#pushes", Lines).show(
            [((" Push ", "title"), *summary(snapshot.push, now_ms, coarse))]
        )

    def hint(self) -> Line:
        meter = self.meter
        if meter is None:
            return ((f" State is kept in {self.cme.current.state_dir}", "faint"),)
        if meter.reason:
            return (f" {trouble(meter)}",)
        return (
            (
                f" {meter.name}: {meter.address} on {meter.line}, read {moment(meter.last_reading_ms)}",
                "faint",
            ),
        )

    def offered(self) -> list[tuple[str, str, str]]:
        keys = [key for key in super().offered() if self.meters or key[0] not in ("Enter", "r", "R")]
        return fitting(keys, self.size.width, ("R",))

    def on_table_moved(self) -> None:
        self.update_status()

    def action_lines(self) -> None:
        self.cme.push_screen(LinesScreen())

    def action_reload(self) -> None:
        self.run_worker(self.cme.reload())


def _identity(snapshot: Snapshot, now_ms: int, coarse: bool) -> Line:
    return (
        (" Serial ", "faint"),
        snapshot.serial,
        ("  System title ", "faint"),
        snapshot.system_title,
        ("  Version ", "faint"),
        snapshot.version,
        ("  Up ", "faint"),
        age(snapshot.started_ms, now_ms, coarse),
    )


def _alarms(snapshot: Snapshot, now_ms: int, coarse: bool, width: int) -> list[Line]:
    fraud = ("", "")
    if snapshot.last_fraud_ms is not None and now_ms - snapshot.last_fraud_ms < FRAUD_MS:
        fraud = (f"  ! fraud log: {age(snapshot.last_fraud_ms, now_ms, coarse)} ago, see F7", "warn")
    if not snapshot.alarms:
        return [((" Alarms ", "title"), ("● none", "good"), fraud)]
    lines: list[Line] = [((" Alarms ", "title"), (f"✗ {len(snapshot.alarms)}", "bad"), fraud)]
    rows: list[Line] = []
    for number, alarm in enumerate(snapshot.alarms):
        wrapped = wrap(alarm, max(20, width - 18)) or [""]
        if rows and len(rows) + len(wrapped) > MAX_ALARM_ROWS:
            rows[-1] = (*rows[-1], (f"  (and {len(snapshot.alarms) - number} more)", "faint"))
            break
        rows += [(("    " if row else "  ! ", "warn"), text) for row, text in enumerate(wrapped)]
    return lines + rows


def _lines(snapshot: Snapshot, now_ms: int, coarse: bool, width: int, room: int) -> list[Line]:
    """At most `room` rows, as far as that is possible: remarks on the lines give way first."""
    lines: list[Line] = [((" Lines", "title"), (f"  readout every {snapshot.readout_interval}", "faint"))]
    ordered = list(snapshot.lines)
    if len(ordered) > MAX_LINES:
        ordered.sort(key=lambda line: line.state is LineState.UP)
    shown, hidden = ordered[:MAX_LINES], ordered[MAX_LINES:]
    remarks = [_below(line, now_ms, coarse, width) for line in shown]
    names = max((min(cell_len(line.name), LONGEST_NAME) for line in shown), default=0)
    room -= len(lines) + len(shown) + bool(hidden)
    below = next((rows for rows in (2, 1) if sum(len(each[:rows]) for each in remarks) <= room), 0)
    for line, remark in zip(shown, remarks, strict=True):
        lines += [_line(line, names, now_ms, coarse), *remark[:below]]
    if hidden:
        down = sum(line.state is not LineState.UP for line in hidden)
        lines.append(((f"  and {len(hidden)} more, {down} of them not up", "faint"),))
    if not snapshot.lines:
        lines.append(("  none yet; l adds one",))
    return lines


def _line(line: LineView, names: int, now_ms: int, coarse: bool) -> Line:
    symbol, tone = SYMBOLS[line.state]
    return (
        (f" {symbol} {line.state.value:<10} ", tone),
        (f"{clip(line.name, max(10, names))} ", "strong"),
        f"{line.url}  {line.baud} baud  {count(line.meters, 'meter')}",
        (f"  for {age(line.since_ms, now_ms, coarse)}", "faint"),
    )


def _below(line: LineView, now_ms: int, coarse: bool, width: int) -> list[Line]:
    """What there is to say about a line, the most urgent first, two lines at most."""
    searching = in_short(line, now_ms, coarse, 20 if width < 100 else 30)
    noted = notes(line, now_ms, coarse)
    said: list[Line] = [(f"   {line.reason}",)] if line.reason else []
    if noted:
        said.append(("   ", (f"(1 of {len(noted)}, l) ", "faint") if noted[1:] else "", noted[0]))
    if searching:
        said.insert(0 if line.search and line.search.state is SearchState.RUNNING else len(said), searching)
    if not line.meters and not said:
        said.append((("   no meter on this line yet", "faint"),))
    elif not line.reason and not searching:
        said.append(_sweep(line, now_ms, coarse, width))
    return said


def _sweep(line: LineView, now_ms: int, coarse: bool, width: int) -> Line:
    sweep = line.sweep
    coming = "" if line.next_sweep_ms is None else f", next in {until(line.next_sweep_ms, now_ms, coarse)}"
    if sweep is None:
        return ((f"   not swept yet{coming}", "faint"),)
    failed = (f", {sweep.failed} failed", "bad") if sweep.failed else ""
    skipped = line.schedule.skipped if line.schedule else 0
    missed = (f", {count(skipped, 'readout')} skipped", "bad") if skipped else ""
    if sweep.finished_ms is not None:
        ago = age(sweep.finished_ms, now_ms, coarse)
        took = max(0, sweep.finished_ms - sweep.started_ms) / 1000
        text = f"   last sweep {ago} ago: {sweep.done - sweep.failed} of {sweep.total} read in {took:.1f} s"
        return (text, failed, missed, (coming, "faint"))
    left = sweep_left(sweep, now_ms)
    return (
        "   sweep ",
        (bar(sweep.done, sweep.total, 20 if width < 100 else 30), "good"),
        f" {sweep.done}/{sweep.total}",
        failed,
        missed,
        f", {left} left" if left else "",
        (f"  {sweep.current}", "faint"),
    )


def _meters_title(snapshot: Snapshot, width: int) -> list[Line]:
    counts: dict[MeterState, int] = {}
    for meter in snapshot.meters:
        counts[meter.state] = counts.get(meter.state, 0) + 1
    spans: list[Span] = [(f" Meters {len(snapshot.meters)}", "title")]
    for which in MeterState:
        if counts.get(which):
            symbol, tone = SYMBOLS[which]
            spans.append((f"  {symbol} {counts[which]} {which.value}", tone))
    return flow(spans, width)


def _row(meter: MeterView, now_ms: int, coarse: bool) -> Row:
    shown = meter.headline
    broken = shown is not None and bool(shown.error)
    return (
        state(meter),
        meter.name,
        meter_identity(meter),
        meter.medium,
        str(meter.logical_device),
        (value(shown), "warn") if broken else value(shown),
        shown.unit if shown is not None and not broken else "",
        (age(meter.last_reading_ms, now_ms, coarse), "faint"),
    )


def _advice(snapshot: Snapshot) -> list[Line]:
    config = f"{snapshot.state_dir}/config.toml"
    if not snapshot.lines:
        return [
            ("  This gateway has no M-Bus line yet.",),
            (
                ("    l", "strong"),
                "   then ",
                ("a", "strong"),
                " adds one: a serial port, or a level converter behind TCP",
            ),
            (("    F6", "strong"), "  then ", ("f", "strong"), " finds the meters on it and installs them"),
            (f"  Or write it by hand into {config}",),
            (("    [[line]]", "strong"),),
            (('    url = "serial:/dev/ttyUSB0"    # or "tcp:192.0.2.10:10001"', "strong"),),
            ("  and press c to apply it.",),
            ("  To look around first: cme-tui --demo has a simulated line with meters.",),
        ]
    return [
        ("  No meter is installed yet.",),
        (("    F6", "strong"), "  then ", ("f", "strong"), " finds the meters on a line and installs them"),
        (("    F6", "strong"), "  then ", ("a", "strong"), " installs one by hand"),
        (f"  Or write it by hand into {config}",),
        (("    [[meter]]", "strong"),),
        (('    address = 5        # primary, or secondary: "12345678"', "strong"),),
        ("  and press c to apply it.",),
    ]


def _dlms(snapshot: Snapshot, now_ms: int, coarse: bool) -> list[Line]:
    server = snapshot.dlms
    address = f"{server.host}:{server.port}"
    if server.listening:
        status = ("● listening ", "good")
        devices = count(server.logical_devices, "device")
        rest = f"on {address}, {devices}, auth {lowest(server.authentication)}"
    elif not server.enabled:
        status, rest = ("- off", "faint"), " ([dlms] enabled = false in config.toml)"
    else:
        status, rest = ("✗ not listening ", "bad"), server.reason
    lines: list[Line] = [((" DLMS server ", "title"), status, rest)]
    shown = snapshot.associations[:MAX_CLIENTS]
    lines += [_client(association, now_ms, coarse) for association in shown]
    more = len(snapshot.associations) - len(shown)
    if more > 0:
        lines.append(((f"   and {count(more, 'client')} more", "faint"),))
    if server.listening and not snapshot.associations:
        lines.append((("   no client connected", "faint"),))
    return lines


def _client(association: AssociationView, now_ms: int, coarse: bool) -> Line:
    device = "no device" if association.logical_device is None else f"device {association.logical_device}"
    return (
        f"   {association.peer:<22} {association.client or 'not associated':<16} {device:<10} ",
        f"{association.authentication or 'none':<5}",
        (
            f" {age(association.since_ms, now_ms, coarse):>6}, {count(association.requests, 'request')}",
            "faint",
        ),
    )
