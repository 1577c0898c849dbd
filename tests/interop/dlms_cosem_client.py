"""Clients of dlms-cosem. It hangs on truncated data, so orders to it need a time limit.

It ciphers with general-glo, authenticated and encrypted, and nothing else; it verifies tags and counters.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from desk import serve
from dlms_cosem import cosem, enumerations, exceptions, utils
from dlms_cosem.client import ActionError, DataResultError, DlmsClient
from dlms_cosem.cosem.attribute_with_selection import CosemAttributeWithSelection
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.io import BlockingTcpIO, TcpTransport
from dlms_cosem.parsers import AssociationObjectListParser
from dlms_cosem.protocol import acse, xdlms
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)
from tour import Choice, Column


class AccessError(Exception):
    """A SET was refused."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Data-Access-Result {code}")
        self.code = code


class ExceptionError(Exception):
    """An exception response came: left to itself the library asks for the rest of an answer for ever."""

    def __init__(self, response: xdlms.ExceptionResponse) -> None:
        super().__init__(f"{response.state_error.name}, {response.service_error.name}")
        self.response = response


class Connected(DlmsClient):
    """Raises for an exception response, and keeps the last AARE for its diagnostic."""

    diagnostic: int | None = None

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, xdlms.ExceptionResponse):
            raise ExceptionError(event)
        if isinstance(event, acse.ApplicationAssociationResponse):
            self.diagnostic = int(event.result_source_diagnostics)
        return event


class DlmsCosem:
    def __init__(self, choice: Choice) -> None:
        password = choice.password.encode()
        ciphered = choice.form != "plain"
        authentication: Any = NoSecurityAuthentication()
        if choice.level == "low":
            authentication = LowLevelSecurityAuthentication(password)
        elif choice.level == "high":
            authentication = HighLevelSecurityGmacAuthentication()
        self._client = Connected(
            transport=TcpTransport(
                client_logical_address=choice.client,
                server_logical_address=choice.server,
                io=BlockingTcpIO(choice.host, choice.port, timeout=int(choice.timeout)),
            ),
            authentication=authentication,
            encryption_key=choice.encryption if ciphered else None,
            authentication_key=choice.authentication if ciphered else None,
            client_system_title=choice.title or None,
            client_initial_invocation_counter=choice.counter,
            block_transfer=True,
            max_pdu_size=choice.pdu,
        )

    def open(self) -> None:
        self._client.connect()
        self.again()

    def again(self) -> None:
        self._client.associate()

    def release(self) -> None:
        self._client.release_association()

    def drop(self) -> None:
        with contextlib.suppress(exceptions.CommunicationError):
            self._client.disconnect()

    def counter(self) -> int:
        return int(self._client.client_invocation_counter)

    def objects(self) -> list[tuple[int, str]]:
        raw = self._client.get(_attribute(15, "0.0.40.0.0.255", 2))
        found = AssociationObjectListParser.parse_bytes(raw)
        return [(int(item.interface), _name(item.logical_name)) for item in found]

    def get(self, class_id: int, name: str, attribute: int) -> Any:
        return utils.parse_as_dlms_data(self._client.get(_attribute(class_id, name, attribute)))

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]:
        wanted = [CosemAttributeWithSelection(_attribute(*item), None) for item in items]
        return [item.value for item in self._client.get_many(wanted).response_data]

    def set(self, class_id: int, name: str, attribute: int, value: bytes) -> None:
        answer = self._client.set(_attribute(class_id, name, attribute), value)
        if answer.result is not enumerations.DataAccessResult.SUCCESS:
            raise AccessError(int(answer.result))

    def set_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[int]:
        raise NotImplementedError("dlms-cosem writes no lists")

    def act(self, class_id: int, name: str, method: int, parameter: bytes) -> Any:
        numbers = [int(part) for part in name.split(".")]
        descriptor = cosem.CosemMethod(enumerations.CosemInterface(class_id), cosem.Obis(*numbers), method)
        returned = self._client.action(descriptor, parameter)
        return utils.parse_as_dlms_data(returned) if returned else None

    def act_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[Any]:
        raise NotImplementedError("dlms-cosem invokes no lists")

    def rows_by_range(
        self, name: str, start: datetime, end: datetime, columns: Sequence[Column] = ()
    ) -> list[Any]:
        if columns:
            raise NotImplementedError("dlms-cosem cannot choose columns")
        clock = CaptureObject(_attribute(8, "0.0.1.0.0.255", 2))
        selection = RangeDescriptor(clock, start, end)
        return list(utils.parse_as_dlms_data(self._client.get(_attribute(7, name, 2), selection)))

    def rows_by_entry(self, name: str, first: int, last: int, columns: Sequence[Column] = ()) -> list[Any]:
        raise NotImplementedError("dlms-cosem cannot select by entry")

    def transfer_keys(self, master: bytes, keys: Mapping[str, bytes]) -> None:
        # It knows no key transfer: the parameter is put together here.
        parameter = b"\x01" + bytes((len(keys),))
        for number, key in keys.items():
            parameter += b"\x02\x02\x16" + bytes((int(number),)) + b"\x09\x18" + aes_key_wrap(master, key)
        self.act(64, "0.0.43.0.0.255", 2, parameter)

    def explain(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, ExceptionError):
            answer = error.response
            counter = answer.invocation_counter_data if answer.service_error == 6 else None
            return {"exception": [int(answer.state_error), int(answer.service_error), counter]}
        if isinstance(error, AccessError):
            return {"access": error.code}
        if isinstance(error, exceptions.DlmsClientException) and self._client.diagnostic:
            return {"rejected": self._client.diagnostic}
        if isinstance(error, DataResultError) and (code := re.search(r": (\d+)>", str(error))):
            return {"access": int(code[1])}
        if isinstance(error, ActionError):
            return {"access": int(enumerations.ActionResultStatus[str(error).split()[-1]])}
        return {}


def _attribute(class_id: int, name: str, attribute: int) -> cosem.CosemAttribute:
    numbers = [int(part) for part in name.split(".")]
    return cosem.CosemAttribute(enumerations.CosemInterface(class_id), cosem.Obis(*numbers), attribute)


def _name(obis: cosem.Obis) -> str:
    return ".".join(map(str, obis.to_bytes()))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    serve(DlmsCosem)
