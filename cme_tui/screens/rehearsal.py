"""The rehearsal: a head-end system tries this gateway, one step after the other."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from textwrap import wrap
from typing import ClassVar, Final, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.worker import Worker

from cme_tui.hes.access import load_access
from cme_tui.hes.rehearsal import Outcome, Rehearsal, Step
from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.lines import Line, Lines
from cme_tui.widgets.table import Column, Row, Table
from cme_tui.wording import bar, count
from core.snapshot import Snapshot

log = logging.getLogger(__name__)

SYMBOLS: Final[dict[Outcome, tuple[str, str]]] = {
    Outcome.PASSED: ("●", "good"),
    Outcome.FAILED: ("✗", "bad"),
    Outcome.SKIPPED: ("-", "faint"),
}
BAR_CELLS: Final = 16


class StepSource(Protocol):
    """What the screen shows: `cme_tui.hes.rehearsal.Rehearsal`."""

    doing: str
    total: int | None

    def steps(self) -> AsyncGenerator[Step, None]: ...


def rehearsal_screen(snapshot: Snapshot) -> RehearsalScreen:
    """A screen that rehearses with the gateway of `snapshot`. Raises `CmeError` where its files cannot be read."""
    access = load_access(Path(snapshot.state_dir), snapshot.dlms.host, snapshot.dlms.port)
    return RehearsalScreen(Rehearsal(access))


class RehearsalScreen(GatewayScreen):
    """The steps as they come; the rehearsal runs while this screen is there."""

    TAB = "dlms"
    HELP = (
        "A head-end system tries this gateway: public and management associations with every authentication that is "
        "set up, object list, every value and the profiles of each logical device, channel selection, and at last a "
        "wrong password, which has to be refused.\n"
        "The client is gurux-dlms, which others wrote, in a process of its own. It shows that the two understand each "
        "other; it does not check that the gateway's answers are authentic.\n"
        "Enter on a step shows everything that was seen. s stops; leaving the screen stops, too."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="Enter", tooltip="show all of what a step has seen"),
        Binding("s", "stop", "Stop", tooltip="stop the rehearsal; what has been done stays on the screen"),
    ]

    def __init__(self, source: StepSource) -> None:
        super().__init__()
        self._source = source
        self._steps: list[Step] = []
        self._worker: Worker[None] | None = None

    def body(self) -> ComposeResult:
        yield Lines(id="summary")
        yield Table(
            [
                Column("Result", 9),
                Column("Step", 29),
                Column("What was seen", 0),
                Column("Time", 7, right=True),
            ],
            id="steps",
        )

    def on_mount(self) -> None:
        self._worker = self.run_worker(self._rehearse())

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        self.query_one("#summary", Lines).show([self._summary()])
        steps = self._steps
        self.query_one("#steps", Table).show(range(len(steps)), lambda index: _row(steps[index]))

    def hint(self) -> Line:
        step = self._step()
        if step is None:
            return ()
        return (f" {step.text.splitlines()[0]}",)

    def offered(self) -> list[tuple[str, str, str]]:
        return [key for key in super().offered() if key[0] != "s" or self._rehearsing()]

    def on_table_moved(self) -> None:
        self.update_status()

    def on_table_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if (step := self._step()) is not None:
            self.cme.push_screen(StepScreen(step))

    def action_stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()

    async def _rehearse(self) -> None:
        table = self.query_one("#steps", Table)
        try:
            async with aclosing(self._source.steps()) as made:
                async for step in made:
                    follows = table.cursor >= len(self._steps) - 1
                    self._steps.append(step)
                    self.update_view()
                    if follows:
                        table.move_to(len(self._steps) - 1)
        except Exception:
            # It must not take the gateway along.
            log.exception("The rehearsal ended for an unforeseen reason; please report this")
            self.cme.say("✗ The rehearsal failed; the log says why", "bad", seconds=30)
        finally:
            self._worker = None
            if self.is_running:
                self.update_view()

    def _rehearsing(self) -> bool:
        return self._worker is not None

    def _step(self) -> Step | None:
        cursor = self.query_one("#steps", Table).cursor
        return self._steps[cursor] if cursor < len(self._steps) else None

    def _summary(self) -> Line:
        numbers = [
            (f"  {sum(step.outcome is outcome for step in self._steps)} {outcome}", tone)
            for outcome, (_, tone) in SYMBOLS.items()
        ]
        done, total = len(self._steps), self._source.total
        if self._rehearsing():
            progress = f"  {bar(done, total, BAR_CELLS)} {done} of {total}" if total else f"  {done} done"
            return ((" Rehearsal", "title"), progress, *numbers, (f"  {self._source.doing}", "faint"))
        if total is None or done < total:
            return ((" Rehearsal", "title"), ("  stopped", "warn"), f" after {count(done, 'step')}", *numbers)
        return ((" Rehearsal", "title"), "  done", *numbers)


class StepScreen(GatewayScreen):
    """Everything that one step has seen."""

    AUTO_FOCUS = ""
    TAB = "dlms"
    HELP = (
        "What one step of the rehearsal has seen, as a head-end system gets it. Esc goes back to the steps."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", "Scroll", key_display="Up/Down"),
        Binding("pageup", "scroll(-15)", show=False),
        Binding("pagedown", "scroll(15)", show=False),
    ]

    def __init__(self, step: Step) -> None:
        super().__init__()
        self._made = step

    def body(self) -> ComposeResult:
        yield Lines(id="step")
        with VerticalScroll(id="help-text", can_focus=False):
            yield Lines(id="seen")

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        step = self._made
        symbol, tone = SYMBOLS[step.outcome]
        heading: Line = (
            (f" {step.name}", "title"),
            (f"  {symbol} {step.outcome}", tone),
            (f"  {step.seconds:.1f} s", "faint"),
        )
        self.query_one("#step", Lines).show([heading])
        width = max(40, self.size.width - 4)
        lines: list[Line] = []
        for line in step.text.splitlines():
            lines += [(part,) for part in wrap(line, width, subsequent_indent="  ") or [""]]
        self.query_one("#seen", Lines).show(lines)

    def action_scroll(self, by: int) -> None:
        self.query_one("#help-text", VerticalScroll).scroll_relative(y=by, animate=False)


def _row(step: Step) -> Row:
    symbol, tone = SYMBOLS[step.outcome]
    return (
        (f"{symbol} {step.outcome}", tone),
        step.name,
        step.text.splitlines()[0],
        (f"{step.seconds:.1f} s", "faint"),
    )
