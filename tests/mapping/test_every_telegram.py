"""Every telegram of the data set: a template, a coached mapping without findings, and values that are exact."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.mapping import convert
from core.mapping.coach import CHECK, entries_of, meter_type, propose, proposed, template
from core.mapping.engine import MappedValue, Readout, evaluate
from core.mapping.lint import MeterReadout, findings
from core.mapping.model import dump, parse_mapping
from core.mapping.simplified import Site
from core.mapping.units import factor
from core.mbus.simulator import read_telegrams
from core.mbus.simulator.meter import TELEGRAMS
from core.mbus.telegram import Record, Telegram, decode

SITE = Site("0016000000", dt.UTC)
NAMES = sorted(path.stem for path in TELEGRAMS.glob("*.hex"))


def readout(name: str) -> Readout:
    return Readout(tuple(decode(frame) for frame in read_telegrams(TELEGRAMS / f"{name}.hex")), 0)


def fields(telegrams: tuple[Telegram, ...]) -> int:
    return sum(len(telegram.records) for telegram in telegrams)


def exact(value: MappedValue, record: Record) -> bool:
    """Whether value x 10^scaler in the DLMS unit is the telegram's value, digit for digit."""
    assert value.encoded is not None
    shown = axdr.decode(value.encoded)
    if value.object.scaler is None or not isinstance(record.value, Decimal):
        if shown.tag is Tag.OCTET_STRING:
            assert isinstance(record.raw, dt.date)
            return shown.content == convert.cosem_time(record.raw)
        return str(shown.content) in (record.raw_text, record.raw_text.zfill(2 * len(record.data)))
    assert value.object.unit is not None
    wanted = Fraction(record.value) * (factor(record.unit, value.object.unit) if record.unit else 1)
    assert isinstance(shown.content, int | float)
    text = f"{shown.content:.9g}" if shown.tag is Tag.FLOAT32 else repr(shown.content)
    served = [Fraction(Decimal(text))]
    if shown.tag is Tag.FLOAT32:
        served.append(Fraction(Decimal(str(record.raw_text))))  # the shortest decimal of the same 32 bits
        assert axdr.float32(float(record.raw_text)) == value.encoded
    return wanted in [number * Fraction(10) ** value.object.scaler for number in served]


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
            assert exact(value, field.record), (field, value)
        else:
            assert value.error
            refused += field.record.raw is not None
    assert len(told) == refused, told
