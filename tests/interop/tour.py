"""The tour that every foreign client makes through a gateway, and the one JSON object that comes out of it.

A client script gives a `Client`; this file knows no client library. All of them run in processes of their own,
because one prints, one hangs on truncated data, and one is under a licence of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

DATA, REGISTER, EXTENDED_REGISTER, PROFILE, CLOCK = 1, 3, 4, 7, 8
NAME = "0.0.42.0.0.255"
CHANNEL = "0.128.1.0.0.255"


class Client(Protocol):
    """What a client library is asked to do. Values are plain: numbers, text, bytes, lists of these."""

    def open(self) -> None:
        """Connect and associate; raises whatever the library raises if it is refused."""

    def close(self) -> None: ...

    def objects(self) -> list[tuple[int, str]]: ...

    def get(self, class_id: int, name: str, attribute: int) -> Any: ...

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]: ...

    def rows_by_range(self, name: str, start: datetime, end: datetime) -> list[Any]: ...

    def rows_by_entry(self, name: str, first: int, last: int) -> list[Any]: ...

    def set_channel(self, number: int) -> None: ...


def options() -> argparse.Namespace:
    """The command line, the same for every client."""
    parser = argparse.ArgumentParser(description="Make a tour through a DLMS gateway and print it as JSON")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--client", type=int, default=1, help="client SAP")
    parser.add_argument("--server", type=int, default=1, help="server SAP of the logical device")
    parser.add_argument("--password", default="", help="LLS password; without it no authentication")
    parser.add_argument(
        "--from", dest="start", type=datetime.fromisoformat, help="first row, ISO with offset"
    )
    parser.add_argument("--to", dest="end", type=datetime.fromisoformat, help="last row, ISO with offset")
    parser.add_argument("--entries", help="FIRST:LAST, also read profiles by entry")
    parser.add_argument("--channel", type=int, action="append", default=[], help="select it, read its name")
    parser.add_argument("--pdu", type=int, default=1024, help="largest APDU to take")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one answer")
    return parser.parse_args()


def run(client: Client, chosen: argparse.Namespace) -> None:
    """Make the tour and print the report; exit 1 if the association was refused."""
    report: dict[str, Any] = {"association": False, "refused": []}

    def attempt(what: str, action: Callable[[], Any]) -> Any:
        try:
            return plain(action())
        except Exception as error:
            report["refused"].append({"what": what, "why": f"{type(error).__name__}: {error}"})
            return None

    try:
        client.open()
    except Exception as error:
        report["refused"].append({"what": "association", "why": f"{type(error).__name__}: {error}"})
        print(json.dumps(report))
        sys.exit(1)
    report["association"] = True
    report["name"] = attempt("name", lambda: client.get(DATA, NAME, 2))
    objects = attempt("object list", client.objects) or []
    report["objects"] = objects
    report["list"] = attempt(
        "list", lambda: client.get_list([(DATA, NAME, 2), (CLOCK, "0.0.1.0.0.255", 3), (DATA, NAME, 1)])
    )
    report["values"] = {}
    report["profiles"] = {}
    for class_id, name in objects:
        label = f"{class_id} {name}"

        def value(attribute: int, class_id: int = class_id, name: str = name, label: str = label) -> Any:
            return attempt(f"{label} {attribute}", lambda: client.get(class_id, name, attribute))

        if class_id in (DATA, CLOCK):
            report["values"][label] = {"value": value(2)}
        elif class_id in (REGISTER, EXTENDED_REGISTER):
            unit = value(3)
            report["values"][label] = {
                "value": value(2),
                "scaler": unit and unit[0],
                "unit": unit and unit[1],
            }
        elif class_id == PROFILE:
            profile = {"columns": value(3), "entries": value(7)}
            report["profiles"][name] = profile
            if chosen.start and chosen.end:
                profile["by_range"] = attempt(
                    f"{label} by range", lambda n=name: client.rows_by_range(n, chosen.start, chosen.end)
                )
            if chosen.entries:
                first, last = map(int, chosen.entries.split(":"))
                profile["by_entry"] = attempt(
                    f"{label} by entry",
                    lambda n=name, a=first, b=last: client.rows_by_entry(n, a, b),
                )
    report["channels"] = {}
    for number in chosen.channel:
        refused = len(report["refused"])
        attempt(f"channel {number}", lambda n=number: client.set_channel(n))
        report["channels"][str(number)] = {
            "selected": len(report["refused"]) == refused,
            "reads": attempt("channel", lambda: client.get(DATA, CHANNEL, 2)),
            "name": attempt("name", lambda: client.get(DATA, NAME, 2)),
        }
    attempt("release", client.close)
    print(json.dumps(report))


def plain(value: Any) -> Any:
    """Bytes as hex, tuples as lists, everything else as JSON has it."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return str(value)
