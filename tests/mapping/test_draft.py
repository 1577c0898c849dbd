"""What a person decides with the coach becomes a mapping file, and nothing of the file before is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from test_every_telegram import NAMES, SITE, readout

from core.mapping import forms
from core.mapping.coach import CHECK, meter_type, propose, template
from core.mapping.draft import Decision, Draft, DraftError, begin, scopes
from core.mapping.engine import Readout, evaluate
from core.mapping.lint import MeterReadout, findings
from core.mapping.model import MappingFile, dump, parse_mapping
from core.mapping.ready import ready_mappings
from core.mapping.workshop import Coaching
from core.mbus.telegram import Telegram

TAKEN, SKIPPED, OPEN = Decision.TAKEN, Decision.SKIPPED, Decision.OPEN
VOLUME, DUE, MONTH, DATE = "0c13 34120000", "4c13 11110000", "8c0213 22220000", "426c 0000"


def coaching(*sent: Telegram, serving: MappingFile | None = None) -> Coaching:
    meters = tuple(
        MeterReadout(f"meter {number}", Readout((each,), 0), SITE) for number, each in enumerate(sent)
    )
    return Coaching(meter_type(sent[0]), propose([[each] for each in sent]), meters, serving)


def decisions(draft: Draft) -> list[Decision]:
    return [item.decision for item in draft.items]


def own(*entries: dict[str, Any], **properties: Any) -> MappingFile:
    """A file for exactly the meters of the tests, with properties that are not known here."""
    base = {"dlmsClass": "register", "dlmsDataType": 6, "dlmsScaler": -3, "dlmsUnit": 13}
    document = {"type": "Water", "manufacturer": "hyd", "version": 37, "author": "somebody", **properties}
    document["entries"] = [{**base, **entry} for entry in entries]
    return parse_mapping(json.dumps(document), "mine.json")


def shows(file: MappingFile, *sent: Telegram) -> dict[str, str]:
    """What clients read as hex by code, of all meters."""
    values = [value for each in sent for value in evaluate(file, Readout((each,), 0), SITE)]
    return {value.object.entry.obis_text: value.encoded.hex() for value in values if value.encoded}


def test_sure_codes_are_taken_and_doubtful_ones_wait_for_a_person(
    telegram: Callable[..., Telegram],
) -> None:
    """A and B taken, C open, no code skipped with its reason; the file can be had when C is decided."""
    draft = begin(coaching(telegram(f"{VOLUME} {DATE} {MONTH}")))
    assert decisions(draft) == [TAKEN, OPEN, SKIPPED]
    assert "no sure code" in draft.items[2].reason
    with pytest.raises(DraftError, match="Still to be decided: date, storage 1"):
        draft.file()
    file = draft.decide(1, SKIPPED).file()
    assert [entry.obis_text for entry in file.entries] == ["8.0.1.0.0.255"]
    assert file.name == "water-HYD-37.json"
    assert dump(file).startswith('{\n  "type": "water",\n  "manufacturer": "HYD",\n  "version": 37,\n')
    assert CHECK not in dump(draft.decide(1, TAKEN).file())


def test_two_fields_with_one_code_are_refused_with_both_named(telegram: Callable[..., Telegram]) -> None:
    """At once, whether by a typed code, by the next other code, or by taking it back; nothing has changed then."""
    draft = begin(coaching(telegram(f"{VOLUME} {DUE}")))
    clash = replace(draft.items[1].choice, obis="8.0.1.0.0.255", scaler=-6)
    with pytest.raises(DraftError, match=r"shows volume \(0c13\) already.* volume, storage 1 \(4c13\)"):
        draft.change(1, clash)
    changed = draft.decide(0, SKIPPED).change(1, clash)
    with pytest.raises(DraftError, match="already"):
        changed.decide(0, TAKEN)
    assert [entry.obis_text for entry in changed.file().entries] == ["8.0.1.0.0.255"]


def test_the_loser_of_a_code_gets_it_when_the_winner_is_skipped(telegram: Callable[..., Telegram]) -> None:
    """Energy in J can be shown instead of energy in Wh; both cannot."""
    draft = begin(coaching(telegram("0c0e 34120000 0c06 34120000", medium=4)))
    assert decisions(draft) == [SKIPPED, TAKEN]
    with pytest.raises(DraftError, match="already"):
        draft.decide(0, TAKEN)
    file = draft.decide(1, SKIPPED).decide(0, TAKEN).file()
    assert [(entry.obis_text, entry.unit) for entry in file.entries] == [("6.0.1.0.0.255", 25)]


def test_fields_of_different_meters_may_share_a_code(telegram: Callable[..., Telegram]) -> None:
    """No meter sends both: each shows its own under the code, in its own unit."""
    volume, power = telegram(VOLUME), telegram("0c2d 78560000")
    draft = begin(coaching(volume, power))
    assert decisions(draft) == [TAKEN, SKIPPED]
    file = draft.change(1, replace(draft.items[1].choice, obis="8.0.1.0.0.255")).file()
    assert [(entry.obis_text, entry.unit) for entry in file.entries] == [
        ("8.0.1.0.0.255", 13),
        ("8.0.1.0.0.255", 27),
    ]
    assert shows(file, power) == {"8.0.1.0.0.255": "06" + (5678).to_bytes(4, "big").hex()}
    assert not [each for each in findings(file, draft.readouts) if "two fields" in each.text]


@pytest.mark.parametrize("code", ["8.0.1", "0.0.1.0.0.255", "8.0.1.0.0.256", "volume", ""])
def test_a_wrong_code_is_refused(telegram: Callable[..., Telegram], code: str) -> None:
    """No code, or one of the gateway's own objects."""
    draft = begin(coaching(telegram(VOLUME)))
    with pytest.raises(DraftError, match="code"):
        draft.change(0, replace(draft.items[0].choice, obis=code))


def test_a_default_that_does_not_fit_is_refused(telegram: Callable[..., Telegram]) -> None:
    """In the words of the mapping file's own check."""
    draft = begin(coaching(telegram(VOLUME)))
    with pytest.raises(DraftError, match="dlmsDefaultValue"):
        draft.change(0, replace(draft.items[0].choice, default="nothing"))
    made = draft.change(0, replace(draft.items[0].choice, default=0, in_push=False)).file()
    assert (made.entries[0].default, made.entries[0].in_push) == (b"\x15" + bytes(8), False)


def test_what_a_client_would_get_is_told_at_once(telegram: Callable[..., Telegram]) -> None:
    """The value in its unit; with a scaler that is too coarse the reason, and the lint's advice."""
    draft = begin(coaching(telegram(VOLUME)))
    choice = draft.items[0].choice
    assert draft.shown(0, choice) == ("1.234 m³", "")
    coarse = replace(choice, scaler=0)
    assert draft.shown(0, coarse) == ("", "1234 in the telegram is no whole number at scaler 0")
    assert draft.shown(0, replace(coarse, default=0)).value == "0 m³"
    assert "use dlmsScaler -3" in draft.doubts(0, coarse)[0]
    assert "cannot become Wh" in draft.shown(0, replace(choice, unit=30)).error


def test_the_next_other_code_goes_round(telegram: Callable[..., Telegram]) -> None:
    """A declared code, then that of the table, then the declared one again."""
    draft = begin(coaching(telegram(f"{VOLUME} 06933f 0801000105ff")))
    codes = []
    for _ in range(3):
        codes.append(draft.items[0].choice.obis)
        draft = draft.turn(0)
    assert codes == ["8.1.0.1.5.255", "8.0.1.0.0.255", "8.1.0.1.5.255"]
    assert "declares" in draft.items[1].reason


def test_an_own_file_is_the_starting_point_and_nothing_of_it_is_lost(
    telegram: Callable[..., Telegram],
) -> None:
    """Its code, type, default and push; what no field has, and what is not known here, is written again as it was."""
    mine = own(
        {"mbusKeys": [" mbus.dib.0c13.unmodifiedvalue "], "dlmsObisCode": "8.0.1.9.9.255",
         "dlmsDataType": 5, "dlmsDefaultValue": 7, "includeInPush": "NONE", "colour": "blue"},
        {"mbusKeys": ["mbus.dib.0c78.unmodifiedvalue"], "dlmsObisCode": "8.0.9.9.9.255", "note": [1, 2]},
        {"mbusKeys": ["mbus.frame.raw"], "dlmsObisCode": "0.0.1.1.128.255", "dlmsClass": "data", "dlmsDataType": 9},
    )  # fmt: skip
    draft = begin(coaching(telegram(f"{VOLUME} {DUE}"), serving=mine))
    first = draft.items[0].choice
    assert (first.obis, first.data_type, first.default, first.in_push) == ("8.0.1.9.9.255", 5, 7, False)
    assert decisions(draft) == [TAKEN, SKIPPED]
    assert "mine.json" in draft.items[1].reason
    assert draft.file().document == mine.document
    assert draft.file().name == "mine.json"
    more = draft.decide(1, TAKEN).file().document
    assert more["entries"][:3] == mine.document["entries"]
    assert [entry["dlmsObisCode"] for entry in more["entries"][3:]] == ["8.0.1.2.0.255"]
    assert more["author"] == "somebody"
    changed = draft.change(0, replace(first, obis="8.0.1.0.0.255")).file().document
    assert changed["entries"][0]["colour"] == "blue"
    assert changed["entries"][0]["dlmsObisCode"] == "8.0.1.0.0.255"
    assert changed["entries"][1:] == mine.document["entries"][1:]
    assert draft.decide(1, TAKEN).decide(0, SKIPPED).file().document["entries"][0]["note"] == [1, 2]


def test_a_profile_of_an_own_file_is_no_field_and_stays(telegram: Callable[..., Telegram]) -> None:
    """It has the key of the field whose history it is, and keeps it whatever becomes of the field."""
    key = ["mbus.dib.0c13.unmodifiedvalue"]
    profile = {"mbusKeys": key, "dlmsObisCode": "8.0.99.1.0.255", "dlmsClass": "profile_generic"}
    mine = own(profile, {"mbusKeys": key, "dlmsObisCode": "8.0.1.9.9.255"})
    draft = begin(coaching(telegram(f"{VOLUME} {DUE}"), serving=mine)).decide(1, TAKEN)
    changed = draft.change(0, replace(draft.items[0].choice, obis="8.0.1.0.0.255")).file()
    for file in (changed, draft.decide(0, SKIPPED).file()):
        assert file.document["entries"][0] == mine.document["entries"][0]
    assert [entry["dlmsObisCode"] for entry in changed.document["entries"]] == [
        "8.0.99.1.0.255", "8.0.1.0.0.255", "8.0.1.2.0.255",
    ]  # fmt: skip


def test_skipping_takes_the_field_out_of_every_entry(telegram: Callable[..., Telegram]) -> None:
    """Alternatives with another scaler would show it again; a key of another meter's field stays."""
    keys = ["mbus.dib.volume.0.0.0.0.unmodifiedvalue", "mbus.dib.0c14.unmodifiedvalue"]
    mine = own(
        {"mbusKeys": keys, "dlmsObisCode": "8.0.1.0.0.255"},
        {"mbusKeys": keys[:1], "dlmsObisCode": "8.0.1.0.0.255", "dlmsScaler": -6},
        {"mbusKeys": ["mbus.dib.4c13.unmodifiedvalue"], "dlmsObisCode": "8.0.1.2.0.255"},
    )
    draft = begin(coaching(telegram(f"{VOLUME} {DUE}"), serving=mine))
    file = draft.decide(0, SKIPPED).file()
    assert [entry["mbusKeys"] for entry in file.document["entries"]] == [
        keys[1:],
        ["mbus.dib.4c13.unmodifiedvalue"],
    ]
    assert list(shows(file, telegram(f"{VOLUME} {DUE}"))) == ["8.0.1.2.0.255"]


def test_fields_that_share_an_entry_can_part(telegram: Callable[..., Telegram]) -> None:
    """Two meters of a type with another VIF each; one gets a code of its own, the other keeps what it had."""
    keys = ["mbus.dib.0c13.unmodifiedvalue", "mbus.dib.0c2d.unmodifiedvalue"]
    mine = own({"mbusKeys": keys, "dlmsObisCode": "8.0.1.0.0.255", "dlmsUnit": 255, "dlmsScaler": 0})
    volume, power = telegram(VOLUME), telegram("0c2d 34120000")
    draft = begin(coaching(volume, power, serving=mine))
    assert decisions(draft) == [TAKEN, TAKEN]
    file = draft.change(1, replace(draft.items[1].choice, obis="8.0.9.0.0.255")).file()
    assert [entry.obis_text for entry in file.entries] == ["8.0.1.0.0.255", "8.0.9.0.0.255"]
    assert file.document["entries"][0]["mbusKeys"] == keys[:1]


def test_a_field_joins_the_entry_that_has_its_code(telegram: Callable[..., Telegram]) -> None:
    """Code, unit and scaler of an entry for other meters: one entry with the keys of both."""
    mine = own({"mbusKeys": ["mbus.dib.0c14.unmodifiedvalue"], "dlmsObisCode": "8.0.1.0.0.255", "note": "x"})
    sent = telegram(VOLUME)
    draft = begin(coaching(sent, serving=mine)).decide(0, TAKEN)
    (entry,) = draft.file().document["entries"]
    assert entry["mbusKeys"][0] == "mbus.dib.0c14.unmodifiedvalue"
    assert len(entry["mbusKeys"]) == 3
    assert entry["note"] == "x"
    assert "8.0.1.0.0.255" in shows(draft.file(), sent)


def test_a_template_that_was_made_active_is_filled_in(telegram: Callable[..., Telegram]) -> None:
    """Its codes are kept, what it marks is open, what has no code is still there; taking fills it in at its place."""
    sent = telegram(f"{MONTH} {VOLUME} {DATE}")
    made = template(propose([[sent]]), meter_type(sent))
    draft = begin(coaching(sent, serving=made))
    assert decisions(draft) == [SKIPPED, TAKEN, OPEN]
    filled = draft.decide(2, TAKEN).change(0, replace(draft.items[0].choice, obis="8.0.1.1.0.1")).file()
    assert [entry["dlmsObisCode"] for entry in filled.document["entries"]] == [
        "8.0.1.1.0.1",
        "8.0.1.0.0.255",
        "8.0.0.1.10.255",
    ]
    assert CHECK not in dump(filled)
    left = draft.decide(2, SKIPPED).file()
    assert [entry["dlmsObisCode"] for entry in left.document["entries"]] == [None, "8.0.1.0.0.255"]


def test_a_file_can_be_for_more_meters(telegram: Callable[..., Telegram]) -> None:
    """For any version and for all makers; the entries of the file that is there are kept for the others."""
    sent = telegram(VOLUME)
    ready = next(each for each in ready_mappings() if each.name == "water.json")
    draft = begin(coaching(sent, serving=ready))
    labels = [kind.label for kind in scopes(draft.kind)]
    assert labels == ["water/HYD/37", "water/HYD/0", "water/all/0"]
    assert draft.aim(scopes(draft.kind)[1], None).file().triple == ("water", "HYD", 0)
    chosen = draft.change(0, replace(draft.items[0].choice, obis="8.0.1.0.9.255"))
    wide = chosen.aim(scopes(draft.kind)[2], ready).file()
    assert (wide.name, wide.triple) == ("water.json", ("water", "all", 0))
    assert shows(wide, sent) == {"8.0.1.0.9.255": "15" + (1234).to_bytes(8, "big").hex()}
    assert {entry.obis_text for entry in wide.entries} ^ {entry.obis_text for entry in ready.entries} == {
        "8.0.1.0.0.255", "8.0.1.0.9.255"
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_all_taken_passes_its_own_lint(name: str) -> None:
    """For every telegram of the data set; and a coach that begins with that file writes it again byte for byte."""
    read = readout(name)
    meter = MeterReadout(name, read, SITE)
    kind = meter_type(read.telegrams[0])
    begun = Coaching(kind, propose([read.telegrams]), (meter,), None)
    draft = begin(begun)
    for index in draft.of(OPEN):
        draft = draft.decide(index, TAKEN)
    if not draft.of(TAKEN):
        with pytest.raises(DraftError, match="No field is taken"):
            draft.file()
        return
    file = parse_mapping(dump(draft.file()), draft.file().name)
    refused = [draft.items[index] for index in draft.of(TAKEN) if _refused(draft, index)]
    assert len(findings(file, [meter])) == len(refused), findings(file, [meter])
    again = begin(replace(begun, serving=file))
    assert again.of(TAKEN) == draft.of(TAKEN)
    assert dump(again.file()) == dump(file)


def _refused(draft: Draft, index: int) -> bool:
    item = draft.items[index]
    return item.field.record.raw is not None and bool(draft.shown(index, item.choice).error)


@pytest.mark.parametrize("name", NAMES)
def test_every_form_that_is_offered_gives_a_value(name: str) -> None:
    """Class and data type for each record: a value, or a reason that is of the number and not of the form."""
    read = readout(name)
    meter = MeterReadout(name, read, SITE)
    draft = begin(Coaching(meter_type(read.telegrams[0]), propose([read.telegrams]), (meter,), None))
    of_the_number = re.compile("no whole number|does not fit|more digits|too large|out of range")
    for index, item in enumerate(draft.items):
        record = item.field.record
        if not item.field.keys or record.raw is None:
            continue
        for class_id in forms.classes(record):
            form = forms.with_class(replace(item.choice, obis="8.0.9.9.9.255"), record, class_id)
            for data_type in forms.data_types(record, class_id):
                shown = draft.shown(index, replace(form, data_type=data_type))
                assert not shown.error or of_the_number.search(shown.error), (
                    record,
                    class_id,
                    data_type,
                    shown,
                )
