"""The control socket: how other programs of the same user talk to a running gateway.

A Unix socket in the state directory. A client connects, sends one line with a JSON object, and gets one or more
lines with a JSON object each; then the connection ends. What went wrong is a line `{"error": SENTENCE}`, with
`"bad_input": true` where what was asked for makes no sense. The calls:

- `{"call": "status"}`: one line, the gateway as `status_json` has it.
- `{"call": "associations"}`: one line, the clients that are connected and what happened lately.
- `{"call": "trace"}`: `{"watching": true}`, then a line for each APDU and each event of the DLMS port from
  now on, `{"trace": {...}}` or `{"event": {...}}`, until the client goes away.
- `{"call": "reload"}`: applies configuration and mappings; one line, `{"reloaded": true}`.
- `{"call": "configure", "values": {"dlms.port": 4060}}`: saves settings and applies them, null for a default; one
  line, `{"saved": true}`.
- `{"call": "undo"}`: takes back the last save of settings; one line, `{"restored": {"dlms.port": 4059}}`.
- `{"call": "set_secrets", "values": {"encryption_key": HEX}}`: saves password and keys; one line, `{"saved": true}`.
- `{"call": "read", "logical_device": N}`: reads a meter now; one line with its values.
- `{"call": "install_meters", "meters": [{"line": "cellar", "address": 5}, ...]}`: adds [[meter]] tables with these
  keys, all or none; `{"installed": N}`.
- `{"call": "misfits", "meters": [...]}` or `{"call": "misfits", "values": {...}}`: lines that could no longer keep
  their schedule if these were installed or set; `{"misfits": [SENTENCE, ...]}`.
- `{"call": "remove_meters", "logical_devices": [N, ...]}`: takes meters out; `{"removed": N}`.
- `{"call": "command_meter", "line": "cellar", "address": "5", "command": "set-address", "value": 7}`: tells a meter
  something and checks that it was done, `core.control_meters` has the commands; `{"result": SENTENCE}`.
- `{"call": "diagnosis", "line": "cellar" or null}`: what the bus doctor says of a line, or of all;
  `{"lines": [...]}` as `core.control_doctor` has them.
- `{"call": "line_trace", "line": "cellar", "after": ID}`: what went over a line after that, at most 100 requests;
  `{"entries": [...]}`.
- `{"call": "record_line", "line": "cellar", "path": FILE or null}`: records to a file, until null; `{"done": true}`.
- `{"call": "reset_diagnosis" or "start_check" or "stop_check", "line": "cellar"}`: counts from now, or asks every
  meter a few times; `{"done": true}` at once.
- `{"call": "push"}`: one line, the push reports and where they go, as `push_json` has them.
- `{"call": "send_report", "report": "load_profile_1"}`: makes a report now and sends it; `{"sent": true}`.
- `{"call": "test_report", "report": ...}`: sends the newest row or event; `{"notifications": N}`.
- `{"call": "resend_report", "report": ..., "meters": [KEY, ...] or null, "start_ms": N, "end_ms": N}`: sends again
  what lies between two times; `{"notifications": N}`.
- `{"call": "retry_notifications", "ids": [ID, ...] or null}`, `{"call": "cancel_notifications", "ids": [ID, ...]}`:
  tries now, or gives up; `{"notifications": N}`, how many of them waited.
- `{"call": "estimate_search", "request": {"line": "cellar", "methods": ["secondary"], ...}}`, with the fields of
  `core.searching.SearchRequest`: how long that search would take; `{"nobody_s", "likely_s", "probes", "sentence"}`.
- `{"call": "start_search", "request": {...}}`: begins it; `{"started": true}`. `pause_search`, `resume_search` and
  `stop_search` take "line" and give `{"paused": true}` and so on.
- `{"call": "search", "line": "cellar"}`: the search on a line, `{"search": {...} or null}`, as `search_json` has it.
- `{"call": "push_samples", "host": HOST, "port": N}`: sends one notification of each report to that receiver,
  whatever is configured; one line, `{"sent": 4}`, when it has taken them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from core import control_doctor, control_meters, control_push, control_search
from core.clock import Clock, iso
from core.control_push import Call
from core.errors import BadInputError, CmeError
from core.facade import Gateway
from core.snapshot import (
    AssociationView,
    LogEntry,
    MeterDetail,
    MeterView,
    ScheduleView,
    Snapshot,
    SweepView,
    TraceEntry,
)

log = logging.getLogger(__name__)

LONGEST_REQUEST: Final = 1 << 20
"""Bytes of one line; a list of five thousand meters fits."""

REQUEST_S: Final = 10.0
"""In which a client that has connected has to say what it wants."""

WRITE_S: Final = 60.0
"""In which a client has to take what it asked for."""

MOST_CLIENTS: Final = 16
LOOK_S: Final = 0.25
"""Between two looks at the trace for a client that follows it."""

_CALLS: Final[Mapping[str, Call]] = {
    **control_push.CALLS,
    **control_meters.CALLS,
    **control_doctor.CALLS,
    **control_search.CALLS,
}
"""Calls that are answered with one line, by subject."""

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid; unix(7), SO_PEERCRED


class ControlError(CmeError):
    """The control socket cannot be made."""


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path` as one that fits into a socket address, which has 108 bytes, however long the directory's name is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class ControlServer:
    """Serves the control socket. Implements `core.runtime.Service`; belongs to an event loop of its own.

    The state directory must be locked: a socket that is found there is one that a crash left.
    """

    def __init__(self, gateway: Gateway, path: Path, clock: Clock) -> None:
        """`clock` is that of the machine."""
        self._gateway = gateway
        self._clock = clock
        self._path = path
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._busy = 0  # calls that are being answered

    async def start(self) -> None:
        """Make the socket, mode 0600, and listen. Raises `ControlError`."""
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, sock=self._bind(), limit=LONGEST_REQUEST
            )
        except OSError as error:
            raise ControlError(
                f"The control socket {self._path} cannot be made ({error.strerror}), so status, trace and other "
                "commands cannot reach this gateway; move what stands in its place, or use another state directory."
            ) from error

    async def stop(self) -> None:
        """Take the socket away and let all clients go."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _bind(self) -> socket.socket:
        if self._path.is_socket():
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(self._path) as path:
                listener.bind(path)
            self._path.chmod(0o600)  # before it listens: until then nobody can connect
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client went away, or takes nothing; or the gateway stops
        except Exception:
            log.exception("A call on the control socket failed for an unforeseen reason; please report this")
        finally:
            self._clients.discard(task)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # one line waits for the client, and no more
        try:
            request = await _request(reader)
            if not _is_owner(writer.get_extra_info("socket")):
                raise CmeError(
                    "Only the user that the gateway runs as, and root, may use the control socket."
                )
            if self._busy >= MOST_CLIENTS:
                raise CmeError(
                    f"{MOST_CLIENTS} programs use the control socket already; end one of them, then try again."
                )
            self._busy += 1
            try:
                async for line in self._call(request, reader):
                    await _send(writer, line)
            finally:
                self._busy -= 1
        except CmeError as error:
            wrong = {"bad_input": True} if error.bad_input else {}
            await _send(writer, {"error": str(error), **wrong})

    def _call(
        self, request: Mapping[str, Any], reader: asyncio.StreamReader
    ) -> AsyncIterator[Mapping[str, Any]]:
        match request.get("call"):
            case "status":
                return self._status()
            case "associations":
                return self._associations()
            case "trace":
                return self._trace(reader)
            case "reload":
                return self._reload()
            case "configure":
                return self._configure(request.get("values"))
            case "undo":
                return self._undo()
            case "set_secrets":
                return self._set_secrets(request.get("values"))
            case "read":
                return self._read(request.get("logical_device"))
            case "push_samples":
                return self._push_samples(request.get("host"), request.get("port"))
            case str(name) if name in _CALLS:
                return self._one_line(_CALLS[name], request)
            case name:
                calls = ", ".join(
                    (
                        "status, associations, trace, reload, configure, undo, set_secrets, read, push_samples",
                        *_CALLS,
                    )
                )
                raise CmeError(f"There is no call {name!r} on the control socket; there are {calls}.")

    async def _status(self) -> AsyncIterator[Mapping[str, Any]]:
        snapshot = self._gateway.snapshot()
        yield status_json(snapshot, self._clock.now_ms() + snapshot.clock_offset_ms)

    async def _associations(self) -> AsyncIterator[Mapping[str, Any]]:
        events = await asyncio.wrap_future(self._gateway.association_log())
        yield {
            "associations": [_association(view) for view in self._gateway.snapshot().associations],
            "log": [event_json(event) for event in events],
        }

    async def _trace(self, reader: asyncio.StreamReader) -> AsyncIterator[Mapping[str, Any]]:
        last_apdu = 0
        events = await asyncio.wrap_future(self._gateway.association_log())
        last_event = events[-1].id if events else 0
        while entries := await asyncio.wrap_future(self._gateway.trace(last_apdu)):
            last_apdu = entries[-1].id  # recorded for others who watch
        yield {"watching": True}
        while not reader.at_eof():
            events = await asyncio.wrap_future(self._gateway.association_log())
            lines: list[tuple[int, Mapping[str, Any]]] = [
                *((entry.time_ms, {"trace": trace_json(entry)}) for entry in entries),
                *((event.time_ms, {"event": event_json(event)}) for event in events if event.id > last_event),
            ]
            for _, line in sorted(lines, key=itemgetter(0)):
                yield line
            last_apdu = entries[-1].id if entries else last_apdu
            last_event = events[-1].id if events else last_event
            if not entries:
                await asyncio.sleep(LOOK_S)
            entries = await asyncio.wrap_future(self._gateway.trace(last_apdu))

    async def _reload(self) -> AsyncIterator[Mapping[str, Any]]:
        await asyncio.wrap_future(self._gateway.reload())
        yield {"reloaded": True}

    async def _configure(self, values: object) -> AsyncIterator[Mapping[str, Any]]:
        await asyncio.wrap_future(self._gateway.configure(_named_values(values)))
        yield {"saved": True}

    async def _undo(self) -> AsyncIterator[Mapping[str, Any]]:
        restored = await asyncio.wrap_future(self._gateway.undo())
        yield {"restored": restored}

    async def _set_secrets(self, values: object) -> AsyncIterator[Mapping[str, Any]]:
        await asyncio.wrap_future(self._gateway.set_secrets(_named_values(values)))
        yield {"saved": True}

    async def _read(self, device: object) -> AsyncIterator[Mapping[str, Any]]:
        meters = self._gateway.snapshot().meters
        key = next((meter.key for meter in meters if meter.logical_device == device), None)
        if key is None:
            raise BadInputError(
                f"No meter has the logical device {device!r}; 'cme-tui meters list' names them."
            )
        yield _detail(await asyncio.wrap_future(self._gateway.read_meter(key)))

    async def _one_line(self, call: Call, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        yield await call(self._gateway, request)

    async def _push_samples(self, host: object, port: object) -> AsyncIterator[Mapping[str, Any]]:
        if not isinstance(host, str) or not host or type(port) is not int or not 0 < port < 1 << 16:
            raise CmeError("A receiver has a host, which is text, and a port from 1 to 65535.")
        yield {"sent": await asyncio.wrap_future(self._gateway.send_samples(host, port))}


async def _request(reader: asyncio.StreamReader) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readline()
    except ValueError:
        raise CmeError(f"A request has at most {LONGEST_REQUEST} bytes and ends with a line end.") from None
    except TimeoutError:
        raise CmeError(f"No request came within {REQUEST_S:.0f} s.") from None
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise CmeError('A request is one JSON object in a line, such as {"call": "status"}.')
    return request


def _named_values(values: object) -> Mapping[str, Any]:
    if not isinstance(values, dict) or not values:
        raise CmeError('The call takes "values", an object with a name and a value for each change.')
    return values


async def _send(writer: asyncio.StreamWriter, line: Mapping[str, Any]) -> None:
    # A sentence can quote half a surrogate pair that came as an escape: it goes back as one.
    writer.write(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
    async with asyncio.timeout(WRITE_S):
        await writer.drain()


def _is_owner(connection: socket.socket) -> bool:
    """Whether the client runs as the gateway's user or as root."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return uid in (os.geteuid(), 0)


def status_json(snapshot: Snapshot, now_ms: int) -> dict[str, Any]:
    """The gateway as the answer to `status` has it; times as ISO 8601 in UTC, null for never.

    `now_ms` is what its clock shows: a picture of a gateway in which nothing happens may be minutes old.
    """
    dlms = snapshot.dlms
    return {
        "name": snapshot.name,
        "serial": snapshot.serial,
        "system_title": snapshot.system_title,
        "version": snapshot.version,
        "state_dir": snapshot.state_dir,
        "demo": snapshot.demo,
        "time": iso(now_ms),
        "clock_offset_ms": snapshot.clock_offset_ms,
        "started": iso(snapshot.started_ms),
        "readout_interval": snapshot.readout_interval,
        "dlms": {
            "enabled": dlms.enabled,
            "host": dlms.host,
            "port": dlms.port,
            "listening": dlms.listening,
            "reason": dlms.reason,
            "authentication": dlms.authentication,
            "policy": dlms.policy,
            "frame_counter": dlms.frame_counter,
            "logical_devices": dlms.logical_devices,
        },
        "lines": [
            {
                "name": line.name,
                "url": line.url,
                "baud": line.baud,
                "state": line.state.value,
                "reason": line.reason,
                "since": iso(line.since_ms),
                "meters": line.meters,
                "sweep": _sweep(line.sweep),
                "next_sweep": iso(line.next_sweep_ms),
                "schedule": _schedule(line.schedule),
            }
            for line in snapshot.lines
        ],
        "meters": [_meter(meter) for meter in snapshot.meters],
        "associations": [_association(view) for view in snapshot.associations],
        "alarms": list(snapshot.alarms),
    }


def trace_json(entry: TraceEntry) -> dict[str, Any]:
    """An APDU as the answer to `trace` has it; in `apdu`, each byte that is not shown is `**`."""
    digits = [f"{byte:02x}" for byte in entry.apdu]
    for start, length in entry.hidden:
        digits[start : start + length] = ["**"] * length
    return {
        "id": entry.id,
        "time": iso(entry.time_ms),
        "peer": entry.peer,
        "client": entry.client_sap,
        "logical_device": entry.sap,
        "sent": entry.sent,
        "protection": entry.protection,
        "size": entry.size,
        "title": entry.title,
        "apdu": "".join(digits),
    }


def event_json(event: LogEntry) -> dict[str, Any]:
    """Something that happened on the DLMS port."""
    return {
        "id": event.id,
        "time": iso(event.time_ms),
        "peer": event.peer,
        "client": event.client_sap,
        "logical_device": event.sap,
        "event": event.event,
        "text": event.text,
    }


def _sweep(sweep: SweepView | None) -> dict[str, Any] | None:
    if sweep is None:
        return None
    return {
        "started": iso(sweep.started_ms),
        "finished": iso(sweep.finished_ms),
        "done": sweep.done,
        "failed": sweep.failed,
        "total": sweep.total,
    }


def _schedule(schedule: ScheduleView | None) -> dict[str, Any] | None:
    """`interval_s`, `cost_s` and `late_s` in seconds."""
    if schedule is None:
        return None
    return {
        "interval": schedule.interval,
        "interval_s": schedule.interval_s,
        "cost_s": round(schedule.cost_s, 3),
        "fits": schedule.fits,
        "sentence": schedule.sentence,
        "skipped": schedule.skipped,
        "late_s": schedule.late_s,
    }


def _meter(meter: MeterView) -> dict[str, Any]:
    return {
        "name": meter.name,
        "id": meter.identification,
        "manufacturer": meter.manufacturer,
        "version": meter.version,
        "medium": meter.medium,
        "line": meter.line,
        "address": meter.address,
        "logical_device": meter.logical_device,
        "state": meter.state.value,
        "reason": meter.reason,
        "last_reading": iso(meter.last_reading_ms),
        "next_try": iso(meter.next_try_ms),
        "mapping": meter.mapping,
    }


def _association(view: AssociationView) -> dict[str, Any]:
    return {
        "peer": view.peer,
        "client": view.client,
        "logical_device": view.logical_device,
        "channel": view.channel,
        "authentication": view.authentication,
        "ciphering": view.ciphering,
        "since": iso(view.since_ms),
        "last": iso(view.last_ms),
        "requests": view.requests,
        "errors": view.errors,
        "last_error": view.last_error,
    }


def _detail(detail: MeterDetail) -> dict[str, Any]:
    return {
        **_meter(detail.meter),
        "values": [
            {
                "description": value.description,
                "value": value.text if not value.error else None,
                "unit": value.unit,
                "error": value.error,
                "function": value.function,
                "storage": value.storage,
                "tariff": value.tariff,
                "subunit": value.subunit,
                "dib": value.dib,
                "obis": value.obis,
                "cosem": value.cosem,
            }
            for value in detail.values
        ],
    }
