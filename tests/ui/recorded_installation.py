"""The installing side of a recorded gateway: lines and meters that can be changed, and a search that a test plays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import tomli_w

from core.config import Config, LineConfig, MeterConfig, parse_config
from core.errors import CmeError
from core.interval import Interval
from core.mbus.telegram import decode
from core.searching import FoundMeter, SearchEstimate, SearchRequest, SearchState, SearchView, Verdict
from core.snapshot import LineState, LineView, MeterState, MeterView, Snapshot

T = TypeVar("T")

NOW_MS: Final = 1_767_960_000_000
"""2026-01-09 12:00:00 UTC."""

FOUND: Final = (
    "oms_frame2",
    "els_falcon",
    "ACW_Itron-BM-plus-m",
    "svm_f22_telegram1",
    "LGB_G350",
    "tecson",
    "EMU_EMU-Professional-375-M-Bus",
)
"""Telegrams of the meters that the search finds, in this order; the first is that of an installed meter."""

TROUBLES: Final = (
    "Two or more meters answer to 12345678.PAD.01.07 alike, so that neither can be read: take one off the line.",
    "Between 2 and 3 nobody answered for 40 s while known meters are there: the cable may have been open; they were "
    "asked again.",
)
MISSING: Final = FoundMeter(
    "44950146", "44950146", "", None, "", None, 2400, Verdict.MISSING, False, "heat attic"
)

_TELEGRAMS: Final = Path(__file__).parents[2] / "core" / "mbus" / "telegrams"


def found_meter(name: str, **more: Any) -> FoundMeter:
    """What a search says about the meter that sent this telegram."""
    telegram = decode(bytes.fromhex((_TELEGRAMS / f"{name}.hex").read_text()))
    who = (
        f"{telegram.identification}.{telegram.manufacturer}.{telegram.version:02X}.{telegram.medium_code:02X}"
    )
    meter = FoundMeter(
        address=who,
        identification=telegram.identification,
        manufacturer=telegram.manufacturer,
        version=telegram.version,
        medium=telegram.medium,
        primary=telegram.address if 0 < telegram.address <= 250 else None,
        baud=2400,
        verdict=Verdict.FOUND,
        installed=False,
    )
    return replace(meter, **more)


class RecordedInstallation:
    """The part of the facade that installs, over `current`, which the gateway keeps."""

    current: Snapshot
    commands: list[str]
    push_config: Config

    def set_up(self) -> None:
        """Begin with what `current` shows."""
        self.lines = [LineConfig(line.name, line.url, line.baud) for line in self.current.lines]
        self.meters = [
            MeterConfig(each.line, each.address.removeprefix("primary "), each.name, logical_device=each.logical_device)
            for each in self.current.meters
        ]  # fmt: skip

    def config(self) -> Config:
        return replace(self.push_config, lines=tuple(self.lines), meters=tuple(self.meters))

    def line(self, name: str = "main") -> LineView:
        """A line as it is shown now."""
        return next(line for line in self.current.lines if line.name == name)

    def show_line(self, name: str = "main", **changes: Any) -> None:
        """Show a line otherwise from now on."""
        lines = (replace(line, **changes) if line.name == name else line for line in self.current.lines)
        self.current = replace(self.current, lines=tuple(lines))

    def install_meters(self, meters: Collection[MeterConfig]) -> Future[int]:
        self.commands.append(f"install {', '.join(str(meter.address) for meter in meters)}")
        return tried(lambda: self._install(list(meters)))

    def change_meter(self, key: int, values: Mapping[str, Any]) -> Future[None]:
        self.commands.append(f"change meter {key} {dict(values)}")
        return tried(lambda: self._change_meter(key, values))

    def remove_meters(self, keys: Collection[int]) -> Future[int]:
        self.commands.append(f"remove {', '.join(map(str, keys))}")
        gone = [each.logical_device for each in self.current.meters if each.key in keys]
        return tried(
            lambda: self._apply(self.lines, [m for m in self.meters if m.logical_device not in gone])
        )

    def change_line(self, name: str | None, values: Mapping[str, Any]) -> Future[None]:
        self.commands.append(f"change line {name} {dict(values)}")
        return tried(lambda: self._change_line(name, values))

    def remove_line(self, name: str) -> Future[None]:
        self.commands.append(f"remove line {name}")
        return tried(lambda: self._apply([line for line in self.lines if line.name != name], self.meters))

    def estimate_search(self, request: SearchRequest) -> Future[SearchEstimate]:
        rates = max(1, len(request.bauds))
        if request.line == "nowhere":
            return tried(lambda: _fail("There is no line nowhere."))
        seconds = 238 * rates * len(request.methods)
        sentence = f"about {seconds // 60} min for 12 meters; with nobody there {30 * rates} s"
        return tried(lambda: SearchEstimate(30.0 * rates, seconds, 812, sentence))

    def start_search(self, request: SearchRequest) -> Future[None]:
        self.commands.append(f"search {request}")
        if self.line(request.line).state is LineState.DOWN:
            return tried(lambda: _fail(f"{request.line} is down; plug the converter in, then search."))
        step = "secondary addresses FFFFFFFF at 2400 baud"
        view = SearchView(
            request.line,
            request,
            SearchState.RUNNING,
            step,
            "",
            NOW_MS - 42_000,
            None,
            0,
            0.0,
            None,
            False,
            (),
            (),
        )
        self.show_line(request.line, search=view)
        return tried(lambda: None)

    def pause_search(self, line: str) -> Future[None]:
        return self._search_state(line, "pause", SearchState.PAUSED)

    def resume_search(self, line: str) -> Future[None]:
        return self._search_state(line, "resume", SearchState.RUNNING)

    def stop_search(self, line: str) -> Future[None]:
        return self._search_state(line, "stop", SearchState.STOPPED)

    def play(
        self, share: float = 0.43, number: int = 3, line: str = "main", troubles: int = 0, **changes: Any
    ) -> None:
        """Have the search be so far, with so many of `FOUND` found."""
        view = self.line(line).search
        assert view is not None
        meters = [found_meter(name) for name in FOUND[:number]]
        if meters:
            meters[0] = replace(meters[0], installed=True, name="water kitchen")
        fields: dict[str, Any] = {
            "share": share,
            "probes": int(812 * share),
            "left_s": 238 * (1 - share),
            "step": "secondary addresses 12FFFFFF at 2400 baud",
            "meters": tuple(meters),
            "troubles": TROUBLES[:troubles],
        }
        self.show_line(line, search=replace(view, **{**fields, **changes}))

    def finish(self, line: str = "main") -> None:
        """Have the search be over, with one meter that was not expected and one that is missing."""
        self.play(1.0, len(FOUND), line, 2, state=SearchState.DONE, finished_ms=NOW_MS, left_s=None, step="")
        view = self.line(line).search
        assert view is not None
        strange = replace(
            view.meters[3],
            verdict=Verdict.UNEXPECTED,
            note="it answers at primary address 1 as well",
            baud=300,
        )
        meters = (*view.meters[:3], strange, *view.meters[4:], MISSING)
        self.show_line(line, search=replace(view, meters=meters))

    def _search_state(self, line: str, what: str, state: SearchState) -> Future[None]:
        self.commands.append(f"{what} {line}")
        search = self.line(line).search
        assert search is not None
        self.show_line(line, search=replace(search, state=state))
        return tried(lambda: None)

    def _install(self, meters: list[MeterConfig]) -> int:
        taken = {meter.logical_device or 0 for meter in self.meters}
        free = (device for device in range(max([16, *taken]) + 1, 1 << 16))
        self._apply(
            self.lines, [*self.meters, *(replace(meter, logical_device=next(free)) for meter in meters)]
        )
        self._mark_installed()
        return len(meters)

    def _mark_installed(self) -> None:
        known = {str(meter.address): meter.name for meter in self.meters}
        for line in self.current.lines:
            if line.search is not None:
                meters = tuple(
                    replace(each, installed=True, name=known[each.address]) if each.address in known else each
                    for each in line.search.meters
                )
                self.show_line(line.name, search=replace(line.search, meters=meters))

    def _change_meter(self, key: int, values: Mapping[str, Any]) -> None:
        device = next(each.logical_device for each in self.current.meters if each.key == key)
        self._apply(
            self.lines,
            [
                _changed(meter, values) if meter.logical_device == device else meter for meter in self.meters
            ],
        )  # fmt: skip

    def _change_line(self, name: str | None, values: Mapping[str, Any]) -> None:
        if name is None:
            lines = [*self.lines, _changed(LineConfig(), values)]
        else:
            lines = [_changed(line, values) if line.name == name else line for line in self.lines]
        renamed = {name: str(values["name"])} if name is not None and values.get("name") else {}
        self._apply(
            lines, [replace(meter, line=renamed.get(meter.line, meter.line)) for meter in self.meters]
        )

    def _apply(self, lines: list[LineConfig], meters: list[MeterConfig]) -> int:
        """Take this configuration, if it can be; how many meters it has fewer."""
        tables = {
            "line": [_table(line) for line in lines],
            "meter": [{**_table(meter), "address": _number(meter.address)} for meter in meters],
        }
        for table in tables["meter"]:
            table.pop("logical_device", None)
        checked = parse_config(tomli_w.dumps(tables), Path("/var/lib/cme-tui/config.toml"))
        fewer = len(self.meters) - len(meters)
        self.lines, self.meters = list(checked.lines), meters
        self.current = replace(
            self.current,
            lines=tuple(self._line_view(line) for line in self.lines),
            meters=tuple(self._meter_view(meter) for meter in meters),
        )
        return fewer

    def _line_view(self, line: LineConfig) -> LineView:
        meters = sum(meter.line == line.name for meter in self.meters)
        view = next((each for each in self.current.lines if each.name == line.name), None)
        if view is not None:
            return replace(view, url=line.url, baud=line.baud, meters=meters)
        return LineView(line.name, line.url, line.baud, LineState.CONNECTING, "", NOW_MS, meters, None, None)

    def _meter_view(self, meter: MeterConfig) -> MeterView:
        address = (
            f"primary {meter.address}" if isinstance(_number(meter.address), int) else str(meter.address)
        )
        device = meter.logical_device or 0
        view = next((each for each in self.current.meters if each.logical_device == device), None)
        if view is not None:
            state = view.state if meter.enabled else MeterState.DISABLED
            return replace(view, name=meter.name, address=address, line=meter.line, state=state)
        return MeterView(
            key=device + 1000, name=meter.name or address, line=meter.line, address=address, identification="",
            manufacturer="", version=None, medium="", medium_code=None, logical_device=device,
            state=MeterState.WAITING, reason="Not read yet; the next sweep reads it, or r now.", status=None,
            last_reading_ms=None, last_try_ms=None, mapping="", mapped=0, headline=None,
        )  # fmt: skip


def _table(config: LineConfig | MeterConfig) -> dict[str, Any]:
    return {key: _plain(value) for key, value in asdict(config).items() if value not in (None, "")}


def _plain(value: Any) -> Any:
    return (
        str(Interval(**value))
        if isinstance(value, dict)
        else str(value)
        if isinstance(value, Interval)
        else value
    )


def _changed(config: T, values: Mapping[str, Any]) -> T:
    fresh = type(config)()
    given = {key: getattr(fresh, key) if value is None else value for key, value in values.items()}
    if isinstance(interval := given.get("interval"), str):
        given["interval"] = Interval.parse(interval)
    return replace(config, **given)  # type: ignore[type-var]


def _number(address: int | str) -> int | str:
    text = str(address)
    return int(text) if text.isdigit() and len(text) <= 3 else address


def _fail(sentence: str) -> Any:
    raise CmeError(sentence)


def tried(call: Callable[[], T]) -> Future[T]:
    """The answer of a call, or its error."""
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except CmeError as error:
        future.set_exception(error)
    return future
