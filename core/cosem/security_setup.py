"""Security setup (Blue Book 4.4.7): policy and keys, as a head-end sees and changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import ClassVar, Final, Protocol

from core.cosem import names
from core.cosem.base import Context, CosemObject, DataAccessError, Selector
from core.dlms.axdr import NULL, Tag, Value, enum, octet_string
from core.dlms.xdlms import DataAccessResult

SECURITY_ACTIVATE: Final = 1  # methods
GLOBAL_KEY_TRANSFER: Final = 2

_POLICY: Final = 2  # attributes
_CLIENT_TITLE: Final = 4
_SUITE_0: Final = 0  # AES-GCM-128 for ciphering, AES-128 key wrap for transfer


class SecurityAccess(Protocol):
    """The security of the gateway, which every logical device has in common.

    What changes it returns once the change is durable, and raises `DataAccessError` where nothing changed. The
    answer to the client still goes out under the old keys.
    """

    def policy(self) -> int:
        """Security policy of suite 0: 0 none, 3 authenticated and encrypted."""

    def frame_counter(self) -> int:
        """The highest invocation counter accepted from a client, 0..2^32-1."""

    async def raise_policy(self, policy: int, context: Context) -> None:
        """Demand more protection from now on; less is refused."""

    async def transfer_keys(self, keys: Sequence[tuple[int, bytes]], context: Context) -> None:
        """Take new keys, all of them or none: key_id and the key wrapped under the master key (RFC 3394)."""

    async def set_lls_password(self, value: bytes, context: Context) -> None:
        """Take a new password for low level security."""


class SecuritySetup(CosemObject):
    """Class 64, version 0: policy (2), suite (3, always 0), system titles of client (4) and server (5).

    If `changeable`, the management client may write the policy, or invoke security_activate (1) with it as an
    enum, which is the same, and invoke global_key_transfer (2) with an array of structure{enum key_id, octet-string
    wrapped key}. Parameters of another type are refused with type-unmatched.
    """

    __slots__ = ("_security",)

    class_id: ClassVar[int] = 64
    method_count: ClassVar[int] = 2

    def __init__(
        self,
        security: SecurityAccess,
        system_title: bytes,
        *,
        changeable: bool,
        logical_name: bytes = names.SECURITY_SETUP,
    ) -> None:
        """`system_title`: of the gateway, 8 bytes."""
        super().__init__(
            logical_name,
            (NULL, enum(_SUITE_0), NULL, octet_string(system_title)),
            writable=(_POLICY,) if changeable else (),
            invocable=(SECURITY_ACTIVATE, GLOBAL_KEY_TRANSFER) if changeable else (),
        )
        self._security = security

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if selector is None:
            if attribute == _POLICY:
                return enum(self._security.policy())
            if attribute == _CLIENT_TITLE:
                return octet_string(context.client_title)
        return super().read(attribute, selector, context)

    def write(self, attribute: int, value: Value, context: Context) -> Awaitable[None] | None:
        if attribute == _POLICY:
            return self._security.raise_policy(_enum(value), context)
        return super().write(attribute, value, context)

    def act(
        self, method: int, parameter: Value | None, context: Context
    ) -> bytes | Awaitable[bytes | None] | None:
        if method == SECURITY_ACTIVATE:
            return self._security.raise_policy(_enum(parameter), context)
        if method == GLOBAL_KEY_TRANSFER:
            return self._security.transfer_keys(_keys(parameter), context)
        return super().act(method, parameter, context)


def _enum(value: Value | None) -> int:
    if value is not None and value.tag == Tag.ENUM and isinstance(value.content, int):
        return value.content
    raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)


def _keys(value: Value | None) -> list[tuple[int, bytes]]:
    """key_id and wrapped key of each key_data. Raises `DataAccessError`, also where there is none."""
    if value is None or value.tag != Tag.ARRAY or not isinstance(value.content, list) or not value.content:
        raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
    return [_key(item) for item in value.content]


def _key(value: Value) -> tuple[int, bytes]:
    if value.tag == Tag.STRUCTURE and isinstance(value.content, list) and len(value.content) == 2:
        number, wrapped = value.content
        if wrapped.tag == Tag.OCTET_STRING and isinstance(wrapped.content, bytes):
            return _enum(number), wrapped.content
    raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
