"""The mapping files that come with the product are up to date, valid, and right for real meters."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from core.dlms import axdr
from core.dlms.axdr import Tag
from core.mapping.engine import MappedValue, Readout, evaluate
from core.mapping.library import MappingSet
from core.mapping.lint import findings
from core.mapping.model import parse_mapping
from core.mapping.ready import ready_directory, ready_mappings, ready_texts
from core.mapping.simplified import Site
from core.mapping.table import table
from core.mapping.units import factor
from core.mbus.telegram import Telegram, decode

TELEGRAMS = sorted((Path(__file__).parents[2] / "core" / "mbus" / "telegrams").glob("*.hex"))
SITE = Site("0016000000", dt.UTC)

# COSEM objects that each meter has through the ready mappings
COVERAGE = {
    "ACW_Itron-BM-plus-m": 6,
    "EDC": 6,
    "EFE_Engelmann-WaterStar": 7,
    "EMU_EMU-Professional-375-M-Bus": 6,
    "Elster-F2": 8,
    "FIN-Finder-7E.23.8.230.0020": 1,
    "GWF-MTKcoder": 2,
    "LGB_G350": 2,
    "SBC_Saia-Burgess-ALE3": 2,
    "SEN_Sensus-PolluTherm": 5,
    "SLB_CF-Compact-Integral-MK-MaXX": 10,
    "abb_delta": 6,
    "allmess_cf50": 9,
    "berg_dz_plus": 6,
    "electricity-meter-2": 2,
    "els_falcon": 4,
    "elv_temp_humid": 5,
    "example_binary16_lvar": 0,  # one number under a text of the maker's own
    "example_data_02": 6,
    "frame2": 1,
    "itron_cf_51": 7,
    "itron_cf_echo_2": 9,
    "itron_cyble_m-bus_v1.4_gas": 2,
    "itron_integral_mk_maxx": 10,
    "kamstrup_multical_601": 15,
    "manual_frame3": 1,
    "metrona_pollutherm": 8,
    "minol_minocal_c2": 7,
    "nzr_dhz_5_63": 5,
    "oms_frame2": 4,
    "ram_modularis": 3,
    "rel_padpuls2": 0,  # a pulse adapter, medium "other"
    "sen_pollusonic_2": 2,
    "sen_pollutherm": 7,
    "siemens_water": 4,
    "svm_f22_telegram1": 8,
    "tecson": 0,  # medium "oil"
    "wmbus-converted": 1,
}


def read(path: Path) -> Telegram:
    return decode(bytes.fromhex("".join(path.read_text().split())))


def held(telegram: Telegram) -> list[MappedValue]:
    mapping = MappingSet(ready_mappings()).match(
        telegram.medium_code, telegram.manufacturer, telegram.version
    )
    if mapping is None:
        return []
    return [value for value in evaluate(mapping, Readout((telegram,), 0), SITE) if value.object.held]


def test_the_files_are_what_the_table_gives() -> None:
    """Run `python -m core.mapping.ready` after a change of the table or the VIF names."""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in ready_directory().glob("*.json")}
    assert on_disk == ready_texts()


def test_the_files_are_valid_and_do_not_compete() -> None:
    """Every ready file can be imported, without a warning, and no two are for the same meters."""
    active = MappingSet(ready_mappings())
    assert active.problems == ()
    assert [text for file in active.files for text in findings(file)] == []
    types = {file.type for file in active.files}
    assert types >= {"water", "hot-water", "heat", "cooling", "gas", "electricity", "heat-cost-allocator"}


def test_only_sure_rows_are_used() -> None:
    """No code of a ready file stands in the table with grade C or D only."""
    sure = {row.obis.partition(".")[2] for row in table() if row.grade in "AB"}
    for name, text in ready_texts().items():
        for entry in parse_mapping(text, name).entries:
            assert entry.obis_text.partition(".")[2] in sure


def test_the_gateway_clock_is_never_a_meter_value() -> None:
    """No ready file maps anything to 0.0.1.0.0.255."""
    codes = {entry.obis_text for file in ready_mappings() for entry in file.entries}
    assert "0.0.1.0.0.255" not in codes


def test_a_historic_register_is_not_taken_for_the_due_date(telegram: Callable[[str], Telegram]) -> None:
    """Storage 1 behind a final DIFE of 0 is register 1; the due date value is missing then, not wrong."""
    codes = {value.object.entry.obis_text for value in held(telegram("4c13 34120000"))}
    assert "8.0.1.2.0.255" in codes
    assert held(telegram("cc0013 34120000")) == []


def test_the_first_entry_of_water_is_that_of_the_manual() -> None:
    """Volume has the code, unit and scaler of the manual's example."""
    first = json.loads(ready_texts()["water.json"])["entries"][0]
    assert (first["dlmsObisCode"], first["dlmsUnit"], first["dlmsScaler"]) == ("8.0.1.0.0.255", 13, -3)
    assert "mbus.dib.volume.0.0.0.0.unmodifiedvalue" in first["mbusKeys"]


@pytest.mark.parametrize("path", TELEGRAMS, ids=lambda path: path.stem)
def test_every_mapped_value_is_exactly_that_of_the_meter(path: Path) -> None:
    """Value x 10^scaler in the DLMS unit equals the telegram's value; nothing that is valid is lost."""
    values = held(read(path))
    assert len(values) == COVERAGE[path.stem]
    for value in values:
        record = value.record
        assert record is not None
        assert (value.encoded is None) == (record.raw is None), value.error
        if value.encoded is None or value.object.scaler is None:
            continue
        assert value.object.unit is not None
        shown = axdr.decode(value.encoded)
        exact = record.value
        assert isinstance(exact, Decimal)
        if record.unit:
            exact *= Decimal(factor(record.unit, value.object.unit).numerator)
        assert isinstance(shown.content, int | float)
        if isinstance(record.raw, float):
            assert shown.tag in (Tag.FLOAT32, Tag.FLOAT64)
            text = f"{shown.content:.9g}" if shown.tag is Tag.FLOAT32 else repr(shown.content)
            assert float(Decimal(text)) == pytest.approx(float(exact.scaleb(-value.object.scaler)), rel=1e-7)
        else:
            assert isinstance(shown.content, int)
            assert Decimal(shown.content).scaleb(value.object.scaler) == exact
