"""What the gateway is measured against, each in a process of its own: `python dlms_peers.py echo APDU|pydlms`.

Prints the port first and serves until it is killed. `echo` does nothing but asyncio: whatever arrives, it sends the
same answer. `pydlms` is the simulator of pydlms-client with the same objects; client 1 has the plain context, client 2
the ciphered one.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from dlms_link import AUTHENTICATION_KEY, ENCRYPTION_KEY, PASSWORD, PDU, PEER_TITLE

ROWS, COLUMNS = 1000, 10


class Echo(asyncio.BufferedProtocol):
    """With a buffer of its own: the least that asyncio can do, whatever the allocator makes of 256 KiB a request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._buffer = bytearray(8192)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._transport.write(self._answer)  # type: ignore[attr-defined]


async def echo(apdu: bytes) -> None:
    answer = struct.pack(">HHHH", 1, 16, 1, len(apdu)) + apdu
    server = await asyncio.get_running_loop().create_server(lambda: Echo(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def pydlms() -> None:
    from datetime import UTC, datetime, timedelta

    from pydlms.cosem.data import DlmsData
    from pydlms.cosem.time import CosemDateTime
    from pydlms.security.hls import Mechanism
    from pydlms.simulator import ClientProfile, MeterSimulator, serve

    meter = MeterSimulator(PEER_TITLE, ENCRYPTION_KEY, AUTHENTICATION_KEY, max_pdu=PDU)
    for client, ciphered in ((1, False), (2, True)):
        meter.clients[client] = ClientProfile(Mechanism.LLS, secret=PASSWORD.encode(), ciphered=ciphered)
    meter.add_object(
        3,
        "8.0.1.0.0.255",
        {2: DlmsData.uint32(85962), 3: DlmsData.structure([DlmsData.int8(-3), DlmsData.enum(13)])},
    )
    start = datetime(2025, 2, 20, tzinfo=UTC)
    rows = [
        DlmsData.structure(
            [
                DlmsData.octet_string(
                    CosemDateTime.from_datetime(start + number * timedelta(minutes=15)).to_bytes()
                ),
                *(DlmsData.uint32(number * 10 + column) for column in range(1, COLUMNS)),
            ]
        )
        for number in range(ROWS)
    ]
    meter.add_object(7, "1.0.99.1.0.255", {2: DlmsData.array(rows)}, version=1)
    print(serve(meter).server_address[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        asyncio.run(echo(bytes.fromhex(sys.argv[2])))
    else:
        pydlms()
