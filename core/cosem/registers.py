"""Interface classes that hold one value: Data, Register, Extended register (Blue Book 4.3.1 to 4.3.3)."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import IPv6Address, ip_address
from typing import ClassVar

from core.cosem.base import CHANNEL_SELECTION, Context, CosemObject, DataAccessError, Selector, Setter, Source
from core.dlms.axdr import (
    NULL,
    Tag,
    Value,
    double_long_unsigned,
    enum,
    integer,
    long_unsigned,
    structure,
)
from core.dlms.xdlms import DataAccessResult


class Data(CosemObject):
    """Class 1: a value (2)."""

    __slots__ = ()

    class_id: ClassVar[int] = 1

    def __init__(
        self, logical_name: bytes, value: Source, *, public: bool = False, set_value: Setter | None = None
    ) -> None:
        super().__init__(logical_name, (value,), public=public, setters={2: set_value} if set_value else None)


class ChannelSelection(CosemObject):
    """Class 1, 0.128.1.0.0.255: the SAP of the logical device that the association talks to, long-unsigned.

    Writing a number that no logical device has is refused with read-write-denied and changes nothing.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 1

    def __init__(self, logical_name: bytes = CHANNEL_SELECTION[1]) -> None:
        super().__init__(logical_name, (NULL,), writable=(2,))

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2 and selector is None:
            return long_unsigned(context.selected)
        return super().read(attribute, selector, context)

    def write(self, attribute: int, value: Value, context: Context) -> Awaitable[None] | None:
        if value.tag != Tag.LONG_UNSIGNED or not isinstance(value.content, int):
            raise DataAccessError(DataAccessResult.TYPE_UNMATCHED)
        if not context.select(value.content):
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        return None


class IpAddress(CosemObject):
    """Class 1: the IPv4 address at which the client reaches the gateway, double-long-unsigned, first byte highest.

    0 where it connected over IPv6.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 1

    def __init__(self, logical_name: bytes) -> None:
        super().__init__(logical_name, (NULL,))

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2 and selector is None:
            return double_long_unsigned(_ipv4(context.local))
        return super().read(attribute, selector, context)


class _Scaled(CosemObject):
    """A value (2) with scaler and unit (3), which may change while a client knows the old ones.

    Until that client reads them again, the value is refused with object-unavailable: it would be wrong by a factor.
    """

    __slots__ = ()

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2 and self.misleads(context):
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        answer = super().read(attribute, selector, context)
        if attribute == 3 and isinstance(answer, bytes):
            context.explain(self, answer)
        return answer

    def misleads(self, context: Context) -> bool:
        scaler_and_unit = self._sources[2]
        return isinstance(scaler_and_unit, bytes) and context.misleads(self, scaler_and_unit)


class Register(_Scaled):
    """Class 3: a value (2) with scaler and unit (3); method reset is not granted."""

    __slots__ = ()

    class_id: ClassVar[int] = 3
    method_count: ClassVar[int] = 1

    def __init__(
        self, logical_name: bytes, value: Source, scaler: int, unit: int, *, public: bool = False
    ) -> None:
        """`scaler`: power of ten, -128..127; `unit`: Blue Book table of units, 1..255."""
        super().__init__(logical_name, (value, scaler_unit(scaler, unit)), public=public)


class ExtendedRegister(_Scaled):
    """Class 4: as a register, and a status (4) and the capture time (5)."""

    __slots__ = ()

    class_id: ClassVar[int] = 4
    method_count: ClassVar[int] = 1

    def __init__(
        self,
        logical_name: bytes,
        value: Source,
        scaler: int,
        unit: int,
        status: Source,
        capture_time: Source,
        *,
        public: bool = False,
    ) -> None:
        """`capture_time` gives 12 bytes of date-time as an octet-string; the rest as in `Register`."""
        super().__init__(
            logical_name, (value, scaler_unit(scaler, unit), status, capture_time), public=public
        )


def _ipv4(text: str) -> int:
    try:
        address = ip_address(text)
    except ValueError:
        return 0
    if isinstance(address, IPv6Address):
        # A socket that listens on both shows clients of IPv4 as ::ffff:192.0.2.7.
        return int(address.ipv4_mapped or 0)
    return int(address)


def scaler_unit(scaler: int, unit: int) -> bytes:
    """Encode scal_unit_type: integer power of ten, enum unit (Blue Book 4.3.2)."""
    return structure(integer(scaler), enum(unit))
