"""The interface classes in one place: what builds the logical devices imports them from here."""

from core.cosem.association_ln import AssociationLN
from core.cosem.base import (
    MANAGEMENT_CLIENT,
    MANAGEMENT_DEVICE,
    PUBLIC_CLIENT,
    Access,
    Context,
    CosemObject,
    DataAccessError,
    DeviceDirectory,
    LogicalDevice,
    Method,
    Rights,
    Selector,
    Setter,
    Source,
)
from core.cosem.clock import Clock, MeterClock, SetTime
from core.cosem.profile import CaptureObject, ProfileGeneric, RowSource
from core.cosem.push_setup import PushSetup
from core.cosem.registers import ChannelSelection, Data, ExtendedRegister, IpAddress, Register, scaler_unit
from core.cosem.sap import SapAssignment
from core.cosem.security_setup import SecurityAccess, SecuritySetup
from core.dlms.xdlms import DataAccessResult

__all__ = [
    "MANAGEMENT_CLIENT",
    "MANAGEMENT_DEVICE",
    "PUBLIC_CLIENT",
    "Access",
    "AssociationLN",
    "CaptureObject",
    "ChannelSelection",
    "Clock",
    "Context",
    "CosemObject",
    "Data",
    "DataAccessError",
    "DataAccessResult",
    "DeviceDirectory",
    "ExtendedRegister",
    "IpAddress",
    "LogicalDevice",
    "MeterClock",
    "Method",
    "ProfileGeneric",
    "PushSetup",
    "Register",
    "Rights",
    "RowSource",
    "SapAssignment",
    "SecurityAccess",
    "SecuritySetup",
    "Selector",
    "SetTime",
    "Setter",
    "Source",
    "scaler_unit",
]
