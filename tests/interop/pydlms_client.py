"""The tour with pydlms-client, which is strict about tags, lengths and the width of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import tour
from pydlms.apdu import xdlms
from pydlms.client import DlmsClient
from pydlms.cosem.data import DlmsData
from pydlms.cosem.time import CosemDateTime
from pydlms.security.hls import Mechanism


class Pydlms:
    def __init__(self, chosen: Any) -> None:
        self._client = DlmsClient.tcp(
            chosen.host,
            chosen.port,
            client_sap=chosen.client,
            server_logical=chosen.server,
            timeout=chosen.timeout,
            mechanism=Mechanism.LLS if chosen.password else Mechanism.NONE,
            password=chosen.password or None,
            max_receive_pdu_size=chosen.pdu,
        )

    def open(self) -> None:
        self._client.connect()

    def close(self) -> None:
        self._client.close()

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

    def rows_by_range(self, name: str, start: datetime, end: datetime) -> list[Any]:
        bounds = [DlmsData.octet_string(CosemDateTime.from_datetime(t).to_bytes()) for t in (start, end)]
        return list(self._client.read_profile(name, xdlms.range_descriptor(*bounds)).rows)

    def rows_by_entry(self, name: str, first: int, last: int) -> list[Any]:
        return list(self._client.read_profile(name, xdlms.entry_descriptor(first, last)).rows)

    def set_channel(self, number: int) -> None:
        self._client.set(tour.CHANNEL, tour.DATA, 2, DlmsData.uint16(number))


if __name__ == "__main__":
    chosen = tour.options()
    tour.run(Pydlms(chosen), chosen)
