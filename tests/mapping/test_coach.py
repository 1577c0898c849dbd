"""The coach proposes what the table is sure of, in a form that holds the meter's own numbers, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

import pytest

from core.dlms.axdr import Tag
from core.mapping.coach import (
    Proposal,
    entries_of,
    meter_type,
    propose,
    proposed,
    template,
    unknown,
)
from core.mapping.engine import Readout, evaluate
from core.mapping.model import ENTRY_PROPERTIES, MappingError, dump, parse_mapping
from core.mapping.ready import RESERVED
from core.mapping.simplified import Site
from core.mapping.table import TableRow, historic_registers, table
from core.mbus.telegram import Telegram, decode

HEAT, COMBINED, GAS, ELECTRICITY = 4, 0x0D, 3, 2


def codes(proposals: Sequence[Proposal]) -> list[str]:
    """The proposed code of each field, "" where there is none."""
    return [item.choice.obis if item.choice else "" for item in proposals]


@pytest.mark.parametrize(
    ("medium", "record", "code"),
    [
        (7, "0c13 34120000", "8.0.1.0.0.255"),
        (7, "4c13 34120000", "8.0.1.2.0.255"),  # storage 1: due date
        (7, "cc0013 34120000", "8.0.1.2.0.1"),  # final DIFE 00: historic register 1
        (7, "8c0213 34120000", ""),  # storage 4: of which month only the maker knows
        (7, "3c13 34120000", ""),  # value during an error
        (7, "9c1013 34120000", ""),  # a maximum of a volume is nothing that the table knows
        (7, "8c1013 34120000", "8.0.1.0.1.255"),  # tariff 1
        (7, "8c4013 34120000", ""),  # another subunit
        (HEAT, "0c06 34120000", "6.0.1.0.0.255"),
        (HEAT, "1c2d 34120000", "6.0.8.5.0.255"),  # maximum
        (HEAT, "0c863c 34120000", ""),
        (COMBINED, "0c863c 34120000", "5.0.1.0.0.255"),  # grade C: a combined meter
        (ELECTRICITY, "0c833c 34120000", "1.0.2.8.0.255"),  # VIFE 3C: export
        (0, "0c13 34120000", ""),  # medium "other": nobody knows what the volume is of
        (0, "0c78 34120000", "0.0.96.1.0.255"),  # but a number plate is one
    ],
)
def test_a_field_gets_the_code_of_the_table(
    telegram: Callable[..., Telegram], medium: int, record: str, code: str
) -> None:
    """Storage, tariff, subunit, function, VIFE and medium all count."""
    assert codes(propose([[telegram(record, medium=medium)]])) == [code]


def dif(row: TableRow) -> str:
    """DIF and DIFE of a record as the row wants it, hex; 16 bits of data for a date, else 32."""
    storage = 1 if row.historic else row.storage
    first = (2 if row.vibs[0] == b"\x6c" else 4) | row.function << 4 | (storage & 1) << 6
    more = row.historic or row.tariff or row.subunit or storage > 1
    if not more:
        return f"{first:02x}"
    low = f"{first | 0x80:02x}{storage >> 1 | row.tariff % 4 << 4 | row.subunit << 6 | (row.tariff > 3) << 7:02x}"
    return f"{low}{row.tariff >> 2 << 4:02x}" if row.tariff > 3 else low


@pytest.mark.parametrize(
    "row",
    [row for row in (*table(), *historic_registers()) if row.grade in "ABC" and row.obis not in RESERVED],
    ids=lambda row: f"{row.medium}: {row.quantity}",
)
def test_every_row_that_can_be_used_is_known_for_its_field(
    telegram: Callable[..., Telegram], row: TableRow
) -> None:
    """Medium, VIF and VIFE, function, storage, tariff and subunit of the row lead to its code, unit and grade."""
    for medium in sorted(row.device_types) or [7]:
        for vib in row.vibs:
            data = "0000" if row.vibs[0] == b"\x6c" else "00000000"
            (proposal,) = propose([[telegram(f"{dif(row)}{vib.hex()}{data}", medium=medium)]])
            known = [each for each in (proposal.choice, *proposal.others) if each]
            if proposal.field.record.unit in ("month", "year"):
                assert not known  # neither is a number of hours
                continue
            code = row.obis.removesuffix("F") + "1" if row.historic else row.obis
            if code.startswith("A"):
                code = f"8{code[1:]}"
            assert (code, row.class_id, row.unit or 255, row.grade) in [
                (each.obis, each.class_id, each.unit, each.grade) for each in known
            ], (medium, vib.hex(), known)


def test_a_guess_is_never_proposed(telegram: Callable[..., Telegram]) -> None:
    """Rows of grade D exist, and none of their codes comes out; nor does a code that every meter device has."""
    hours = propose([[telegram("0422 34120000")]])  # on time: grade D
    assert "on time" in {row.quantity for row in table() if row.grade == "D"}
    assert codes(hours) == [""]
    assert "no sure code" in hours[0].reason
    assert codes(propose([[telegram("0c79 34120000")]])) == [""]  # 0.0.96.1.1.255


def test_a_code_that_the_meter_declares_wins(telegram: Callable[..., Telegram]) -> None:
    """VIFE 3F on the same field; unit and scaler stay, and the declaration itself is no value."""
    value, declaration = propose([[telegram("0c13 34120000 06933f 0801000105ff")]])
    assert value.choice is not None
    assert (value.choice.obis, value.choice.unit, value.choice.scaler) == ("8.1.0.1.5.255", 13, -3)
    assert "declares" in value.choice.source
    assert [item.obis for item in value.others] == ["8.0.1.0.0.255"]
    assert declaration.choice is None
    assert "8.1.0.1.5.255" in declaration.reason


def test_a_declared_code_goes_before_the_same_code_of_the_table(telegram: Callable[..., Telegram]) -> None:
    """A field of a subunit that is declared to be the main volume takes the code from the volume."""
    proposals = propose([[telegram("0c13 34120000 8c4013 11110000 8640933f 0800010000ff")]])
    assert codes(proposals)[:2] == ["", "8.0.1.0.0.255"]
    assert proposals[0].reason.startswith("8.0.1.0.0.255 shows volume, subunit 1 (8c4013) already")


def test_a_declared_code_of_the_gateway_is_not_taken(telegram: Callable[..., Telegram]) -> None:
    """The clock of every meter device stays the gateway's, whatever a meter says."""
    assert codes(propose([[telegram("0c13 34120000 06933f 0000010000ff")]])) == ["8.0.1.0.0.255", ""]


def test_two_fields_do_not_get_one_code(telegram: Callable[..., Telegram]) -> None:
    """Energy in Wh goes before energy in J, also where it comes later; the other one says why it has none."""
    proposals = propose([[telegram("0c0e 34120000 0c06 34120000", medium=HEAT)]])
    assert codes(proposals) == ["", "6.0.1.0.0.255"]
    assert "already" in proposals[0].reason


def test_a_field_that_no_key_can_mean_says_so(telegram: Callable[..., Telegram]) -> None:
    """Of two fields with the same bytes in front only the first can be mapped."""
    first, second = propose([[telegram("0c13 34120000 0c13 78560000")]])
    assert (first.choice is not None, second.choice, second.field.keys) == (True, None, ())
    assert "same bytes" in second.reason


@pytest.mark.parametrize(
    ("record", "scaler", "data_type"),
    [
        ("0c13 34120000", -3, 21),
        ("0c14 34120000", -3, 21),  # coarser than the table: its scaler is exact
        ("0c10 34120000", -6, 21),  # finer than the table
        ("053b 0000803f", -3, Tag.FLOAT32),  # as sent
        ("0543 0000803f", -3, Tag.FLOAT64),  # m3/min has to be converted
        ("043b ffffffff", -3, 20),  # negative: of 64 bits with a sign
    ],
)
def test_scaler_and_type_hold_the_meters_numbers(
    telegram: Callable[..., Telegram], record: str, scaler: int, data_type: int
) -> None:
    """The table's scaler where it is exact, else a finer one; floats stay floats."""
    (proposal,) = propose([[telegram(record)]])
    assert proposal.choice is not None
    assert (proposal.choice.scaler, proposal.choice.data_type) == (scaler, data_type)


def test_the_accepted_proposals_make_a_mapping_file(telegram: Callable[..., Telegram], site: Site) -> None:
    """Valid, with the properties of the original, and serving what the telegram says; a changed code is taken."""
    sent = telegram("0c14 34120000 0b3b 270100")
    accepted = proposed(propose([[sent]]))
    accepted[1] = (accepted[1][0], dataclasses.replace(accepted[1][1], obis="8.0.2.0.9.255"))
    made = entries_of(accepted, meter_type(sent))
    assert made.name == "water-HYD-37.json"
    assert made.triple == ("water", "HYD", 37)
    assert all(tuple(entry) == ENTRY_PROPERTIES for entry in made.document["entries"])
    again = parse_mapping(dump(made), made.name)
    values = evaluate(again, Readout((sent,), 0), site)
    assert [(value.object.entry.obis_text, value.encoded) for value in values] == [
        ("8.0.1.0.0.255", b"\x15" + (12340).to_bytes(8, "big")),
        ("8.0.2.0.9.255", b"\x14" + (127).to_bytes(8, "big")),
    ]


def test_a_choice_that_is_wrong_is_refused(telegram: Callable[..., Telegram]) -> None:
    """What a technician changes is checked like a file: code, and one field for one code."""
    (field, choice), (other, second) = proposed(propose([[telegram("0c13 34120000 0b3b 270100")]]))
    sent = meter_type(telegram(""))
    with pytest.raises(MappingError, match="six numbers"):
        entries_of([(field, dataclasses.replace(choice, obis="8.0.1"))], sent)
    clash = dataclasses.replace(second, obis=choice.obis, unit=choice.unit, scaler=choice.scaler)
    with pytest.raises(MappingError, match="is mapped by"):
        entries_of([(field, choice), (other, clash)], sent)


def test_the_template_has_every_field(telegram: Callable[..., Telegram]) -> None:
    """A and B filled in, C marked to be checked, the rest with a code of null; and it can be used as it is."""
    sent = telegram("0c13 34120000 420c 0000 426c 0000 8c0213 34120000 0422 34120000", medium=7)
    kind = meter_type(sent)
    made = template(propose([[sent]]), kind)
    entries = made.document["entries"]
    assert len(entries) == len(sent.records)
    by_key = {entry["mbusKeys"][0]: entry for entry in entries}
    volume = by_key["mbus.dib.volume.0.0.0.0.unmodifiedvalue"]
    date = by_key["mbus.dib.date.1.0.0.0.unmodifiedvalue"]
    month = by_key["mbus.dib.volume.4.0.0.0.unmodifiedvalue"]
    assert (volume["dlmsObisCode"], volume["mbusDescriptionLong"]) == ("8.0.1.0.0.255", "volume")
    assert date["dlmsObisCode"] == "8.0.0.1.10.255"
    assert date["mbusDescriptionLong"].startswith("CHECK: ")
    assert (month["dlmsObisCode"], month["dlmsUnit"], month["dlmsScaler"]) == (None, 13, -3)
    assert json.loads(dump(parse_mapping(dump(made), made.name))) == made.document
    assert [entry.obis_text for entry in made.entries] == ["8.0.1.0.0.255", "8.0.0.1.10.255"]


def test_the_form_of_an_unknown_field_is_that_of_its_data(telegram: Callable[..., Telegram]) -> None:
    """A number with a unit is a register, a text and a date are data."""
    number, text, date = telegram("0422 34120000 0dfd11 02 4142 026d 0000").records
    assert (unknown(number).class_id, unknown(number).unit, unknown(number).scaler) == (3, 5, 0)
    assert (unknown(text).class_id, unknown(text).data_type) == (1, Tag.VISIBLE_STRING)
    assert (unknown(date).class_id, unknown(date).data_type) == (1, Tag.OCTET_STRING)


def test_several_meters_of_a_type_give_all_their_fields(
    telegram: Callable[..., Telegram], site: Site
) -> None:
    """Each field once; where one meter counts in finer steps, the scaler holds the numbers of both."""
    coarse, fine = telegram("0c14 34120000"), telegram("0c12 34120000 0b3b 270100")
    proposals = propose([[coarse], [fine]])
    assert codes(proposals) == ["8.0.1.0.0.255", "8.0.2.0.0.255"]
    made = entries_of(proposed(proposals), meter_type(coarse))
    for sent, number in ((coarse, 123400), (fine, 1234)):
        value = evaluate(made, Readout((sent,), 0), site)[0]
        assert (value.object.scaler, value.encoded) == (-4, b"\x15" + number.to_bytes(8, "big"))


def test_a_telegram_without_an_identity_is_of_a_type_all_the_same(
    telegram: Callable[..., Telegram],
) -> None:
    """A maker that is no three letters cannot stand in a mapping file: it is for all makers then."""
    sent = telegram("0c13 34120000")
    frame = bytearray(sent.frame)
    frame[11:13] = b"\x00\x00"
    frame[-2] = sum(frame[4:-2]) & 0xFF
    assert meter_type(decode(bytes(frame))).label == "water/all/0"
    assert meter_type(sent).label == "water/HYD/37"
