"""The one owner of what protects the gateway: password, keys, policy, level and invocation counters.

A client's change is on disk before it is answered, and holds from when its answer has been protected. Keys:
Blue Book 4.4.7 (security setup), wrapped as in RFC 3394.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from core.clock import Clock
from core.config import Config, ConfigError
from core.config import Policy as PolicyName
from core.config_file import ConfigFile
from core.cosem.base import Context, DataAccessError
from core.counters import InvocationCounters
from core.dlms.admission import Keys, Level, Policy
from core.dlms.errors import CounterError
from core.dlms.xdlms import DataAccessResult
from core.secrets import (
    KEY_BYTES,
    Secrets,
    changed_secrets,
    is_password,
    load_secrets,
    save_secrets,
)
from core.statedir import StateDir
from core.store import Store

log = logging.getLogger(__name__)

PARAMETERS_CHANGED: Final = 47
"""Event code for password, policy and level."""
KEYS_CHANGED: Final = 48
"""Event code for EK, AK and KEK."""

_POLICIES: Final[Mapping[PolicyName, Policy]] = {
    "none": Policy.NONE,
    "authenticated-encrypted": Policy.AUTHENTICATED_ENCRYPTED,
}
_TRANSFERABLE: Final = {0: "encryption_key", 2: "authentication_key", 3: "master_key"}
_BROADCAST_KEY: Final = 1
_SHOWN: Final = {
    "encryption_key": "encryption key",
    "authentication_key": "authentication key",
    "master_key": "master key",
    "lls_password": "LLS password",
    "policy": "security policy",
    "authentication": "lowest authentication level",
    "meter_keys": "keys of meters",
}

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_LATEST_S = 15.0
"""When a change holds even if its answer was never sent, because the client is gone."""


class _Pending:
    """Changes of one client that are on disk and hold from its answer on."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.effects: list[Callable[[], None]] = []
        self.done = asyncio.Event()

    def settle(self) -> None:
        effects, self.effects = self.effects, []
        for effect in effects:
            effect()
        self.done.set()


class Security:
    """Implements `core.dlms.admission.Credentials`. All methods belong to one event loop."""

    def __init__(
        self,
        state: StateDir,
        secrets: Secrets,
        config: Config,
        counters: InvocationCounters,
        changed: Callable[[int, str], None],
    ) -> None:
        """Use `open`."""
        self._state = state
        self._counters = counters
        self._changed = changed
        self._lock = asyncio.Lock()
        self._pending: _Pending | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._take(secrets, config)
        self._coming = secrets, config  # what holds when nothing is pending any more

    @classmethod
    async def open(
        cls,
        store: Store,
        state: StateDir,
        secrets: Secrets,
        config: Config,
        *,
        fresh: bool,
        clock: Clock,
        changed: Callable[[int, str], None],
    ) -> Security:
        """Take up the counters of the encryption key in `secrets`.

        `fresh` says that this process has made the secrets. `clock` is that of the machine. `changed` is called
        with an event code and a sentence for every change that is on disk. Raises CounterError and StoreError.
        """
        counters = await InvocationCounters.open(store, state.counters, secrets.encryption_key, fresh, clock)
        return cls(state, secrets, config, counters, changed)

    @property
    def counters(self) -> InvocationCounters:
        return self._counters

    @property
    def secrets(self) -> Secrets:
        """Those that hold now."""
        return self._secrets

    def level(self) -> Level:
        return self._level

    def policy(self) -> Policy:
        return self._policy

    def lls_password(self) -> bytes:
        return self._password

    def keys(self) -> Keys:
        return self._keys

    def system_title(self) -> bytes:
        return self._title

    def in_force(self, config: Config) -> Config:
        """`config` with the policy that holds, which a client may have raised. May be called from any thread."""
        return dataclasses.replace(
            config, dlms=dataclasses.replace(config.dlms, policy=self._config.dlms.policy)
        )

    def frame_counter(self) -> int:
        """The highest invocation counter accepted from a client under the present key, 0 for none."""
        return self._counters.highest()

    async def transfer_keys(self, keys: Sequence[tuple[int, bytes]], context: Context) -> None:
        """Take new keys, all or none: id 0 EK, 2 AK, 3 KEK, each wrapped under the present KEK.

        Raises DataAccessError: read-write-denied for the broadcast key, which is not used here; other-reason for
        an unknown or repeated id, a key that cannot be unwrapped, and one that is another key of the gateway too;
        temporary-failure where the disk does not take them.
        """
        await self._finish(self._transfer(keys, context))

    async def set_lls_password(self, value: bytes, context: Context) -> None:
        """Take a new LLS password, 1 to 64 printable ASCII characters. Raises DataAccessError."""
        await self._finish(self._set_password(value, context))

    async def raise_policy(self, policy: int, context: Context) -> None:
        """Demand authentication and encryption (3) from now on; config.toml says so too.

        The present policy is no change. Raises DataAccessError: read-write-denied to lower it, other-reason for a
        policy that suite 0 does not have here, temporary-failure where the file cannot be written.
        """
        await self._finish(self._raise_policy(policy, context))

    async def reload(
        self, save: Callable[[], Config] | None = None, values: Mapping[str, str] = NOTHING
    ) -> tuple[str, ...]:
        """Take what secrets.toml and config.toml say now; the names of what changed, as in the files.

        `save` writes config.toml before, and `values` are changes for secrets.toml (`changed_secrets`): on disk
        once nothing else can fail. The files are read here, so that none of what a client changes meanwhile is
        undone. Raises ConfigError and CounterError, and then has changed nothing.
        """
        async with self._alone():
            secrets, config = await asyncio.to_thread(self._read)
            secrets = changed_secrets(secrets, values)
            # Nobody knows where a key has been that comes from a file: it is not taken for a new one.
            switch = await self._counters.prepare(secrets.encryption_key, fresh=False)
            if values:
                await asyncio.to_thread(save_secrets, self._state.secrets, secrets)
            if save is not None:
                config = await asyncio.to_thread(save)
            names = self._differences(secrets, config)
            switch()
            self._take(secrets, config)
            self._coming = secrets, config
            self._report(names, "locally")
            return names

    async def close(self) -> None:
        """End what is being changed, and close the counters."""
        async with self._lock:
            if self._pending is not None:
                self._pending.settle()
            await self._counters.close()

    def _take(self, secrets: Secrets, config: Config) -> None:
        self._secrets = secrets
        self._password = secrets.lls_password.encode()
        self._keys = Keys(secrets.encryption_key, secrets.authentication_key)
        self._level = Level[config.dlms.authentication.upper()]
        self._policy = _POLICIES[config.dlms.policy]
        self._title = config.gateway.system_title
        self._config = config

    def _read(self) -> tuple[Secrets, Config]:
        return load_secrets(self._state.secrets), ConfigFile(self._state.config).load()

    def _differences(self, secrets: Secrets, config: Config) -> tuple[str, ...]:
        fields = [field.name for field in dataclasses.fields(Secrets)]
        names = [name for name in fields if getattr(secrets, name) != getattr(self._secrets, name)]
        settings = ("authentication", "policy")
        dlms = self._config.dlms
        return (*names, *(name for name in settings if getattr(config.dlms, name) != getattr(dlms, name)))

    async def _transfer(self, keys: Sequence[tuple[int, bytes]], context: Context) -> None:
        async with self._alone(context):
            secrets, config = self._coming
            if any(getattr(secrets, name) != getattr(self._secrets, name) for name in _TRANSFERABLE.values()):
                # The second transfer of one request: the first does not hold yet.
                raise DataAccessError(DataAccessResult.TEMPORARY_FAILURE)
            unwrapped = self._unwrap(keys)
            changes: dict[str, Any] = {
                name: key for name, key in unwrapped.items() if getattr(secrets, name) != key
            }
            if not changes:
                return
            secrets = dataclasses.replace(secrets, **changes)
            try:
                switch = await self._counters.prepare(secrets.encryption_key, fresh=True)
                await asyncio.to_thread(self._save, changes)
            except (CounterError, ConfigError) as error:
                raise _not_taken("Keys", context, error) from error
            self._after_answer(context, secrets, config, switch)
            self._report(changes, f"by {context.peer}")

    def _unwrap(self, keys: Sequence[tuple[int, bytes]]) -> dict[str, bytes]:
        if any(number == _BROADCAST_KEY for number, _ in keys):
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        names = [_TRANSFERABLE.get(number) for number, _ in keys]
        unwrapped = {}
        for name, (_, wrapped) in zip(names, keys, strict=True):
            if name is None or names.count(name) > 1:
                raise DataAccessError(DataAccessResult.OTHER_REASON)
            unwrapped[name] = _unwrapped(self._secrets.master_key, wrapped)
        present = {name: getattr(self._secrets, name) for name in _TRANSFERABLE.values()}
        together = list({**present, **unwrapped}.values())
        if any(together.count(key) > 1 for key in unwrapped.values()):
            raise DataAccessError(DataAccessResult.OTHER_REASON)
        return unwrapped

    async def _set_password(self, value: bytes, context: Context) -> None:
        password = value.decode("latin-1")
        if not is_password(password):
            raise DataAccessError(DataAccessResult.OTHER_REASON)
        async with self._alone(context):
            secrets, config = self._coming
            if password == secrets.lls_password:
                return
            changes = {"lls_password": password}
            try:
                await asyncio.to_thread(self._save, changes)
            except ConfigError as error:
                raise _not_taken("A password", context, error) from error
            self._after_answer(context, dataclasses.replace(secrets, lls_password=password), config)
            self._report(changes, f"by {context.peer}")

    async def _raise_policy(self, policy: int, context: Context) -> None:
        names = {number: name for name, number in _POLICIES.items()}
        if policy not in names:
            raise DataAccessError(DataAccessResult.OTHER_REASON)
        wanted = names[Policy(policy)]
        async with self._alone(context):
            secrets, config = self._coming
            if wanted == config.dlms.policy:
                return
            if policy < _POLICIES[config.dlms.policy]:
                raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
            file = ConfigFile(self._state.config)
            try:
                await asyncio.to_thread(file.set_values, {"dlms.policy": wanted})
            except ConfigError as error:
                raise _not_taken("A security policy", context, error) from error
            dlms = dataclasses.replace(config.dlms, policy=wanted)
            self._after_answer(context, secrets, dataclasses.replace(config, dlms=dlms))
            self._report(["policy"], f"by {context.peer}")

    def _save(self, changes: Mapping[str, Any]) -> None:
        """Change secrets.toml. What a technician has changed in it meanwhile stays, and holds from a reload on."""
        path = self._state.secrets
        save_secrets(path, dataclasses.replace(load_secrets(path), **changes))

    async def _finish(self, change: Coroutine[Any, Any, None]) -> None:
        """Do a change to its end, also where the client goes away and its request is cancelled."""
        task = asyncio.create_task(change)
        self._work.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # the client was told, or is gone

    @contextlib.asynccontextmanager
    async def _alone(self, context: Context | None = None) -> AsyncIterator[None]:
        """One change at a time, and not before that of another client holds; two of one request hold together."""
        while True:
            async with self._lock:
                pending = self._pending
                if pending is None or pending.context is context or pending.done.is_set():
                    yield
                    return
            await pending.done.wait()

    def _after_answer(
        self, context: Context, secrets: Secrets, config: Config, switch: Callable[[], None] | None = None
    ) -> None:
        """Have these hold, and the counters switched, when the answer to `context` is protected."""
        self._coming = secrets, config
        pending = self._pending
        if pending is None or pending.done.is_set():
            pending = self._pending = _Pending(context)
            # The client may be gone before its answer: what is on disk must hold all the same.
            asyncio.get_running_loop().call_later(_LATEST_S, pending.settle)

        def effect() -> None:
            if switch is not None:
                switch()
            self._take(secrets, config)

        pending.effects.append(effect)
        context.after_answer.append(pending.settle)

    def _report(self, names: Sequence[str] | Mapping[str, Any], by: str) -> None:
        for code, kept in (
            (KEYS_CHANGED, [name for name in names if name in _TRANSFERABLE.values()]),
            (PARAMETERS_CHANGED, [name for name in names if name not in _TRANSFERABLE.values()]),
        ):
            if kept:
                text = ", ".join(_SHOWN[name] for name in kept)
                self._changed(code, f"{text[0].upper()}{text[1:]} changed {by}")


def _not_taken(what: str, context: Context, error: Exception) -> DataAccessError:
    log.error("%s from %s could not be kept, nothing has changed: %s", what, context.peer, error)
    return DataAccessError(DataAccessResult.TEMPORARY_FAILURE)


def _unwrapped(master_key: bytes, wrapped: bytes) -> bytes:
    try:
        key = aes_key_unwrap(master_key, wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise DataAccessError(DataAccessResult.OTHER_REASON) from error
    if len(key) != KEY_BYTES:
        raise DataAccessError(DataAccessResult.OTHER_REASON)
    return key
