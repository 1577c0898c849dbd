"""Hand-made telegrams and mapping files for the mapping tests."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from core.mapping.model import MappingFile, parse_mapping
from core.mapping.simplified import Site
from core.mbus.telegram import Telegram, decode

MakeTelegram = Callable[..., Telegram]
MakeMapping = Callable[..., MappingFile]


@pytest.fixture
def site() -> Site:
    return Site("0016000000", dt.UTC)


@pytest.fixture
def telegram() -> MakeTelegram:
    """Builds a telegram of a HYD meter, version 37, from the bytes of its records."""

    def make(records: str, *, identification: str = "12345678", medium: int = 7, status: int = 0) -> Telegram:
        header = bytes.fromhex(identification)[::-1] + bytes((0x24, 0x23, 37, medium, 10, status, 0, 0))
        content = bytes((0x08, 0x01, 0x72)) + header + bytes.fromhex(records)
        size = len(content)
        return decode(
            bytes((0x68, size, size, 0x68)) + content + bytes((sum(content) & 0xFF, 0x16)),
        )

    return make


@pytest.fixture
def mapping() -> MakeMapping:
    """Builds a mapping file from properties of its entries; what is not given is that of a water volume."""

    def make(*entries: dict[str, Any], **properties: Any) -> MappingFile:
        document = {"type": "water", "manufacturer": "all", "version": 0, **properties}
        document["entries"] = [
            {
                "mbusKeys": ["mbus.dib.volume.0.0.0.0.unmodifiedvalue"],
                "dlmsObisCode": "8.0.1.0.0.255",
                "dlmsScaler": -3,
                "dlmsUnit": 13,
                "dlmsClass": "register",
                "dlmsDataType": 6,
                **entry,
            }
            for entry in entries
        ]
        return parse_mapping(json.dumps(document), "made.json")

    return make
