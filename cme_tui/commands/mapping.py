"""`cme-tui mapping`: what is wrong in mapping files, which ones are active, and changes of them.

The folder of a running gateway is changed as that of a stopped one; a running gateway is asked to read it again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cme_tui.client import ClientError, NoGatewayError, ask
from cme_tui.commands.arguments import METER, add_actions, state_dir
from cme_tui.commands.stored import chosen, installed_meters
from core.config import ConfigError
from core.mapping import workshop
from core.mapping.coach import template
from core.mapping.folder import add_file, find_file, last_change, remove_file, undo_change
from core.mapping.library import MappingSet, read_mapping
from core.mapping.lint import Finding, MeterReadout, findings, refusal
from core.mapping.model import MappingError, MappingFile, dump
from core.statedir import StateDir

_BAD_INPUT = 2
_FAILURE = 1
_MAPPING: Final = "FILE|TYPE/MANUFACTURER/VERSION"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    action = add_actions(parser)
    checking = action("check", help="say what is wrong in mapping files")
    checking.add_argument("files", type=Path, nargs="+", metavar="FILE")
    checking.add_argument("--json", action="store_true", help="a list of severity, file, path and text")
    checking.add_argument(
        "--meter",
        metavar=METER,
        action="append",
        default=[],
        help="with the values of this one; may be repeated",
    )
    action("list", help="the active mappings")
    adding = action("add", help="make a mapping file active")
    adding.add_argument("file", type=Path, metavar="FILE")
    adding.add_argument(
        "--replace", action="store_true", help="in the place of the active one for the same meters"
    )
    adding.add_argument(
        "--dry-run", action="store_true", help="only print what each meter would show before and after"
    )
    removing = action("remove", help="take an active mapping out")
    removing.add_argument("mapping", metavar=_MAPPING)
    action("undo", help="take back the last add or remove")
    exporting = action("export", help="print an active mapping file")
    exporting.add_argument("mapping", metavar=_MAPPING)
    sketching = action(
        "template",
        help="print a mapping file with every field of a meter type; without a type, the types in use",
    )
    kind = sketching.add_mutually_exclusive_group()
    kind.add_argument("type", nargs="?", metavar="TYPE/MANUFACTURER/VERSION")
    kind.add_argument("--meter", metavar=METER, help="the type of this meter")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    place = state_dir(arguments)
    match arguments.action:
        case "check":
            return check(arguments.files, as_json=arguments.json, state_dir=place, meters=arguments.meter)
        case "list":
            return list_active(place)
        case "add" if arguments.dry_run:
            return preview(place, arguments.file)
        case "add":
            return add(place, arguments.file, replace=arguments.replace)
        case "remove":
            return remove(place, arguments.mapping)
        case "undo":
            return undo(place)
        case "export":
            return export(place, arguments.mapping)
        case "template":
            return show_template(place, arguments.type, arguments.meter)
    raise AssertionError(arguments.action)


def check(
    files: Iterable[Path], *, as_json: bool = False, state_dir: Path | None = None, meters: Sequence[str] = ()
) -> int:
    """Check mapping files, against the last readouts of `meters` too. Exit 2 if one of the files is refused.

    A line for each good file on stdout, errors and warnings on stderr; with `as_json` a list of all findings.
    """
    readouts = _readouts(state_dir, meters) if state_dir is not None and meters else []
    good: list[MappingFile] = []
    problems: list[MappingError] = []
    for file in files:
        try:
            good.append(read_mapping(file))
        except MappingError as error:
            problems.append(error)
    active = MappingSet(good, problems)
    found = [(mapping, findings(mapping, readouts)) for mapping in active.files]
    errors = [refusal(problem) for problem in active.problems]
    if as_json:
        print(
            json.dumps(
                [_object(each) for _, told in found for each in told] + [_object(e) for e in errors], indent=2
            )
        )
        return _BAD_INPUT if errors else 0
    for mapping, told in found:
        print(f"{mapping.name}: {mapping.label}, {_codes(mapping)}")
        for each in told:
            print(f"warning: {each}", file=sys.stderr)
    return _report(active.problems)


def list_active(state_dir: Path) -> int:
    """Print the active mapping files and how many meters use each. Exit 2 if one of them cannot be used.

    Raises `ConfigError` where there is no such state directory, as do all that follow.
    """
    known = _lists(state_dir)
    _print_table([_HEADINGS, *(_row(each.file, len(each.meters)) for each in known.active)])
    return _report(known.problems)


def add(state_dir: Path, path: Path, *, replace: bool) -> int:
    """Make a mapping file active. Exit 2 where it is refused, 1 where the running gateway does not take it."""
    state = _existing(state_dir)
    try:
        file = read_mapping(path)
        before = add_file(state.mappings, file, replace=replace)
    except MappingError as error:
        return _report([error])
    for doubt in findings(file):
        print(f"warning: {doubt}", file=sys.stderr)
    done = f"{before.name} is replaced" if before else f"{file.name} is added"
    return _reload(state_dir, f"{done}: {file.label}, {_codes(file)}")


def preview(state_dir: Path, path: Path) -> int:
    """Print what each meter would show with a mapping file, and change nothing. Exit 2 where it is refused."""
    state = _existing(state_dir)
    try:
        file = read_mapping(path)
    except MappingError as error:
        return _report([error])
    seen = workshop.preview(MappingSet.from_directory(state.mappings), file, installed_meters(state_dir))
    for doubt in seen.findings:
        print(f"warning: {doubt}", file=sys.stderr)
    if not seen.changes:
        print(f"No meter that was read would use {file.name} ({file.label}).")
        return 0
    rows = [
        (change.meter, each.obis, each.before or "-", each.after or "-", "changes" if each.changed else "")
        for change in seen.changes
        for each in change.objects
    ]
    _print_table([("Meter", "OBIS code", "Now", "Then", ""), *rows])
    return 0


def remove(state_dir: Path, wanted: str) -> int:
    """Take a mapping file out, named by file or by type/manufacturer/version. Exit codes as for `add`."""
    state = _existing(state_dir)
    try:
        name = remove_file(state.mappings, wanted)
    except MappingError as error:
        return _report([error])
    return _reload(state_dir, f"{name} is removed")


def undo(state_dir: Path) -> int:
    """Take back the last `add` or `remove`. Exit codes as for `add`."""
    state = _existing(state_dir)
    try:
        told = last_change(state.mappings)
        undo_change(state.mappings)
    except MappingError as error:
        return _report([error])
    return _reload(state_dir, f"Taken back: {told}")


def export(state_dir: Path, wanted: str) -> int:
    """Print an active mapping file, with every property that it was read with. Exit 2 where there is none."""
    try:
        print(dump(find_file(_existing(state_dir).mappings, wanted)), end="")
    except MappingError as error:
        return _report([error])
    return 0


def show_template(state_dir: Path, label: str | None, meter: str | None) -> int:
    """Print the mapping template of a meter type, named by label or by one of its meters; without either, the types.

    Exit 2, with the reason, where the template would be empty. Raises `ConfigError` for a meter that is not there.
    """
    if label is None and meter is None:
        return _show_types(_lists(state_dir))
    installed = installed_meters(state_dir)
    if meter is not None:
        (picked, *_) = chosen(installed, [meter])
        if picked.kind is None:
            (unread,) = workshop.lists(MappingSet(), [picked], "").types
            return _report([MappingError(picked.name, "", unread.reason)])
        label = picked.kind.label
    try:
        coaching = workshop.coaching(MappingSet(), installed, label or "")
    except MappingError as error:
        return _report([error])
    print(dump(template(coaching.proposals, coaching.kind)), end="")
    return 0


def _lists(state_dir: Path) -> workshop.Mappings:
    folder = _existing(state_dir).mappings
    return workshop.lists(MappingSet.from_directory(folder), installed_meters(state_dir), last_change(folder))


def _show_types(known: workshop.Mappings) -> int:
    rows = [
        (each.kind.label, str(len(each.meters)), each.mapping or "-") for each in known.types if each.kind
    ]
    _print_table([("Meter type", "Meters", "Mapping"), *rows])
    for each in known.types:
        if each.kind is None:
            print(f"Of no known type yet: {', '.join(each.meters)} ({each.reason}).", file=sys.stderr)
    return 0


def _readouts(state_dir: Path, meters: Sequence[str]) -> list[MeterReadout]:
    picked = chosen(installed_meters(state_dir), meters)
    for meter in picked:
        if meter.last is None:
            raise ConfigError(
                f"--meter: {meter.name} was not read yet, so nothing can be checked against it."
            )
    return [meter.last for meter in picked if meter.last]


def _existing(state_dir: Path) -> StateDir:
    if not state_dir.is_dir():
        raise ConfigError(
            f"There is no state directory {state_dir}; name the gateway's one with --state-dir."
        )
    return StateDir(state_dir)


def _reload(state_dir: Path, done: str) -> int:
    try:
        ask(state_dir, "reload")
    except NoGatewayError:
        print(f"{done}. No gateway is running; it counts from the next start on.")
    except ClientError as error:
        print(f"{done}.", file=sys.stderr)
        print(f"The running gateway has not taken it: {error}", file=sys.stderr)
        return _FAILURE
    else:
        print(f"{done}. The running gateway uses it.")
    return 0


_HEADINGS = ("Type", "Manufacturer", "Version", "OBIS codes", "Meters", "File")


def _row(mapping: MappingFile, meters: int) -> tuple[str, ...]:
    version = str(mapping.version) if mapping.version else "any"
    return mapping.type, mapping.manufacturer, version, str(mapping.obis_codes), str(meters), mapping.name


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _codes(mapping: MappingFile) -> str:
    return "1 OBIS code" if mapping.obis_codes == 1 else f"{mapping.obis_codes} OBIS codes"


def _object(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "file": finding.file,
        "path": finding.path,
        "text": finding.text,
    }


def _report(problems: Iterable[MappingError]) -> int:
    code = 0
    for problem in problems:
        print(problem, file=sys.stderr)
        code = _BAD_INPUT
    return code
