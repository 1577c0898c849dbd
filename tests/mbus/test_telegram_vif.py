"""What a record measures: VIFs of every table, VIFEs with their meaning, plain text, and the DIF's numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from telegram_frames import long_frame, only_record

from core.mbus.telegram import Function, decode


@pytest.mark.parametrize(
    ("vib", "description", "unit", "exponent"),
    [
        ("00", "energy", "Wh", -3),
        ("07", "energy", "Wh", 4),
        ("0F", "energy", "J", 7),
        ("13", "volume", "m3", -3),
        ("19", "mass", "kg", -2),
        ("23", "on-time", "d", 0),
        ("26", "op-time", "h", 0),
        ("2E", "power", "W", 3),
        ("30", "power", "J/h", 0),
        ("3B", "volume-flow", "m3/h", -3),
        ("40", "volume-flow", "m3/min", -7),
        ("48", "volume-flow", "m3/s", -9),
        ("56", "mass-flow", "kg/h", 3),
        ("5A", "flow-temp", "°C", -1),
        ("5F", "return-temp", "°C", 0),
        ("61", "temp-diff", "K", -2),
        ("65", "external-temp", "°C", -2),
        ("6A", "pressure", "bar", -1),
        ("6E", "hca-units", "", 0),
        ("72", "averaging-duration", "h", 0),
        ("78", "fabrication-no", "", 0),
        ("7A", "address", "", 0),
        ("7B", "reserved-7b", "", 0),
        ("FB01", "energy", "Wh", 6),
        ("FB03", "reactive-energy", "varh", 4),
        ("FB08", "energy", "J", 8),
        ("FB11", "volume", "m3", 3),
        ("FB14", "reactive-power", "var", 0),
        ("FB1B", "relative-humidity", "%", 0),
        ("FB2E", "frequency", "Hz", -1),
        ("FB28", "power", "W", 5),
        ("FB74", "temp-limit", "°C", -3),
        ("FD0C", "model-version", "", 0),
        ("FD17", "error-flags", "", 0),
        ("FD48", "voltage", "V", -1),
        ("FD59", "current", "A", -3),
        ("FD61", "cumulation-counter", "", 0),
        ("FD6D", "battery-op-time", "d", 0),
        ("FD70", "datetime-of-battery-change", "", 0),
        ("FD74", "battery-remaining", "d", 0),
        ("FDFD02", "battery-remaining", "month", 0),
        ("FDFD33", "reserved-fdfd33", "", 0),
        ("7F", "manufacturer-specific", "", 0),
        ("FF01", "manufacturer-specific manufacturer-01", "", 0),
    ],
)
def test_vifs_of_every_table(vib: str, description: str, unit: str, exponent: int) -> None:
    """Quantity, unit and power of ten; a reserved code has a name of its own and keeps its number."""
    record = only_record(f"02 {vib} 0102")
    assert (record.description, record.unit, record.exponent) == (description, unit, exponent)
    assert record.dib == f"02{vib.lower()}"


@pytest.mark.parametrize(
    ("vib", "description", "unit", "exponent"),
    [
        ("A618", "op-time data-error", "h", 0),
        ("933B", "volume forward-flow", "m3", -3),
        ("933C", "volume backward-flow", "m3", -3),
        ("933A", "volume uncorrected", "m3", -3),
        ("933E", "volume base-conditions", "m3", -3),
        ("9370", "volume", "m3", -9),
        ("9376", "volume", "m3", -3),
        ("9377", "volume", "m3", -2),
        ("937D", "volume", "m3", 0),
        ("93F57D", "volume", "m3", -1),
        ("9322", "volume per-hour", "m3/h", -3),
        ("9328", "volume per-input-pulse-0", "m3/pulse", -3),
        ("DB7E", "flow-temp future", "°C", 0),
        ("ABFC01", "power phase-l1", "W", 0),
        ("FDC8FC07", "voltage phase-l3-l1", "V", -1),
        ("ABFC09", "power quadrant-2", "W", 0),
        ("AB40", "power lower-limit", "W", 0),
        ("AB48", "power upper-limit", "W", 0),
        ("AB49", "power upper-limit-exceed-count", "", 0),
        ("AB56", "power duration-of-last-lower-limit-exceed", "h", 0),
        ("AB5B", "power duration-of-first-upper-limit-exceed", "d", 0),
        ("AB65", "power duration-of-last", "min", 0),
        ("ABFF01", "power manufacturer-01", "W", 0),
        ("ABFF8102", "power manufacturer-01 manufacturer-02", "W", 0),
        ("AB7F", "power manufacturer-specific", "W", 0),
        ("ABC87D", "power upper-limit", "W", 3),
    ],
)
def test_vifes_change_what_is_measured(vib: str, description: str, unit: str, exponent: int) -> None:
    """Every VIFE has a token, scale factors move the exponent, per-unit codes change the unit."""
    record = only_record(f"02 {vib} 0102")
    assert (record.description, record.unit, record.exponent) == (description, unit, exponent)


@pytest.mark.parametrize(
    ("vib", "description"),
    [
        ("AB39", "power start-of"),
        ("AB4F", "power end-of-last-upper-limit-exceed"),
        ("AB42", "power begin-of-first-lower-limit-exceed"),
        ("AB6A", "power begin-of-first"),
        ("AB6F", "power end-of-last"),
    ],
)
def test_a_date_of_a_power_is_a_date(vib: str, description: str) -> None:
    """VIFEs that turn a quantity into a point in time."""
    record = only_record(f"04 {vib} 3B179F2C")
    assert record.description == description
    assert record.value_text == "2020-12-31T23:59:00"
    assert record.unit == ""


def test_a_value_that_the_meter_calls_undefined_is_none() -> None:
    """VIFE 15h says that there is no data; 18h, a data error, still comes with its value."""
    undefined = only_record("02 9315 0102")
    assert undefined.raw is None
    assert undefined.error == "the meter reports no data"
    assert only_record("02 9318 0102").value == Decimal("0.513")


def test_a_number_may_be_declared_unsigned() -> None:
    """VIFE FC 11h: type C; FC 12h: type D, which has no code for "not available"."""
    assert only_record("02 93FC11 FEFF").raw == 65534
    assert only_record("02 93FC12 FFFF").raw == 65535


@pytest.mark.parametrize(
    "vib",
    ["FC 03 485225 74", "FC 74 03 485225"],
)
def test_plain_text_is_read_before_and_behind_the_vifes(vib: str) -> None:
    """Older meters send the text at once, the standard puts it behind the VIFEs."""
    first, second = decode(long_frame(f"02 {vib} D411  01 13 05")).records
    assert (first.quantity, first.value, first.dib) == ("%RH", Decimal("45.64"), "02fc74")
    assert second.value == Decimal("0.005")


def test_a_plain_text_is_no_quantity_of_the_standard() -> None:
    """A text "Volume" says nothing of m3: it must not be taken for VIF 10h to 17h."""
    record = only_record(f"02 7C 06 {b'Volume'[::-1].hex()} 0102")
    assert (record.description, record.unit, record.exponent) == ("text-Volume", "", 0)


def test_a_number_in_another_unit_system_is_not_in_the_metric_unit() -> None:
    """VIFE 3Dh: gallons, say, under the VIF of m3."""
    record = only_record("02 933D 0102")
    assert (record.description, record.unit) == ("volume non-metric", "non-metric")


def test_plain_text_becomes_a_token() -> None:
    """So that it can be a part of a mapping key."""
    assert only_record("02 7C 09 656D6974202E746162 0102").quantity == "bat-time"


@pytest.mark.parametrize(
    ("records", "obis"),
    [
        ("06 83 3F FF0008010001", "1.0.1.8.0.255"),
        ("06 83 3F 0100010800FF", "1.0.1.8.0.255"),
        ("0D 83 3F 09 302E382E313A302D31", "1-0:1.8.0"),
    ],
)
def test_a_meter_may_declare_its_obis_code(records: str, obis: str) -> None:
    """VIFE 3Fh, binary in both orders, and as text."""
    record = only_record(records)
    assert record.obis == record.value == obis
    assert only_record("01 13 05").obis == ""


def test_storage_tariff_and_subunit_are_put_together_from_all_difes() -> None:
    """Four, two and one bits a DIFE, least significant first; the lowest storage bit is in the DIF."""
    record = only_record("D1 EA 35 13 05")
    assert record.function is Function.MAXIMUM
    assert record.storage == 1 | 0xA << 1 | 0x5 << 5
    assert record.tariff == 2 | 3 << 2
    assert record.subunit == 1
    assert (record.dif_hex, record.vif_hex) == ("d1ea35", "13")


@pytest.mark.parametrize(
    ("dif", "label"), [("01", "instantaneous"), ("11", "maximum"), ("21", "minimum"), ("31", "error state")]
)
def test_functions_have_names(dif: str, label: str) -> None:
    """Bits 4 and 5 of the DIF."""
    assert only_record(f"{dif} 13 05").function.label == label


def test_fillers_are_skipped() -> None:
    """2Fh between and behind records means nothing."""
    records = decode(long_frame("2F2F 01 13 05 2F 01 13 06 2F2F")).records
    assert [record.raw for record in records] == [5, 6]
    assert [record.offset for record in records] == [21, 25]


def test_the_manufacturers_own_data_go_to_the_end() -> None:
    """DIF 0Fh ends the records; 1Fh says besides that another telegram follows."""
    volume, rest = decode(long_frame("01 13 05 0F 010203")).records
    assert (volume.raw, rest.raw, rest.quantity) == (5, b"\x01\x02\x03", "manufacturer-data")
    assert decode(long_frame("01 13 05 0F 010203")).more_follows is False
    assert decode(long_frame("01 13 05 1F")).more_follows is True


@pytest.mark.parametrize(
    "records",
    [
        "3F 0102",
        "01 13 06 6F",
        "0D 13 FB 01",
        "81 808080808080808080 8000 13 05",
        "01 " + "93" * 11 + "00 05",
    ],
)
def test_what_cannot_be_read_keeps_what_came_before(records: str) -> None:
    """Reserved DIFs and lengths, and chains that are too long, make one unreadable record."""
    first, *_, last = decode(long_frame("01 13 05" + records)).records
    assert first.raw == 5
    assert last.quantity == "unreadable"
    assert last.raw is None
    assert last.error.endswith("this and what follows cannot be read")
