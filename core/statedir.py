"""The directory that holds everything a gateway remembers, and the lock that gives it to one process.

Each path in it is named here and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import CmeError

SYSTEM_DIR = Path("/var/lib/cme-tui")
"""Where a gateway that is installed as a service keeps its state."""


class StateDirError(CmeError):
    """The state directory cannot be used, or another gateway is using it."""


def default_state_dir(demo: bool, environ: Mapping[str, str], system_dir: Path = SYSTEM_DIR) -> Path:
    """The state directory where none is named. Makes nothing.

    `$CME_STATE_DIR`, else `system_dir` where this user can write it or make it, else `cme-tui` below
    `$XDG_STATE_HOME` (or `~/.local/state`). The demo has a directory of its own in there.
    """
    named = environ.get("CME_STATE_DIR")
    if named:
        base = Path(named)
    elif os.access(system_dir if system_dir.exists() else system_dir.parent, os.W_OK | os.X_OK):
        base = system_dir
    else:
        home = environ.get("HOME")
        state_home = environ.get("XDG_STATE_HOME", "")
        # The XDG base directory specification has relative paths ignored.
        if not Path(state_home).is_absolute():
            state_home = str((Path(home) if home else Path.home()) / ".local" / "state")
        base = Path(state_home) / "cme-tui"
    return base / "demo" if demo else base


@dataclass(frozen=True, slots=True)
class StateDir:
    """The files of one gateway."""

    path: Path

    @property
    def config(self) -> Path:
        """What a technician sets. Beside it `core.config_file` keeps what the last save replaced."""
        return self.path / "config.toml"

    @property
    def secrets(self) -> Path:
        """Keys and password, readable by the owner only."""
        return self.path / "secrets.toml"

    @property
    def mappings(self) -> Path:
        """Folder of the active mapping files."""
        return self.path / "mappings"

    @property
    def dialects(self) -> Path:
        """Folder of the dialects that a technician wrote; there only where there is one."""
        return self.path / "dialects"

    @property
    def database(self) -> Path:
        """Readings and what is derived from them."""
        return self.path / "gateway.db"

    @property
    def control_socket(self) -> Path:
        """Where other programs of this user talk to the running gateway."""
        return self.path / "control.sock"

    @property
    def counters(self) -> Path:
        """The exact invocation counters of the present run."""
        return self.path / "counters.live"

    @property
    def lock_file(self) -> Path:
        """Held by the running gateway; says its process id."""
        return self.path / "gateway.lock"

    def create(self) -> None:
        """Make the directory (mode 0700) and its mappings folder.

        Raises StateDirError where it cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.mappings.mkdir(mode=0o700, exist_ok=True)
            # Only a real file tells: access rights lie on read-only and on full file systems.
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"x")
        except OSError as error:
            raise StateDirError(
                f"The state directory {self.path} cannot be written ({_reason(error)}); "
                "give this user the right to write there, or name another one with --state-dir."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this directory for the running process. Raises StateDirError where another one holds it.

        The kernel keeps the lock, so it ends with the process, however that ends.
        """
        try:
            fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirError(
                f"The lock file {self.lock_file} cannot be opened ({_reason(error)}); "
                "give this user the right to write there, or name another directory with --state-dir."
            ) from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateDirError(
                    f"Another gateway is running on {self.path} ({_holder(fd)}); "
                    "stop it first, or name another directory with --state-dir."
                ) from error
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Replace the content of `path` so that after a crash either the old or the new one is there, in full.

    The file is never readable by more than `mode` allows. A symbolic link is followed, so that it stays one.
    Where root writes, the file belongs to the owner of the old one, else of the directory.
    Raises OSError.
    """
    target = path.resolve()
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # made with mode 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if os.geteuid() == 0:
                # What root changes for a gateway of another user must stay a file that this user can read.
                owner = (target if target.exists() else target.parent).stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).strip()
    return f"process {text.decode()}" if text.isdigit() else "a process that is just starting"
