"""Schedules that lines could not keep any more after a change: told on stderr before it is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cme_tui.client import NoGatewayError, ask
from core import timing
from core.config import Config, LineConfig, MeterConfig, load_config
from core.mbus.address import parse_address
from core.statedir import StateDir
from core.store import open_readonly


def tell_misfits(state_dir: Path, changed: Config, **change: Any) -> list[str]:
    """Print what the running gateway says of a change, or what the store tells where none runs; it is also returned.

    `changed` is the configuration with the change, and `change` the same as the call `misfits` of the control socket
    takes it. Raises `CmeError`.
    """
    try:
        sentences: list[str] = ask(state_dir, "misfits", **change)["misfits"]
    except NoGatewayError:
        sentences = _by_the_store(state_dir, changed)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return sentences


def _by_the_store(state_dir: Path, changed: Config) -> list[str]:
    state = StateDir(state_dir)
    sent: dict[tuple[str, str], list[int]] = {}
    if state.database.exists():
        with open_readonly(state.database) as store:
            readings = store.latest_all()
            sent = {
                (meter.line, meter.address): [len(frame) for frame in readings[meter.key].frames]
                for meter in store.meters()
                if meter.key in readings
            }

    def cost_s(line: LineConfig, meter: MeterConfig) -> float:
        lengths = sent.get(meter.place, [timing.TYPICAL_BYTES])
        return timing.readout_s(meter.baud or line.baud, parse_address(meter.place[1]), lengths)

    before = set(timing.misfits(load_config(state.config), cost_s))
    return [text for text in timing.misfits(changed, cost_s) if text not in before]
