"""One meter: its values, and its telegrams explained byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from cme_tui.polled import Polled
from cme_tui.screens.base import GatewayScreen
from cme_tui.screens.commission import Target, commission
from cme_tui.screens.doctor import DoctorScreen
from cme_tui.widgets.bars import fitting
from cme_tui.widgets.hexview import HexView
from cme_tui.widgets.lines import Line, Lines, Span, flow
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import FUNCTIONS, age, count, meter_identity, moment, next_try, obis, state
from core.diagnosis import LineDiagnosis, Statistics
from core.snapshot import MeterDetail, MeterView, Snapshot, TelegramPart, TelegramView, ValueView

COUNTS_SECONDS: Final = 5.0
"""Between two looks at the counters of a meter in trouble."""
GIVES_WAY: Final = ("p", "n", "F12", "e", "b")
"""Keys that a narrow footer leaves out, the first ones first."""
NO_TELEGRAM = TelegramView(frame=b"", parts=(), error="")


class MeterScreen(GatewayScreen):
    """Values above, telegram below; moving in either lights up the bytes it comes from."""

    TAB = "meters"
    HELP = (
        "Above, every value of the newest readout: the number as the telegram has it, its unit, the OBIS code "
        "under which a DLMS client finds it (none: no mapping names it), function (inst, max, min, err), storage "
        "number and tariff.\n"
        "Below, the telegram as it was received. Moving over the values marks the bytes of that record; Tab goes to "
        "the list of parts, where each part's bytes are marked and the status line says what they mean. A readout "
        "of more than one telegram is stepped through with t.\n"
        "r reads this meter now, in front of a running sweep. w tells it something: another primary address, another "
        "baud rate, the time, an application reset or select; each is verified by reading the meter again. n and p go "
        "to the next and the previous meter, e to the events of this one.\n"
        "Of a meter in trouble the head says why, how its requests ended, and when a silent one is tried next; b shows "
        "its line, and what is probably wrong there."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "tab",
            "other_side",
            "Bytes",
            key_display="Tab",
            tooltip="to the bytes, and back to the values",
            priority=True,
        ),
        Binding("shift+tab", "other_side", show=False, priority=True),
        Binding("r", "read", "Read", tooltip="read this meter now, in front of any sweep"),
        Binding(
            "t", "next_telegram", "Telegram", tooltip="next telegram, where the readout has more than one"
        ),
        Binding("e", "events", "Events", tooltip="the events of this meter"),
        Binding("w", "write", "Write", tooltip="give it an address, a baud rate, the time, or reset it"),
        Binding("b", "doctor", "Bus", tooltip="the bus doctor: how the line of this meter does, and why"),
        Binding("n", "step(1)", "Next", tooltip="next meter of the list"),
        Binding("p", "step(-1)", "Previous", tooltip="previous meter of the list"),
    ]

    def __init__(self, key: int, neighbours: Sequence[int]) -> None:
        super().__init__()
        self._neighbours = tuple(neighbours)
        self._key = key
        self._detail: MeterDetail | None = None
        self._asked_for: tuple[int | None, int | None] | None = None
        self._telegram = 0
        self._error = ""
        self._diagnosis = self._polled()

    def body(self) -> ComposeResult:
        yield Lines(id="meter")
        yield Table(
            [
                Column("Value of", 0),
                Column("Value", 19, right=True),
                Column("Unit", 6),
                Column("OBIS code", 12),
                Column("COSEM", 30, wide=True),
                Column("Func", 4),
                Column("St", 3, right=True),
                Column("T", 2, right=True),
                Column("Age", 6, right=True),
            ],
            id="values",
        )
        yield Lines(id="telegram-title")
        with Horizontal(id="telegram"):
            yield HexView(id="hex")
            yield Table([Column("Part", 14), Column("Meaning", 0)], id="parts")

    def offered(self) -> list[tuple[str, str, str]]:
        several = self._detail is not None and len(self._detail.telegrams) > 1
        other_side = "Values" if self._on_parts() else "Bytes"
        keys = [
            (key, other_side if key == "Tab" else label, action)
            for key, label, action in super().offered()
            if several or key != "t"
        ]
        return fitting(keys, self.size.width, GIVES_WAY)

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        meter = next((m for m in snapshot.meters if m.key == self._key), None)
        if meter is None:
            self.query_one("#meter", Lines).show([(" This meter is no longer installed; Esc goes back",)])
            return
        stamp = (meter.last_reading_ms, meter.last_try_ms)
        if self._asked_for != stamp:
            self._asked_for = stamp
            self.run_worker(self._load(), exclusive=True)
        coarse = self.cme.profile == "basic"
        self.query_one("#meter", Lines).show(
            [
                *_heading(meter, self._detail, now_ms, coarse, self.size.width),
                *self._trouble(meter, now_ms, coarse),
            ]
        )
        values = self._detail.values if self._detail else ()
        read_ms = meter.last_reading_ms
        table = self.query_one("#values", Table)
        table.show(
            [(v.telegram, v.offset, n) for n, v in enumerate(values)],
            lambda index: _row(values[index], read_ms, now_ms, coarse),
        )
        telegram = self._shown_telegram()
        self.query_one("#hex", HexView).show(telegram.frame)
        parts = telegram.parts
        self.query_one("#parts", Table).show(
            [(self._telegram, part.offset) for part in parts],
            lambda index: ((parts[index].label, "faint"), parts[index].meaning),
        )
        self._light()

    def hint(self) -> Line:
        if self._error:
            return ((f" {self._error}", "bad"),)
        part = self._part()
        if part is not None and self._on_parts():
            return (f" {_span(part.offset, part.length)} {part.label}: {part.meaning}",)
        view = self._value()
        if view is None:
            return ((" This meter has not been read yet; r reads it now", "faint"),)
        if view.cosem:
            return (f" {view.description}: {view.cosem} as {view.obis}",)
        return ((f" {view.description}: record {view.dib}, in no mapping (F4)", "faint"),)

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table.id == "values" and (view := self._value()) is not None:
            self._telegram = view.telegram
            self._cursor_to_record(view)
        self.update_view()

    def action_other_side(self) -> None:
        values, parts = self.query_one("#values", Table), self.query_one("#parts", Table)
        (values if self._on_parts() else parts).focus()

    def action_next_telegram(self) -> None:
        telegrams = self._detail.telegrams if self._detail else ()
        if len(telegrams) < 2:
            return
        self._telegram = (self._telegram + 1) % len(telegrams)
        self.query_one("#parts", Table).focus()
        self.update_view()

    def action_read(self) -> None:
        self.run_worker(self._read())

    def action_events(self) -> None:
        self.cme.open_events(self._key)

    def action_doctor(self) -> None:
        meter = next((m for m in self.cme.current.meters if m.key == self._key), None)
        if meter is not None:
            self.cme.push_screen(DoctorScreen(meter.line))

    def action_write(self) -> None:
        meter = next((m for m in self.cme.current.meters if m.key == self._key), None)
        if meter is not None:
            address = meter.address.removeprefix("primary ")
            commission(self.cme, Target(meter.line, address, meter.name, installed=True))

    def action_step(self, by: int) -> None:
        installed = {meter.key for meter in self.cme.current.meters}
        keys = [key for key in self._neighbours if key in installed or key == self._key]
        self._key = keys[(keys.index(self._key) + by) % len(keys)]
        self._detail, self._asked_for, self._telegram, self._error = None, None, 0, ""
        self._diagnosis = self._polled()
        self.query_one("#values", Table).move_to(0)
        self.update_view()

    def _polled(self) -> Polled[LineDiagnosis]:
        line = next((meter.line for meter in self.cme.current.meters if meter.key == self._key), "")
        return Polled(lambda: self.cme.gateway.diagnosis(line), every=COUNTS_SECONDS)

    def _trouble(self, meter: MeterView, now_ms: int, coarse: bool) -> list[Line]:
        """What is wrong with the meter, when it is tried again, and how its requests ended."""
        sentences = []
        if meter.reason:
            again = next_try(meter)
            sentences.append(f"{meter.reason} {again.capitalize()}." if again else meter.reason)
        if meter.fcb_fault:
            sentences.append(f"It has an FCB fault, so values may be old or missing: {meter.fcb_fault}.")
        if not sentences:
            return []
        self._diagnosis.look()
        for each in self._diagnosis.value.meters if self._diagnosis.value else ():
            if each.key == meter.key and each.statistics.tries:
                sentences.append(_counted(each.statistics, now_ms, coarse))
        width = max(20, self.size.width - 4)
        return [((f"   {text}", "warn"),) for sentence in sentences for text in wrap(sentence, width)]

    async def _read(self) -> None:
        key = self._key
        detail = await self.cme.read_meter(key)
        if detail is not None and key == self._key:
            self._take(detail)

    async def _load(self) -> None:
        key = self._key
        future = self.cme.gateway.meter(key)
        if await self.cme.answer(future, "Loading the meter") and key == self._key:
            self._take(future.result())

    def _take(self, detail: MeterDetail) -> None:
        self._detail = detail
        self._telegram = min(self._telegram, max(0, len(detail.telegrams) - 1))
        self._error = next((telegram.error for telegram in detail.telegrams if telegram.error), "")
        self.update_view()
        if not self._on_parts() and (view := self._value()) is not None:
            self._cursor_to_record(view)

    def _shown_telegram(self) -> TelegramView:
        telegrams = self._detail.telegrams if self._detail else ()
        return telegrams[self._telegram] if self._telegram < len(telegrams) else NO_TELEGRAM

    def _on_parts(self) -> bool:
        return self.focused is self.query_one("#parts", Table)

    def _value(self) -> ValueView | None:
        values = self._detail.values if self._detail else ()
        cursor = self.query_one("#values", Table).cursor
        return values[cursor] if cursor < len(values) else None

    def _part(self) -> TelegramPart | None:
        parts = self._shown_telegram().parts
        cursor = self.query_one("#parts", Table).cursor
        return parts[cursor] if cursor < len(parts) else None

    def _cursor_to_record(self, view: ValueView) -> None:
        for index, part in enumerate(self._shown_telegram().parts):
            if part.offset <= view.offset < part.offset + part.length:
                self.query_one("#parts", Table).move_to(index)
                return

    def _light(self) -> None:
        telegram, part, view = self._shown_telegram(), self._part(), self._value()
        record, bright = range(0), range(0)
        if self._on_parts() and part is not None:
            bright = range(part.offset, part.offset + part.length)
            if part.record is not None:
                offsets = [
                    o
                    for p in telegram.parts
                    if p.record == part.record
                    for o in (p.offset, p.offset + p.length)
                ]
                record = range(min(offsets), max(offsets))
        elif view is not None and view.telegram == self._telegram:
            record = range(view.offset, view.offset + view.length)
            bright = range(view.data_offset, view.offset + view.length)
        self.query_one("#hex", HexView).light(record, bright)
        self.query_one("#telegram-title", Lines).show([self._title(telegram, record)])

    def _title(self, telegram: TelegramView, record: range) -> Line:
        number = len(self._detail.telegrams) if self._detail else 0
        which = f" Telegram {self._telegram + 1} of {number}" if number else " Telegram"
        if not telegram.frame:
            return ((which, "title"), ("  none yet", "faint"))
        marked = f"  marked: {_span(record.start, len(record))}" if record else ""
        error = (f"  ! {telegram.error}", "warn") if telegram.error else ""
        return ((which, "title"), (f"  {count(len(telegram.frame), 'byte')}{marked}", "faint"), error)


def _span(offset: int, length: int) -> str:
    return f"byte {offset:04x}" if length == 1 else f"bytes {offset:04x}-{offset + length - 1:04x}"


def _heading(
    meter: MeterView, detail: MeterDetail | None, now_ms: int, coarse: bool, width: int
) -> list[Line]:
    version = "" if meter.version is None else f"version {meter.version}"
    word, tone = state(meter)
    status = "" if meter.status is None else f"  status {meter.status:02x}"
    kept = "" if detail is None else f", {count(detail.readings, 'reading')} kept"
    # A secondary address only repeats the identity.
    where = f"{meter.address} on {meter.line}" if meter.address.startswith("primary") else f"on {meter.line}"
    read_ms = meter.last_reading_ms
    tried = (
        f", tried {age(meter.last_try_ms, now_ms, coarse)} ago" if meter.reason and meter.last_try_ms else ""
    )
    names: list[Span] = [
        (f" {meter.name}", "title"),
        f"  {' '.join(filter(None, (meter_identity(meter), version, meter.medium)))}",
        (f"  {where}, device {meter.logical_device}", "faint"),
    ]
    last: list[Span] = [
        (f" {word}", tone),
        f"  read {age(read_ms, now_ms, coarse)} ago" if read_ms else "  never read",
        (f" ({moment(read_ms)})" if read_ms else "", "faint"),
        tried,
        (f"{status}{kept}" if read_ms else "", "faint"),
    ]
    return [*flow(names, width), *flow(last, width)]


def _counted(statistics: Statistics, now_ms: int, coarse: bool) -> str:
    """How many requests a meter got, and what was wrong with the answers."""
    wrong = (
        count(number, what)
        for number, what in (
            (statistics.timeouts, "time-out"),
            (statistics.late, "late answer"),
            (statistics.checksum_errors, "wrong checksum"),
            (statistics.collisions, "collision"),
            (statistics.noise + statistics.cut + statistics.unexpected, "other fault"),
        )
        if number
    )
    requests = f"{count(statistics.tries, 'request')} in {age(statistics.since_ms, now_ms, coarse)}"
    return f"{requests}: {', '.join([count(statistics.answers, 'good answer'), *wrong])}"


def _row(view: ValueView, read_ms: int | None, now_ms: int, coarse: bool) -> Row:
    return (
        view.description,
        view.text if not view.error else (view.error, "warn"),
        view.unit,
        obis(view.obis) if view.obis else ("-", "faint"),
        view.cosem,
        (FUNCTIONS.get(view.function, view.function), "faint"),
        (str(view.storage), "faint"),
        (str(view.tariff), "faint"),
        (age(read_ms, now_ms, coarse), "faint"),
    )
