"""`cme-tui meters list` and `read`: the installed meters with their last readings, and one that is read now."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cme_tui.client import NoGatewayError, ask
from cme_tui.commands.stored import fitting, installed_at
from core.config import MeterConfig, load_config
from core.mbus.address import SecondaryAddress, parse_address
from core.mbus.medium import medium_name
from core.snapshot import MeterState
from core.statedir import StateDir
from core.store import Reading, StoredMeter, open_readonly

_COLUMNS = ("device", "name", "id", "maker", "medium", "line", "status", "last reading (UTC)")


def show(state_dir: Path, *, as_json: bool) -> int:
    """Print one object or one line a meter. Raises `CmeError` where the state cannot be read."""
    state = StateDir(state_dir)
    config = load_config(state.config)
    stored: dict[tuple[str, str], StoredMeter] = {}
    good: dict[int, Reading] = {}
    failed: dict[int, Reading] = {}
    if state.database.exists():
        with open_readonly(state.database) as store:
            stored = {(meter.line, meter.address): meter for meter in store.meters()}
            good, failed = store.latest_all(), store.latest_failures()
    cut_off = _on_lines_that_are_down(state_dir)
    rows = []
    for item in config.meters:
        record = stored.get((item.line, str(parse_address(str(item.address)))))
        key = record.key if record else 0
        row = _row(item, record, good.get(key), failed.get(key))
        if item.enabled and item.logical_device in cut_off:
            row["status"] = str(MeterState.LINE_DOWN)
        rows.append(row)
    print(json.dumps(rows, indent=2) if as_json else _table(rows))
    return 0


def read(state_dir: Path, wanted: str, *, as_json: bool) -> int:
    """Have the running gateway read a meter now, and print its values. Raises `CmeError` where it does not answer."""
    _, installed = installed_at(state_dir)
    meter = fitting(installed, wanted).config
    answer = ask(state_dir, "read", logical_device=meter.logical_device)
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    print(f"{answer['name']}, {answer['last_reading']}")
    for value in answer["values"]:
        shown = value["error"] or f"{value['value']} {value['unit']}".rstrip()
        print(f"  {value['description']:<40}{shown}")
    return 0


def _on_lines_that_are_down(state_dir: Path) -> set[int]:
    """Logical devices of the meters that a running gateway cannot reach. The store keeps nothing of that."""
    try:
        status = ask(state_dir, "status")
    except NoGatewayError:
        return set()
    return {meter["logical_device"] for meter in status["meters"] if meter["state"] == MeterState.LINE_DOWN}


def _row(
    item: MeterConfig, record: StoredMeter | None, good: Reading | None, failed: Reading | None
) -> dict[str, Any]:
    address = parse_address(str(item.address))
    known = address if isinstance(address, SecondaryAddress) else None
    identification, manufacturer = (known.identification, known.manufacturer) if known else ("", None)
    version, medium = (known.version, known.medium) if known else (None, None)
    if record and record.identification:
        identification, manufacturer = record.identification, record.manufacturer or None
        version, medium = record.version, record.medium
    last = failed if failed and (good is None or failed.id > good.id) else good
    status = last.result if last else MeterState.WAITING
    return {
        "id": identification,
        "manufacturer": manufacturer or "",
        "version": version,
        "medium": "" if medium is None else medium_name(medium),
        "line": item.line,
        "logical_device": item.logical_device,
        "name": item.name,
        "status": str(status if item.enabled else MeterState.DISABLED),
        "last_reading": None if good is None else _iso(good.time_ms),
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No meter is installed; 'cme-tui meters add' installs one."
    keys = ("logical_device", "name", "id", "manufacturer", "medium", "line", "status", "last_reading")
    cells = [_COLUMNS, *(tuple("" if row[key] is None else str(row[key]) for key in keys) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
