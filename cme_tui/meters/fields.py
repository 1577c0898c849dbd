"""The fields of the forms of a line and of a meter: keys of config.toml as a person types them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cme_tui.screens.form import NO, YES, Field
from core.config import Config, LineConfig, MeterConfig, wanted_instead
from core.interval import READOUT_INTERVALS
from core.mbus.transport import BAUD_RATES
from core.snapshot import MeterView

URLS: Final = ("serial:/dev/ttyUSB0", "tcp:192.0.2.10:10001", "rfc2217:192.0.2.10:2217", "sim:")
"""An example of each kind of line."""

_RATES: Final = tuple(map(str, BAUD_RATES))
_FLAGS: Final = ("enabled",)
_TEXTS: Final = ("name", "line", "url", "transparent_host", "interval")


def line_fields(line: LineConfig | None, called: str) -> list[Field]:
    """Those of a line, or of a new one, which is called so unless it gets a name."""
    now = line or LineConfig()
    return [
        _field("line", "name", "Name", now.name, "How the line is called; unique.", empty=f"({called})"),
        _field(
            "line",
            "url",
            "Connection",
            now.url,
            "Where the bus is: serial:/dev/ttyUSB0, tcp:host:port for a level converter behind TCP, rfc2217:host:port "
            "for a serial server, sim: for a simulated line.",
            URLS if now.url in URLS else (now.url, *URLS),
        ),
        _field("line", "baud", "Baud rate", now.baud, "Bits per second; most meters speak 2400.", _RATES, only=True),
        _field(
            "line",
            "margin_ms",
            "Time-out margin",
            now.margin_ms,
            "Milliseconds more that every meter has for its answer, 0 to 10000: for networks that delay.",
        ),
        _field(
            "line",
            "repeats",
            "Repeats",
            now.repeats,
            "How often a request is repeated before the meter counts as silent.",
            ("0", "1", "2"),
            only=True,
        ),
        _field(
            "line",
            "transparent_port",
            "Transparent port",
            now.transparent_port,
            "TCP port on which other M-Bus software reaches this line; 0 for none.",
        ),
        _field(
            "line",
            "transparent_host",
            "  listens on",
            now.transparent_host,
            "Address on which that port listens: 127.0.0.1 for this machine only, 0.0.0.0 for all networks. It has no "
            "password.",
        ),
    ]  # fmt: skip


def meter_fields(meter: MeterConfig | None, lines: Sequence[LineConfig], line: str) -> list[Field]:
    """Those of a meter, or of a new one on `line`."""
    now = meter or MeterConfig(line=line)
    speaks = next((each.baud for each in lines if each.name == now.line), 2400)
    return [
        _field("meter", "line", "Line", now.line, "The line it is on.", [each.name for each in lines], only=True),
        _field(
            "meter",
            "address",
            "Address",
            now.address,
            "Primary, 1 to 250, or secondary: 12345678, or with manufacturer, version and medium 12345678.HYD.25.07, "
            "where * stands for any.",
        ),
        _field("meter", "name", "Name", now.name, "Where it is or what it measures.", empty="(its identification)"),
        _field(
            "meter",
            "baud",
            "Baud rate",
            now.baud,
            "Bits per second at which it speaks; empty: those of its line.",
            ("", *_RATES),
            only=True,
            empty=f"({speaks}, that of the line)",
        ),
        _field(
            "meter",
            "interval",
            "Readout interval",
            now.interval,
            "How often it is read; empty: as all meters.",
            ("", *map(str, READOUT_INTERVALS)),
            only=True,
            empty="(that of the gateway)",
        ),
        _field(
            "meter",
            "margin_ms",
            "Time-out margin",
            now.margin_ms,
            "Milliseconds more that it has for its answer, 0 to 10000, on top of those of its line.",
        ),
        _field(
            "meter",
            "enabled",
            "Enabled",
            YES if now.enabled else NO,
            "Whether it is read. Its logical device and its readings stay.",
            (YES, NO),
            only=True,
        ),
    ]  # fmt: skip


def typed_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as config.toml has it: an empty text is `None`, the default."""
    return {key: _typed(key, text) for key, text in texts.items()}


def installed(config: Config, meter: MeterView) -> MeterConfig | None:
    """What config.toml says about a meter; None where it was taken out meanwhile."""
    return next((each for each in config.meters if each.logical_device == meter.logical_device), None)


def _field(
    table: str,
    key: str,
    label: str,
    value: object,
    means: str,
    choices: Sequence[str] = (),
    *,
    only: bool = False,
    empty: str = "",
) -> Field:
    text = "" if value is None else str(value)
    return Field(key, label, text, means, tuple(choices), only, _check(table, key, label), empty)


def _check(table: str, key: str, label: str) -> Callable[[str], str]:
    def wrong(text: str) -> str:
        if not text and key != "address":
            return ""
        wanted = wanted_instead(table, key, _typed(key, text))
        return f"{label.strip()} must be {wanted}." if wanted else ""

    return wrong


def _typed(key: str, text: str) -> Any:
    if not text and key != "address":
        return None
    if key in _FLAGS:
        return text == YES
    # An identification is written with digits as well.
    number = (
        text.isascii() and text.isdigit() and key not in _TEXTS and not (key == "address" and len(text) > 3)
    )
    return int(text) if number else text
