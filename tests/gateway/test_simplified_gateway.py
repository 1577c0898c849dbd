"""Simplified mapping over DLMS: the manual's example byte for byte, and a readout of several telegrams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from dlms_wire import AARQ_NONE, Wire, fetch, get
from gateway_process import GatewayProcess

from cme_tui.client import ask
from core.dlms import axdr
from core.mbus.telegram import decode
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, Store
from tests.interop.library import Client, Library
from tests.mapping.test_simplified_mapping import HEADER, NEW_YEAR_2000_MS, RECORDS, VALUES
from tests.mbus.telegram_frames import long_frame

DEVICE: Final = 16
CONFIG: Final = """
[gateway]
serial = "0016000000"
timezone = "Europe/Stockholm"

[dlms]
authentication = "none"
policy = "none"

[[line]]
name = "cellar"
url = "{url}"

[[meter]]
line = "cellar"
address = 5
logical_device = 16
"""
DATA, RAW, VALUE, HEAD = 1, "0.0.1.1.128.255", "0.0.1.2.128.255", "0.0.1.3.128.255"


def entry(key: str, code: str, data_type: int, telegram: int = 0) -> dict[str, Any]:
    """As in the manual, 5.3.4, with the blank behind the key that its examples have."""
    return {
        "includeInPush": "ALL", "mbusTelegram": telegram, "mbusKeys": [f"{key} "], "dlmsObisCode": code,
        "dlmsScaler": 0, "dlmsUnit": 0, "dlmsClass": "data", "dlmsDataType": data_type, "dlmsDefaultValue": None,
        "mbusUnit": None, "mbusDescriptionLong": None, "mbusTariff": None, "mbusStorageNumber": 0,
        "mbusSubUnit": None, "mbusFunction": None,
    }  # fmt: skip


def prepared(folder: Path, url: str, *entries: dict[str, Any]) -> StateDir:
    """A state directory with one water meter at address 5, and one mapping file."""
    state = StateDir(folder)
    state.create()
    state.config.write_text(CONFIG.format(url=url))
    document = {"type": "water", "manufacturer": "all", "version": 0, "entries": entries}
    (state.mappings / "simplified.json").write_text(json.dumps(document))
    return state


@pytest.fixture(scope="module")
def libraries() -> Iterator[dict[str, Library]]:
    libraries = {name: Library(name) for name in ("gurux", "pydlms")}
    yield libraries
    for library in libraries.values():
        library.stop()


async def test_the_example_of_the_manual_goes_over_dlms_byte_for_byte(
    start: Callable[..., GatewayProcess], tmp_path: Path, libraries: dict[str, Library]
) -> None:
    """Raw telegram, header and values. A text beyond ASCII, as the ° of °C, is UTF-8, of which libraries make
    what they can: gurux-dlms gives its bytes as hex, pydlms-client takes them for Latin 1."""
    state = prepared(
        tmp_path,
        "tcp:127.0.0.1:1",
        entry("mbus.frame.raw", RAW, 9),
        entry("mbus.telegram.decoded.value", VALUE, 10),
        entry("mbus.telegram.decoded.header", HEAD, 10),
    )
    frame = long_frame(RECORDS, header=bytes.fromhex("ffffffff 2423 25 07 0a 00 0000"))
    store = await Store.open(state.database)
    key = await store.install_meter("cellar", "5", NEW_YEAR_2000_MS)
    await store.learn_identity(key, "FFFFFFFF", "HYD", 37, 7)
    await store.add_reading(Reading(key, "cellar", NEW_YEAR_2000_MS, MeterState.OK, (frame,)))
    await store.close()
    gateway = start(tmp_path)
    async with Wire(gateway.port, server=DEVICE) as wire:
        await wire.ask(AARQ_NONE)
        for code, encoded in (
            (RAW, axdr.octet_string(frame)),
            (VALUE, b"\x0a" + axdr.length(len(VALUES)) + VALUES.encode("ascii")),
            (HEAD, b"\x0a" + axdr.length(len(HEADER.encode())) + HEADER.encode()),
        ):
            assert await fetch(wire, get(DATA, bytes(map(int, code.split("."))), 2)) == encoded
    for name, library in libraries.items():
        client = Client(library, name)
        await client.open(port=gateway.port, server=DEVICE)
        assert await client.get(DATA, RAW, 2) == frame.hex()
        assert await client.get(DATA, VALUE, 2) == VALUES
        assert as_text(name, await client.get(DATA, HEAD, 2)) == HEADER
        await client.drop()


async def test_each_telegram_of_a_readout_can_be_mapped(
    start: Callable[..., GatewayProcess],
    simulate: Callable[..., str],
    tmp_path: Path,
    libraries: dict[str, Library],
) -> None:
    """A meter on a line that sends two telegrams in turn (frame count bit): raw, lines and a value of each."""
    first = long_frame("0c7861945547 01fd1705 1f")
    second = long_frame(
        "0c7825029904 0d7806333b6e6cf64b 425af5ff 01fd1703",
        header=bytes.fromhex("78563412 2423 28 07 0a 04 0000"),
    )
    folder = tmp_path / "telegrams"
    folder.mkdir()
    (folder / "two.hex").write_text((first + second).hex())
    entries = [
        {**entry(key, f"0.0.{place}.1.128.{number}", data_type, number), **more}
        for number in (0, 1)
        for place, (key, data_type, more) in enumerate(
            (
                ("mbus.frame.raw", 9, {}),
                ("mbus.telegram.decoded.header", 10, {}),
                ("mbus.telegram.decoded.value", 10, {}),
                ("mbus.dib.0c78.unmodifiedvalue", 10, {}),
                ("mbus.dib.01fd17.unmodifiedvalue", 17, {"dlmsClass": "extended_register", "dlmsUnit": 255}),
            ),
            1,
        )
    ]
    history = {
        **entry("mbus.dib.0c78.unmodifiedvalue", "0.0.99.1.128.1", 1, 1),
        "dlmsClass": "profile_generic",
    }
    url = simulate("--tcp", "0", "--telegrams", str(folder))
    prepared(tmp_path / "state", url, *entries, history)
    gateway = start(tmp_path / "state")
    gateway.wait_until("the meter", lambda _: bool(ask(gateway.state_dir, "status")["meters"][0]["mapping"]))
    for name, library in libraries.items():
        client = Client(library, name)
        await client.open(port=gateway.port, server=DEVICE)
        for number, sent in enumerate((first, second)):
            raw = bytes.fromhex(await client.get(DATA, f"0.0.1.1.128.{number}", 2))
            assert [record.raw for record in decode(raw).records] == [
                record.raw for record in decode(sent).records
            ]
            header = as_text(name, await client.get(DATA, f"0.0.2.1.128.{number}", 2))
            value = as_text(name, await client.get(DATA, f"0.0.3.1.128.{number}", 2))
            names, values = header.split(";"), value.split(";")
            assert names[:10] == HEADER.split(";")[:10]
            assert [each.split(",description=")[0] for each in names[10:]] == DESCRIBED[number]
            shown = dict(zip(names[:10], values[:10], strict=True))
            assert (shown["#serial-number"], shown["value-data-count"]) == ("0016000000", f"{number:02d}")
            assert (shown["device-identification"], shown["status"]) == ("12345678", ("0", "4")[number])
            assert values[10:] == SHOWN[number]
            assert await client.get(DATA, f"0.0.4.1.128.{number}", 2) == ("47559461", "04990225")[number]
            assert await client.get(4, f"0.0.5.1.128.{number}", 2) == (5, 3)[number]
            assert await client.get(4, f"0.0.5.1.128.{number}", 4) == (0, 4)[number]
        rows = await client.get(7, "0.0.99.1.128.1", 2)
        assert rows
        assert {row[1] for row in rows} == {"04990225"}
        await client.drop()


DESCRIBED: Final = (
    ["dif=0c,vif=78", "dif=01,vif=fd17"],
    ["dif=0c,vif=78", "dif=0d,vif=78", "dif=42,vif=5a,unit=°C", "dif=01,vif=fd17"],
)
SHOWN: Final = (["47559461", "5"], ["4990225", "Köln,3", "-1,100", "3"])


def as_text(library: str, answer: str) -> str:
    """A visible-string as it was sent, in UTF-8."""
    if library == "pydlms":
        return answer.encode("latin-1").decode()
    return answer if "#" in answer or ";" in answer else bytes.fromhex(answer).decode()
