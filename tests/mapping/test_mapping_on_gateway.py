"""`cme-tui mapping` on the state directory of a gateway that runs, and of the same one when it is stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import cme_tui
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gateway_process import GatewayProcess

from cme_tui.client import ask
from cme_tui.commands import mapping
from core.secrets import Secrets, save_secrets
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The demo gateway with a Kamstrup heat meter, after its first readouts."""
    process = GatewayProcess(tmp_path_factory.mktemp("state"), "--demo")
    try:
        process.wait_until("a reading of each", lambda meters: all(each["last_reading"] for each in meters))
        yield process
    finally:
        process.stop()


def run(gateway: GatewayProcess, *arguments: str) -> CompletedProcess[str]:
    return cme_tui("mapping", *arguments, "--state-dir", str(gateway.state_dir))


def mapping_of_kamstrup(gateway: GatewayProcess) -> str:
    meters = ask(gateway.state_dir, "status")["meters"]
    (label,) = [str(each["mapping"]) for each in meters if each["manufacturer"] == "KAM"]
    return label


def test_a_template_becomes_a_mapping_of_the_running_and_the_stopped_gateway(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Types in use, template, check with the meter's values, add, list, export, replace, remove; then stopped."""
    types = run(gateway, "template")
    assert (types.returncode, "heat/KAM/8" in types.stdout) == (0, True)
    template = run(gateway, "template", "heat/KAM/8")
    assert template.returncode == 0
    file = tmp_path / "kamstrup.json"
    file.write_text(template.stdout)
    (name,) = [
        each["name"] for each in ask(gateway.state_dir, "status")["meters"] if each["manufacturer"] == "KAM"
    ]
    assert run(gateway, "template", "--meter", name).stdout == template.stdout

    checked = run(gateway, "check", str(file), "--meter", name, "--json")
    assert checked.returncode == 0
    assert [(each["severity"], each["file"]) for each in json.loads(checked.stdout)] == [
        ("warning", "kamstrup.json")
    ]

    assert mapping_of_kamstrup(gateway) == "heat/all/0"
    folder = sorted((gateway.state_dir / "mappings").iterdir())
    file.write_text(template.stdout.replace("6.0.1.0.0.255", "6.0.1.0.99.255"))
    rows = [line.split() for line in run(gateway, "add", "--dry-run", str(file)).stdout.splitlines()]
    by_code = {next(cell for cell in row if cell.count(".") == 5): row for row in rows[1:]}
    assert by_code["6.0.1.0.0.255"][-2:] == ["-", "changes"]
    assert by_code["6.0.1.0.99.255"][-1] == "changes"
    assert by_code["6.0.2.0.0.255"][-1] != "changes"
    assert sorted((gateway.state_dir / "mappings").iterdir()) == folder
    assert mapping_of_kamstrup(gateway) == "heat/all/0"

    file.write_text(template.stdout)
    added = run(gateway, "add", str(file))
    assert (added.returncode, added.stdout.endswith("The running gateway uses it.\n")) == (0, True)
    assert mapping_of_kamstrup(gateway) == "heat/KAM/8"
    listed = next(line.split() for line in run(gateway, "list").stdout.splitlines() if "KAM" in line)
    assert listed == ["heat", "KAM", "8", "15", "1", "kamstrup.json"]

    again = run(gateway, "add", str(file))
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.splitlines()[-1].startswith("kamstrup.json: is for heat/KAM/8 as the active")
    file.write_text(template.stdout.replace("6.0.1.0.0.255", "6.0.1.0.99.255"))
    assert run(gateway, "add", "--replace", str(file)).returncode == 0
    exported = run(gateway, "export", "heat/KAM/8")
    assert json.loads(exported.stdout) == json.loads(file.read_text())

    file.write_text(file.read_text()[:100])
    refused = run(gateway, "add", "--replace", str(file))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert run(gateway, "export", "kamstrup.json").stdout == exported.stdout

    assert (
        run(gateway, "remove", "heat/KAM/8").stdout
        == "kamstrup.json is removed. The running gateway uses it.\n"
    )
    assert mapping_of_kamstrup(gateway) == "heat/all/0"

    assert gateway.stop() == 0
    file.write_text(template.stdout)
    assert run(gateway, "template", "heat/KAM/8").stdout == template.stdout
    assert "No gateway is running" in run(gateway, "add", str(file)).stdout
    assert "KAM" in run(gateway, "list").stdout
    assert run(gateway, "remove", "kamstrup.json").returncode == 0


def test_what_is_not_there_is_a_sentence(gateway: GatewayProcess, tmp_path: Path) -> None:
    """One line on stderr, exit 2, nothing on stdout."""
    file = tmp_path / "w.json"
    file.write_text('{"type": "water", "manufacturer": "all", "version": 0, "entries": []}')
    for arguments, words in (
        (("template", "water/XXX/1"), "water/XXX/1: is the type of no meter that was read; there are "),
        (("template", "--meter", "nobody"), 'there is no "nobody"'),
        (("check", str(file), "--meter", "nobody"), 'there is no "nobody"'),
        (("export", "../config.toml"), "is no active mapping"),
        (("remove", "nothing.json"), "is no active mapping"),
        (("add", str(tmp_path / "none.json")), "cannot be read"),
    ):
        done = run(gateway, *arguments)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
        assert words in done.stderr


def test_before_the_first_readout_there_is_no_template(tmp_path: Path) -> None:
    """It says why, for a meter and for a type."""
    config = (
        '[[line]]\nname = "cellar"\nurl = "sim:"\n\n[[meter]]\nname = "cold water"\nline = "cellar"\n'
        "address = 5\nlogical_device = 17\n"
    )
    (tmp_path / "config.toml").write_text(config)
    for arguments, words in (
        (("--meter", "cold water"), "cold water: its fields are known after the first good readout"),
        (("water/HYD/37",), "no meter was read yet"),
    ):
        done = cme_tui("mapping", "template", *arguments, "--state-dir", str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


async def test_an_encrypted_meter_has_a_template_once_its_key_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before that it says that its telegrams cannot be opened, and why."""
    key = bytes(range(16))
    plain = bytes.fromhex("2F2F 0C13 46590800 02 5A 1201 2F2F2F2F") + b"\x2f" * 16
    vector = bytes.fromhex("2423 78563412 2807") + b"\x0a" * 8
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    content = bytes.fromhex("080572 78563412 2423 2807 0a00 2005") + encryptor.update(plain)
    frame = bytes((0x68, len(content), len(content), 0x68)) + content + bytes((sum(content) & 0xFF, 0x16))
    state = StateDir(tmp_path)
    state.config.write_text(
        '[[line]]\nname = "cellar"\nurl = "sim:"\n\n[[meter]]\nline = "cellar"\naddress = 5\n'
    )
    store = await Store.open(state.database)
    meter = await store.install_meter("cellar", "5", 1)
    await store.add_reading(Reading(meter, "cellar", 2, MeterState.OK, (frame,)))
    await store.close()

    assert mapping.show_template(tmp_path, None, "meter 5") == 2
    told = capsys.readouterr().err
    assert re.search(r"^water/HYD/40: there is nothing to map: .*give the meter its key$", told, re.MULTILINE)
    save_secrets(state.secrets, replace(Secrets.generate(), meter_keys={"12345678": key}))
    assert mapping.show_template(tmp_path, None, "12345678") == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [entry["dlmsObisCode"] for entry in entries] == ["8.0.1.0.0.255", "8.0.3.0.0.255"]
