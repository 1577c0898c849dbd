"""A simulated M-Bus line for demonstration, training and tests: real telegrams, played as slaves would."""

from core.mbus.simulator.bus import Answer, SimulatedBus
from core.mbus.simulator.fleet import fleet, serials, training_key
from core.mbus.simulator.meter import SimulatedMeter, load_meters, read_telegrams
from core.mbus.simulator.misfortune import LineMisfortune, Misfortune, SimulationError
from core.mbus.simulator.plan import arrange, check_plan, make_fleet, planned_bus
from core.mbus.simulator.serving import SimulatedPty, open_simulated, serve_tcp
from core.mbus.simulator.shaping import Encryption

__all__ = [
    "Answer",
    "Encryption",
    "LineMisfortune",
    "Misfortune",
    "SimulatedBus",
    "SimulatedMeter",
    "SimulatedPty",
    "SimulationError",
    "arrange",
    "check_plan",
    "fleet",
    "load_meters",
    "make_fleet",
    "open_simulated",
    "planned_bus",
    "read_telegrams",
    "serials",
    "serve_tcp",
    "training_key",
]
