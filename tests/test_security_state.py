"""Keys, password and policy: changed by those who may, on disk before the answer, in force after it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

import core.security
from core.clock import SystemClock
from core.config import ConfigError
from core.config_file import ConfigFile
from core.cosem.base import Context, DataAccessError, LogicalDevice
from core.dlms.admission import Credentials, Keys, Level, Policy
from core.dlms.xdlms import DataAccessResult
from core.secrets import Secrets, ensure_secrets, load_secrets, save_secrets
from core.security import KEYS_CHANGED, PARAMETERS_CHANGED, Security
from core.statedir import StateDir
from core.store import Store

NEW_EK, NEW_AK, NEW_KEK = bytes([1]) * 16, bytes([2]) * 16, bytes([3]) * 16
EK, BROADCAST, AK, KEK = range(4)
TITLE = b"ABC\0\0\0\0\1"


class NoDevices:
    """A directory in which nothing is: a context needs one."""

    def device(self, sap: int) -> LogicalDevice | None:
        return None

    def devices(self) -> Iterable[LogicalDevice]:
        return ()


def client(peer: str = "192.0.2.7:51034") -> Context:
    return Context(1, 1, peer, NoDevices())


def answer(context: Context) -> None:
    """What the association does when the answer has been protected."""
    effects = context.after_answer[:]
    context.after_answer.clear()
    for effect in effects:
        effect()


class Plant:
    """A gateway's state directory, and what its event log was told."""

    def __init__(self, path: Path) -> None:
        self.state = StateDir(path)
        self.state.create()
        ConfigFile(self.state.config).prepare()
        self.secrets = ensure_secrets(self.state.secrets)
        self.events: list[tuple[int, str]] = []

    @asynccontextmanager
    async def running(self, *, fresh: bool = True) -> AsyncIterator[Security]:
        store = await Store.open(self.state.database)
        security = await Security.open(
            store,
            self.state,
            load_secrets(self.state.secrets),
            ConfigFile(self.state.config).load(),
            fresh=fresh,
            clock=SystemClock(),
            changed=lambda code, message: self.events.append((code, message)),
        )
        yield security
        await security.close()
        await store.close()

    def wrapped(self, **keys: bytes) -> list[tuple[int, bytes]]:
        numbers = {"ek": EK, "ak": AK, "kek": KEK, "broadcast": BROADCAST}
        kek = load_secrets(self.state.secrets).master_key
        return [(numbers[name], aes_key_wrap(kek, key)) for name, key in keys.items()]

    def stored(self) -> Secrets:
        return load_secrets(self.state.secrets)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path / "state")


async def refused(change: object, code: DataAccessResult) -> None:
    with pytest.raises(DataAccessError) as caught:
        await change  # type: ignore[misc]
    assert caught.value.code is code


async def test_what_is_configured_holds(plant: Plant) -> None:
    """Secrets, level and policy are those of the files."""
    file = ConfigFile(plant.state.config)
    file.set_values({"dlms.authentication": "low", "dlms.policy": "authenticated-encrypted"})
    async with plant.running() as security:
        credentials: Credentials = security
        assert credentials.keys() == Keys(plant.secrets.encryption_key, plant.secrets.authentication_key)
        assert credentials.lls_password() == plant.secrets.lls_password.encode()
        assert credentials.level() is Level.LOW
        assert credentials.policy() is Policy.AUTHENTICATED_ENCRYPTED
        assert credentials.system_title() == file.load().gateway.system_title
        assert credentials.counters.next() == 1
        assert plant.events == []


async def test_transferred_keys_hold_after_the_answer(plant: Plant) -> None:
    """They are on disk before; the answer itself goes out under the old keys and their counters."""
    async with plant.running() as security:
        await (security.counters.accept(TITLE, 70) or asyncio.sleep(0))
        assert security.counters.next() == 1
        context = client()
        await security.transfer_keys(plant.wrapped(ek=NEW_EK, ak=NEW_AK, kek=NEW_KEK), context)
        assert security.keys() == Keys(plant.secrets.encryption_key, plant.secrets.authentication_key)
        assert security.counters.next() == 2
        stored = plant.stored()
        assert (stored.encryption_key, stored.authentication_key, stored.master_key) == (
            NEW_EK,
            NEW_AK,
            NEW_KEK,
        )
        assert stored.lls_password == plant.secrets.lls_password
        answer(context)
        assert security.keys() == Keys(NEW_EK, NEW_AK)
        assert security.secrets == stored
        assert (security.counters.next(), security.counters.last(TITLE), security.frame_counter()) == (
            1,
            -1,
            0,
        )
        assert plant.events == [
            (KEYS_CHANGED, "Encryption key, authentication key, master key changed by 192.0.2.7:51034")
        ]
    assert stat.S_IMODE(plant.state.secrets.stat().st_mode) == 0o600
    async with plant.running(fresh=False) as security:
        assert security.keys() == Keys(NEW_EK, NEW_AK)
        assert security.counters.next() == 2


async def test_only_a_new_encryption_key_resets_counters(plant: Plant) -> None:
    """They go on under new AK and KEK."""
    async with plant.running() as security:
        assert security.counters.next() == 1
        context = client()
        await security.transfer_keys(plant.wrapped(ak=NEW_AK, kek=NEW_KEK), context)
        answer(context)
        assert security.keys() == Keys(plant.secrets.encryption_key, NEW_AK)
        assert security.counters.next() == 2


async def test_the_next_keys_come_under_the_new_master_key(plant: Plant) -> None:
    """And no longer under the old one."""
    async with plant.running() as security:
        old = plant.wrapped(ek=NEW_EK)
        context = client()
        await security.transfer_keys(plant.wrapped(kek=NEW_KEK), context)
        answer(context)
        await refused(security.transfer_keys(old, client()), DataAccessResult.OTHER_REASON)
        await security.transfer_keys(plant.wrapped(ek=NEW_EK), context)
        answer(context)
        assert security.keys().encryption == NEW_EK


async def test_keys_that_are_there_already_are_no_change(plant: Plant) -> None:
    """No event, and counters go on."""
    async with plant.running() as security:
        context = client()
        await security.transfer_keys(plant.wrapped(ek=plant.secrets.encryption_key), context)
        answer(context)
        assert plant.events == []
        assert security.counters.next() == 1


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ([(EK, "wrapped"), (AK, "damaged")], DataAccessResult.OTHER_REASON),
        ([(AK, "other master key")], DataAccessResult.OTHER_REASON),
        ([(EK, "plain")], DataAccessResult.OTHER_REASON),
        ([(EK, "empty")], DataAccessResult.OTHER_REASON),
        ([(EK, "long")], DataAccessResult.OTHER_REASON),
        ([(EK, "wrapped"), (EK, "another")], DataAccessResult.OTHER_REASON),
        ([(EK, "wrapped"), (AK, "wrapped")], DataAccessResult.OTHER_REASON),
        ([(EK, "the authentication key")], DataAccessResult.OTHER_REASON),
        ([(EK, "wrapped"), (4, "another")], DataAccessResult.OTHER_REASON),
        ([(EK, "wrapped"), (BROADCAST, "another")], DataAccessResult.READ_WRITE_DENIED),
    ],
)
async def test_of_keys_that_do_not_fit_none_is_taken(
    plant: Plant, keys: list[tuple[int, str]], code: DataAccessResult
) -> None:
    """One bad key of a set refuses the whole set; file, keys and counters stay as they are."""
    kek = plant.secrets.master_key
    wrapped = aes_key_wrap(kek, NEW_EK)
    values = {
        "wrapped": wrapped,
        "another": aes_key_wrap(kek, NEW_AK),
        "damaged": bytes([wrapped[0] ^ 1]) + wrapped[1:],
        "other master key": aes_key_wrap(NEW_KEK, NEW_AK),
        "plain": NEW_EK,
        "empty": b"",
        "long": aes_key_wrap(kek, bytes(32)),
        "the authentication key": aes_key_wrap(kek, plant.secrets.authentication_key),
    }
    before = plant.state.secrets.read_bytes()
    async with plant.running() as security:
        context = client()
        await refused(
            security.transfer_keys([(number, values[name]) for number, name in keys], context), code
        )
        assert context.after_answer == []
        assert security.secrets == plant.secrets
        assert security.counters.next() == 1
    assert plant.state.secrets.read_bytes() == before
    assert plant.events == []


async def test_transfers_of_several_clients_come_one_after_the_other(plant: Plant) -> None:
    """The second waits until the first holds: then it is wrapped under a master key that is no more."""
    async with plant.running() as security:
        first, second = client("192.0.2.1:1"), client("192.0.2.2:2")
        keys = plant.wrapped(ek=NEW_EK, kek=NEW_KEK)
        also = plant.wrapped(ak=NEW_AK)
        await security.transfer_keys(keys, first)
        waiting = asyncio.create_task(security.transfer_keys(also, second))
        password = asyncio.create_task(security.set_lls_password(b"another password", second))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        answer(first)
        await refused(waiting, DataAccessResult.OTHER_REASON)
        await password
        answer(second)
        assert security.keys() == Keys(NEW_EK, plant.secrets.authentication_key)
        assert security.lls_password() == b"another password"
        assert security.secrets == plant.stored()


async def test_one_request_can_change_several_things(plant: Plant) -> None:
    """A list of SETs and ACTIONs has one answer, after which all hold; only one transfer fits into it."""
    async with plant.running() as security:
        context = client()
        await security.set_lls_password(b"another password", context)
        await security.transfer_keys(plant.wrapped(ek=NEW_EK), context)
        await security.raise_policy(3, context)
        await refused(
            security.transfer_keys(plant.wrapped(ak=NEW_AK), context), DataAccessResult.TEMPORARY_FAILURE
        )
        assert security.secrets == plant.secrets
        assert security.policy() is Policy.NONE
        answer(context)
        assert security.secrets == plant.stored()
        assert security.keys().encryption == NEW_EK
        assert security.lls_password() == b"another password"
        assert security.policy() is Policy.AUTHENTICATED_ENCRYPTED


async def test_a_change_holds_even_if_the_client_is_gone(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is never sent; what is on disk must be what the gateway uses."""
    monkeypatch.setattr(core.security, "_LATEST_S", 0.05)
    async with plant.running() as security:
        task = asyncio.create_task(security.transfer_keys(plant.wrapped(ek=NEW_EK), client()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other = client()
        async with asyncio.timeout(20):
            await security.set_lls_password(b"another password", other)
        assert security.keys().encryption == NEW_EK == plant.stored().encryption_key


async def test_a_stop_before_the_answer_keeps_the_new_keys(plant: Plant) -> None:
    """And their counters, under which nothing was sent yet."""
    async with plant.running() as security:
        await security.transfer_keys(plant.wrapped(ek=NEW_EK), client())
    async with plant.running(fresh=False) as security:
        assert security.keys().encryption == NEW_EK
        assert security.counters.next() == 1


async def test_a_disk_that_refuses_changes_nothing(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """The client hears of a temporary failure; the log says why, and shows no secret."""
    async with plant.running() as security:
        kept = plant.state.secrets.rename(plant.state.path / "kept")
        plant.state.secrets.mkdir()
        keys = [(EK, aes_key_wrap(plant.secrets.master_key, NEW_EK))]
        context = client()
        with caplog.at_level(logging.DEBUG):
            await refused(security.transfer_keys(keys, context), DataAccessResult.TEMPORARY_FAILURE)
            await refused(
                security.set_lls_password(b"another password", context), DataAccessResult.TEMPORARY_FAILURE
            )
        assert "secrets.toml" in caplog.text
        assert "another password" not in caplog.text
        assert NEW_EK.hex() not in caplog.text.lower()
        answer(context)
        assert security.secrets == plant.secrets
        assert security.counters.next() == 1
        plant.state.secrets.rmdir()
        kept.rename(plant.state.secrets)
        await security.transfer_keys(keys, context)
        answer(context)
        assert security.keys().encryption == NEW_EK
    assert [code for code, _ in plant.events] == [KEYS_CHANGED]


async def test_a_database_that_refuses_leaves_the_old_keys(plant: Plant) -> None:
    """Counters for the new key come first: without them it could not be used after a restart."""
    store = await Store.open(plant.state.database)
    security = await Security.open(
        store,
        plant.state,
        plant.secrets,
        ConfigFile(plant.state.config).load(),
        fresh=True,
        clock=SystemClock(),
        changed=lambda code, message: None,
    )
    await store.close()
    await refused(
        security.transfer_keys(plant.wrapped(ek=NEW_EK), client()), DataAccessResult.TEMPORARY_FAILURE
    )
    assert plant.stored() == plant.secrets
    await security.close()


async def test_the_password_can_be_changed(plant: Plant) -> None:
    """Keys and the keys of meters stay; the same one again is no change."""
    save_secrets(plant.state.secrets, dataclasses.replace(plant.secrets, meter_keys={"12345678": bytes(16)}))
    async with plant.running() as security:
        context = client()
        await security.set_lls_password(b"~ another one! ~", context)
        assert security.lls_password() == plant.secrets.lls_password.encode()
        answer(context)
        assert security.lls_password() == b"~ another one! ~"
        await security.set_lls_password(b"~ another one! ~", context)
    assert plant.stored() == dataclasses.replace(
        plant.secrets, lls_password="~ another one! ~", meter_keys={"12345678": bytes(16)}
    )
    assert plant.events == [(PARAMETERS_CHANGED, "LLS password changed by 192.0.2.7:51034")]


@pytest.mark.parametrize("value", [b"", b"x" * 65, b"tab\there", b"\xe5\xe4\xf6", b"nul\0"])
async def test_a_password_that_cannot_be_typed_is_refused(plant: Plant, value: bytes) -> None:
    """1 to 64 printable ASCII characters: the file could not hold another one."""
    async with plant.running() as security:
        await refused(security.set_lls_password(value, client()), DataAccessResult.OTHER_REASON)
        assert security.lls_password() == plant.secrets.lls_password.encode()


async def test_the_policy_can_be_raised_and_not_lowered(plant: Plant) -> None:
    """It stands in config.toml then, among what a technician wrote there."""
    text = (
        plant.state.config.read_text()
        + '\n[dlms]\nport = 4060 # behind the firewall\npolicy = "none" # yet\n'
    )
    plant.state.config.write_text(text)
    async with plant.running() as security:
        context = client()
        await security.raise_policy(0, context)
        assert (context.after_answer, plant.events) == ([], [])
        for unknown in (1, 2, 4, 255, -1):
            await refused(security.raise_policy(unknown, context), DataAccessResult.OTHER_REASON)
        await security.raise_policy(3, context)
        assert security.policy() is Policy.NONE
        answer(context)
        assert security.policy() is Policy.AUTHENTICATED_ENCRYPTED
        await security.raise_policy(3, context)
        await refused(security.raise_policy(0, context), DataAccessResult.READ_WRITE_DENIED)
        assert security.policy() is Policy.AUTHENTICATED_ENCRYPTED
    assert plant.state.config.read_text() == text.replace(
        'policy = "none"', 'policy = "authenticated-encrypted"'
    )
    assert plant.events == [(PARAMETERS_CHANGED, "Security policy changed by 192.0.2.7:51034")]


async def test_a_policy_that_cannot_be_written_does_not_hold(plant: Plant) -> None:
    """Else it would be gone with the next start."""
    async with plant.running() as security:
        plant.state.config.write_text("[dlms\n")
        context = client()
        await refused(security.raise_policy(3, context), DataAccessResult.TEMPORARY_FAILURE)
        answer(context)
        assert security.policy() is Policy.NONE


async def test_a_reload_takes_what_the_files_say(plant: Plant) -> None:
    """All of it, lower policy too; names are told, never values; a key from a file is not taken for a new one."""
    ConfigFile(plant.state.config).set_values({"dlms.policy": "authenticated-encrypted"})
    async with plant.running() as security:
        assert await security.reload() == ()
        ConfigFile(plant.state.config).set_values({"dlms.policy": "none", "dlms.authentication": "none"})
        changed = dataclasses.replace(plant.secrets, encryption_key=NEW_EK, lls_password="another password")
        save_secrets(plant.state.secrets, changed)
        assert await security.reload() == ("lls_password", "encryption_key", "authentication", "policy")
        assert security.secrets == changed
        assert security.keys().encryption == NEW_EK
        assert (security.level(), security.policy()) == (Level.NONE, Policy.NONE)
        assert security.counters.next() > 1 << 28
        assert plant.events == [
            (KEYS_CHANGED, "Encryption key changed locally"),
            (
                PARAMETERS_CHANGED,
                "LLS password, lowest authentication level, security policy changed locally",
            ),
        ]
        save_secrets(plant.state.secrets, plant.secrets)
        assert await security.reload() == ("lls_password", "encryption_key")
        assert security.counters.next() == 1  # the key that came back goes on where it was


async def test_a_reload_of_files_that_cannot_be_used_changes_nothing(plant: Plant) -> None:
    """The sentence names the file."""
    async with plant.running() as security:
        plant.state.secrets.write_text('master_key = "0011"\n')
        with pytest.raises(ConfigError, match=r"secrets\.toml"):
            await security.reload()
        assert security.secrets == plant.secrets


async def test_what_a_technician_has_changed_in_the_file_survives_a_client(plant: Plant) -> None:
    """A meter's key that was entered and not yet reloaded is not lost when a head-end changes the password."""
    async with plant.running() as security:
        edited = dataclasses.replace(plant.secrets, meter_keys={"12345678": NEW_EK})
        save_secrets(plant.state.secrets, edited)
        context = client()
        await security.set_lls_password(b"another password", context)
        answer(context)
        assert plant.stored() == dataclasses.replace(edited, lls_password="another password")
        assert not security.secrets.meter_keys
        assert await security.reload() == ("meter_keys",)
        assert security.secrets == plant.stored()
