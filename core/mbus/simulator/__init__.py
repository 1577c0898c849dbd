"""A simulated M-Bus line for demonstration, training and tests: real telegrams, played as slaves would."""

from core.mbus.simulator.bus import Answer, SimulatedBus
from core.mbus.simulator.meter import (
    Misfortune,
    SimulatedMeter,
    SimulationError,
    load_meters,
    read_telegrams,
)
from core.mbus.simulator.serving import SimulatedPty, open_simulated, serve_tcp

__all__ = [
    "Answer",
    "Misfortune",
    "SimulatedBus",
    "SimulatedMeter",
    "SimulatedPty",
    "SimulationError",
    "load_meters",
    "open_simulated",
    "read_telegrams",
    "serve_tcp",
]
