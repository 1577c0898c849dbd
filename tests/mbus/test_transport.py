"""Lines of every kind: what they carry, how they are lost, and what their errors tell a technician."""

from __future__ import annotations

import asyncio
import os
import termios
from pathlib import Path

import pytest

from core.mbus.frame import ACK, snd_nke
from core.mbus.opener import open_transport
from core.mbus.simulator import (
    SimulatedBus,
    SimulatedMeter,
    SimulatedPty,
    open_simulated,
    read_telegrams,
    serve_tcp,
)
from core.mbus.transport import LineError, Transport
from tests.conftest import TELEGRAMS


@pytest.fixture
def bus() -> SimulatedBus:
    return SimulatedBus([SimulatedMeter(read_telegrams(TELEGRAMS / "frame2.hex"), address=5)])


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def lost(transport: Transport) -> str:
    async with asyncio.timeout(5):
        return await transport.lost()


async def test_serial_line_carries_both_ways(bus: SimulatedBus) -> None:
    """A pty opened as a serial port brings a request to the meter and its answer back."""
    pty = SimulatedPty(bus, 2400)
    line = await open_transport(f"serial:{pty.path}", 2400)
    line.write(snd_nke(5))
    assert await line.read(soon()) == ACK
    line.close()
    pty.close()


async def test_rate_of_an_open_serial_port_changes(bus: SimulatedBus) -> None:
    """The port goes on at the new rate without being opened again, and what was to be sent before it is sent."""
    pty = SimulatedPty(bus, 2400, fast=True)
    line = await open_transport(f"serial:{pty.path}", 2400)
    device = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    line.write(snd_nke(5))
    await line.set_baud(9600)
    assert termios.tcgetattr(device)[4:6] == [termios.B9600] * 2
    assert await line.read(soon()) == ACK
    line.write(snd_nke(5))
    assert await line.read(soon()) == ACK
    os.close(device)
    line.close()
    with pytest.raises(LineError, match="closed"):
        await line.set_baud(2400)
    pty.close()


async def test_rate_changes_only_where_the_way_to_the_bus_can(bus: SimulatedBus) -> None:
    """A simulated line takes any rate of an M-Bus; a plain TCP converter is fixed to its own, which is said."""
    line = open_simulated(bus, 300, fast=True)
    await line.set_baud(38400)
    line.write(snd_nke(5))
    assert await line.read(soon()) == ACK
    with pytest.raises(LineError, match="2000 baud is no rate"):
        await line.set_baud(2000)
    line.close()
    server = await serve_tcp(bus, 2400, fast=True)
    line = await open_transport(f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}", 2400)
    with pytest.raises(LineError, match="fixed by its level converter"):
        await line.set_baud(9600)
    line.close()
    server.close()


async def test_serial_port_in_use_is_refused(bus: SimulatedBus) -> None:
    """A second line is told that another one has the port, and gets it once that is free."""
    pty = SimulatedPty(bus, 2400)
    url = f"serial:{pty.path}"
    first = await open_transport(url, 2400)
    with pytest.raises(LineError, match="is in use by another line of this gateway"):
        await open_transport(url, 2400)
    first.close()
    await asyncio.sleep(0)  # the port is closed in the next round of the loop
    (await open_transport(url, 2400)).close()
    await asyncio.sleep(0)
    pty.close()


async def test_unplugged_adapter_is_noticed(bus: SimulatedBus) -> None:
    """A line whose device goes away is lost with a reason, also for a reader that waits."""
    pty = SimulatedPty(bus, 2400)
    line = await open_transport(f"serial:{pty.path}", 2400)
    reading = asyncio.ensure_future(line.read(soon()))
    await asyncio.sleep(0)
    pty.close()
    assert "unplugged" in await lost(line)
    with pytest.raises(LineError, match="unplugged"):
        await reading


async def test_what_is_no_serial_port_is_named(tmp_path: Path) -> None:
    """A missing device, a plain file and an impossible baud rate each have a sentence of their own."""
    with pytest.raises(LineError, match=r"There is no serial port .*ttyUSB77"):
        await open_transport(f"serial:{tmp_path}/ttyUSB77", 2400)
    file = tmp_path / "plain"
    file.write_text("")
    with pytest.raises(LineError, match="cannot be used as a serial port"):
        await open_transport(f"serial:{file}", 2400)
    with pytest.raises(LineError, match="2000 baud is no rate"):
        await open_transport(f"serial:{file}", 2000)


async def test_missing_permission_names_the_group(tmp_path: Path) -> None:
    """The sentence says that the user has to join the group of the device."""
    file = tmp_path / "tty"
    file.write_text("")
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(LineError, match="add this user to the group"):
            await open_transport(f"serial:{file}", 2400)
    finally:
        if root:
            os.seteuid(0)


async def test_tcp_line_carries_both_ways_and_notices_the_end(bus: SimulatedBus) -> None:
    """A level converter answers over TCP; when it closes the connection the line is lost."""
    server = await serve_tcp(bus, 2400, fast=True)
    port = server.sockets[0].getsockname()[1]
    line = await open_transport(f"tcp:127.0.0.1:{port}", 2400)
    line.write(snd_nke(5))
    assert await line.read(soon()) == ACK
    # The simulated converter serves one client: the next takes the line over.
    other = await open_transport(f"tcp:127.0.0.1:{port}", 2400)
    assert "closed the connection" in await lost(line)
    with pytest.raises(LineError):
        line.write(b"\x00")
    other.close()
    server.close()


async def test_unreachable_converters_are_told_apart() -> None:
    """A closed port, an unknown name and a malformed address give different advice."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(LineError, match="refuses the connection"):
        await open_transport(f"tcp:127.0.0.1:{port}", 2400)
    for name in ("no-such-host.invalid", "x" * 70, "a..b"):
        with pytest.raises(LineError, match="not known"):
            await open_transport(f"tcp:{name}:10001", 2400)
    for url in ("tcp:10001", "tcp:host", "tcp:host:0", "tcp:host:port", "udp:host:1", "serial:", ""):
        with pytest.raises(LineError, match="names no"):
            await open_transport(url, 2400)


async def test_a_simulated_line_can_have_telegrams_of_its_own(tmp_path: Path) -> None:
    """`sim:folder` leads to the telegrams in there; a folder without any is told, not played as the usual ones."""
    with pytest.raises(LineError, match="no telegrams"):
        await open_transport(f"sim:{tmp_path}", 38400)
    (tmp_path / "meter.hex").write_text((TELEGRAMS / "els_falcon.hex").read_text())
    line = await open_transport(f"sim:{tmp_path}", 38400)
    line.close()


async def test_simulated_line_needs_nothing() -> None:
    """`sim:` leads to the telegrams that come with the program."""
    line = await open_transport("sim:", 38400)
    line.write(snd_nke(254))
    assert await line.read(soon()) == ACK
    line.close()
    assert "closed" in await lost(line)


async def test_read_ends_at_its_deadline_and_what_was_unread_is_bounded() -> None:
    """Silence gives no bytes, and a line that chatters unheard keeps only the newest."""
    line = Transport(lambda data: None, lambda: None, 0.0)
    loop = asyncio.get_running_loop()
    assert await line.read(loop.time() + 0.01) == b""
    for number in range(100):
        line.deliver(bytes((number,)) * 100)
    unread = line.discard()
    assert len(unread) < 5000
    assert unread.endswith(b"\x63" * 100)
