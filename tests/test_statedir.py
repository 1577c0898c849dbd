"""One directory holds the state, and one process holds the directory."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.statedir import StateDir, StateDirError, default_state_dir, write_atomically

HOLD = """
import sys
from pathlib import Path
from core.statedir import StateDir
with StateDir(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_the_environment_names_the_directory(tmp_path: Path) -> None:
    """CME_STATE_DIR goes before everything else."""
    environ = {"CME_STATE_DIR": "/srv/gateway", "XDG_STATE_HOME": "/x", "HOME": "/home/a"}
    assert default_state_dir(False, environ, tmp_path) == Path("/srv/gateway")


def test_the_system_directory_is_taken_where_it_can_be_written_or_made(tmp_path: Path) -> None:
    """A service finds its directory before and after it exists."""
    wanted = tmp_path / "cme-tui"
    assert default_state_dir(False, {"HOME": "/home/a"}, wanted) == wanted
    wanted.mkdir()
    assert default_state_dir(False, {"HOME": "/home/a"}, wanted) == wanted
    assert list(wanted.iterdir()) == []


def test_a_user_without_the_right_has_a_directory_at_home() -> None:
    """By the XDG base directory specification, where a relative path does not count."""
    out_of_reach = Path("/proc/no/such/place")
    assert default_state_dir(False, {"HOME": "/home/a"}, out_of_reach) == Path("/home/a/.local/state/cme-tui")
    xdg = {"HOME": "/home/a", "XDG_STATE_HOME": "/home/a/state"}
    assert default_state_dir(False, xdg, out_of_reach) == Path("/home/a/state/cme-tui")
    xdg["XDG_STATE_HOME"] = "state"
    assert default_state_dir(False, xdg, out_of_reach) == Path("/home/a/.local/state/cme-tui")


def test_the_demo_keeps_to_itself() -> None:
    """It can never touch the state of a real gateway."""
    assert default_state_dir(True, {"CME_STATE_DIR": "/srv/gateway"}) == Path("/srv/gateway/demo")


def test_a_new_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Mode 0700, with its parents made, and once more is no error."""
    state = StateDir(tmp_path / "a" / "b")
    state.create()
    state.create()
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    assert state.mappings.is_dir()


@pytest.mark.parametrize("place", ["/proc/cme-tui", "{tmp}/file/state", "{tmp}/file"])
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    """In one sentence that says what to do."""
    (tmp_path / "file").write_text("")
    path = Path(place.format(tmp=tmp_path))
    with pytest.raises(StateDirError, match=r"cannot be written \(.+\); .* --state-dir") as caught:
        StateDir(path).create()
    assert str(path) in str(caught.value)


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    """The sentence names the process."""
    with hold(tmp_path) as child:
        with pytest.raises(StateDirError, match=rf"process {child.pid}\b"), StateDir(tmp_path).lock():
            pytest.fail("two processes hold one directory")
        child.communicate("")
    with StateDir(tmp_path).lock():
        assert StateDir(tmp_path).lock_file.read_text() == f"{os.getpid()}\n"


def test_the_lock_ends_with_the_process_however_that_ends(tmp_path: Path) -> None:
    """After SIGKILL the next gateway starts without anybody cleaning up."""
    with hold(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    with StateDir(tmp_path).lock():
        pass


def test_the_lock_of_a_process_keeps_itself_out_too(tmp_path: Path) -> None:
    """Two gateways in one process are two gateways."""
    with (
        StateDir(tmp_path).lock(),
        pytest.raises(StateDirError, match="Another gateway"),
        StateDir(tmp_path).lock(),
    ):
        pytest.fail("held twice")


def test_an_atomic_write_keeps_links_and_sets_the_mode(tmp_path: Path) -> None:
    """A technician may keep config.toml elsewhere and link to it."""
    real = tmp_path / "real.toml"
    real.write_text("old")
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    write_atomically(link, b"new", 0o640)
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "real.toml"]


def test_an_atomic_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Here the target is a directory, which no file can replace."""
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(target, b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
