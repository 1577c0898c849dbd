"""What the core lets others look at: immutable views, built in the core thread, read from any thread.

All times are milliseconds since 1970-01-01 UTC (`*_ms`); `None` means "never". Texts are ready for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.searching import SearchView


class LineState(StrEnum):
    """State of one M-Bus line."""

    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"


class MeterState(StrEnum):
    """What the last readout of a meter came to."""

    WAITING = "waiting"  # not read since it was installed
    OK = "ok"
    NO_ANSWER = "no answer"
    GARBLED = "garbled"  # bytes came, but no valid telegram
    COLLISION = "collision"  # more than one meter answers at this address
    UNDECODABLE = "undecodable"  # a valid frame whose content cannot be read
    NO_KEY = "no key"  # its telegrams are encrypted, and become values when its key is given
    WRONG_KEY = "wrong key"  # the key that it was given does not open them
    WRONG_METER = "wrong meter"  # another meter answers at this address
    LINE_DOWN = "line down"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class SweepView:
    """Progress of a scheduled readout of all meters of a line."""

    started_ms: int
    done: int
    failed: int
    total: int
    current: str  # name of the meter that is being read, "" between two meters
    finished_ms: int | None  # None while it runs


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """What the schedule of a line costs, by what its readouts took or, before that, by the wire's formula."""

    interval: str  # the shortest readout interval on the line, "15 min"
    interval_s: float
    cost_s: float  # of all readouts that fall into it
    fits: bool
    sentence: str  # "15 min cycle, this line needs 17 min. Choose ..."; "" where it fits
    skipped: int = 0  # readouts of the running or last sweep that were due again before the line came to them
    late_s: float = 0.0  # for how long the readout that waits longest should have been made


@dataclass(frozen=True, slots=True)
class TransparentView:
    """The transparent TCP port of a line."""

    host: str
    port: int
    listening: bool
    reason: str  # why it does not listen, "" while it does
    client: str  # "192.0.2.7:51034", "" for none
    since_ms: int | None  # of the client
    sent: int  # bytes from the client, else the last one, to the line
    received: int
    refused: int = 0  # clients that came while there was one


@dataclass(frozen=True, slots=True)
class LineView:
    """One M-Bus line."""

    name: str
    url: str
    baud: int
    state: LineState
    reason: str  # why it is not up; "" while it is
    since_ms: int
    meters: int
    sweep: SweepView | None  # the running sweep, else the last one
    next_sweep_ms: int | None
    schedule: ScheduleView | None = None  # None without an enabled meter
    search: SearchView | None = None  # the running search, else the last one
    transparent: TransparentView | None = None  # None where there is no such port
    health: str = ""  # the bus doctor's verdict where something is wrong
    next_try_ms: int | None = None  # when it is opened again; None while it is not down
    lost_ms: int | None = None  # when a connection that it had was lost the last time
    lost_reason: str = ""  # why, a sentence


@dataclass(frozen=True, slots=True)
class ValueView:
    """One value of a meter: what the telegram says and what a DLMS client gets."""

    description: str  # "volume", "op-time data-error"
    text: str  # the exact decimal value in `unit`, "85.946"; "" with an error
    unit: str  # "m3", "" for none
    error: str  # why there is no value: "marked as invalid by the meter"; "" else
    function: str  # "instantaneous", "maximum", "minimum", "error state"
    storage: int
    tariff: int
    subunit: int
    dib: str  # DIF and VIF bytes, hex, lower case
    telegram: int  # which telegram of the readout, 0 = first
    offset: int  # of the record's first byte in that telegram
    length: int  # of the whole record in bytes
    data_offset: int  # of the record's first data byte
    obis: str  # "8.0.1.0.0.255", "" if not mapped
    cosem: str  # what a client gets, "register 85946 x 10^-3 m³"; "" if not mapped


@dataclass(frozen=True, slots=True)
class MeterView:
    """One installed meter, as a line of a list."""

    key: int  # for commands; kept for the meter's life
    name: str
    line: str
    address: str  # "primary 5", "12345678.HYD.25.07" or "12345678"
    identification: str  # 8 digits, "" before the first readout where not known
    manufacturer: str
    version: int | None
    medium: str
    medium_code: int | None
    logical_device: int
    state: MeterState
    reason: str  # a sentence where the state is not OK
    status: int | None  # the M-Bus status byte
    last_reading_ms: int | None  # of the last good readout
    last_try_ms: int | None
    mapping: str  # "water/all/0", "" if none matches
    mapped: int  # COSEM objects that the mapping gives this meter
    headline: ValueView | None  # the first mapped value
    next_try_ms: int | None = None  # of a meter that is silent; None for all others
    fcb_fault: str = (
        ""  # how it mishandles the frame count bit, as its last good readout knew; "" if it does not
    )


@dataclass(frozen=True, slots=True)
class TelegramView:
    """One telegram as received, with the meaning of its bytes."""

    frame: bytes
    parts: tuple[TelegramPart, ...]  # in order, without gaps
    error: str  # "" if it could be decoded


@dataclass(frozen=True, slots=True)
class TelegramPart:
    """A run of bytes of a telegram and what they say."""

    offset: int
    length: int
    label: str  # "start", "L field", "VIF", "data", "checksum" ...
    meaning: str  # "volume, 10^-3 m3"
    record: int | None  # index of the record it belongs to


@dataclass(frozen=True, slots=True)
class MeterDetail:
    """Everything about one meter at one moment."""

    meter: MeterView
    values: tuple[ValueView, ...]
    telegrams: tuple[TelegramView, ...]
    readings: int  # good readouts kept in the store
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class AssociationView:
    """One DLMS client that is connected."""

    peer: str  # "192.0.2.7:51034"
    client: str  # "management (1)", "public (16)", "" before the AARQ
    logical_device: int | None
    channel: int | None  # the selected logical device
    authentication: str  # "none", "low"
    since_ms: int
    last_ms: int
    requests: int
    ciphering: str = "none"  # of the last request: "none", "glo", "ded", "general-glo", "general-ded"
    errors: int = 0  # requests that were refused or failed
    last_error: str = ""  # the last of them in a few words, "" for none


@dataclass(frozen=True, slots=True)
class DlmsView:
    """The DLMS server."""

    enabled: bool
    host: str
    port: int
    listening: bool
    reason: str  # why it does not listen, "" while it does
    authentication: str  # lowest level for the management client
    policy: str  # that holds now: "none", "authenticated-encrypted"
    frame_counter: int  # the highest invocation counter that was accepted from a client, 0 for none
    logical_devices: int


@dataclass(frozen=True, slots=True)
class PushReportView:
    """One configured push report."""

    type: str  # "load_profile_1", ... "on_installation"
    enabled: bool
    schedule: str  # "daily 00:30"; "" for the one on installation
    destination: str  # "host:port", "" where nobody said
    last_rows: int  # 0: everything that was not sent yet
    next_ms: int | None  # when it is made next
    last_ms: int | None  # the time by the schedule at which it was made last
    waiting: int  # notifications in the outbox
    waiting_bytes: int  # that they take on the disk
    oldest_ms: int | None  # when the oldest of them was made
    problem: str  # a sentence, "" for none


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A receiver of pushes: how it goes with it."""

    address: str  # "host:port"; "" for reports that go nowhere
    reports: tuple[str, ...]  # of which something waits for it
    waiting: int
    sending: bool
    failures: int  # tries in a row that came to nothing
    reason: str  # why the last one did, a sentence; "" after one that did not
    since_ms: int | None  # when the first of them was
    next_try_ms: int | None
    delivered_ms: int | None  # when something was delivered last, since the start


@dataclass(frozen=True, slots=True)
class PushView:
    """The push side of the gateway."""

    receiver: str = ""  # the default one, "host:port"; "" for none
    client_sap: int = 1
    reports: tuple[PushReportView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole gateway at one moment."""

    started_ms: int
    clock_offset_ms: (
        int  # how far the gateway's clock, and with it every time here, is ahead of the machine's
    )
    version: str
    name: str
    serial: str  # 10 digits
    system_title: str  # 16 hex digits
    state_dir: str
    demo: bool
    readout_interval: str
    dlms: DlmsView
    lines: tuple[LineView, ...]
    meters: tuple[MeterView, ...]
    associations: tuple[AssociationView, ...]
    alarms: tuple[str, ...]  # sentences, most urgent first
    push: PushView = PushView()
    last_fraud_ms: int | None = None  # time of the newest event of the gateway's fraud log


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One APDU that went over the DLMS port while somebody watched."""

    id: int  # grows by one from entry to entry
    time_ms: int
    peer: str  # "192.0.2.7:51034"
    client_sap: int
    sap: int  # of the logical device
    sent: bool  # by the gateway
    protection: str  # how it went over the wire: "glo 30"; "" for in clear
    size: int  # bytes on the wire
    title: str  # "GET request normal 3 8.0.1.0.0.255 attribute 2"
    apdu: bytes  # in clear, at most its first 4096 bytes, with zeros where `hidden`
    hidden: tuple[tuple[int, int], ...]  # offset and length of what is not shown: secrets, or what may be one


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that happened to a connection or an association of the DLMS server."""

    id: int  # grows by one from entry to entry
    time_ms: int
    peer: str  # "192.0.2.7:51034"
    client_sap: int | None  # None where it is about the connection
    sap: int | None  # of the logical device
    event: str  # "connected", "associated", "refused", "not deciphered", "replay", "released", "disconnected"
    text: str  # more about it: authentication and ciphering, or the reason; "" for nothing to say
