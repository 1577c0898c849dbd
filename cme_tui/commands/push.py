"""`cme-tui push`: the push reports and the ledger of their notifications, on a running or a stopped gateway.

What was stored is read from the store in both cases; what the gateway has to do goes over its control socket.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cme_tui.client import NoGatewayError, ask, change
from cme_tui.commands.arguments import METER, add_actions, misused, number, port, state_dir
from cme_tui.commands.listen import as_object, as_text
from cme_tui.commands.stored import chosen_devices, devices_of
from cme_tui.event_file import Device
from cme_tui.push import answers
from cme_tui.push.wording import DAYS, REPORTS, label, size, spacing
from core.clock import SystemClock, iso
from core.config import Config, ConfigError, Receiver, Report, load_config
from core.config_file import ConfigFile
from core.control_push import push_json
from core.cosem import dialect
from core.interval import local_time
from core.push.completeness import Day, Month
from core.push.received import Opener, Received
from core.push.reports import ON_INSTALLATION, PROFILES
from core.push.service import LEDGER, detail
from core.settings import changed_reports, report_tables
from core.snapshot import PushReportView, PushView
from core.statedir import StateDir
from core.store import StoreReader, open_readonly
from core.store.outbox import Notification, NotificationState
from core.store.outbox.records import Backlog, ReportState

_REPORT_COLUMNS: Final = ("report", "state", "schedule", "destination", "next", "last", "waiting", "bytes")
_LEDGER_COLUMNS: Final = (
    "id",
    "state",
    "report",
    "device",
    "rows",
    "tries",
    "created",
    "next try",
    "bytes",
    "reason",
)

_STATES: Final = tuple(state.value for state in NotificationState)


class Filter(NamedTuple):
    """Which notifications are wanted; None for all."""

    report: str | None = None
    meter: str | None = None
    state: str | None = None
    limit: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    action = add_actions(parser)
    listing = action("list", help="the reports, where they go and what waits")
    listing.add_argument("--json", action="store_true")
    listing.add_argument("--ledger", action="store_true", help="the notifications instead, newest first")
    listing.add_argument(
        "--report", choices=REPORTS, metavar="REPORT", help="only of this one, with --ledger"
    )
    listing.add_argument("--meter", metavar=METER, help="only of this one, 1 for the gateway, with --ledger")
    listing.add_argument("--state", choices=_STATES, help="only those, with --ledger")
    listing.add_argument("--limit", type=number(1, 100_000), metavar="N", help="the newest N, with --ledger")
    sending = action("send", help="make a report now, and send it")
    testing = action("test", help="send the newest row or event only")
    again = action("resend", help="send again what lies between two times")
    changing = action("set", help="change a report")
    for each in (sending, testing, again, changing):
        each.add_argument("report", choices=REPORTS, metavar="REPORT", help=", ".join(REPORTS))
    again.add_argument(
        "--from", dest="start", required=True, metavar="TIME", help='"2026-01-09" or "2026-01-09 12:00"'
    )
    again.add_argument("--to", dest="end", required=True, metavar="TIME", help="included; a day to its end")
    again.add_argument("--meter", metavar=METER, action="append", default=[], help="may be repeated")
    trying = action("retry", help="try what waits now")
    trying.add_argument("ids", type=number(1, 2**53), metavar="ID", nargs="*", default=[])
    giving_up = action("cancel", help="give up notifications: they are not sent")
    giving_up.add_argument("ids", type=number(1, 2**53), metavar="ID", nargs="+")
    one = action("show", help="a notification, decoded")
    one.add_argument("id", type=number(1, 2**53), metavar="ID")
    one.add_argument("--json", action="store_true")
    days = action("completeness", help="what became of each day's rows of a meter")
    days.add_argument("meter", metavar=METER)
    days.add_argument("--report", choices=PROFILES, metavar="REPORT", default="load_profile_1")
    days.add_argument("--month", metavar="YYYY-MM", help="this one where not given")
    days.add_argument("--json", action="store_true")
    switch = changing.add_mutually_exclusive_group()
    switch.add_argument("--enable", dest="enabled", action="store_true", default=None)
    switch.add_argument("--disable", dest="enabled", action="store_false", default=None)
    changing.add_argument("--schedule", metavar="TEXT", help='"every 1 h + 5 min", "daily 06:00", ...')
    changing.add_argument(
        "--host", metavar="H", help='a HES of its own; "" for the default one, with its port and client SAP'
    )
    changing.add_argument("--port", type=port, metavar="N")
    changing.add_argument("--client-sap", type=number(1, 65535), metavar="N")
    changing.add_argument(
        "--last-rows",
        type=number(0, 1000),
        metavar="N",
        help="the newest N rows each time; 0: what is unsent",
    )


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    place = state_dir(arguments)
    match arguments.action:
        case "list":
            wanted = Filter(arguments.report, arguments.meter, arguments.state, arguments.limit)
            if any(wanted) and not arguments.ledger:
                return misused("cme-tui push list", "--report, --meter, --state and --limit are for --ledger")
            return show(place, as_json=arguments.json, ledger=arguments.ledger, wanted=wanted)
        case "send":
            return send(place, arguments.report)
        case "test":
            return test(place, arguments.report)
        case "resend":
            return resend(place, arguments.report, arguments.start, arguments.end, arguments.meter)
        case "retry":
            return retry(place, arguments.ids)
        case "cancel":
            return cancel(place, arguments.ids)
        case "show":
            return show_one(place, arguments.id, as_json=arguments.json)
        case "completeness":
            return completeness(
                place, arguments.meter, arguments.report, arguments.month, as_json=arguments.json
            )
        case "set":
            changes = {
                key: getattr(arguments, key)
                for key in ("enabled", "schedule", "host", "port", "client_sap", "last_rows")
                if getattr(arguments, key) is not None
            }
            if arguments.host == "":
                changes = {"port": None, "client_sap": None, **changes}
            if not changes:
                return misused("cme-tui push set", "say what to change")
            return set_report(place, arguments.report, changes)
    raise AssertionError(arguments.action)


def show(state_dir: Path, *, as_json: bool, ledger: bool, wanted: Filter) -> int:
    """Print the reports, where they go and their backlog; with `ledger` the notifications, newest first, instead.

    Raises `CmeError` where the state cannot be read.
    """
    state, config = _open(state_dir)
    if ledger:
        found = _ledger(state, config, wanted)
        print(
            _json(found)
            if as_json
            else _table(_LEDGER_COLUMNS, map(_ledger_row, found), "There are no notifications.")
        )
        return 0
    push = _push(state_dir, state, config)
    if as_json:
        print(_json(push))
        return 0
    print(
        f"Default HES: {push['receiver'] or 'none'}"
        + (f", client SAP {push['client']}" if push["receiver"] else "")
    )
    for view in push["destinations"]:
        print(f"{view['address'] or 'no destination'}: {_how(view)}")
    if not push["running"]:
        print("No gateway is running here: nothing is sent.")
    rows = map(_report_row, push["reports"])
    print(_table(_REPORT_COLUMNS, rows, ""))
    for each in push["reports"]:
        if each["problem"]:
            print(f"{label(each['report'])}: {each['problem']}")
    return 0


def send(state_dir: Path, report: Report) -> int:
    """Have the running gateway make a report now. Raises `CmeError`."""
    ask(state_dir, "send_report", report=report)
    print(f"{label(report)} is made and on its way; 'cme-tui push list' tells how it goes.")
    return 0


def test(state_dir: Path, report: Report) -> int:
    """Have the running gateway send the newest row or event only. Raises `CmeError`."""
    _tell(ask(state_dir, "test_report", report=report), "on the way")
    return 0


def resend(state_dir: Path, report: Report, start: str, end: str, meters: Sequence[str]) -> int:
    """Have the running gateway send again what lies between two times, of these meters or of every device.

    Raises `CmeError`.
    """
    state, config = _open(state_dir)
    zone = config.gateway.zone
    span = {"start_ms": answers.moment(start, zone), "end_ms": answers.moment(end, zone, end=True)}
    keys = _meter_keys(state, config, meters)
    _tell(ask(state_dir, "resend_report", report=report, meters=keys, **span), "on the way")
    return 0


def retry(state_dir: Path, ids: Sequence[int]) -> int:
    """Have the running gateway try what waits, or only some of it, now. Raises `CmeError`."""
    _tell(ask(state_dir, "retry_notifications", ids=list(ids) or None), "tried now")
    return 0


def cancel(state_dir: Path, ids: Sequence[int]) -> int:
    """Have the running gateway give up notifications that wait; 1 where none of them did. Raises `CmeError`."""
    number = _tell(ask(state_dir, "cancel_notifications", ids=list(ids)), "given up")
    return 0 if number else 1


def show_one(state_dir: Path, number: int, *, as_json: bool) -> int:
    """Print a notification with what it says. Raises `CmeError` where there is none."""
    state, config = _open(state_dir)
    with _store(state) as store:
        found = store.outbox.notification(number)
        if found is None:
            raise ConfigError(
                f"There is no notification {number}; 'cme-tui push list --ledger' shows what there is."
            )
        body = store.outbox.body(number)
        devices = devices_of(config, store.meters(removed=True))
    apdu = detail(found, body, config.gateway.zone).apdu
    codes = dialect.find(config.dlms.dialect, state.dialects).codes_with(config.obis)
    received = Opener(codes=codes).open(Received(found.created_ms, "", apdu=apdu)) if apdu else None
    entry = _entry(found, devices)
    if as_json:
        said = (
            {key: value for key, value in as_object(received).items() if key not in _OF_ARRIVAL}
            if received
            else None
        )
        print(_json(entry | {"apdu": apdu.hex() if apdu else None, "content": said}))
        return 0
    for key, value in entry.items():
        if value not in (None, ""):
            print(f"{key.replace('_', ' ')}: {_text(value)}")
    if received is None:
        print("Its body is no longer kept.")
    else:
        print("\n".join(as_text(received).splitlines()[1:]))
        print(f"apdu: {apdu.hex()}")
    return 0


def completeness(state_dir: Path, meter: str, report: Report, month: str | None, *, as_json: bool) -> int:
    """Print what became of the rows of each day of a month. Raises `CmeError`."""
    if report not in PROFILES:
        raise ConfigError(f"Only profiles have rows for each day: {', '.join(PROFILES)}.")
    state, config = _open(state_dir)
    zone, now_ms = config.gateway.zone, SystemClock().now_ms()
    with _store(state) as store:
        now_ms += store.clock_offset()
        first = answers.month(month) if month else local_time(now_ms, zone).date()
        chosen = Month(first, getattr(config.profiles, report), zone)
        devices = devices_of(config, store.meters(removed=True))
        keys = [key for key in chosen_devices(devices, meter) if key is not None]
        if len(keys) != 1:
            raise ConfigError(f'"{meter}" is not one meter; give its logical device.')
        rows = store.outbox.completeness(PROFILES[report], report, keys[0], chosen.start_ms, chosen.end_ms)
    days = chosen.days(rows, now_ms)
    if as_json:
        print(_json([_day(day) for day in days]))
        return 0
    rows_come = spacing(getattr(config.profiles, report))
    print(f"{label(report)} of {devices[keys[0]].name}, {chosen.first:%B %Y}, {rows_come}")
    for day in days:
        of = f" of {day.expected}" if day.expected > day.rows else ""
        print(f"{day.date} {DAYS[day.state][0]} {day.state.value:<13} {day.rows}{of}")
    return 0


def set_report(state_dir: Path, report: Report, changes: Mapping[str, Any]) -> int:
    """Save settings of a report and have a running gateway apply them. Raises `CmeError`, and then nothing has changed.

    `changes`: keys of [[push.report]] with their values; `config set --undo` takes them back.
    """
    if "schedule" in changes and report == ON_INSTALLATION:
        raise ConfigError("on_installation has no schedule: it is sent when the list of meters changes.")
    file = ConfigFile(StateDir(state_dir).config)
    before = file.load().push
    changed = dataclasses.replace(before.described(report), **changes)
    values = {"push.report": report_tables(changed_reports(before, changed))}
    after = file.planned(values).push.described(report)
    running = change(
        state_dir, lambda state: ConfigFile(state.config).save(values), "configure", values=values
    )
    for field in dataclasses.fields(after):
        old, new = getattr(before.described(report), field.name), getattr(after, field.name)
        if old != new:
            print(f"{report} {field.name} = {_text(new)} (was {_text(old)})")
    if after == before.described(report):
        print("All of this was set already.")
    if not running:
        print("No gateway is running here: this holds from the next start on.")
    return 0


_OF_ARRIVAL: Final = ("received", "source", "ciphered", "report_id")
"""What a receiver adds, and a notification in the outbox does not have."""


def _open(state_dir: Path) -> tuple[StateDir, Config]:
    state = StateDir(state_dir)
    return state, load_config(state.config)


def _store(state: StateDir) -> StoreReader:
    return open_readonly(state.database)


def _push(state_dir: Path, state: StateDir, config: Config) -> dict[str, Any]:
    """As the gateway tells it; where none runs, what config.toml and the store have. All six reports are in it."""
    try:
        push, running = ask(state_dir, "push"), True
    except NoGatewayError:
        push, running = push_json(_stored(state, config)), False
    known = {each["report"]: each for each in push["reports"]}
    off = push_json(PushView(reports=tuple(_off(report) for report in REPORTS if report not in known)))
    known |= {each["report"]: each for each in off["reports"]}
    return {"running": running, **push, "reports": [known[report] for report in REPORTS]}


def _off(report: Report) -> PushReportView:
    return PushReportView(report, False, "", "", 0, None, None, 0, 0, None, "")


def _stored(state: StateDir, config: Config) -> PushView:
    backlog: dict[str, Backlog] = {}
    states: dict[str, ReportState] = {}
    if state.database.exists():
        with _store(state) as store:
            backlog, states = store.outbox.backlog(), store.outbox.states()
    push = config.push
    views = []
    for report in push.reports:
        waiting = backlog.get(report.type, Backlog(0, 0, 0))
        views.append(
            dataclasses.replace(
                _off(report.type),
                enabled=report.enabled,
                schedule="" if report.type == ON_INSTALLATION else report.schedule,
                destination=str(push.receiver(report.type) or ""),
                last_rows=report.last_rows,
                last_ms=states.get(report.type, ReportState()).slot_ms,
                waiting=waiting.notifications,
                waiting_bytes=waiting.stored,
                oldest_ms=waiting.oldest_ms or None,
            )
        )
    receiver = str(Receiver(push.host, push.port, push.client_sap)) if push.host else ""
    return PushView(receiver, push.client_sap, tuple(views))


def _ledger(state: StateDir, config: Config, wanted: Filter) -> list[dict[str, Any]]:
    if not state.database.exists():
        return []
    with _store(state) as store:
        devices = devices_of(config, store.meters(removed=True))
        keys = [None] if wanted.meter is None else [key or 0 for key in chosen_devices(devices, wanted.meter)]
        limit, kind = wanted.limit or LEDGER, NotificationState(wanted.state) if wanted.state else None
        found = [each for key in keys for each in store.outbox.ledger(limit, wanted.report, key, kind)]
    newest = sorted(found, key=lambda each: each.id, reverse=True)[:limit]
    return [_entry(each, devices) for each in newest]


def _meter_keys(state: StateDir, config: Config, wanted: Sequence[str]) -> list[int] | None:
    if not wanted:
        return None
    with _store(state) as store:
        devices = devices_of(config, store.meters())
    return sorted({key for each in wanted for key in chosen_devices(devices, each) if key is not None})


def _entry(found: Notification, devices: Mapping[int | None, Device]) -> dict[str, Any]:
    device = devices.get(found.meter)
    return {
        "id": found.id,
        "state": found.state.value,
        "report": found.report,
        "device": device.name if device else None,
        "logical_device": found.sap,
        "rows": found.rows,
        "first": iso(found.first_ms),
        "last": iso(found.last_ms),
        "by_hand": found.manual,
        "created": iso(found.created_ms),
        "tries": found.tries,
        "last_try": iso(found.last_try_ms),
        "next_try": iso(found.next_try_ms),
        "delivered": iso(found.delivered_ms),
        "reason": found.reason,
        "size": found.size,
        "wire_size": found.wire_size,
        "body_kept": found.has_body,
    }


def _day(day: Day) -> dict[str, Any]:
    return {
        "date": day.date.isoformat(),
        "state": day.state.value,
        "expected": day.expected,
        "rows": day.rows,
        "delivered": day.delivered,
        "waiting": day.waiting,
        "given_up": day.given_up,
        "unsent": day.unsent,
    }


def _report_row(report: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        report["report"],
        "on" if report["enabled"] else "off",
        report["schedule"] or "-",
        report["destination"] or "-",
        report["next"] or "-",
        report["last"] or "-",
        str(report["waiting"]),
        size(report["waiting_bytes"]),
    )


def _ledger_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(entry["id"]),
        entry["state"],
        entry["report"],
        entry["device"] or f"LD {entry['logical_device']}",
        str(entry["rows"]),
        str(entry["tries"]),
        entry["created"],
        entry["next_try"] or "-",
        size(entry["wire_size"] or entry["size"]),
        entry["reason"],
    )


def _how(view: Mapping[str, Any]) -> str:
    waiting = f", {view['waiting']} wait" if view["waiting"] else ""
    if view["failures"]:
        return f"fails since {view['since']}, next try {view['next_try'] or 'now'}{waiting}: {view['reason']}"
    if view["sending"]:
        return f"sending{waiting}"
    return (
        f"delivered {view['delivered']}" if view["delivered"] else "nothing sent yet since the start"
    ) + waiting


def _tell(answer: Mapping[str, Any], done: str) -> int:
    number = int(answer["notifications"])
    print(f"{number} {'notification is' if number == 1 else 'notifications are'} {done}.")
    return number


def _table(columns: Sequence[str], rows: Any, empty: str) -> str:
    cells = [tuple(columns), *rows]
    if len(cells) == 1:
        return empty
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _text(value: object) -> str:
    if value is None or value == "":
        return "default"
    return str(value).lower() if isinstance(value, bool) else str(value)
