"""SAP assignment (Blue Book 4.4.5): which logical devices there are behind this address."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar

from core.cosem import names
from core.cosem.base import Context, CosemObject, Selector
from core.dlms.axdr import NULL, array, long_unsigned, octet_string, structure


class SapAssignment(CosemObject):
    """Class 17: the list of logical devices (2), always as the directory has it now."""

    __slots__ = ()

    class_id: ClassVar[int] = 17
    method_count: ClassVar[int] = 1

    def __init__(self, logical_name: bytes = names.SAP_ASSIGNMENT, *, public: bool = True) -> None:
        super().__init__(logical_name, (NULL,), public=public)

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2 and selector is None:
            return array(
                structure(long_unsigned(device.sap), octet_string(device.name.encode("ascii", "replace")))
                for device in context.directory.devices()
            )
        return super().read(attribute, selector, context)
