"""High level security, mechanism 5: who gets in by proving that it knows the keys, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from dlms_plant import NAME, PASSWORD, TITLE, VOLUME, Plant
from dlms_wire import (
    AARQ_LLS,
    CLIENT_TITLE,
    CTOS,
    NOT_POSSIBLE,
    RLRQ,
    CipheredWire,
    Wire,
    aarq_of,
    ber,
    get,
    reply_to_hls,
)
from test_associations import ACCEPTED, Diary, refused

from core.dlms import axdr
from core.dlms.admission import Keys, Level
from core.dlms.limits import ServerLimits
from core.dlms.security import GENERAL_GLO, GLO, Ciphering, Suite
from core.dlms.server import DlmsServer

QUICK = ServerLimits(rejection=0.01, slowdown=0.01, slowdown_most=0.02)
CHALLENGED = bytes.fromhex("a203020100a305a10302010e")  # accepted, authentication required
DENIED = bytes.fromhex("c701c10300")
PROVEN = bytes.fromhex("c701c1000100 0911")
NAMED = bytes.fromhex("c401c100") + axdr.octet_string(b"HYD123456780725")
INITIATE = bytes.fromhex("01000000065f1f0400007e1f0000")
PLAIN_AARQ = aarq_of(5, CTOS, INITIATE, title=CLIENT_TITLE)
KEYS = Suite(bytes(range(16)), bytes(range(0xD0, 0xE0)))


def stoc(aare: bytes) -> bytes:
    assert CHALLENGED in aare
    return ber(aare[2:])[0xAA][2:]


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("form", [GLO, GENERAL_GLO], ids=lambda form: form.label)
@pytest.mark.parametrize("control", [0x10, 0x30])
async def test_a_client_with_the_keys_gets_in(
    plant: Plant, server: DlmsServer, level: Level, form: Ciphering, control: int
) -> None:
    """At every lowest level; the gateway proves itself, too, and what was agreed came ciphered."""
    plant.access.lowest = level
    async with CipheredWire(server.port, form=form, control=control) as wire:
        aare = await wire.associate()
        assert CHALLENGED in aare
        assert wire.server_title == TITLE
        assert len(wire.stoc) == 16
        information = ber(aare[2:])[0xBE][2:]
        agreed = wire.decipher(information, form) if form is GENERAL_GLO else information
        assert (agreed if form is GENERAL_GLO else information)[0] == (8 if form is GENERAL_GLO else 0x28)
        answer = await wire.ask_ciphered(wire.reply())
        assert answer[:8] == PROVEN
        assert KEYS.proves(TITLE, CTOS, answer[8:])
        assert await wire.ask_ciphered(get(1, NAME, 2)) == NAMED


async def test_a_client_with_the_keys_gets_in_without_ciphering(plant: Plant, server: DlmsServer) -> None:
    """In the context without ciphering the second step is plain, and so is all that follows."""
    plant.access.lowest = Level.HIGH
    async with Wire(server.port) as wire:
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        answer = await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge)))
        assert answer[:8] == PROVEN
        assert KEYS.proves(TITLE, CTOS, answer[8:])
        assert await wire.ask(get(1, NAME, 2)) == NAMED


async def test_every_challenge_is_another_one(server: DlmsServer) -> None:
    """Of 16 bytes each."""
    async with Wire(server.port) as wire:
        challenges = [stoc(await wire.ask(PLAIN_AARQ)) for _ in range(20)]
    assert len(set(challenges)) == 20
    assert {len(challenge) for challenge in challenges} == {16}


@pytest.mark.parametrize(
    ("secret", "title", "diagnostic"),
    [
        (CTOS[:7], CLIENT_TITLE, 13),
        (bytes(65), CLIENT_TITLE, 13),
        (None, CLIENT_TITLE, 13),
        (CTOS, b"", 3),
        (CTOS, CLIENT_TITLE[:7], 3),
        (CTOS, CLIENT_TITLE + b"\0", 3),
        (CTOS, TITLE, 3),  # the gateway's own: its answers could be reflected
    ],
)
async def test_a_first_step_that_cannot_work_is_refused(
    server: DlmsServer, secret: bytes | None, title: bytes, diagnostic: int
) -> None:
    """A challenge of 8 to 64 bytes and a system title of 8 are needed."""
    async with Wire(server.port) as wire:
        assert refused(await wire.ask(aarq_of(5, secret, INITIATE, title=title))) == diagnostic


@pytest.mark.parametrize("size", [8, 16, 64])
async def test_a_challenge_may_be_long(server: DlmsServer, size: int) -> None:
    """The gateway's proof fits to it."""
    async with CipheredWire(server.port) as wire:
        answer = await wire.open(secret=b"\x5a" * size)
        assert KEYS.proves(TITLE, b"\x5a" * size, answer[8:])


@pytest.mark.parametrize("mechanism", [2, 3, 4, 6, 7])
async def test_other_mechanisms_are_not_spoken(server: DlmsServer, mechanism: int) -> None:
    """HLS with secrets or other digests."""
    async with Wire(server.port) as wire:
        assert refused(await wire.ask(aarq_of(mechanism, CTOS, INITIATE, title=CLIENT_TITLE))) == 11


WRONG_PROOFS = {
    "the challenge itself": lambda challenge: challenge,
    "another's title": lambda challenge: KEYS.gmac(TITLE, 7, challenge),
    "its own challenge": lambda challenge: KEYS.gmac(CLIENT_TITLE, 7, CTOS),
    "wrong encryption key": lambda c: Suite(bytes(16), bytes(range(0xD0, 0xE0))).gmac(CLIENT_TITLE, 7, c),
    "wrong authentication key": lambda c: Suite(bytes(range(16)), bytes(16)).gmac(CLIENT_TITLE, 7, c),
    "a flipped bit": lambda c: (lambda p: p[:-1] + bytes((p[-1] ^ 1,)))(KEYS.gmac(CLIENT_TITLE, 7, c)),
    "the tag of zeros": lambda challenge: bytes.fromhex("1000000007") + bytes(12),
    "another security control": lambda c: b"\x30" + KEYS.gmac(CLIENT_TITLE, 7, c)[1:],
}


@pytest.mark.parametrize("wrong", WRONG_PROOFS)
@pytest.mark.parametrize("ciphered", [False, True])
async def test_a_wrong_proof_ends_the_association(plant: Plant, wrong: str, ciphered: bool) -> None:
    """Denied, told to the gateway, and nothing can be read; the connection lives on for another attempt."""
    diary = Diary()
    server = plant.server(QUICK, diary)
    await server.start("127.0.0.1", 0)
    async with CipheredWire(server.port) as wire:
        if ciphered:
            await wire.associate()
            answer = await wire.ask_ciphered(reply_to_hls(WRONG_PROOFS[wrong](wire.stoc).ljust(17)[:17]))
        else:
            challenge = stoc(await wire.ask(PLAIN_AARQ))
            answer = await wire.ask(reply_to_hls(WRONG_PROOFS[wrong](challenge).ljust(17)[:17]))
        assert answer == DENIED
        assert await wire.ask(wire.cipher(get(1, NAME, 2))) == NOT_POSSIBLE
        assert await wire.ask(get(1, NAME, 2)) == NOT_POSSIBLE
        assert await wire.ask(RLRQ) == NOT_POSSIBLE
        refusal = "failed 1 16 authentication failure (wrong keys or system title)"
        assert diary.lines == ["connected", refusal]
        assert (await wire.open())[:8] == PROVEN
        assert diary.lines[2:] == ["associated 1 16 high"]
    await server.stop()


@pytest.mark.parametrize("size", [0, 1, 16, 18, 100])
async def test_a_proof_of_another_length_is_a_wrong_one(server: DlmsServer, size: int) -> None:
    """Such as one of another mechanism, or one with bytes behind it."""
    async with Wire(server.port) as wire:
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        proof = KEYS.gmac(CLIENT_TITLE, 7, challenge)
        assert await wire.ask(reply_to_hls((proof + bytes(size))[:size])) == DENIED
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        assert (
            await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge)) + bytes(size or 1)) == DENIED
        )


async def test_a_proof_works_once(server: DlmsServer) -> None:
    """Neither again in the same association nor for the challenge of another."""
    async with Wire(server.port) as wire, Wire(server.port) as other:
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        await other.ask(PLAIN_AARQ)
        proof = reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge))
        assert await other.ask(proof) == DENIED
        assert (await wire.ask(proof))[:8] == PROVEN
        assert (await wire.ask(proof))[:8] != PROVEN


@pytest.mark.parametrize("ciphered", [False, True])
async def test_nothing_can_be_done_before_the_second_step(plant: Plant, ciphered: bool) -> None:
    """Every other request is refused, and nobody is told of an association; then the second step still works."""
    diary = Diary()
    server = plant.server(QUICK, diary)
    await server.start("127.0.0.1", 0)
    async with CipheredWire(server.port) as wire:
        stoc_ = stoc(await (wire.associate() if ciphered else wire.ask(PLAIN_AARQ)))
        for request in (
            get(1, NAME, 2),
            get(3, VOLUME, 2),
            bytes.fromhex("c301c1 0001 0000280000ff 01 01 0911") + bytes(17),  # of another class
            bytes.fromhex("c301c1 000f 0000280000ff 02 01 0911") + bytes(17),  # another method
            bytes.fromhex("c301c1 000f 0000280000ff 01 00"),  # no parameter
            bytes.fromhex("c102c1 000f 0000280000ff 01 01 0911") + bytes(17),
        ):
            if ciphered:
                assert await wire.ask_ciphered(request) == NOT_POSSIBLE
            assert await wire.ask(request) == NOT_POSSIBLE
        assert diary.lines == ["connected"]
        (session,) = server.sessions()
        assert (session.client_sap, session.authentication) == (None, "")
        if ciphered:
            assert (await wire.ask_ciphered(wire.reply()))[:8] == PROVEN
        else:
            assert (await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, stoc_))))[:8] == PROVEN
        assert diary.lines[1:] == ["associated 1 16 high"]
        (session,) = server.sessions()
        assert (session.client_sap, session.authentication) == (1, "high")
    await server.stop()


async def test_who_does_not_go_on_is_disconnected(plant: Plant) -> None:
    """A connection whose only association waits for its second step has no more time than one without any."""
    server = plant.server(ServerLimits(first_request=0.2))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        stoc(await wire.ask(PLAIN_AARQ))
        assert await wire.ended()
    await server.stop()


async def test_a_second_step_that_comes_too_late_is_refused(plant: Plant) -> None:
    """Also where another association keeps the connection open."""
    server = plant.server(ServerLimits(first_request=0.5))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as wire:
        await wire.ask(AARQ_LLS)
        wire.server = 17
        proof = reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, stoc(await wire.ask(PLAIN_AARQ))))
        await asyncio.sleep(0.6)  # the limit itself is what passes here
        assert await wire.ask(proof) == NOT_POSSIBLE
        assert stoc(await wire.ask(PLAIN_AARQ))
        wire.server = 16
        assert await wire.ask(get(1, NAME, 2)) == NAMED
    await server.stop()


async def test_the_first_step_can_be_taken_back(server: DlmsServer) -> None:
    """By a release, or by another AARQ, whose challenge is the one that counts."""
    async with Wire(server.port) as wire:
        first = stoc(await wire.ask(PLAIN_AARQ))
        second = stoc(await wire.ask(PLAIN_AARQ))
        assert first != second
        assert await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, first))) == DENIED
        stoc(await wire.ask(PLAIN_AARQ))
        assert await wire.ask(RLRQ) == bytes.fromhex("6303800100")
        assert await wire.ask(get(1, NAME, 2)) == NOT_POSSIBLE


async def test_a_key_that_is_changed_between_the_steps_is_the_one_to_prove(
    plant: Plant, server: DlmsServer
) -> None:
    """Keys are looked up when they are used."""
    async with Wire(server.port) as wire:
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        plant.access.present = Keys(bytes(range(1, 17)), plant.access.present.authentication)
        assert await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge))) == DENIED


async def test_wrong_proofs_slow_down_who_guesses_and_nobody_who_has_the_keys(plant: Plant) -> None:
    """A new challenge does not wipe out the failures before it: a password waits. A proof of the keys does not."""
    server = plant.server(ServerLimits(rejection=0.0, slowdown=60.0, slowdown_most=60.0))
    await server.start("127.0.0.1", 0)
    async with Wire(server.port) as good, Wire(server.port) as wire, Wire(server.port) as guess:
        await good.ask(AARQ_LLS)
        stoc(await wire.ask(PLAIN_AARQ))
        assert await wire.ask(reply_to_hls(bytes(17))) == DENIED
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        guess.send(AARQ_LLS)
        guessed = asyncio.ensure_future(guess.reader.read(1))
        for _ in range(20):
            await good.ask(get(1, NAME, 2))
        proven = await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge)))
        assert proven[:8] == PROVEN
        assert not guessed.done()
        guessed.cancel()
    await server.stop()


async def test_a_lowest_level_of_high_admits_nothing_less(plant: Plant, server: DlmsServer) -> None:
    """Neither LLS nor none, plain or ciphered."""
    plant.access.lowest = Level.HIGH
    async with CipheredWire(server.port) as wire:
        assert refused(await wire.associate(1, PASSWORD)) == 11
        assert refused(await wire.associate(0)) == 14
        assert refused(await wire.ask(AARQ_LLS)) == 11
        assert (await wire.open())[:8] == PROVEN


@pytest.mark.parametrize("ciphered", [False, True])
async def test_a_level_that_is_raised_ends_the_associations_below_it(
    plant: Plant, server: DlmsServer, ciphered: bool
) -> None:
    """With their next request; the public client and those that are strong enough stay."""
    async with (
        CipheredWire(server.port) as weak,
        CipheredWire(server.port) as strong,
        Wire(server.port) as public,
    ):
        public.client, strong.server = 16, 17
        await public.ask(aarq_of(0, None, INITIATE))
        assert ACCEPTED in await (weak.open(1, PASSWORD) if ciphered else weak.ask(AARQ_LLS))
        strong.counter = 100
        assert (await strong.open())[:8] == PROVEN
        plant.access.lowest = Level.HIGH
        weak.counter = 200
        request = weak.cipher(get(1, NAME, 2)) if ciphered else get(1, NAME, 2)
        assert await weak.ask(request) == NOT_POSSIBLE
        plant.access.lowest = Level.LOW
        assert await weak.ask(request) == NOT_POSSIBLE  # it ended
        assert (await public.ask(get(1, NAME, 2)))[:4] == bytes.fromhex("c401c100")
        assert (await strong.ask_ciphered(get(1, NAME, 2)))[:4] == bytes.fromhex("c401c100")


async def test_a_gateway_that_has_no_counter_left_lets_nobody_in(plant: Plant, server: DlmsServer) -> None:
    """It cannot prove itself; it says that the operation is not possible."""
    async with Wire(server.port) as wire:
        challenge = stoc(await wire.ask(PLAIN_AARQ))
        plant.access.counters.exhausted = True
        assert await wire.ask(reply_to_hls(KEYS.gmac(CLIENT_TITLE, 7, challenge))) == NOT_POSSIBLE
        assert await wire.ask(get(1, NAME, 2)) == NOT_POSSIBLE
