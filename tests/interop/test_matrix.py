"""Three DLMS clients that others wrote: every authentication, every form of ciphering, every service.

What the libraries can, besides reading one attribute, in blocks too, and writing and invoking what is short:

|                                 | gurux-dlms 1.0.203   | pydlms-client 0.1   | dlms-cosem 25.1     |
|---------------------------------|----------------------|---------------------|---------------------|
| none, LLS                       | yes                  | yes                 | yes                 |
| HLS 5                           | yes                  | yes                 | ciphered only       |
| glo, ded, general-ded           | yes                  | yes                 | no                  |
| general-glo                     | yes                  | yes                 | yes                 |
| security control 10             | yes                  | yes                 | no                  |
| verifies tags / counters        | of control 10 / no   | yes                 | yes                 |
| lists: GET / SET / ACTION       | yes / no (1) / no    | yes                 | yes / no / no       |
| long SET and ACTION, in blocks  | yes (2)              | yes                 | no                  |
| general block transfer          | no (3)               | yes                 | no                  |
| rows: range / columns / entry   | yes / yes / yes (4)  | yes                 | yes / no / no       |

(1) calls a method that its items do not have; (2) its ciphered blocks are larger than the server takes, so that its
script makes room; (3) its own first block is too large, and it fails over the acknowledgement; (4) sends the number of
columns for the last column, so that the choice must begin with the first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from dlms_actor import ECHO, PLAIN, Actor
from dlms_plant import FIRST_ROW_MS, KEYS, METER_NAMES, PASSWORD, STEP_MS, Plant

from core.dlms import axdr, security
from core.dlms.admission import Level, Policy
from core.dlms.limits import ServerLimits
from core.dlms.server import DlmsServer
from tests.interop.library import LIBRARIES, RECEIVED, SENT, Client, Library, Tap
from tests.interop.test_interop import row

NAME: Final = (1, "0.0.42.0.0.255", 2)
ZONE: Final = (8, "0.0.1.0.0.255", 3)
NOTE: Final = (1, "8.0.6.0.0.255", 2)
BROKEN: Final = (3, "8.0.3.0.0.255", 2)
ACTOR: Final = (70, "0.0.96.3.10.255")
PROFILE: Final = "1.0.99.1.0.255"
FIRST_AND_LAST: Final = [(8, "0.0.1.0.0.255", 2, 0), (3, "8.0.1.0.1.255", 2, 0)]  # columns 1 and 3
FIRST_TWO: Final = [(8, "0.0.1.0.0.255", 2, 0), (3, "8.0.1.0.0.255", 2, 0)]
LONG: Final = bytes(number % 251 for number in range(1500))

LEVELS: Final = ("none", "low", "high")
FORMS: Final = ("plain", "glo", "ded", "general-glo", "general-ded")
SERVICES: Final = {  # tags of requests and answers
    "plain": ({0xC0, 0xC1, 0xC3}, {0xC4, 0xC5, 0xC7}),
    "glo": ({0xC8, 0xC9, 0xCB}, {0xCC, 0xCD, 0xCF}),
    "ded": ({0xD0, 0xD1, 0xD3}, {0xD4, 0xD5, 0xD7}),
    "general-glo": ({0xDB}, {0xDB}),
    "general-ded": ({0xDC}, {0xDC}),
}
CASES: Final = [
    (library, level, form, control)
    for library, level, form, control in itertools.product(LIBRARIES, LEVELS, FORMS, (0x10, 0x30))
    if (form, control) != ("plain", 0x10)
    and (library != "dlms_cosem" or (form in ("plain", "general-glo") and control == 0x30))
    and (library, level, form) != ("dlms_cosem", "high", "plain")
]
CANNOT: Final[dict[str, set[str]]] = {
    "gurux": {"set_list", "act_list"},
    "pydlms": set(),
    "dlms_cosem": {"set_list", "act_list", "long", "columns", "by_entry"},
}
NOT_DECIPHERED: Final = [1, 5, None]  # state, service, counter of the exception response

_titles = (b"HES" + number.to_bytes(5, "big") for number in itertools.count(1))


@pytest.fixture
def plant() -> Plant:
    return Plant(rows=120, lowest=Level.NONE)


@pytest.fixture
def actor(plant: Plant) -> Actor:
    return Actor.in_plant(plant)


@pytest.fixture
async def server(plant: Plant, actor: Actor) -> AsyncIterator[DlmsServer]:
    limits = ServerLimits(apdu=512, rejection=0.01, slowdown=0.01, slowdown_most=0.02)
    server = plant.server(limits)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def tap(server: DlmsServer) -> AsyncIterator[Tap]:
    async with Tap(server.port) as tap:
        yield tap


def how(tap: Tap, level: str = "high", form: str = "general-glo", control: int = 0x30) -> dict[str, Any]:
    """A choice of a client that nobody has met yet."""
    return {
        "port": tap.port, "server": 16, "level": level, "form": form, "control": control,
        "password": PASSWORD.decode() if level == "low" else "", "title": next(_titles),
        "encryption": KEYS.encryption, "authentication": KEYS.authentication, "pdu": 300,
    }  # fmt: skip


def time(number: int) -> datetime:
    """Of a row of the plant."""
    return datetime.fromtimestamp((FIRST_ROW_MS + number * STEP_MS) / 1000, UTC)


def rows(first: int, last: int, *columns: int) -> list[list[object]]:
    """Rows of the plant as the clients report them."""
    return [[row(number)[column] for column in columns or (0, 1, 2)] for number in range(first, last + 1)]


async def works(client: Client, cannot: set[str], plant: Plant, actor: Actor) -> None:
    """Every service that the library has, also in blocks, and refusals in between."""
    name = METER_NAMES[16].encode().hex()
    assert await client.get(*NAME) == name
    assert await client.get_list([NAME, ZONE]) == [name, -60]
    assert len(await client.objects()) == 14
    assert await client.rows_by_range(PROFILE, time(10), time(99)) == rows(10, 99)
    if "columns" not in cannot:
        chosen = await client.rows_by_range(PROFILE, time(10), time(19), FIRST_AND_LAST)
        assert chosen == rows(10, 19, 0, 2)
    if "by_entry" not in cannot:
        assert await client.rows_by_entry(PROFILE, 2, 4, FIRST_TWO) == rows(1, 3, 0, 1)
    sizes = [3] if "long" in cannot else [3, len(LONG)]
    for size in sizes:
        value = axdr.octet_string(LONG[:size])
        await client.set(*NOTE, value)
        assert plant.note == value
        assert await client.get(*NOTE) == LONG[:size].hex()
        assert await client.act(*ACTOR, ECHO, value) == LONG[:size].hex()
    assert actor.done == [LONG[:size] for size in sizes]
    short = axdr.octet_string(b"short")
    if "set_list" not in cannot:
        many = [(*NOTE, short), (1, "8.0.6.0.0.255", 9, short), (*NOTE, axdr.octet_string(LONG[:700]))]
        assert await client.set_list(many) == [0, 4, 0]  # object undefined
        assert plant.note == axdr.octet_string(LONG[:700])
    if "act_list" not in cannot:
        many = [(*ACTOR, PLAIN, axdr.octet_string(LONG[:400]))] * 2 + [(*ACTOR, ECHO, short)]
        assert await client.act_list(many) == [None, None, b"short".hex()]
    assert (await client.refused("get", *BROKEN))["access"] == 250  # other reason
    assert (await client.refused("set", *NAME, short))["access"] == 3  # read-write denied
    assert await client.get(*NAME) == name


@pytest.mark.parametrize(
    ("name", "level", "form", "control"),
    CASES,
    ids=lambda value: f"{value:x}" if value in (16, 48) else value,
)
async def test_every_service_in_every_association(
    libraries: dict[str, Library],
    plant: Plant,
    actor: Actor,
    tap: Tap,
    name: str,
    level: str,
    form: str,
    control: int,
) -> None:
    """In blocks and lists, too; after a release the client comes back over the same connection.

    What goes over the wire has the form that was chosen, is ciphered both ways alike, and no counter comes twice.
    """
    client = Client(libraries[name], "client")
    await client.open(**how(tap, level, form, control))
    services = len(tap.frames)
    await works(client, CANNOT[name], plant, actor)
    assert_protected(tap.frames[services:], form, control)
    await client.release()
    await client.again()
    assert await client.get(*NAME) == METER_NAMES[16].encode().hex()
    await client.release()
    await client.drop()


def assert_protected(frames: list[tuple[str, bytes]], form: str, control: int) -> None:
    """All of them in this form; the counters of each side rise."""
    requests, answers = SERVICES[form]
    apdus = [(way, frame[8:]) for way, frame in frames]
    assert {apdu[0] for way, apdu in apdus if way == SENT} == requests
    assert {apdu[0] for way, apdu in apdus if way == RECEIVED} == answers
    if form == "plain":
        return
    kind = next(kind for kind in security.SERVICE_CIPHERINGS.values() if kind.label == form)
    for direction in (SENT, RECEIVED):
        found = [security.decode_ciphered(apdu, kind) for way, apdu in apdus if way == direction]
        assert {message.control for message in found} == {control}
        counters = [message.counter for message in found]
        assert counters == sorted(set(counters))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", [1, 5])
async def test_general_blocks_around_ciphering(
    libraries: dict[str, Library], plant: Plant, actor: Actor, tap: Tap, form: str, window: int
) -> None:
    """Long requests and answers go in general blocks, ciphered as a whole, with and without streaming."""
    client = Client(libraries["pydlms"], "client")
    await client.open(**how(tap, "high", form), window=window)
    await works(client, set(), plant, actor)
    for direction in (SENT, RECEIVED):
        assert 0xE0 in {apdu[0] for apdu in tap.apdus(direction)}
    await client.release()
    await client.drop()


async def test_a_policy_wants_everything_authenticated_and_encrypted(
    library: Library, plant: Plant, tap: Tap
) -> None:
    """Plain associations and weaker ciphering are refused so that the client understands it; the rest goes on."""
    plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
    client = Client(library, "client")
    for level in ("none", "low"):
        refused = await client.refused("open", **how(tap, level, "plain"))
        assert refused["rejected"] == 2  # application context name not supported
    if library.name != "dlms_cosem":
        refused = await client.refused("open", **how(tap, "high", "glo", 0x10))
        assert refused["exception"] == NOT_DECIPHERED
    for level in ("low", "high"):
        await client.open(**how(tap, level))
        assert await client.get(*NAME) == METER_NAMES[16].encode().hex()
    await client.drop()


@pytest.mark.parametrize("key", ["encryption", "authentication"])
@pytest.mark.parametrize("level", ["low", "high"])
async def test_a_wrong_key_is_told(library: Library, tap: Tap, key: str, level: str) -> None:
    """As a deciphering error, and the right one works afterwards."""
    client = Client(library, "client")
    choice = how(tap, level)
    refused = await client.refused("open", **choice | {key: bytes(16)})
    assert refused["exception"] == NOT_DECIPHERED
    await client.open(**choice)
    assert await client.get(*NAME) == METER_NAMES[16].encode().hex()
    await client.drop()


async def test_a_wrong_key_proves_nothing(libraries: dict[str, Library], tap: Tap) -> None:
    """HLS without ciphering: the second step is denied to a client with another authentication key."""
    client = Client(libraries["pydlms"], "client")
    choice = how(tap, "high", "plain")
    refused = await client.refused("open", **choice | {"authentication": bytes(16)})
    assert "READ_WRITE_DENIED" in refused["text"]
    await client.open(**choice)
    await client.drop()


async def test_a_counter_that_goes_back_is_told(library: Library, tap: Tap) -> None:
    """With the last one that counted, from which the client can go on."""
    client = Client(library, "client")
    choice = how(tap)
    await client.open(**choice, counter=700)
    assert await client.get(*NAME) == METER_NAMES[16].encode().hex()
    last = await client.counter() - 1
    assert last > 701
    for counter in (1, last):
        refused = await client.refused("open", **choice, counter=counter, afresh=True)
        assert refused["exception"] == [1, 6, last]
    await client.open(**choice, counter=last + 1, afresh=library.name != "pydlms")
    assert await client.get(*NAME) == METER_NAMES[16].encode().hex()
    await client.drop()


async def test_clients_do_not_disturb_each_other(libraries: dict[str, Library], server: DlmsServer) -> None:
    """All three libraries at once, each with a title, counters, a selected channel and a form of its own."""
    async with Tap(server.port) as tap:
        clients = {name: Client(library, "client") for name, library in libraries.items()}
        forms = {"gurux": "ded", "pydlms": "general-ded", "dlms_cosem": "general-glo"}
        await asyncio.gather(
            *(client.open(**how(tap, "high", forms[name])) for name, client in clients.items())
        )
        await clients["pydlms"].set(1, "0.128.1.0.0.255", 2, axdr.long_unsigned(17))
        for _ in range(5):
            names = await asyncio.gather(*(client.get(*NAME) for client in clients.values()))
            assert dict(zip(clients, names, strict=True)) == {
                name: METER_NAMES[17 if name == "pydlms" else 16].encode().hex() for name in clients
            }
        await asyncio.gather(*(client.release() for client in clients.values()))
        for client in clients.values():
            await client.drop()
