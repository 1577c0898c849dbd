"""Association LN (Blue Book 4.4.4): how a client finds out what there is, and with which rights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import ClassVar, Final, TypeAlias

from core.cosem import names
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
REPLY_TO_HLS = 1  # method

Objects: TypeAlias = Mapping[tuple[int, bytes], CosemObject]

_LISTS_KEPT: Final = 64


class AssociationLN(CosemObject):
    """Class 15, version 1: the association that the client is in right now, whichever client that is.

    The object list (2) shows the *selected* logical device with the rights of this client. `set_secret` takes
    the new LLS password (7) as an octet-string; without it the attribute cannot be written. Method 1,
    reply_to_HLS_authentication, is granted to the management client and answered by the association itself while
    it opens; afterwards it is refused. Methods 2 to 4 are not granted: keys change in the security setup.
    """

    __slots__ = ("_lists",)

    class_id: ClassVar[int] = 15
    version: ClassVar[int] = 1
    method_count: ClassVar[int] = 4

    def __init__(
        self,
        logical_name: bytes = names.ASSOCIATION,
        *,
        security_setup: bytes = names.SECURITY_SETUP,
        set_secret: Setter | None = None,
        public: bool = True,
    ) -> None:
        """`security_setup`: logical name of the security setup object (9)."""
        super().__init__(
            logical_name,
            (NULL, NULL, NULL, NULL, NULL, None, enum(ASSOCIATED), octet_string(security_setup)),
            public=public,
            setters={7: set_secret} if set_secret else None,
            invocable=(REPLY_TO_HLS,),
        )
        # The mapping of a list is kept beside it, so that no other mapping can have its id meanwhile.
        self._lists: OrderedDict[tuple[int, int], tuple[Objects, bytes]] = OrderedDict()

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        if selector is None:
            if attribute == 2:
                return self._object_list(context)
            if attribute == 3:
                return structure(integer(context.client_sap), long_unsigned(context.addressed))
            if attribute == 4:
                return _oid(1, 3 if context.ciphered else 1)
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

    def _object_list(self, context: Context) -> bytes:
        device = context.device
        if device is None:
            raise DataAccessError(DataAccessResult.OBJECT_UNAVAILABLE)
        objects, client = device.objects, context.client_sap
        known = self._lists.pop((id(objects), client), None)
        encoded = object_list(objects, client) if known is None else known[1]
        self._lists[id(objects), client] = (objects, encoded)
        if len(self._lists) > _LISTS_KEPT:
            self._lists.popitem(last=False)
        return encoded


def object_list(objects: Objects, client_sap: int) -> bytes:
    """Encode the object list of a logical device: every object that the client has any right to."""
    entries: list[bytes] = []
    for item in objects.values():
        rights = item.access(client_sap)
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
