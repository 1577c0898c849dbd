"""The objects of both logical devices: the table of rights, and what a client reads in each of them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from test_meter import START

from core import VERSION
from core.config import MeterConfig
from core.cosem import datetime as cosem_time
from core.cosem import obis
from core.cosem.devices import meter_device
from core.cosem.objects import Access, Context, DataAccessError
from core.dlms import axdr
from core.dlms.axdr import Tag, Value
from core.events import EventCode
from core.mapping.model import parse_mapping
from core.mapping.simplified import Site
from core.mbus.address import parse_address
from core.meter import Meter
from core.profiles import MeterRows, RowCache
from tests.cosem.house import BERLIN, METER, SIGNATURE, TITLE, House
from tests.mbus.telegram_frames import long_frame

# Class, version, what the public and the management client may do with each attribute (- nothing, r read, w write,
# b both), and the methods: + granted to the management client, - not.
COMMON = """
    0.0.41.0.0.255      17 0  rr        rr        -
    0.0.40.0.0.255      15 1  {public}  {secret}  +---
    0.0.1.0.0.255        8 0  rrrrrrrrr rbrrrrrrr ------
    0.0.42.0.0.255       1 0  rr        rr        .
    0.0.43.1.0.255       1 0  rr        rr        .
    0.128.1.0.0.255      1 0  --        rb        .
    0.0.96.11.0.255      1 0  --        rr        .
    0.128.96.11.0.255    1 0  --        rr        .
    0.0.96.11.1.255      1 0  --        rr        .
    0.128.96.11.1.255    1 0  --        rr        .
    0.0.96.1.4.255       1 0  --        rr        .
    0.0.99.98.0.255      7 1  --------  rrrrrrrr  --
    0.0.99.98.1.255      7 1  --------  rrrrrrrr  --
"""
MANAGEMENT_TABLE = (
    COMMON.format(public="rrrrrr-rr", secret="rrrrrrwrr")
    + """
    1.128.0.0.0.255      1 0  --        rr        .
    0.0.96.1.0.255       1 0  --        rr        .
    1.0.0.2.0.255        1 0  --        rr        .
    1.1.0.2.8.255        1 0  --        rr        .
    0.0.96.128.0.255     1 0  --        rr        .
    0.4.25.9.0.255      40 0  -------   rrrrrrr   +
    0.8.25.9.0.255      40 0  -------   rrrrrrr   +
    0.7.25.9.0.255      40 0  -------   rrrrrrr   +
    0.0.43.0.0.255      64 0  -----     rbrrr     ++
"""
)
METER_TABLE = (
    COMMON.format(public="rrrrrr-rr", secret="rrrrrr-rr")
    + """
    0.128.42.0.0.255     1 0  --        rr        .
    1.0.0.2.0.255        1 0  --        rr        .
    0.0.96.1.1.255       1 0  --        rr        .
    0.0.96.1.2.255       1 0  --        rr        .
    1.0.99.1.0.255       7 1  --------  rrrrrrrr  --
    1.0.99.2.0.255       7 1  --------  rrrrrrrr  --
    0.0.98.1.0.255       7 1  --------  rrrrrrrr  --
    0.1.25.9.0.255      40 0  -------   rrrrrrr   +
    0.2.25.9.0.255      40 0  -------   rrrrrrr   +
    0.3.25.9.0.255      40 0  -------   rrrrrrr   +
    0.5.25.9.0.255      40 0  -------   rrrrrrr   +
    0.6.25.9.0.255      40 0  -------   rrrrrrr   +
    0.0.43.0.0.255      64 0  -----     rrrrr     --
"""
)
PUBLIC = {"0.0.41.0.0.255", "0.0.40.0.0.255", "0.0.1.0.0.255", "0.0.42.0.0.255", "0.0.43.1.0.255"}
LETTERS = {Access.NONE: "-", Access.READ: "r", Access.WRITE: "w", Access.READ_WRITE: "b"}


def code(text: str) -> bytes:
    return obis.parse(text)


@pytest.mark.parametrize(("sap", "table"), [(1, MANAGEMENT_TABLE), (16, METER_TABLE)])
def test_the_objects_and_rights_are_those_of_the_table(house: House, sap: int, table: str) -> None:
    """No object more and none less; the public client has the five public ones; no other client has any right."""
    expected = {}
    for line in table.split("\n"):
        if line.strip():
            name, class_id, version, public, management, methods = line.split()
            expected[name] = (int(class_id), int(version), public, management, methods.replace(".", ""))
    mapped = {item.obis for item in house.bench.meter.objects} if sap != 1 else set()
    found = {}
    for (class_id, name), item in house.device(sap).objects.items():
        assert (class_id, name) == (item.class_id, item.logical_name)
        assert not any(item.access(2).attributes + item.access(2).methods)
        assert not any(item.access(16).methods)
        public, management = (
            "".join(LETTERS[mode] for mode in item.access(client).attributes) for client in (16, 1)
        )
        methods = "".join("+" if granted else "-" for granted in item.access(1).methods)
        if name in mapped:
            assert set(public) == {"-"}
            assert set(management) == {"r"}
        else:
            found[obis.text(name)] = (class_id, item.version, public, management, methods)
        assert (obis.text(name) in PUBLIC) == (set(public) != {"-"})
    assert found == expected


@pytest.mark.parametrize("sap", [1, 16])
async def test_every_attribute_with_the_right_to_read_can_be_read(house: House, sap: int) -> None:
    """And decodes; the first one is the logical name; those without the right give no value."""
    for item in house.device(sap).objects.values():
        for number, mode in enumerate(item.access(1).attributes, 1):
            if mode & Access.READ:
                value = await house.typed(sap, obis.text(item.logical_name), number)
                assert number > 1 or value == (Tag.OCTET_STRING, item.logical_name)
            else:
                with pytest.raises(DataAccessError):
                    item.read(number, None, house.context(sap))


async def test_the_gateway_says_what_it_is(house: House) -> None:
    """Names, titles, versions, signature, address: types as in the manual's table 2."""
    assert await house.typed(1, "0.0.42.0.0.255") == (Tag.OCTET_STRING, b"ELV0016000000")
    assert await house.get(1, "1.128.0.0.0.255") == [b"ELV0016000000", [[METER.encode(), 16]]]
    assert await house.typed(1, "0.0.96.1.0.255") == (Tag.OCTET_STRING, TITLE)
    assert await house.typed(1, "1.0.0.2.0.255") == (Tag.OCTET_STRING, VERSION.encode())
    assert await house.typed(1, "1.1.0.2.8.255") == (Tag.OCTET_STRING, SIGNATURE)
    assert await house.typed(1, "0.0.96.1.4.255") == (Tag.OCTET_STRING, b"")
    assert await house.get(1, "0.0.41.0.0.255") == [[1, b"ELV0016000000"], [16, METER.encode()]]


@pytest.mark.parametrize(
    ("local", "number"),
    [("192.168.1.2", 3232235778), ("::ffff:192.168.1.2", 3232235778), ("2001:db8::1", 0), ("", 0)],
)
def test_the_ip_address_is_the_one_that_the_client_reached(house: House, local: str, number: int) -> None:
    """IPv4 as a number, also on a socket for both; IPv6 does not fit."""
    context = house.context(1)
    context.local = local
    assert house.object(1, "0.0.96.128.0.255").read(2, None, context) == axdr.double_long_unsigned(number)


async def test_the_meter_says_what_it_is(house: House) -> None:
    """Its own name, the gateway's, maker, device type, and without a record for it the version of the header."""
    assert await house.typed(16, "0.0.42.0.0.255") == (Tag.OCTET_STRING, METER.encode())
    assert await house.typed(16, "0.128.42.0.0.255") == (Tag.OCTET_STRING, b"ELV0016000000")
    assert await house.typed(16, "0.0.96.1.1.255") == (Tag.OCTET_STRING, b"ELS")
    assert await house.typed(16, "0.0.96.1.2.255") == (Tag.INTEGER, 7)
    assert await house.typed(16, "1.0.0.2.0.255") == (Tag.OCTET_STRING, b"10")
    assert await house.typed(16, "0.0.96.1.4.255") == (Tag.OCTET_STRING, b"")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ("01fd0e07", b"7"),  # a number
        ("0dfd0e05312e312e31", b"1.1.1"),  # text, last letter first on the wire
        ("0413d2040000", b"40"),  # none: the header
        ("0afd0effff01fd0e03", b"3"),  # the first one that holds a value
    ],
)
async def test_the_firmware_of_a_meter_is_what_its_last_telegram_says(
    house: House, records: str, expected: bytes
) -> None:
    """VIF FD 0E if it sends one; followed without a new logical device."""
    meter = house.bench.meter
    meter.address = parse_address("12345678.HYD.28.07")
    meter.accept(meter.decode([long_frame(records)]), START)
    assert await house.typed(16, "1.0.0.2.0.255") == (Tag.OCTET_STRING, expected)


async def test_a_device_type_above_127_is_sent_as_unsigned(house: House) -> None:
    """An integer cannot hold it."""
    house.bench.meter.identity = parse_address("70112345.ELS.0A.F0")  # type: ignore[assignment]
    house.show()
    assert await house.typed(16, "0.0.96.1.2.255") == (Tag.UNSIGNED, 0xF0)


async def test_events_are_empty_before_the_first_one(house: House) -> None:
    """Code 0, no text, a log without rows but with its columns: on both devices and in both logs."""
    for sap, most in ((1, 1000), (16, 500)):
        for n in (0, 1):
            assert await house.typed(sap, f"0.0.96.11.{n}.255") == (Tag.LONG_UNSIGNED, 0)
            assert await house.typed(sap, f"0.128.96.11.{n}.255") == (Tag.VISIBLE_STRING, "")
            log = f"0.0.99.98.{n}.255"
            got = [await house.get(sap, log, number) for number in range(2, 9)]
            columns = [[8, code("0.0.1.0.0.255"), 2, 0], [1, code(f"0.0.96.11.{n}.255"), 2, 0]]
            assert got == [[], columns, 0, 1, [0, bytes(6), 0, 0], 0, most]


async def test_events_are_seen_where_they_belong(house: House) -> None:
    """Standard and fraud log of the gateway, standard log of the meter; the meter's fraud log stays empty."""
    house.events.log(EventCode.POWER_UP, "Started")
    house.events.log(50, "192.0.2.7")
    house.events.log(4008, "permanent error", meter=house.bench.meter.key, time_ms=START + 1000)
    await house.events.flush()
    assert [await house.get(1, f"0.0.96.11.{n}.255") for n in (0, 1)] == [2, 50]
    assert [await house.get(1, f"0.128.96.11.{n}.255") for n in (0, 1)] == ["Started", "192.0.2.7"]
    assert [await house.get(16, f"0.0.96.11.{n}.255") for n in (0, 1)] == [4008, 0]
    assert await house.get(16, "0.128.96.11.0.255") == "permanent error"
    rows = await house.typed(16, "0.0.99.98.0.255")
    time = cosem_time.encode(START + 1000, BERLIN)
    assert rows.content == [
        Value(Tag.STRUCTURE, [Value(Tag.OCTET_STRING, time), Value(Tag.LONG_UNSIGNED, 4008)])
    ]
    assert await house.get(16, "0.0.99.98.0.255", 7) == 1
    assert await house.get(16, "0.0.99.98.1.255", 7) == 0
    assert await house.get(1, "0.0.99.98.1.255") == [[cosem_time.encode(START, BERLIN), 50]]


async def test_profiles_show_their_real_attributes(house: House) -> None:
    """Clock and registers, period in seconds (0 for a month), FIFO, no sort object, rows there are and can be."""
    registers = [[3, item.obis, 2, 0] for item in house.bench.meter.objects if item.class_id == 3]
    assert registers
    for name, period in (("1.0.99.1.0.255", 3600), ("1.0.99.2.0.255", 86400), ("0.0.98.1.0.255", 0)):
        got = [await house.get(16, name, number) for number in range(3, 9)]
        columns = [[8, code("0.0.1.0.0.255"), 2, 0], *registers]
        assert got == [columns, period, 1, [0, bytes(6), 0, 0], 1, 0xFFFF_FFFF]
        ((time, *values),) = await house.get(16, name)
        assert time == cosem_time.encode(START, BERLIN)
        assert len(values) == len(registers)


PUSHES = {
    (1, "0.4.25.9.0.255"): ("", "1 0.0.42.0.0 2|40 0.4.25.9.0 1|7 0.0.99.98.0 1|7 0.0.99.98.0 2"),
    (1, "0.8.25.9.0.255"): (
        "hes.example:4061", "1 0.0.42.0.0 2|40 0.8.25.9.0 1|7 0.0.99.98.1 1|7 0.0.99.98.1 2",
    ),
    (1, "0.7.25.9.0.255"): (
        "192.0.2.8:4059", "1 0.0.42.0.0 2|40 0.7.25.9.0 1|1 0.0.96.128.0 2|1 0.0.96.1.0 2",
    ),
    (16, "0.1.25.9.0.255"): (
        "hes.example:4059",
        "1 0.128.42.0.0 2|1 0.0.42.0.0 2|40 0.1.25.9.0 1|7 1.0.99.1.0 1|7 1.0.99.1.0 3|7 1.0.99.1.0 2",
    ),
    (16, "0.2.25.9.0.255"): (
        "[2001:db8::7]:4060",
        "1 0.128.42.0.0 2|1 0.0.42.0.0 2|40 0.2.25.9.0 1|7 1.0.99.2.0 1|7 1.0.99.2.0 3|7 1.0.99.2.0 2",
    ),
    (16, "0.3.25.9.0.255"): (
        "", "1 0.128.42.0.0 2|1 0.0.42.0.0 2|40 0.3.25.9.0 1|7 0.0.98.1.0 1|7 0.0.98.1.0 3|7 0.0.98.1.0 2",
    ),
    (16, "0.5.25.9.0.255"): (
        "",
        "1 0.128.42.0.0 2|1 0.0.42.0.0 2|40 0.5.25.9.0 1|7 0.0.99.98.0 1|1 0.0.96.1.1 2|1 0.0.96.1.2 2|"
        "1 1.0.0.2.0 2|7 0.0.99.98.0 2",
    ),
    (16, "0.6.25.9.0.255"): (
        "hes.example:4061",
        "1 0.128.42.0.0 2|1 0.0.42.0.0 2|40 0.6.25.9.0 1|7 0.0.99.98.1 1|1 0.0.96.1.1 2|1 0.0.96.1.2 2|"
        "1 1.0.0.2.0 2|7 0.0.99.98.1 2",
    ),
}  # fmt: skip


_REPORTS = {
    "0.1.25.9.0.255": "load_profile_1",
    "0.2.25.9.0.255": "load_profile_2",
    "0.3.25.9.0.255": "billing_profile",
    "0.4.25.9.0.255": "standard_event_log",
    "0.5.25.9.0.255": "standard_event_log",
    "0.6.25.9.0.255": "fraud_event_log",
    "0.7.25.9.0.255": "on_installation",
    "0.8.25.9.0.255": "fraud_event_log",
}


@pytest.mark.parametrize(("sap", "name"), PUSHES)
async def test_a_push_setup_shows_what_goes_where(house: House, sap: int, name: str) -> None:
    """The notification's contents in order, TCP to the report's own host or the default, nothing if it is off; and has
    it sent."""
    target, content = PUSHES[sap, name]
    expected = []
    for item in content.split("|"):
        class_id, text, attribute = item.split()
        expected.append([int(class_id), code(f"{text}.255"), int(attribute), 0])
    assert await house.get(sap, name, 2) == expected
    assert await house.get(sap, name, 3) == [0, target.encode(), 0]
    assert [await house.typed(sap, name, number) for number in range(4, 8)] == [
        (Tag.ARRAY, []),
        (Tag.LONG_UNSIGNED, 30),
        (Tag.UNSIGNED, 255),
        (Tag.LONG_UNSIGNED, 60),
    ]
    for class_id, logical_name, attribute, _ in expected:
        assert (
            house.device(sap).objects[class_id, logical_name].access(1).attributes[attribute - 1]
            & Access.READ
        )
    done = house.object(sap, name).act(1, Value(Tag.INTEGER, 0), house.context(sap))
    assert isinstance(done, Awaitable)
    assert await done is None
    assert house.sent == [(_REPORTS[name], sap)]


@pytest.mark.parametrize("sap", [1, 16])
async def test_the_security_setup_shows_policy_suite_and_titles(house: House, sap: int) -> None:
    """The client's title is that of its association."""
    assert [await house.typed(sap, "0.0.43.0.0.255", number) for number in range(2, 6)] == [
        (Tag.ENUM, 0),
        (Tag.ENUM, 0),
        (Tag.OCTET_STRING, b"HES\x00\x00\x00\x00\x01"),
        (Tag.OCTET_STRING, TITLE),
    ]


@pytest.mark.parametrize("sap", [1, 16])
async def test_the_frame_counter_is_the_highest_that_was_accepted(house: House, sap: int) -> None:
    """Of whichever client, so that one that goes on from there is accepted."""
    assert await house.typed(sap, "0.0.43.1.0.255") == (Tag.DOUBLE_LONG_UNSIGNED, 0)
    for title, counter in ((b"HES\x00\x00\x00\x00\x01", 70_000), (b"HES\x00\x00\x00\x00\x02", 12)):
        waiting = house.security.counters.accept(title, counter)
        if waiting is not None:
            await waiting
    assert await house.get(sap, "0.0.43.1.0.255") == 70_000


async def done(result: bytes | Awaitable[bytes | None] | None, context: Context) -> None:
    """See a change through: nothing to return, and the answer has been sent."""
    assert not isinstance(result, bytes)
    assert result is not None
    assert await result is None
    for call in context.after_answer:
        call()


@pytest.mark.parametrize("by_method", [False, True])
async def test_the_policy_is_raised_by_writing_or_by_the_method(house: House, by_method: bool) -> None:
    """Both are the same, seen on every device, and neither lowers it."""
    setup, context = house.object(1, "0.0.43.0.0.255"), house.context(1)

    def ask(policy: int) -> bytes | Awaitable[bytes | None] | None:
        value = Value(Tag.ENUM, policy)
        return setup.act(1, value, context) if by_method else setup.write(2, value, context)

    await done(ask(3), context)
    assert [await house.get(sap, "0.0.43.0.0.255") for sap in (1, 16)] == [3, 3]
    with pytest.raises(DataAccessError, match="read-write-denied"):
        await done(ask(0), context)


async def test_keys_are_transferred_under_the_master_key(house: House) -> None:
    """Encryption and authentication key in one step; one that cannot be unwrapped changes nothing."""
    setup, context = house.object(1, "0.0.43.0.0.255"), house.context(1)
    before = house.security.keys()
    wrapped = [aes_key_wrap(house.security.secrets.master_key, bytes(range(n, n + 16))) for n in (1, 2)]

    def keys(*items: tuple[int, bytes]) -> Value:
        return axdr.decode(
            axdr.array([axdr.structure(axdr.enum(n), axdr.octet_string(key)) for n, key in items])
        )

    with pytest.raises(DataAccessError, match="other-reason"):
        await done(setup.act(2, keys((0, wrapped[0]), (2, bytes(24))), context), context)
    assert house.security.keys() == before
    await done(setup.act(2, keys((0, wrapped[0]), (2, wrapped[1])), context), context)
    assert house.security.keys() == (bytes(range(1, 17)), bytes(range(2, 18)))
    assert await house.get(1, "0.0.43.1.0.255") == 0


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        (1, None),
        (1, "1103"),  # unsigned
        (1, "0301"),  # boolean
        (2, None),
        (2, "00"),
        (2, "0100"),  # no key at all
        (2, "020216000901aa"),  # a structure, not an array of them
        (2, "010102011600"),  # one element
        (2, "0101020211000901aa"),  # key_id is no enum
        (2, "010102021600120102"),  # the key is no octet-string
        (2, "0101020316000901aa00"),  # three elements
        (2, "0102020216000901aa00"),  # the second is null
    ],
)
def test_parameters_of_another_type_are_refused(house: House, method: int, parameter: str | None) -> None:
    """type-unmatched, and nothing is changed."""
    value = None if parameter is None else axdr.decode(bytes.fromhex(parameter))
    before = house.security.keys()
    with pytest.raises(DataAccessError, match="type-unmatched"):
        house.object(1, "0.0.43.0.0.255").act(method, value, house.context(1))
    assert house.security.keys() == before
    assert house.security.policy() == 0


async def test_the_password_is_set_in_the_management_device_only(house: House) -> None:
    """As an octet-string; a meter's association has nothing to write."""
    context = house.context(1)
    association = house.object(1, "0.0.40.0.0.255")
    await done(association.write(7, Value(Tag.OCTET_STRING, b"new secret"), context), context)
    assert house.security.lls_password() == b"new secret"
    with pytest.raises(DataAccessError, match="type-unmatched"):
        association.write(7, Value(Tag.LONG_UNSIGNED, 7), context)
    with pytest.raises(DataAccessError, match="read-write-denied"):
        house.object(16, "0.0.40.0.0.255").write(7, Value(Tag.OCTET_STRING, b"x"), house.context(16))


@pytest.mark.parametrize("sap", [1, 16])
async def test_the_clock_is_the_gateways_and_can_be_set(house: House, sap: int) -> None:
    """On every logical device, 12 bytes of local time."""
    assert await house.typed(sap, "0.0.1.0.0.255") == (Tag.OCTET_STRING, cosem_time.encode(START, BERLIN))
    value = Value(Tag.OCTET_STRING, cosem_time.encode(START + 7_200_000, BERLIN))
    assert house.object(sap, "0.0.1.0.0.255").write(2, value, house.context(sap)) is None
    assert house.times == [START + 7_200_000]


async def test_a_mapped_register_has_value_scaler_and_unit(house: House) -> None:
    """The volume of the last telegram."""
    assert await house.get(16, "8.0.1.0.0.255") == await house.bench.volume()
    assert await house.typed(16, "8.0.1.0.0.255", 3) == (
        Tag.STRUCTURE,
        [Value(Tag.INTEGER, -3), Value(Tag.ENUM, 13)],
    )


async def test_a_mapping_cannot_hide_an_object_that_every_meter_has(house: House) -> None:
    """An entry with the name of the logical device is left out."""
    entry = {
        "mbusKeys": ["mbus.dib.0c13.unmodifiedvalue", "mbus.dib.0413.unmodifiedvalue"],
        "dlmsObisCode": "0.0.42.0.0.255", "dlmsClass": "data", "dlmsDataType": 6, "dlmsDefaultValue": "1",
    }  # fmt: skip
    document = {"type": "water", "manufacturer": "all", "version": 0, "entries": [entry]}
    house.bench.meter.remap(parse_mapping(json.dumps(document), "water.json"))
    assert house.bench.meter.objects
    house.show()
    assert await house.get(16, "0.0.42.0.0.255") == METER.encode()


def test_meters_share_the_objects_that_say_the_same_of_all(house: House) -> None:
    """A thousand devices need a thousand times only what is different."""
    meter = house.bench.meter
    other = Meter(
        99, MeterConfig(address="70112346.ELS.0A.07", logical_device=17),
        site=Site("0016000000", BERLIN), clock=house.bench.clock, read=house.bench.read, keys={},
    )  # fmt: skip
    one, two = (
        meter_device(house.facts, item, name, {}).objects
        for item, name in ((meter, METER), (other, "ELS70112346070A"))
    )
    shared = {obis.text(name) for class_id, name in two if one.get((class_id, name)) is two[class_id, name]}
    assert shared == {
        "0.0.41.0.0.255", "0.0.40.0.0.255", "0.0.1.0.0.255", "0.128.1.0.0.255", "0.0.96.1.4.255", "0.0.43.1.0.255",
        "0.0.43.0.0.255", "0.128.42.0.0.255", "0.1.25.9.0.255", "0.2.25.9.0.255", "0.3.25.9.0.255", "0.5.25.9.0.255",
        "0.6.25.9.0.255",
    }  # fmt: skip


def test_a_thousand_devices_stay_small(house: House) -> None:
    """Their objects, 30 each and more, take a small part of the 200 MB that the whole gateway may have."""
    meter = house.bench.meter
    rows = MeterRows(meter, 1, 3600, house.store, RowCache(), Site("0016000000", BERLIN))
    codes = house.facts.codes
    profiles = dict.fromkeys((codes.load_profile_1, codes.load_profile_2, codes.billing_profile), rows)
    tracemalloc.start()
    try:
        devices = [meter_device(house.facts, meter, METER, profiles) for _ in range(1000)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert min(len(device.objects) for device in devices) >= 30
    assert size < 30_000_000


async def test_other_facts_give_another_management_device(house: House) -> None:
    """A gateway whose name changes is seen under the new one, at once; meters come and go without that."""
    before = house.device(1)
    house.directory.set_meters(house.facts, {})
    assert house.device(1) is before
    assert await house.get(1, "1.128.0.0.0.255") == [b"ELV0016000000", []]
    house.directory.set_meters(replace(house.facts, name="ELV0016000001"), {})
    assert await house.get(1, "0.0.42.0.0.255") == b"ELV0016000001"


@pytest.mark.parametrize("code", ["0.0.41.0.0.255", "1.128.0.0.0.255"])
def test_a_list_of_devices_is_made_once_until_others_come(house: House, code: str) -> None:
    """One request may ask for it 512 times, the public client's too: with a thousand meters that took a second."""

    def read() -> object:
        return house.object(1, code).read(2, None, house.context(1))

    before = read()
    assert read() is before
    house.directory.set_meters(house.facts, {})
    assert read() != before


async def test_the_clock_of_a_meter_shows_its_time_and_nothing_else(house: House) -> None:
    """A mapped clock has the local time of the telegram; zone and daylight saving are not made up."""
    entry = {
        "mbusKeys": ["mbus.dib.046d.unmodifiedvalue"],
        "dlmsObisCode": "8.0.0.9.3.255",
        "dlmsClass": "clock",
        "dlmsDataType": 9,
    }
    document = {"type": "water", "manufacturer": "all", "version": 0, "entries": [entry]}
    house.bench.mapping = parse_mapping(json.dumps(document), "water.json")
    house.bench.take()
    house.show()
    clock = house.object(16, "8.0.0.9.3.255")
    encoded = clock.read(2, None, house.context(16))
    assert isinstance(encoded, bytes)
    telegrams = house.bench.meter.decode(house.bench.simulated.telegrams_at(START / 1000))
    sent = next(record.raw for record in telegrams[0].records if record.dib == "046d")
    assert isinstance(sent, datetime)
    shown = encoded[2:]
    assert (int.from_bytes(shown[:2]), *shown[2:4], *shown[5:7]) == sent.timetuple()[:5]
    assert clock.access(1).attributes == (Access.READ, Access.READ, *[Access.NONE] * 7)
