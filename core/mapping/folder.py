"""Changes of the folder of active mapping files: each is one replaced or removed file, so a crash leaves old or new.

The last change can be taken back, also after a restart.
"""

from __future__ import annotations

import contextlib
import glob
import os
from pathlib import Path

from core.mapping.library import MappingSet
from core.mapping.model import MappingError, MappingFile, dump
from core.statedir import write_atomically

_SUFFIX = ".json"


def add_file(directory: Path, file: MappingFile, *, replace: bool = False) -> MappingFile | None:
    """Make a valid mapping file active; with `replace` in the place of the one for the same meters, which is returned.

    The new content then stands in the file of the old one; `undo_change` takes it back. Raises `MappingError`,
    changing nothing, where other files are in the way or the folder cannot be written.
    """
    before = next(
        (each for each in MappingSet.from_directory(directory).files if each.triple == file.triple), None
    )
    if before is not None and not replace:
        reason = (
            f"is for {file.label} as the active {before.name} is; replace that one ('cme-tui mapping add --replace'), "
            "or make this one for other meters"
        )
        raise MappingError(file.name, "", reason)
    name = before.name if before else file.name
    if not name.endswith(_SUFFIX):
        raise MappingError(name, "", f"must have a name that ends with {_SUFFIX}, or nothing will read it")
    path = directory / name
    if before is None and os.path.lexists(path):
        raise MappingError(
            name, "", f"is the name of another file in {directory}; give this one another name"
        )
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for left in directory.glob(f".{glob.escape(name)}.*"):
            left.unlink()  # of a process that was killed while it wrote
        kept = _previous_folder(directory) / f".{name}"
        write_atomically(kept, path.read_bytes() if before else b"", 0o600)
        write_atomically(path, dump(file).encode(), 0o600)
        _keep(kept, name)
    except OSError as error:
        raise MappingError(name, "", f"cannot be written to {directory}: {error.strerror or error}") from None
    return before


def find_file(directory: Path, wanted: str) -> MappingFile:
    """The active file with this name, or for these meters (`"water/HYD/37"`). Raises `MappingError`."""
    active = MappingSet.from_directory(directory)
    for file in active.files:
        if wanted in (file.name, file.label):
            return file
    problem = next((each for each in active.problems if each.file == wanted), None)
    raise problem or _unknown(wanted)


def remove_file(directory: Path, wanted: str) -> str:
    """Take a mapping file out, named as in `find_file` or by the name of one that is not valid; returns its name.

    `undo_change` puts it back. Raises `MappingError` where there is none, or the folder cannot be written.
    """
    active = MappingSet.from_directory(directory)
    names = {file.name: file.label for file in active.files} | {each.file: "" for each in active.problems}
    name = next((name for name, label in names.items() if wanted in (name, label)), None)
    if name is None:
        raise _unknown(wanted)
    path = directory / name
    if path.is_dir() and not path.is_symlink():
        raise MappingError(name, "", f"is a folder in {directory}; delete it there")
    try:
        kept = _previous_folder(directory) / f".{name}"
        path.rename(kept)
        _keep(kept, name)
    except OSError as error:
        raise MappingError(name, "", f"cannot be removed: {error.strerror or error}") from None
    return name


def last_change(directory: Path) -> str:
    """What `undo_change` would take back: `"water.json was replaced"`; "" for nothing."""
    try:
        kept = _kept(directory)
        if kept is None:
            return ""
        if not kept.lstat().st_size:
            return f"{kept.name} was added"
        return f"{kept.name} was {'replaced' if (directory / kept.name).exists() else 'removed'}"
    except OSError:
        return ""


def undo_change(directory: Path) -> str:
    """Take back the last `add_file` or `remove_file`, also one before a restart; the name of the file.

    Raises `MappingError` where there is none, or the folder cannot be written; nothing has changed then.
    """
    try:
        kept = _kept(directory)
        if kept is None:
            raise MappingError(
                str(directory),
                "",
                "there is nothing to take back: no mapping was changed since the last undo",
            )
        if kept.lstat().st_size:
            kept.replace(directory / kept.name)
        else:
            (directory / kept.name).unlink(missing_ok=True)
            kept.unlink()
    except OSError as error:
        raise MappingError(
            str(directory), "", f"the change cannot be taken back: {error.strerror or error}"
        ) from None
    return kept.name


def _previous(directory: Path) -> Path:
    """The folder that holds what the last change replaced or removed; an empty file where one was added."""
    return directory.with_name(f"{directory.name}.previous")


def _previous_folder(directory: Path) -> Path:
    previous = _previous(directory)
    previous.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        # What root changes for a gateway of another user must stay a folder that this user can write.
        owner = directory.stat()
        os.chown(previous, owner.st_uid, owner.st_gid)
    return previous


def _keep(kept: Path, name: str) -> None:
    """Have `kept` be what `undo_change` takes back, now that the change is made: one that fails keeps the undo."""
    with contextlib.suppress(OSError):  # the change stands; there is only no way back
        for left in kept.parent.iterdir():
            if left != kept:
                left.unlink()
        kept.rename(kept.with_name(name))


def _kept(directory: Path) -> Path | None:
    previous = _previous(directory)
    # Dotfiles are of a change that was not made, or of a process that was killed.
    found = (
        [path for path in previous.iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
        if previous.is_dir()
        else []
    )
    return found[0] if found else None


def _unknown(wanted: str) -> MappingError:
    return MappingError(wanted[:128], "", "is no active mapping; 'cme-tui mapping list' names those")
