"""`cme-tui read`: what a HES sees of single objects."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys

import pytest
from gateway_process import LIMIT, GatewayProcess


def run(gateway: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cme_tui", "read", "--state-dir", str(gateway.state_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def read(gateway: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(gateway, *arguments, "--port", str(gateway.port))


def test_a_register_comes_with_its_unit(demo: GatewayProcess) -> None:
    """In both notations of the code."""
    done = read(demo, "8.0.1.0.0.255", "8-0:1.0.0", "--logical-device", "16")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"8\.0\.1\.0\.0\.255  \d+\.\d{3} m³  \(register, \d+ x 10\^-3\)", line)


def test_json_has_value_scaler_and_unit(demo: GatewayProcess) -> None:
    """Numbers as numbers, for scripts."""
    done = read(demo, "8.0.1.0.0.255", "--logical-device", "16", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["class"], found["attribute"], found["scaler"], found["unit"]) == (3, 2, -3, "m³")
    assert isinstance(found["value"], int)


def test_a_profile_has_a_line_for_each_row(demo: GatewayProcess) -> None:
    """Under the codes of its columns, the time first."""
    done = read(demo, "0.0.98.1.0.255", "--logical-device", "16")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("  0.0.1.0.0.255 | 8.0.1.0.0.255")
    assert re.match(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \| \d+", lines[2])


def test_what_is_refused_is_named(demo: GatewayProcess) -> None:
    """The others are printed all the same; exit 1."""
    done = read(demo, "8.0.1.0.0.255", "0.0.42.0.0.255", "--logical-device", "16", "--class", "1")
    assert done.returncode == 1
    assert "8.0.1.0.0.255: object-class-inconsistent" in done.stderr
    assert "ELS70112345070A" in done.stdout


def test_the_public_client_sees_a_name_but_no_reading(demo: GatewayProcess) -> None:
    """As a HES without a secret."""
    done = read(demo, "0.0.42.0.0.255", "8.0.1.0.0.255", "--logical-device", "16", "--client", "public")
    assert done.returncode == 1
    assert "ELS70112345070A" in done.stdout
    assert "8.0.1.0.0.255: not in the object list" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("8.0.1", "--logical-device", "16"), 2, "is no OBIS code"),
        (("8.0.1.0.0.255",), 2, "--logical-device"),
        (("8.0.1.0.0.255", "--logical-device", "900"), 1, "there is no such logical device"),
        (("8.0.1.0.0.255", "--logical-device", "16", "--port", "1"), 1, "no gateway at 127.0.0.1:1"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    arguments: tuple[str, ...], code: int, sentence: str, demo: GatewayProcess
) -> None:
    """It says what is wrong; stdout stays empty."""
    done = run(demo, *arguments) if "--port" in arguments else read(demo, *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_running_gateway_is_found_where_it_listens(demo: GatewayProcess) -> None:
    """Also where that is not what config.toml says."""
    done = run(demo, "0.0.42.0.0.255", "--logical-device", "16")
    assert done.returncode == 0, done.stderr
    assert "ELS70112345070A" in done.stdout


def test_ctrl_c_ends_it_without_a_traceback(demo: GatewayProcess) -> None:
    """While it waits for a gateway that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT)
        port = str(silent.getsockname()[1])
        arguments = ("--state-dir", str(demo.state_dir), "--port", port, "--logical-device", "16")
        reading = subprocess.Popen(
            [sys.executable, "-m", "cme_tui", "read", "0.0.42.0.0.255", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        with connection:
            reading.send_signal(signal.SIGINT)
            assert reading.communicate(timeout=LIMIT) == (b"", b"")
    assert reading.returncode == 1
