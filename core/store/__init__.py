"""The record of everything that was read: telegrams as received, on disk before anybody is told of them.

`Store` is for the running gateway, `open_readonly` for looking at the file from outside, also meanwhile.
"""

from core.store.queries import StoreReader, open_readonly
from core.store.records import (
    ANYWHERE,
    CounterRun,
    Event,
    LastRun,
    Log,
    Origin,
    ProfileRow,
    Reading,
    StoredMeter,
    StoreError,
    split_frames,
)
from core.store.service import Store

__all__ = [
    "ANYWHERE",
    "CounterRun",
    "Event",
    "LastRun",
    "Log",
    "Origin",
    "ProfileRow",
    "Reading",
    "Store",
    "StoreError",
    "StoreReader",
    "StoredMeter",
    "open_readonly",
    "split_frames",
]
