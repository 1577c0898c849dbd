"""Where the gateway of a state directory listens, and what a head-end system must know to get in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from cme_tui.client import ClientError, connect
from core.config import load_config
from core.errors import CmeError
from core.secrets import load_secrets
from core.statedir import StateDir

Level = Literal["none", "low", "high"]

LEVELS: Final[tuple[Level, ...]] = ("none", "low", "high")
"""Authentication of the management client, the weakest first."""

_STATUS_SECONDS: Final = 5.0

_ANY_ADDRESS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Access:
    """The gateway and its secrets, as a head-end system has them in its configuration."""

    host: str
    port: int
    lowest: Level
    """The lowest authentication that the gateway admits for the management client."""
    ciphered: bool
    """Whether the policy of the gateway wants every APDU of the management client authenticated and encrypted."""
    password: str = field(repr=False)
    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    state_dir: Path | None = None
    """That of the gateway, over whose control socket pushes can be asked for."""


def load_access(state_dir: Path, host: str | None, port: int | None) -> Access:
    """Access to the gateway of `state_dir`; `host` and `port` stand for its own where given.

    Its own are those on which it listens now, the configured ones where it does not answer on its control
    socket. Raises `CmeError`, also before the first start.
    """
    state = StateDir(state_dir)
    config = load_config(state.config)
    if not state.secrets.exists():
        raise CmeError(f"There are no secrets in {state_dir} yet; start the gateway once, it makes them.")
    secrets = load_secrets(state.secrets)
    own_host, own_port = config.dlms.host, config.dlms.port
    if host is None or port is None:
        with contextlib.suppress(ClientError):
            own_host, own_port = _listening(state_dir)
    named = own_host if host is None else host
    return Access(
        host=_ANY_ADDRESS.get(named, named),
        port=own_port if port is None else port,
        lowest=config.dlms.authentication,
        ciphered=config.dlms.policy != "none",
        password=secrets.lls_password,
        encryption_key=secrets.encryption_key,
        authentication_key=secrets.authentication_key,
        state_dir=state_dir,
    )


def _listening(state_dir: Path) -> tuple[str, int]:
    """Where the running gateway listens. Raises `ClientError` if none answers, `CmeError` if it does not listen."""
    with connect(state_dir, _STATUS_SECONDS) as client:
        dlms = next(client.call("status"))["dlms"]
    if not dlms["listening"]:
        why = dlms["reason"] or "it is switched off; set [dlms] enabled = true in config.toml"
        raise CmeError(f"The DLMS server of {state_dir} does not listen: {why}")
    return dlms["host"], dlms["port"]
