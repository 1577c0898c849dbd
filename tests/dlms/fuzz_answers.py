"""Says strictly whether an APDU of the server is a whole one, and whether it answers a request at all."""

from __future__ import annotations

from core.dlms import axdr
from core.dlms.axdr import decode_length
from core.dlms.xdlms import DataAccessResult

EXCEPTIONS = frozenset(
    bytes.fromhex(text) for text in ("d80101", "d80102", "d80104", "d80105", "d80202", "d80203")
)  # besides the one that tells a counter
STALE_COUNTER = bytes.fromhex("d80106")

_RESPONSES = {0xC0: 0xC4, 0xC1: 0xC5, 0xC3: 0xC7}
_KINDS = {
    (0xC0, 1): (1, 2), (0xC0, 2): (1, 2), (0xC0, 3): (1, 2, 3),
    (0xC1, 1): (1,), (0xC1, 2): (2, 3), (0xC1, 3): (2, 3, 4), (0xC1, 4): (5,), (0xC1, 5): (2, 4),
    (0xC3, 1): (1, 2), (0xC3, 2): (1, 2), (0xC3, 3): (2, 3), (0xC3, 4): (1, 2, 4), (0xC3, 5): (1, 2, 3, 4),
    (0xC3, 6): (1, 2, 3, 4),
}  # fmt: skip
"""Kinds of response that each kind of request can have."""

_BLOCKS = {(0xC4, 2): 9, (0xC7, 2): 8}  # where the length stands
_SIZES = {(0xC5, 1): 4, (0xC5, 2): 7, (0xC5, 3): 8, (0xC7, 4): 7}


def check_answer(request: bytes, answer: bytes, pdu: int) -> None:
    """Fail unless `answer` (plain, at most `pdu` bytes) is a whole APDU that can answer `request` (plain)."""
    assert len(answer) <= pdu, f"{len(answer)} bytes to a client that takes {pdu}"
    if is_exception(answer):
        return
    assert len(answer) >= 3, "cut short"
    assert answer[0] == _RESPONSES.get(request[0]), "the response of another service"
    assert answer[1] in _KINDS[request[0], request[1]], "the response to another kind of request"
    assert answer[2] == request[2], "another invoke id"
    check_service(answer)


def is_exception(answer: bytes) -> bool:
    """Whether it is an exception response, whole and of a kind that the server has."""
    return answer in EXCEPTIONS or (answer[:3] == STALE_COUNTER and len(answer) == 7)


def check_service(answer: bytes) -> None:
    """Fail unless it is a whole response of GET, SET or ACTION."""
    kind = (answer[0], answer[1])
    if kind in _SIZES:
        assert len(answer) == _SIZES[kind]
        if answer[1] in (1, 3) and answer[0] == 0xC5:
            DataAccessResult(answer[3])
        return
    if kind in _BLOCKS:
        end = _end_of_block(answer, _BLOCKS[kind])
    elif kind == (0xC4, 1):
        end = _end_of_data(answer, 3)
    elif kind == (0xC7, 1):
        end = _end_of_outcome(answer, 3)
    elif kind in ((0xC4, 3), (0xC7, 3)):
        count, end = decode_length(answer, 3)
        for _ in range(count):
            end = _end_of_data(answer, end) if answer[0] == 0xC4 else _end_of_outcome(answer, end)
    else:
        assert kind in ((0xC5, 4), (0xC5, 5)), "a response of a kind that does not exist"
        count, start = decode_length(answer, 3)
        end = start + count
        for result in answer[start:end]:
            DataAccessResult(result)
        end += 4 if kind == (0xC5, 4) else 0
    assert end == len(answer), f"{len(answer)} bytes, of which {end} are explained"


def check_acse(request: bytes, answer: bytes) -> int:
    """The result of an AARE (0 = accepted), the reason of a RLRE; -1 for an exception. Fails unless it is whole."""
    if is_exception(answer):
        return -1
    assert (request[0], answer[0]) in ((0x60, 0x61), (0x62, 0x63)), "the response of another service"
    fields = _ber(answer[_ber_start(answer, 0) :])
    assert _ber_end(answer, 0) == len(answer)
    if answer[0] == 0x63:
        assert list(fields) in ([0x80], [0x80, 0xBE])
        assert fields[0x80] == b"\x00"
        return 0
    assert list(fields)[:3] == [0xA1, 0xA2, 0xA3]
    assert set(fields) <= {0xA1, 0xA2, 0xA3, 0xA4, 0x88, 0x89, 0xAA, 0xBE}
    assert fields[0xA1] in (bytes.fromhex("060760857405080101"), bytes.fromhex("060760857405080103"))
    assert fields[0xA2][:2] == b"\x02\x01"
    assert fields[0xA3][:4] == bytes.fromhex("a1030201")
    result = fields[0xA2][2]
    assert result in (0, 1)
    if result == 0:
        information = fields[0xBE]
        assert information[0] == 4
        assert _ber_end(information, 0) == len(information)
        plain = information[2:]
        assert plain[0] in (0x28, 0xDB) or (plain[:2] == b"\x08\x00" and len(plain) == 14)
    return result


def _end_of_block(answer: bytes, start: int) -> int:
    assert answer[3] in (0, 1)
    if start == 9:
        assert answer[8] in (0, 1)
        if answer[8] == 1:
            DataAccessResult(answer[9])
            return 10
    size, begin = decode_length(answer, start)
    return begin + size


def _end_of_data(answer: bytes, offset: int) -> int:
    assert answer[offset] in (0, 1)
    if answer[offset] == 1:
        DataAccessResult(answer[offset + 1])
        return offset + 2
    return axdr.decode_from(answer, offset + 1)[1]


def _end_of_outcome(answer: bytes, offset: int) -> int:
    DataAccessResult(answer[offset])
    assert answer[offset + 1] in (0, 1)
    return _end_of_data(answer, offset + 2) if answer[offset + 1] else offset + 2


def _ber(data: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        assert data[offset] not in fields, "a field stands twice"
        end = _ber_end(data, offset)
        fields[data[offset]] = data[_ber_start(data, offset) : end]
        offset = end
    assert offset == len(data)
    return fields


def _ber_start(data: bytes, offset: int) -> int:
    return offset + 2 + (data[offset + 1] & 0x7F if data[offset + 1] >= 0x80 else 0)


def _ber_end(data: bytes, offset: int) -> int:
    start = _ber_start(data, offset)
    size = data[offset + 1] if start == offset + 2 else int.from_bytes(data[offset + 2 : start], "big")
    return start + size
