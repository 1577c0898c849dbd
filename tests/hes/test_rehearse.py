"""`cme-tui rehearse`: the whole command against a demo gateway, and against gateways with a fault."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess, Process

from cme_tui.hes.access import Access
from cme_tui.hes.rehearsal import Outcome, Rehearsal, Step
from core.demo import write_config
from core.secrets import load_secrets, save_secrets

LIMIT = 120.0
HLS = "management, high (HLS 5 GMAC)"
METERS = 8


def rehearse(state_dir: Path, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "cme_tui",
            "rehearse",
            "--state-dir",
            str(state_dir),
            "--port",
            str(port),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in report["steps"]}


async def made(rehearsal: Rehearsal) -> list[Step]:
    return [step async for step in rehearsal.steps()]


@pytest.fixture(scope="module")
def report(demo: GatewayProcess) -> dict[str, Any]:
    """The report of a whole rehearsal with the demo gateway."""
    done = rehearse(demo.state_dir, demo.port, "--json")
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if found["failed"] else 0)
    return found


def test_everything_that_a_head_end_does_works(report: dict[str, Any]) -> None:
    """No step fails, and none is left out that should be there."""
    assert {step["name"]: step["text"] for step in report["steps"] if step["outcome"] == "failed"} == {}
    found = outcomes(report)
    assert {name for name, outcome in found.items() if outcome == "skipped"} <= {
        "management, no authentication", "device 1: profiles",
    }  # fmt: skip
    for device in range(16, 16 + METERS):
        for what in ("object list", "values", "profiles"):
            assert found[f"device {device}: {what}"] == "passed"
    for name in (
        "public client",
        "clock",
        HLS,
        "channel selection",
        "association with a meter",
        "push to a local receiver",
        "wrong password",
    ):
        assert found[name] == "passed"
    assert report["complete"]


def test_the_report_says_what_the_head_end_sees(report: dict[str, Any]) -> None:
    """Values with unit, names, rows of profiles, and the diagnostic of the refused password."""
    text = {step["name"]: step["text"] for step in report["steps"]}
    assert "ELS70112345070A" in text["logical devices"]
    volume = next(line for line in text["device 16: values"].splitlines() if line.startswith("8-0:1.0.0"))
    assert volume.endswith(" m³")
    assert "1-0:99.1.0: " in text["device 16: profiles"]
    assert "authentication-failure" in text["wrong password"]
    first, *pushed = text["push to a local receiver"].splitlines()
    assert first == f"{len(pushed)} notifications, in clear"
    assert pushed[0].startswith("load_profile_1 of ELS70112345070A: ")
    assert pushed[-1].startswith("on_installation of ELV")
    assert pushed[-1].endswith(": IP 127.0.0.1")


def test_a_chosen_device_is_rehearsed_alone(demo: GatewayProcess) -> None:
    """Only its steps are there, in text no wider than 80 columns, with progress on stderr."""
    done = rehearse(demo.state_dir, demo.port, "--logical-device", "18")
    assert "device 18: values" in done.stdout
    assert "device 16: values" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "device 18: values: passed" in done.stderr


@pytest.mark.parametrize(
    ("change", "outcome", "text"),
    [
        ({"state_dir": Path("/nowhere")}, Outcome.SKIPPED, "only a gateway on this machine"),
        ({"state_dir": None}, Outcome.SKIPPED, "control socket"),
        ({"ciphered": True}, Outcome.FAILED, "load_profile_1 came in clear"),
    ],
)
async def test_a_push_that_is_not_possible_or_not_right_is_told(
    access: Access, change: dict[str, Any], outcome: Outcome, text: str
) -> None:
    """No control socket, no step; in clear where everything has to be ciphered, no success."""
    steps = await made(Rehearsal(dataclasses.replace(access, **change), [1]))
    (step,) = [step for step in steps if step.name == "push to a local receiver"]
    assert step.outcome == outcome
    assert text in step.text


def test_a_gateway_that_wants_everything_ciphered_is_rehearsed_ciphered(tmp_path: Path) -> None:
    """With HLS alone: what is not set up is skipped, everything else passes, the wrong password is refused.

    Also with other codes than the usual ones.
    """
    config = tmp_path / "config.toml"
    write_config(config)
    settings = 'authentication = "high"\npolicy = "authenticated-encrypted"\ndialect = "idis"\n#'
    config.write_text(
        config.read_text().replace('authentication = "low"', settings)
        + '[obis]\npush_load_profile_1 = "0.9.25.9.0.255"\n'
    )
    gateway = GatewayProcess(tmp_path, "--demo")
    try:
        done = rehearse(tmp_path, gateway.port, "--logical-device", "1", "16", "--json")
    finally:
        gateway.process.kill()
        gateway.process.wait(LIMIT)
    found = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert {name: step["text"] for name, step in found.items() if step["outcome"] == "failed"} == {}
    assert done.returncode == 0
    assert "ciphered, invocation counter from" in found[HLS]["text"]
    assert found["management, low (LLS)"]["outcome"] == "skipped"
    assert "asks for high" in found["management, low (LLS)"]["text"]
    assert found["device 16: values"]["outcome"] == "passed"
    assert "rejected" in found["wrong password"]["text"]
    assert "notifications, ciphered" in found["push to a local receiver"]["text"]


def test_a_device_that_is_not_there_is_named(demo: GatewayProcess) -> None:
    """The step that finds the devices fails with the number."""
    done = rehearse(demo.state_dir, demo.port, "--logical-device", "999", "--json")
    assert done.returncode == 1
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["logical devices"]["outcome"] == "failed"
    assert "999" in steps["logical devices"]["text"]


async def test_quick_takes_one_meter_of_each_type(access: Access) -> None:
    """No two of the devices share manufacturer, medium and version."""
    steps = await made(Rehearsal(access, quick=True))
    names = [step.text.split(":")[0] for step in steps if step.name.endswith("object list")]
    kinds = [name[:3] + name[11:] for name in names[1:]]
    assert kinds
    assert len(kinds) == len(set(kinds))


def test_a_password_that_is_not_the_gateways_fails_by_name(demo: GatewayProcess, tmp_path: Path) -> None:
    """Its step fails with the diagnostic; what needs no password still passes; exit 1."""
    for name in ("config.toml", "secrets.toml"):
        (tmp_path / name).write_bytes((demo.state_dir / name).read_bytes())
    secrets = load_secrets(tmp_path / "secrets.toml")
    save_secrets(tmp_path / "secrets.toml", dataclasses.replace(secrets, lls_password="another"))
    done = rehearse(tmp_path, demo.port, "--logical-device", "16")
    assert done.returncode == 1
    failed = done.stdout.split("What failed:")[1]
    assert "management, low (LLS): association rejected: authentication-failure" in " ".join(failed.split())
    assert "● passed   public client" in done.stdout


async def test_a_gateway_that_hangs_ends_the_rehearsal_in_time(silent: Access) -> None:
    """After some steps without an answer the others are skipped, with that reason."""
    steps = await made(Rehearsal(silent, answer_seconds=0.2))
    assert steps[0].outcome is Outcome.FAILED
    assert "no answer" in steps[0].text
    assert steps[-1].outcome is Outcome.SKIPPED
    assert "does not answer any more" in steps[-1].text
    assert not any(step.outcome is Outcome.PASSED for step in steps)


async def test_a_gateway_that_is_not_there_is_said_once_in_each_step(access: Access) -> None:
    """The sentence has the address and what to do."""
    steps = await made(Rehearsal(dataclasses.replace(access, port=1)))
    assert "no gateway at 127.0.0.1:1" in steps[0].text
    assert "--port" in steps[0].text


def test_ctrl_c_prints_what_there_is(demo: GatewayProcess) -> None:
    """The report of the steps that were made, marked as stopped; exit 1."""
    process = Process("rehearse", "--state-dir", str(demo.state_dir), "--port", str(demo.port))
    process.wait_for(r"public client: passed")
    assert process.stop(signal.SIGINT) == 1
    process.wait_for(r"stopped before the end")
    assert "● passed   public client" in "\n".join(process.lines)
