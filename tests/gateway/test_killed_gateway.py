"""A gateway that is killed while it serves a ciphered association: nothing is sent or accepted twice afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from dlms_wire import AARQ_NONE, CipheredWire, Wire, ber, fetch, get
from gateway_process import GatewayProcess

from core.dlms import axdr
from core.secrets import load_secrets

KILLS = 10  # of whole gateways; the owner of the counters alone is killed more often in a test of its own
CONFIG = '[dlms]\nhost = "127.0.0.1"\nauthentication = "high"\npolicy = "authenticated-encrypted"\n'
NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)
FRAME_COUNTER = get(1, bytes((0, 0, 43, 1, 0, 255)), 2)
HLS_DONE = bytes.fromhex("c701c1000100")  # ACTION done, data follow
STALE = bytes.fromhex("d80106")  # invocation-counter-error


async def test_no_nonce_comes_twice_and_no_frame_is_taken_twice(tmp_path: Path) -> None:
    """Kills amid a stream of ciphered requests.

    After each one the public client finds the last counter that was accepted, a recorded frame is refused with it, a
    client that goes on from there is let in, and all messages of the gateway have counters that never were before.
    """
    state = tmp_path / "state"
    state.mkdir()
    (state / "config.toml").write_text(CONFIG)
    chance = random.Random(2026)
    sent: set[int] = set()  # counters of the gateway's messages
    counter = 0  # last one of the client that was accepted
    recorded = b""  # an AARQ that was accepted, as it went over the wire
    for _ in range(KILLS):
        gateway = await asyncio.to_thread(GatewayProcess, state)
        shown = await _frame_counter(gateway.port)
        assert shown in (counter, counter + 1), (
            "the request that was on its way when the process died is the last"
        )
        counter = shown
        if recorded:
            async with Wire(gateway.port, server=1) as thief:
                assert await thief.ask(recorded) == STALE + counter.to_bytes(4, "big")
        secrets = load_secrets(state / "secrets.toml")
        async with CipheredWire(
            gateway.port,
            server=1,
            counter=counter,
            encryption=secrets.encryption_key,
            authentication=secrets.authentication_key,
        ) as wire:
            recorded = wire.aarq()
            fields = ber((await wire.ask(recorded))[2:])
            wire.server_title, wire.stoc = fields[0xA4][2:], fields[0xAA][2:]
            assert (await wire.ask_ciphered(wire.reply())).startswith(HLS_DONE)
            for _ in range(chance.randrange(1, 60)):
                assert (await wire.ask_ciphered(NAME))[:4] == bytes.fromhex("c401c100")
            counter = wire.counter
            wire.send(wire.cipher(NAME))
            await asyncio.to_thread(gateway.stop, signal.SIGKILL)
        assert not sent & set(wire.received), "a nonce was used twice"
        sent |= set(wire.received)


async def _frame_counter(port: int) -> int:
    async with Wire(port, client=16, server=1) as wire:
        await wire.ask(AARQ_NONE)
        shown = axdr.decode(await fetch(wire, FRAME_COUNTER)).content
        assert isinstance(shown, int)
        return shown
