"""The bus doctor: how one line and its meters do, what is probably wrong, and the evidence."""

from __future__ import annotations

from concurrent.futures import Future
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.polled import Polled
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.line_trace import LineTraceScreen
from cme_tui.widgets.lines import Line, Lines, Span
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import bar, count, moment
from core.diagnosis import CheckView, Finding, LineDiagnosis, MeterDiagnosis, Severity, Statistics
from core.snapshot import Snapshot

ASK_SECONDS: Final = 1.0
"""Between two looks at the counters."""

MOST_FINDINGS: Final = 5
"""Rows of the upper list; it scrolls where there are more."""

ORDERS: Final = ("trouble", "name", "delay", "tries")
"""What `s` steps through."""

SEVERITIES: Final = {
    Severity.FAULT: ("✗ fault", "bad"),
    Severity.WARNING: ("! warning", "warn"),
    Severity.NOTICE: ("○ notice", ""),
    Severity.GOOD: ("● good", "good"),
}


class DoctorScreen(FilteredScreen):
    """Verdict and findings above, the meters' counters below."""

    TAB = "meters"
    AUTO_FOCUS = "#meters"
    SPARE = ("/", "s", "z", "F12")
    HELP = (
        "How a line does, by every request that the gateway sent on it. At the top the verdict: what is most "
        "probably wrong, or that nothing is. Then what was counted on the whole line, and its load: the share of time "
        "in which the wire was taken.\n"
        "The findings stand below, worst first, each with what it is, what to do, and its evidence: the lines above "
        "the keys have them in full. Tab goes to them and back to the meters.\n"
        "For each meter: requests, time-outs, answers with a wrong checksum, collisions, answers that were otherwise "
        "disturbed (noise, broken off, unexpected), and how long it took to begin its answer in ms. s changes the "
        "order: trouble first, name, slowest first, most tries first.\n"
        "a asks every meter a few times, one after the other between the readouts, so that there is something to judge "
        "by; a again ends that. Do that after a repair, too: a fault is forgotten once enough good answers came. "
        "t shows the requests and answers as they come, l goes to the next line, z counts from "
        "now."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "tab",
            "other_side",
            "Findings",
            key_display="Tab",
            tooltip="to the findings, and back to the meters",
            priority=True,
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        FILTER,
        Binding("s", "sort", "Sort", tooltip="next order: trouble, name, delay, tries"),
        Binding("a", "check", "Ask all", tooltip="ask every meter a few times now, or end that"),
        Binding("t", "trace", "Trace", tooltip="requests and answers as they come"),
        Binding("l", "next_line", "Line", tooltip="the next line"),
        Binding("z", "reset", "Reset", tooltip="count from now"),
    ]

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line
        self._order = 0
        self._shown: list[MeterDiagnosis] = []
        self._findings: tuple[Finding, ...] = ()
        self._diagnosis = self._polled()

    def body(self) -> ComposeResult:
        yield Lines(id="doctor")
        yield Table([Column("Finding", 10), Column("Where", 20), Column("What it is", 0)], id="findings")
        yield from self.list_title()
        yield Table(
            [
                Column("", 1),
                Column("Meter", 0),
                Column("Address", 20, wide=True),
                Column("Tries", 6, right=True),
                Column("T-out", 5, right=True),
                Column("Check", 5, right=True),
                Column("Coll", 5, right=True),
                Column("Other", 5, right=True),
                Column("min", 5, right=True),
                Column("mean", 5, right=True),
                Column("max ms", 6, right=True),
            ],
            id="meters",
        )
        yield Lines(id="detail")

    @property
    def filtered(self) -> Table:
        return self.query_one("#meters", Table)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self._diagnosis.look()
        found = self._diagnosis.value
        self._show_head(found)
        self._findings = found.findings if found else ()
        table = self.query_one("#findings", Table)
        table.display = bool(self._findings)
        table.styles.height = min(len(self._findings), MOST_FINDINGS) + 1
        findings = self._findings
        table.show([(f.fault, f.meter) for f in findings], lambda index: _finding_row(findings[index]))
        words = self.words
        everyone = found.meters if found else ()
        chosen = [m for m in everyone if all(word in _haystack(m) for word in words)]
        order = ORDERS[self._order]
        meters = self._shown = sorted(chosen, key=lambda meter: _sort_key(meter, order))
        self.filtered.show([m.address for m in meters], lambda index: _meter_row(meters[index]))
        number = f"{len(meters)} of {len(everyone)}" if words else str(len(everyone))
        self.show_list_title(((f" Meters {number}", "title"), (f"  {order} first", "faint")))
        self.show_detail()

    def detail(self) -> str:
        finding = self._finding()
        if finding is not None:
            where = f"{finding.meter}: " if finding.meter else ""
            return f"{where}{finding.sentence} Evidence: {finding.evidence}"
        return ""

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        missing = set()
        if not self._findings:
            missing.add("Tab")
        if len(self.cme.current.lines) < 2:
            missing.add("l")
        labels = {"Tab": "Meters"} if self._on_findings() else {}
        if self._checking:
            labels["a"] = "End"
        return self.fitting(
            [(k, labels.get(k, label), action) for k, label, action in keys if k not in missing]
        )

    def on_table_moved(self) -> None:
        self.show_detail()
        self.update_status()

    def action_other_side(self) -> None:
        other = self.query_one("#findings", Table)
        (other if self._findings and not self._on_findings() else self.filtered).focus()
        self.update_view()

    def action_sort(self) -> None:
        self._order = (self._order + 1) % len(ORDERS)
        self.update_view()

    def action_trace(self) -> None:
        self.cme.push_screen(LineTraceScreen(self._line))

    def action_next_line(self) -> None:
        names = [line.name for line in self.cme.current.lines]
        if names:
            at = names.index(self._line) if self._line in names else -1
            self._line = names[(at + 1) % len(names)]
            self._diagnosis = self._polled()
            self.update_view()

    def action_reset(self) -> None:
        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._reset())

        question = f"Count the requests of {self._line} from now? What was counted so far is dropped."
        self.cme.push_screen(ConfirmScreen(question, "Count from now"), decided)

    def action_check(self) -> None:
        gateway = self.cme.gateway
        if self._checking:
            self.run_worker(self._check(gateway.stop_check(self._line), "Ending the check"))
        else:
            self.run_worker(self._check(gateway.start_check(self._line), "Beginning to ask"))

    async def _check(self, future: Future[None], doing: str) -> None:
        if await self.cme.answer(future, doing):
            self._diagnosis.again()
            self.update_view()

    @property
    def _checking(self) -> bool:
        found = self._diagnosis.value
        return found is not None and found.check is not None and found.check.running

    async def _reset(self) -> None:
        if await self.cme.answer(self.cme.gateway.reset_diagnosis(self._line), "Resetting the counters"):
            self._diagnosis.again()
            self.update_view()

    def _polled(self) -> Polled[LineDiagnosis]:
        line = self._line
        return Polled(lambda: self.cme.gateway.diagnosis(line), every=ASK_SECONDS)

    def _show_head(self, found: LineDiagnosis | None) -> None:
        head = self.query_one("#doctor", Lines)
        title = (f" Bus doctor: {self._line}", "title")
        if found is None or self._diagnosis.error:
            head.show([(title,), (f" {self._diagnosis.error or 'looking at the line ...'}",)])
            return
        worst = found.findings[0].severity if found.findings else Severity.GOOD
        word, tone = SEVERITIES[worst]
        verdict = wrap(f"{word.partition(' ')[0]} {found.verdict}", max(20, self.size.width - 2))
        recording: Span = ""
        if found.recorded_to:
            recording = (f"  recording {count(found.recorded, 'request')}", "strong")
        elif found.recording_reason:
            recording = ("  ! the recording has ended: t tells why", "warn")
        head.show(
            [
                (title, f"  load {found.load:.0%}", recording),
                *_check_lines(found.check),
                *(((f" {text}", tone),) for text in verdict),
                ((f" {_counted(found.statistics)}", "faint"),),
            ]
        )

    def _on_findings(self) -> bool:
        return self.focused is self.query_one("#findings", Table)

    def _finding(self) -> Finding | None:
        """What the lines above the keys are about: the finding, or that of the meter, under the cursor."""
        if self._on_findings():
            cursor = self.query_one("#findings", Table).cursor
            return self._findings[cursor] if cursor < len(self._findings) else None
        cursor = self.filtered.cursor
        findings = self._shown[cursor].findings if cursor < len(self._shown) else ()
        return findings[0] if findings else None


def _counted(each: Statistics) -> str:
    parts = [
        count(each.tries, "request"),
        count(each.timeouts, "time-out"),
        count(each.checksum_errors, "wrong checksum"),
        count(each.collisions, "collision"),
    ]
    if each.echoes:
        parts.append("echoes")
    return f"since {moment(each.since_ms)[5:16]}: {', '.join(parts)}"


def _check_lines(check: CheckView | None) -> list[Line]:
    if check is None:
        return []
    if check.running:
        progress = f"{bar(check.done, check.total, 20)} {check.done}/{check.total}"
        return [((f" asking {progress}", "strong"), f"  {check.current}")]
    if check.reason:
        return [((f" ! {check.done} of {check.total} meters were asked: {check.reason}", "warn"),)]
    return [((f" all {count(check.total, 'meter')} were asked", "faint"),)]


def _finding_row(finding: Finding) -> Row:
    return (SEVERITIES[finding.severity], finding.meter or "the line", finding.fault)


def _meter_row(meter: MeterDiagnosis) -> Row:
    each = meter.statistics
    worst = meter.findings[0].severity if meter.findings else Severity.GOOD
    word, tone = SEVERITIES[worst] if each.tries else ("-", "faint")
    other = each.noise + each.cut + each.unexpected + each.late
    return (
        (word[0], tone),
        meter.name,
        meter.address,
        str(each.tries),
        _number(each.timeouts),
        _number(each.checksum_errors),
        _number(each.collisions),
        _number(other),
        _ms(each.delay_min_s),
        _ms(each.delay_mean_s),
        _ms(each.delay_max_s),
    )


def _number(number: int) -> tuple[str, str]:
    return (str(number), "warn") if number else ("0", "faint")


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f}"


def _haystack(meter: MeterDiagnosis) -> str:
    faults = " ".join(finding.fault for finding in meter.findings)
    return f"{meter.name} {meter.address} {faults}".casefold()


_RANK: Final = {Severity.FAULT: 0, Severity.WARNING: 1, Severity.NOTICE: 2, Severity.GOOD: 3}


def _sort_key(meter: MeterDiagnosis, order: str) -> tuple[float, float, str]:
    each, name = meter.statistics, meter.name.casefold()
    match order:
        case "trouble":
            worst = _RANK[meter.findings[0].severity] if meter.findings else 3
            return worst, each.answers - each.tries, name
        case "delay":
            return -(each.delay_max_s or 0.0), 0, name
        case "tries":
            return -each.tries, 0, name
    return 0, 0, name
