"""Telegrams of real meters: every record must come out as the recorded expectations say."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from telegram_frames import INVALID, read_hex, recorded

from core.mbus.telegram import Function, Record, TelegramError, decode

EXPECTED: list[dict[str, Any]] = json.loads((INVALID.parent / "expected.json").read_text())

FUNCTIONS = {
    "inst": Function.INSTANTANEOUS,
    "max": Function.MAXIMUM,
    "min": Function.MINIMUM,
    "err": Function.ERROR,
    "error": Function.ERROR,
    "manufacturer": Function.INSTANTANEOUS,
    "more": Function.INSTANTANEOUS,
}
QUANTITIES = {
    "%RH": "%RH",
    "Averaging Duration": "averaging-duration",
    "C": "C",
    "Current": "current",
    "Customer location": "customer-location",
    "Digital Input": "digital-input",
    "Digital Output": "digital-output",
    "Energy": "energy",
    "Error flags": "error-flags",
    "External temperature": "external-temp",
    "Fabrication No": "fabrication-no",
    "Firmware version": "firmware-version",
    "Flow temperature": "flow-temp",
    "H.C.A.": "hca-units",
    "Manufacturer specific": "manufacturer-specific",
    "Model / Version": "model-version",
    "On time": "on-time",
    "Operating time": "op-time",
    "PW": "PW",
    "Parameter set identification": "parameter-set-id",
    "Power": "power",
    "Reset counter": "reset-counter",
    "Return temperature": "return-temp",
    "Software version": "software-version",
    "Special supplier information": "supplier-info",
    "Temperature difference": "temp-diff",
    "Time point (date & time)": "datetime",
    "Time point (date)": "date",
    "Voltage": "voltage",
    "Volume": "volume",
    "Volume flow": "volume-flow",
    "bat. time": "bat-time",
    "c": "c",
    "cust. ID": "cust-ID",
    "": "manufacturer-data",
}
"""Their names of quantities, and ours."""
UNITS = {"m^3": "m3", "m^3/h": "m3/h", "-": "", "Units for H.C.A.": "", "m^3/input pulse 0": "m3/pulse"}
SECONDS = {"min": 60, "h": 3600, "d": 86400}


def same_number(record: Record, value: float) -> bool:
    """In base units; the expectations are floats with 6 decimals."""
    assert isinstance(record.value, Decimal)
    ours = float(record.value * SECONDS.get(record.unit, 1))
    if isinstance(
        record.raw, float
    ):  # the expectation has the digits of a 64-bit number, ours of a 32-bit one
        return ours == pytest.approx(value, rel=6e-8, abs=5e-7)
    return ours == pytest.approx(value, rel=1e-12, abs=0)


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda expected: str(expected["name"]))
def test_the_header_says_what_is_expected(expected: dict[str, Any]) -> None:
    """Identification, manufacturer, version, medium, access number, status and signature."""
    telegram = decode(recorded(expected["name"]))
    assert telegram.structure == expected["structure"]
    assert telegram.identification == expected["id"]
    assert telegram.manufacturer == (expected["manufacturer"] or "")
    assert telegram.version == (expected["version"] or 0)
    assert telegram.signature == (expected["signature"] or 0)
    assert (telegram.medium_code, telegram.access_number, telegram.status) == (
        expected["medium_code"],
        expected["access_number"],
        expected["status"],
    )


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda expected: str(expected["name"]))
def test_every_record_is_what_is_expected(expected: dict[str, Any]) -> None:
    """Function, storage, tariff, subunit, quantity, unit and value of all records."""
    telegram = decode(recorded(expected["name"]))
    assert len(telegram.records) == len(expected["records"])
    for record, wanted in zip(telegram.records, expected["records"], strict=True):
        where = f"{record.index} {record.dib} {record.description}"
        assert record.function is FUNCTIONS[wanted["function"]], where
        for name in ("storage", "tariff", "subunit"):
            assert getattr(record, name) == (wanted[name] or 0), where
        if wanted["kind"] == "libmbus-failed":  # a reserved VIF: only the number as sent is known
            assert record.raw_text == wanted["raw_value"], where
            continue
        if wanted["quantity"] is not None:
            assert record.quantity == QUANTITIES[wanted["quantity"]], where
        if wanted["unit"] != "s":
            assert record.unit == UNITS.get(wanted["unit"], wanted["unit"]), where
        match wanted["kind"]:
            case "number":
                assert same_number(record, wanted["value"]), where
            case "date" | "datetime":
                assert record.raw_text == wanted["value"].removesuffix("Z"), where
                if record.raw is None:
                    assert record.error, where
                else:
                    assert isinstance(record.raw, datetime if wanted["kind"] == "datetime" else date), where
            case "hex" | "none":
                assert record.raw == bytes.fromhex(wanted["value"]), where
            case "text":
                assert record.raw == wanted["value"], where
            case kind:
                pytest.fail(f"no comparison for {kind}")


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.hex")), ids=lambda path: path.stem)
def test_an_invalid_telegram_is_refused_or_is_an_error_by_name(path: Path) -> None:
    """No values are ever taken out of what is no telegram with data."""
    if path.stem.startswith(("premature", "too_long")):
        with pytest.raises(TelegramError, match=r"not complete: record \d+ breaks off"):
            decode(read_hex(path))
        return
    telegram = decode(read_hex(path))
    assert telegram.application_error
    assert telegram.records == ()


def test_application_errors_have_the_names_of_the_standard() -> None:
    """CI 70h and the code behind it."""
    assert {
        path.stem: decode(read_hex(path)).application_error
        for path in INVALID.glob("*.hex")
        if path.stem
        in ("application_busy", "error", "too_many_difes", "too_many_records", "unimplemented_ci")
    } == {
        "application_busy": "application too busy to handle the request",
        "error": "unspecified error",
        "too_many_difes": "more than 10 DIFEs",
        "too_many_records": "too many records",
        "unimplemented_ci": "CI field not implemented",
    }
