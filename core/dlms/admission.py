"""Who may associate: context, client, logical device, authentication, in a time that tells nothing."""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from typing import Protocol

from core.cosem.base import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from core.dlms.acse import LN_CONTEXT, AssociateRequest, Diagnostic, Mechanism


class Level(IntEnum):
    """The lowest authentication that the management client may use."""

    NONE = 0
    LOW = 1
    HIGH = 2


class Credentials(Protocol):
    """What clients must know; asked anew with every AARQ, so that a change applies at once."""

    def level(self) -> Level: ...

    def lls_password(self) -> bytes:
        """The LLS password; an empty one fits no client."""


def judge(
    request: AssociateRequest, client_sap: int, device_known: bool, credentials: Credentials
) -> Diagnostic:
    """`Diagnostic.NULL` to let the client in, else why not.

    The secret is compared in any case, so that an unknown client, an unknown device and a wrong secret cost
    the same; the server answers all of them after the same time.
    """
    password_fits = _fits(request.authentication_value or b"", credentials.lls_password())
    if request.context_name != LN_CONTEXT:
        return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    if client_sap not in (PUBLIC_CLIENT, MANAGEMENT_CLIENT):
        return Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED
    if not device_known:
        return Diagnostic.CALLED_AP_TITLE_NOT_RECOGNIZED
    if not request.has_mechanism_name and request.authentication_value is not None:
        return Diagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED
    if client_sap == PUBLIC_CLIENT:
        if request.mechanism == Mechanism.NONE:
            return Diagnostic.NULL
        return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
    if request.mechanism == Mechanism.NONE:
        return Diagnostic.NULL if credentials.level() == Level.NONE else Diagnostic.AUTHENTICATION_REQUIRED
    if request.mechanism == Mechanism.LOW and credentials.level() <= Level.LOW:
        return Diagnostic.NULL if password_fits else Diagnostic.AUTHENTICATION_FAILURE
    return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED


def _fits(given: bytes, expected: bytes) -> bool:
    same = hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())
    return same and bool(expected)
