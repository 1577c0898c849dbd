"""Rows and lines of the push screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cme_tui.push.wording import destination, label, notification_state, report_symbol, size
from cme_tui.widgets.lines import Line, Span
from cme_tui.widgets.table import Row
from cme_tui.wording import age, moment, until
from core.config import Report
from core.snapshot import PushReportView, PushView
from core.store.outbox import Notification, NotificationState

MAX_DESTINATIONS: Final = 3


def destination_lines(push: PushView, now_ms: int, coarse: bool) -> list[Line]:
    """The default HES, and below it those that something goes to, what fails first."""
    default = f"{push.receiver}, client SAP {push.client_sap}" if push.receiver else ""
    lines: list[Line] = [((" Default HES ", "title"), default or ("- none yet; press h", "warn"))]
    shown = sorted(push.destinations, key=lambda view: not view.failures)
    lines += [(" ", *destination(view, now_ms, coarse)) for view in shown[:MAX_DESTINATIONS]]
    if others := shown[MAX_DESTINATIONS:]:
        failing = sum(bool(view.failures) for view in others)
        lines[-1] = (*lines[-1], (f"  and {len(others)} more, {failing} of them failing", "faint"))
    return lines


def report_row(report: Report, view: PushReportView | None, push: PushView, now_ms: int, coarse: bool) -> Row:
    """A row of the list of reports; `view` is None for one that config.toml does not have."""
    symbol, tone = report_symbol(view, push)
    name = (f"{symbol} {label(report)}", tone)
    if view is None:
        return (name, ("-", "faint"), "", "", "", "", "", "")
    schedule = view.schedule or "meters change"
    on = view.enabled
    goes: Span = "default HES" if view.destination == push.receiver else view.destination
    if on and not view.destination:
        goes = ("- none", "warn")
    sends = f"newest {view.last_rows}" if view.last_rows else "what is unsent"
    return (
        name,
        schedule if on else (schedule, "faint"),
        goes,
        "" if report == "on_installation" else sends,
        until(view.next_ms, now_ms, coarse) if view.next_ms is not None else "-",
        (age(view.last_ms, now_ms, coarse) if view.last_ms is not None else "-", "faint"),
        str(view.waiting),
        size(view.waiting_bytes) if view.waiting else "",
    )


def about_report(
    report: Report, view: PushReportView | None, ledger: Sequence[Notification], now_ms: int, coarse: bool
) -> Line:
    """The status line for a report: what is wrong, else what became of its newest notification."""
    if view is None or not view.enabled:
        return ((f" {label(report)} is off; Enter switches it on", "faint"),)
    if view.problem:
        return ((f" {label(report)}: {view.problem}", "warn"),)
    words = [f"to {view.destination}"]
    if view.waiting:
        words.append(
            f"{view.waiting} wait ({size(view.waiting_bytes)}), the oldest for {age(view.oldest_ms, now_ms, coarse)}"
        )
    last = next((each for each in ledger if each.report == report), None)
    if last is None:
        words.append("nothing was made yet")
    elif last.delivered_ms is not None:
        words.append(f"the last one delivered {age(last.delivered_ms, now_ms, coarse)} ago")
    elif last.reason:
        words.append(last.reason)
    return ((f" {label(report)} {', '.join(words)}", "faint"),)


def device(notification: Notification, names: dict[int, str]) -> str:
    """Name of the device that a notification tells of; `names` are those of the meters, by key."""
    if notification.meter is None:
        return "gateway"
    return names.get(notification.meter, f"removed, LD {notification.sap}")


def notification_row(found: Notification, device: str, now_ms: int, coarse: bool) -> Row:
    """A row of the ledger."""
    waits = found.state is NotificationState.WAITING
    return (
        str(found.id),
        notification_state(found),
        label(found.report),
        device,
        str(found.rows),
        str(found.tries),
        (age(found.created_ms, now_ms, coarse), "faint"),
        until(found.next_try_ms, now_ms, coarse) if waits and found.next_try_ms is not None else "-",
        size(found.wire_size) if found.wire_size is not None else f"({size(found.size)})",
    )


def about_notification(found: Notification) -> Line:
    """The status line for a notification: why it was not delivered yet, else what it holds."""
    span = "" if found.first_ms is None else f", rows of {moment(found.first_ms)} to {moment(found.last_ms)}"
    what = f" {found.id}{', by hand' if found.manual else ''}{span}"
    if found.state is NotificationState.DELIVERED:
        return ((f"{what}, delivered {moment(found.delivered_ms)}", "faint"),)
    if found.reason:
        return ((f" {found.reason}", "warn"),)
    return ((f"{what}, made {moment(found.created_ms)}, not tried yet", "faint"),)


def searched(found: Notification, names: dict[int, str]) -> str:
    """The text in which the words of a filter are looked for."""
    words = (str(found.id), label(found.report), device(found, names), found.state.value, found.reason)
    return " ".join(words).casefold()
