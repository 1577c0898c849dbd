"""Run as a program by the tests that need a real terminal: the app over recorded meters.

Arguments: a JSON object with `driver` ("own" or "stock"), `serial` (serial console), `meters`.
Every snapshot that is taken writes one byte to descriptor `beat`, where given. SIGUSR1 changes
the last digit of one value.
"""

import json
import os
import signal
import sys
from dataclasses import replace

from cme_tui.terminal import TerminalError, open_terminal

options = json.loads(sys.argv[1])
try:
    terminal = open_terminal(options.get("serial", False))
except TerminalError as error:
    sys.exit(str(error))

from recorded import RecordedGateway  # noqa: E402
from textual.drivers.linux_driver import LinuxDriver  # noqa: E402

from cme_tui.app import CmeApp  # noqa: E402


class BeatingGateway(RecordedGateway):
    def snapshot(self):
        beat = options.get("beat")
        if beat is not None:
            os.write(beat, b".")
        return super().snapshot()


gateway = BeatingGateway(options.get("meters", 7))


def change(*_):
    meters = list(gateway.current.meters)
    meter = meters[0]
    digit = (int(meter.headline.text[-1]) + 1) % 10
    meters[0] = replace(meter, headline=replace(meter.headline, text=f"{meter.headline.text[:-1]}{digit}"))
    gateway.current = replace(gateway.current, meters=tuple(meters))


signal.signal(signal.SIGUSR1, change)
app = CmeApp(gateway, clock=gateway.clock, profile=terminal.profile, terminal=terminal)
if options.get("driver") == "stock":
    app.driver_class = LinuxDriver
app.run(mouse=terminal.profile == "rich")
sys.exit(app.return_code or 0)
