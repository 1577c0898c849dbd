"""A gateway with one water meter, of real parts (store, security, event logs, mapping), and all of its objects."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from test_meter import Bench

from core.config import PushConfig, PushReportConfig
from core.cosem import obis
from core.cosem.codes import Codes
from core.cosem.devices import Device, Directory, GatewayFacts, meter_device
from core.cosem.objects import Context, CosemObject
from core.dlms import axdr
from core.dlms.axdr import Value
from core.events import Events
from core.mapping.simplified import Site
from core.profiles import MeterRows, RowCache
from core.security import Security
from core.store import Store

BERLIN = ZoneInfo("Europe/Berlin")
TITLE = bytes.fromhex("454C560000F42400")
SIGNATURE = bytes(range(32))
GATEWAY = "ELV0016000000"
METER = "ELS70112345070A"


class House:
    """A gateway with one water meter, its store and its event logs."""

    def __init__(self, store: Store, events: Events, security: Security, bench: Bench) -> None:
        self.store, self.events, self.security, self.bench = store, events, security, bench
        self.times: list[int] = []
        self.sent: list[tuple[str, int]] = []
        """Reports that clients asked for, and the device that they had selected."""
        self.facts = GatewayFacts(
            GATEWAY,
            TITLE,
            bench.clock,
            BERLIN,
            Codes(),
            push=PushConfig(
                "hes.example",
                reports=(
                    PushReportConfig("load_profile_1"),
                    PushReportConfig("load_profile_2", host="2001:db8::7", port=4060),
                    PushReportConfig("billing_profile", enabled=False, host="192.0.2.9"),
                    PushReportConfig("fraud_event_log", port=4061),
                    PushReportConfig("on_installation", host="192.0.2.8"),
                ),
            ),
            signature=SIGNATURE,
            set_time=lambda ms, _: self.times.append(ms),
            security=security,
            events=events,
            send_report=self._send,
        )
        self.directory = Directory(self.facts)
        self.show()

    async def _send(self, report: str, context: Context) -> None:
        self.sent.append((report, context.selected))

    def show(self) -> None:
        name = self.bench.meter.logical_device_name
        assert name is not None
        site = Site("0016000000", BERLIN)
        codes = self.facts.codes
        cache = RowCache()
        rows = {
            code: MeterRows(self.bench.meter, number, period, self.store, cache, site)
            for number, (code, period) in enumerate(
                [(codes.load_profile_1, 3600), (codes.load_profile_2, 86400), (codes.billing_profile, 0)], 1
            )
        }
        device = meter_device(self.facts, self.bench.meter, name, rows)
        self.directory.set_meters(self.facts, {device.sap: device})

    def context(self, sap: int, client: int = 1) -> Context:
        context = Context(client, sap, "192.0.2.7:51034", self.directory)
        context.local, context.client_title = "192.168.1.2", b"HES\x00\x00\x00\x00\x01"
        return context

    def device(self, sap: int) -> Device:
        device = self.directory.device(sap)
        assert device is not None
        return device

    def object(self, sap: int, code: str) -> CosemObject:
        (item,) = (item for item in self.device(sap).objects.values() if obis.text(item.logical_name) == code)
        return item

    async def get(self, sap: int, code: str, attribute: int = 2) -> Any:
        """The plain content of an attribute."""
        return plain(await self.typed(sap, code, attribute))

    async def typed(self, sap: int, code: str, attribute: int = 2) -> Value:
        got = self.object(sap, code).read(attribute, None, self.context(sap))
        return axdr.decode(got if isinstance(got, bytes) else await got)


def plain(value: Value) -> Any:
    """Lists of plain values."""
    return [plain(item) for item in value.content] if isinstance(value.content, list) else value.content
