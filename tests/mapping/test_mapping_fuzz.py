"""Valid mapping files with something changed in them: refused with a sentence, or a file that all parts can use."""

from __future__ import annotations

import datetime as dt
import json
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from core.mapping.coach import meter_type, propose, template
from core.mapping.dryrun import dry_run
from core.mapping.engine import Readout, columns, evaluate, objects
from core.mapping.library import MappingSet
from core.mapping.lint import MeterReadout, findings
from core.mapping.model import MappingError, MappingFile, dump, parse_mapping
from core.mapping.ready import ready_texts
from core.mapping.simplified import Site
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import decode

SEEDS = range(20)
ROUNDS = 60  # mutations of each kind by each seed
SITE = Site("0016000000", dt.UTC)
READOUTS = [
    Readout(tuple(decode(frame) for frame in read_telegrams(path)), 0)
    for path in sorted(TELEGRAMS.glob("*.hex"))
]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 9, 24, 27, 127, 128, 255, 256, -128, -129, 2**63, 10**400, 0.5, -0.0, 1e308, 5e-324,
    "", " ", "0", "-0", "1e999", "1e-400", "NaN", "Infinity", "1_000", "٣", "2016-01-06", "24:00:00",
    "9999-12-31 23:59:59",
    "all", "ALL", "none", "water", "gas", "clock", "data", "register", "profile_generic", "extended_register",
    "8.0.1.0.0.255", "0.0.42.0.0.255", "0.0.1.0.0.255", "1.0.99.1.0.255", "255.255.255.255.255.255",
    "mbus.frame.raw", "mbus.telegram.decoded.value", "mbus.dib.0c13.value", "mbus.dib.0f00.unmodifiedvalue",
    "mbus.dib.volume.0.0.0.0.unmodifiedvalue", "mbus.dib.volume.9999999999999.9999999999.9999999999.3.value",
    "mbus.dib." + "ff" * 22 + ".value", "mbus.dib. . .0.0.0.0.value", "\u001b[2J", "\u202e", "x" * 300, "0" * 4300,
    [], {}, [None], [[]], {"": {}}, [[[[[[[[]]]]]]]],
)  # fmt: skip
ODD_BYTES = (b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"{", b"]", b"1e9", b"\\ud800")
TEXTS = [odd for odd in ODD if isinstance(odd, str)]


def originals() -> list[bytes]:
    """Short files with all sorts of entries: ready ones, templates, and one for every meter of the data set."""
    chance = Random(4)
    texts = [json.loads(text) for text in ready_texts().values()]
    for readout in READOUTS:
        made = template(propose([readout.telegrams]), meter_type(readout.telegrams[0]))
        texts.append(json.loads(dump(made)))
    for document in texts:
        document["entries"] = chance.sample(document["entries"], min(len(document["entries"]), 6))
    return [json.dumps(document).encode() for document in texts]


ORIGINALS = originals()


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every object or list in a document with each name or number in it."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        item = pending.pop()
        names: Any = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for name in names:
            found.append((item, name))
            pending.append(item[name])
    return found


def changed_values(content: bytes, chance: Random) -> bytes:
    """Other values, properties that are gone, renamed or twice as many, entries that stand elsewhere."""
    document = json.loads(content)
    for _ in range(chance.randint(1, 4)):
        holder, name = chance.choice(places(document) or [([None], 0)])
        match chance.randrange(6):
            case 0 | 1 | 2:
                holder[name] = deepcopy(chance.choice(ODD))
            case 3:
                del holder[name]
            case 4 if isinstance(holder, dict):
                holder[chance.choice([*TEXTS, f"{name}s"])] = holder.pop(name)
            case _:
                other, place = chance.choice(places(document))
                other[place] = json.loads(json.dumps(holder[name]))
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode()


def changed_bytes(content: bytes, chance: Random) -> bytes:
    """Bytes that flip, vanish, or come again."""
    raw = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(raw) + 1)
        end = min(len(raw), start + chance.choice((1, 1, 1, 2, 8, 200)))
        match chance.randrange(4):
            case 0:
                raw[start:end] = chance.randbytes(end - start)
            case 1:
                del raw[start:end]
            case 2:
                raw[start:start] = raw[start:end] * chance.randint(1, 3)
            case _:
                raw[start:start] = chance.choice(
                    (b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"{", b"]", b"1e9", b"\\ud800")
                )
    return bytes(raw)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_file_is_refused_or_works_in_all_parts(seed: int) -> None:
    """Engine, lint, dry run and export use what is accepted, with meters of every kind; nothing else is ever raised."""
    chance = Random(seed)
    accepted = 0
    for _ in range(ROUNDS):
        original = chance.choice(ORIGINALS)
        for change in (changed_values, changed_bytes):
            accepted += works(change(original, chance), chance.choice(READOUTS))
    assert accepted > 0


def works(content: bytes, readout: Readout) -> bool:
    """Whether a file is accepted; everything is done with it then."""
    try:
        file = parse_mapping(content, "fuzz.json")
    except MappingError as error:
        refused = error
    else:
        use(file, readout)
        return True
    assert (refused.file, refused.reason != "", str(refused).isprintable()) == ("fuzz.json", True, True), (
        refused
    )
    return False


def use(file: MappingFile, readout: Readout) -> None:
    """Do with a file whatever the product does with one."""
    text = dump(file)
    assert json.dumps(parse_mapping(text, "fuzz.json").document) == json.dumps(file.document)
    values = evaluate(file, readout, SITE)
    registers = [value.object for value in values]
    assert registers == list(objects(file, readout.telegrams))
    assert len(columns(registers, [readout], SITE)[0]) == len(registers)
    meter = MeterReadout("fuzz", readout, SITE)
    assert all(str(each).isprintable() for each in findings(file, [meter]))
    dry_run(MappingSet([file]), file, [meter])
