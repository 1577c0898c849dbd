"""A head-end system of one association: drives the client process and turns its errors into sentences."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from typing import Any, Final

from cme_tui.hes.access import Access, Level
from core.cosem.base import MANAGEMENT_CLIENT, MANAGEMENT_DEVICE, PUBLIC_CLIENT
from core.dlms import wrapper
from core.dlms.acse import Diagnostic
from core.dlms.xdlms import DataAccessResult
from core.errors import CmeError
from core.push.received import Received

ANSWER_SECONDS: Final = 35.0
"""For one answer of the gateway, which itself waits at most 25 s for a meter."""

_PROCESS_SECONDS: Final = 60.0  # for one command: an object list or a profile has several answers
_LINE_BYTES: Final = 64 << 20
_ENDED: Final = "the DLMS client has ended unexpectedly; python -m cme_tui.hes.client says why"

CLOCK: Final = (8, "0.0.1.0.0.255")
FRAME_COUNTER: Final = (1, "0.0.43.1.0.255")
CHANNEL_SELECTION: Final = "0.128.1.0.0.255"
HIGHEST_COUNTER: Final = (1 << 32) - 1

CLIENT_TITLE: Final = b"CMEHES\x00\x01"
"""System title of this client. A gateway's has 00 in its fourth byte, so no nonce can be one of the gateway's."""

_HINTS: Final[dict[int, str]] = {
    Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED: " (the gateway wants everything ciphered)",
    Diagnostic.CALLED_AP_TITLE_NOT_RECOGNIZED: " (there is no such logical device)",
    Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED: " (this authentication is not admitted)",
    Diagnostic.AUTHENTICATION_FAILURE: " (wrong password or key)",
}

_DECIPHERING: Final = 5
_COUNTER: Final = 6
_EXCEPTIONS: Final = {
    1: "operation-not-possible",
    2: "service-not-supported",
    3: "other-reason",
    4: "pdu-too-long",
    _DECIPHERING: "deciphering-error",
    _COUNTER: "invocation-counter-error",
}


class HesError(CmeError):
    """What the head-end system wanted was refused or not answered."""


class AccessRefusedError(HesError):
    """An attribute could not be read or written; the association lives on."""


class UnansweredError(HesError):
    """The gateway cannot be reached or does not answer; the connection is gone."""


class RejectedError(HesError):
    """The gateway refused the association."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of the object list."""

    class_id: int
    version: int
    obis: str
    readable: tuple[int, ...]
    """The attributes that this client may read."""


class HeadEnd:
    """One association after the other with the gateway. An async context manager: its process ends with it."""

    def __init__(self, access: Access, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.access = access
        self.associated_as = ""
        """What the present association is, for whom it suits: "" for none."""
        self._answer_seconds = answer_seconds
        self._process: Process | None = None

    async def __aenter__(self) -> HeadEnd:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def associate_public(self, device: int = MANAGEMENT_DEVICE) -> None:
        """Associate the public client with a logical device. Raises `HesError`."""
        await self._associate(f"public {device}", client=PUBLIC_CLIENT, server=device, level="none")

    async def associate(
        self, level: Level, device: int = MANAGEMENT_DEVICE, password: str | None = None
    ) -> str:
        """Associate the management client; gives a few words on how. Raises `HesError`.

        `password` stands for the right one. With high authentication, or where the policy asks for it, the
        association is ciphered: the counter goes on from what the public client reads, as head-end systems do.
        """
        arguments: dict[str, object] = {"client": MANAGEMENT_CLIENT, "server": device, "level": level}
        how = ""
        if level == "low":
            arguments["password"] = self.access.password if password is None else password
        if level == "high" or self.access.ciphered:
            counter = await self._next_counter()
            arguments |= {
                "title": CLIENT_TITLE.hex(),
                "encryption_key": self.access.encryption_key.hex(),
                "authentication_key": self.access.authentication_key.hex(),
                "counter": counter,
            }
            how = f"ciphered, invocation counter from {counter}"
        await self._associate(f"{level} {device}", **arguments)
        return how

    async def release(self) -> None:
        """Release the association. Raises `HesError`."""
        self.associated_as = ""
        await self._call("release")

    async def objects(self) -> list[ListedObject]:
        """The object list of the association. Raises `HesError`."""
        return [
            ListedObject(
                item["class"],
                item["version"],
                item["obis"],
                tuple(int(number) for number, mode in item["attributes"].items() if mode & 1),
            )
            for item in await self._call("objects")
        ]

    async def get(self, class_id: int, obis: str, attribute: int) -> Any:
        """The value of an attribute, as `cme_tui.hes.values` takes it. Raises `HesError`."""
        return await self._call("get", class_id=class_id, obis=obis, attribute=attribute)

    async def rows_by_range(self, obis: str, start: str, end: str) -> list[Any]:
        """Rows of a profile from `start` to `end`, ISO 8601 with offset. Raises `HesError`."""
        rows: list[Any] = await self._call("rows_by_range", obis=obis, start=start, end=end)
        return rows

    async def rows_by_entry(self, obis: str, first: int, last: int) -> list[Any]:
        """Rows number `first` to `last`, 1 = the oldest. Raises `HesError`."""
        rows: list[Any] = await self._call("rows_by_entry", obis=obis, first=first, last=last)
        return rows

    async def select(self, device: int) -> None:
        """Talk to another logical device through this association. Raises `HesError`."""
        await self._call("select", obis=CHANNEL_SELECTION, channel=device)

    async def notification(self, received: Received) -> Any:
        """The body of a pushed notification, as the client library decodes it. Raises `HesError`."""
        assert received.server_sap is not None
        assert received.client_sap is not None
        frame = wrapper.frame(received.server_sap, received.client_sap, received.apdu)
        arguments: dict[str, object] = {"frame": frame.hex()}
        if received.ciphered:
            arguments |= {
                "title": received.title.hex(),
                "encryption_key": self.access.encryption_key.hex(),
                "authentication_key": self.access.authentication_key.hex(),
            }
        return await self._call("notification", **arguments)

    async def close(self) -> None:
        """End the client process, whatever it is doing."""
        process, self._process, self.associated_as = self._process, None, ""
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _next_counter(self) -> int:
        await self.associate_public()
        try:
            last = await self.get(*FRAME_COUNTER, 2)
        except AccessRefusedError as error:
            raise HesError(
                f"the public client cannot read the receive frame counter {FRAME_COUNTER[1]} ({error}), "
                "and a head-end system needs it to go on with the invocation counter"
            ) from error
        if not isinstance(last, int) or not 0 <= last < HIGHEST_COUNTER:
            raise HesError(
                f"the receive frame counter {FRAME_COUNTER[1]} holds {last!r}, which has no next one"
            )
        await self.release()
        return last + 1

    async def _associate(self, what: str, **arguments: object) -> None:
        self.associated_as = ""
        await self._call(
            "associate",
            host=self.access.host,
            port=self.access.port,
            timeout=self._answer_seconds,
            **arguments,
        )
        self.associated_as = what

    async def _call(self, action: str, **arguments: object) -> Any:
        process = self._process = self._process or await _start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_PROCESS_SECONDS + self._answer_seconds):
                process.stdin.write(json.dumps({"do": action, **arguments}).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except BaseException as error:
            # Its answer would come when nobody waits for it.
            await self.close()
            if isinstance(error, TimeoutError):
                raise UnansweredError(
                    "the DLMS client did not come to an end with this and was stopped"
                ) from None
            if isinstance(error, ConnectionError):
                raise HesError(_ENDED) from None
            raise
        if not line:
            await self.close()
            raise HesError(_ENDED)
        answer = json.loads(line)
        if "error" in answer:
            raise self._error(answer["error"])
        return answer["ok"]

    def _error(self, error: dict[str, Any]) -> HesError:
        match error["kind"]:
            case "access":
                return AccessRefusedError(_name(DataAccessResult, error["code"], "data access result"))
            case "rejected":
                name = _name(Diagnostic, error["diagnostic"], "diagnostic")
                hint = _HINTS.get(error["diagnostic"], "")
                return RejectedError(f"association rejected: {name}{hint}")
            case "exception":
                name = _EXCEPTIONS.get(error["service"], f"exception {error['service']}")
                more = {
                    _DECIPHERING: " (wrong encryption or authentication key)",
                    _COUNTER: f", the last counter was {error['counter']}",
                }.get(error["service"], "")
                return HesError(f"exception response: {name}{more}")
            case "silent":
                self.associated_as = ""
                return UnansweredError(f"no answer within {self._answer_seconds:.0f} s")
            case "closed":
                self.associated_as = ""
                return UnansweredError("the gateway closed the connection")
            case "unreachable":
                where = f"{self.access.host}:{self.access.port}"
                return UnansweredError(
                    f"no gateway at {where} ({error['text'].lower()}); start it, or give --host and --port"
                )
        return HesError(f"the DLMS client does not understand the answer: {error['text']}")


async def _start() -> Process:
    """The client process. Raises `HesError` where it cannot be started."""
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cme_tui.hes.client",
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=_LINE_BYTES,
            start_new_session=True,  # Ctrl+C is for us
        )  # fmt: skip
    except OSError as error:
        raise HesError(f"the DLMS client cannot be started: {error.strerror}") from error


def _name(names: type[Diagnostic] | type[DataAccessResult], code: int, what: str) -> str:
    """The name of a code as the Green Book has it."""
    try:
        return names(code).name.lower().replace("_", "-")
    except ValueError:
        return f"{what} {code}"
