"""The decoded lines are those of the original, byte for byte."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from core.dlms import axdr
from core.mapping.engine import Readout, evaluate
from core.mapping.model import MappingFile
from core.mapping.simplified import Site, header_line, value_line
from core.mbus.telegram import Telegram

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
