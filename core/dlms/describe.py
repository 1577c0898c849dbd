"""Any APDU explained field by field, for people who look at the traffic; secrets never get into the explanation.

Green Book 9.4.2 (ACSE), 9.5 (xDLMS APDUs, their tags and fields), 9.2.7 (ciphered APDUs). Pure; raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from core.cosem import obis
from core.dlms import acse, axdr, xdlms
from core.dlms.axdr import Tag
from core.dlms.errors import DecodeError
from core.dlms.wording import (
    AARE_FIELDS,
    AARQ_FIELDS,
    CIPHERED,
    CLASS_NAMES,
    CONFORMANCE,
    ERROR_CLASSES,
    ERROR_SERVICES,
    ERRORS,
    MECHANISMS,
    PUSHED,
    RELEASE_FIELDS,
    SECURITY_BITS,
    SELECTORS,
    UNSERVED,
    acse_text,
    date_time_text,
    hex_text,
    name_of,
    octets_text,
    type_name,
    value_text,
)

NOT_SHOWN: Final = "(not shown)"
MAX_PARTS: Final = 400
"""Fields that are explained of one APDU; a profile of a year has more, and nobody reads them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field. Parts stand in the order of the bytes; one that holds others comes before them, less deep."""

    depth: int
    label: str  # "class", "attribute", "invoke id"
    value: str  # "3 register"; `NOT_SHOWN` for a secret
    offset: int  # of its first byte in the APDU
    length: int


@dataclass(frozen=True, slots=True)
class Description:
    """What an APDU says."""

    title: str  # "GET request normal 3 8.0.1.0.0.255 attribute 2"
    parts: tuple[Part, ...]
    hidden: tuple[range, ...]  # offsets of bytes that are secrets, or may be

    def redacted(self, apdu: bytes) -> bytes:
        """The APDU with zeros in place of what is hidden; of a valid one, with the same description."""
        shown = bytearray(apdu)
        for span in self.hidden:
            shown[span.start : span.stop] = bytes(len(span))
        return bytes(shown)


def describe(apdu: bytes, *, sent: bool = False) -> Description:
    """Explain an APDU in clear; a ciphered one is explained as far as its header goes.

    Not shown are the LLS password, a dedicated key, what is written to the secret of an association, the
    parameters of change_HLS_secret and of a key transfer, and pieces of requests that may be one of these.
    `sent`: the APDU is one of the gateway, which sends no secret. Never raises: what cannot be decoded is shown
    in hexadecimal with the reason.
    """
    walk = _Walk(apdu, sent)
    walk.run()
    return Description(walk.title, tuple(walk.parts), tuple(walk.hidden))


class _Reference(NamedTuple):
    class_id: int
    name: bytes
    member: int  # attribute or method

    @property
    def text(self) -> str:
        return f"{self.class_id} {obis.text(self.name)}"


class _StopError(Exception):
    """The walk ends here; the message says why."""


class _Walk:
    def __init__(self, apdu: bytes, sent: bool) -> None:
        self.title = ""
        self.parts: list[Part] = []
        self.hidden: list[range] = []
        self._all = apdu
        self._data = apdu  # up to the end of what is being explained
        self._at = 0
        self._depth = 0
        self._sent = sent
        self._guarded = False  # what follows may be a secret

    def run(self) -> None:
        try:
            self._apdu()
            self._nothing_left()
        except (_StopError, DecodeError) as error:
            self._depth = 0
            self._data = self._all
            self._rest(str(error))

    def _rest(self, reason: str) -> None:
        start, end = self._at, len(self._all)
        if self._guarded:
            # Not even the reason: it may name a byte.
            self._hide("not decoded", end)
        elif start < end or reason:
            self.parts.append(
                Part(0, "not decoded", f"{hex_text(self._all[start:])} {reason}".strip(), start, end - start)
            )

    # Bytes

    def _left(self) -> int:
        return len(self._data) - self._at

    def _take(self, count: int) -> bytes:
        if count > self._left():
            raise _StopError(f"The APDU ends where {count} bytes more should stand.")
        self._at += count
        return self._data[self._at - count : self._at]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _length(self) -> int:
        count, self._at = axdr.decode_length(self._data, self._at)
        return count

    def _nothing_left(self) -> None:
        if self._left():
            raise _StopError(f"{self._left()} bytes too many.")

    # Parts

    def _add(self, label: str, value: str, start: int) -> int:
        if len(self.parts) >= MAX_PARTS:
            raise _StopError("More is not explained.")
        self.parts.append(Part(self._depth, label, value, start, self._at - start))
        return len(self.parts) - 1

    def _group(self, label: str, value: str, start: int, content: Callable[[], None]) -> None:
        """A part that holds others."""
        index = self._add(label, value, start)
        self._depth += 1
        content()
        self._depth -= 1
        self.parts[index] = replace(self.parts[index], length=self._at - start)

    def _number(self, label: str, size: int, names: Mapping[int, str] | None = None) -> int:
        start = self._at
        number = int.from_bytes(self._take(size), "big")
        name = "" if names is None else names.get(number, "unknown")
        self._add(label, f"{number} {name}".strip(), start)
        return number

    def _flag(self, label: str) -> bool:
        start = self._at
        given = self._byte() != 0
        self._add(label, "yes" if given else "no", start)
        return given

    def _hide(self, label: str, end: int) -> None:
        start, self._at = self._at, end
        if start < end:
            self.hidden.append(range(start, end))
            self.parts.append(Part(self._depth, label, NOT_SHOWN, start, end - start))

    def _octets(self, label: str, *, secret: bool = False) -> None:
        """An octet-string without its tag."""
        start = self._at
        size = self._length()
        if secret:
            self._hide(label, min(self._at + size, len(self._data)))
            return
        content = self._take(min(size, self._left()))
        self._add(label, octets_text(content), start)
        if len(content) < size:
            raise _StopError(f"{size - len(content)} bytes are missing.")

    def _inside(self, end: int, content: Callable[[], None]) -> None:
        """Explain what lies before `end`, all of which `content` has to take."""
        outer, self._data = self._data, self._data[:end]
        content()
        self._nothing_left()
        self._data = outer

    # APDUs

    def _apdu(self) -> None:
        if not self._left():
            self.title = self.title or "empty APDU"
            raise _StopError("The APDU is empty.")
        start = self._at
        tag = self._byte()
        name, content = self._SERVICES.get(tag, ("", None))
        if content is not None:
            self._name(name, start)
            content(self)
        elif tag in CIPHERED:
            self._name(CIPHERED[tag], start)
            self._length()
            self._ciphered()
        else:
            self._name(UNSERVED.get(tag, f"unknown APDU {tag:02x}"), start)
            self._guarded = self._guarded or (not self._sent and tag in _WRITING)
            raise _StopError("This service is not served and not explained.")

    def _name(self, name: str, start: int) -> None:
        if not self.title:
            self.title = name
        self._add("APDU", name, start)

    def _say(self, text: str) -> None:
        """More of the title; that of an APDU inside another one is left to the outer one."""
        if self._depth == 0:
            self.title += f" {text}"

    def _kind(self, kinds: Mapping[int, str]) -> int:
        start = self._at
        kind = self._byte()
        name = kinds.get(kind)
        if name is None:
            self._guarded = self._guarded or not self._sent
            raise _StopError("There is no such form of this service.")
        self._add("form", f"{kind} {name}", start)
        self._say(name)
        return kind

    def _invoke_id(self) -> None:
        start = self._at
        byte = self._byte()
        words = [str(byte & 0x0F), "confirmed" if byte & 0x40 else "unconfirmed"]
        self._add("invoke id", ", ".join([*words, "high priority"] if byte & 0x80 else words), start)

    # References and data

    def _reference(self, member: str) -> _Reference:
        class_id = self._number("class", 2, CLASS_NAMES)
        start = self._at
        name = self._take(6)
        self._add("logical name", obis.text(name), start)
        start = self._at
        number = int.from_bytes(self._take(1), "big", signed=True)
        self._add(member, str(number), start)
        return _Reference(class_id, name, number)

    def _attribute(self) -> _Reference:
        """An attribute descriptor; not yet the selection."""
        return self._reference("attribute")

    def _selection(self) -> None:
        if self._flag("selective access"):
            self._number("selector", 1, SELECTORS)
            self._value("selected by")

    def _references(self, member: str, kind: str) -> list[_Reference]:
        start = self._at
        count = self._length()
        found: list[_Reference] = []

        def content() -> None:
            for number in range(1, count + 1):
                self._group(str(number), "", self._at, one)

        def one() -> None:
            found.append(self._reference(member))
            if member == "attribute":
                self._selection()

        self._say(f"of {count}")
        self._group(kind, str(count), start, content)
        return found

    def _value(self, label: str) -> str:
        """One value with its tag; returns its text."""
        if not self._left():
            raise _StopError("A value is missing.")
        start = self._at
        tag = self._data[start]
        if tag not in (Tag.ARRAY, Tag.STRUCTURE):
            value, self._at = axdr.decode_from(self._data, start)
            text = value_text(value)
            self._add(label, text, start)
            return text
        if self._depth >= 2 * axdr.MAX_DEPTH:
            raise _StopError("The data is nested too deep.")
        self._at += 1
        count = self._length()
        text = f"{type_name(Tag(tag))} of {count}"

        def content() -> None:
            for number in range(1, count + 1):
                self._value(str(number))

        self._group(label, text, start, content)
        return text

    def _values(self, label: str, *, secret: bool) -> None:
        if secret:
            self._hide(label, len(self._data))
            return
        start = self._at
        count = self._length()

        def content() -> None:
            for number in range(1, count + 1):
                self._value(str(number))

        self._group(label, str(count), start, content)

    def _block(self, *, secret: bool) -> None:
        """Last-block, block number, and a piece of a longer value."""
        last = self._flag("last block")
        number = self._number("block number", 4)
        self._say(f"{number}, the last" if last else str(number))
        self._octets("piece", secret=secret)

    def _result(self, label: str = "result") -> str:
        start = self._at
        code = self._byte()
        name = name_of(xdlms.DataAccessResult, code)
        self._add(label, f"{code} {name}", start)
        return name

    def _data_or_result(self, label: str) -> str:
        start = self._at
        choice = self._byte()
        if choice > 1:
            raise _StopError("Neither data nor a result follows.")
        self._at = start + 1
        return self._result(label) if choice else self._value(label)

    # GET

    def _get_request(self) -> None:
        kind = self._kind({1: "normal", 2: "next", 3: "with list"})
        self._invoke_id()
        if kind == 1:
            reference = self._attribute()
            self._say(f"{reference.text} attribute {reference.member}")
            self._selection()
        elif kind == 2:
            self._say(str(self._number("block number", 4)))
        else:
            self._references("attribute", "attributes")

    def _get_response(self) -> None:
        kind = self._kind({1: "normal", 2: "with block", 3: "with list"})
        self._invoke_id()
        if kind == 1:
            self._say(self._data_or_result("value"))
        elif kind == 2:
            last = self._flag("last block")
            number = self._number("block number", 4)
            self._say(f"{number}, the last" if last else str(number))
            if self._byte() == 0:
                self._octets("piece")
            else:
                self._say(self._result())
        else:
            self._results(lambda: self._data_or_result("value"))

    def _results(self, one: Callable[[], object]) -> None:
        start = self._at
        count = self._length()

        def content() -> None:
            for _ in range(count):
                one()

        self._say(f"of {count}")
        self._group("results", str(count), start, content)

    # SET

    def _set_request(self) -> None:
        kind = self._kind(
            {
                1: "normal",
                2: "with first block",
                3: "with block",
                4: "with list",
                5: "with list and first block",
            }
        )
        self._invoke_id()
        if kind in (1, 2):
            reference = self._attribute()
            self._say(f"{reference.text} attribute {reference.member}")
            if _is_secret(reference):
                self._guarded = True
                self._hide("value", len(self._data))
                return
            self._selection()
            if kind == 1:
                self._value("value")
            else:
                self._block(secret=False)
            return
        self._guarded = True
        if kind == 3:
            self._block(secret=True)  # of a value that may be a secret
            return
        references = self._references("attribute", "attributes")
        secret = any(map(_is_secret, references))
        if kind == 4:
            self._values("values", secret=secret)
        else:
            self._block(secret=secret)

    def _set_response(self) -> None:
        kind = self._kind(
            {1: "normal", 2: "block", 3: "last block", 4: "last block with list", 5: "with list"}
        )
        self._invoke_id()
        if kind in (1, 3):
            self._say(self._result())
        elif kind in (4, 5):
            self._results(self._result)
        if kind in (2, 3, 4):
            self._number("block number", 4)

    # ACTION

    def _action_request(self) -> None:
        kind = self._kind(
            {
                1: "normal",
                2: "next block",
                3: "with list",
                4: "with first block",
                5: "with list and first block",
                6: "with block",
            }
        )
        self._invoke_id()
        if kind in (1, 4):
            reference = self._reference("method")
            self._say(f"{reference.text} method {reference.member}")
            if _is_secret_method(reference):
                self._guarded = True
                self._hide("parameter", len(self._data))
            elif kind == 4:
                self._block(secret=False)
            elif self._flag("has parameter"):
                self._value("parameter")
            return
        if kind == 2:
            self._say(str(self._number("block number", 4)))
            return
        self._guarded = True
        if kind == 6:
            self._block(secret=True)
            return
        secret = any(map(_is_secret_method, self._references("method", "methods")))
        if kind == 3:
            self._values("parameters", secret=secret)
        else:
            self._block(secret=secret)

    def _action_response(self) -> None:
        kind = self._kind({1: "normal", 2: "with block", 3: "with list", 4: "next block"})
        self._invoke_id()
        if kind == 1:
            self._say(self._action_result())
        elif kind == 2:
            self._block(secret=False)
        elif kind == 3:
            self._results(self._action_result)
        else:
            self._say(str(self._number("block number", 4)))

    def _action_result(self) -> str:
        result = self._result()
        if self._flag("has return parameter"):
            self._data_or_result("return parameter")
        return result

    # ACSE

    def _aarq(self) -> None:
        self._guarded = True
        fields = self._ber_fields()
        mechanisms = [self._data[end - 1] for tag, start, end in fields if tag == 0x8B and end - start == 7]
        named = sum(tag == 0x8B for tag, _, _ in fields)
        # Where the mechanism is not beyond doubt one with challenges, the value may be a password.
        challenge = len(mechanisms) == named == 1 and 2 <= mechanisms[0] <= 7
        if mechanisms:
            self._say(f"authentication {MECHANISMS.get(mechanisms[0], 'unknown')}")
        self._show_fields(fields, AARQ_FIELDS, secret=() if challenge else (0xAC,))

    def _aare(self) -> None:
        self._show_fields(self._ber_fields(), AARE_FIELDS)

    def _rlrq(self) -> None:
        self._guarded = not self._sent  # its user information may be another InitiateRequest
        self._show_fields(self._ber_fields(), RELEASE_FIELDS)

    def _ber_fields(self) -> list[tuple[int, int, int]]:
        """Tag, start and end of the contents of each field; the walk stands before the first of them."""
        size = self._ber_length()
        if size != self._left():
            raise _StopError(f"{size} bytes are announced and {self._left()} are there.")
        start = self._at
        fields: list[tuple[int, int, int]] = []
        try:
            while self._left():
                tag = self._byte()
                count = self._ber_length()
                fields.append((tag, self._at, self._at + count))
                self._take(count)
        finally:
            self._at = start
        return fields

    def _ber_length(self) -> int:
        first = self._byte()
        return first if first < 0x80 else int.from_bytes(self._take(first & 0x7F), "big")

    def _show_fields(
        self, fields: Iterable[tuple[int, int, int]], names: Mapping[int, str], secret: Sequence[int] = ()
    ) -> None:
        for tag, start, end in fields:
            label = names.get(tag, f"field {tag:02x}")
            content = self._data[start:end]
            before = self._at
            if tag in secret:
                self._at = start
                self._hide(label, end)
            elif tag == 0xBE:
                self._at = min(start + 2, end)
                self._group(label, "", before, partial(self._inside, end, self._apdu))
            else:
                self._at = end
                text = acse_text(tag, content)
                self._add(label, text, before)
                if tag == 0xA2 or (tag == 0xA3 and content[4:] != b"\x00"):
                    self._say(text)

    # Other APDUs

    def _initiate_request(self) -> None:
        before, self._guarded = self._guarded, True
        if self._flag("has dedicated key"):
            self._octets("dedicated key", secret=True)
        self._guarded = before
        if self._flag("has response allowed"):
            self._flag("response allowed")
        if self._flag("has quality of service"):
            self._number("quality of service", 1)
        self._number("DLMS version", 1)
        self._conformance()
        self._number("client's largest APDU", 2)

    def _initiate_response(self) -> None:
        if self._flag("has quality of service"):
            self._number("quality of service", 1)
        self._number("DLMS version", 1)
        self._conformance()
        self._number("server's largest APDU", 2)
        self._number("VAA name", 2)

    def _conformance(self) -> None:
        start = self._at
        if self._take(4) != b"\x5f\x1f\x04\x00":
            raise _StopError("The conformance block is not valid.")
        bits = int.from_bytes(self._take(3), "big")
        names = [name for number, name in enumerate(CONFORMANCE) if bits >> (23 - number) & 1]
        self._add("conformance", ", ".join(names) or "nothing", start)

    def _service_error(self) -> None:
        service = self._number("service", 1, ERROR_SERVICES)
        self._say(ERROR_SERVICES.get(service, ""))
        kind = self._number("class of error", 1, ERROR_CLASSES)
        names = ERRORS.get(kind)
        error = self._number("error", 1, names)
        self._say((names or {}).get(error, str(error)))

    def _exception(self) -> None:
        state, start = self._byte(), self._at - 1
        self._add("state error", f"{state} {name_of(xdlms.StateError, state)}", start)
        error, start = self._byte(), self._at - 1
        name = name_of(xdlms.ServiceError, error)
        self._add("service error", f"{error} {name}", start)
        self._say(name)
        if error == xdlms.ServiceError.INVOCATION_COUNTER_ERROR:
            self._say(f"(last {self._number('last invocation counter', 4)})")

    def _notification(self) -> None:
        start = self._at
        bits = int.from_bytes(self._take(4), "big")
        number = str(bits & 0xFF_FFFF)
        words = [number, "confirmed" if bits & 1 << 30 else "unconfirmed"]
        self._add("long invoke id", ", ".join([*words, "high priority"] if bits & 1 << 31 else words), start)
        start = self._at
        moment = self._take(self._length())
        self._add("date-time", date_time_text(moment) or moment.hex() or "none", start)
        self._say(number)
        self._say(self._pushed())

    def _pushed(self) -> str:
        """The body of a notification; the elements of one of this gateway have names."""
        what, labels = _pushed_kind(self._data[self._at :])
        if not labels:
            return self._value("body")
        start = self._at
        self._at += 2

        def content() -> None:
            for label in labels:
                self._value(label)

        self._group("body", what, start, content)
        return what

    def _general_block(self) -> None:
        start = self._at
        control = self._byte()
        words = [f"window {control & 0x3F}"]
        words += ["streaming"] if control & 0x40 else []
        words += ["last block"] if control & 0x80 else []
        self._add("block control", ", ".join(words), start)
        number = self._number("block number", 2)
        acknowledged = self._number("acknowledged block", 2)
        self._say(f"{number}, acknowledges {acknowledged}" + (", the last" if control & 0x80 else ""))
        if number > 1 or not control & 0x80:
            self._guarded = not self._sent  # any piece of a request may be one of a secret
        start = self._at
        size = self._length()
        if not size:
            self._add("block data", "none", start)
        elif number == 1 and control & 0x80:
            if size > self._left():
                self._guarded = not self._sent
                raise _StopError(f"{size - self._left()} bytes are missing.")
            end = self._at + size
            self._group("block data", "", start, partial(self._inside, end, self._apdu))
        else:
            self._at = start
            self._octets("block data", secret=not self._sent)

    def _general_protected(self) -> None:
        self._octets("system title")
        self._length()
        self._ciphered()

    def _general_ciphering(self) -> None:
        for label in ("transaction id", "originator", "recipient", "date-time", "other information"):
            self._octets(label)
        # The key information may be a wrapped key, of whatever form.
        before, self._guarded = self._guarded, True
        if self._flag("has key information"):
            self._hide("key information and content", len(self._data))
            return
        self._guarded = before
        self._length()
        self._ciphered()

    def _ciphered(self) -> None:
        start = self._at
        control = self._byte()
        words = [f"suite {control & 0x0F}"]
        words += [name for bit, name in SECURITY_BITS if control & bit]
        self._add("security control", f"{control:02x} {', '.join(words)}", start)
        counter = self._number("invocation counter", 4)
        self._say(f"counter {counter}")
        end = len(self._data)
        if not control & 0x20:
            # In clear. Of an APDU that is cut short, the end of a secret could pass for the tag.
            before, self._guarded = self._guarded, self._guarded or not self._sent
            end = max(self._at, end - 12) if control & 0x10 else end
            self._group("content", "", self._at, partial(self._inside, end, self._apdu))
            if self._guarded:
                self._hide("authentication tag", len(self._data))
            self._guarded = before
        else:
            start = self._at
            self._take(max(0, self._left() - (12 if control & 0x10 else 0)))
            self._add("ciphered content", f"{self._at - start} bytes", start)
        if self._left():
            start = self._at
            self._add("authentication tag", self._take(self._left()).hex(), start)

    _SERVICES: Final[dict[int, tuple[str, Callable[[_Walk], None]]]] = {
        0x01: ("initiate request", _initiate_request),
        0x08: ("initiate response", _initiate_response),
        0x0E: ("confirmed service error", _service_error),
        0x0F: ("data notification", _notification),
        acse.AARQ: ("AARQ", _aarq),
        0x61: ("AARE", _aare),
        acse.RLRQ: ("RLRQ", _rlrq),
        0x63: ("RLRE", _rlrq),
        0xC0: ("GET request", _get_request),
        0xC1: ("SET request", _set_request),
        0xC3: ("ACTION request", _action_request),
        0xC4: ("GET response", _get_response),
        0xC5: ("SET response", _set_response),
        0xC7: ("ACTION response", _action_response),
        0xD8: ("exception response", _exception),
        0xDB: ("general-glo-ciphering", _general_protected),
        0xDC: ("general-ded-ciphering", _general_protected),
        0xDD: ("general-ciphering", _general_ciphering),
        0xE0: ("general block transfer", _general_block),
    }


def _pushed_kind(body: bytes) -> tuple[str, Sequence[str]]:
    """What a body is, and the names of its elements; nothing where it is none of this gateway."""
    try:
        content = axdr.decode(body).content
    except DecodeError:
        return "", ()
    elements = content if body[0] == Tag.STRUCTURE and isinstance(content, list) else []
    return PUSHED.get((len(elements), elements[-1].tag), ("", ())) if elements else ("", ())


def _is_secret(reference: _Reference) -> bool:
    """Whether a value written there is a secret: attribute 7 of an association (Blue Book 4.4.4).

    By class or by logical name: a client that has one of the two wrong still sends the secret.
    """
    return reference.member == 7 and (reference.class_id == 15 or reference.name[:3] == _ASSOCIATION)


def _is_secret_method(reference: _Reference) -> bool:
    """Whether a parameter is a secret: change_HLS_secret, key_transfer, keys of an M-Bus client (Blue Book 4.4.4,
    4.4.7, 4.8.4)."""
    if reference.class_id == 72:
        return reference.member in (7, 8)
    of_secrets = reference.class_id in (15, 64) or reference.name[:3] in (_ASSOCIATION, _SECURITY_SETUP)
    return reference.member == 2 and of_secrets


_ASSOCIATION: Final = bytes((0, 0, 40))
_SECURITY_SETUP: Final = bytes((0, 0, 43))
_WRITING: Final = (0x06, 0x16, 0xD9, 0xDF)  # not explained, but may write a secret
