"""What is active, which meter types are in use, and what a mapping file would change: for commands and screens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.mapping.coach import MeterType, Proposal, propose, type_of
from core.mapping.dryrun import MeterChange, dry_run
from core.mapping.library import MappingSet
from core.mapping.lint import Finding, MeterReadout, findings
from core.mapping.model import MappingError, MappingFile
from core.mbus.telegram import Layout

_NOT_READ: Final = "its fields are known after the first good readout, and there was none yet"


@dataclass(frozen=True, slots=True)
class InstalledMeter:
    """A meter of the configuration, and what the gateway knows of it."""

    name: str
    identification: str  # 8 digits, "" where nobody knows
    logical_device: int | None
    identity: tuple[int, str, int] | None  # medium, manufacturer, version; None before the first readout
    last: MeterReadout | None  # None before the first readout

    @property
    def kind(self) -> MeterType | None:
        """What its mapping file is for."""
        return type_of(*self.identity) if self.identity else None


@dataclass(frozen=True, slots=True)
class ActiveMapping:
    """A mapping file that is used, or would be if there were a meter for it."""

    file: MappingFile
    meters: tuple[str, ...]  # names of those that it serves


@dataclass(frozen=True, slots=True)
class TypeInUse:
    """The meters of one type, manufacturer and version; those that were not read yet stand together."""

    kind: MeterType | None  # None: nobody knows before the first readout
    meters: tuple[str, ...]
    mapping: str  # label of the file that serves them, "" for none
    fallback: str  # label of the one that would without that file
    reason: str  # why there is nothing to coach and the template is empty; "" where there is


@dataclass(frozen=True, slots=True)
class Mappings:
    """The two lists of the original, and what was wrong or changed last."""

    active: tuple[ActiveMapping, ...]
    problems: tuple[MappingError, ...]
    types: tuple[TypeInUse, ...]
    last_change: str  # `core.mapping.folder.last_change`


@dataclass(frozen=True, slots=True)
class Coaching:
    """A meter type with its fields, what is proposed for each, and what they are looked at with."""

    kind: MeterType
    proposals: tuple[Proposal, ...]
    readouts: tuple[MeterReadout, ...]  # the last one of each meter of the type
    serving: MappingFile | None  # the file that is used for the type now


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be different with a mapping file."""

    file: MappingFile
    replaces: str  # name of the active file for the same meters, "" for none
    findings: tuple[Finding, ...]  # with one meter of each structure that would use it
    changes: tuple[MeterChange, ...]  # of all meters that would use it


def lists(active: MappingSet, meters: Iterable[InstalledMeter], last_change: str) -> Mappings:
    """Files with the meters that they serve, and meter types with the file that serves them."""
    used: dict[str, list[str]] = {}
    kinds: dict[MeterType | None, list[InstalledMeter]] = {}
    serving: dict[MeterType | None, tuple[str, str]] = {}
    for meter in meters:
        file = active.match(*meter.identity) if meter.identity else None
        if file is not None:
            used.setdefault(file.name, []).append(meter.name)
        kinds.setdefault(meter.kind, []).append(meter)
        if meter.kind not in serving:
            serving[meter.kind] = (file.label, _next_label(active, file, meter)) if file else ("", "")
    return Mappings(
        active=tuple(ActiveMapping(file, tuple(used.get(file.name, ()))) for file in active.files),
        problems=active.problems,
        types=tuple(
            TypeInUse(kind, tuple(each.name for each in found), *serving[kind], _why_empty(kind, found))
            for kind, found in kinds.items()
        ),
        last_change=last_change,
    )


def coaching(active: MappingSet, meters: Iterable[InstalledMeter], label: str) -> Coaching:
    """The coach's view of a meter type in use, `"water/HYD/37"`.

    Raises `MappingError`, which says why, where there is no such type or nothing to coach.
    """
    known = list(meters)
    found = [each for each in known if each.kind and each.kind.label == label]
    if not found or found[0].kind is None or found[0].identity is None:
        raise MappingError(label[:128], "", _which_types(known))
    readouts = tuple(each.last for each in found if each.last)
    proposals = propose([each.readout.telegrams for each in readouts])
    if not proposals:
        raise MappingError(label, "", f"there is nothing to map: {_why_empty(found[0].kind, found)}")
    return Coaching(found[0].kind, proposals, readouts, active.match(*found[0].identity))


def preview(active: MappingSet, file: MappingFile, meters: Iterable[InstalledMeter]) -> Preview:
    """What `file` would change, and what is doubtful about it for the meters that would use it."""
    readouts = [each.last for each in meters if each.last]
    changes = dry_run(active, file, readouts)
    serves = {change.meter for change in changes}
    replaced = next((each.name for each in active.files if each.triple == file.triple), "")
    told = findings(file, one_of_each([each for each in readouts if each.name in serves]))
    return Preview(file, replaced, told, changes)


def _next_label(active: MappingSet, file: MappingFile, meter: InstalledMeter) -> str:
    """Label of the file that would serve a meter if `file` were not there, "" for none."""
    then = MappingSet(each for each in active.files if each is not file)
    found = then.match(*meter.identity) if meter.identity else None
    return found.label if found else ""


def one_of_each(readouts: Sequence[MeterReadout]) -> Iterable[MeterReadout]:
    """One meter of each structure: the others would say the same again."""
    by_layout: dict[tuple[Layout, ...], MeterReadout] = {}
    for each in readouts:
        by_layout.setdefault(tuple(telegram.layout for telegram in each.readout.telegrams), each)
    return by_layout.values()


def _why_empty(kind: MeterType | None, meters: Iterable[InstalledMeter]) -> str:
    telegrams = [
        telegram for each in meters if each.last is not None for telegram in each.last.readout.telegrams
    ]
    if kind is None or not telegrams:
        return _NOT_READ
    if any(telegram.records for telegram in telegrams):
        return ""
    return next((each.problem for each in telegrams if each.encrypted), "its telegrams hold no field")


def _which_types(meters: Iterable[InstalledMeter]) -> str:
    labels = sorted({each.kind.label for each in meters if each.kind})
    if labels:
        return f"is the type of no meter that was read; there are {', '.join(labels)}"
    return "no meter was read yet: the fields of a type are known after a meter's first good readout"
