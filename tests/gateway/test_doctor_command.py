"""`cme-tui meters doctor` on a real gateway whose line is a serial port, each in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_process import LIMIT, GatewayProcess, Process

_CONFIG = """\
[[line]]
name = "cellar"
url = "{url}"
baud = 38400
repeats = 0
"""
_METER = '[[meter]]\naddress = {address}\nname = "flat {address}"\n'


@contextmanager
def line(*what: str) -> Iterator[str]:
    """`cme-tui simulate`; the URL of its line."""
    process = Process("simulate", "--pty", "--baud", "38400", *what)
    try:
        yield process.wait_for(r"line at (serial:\S+)$")[1]
    finally:
        process.stop(signal.SIGINT)


@contextmanager
def configured(state_dir: Path, url: str) -> Iterator[GatewayProcess]:
    """A gateway with three meters on the line at this URL, when it has read them."""
    state_dir.mkdir()
    meters = "".join(_METER.format(address=address) for address in range(1, 4))
    (state_dir / "config.toml").write_text(_CONFIG.format(url=url) + meters)
    process = GatewayProcess(state_dir)
    try:
        process.wait_until("a readout of each", lambda ms: all(m["status"] != "waiting" for m in ms))
        yield process
    finally:
        process.stop()


def doctor(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cme_tui", "--state-dir", str(state_dir), "meters", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=4 * LIMIT, check=False)


def findings(state_dir: Path, *arguments: str) -> list[tuple[str, str]]:
    done = doctor(state_dir, "--json", *arguments)
    lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
    return [(found["meter"], found["fault"]) for item in lines for found in item["findings"]]


FLEET = ("--meters", "3")
TROUBLE = (*FLEET, "--misfortune", "twin@2", "--misfortune", "echo")


@pytest.mark.slow
def test_the_doctor_names_what_is_wrong_and_a_recording_shows_it_again(tmp_path: Path) -> None:
    """Verdict first, then evidence, in 80 columns; a check, a trace, a recording, and the same line played from it."""
    state_dir, recording = tmp_path / "state", tmp_path / "line.rec"
    with line(*TROUBLE) as url, configured(state_dir, url):
        recorder = Process("--state-dir", str(state_dir), "meters", "doctor", "--record", str(recording))
        recorder.wait_for("Recording line cellar")
        done = doctor(state_dir, "cellar", "--probe", "--all")
        assert done.returncode == 1, done.stderr
        first, *rest = done.stdout.splitlines()
        assert first.startswith("Line cellar: flat 2: Two meters answer at its address")
        assert "!! flat 2, two meters on one address" in rest
        assert "-  echoing converter" in rest
        assert any(text.startswith("   Because: ") for text in rest)
        assert all(len(text) <= 80 for text in rest)
        assert [text.split("  ")[0] for text in rest[-3:]] == ["flat 1", "flat 2", "flat 3"]
        assert findings(state_dir) == [("flat 2", "two meters on one address"), ("", "echoing converter")]

        tracer = Process("--state-dir", str(state_dir), "meters", "doctor", "--trace")
        tracer.wait_for(r"> SND_NKE 1  flat 1$")
        tracer.wait_for(r"^ +10 40 01 41 16$")
        tracer.wait_for(r"< acknowledgement  after \d+ ms")
        assert tracer.stop(signal.SIGINT) == 0

        recorder.process.send_signal(signal.SIGINT)
        recorder.wait_for(r"^\d\d+ requests are in .*line\.rec; 'cme-tui simulate --replay")
        assert recorder.process.wait(LIMIT) == 0

        assert "begin anew" in doctor(state_dir, "--reset").stdout
        assert "Nothing can be said yet" in doctor(state_dir).stdout

    again = tmp_path / "again"
    with line("--replay", str(recording)) as url, configured(again, url):
        assert findings(again, "--probe") == [
            ("flat 2", "two meters on one address"),
            ("", "echoing converter"),
        ]


def test_a_healthy_line_is_said_to_be_healthy(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with line(*FLEET) as url, configured(state_dir, url):
        done = doctor(state_dir, "--probe")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Line cellar: All is well: all 3 meters answer, and none of the last")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("attic",), 2, "There is no line 'attic'; there are: cellar."),
        (("--record", "/"), 1, "There is a file / already"),
        (("--record", "/proc/x.rec"), 1, "/proc/x.rec cannot be written"),
        (("--trace", "--reset"), 2, "not allowed with argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    demo: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = doctor(demo, *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state directory of a gateway with one simulated line."""
    state_dir = tmp_path_factory.mktemp("state")
    (state_dir / "config.toml").write_text(
        '[[line]]\nname = "cellar"\nurl = "sim:"\n' + _METER.format(address=5)
    )
    process = GatewayProcess(state_dir)
    yield state_dir
    process.stop()


def test_without_a_gateway_the_doctor_says_how_to_start_one(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("cme-tui: No gateway is running")
    assert os.linesep not in done.stderr.strip()
