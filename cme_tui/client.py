"""The client of the control socket: talks to the gateway that runs on a state directory."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from core.control import short_path
from core.errors import BadInputError, CmeError
from core.statedir import StateDir

LONGEST_LINE: Final = 64 << 20
"""Bytes; the status of ten thousand meters has a tenth of it."""

ANSWER_S: Final = 60.0
"""A readout of a meter that does not answer takes half of it."""


class ClientError(CmeError):
    """No gateway runs there, or it refused a call; the message is a sentence."""


class RefusedError(ClientError, BadInputError):
    """The gateway says that what it was asked for makes no sense."""


class NoGatewayError(ClientError):
    """No gateway runs there."""


class Client:
    """A connection to a running gateway; it takes one call. Made by `connect`, closed by `with`."""

    def __init__(self, connection: socket.socket, state_dir: Path) -> None:
        self._connection = connection
        self._state_dir = state_dir

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An answer that is still being read keeps the socket open otherwise.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def call(self, call: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The lines of the answer (`core.control` names the calls), as they come.

        Raises `ClientError` for a line that is an error, and where the answer ends without one line.
        """
        request = json.dumps({"call": call, **parameters}).encode() + b"\n"
        came = False
        try:
            self._connection.sendall(request)
            with self._connection.makefile("rb") as lines:
                while line := lines.readline(LONGEST_LINE):
                    answer = json.loads(line)
                    if "error" in answer:
                        kind = RefusedError if answer.get("bad_input") else ClientError
                        raise kind(answer["error"])
                    came = True
                    yield answer
        except (OSError, ValueError) as error:
            reason = str(error).lower() if isinstance(error, OSError) else "what came is no JSON"
            raise ClientError(
                f"The gateway on {self._state_dir} does not answer ({reason}); look at its log, or start it again."
            ) from None
        if not came:
            raise ClientError(f"The gateway on {self._state_dir} ended before it answered; start it again.")


def connect(state_dir: Path, timeout: float | None = ANSWER_S) -> Client:
    """Connect to the gateway that runs on `state_dir`. Raises `NoGatewayError`, a sentence, if there is none.

    `timeout` is the longest wait for each line of the answer, in s; None for as long as it takes. Raises `ClientError`
    where the gateway is another user's.
    """
    path = StateDir(state_dir).control_socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with short_path(path) as short:
            connection.connect(short)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        raise NoGatewayError(
            f"No gateway is running on {state_dir}: start it with cme-tui --headless --state-dir {state_dir}."
        ) from None
    except OSError as error:
        connection.close()
        raise ClientError(
            f"The control socket {path} cannot be used ({error.strerror}); run this as the gateway's user, or as root."
        ) from None
    return Client(connection, state_dir)


def ask(state_dir: Path, call: str, **parameters: Any) -> dict[str, Any]:
    """The only line of the answer to a call. Raises `ClientError`."""
    with connect(state_dir) as client:
        return next(client.call(call, **parameters))


def change(state_dir: Path, stopped: Callable[[StateDir], object], call: str, **parameters: Any) -> bool:
    """Have the gateway make a change, or make it with `stopped` where none runs; whether one does.

    No gateway can start while `stopped` is at work. Raises `CmeError`, and then nothing has changed.
    """
    try:
        ask(state_dir, call, **parameters)
    except NoGatewayError:
        state = StateDir(state_dir)
        state.create()
        with state.lock():
            stopped(state)
        return False
    return True
