"""What a technician sets: config.toml as typed values, checked so that a mistake is named and not guessed at.

Every key has a default. The keys that a gateway gives itself (serial, logical device addresses) are written
by `core.config_file`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.errors import BadInputError, CmeError
from core.interval import PROFILE_INTERVALS, READOUT_INTERVALS, Interval
from core.mbus.address import parse_address
from core.mbus.transport import BAUD_RATES
from core.push.schedule import Schedule, ScheduleError

FIRST_LOGICAL_DEVICE = 16
"""Address of the first meter's logical device; the next meter takes the next free one."""

Authentication = Literal["none", "low", "high"]
Policy = Literal["none", "authenticated-encrypted"]
DeliveredWhen = Literal["closed", "written"]
Report = Literal[
    "load_profile_1",
    "load_profile_2",
    "billing_profile",
    "standard_event_log",
    "fraud_event_log",
    "on_installation",
]

DIALECT_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"
"""What the name of a dialect, and so of its file, looks like."""

Place = tuple[str, str]
"""Line and canonical address of a meter: one whose address is written another way is the same."""

T = TypeVar("T")
Check = Callable[[Any], Any]


class ConfigError(BadInputError):
    """A setting that cannot be used; the sentence names file and key and says what is allowed."""


class NotWrittenError(ConfigError):
    """Nothing is wrong with what should be saved, but the disk or the rights on it do not allow it."""

    bad_input = False


class _WrongValueError(Exception):
    """What a value must be, to be completed with file, key and the value given."""


def _text(longest: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise _WrongValueError(f"a text of at most {longest} characters on one line")
        return value

    return check


def _matching(pattern: str, wanted: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _WrongValueError(wanted)
        return value

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _WrongValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _one_of(*allowed: str | int) -> Check:
    def check(value: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            raise _WrongValueError("one of " + ", ".join(_shown(choice) for choice in allowed))
        return value

    return check


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongValueError("true or false")
    return value


def _interval(value: Any) -> Interval:
    """Only the spelling; which ones are allowed is checked later, after the rule that says more."""
    try:
        if isinstance(value, str):
            return Interval.parse(value)
    except ValueError:
        pass
    raise _WrongValueError('an interval such as "15 min", "1 h" or "1 d"')


def _serial(value: Any) -> str:
    # 28 bits of the system title hold it (IDIS package 2, 6.1.1).
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{10}", value) or int(value) >= 1 << 28:
        raise _WrongValueError(
            '10 digits in quotes, at most "0268435455", the largest that a system title holds'
        )
    return value


def _timezone(value: Any) -> str:
    try:
        if isinstance(value, str):
            if value:
                ZoneInfo(value)
            return value
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise _WrongValueError('a name of the IANA time zone database such as "Europe/Stockholm"')


def _line_url(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"serial:\S+|sim:\S*", value):
        if value.startswith("sim:") and "?" in value:
            _check_simulation(value.removeprefix("sim:"))
        return value
    found = re.fullmatch(r"(?:tcp|rfc2217):\S+:([0-9]{1,5})", value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) <= 65535:
        return found[0]
    raise _WrongValueError('"serial:/dev/ttyUSB0", "tcp:host:port", "rfc2217:host:port" or "sim:"')


def _check_simulation(plan: str) -> None:
    # Here, since it would double the start of every command.
    from core.mbus.simulator import SimulationError, check_plan

    try:
        check_plan(plan)
    except SimulationError as error:
        raise _WrongValueError(f'"sim:" with what can be simulated ({str(error).rstrip(".")})') from error


def _address(value: Any) -> int | str:
    if type(value) is int and (0 <= value <= 250 or value == 254):
        return value
    try:
        if isinstance(value, str):
            parse_address(value)
            return value
    except (CmeError, ValueError):
        pass
    raise _WrongValueError(
        'a primary address from 1 to 250, or a secondary address in quotes like "12345678.HYD.25.07"'
    )


def _obis(value: Any) -> str:
    if isinstance(value, str):
        parts = value.split(".")
        if len(parts) == 6 and all(re.fullmatch(r"[0-9]{1,3}", part) and int(part) <= 255 for part in parts):
            return value
    raise _WrongValueError('an OBIS code of six numbers from 0 to 255 like "1.0.99.1.0.255"')


def _schedule(value: Any) -> str:
    try:
        return Schedule.parse(value if isinstance(value, str) else "").text
    except ScheduleError as error:
        raise _WrongValueError(error.allowed) from None


_NO_ADDRESS = 'address is missing; give a primary (5) or a secondary one ("12345678").'
_PORT = _whole(1, 65535)
_CLIENT_SAP = _whole(1, 65535)
_MARGIN = _whole(0, 10_000)
_LOGICAL_DEVICE = _whole(FIRST_LOGICAL_DEVICE, 65535)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """[gateway]: who this gateway is."""

    serial: Annotated[str, _serial] = ""
    """10 digits; "" only before the first start."""
    flag_id: Annotated[str, _matching("[A-Z]{3}", "three capital letters, the FLAG manufacturer id")] = "ELV"
    name: Annotated[str, _text(64)] = ""
    timezone: Annotated[str, _timezone] = ""
    """IANA name, "" = the one of the system."""
    set_system_clock: Annotated[bool, _boolean] = False
    """Whether a client that sets the clock sets that of the machine; else the gateway keeps an offset."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that days, weeks and months follow."""
        return ZoneInfo(self.timezone) if self.timezone else system_zone()

    @property
    def system_title(self) -> bytes:
        """The 8 bytes that name this gateway in DLMS; needs a serial."""
        return system_title(self.flag_id, self.serial)


@dataclass(frozen=True, slots=True)
class DlmsConfig:
    """[dlms]: the server that head-end systems connect to."""

    enabled: Annotated[bool, _boolean] = True
    host: Annotated[str, _matching(r"\S{1,255}", "a host name or an IP address")] = "0.0.0.0"
    port: Annotated[int, _PORT] = 4059
    authentication: Annotated[Authentication, _one_of("none", "low", "high")] = "high"
    """Lowest level that the management client may use."""
    policy: Annotated[Policy, _one_of("none", "authenticated-encrypted")] = "none"
    dialect: Annotated[
        str, _matching(DIALECT_NAME, 'the name of a dialect ("cme-tui config dialects" lists them)')
    ] = "en13757"
    """Which codes clients see; `core.cosem.dialect` finds it."""
    inactivity_timeout: Annotated[int, _whole(10, 86_400)] = 180
    """Seconds without a request after which a connection is closed."""
    max_connections: Annotated[int, _whole(1, 1000)] = 32


_QUARTERS, _HOURLY, _DAILY, _MONTHLY = map(Interval.parse, ("15 min", "1 h", "1 d", "1 month"))


@dataclass(frozen=True, slots=True)
class ProfilesConfig:
    """[profiles]: how far apart the rows of each profile are."""

    load_profile_1: Annotated[Interval, _interval] = _HOURLY
    load_profile_2: Annotated[Interval, _interval] = _DAILY
    billing_profile: Annotated[Interval, _interval] = _MONTHLY


@dataclass(frozen=True, slots=True)
class ReadoutConfig:
    """[readout]: how often meters are read."""

    interval: Annotated[Interval, _interval] = _QUARTERS


@dataclass(frozen=True, slots=True)
class LineConfig:
    """[[line]]: one M-Bus line."""

    name: Annotated[str, _text(64)] = ""
    """Unique; "line 1", "line 2" ... where not given."""
    url: Annotated[str, _line_url] = "serial:/dev/ttyUSB0"
    baud: Annotated[int, _one_of(*BAUD_RATES)] = 2400
    margin_ms: Annotated[int, _MARGIN] = 0
    """Added to the answer time-out of every meter on this line."""
    repeats: Annotated[int, _whole(0, 2)] = 2
    """How often a request is repeated before the meter counts as silent."""
    transparent_port: Annotated[int, _whole(0, 65535)] = 0
    """TCP port on which other M-Bus software reaches this line; 0 = none."""
    transparent_host: Annotated[str, _matching(r"\S{1,255}", "a host name or an IP address")] = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """[[meter]]: one installed meter."""

    line: Annotated[str, _text(64)] = ""
    """Name of its line; may be left out where there is only one."""
    address: Annotated[int | str, _address] = ""
    """Primary address as a number, or secondary address as text; `core.mbus.address` reads both."""
    name: Annotated[str, _text(64)] = ""
    enabled: Annotated[bool, _boolean] = True
    interval: Annotated[Interval | None, _interval] = None
    """Readout interval, `None` = that of [readout]."""
    logical_device: Annotated[int | None, _LOGICAL_DEVICE] = None
    """Given at the first start with this meter and then kept; `None` before."""
    margin_ms: Annotated[int, _MARGIN] = 0
    """Added to the answer time-out of this meter."""
    baud: Annotated[int | None, _one_of(*BAUD_RATES)] = None
    """Rate at which it speaks, `None` = that of its line."""

    @property
    def place(self) -> Place:
        """Where it is. Raises `AddressError` where it has no address yet."""
        return self.line, str(parse_address(str(self.address)))

    @property
    def way(self) -> tuple[Place, int | None, int]:
        """All that decides how it is asked: whether it answers is known only of the way on which it was."""
        return self.place, self.baud, self.margin_ms


@dataclass(frozen=True, slots=True)
class PushReportConfig:
    """[[push.report]]: one report and when it is sent."""

    type: Annotated[Report, _one_of(*get_args(Report))] = "load_profile_1"
    enabled: Annotated[bool, _boolean] = True
    schedule: Annotated[str, _schedule] = "daily 00:30"
    """As `core.push.schedule` reads it."""
    host: Annotated[str, _matching(r"\S{0,255}", "a host name or an IP address")] = ""
    """"" = that of [push]."""
    port: Annotated[int | None, _PORT] = None
    """`None` = that of [push]; the next one as well."""
    client_sap: Annotated[int | None, _CLIENT_SAP] = None
    last_rows: Annotated[int, _whole(0, 1000)] = 0
    """So many of the newest rows each time, sent before or not; 0 = everything that was not sent yet."""


class Receiver(NamedTuple):
    """Where a report goes."""

    host: str
    port: int
    client_sap: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PushConfig:
    """[push]: the head-end system that reports go to, and how they get there."""

    host: Annotated[str, _matching(r"\S{0,255}", "a host name or an IP address")] = ""
    """"" = none."""
    port: Annotated[int, _PORT] = 4059
    client_sap: Annotated[int, _CLIENT_SAP] = 1
    delivered: Annotated[DeliveredWhen, _one_of("closed", "written")] = "closed"
    """What counts: that the receiver closes the connection in order, or that it has acknowledged all bytes."""
    randomisation: Annotated[int, _whole(0, 65_535)] = 30
    """Longest random delay before the first try, s: a thousand gateways do not call all at once."""
    repetition_delay: Annotated[int, _whole(1, 65_535)] = 60
    """After the first try that came to nothing, s; then twice as long each time, up to an hour."""
    max_size: Annotated[int, _whole(256, 65_535)] = 65_535
    """Bytes of the largest APDU that the receiver takes."""
    outbox_mb: Annotated[int, _whole(1, 4096)] = 64
    """MiB that the waiting notifications of one report may take on the disk; what is beyond it waits in the store."""
    event_messages: Annotated[bool, _boolean] = True
    """Whether events carry their message, where they have one, as a fourth element."""
    short_event_codes: Annotated[bool, _boolean] = False
    """Whether event codes up to 255 go as unsigned, as the manual of the original has it; else as long-unsigned."""
    reports: tuple[PushReportConfig, ...] = ()

    def report(self, kind: Report) -> PushReportConfig | None:
        """The report of this type, where it is enabled."""
        return next((report for report in self.reports if report.type == kind and report.enabled), None)

    def described(self, kind: Report) -> PushReportConfig:
        """The report of this type, enabled or not; one that is switched off where there is none."""
        known = (report for report in self.reports if report.type == kind)
        return next(known, PushReportConfig(type=kind, enabled=False))

    def receiver(self, kind: Report) -> Receiver | None:
        """Where reports of this type go; None where they are not enabled or nobody said where."""
        report = self.report(kind)
        host = report.host or self.host if report else ""
        if report is None or not host:
            return None
        port = self.port if report.port is None else report.port
        return Receiver(host, port, report.client_sap or self.client_sap)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of config.toml."""

    gateway: GatewayConfig = GatewayConfig()
    dlms: DlmsConfig = DlmsConfig()
    profiles: ProfilesConfig = ProfilesConfig()
    readout: ReadoutConfig = ReadoutConfig()
    lines: tuple[LineConfig, ...] = ()
    meters: tuple[MeterConfig, ...] = ()
    push: PushConfig = PushConfig()
    obis: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """[obis]: other codes for the objects whose code is this program's own choice, by name."""


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "gateway": GatewayConfig,
        "dlms": DlmsConfig,
        "profiles": ProfilesConfig,
        "readout": ReadoutConfig,
        "push": PushConfig,
    }
)
"""The plain tables of config.toml."""

_TABLES = (*SECTIONS, "line", "meter", "obis")


def _checks(kind: type[Any]) -> Mapping[str, Check]:
    """The check of each key, from the annotations of the dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


_CHECKS = {kind: _checks(kind) for kind in (*SECTIONS.values(), LineConfig, MeterConfig, PushReportConfig)}


def load_config(path: Path) -> Config:
    """Read `path`; a missing file is one that sets nothing. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give this user the right to.") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """The configuration that `text` sets; `path` names the file in messages. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it there.") from error
    _known(raw, _TABLES, f"{path}:", "table")
    sections = {name: _table(kind, raw.get(name, {}), f"{path}: [{name}]") for name, kind in SECTIONS.items()}
    lines = _list(LineConfig, raw.get("line", []), f"{path}: [[line]]")
    meters = _list(MeterConfig, raw.get("meter", []), f"{path}: [[meter]]")
    config = Config(
        lines=_named(lines),
        meters=meters,
        obis=_obis_codes(raw.get("obis", {}), f"{path}: [obis]"),
        **sections,
    )
    return _cross_checked(config, path)


def allowed_value(section: str, key: str) -> str:
    """What the value of a key of a plain table, or of [obis], must be: in the words of the error where it is not."""
    return wanted_instead(section, key, object())


def wanted_instead(section: str, key: str, value: Any) -> str:
    """`allowed_value` where `value` is not allowed, whatever the other keys say; "" where it is.

    `section` may be "line" or "meter" as well.
    """
    kinds = {**SECTIONS, "line": LineConfig, "meter": MeterConfig}
    try:
        (_obis if section == "obis" else _CHECKS[kinds[section]][key])(value)
    except _WrongValueError as wrong:
        return str(wrong)
    return ""


def system_title(flag_id: str, serial: str) -> bytes:
    """System title of a gateway: FLAG id, 00, nibble 0, 28-bit serial (IDIS package 2, 6.1.1)."""
    return flag_id.encode("ascii") + b"\0" + int(serial).to_bytes(4, "big")


def system_zone() -> ZoneInfo:
    """The time zone that the machine is set to, UTC where that cannot be told."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        # /etc/localtime is a link to .../zoneinfo/<name> on every system with systemd, and on most others.
        name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def parse_meter(values: Mapping[str, Any], where: str) -> MeterConfig:
    """One [[meter]] by itself, with keys and values as in the file; `where` begins the sentence of a `ConfigError`."""
    meter: MeterConfig = _table(MeterConfig, dict(values), where)
    if meter.address == "":
        raise ConfigError(f"{where} {_NO_ADDRESS}")
    if meter.interval is not None:
        _check_choice(meter.interval, READOUT_INTERVALS, f"{where} interval")
    return meter


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean x?" where a known name is close, else the list of what there is."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(choices)}."


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known(raw: Mapping[str, Any], known: Iterable[str], where: str, what: str) -> None:
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where} {key} is no known {what}{nearest(key, known)}")


def _table(kind: type[Any], raw: Any, where: str) -> Any:
    """An instance of the dataclass `kind` from a table of the file."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table of settings, not {_shown(raw)}.")
    checks = _CHECKS[kind]
    known = [*checks, "report"] if kind is PushConfig else list(checks)
    _known(raw, known, where, "key")
    values = {
        key: _checked(checks[key], value, f"{where} {key}") for key, value in raw.items() if key in checks
    }
    if kind is PushConfig and "report" in raw:
        values["reports"] = _list(PushReportConfig, raw["report"], where.replace("[push]", "[[push.report]]"))
    return kind(**values)


def _checked(check: Check, value: Any, where: str) -> Any:
    try:
        return check(value)
    except _WrongValueError as wrong:
        raise ConfigError(f"{where} must be {wrong}, not {_shown(value)}.") from None


def _list(kind: type[T], raw: Any, where: str) -> tuple[T, ...]:
    if not isinstance(raw, list):
        raise ConfigError(f"{where} must be a list of tables: write the name in double brackets.")
    return tuple(_table(kind, item, f"{where} number {number}:") for number, item in enumerate(raw, 1))


def _obis_codes(raw: Any, where: str) -> Mapping[str, str]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table of names and OBIS codes, not {_shown(raw)}.")
    return MappingProxyType({name: _checked(_obis, code, f"{where} {name}") for name, code in raw.items()})


def _named(lines: tuple[LineConfig, ...]) -> tuple[LineConfig, ...]:
    return tuple(
        line if line.name else dataclasses.replace(line, name=f"line {number}")
        for number, line in enumerate(lines, 1)
    )


def _cross_checked(config: Config, path: Path) -> Config:
    _check_intervals(config, path)
    types = [report.type for report in config.push.reports]
    for kind in types:
        if types.count(kind) > 1:
            raise ConfigError(f'{path}: two [[push.report]] tables have the type "{kind}"; keep one of them.')
    names = [line.name for line in config.lines]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'{path}: two [[line]] tables have the name "{name}"; give each its own.')
    return dataclasses.replace(config, meters=_meters_checked(config.meters, names, path))


def _check_intervals(config: Config, path: Path) -> None:
    readout = config.readout.interval
    _check_choice(readout, READOUT_INTERVALS, f"{path}: [readout] interval")
    for spec in dataclasses.fields(ProfilesConfig):
        interval: Interval = getattr(config.profiles, spec.name)
        if not interval.is_multiple_of(readout):
            raise ConfigError(
                f"{path}: {spec.name.replace('_', ' ')}: {interval} is no multiple of "
                f"the readout interval {readout}; change one of the two."
            )
        _check_choice(interval, PROFILE_INTERVALS, f"{path}: [profiles] {spec.name}")
    for number, meter in enumerate(config.meters, 1):
        if meter.interval is not None:
            _check_choice(meter.interval, READOUT_INTERVALS, f"{path}: [[meter]] number {number}: interval")


def _check_choice(interval: Interval, allowed: tuple[Interval, ...], where: str) -> None:
    if interval not in allowed:
        raise ConfigError(f"{where} must be one of {', '.join(map(str, allowed))}, not {interval}.")


def _meters_checked(meters: tuple[MeterConfig, ...], lines: list[str], path: Path) -> tuple[MeterConfig, ...]:
    """The meters with their lines filled in. Raises ConfigError where two of them cannot live together."""
    addresses: dict[tuple[str, str], int] = {}
    devices: dict[int, int] = {}
    checked = []
    for number, meter in enumerate(meters, 1):
        where = f"{path}: [[meter]] number {number}:"
        if meter.address == "":
            raise ConfigError(f"{where} {_NO_ADDRESS}")
        line = meter.line or (lines[0] if len(lines) == 1 else "")
        if line not in lines:
            if not line or not lines:
                missing = "add a [[line]] first" if not lines else f"name one of: {', '.join(lines)}"
                raise ConfigError(f"{where} it has no line; {missing}.")
            raise ConfigError(f'{where} there is no line "{line}"{nearest(line, lines)}')
        place = dataclasses.replace(meter, line=line).place
        if place in addresses:
            raise ConfigError(
                f"{where} address {place[1]} on {line} is that of meter number {addresses[place]} already; "
                "remove one of the two."
            )
        addresses[place] = number
        if meter.logical_device in devices:
            raise ConfigError(
                f"{where} logical_device {meter.logical_device} is that of meter number "
                f"{devices[meter.logical_device]} already; remove the key to have a free one given."
            )
        if meter.logical_device is not None:
            devices[meter.logical_device] = number
        checked.append(meter if meter.line else dataclasses.replace(meter, line=line))
    return tuple(checked)
