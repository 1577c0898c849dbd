"""The tour with dlms-cosem. It hangs on truncated data: give the process a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
import tour
from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem.attribute_with_selection import CosemAttributeWithSelection
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.dlms_data import UnsignedLongData
from dlms_cosem.io import BlockingTcpIO, TcpTransport
from dlms_cosem.parsers import AssociationObjectListParser
from dlms_cosem.security import LowLevelSecurityAuthentication, NoSecurityAuthentication


class DlmsCosem:
    def __init__(self, chosen: Any) -> None:
        password = chosen.password.encode()
        self._client = DlmsClient(
            transport=TcpTransport(
                client_logical_address=chosen.client,
                server_logical_address=chosen.server,
                io=BlockingTcpIO(chosen.host, chosen.port, timeout=int(chosen.timeout)),
            ),
            authentication=LowLevelSecurityAuthentication(password)
            if password
            else NoSecurityAuthentication(),
            block_transfer=True,
            max_pdu_size=chosen.pdu,
        )

    def open(self) -> None:
        self._client.connect()
        self._client.associate()

    def close(self) -> None:
        self._client.release_association()
        self._client.disconnect()

    def objects(self) -> list[tuple[int, str]]:
        raw = self._client.get(_attribute(15, "0.0.40.0.0.255", 2))
        found = AssociationObjectListParser.parse_bytes(raw)
        return [(int(item.interface), _name(item.logical_name)) for item in found]

    def get(self, class_id: int, name: str, attribute: int) -> Any:
        return utils.parse_as_dlms_data(self._client.get(_attribute(class_id, name, attribute)))

    def get_list(self, items: Sequence[tuple[int, str, int]]) -> list[Any]:
        wanted = [CosemAttributeWithSelection(_attribute(*item), None) for item in items]
        return [item.value for item in self._client.get_many(wanted).response_data]

    def rows_by_range(self, name: str, start: datetime, end: datetime) -> list[Any]:
        clock = CaptureObject(_attribute(8, "0.0.1.0.0.255", 2))
        selection = RangeDescriptor(clock, start, end)
        return list(utils.parse_as_dlms_data(self._client.get(_attribute(7, name, 2), selection)))

    def rows_by_entry(self, name: str, first: int, last: int) -> list[Any]:
        raise NotImplementedError("dlms-cosem cannot select by entry")

    def set_channel(self, number: int) -> None:
        answer = self._client.set(_attribute(1, tour.CHANNEL, 2), UnsignedLongData(number).to_bytes())
        if answer.result is not enumerations.DataAccessResult.SUCCESS:
            raise ValueError(answer.result.name)


def _attribute(class_id: int, name: str, attribute: int) -> cosem.CosemAttribute:
    numbers = [int(part) for part in name.split(".")]
    return cosem.CosemAttribute(enumerations.CosemInterface(class_id), cosem.Obis(*numbers), attribute)


def _name(obis: cosem.Obis) -> str:
    return ".".join(map(str, obis.to_bytes()))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    chosen = tour.options()
    tour.run(DlmsCosem(chosen), chosen)
