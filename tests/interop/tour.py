"""What a foreign client is asked to do, and the tour that it makes through a gateway.

A client script gives a `Client`; this file knows no client library. All of them run in processes of their own,
because one prints, one hangs on truncated data, and one is under a licence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

DATA, REGISTER, EXTENDED_REGISTER, PROFILE, CLOCK = 1, 3, 4, 7, 8
NAME = "0.0.42.0.0.255"
CHANNEL = "0.128.1.0.0.255"

Column = tuple[int, str, int, int]
"""Class, logical name, attribute, data index."""


@dataclass
class Choice:
    """How a client is to associate."""

    port: int
    host: str = "127.0.0.1"
    client: int = 1
    server: int = 1
    level: str = "none"  # "low": LLS, "high": HLS 5, GMAC
    password: str = ""
    form: str = "plain"  # "glo", "ded", "general-glo", "general-ded"
    control: int = 0x30  # security control byte: 10 authenticated, 30 encrypted as well
    title: bytes = b""
    encryption: bytes = b""
    authentication: bytes = b""
    counter: int = 1  # of the first ciphered APDU
    afresh: bool = False  # whether the counter was set on purpose, and may go back
    pdu: int = 1024
    window: int = 0  # of general block transfer; 0 = do not propose it
    timeout: float = 10.0  # seconds for one answer


class Client(Protocol):
    """What a client library is asked to do. Values are plain: numbers, text, bytes, lists of these.

    What it cannot do raises `NotImplementedError`, what is refused whatever the library raises. Values to write
    and parameters come A-XDR encoded, each library makes of them what it takes.
    """

    def open(self) -> None:
        """Connect and associate."""

    def again(self) -> None:
        """Associate once more, over the same connection."""

    def release(self) -> None:
        """Release the association; the connection stays."""

    def drop(self) -> None:
        """Close the connection, without a release where there was none."""

    def counter(self) -> int:
        """The next invocation counter."""

    def objects(self) -> list[tuple[int, str]]: ...

    def get(self, class_id: int, name: str, attribute: int) -> Any: ...

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]: ...

    def set(self, class_id: int, name: str, attribute: int, value: bytes) -> None: ...

    def set_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[int]:
        """Data-Access-Result of each."""

    def act(self, class_id: int, name: str, method: int, parameter: bytes) -> Any: ...

    def act_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[Any]:
        """What each returned."""

    def rows_by_range(
        self, name: str, start: datetime, end: datetime, columns: Sequence[Column] = ()
    ) -> list[Any]: ...

    def rows_by_entry(
        self, name: str, first: int, last: int, columns: Sequence[Column] = ()
    ) -> list[Any]: ...

    def transfer_keys(self, master: bytes, keys: Mapping[int, bytes]) -> None:
        """Keys by their id, which the library wraps under `master`."""

    def explain(self, error: Exception) -> dict[str, Any]:
        """What the error says: {"access": result}, {"exception": [state, service, counter]},
        {"rejected": diagnostic}, or nothing of these."""


def tour(
    client: Client,
    start: datetime | None = None,
    end: datetime | None = None,
    entries: tuple[int, int] | None = None,
    channels: Sequence[int] = (),
) -> dict[str, Any]:
    """Open `client`, read all there is, and release it.

    Profiles are read from `start` to `end` and by `entries`, where given; the channels are selected one after the
    other. "refused" in the report says what did not work.
    """
    report: dict[str, Any] = {"association": False, "refused": []}

    def attempt(what: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            report["refused"].append({"what": what, "why": f"{type(error).__name__}: {error}"})
            return None

    attempt("association", client.open)
    if report["refused"]:
        client.drop()
        return report
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
            if start and end:
                profile["by_range"] = attempt(
                    f"{label} by range", lambda n=name: client.rows_by_range(n, start, end)
                )
            if entries:
                profile["by_entry"] = attempt(
                    f"{label} by entry", lambda n=name: client.rows_by_entry(n, *entries)
                )
    report["channels"] = {}
    for number in channels:
        refused = len(report["refused"])
        attempt(f"channel {number}", lambda n=number: select(client, n))
        report["channels"][str(number)] = {
            "selected": len(report["refused"]) == refused,
            "reads": attempt("channel", lambda: client.get(DATA, CHANNEL, 2)),
            "name": attempt("name", lambda: client.get(DATA, NAME, 2)),
        }
    attempt("release", client.release)
    client.drop()
    return report


def select(client: Client, number: int) -> None:
    """Write the channel selection."""
    client.set(DATA, CHANNEL, 2, b"\x12" + number.to_bytes(2, "big"))
