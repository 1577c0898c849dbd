"""What each notification of the gateway holds, as its push setup shows it (IDIS package 2, 7.2.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

from core.config import PushConfig, Report
from core.cosem import names
from core.cosem.base import Context, Method
from core.cosem.codes import Codes
from core.cosem.profile import CaptureObject
from core.cosem.push_setup import PushSetup

_DATA: Final = 1
_PROFILE: Final = 7
_PUSH_SETUP: Final = 40

SendReport: TypeAlias = "Callable[[Report, Context], Awaitable[None]]"
"""Makes a report now, for the device that the association has selected; raises `DataAccessError`."""

_Plan = tuple[Report, bytes, Sequence[CaptureObject]]
"""A report, its push setup, and what follows the names of devices and push setup."""


def gateway_push_setups(push: PushConfig, send: SendReport) -> Iterable[PushSetup]:
    """Those of the management logical device: both event logs, and on installation."""
    plans: tuple[_Plan, ...] = (
        ("standard_event_log", names.PUSH_GATEWAY_STANDARD_EVENT_LOG, _profile(names.STANDARD_EVENT_LOG)),
        ("fraud_event_log", names.PUSH_GATEWAY_FRAUD_EVENT_LOG, _profile(names.FRAUD_EVENT_LOG)),
        ("on_installation", names.PUSH_ON_INSTALLATION, (_data(names.IP_ADDRESS), _data(names.SYSTEM_TITLE))),
    )
    return _setups(push, send, (_data(names.LOGICAL_DEVICE_NAME),), plans)


def meter_push_setups(push: PushConfig, codes: Codes, send: SendReport) -> Iterable[PushSetup]:
    """Those of every meter: three profiles and both event logs.

    In the notification of a profile, scalers and units of the registers follow; no attribute holds them all.
    """
    who = (_data(codes.gateway_name), _data(names.LOGICAL_DEVICE_NAME))
    kind = [
        _data(code)
        for code in (codes.meter_manufacturer, codes.meter_device_type, codes.meter_firmware_version)
    ]
    plans: tuple[_Plan, ...] = (
        ("load_profile_1", codes.push_load_profile_1, _rows(codes.load_profile_1)),
        ("load_profile_2", codes.push_load_profile_2, _rows(codes.load_profile_2)),
        ("billing_profile", codes.push_billing_profile, _rows(codes.billing_profile)),
        ("standard_event_log", codes.push_standard_event_log, _profile(names.STANDARD_EVENT_LOG, *kind)),
        ("fraud_event_log", codes.push_fraud_event_log, _profile(names.FRAUD_EVENT_LOG, *kind)),
    )
    return _setups(push, send, who, plans)


def _setups(
    push: PushConfig, send: SendReport, who: Sequence[CaptureObject], plans: Iterable[_Plan]
) -> Iterable[PushSetup]:
    for report, code, what in plans:
        content = (*who, CaptureObject(_PUSH_SETUP, code, 1), *what)
        yield PushSetup(code, content, push, report, _sending(report, send))


def _sending(report: Report, send: SendReport) -> Method:
    return lambda _, context: send(report, context)


def _data(code: bytes) -> CaptureObject:
    return CaptureObject(_DATA, code, 2)


def _rows(code: bytes) -> Sequence[CaptureObject]:
    return _profile(code, CaptureObject(_PROFILE, code, 3))


def _profile(code: bytes, *between: CaptureObject) -> Sequence[CaptureObject]:
    """Name and buffer of a profile, and what stands between them."""
    return (CaptureObject(_PROFILE, code, 1), *between, CaptureObject(_PROFILE, code, 2))
