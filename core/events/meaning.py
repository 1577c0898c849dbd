"""What each event code says about this gateway: what causes it, and what to do about it; for people."""

from __future__ import annotations

from typing import Final, NamedTuple

from core.events.codes import METER_STATUS
from core.mbus.explain import status_text


class Meaning(NamedTuple):
    """An event code, explained."""

    cause: str
    """What happened, a sentence or two."""
    action: str
    """What to do about it, a sentence or two."""


class StatusBit(NamedTuple):
    """A part of the status byte of an M-Bus meter."""

    bits: str
    """"bit 2"."""
    value: str
    """Its binary digits, the highest bit first."""
    says: str


def _never(what: str) -> Meaning:
    return Meaning(
        f"{what} This gateway never logs it: the code is one of the list that DLMS/COSEM devices share.",
        "Nothing.",
    )


_MEANINGS: Final = {
    1: Meaning(
        "The gateway was stopped, or it ended without being stopped: a power cut, a crash, a kill. The message says "
        "which; without a clean stop the time is when it was last seen running, a minute before the end at most.",
        "After an unclean end look at the power supply and at the log of the service. Readings are safe; rows of "
        "the downtime are missing.",
    ),
    2: Meaning("The gateway was started.", "Nothing, unless nobody started it: then see the event before."),
    3: Meaning(
        "Daylight saving time began or ended in the gateway's time zone. At the first start after a downtime it is "
        "logged late.",
        "Nothing, unless the date is wrong: then correct gateway.timezone in config.toml.",
    ),
    4: Meaning(
        "The clock was set, by a DLMS client or by the operating system, by more than 2 s. This is the time that it "
        "showed before; event 5 has the time after.",
        "Compare it with event 5. Steps again and again mean that time synchronisation (NTP) does not work.",
    ),
    5: Meaning(
        "The clock was set, by a DLMS client or by the operating system, by more than 2 s. This is the time that it "
        "showed after; event 4 has the time before.",
        "Compare it with event 4. Steps again and again mean that time synchronisation (NTP) does not work.",
    ),
    6: Meaning(
        "At the start the clock showed an earlier time than was stored before: the machine lost its time.",
        "Set the clock, or wait for time synchronisation; replace the battery of the machine's clock. Readings that "
        "were taken meanwhile have the wrong time.",
    ),
    7: _never("A battery of the device has to be replaced."),
    8: _never("The voltage of the device's battery is low."),
    9: _never("A time-of-use tariff was activated."),
    10: _never("The error register was cleared."),
    11: _never("The alarm register was cleared."),
    12: _never("The program memory has an error."),
    13: _never("The RAM has an error."),
    14: Meaning(
        "The database could not be read or written; the message has the reason, a full disk most often. It is logged "
        "once an hour at most, and after the database works again.",
        "Free some space or check the disk. What was read meanwhile may be missing from the load profiles.",
    ),
    15: _never("A watchdog restarted the device."),
    16: Meaning(
        "An M-Bus line was down for 30 s: its serial port or its level converter is away, or does not do what it "
        "should. The message names the line and the reason. No event tells that it came back.",
        "Look at the line on the Overview (F2). Check the converter's power and cable, and its address in config.toml.",
    ),
    17: _never("New firmware is ready for activation."),
    18: Meaning(
        "The gateway was started with another version than before; the message has both.",
        "Nothing, if somebody updated it. If nobody did, find out who has access to the machine.",
    ),
    19: _never("A passive time-of-use tariff was programmed."),
    20: _never("An input of the device raised an alert."),
    40: _never("The terminal cover was removed."),
    41: _never("The terminal cover was closed."),
    42: _never("A strong magnetic field was detected."),
    43: _never("The strong magnetic field is gone."),
    44: _never("The cover of the device was removed."),
    45: _never("The cover of the device was closed."),
    46: Meaning(
        "A DLMS client was refused: wrong password or key, too low an authentication or a client that does not exist. "
        "The message has its address. After 10 failures within an hour only their number is logged, each time it "
        "has doubled.",
        "If it is your head-end, compare its password, keys and client address with the gateway's. If you do not know "
        "the address, keep it away from the port with a firewall.",
    ),
    47: Meaning(
        "Settings, meters, lines or the password were changed, on the machine or by a DLMS client; the message names "
        "them, never their values.",
        "Nothing, if it was meant. If not, change the password and keys, and take the change back "
        "(cme-tui config set --undo).",
    ),
    48: Meaning(
        "Keys were changed, on the machine or by a DLMS client that knew the master key; the message names them.",
        "Nothing, if it was meant; every head-end needs the new keys. If not, generate new ones on the machine: "
        "cme-tui secrets generate.",
    ),
    49: Meaning(
        "A ciphered request could not be deciphered, or its authentication tag is wrong: the client has other keys, or "
        "somebody tampers with what it sends.",
        "Compare the keys of the head-end with the gateway's by their fingerprints (cme-tui secrets show "
        "--fingerprints). If they agree, find out who sends from that address.",
    ),
    50: Meaning(
        "A ciphered request came with an invocation counter that was used before: somebody repeats a recorded "
        "request, or a head-end lost its counter. The request was refused.",
        "If it is your head-end, let it read the frame counter (also on the DLMS screen, F8) and go on above it. If "
        "not, keep that address away from the port.",
    ),
    51: _never("The signature of a firmware image is wrong."),
    52: _never("The consumption is not as expected."),
    100: Meaning(
        "Three readouts of this meter in a row failed; the message has the reason of the last one. Its values are from "
        "before.",
        "Look at the meter (F6). Check its wiring, its address and baud rate, and whether another meter has the same "
        "address. A line that is down does not cause this event.",
    ),
    101: Meaning(
        "A meter that had been lost (event 100) was read again.",
        "Nothing; rows of the time between are missing.",
    ),
    102: Meaning(
        'The meter says "power low" in its status byte, and did not before: its battery is nearly empty, or its supply '
        "fails.",
        "Replace the battery, or the meter, before it stops.",
    ),
    103: _never("A meter reports tampering."),
    104: Meaning(
        "The clock of the meter was set by this gateway, as a person told it to; the message says what it shows since.",
        "Nothing, if it was meant.",
    ),
    105: Meaning(
        "The meter has been in the configuration from this time on; the message is its address.",
        "Nothing, if it was meant. See that it is read (F6) and that a mapping fits.",
    ),
    106: Meaning(
        'The meter says "permanent error" in its status byte, and did not before: it found a defect in itself.',
        "Do not trust its values. Look at its display for an error code, and have it repaired or replaced.",
    ),
    253: _never("All data of a meter were deleted."),
    254: _never("A load profile was cleared."),
    255: _never("An event log was cleared."),
}

_BITS: Final = (
    (2, "power low", "Check its battery or supply."),
    (3, "permanent error", "Do not trust its values; have it repaired or replaced."),
    (4, "temporary error", "Wait for the next readout; if it stays, look at the meter's display."),
)
_APPLICATION: Final = (
    ("no error", ""),
    ("application busy", "It answers properly at a later readout."),
    ("application error", "If it stays, look at the meter's display and its manual."),
    ("abnormal condition or alarm", "Look at what it measures: a leak, a burst, a flow the wrong way."),
)
_MANUFACTURER: Final = (
    "What the manufacturer's bits mean, its manual says: often tampering, a leak or air in the pipe."
)


def meaning(code: int) -> Meaning:
    """Cause of an event and what to do; for a code that is not in the list it says so."""
    if METER_STATUS <= code <= METER_STATUS + 0xFF:
        return _of_status(code - METER_STATUS)
    unknown = Meaning("This code is not in the list of this version.", "Look for it in the release notes.")
    return _MEANINGS.get(code, unknown)


def status_bits(status: int) -> tuple[StatusBit, ...]:
    """The parts of a status byte, 0..255, in the order of the standard (EN 13757-3, status field)."""
    own = status >> 5
    return (
        StatusBit("bits 0-1", f"{status & 3:02b}", _APPLICATION[status & 3][0]),
        *(
            StatusBit(f"bit {bit}", f"{status >> bit & 1}", name if status >> bit & 1 else f"no {name}")
            for bit, name, _ in _BITS
        ),
        StatusBit(
            "bits 5-7", f"{own:03b}", "the manufacturer's own" if own else "none of the manufacturer's own"
        ),
    )


def _of_status(status: int) -> Meaning:
    advice = [_APPLICATION[status & 3][1], *(what for bit, _, what in _BITS if status >> bit & 1)]
    if status >> 5:
        advice.append(_MANUFACTURER)
    return Meaning(
        f"The status byte that the meter sends with its values changed; it is {status:02X}h now: "
        f"{status_text(status)}. The message also has what it was before.",
        " ".join(filter(None, advice)) or "Nothing: whatever the meter complained about is over.",
    )
