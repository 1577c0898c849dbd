"""What a service does with one COSEM object: find it, see to the client's rights, read, write or invoke.

Failures are results, never exceptions: a list goes on with its next item.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from core.cosem.base import (
    CHANNEL_SELECTION,
    MANAGEMENT_DEVICE,
    Access,
    Context,
    CosemObject,
    DataAccessError,
    Selector,
)
from core.dlms.axdr import Value
from core.dlms.xdlms import Conformance, DataAccessResult, MethodReference, Outcome, Reference

_log = logging.getLogger(__name__)


def read(context: Context, reference: Reference) -> bytes | DataAccessResult | Awaitable[bytes]:
    """The encoded value of an attribute, or why there is none; an awaitable may raise `DataAccessError`."""
    class_id, logical_name, attribute, selection = reference
    try:
        target = _attribute(context, class_id, logical_name, attribute, Access.READ)
        if selection is None:
            return target.read(attribute, None, context)
        if not context.conformance & Conformance.SELECTIVE_ACCESS:
            return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
        return target.read(attribute, Selector(*selection), context)
    except DataAccessError as error:
        return error.code
    except Exception:
        _log.exception("Reading %s failed", reference)
        return DataAccessResult.OTHER_REASON


def write(context: Context, reference: Reference, value: Value) -> Outcome | Awaitable[Outcome]:
    """Write an attribute."""
    class_id, logical_name, attribute, selection = reference
    try:
        target = _attribute(context, class_id, logical_name, attribute, Access.WRITE)
        if selection is not None:
            return Outcome(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        pending = target.write(attribute, value, context)
    except DataAccessError as error:
        return Outcome(error.code)
    except Exception:
        _log.exception("Writing %s failed", reference)
        return Outcome(DataAccessResult.OTHER_REASON)
    return Outcome(DataAccessResult.SUCCESS) if pending is None else _settled(f"Writing {reference}", pending)


def invoke(
    context: Context, reference: MethodReference, parameter: Value | None
) -> Outcome | Awaitable[Outcome]:
    """Invoke a method."""
    class_id, logical_name, method = reference
    try:
        target = _object(context, class_id, logical_name)
        if not 1 <= method <= target.method_count:
            return Outcome(DataAccessResult.OBJECT_UNDEFINED)
        granted = target.access(context.client_sap).methods
        if method > len(granted) or not granted[method - 1]:
            return Outcome(DataAccessResult.READ_WRITE_DENIED)
        returned = target.act(method, parameter, context)
    except DataAccessError as error:
        return Outcome(error.code)
    except Exception:
        _log.exception("Invoking %s failed", reference)
        return Outcome(DataAccessResult.OTHER_REASON)
    if returned is None or isinstance(returned, bytes):
        return Outcome(DataAccessResult.SUCCESS, returned)
    return _settled(f"Invoking {reference}", returned)


async def _settled(what: str, pending: Awaitable[bytes | None]) -> Outcome:
    try:
        return Outcome(DataAccessResult.SUCCESS, await pending)
    except DataAccessError as error:
        return Outcome(error.code)
    except Exception:
        _log.exception("%s failed", what)
        return Outcome(DataAccessResult.OTHER_REASON)


def _attribute(
    context: Context, class_id: int, logical_name: bytes, attribute: int, access: Access
) -> CosemObject:
    """The object, if it has the attribute and the client the right. Raises `DataAccessError`."""
    target = _object(context, class_id, logical_name)
    if not 1 <= attribute <= target.attribute_count:
        raise DataAccessError(DataAccessResult.OBJECT_UNDEFINED)
    if not target.access(context.client_sap).attributes[attribute - 1] & access:
        raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
    return target


def _object(context: Context, class_id: int, logical_name: bytes) -> CosemObject:
    device = context.device
    if device is None and (class_id, logical_name) == CHANNEL_SELECTION:
        # The selected meter was removed: the client can still select another one.
        device = context.directory.device(MANAGEMENT_DEVICE)
    if device is None:
        raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
    target = device.objects.get((class_id, logical_name))
    if target is None:
        if any(name == logical_name for _, name in device.objects):
            raise DataAccessError(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
        raise DataAccessError(DataAccessResult.OBJECT_UNDEFINED)
    return target
