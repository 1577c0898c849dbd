"""What can be told of an answer without its values: whose it is, whether it is new, and why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from core.mbus.address import POINT_TO_POINT, SELECTED, Address, SecondaryAddress
from core.mbus.errors import Garbled, WrongMeter
from core.mbus.exchange import Accept, Disturbance
from core.mbus.frame import RSP_UD, Frame, Kind, identity_of
from core.mbus.telegram import TelegramError, decode
from core.mbus.watch import Fault

_RSP_UD_MASK = 0x4F  # without the reserved bit and the slave's ACD and DFC bits
_ACCESS_NUMBER: Final = {0x72: 8, 0x76: 8, 0x7A: 0, 0x73: 4, 0x77: 4}  # CI field -> place behind it
_CI_AT = 6

_WORDS: Final = {
    Fault.NOISE: (
        "Noise comes instead of a telegram of meter {address}",
        "Look for a loose or badly shielded wire or a meter that talks unasked, and check the baud rate.",
    ),
    Fault.CHECKSUM: (
        "The telegrams of meter {address} are disturbed on their way",
        "Look for a loose, too long or badly shielded wire.",
    ),
    Fault.COLLISION: (
        "More than one meter answers at address {address}",
        "Look for two meters with the same address, and give one of them another.",
    ),
    Fault.CUT: (
        "The telegrams of meter {address} break off",
        "Look for a loose wire, and whether the level converter can feed so many meters.",
    ),
    Fault.UNEXPECTED: (
        "Something else than meter {address} answers",
        "Check its address, and whether other software uses the line.",
    ),
    Fault.LATE: (
        "Answers of other meters come so late that they fall into that of meter {address}",
        "Give the slow meters or the line a larger margin_ms.",
    ),
}


def is_ack(frame: Frame) -> bool:
    """The answer to whatever asks for no data."""
    return frame.kind is Kind.ACK


def is_answer_of(number: int) -> Accept:
    """A telegram with the address that was asked, or the acknowledgement of a meter without data."""
    anyone = number in (SELECTED, POINT_TO_POINT)

    def accept(frame: Frame) -> bool:
        if frame.kind is Kind.LONG:
            return frame.control & _RSP_UD_MASK == RSP_UD and (anyone or frame.address == number)
        return frame.kind is Kind.ACK

    return accept


def verify(
    answer: Frame, address: Address, expected: SecondaryAddress | None, first: SecondaryAddress | None
) -> None:
    """Raises `WrongMeter` where a telegram names another meter than the one at `address`.

    `expected` is who it is known to be, `first` who sent the telegrams of the readout so far, if any.
    """
    found = identity_of(answer)
    if found is None:
        return
    if first and not matches(answer, SecondaryAddress(first.identification, first.manufacturer)):
        what = (
            f"Meter {found} answers amid the telegrams of {first} at address {address}: look for two meters with "
            "the same address, and give one of them another."
        )
    elif isinstance(address, SecondaryAddress) and not matches(answer, address):
        what = (
            f"Meter {found} answers when {address} is selected. If {address} names itself so in its telegrams, give "
            f"its primary address instead; else {found} stays selected although it should not: take it off the line."
        )
    elif expected is not None and not matches(answer, expected):
        what = (
            f"Meter {found} answers at address {address}, where {expected} is expected: was the meter replaced, or "
            "its address changed? Compare the number on the meter, and correct the list of meters."
        )
    else:
        return
    raise WrongMeter(what, found, (answer.raw,))


def matches(answer: Frame, wanted: SecondaryAddress) -> bool:
    """Whether a telegram can be of the meter that is meant; a field that it does not tell does not count."""
    found = identity_of(answer)
    if found is None:
        return True
    if wanted.fabrication is not None:
        found = SecondaryAddress(
            found.identification, found.manufacturer, found.version, found.medium, _fabrication_of(answer)
        )
    return wanted.agrees(found)


def content_of(answer: Frame) -> bytes:
    """What makes two telegrams the same: everything but the number that counts the answers."""
    counter = _ACCESS_NUMBER.get(answer.ci)
    if counter is None:
        return answer.raw
    return bytes((answer.ci,)) + answer.payload[:counter] + answer.payload[counter + 1 :]


def moved_on(first: bytes, repeated: bytes) -> bool:
    """Whether a meter took the repetition of a request for a new one, which is against the frame count bit.

    `first` came first, perhaps with a wrong checksum, `repeated` when it was asked for again: the same telegram, but
    for disturbed bits. Another length or the next access number tell that it is another telegram.
    """
    if len(first) != len(repeated):
        return True
    counter = _ACCESS_NUMBER.get(repeated[_CI_AT])
    at = _CI_AT + 1 + (counter or 0)
    return counter is not None and at < len(first) - 2 and repeated[at] == (first[at] + 1) & 0xFF


def garbled(address: Address | None, disturbances: Sequence[Disturbance], tries: str) -> Garbled:
    """The error for tries of which none brought an answer and these brought something else.

    What most of them had is the fault. Where they differ it is noise, since two meters that answer at once do the
    same again when they are asked again. For the same reason wrong checksums over the same bytes every time are no
    noise but two meters whose telegrams have one length (or, seldom, a meter that cannot reckon). Where bytes come
    unasked as well, the collision is with whatever sends them.
    """
    last = disturbances[-1]
    fault, count = Counter(each.fault for each in disturbances).most_common(1)[0]
    if count * 2 <= len(disturbances):
        fault = Fault.NOISE
    reason = last.reason
    if fault is Fault.CHECKSUM and len(disturbances) > 1 and len({each.raw for each in disturbances}) == 1:
        fault = Fault.COLLISION
        reason += " over the same bytes each time"
    if fault is Fault.COLLISION and any(each.unasked for each in disturbances):
        fault = Fault.NOISE
        reason += ", and bytes come unasked, too"
    what, advice = _WORDS[fault]
    return Garbled(f"{what.format(address=address)} ({tries}): {reason}. {advice}", last.raw, fault)


def _fabrication_of(answer: Frame) -> str | None:
    try:
        telegram = decode(answer.raw)
    except TelegramError:
        return None
    for record in telegram.records:
        if record.description == "fabrication-no" and isinstance(record.raw, int):
            return f"{record.raw:08d}"[-8:]
    return None
