"""SAP assignment (Blue Book 4.4.5): which logical devices there are behind this address."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import ClassVar

from core.cosem import names
from core.cosem.base import Context, CosemObject, LogicalDevice, Selector
from core.dlms.axdr import NULL, array, long_unsigned, octet_string, structure


class SapAssignment(CosemObject):
    """Class 17: the list of logical devices (2), always as the directory has it now.

    It is worked out once for the devices that there are: the public client may ask for it 512 times in one request.
    """

    __slots__ = ("_devices", "_encoded")

    class_id: ClassVar[int] = 17
    method_count: ClassVar[int] = 1

    def __init__(self, logical_name: bytes = names.SAP_ASSIGNMENT, *, public: bool = True) -> None:
        super().__init__(logical_name, (NULL,), public=public)
        self._devices: Iterable[LogicalDevice] | None = None  # that the list is of
        self._encoded = b""

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if attribute == 2 and selector is None:
            devices = context.directory.devices()
            if devices is not self._devices:
                self._devices = devices
                self._encoded = array(
                    structure(long_unsigned(device.sap), octet_string(device.name.encode("ascii", "replace")))
                    for device in devices
                )
            return self._encoded
        return super().read(attribute, selector, context)
