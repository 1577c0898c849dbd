"""The calls of the control socket that are about searches for meters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any, Final

from core.clock import iso
from core.control_push import Call
from core.errors import BadInputError, CmeError
from core.facade import Gateway
from core.searching import SearchRequest, SearchView

_TEXTS: Final = ("methods", "expected", "names")


def search_json(view: SearchView) -> dict[str, Any]:
    """A search as the answer to `search` has it; times as ISO 8601 in UTC, null for never."""
    return {
        "line": view.line,
        "state": view.state.value,
        "step": view.step,
        "reason": view.reason,
        "started": iso(view.started_ms),
        "finished": iso(view.finished_ms),
        "probes": view.probes,
        "share": round(view.share, 4),
        "left_s": None if view.left_s is None else round(view.left_s, 1),
        "at_least": view.at_least,
        "meters": [{**asdict(meter), "verdict": meter.verdict.value} for meter in view.meters],
        "troubles": list(view.troubles),
    }


async def _search(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = request.get("line")
    for line in gateway.snapshot().lines:
        if line.name == wanted:
            return {"search": search_json(line.search) if line.search else None}
    raise BadInputError(f"There is no line {wanted!r}.")


async def _estimate(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    estimate = await asyncio.wrap_future(gateway.estimate_search(_request(request)))
    return asdict(estimate)


async def _start(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
    await asyncio.wrap_future(gateway.start_search(_request(request)))
    return {"started": True}


def _steering(steer: Callable[[Gateway, str], Future[None]], done: str) -> Call:
    async def call(gateway: Gateway, request: Mapping[str, Any]) -> Mapping[str, Any]:
        line = request.get("line")
        if not isinstance(line, str):
            raise CmeError('The call takes "line", the name of a line.')
        await asyncio.wrap_future(steer(gateway, line))
        return {done: True}

    return call


CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "search": _search,
        "estimate_search": _estimate,
        "start_search": _start,
        "pause_search": _steering(lambda gateway, line: gateway.pause_search(line), "paused"),
        "resume_search": _steering(lambda gateway, line: gateway.resume_search(line), "resumed"),
        "stop_search": _steering(lambda gateway, line: gateway.stop_search(line), "stopped"),
    }
)


def _request(request: Mapping[str, Any]) -> SearchRequest:
    """The search that is asked for. Raises `CmeError`; whether it makes sense is for the gateway to say."""
    given = request.get("request")
    known = {field.name for field in fields(SearchRequest)}
    if not isinstance(given, dict) or not set(given) <= known or not isinstance(given.get("line"), str):
        raise CmeError(
            f'The call takes "request", an object with "line", and perhaps {", ".join(sorted(known))}.'
        )
    values: dict[str, Any] = {}
    for name, value in given.items():
        kind: type
        if name in _TEXTS or name == "bauds":
            kind = int if name == "bauds" else str
            if not isinstance(value, list) or not all(type(item) is kind for item in value):
                raise CmeError(f'"{name}" of a search is a list of {"numbers" if kind is int else "texts"}.')
            values[name] = tuple(value)
        else:
            kind = {"first": int, "last": int, "patience_ms": int, "hex_digits": bool}.get(name, str)
            if type(value) is not kind:
                raise CmeError(f'"{name}" of a search is not {value!r}.')
            values[name] = value
    return SearchRequest(**values)
