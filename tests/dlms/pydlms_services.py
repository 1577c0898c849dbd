"""pydlms-client writes and invokes: `python pydlms_services.py PORT PDU [WINDOW]`; with a window, in general blocks.

It is strict about block numbers and lengths. Prints what it got as JSON.
"""

from __future__ import annotations

import json
import sys

from pydlms.client import DlmsClient
from pydlms.cosem.data import DlmsData
from pydlms.security.hls import Mechanism

ACTOR, CLASS, ECHO, PLAIN, DENIED = "0.0.96.3.10.255", 70, 1, 2, 4
SIZES = (3, 100, 1000, 3000)


def value(size: int) -> DlmsData:
    return DlmsData.octet_string(bytes(number % 256 for number in range(size)))


def main(port: int, pdu: int, window: int = 0) -> None:
    client = DlmsClient.tcp(
        "127.0.0.1",
        port,
        client_sap=1,
        server_logical=16,
        mechanism=Mechanism.LLS,
        password=b"12345678",
        max_receive_pdu_size=pdu,
        propose_gbt=window > 0,
        gbt_window=window or 1,
    )
    client.connect()
    for size in SIZES:
        client.set(ACTOR, CLASS, 2, value(size))
    echoes = [client.action(ACTOR, CLASS, ECHO, value(size)) for size in SIZES]
    nothing = client.action(ACTOR, CLASS, PLAIN, value(5))
    results = client.set_many([(ACTOR, CLASS, number, value(180)) for number in (2, 9, 2)], split_lists=False)
    plain, denied, echo = client.action_many(
        [(ACTOR, CLASS, number, value(90)) for number in (PLAIN, DENIED, ECHO)], split_lists=False
    )
    client.close()
    print(
        json.dumps(
            {
                "echoes": [got == value(size) for got, size in zip(echoes, SIZES, strict=True)],
                "nothing": nothing is None,
                "results": [int(result) for result in results],
                "outcomes": [plain is None, denied == 3, echo == value(90)],
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
