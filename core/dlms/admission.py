"""Who may associate: context, client, logical device, authentication, in a time that tells nothing."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable
from enum import IntEnum
from typing import NamedTuple, Protocol

from core.cosem.base import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from core.dlms.acse import LN_CONTEXT, AssociateRequest, Diagnostic, Mechanism
from core.dlms.security import TITLE_SIZE


class Level(IntEnum):
    """The lowest authentication that the management client may use."""

    NONE = 0
    LOW = 1
    HIGH = 2


class Policy(IntEnum):
    """Security policy of suite 0 (Blue Book 4.4.7, security_policy of version 0)."""

    NONE = 0
    AUTHENTICATED_ENCRYPTED = 3


class Keys(NamedTuple):
    """The global keys of suite 0, 16 bytes each."""

    encryption: bytes
    authentication: bytes

    def __repr__(self) -> str:
        return "Keys(not shown)"


class Counters(Protocol):
    """The invocation counters under the present encryption key, 0..2^32-1 (Green Book 9.2.3.3.7)."""

    def next(self) -> int:
        """A counter for one protected message of the gateway; none is ever given out twice, whatever happens.

        Raises `CounterError` where no more can be given out under this key.
        """

    def last(self, title: bytes) -> int:
        """The last counter accepted from the client with this system title; -1 before the first."""

    def accept(self, title: bytes, counter: int) -> Awaitable[None] | None:
        """Note `counter`, greater than `last`, as accepted.

        From the return on it is refused for ever. Where it has to wait for the disk, it returns an awaitable,
        and the message must not be acted upon before. Raises `CounterError`.
        """


class Credentials(Protocol):
    """What clients must know, and the gateway's keys; asked anew with every use, so that a change applies at once."""

    @property
    def counters(self) -> Counters: ...

    def level(self) -> Level: ...

    def policy(self) -> Policy: ...

    def lls_password(self) -> bytes:
        """The LLS password; an empty one fits no client."""

    def keys(self) -> Keys: ...

    def system_title(self) -> bytes:
        """The gateway's, 8 bytes."""


def judge(
    request: AssociateRequest, client_sap: int, device_known: bool, credentials: Credentials
) -> Diagnostic:
    """`Diagnostic.NULL` to let the client in, or to let it go on to the second step of HLS; else why not.

    The secret is compared in any case, so that an unknown client, an unknown device and a wrong secret cost
    the same; the server answers all of them after the same time.
    """
    password_fits = _fits(request.authentication_value or b"", credentials.lls_password())
    if not _context_fits(request, client_sap, credentials.policy()):
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
    return _judge_management(request, password_fits, credentials)


def refusal(diagnostic: Diagnostic) -> str:
    """Why `judge` refuses a client, for people: the Green Book's name, and what to look at."""
    return f"{diagnostic.name.lower().replace('_', ' ')} ({_LOOK_AT[diagnostic]})"


def decipherable(request: AssociateRequest, client_sap: int, credentials: Credentials) -> bool:
    """Whether the InitiateRequest is to be deciphered, before anything else is said about the AARQ."""
    return client_sap == MANAGEMENT_CLIENT and request.ciphered and _title_fits(request, credentials)


def strength(mechanism: int) -> Level:
    """The level that an association with this mechanism reaches."""
    return _STRENGTH[Mechanism(mechanism)]


_LOOK_AT = {
    Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED: "ciphering does not fit client or policy",
    Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED: "unknown client, or unfit system title",
    Diagnostic.CALLED_AP_TITLE_NOT_RECOGNIZED: "no such logical device",
    Diagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED: "a password without its mechanism",
    Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED: "not admitted for this client",
    Diagnostic.AUTHENTICATION_REQUIRED: "none is not admitted for this client",
    Diagnostic.AUTHENTICATION_FAILURE: "wrong password, or unfit challenge",
}
_STRENGTH = {Mechanism.NONE: Level.NONE, Mechanism.LOW: Level.LOW, Mechanism.HIGH_GMAC: Level.HIGH}
_CHALLENGE_SIZES = range(8, 65)  # bytes of CtoS (Green Book 9.2.2.2.2.3)


def _judge_management(request: AssociateRequest, password_fits: bool, credentials: Credentials) -> Diagnostic:
    level = credentials.level()
    gmac = request.mechanism == Mechanism.HIGH_GMAC
    if (request.ciphered or gmac) and not _title_fits(request, credentials):
        return Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED
    if request.mechanism == Mechanism.NONE:
        return Diagnostic.NULL if level == Level.NONE else Diagnostic.AUTHENTICATION_REQUIRED
    if request.mechanism == Mechanism.LOW and level <= Level.LOW:
        return Diagnostic.NULL if password_fits else Diagnostic.AUTHENTICATION_FAILURE
    if gmac:
        fits = len(request.authentication_value or b"") in _CHALLENGE_SIZES
        return Diagnostic.NULL if fits else Diagnostic.AUTHENTICATION_FAILURE
    return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED


def _context_fits(request: AssociateRequest, client_sap: int, policy: Policy) -> bool:
    if client_sap == PUBLIC_CLIENT:
        return request.context_name == LN_CONTEXT
    return request.ciphered or (request.context_name == LN_CONTEXT and policy == Policy.NONE)


def _title_fits(request: AssociateRequest, credentials: Credentials) -> bool:
    """A client with the gateway's own title would share its nonces, and could reflect its challenges."""
    title = request.calling_ap_title
    return title is not None and len(title) == TITLE_SIZE and title != credentials.system_title()


def _fits(given: bytes, expected: bytes) -> bool:
    same = hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())
    return same and bool(expected)
