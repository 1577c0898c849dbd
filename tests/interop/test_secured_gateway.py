"""A whole gateway in its own process, with HLS 5 and everything ciphered, as three clients of others see it."""

from __future__ import annotations

import asyncio
import secrets as random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from gateway_process import LIMIT, GatewayProcess

from core import VERSION
from core.config import load_config
from core.config_file import ConfigFile
from core.cosem import datetime as cosem_time
from core.demo import write_config
from core.dlms import axdr
from core.secrets import Secrets, load_secrets
from core.signature import package_signature
from core.store import Event, Log, open_readonly
from tests.interop.library import LIBRARIES, SENT, Client, Library, Tap, another_address

WATER: Final = 16
NAME: Final = (1, "0.0.42.0.0.255", 2)
CHANNEL: Final = (1, "0.128.1.0.0.255", 2)
SECURITY_SETUP: Final = (64, "0.0.43.0.0.255")
STANDARD_LOG, FRAUD_LOG = "0.0.99.98.0.255", "0.0.99.98.1.255"
LOAD_PROFILE: Final = "1.0.99.1.0.255"
EK, AK, KEK = "0", "2", "3"
KEYS: Final = {EK: "encryption_key", AK: "authentication_key", KEK: "master_key"}
TITLES: Final = {name: b"HES" + bytes((0, 0, 0, 0, number)) for number, name in enumerate(LIBRARIES, 1)}
FORMS: Final = {"gurux": "ded", "pydlms": "glo", "dlms_cosem": "general-glo"}
ATTRIBUTES: Final = {1: 2, 3: 3, 7: 8, 8: 9, 15: 9, 17: 2, 40: 7, 64: 5}  # of a class, how many
CANNOT_CHOOSE: Final = {"dlms_cosem"}  # columns, and rows by entry
CANNOT_DECODE: Final = {"dlms_cosem"}  # bit strings
CONTEXT_INFORMATION: Final = (15, "0.0.40.0.0.255", 5)
CHANGING: Final = {
    (8, "0.0.1.0.0.255", 2),
    (1, "0.0.43.1.0.255", 2),
    (*SECURITY_SETUP, 4),  # title of the client
    CONTEXT_INFORMATION,  # its bits are spelled in two ways
}
SECRET: Final = (15, "0.0.40.0.0.255", 7)

NOT_POSSIBLE, NOT_DECIPHERED = [1, 1, None], [1, 5, None]  # state, service, counter of an exception response
AUTHENTICATION_FAILURE, DECRYPTION_FAILURE, REPLAY_ATTACK = 46, 49, 50  # events
PARAMETERS_CHANGED, KEYS_CHANGED = 47, 48
OTHER_REASON, READ_WRITE_DENIED = 250, 3


@pytest.fixture(scope="module")
def signature() -> bytes:
    """Of the program that the gateway runs, taken before it starts."""
    return package_signature()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, signature: bytes) -> Iterator[GatewayProcess]:
    """The demo with HLS and the policy authenticated-encrypted."""
    state_dir = tmp_path_factory.mktemp("secured")
    write_config(state_dir / "config.toml")
    settings: dict[str, object] = {"dlms.authentication": "high", "dlms.policy": "authenticated-encrypted"}
    ConfigFile(state_dir / "config.toml").set_values(settings)
    gateway = GatewayProcess(state_dir, "--demo")
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The demo as it comes: LLS is enough, and nothing has to be ciphered."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("open"), "--demo")
    yield gateway
    assert gateway.stop() == 0


def secrets_of(gateway: GatewayProcess) -> Secrets:
    return load_secrets(gateway.state_dir / "secrets.toml")


def events(gateway: GatewayProcess, log: Log) -> list[Event]:
    """All in a log of the gateway itself, oldest first."""
    with open_readonly(gateway.state_dir / "gateway.db") as store:
        return store.event_entries(None, log, 1, 0)


def last_event(gateway: GatewayProcess, log: Log) -> Event:
    """Code 0 and no message before the first one, as the objects have it."""
    return ([Event(None, log, 0, 0, ""), *events(gateway, log)])[-1]


async def settled(client: Client, gateway: GatewayProcess, log: Log) -> Event:
    """The last event that the client sees; from now on it is on the disk with all before it.

    An event object has its event at once, the disk a moment later.
    """
    number = 0 if log is Log.STANDARD else 1
    names = (f"0.0.96.11.{number}.255", f"0.128.96.11.{number}.255")
    deadline = time.monotonic() + LIMIT
    while True:
        seen = [await client.get(1, name, 2) for name in names]
        event = last_event(gateway, log)
        if seen == [event.code, event.message]:
            return event
        assert time.monotonic() < deadline, (seen, event)
        await asyncio.sleep(0.05)


async def logged(gateway: GatewayProcess, after: Event, codes: list[int]) -> None:
    """Wait until the log of an event has these codes behind it; events are on the disk a moment after they happen."""
    deadline = time.monotonic() + LIMIT
    while (found := [item.code for item in events(gateway, after.log) if item.id > after.id]) != codes:
        assert time.monotonic() < deadline, (found, codes)
        await asyncio.sleep(0.05)


def how(library: Library, gateway: GatewayProcess, tap: Tap | None = None) -> dict[str, Any]:
    """HLS and the form of ciphering of this library, to the management device."""
    secrets = secrets_of(gateway)
    return {
        "port": tap.port if tap else gateway.port, "level": "high", "form": FORMS[library.name],
        "title": TITLES[library.name], "encryption": secrets.encryption_key,
        "authentication": secrets.authentication_key,
    }  # fmt: skip


@asynccontextmanager
async def associated(library: Library, gateway: GatewayProcess, **more: Any) -> AsyncIterator[Client]:
    """A client that knows all keys; the association is released at the end."""
    client = Client(library, "client")
    await client.open(**how(library, gateway) | more)
    try:
        yield client
        await client.release()
    finally:
        await client.drop()


async def refused_open(library: Library, gateway: GatewayProcess, **wrong: Any) -> dict[str, Any]:
    """What a client hears that comes with something wrong, from an address of its own."""
    async with Tap(gateway.port) as tap:
        client = Client(library, "wrong")
        told: dict[str, Any] = await client.refused("open", **how(library, gateway, tap) | wrong)
        await client.drop()
    return told


@pytest.mark.parametrize("device", [1, WATER])
async def test_every_attribute_of_every_object_is_the_same_to_all(
    libraries: dict[str, Library], gateway: GatewayProcess, device: int
) -> None:
    """Three libraries at once read all there is and understand the same, but what changes between two readings and
    what belongs to an association; only the secret cannot be read; logical names are those of the object list."""

    async def read(library: Library) -> dict[tuple[int, str, int], Any]:
        found = {}
        async with associated(library, gateway, server=device) as client:
            for class_id, name in await client.objects():
                for attribute in range(1, ATTRIBUTES[class_id] + 1):
                    item = (class_id, name, attribute)
                    if library.name not in CANNOT_DECODE or item != CONTEXT_INFORMATION:
                        told = await client.refused("get", *item) if item == SECRET else None
                        found[item] = told["access"] if told else await client.get(*item)
        # gurux-dlms has no empty array, it gives None.
        return {item: None if value == [] else value for item, value in found.items()}

    found = await asyncio.gather(*map(read, libraries.values()))
    for values in found:
        assert values[SECRET] == READ_WRITE_DENIED
        assert [value for item, value in values.items() if item[2] == 1] == [
            code(name) for _, name, attribute in values if attribute == 1
        ]
    first, *others = found
    assert len(first) > 80
    for values in others:
        assert values.keys() <= first.keys()
        assert {
            item: value for item, value in values.items() if not changes(item) and value != first[item]
        } == {}


async def test_the_management_device_says_what_the_gateway_is(
    library: Library, gateway: GatewayProcess, signature: bytes
) -> None:
    """Names, meters, titles, versions, address, policy, push setups, last events, counter, clock."""
    config = load_config(gateway.state_dir / "config.toml")
    with open_readonly(gateway.state_dir / "gateway.db") as store:
        own = config.gateway.flag_id + (config.gateway.serial or store.serial())
    async with associated(library, gateway) as client:
        name = await client.get(*NAME)
        assert bytes.fromhex(name) == own.encode()
        saps = await client.get(17, "0.0.41.0.0.255", 2)
        assert [sap for sap, _ in saps] == [1, *range(16, 24)]
        assert saps[0] == [1, name]
        meters = [[meter, sap] for sap, meter in saps[1:]]
        assert bytes.fromhex(meters[0][0]) == b"ELS70112345070A"
        assert await client.get(1, "1.128.0.0.0.255", 2) == [name, meters]
        title = await client.get(1, "0.0.96.1.0.255", 2)
        assert title == config.gateway.system_title.hex()
        assert bytes.fromhex(await client.get(1, "1.0.0.2.0.255", 2)) == VERSION.encode()
        assert bytes.fromhex(await client.get(1, "1.1.0.2.8.255", 2)) == signature
        assert await client.get(1, "0.0.96.128.0.255", 2) == 0x7F000001
        assert await client.get(1, "0.0.96.1.4.255", 2) == ""
        assert await client.get(*CHANNEL) == 1
        setup = [await client.get(*SECURITY_SETUP, attribute) for attribute in range(2, 6)]
        assert setup == [3, 0, TITLES[library.name].hex(), title]
        for log in Log:
            await settled(client, gateway, log)
        for push, about in (("0.4.25.9.0.255", STANDARD_LOG), ("0.8.25.9.0.255", FRAUD_LOG)):
            assert await client.get(40, push, 2) == [
                [1, code("0.0.42.0.0.255"), 2, 0], [40, code(push), 1, 0], [7, code(about), 1, 0],
                [7, code(about), 2, 0],
            ]  # fmt: skip
            assert await client.get(40, push, 3) == [0, "", 0]  # nowhere: no push is configured
        counter = await client.get(1, "0.0.43.1.0.255", 2)
        assert counter >= (0 if FORMS[library.name] == "ded" else await client.counter() - 1)
        public = Client(library, "public")
        await public.open(port=gateway.port, client=16)
        assert await public.get(1, "0.0.43.1.0.255", 2) >= counter
        await public.drop()
        now = cosem_time.decode(bytes.fromhex(await client.get(8, "0.0.1.0.0.255", 2)), UTC)
        assert abs(now / 1000 - time.time()) < LIMIT


async def test_a_meter_device_says_what_the_meter_is(library: Library, gateway: GatewayProcess) -> None:
    """By its own association and by a selected channel alike; a channel that is not there changes nothing."""

    async def identity(client: Client) -> list[Any]:
        names = ("0.0.42.0.0.255", "0.128.42.0.0.255", "1.0.0.2.0.255", "0.0.96.1.1.255", "0.0.96.1.2.255")
        return [await client.get(1, name, 2) for name in names]

    async with associated(library, gateway) as client:
        own = await client.get(*NAME)
        await client.set(*CHANNEL, axdr.long_unsigned(WATER))
        selected = await identity(client)
        assert (await client.refused("set", *CHANNEL, axdr.long_unsigned(999)))["access"] == READ_WRITE_DENIED
        assert await client.get(*CHANNEL) == WATER
        told = await client.refused("transfer_keys", bytes(16), {EK: bytes(range(16))})
        assert told["access"] == READ_WRITE_DENIED  # keys change in the management device
        await client.set(*CHANNEL, axdr.long_unsigned(1))
        assert await client.get(*NAME) == own
    async with associated(library, gateway, server=WATER) as client:
        assert await identity(client) == selected
    texts = [bytes.fromhex(item) for item in (*selected[:2], selected[3])]
    assert texts == [b"ELS70112345070A", bytes.fromhex(own), b"ELS"]
    assert selected[4] == 0x07  # water


async def test_a_load_profile_is_read_by_range_columns_and_entry(
    libraries: dict[str, Library], gateway: GatewayProcess
) -> None:
    """All libraries at once, each over its own ciphered association: the same rows for all of them."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    start = end - timedelta(hours=12)

    async def read(library: Library) -> dict[str, Any]:
        async with associated(library, gateway, server=WATER) as client:
            columns = [
                (class_id, ".".join(map(str, bytes.fromhex(name))), attribute, index)
                for class_id, name, attribute, index in await client.get(7, LOAD_PROFILE, 3)
            ]
            found = {"range": await client.rows_by_range(LOAD_PROFILE, start, end)}
            if library.name not in CANNOT_CHOOSE:
                two = columns[:2]
                found["columns"] = await client.rows_by_range(LOAD_PROFILE, start, end, two)
                found["first"] = await client.rows_by_entry(LOAD_PROFILE, 1, 10)
                found["chosen"] = await client.rows_by_entry(LOAD_PROFILE, 1, 10, two)
        return found

    found = dict(zip(libraries, await asyncio.gather(*map(read, libraries.values())), strict=True))
    rows = found["pydlms"]["range"]
    assert len(rows) == 12 * 4 + 1
    times = [cosem_time.decode(bytes.fromhex(row[0]), UTC) for row in rows]
    assert times == sorted(set(times))
    for library, answer in found.items():
        assert answer["range"] == rows
        if library not in CANNOT_CHOOSE:
            assert answer["columns"] == [row[:2] for row in rows]
            assert answer["first"] == found["pydlms"]["first"]
            assert answer["chosen"] == [row[:2] for row in answer["first"]]


@pytest.mark.parametrize(("log", "name"), [(Log.STANDARD, STANDARD_LOG), (Log.FRAUD, FRAUD_LOG)])
async def test_an_event_log_is_read_by_range_and_entry(
    library: Library, gateway: GatewayProcess, log: Log, name: str
) -> None:
    """Time and code of each event, as they are in the database."""
    await refused_open(library, gateway, encryption=bytes(16))
    zone = load_config(gateway.state_dir / "config.toml").gateway.zone
    first, last = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    async with associated(library, gateway) as client:
        await settled(client, gateway, log)
        expected = [[cosem_time.encode(item.time_ms, zone).hex(), item.code] for item in events(gateway, log)]
        assert expected
        assert await client.rows_by_range(name, first, last) == expected
        assert await client.get(7, name, 7) == len(expected)
        if library.name not in CANNOT_CHOOSE:
            assert await client.rows_by_entry(name, 1, 1) == expected[:1]


async def test_keys_are_transferred(library: Library, gateway: GatewayProcess) -> None:
    """EK, AK, KEK, and all three. Under a wrong KEK, or as a key that is in use, none changes; then all of them do:
    in secrets.toml, for the old keys, which are refused, and for the new ones, with counters that begin again."""
    async with associated(library, gateway) as client:
        begin = await settled(client, gateway, Log.FRAUD)
    for numbers in ([EK], [AK], [KEK], [EK, AK, KEK]):
        before = secrets_of(gateway)
        new = {number: random.token_bytes(16) for number in numbers}
        async with associated(library, gateway) as client:
            in_use = {
                EK: before.authentication_key,
                AK: before.encryption_key,
                KEK: new.get(AK, before.encryption_key),
            }
            for master, keys in (
                (bytes(16), new),
                (before.master_key, new | {numbers[-1]: in_use[numbers[-1]]}),
            ):
                told = await client.refused("transfer_keys", master, keys)
                assert told["access"] == OTHER_REASON
            assert secrets_of(gateway) == before
            assert await client.get(*NAME)
            await client.transfer_keys(before.master_key, new)
            after = secrets_of(gateway)
            for number, name in KEYS.items():
                assert getattr(after, name) == new.get(number, getattr(before, name))
            # The association goes on under the new keys only, which the library does not take over by itself.
            if numbers == [KEK]:
                assert await client.get(*NAME)
            else:
                assert (await client.refused("get", *NAME))["exception"] == NOT_DECIPHERED
                await client.drop()
                old = {"encryption": before.encryption_key, "authentication": before.authentication_key}
                assert (await refused_open(library, gateway, **old))["exception"] == NOT_DECIPHERED
                await client.open(**how(library, gateway))
            assert await client.get(*NAME)
    changed_in_use = [KEYS_CHANGED, DECRYPTION_FAILURE, DECRYPTION_FAILURE]
    await logged(gateway, begin, [*changed_in_use, *changed_in_use, KEYS_CHANGED, *changed_in_use])


async def test_what_is_refused_is_logged(library: Library, gateway: GatewayProcess) -> None:
    """Wrong EK, wrong AK, no ciphering, and frames that were recorded on the way and come again byte for byte:
    the clients are told in their words, nothing is done, and the fraud log has a row for each."""
    async with Tap(gateway.port) as tap:
        client = Client(library, "client")
        choice = how(library, gateway, tap) | {"form": "general-glo"}
        await client.open(**choice)
        begin = await settled(client, gateway, Log.FRAUD)
        for key in ("encryption", "authentication"):
            assert (await refused_open(library, gateway, **{key: bytes(16)}))["exception"] == NOT_DECIPHERED
        plain = {"level": "low", "form": "plain", "password": secrets_of(gateway).lls_password}
        assert (await refused_open(library, gateway, **plain))["rejected"] == 2
        await client.set(*CHANNEL, axdr.long_unsigned(WATER))
        recorded = [frame for way, frame in tap.frames if way == SENT]
        await client.set(*CHANNEL, axdr.long_unsigned(1))
        last = await client.counter() - 1
        stale = bytes.fromhex("d80106") + last.to_bytes(4, "big")
        assert await tap.inject(recorded[-1]) == stale
        assert await client.get(*CHANNEL) == 1
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, local_addr=(another_address(), 0)
        )
        writer.write(recorded[0])  # the AARQ
        async with asyncio.timeout(LIMIT):
            header = await reader.readexactly(8)
            answer = await reader.readexactly(int.from_bytes(header[6:], "big"))
        writer.close()
        assert answer[:3] == stale[:3]
        assert int.from_bytes(answer[3:], "big") > last
        await client.release()
        await client.drop()
    await logged(
        gateway, begin,
        [DECRYPTION_FAILURE, DECRYPTION_FAILURE, AUTHENTICATION_FAILURE, REPLAY_ATTACK, REPLAY_ATTACK],
    )  # fmt: skip


async def test_a_client_that_lost_its_counter_goes_on(library: Library, gateway: GatewayProcess) -> None:
    """The exception names the last one that counted."""
    async with associated(library, gateway) as client:
        await client.get(*NAME)
    told = await refused_open(library, gateway, counter=1, afresh=True)
    state, service, last = told["exception"]
    assert (state, service) == (1, 6)
    async with associated(library, gateway, counter=last + 1, afresh=True) as client:
        assert await client.get(*NAME)


async def test_the_lls_secret_changes(library: Library, open_gateway: GatewayProcess) -> None:
    """It is written; the old one is refused from then on, the new one works, and secrets.toml has it."""
    gateway = open_gateway
    old = secrets_of(gateway).lls_password
    new = random.token_hex(12)
    low = {"level": "low", "password": old}
    async with associated(library, gateway, **low | {"form": "general-glo"}) as client:
        begin = await settled(client, gateway, Log.STANDARD)
        await client.set(*SECRET, axdr.octet_string(new.encode()))
        assert await client.get(*NAME)
    assert secrets_of(gateway).lls_password == new
    told = await refused_open(library, gateway, **low | {"form": "plain"})
    assert told["rejected"] == 13  # authentication failure
    async with associated(library, gateway, level="low", password=new, form="plain") as client:
        assert await client.get(*NAME)
        assert (await client.refused("set", *SECRET, axdr.octet_string(b"")))["access"] == OTHER_REASON
    assert secrets_of(gateway).lls_password == new
    await logged(gateway, begin, [PARAMETERS_CHANGED])


async def test_the_policy_is_raised(
    library: Library, libraries: dict[str, Library], open_gateway: GatewayProcess
) -> None:
    """By security_activate: plain requests and associations are refused from then on, ciphered ones go on, and it is
    not lowered again but at the gateway itself."""
    gateway = open_gateway
    low = {"level": "low", "password": secrets_of(gateway).lls_password, "form": "plain"}
    other = Client(libraries[next(name for name in LIBRARIES if name != library.name)], "plain")
    await other.open(port=gateway.port, **low)
    assert await other.get(*NAME)
    async with associated(library, gateway, form="general-glo") as client:
        await client.act(*SECURITY_SETUP, 1, axdr.enum(3))
        assert await client.get(*SECURITY_SETUP, 2) == 3
        assert (await other.refused("get", *NAME))["exception"] == NOT_POSSIBLE
        await other.drop()
        assert (await refused_open(library, gateway, **low))["rejected"] == 2
        for policy in (0, 1, 2):
            assert "access" in await client.refused("act", *SECURITY_SETUP, 1, axdr.enum(policy))
        assert await client.get(*SECURITY_SETUP, 2) == 3
    assert load_config(gateway.state_dir / "config.toml").dlms.policy == "authenticated-encrypted"
    ConfigFile(gateway.state_dir / "config.toml").set_values({"dlms.policy": "none"})
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for("Configuration reloaded")
    async with associated(library, gateway, **low) as client:
        assert await client.get(*SECURITY_SETUP, 2) == 0


def changes(item: tuple[int, str, int]) -> bool:
    """Whether two clients may find different values in an attribute, or spell them differently."""
    class_id, name, attribute = item
    moving = (class_id == 7 and attribute in (2, 7)) or (class_id == 3 and attribute == 2)
    return moving or name.startswith(("0.0.96.11.", "0.128.96.11.")) or item in CHANGING


def code(name: str) -> str:
    """A logical name as the clients report it."""
    return bytes(map(int, name.split("."))).hex()
