"""The active mapping files: which one serves a meter."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from core.mapping.media import types_of
from core.mapping.model import (
    ANY_MANUFACTURER,
    ANY_VERSION,
    MAX_BYTES,
    MappingError,
    MappingFile,
    check_name,
    parse_mapping,
)

log = logging.getLogger(__name__)


class MappingSet:
    """Mapping files with at most one for each type, manufacturer and version; never changes."""

    def __init__(self, files: Iterable[MappingFile] = (), problems: Iterable[MappingError] = ()) -> None:
        """Take the files in order; of two for one triple the first counts and the second is a problem."""
        self._by_triple: dict[tuple[str, str, int], MappingFile] = {}
        found = list(problems)
        for file in files:
            first = self._by_triple.setdefault(file.triple, file)
            if first is not file:
                reason = f"is for {file.label} as {first.name} is; delete one of the two"
                found.append(MappingError(file.name, "", reason))
        self.problems: tuple[MappingError, ...] = tuple(found)

    @classmethod
    def from_directory(cls, directory: Path, active: MappingSet | None = None) -> MappingSet:
        """All `*.json` in a directory, by name. A file that is not valid is a problem, and stops no other.

        In its place counts the file of that name in `active`, which was valid, unless a valid one is for the same
        meters. A file that did not change is the one in `active`.
        """
        known = {file.name: file for file in active.files} if active else {}
        files: list[MappingFile] = []
        kept: list[MappingFile] = []
        problems: list[MappingError] = []
        try:
            # Not glob: to that a directory that cannot be read is an empty one.
            paths = sorted(path for path in directory.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            paths = []
        except OSError as error:
            problems.append(MappingError(str(directory), "", f"cannot be read: {error.strerror}"))
            return cls(known.values(), problems)
        for path in paths:
            before = known.get(path.name)
            try:
                file = read_mapping(path)
            except MappingError as error:
                log.warning("mapping refused: %s", error)
                problems.append(error)
                kept += [before] if before else []
            else:
                files.append(before if before and before.document == file.document else file)
        taken = {file.triple for file in files}
        return cls((*files, *(file for file in kept if file.triple not in taken)), problems)

    @property
    def files(self) -> tuple[MappingFile, ...]:
        """The active files."""
        return tuple(self._by_triple.values())

    def with_file(self, file: MappingFile) -> MappingSet:
        """This set with a file in addition, or in the place of the one for the same meters."""
        others = (other for other in self.files if other.triple != file.triple)
        return MappingSet((*others, file), self.problems)

    def match(self, medium_code: int | None, manufacturer: str, version: int | None) -> MappingFile | None:
        """The file for a meter: type + manufacturer + version, then any version, then any manufacturer.

        Within each step the exact name of the medium goes before the group that it belongs to.
        """
        if medium_code is None:
            return None
        types = types_of(medium_code)
        maker = manufacturer.upper()
        exact = ANY_VERSION if version is None else version
        for pair in ((maker, exact), (maker, ANY_VERSION), (ANY_MANUFACTURER, ANY_VERSION)):
            for name in types:
                file = self._by_triple.get((name, *pair))
                if file is not None:
                    return file
        return None


def read_mapping(path: Path) -> MappingFile:
    """Read one mapping file from disk; at most 1 MiB is read. Raises `MappingError`."""
    check_name(path.name)
    try:
        if path.exists() and not path.is_file():
            raise MappingError(path.name, "", "is no file")  # opening a pipe would wait for a writer
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MappingError(path.name, "", f"cannot be read: {error.strerror or error}") from None
    return parse_mapping(content, path.name)
