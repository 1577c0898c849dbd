"""The trace of one line: requests and answers as they come, with their meaning; and recording them to a file."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cme_tui.polled import Polled
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.filtered import FILTER, FilteredScreen
from cme_tui.screens.line_try import LineTryScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import clock, count
from core.diagnosis import LineDiagnosis, LineTraceEntry
from core.snapshot import Snapshot

MOST_ENTRIES: Final = 500
"""That the list keeps."""

ASK_SECONDS: Final = 1.0
"""Between two looks at how the recording goes."""


class LineTraceScreen(FilteredScreen):
    """Each request with its answer; Enter explains them byte by byte."""

    TAB = "meters"
    HELP = (
        "Every request that goes over the line, as it ends: when it was sent, the meter, what was asked, what came "
        "back and after how many ms; x2 is the second try of the same request. What went wrong is said instead of the "
        "answer: no answer, noise, checksum error, collision, broken off, unexpected answer.\n"
        "f shows only what went wrong. p stops the list here, or lets it go on. / filters: an entry stays if all "
        "words are found in it. The list follows what is new while the cursor is on its last row. Enter explains "
        "request and answer byte by byte.\n"
        "w writes all that goes over the line to a file until w is pressed again; 'cme-tui simulate --replay FILE' "
        "plays it as a simulated line. It holds the meters' telegrams, so treat it as you treat their values."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="Enter", tooltip="explain the bytes"),
        Binding("f", "faults", "Faults", tooltip="only what went wrong, or all"),
        Binding("p", "pause", "Pause", tooltip="stop the list here, or let it go on"),
        FILTER,
        Binding("w", "record", "Record", tooltip="write all that goes over the line to a file, or end that"),
    ]

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line
        self._faults = False
        self._paused = False
        self._entries: deque[LineTraceEntry] = deque(maxlen=MOST_ENTRIES)
        self._shown: list[LineTraceEntry] = []
        self._trace: Polled[tuple[LineTraceEntry, ...]] = Polled(
            lambda: self.cme.gateway.line_trace(line, self._entries[-1].id if self._entries else 0)
        )
        self._diagnosis: Polled[LineDiagnosis] = Polled(
            lambda: self.cme.gateway.diagnosis(line), every=ASK_SECONDS
        )

    def body(self) -> ComposeResult:
        yield from self.list_title()
        yield Table(
            [
                Column("When", 12),
                Column("Meter", 14),
                Column("", 2),
                Column("Request", 18),
                Column("Answer", 0),
                Column("ms", 5, right=True),
            ],
            id="line-trace",
        )
        yield Lines(id="detail")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self._diagnosis.look()
        if not self._paused and self._trace.look():
            self._entries.extend(self._trace.value or ())
        words = self.words
        entries = self._shown = [
            entry
            for entry in self._entries
            if (entry.fault or not self._faults) and all(word in _haystack(entry) for word in words)
        ]
        self.filtered.show_growing([entry.id for entry in entries], lambda index: _row(entries[index]))
        narrowed = words or self._faults
        number = f"{len(entries)} of {len(self._entries)}" if narrowed else str(len(entries))
        found = self._diagnosis.value
        recording: Line = ()
        if self._diagnosis.error:
            recording = ((f"  ! {self._diagnosis.error}", "warn"),)
        elif found is not None and found.recorded_to:
            recording = ((f"  ● recording {count(found.recorded, 'request')}", "good"),)
        elif found is not None and found.recording_reason:
            recording = (("  ! the recording has ended", "warn"),)
        only = ("  faults only", "warn") if self._faults else ""
        paused = ("  paused", "warn") if self._paused else ""
        self.show_list_title(((f" Trace of {self._line} {number}", "title"), only, paused, *recording))
        self.show_detail()

    def detail(self) -> str:
        entry = self._entry()
        if entry is None:
            return (
                self._trace.error or "Nothing went over the line yet; r on the Meters screen reads a meter."
            )
        echo = ", echoed" if entry.echo else ""
        found = self._diagnosis.value
        file = ""
        if found is not None and found.recording:
            file = f" {found.recording_reason or f'Recording to {found.recording}.'}"
        return (
            f"{entry.purpose} at {entry.baud} baud: {entry.request_meaning}{echo} -> "
            f"{entry.answer_meaning}.{file}"
        )

    def offered(self) -> list[tuple[str, str, str]]:
        keys = super().offered()
        if self.typing:
            return keys
        found = self._diagnosis.value
        labels = {
            "p": "Go on" if self._paused else "Pause",
            "f": "All" if self._faults else "Faults",
            "w": "End record" if found is not None and found.recorded_to else "Record",
        }
        return self.fitting([(key, labels.get(key, label), action) for key, label, action in keys])

    def on_table_moved(self) -> None:
        self.show_detail()
        self.update_status()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self._entry() is not None:
            self.cme.push_screen(LineTryScreen(tuple(self._shown), self.filtered.cursor))

    def action_faults(self) -> None:
        self._faults = not self._faults
        self.update_view()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self.update_view()

    def action_record(self) -> None:
        found = self._diagnosis.value
        if found is not None and found.recorded_to:
            self.run_worker(self._record(None, f"Ended; the recording is {found.recorded_to}"))
            return

        def decided(text: str | None) -> None:
            if text is not None:
                path = Path(text.strip()).expanduser()
                self.run_worker(self._record(path, f"Recording to {path}"))

        question = f"Record all that goes over {self._line} to which file?"
        name = "".join(each if each.isalnum() else "-" for each in self._line)
        self.cme.push_screen(AskScreen(question, f"{Path.cwd()}/{name}.mbus", wrong=_wrong_path), decided)

    async def _record(self, path: Path | None, done: str) -> None:
        future = self.cme.gateway.record_line(self._line, path)
        if await self.cme.answer(future, "Opening the file" if path else "Closing the file"):
            self.cme.say(f"● {done}", "good")
        self._diagnosis.again()
        self.update_view()

    def _entry(self) -> LineTraceEntry | None:
        cursor = self.filtered.cursor
        return self._shown[cursor] if cursor < len(self._shown) else None


def _wrong_path(text: str) -> str:
    return "" if text.strip() else "Type the path of a file."


def _row(entry: LineTraceEntry) -> Row:
    answer = (f"✗ {entry.fault}", "bad") if entry.fault else entry.answer_meaning
    return (
        (clock(entry.time_ms), "faint"),
        entry.meter or entry.address or "-",
        "" if entry.number == 1 else f"x{entry.number}",
        entry.request_meaning,
        answer,
        "" if entry.delay_s is None else f"{entry.delay_s * 1000:.0f}",
    )


def _haystack(entry: LineTraceEntry) -> str:
    return (
        f"{entry.meter} {entry.address} {entry.purpose} {entry.request_meaning} {entry.answer_meaning} {entry.fault}"
    ).casefold()
