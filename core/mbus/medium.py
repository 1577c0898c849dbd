"""Names of the media (device types) that a meter gives in its header."""

from __future__ import annotations

from typing import Final

MEDIUM_NAMES: Final[dict[int, str]] = {
    0x00: "other",
    0x01: "oil",
    0x02: "electricity",
    0x03: "gas",
    0x04: "heat",
    0x05: "steam",
    0x06: "warm-water",
    0x07: "water",
    0x08: "heat-cost-allocator",
    0x09: "compressed-air",
    0x0A: "cooling-outlet",
    0x0B: "cooling-inlet",
    0x0C: "heat-inlet",
    0x0D: "heat-cooling",
    0x0E: "bus-system",
    0x0F: "unknown",
    0x10: "irrigation-water",
    0x11: "water-data-logger",
    0x12: "gas-data-logger",
    0x13: "gas-converter",
    0x14: "calorific-value",
    0x15: "hot-water",
    0x16: "cold-water",
    0x17: "dual-water",
    0x18: "pressure",
    0x19: "ad-converter",
    0x1A: "smoke-detector",
    0x1B: "room-sensor",
    0x1C: "gas-detector",
    0x20: "breaker",
    0x21: "valve",
    0x25: "customer-unit",
    0x28: "waste-water",
    0x29: "garbage",
    0x2A: "carbon-dioxide",
    0x31: "communication-controller",
    0x32: "unidirectional-repeater",
    0x33: "bidirectional-repeater",
    0x36: "radio-converter-system-side",
    0x37: "radio-converter-meter-side",
    0x38: "wired-adapter",
}
"""Device type byte of the variable data structure to name (EN 13757-7 table 13)."""

FIXED_MEDIUM_NAMES: Final[dict[int, str]] = {
    0x0: "other",
    0x1: "oil",
    0x2: "electricity",
    0x3: "gas",
    0x4: "heat",
    0x5: "steam",
    0x6: "hot-water",
    0x7: "water",
    0x8: "heat-cost-allocator",
}
"""4-bit medium of the fixed data structure to name (EN 1434-3)."""

FIXED_MODE_2: Final[dict[int, int]] = {0xA: 0x3, 0xB: 0x4, 0xC: 0x6, 0xD: 0x7, 0xE: 0x8}
"""Media of the fixed data structure of mode 2 (MSB first) to those of mode 1, which device types agree with."""


def medium_name(code: int) -> str:
    """Name of the device type `code` (0..255); "reserved-1e" for one that the standard does not name."""
    return MEDIUM_NAMES.get(code) or f"reserved-{code:02x}"


def fixed_medium_name(code: int) -> str:
    """Name of the 4-bit medium of a fixed data structure; "reserved-f" where there is none."""
    return FIXED_MEDIUM_NAMES.get(code) or f"reserved-{code:x}"
