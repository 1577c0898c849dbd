"""The form of a meter: where it answers, how it is called and how often it is read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from cme_tui.meters.fields import meter_fields, typed_values
from cme_tui.screens.form import FormScreen
from cme_tui.widgets.lines import Line
from core.config import LineConfig, MeterConfig, parse_meter
from core.config_tables import MeterChange, NewMeters
from core.secrets import shown_fingerprint
from core.snapshot import MeterView


class MeterFormScreen(FormScreen):
    """Installs a meter by hand, or changes an installed one; what is saved holds at once."""

    TAB = "meters"
    HELP = (
        "One meter as config.toml describes it. Enter edits the field under the cursor, the arrow keys step through "
        "the choices; s saves all of it, and it holds at once.\n"
        "A secondary address finds the meter whatever its primary address is: eight digits as printed on it, then "
        "manufacturer, version and medium where others have the same digits. Address or line of an installed meter "
        "can be changed: its logical device and its history stay.\n"
        "A meter that encrypts its telegrams needs its key: d in the list of meters."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *FormScreen.BINDINGS,
        Binding("s", "save", "Save", tooltip="save the meter; it holds at once"),
    ]

    def __init__(
        self,
        lines: Sequence[LineConfig],
        line: str,
        meter: MeterView | None = None,
        config: MeterConfig | None = None,
    ) -> None:
        """`config` is what config.toml says about `meter`; without both it is a new one on `line`."""
        super().__init__(meter_fields(config, lines, line))
        self._meter = meter

    def heading(self) -> Line:
        if self._meter is None:
            return ((" New meter", "title"), ("  not saved yet", "faint"))
        return ((f" Meter {self._meter.name}", "title"), (f"  device {self._meter.logical_device}", "faint"))

    def outcome(self) -> list[Line]:
        if self._meter is None:
            return [((" It gets a logical device of its own, which head-end systems see at once", "faint"),)]
        key = self.cme.gateway.secrets().meter_keys.get(self._meter.identification)
        said = (
            f"set, fingerprint {shown_fingerprint(key)}"
            if key
            else "not set; d in the list of meters sets it"
        )
        return [((" Decryption key ", "faint"), said)]

    def action_save(self) -> None:
        if not self.complete():
            return
        if self._meter is not None and not self.differing:
            self.cme.say("Nothing is changed; Esc goes back")
            return
        change = self._change()
        self.run_worker(self.save_weighed(change, lambda: self._save(change)))

    async def _save(self, change: NewMeters | MeterChange) -> None:
        future: Future[Any]
        if isinstance(change, MeterChange):
            future = self.cme.gateway.change_meter(change.key, change.values)
        else:
            future = self.cme.gateway.install_meters(change.meters)
        if not await self.cme.answer(future, "Saving"):
            self.refuse(future.exception())
            return
        name = self.values["name"] or self.values["address"]
        does = "is saved" if self._meter else "is installed; r reads it now"
        self.saved()
        self.cme.pull()
        self.cme.say(f"● {name} {does}", "good")

    def _change(self) -> NewMeters | MeterChange:
        if self._meter is not None:
            return MeterChange(self._meter.key, typed_values(self.differing))
        values = {key: value for key, value in typed_values(self.values).items() if value is not None}
        return NewMeters([parse_meter(values, "The meter:")])
