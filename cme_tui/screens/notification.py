"""One notification of the ledger: what became of it, its bytes, and what each of them says."""

from __future__ import annotations

from textual.app import ComposeResult

from cme_tui.push.wording import label, notification_state, size
from cme_tui.screens.base import GatewayScreen
from cme_tui.widgets.anatomy import Anatomy
from cme_tui.widgets.lines import Line, Lines
from cme_tui.wording import age, count, moment, until
from core.dlms.describe import describe
from core.dlms.wrapper import HEADER_SIZE
from core.push.service import NotificationDetail
from core.snapshot import Snapshot
from core.store.outbox import NotificationState


class NotificationScreen(GatewayScreen):
    """Bytes and fields side by side, as it was, or will be, before it is ciphered."""

    TAB = "push"
    HELP = (
        "One notification: its report and device, the rows that it holds, and what became of it. Below, its bytes "
        "beside their fields, in clear; a second line says whether it goes, or went, ciphered over the wire.\n"
        "Moving over the fields marks their bytes, and the status line has the whole value. The bodies of what waits "
        "are kept, and those of the newest 100 that were delivered."
    )

    def __init__(self, detail: NotificationDetail, device: str) -> None:
        """`device`: the name of the meter that it tells of, or "gateway"."""
        super().__init__()
        self._detail = detail
        self._device = device
        self._parts = describe(detail.apdu, sent=True).parts if detail.apdu else ()

    def body(self) -> ComposeResult:
        yield Lines(id="notification")
        yield Anatomy()

    def show(self, snapshot: Snapshot, now_ms: int) -> None:
        coarse = self.cme.profile == "basic"
        policy = snapshot.dlms.policy
        heading = _heading(self._detail, self._device, policy, now_ms, coarse)
        self.query_one("#notification", Lines).show(heading)
        self.query_one(Anatomy).show(self._detail.notification.id, self._detail.apdu, self._parts)

    def hint(self) -> Line:
        if not self._detail.apdu:
            return (
                (" Its body is no longer kept; those of the newest 100 that were delivered are", "faint"),
            )
        return self.query_one(Anatomy).hint()

    def on_table_moved(self) -> None:
        self.query_one(Anatomy).light()
        self.update_status()


def _heading(detail: NotificationDetail, device: str, policy: str, now_ms: int, coarse: bool) -> list[Line]:
    found = detail.notification
    state, tone = notification_state(found)
    span = "" if found.first_ms is None else f", {moment(found.first_ms)} to {moment(found.last_ms)}"
    rows = f"{count(found.rows, 'row')}{span}" if found.rows else "no rows"
    asked = ", asked for by hand" if found.manual else ""
    lines: list[Line] = [
        ((f" {found.id} {label(found.report)} of {device}", "title"), "  ", (state, tone or "strong")),
        (
            f" {rows}, made {age(found.created_ms, now_ms, coarse)} ago{asked}, {count(found.tries, 'try', 'tries')}",
        ),
        (f" {_way(detail, policy)}",),
    ]
    if found.reason and found.state is not NotificationState.DELIVERED:
        again = ""
        if found.state is NotificationState.WAITING:
            again = f" Next try in {until(found.next_try_ms, now_ms, coarse)}."
        lines.append(((f" {found.reason}{again}", "warn"),))
    return lines


def _way(detail: NotificationDetail, policy: str) -> str:
    """How it goes, or went, over the wire."""
    found = detail.notification
    if found.wire_size is None:
        how = "in clear" if policy == "none" else f"ciphered (general-glo), as the policy {policy} has it"
        return f"It goes {how}: an APDU of {size(len(detail.apdu) or found.size)} in clear."
    ciphered = detail.apdu and found.wire_size > len(detail.apdu) + HEADER_SIZE
    how = "ciphered (general-glo)" if ciphered else "in clear" if detail.apdu else ""
    return f"It went {how or 'out'}, {size(found.wire_size)} on the wire, {moment(found.delivered_ms)}."
