"""Association LN (Blue Book 4.4.4): how a client finds out what there is, and with which rights."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import ClassVar

from core.cosem.base import Context, CosemObject, DataAccessError, Rights, Selector, Setter
from core.dlms.axdr import (
    NULL,
    array,
    bit_string,
    enum,
    integer,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from core.dlms.xdlms import DLMS_VERSION, DataAccessResult

ASSOCIATED = 2  # association_status


class AssociationLN(CosemObject):
    """Class 15, version 1: the association that the client is in right now, whichever client that is.

    The object list (2) shows the *selected* logical device with the rights of this client. `set_secret` takes
    the new LLS password (7) as an octet-string; without it the attribute cannot be written.
    """

    class_id: ClassVar[int] = 15
    version: ClassVar[int] = 1
    method_count: ClassVar[int] = 4

    def __init__(
        self,
        logical_name: bytes = bytes((0, 0, 40, 0, 0, 255)),
        *,
        security_setup: bytes = bytes((0, 0, 43, 0, 0, 255)),
        set_secret: Setter | None = None,
        public: bool = True,
    ) -> None:
        """`security_setup`: logical name of the security setup object (9)."""
        super().__init__(
            logical_name,
            (NULL, NULL, _oid(1, 1), NULL, NULL, None, enum(ASSOCIATED), octet_string(security_setup)),
            public=public,
            setters={7: set_secret} if set_secret else None,
        )

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if selector is None:
            if attribute == 2:
                return object_list(context)
            if attribute == 3:
                return structure(integer(context.client_sap), long_unsigned(context.addressed))
            if attribute == 5:
                return structure(
                    bit_string(f"{context.conformance:024b}"),
                    long_unsigned(context.server_pdu),
                    long_unsigned(context.client_pdu),
                    unsigned(DLMS_VERSION),
                    integer(0),
                    octet_string(b""),
                )
            if attribute == 6:
                return _oid(2, context.mechanism)
        return super().read(attribute, selector, context)


def object_list(context: Context) -> bytes:
    """Encode the object list of the selected device: every object that this client has any right to.

    Raises `DataAccessError` if the selected device is gone.
    """
    device = context.device
    if device is None:
        raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
    entries: list[bytes] = []
    for item in device.objects.values():
        rights = item.access(context.client_sap)
        if rights.any:
            entries.append(
                b"\x02\x04"
                + long_unsigned(item.class_id)
                + unsigned(item.version)
                + octet_string(item.logical_name)
                + _access_rights(rights, tuple(sorted(item.selectors.items())))
            )
    return array(entries)


@lru_cache(maxsize=256)
def _access_rights(rights: Rights, selectors: tuple[tuple[int, tuple[int, ...]], ...]) -> bytes:
    kinds = dict(selectors)
    attributes = array(
        structure(
            integer(number),
            enum(mode),
            array([integer(kind) for kind in kinds[number]]) if number in kinds else NULL,
        )
        for number, mode in enumerate(rights.attributes, 1)
    )
    methods = array(
        structure(integer(number), enum(1 if granted else 0))
        for number, granted in enumerate(rights.methods, 1)
    )
    return structure(attributes, methods)


def _oid(kind: int, number: int) -> bytes:
    """The object identifier 2.16.756.5.8.`kind`.`number` as a structure of its arcs."""
    return structure(
        unsigned(2),
        unsigned(16),
        long_unsigned(756),
        unsigned(5),
        unsigned(8),
        unsigned(kind),
        unsigned(number),
    )
