"""Clients of pydlms-client, which is strict about tags, counters, lengths and the width of rows.

It verifies the tag of every answer, that the gateway's counters rise (also over associations, as one security context
serves them all), that nothing comes in clear in a ciphered association, and the ciphered answer to its release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from desk import serve
from pydlms.apdu import xdlms
from pydlms.client import DlmsClient
from pydlms.cosem.data import DlmsData, decode_data
from pydlms.cosem.time import CosemDateTime
from pydlms.exceptions import AssociationError, InvocationCounterError, ServiceError
from pydlms.obis import ObisCode
from pydlms.security.context import SecurityContext
from pydlms.security.hls import Mechanism
from pydlms.security.keywrap import KeyId, key_transfer_data
from pydlms.security.suites import SecurityPolicy
from tour import Choice, Column

MECHANISMS = {"none": Mechanism.NONE, "low": Mechanism.LLS, "high": Mechanism.HLS_GMAC}


class Pydlms:
    _contexts: ClassVar[dict[tuple[bytes, ...], SecurityContext]] = {}

    def __init__(self, choice: Choice) -> None:
        self._security = self._context(choice) if choice.encryption else None
        self._client = DlmsClient.tcp(
            choice.host,
            choice.port,
            client_sap=choice.client,
            server_logical=choice.server,
            timeout=choice.timeout,
            auto_associate=False,
            mechanism=MECHANISMS[choice.level],
            password=choice.password or None,
            security=self._security,
            ciphered_context=choice.form != "plain",
            use_dedicated_key=choice.form in ("ded", "general-ded"),
            protection="general-glo" if choice.form.startswith("general") else "glo",
            max_receive_pdu_size=choice.pdu,
            propose_gbt=choice.window > 0,
            gbt_window=choice.window or 1,
            require_verified_release=choice.form != "plain",
        )

    def _context(self, choice: Choice) -> SecurityContext:
        key = choice.title, choice.encryption, choice.authentication
        context = self._contexts.get(key)
        if context is None or choice.afresh or choice.form == "plain":
            context = SecurityContext(
                choice.encryption, choice.authentication, choice.title, invocation_counter=choice.counter
            )
        if choice.form == "plain":  # which has its keys for HLS only
            context.policy = SecurityPolicy.NONE
            return context
        context.policy = SecurityPolicy(choice.control)
        self._contexts[key] = context
        return context

    def open(self) -> None:
        self._client.connect()
        self._client.associate()

    def again(self) -> None:
        self._client.associate()

    def release(self) -> None:
        self._client.association.release()

    def drop(self) -> None:
        self._client.link.disconnect()

    def counter(self) -> int:
        return self._security.invocation_counter if self._security else 1

    def objects(self) -> list[tuple[int, str]]:
        entries = self._client.get_association_view()
        if any(entry.rights is None for entry in entries):
            raise ValueError("the access rights of the object list are malformed")
        return [(entry.class_id, str(entry.logical_name)) for entry in entries]

    def get(self, class_id: int, name: str, attribute: int) -> Any:
        return self._client.get(name, class_id, attribute).to_python()

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]:
        wanted = [(name, class_id, attribute) for class_id, name, attribute in items]
        return [item.to_python() for item in self._client.get_many(wanted)]

    def set(self, class_id: int, name: str, attribute: int, value: bytes) -> None:
        self._client.set(name, class_id, attribute, decode_data(value)[0])

    def set_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[int]:
        wanted = [
            (name, class_id, attribute, decode_data(value)[0]) for class_id, name, attribute, value in items
        ]
        return [int(result) for result in self._client.set_many(wanted, split_lists=False)]

    def act(self, class_id: int, name: str, method: int, parameter: bytes) -> Any:
        returned = self._client.action(name, class_id, method, decode_data(parameter)[0])
        return None if returned is None else returned.to_python()

    def act_list(self, items: Sequence[tuple[int, str, int, bytes]]) -> list[Any]:
        wanted = [
            (name, class_id, method, decode_data(parameter)[0]) for class_id, name, method, parameter in items
        ]
        returned = self._client.action_many(wanted, split_lists=False)
        return [item.to_python() if isinstance(item, DlmsData) else item for item in returned]

    def rows_by_range(
        self, name: str, start: datetime, end: datetime, columns: Sequence[Column] = ()
    ) -> list[Any]:
        bounds = [DlmsData.octet_string(CosemDateTime.from_datetime(t).to_bytes()) for t in (start, end)]
        chosen = [(class_id, ObisCode.parse(code), *rest) for class_id, code, *rest in columns]
        access = xdlms.range_descriptor(*bounds, selected_values=chosen)
        return list(self._client.read_profile(name, access).rows)

    def rows_by_entry(self, name: str, first: int, last: int, columns: Sequence[Column] = ()) -> list[Any]:
        access = xdlms.entry_descriptor(first, last, 1, len(columns))
        return list(self._client.read_profile(name, access).rows)

    def transfer_keys(self, master: bytes, keys: Mapping[str, bytes]) -> None:
        # Not its own transfer_keys: the context may have to wrap under a wrong KEK.
        wrapped = key_transfer_data(master, {KeyId(int(number)): key for number, key in keys.items()})
        self._client.action("0.0.43.0.0.255", 64, 2, wrapped)

    def explain(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, InvocationCounterError):
            return {"exception": [1, 6, error.expected]}
        if isinstance(error, AssociationError) and error.diagnostic is not None:
            return {"rejected": int(error.diagnostic)}
        if isinstance(error, AssociationError) and (named := re.search(r"Response (\w+)/(\w+)", str(error))):
            return {
                "exception": [
                    int(xdlms.StateError[named[1]]), int(xdlms.ExceptionServiceError[named[2]]), None
                ]
            }  # fmt: skip
        if isinstance(error, ServiceError):
            result = error.result
            if isinstance(result, xdlms.ExceptionResponse):
                return {
                    "exception": [
                        int(result.state_error), int(result.service_error), result.invocation_counter
                    ]
                }  # fmt: skip
            return {} if result is None else {"access": int(result)}
        return {}


if __name__ == "__main__":
    serve(Pydlms)
