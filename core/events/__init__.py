"""The event logs of the gateway and its meters: what is logged, and when.

`Events` owns the logs; `power`, `clock`, `meters`, `lines`, `security` and `settings` find out that something
happened.
"""

from core.events.codes import EventCode, event_name, log_of
from core.events.service import EventPage, EventRows, Events
from core.store.records import Event, Log

__all__ = ["Event", "EventCode", "EventPage", "EventRows", "Events", "Log", "event_name", "log_of"]
