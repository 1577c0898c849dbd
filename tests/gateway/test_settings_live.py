"""Settings saved on a running gateway: clients see them, others are not disturbed, and a failure changes nothing."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dlms_wire import CipheredWire, Wire, aarq, fetch, get
from test_core import Site, port_of, serve, simulated

from core.config import ConfigError, load_config
from core.config_file import ConfigFile
from core.dlms import axdr
from core.errors import CmeError
from core.facade import RunOptions
from core.launch import open_gateway
from core.mbus.simulator import SimulatedBus
from core.secrets import generated, load_secrets
from core.snapshot import MeterState

NAME = get(1, bytes((0, 0, 42, 0, 0, 255)), 2)
PERIOD = get(7, bytes((1, 0, 99, 1, 0, 255)), 4)
ASSOCIATED = 0x61


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Plant(Site):
    """A gateway with a water meter that has been read, on the port that its configuration says."""

    async def begin(self) -> None:
        self.line = await serve(SimulatedBus([simulated("70112345")]))
        self.port = free_port()
        self.configure(port_of(self.line), "5")
        self.file = ConfigFile(self.state_dir / "config.toml")
        self.file.set_values({"dlms.port": self.port})
        await asyncio.to_thread(self.start)
        await self.until("the reading", lambda seen: all(m.state is MeterState.OK for m in seen.meters))

    def start(self) -> None:
        self.gateway = open_gateway(RunOptions(self.state_dir))

    async def save(self, **values: object) -> None:
        """`dlms__port=4060` is {"dlms.port": 4060}."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        await asyncio.wrap_future(self.gateway.configure(named))

    async def undo(self) -> dict[str, object]:
        return dict(await asyncio.wrap_future(self.gateway.undo()))

    @property
    def password(self) -> bytes:
        return load_secrets(self.state_dir / "secrets.toml").lls_password.encode()

    async def answer(self, port: int, password: bytes | None = None) -> int:
        """The AARE's result to a client with LLS: 0 = accepted."""
        async with Wire(port) as wire:
            answer = await wire.ask(aarq(self.password if password is None else password))
            return answer[answer.index(bytes.fromhex("a2030201")) + 4]


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(tmp_path / "state")
    await plant.begin()
    yield plant
    await asyncio.to_thread(plant.gateway.stop)
    plant.line.close()


async def goes_on(wire: Wire) -> None:
    assert axdr.decode(await fetch(wire, NAME)).content == b"ELS70112345070A"


async def test_a_new_port_leaves_the_clients_of_the_old_one_connected(plant: Plant) -> None:
    """The association goes on, new clients find the new port, and nobody finds the old one."""
    port = free_port()
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        await plant.save(dlms__port=port)
        await goes_on(wire)
        assert await plant.answer(port) == 0
        with pytest.raises(ConnectionRefusedError):
            await plant.answer(plant.port)
        await goes_on(wire)
    assert plant.gateway.snapshot().dlms.port == port
    assert load_config(plant.file.path).dlms.port == port


async def test_a_port_that_is_taken_is_refused_and_nothing_changes(plant: Plant) -> None:
    """Not the file, not the listener, not one of the other settings of the same save."""
    before = plant.file.path.read_bytes()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        async with Wire(plant.port) as wire:
            await wire.ask(aarq(plant.password))
            with pytest.raises(CmeError, match="choose another port"):
                await plant.save(dlms__port=other.getsockname()[1], profiles__load_profile_1="15 min")
            await goes_on(wire)
            assert axdr.decode(await fetch(wire, PERIOD)).content == 3600
    assert plant.file.path.read_bytes() == before
    assert not plant.file.previous.exists()
    assert await plant.answer(plant.port) == 0


async def test_a_check_says_what_a_save_would_come_to_and_changes_nothing(plant: Plant) -> None:
    """A port that is taken, a rule that is broken, what becomes less secure; the port that it has is no fault."""

    async def check(**values: object) -> tuple[str, ...]:
        named = {name.replace("__", "."): value for name, value in values.items()}
        return await asyncio.wrap_future(plant.gateway.check(named))

    before = plant.file.path.read_bytes()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CmeError, match=r"already in use.*, or choose another port"):
            await check(dlms__port=other.getsockname()[1])
        assert await check(dlms__port=other.getsockname()[1], dlms__enabled=False) == ()
    with pytest.raises(ConfigError, match="30 min is no multiple of the readout interval 1 h"):
        await check(readout__interval="1 h", profiles__load_profile_1="30 min")
    port = free_port()
    assert await check(dlms__port=port) == ()
    assert await check(dlms__port=plant.port, dlms__host="127.0.0.1") == ()
    (sentence,) = await check(dlms__authentication="none")
    assert sentence.startswith("This lowers the authentication from low to none.")
    with pytest.raises(ConnectionRefusedError):
        await plant.answer(port)
    assert plant.file.path.read_bytes() == before
    with pytest.raises(ConfigError, match="nothing to take back"):
        await asyncio.wrap_future(plant.gateway.replaced())
    await plant.save(gateway__name="Keller 4")
    assert await asyncio.wrap_future(plant.gateway.replaced()) == {"gateway.name": None}


async def test_intervals_are_seen_by_a_client_that_stays_connected(plant: Plant) -> None:
    """The capture period is the new one in the next read; a rule that is broken changes nothing."""
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        await plant.save(profiles__load_profile_1="30 min")
        assert axdr.decode(await fetch(wire, PERIOD)).content == 1800
        with pytest.raises(
            ConfigError, match="load profile 1: 30 min is no multiple of the readout interval 1 h"
        ):
            await plant.save(readout__interval="1 h")
        assert axdr.decode(await fetch(wire, PERIOD)).content == 1800
        await plant.save(readout__interval="5 min", profiles__load_profile_1="5 min")
        assert axdr.decode(await fetch(wire, PERIOD)).content == 300


async def test_authentication_and_policy_hold_from_the_save_on(plant: Plant) -> None:
    """LLS is accepted, then refused, then accepted again; under the policy only ciphered requests are served."""
    assert await plant.answer(plant.port) == 0
    await plant.save(dlms__authentication="high")
    assert await plant.answer(plant.port) != 0
    secrets = load_secrets(plant.state_dir / "secrets.toml")
    await plant.save(dlms__policy="authenticated-encrypted")
    async with CipheredWire(
        plant.port, encryption=secrets.encryption_key, authentication=secrets.authentication_key
    ) as wire:
        assert (await wire.open())[0] == 0xC7
        assert (await wire.ask_ciphered(NAME))[:4] == bytes.fromhex("c401c100")
        await plant.save(dlms__inactivity_timeout=600)
        assert (await wire.ask_ciphered(NAME))[:4] == bytes.fromhex("c401c100")
    await plant.save(dlms__authentication="low", dlms__policy="none")
    assert await plant.answer(plant.port) == 0


async def test_dlms_is_switched_off_and_on(plant: Plant) -> None:
    """Off: clients are let go and nobody can connect. On: as before."""
    await plant.save(dlms__enabled=False)
    with pytest.raises(ConnectionRefusedError):
        await plant.answer(plant.port)
    assert not plant.gateway.snapshot().dlms.listening
    await plant.undo()
    assert await plant.answer(plant.port) == 0


async def test_the_last_save_is_taken_back_also_after_a_restart(plant: Plant) -> None:
    """One level; keys that were not set are not set again, and what was changed since by others stays."""
    await plant.save(gateway__name="first")
    before = plant.file.path.read_text()
    await plant.save(gateway__name="second", profiles__load_profile_1="15 min")
    await asyncio.to_thread(plant.gateway.stop)
    await asyncio.to_thread(plant.start)
    plant.file.set_values({"dlms.policy": "authenticated-encrypted"})  # as when a head-end raises it
    assert await plant.undo() == {"gateway.name": "first", "profiles.load_profile_1": None}
    assert plant.gateway.snapshot().name == "first"
    config = load_config(plant.file.path)
    assert (str(config.profiles.load_profile_1), config.dlms.policy) == ("1 h", "authenticated-encrypted")
    with pytest.raises(ConfigError, match="nothing to take back"):
        await plant.undo()
    plant.file.set_values({"dlms.policy": None})
    assert set(before.split()) - set(plant.file.path.read_text().split()) == set()


async def test_a_file_that_cannot_be_written_changes_nothing(plant: Plant) -> None:
    """The port had been opened already: it is given back, and the old one is served."""
    plant.file.previous.mkdir()
    before, port = plant.file.path.read_bytes(), free_port()
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(plant.password))
        with pytest.raises(ConfigError, match="cannot be written"):
            await plant.save(dlms__port=port, dlms__authentication="high")
        await goes_on(wire)
    assert plant.file.path.read_bytes() == before
    with pytest.raises(ConnectionRefusedError):
        await plant.answer(port)
    assert await plant.answer(plant.port) == 0


async def test_a_save_that_nobody_waits_for_is_done_to_its_end(plant: Plant) -> None:
    """Somebody leaves the screen at that moment: what is on disk holds in the gateway, too."""
    saving = plant.gateway.configure({"gateway.name": "Keller 4", "profiles.load_profile_1": "15 min"})
    async with asyncio.timeout(20):
        while not plant.file.previous.exists():  # noqa: ASYNC110  # another thread's file
            await asyncio.sleep(0)
    saving.cancel()
    await plant.until("the name", lambda seen: seen.name == "Keller 4")
    assert load_config(plant.file.path).gateway.name == "Keller 4"


async def test_a_database_that_fails_in_the_middle_leaves_the_old_configuration_in_force(
    plant: Plant,
) -> None:
    """A reload with another port, another meter and another level: all of it later, and none of it now."""
    edited = plant.file.path.read_text().replace(str(plant.port), str(free_port()))
    edited = edited.replace('authentication = "low"', 'authentication = "high"')
    plant.file.path.write_text(edited + '[[meter]]\naddress = "06855817"\nname = "heat"\n')
    database = sqlite3.connect(plant.state_dir / "gateway.db", isolation_level=None)
    try:
        database.execute("ALTER TABLE meter RENAME TO away")
        async with Wire(plant.port) as wire:
            await wire.ask(aarq(plant.password))
            with pytest.raises(CmeError, match="database"):
                await asyncio.wrap_future(plant.gateway.reload())
            await goes_on(wire)
        assert await plant.answer(plant.port) == 0
        assert {each.name: each.value for each in plant.gateway.settings()}["dlms.authentication"] == "low"
        seen = plant.gateway.snapshot()
        assert (seen.dlms.port, seen.dlms.authentication, len(seen.meters)) == (plant.port, "low", 1)
        database.execute("ALTER TABLE away RENAME TO meter")
    finally:
        database.close()
    await asyncio.wrap_future(plant.gateway.reload())
    seen = plant.gateway.snapshot()
    assert (seen.dlms.port != plant.port, seen.dlms.authentication, len(seen.meters)) == (True, "high", 2)


async def test_a_damaged_secrets_file_keeps_all_as_it_is(plant: Plant) -> None:
    """Neither settings nor secrets are saved, and clients go on with the password that holds."""
    path = plant.state_dir / "secrets.toml"
    password, before = plant.password, plant.file.path.read_bytes()
    path.write_text(path.read_text().replace("encryption_key", "encryption_kex"))
    damaged, port = path.read_bytes(), free_port()
    for change in (
        plant.gateway.configure({"dlms.port": port}),
        plant.gateway.set_secrets({"lls_password": "another"}),
    ):
        with pytest.raises(ConfigError, match="did you mean encryption_key"):
            await asyncio.wrap_future(change)
    assert (plant.file.path.read_bytes(), path.read_bytes()) == (before, damaged)
    with pytest.raises(ConnectionRefusedError):
        await plant.answer(port, password)
    assert await plant.answer(plant.port, password) == 0


async def test_a_mapping_that_cannot_be_read_stops_no_setting(plant: Plant) -> None:
    """The setting holds, the mapping that was active stays, and an alarm says what is wrong."""
    for path in (plant.state_dir / "mappings").glob("*.json"):
        path.write_text("{")
    before = plant.gateway.snapshot().meters[0].mapping
    await plant.save(gateway__name="Keller 4")
    seen = plant.gateway.snapshot()
    assert (seen.name, seen.meters[0].mapping) == ("Keller 4", before)
    assert any(alarm.startswith("Mapping ") for alarm in seen.alarms)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"dlms.port": 70000}, "port must be a whole number from 1 to 65535"),
        ({"dlms.prot": 4059}, "did you mean port"),
        ({"dmls.port": 4059}, "did you mean dlms"),
        ({"dlms": {"port": 4059}}, "no known key"),
        ({"gateway.timezone": "Mars/Olympus"}, "time zone"),
        ({"gateway.serial": "0016000001"}, "made once"),
        ({"obis.load_profile_1": "1.0.99.2.0.255"}, "the same code"),
        ({"push.report": [{"type": "x"}]}, "must be one of"),
        ({"push.host": "\ud800"}, "no character"),
        ({"dlms.port": [None]}, "cannot be changed here|whole number"),
        ({"dlms.port": {"": [{"": 1}]}}, "whole number"),
        ({"dlms.a.b": 1}, "no known key"),
        ({"dlms.": 1}, "no known key"),
        ({"": 1}, "no known table"),
        ({"line.1.name": "x"}, "no known table"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_with_its_reason(
    plant: Plant, values: dict[str, object], says: str
) -> None:
    """Whatever else is in the same save: nothing of it is written."""
    before = plant.file.path.read_bytes()
    with pytest.raises(ConfigError, match=says):
        await asyncio.wrap_future(plant.gateway.configure({"gateway.name": "other", **values}))
    assert plant.file.path.read_bytes() == before
    assert plant.gateway.snapshot().name != "other"


async def test_new_secrets_hold_at_once_and_disturb_nobody(plant: Plant) -> None:
    """Who is associated goes on; who comes next needs the new password."""
    old = plant.password
    async with Wire(plant.port) as wire:
        await wire.ask(aarq(old))
        await asyncio.wrap_future(plant.gateway.set_secrets({"lls_password": "a new one"}))
        await goes_on(wire)
    assert await plant.answer(plant.port, old) != 0
    assert await plant.answer(plant.port, b"a new one") == 0


async def test_new_keys_hold_at_once(plant: Plant) -> None:
    """A client with the old key is not let in, one with the new key is."""
    await plant.save(dlms__authentication="high")
    old = load_secrets(plant.state_dir / "secrets.toml")
    await asyncio.wrap_future(plant.gateway.set_secrets(generated(["encryption_key", "authentication_key"])))
    new = load_secrets(plant.state_dir / "secrets.toml")
    assert (new.lls_password, new.master_key) == (old.lls_password, old.master_key)
    for secrets, let_in in ((old, False), (new, True)):
        async with CipheredWire(
            plant.port, encryption=secrets.encryption_key, authentication=secrets.authentication_key
        ) as wire:
            await wire.associate()
            assert bool(wire.stoc) is let_in
            if let_in:
                assert (await wire.ask_ciphered(wire.reply()))[0] == 0xC7
