"""`cme-tui config set` and `cme-tui secrets`, on a gateway in a process of its own and on a stopped one."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import cme_tui
from dlms_wire import Wire, aarq
from gateway_process import LIMIT, Process

from cme_tui.client import ClientError, ask
from core.config import load_config
from core.secrets import GENERATED, load_secrets
from core.statedir import StateDir, write_atomically

SECRET = "00112233445566778899AABBCCDDEEFF"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Place:
    """A state directory, and the gateway on it where one runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = StateDir(path)
        self.processes: list[Process] = []

    def start(self, *arguments: str, **how: object) -> Process:
        self.processes.append(Process("--state-dir", str(self.path), "--headless", *arguments, **how))
        self.processes[-1].wait_for("^DLMS server listening on ")
        return self.processes[-1]

    def config(self, *arguments: str) -> CompletedProcess[str]:
        return cme_tui("config", "set", "--state-dir", str(self.path), *arguments)

    def secrets(self, *arguments: str, given: str | None = None) -> CompletedProcess[str]:
        return cme_tui("secrets", *arguments, "--state-dir", str(self.path), given=given)

    def done(self, *arguments: str) -> str:
        done = self.config(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "state")
    yield place
    for process in place.processes:
        process.process.kill()
        process.process.wait(LIMIT)


async def accepted(port: int, password: str) -> bool:
    async with Wire(port, server=1) as wire:
        return bytes.fromhex("a203020100") in await wire.ask(aarq(password.encode()))


async def test_a_running_gateway_applies_what_is_set(place: Place) -> None:
    """A new port and a lower level, at once; then taken back, also at once."""
    first, second = free_port(), free_port()
    place.done("dlms.host", "127.0.0.1", "dlms.port", str(first))
    place.start()
    password = load_secrets(place.state.secrets).lls_password
    assert not await accepted(first, password)
    text = place.done("dlms.port", str(second), "dlms.authentication", "low", "--yes")
    assert text == f"dlms.port = {second} (was {first})\ndlms.authentication = low (was high)\n"
    assert await accepted(second, password)
    assert "was low" in place.done("--undo")
    assert not await accepted(first, password)
    done = place.config("--undo")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


async def test_a_port_that_is_taken_is_refused_in_one_sentence(place: Place) -> None:
    """Exit 1; the file is as it was, and the gateway listens where it did."""
    port = free_port()
    place.done("dlms.host", "127.0.0.1", "dlms.port", str(port), "dlms.authentication", "low", "--yes")
    place.start()
    before = place.state.config.read_bytes()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = place.config("dlms.port", str(other.getsockname()[1]))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "choose another port" in done.stderr
    assert place.state.config.read_bytes() == before
    assert await accepted(port, load_secrets(place.state.secrets).lls_password)


def test_a_gateway_with_a_port_on_its_command_line_says_so(place: Place) -> None:
    """The setting is saved and does not show before the next start without it."""
    place.start("--dlms-port", "0", "--dlms-host", "127.0.0.1")
    text = place.done("dlms.port", "40591")
    assert "The gateway goes on listening on 127.0.0.1:" in text
    assert "as its command line says" in text
    assert load_config(place.state.config).dlms.port == 40591


def test_a_stopped_gateway_has_it_from_its_next_start_on(place: Place) -> None:
    """Comments stay, nothing is left over, and the start uses it."""
    place.path.mkdir(mode=0o700)
    before, port = free_port(), free_port()
    place.state.config.write_text(f"# Kellerweg 4\n[dlms]\nport = {before}  # agreed with the HES\n")
    text = place.done("dlms.port", str(port), "dlms.host", "127.0.0.1", "gateway.name", "Keller 4")
    assert "this holds from the next start on" in text
    assert f"port = {port}  # agreed with the HES" in place.state.config.read_text()
    assert not [each for each in place.path.iterdir() if each.name.startswith(".")]
    assert any(line.endswith(f"127.0.0.1:{port}") for line in place.start().lines)
    assert place.config("--undo").returncode == 0
    assert load_config(place.state.config).dlms.port == before


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("readout.interval", "30 min", "profiles.load_profile_1", "20 min"), "load profile 1: 20 min is no multiple"),
        (("dlms.port", "http"), 'port must be a whole number from 1 to 65535, not "http"'),
        (("dlms.port", "0"), "from 1 to 65535"),
        (("dlms.enabled", "perhaps"), "true or false"),
        (("dlms.prot", "4059"), "did you mean port?"),
        (("dlms.dialect", "idsi"), "did you mean idis?"),
        (("dlms.dialect", "idis", "obis.gateway_name", "0.1.24.3.1.255"), "the same code"),
        (("gateway.timezone", "Europe/Stokholm"), "time zone"),
        (("gateway.serial", "0016000001"), "made once"),
        (("dlms.port",), "has no value"),
        (("dlms.port", "4060", "dlms.port", "4061"), "twice"),
        ((), "or --undo"),
        (("--undo", "dlms.port", "4060"), "or --undo"),
        (("dlms.authentication", "none"), "without a password. To do it all the same, add --yes."),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused(
    place: Place, running: bool, arguments: tuple[str, ...], says: str
) -> None:
    """Exit 2, one line on stderr, the file as it was."""
    place.done("readout.interval", "15 min")
    if running:
        place.start("--dlms-port", "0")
    before = place.state.config.read_bytes()
    done = place.config(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert place.state.config.read_bytes() == before


def test_dialects_are_listed_and_chosen(place: Place) -> None:
    """Shipped and own ones with what they are; the choice names every code that changes; a bad one is told."""
    listed = cme_tui("config", "dialects", "--state-dir", str(place.path))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["en13757", "(shipped)"],
        ["idis", "(shipped)"],
    ]
    place.state.dialects.mkdir(parents=True)
    for name in ("mine", "bad", "idis", "two words"):
        (place.state.dialects / f"{name}.toml").write_text(
            'about = "Ours."\n' if name != "bad" else "about = 5\n"
        )
    listed = cme_tui("config", "dialects", "--state-dir", str(place.path))
    assert listed.returncode == 2
    assert listed.stdout.splitlines()[2:] == [f"mine  ({place.state.dialects / 'mine.toml'})  Ours."]
    for line, (name, says) in zip(
        listed.stderr.splitlines(),
        {
            "bad": "about must be",
            "idis": "comes with the program",
            "two words": "no name for a dialect",
        }.items(),
        strict=True,
    ):
        assert line.startswith(f"cme-tui: {place.state.dialects / name}.toml")
        assert says in line
    assert place.done("dlms.dialect", "idis").splitlines()[:4] == [
        "dlms.dialect = idis (was en13757)",
        "obis.load_profile_1 = 0.1.24.3.0.255 (was 1.0.99.1.0.255)",
        "obis.load_profile_2 = 0.1.24.3.1.255 (was 1.0.99.2.0.255)",
        "obis.billing_profile = 0.1.24.3.2.255 (was 0.0.98.1.0.255)",
    ]
    got = cme_tui("config", "get", "obis.load_profile_1", "--state-dir", str(place.path))
    assert got.stdout == "0.1.24.3.0.255\n"


def test_a_stopped_gateway_whose_dialect_is_gone_is_put_right(place: Place) -> None:
    """The check, the start and the undo name the file that is missing; another dialect can be chosen all the same."""
    place.state.dialects.mkdir(parents=True)
    own = place.state.dialects / "mine.toml"
    own.write_text('about = "Ours."\n')
    place.done("dlms.dialect", "mine")
    place.done("dlms.dialect", "idis")
    own.unlink()
    before = place.state.config.read_bytes()
    undone = place.config("--undo")
    assert (undone.returncode, f"there is no file {own}" in undone.stderr) == (2, True)
    assert place.state.config.read_bytes() == before
    own.write_text('about = "Ours."\n')
    place.done("--undo")
    own.unlink()
    for action in ("check", "get"):
        done = cme_tui("config", action, "--state-dir", str(place.path))
        assert (done.returncode, f"there is no file {own}" in done.stderr) == (2, True)
    gateway = Process("--headless", "--state-dir", str(place.path))
    gateway.wait_for(f"there is no file {re.escape(str(own))}")
    assert gateway.process.wait(LIMIT) == 2
    assert place.done("dlms.dialect", "en13757").startswith("dlms.dialect = en13757 (was mine)\n")
    assert cme_tui("config", "check", "--state-dir", str(place.path)).returncode == 0
    place.start("--dlms-port", "0")


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_settings_go_back_to_their_defaults(place: Place, running: bool) -> None:
    """The keys are taken out of the file, the rest of it stays, and the reset itself can be taken back."""
    place.done("gateway.name", "Keller 4", "dlms.inactivity_timeout", "60", "readout.interval", "5 min")
    if running:
        place.start("--dlms-port", "0")
    reset = ("config", "reset", "--state-dir", str(place.path))
    done = cme_tui(*reset, "dlms.inactivity_timeout", "readout.interval")
    assert (done.returncode, done.stderr) == (0, "")
    assert "dlms.inactivity_timeout = 180 (was 60)" in done.stdout
    assert "readout.interval = 15 min (was 5 min)" in done.stdout
    text = place.state.config.read_text()
    assert ("inactivity_timeout" in text, "interval" in text, "Keller 4" in text) == (False, False, True)
    before = place.state.config.read_bytes()
    for name, says in (("dlms.prot", "did you mean dlms.port?"), ("gateway.serial", "made once")):
        done = cme_tui(*reset, "gateway.name", name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert says in done.stderr
    assert place.state.config.read_bytes() == before
    place.done("--undo")
    assert load_config(place.state.config).dlms.inactivity_timeout == 60


def test_a_default_that_is_less_secure_needs_yes_too(place: Place) -> None:
    """The policy, that is: its default is none."""
    place.done("dlms.policy", "authenticated-encrypted")
    reset = ("config", "reset", "--state-dir", str(place.path), "dlms.policy")
    done = cme_tui(*reset)
    assert (done.returncode, "add --yes" in done.stderr) == (2, True)
    assert cme_tui(*reset, "--yes").returncode == 0
    assert load_config(place.state.config).dlms.policy == "none"


def test_the_policy_is_lowered_only_with_yes(place: Place) -> None:
    """Raising it needs none; taking back its raising does."""
    place.done("dlms.policy", "authenticated-encrypted")
    for arguments in (("dlms.policy", "none"), ("--undo",)):
        done = place.config(*arguments)
        assert (done.returncode, "This lowers the security policy" in done.stderr) == (2, True)
    place.done("--undo", "--yes")
    assert load_config(place.state.config).dlms.policy == "none"


def test_a_gateway_without_control_socket_is_not_changed_behind_its_back(place: Place) -> None:
    """It holds the directory, so its files are its own."""
    place.path.mkdir(mode=0o700)
    place.state.control_socket.mkdir()
    place.start("--dlms-port", "0")
    place.state.control_socket.rmdir()
    before = place.state.config.read_bytes()
    done = place.config("dlms.port", "4060")
    assert (done.returncode, "Another gateway is running" in done.stderr) == (1, True)
    assert place.state.config.read_bytes() == before


def without_override() -> None:
    """Have root's rights end where those of any owner do: else no directory is read-only for it."""
    if os.geteuid() == 0:
        drop = 24  # PR_CAPBSET_DROP
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0) == 0


async def test_a_read_only_directory_changes_nothing(place: Place) -> None:
    """Neither settings nor secrets, on disk nor in the gateway; the sentence says what to do."""
    place.done("dlms.host", "127.0.0.1", "dlms.port", str(free_port()))
    port = free_port()
    place.done("dlms.port", str(port), "dlms.authentication", "low", "--yes")
    place.start(before=without_override)
    password = load_secrets(place.state.secrets).lls_password
    before = {path.name: path.read_bytes() for path in place.path.glob("*.toml*")}
    place.path.chmod(0o500)
    try:
        for done in (
            place.config("dlms.port", str(free_port())),
            place.config("--undo", "--yes"),
            place.secrets("generate", "--all"),
        ):
            assert (done.returncode, done.stdout) == (1, "")
            assert re.search(
                r"cannot be written: .*; free space there or give this user the right to", done.stderr
            )
    finally:
        place.path.chmod(0o700)
    assert before == {path.name: path.read_bytes() for path in place.path.glob("*.toml*")}
    assert await accepted(port, password)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for others")
def test_what_root_changes_stays_the_gateways(tmp_path: Path) -> None:
    """A gateway of another user could not read it otherwise."""
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("")
    os.chown(old, 65534, 65534)
    write_atomically(old, b"a = 1\n", 0o600)
    assert (old.stat().st_uid, stat.S_IMODE(old.stat().st_mode)) == (65534, 0o600)
    os.chown(tmp_path, 65534, 65534)
    write_atomically(new, b"a = 1\n", 0o600)
    assert new.stat().st_uid == 65534


async def test_secrets_are_set_and_made_anew_without_being_shown(place: Place) -> None:
    """On a running gateway at once; no value in any output, in the log or in the events."""
    port = free_port()
    place.done("dlms.host", "127.0.0.1", "dlms.port", str(port), "dlms.authentication", "low", "--yes")
    gateway = place.start()
    old = load_secrets(place.state.secrets)
    outputs = []
    for arguments, given in (
        (("set", "lls_password", "--stdin"), "blue horse 7\n"),
        (("set", "encryption_key", "--stdin"), SECRET.lower()),
        (("set", "meter_keys.12345678", "--stdin"), f"{SECRET}\r\n"),
        (("generate", "master_key", "authentication_key"), None),
    ):
        done = place.secrets(*arguments, given=given)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    new = load_secrets(place.state.secrets)
    assert (new.lls_password, new.encryption_key.hex().upper()) == ("blue horse 7", SECRET)
    assert new.meter_keys == {"12345678": bytes.fromhex(SECRET)}
    assert not {old.master_key, old.authentication_key} & {new.master_key, new.authentication_key}
    assert stat.S_IMODE(place.state.secrets.stat().st_mode) == 0o600
    assert await accepted(port, "blue horse 7")
    assert not await accepted(port, old.lls_password)
    events = cme_tui("events", "--state-dir", str(place.path)).stdout
    assert "LLS password changed locally" in events
    assert "Master key, authentication key changed locally" in events
    assert gateway.stop() == 0
    told = "\n".join([*outputs, events, *gateway.lines]).lower()
    for value in ("blue horse 7", *(getattr(new, name).hex() for name in GENERATED[1:])):
        assert value.lower() not in told


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(place: Place) -> None:
    """Other users see the arguments of a command, and logs keep what it prints."""
    done = place.secrets("set", "master_key", SECRET)
    assert done.returncode == 2
    assert "the value is asked for" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert not place.state.secrets.exists()


def test_secrets_of_a_stopped_gateway_are_those_of_its_next_start(place: Place) -> None:
    """Also before the first one."""
    done = place.secrets("set", "master_key", "--stdin", given=SECRET)
    assert "this holds from the next start on" in done.stdout
    assert place.secrets("generate", "--all").returncode == 0
    secrets = load_secrets(place.state.secrets)
    assert secrets.master_key.hex().upper() != SECRET
    place.start("--dlms-port", "0")
    assert load_secrets(place.state.secrets) == secrets


def test_a_sentence_that_quotes_what_is_no_character_is_sent(place: Place) -> None:
    """Half a surrogate pair in a request comes back as the escape that it came as."""
    place.start("--dlms-port", "0")
    with pytest.raises(ClientError, match="\ud800 is no known key"):
        ask(place.path, "configure", values={"dlms.\ud800": 1})


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        (("set", "master_key", "--stdin"), SECRET[:-1], "master_key must be exactly 32 hex digits, not 31 characters"),
        (("set", "master_key", "--stdin"), SECRET[:-1] + "G", "master_key must be exactly 32 hex digits"),
        (("set", "master_key", "--stdin"), "", "not 0 characters"),
        (("set", "lls_password", "--stdin"), "", "1 to 64 printable ASCII"),
        (("set", "lls_password", "--stdin"), "x" * 65, "1 to 64 printable ASCII"),
        (("set", "lls_password", "--stdin"), "grün", "1 to 64 printable ASCII"),
        (("set", "lls_password"), "hidden", "--stdin"),
        (("set", "masterkey", "--stdin"), SECRET, "no secret of that name"),
        (("set", SECRET, "--stdin"), "master_key", "no secret of that name"),
        (("set", "meter_keys.1234", "--stdin"), SECRET, "8 digits"),
        (("generate", "meter_keys.12345678"), None, "cannot be generated"),
        (("generate",), None, "or --all"),
        (("generate", "master_key", "--all"), None, "or --all"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_is_refused_unseen(
    place: Place, running: bool, arguments: tuple[str, ...], given: str | None, says: str
) -> None:
    """Exit 2, one line that does not contain it, the file as it was."""
    assert place.secrets("generate", "--all").returncode == 0
    if running:
        place.start("--dlms-port", "0")
    before = place.state.secrets.read_bytes()
    done = place.secrets(*arguments, given=given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert SECRET[:-2] not in done.stderr
    assert "hidden" not in done.stderr
    assert place.state.secrets.read_bytes() == before


def test_bytes_that_are_no_text_are_refused_unseen(place: Place) -> None:
    """Also where Python is strict about them, whose error would show them."""
    place.secrets("generate", "--all")
    command = [sys.executable, "-m", "cme_tui", "secrets", "set", "lls_password", "--stdin"]
    done = subprocess.run(
        [*command, "--state-dir", str(place.path)], input="hidden\udcff\n", capture_output=True, text=True,
        errors="surrogateescape", env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, timeout=LIMIT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "cme-tui: lls_password must be 1 to 64 printable ASCII characters.\n",
    )


def test_two_keys_are_never_the_same(place: Place) -> None:
    """As over DLMS."""
    assert place.secrets("set", "master_key", "--stdin", given=SECRET).returncode == 0
    done = place.secrets("set", "encryption_key", "--stdin", given=SECRET)
    assert (done.returncode, "would be the same key" in done.stderr) == (2, True)


def type_password(place: Place, *answers: bytes) -> tuple[int, bytes]:
    """Exit code and screen of `secrets set lls_password` where these are the keys pressed at each prompt."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = ["-m", "cme_tui", "secrets", "set", "lls_password", "--state-dir", str(place.path)]
        os.execv(sys.executable, [sys.executable, *command])
    seen = b""
    for prompt, answer in zip((b"lls_password: ", b"The same again: "), answers, strict=False):
        while not seen.endswith(prompt):
            seen += os.read(terminal, 1024)
        os.write(terminal, answer)
    try:
        while part := os.read(terminal, 1024):
            seen += part
    except OSError:
        pass  # the other end is closed
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_a_secret_is_asked_for_without_echo(place: Place) -> None:
    """On a terminal, twice; what is typed never shows."""
    code, seen = type_password(place, b"green goat 9\n", b"green goat 9\n")
    assert (code, b"green goat 9" in seen) == (0, False)
    assert load_secrets(place.state.secrets).lls_password == "green goat 9"


@pytest.mark.parametrize("answers", [(b"\x04",), (b"one\n", b"two\n")], ids=["Ctrl+D", "two that differ"])
def test_no_answer_to_the_question_changes_nothing(place: Place, answers: tuple[bytes, ...]) -> None:
    """With a sentence, and no traceback."""
    place.secrets("generate", "--all")
    before = place.state.secrets.read_bytes()
    code, seen = type_password(place, *answers)
    assert (code, b"nothing has changed" in seen, b"Traceback" in seen) == (2, True, False)
    assert place.state.secrets.read_bytes() == before


def test_fingerprints_tell_secrets_apart_and_give_none_away(place: Place) -> None:
    """Each key by 8 hex digits; the password, which may be short, only by its length."""
    place.start("--dlms-port", "0")
    place.secrets("set", "meter_keys.12345678", "--stdin", given=SECRET)
    shown = json.loads(place.secrets("show", "--fingerprints", "--json").stdout)
    assert list(shown) == ["system_title", *GENERATED, "meter_keys.12345678"]
    assert shown["lls_password"] == "16 characters"
    prints = [shown[name] for name in (*GENERATED[1:], "meter_keys.12345678")]
    assert all(re.fullmatch("[0-9A-F]{8}", each) for each in prints)
    assert len(set(prints)) == 4
    secrets = load_secrets(place.state.secrets)
    keys = [getattr(secrets, name).hex().upper() for name in GENERATED[1:]]
    assert not any(each in key for each in prints for key in (*keys, SECRET))
    text = place.secrets("show", "--fingerprints").stdout
    assert all(each in text for each in prints)
    assert secrets.lls_password not in text
    place.secrets("generate", "encryption_key")
    again = json.loads(place.secrets("show", "--fingerprints", "--json").stdout)
    assert {name for name in shown if shown[name] != again[name]} == {"encryption_key"}
