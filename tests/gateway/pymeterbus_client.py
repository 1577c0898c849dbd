"""pyMeterBus against a transparent port: reads meters by primary address, each over a connection of its own."""

from __future__ import annotations

import json
import re
import sys

import meterbus
import serial


def main(port: str, rounds: str, *addresses: str) -> None:
    for _ in range(int(rounds)):
        for address in map(int, addresses):
            line = serial.serial_for_url(f"socket://127.0.0.1:{port}", timeout=20)
            meterbus.send_ping_frame(line, address)
            assert isinstance(meterbus.load(meterbus.recv_frame(line)), meterbus.TelegramACK)
            meterbus.send_request_frame(line, address)
            frame = meterbus.load(meterbus.recv_frame(line))
            digits = json.loads(frame.to_JSON())["body"]["header"]["identification"]
            print(json.dumps({"address": address, "id": re.sub(", |0x", "", digits)}))
            line.close()


main(*sys.argv[1:])
