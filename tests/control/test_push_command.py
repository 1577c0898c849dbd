"""`cme-tui push`, on a gateway in a process of its own and on a stopped one, with a real receiver."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import cme_tui
from gateway_process import LIMIT, GatewayProcess, Process
from recorded import RecordedGateway

from cme_tui.client import ClientError, ask
from core.config import load_config

KEYS = (
    "report",
    "enabled",
    "schedule",
    "destination",
    "last_rows",
    "next",
    "last",
    "waiting",
    "waiting_bytes",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Place:
    """A demo gateway, and `cme-tui push` on its state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gateway = GatewayProcess(path, "--demo")

    def push(self, *arguments: str, code: int = 0) -> str:
        done = cme_tui("push", *arguments, "--state-dir", str(self.path))
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.push(*arguments, "--json"))

    def ledger(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("list", "--ledger", *arguments)
        return found

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * LIMIT
        while not holds():
            assert time.monotonic() < deadline, self.push("list", "--ledger")
            time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("push") / "state")
    yield place
    place.gateway.process.kill()
    place.gateway.process.wait(LIMIT)


def test_from_no_report_to_delivered_and_stopped(place: Place) -> None:
    """A report is set and tested while nobody listens, shown, given up, sent again and delivered.

    Then the gateway stops, and what was stored can still be looked at.
    """
    place.gateway.wait_until(
        "every meter is read", lambda meters: all(each["last_reading"] for each in meters)
    )
    listed = place.json("list")
    assert [report["report"] for report in listed["reports"]][::5] == ["load_profile_1", "on_installation"]
    assert listed["running"] is True
    assert not any(report["enabled"] for report in listed["reports"])
    assert set(KEYS) < set(listed["reports"][0])
    assert "enable it first" in place.push("send", "load_profile_1", code=1)

    port = free_port()
    assert "load_profile_1 enabled = true (was false)" in place.push(
        "set",
        "load_profile_1",
        "--enable",
        "--schedule",
        "daily 03:00",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    )
    report = place.json("list")["reports"][0]
    assert (report["schedule"], report["destination"]) == ("daily 03:00", f"127.0.0.1:{port}")
    assert "1 notification is on the way" in place.push("test", "load_profile_1")
    place.until(lambda: "refuses connections" in place.ledger()[0]["reason"])
    first = place.ledger("--state", "waiting", "--report", "load_profile_1")[0]
    assert (first["id"], first["rows"], first["by_hand"]) == (1, 1, True)
    place.until(lambda: f"127.0.0.1:{port}: fails since" in place.push("list"))

    shown = place.json("show", "1")
    assert shown["content"]["type"] == "load_profile_1"
    assert len(shown["content"]["rows"]) == 1
    assert shown["apdu"].startswith("0f80000001")
    value = shown["content"]["rows"][0]["values"][0]
    assert f"{value['value']} {value['unit']}".strip() in place.push("show", "1")
    assert "no notification 99" in place.push("show", "99", code=2)

    assert place.push("cancel", "1") == "1 notification is given up.\n"
    place.push("cancel", "1", code=1)
    assert place.ledger("--state", "cancelled")[0]["id"] == 1

    day = place.ledger()[0]["last"][:10]
    device = str(first["logical_device"])
    assert "is no time" in place.push("resend", "load_profile_1", "--from", "x", "--to", day, code=2)
    listen = Process("listen", "--host", "127.0.0.1", "--port", str(port), "--json", "--count", "1")
    listen.wait_for("^Listening")
    made = place.push("resend", "load_profile_1", "--from", day, "--to", day, "--meter", device)
    assert made == "1 notification is on the way.\n"
    place.push("retry", "2")
    received = json.loads(listen.wait_for(r"^\{.*")[0])
    assert (received["report_id"], received["meter"]) == (2, shown["content"]["meter"])
    assert listen.process.wait(LIMIT) == 0
    place.until(lambda: place.ledger("--limit", "1")[0]["state"] == "delivered")

    today = next(
        each for each in place.json("completeness", device, "--month", day[:7]) if each["date"] == day
    )
    assert today["delivered"] == len(received["rows"]) > 0
    place.gateway.stop()
    assert place.json("list")["running"] is False
    now = place.json("list")["reports"][0]
    assert {key: value for key, value in now.items() if key not in ("next", "last")} == {
        key: value for key, value in report.items() if key not in ("next", "last")
    }
    assert [each["id"] for each in place.ledger()] == [2, 1]
    assert place.json("show", "1")["state"] == "cancelled"
    assert today in place.json("completeness", device, "--month", day[:7])
    assert "No gateway is running" in place.push("send", "load_profile_1", code=1)


def test_settings_of_a_stopped_gateway(tmp_path: Path) -> None:
    """They are saved for its next start; a mistake is named and changes nothing; the command before can be undone."""

    def push(*arguments: str) -> tuple[int, str]:
        done = cme_tui("push", *arguments, "--state-dir", str(tmp_path))
        return done.returncode, done.stdout + done.stderr

    config = tmp_path / "config.toml"
    code, text = push(
        "set", "billing_profile", "--enable", "--schedule", "monthly last 06:00", "--last-rows", "3"
    )
    assert (code, "holds from the next start on" in text) == (0, True)
    (report,) = load_config(config).push.reports
    assert (report.type, report.schedule, report.last_rows) == ("billing_profile", "monthly last 06:00", 3)
    before = config.read_bytes()
    for wrong, named in (
        (("billing_profile", "--schedule", "monthly 31 06:00"), "monthly last 06:00"),
        (("on_installation", "--schedule", "daily 06:00"), "has no schedule"),
        (("load_profile_3", "--enable"), "invalid choice"),
        (("billing_profile",), "say what to change"),
    ):
        code, text = push("set", *wrong)
        assert (code, named in text) == (2, True), text
    assert config.read_bytes() == before
    assert push("set", "billing_profile", "--enable")[1].startswith("All of this was set already.")
    assert push("list", "--ledger")[1] == "There are no notifications.\n"
    assert push("list", "--limit", "3")[0] == 2
    undone = cme_tui("config", "set", "--undo", "--state-dir", str(tmp_path))
    assert undone.returncode == 0
    assert load_config(config).push.reports == ()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"call": "send_report", "report": "load_profile_3"}, "load_profile_2"),
        ({"call": "test_report", "report": ["load_profile_1"]}, "load_profile_2"),
        (
            {
                "call": "resend_report",
                "report": "load_profile_1",
                "meters": [1],
                "start_ms": 0.5,
                "end_ms": 1,
            },
            "start_ms",
        ),
        (
            {
                "call": "resend_report",
                "report": "load_profile_1",
                "meters": "all",
                "start_ms": 0,
                "end_ms": 1,
            },
            "meters",
        ),
        ({"call": "retry_notifications", "ids": [True]}, "ids"),
        ({"call": "cancel_notifications"}, "ids"),
        ({"call": "cancel_notifications", "ids": [1 << 64]}, "53 bits"),
    ],
)
def test_a_bad_call_is_answered_with_a_sentence(
    gateway: RecordedGateway, tmp_path: Path, call: dict[str, Any], sentence: str
) -> None:
    """It names what the call takes, and nothing was done."""
    with pytest.raises(ClientError, match=sentence):
        ask(tmp_path, **call)
    assert gateway.pushes == []
