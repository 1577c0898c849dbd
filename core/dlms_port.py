"""The DLMS port: a server that listens where the configuration wants it, and what is kept of what happens there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from core.clock import Clock
from core.config import DlmsConfig
from core.cosem.base import DeviceDirectory
from core.dlms.limits import ServerLimits
from core.dlms.observer import SessionView
from core.dlms.server import DlmsServer
from core.errors import CmeError
from core.events import EventCode, Events
from core.events.security import SecurityLog
from core.facade import RunOptions
from core.security import Security
from core.snapshot import DlmsView
from core.trace import DlmsLog

log = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 10.0
"""For a value that needs a readout; then temporary-failure. Head-ends give up after 15 s or more."""


class DlmsWatch(DlmsLog):
    """Keeps what happens on the DLMS port, and logs as events what a fraud log is for."""

    def __init__(self, clock: Clock, events: Events, touch: Callable[[], None]) -> None:
        super().__init__(clock.now_ms, touch)
        self._security_log = SecurityLog(events, time.monotonic)

    def associated(self, session: SessionView) -> None:
        log.info(
            "%s: client %s associated with logical device %s", session.peer, session.client_sap, session.sap
        )
        super().associated(session)

    def authentication_failed(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        text = f"client {client_sap}, device {sap}: {reason}"
        self._security_log.failed(EventCode.AUTHENTICATION_FAILURE, peer, text)
        super().authentication_failed(peer, client_sap, sap, reason)

    def not_deciphered(self, peer: str, client_sap: int, sap: int, reason: str) -> None:
        text = f"client {client_sap}, device {sap}: {reason}"
        self._security_log.failed(EventCode.DECRYPTION_FAILURE, peer, text)
        super().not_deciphered(peer, client_sap, sap, reason)

    def replayed(self, peer: str, client_sap: int, sap: int, counter: int, last: int) -> None:
        text = f"client {client_sap}, device {sap}: counter {counter}, not above {last}"
        self._security_log.failed(EventCode.REPLAY_ATTACK, peer, text)
        super().replayed(peer, client_sap, sap, counter, last)


class DlmsPort:
    """The server of one gateway. Belongs to the core's event loop."""

    def __init__(
        self,
        config: DlmsConfig,
        options: RunOptions,
        directory: DeviceDirectory,
        security: Security,
        watch: DlmsWatch,
    ) -> None:
        """`options` may have another host and port than the configuration, for this run."""
        self._config = config
        self._options = options
        self._security = security
        self.watch: Final = watch
        self._server = DlmsServer(directory, security, _limits(config), watch)

    async def start(self) -> None:
        """Listen where the configuration wants that at all. Raises `CmeError`."""
        if self._config.enabled:
            await self._server.start(*self._endpoint(self._config))

    async def close(self) -> None:
        """Let the clients go."""
        await self._server.stop()

    async def check(self, config: DlmsConfig) -> None:
        """Raises `CmeError` as `move` would."""
        if self._moves(config):
            await self._server.check(*self._endpoint(config))

    async def move(self, config: DlmsConfig) -> bool:
        """Listen where `config` says; whether that is new. Raises `CmeError`, and then all is as it was.

        `use` or `move_back` has to follow.
        """
        moves = self._moves(config)
        if moves:
            await self._server.start(*self._endpoint(config))
        return moves

    async def move_back(self) -> None:
        """Listen again where the configuration says that stays in force."""
        try:
            await self.start()
            if not self._config.enabled:
                await self._server.stop()
        except CmeError as error:
            log.error("After a change that failed: %s", error)

    async def use(self, config: DlmsConfig) -> None:
        """Have `config` hold, to which the server has moved."""
        self._config = config
        self._server.limits = _limits(config)
        if not config.enabled:
            await self._server.stop()

    def sessions(self) -> tuple[SessionView, ...]:
        """The clients that are connected."""
        return self._server.sessions()

    def view(self, logical_devices: int) -> DlmsView:
        """The port as screens show it."""
        host, port = self._endpoint(self._config)
        security = self._security
        return DlmsView(
            enabled=self._config.enabled,
            host=host,
            port=self._server.port or port,
            listening=self._server.listening,
            reason="" if self._config.enabled else "DLMS is switched off in config.toml.",
            authentication=security.level().name.lower(),
            policy=security.policy().name.lower().replace("_", "-"),
            frame_counter=security.frame_counter(),
            logical_devices=logical_devices,
        )

    def _moves(self, config: DlmsConfig) -> bool:
        """Whether `config` has the server listen where it does not."""
        stays = self._server.listening and self._endpoint(config) == self._endpoint(self._config)
        return config.enabled and not stays

    def _endpoint(self, config: DlmsConfig) -> tuple[str, int]:
        host, port = self._options.dlms_host, self._options.dlms_port
        return (config.host if host is None else host, config.port if port is None else port)


def _limits(config: DlmsConfig) -> ServerLimits:
    return ServerLimits(
        connections=config.max_connections,
        connections_per_peer=config.max_connections,
        inactivity=config.inactivity_timeout,
        wait=LONGEST_WAIT_S,
    )
