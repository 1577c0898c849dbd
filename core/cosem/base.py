"""What every COSEM object, logical device and association context is: the seam between protocol and gateway.

Class and attribute numbers: Blue Book ed. 12, clause 4. The protocol layers use nothing of an object beyond
what `CosemObject` declares, and nothing of the gateway beyond `DeviceDirectory`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from core.cosem import names
from core.dlms.axdr import Value, octet_string
from core.dlms.xdlms import DataAccessResult

PUBLIC_CLIENT = 16
MANAGEMENT_CLIENT = 1
MANAGEMENT_DEVICE = 1  # server SAP of the management logical device
CHANNEL_SELECTION = (1, names.CHANNEL_SELECTION)  # class and logical name
MOST_LEARNED: Final = 10_000
"""Attributes 3 that are remembered of one association; what a client read before those is forgotten."""

Source: TypeAlias = bytes | Callable[[], bytes] | Callable[[], Awaitable[bytes]]
"""Where the encoded value of an attribute comes from; a function may raise `DataAccessError`."""

Setter: TypeAlias = "Callable[[Value, Context], Awaitable[None] | None]"
"""Takes what a client writes to an attribute; raises `DataAccessError` to refuse it."""

Method: TypeAlias = "Callable[[Value | None, Context], bytes | Awaitable[bytes | None] | None]"
"""Does what a client invokes, with its parameter if there is one; gives the encoded return parameter, None for
none; raises `DataAccessError` to refuse it."""


class DataAccessError(Exception):
    """An attribute cannot be read or written, or a method not be invoked; the client gets `code`.

    Data-Access-Result and Action-Result have the same numbers (Green Book 9.5).
    """

    def __init__(self, code: DataAccessResult) -> None:
        super().__init__(code.name.lower().replace("_", "-"))
        self.code = code


class Access(IntEnum):
    """Access mode of an attribute; the numbers are those of the object list (Blue Book 4.4.4)."""

    NONE = 0
    READ = 1
    WRITE = 2
    READ_WRITE = 3


@dataclass(frozen=True, slots=True)
class Rights:
    """What one client may do with one object."""

    attributes: tuple[Access, ...]  # of attribute 1, 2, ...
    methods: tuple[bool, ...] = ()  # of method 1, 2, ...

    @property
    def any(self) -> bool:
        """Whether the client may do anything at all; only such objects stand in its object list."""
        return any(self.attributes) or any(self.methods)


@dataclass(frozen=True, slots=True)
class Selector:
    """Selective access: `kind` 1 = by range, 2 = by entry (Blue Book 4.3.6), and its decoded parameters."""

    kind: int
    parameters: Value


class LogicalDevice(Protocol):
    """One logical device. The directory may return another instance for the same SAP at any time."""

    @property
    def sap(self) -> int: ...

    @property
    def name(self) -> str:
        """Logical device name, at most 16 ASCII characters."""

    @property
    def objects(self) -> Mapping[tuple[int, bytes], CosemObject]:
        """By class and logical name, in the order of the object list. Other objects come as another mapping."""


class DeviceDirectory(Protocol):
    """The logical devices there are now; asked anew with every request."""

    def device(self, sap: int) -> LogicalDevice | None: ...

    def devices(self) -> Iterable[LogicalDevice]:
        """All of them, in the order of their SAPs. Other devices come as another collection."""


@dataclass(slots=True)
class Context:
    """One association, as objects see it."""

    client_sap: int
    addressed: int  # server SAP that the client associated with
    peer: str
    directory: DeviceDirectory
    selected: int = field(init=False)  # SAP of the device that the association talks to
    selected_name: str = field(init=False, default="")  # of that device
    mechanism: int = 0  # authentication mechanism: 0 none, 1 low, 5 high with GMAC
    conformance: int = 0  # negotiated, 24 bits
    client_pdu: int = 0  # largest APDU that the client takes, as negotiated; 0 = any
    server_pdu: int = 0
    local: str = ""  # IP address that the client connected to; "" where that is unknown
    client_title: bytes = b""  # system title from the AARQ, 8 bytes; empty without one
    ciphered: bool = False  # whether the application context is the one with ciphering
    errors: int = 0  # requests that were refused or failed
    last_error: str = ""  # the last of them, a few words: "get 3 8.0.1.0.0.255/2: object unavailable"
    learned: dict[tuple[str, int, bytes], bytes] = field(default_factory=dict)
    """By device, class and logical name: what attribute 3 said when the client read it last (`explain`)."""
    after_answer: list[Callable[[], None]] = field(default_factory=list)
    """Called once when the answer to the present request is protected: new keys hold from then on."""

    def __post_init__(self) -> None:
        self.selected = self.addressed
        self.select(self.addressed)

    @property
    def device(self) -> LogicalDevice | None:
        """The selected logical device; None if it is gone, also where another meter has taken its SAP.

        A client that goes on would take the values of one meter for those of the other.
        """
        device = self.directory.device(self.selected)
        if device is None or device.name == self.selected_name or self.selected == MANAGEMENT_DEVICE:
            return device
        return None

    def explain(self, item: CosemObject, explanation: bytes) -> None:
        """Note that the client reads attribute 3 of a register or a profile, without which attribute 2 says nothing."""
        self.learned.pop(place := self._place(item), None)
        self.learned[place] = explanation
        if len(self.learned) > MOST_LEARNED:
            del self.learned[next(iter(self.learned))]

    def misleads(self, item: CosemObject, explanation: bytes) -> bool:
        """Whether the client would take attribute 2 wrongly: it has read another attribute 3 than there is now."""
        return self.learned.get(self._place(item), explanation) != explanation

    def _place(self, item: CosemObject) -> tuple[str, int, bytes]:
        return self.selected_name, item.class_id, item.logical_name

    def select(self, sap: int) -> bool:
        """Talk to logical device `sap` from now on; False, and nothing changes, if there is none."""
        device = self.directory.device(sap)
        if device is None:
            return False
        self.selected, self.selected_name = sap, device.name
        return True


class CosemObject:
    """An object made of one source for each attribute behind the logical name.

    `sources[0]` is attribute 2; None stands for an attribute that cannot be read. An attribute with a setter,
    or in `writable`, can be written by the management client, and the methods in `methods` (or `invocable`) can be
    invoked by it. The public client reads the object if `public`, only. Subclasses say class, version and number of
    methods; those whose values depend on the association override `read`, `write` or `act`.
    """

    # A gateway has tens of thousands of objects: no dictionary for each.
    __slots__ = ("_methods", "_rights", "_setters", "_sources", "attribute_count", "logical_name")

    class_id: ClassVar[int]
    version: ClassVar[int] = 0
    method_count: ClassVar[int] = 0
    selectors: ClassVar[Mapping[int, tuple[int, ...]]] = {}  # attribute -> kinds of selective access

    def __init__(
        self,
        logical_name: bytes,
        sources: Sequence[Source | None],
        *,
        public: bool = False,
        setters: Mapping[int, Setter] | None = None,
        writable: Iterable[int] = (),
        methods: Mapping[int, Method] | None = None,
        invocable: Iterable[int] = (),
    ) -> None:
        if len(logical_name) != 6:
            raise ValueError(f"a logical name has 6 bytes, not {len(logical_name)}")
        self.logical_name = logical_name
        self.attribute_count = 1 + len(sources)
        self._sources: tuple[Source | None, ...] = (octet_string(logical_name), *sources)
        self._setters: Mapping[int, Setter] = setters or _NOTHING
        self._methods: Mapping[int, Method] = methods or _NOTHING
        self._rights = _rights(
            tuple(source is not None for source in self._sources),
            frozenset((*self._setters, *writable)),
            frozenset((*self._methods, *invocable)),
            self.method_count,
            public,
        )

    def access(self, client_sap: int) -> Rights:
        """What client `client_sap` may do; the association enforces it before it reads or writes."""
        management, public, nothing = self._rights
        if client_sap == MANAGEMENT_CLIENT:
            return management
        return public if client_sap == PUBLIC_CLIENT else nothing

    def read(self, attribute: int, selector: Selector | None, context: Context) -> bytes | Awaitable[bytes]:
        """The encoded value of an attribute (1..`attribute_count`). Raises `DataAccessError`."""
        if selector is not None:
            raise DataAccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        source = self._sources[attribute - 1]
        if isinstance(source, bytes):
            return source
        if source is None:
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        return source()

    def misleads(self, context: Context) -> bool:
        """Whether the client of this association would take attribute 2 for something that it is not any more."""
        return False

    def write(self, attribute: int, value: Value, context: Context) -> Awaitable[None] | None:
        """Take a written value. Raises `DataAccessError`."""
        setter = self._setters.get(attribute)
        if setter is None:
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        return setter(value, context)

    def act(
        self, method: int, parameter: Value | None, context: Context
    ) -> bytes | Awaitable[bytes | None] | None:
        """Invoke a method (1..`method_count`); the encoded return parameter, if any. Raises `DataAccessError`."""
        action = self._methods.get(method)
        if action is None:
            raise DataAccessError(DataAccessResult.READ_WRITE_DENIED)
        return action(parameter, context)


_NOTHING: Final[Mapping[int, Any]] = MappingProxyType({})


@lru_cache(maxsize=1024)
def _rights(
    readable: tuple[bool, ...], written: frozenset[int], granted: frozenset[int], methods: int, public: bool
) -> tuple[Rights, Rights, Rights]:
    """Of the management client, the public client, and any other; one for all objects that are alike."""
    reading = tuple(Access.READ if can else Access.NONE for can in readable)
    no_method = (False,) * methods
    nothing = Rights((Access.NONE,) * len(readable), no_method)
    management = Rights(
        tuple(
            Access(mode | (Access.WRITE if number in written else Access.NONE))
            for number, mode in enumerate(reading, 1)
        ),
        tuple(number in granted for number in range(1, methods + 1)),
    )
    return management, Rights(reading, no_method) if public else nothing, nothing
