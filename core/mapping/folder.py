"""Changes of the folder of active mapping files: each is one replaced or removed file, so a crash leaves old or new."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from core.mapping.library import MappingSet
from core.mapping.model import MappingError, MappingFile, dump
from core.statedir import write_atomically

_SUFFIX = ".json"


def add_file(directory: Path, file: MappingFile, *, replace: bool = False) -> MappingFile | None:
    """Make a valid mapping file active; with `replace` in the place of the one for the same meters, which is returned.

    The new content then stands in the file of the old one. Raises `MappingError`, changing nothing, where other files
    are in the way or the folder cannot be written.
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
        write_atomically(path, dump(file).encode(), 0o600)
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

    Raises `MappingError` where there is none, or the folder cannot be written.
    """
    active = MappingSet.from_directory(directory)
    names = {file.name: file.label for file in active.files} | {each.file: "" for each in active.problems}
    name = next((name for name, label in names.items() if wanted in (name, label)), None)
    if name is None:
        raise _unknown(wanted)
    try:
        (directory / name).unlink()
    except OSError as error:
        raise MappingError(name, "", f"cannot be removed: {error.strerror or error}") from None
    return name


def _unknown(wanted: str) -> MappingError:
    return MappingError(wanted[:128], "", "is no active mapping; 'cme-tui mapping list' names those")
