"""The decoded lines are those of the original, byte for byte."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

from core.dlms import axdr
from core.mapping.engine import Readout, evaluate
from core.mapping.model import MappingFile
from core.mapping.simplified import Site, header_line, value_line
from core.mbus.telegram import Telegram, decode
from tests.mbus.telegram_frames import frame, long_frame

RECORDS = (
    "0c7861945547"  # fabrication number 47559461
    "077a25b3d50200000000"  # address, the same number
    "0c1346590800"  # volume 85.946 m3
    "8c101300000000"  # volume of tariff 1
    "0b3b000000"  # volume flow
    "025a1101"  # flow temperature 27.3 °C
    "02fd703f38"  # time of the battery change
    "0b26252502"  # operating time 22525 h
    "0aa6186701"  # operating time with errors 167 h
    "046d32100621"  # 2016-01-06 16:50
)
# CMe3100 DLMS plugin manual v1.8, 5.3.4.2. Its last record is dif=04 with storagenumber=1, which exclude
# each other (DIF 04 is storage number 0, EN 13757-3 table 4); that one number is 0 here.
HEADER = (
    "#serial-number;device-identification;created;value-data-count;manufacturer;version;device-type;"
    "access-number;status;signature;"
    "dif=0c,vif=78,description=fabrication-no,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=07,vif=7a,description=address,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=0c,vif=13,unit=m3,description=volume,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=8c10,vif=13,unit=m3,description=volume,kind=inst-value,tariff=1,subunit=0,storagenumber=0;"
    "dif=0b,vif=3b,unit=m3/h,description=volume-flow,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=02,vif=5a,unit=°C,description=flow-temp,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=02,vif=fd70,description=datetime-of-battery-change,kind=inst-value,tariff=0,subunit=0,"
    "storagenumber=0;"
    "dif=0b,vif=26,unit=hour(s),description=op-time,kind=inst-value,tariff=0,subunit=0,storagenumber=0;"
    "dif=0a,vif=a618,unit=hour(s),description=op-time data-error,kind=inst-value,tariff=0,subunit=0,"
    "storagenumber=0;"
    "dif=04,vif=6d,description=datetime,kind=inst-value,tariff=0,subunit=0,storagenumber=0"
)
VALUES = (
    "0016000000;-2147483648;2000-01-01 01:00:00;00;HYD;37;water;10;0;0;47559461;47559461;85,946;0,000;0,000;"
    "27,300;14399;22525;167;2016-01-06 16:50:00"
)
NEW_YEAR_2000_MS = 946_684_800_000


def test_the_header_line_of_the_manual(telegram: Callable[..., Telegram]) -> None:
    """The manual's example telegram gives the manual's header."""
    assert header_line(telegram(RECORDS)) == HEADER


def test_the_value_line_of_the_manual(telegram: Callable[..., Telegram]) -> None:
    """The manual's example telegram gives the manual's values, its mark for a missing number included."""
    site = Site("0016000000", ZoneInfo("Europe/Stockholm"))
    made = telegram(RECORDS, identification="ffffffff")
    assert value_line(made, 0, NEW_YEAR_2000_MS, site) == VALUES


def test_values_match_their_headers(telegram: Callable[..., Telegram], site: Site) -> None:
    """As many values as headers, also for invalid, negative, text and coarse values; no text breaks a field."""
    made = telegram("0c13ee590800025af5ff0d7803433b42040605000000")
    header, values = header_line(made).split(";"), value_line(made, 3, NEW_YEAR_2000_MS, site).split(";")
    assert len(header) == len(values)
    assert values[1:4] == ["12345678", "2000-01-01 00:00:00", "03"]
    assert values[10:14] == ["", "-1,100", "B,C", "5000"]


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ("0c13 46590800", "85,946"),
        ("0c10 46590800", "0,085946"),  # as many decimals as the meter has
        ("0c16 46590800", "85946"),
        ("0c17 46590800", "859460"),
        ("0b3b 0100f0", "-0,001"),
        ("0b3b 0000f0", "0,000"),
        ("0413 ffffffff", "-0,001"),
        ("0413 00000080", ""),  # marked as not available
        ("0c13 ee590800", ""),  # no BCD digits
        ("055b 0000a841", "21,000"),  # a real number has decimals, also where they are 0
        ("055b 9a99ab41", "21,450"),
        ("055b 0000c07f", ""),
        ("0507 9a99ab41", "214500,000"),
        ("426c 0621", "2016-01-06"),
        ("426c 0000", ""),
        ("036d 1e2d10", "16:45:30"),
        ("066d 1e2d10 0621 00", "2016-01-06 16:45:30"),
        ("02fd70 3f38", "14399"),  # no VIF of a time in the original: a number, whether it is a date or not
        ("02fd70 0000", "0"),
        ("02fd70 ffff", ""),
        ("04fd17 ffffffff", "4294967295"),
        ("0d78 06 333b6e6cf64b", "Köln,3"),  # Latin 1; a semicolon would end the field
        ("0d78 05 0d0a410942", "B A  "),
        ("0d78 e2 0102", "0201"),
        ("0f 010203", "010203"),  # the maker's own block
    ],
)
def test_each_kind_of_value(telegram: Callable[..., Telegram], site: Site, record: str, shown: str) -> None:
    """Decimal comma and at least three decimals, local times of the meter, texts that stay in their field."""
    made = telegram(record)
    assert header_line(made).count(";") == 10
    assert value_line(made, 0, NEW_YEAR_2000_MS, site).split(";")[10:] == [shown]


@pytest.mark.parametrize(
    ("utc", "local"),
    [
        ("2025-01-31T23:30:05.999+00:00", "2025-02-01 00:30:05"),
        ("2025-06-30T22:00:00+00:00", "2025-07-01 00:00:00"),
        ("2025-10-26T00:30:00+00:00", "2025-10-26 02:30:00"),
        ("2025-10-26T01:30:00+00:00", "2025-10-26 02:30:00"),
    ],
)
def test_the_time_of_the_readout_is_local(telegram: Callable[..., Telegram], utc: str, local: str) -> None:
    """In summer time and out of it, whole seconds, no sign of the zone."""
    created_ms = round(dt.datetime.fromisoformat(utc).timestamp() * 1000)
    line = value_line(telegram(""), 0, created_ms, Site("0016000000", ZoneInfo("Europe/Stockholm")))
    assert line.split(";")[2] == local


def test_the_fixed_fields_say_what_the_header_says() -> None:
    """Status and signature are decimal numbers; a short header has no identification, maker, version and medium."""
    site = Site("0016000000", dt.UTC)
    header = bytes.fromhex("78563400 2423 ff 15 ff 1c 3412")
    line = value_line(decode(long_frame("", header)), 12, NEW_YEAR_2000_MS, site)
    assert line == "0016000000;00345678;2000-01-01 00:00:00;12;HYD;255;hot-water;255;28;4660"
    short = value_line(decode(frame("7a 05 04 0000 0c1346590800")), 0, NEW_YEAR_2000_MS, site)
    assert short == "0016000000;-2147483648;2000-01-01 00:00:00;00;;0;;5;4;0;85,946"


def test_every_medium_has_a_name_that_stays_in_its_field(
    telegram: Callable[..., Telegram], site: Site
) -> None:
    """Also those that the standard keeps for later."""
    for code in range(256):
        name = value_line(telegram("", medium=code), 0, 0, site).split(";")[6]
        assert re.fullmatch(r"[a-z0-9-]+", name)


def test_a_text_of_the_maker_breaks_no_header(telegram: Callable[..., Telegram]) -> None:
    """Of a plain-text VIF with what separates fields the letters are left."""
    described = header_line(telegram("0cfc 05 632c623b61 3c 11223344")).split(";")
    assert described[10:] == [
        "dif=0c,vif=fc3c,description=a-b-c backward-flow,kind=inst-value,tariff=0,subunit=0,storagenumber=0"
    ]


def test_a_dif_that_only_announces_more_has_no_field(telegram: Callable[..., Telegram], site: Site) -> None:
    """1Fh without data is the end of a telegram, not a value."""
    made = telegram("0c1346590800 1f")
    assert made.more_follows
    assert header_line(made).split("storagenumber=")[1:] == ["0"]
    assert value_line(made, 0, 0, site).endswith(";0;0;85,946")


def test_other_kinds_and_units_have_names(telegram: Callable[..., Telegram]) -> None:
    """Maximum, minimum and error state are told apart; times have the original's unit names."""
    header = header_line(telegram("12240100222501003226010002270100"))
    assert [part.split("kind=")[1].split(",")[0] for part in header.split(";")[10:14]] == [
        "max-value",
        "min-value",
        "err-value",
        "inst-value",
    ]
    assert [part.split("unit=")[1].split(",")[0] for part in header.split(";")[10:14]] == [
        "second(s)",
        "minute(s)",
        "hour(s)",
        "day(s)",
    ]


def test_the_three_keys_of_simplified_mapping(
    telegram: Callable[..., Telegram], mapping: Callable[..., MappingFile]
) -> None:
    """Raw telegram as octet-string, header and values as visible-string, of the telegram that is asked for."""
    data = {"dlmsClass": "data", "dlmsScaler": 0, "dlmsUnit": 0}
    file = mapping(
        {**data, "mbusKeys": ["mbus.frame.raw"], "dlmsDataType": 9, "dlmsObisCode": "0.0.1.1.128.255"},
        {
            **data,
            "mbusKeys": ["mbus.telegram.decoded.value "],
            "dlmsDataType": 10,
            "dlmsObisCode": "0.0.1.2.128.255",
            "mbusTelegram": 1,
        },
        {
            **data,
            "mbusKeys": ["mbus.telegram.decoded.header "],
            "dlmsDataType": 10,
            "dlmsObisCode": "0.0.1.3.128.255",
        },
    )
    first, second = telegram(RECORDS), telegram("0c1301000000")
    readout = Readout((first, second), NEW_YEAR_2000_MS)
    raw, value, header = evaluate(file, readout, Site("0016000000", dt.UTC))
    assert raw.encoded == axdr.octet_string(first.frame)
    assert header.encoded == axdr.visible_string(HEADER)
    assert value.encoded == axdr.visible_string(
        "0016000000;12345678;2000-01-01 00:00:00;01;HYD;37;water;10;0;0;0,001"
    )
