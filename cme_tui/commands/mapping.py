"""`cme-tui mapping`: what is wrong in mapping files, and which ones are active."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from core.mapping.library import MappingSet, read_mapping
from core.mapping.lint import warnings
from core.mapping.model import MappingError, MappingFile


def check(files: Iterable[str | Path]) -> int:
    """Check mapping files: a line for each good one, problems and warnings on stderr. Exit 2 with a problem."""
    good: list[MappingFile] = []
    problems: list[MappingError] = []
    for file in files:
        try:
            good.append(read_mapping(Path(file)))
        except MappingError as error:
            problems.append(error)
    active = MappingSet(good, problems)
    for mapping in active.files:
        print(f"{mapping.name}: {mapping.label}, {_codes(mapping)}")
        for warning in warnings(mapping):
            print(f"warning: {warning}", file=sys.stderr)
    return _report(active.problems)


def list_active(directory: Path) -> int:
    """Print the mapping files in `directory` that are active. Exit 2 if one of them cannot be used."""
    active = MappingSet.from_directory(directory)
    rows = [_HEADINGS, *map(_row, active.files)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return _report(active.problems)


_HEADINGS = ("Type", "Manufacturer", "Version", "OBIS codes", "File")


def _row(mapping: MappingFile) -> tuple[str, ...]:
    version = str(mapping.version) if mapping.version else "any"
    return mapping.type, mapping.manufacturer, version, str(mapping.obis_codes), mapping.name


def _codes(mapping: MappingFile) -> str:
    return "1 OBIS code" if mapping.obis_codes == 1 else f"{mapping.obis_codes} OBIS codes"


def _report(problems: Iterable[MappingError]) -> int:
    code = 0
    for problem in problems:
        print(problem, file=sys.stderr)
        code = 2
    return code
