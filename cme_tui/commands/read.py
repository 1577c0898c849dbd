"""`cme-tui read`: objects of a logical device as a head-end system sees them, with value, scaler and unit."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cme_tui.commands.arguments import add_gateway, add_server, number, state_dir
from cme_tui.hes.access import Access, load_access
from cme_tui.hes.head_end import AccessRefusedError, HeadEnd, HesError, ListedObject
from cme_tui.hes.values import (
    PROFILE,
    class_name,
    column_text,
    is_scaled,
    meaning,
    rows_text,
    scaled,
    scaler_unit,
)
from core.cosem import obis
from core.cosem.obis import ObisError
from core.mapping.units import symbol

_DASHED: Final = re.compile(r"(\d+)-(\d+):(\d+)\.(\d+)\.(\d+)(?:\*(\d+))?")

_Result = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_gateway(parser)
    add_server(parser)
    parser.add_argument("codes", metavar="OBIS", nargs="+", help="8.0.1.0.0.255 or 8-0:1.0.0")
    parser.add_argument("--logical-device", type=number(1, 65535), metavar="N", required=True)
    parser.add_argument(
        "--class", dest="class_id", type=number(1, 65535), metavar="C", help="interface class"
    )
    parser.add_argument("--attribute", type=number(1, 127), metavar="A", default=2, help="2 where not given")
    parser.add_argument("--client", choices=("public", "management"), default="management")


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code. Raises `CmeError`."""
    return run(
        load_access(state_dir(arguments), arguments.host, arguments.port),
        arguments.codes,
        device=arguments.logical_device,
        class_id=arguments.class_id,
        attribute=arguments.attribute,
        public=arguments.client == "public",
        as_json=arguments.json,
    )


def run(
    access: Access,
    codes: Sequence[str],
    *,
    device: int,
    class_id: int | None,
    attribute: int,
    public: bool,
    as_json: bool,
) -> int:
    """Read an attribute of each object of logical device `device` and print it.

    Without a class every object of that name in the object list is read. Returns 0, 1 where something could not
    be read, 2 for what is no OBIS code. Raises `CmeError` where the gateway does not let the client in.
    """
    try:
        names = [_dotted(code) for code in codes]
    except ObisError as error:
        print(f"cme-tui read: {error}", file=sys.stderr)
        return 2
    try:
        results = asyncio.run(_read(access, names, device, class_id, attribute, public))
    except HesError as error:
        raise HesError(f"Logical device {device} cannot be read: {error}.") from error
    if as_json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        _print(results)
    return 1 if any("error" in result for result in results) else 0


def _dotted(code: str) -> str:
    """A code in either notation as six numbers with dots. Raises `ObisError`."""
    found = _DASHED.fullmatch(code.strip())
    dotted = code if found is None else ".".join(group or "255" for group in found.groups())
    return obis.text(obis.parse(dotted))


async def _read(
    access: Access, names: Sequence[str], device: int, class_id: int | None, attribute: int, public: bool
) -> list[_Result]:
    async with HeadEnd(access) as head_end:
        if public:
            await head_end.associate_public(device)
        else:
            await head_end.associate(access.lowest, device)
        listed = [] if class_id is not None else await head_end.objects()
        results = []
        for name in names:
            classes = [class_id] if class_id is not None else _classes(listed, name)
            if not classes:
                error = "not in the object list; --class reads it all the same"
                results.append({"obis": name, "attribute": attribute, "error": error})
            for each in classes:
                results.append(await _attribute(head_end, name, each, attribute))
        await head_end.release()
        return results


def _classes(listed: Sequence[ListedObject], name: str) -> list[int]:
    return [item.class_id for item in listed if item.obis == name]


async def _attribute(head_end: HeadEnd, name: str, class_id: int, attribute: int) -> _Result:
    result: _Result = {"obis": name, "class": class_id, "attribute": attribute}
    try:
        value = await head_end.get(class_id, name, attribute)
        result["value"] = value
        if is_scaled(class_id, attribute):
            unit = scaler_unit(await head_end.get(class_id, name, 3))
            if unit is not None:
                return {**result, "scaler": unit[0], "unit": symbol(unit[1]), "text": scaled(value, *unit)}
        if (class_id, attribute) == (PROFILE, 2):
            columns = [column_text(column) for column in await head_end.get(class_id, name, 3)]
            return {**result, "columns": columns, "text": "\n".join(rows_text(value))}
    except AccessRefusedError as error:
        return {**result, "error": str(error)}
    return {**result, "text": meaning(class_id, attribute, value)}


def _print(results: Sequence[_Result]) -> None:
    for result in results:
        where = result["obis"] + ("" if result["attribute"] == 2 else f"/{result['attribute']}")
        if "error" in result:
            print(f"cme-tui read: {where}: {result['error']}", file=sys.stderr)
        else:
            print("\n".join(_lines(where, result)))


def _lines(where: str, result: _Result) -> Iterator[str]:
    kind = class_name(result["class"])
    if "columns" in result:
        yield f"{where}  {kind}"
        yield f"  {' | '.join(result['columns'])}"
        yield from (f"  {line}" for line in result["text"].splitlines())
    elif "scaler" in result:
        yield f"{where}  {result['text']}  ({kind}, {result['value']} x 10^{result['scaler']})"
    else:
        yield f"{where}  {result['text']}  ({kind})"
