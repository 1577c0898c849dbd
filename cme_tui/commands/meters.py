"""`cme-tui meters ...`: its arguments; each action's work is in a module of its own, loaded when it is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from cme_tui.commands import doctor, search
from cme_tui.commands.arguments import METER, add_actions, state_dir

_JSON = "one JSON value instead of text"

_IMPORT_HELP = """\
Installs the meters of a CSV file: one row a meter, below headings in any order. Known are: name, secondary address,
baud rate, addressing mode (primary or secondary), primary address, line, interval, and key (32 hex digits). Only an
address is needed. Separators, byte order marks and zeros that a spreadsheet took away from an identification are
dealt with. Meters that are installed already are told and left as they are. Where one row is wrong, all that is wrong
is told, and nothing is installed. A line that could not keep its schedule with them is told on stderr.
"""
_IMPORT_JSON = """\
--json prints {"installed": [{"row", "line", "address", "name"}], "present": [the same], "keys": N,
"misfits": [SENTENCE, ...], "dry_run"}.
"""
_KEYS_HELP = """\
Saves the keys of encrypted meters out of a CSV file: identification (8 digits) and key (32 hex digits). They are not
printed. Delete the file then: secrets.toml, where they are kept, is readable by its owner only.
"""
_COMMAND_HELP = """\
The meter is read before, so that no other one is meant, and again afterwards: "done" is only said of what was seen.
--json prints {"result": SENTENCE}.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    action = add_actions(parser)
    raw = argparse.RawDescriptionHelpFormatter
    listing = action("list", help="the installed meters and their last reading")
    listing.add_argument("--json", action="store_true")
    adding = action("add", help="install a meter, also on a running gateway")
    adding.add_argument("address", metavar="ADDRESS", help="5, 12345678 or 12345678.HYD.25.07")
    adding.add_argument("--line", metavar="LINE", help="may be left out where there is only one")
    adding.add_argument("--name", metavar="NAME")
    adding.add_argument("--baud", type=int, metavar="N", help="bit/s, where it is not that of the line")
    adding.add_argument("--interval", metavar="TEXT", help='"15 min", where it is not that of the gateway')
    removing = action("remove", help="take meters out; their readings stay")
    removing.add_argument("meters", metavar=METER, nargs="+")
    importing = action(
        "import",
        help="install the meters of a CSV file",
        description=_IMPORT_HELP,
        epilog=_IMPORT_JSON,
        formatter_class=raw,
    )
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    importing.add_argument("--json", action="store_true", help=_JSON)
    action("export", help="print the installed meters as CSV, without keys")
    keys = action("keys", help="save the keys of a CSV file", description=_KEYS_HELP, formatter_class=raw)
    keys.add_argument("file", type=Path, metavar="FILE")
    reading = action("read", help="read a meter now")
    reading.add_argument("meter", metavar=METER)
    reading.add_argument("--json", action="store_true", help=_JSON)
    for name, does, value in (
        ("set-address", "give a meter another primary address", "1..250"),
        ("set-baud", "have a meter speak at another rate", "bit/s"),
        ("reset", "reset the application of a meter", ""),
        ("select", "choose what a meter sends", "subcode, 0..255"),
        ("set-clock", "set the clock of a meter by that of the gateway", ""),
    ):
        telling = action(name, help=does, description=_COMMAND_HELP, formatter_class=raw)
        telling.add_argument("meter", metavar=f"{METER}|ADDRESS")
        if value:
            telling.add_argument("value", type=int, metavar="VALUE", help=value)
        telling.add_argument("--line", metavar="LINE", help="of a meter that is not installed")
        telling.add_argument("--yes", action="store_true", help="do not ask")
        telling.add_argument("--json", action="store_true", help=_JSON)
    doctor.add_arguments(action("doctor", help="what is wrong with a line and its meters"))
    search.add_arguments(action("search", help="find the meters on a line"))


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    from cme_tui.commands import installing, listing, telling

    place = state_dir(arguments)
    match arguments.action:
        case "search":
            return search.run(arguments, place)
        case "list":
            return listing.show(place, as_json=arguments.json)
        case "add":
            names = ("line", "name", "baud", "interval")
            return installing.add(place, arguments.address, {n: getattr(arguments, n) for n in names})
        case "remove":
            return installing.remove(place, arguments.meters)
        case "import":
            return installing.import_file(
                place, arguments.file, dry_run=arguments.dry_run, as_json=arguments.json
            )
        case "export":
            return installing.export(place)
        case "keys":
            return installing.import_keys(place, arguments.file)
        case "doctor":
            return doctor.run(arguments, place)
        case "read":
            return listing.read(place, arguments.meter, as_json=arguments.json)
    value = getattr(arguments, "value", None)
    return telling.tell(
        place,
        arguments.action,
        arguments.meter,
        value,
        line=arguments.line,
        sure=arguments.yes,
        as_json=arguments.json,
    )
