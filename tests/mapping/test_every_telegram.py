"""Every telegram of the data set: a template, a coached mapping without findings, and values that are exact."""

from __future__ import annotations

import datetime as dt

import pytest
from exactness import is_exact
from hypothesis import given, settings
from hypothesis import strategies as st

from core.mapping.coach import CHECK, entries_of, meter_type, propose, proposed, template
from core.mapping.engine import Readout, evaluate
from core.mapping.lint import MeterReadout, findings
from core.mapping.model import dump, parse_mapping
from core.mapping.simplified import Site
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import Telegram, TelegramError, decode

SITE = Site("0016000000", dt.UTC)
NAMES = sorted(path.stem for path in TELEGRAMS.glob("*.hex"))


def readout(name: str) -> Readout:
    return Readout(tuple(decode(frame) for frame in read_telegrams(TELEGRAMS / f"{name}.hex")), 0)


def fields(telegrams: tuple[Telegram, ...]) -> int:
    return sum(len(telegram.records) for telegram in telegrams)


@pytest.mark.parametrize("name", NAMES)
def test_the_template_has_every_field_and_is_valid(name: str) -> None:
    """It can be read again as it was written, and has each field once."""
    telegrams = readout(name).telegrams
    proposals = propose([telegrams])
    made = template(proposals, meter_type(telegrams[0]))
    assert len(made.document["entries"]) == fields(telegrams)
    again = parse_mapping(dump(made), made.name)
    assert again.document == made.document
    checked = [item.choice.obis for item in proposals if item.choice and item.choice.grade == "C"]
    marked = [entry for entry in made.document["entries"] if entry["mbusDescriptionLong"].startswith(CHECK)]
    assert [entry["dlmsObisCode"] for entry in marked] == checked


@pytest.mark.parametrize("name", NAMES)
def test_the_coached_mapping_has_no_findings_and_is_exact(name: str) -> None:
    """Also with the meter's own values: each is served exactly, or refused with a reason that the lint tells."""
    read = readout(name)
    chosen = proposed(propose([read.telegrams]))
    made = entries_of(chosen, meter_type(read.telegrams[0]))
    told = findings(made, [MeterReadout(name, read, SITE)])
    values = evaluate(parse_mapping(dump(made), made.name), read, SITE)
    assert len(values) == len(chosen)
    refused = 0
    for value, (field, _) in zip(values, chosen, strict=True):
        record = value.record
        assert record == field.record
        if value.encoded is not None:
            shown = (value.encoded, value.object.scaler, value.object.unit, field.record)
            assert is_exact(*shown), (field, value)
        else:
            assert value.error
            refused += field.record.raw is not None
    assert len(told) == refused, told


@settings(deadline=None)
@given(medium=st.sampled_from([0, 2, 3, 4, 6, 7, 8, 10, 13, 27, 0x1E, 255]), content=st.binary(max_size=120))
def test_whatever_a_meter_sends_has_a_template(medium: int, content: bytes) -> None:
    """Noise in the place of records: a template that is valid, and the lint has an opinion on the coached mapping."""
    header = bytes.fromhex("080172 78563412 2423 25") + bytes((medium,)) + bytes.fromhex("0a00 0000")
    body = header + content
    frame = bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))
    try:
        telegram = decode(frame)
    except TelegramError:
        return
    proposals = propose([[telegram]])
    kind = meter_type(telegram)
    made = template(proposals, kind)
    assert len(made.document["entries"]) == len(telegram.records)
    coached = entries_of(proposed(proposals), kind)
    findings(coached, [MeterReadout("noise", Readout((telegram,), 0), SITE)])
