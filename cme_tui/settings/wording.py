"""How settings are told to a technician: names, groups, values, and what a change does to connected clients."""

from __future__ import annotations

from typing import Final

from cme_tui.wording import count
from core.settings import Setting, Value
from core.snapshot import AssociationView, Snapshot

GROUPS: Final = {
    "gateway": "Gateway",
    "dlms": "DLMS server",
    "readout": "Readout",
    "profiles": "Profiles",
    "secrets": "Secrets",
    "push": "Push",
    "obis": "Object codes",
}
"""Tables of config.toml, and secrets.toml, in the order of the screen."""

SYSTEM_TITLE: Final = "gateway.system_title"
ADDRESSING: Final = "dlms.addressing"

_LABELS: Final = {
    "gateway.serial": "Serial number",
    SYSTEM_TITLE: "System title",
    "gateway.flag_id": "Manufacturer (FLAG)",
    "gateway.name": "Name",
    "gateway.timezone": "Time zone",
    "gateway.set_system_clock": "HES sets machine clock",
    "dlms.enabled": "DLMS",
    ADDRESSING: "Addressing mode",
    "dlms.host": "Listens on address",
    "dlms.port": "TCP port",
    "dlms.authentication": "Lowest authentication",
    "dlms.policy": "Security policy",
    "dlms.dialect": "Dialect",
    "dlms.inactivity_timeout": "Inactivity timeout",
    "dlms.max_connections": "Most connections",
    "readout.interval": "Readout interval",
    "push.host": "HES address",
    "push.port": "HES TCP port",
    "push.client_sap": "HES client SAP",
    "lls_password": "LLS password",
    "master_key": "Master key (KEK)",
    "authentication_key": "Authentication key (AK)",
    "encryption_key": "Encryption key (EK)",
}
_UNITS: Final = {"dlms.inactivity_timeout": "s"}
_EMPTY: Final = {
    "gateway.name": "(that of the serial)",
    "gateway.timezone": "(that of the machine)",
    "push.host": "(none)",
}
_MORE: Final = {
    "gateway.serial": "Made once; head-end systems know the gateway by it.",
    SYSTEM_TITLE: "Made of manufacturer and serial number; the name of the gateway in ciphered messages.",
    ADDRESSING: "By logical device, or through the management device and the channel object: both always work.",
    "gateway.name": "empty: manufacturer and serial number",
    "gateway.timezone": "empty: that of the machine",
    "gateway.set_system_clock": "on: a client that sets the clock sets that of the machine; off: an offset is kept",
    "dlms.inactivity_timeout": "seconds without a request",
    "readout.interval": "each profile is a whole multiple of it",
    "push.host": "empty: none",
}
_LEVELS: Final = ("none", "low", "high")


def label(name: str) -> str:
    """What a setting or secret is called; the key with blanks for one that has no name of its own here."""
    return _LABELS.get(name) or name.rpartition(".")[2].replace("_", " ").capitalize()


def text(name: str, value: Value) -> str:
    """A value as the list shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    unit = _UNITS.get(name)
    return f"{value} {unit}" if unit else str(value) or _EMPTY.get(name, '""')


def typed_text(value: Value) -> str:
    """A value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def explained(setting: Setting) -> str:
    """What a setting must be, and what it is for where its name does not tell."""
    if setting.fixed:
        return _MORE.get(setting.name, "Made once.")
    allowed = "on or off" if isinstance(setting.default, bool) else setting.allowed
    more = _MORE.get(setting.name)
    return f"{allowed}; {more}" if more else allowed


def remark(name: str) -> str:
    """What there is to say about a row that is only shown."""
    return _MORE[name]


def effect(name: str, value: Value, current: Value, snapshot: Snapshot) -> tuple[str, int]:
    """What a new value does besides holding from the save on, "" for nothing; and how many clients it cuts."""
    dlms, clients = snapshot.dlms, snapshot.associations
    match name:
        case "dlms.enabled":
            if value:
                return "clients can connect again", 0
            return _cut(len(clients), "cut, and nobody can connect"), len(clients)
        case "dlms.host" | "dlms.port":
            if not dlms.listening:
                return "", 0
            if current != (dlms.port if name == "dlms.port" else dlms.host):
                return "holds from a start without --dlms-host and --dlms-port on", 0
            stay = f"; {count(len(clients), 'client stays', 'clients stay')} connected" if clients else ""
            return f"listens there from then on{stay}", 0
        case "dlms.authentication":
            weaker = sum(_manages(each) and _weaker(each.authentication, str(value)) for each in clients)
            return (_cut(weaker, "cut with the next request") if weaker else ""), weaker
        case "dlms.policy":
            clear = sum(_manages(each) and each.ciphering == "none" for each in clients)
            clear = clear if value != "none" else 0
            return (_cut(clear, "refused until they cipher") if clear else ""), clear
        case "dlms.dialect":
            return "head-end systems see its codes at once", 0
        case "gateway.flag_id":
            return "another system title: head-end systems have to be told", 0
        case "gateway.timezone":
            return "days and months begin by it, also in old rows", 0
    return {"profiles": "old rows are cut anew", "obis": "head-end systems have to ask for it"}.get(
        name.partition(".")[0], ""
    ), 0


def _cut(number: int, how: str) -> str:
    return f"{count(number, 'client is', 'clients are')} {how}"


def _manages(client: AssociationView) -> bool:
    return client.client.startswith("management")


def _weaker(level: str, lowest: str) -> bool:
    return level in _LEVELS and lowest in _LEVELS and _LEVELS.index(level) < _LEVELS.index(lowest)
