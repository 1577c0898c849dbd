"""`mappings/SUPPORTED.md`, the meters whose telegrams are in the tests: `python -m core.mapping.supported`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.mapping import units
from core.mapping.coach import Choice, Proposal, meter_type, propose
from core.mapping.model import CLASSES
from core.mapping.ready import ready_directory
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import Telegram, decode

PATH = ready_directory() / "SUPPORTED.md"
"""Beside the ready mapping files."""

_HEAD = """\
# Meters whose telegrams are in the tests

Made from the telegrams by `python -m core.mapping.supported`; a test compares it, so it cannot be out of date.
Any other meter works as well if it speaks M-Bus; here is what was seen on the wire.

An OBIS code of grade A or B is used by the ready mappings or proposed as it is; C is proposed and to be checked with
the meter's manual. A field without a code has no standard one: its maker has to say what it means.

## Add a meter
1. Read it: `cme-tui decode FILE|HEX` explains its telegram, and shows what the decoder does not know.
2. Make its mapping: `cme-tui mapping template TYPE/MANUFACTURER/VERSION > meter.json` after the first readout, write
   the missing codes, then `cme-tui mapping check meter.json --meter NAME` and `cme-tui mapping add meter.json`.
3. Put it here: the telegram in hex into `core/mbus/telegrams/`, its values into `tests/data/telegrams/expected.json`,
   then `python -m core.mapping.supported`. A telegram holds a serial number: ask the owner first.

"""
_NAMES = {number: name.replace("_", " ") for name, number in CLASSES.items()}


def text() -> str:
    """The document, made from the telegrams now."""
    meters = [(path.stem, _readout(path)) for path in sorted(TELEGRAMS.glob("*.hex"))]
    sections = [(name, telegrams, propose([telegrams])) for name, telegrams in meters]
    sections.sort(key=lambda each: (meter_type(each[1][0]), each[0]))
    lines = [*_overview(sections), ""]
    for name, telegrams, proposals in sections:
        lines += [*_section(name, telegrams, proposals), ""]
    return _HEAD + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the document into the source tree."""
    PATH.write_text(text(), encoding="utf-8")


def _readout(path: Path) -> tuple[Telegram, ...]:
    return tuple(decode(frame) for frame in read_telegrams(path))


def _overview(sections: Iterable[tuple[str, Sequence[Telegram], Sequence[Proposal]]]) -> Iterator[str]:
    yield "## Overview"
    yield "| Medium | Manufacturer | Version | Fields | With OBIS code | Telegram |"
    yield "|---|---|---|---|---|---|"
    for name, telegrams, proposals in sections:
        first = telegrams[0]
        coded = sum(item.choice is not None for item in proposals)
        link = f"[{name}](#{_anchor(name)})"
        cells = (first.medium, first.manufacturer or "not told", first.version, len(proposals), coded, link)
        yield f"| {' | '.join(map(str, cells))} |"


def _anchor(name: str) -> str:
    """What the heading is linked by: lower case, blanks as hyphens, no other marks."""
    return "".join(char for char in name.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _section(name: str, telegrams: Sequence[Telegram], proposals: Sequence[Proposal]) -> Iterator[str]:
    yield f"## {name}"
    yield f"Mapping type `{meter_type(telegrams[0]).label}`."
    yield ""
    yield "| Field | DIF and VIF | Unit | OBIS code | Class | Unit and scaler | Grade |"
    yield "|---|---|---|---|---|---|---|"
    for item in proposals:
        record, choice = item.field.record, item.choice
        shown = (choice.obis, _NAMES[choice.class_id], _scale(choice), choice.grade) if choice else ("",) * 4
        cells = (item.field.meaning, record.dib, record.unit, *shown)
        yield f"| {' | '.join(cell.replace('|', '/').strip() for cell in cells)} |"


def _scale(choice: Choice) -> str:
    if choice.class_id == CLASSES["data"]:
        return ""
    return f"10^{choice.scaler} {units.symbol(choice.unit)}".rstrip()


if __name__ == "__main__":
    main()
