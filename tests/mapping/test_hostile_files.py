"""Hostile files are refused with a sentence at every door and change nothing: what was active stays active."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import pytest
from gateway_process import LIMIT, GatewayProcess

from cme_tui.client import ask
from cme_tui.commands import mapping
from core.mapping.coach import meter_type, propose, template
from core.mapping.dryrun import dry_run
from core.mapping.engine import Readout
from core.mapping.folder import add_file, find_file, remove_file
from core.mapping.library import MappingSet
from core.mapping.lint import MeterReadout, findings
from core.mapping.model import MappingError, dump, parse_mapping
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram

MEMORY = 512 << 20  # bytes for a process that looks at a gigabyte


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory of a stopped gateway with one active file."""
    state = tmp_path / "state"
    (state / "mappings").mkdir(parents=True)
    (state / "mappings" / "gas.json").write_bytes(hostile.file())
    return state


@pytest.mark.parametrize("name", hostile.FILES)
def test_a_hostile_file_is_refused_when_it_is_added(
    name: str, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that names the file, exit 2; the folder is as it was, not one more file in it."""
    before = contents(state / "mappings")
    path = tmp_path / f"{name}.json"
    hostile.FILES[name](path)
    for do in (mapping.preview, lambda *args: mapping.add(*args, replace=True)):
        assert do(state, path) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"{name}.json: ")
        assert err.rstrip("\n").isprintable()
        assert len(err) < 600
    assert contents(state / "mappings") == before


def test_a_check_of_hostile_files_needs_little_memory(tmp_path: Path) -> None:
    """All in one call, in a process that could not hold the largest one: a line for each on stderr, exit 2."""
    paths = []
    for name, make in hostile.FILES.items():
        paths.append(tmp_path / f"{name}.json")
        make(paths[-1])
    done = run("check", *map(str, paths), limits={resource.RLIMIT_AS: MEMORY})
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [path.name for path in paths]
    told = json.loads(run("check", "--json", *map(str, paths)).stdout)
    assert [(each["severity"], each["file"]) for each in told] == [("error", path.name) for path in paths]


def run(*arguments: str, limits: dict[int, int] | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        for what, most in (limits or {}).items():
            resource.setrlimit(what, (most, most))

    return subprocess.run(
        [sys.executable, "-m", "cme_tui", "mapping", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        preexec_fn=limit,
    )


def test_a_text_of_a_meter_reaches_no_screen_as_it_is(telegram: Callable[..., Telegram], site: Site) -> None:
    """An escape sequence in the place of a customer's name: in hex in the coach, the lint and the dry run."""
    escape = b"\x1b[2J"
    meter = telegram("0dfd1104" + escape[::-1].hex())
    (proposal,) = propose([[meter]])
    assert proposal.field.value == escape.hex()
    document = json.loads(dump(template([proposal], meter_type(meter))))
    for data_type, shown in ((10, escape.hex()), (6, "no value: a text is no number for data type 6")):
        document["entries"][0] |= {
            "dlmsObisCode": "8.0.9.9.9.255",
            "dlmsClass": "data",
            "dlmsDataType": data_type,
        }
        file = parse_mapping(json.dumps(document), "made.json")
        readout = MeterReadout("meter", Readout((meter,), 0), site)
        ((change,),) = [each.objects for each in dry_run(MappingSet(), file, [readout])]
        assert (change.after or "").isprintable()
        assert change.after == shown
        assert all(str(each).isprintable() for each in findings(file, [readout]))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A running gateway without lines; its mappings are those that come with it."""
    state = tmp_path_factory.mktemp("state")
    (state / "config.toml").write_text('[dlms]\nhost = "127.0.0.1"\n')
    process = GatewayProcess(state)
    try:
        yield process
    finally:
        process.stop()


def test_a_running_gateway_goes_on_with_hostile_files_in_its_folder(gateway: GatewayProcess) -> None:
    """Told to look at them by SIGHUP and over the control socket, it has an alarm for each and keeps what is active."""
    folder = gateway.state_dir / "mappings"
    active = listed(gateway)
    for name, make in hostile.FILES.items():
        make(folder / f"{name}.json")
    for name in hostile.NAMES:
        (folder / name).write_bytes(hostile.file(version=9))
    gateway.process.send_signal(signal.SIGHUP)
    for _ in range(3):
        assert ask(gateway.state_dir, "reload") == {"reloaded": True}
    alarms = [alarm for alarm in ask(gateway.state_dir, "status")["alarms"] if alarm.startswith("Mapping ")]
    assert all(alarm.isprintable() and len(alarm) < 500 for alarm in alarms)
    for name in hostile.FILES:
        assert len([alarm for alarm in alarms if f" {name}.json: " in alarm]) == 1
    assert len(alarms) == len(hostile.FILES) + len(hostile.NAMES)
    assert listed(gateway) == active
    for path in [
        *(folder / f"{name}.json" for name in hostile.FILES),
        *(folder / name for name in hostile.NAMES),
    ]:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    ask(gateway.state_dir, "reload")
    assert not [alarm for alarm in ask(gateway.state_dir, "status")["alarms"] if alarm.startswith("Mapping ")]
    assert listed(gateway) == active


def listed(gateway: GatewayProcess) -> list[str]:
    """The rows of the active files."""
    return run("list", "--state-dir", str(gateway.state_dir)).stdout.splitlines()


def test_a_second_file_for_the_same_meters_stops_neither(state: Path) -> None:
    """Put there by hand: the first by name is active, and removing it by its meters leaves the other."""
    (state / "mappings" / "other.json").write_bytes(hostile.file(note=1))
    assert find_file(state / "mappings", "gas/all/0").name == "gas.json"
    assert remove_file(state / "mappings", "gas/all/0") == "gas.json"
    assert find_file(state / "mappings", "gas/all/0").name == "other.json"


def test_the_largest_file_that_is_allowed_is_looked_at_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2000 entries with as many keys as a megabyte holds, each with something to say about it."""
    entries = [
        {
            **hostile.ENTRY,
            "dlmsObisCode": f"8.0.{number // 250}.{number % 250}.0.255",
            "mbusKeys": [f"mbus.dib.8c10{place:02x}.value" for place in range(11)],
        }
        for number in range(2000)
    ]
    path = tmp_path / "large.json"
    path.write_text(json.dumps({**hostile.GOOD, "entries": entries}, separators=(",", ":")))
    assert mapping.check([path]) == 0
    assert capsys.readouterr().out == "large.json: gas/all/0, 2000 OBIS codes\n"


@pytest.mark.parametrize(
    ("name", "prepare", "limits"),
    [
        ("a folder that nobody can write", lambda folder: (folder.rmdir(), folder.symlink_to("/proc")), {}),
        ("a folder that is a file", lambda folder: (folder.rmdir(), folder.touch()), {}),
        ("a full disk", lambda folder: None, {resource.RLIMIT_FSIZE: 100}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_that_takes_no_file_is_a_sentence(
    tmp_path: Path, name: str, prepare: Callable[[Path], object], limits: dict[int, int]
) -> None:
    """Exit 2, one line that says why, and nothing half written is left."""
    folder = tmp_path / "state" / "mappings"
    folder.mkdir(parents=True)
    prepare(folder)
    path = tmp_path / "large.json"
    path.write_bytes(hostile.file(note="x" * 1000))
    done = run("add", str(path), "--state-dir", str(folder.parent), limits=limits)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert "large.json: cannot be written to " in done.stderr
    assert all(each.name.startswith("mappings") for each in folder.parent.iterdir())
    if limits:
        assert list(folder.iterdir()) == []


def test_a_full_disk_keeps_what_is_replaced(state: Path, tmp_path: Path) -> None:
    """The old file is there in full."""
    path = tmp_path / "new.json"
    path.write_bytes(hostile.file(note="x" * 1000))
    before = contents(state / "mappings")
    done = run("add", "--replace", str(path), "--state-dir", str(state), limits={resource.RLIMIT_FSIZE: 100})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert contents(state / "mappings") == before


def test_no_folder_is_left_by_way_of_a_name(state: Path) -> None:
    """What stands beside the folder of mappings cannot be written, read or removed by a name."""
    (state / "config.json").write_bytes(hostile.file(type="water"))
    for name in ("../config.json", str(state / "config.json"), "..", "mappings/../../config.json"):
        with pytest.raises(MappingError, match="is no active mapping"):
            find_file(state / "mappings", name)
        with pytest.raises(MappingError, match="is no active mapping"):
            remove_file(state / "mappings", name)
        with pytest.raises(MappingError, match="is no name for a mapping file"):
            add_file(state / "mappings", parse_mapping(hostile.file(type="water"), name))
