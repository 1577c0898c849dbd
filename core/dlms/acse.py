"""ACSE: opening and releasing an association, AARQ and RLRQ in, AARE and RLRE out (Green Book 9.4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from core.dlms.axdr import length
from core.dlms.errors import DecodeError

AARQ = 0x60
RLRQ = 0x62

LN_CONTEXT = bytes.fromhex("60857405080101")  # logical names, no ciphering
LN_CIPHERED_CONTEXT = bytes.fromhex("60857405080103")
_MECHANISM = bytes.fromhex("608574050802")  # and one byte, the mechanism


class Diagnostic(IntEnum):
    """Why an association is refused: acse-service-user of the result source diagnostic."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNIZED = 3
    CALLED_AP_TITLE_NOT_RECOGNIZED = 7
    AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_MECHANISM_NAME_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


class Mechanism(IntEnum):
    """Authentication mechanisms that exist; which of them are served, `admission` says."""

    NONE = 0
    LOW = 1
    HIGH = 2
    HIGH_MD5 = 3
    HIGH_SHA1 = 4
    HIGH_GMAC = 5
    HIGH_SHA256 = 6
    HIGH_ECDSA = 7


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An AARQ."""

    context_name: bytes  # the object identifier's contents
    mechanism: Mechanism | None  # None for one that does not exist
    has_mechanism_name: bool
    authentication_value: bytes | None = field(repr=False)  # the LLS password, or CtoS
    calling_ap_title: bytes | None  # the client's system title
    user_information: bytes = field(repr=False)  # an InitiateRequest, ciphered in the context with ciphering

    @property
    def ciphered(self) -> bool:
        """Whether the application context with ciphering is asked for."""
        return self.context_name == LN_CIPHERED_CONTEXT


def decode_aarq(apdu: bytes) -> AssociateRequest:
    """Decode an AARQ. Raises `DecodeError`, also for a field that stands twice."""
    fields = _fields(apdu, AARQ, _AARQ_FIELDS)
    context = fields.get(0xA1)
    user_information = fields.get(0xBE)
    if context is None or user_information is None:
        raise DecodeError("The AARQ lacks the application context name or the user information.")
    name = fields.get(0x8B)
    mechanism: Mechanism | None = Mechanism.NONE
    if name is not None:
        known = len(name) == 7 and name[:6] == _MECHANISM and name[6] <= max(Mechanism)
        mechanism = Mechanism(name[6]) if known else None
    secret = fields.get(0xAC)
    title = fields.get(0xA6)
    return AssociateRequest(
        context_name=_inner(context, 0x06),
        mechanism=mechanism,
        has_mechanism_name=name is not None,
        authentication_value=None if secret is None else _inner(secret, 0x80),
        calling_ap_title=None if title is None else _inner(title, 0x04),
        user_information=_inner(user_information, 0x04),
    )


def decode_rlrq(apdu: bytes) -> bytes:
    """Decode a RLRQ to its user information, empty without one. Raises `DecodeError`."""
    information = _fields(apdu, RLRQ, (0x80, 0xBE)).get(0xBE)
    return b"" if information is None else _inner(information, 0x04)


def aare_accepted(
    user_information: bytes, *, ciphered: bool = False, title: bytes = b"", challenge: bytes = b""
) -> bytes:
    """Encode the AARE that accepts, with an InitiateResponse.

    `title`: the server's system title. `challenge`: StoC, where the client has to authenticate in a second step
    (HLS 5, Green Book 9.2.7.4).
    """
    diagnostic = Diagnostic.AUTHENTICATION_REQUIRED if challenge else Diagnostic.NULL
    more = _field(0xA4, _field(0x04, title)) if title else b""
    if challenge:
        more += _field(0x88, b"\x07\x80")  # authentication is required
        more += _field(0x89, _MECHANISM + bytes((Mechanism.HIGH_GMAC,)))
        more += _field(0xAA, _field(0x80, challenge))
    return _aare(0, diagnostic, user_information, ciphered=ciphered, more=more)


def aare_rejected(diagnostic: Diagnostic, user_information: bytes = b"", *, ciphered: bool = False) -> bytes:
    """Encode the AARE that rejects for good, with an initiate error where the xDLMS context is the reason."""
    return _aare(1, diagnostic, user_information, ciphered=ciphered)


def rlre(user_information: bytes = b"") -> bytes:
    """Encode the RLRE for a normal release, with a ciphered InitiateResponse where the RLRQ had its like."""
    return _field(0x63, b"\x80\x01\x00" + _user_information(user_information))


def with_user_information(apdu: bytes, information: bytes) -> bytes:
    """An AARQ or AARE with other user information: how a ciphered one looks in clear. Raises `DecodeError`."""
    start, end = _contents(apdu, 0, apdu[0])
    kept = b""
    while start < end:
        _, behind = _contents(apdu, start, apdu[start])
        if apdu[start] != 0xBE:
            kept += apdu[start:behind]
        start = behind
    return _field(apdu[0], kept + _user_information(information))


# Protocol version, application context, called and calling titles, qualifiers and invocation ids,
# requirements, mechanism, authentication value, implementation, user information.
_AARQ_FIELDS = (
    0x80, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0x8A, 0x8B, 0xAC, 0xBD, 0x9D, 0xBE,
)  # fmt: skip


def _aare(
    result: int, diagnostic: Diagnostic, user_information: bytes, *, ciphered: bool, more: bytes = b""
) -> bytes:
    return _field(
        0x61,
        _field(0xA1, _field(0x06, LN_CIPHERED_CONTEXT if ciphered else LN_CONTEXT))
        + _field(0xA2, _field(0x02, bytes((result,))))
        + _field(0xA3, _field(0xA1, _field(0x02, bytes((diagnostic,)))))
        + more
        + _user_information(user_information),
    )


def _user_information(contents: bytes) -> bytes:
    return _field(0xBE, _field(0x04, contents)) if contents else b""


def _field(tag: int, contents: bytes) -> bytes:
    return bytes((tag,)) + length(len(contents)) + contents


def _fields(apdu: bytes, tag: int, known: tuple[int, ...]) -> dict[int, bytes]:
    offset, end = _contents(apdu, 0, tag)
    if end != len(apdu):
        raise DecodeError("The length of the APDU is not that of its contents.")
    fields: dict[int, bytes] = {}
    while offset < end:
        field = apdu[offset]
        if field not in known or field in fields:
            raise DecodeError(f"The field {field:02x} is not known here or stands twice.")
        start, offset = _contents(apdu, offset, field)
        fields[field] = apdu[start:offset]
    return fields


def _inner(contents: bytes, tag: int) -> bytes:
    start, end = _contents(contents, 0, tag)
    if end != len(contents):
        raise DecodeError(f"Bytes follow the field {tag:02x}.")
    return contents[start:end]


def _contents(data: bytes, offset: int, tag: int) -> tuple[int, int]:
    """Start and end of the contents of the BER field `tag` at `offset`."""
    if offset + 2 > len(data) or data[offset] != tag:
        raise DecodeError(f"The field {tag:02x} is missing or cut short.")
    size = data[offset + 1]
    start = offset + 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 2 or start + count > len(data):
            raise DecodeError(f"The length of the field {tag:02x} is not valid.")
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + size > len(data):
        raise DecodeError(f"The field {tag:02x} goes beyond the end of the data.")
    return start, start + size
