"""How searches and their results are told: in a line, in numbers, in words with symbols."""

from __future__ import annotations

from typing import Final

from cme_tui.widgets.lines import Line, Span
from cme_tui.wording import age, bar, count
from core.searching import FoundMeter, SearchState, SearchView, Verdict
from core.snapshot import LineView

VERDICTS: Final = {
    Verdict.FOUND: ("✓ found", "good"),
    Verdict.UNEXPECTED: ("! unexpected", "warn"),
    Verdict.MISSING: ("✗ missing", "bad"),
}
STATES: Final = {
    SearchState.RUNNING: ("● running", "good"),
    SearchState.WAITING: ("! waits", "warn"),
    SearchState.PAUSED: ("○ paused", "warn"),
    SearchState.STOPPED: ("- stopped", "warn"),
    SearchState.DONE: ("✓ done", "good"),
}
RESTING: Final = (SearchState.PAUSED, SearchState.STOPPED)
"""States from which a search can go on when it is told to."""


def found(view: SearchView) -> list[FoundMeter]:
    """The meters that answered."""
    return [meter for meter in view.meters if meter.verdict is not Verdict.MISSING]


def installable(view: SearchView) -> list[FoundMeter]:
    """The meters that answered and are not installed yet."""
    return [meter for meter in found(view) if not meter.installed]


def share(view: SearchView) -> str:
    """How far a search has come, "43 %"; not 100 before its end."""
    done = view.state is SearchState.DONE
    return "100 %" if done else f"{min(99, int(view.share * 100))} %"


def left(view: SearchView, coarse: bool = False) -> str:
    """The time left, ", about 2 min left"; "" where it cannot be told or it is over."""
    if view.left_s is None or view.state is SearchState.DONE:
        return ""
    return f", {'at least' if view.at_least else 'about'} {age(0, round(view.left_s * 1000), coarse)} left"


def progress(view: SearchView, width: int, coarse: bool = False) -> Line:
    """Bar, share and time left."""
    filled = 1000 if view.state is SearchState.DONE else int(view.share * 1000)
    return (
        bar(filled, 1000, width),
        "good",
    ), f" {share(view)}, {count(view.probes, 'probe')}{left(view, coarse)}"


def in_short(line: LineView, now_ms: int, coarse: bool, width: int) -> Line:
    """The search of a line, in one line of the Overview; () where nothing is to be done about it."""
    view = line.search
    if view is None:
        return ()
    numbers = f"{share(view)}, {len(found(view))} found"
    match view.state:
        case SearchState.RUNNING:
            bar_cells: Span = (bar(int(view.share * 1000), 1000, width), "good")
            return "   searching ", bar_cells, f" {numbers}{left(view, coarse)}"
        case SearchState.WAITING:
            return (f"   search waits at {numbers}: {view.reason}",)
        case SearchState.DONE:
            new = len(installable(view))
            ago = age(view.finished_ms, now_ms, coarse)
            said = f"   search done {ago} ago: {count(new, 'meter')} to install, f on Meters (F6)"
            return ((said, "strong"),) if new else ()
    return ((f"   search {view.state.value} at {numbers}; f on Meters (F6) goes on", "strong"),)


def notes(line: LineView, now_ms: int, coarse: bool) -> list[Span]:
    """What else is to be known about a line: what is wrong first."""
    said: list[Span] = []
    if line.health:
        said.append((f"! {line.health}", "warn"))
    if line.schedule is not None and not line.schedule.fits:
        said.append((f"! {line.schedule.sentence}", "warn"))
    port = line.transparent
    if port is not None and not port.listening:
        said.append((f"! transparent port {port.port}: {port.reason}", "warn"))
    elif port is not None and port.client:
        turned_away = f", {count(port.refused, 'other')} turned away" if port.refused else ""
        held = age(port.since_ms, now_ms, coarse)
        said.append(f"transparent port {port.port}: {port.client} for {held}{turned_away}")
    return said
