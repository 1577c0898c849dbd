"""Logical names of the objects whose codes the books and the manual fix (Blue Book 6.2, IDIS package 2)."""

from __future__ import annotations

from typing import Final

SAP_ASSIGNMENT: Final = bytes((0, 0, 41, 0, 0, 255))
ASSOCIATION: Final = bytes((0, 0, 40, 0, 0, 255))
CLOCK: Final = bytes((0, 0, 1, 0, 0, 255))
LOGICAL_DEVICE_NAME: Final = bytes((0, 0, 42, 0, 0, 255))
FRAME_COUNTER: Final = bytes((0, 0, 43, 1, 0, 255))
CHANNEL_SELECTION: Final = bytes((0, 128, 1, 0, 0, 255))
METER_LIST: Final = bytes((1, 128, 0, 0, 0, 255))
SYSTEM_TITLE: Final = bytes((0, 0, 96, 1, 0, 255))
FIRMWARE_VERSION: Final = bytes((1, 0, 0, 2, 0, 255))
FIRMWARE_SIGNATURE: Final = bytes((1, 1, 0, 2, 8, 255))
IP_ADDRESS: Final = bytes((0, 0, 96, 128, 0, 255))
STANDARD_EVENT_ID: Final = bytes((0, 0, 96, 11, 0, 255))
STANDARD_EVENT_MESSAGE: Final = bytes((0, 128, 96, 11, 0, 255))
FRAUD_EVENT_ID: Final = bytes((0, 0, 96, 11, 1, 255))
FRAUD_EVENT_MESSAGE: Final = bytes((0, 128, 96, 11, 1, 255))
STANDARD_EVENT_LOG: Final = bytes((0, 0, 99, 98, 0, 255))
FRAUD_EVENT_LOG: Final = bytes((0, 0, 99, 98, 1, 255))
TEST_OBJECT: Final = bytes((0, 0, 96, 1, 4, 255))
SECURITY_SETUP: Final = bytes((0, 0, 43, 0, 0, 255))
PUSH_GATEWAY_STANDARD_EVENT_LOG: Final = bytes((0, 4, 25, 9, 0, 255))
PUSH_GATEWAY_FRAUD_EVENT_LOG: Final = bytes((0, 8, 25, 9, 0, 255))
PUSH_ON_INSTALLATION: Final = bytes((0, 7, 25, 9, 0, 255))

OF_METERS: Final = frozenset(
    (
        SAP_ASSIGNMENT, ASSOCIATION, CLOCK, LOGICAL_DEVICE_NAME, FRAME_COUNTER, CHANNEL_SELECTION, STANDARD_EVENT_ID,
        STANDARD_EVENT_MESSAGE, FRAUD_EVENT_ID, FRAUD_EVENT_MESSAGE, STANDARD_EVENT_LOG, FRAUD_EVENT_LOG, TEST_OBJECT,
        SECURITY_SETUP,
    )
)  # fmt: skip
"""Those that the logical device of every meter has."""
