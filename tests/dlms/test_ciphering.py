"""Ciphered requests and answers over real sockets: every form, every refusal, keys and policies that change."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator

import pytest
from dlms_plant import (
    KEYS,
    NAME,
    NOTE,
    PASSWORD,
    PROFILE,
    SLOW,
    TITLE,
    Context,
    Counters,
    Data,
    Plant,
)
from dlms_wire import (
    AARQ_LLS,
    AARQ_NONE,
    CLIENT_TITLE,
    CTOS,
    INITIATE,
    MALFORMED,
    NOT_POSSIBLE,
    RLRQ,
    CipheredWire,
    Wire,
    aarq_of,
    ber,
    get,
    set_,
)
from test_associations import ACCEPTED, Diary, refused
from test_gbt import Client

from core.dlms import axdr
from core.dlms.admission import Keys, Level, Policy
from core.dlms.connection import Connection
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer
from core.dlms.security import DED, GENERAL_DED, GENERAL_GLO, GLO, Ciphering, Suite, encode_ciphered
from core.dlms.server import DlmsServer
from core.dlms.throttle import Throttle
from core.dlms.wrapper import frame

FORMS = (GLO, DED, GENERAL_GLO, GENERAL_DED)
QUICK = ServerLimits(rejection=0.01, slowdown=0.01, slowdown_most=0.02)
DEDICATED = bytes(range(0x20, 0x30))
NOT_DECIPHERED = bytes.fromhex("d80105")
NAMED = bytes.fromhex("c401c100") + axdr.octet_string(b"HYD123456780725")
OTHER_KEYS = Keys(bytes(range(0x40, 0x50)), bytes(range(0x50, 0x60)))


def stale(last: int) -> bytes:
    return bytes.fromhex("d80106") + last.to_bytes(4, "big")


class Watch(Diary):
    """Keeps what the server tells of ciphering, too, and every APDU if asked."""

    def __init__(self, *, tracing: bool = False) -> None:
        super().__init__()
        self.tracing = tracing
        self.apdus: list[tuple[str, bytes, str, int]] = []

    def not_deciphered(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        self.lines.append(f"not deciphered {client_sap} {sap}")

    def replayed(self, peer: str, client_sap: int, sap: int, counter: int, last: int) -> None:
        self.lines.append(f"replayed {client_sap} {sap} {counter} {last}")

    def apdu(
        self, peer: str, client_sap: int, sap: int, apdu: bytes, *, sent: bool, protection: str, size: int
    ) -> None:
        self.apdus.append(("sent" if sent else "received", apdu, protection, size))


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def watched(plant: Plant, watch: Watch) -> AsyncIterator[DlmsServer]:
    """A quick server that tells what it sees."""
    server = plant.server(QUICK, watch)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def wire(watched: DlmsServer) -> AsyncIterator[CipheredWire]:
    """An association with HLS 5 and a dedicated key."""
    async with CipheredWire(watched.port, dedicated=DEDICATED) as wire:
        assert (await wire.open())[:4] == bytes.fromhex("c701c100")
        yield wire


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("control", [0x10, 0x30])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
async def test_requests_and_answers_are_ciphered_alike(
    plant: Plant, watched: DlmsServer, wire: CipheredWire, form: Ciphering, control: int, policy: Policy
) -> None:
    """Read, write and invoke in each form; the policy wants both authentication and encryption."""
    plant.access.protection = policy
    name = get(1, NAME, 2)
    answer = await wire.ask(wire.cipher(name, form, control))
    if policy is Policy.AUTHENTICATED_ENCRYPTED and control != 0x30:
        assert answer == NOT_DECIPHERED
        return
    assert answer[0] == (0xC4 + form.offset if form.offset else form.tag)
    assert control == answer[2 if form.offset else 11]
    assert wire.decipher(answer, form) == NAMED
    written = await wire.ask_ciphered(set_(1, NOTE, 2, axdr.octet_string(b"ciphered")), form, control)
    assert written == bytes.fromhex("c501c100")
    assert await wire.ask_ciphered(get(1, NOTE, 2), form, control) == (
        bytes.fromhex("c401c100") + axdr.octet_string(b"ciphered")
    )
    (session,) = watched.sessions()
    assert session.ciphering == form.label


@pytest.mark.parametrize(("mechanism", "secret"), [(0, None), (1, PASSWORD), (5, None)])
async def test_every_authentication_goes_with_ciphering(
    plant: Plant, server: DlmsServer, mechanism: int, secret: bytes | None
) -> None:
    """Where the lowest level admits it and the client has a system title."""
    plant.access.lowest = Level.NONE
    plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
    async with CipheredWire(server.port) as wire:
        aare = await wire.associate(mechanism, secret)
        assert ber(aare[2:])[0xA1] == bytes.fromhex("060760857405080103")
        assert wire.server_title == TITLE
        assert aare[0] == 0x61
        information = ber(aare[2:])[0xBE][2:]
        assert information[0] == 0x28
        assert wire.decipher(information, INITIATE)[:2] == bytes.fromhex("0800")
        if mechanism == 5:
            await wire.ask_ciphered(wire.reply())
        assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


@pytest.mark.parametrize("mechanism", [0, 1, 5])
@pytest.mark.parametrize("title", [b"", CLIENT_TITLE[:7], TITLE])
async def test_ciphering_needs_a_system_title(
    plant: Plant, server: DlmsServer, mechanism: int, title: bytes
) -> None:
    """Of 8 bytes, and not the gateway's own."""
    plant.access.lowest = Level.NONE
    secret = {0: None, 1: PASSWORD, 5: b"K56iVagY"}[mechanism]
    async with Wire(server.port) as wire:
        assert refused(await wire.ask(aarq_of(mechanism, secret, bytes(40), title=title, ciphered=True))) == 3


async def test_the_password_is_not_looked_at_before_the_keys(watch: Watch, watched: DlmsServer) -> None:
    """Who lacks the keys cannot find out whether a password is right."""
    for secret in (PASSWORD, b"wrong"):
        async with CipheredWire(watched.port, encryption=bytes(16)) as wire:
            assert await wire.open(1, secret) == NOT_DECIPHERED
    async with CipheredWire(watched.port) as wire:
        assert refused(await wire.open(1, b"wrong")) == 13


async def test_the_public_client_stays_in_clear(plant: Plant, server: DlmsServer) -> None:
    """Under every policy, and only there; the management client then needs ciphering."""
    plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
    async with CipheredWire(server.port, client=16) as wire:
        assert refused(await wire.associate(0)) == 2
        assert ACCEPTED in await wire.ask(AARQ_NONE)
        assert await wire.ask(get(1, NAME, 2)) == NAMED
    async with Wire(server.port) as plain:
        assert refused(await plain.ask(AARQ_LLS)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"encryption": bytes(16)},
        {"authentication": bytes(16)},
        {"title": bytes.fromhex("4D4D4D0000000002")},
    ],
)
async def test_an_aarq_under_wrong_keys_is_not_deciphered(
    plant: Plant, watch: Watch, watched: DlmsServer, change: dict[str, bytes]
) -> None:
    """D8 01 05, told to the gateway; a title is free to choose, keys are not."""
    async with CipheredWire(watched.port, **change) as wire:  # type: ignore[arg-type]
        answer = await wire.associate()
        if "title" in change:
            assert answer[0] == 0x61
            return
        assert answer == NOT_DECIPHERED
        assert watch.lines == ["connected", "not deciphered 1 16"]
        assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE
    assert plant.access.counters.accepted == {}  # a counter that nobody proved is not taken


async def test_an_aarq_that_is_replayed_is_refused(watch: Watch, watched: DlmsServer) -> None:
    """With the last counter, so that a client out of step finds back."""
    async with CipheredWire(watched.port) as wire:
        recorded = wire.aarq()
        assert (await wire.ask(recorded))[0] == 0x61
        assert await wire.ask(recorded) == stale(1)
        wire.counter = 10
        await wire.open()
        assert await wire.ask(recorded) == stale(wire.counter)
        assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE
    assert watch.lines[1] == "replayed 1 16 1 1"


async def test_an_aarq_whose_initiate_request_is_plain_is_refused(watch: Watch, watched: DlmsServer) -> None:
    """The context with ciphering holds from the first APDU on."""
    plain = bytes.fromhex("01000000065f1f0400007e1f0000")
    async with Wire(watched.port) as wire:
        aarq = aarq_of(1, PASSWORD, plain, title=CLIENT_TITLE, ciphered=True)
        assert await wire.ask(aarq) == NOT_DECIPHERED
        aarq = aarq_of(1, PASSWORD, Suite(*KEYS).protect(0x30, CLIENT_TITLE, 1, plain), title=CLIENT_TITLE)
        assert await wire.ask(aarq) == MALFORMED  # and without ciphering there is nothing to decipher


async def test_an_aarq_that_is_not_deciphered_counts_as_a_failure(plant: Plant) -> None:
    """It is answered late, and slows the peer down like a wrong password."""
    server = plant.server(ServerLimits(rejection=0.4, slowdown=0.0))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as good, CipheredWire(server.port, encryption=bytes(16)) as bad:
        await good.ask(AARQ_LLS)
        bad.send(bad.aarq())
        refusal = asyncio.ensure_future(bad.receive())
        for _ in range(20):
            await good.ask(get(1, NAME, 2))
        assert not refusal.done()
        assert await refusal == NOT_DECIPHERED
    await server.stop()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
@pytest.mark.parametrize("control", [0x00, 0x20, 0x11, 0x31, 0x70, 0x50, 0xB0, 0x90, 0xFF])
async def test_a_protection_that_is_not_allowed_is_refused(
    watch: Watch, wire: CipheredWire, form: Ciphering, control: int
) -> None:
    """Without the authentication bit, of another suite, under the broadcast key, compressed: however genuine."""
    assert await wire.ask(wire.cipher(get(1, NAME, 2), form, control)) == NOT_DECIPHERED
    assert watch.lines[-1] == "not deciphered 1 16"
    assert await wire.ask_ciphered(get(1, NAME, 2), form, 0x30) == NAMED


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
@pytest.mark.parametrize("control", [0x10, 0x30])
async def test_a_changed_byte_anywhere_is_noticed(wire: CipheredWire, form: Ciphering, control: int) -> None:
    """Nothing is written; the association goes on, and the counter of the forgery is not taken."""
    apdu = wire.cipher(set_(1, NOTE, 2, axdr.octet_string(b"forged")), form, control)
    for place in range(len(apdu)):
        forged = bytearray(apdu)
        forged[place] ^= 0x01
        assert (await wire.ask(bytes(forged)))[:1] == b"\xd8"
    assert await wire.ask_ciphered(get(1, NOTE, 2), form) == (
        bytes.fromhex("c401c100") + axdr.octet_string(b"as delivered")
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
async def test_an_apdu_that_is_cut_short_is_refused(wire: CipheredWire, form: Ciphering) -> None:
    """At every length, as it is and with its length put right; what is left of it is never acted upon."""
    apdu = wire.cipher(get(1, NAME, 2), form)
    start = 1 if form.offset else 10
    for size in range(1, len(apdu)):
        assert await wire.ask(apdu[:size]) == MALFORMED
        if size > start:
            whole = apdu[:start] + bytes((size - start - 1,)) + apdu[start + 1 : size]
            answer = await wire.ask(whole)
            assert answer == (NOT_DECIPHERED if size - start - 1 > 17 else MALFORMED)
    assert await wire.ask(apdu + b"\0") == MALFORMED
    assert wire.decipher(await wire.ask(apdu), form) == NAMED


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
async def test_a_counter_that_is_not_above_the_last_is_refused(
    watch: Watch, wire: CipheredWire, form: Ciphering
) -> None:
    """Equal or lower; the answer says the last one, from which the client can go on."""
    wire.counter = 1000
    recorded = wire.cipher(get(1, NAME, 2), form)
    assert wire.decipher(await wire.ask(recorded), form) == NAMED
    for apdu in (recorded, wire.cipher(get(1, NAME, 2), form, counter=1001)):
        assert await wire.ask(apdu) == stale(1001)
    assert await wire.ask(wire.cipher(get(1, NAME, 2), form, counter=1000)) == stale(1001)
    assert await wire.ask(wire.cipher(get(1, NAME, 2), form, counter=0)) == stale(1001)
    assert watch.lines[-2:] == ["replayed 1 16 1000 1001", "replayed 1 16 0 1001"]
    assert await wire.ask_ciphered(get(1, NAME, 2), form) == NAMED
    last = wire.cipher(get(1, NAME, 2), form, counter=2**32 - 1)
    assert wire.decipher(await wire.ask(last), form) == NAMED
    assert await wire.ask(last) == stale(2**32 - 1)


async def test_a_forged_counter_moves_nothing(plant: Plant, wire: CipheredWire) -> None:
    """The counter of an APDU counts only if its tag verifies."""
    apdu = bytearray(wire.cipher(get(1, NAME, 2)))
    apdu[3:7] = b"\xff\xff\xff\xff"
    assert await wire.ask(bytes(apdu)) == NOT_DECIPHERED
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


async def test_a_replay_of_another_connection_is_refused(watched: DlmsServer, wire: CipheredWire) -> None:
    """Counters belong to key and client, not to the association."""
    recorded = wire.cipher(set_(1, NOTE, 2, axdr.octet_string(b"once")))
    assert wire.decipher(await wire.ask(recorded)) == bytes.fromhex("c501c100")
    async with CipheredWire(watched.port, server=17, counter=wire.counter) as other:
        await other.open()
        assert await other.ask(recorded) == stale(other.counter)


async def test_a_client_has_counters_of_its_own(watched: DlmsServer, wire: CipheredWire) -> None:
    """Another system title begins where it likes."""
    wire.counter = 5000
    await wire.ask_ciphered(get(1, NAME, 2))
    async with CipheredWire(watched.port, title=bytes.fromhex("4D4D4D0000000002")) as other:
        assert (await other.open())[:4] == bytes.fromhex("c701c100")
        assert await other.ask_ciphered(get(1, NAME, 2)) == NAMED


@pytest.mark.parametrize("form", [GENERAL_GLO, GENERAL_DED], ids=lambda form: form.label)
async def test_the_title_inside_must_be_the_clients(
    watch: Watch, wire: CipheredWire, form: Ciphering
) -> None:
    """Another one is refused, even if what it carries is genuine under that title."""
    own, wire.title = wire.title, bytes.fromhex("4D4D4D0000000002")
    foreign = wire.cipher(get(1, NAME, 2), form)
    wire.title = own
    assert await wire.ask(foreign) == NOT_DECIPHERED
    assert watch.lines[-1] == "not deciphered 1 16"


async def test_the_service_inside_must_be_the_one_outside(wire: CipheredWire) -> None:
    """A SET in a glo-get-request, or a ciphered APDU in a ciphered one, is no valid APDU."""
    plain = set_(1, NOTE, 2, axdr.octet_string(b"hidden"))
    wire.counter += 1
    content = wire.suite(GLO).protect(0x30, wire.title, wire.counter, plain)
    assert await wire.ask(encode_ciphered(GLO, 0xC0, wire.title, content)) == MALFORMED
    nested = wire.cipher(get(1, NAME, 2))
    assert (await wire.ask(wire.cipher(nested, GENERAL_GLO)))[0] == 0xD8
    assert (await wire.ask_ciphered(get(1, NOTE, 2)))[4:] == axdr.octet_string(b"as delivered")


@pytest.mark.parametrize("policy", list(Policy))
async def test_plain_and_ciphered_do_not_mix(plant: Plant, watched: DlmsServer, policy: Policy) -> None:
    """A plain request in a context with ciphering is refused, and a ciphered one without."""
    async with CipheredWire(watched.port) as wire, Wire(watched.port, server=17) as plain:
        await plain.ask(AARQ_LLS)
        plant.access.protection = policy
        await wire.open()
        for request in (get(1, NAME, 2), set_(1, NOTE, 2, b"\x09\x00"), bytes.fromhex("0f00000001")):
            assert await wire.ask(request) == NOT_POSSIBLE
        assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED
        for form in FORMS:
            wire.dedicated = DEDICATED
            assert await plain.ask(wire.cipher(get(1, NAME, 2), form)) == NOT_POSSIBLE


async def test_a_policy_that_is_raised_holds_for_open_associations(plant: Plant, server: DlmsServer) -> None:
    """Plain requests are refused from then on; public and ciphered ones go on."""
    async with (
        Wire(server.port) as plain,
        Wire(server.port, client=16) as public,
        CipheredWire(server.port) as own,
    ):
        await plain.ask(AARQ_LLS)
        await public.ask(AARQ_NONE)
        await own.open()
        assert await own.ask_ciphered(get(1, NAME, 2), control=0x10) == NAMED
        plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
        assert await plain.ask(get(1, NAME, 2)) == NOT_POSSIBLE
        assert await plain.ask(set_(1, NOTE, 2, axdr.octet_string(b"plain"))) == NOT_POSSIBLE
        assert await public.ask(get(1, NAME, 2)) == NAMED
        assert await own.ask(own.cipher(get(1, NAME, 2), control=0x10)) == NOT_DECIPHERED
        assert await own.ask_ciphered(get(1, NAME, 2), control=0x30) == NAMED
        assert await plain.ask(RLRQ) == bytes.fromhex("6303800100")


async def test_no_dedicated_key_no_dedicated_ciphering(watch: Watch, watched: DlmsServer) -> None:
    """Nor under a key of another association."""
    async with CipheredWire(watched.port) as wire:
        await wire.open()
        wire.dedicated = DEDICATED
        for form in (DED, GENERAL_DED):
            assert await wire.ask(wire.cipher(get(1, NAME, 2), form)) == NOT_DECIPHERED
        assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


@pytest.mark.parametrize("key", [b"\1", bytes(15), bytes(17), bytes(32), KEYS.encryption])
async def test_a_dedicated_key_has_16_bytes_of_its_own(server: DlmsServer, key: bytes) -> None:
    """The global key again would let recorded APDUs in: the counters of a dedicated key begin afresh."""
    async with CipheredWire(server.port, dedicated=key) as wire:
        assert await wire.associate() == MALFORMED


async def test_a_dedicated_key_is_forgotten_with_its_association(
    watched: DlmsServer, wire: CipheredWire
) -> None:
    """A new association without one has none; one with another key has that one, and counts afresh."""
    wire.counter = 500
    assert await wire.ask_ciphered(get(1, NAME, 2), DED) == NAMED
    wire.dedicated = b""
    await wire.open()
    wire.dedicated = DEDICATED
    assert await wire.ask(wire.cipher(get(1, NAME, 2), DED)) == NOT_DECIPHERED
    wire.dedicated = bytes(range(0x60, 0x70))
    await wire.open()
    assert wire.decipher(await wire.ask(wire.cipher(get(1, NAME, 2), DED, counter=0)), DED) == NAMED


async def test_a_new_encryption_key_ends_the_dedicated_one(plant: Plant, wire: CipheredWire) -> None:
    """The sending counters start again with it, and no nonce may come twice under the dedicated key."""
    assert await wire.ask_ciphered(get(1, NAME, 2), DED) == NAMED
    plant.access.present, plant.access.counters = OTHER_KEYS, Counters()
    wire.encryption, wire.authentication = OTHER_KEYS
    assert await wire.ask(wire.cipher(get(1, NAME, 2), DED)) == NOT_DECIPHERED
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


async def test_keys_that_change_hold_from_the_next_request_on(
    plant: Plant, watch: Watch, wire: CipheredWire
) -> None:
    """Who uses the old ones is not deciphered; with the new ones the association goes on."""
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED
    plant.access.present = OTHER_KEYS
    assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_DECIPHERED
    wire.encryption, wire.authentication = OTHER_KEYS
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


async def test_what_follows_an_answer_comes_after_its_ciphering(plant: Plant, wire: CipheredWire) -> None:
    """A write that changes the keys is answered under the old ones, once; the next request needs the new ones."""
    calls: list[int] = []

    def switch() -> None:
        calls.append(plant.access.counters.sent)
        plant.access.present = OTHER_KEYS

    async def change(value: axdr.Value, context: Context) -> None:
        await asyncio.sleep(0)
        context.after_answer.append(switch)

    device = plant.directory.by_sap[16]
    device.objects[1, NOTE] = Data(NOTE, lambda: plant.note, set_value=change)  # type: ignore[index]
    sent = plant.access.counters.sent
    assert await wire.ask_ciphered(set_(1, NOTE, 2, b"\x09\x00")) == bytes.fromhex("c501c100")
    assert calls == [sent + 1]
    assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_DECIPHERED
    wire.encryption, wire.authentication = OTHER_KEYS
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED
    assert calls == [sent + 1]


async def test_an_answer_that_was_slow_is_ciphered_under_the_keys_of_its_end(
    plant: Plant, wire: CipheredWire
) -> None:
    """Keys and their counters change together: old keys with new counters would use a nonce twice."""
    wire.send(wire.cipher(get(3, SLOW, 2)))
    async with asyncio.timeout(5):
        await plant.slow_asked.wait()
    plant.access.present, plant.access.counters = OTHER_KEYS, Counters()
    plant.release_slow.set()
    answer = await wire.receive()
    wire.encryption, wire.authentication = OTHER_KEYS
    wire.received.clear()
    assert wire.decipher(answer) == bytes.fromhex("c401c100120007")


async def test_a_key_that_is_used_up_sends_nothing_more(
    plant: Plant, wire: CipheredWire, caplog: pytest.LogCaptureFixture
) -> None:
    """Operation not possible, said once in the log; what was written is written."""
    plant.access.counters.exhausted = True
    with caplog.at_level(logging.ERROR, logger="core.dlms.association"):
        for form in FORMS:
            assert await wire.ask(wire.cipher(set_(1, NOTE, 2, b"\x09\x00"), form)) == NOT_POSSIBLE
    assert len(caplog.records) == 1
    assert plant.note == b"\x09\x00"
    plant.access.counters.exhausted = False
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


async def test_a_gateway_without_counters_opens_no_association(plant: Plant, server: DlmsServer) -> None:
    """The AARE could not be ciphered."""
    plant.access.counters.exhausted = True
    async with CipheredWire(server.port) as wire:
        assert await wire.associate(1, PASSWORD) == NOT_POSSIBLE
        assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE


async def test_nothing_is_done_before_the_counter_is_kept(plant: Plant, server: DlmsServer) -> None:
    """AARQ, second step, request and release all wait for the disk where the counters do."""
    disk = plant.access.counters.disk = asyncio.Event()

    async def reached(other: Wire, counter: int) -> None:
        while plant.access.counters.last(CLIENT_TITLE) < counter:
            assert (await other.ask(AARQ_NONE))[0] == 0x61  # others are served meanwhile

    async with CipheredWire(server.port) as wire, Wire(server.port, client=16) as other:
        for step in range(4):
            if step == 0:
                request = wire.aarq()
            elif step == 1:
                request = wire.cipher(wire.reply())
            elif step == 2:
                request = wire.cipher(set_(1, NOTE, 2, axdr.octet_string(b"written")))
            else:
                initiate = bytes.fromhex("01000000065f1f0400007e1f0000")
                request = ciphered_rlrq(wire, initiate)
            disk.clear()
            wire.send(request)
            await reached(other, wire.counter)
            await other.ask(AARQ_NONE)  # the loop has gone round
            assert plant.note == axdr.octet_string(b"written" if step > 2 else b"as delivered")
            disk.set()
            answer = await wire.receive()
            assert answer[0] == (0x61, 0xCF, 0xCD, 0x63)[step]
            if step == 0:
                fields = ber(answer[2:])
                wire.server_title, wire.stoc = fields[0xA4][2:], fields[0xAA][2:]
    assert plant.note == axdr.octet_string(b"written")


def ciphered_rlrq(wire: CipheredWire, initiate: bytes, form: Ciphering = INITIATE) -> bytes:
    information = wire.cipher(initiate, form)
    body = bytes.fromhex("800100be") + bytes((len(information) + 2, 4, len(information))) + information
    return b"\x62" + bytes((len(body),)) + body


@pytest.mark.parametrize("form", [INITIATE, GENERAL_GLO], ids=["glo", "general-glo"])
async def test_a_ciphered_release_is_answered_ciphered(
    watch: Watch, wire: CipheredWire, form: Ciphering
) -> None:
    """One that does not verify, is replayed or holds something else releases nothing; a bare one does."""
    initiate = bytes.fromhex("01000000065f1f0400007e1f0000")
    genuine = ciphered_rlrq(wire, initiate, form)
    assert await wire.ask(genuine[:-1] + bytes((genuine[-1] ^ 1,))) == NOT_DECIPHERED
    assert await wire.ask(ciphered_rlrq(wire, get(1, NAME, 2), GENERAL_GLO)) == MALFORMED
    assert await wire.ask(genuine) == stale(wire.counter)
    assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED
    answer = await wire.ask(ciphered_rlrq(wire, initiate, form))
    assert answer[:5] == bytes((0x63, len(answer) - 2)) + bytes.fromhex("800100")
    information = ber(answer[2:])[0xBE][2:]
    assert wire.decipher(information, form)[:2] == bytes.fromhex("0800")
    assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE
    assert watch.lines[-1] == "released 1 16"
    await wire.open()
    assert await wire.ask(RLRQ) == bytes.fromhex("6303800100")
    assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE


@pytest.mark.parametrize("pdu", [64, 65, 100, 146, 147, 148, 149, 275, 276, 277, 278, 279, 1024, 0])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
async def test_a_ciphered_answer_fits_into_the_pdu(watched: DlmsServer, form: Ciphering, pdu: int) -> None:
    """Whatever its form adds; blocks fill what is there, and make up the whole value."""
    async with (
        CipheredWire(watched.port, form=form, dedicated=DEDICATED) as wire,
        Wire(watched.port) as plain,
    ):
        await wire.open(pdu=pdu)
        request = get(7, PROFILE, 2, bytes.fromhex("01020204060000000106000000 2812000112 0000"))
        parts: list[bytes] = []
        sizes: list[int] = []
        answer = await wire.ask(wire.cipher(request))
        while True:
            sizes.append(len(answer))
            block = wire.decipher(answer)
            if block[1] == 1:
                assert block[3] == 0
                parts.append(block[4:])
                break
            start = 10 if block[9] < 0x80 else 10 + (block[9] & 0x7F)
            parts.append(block[start:])
            if block[3]:
                break
            answer = await wire.ask(wire.cipher(b"\xc0\x02\xc1" + block[4:8]))
        assert max(sizes) <= (pdu or 65535)
        if len(sizes) > 2:
            assert max(sizes) >= pdu - 2
        await plain.ask(AARQ_LLS)
        assert b"".join(parts) == (await plain.ask(request))[4:]


BLOCKS = 0x207E1F  # with general block transfer


async def in_blocks(wire: CipheredWire, apdu: bytes, size: int) -> tuple[bytes, int]:
    """Send an APDU in general blocks of `size` bytes; the answer put together, and its longest block."""
    client, longest = Client(window=1, size=size), 0
    for index in range(-(-len(apdu) // size)):
        answer = await wire.ask(client.request(apdu, index, 1)[0])
        client.take(answer)
    while not client.done:
        longest = max(longest, len(answer))
        answer = await wire.ask(client.acknowledge())
        client.take(answer)
    return client.answer, max(longest, len(answer))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
@pytest.mark.parametrize("size", [7, 1000])
async def test_general_blocks_go_around_ciphering(server: DlmsServer, form: Ciphering, size: int) -> None:
    """A ciphered request in blocks is answered by one ciphered APDU in blocks, however long."""
    async with CipheredWire(server.port, form=form, dedicated=DEDICATED, conformance=BLOCKS) as wire:
        await wire.open(pdu=200)
        request = get(7, PROFILE, 2)
        whole, longest = await in_blocks(wire, wire.cipher(request), size)
        assert longest <= 200
        plain = wire.decipher(whole)
        assert plain[:4] == bytes.fromhex("c401c100")
        assert plain[4:8] == bytes.fromhex("018203e8")  # 1000 rows
        forged = bytearray(wire.cipher(request))
        forged[-1] ^= 1
        assert (await in_blocks(wire, bytes(forged), size))[0] == NOT_DECIPHERED
        assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED  # and one that comes whole is answered whole


async def test_general_blocks_do_not_go_around_the_rules(plant: Plant, watched: DlmsServer) -> None:
    """Neither before the second step of HLS, nor plain where ciphering is agreed, nor for an AARQ in blocks."""
    async with CipheredWire(watched.port, conformance=BLOCKS) as wire:
        await wire.associate()
        assert await wire.ask(Client(size=500).request(wire.cipher(get(1, NAME, 2)))[0]) == NOT_POSSIBLE
        assert (await wire.ask_ciphered(wire.reply()))[:4] == bytes.fromhex("c701c100")
        assert (await in_blocks(wire, get(1, NAME, 2), 500))[0] == NOT_POSSIBLE
        for whole in (wire.aarq(), RLRQ, Client(size=500).request(get(1, NAME, 2))[0]):
            assert await wire.ask(Client(size=500).request(whole)[0]) == MALFORMED
        wire.send(Client(size=500).request(wire.cipher(get(3, SLOW, 2)))[0])
        async with asyncio.timeout(5):
            await plant.slow_asked.wait()
        plant.release_slow.set()
        client = Client()
        client.take(await wire.receive())
        assert wire.decipher(client.answer) == bytes.fromhex("c401c100120007")
        plant.access.lowest = Level.HIGH
        assert wire.decipher((await in_blocks(wire, wire.cipher(get(1, NAME, 2)), 500))[0]) == NAMED


async def test_objects_see_how_the_client_came(plant: Plant, server: DlmsServer) -> None:
    """Its system title, its mechanism, that it ciphers, and the address of the gateway that it called."""
    seen: list[Context] = []
    writable = Data(NOTE, lambda: plant.note, set_value=lambda value, context: seen.append(context))
    plant.directory.by_sap[16].objects[1, NOTE] = writable  # type: ignore[index]
    async with CipheredWire(server.port) as wire, Wire(server.port) as plain:
        await wire.open()
        await wire.ask_ciphered(set_(1, NOTE, 2, b"\x09\x00"))
        await plain.ask(AARQ_LLS)
        await plain.ask(set_(1, NOTE, 2, b"\x09\x00"))
    ways = [(context.client_title, context.mechanism, context.ciphered, context.local) for context in seen]
    assert ways == [(CLIENT_TITLE, 5, True, "127.0.0.1"), (b"", 1, False, "127.0.0.1")]


async def test_every_association_is_seen(watched: DlmsServer) -> None:
    """With its authentication, its ciphering and its own errors; a connection without one, too."""
    async with CipheredWire(watched.port) as wire, Wire(watched.port, client=16) as other:
        await wire.open()
        await wire.ask_ciphered(get(1, NAME, 2), GENERAL_GLO)
        wire.server = 17
        await wire.ask(AARQ_LLS)
        await wire.ask(wire.cipher(get(1, NAME, 2)))
        await wire.ask(get(1, NAME, 2))
        wire.client, wire.server = 16, 1
        await wire.ask(AARQ_NONE)
        assert (await other.ask(AARQ_NONE))[0] == 0x61
        assert await other.ask(RLRQ) == bytes.fromhex("6303800100")
        views = watched.sessions()
        seen = [(v.client_sap, v.sap, v.authentication, v.ciphering, v.requests, v.errors) for v in views]
        assert sorted(seen, key=str) == sorted(
            [
                (1, 16, "high", "general-glo", 1, 0),
                (1, 17, "low", "none", 2, 1),
                (16, 1, "none", "none", 0, 0),
                (None, None, "", "", 2, 0),
            ],
            key=str,
        )
        assert "without ciphering" in next(view.last_error for view in views if view.sap == 17)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
async def test_what_is_traced_is_plain(plant: Plant, form: Ciphering) -> None:
    """With how it went over the wire, and how long it was there; what is not deciphered comes as it is."""
    watch = Watch(tracing=True)
    server = plant.server(QUICK, watch)
    await server.start("127.0.0.1", 0)
    async with CipheredWire(server.port, form=form, dedicated=DEDICATED) as wire:
        aarq = wire.aarq()
        aare = await wire.ask(aarq)
        fields = ber(aare[2:])
        wire.server_title, wire.stoc = fields[0xA4][2:], fields[0xAA][2:]
        initiate = b"\x01\x01\x10" + DEDICATED + bytes.fromhex("0000065f1f0400007e1f0000")
        label = f"{'glo' if form.offset else 'general-glo'} 30"
        (way, opened, protection, size), (back, answered, *_) = watch.apdus
        assert (way, protection, size) == ("received", label, len(aarq))
        assert opened == aarq_of(5, CTOS, initiate, title=CLIENT_TITLE, ciphered=True)
        assert (back, answered[0]) == ("sent", 0x61)
        assert answered.endswith(bytes.fromhex("be10040e0800065f1f0400001e1d20000007"))
        await wire.ask_ciphered(wire.reply())
        watch.apdus.clear()
        request = wire.cipher(get(1, NAME, 2), control=0x10)
        answer = await wire.ask(request)
        label = f"{form.label} 10"
        assert watch.apdus == [
            ("received", get(1, NAME, 2), label, len(request)), ("sent", NAMED, label, len(answer)),
        ]  # fmt: skip
        watch.apdus.clear()
        await wire.ask(request)
        await wire.ask(b"\xc8\x01\x02")
        assert [(way, apdu, protection) for way, apdu, protection, _ in watch.apdus] == [
            ("received", request, ""), ("sent", stale(wire.counter), ""),
            ("received", b"\xc8\x01\x02", ""), ("sent", MALFORMED, ""),
        ]  # fmt: skip
        watch.apdus.clear()
        wire.server = 99
        await wire.ask(get(1, NAME, 2))
        assert [apdu for _, apdu, _, _ in watch.apdus] == [get(1, NAME, 2), NOT_POSSIBLE]
        watch.tracing = False
        await wire.ask(get(1, NAME, 2))
        assert len(watch.apdus) == 2
    await server.stop()


async def test_a_write_runs_to_its_end_though_the_client_has_gone(plant: Plant, watch: Watch) -> None:
    """Also what follows its answer; the server waits for it when it stops."""
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write(value: axdr.Value, context: Context) -> None:
        begun.set()
        await go.wait()
        plant.note = axdr.octet_string(b"written")
        context.after_answer.append(done.set)

    plant.directory.by_sap[16].objects[1, NOTE] = Data(NOTE, lambda: plant.note, set_value=write)  # type: ignore[index]
    server = plant.server(QUICK, watch)
    await server.start("127.0.0.1", 0)
    async with CipheredWire(server.port) as wire:
        await wire.open()
        wire.send(wire.cipher(set_(1, NOTE, 2, b"\x09\x00")))
        async with asyncio.timeout(5):
            await begun.wait()
        wire.writer.transport.abort()
    async with asyncio.timeout(5):
        await watch.gone.wait()
    go.set()
    await server.stop()
    assert plant.note == axdr.octet_string(b"written")
    assert done.is_set()


async def test_a_client_that_goes_in_the_moment_it_asks_leaves_nothing_behind(plant: Plant) -> None:
    """No coroutine that was made and never awaited, whether one value was asked for or a list."""
    slow = get(3, SLOW, 2)
    requests = (slow, b"\xc0\x03\xc1\x03" + slow[3:] * 3, set_(1, NOTE, 2, b"\x09\x00"))
    work: set[asyncio.Future[object]] = set()
    loop = asyncio.get_running_loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for request in requests:
            connection = Connection(
                plant.directory, plant.access, QUICK, Observer(), Throttle(QUICK), {}, work
            )  # fmt: skip
            listener = await loop.create_server(lambda connection=connection: connection, "127.0.0.1", 0)  # type: ignore[misc]
            async with Wire(listener.sockets[0].getsockname()[1]) as wire:
                await wire.ask(AARQ_LLS)
                data = frame(1, 16, request)
                connection.get_buffer(-1)[: len(data)] = data
                connection.buffer_updated(len(data))
                connection.connection_lost(None)  # before what the request began has had its first turn
            listener.close()
            for _ in range(10):
                await asyncio.sleep(0)
        gc.collect()
    assert [str(warning.message) for warning in caught if "await" in str(warning.message)] == []
    assert plant.note == b"\x09\x00"  # the write was done
