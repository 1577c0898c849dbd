"""How pushes are spoken of: reports, destinations and notifications."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, get_args

from cme_tui.wording import age, count, until
from core.config import Report
from core.interval import Interval
from core.push.completeness import DayState
from core.snapshot import DestinationView, PushReportView, PushView
from core.store.outbox import Notification, NotificationState

if TYPE_CHECKING:  # commands speak of pushes too, and they do without Textual
    from cme_tui.widgets.lines import Line

REPORTS: Final[tuple[Report, ...]] = get_args(Report)
"""All types, configured or not, in the order in which they are listed."""

SYMBOLS: Final = {
    NotificationState.WAITING: ("○", ""),
    NotificationState.DELIVERED: ("●", "good"),
    NotificationState.EXPIRED: ("✗", "bad"),
    NotificationState.CANCELLED: ("-", "faint"),
}
"""Symbol and tone of every state of a notification."""

DAYS: Final = {
    DayState.DELIVERED: ("●", "good"),
    DayState.WAITING: ("○", ""),
    DayState.INCOMPLETE: ("!", "warn"),
    DayState.GIVEN_UP: ("✗", "bad"),
    DayState.NOTHING: ("·", "faint"),
}
"""Symbol and tone of every state of a day."""


def label(report: str) -> str:
    """`load profile 1`."""
    return report.replace("_", " ")


def size(octets: int) -> str:
    """A number of bytes in at most six characters."""
    for unit in ("B", "kB", "MB"):
        if octets < 10_000:
            return f"{octets} {unit}"
        octets = round(octets / 1000)
    return f"{octets} GB"


def report_symbol(report: PushReportView | None, push: PushView) -> tuple[str, str]:
    """Symbol and tone: - off, ✗ something is wrong, ○ waiting, ● all that was made is delivered."""
    if report is None or not report.enabled:
        return "-", "faint"
    if report.problem or (report.waiting and destination_of(report.type, push.destinations, failing=True)):
        return "✗", "bad"
    if report.waiting or report.last_ms is None:
        return "○", ""
    return "●", "good"


def spacing(interval: Interval) -> str:
    """How often a profile with this interval has a row."""
    return "a row for every reading" if interval.is_all else f"a row every {interval}"


def destination_of(
    report: str, destinations: Iterable[DestinationView], *, failing: bool = False
) -> DestinationView | None:
    """Where something of the report waits to go to; with `failing` only if that comes to nothing."""
    fitting = (each for each in destinations if report in each.reports and (each.failures or not failing))
    return next(fitting, None)


def destination(view: DestinationView, now_ms: int, coarse: bool = False) -> Line:
    """How it goes with a destination, in one line."""
    name = view.address or "no destination"
    waiting = f", {view.waiting} wait" if view.waiting else ""
    if view.failures:
        since = "" if view.since_ms is None else f" since {age(view.since_ms, now_ms, coarse)}"
        again = "trying now" if view.sending else f"next try in {until(view.next_try_ms, now_ms, coarse)}"
        why = view.reason.removeprefix(name).strip().rstrip(".")
        return ((f"✗ {name}", "bad"), f"{since}, {again}{waiting}: {why}")
    if view.sending:
        return ((f"○ {name}", "strong"), f" sending{waiting}")
    if not view.address:
        return ((f"✗ {name}", "bad"), f"{waiting}: set the default HES, or one of the report")
    if view.delivered_ms is not None:
        return ((f"● {name}", "good"), f" delivered {age(view.delivered_ms, now_ms, coarse)} ago{waiting}")
    return (f"○ {name}", (f" nothing sent yet since the start{waiting}", "faint"))


def summary(push: PushView, now_ms: int, coarse: bool = False) -> Line:
    """The push side in one line: what is wrong first, then what comes next."""
    enabled = [report for report in push.reports if report.enabled]
    failing = [view for view in push.destinations if view.failures or (view.waiting and not view.address)]
    if failing:
        more = f", {count(len(failing) - 1, 'other fails', 'others fail')} too" if failing[1:] else ""
        return (*destination(failing[0], now_ms, coarse), more)
    problem = next((report for report in enabled if report.problem), None)
    if problem is not None:
        return ((f"✗ {label(problem.type)} ", "bad"), problem.problem)
    waiting = sum(view.waiting for view in push.destinations)
    delivered = max((view.delivered_ms or 0 for view in push.destinations), default=0)
    coming = min(
        ((report.next_ms, label(report.type)) for report in enabled if report.next_ms is not None),
        default=None,
    )
    following = f", {coming[1]} in {until(coming[0], now_ms, coarse)}" if coming else ""
    if waiting:
        return ((f"○ {count(waiting, 'notification waits', 'notifications wait')}", "strong"), following)
    if not enabled:
        return (("- no report is enabled", "faint"),)
    if not delivered:
        return (f"○ nothing sent yet since the start{following}",)
    return (("● all delivered", "good"), f", the last {age(delivered, now_ms, coarse)} ago{following}")


def notification_state(notification: Notification) -> tuple[str, str]:
    """Symbol with word, and the tone."""
    symbol, tone = SYMBOLS[notification.state]
    if notification.state is NotificationState.WAITING and notification.reason:
        return "! waiting", "warn"
    return f"{symbol} {notification.state.value}", tone
