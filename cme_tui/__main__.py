"""The command `cme-tui`: reads the arguments and hands over; each command's work is in `cme_tui.commands`.

Modules are imported where they are needed: `--headless` must not load Textual, and `decode` no database.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from cme_tui.commands import meters
from core import VERSION
from core.errors import CmeError

_YES_HELP = "also where that lowers authentication or policy"
_STATE_DIR_HELP = "where configuration and data are kept"
_DEMO_HELP = "a simulated line of real meters' telegrams, with a state directory of its own"

_TRACE_HELP = """\
Shows what goes over the DLMS port of the running gateway, until Ctrl+C: each APDU as received (>) or sent (<), with
the client's address, client and server SAP, protection, size on the wire and meaning, and what happens to
connections and associations (*). Ciphered APDUs are shown in clear where the gateway could decipher them. Passwords
and keys are never shown.
"""
_TRACE_JSON_HELP = """\
--json prints one object a line, either
  {"trace": {"id", "time", "peer", "client", "logical_device", "sent", "protection", "size", "title", "apdu",
             "parts": [{"depth", "label", "value", "offset", "length"}]}}
or
  {"event": {"id", "time", "peer", "client", "logical_device", "event", "text"}}
"time" is ISO 8601 in UTC, "protection" is "" for in clear, "apdu" is hexadecimal, at most 4096 bytes, with ** for
each byte that is not shown. "event" is connected, associated, refused, not deciphered, replay, released or
disconnected.
"""

_SIMULATE_HELP = """\
Plays a line of meters, until Ctrl+C: telegrams of real meters whose registers move on, with the times of a wire. In a
terminal, keys turn misfortunes on and off while it runs; ? lists them.
"""
_SIMULATE_MORE = """\
--misfortune NAME[:ARG][@METER], of all meters or of the one with this primary or secondary address (F: any digit):
  dead               hears and says nothing
  slow[:SECONDS]     answers late, but in time (0.1)
  late[:SECONDS]     answers after the time-out (0.6)
  checksum[:N]       every n-th telegram has a wrong one (1)
  garbage[:HEX]      bytes in front of every answer (00FF6811)
  cut[:N]            telegrams break off after n bytes (20)
  twin               a second meter has the same addresses
  impostor           its telegrams name another meter
  fcb[:HOW]          the frame count bit is ignored, stuck or lost (ignored)
  repeating          announces a further telegram and repeats itself
  endless            announces further telegrams for ever
  chatty[:SECONDS]   talks unasked, once in so many (2)
  address:N          it has this primary address; two with one address collide
  baud:N             it understands this rate only
  encrypted[:MODE]   it encrypts in security mode 5 or 7 (5)
or of the line:
  echo               the converter repeats what the master sends
  noise[:SHARE]      that many answers, and the idle line, are disturbed (0.2)
  broken             the cable is broken
  loose[:SECONDS]    the cable is whole and broken in turn, for so long (60)
The same words stand in the URL of a gateway's line: sim:?meters:40&echo&late:0.3@5
"""

_LISTEN_HELP = """\
Receives notifications as a head-end system does and prints them, until Ctrl+C: those of a gateway whose [push] names
this machine and port. A connection is closed in order only when everything in it was printed; else it is reset, and
the gateway tries again.
"""
_LISTEN_MORE = """\
Keys open ciphered notifications. They come from the state directory of the gateway, from two files, or from the
environment (CME_ENCRYPTION_KEY, CME_AUTHENTICATION_KEY), 32 hex digits each; never from the command line.

--misbehave KIND[:N][*TIMES],... treats each connection in the next way of the list, from the start again after the
last one; with --seed in any of them, at random:
  take           as it should be
  drop           reset at once
  delay:SECONDS  read late
  half:BYTES     reset after so many bytes
  refuse:SECONDS reset, and not listen for a while
  hang           taken and never closed
  lose           taken and printed, then reset: the gateway does not hear that it arrived
  die            end without a word when the first bytes come

--json prints one object a line:
  {"received", "source", "type", "gateway", "meter", "setup", "object", "rows" | "events", "ciphered", "report_id"}
"type" is that of the [[push.report]]. "rows": [{"time", "values": [{"object", "value", "unit"}]}], values as exact
decimal numbers in text, null where missing. "events": [{"time", "object", "code", "message"}]. on_installation has
"address" and "system_title" instead. What cannot be read has "type" null, "apdu" in hexadecimal and a "problem".
"""

_METER = "NAME|ID|LD"
_REPORTS = (
    "load_profile_1",
    "load_profile_2",
    "billing_profile",
    "standard_event_log",
    "fraud_event_log",
    "on_installation",
)
_STATES = ("waiting", "delivered", "expired", "cancelled")
_MAPPING = "FILE|TYPE/MANUFACTURER/VERSION"

BAD_USAGE = 2
FAILURE = 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see '{self.prog} --help'", file=sys.stderr)
        raise SystemExit(BAD_USAGE)


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script. Exit codes: 0 done, 1 failure, 2 bad usage or bad input."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except CmeError as error:
        print(f"cme-tui: {error}", file=sys.stderr)
        return BAD_USAGE if error.bad_input else FAILURE
    except KeyboardInterrupt:
        return FAILURE
    except BrokenPipeError:
        # The reader went away ("cme-tui ... | head"); keep the interpreter from complaining when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cme-tui",
        description="M-Bus to DLMS/COSEM gateway. Without a command: the terminal UI over a running core.",
    )
    parser.add_argument("--version", action="version", version=f"cme-tui {VERSION}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help=_STATE_DIR_HELP)
    parser.add_argument("--demo", action="store_true", help=_DEMO_HELP)
    parser.add_argument("--headless", action="store_true", help="no UI: log to stderr, stop on SIGTERM")
    parser.add_argument(
        "--dlms-port", type=_port, metavar="N", help="listen here instead of the configured port"
    )
    parser.add_argument(
        "--dlms-host", metavar="H", help="listen on this address instead of the configured one"
    )
    parser.add_argument(
        "--serial-console", action="store_true", help="black and white, ASCII, few bytes: for slow terminals"
    )
    # The same two behind a command; without a default, so that they do not undo what stands in front of it.
    place = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    place.add_argument("--state-dir", type=Path, metavar="DIR", help=_STATE_DIR_HELP)
    place.add_argument("--demo", action="store_true", help=_DEMO_HELP)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    decode = commands.add_parser("decode", help="explain an M-Bus telegram")
    decode.add_argument("source", metavar="FILE|HEX|-")
    decode.add_argument("--json", action="store_true")
    decode.add_argument("--key", metavar="HEX", help="AES key of the meter, 32 hex digits")

    simulate = commands.add_parser(
        "simulate",
        help="a virtual M-Bus line, for training and tests",
        description=_SIMULATE_HELP,
        epilog=_SIMULATE_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = simulate.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--tcp", type=_port, metavar="PORT", help="serve on 127.0.0.1:PORT, 0 for any free port"
    )
    where.add_argument("--pty", action="store_true", help="serve on a new pseudo terminal")
    who = simulate.add_mutually_exclusive_group()
    who.add_argument("--telegrams", type=Path, metavar="DIR", help="folder of .hex telegrams")
    who.add_argument(
        "--meters", type=int, metavar="N", help="a fleet of N meters whose numbers are nearly equal"
    )
    who.add_argument("--replay", type=Path, metavar="FILE", help="answer as a recorded line did")
    simulate.add_argument(
        "--misfortune",
        action="append",
        default=[],
        metavar="NAME[:ARG][@METER]",
        help="what goes wrong, see below; may be repeated",
    )
    simulate.add_argument(
        "--encrypted",
        type=int,
        choices=(5, 7),
        metavar="5|7",
        help="all meters that can encrypt in this security mode, with keys that are printed",
    )
    simulate.add_argument("--baud", type=int, help="2400 by default, or that of the recording")
    simulate.add_argument("--fast", action="store_true", help="answer without the wire's delays")

    mapping = commands.add_parser("mapping", help="mapping files").add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_Parser
    )
    check = mapping.add_parser("check", help="say what is wrong in mapping files", parents=[place])
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.add_argument("--json", action="store_true", help="a list of severity, file, path and text")
    check.add_argument(
        "--meter",
        metavar=_METER,
        action="append",
        default=[],
        help="with the values of this one; may be repeated",
    )
    mapping.add_parser("list", help="the active mappings", parents=[place])
    adding = mapping.add_parser("add", help="make a mapping file active", parents=[place])
    adding.add_argument("file", type=Path, metavar="FILE")
    adding.add_argument(
        "--replace", action="store_true", help="in the place of the active one for the same meters"
    )
    adding.add_argument(
        "--dry-run", action="store_true", help="only print what each meter would show before and after"
    )
    removing = mapping.add_parser("remove", help="take an active mapping out", parents=[place])
    removing.add_argument("mapping", metavar=_MAPPING)
    mapping.add_parser("undo", help="take back the last add or remove", parents=[place])
    exporting = mapping.add_parser("export", help="print an active mapping file", parents=[place])
    exporting.add_argument("mapping", metavar=_MAPPING)
    template = mapping.add_parser(
        "template",
        help="print a mapping file with every field of a meter type; without a type, the types in use",
        parents=[place],
    )
    kind = template.add_mutually_exclusive_group()
    kind.add_argument("type", nargs="?", metavar="TYPE/MANUFACTURER/VERSION")
    kind.add_argument("--meter", metavar=_METER, help="the type of this meter")

    config = commands.add_parser("config", help="settings").add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_Parser
    )
    config.add_parser("check", help="say what is wrong in config.toml", parents=[place])
    get = config.add_parser("get", help="print settings", parents=[place])
    get.add_argument("key", metavar="TABLE.KEY", nargs="?", help="a table, too; everything where not given")
    config.add_parser("dialects", help="list the dialects for dlms.dialect", parents=[place])
    change = config.add_parser("set", help="change settings, also of a running gateway", parents=[place])
    change.add_argument("words", metavar="TABLE.KEY VALUE", nargs="*", default=[])
    change.add_argument("--undo", action="store_true", help="take back the last change instead")
    change.add_argument("--yes", action="store_true", help=_YES_HELP)
    reset = config.add_parser("reset", help="set settings back to their defaults", parents=[place])
    reset.add_argument("keys", metavar="TABLE.KEY", nargs="+")
    reset.add_argument("--yes", action="store_true", help=_YES_HELP)

    secrets = commands.add_parser("secrets", help="password and keys").add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_Parser
    )
    show = secrets.add_parser("show", help="print password and keys", parents=[place])
    show.add_argument("--json", action="store_true")
    show.add_argument("--fingerprints", action="store_true", help="only what tells them from others")
    replace = secrets.add_parser(
        "set", help="change one; its value is asked for, and never on the command line", parents=[place]
    )
    replace.add_argument("name", metavar="NAME", help="lls_password, ..._key, or meter_keys.12345678")
    replace.add_argument("--stdin", action="store_true", help="the value is the first line of stdin")
    generate = secrets.add_parser("generate", help="make new ones at random", parents=[place])
    generate.add_argument("names", metavar="NAME", nargs="*", default=[])
    generate.add_argument("--all", action="store_true", help="password and all keys of the gateway")

    meters.add_parser(commands, place)

    gateway = _Parser(add_help=False)
    gateway.add_argument("--host", metavar="H", help="address of the gateway instead of the configured one")
    gateway.add_argument(
        "--port", type=_port, metavar="N", help="its DLMS port instead of the configured one"
    )
    gateway.add_argument("--json", action="store_true")

    rehearse = commands.add_parser(
        "rehearse", help="try everything that a head-end system does", parents=[place, gateway]
    )
    rehearse.add_argument(
        "--logical-device", type=_number(1, 65535), metavar="N", nargs="+", default=[], help="only these"
    )
    rehearse.add_argument("--quick", action="store_true", help="only the first meter of each type")

    read = commands.add_parser(
        "read", help="read objects as a head-end system does", parents=[place, gateway]
    )
    read.add_argument("codes", metavar="OBIS", nargs="+", help="8.0.1.0.0.255 or 8-0:1.0.0")
    read.add_argument("--logical-device", type=_number(1, 65535), metavar="N", required=True)
    read.add_argument("--class", dest="class_id", type=_number(1, 65535), metavar="C", help="interface class")
    read.add_argument("--attribute", type=_number(1, 127), metavar="A", default=2, help="2 where not given")
    read.add_argument("--client", choices=("public", "management"), default="management")

    events = commands.add_parser(
        "events", help="the event logs, newest last, or what a code means", parents=[place]
    )
    form = events.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true", help="for spreadsheets, times with their offset from UTC")
    events.add_argument(
        "--meter",
        metavar="NAME|ID|LD",
        default=None,
        help="of this one only; LD is a logical device, 1 the gateway",
    )
    events.add_argument("--log", choices=("standard", "fraud"), default=None)
    events.add_argument(
        "--last", type=_number(1, 1_000_000), metavar="N", default=None, help="the newest N only"
    )
    events.add_argument(
        "--explain",
        type=_number(0, 65535),
        metavar="CODE",
        help="print cause of an event code and what to do, no events",
    )

    status = commands.add_parser("status", help="how the running gateway is doing", parents=[place])
    status.add_argument("--json", action="store_true")

    trace = commands.add_parser(
        "trace",
        help="what goes over the DLMS port, as it comes",
        parents=[place],
        description=_TRACE_HELP,
        epilog=_TRACE_JSON_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trace.add_argument("--json", action="store_true", help="one object a line")
    trace.add_argument("--peer", metavar="HOST", help="only this client, HOST or HOST:PORT")
    trace.add_argument("--hex", action="store_true", help="the bytes, too")
    trace.add_argument("--once", action="store_true", help="end when the gateway has sent an answer")

    listen = commands.add_parser(
        "listen",
        help="receive pushed notifications and print them",
        description=_LISTEN_HELP,
        epilog=_LISTEN_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listen.add_argument("--port", type=_port, metavar="N", required=True, help="0 for any free port")
    listen.add_argument("--host", metavar="H", default="0.0.0.0", help="only on this address of the machine")
    listen.add_argument("--json", action="store_true", help="one object a line")
    listen.add_argument(
        "--keys-from", type=Path, metavar="DIR", help="keys of the gateway with this state directory"
    )
    listen.add_argument("--encryption-key-file", type=Path, metavar="FILE")
    listen.add_argument("--authentication-key-file", type=Path, metavar="FILE")
    listen.add_argument("--misbehave", metavar="LIST", help="treat connections badly, see below")
    listen.add_argument("--seed", type=_number(0, 2**32), metavar="N", help="misbehave at random")
    listen.add_argument(
        "--count", type=_number(1, 1_000_000_000), metavar="N", help="end after so many that could be read"
    )

    _add_push(commands, place)

    screenshots = commands.add_parser("screenshots", help="render the screens of a demo gateway to SVG")
    screenshots.add_argument("directory", type=Path, metavar="DIR", nargs="?", default=Path("screenshots"))
    return parser


def _add_push(commands: argparse._SubParsersAction[_Parser], place: _Parser) -> None:
    push = commands.add_parser("push", help="push reports and what became of them").add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_Parser
    )
    listing = push.add_parser("list", help="the reports, where they go and what waits", parents=[place])
    listing.add_argument("--json", action="store_true")
    listing.add_argument("--ledger", action="store_true", help="the notifications instead, newest first")
    listing.add_argument(
        "--report", choices=_REPORTS, metavar="REPORT", help="only of this one, with --ledger"
    )
    listing.add_argument("--meter", metavar=_METER, help="only of this one, 1 for the gateway, with --ledger")
    listing.add_argument("--state", choices=_STATES, help="only those, with --ledger")
    listing.add_argument("--limit", type=_number(1, 100_000), metavar="N", help="the newest N, with --ledger")
    sending = push.add_parser("send", help="make a report now, and send it", parents=[place])
    testing = push.add_parser("test", help="send the newest row or event only", parents=[place])
    again = push.add_parser("resend", help="send again what lies between two times", parents=[place])
    changing = push.add_parser("set", help="change a report", parents=[place])
    for parser in (sending, testing, again, changing):
        parser.add_argument("report", choices=_REPORTS, metavar="REPORT", help=", ".join(_REPORTS))
    again.add_argument(
        "--from", dest="start", required=True, metavar="TIME", help='"2026-01-09" or "2026-01-09 12:00"'
    )
    again.add_argument("--to", dest="end", required=True, metavar="TIME", help="included; a day to its end")
    again.add_argument("--meter", metavar=_METER, action="append", default=[], help="may be repeated")
    trying = push.add_parser("retry", help="try what waits now", parents=[place])
    trying.add_argument("ids", type=_number(1, 2**53), metavar="ID", nargs="*", default=[])
    giving_up = push.add_parser("cancel", help="give up notifications: they are not sent", parents=[place])
    giving_up.add_argument("ids", type=_number(1, 2**53), metavar="ID", nargs="+")
    one = push.add_parser("show", help="a notification, decoded", parents=[place])
    one.add_argument("id", type=_number(1, 2**53), metavar="ID")
    one.add_argument("--json", action="store_true")
    days = push.add_parser("completeness", help="what became of each day's rows of a meter", parents=[place])
    days.add_argument("meter", metavar=_METER)
    days.add_argument("--report", choices=_REPORTS[:3], metavar="REPORT", default=_REPORTS[0])
    days.add_argument("--month", metavar="YYYY-MM", help="this one where not given")
    days.add_argument("--json", action="store_true")
    switch = changing.add_mutually_exclusive_group()
    switch.add_argument("--enable", dest="enabled", action="store_true", default=None)
    switch.add_argument("--disable", dest="enabled", action="store_false", default=None)
    changing.add_argument("--schedule", metavar="TEXT", help='"every 1 h + 5 min", "daily 06:00", ...')
    changing.add_argument(
        "--host", metavar="H", help='a HES of its own; "" for the default one, with its port and client SAP'
    )
    changing.add_argument("--port", type=_port, metavar="N")
    changing.add_argument("--client-sap", type=_number(1, 65535), metavar="N")
    changing.add_argument(
        "--last-rows",
        type=_number(0, 1000),
        metavar="N",
        help="the newest N rows each time; 0: what is unsent",
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"a number from {low} to {high} is needed, not {text!r}")
        return int(text)

    return number


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case None:
            return _run_gateway(arguments)
        case "decode":
            from cme_tui.commands import decode

            return decode.run(arguments.source, as_json=arguments.json, key=arguments.key)
        case "simulate":
            from cme_tui.commands import simulate

            return simulate.run(
                tcp=arguments.tcp,
                pty=arguments.pty,
                telegrams=arguments.telegrams,
                baud=arguments.baud,
                fast=arguments.fast,
                meters=arguments.meters,
                replay=arguments.replay,
                items=[
                    *arguments.misfortune,
                    *([f"encrypted:{arguments.encrypted}"] if arguments.encrypted else []),
                ],
            )
        case "mapping":
            return _run_mapping(arguments)
        case "config":
            return _run_config(arguments)
        case "secrets":
            return _run_secrets(arguments)
        case "meters":
            return meters.run(arguments, _state_dir(arguments))
        case "rehearse":
            from cme_tui.commands import rehearse
            from cme_tui.hes.access import load_access

            access = load_access(_state_dir(arguments), arguments.host, arguments.port)
            return rehearse.run(
                access, arguments.logical_device, quick=arguments.quick, as_json=arguments.json
            )
        case "read":
            from cme_tui.commands import read
            from cme_tui.hes.access import load_access

            access = load_access(_state_dir(arguments), arguments.host, arguments.port)
            return read.run(
                access,
                arguments.codes,
                device=arguments.logical_device,
                class_id=arguments.class_id,
                attribute=arguments.attribute,
                public=arguments.client == "public",
                as_json=arguments.json,
            )
        case "events":
            from cme_tui.commands import events

            if arguments.explain is not None:
                return events.explain(arguments.explain, as_json=arguments.json)
            return events.show(
                _state_dir(arguments),
                form="json" if arguments.json else "csv" if arguments.csv else "table",
                meter=arguments.meter,
                log=arguments.log,
                last=arguments.last,
            )
        case "status":
            from cme_tui.commands import status

            return status.run(_state_dir(arguments), as_json=arguments.json)
        case "trace":
            from cme_tui.commands import trace

            return trace.run(
                _state_dir(arguments),
                as_json=arguments.json,
                peer=arguments.peer,
                with_hex=arguments.hex,
                once=arguments.once,
            )
        case "listen":
            from cme_tui.commands import listen

            return listen.run(
                arguments.host,
                arguments.port,
                listen.KeySource(
                    arguments.keys_from, arguments.encryption_key_file, arguments.authentication_key_file
                ),
                as_json=arguments.json,
                misbehave=arguments.misbehave,
                seed=arguments.seed,
                count=arguments.count,
            )
        case "push":
            return _run_push(arguments)
        case "screenshots":
            from cme_tui.commands import screenshots

            return screenshots.run(arguments.directory)
    raise AssertionError(arguments.command)


def _run_mapping(arguments: argparse.Namespace) -> int:
    from cme_tui.commands import mapping

    state_dir = _state_dir(arguments)
    match arguments.action:
        case "check":
            return mapping.check(
                arguments.files, as_json=arguments.json, state_dir=state_dir, meters=arguments.meter
            )
        case "list":
            return mapping.list_active(state_dir)
        case "add" if arguments.dry_run:
            return mapping.preview(state_dir, arguments.file)
        case "add":
            return mapping.add(state_dir, arguments.file, replace=arguments.replace)
        case "remove":
            return mapping.remove(state_dir, arguments.mapping)
        case "undo":
            return mapping.undo(state_dir)
        case "export":
            return mapping.export(state_dir, arguments.mapping)
        case "template":
            return mapping.show_template(state_dir, arguments.type, arguments.meter)
    raise AssertionError(arguments.action)


def _run_config(arguments: argparse.Namespace) -> int:
    from cme_tui.commands import config

    place = _state_dir(arguments)
    match arguments.action:
        case "check":
            return config.check(place)
        case "get":
            return config.get(place, arguments.key)
        case "dialects":
            return config.list_dialects(place)
        case "reset":
            return config.reset(place, arguments.keys, lower=arguments.yes)
    if arguments.undo == bool(arguments.words):
        return _misused("config set", "give settings with their values, or --undo")
    if arguments.undo:
        return config.undo(place, lower=arguments.yes)
    return config.set_values(place, arguments.words, lower=arguments.yes)


def _run_secrets(arguments: argparse.Namespace) -> int:
    from cme_tui.commands import secrets
    from core.secrets import GENERATED

    place = _state_dir(arguments)
    match arguments.action:
        case "show":
            return secrets.show(place, as_json=arguments.json, fingerprints=arguments.fingerprints)
        case "set":
            return secrets.set_value(place, arguments.name, from_stdin=arguments.stdin)
    if arguments.all == bool(arguments.names):
        return _misused("secrets generate", "give names, or --all")
    return secrets.generate(place, GENERATED if arguments.all else arguments.names)


def _run_push(arguments: argparse.Namespace) -> int:
    from cme_tui.commands import push

    place = _state_dir(arguments)
    match arguments.action:
        case "list":
            wanted = push.Filter(arguments.report, arguments.meter, arguments.state, arguments.limit)
            if any(wanted) and not arguments.ledger:
                return _misused("push list", "--report, --meter, --state and --limit are for --ledger")
            return push.show(place, as_json=arguments.json, ledger=arguments.ledger, wanted=wanted)
        case "send":
            return push.send(place, arguments.report)
        case "test":
            return push.test(place, arguments.report)
        case "resend":
            return push.resend(place, arguments.report, arguments.start, arguments.end, arguments.meter)
        case "retry":
            return push.retry(place, arguments.ids)
        case "cancel":
            return push.cancel(place, arguments.ids)
        case "show":
            return push.show_one(place, arguments.id, as_json=arguments.json)
        case "completeness":
            return push.completeness(
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
                return _misused("push set", "say what to change")
            return push.set_report(place, arguments.report, changes)
    raise AssertionError(arguments.action)


def _misused(command: str, sentence: str) -> int:
    print(f"cme-tui {command}: {sentence}; see 'cme-tui {command} --help'", file=sys.stderr)
    return BAD_USAGE


def _state_dir(arguments: argparse.Namespace) -> Path:
    from core.statedir import default_state_dir

    chosen: Path | None = arguments.state_dir
    return chosen if chosen is not None else default_state_dir(arguments.demo, os.environ)


def _run_gateway(arguments: argparse.Namespace) -> int:
    from core.facade import RunOptions

    options = RunOptions(
        state_dir=_state_dir(arguments),
        demo=arguments.demo,
        dlms_host=arguments.dlms_host,
        dlms_port=arguments.dlms_port,
    )
    if arguments.headless:
        from cme_tui.commands import headless

        return headless.run(options)
    from cme_tui.commands import terminal

    return terminal.run(options, serial_console=arguments.serial_console)


if __name__ == "__main__":
    raise SystemExit(main())
