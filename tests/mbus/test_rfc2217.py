"""Serial ports behind terminal servers, served by pyserial's side of RFC 2217."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator

import pytest
from terminal_server import Port, serve_port

from core.mbus import rfc2217
from core.mbus.address import PrimaryAddress
from core.mbus.frame import ACK, snd_nke
from core.mbus.master import Master
from core.mbus.opener import open_transport
from core.mbus.simulator import SimulatedBus, SimulatedMeter, SimulatedPty, read_telegrams
from core.mbus.telegram import decode
from core.mbus.transport import LineError
from tests.conftest import TELEGRAMS


@pytest.fixture
async def pty() -> AsyncIterator[SimulatedPty]:
    meter = SimulatedMeter(read_telegrams(TELEGRAMS / "frame2.hex"), address=5)
    pty = SimulatedPty(SimulatedBus([meter]), 2400, fast=True)
    yield pty
    pty.close()


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@contextlib.asynccontextmanager
async def peer(*says: bytes) -> AsyncIterator[str]:
    """A host that says each thing after it heard something; the URL of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for answer in says:
                await reader.read(1000)
                writer.write(answer)
            await reader.read()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"rfc2217:127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc2217, "_ANSWER_TIMEOUT", 0.3)


async def test_port_is_set_and_its_rate_changes(pty: SimulatedPty) -> None:
    """The server's port gets the rate, 8E1 and no flow control; a new rate holds without a new connection."""
    with serve_port(pty.path) as (port, ports):
        line = await open_transport(f"rfc2217:127.0.0.1:{port}", 2400)
        (served,) = ports
        assert (served.baudrate, served.bytesize, served.parity, served.stopbits) == (2400, 8, "E", 1)
        assert not served.rtscts
        assert not served.xonxoff
        line.write(snd_nke(5))
        assert await line.read(soon()) == ACK
        await line.set_baud(300)
        assert served.baudrate == 300
        line.write(snd_nke(5))
        assert await line.read(soon()) == ACK
        line.close()
        with pytest.raises(LineError, match="closed"):
            await line.set_baud(2400)


async def test_meter_is_read_through_a_terminal_server(pty: SimulatedPty) -> None:
    """A readout brings the meter's telegram."""
    with serve_port(pty.path) as (port, _):
        master = Master(f"rfc2217:127.0.0.1:{port}")
        master.start()
        (frame,) = (await master.read(PrimaryAddress(5))).frames
        assert decode(frame).identification == "12345678"
        await master.close()


async def test_every_byte_passes_both_ways() -> None:
    """Bytes that mean something to Telnet, also cut in two by the network, arrive as they were sent."""
    everything = bytes(range(256)) + b"\xff" * 5
    own, other = os.openpty()
    tty.setraw(other)
    loop = asyncio.get_running_loop()
    loop.add_reader(own, lambda: os.write(own, os.read(own, 1000)))  # the device sends back what it gets
    with serve_port(os.ttyname(other)) as (port, _):
        line = await open_transport(f"rfc2217:127.0.0.1:{port}", 2400)
        line.write(everything)
        back = b""
        while len(back) < len(everything):
            back += await line.read(soon()) or pytest.fail(f"only {back.hex()} came back")
        assert back == everything
        line.close()
    loop.remove_reader(own)
    os.close(own)
    os.close(other)


async def test_rate_that_the_server_lacks_is_refused_and_the_old_one_stays(pty: SimulatedPty) -> None:
    """The line goes on at its rate after a change that the server's port cannot do; opened with it, it is refused."""

    class Fixed(Port):
        fixed_rate = 9600

    with serve_port(pty.path, Fixed) as (port, _):
        with pytest.raises(LineError, match="does not set 2400 baud but 9600"):
            await open_transport(f"rfc2217:127.0.0.1:{port}", 2400)
        line = await open_transport(f"rfc2217:127.0.0.1:{port}", 9600)
        with pytest.raises(LineError, match="does not set 300 baud but 9600"):
            await line.set_baud(300)
        line.write(snd_nke(5))
        assert await line.read(soon()) == ACK
        line.close()


async def test_port_without_even_parity_is_refused(pty: SimulatedPty) -> None:
    """A port that stays without parity would garble every byte: the sentence says what M-Bus needs."""

    class Plain(Port):
        even_parity = False

    with serve_port(pty.path, Plain) as (port, _), pytest.raises(LineError, match="does not set even parity"):
        await open_transport(f"rfc2217:127.0.0.1:{port}", 2400)


@pytest.mark.usefixtures("impatient")
async def test_hosts_that_cannot_are_told_apart() -> None:
    """Plain TCP, Telnet without the option, silence on a setting and noise: each has its advice."""
    async with peer() as url:
        with pytest.raises(LineError, match="if it speaks plain TCP, use tcp:HOST:PORT"):
            await open_transport(url, 2400)
    async with peer(b"\xff\xfe\x2c") as url:  # DONT COM-PORT-OPTION
        with pytest.raises(LineError, match="switch RFC 2217 on there"):
            await open_transport(url, 2400)
    async with peer(b"\xff\xfd\x2c") as url:  # DO, and nothing further
        with pytest.raises(LineError, match="does not answer SET-DATASIZE"):
            await open_transport(url, 2400)
    async with peer(b"\xff\xfa\x2c" + bytes(500)) as url:  # a command without end
        with pytest.raises(LineError, match="if it speaks plain TCP"):
            await open_transport(url, 2400)
