"""What is put into the outbox: the rows and events of each device as they are in the store, once, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from push_samples import NOON, ciphered
from report_plant import ADDRESS, SITE, WATER, ZONE, Plant, at, opened, times, water

from core.config import MeterConfig
from core.dlms import axdr
from core.dlms.axdr import Tag
from core.errors import CmeError
from core.interval import Interval
from core.mbus.telegram import decode
from core.meter import Meter
from core.profiles import MeterRows
from core.push import notification
from core.store import Event, Log
from core.store.outbox import NotificationState

LP1 = "load_profile_1"
LOG = "standard_event_log"
MOMENT = at("2025-10-24 10:08")
MINUTE = 60_000
VOLUME = "8.0.1.0.0.255"


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with opened(tmp_path) as made:
        await made.install(1)
        for kind in (LP1, LOG):
            made.report(kind, "every 1 min")  # type: ignore[arg-type]
        await made.turn()
        yield made


async def bodies(plant: Plant) -> list[list[Any]]:
    """What is in the outbox, as A-XDR values."""
    waiting = await plant.store.outbox.waiting((LP1, LOG), 1000, 1 << 40)
    return [axdr.decode(each.body).content for each in waiting]  # type: ignore[misc]


async def test_a_notification_has_the_values_of_the_telegrams(plant: Plant) -> None:
    """Names, times and numbers with their units, exactly; and stands in the ledger with what it holds."""
    found = await plant.read_and_turn(MOMENT, MOMENT + MINUTE)
    assert [(each.type, each.gateway, each.meter) for each in found] == [
        (LP1, "ELV0016000000", "ELS20000001070A")
    ] * 2
    assert [(each.setup, each.object) for each in found] == [("0.1.25.9.0.255", "1.0.99.1.0.255")] * 2
    (latest,) = (await plant.store.latest_all()).values()
    row = found[1].rows[0]
    assert row.time == datetime.fromtimestamp((MOMENT + MINUTE) / 1000, ZONE)
    volume = next(reading for reading in row.readings if reading.object == VOLUME)
    record = decode(latest.frames[0]).records[0]
    assert (volume.value, volume.unit) == (record.value, "m³")
    (newest, _) = await plant.store.outbox.ledger(2)
    assert (newest.meter, newest.sap, newest.rows) == (plant.meters[0].key, 16, 1)
    assert newest.first_ms == newest.last_ms == MOMENT + MINUTE
    assert newest.setup == plant.facts.codes.push_load_profile_1


async def test_more_than_180_rows_are_several_notifications_in_order(plant: Plant) -> None:
    """Of what was unsent when the report had begun there is no bound; each holds 180 rows at most."""
    moments = [MOMENT + n * 1000 for n in range(1000)]
    for plant.clock.ms in moments:
        await plant.read(*plant.meters)
    found = await plant.turn()
    assert [len(each.rows) for each in found] == [180, 180, 180, 180, 180, 100]
    assert times(found) == moments


async def test_what_the_mapping_keeps_out_of_pushes_is_in_none(plant: Plant) -> None:
    """includeInPush NONE of one entry leaves the others; of all of them, the rows wait until one is taken in."""
    whole = {
        reading.object for each in await plant.read_and_turn(MOMENT) for reading in each.rows[0].readings
    }
    plant.clock.ms = MOMENT + MINUTE
    kept_out = {True: "NONE", False: "ALL"}
    without = water(lambda entry: {**entry, "includeInPush": kept_out[entry["dlmsObisCode"] == VOLUME]})
    await plant.read(*plant.meters, mapping=without)
    (found,) = await plant.turn()
    assert {reading.object for reading in found.rows[0].readings} == whole - {VOLUME}
    plant.clock.ms += MINUTE
    await plant.read(*plant.meters, mapping=water(lambda entry: {**entry, "includeInPush": "NONE"}))
    assert await plant.turn() == []
    plant.meters[0].remap(WATER)
    assert times(await plant.turn(plant.clock.ms + MINUTE)) == [MOMENT + 2 * MINUTE]


async def test_a_meter_without_a_mapping_waits_for_one(plant: Plant) -> None:
    """Its rows follow, all of them, with the slot after it is mapped; the rows of others do not wait."""
    (other,) = await plant.install(1)
    for plant.clock.ms in (MOMENT, MOMENT + MINUTE):
        await plant.read(plant.meters[0])
        await plant.read(other, mapping=None)
        assert [each.meter for each in await plant.turn()] == ["ELS20000001070A"]
    other.remap(WATER)
    (found,) = await plant.turn(MOMENT + 2 * MINUTE)
    assert (found.meter, times([found])) == ("ELS20000002070A", [MOMENT, MOMENT + MINUTE])


async def test_a_meter_that_has_not_said_who_it_is_waits_for_that(plant: Plant) -> None:
    """A head-end knows meters by their names; its events wait too."""
    (other,) = await plant.install(1)
    config = MeterConfig(line="cellar", address=7, logical_device=99)
    nameless = Meter(other.key, config, site=SITE, clock=plant.clock, read=plant.never, keys={})
    plant.meters[1] = nameless
    await plant.event(30, "silent", nameless)
    assert await plant.turn(MOMENT) == []
    await plant.read(nameless)
    found = await plant.turn(MOMENT + MINUTE)
    assert [(each.type, each.meter) for each in found] == [
        (LP1, "XXX000000990000"),
        (LOG, "XXX000000990000"),
    ]


async def test_a_disabled_meter_still_tells_what_it_has_read(plant: Plant) -> None:
    """One that was removed does not, until it comes back."""
    one, two = plant.meters[0], (await plant.install(1))[0]
    plant.clock.ms = MOMENT
    await plant.read(one, two)
    one.configure(replace(one.config, enabled=False), SITE, {})
    await plant.store.remove_meter(two.key, MOMENT)
    plant.meters.remove(two)
    assert [each.meter for each in await plant.turn()] == ["ELS20000001070A"]
    await plant.store.install_meter("cellar", str(two.config.address), MOMENT)
    plant.meters.append(two)
    assert [each.meter for each in await plant.turn(MOMENT + MINUTE)] == ["ELS20000002070A"]


async def test_a_notification_stays_as_it_was_made(plant: Plant) -> None:
    """A mapping, a zone or a name that changes afterwards changes those that are made then."""
    plant.clock.ms = MOMENT
    await plant.read(*plant.meters)
    await plant.scheduler.turn()
    before = await bodies(plant)
    plant.meters[0].remap(water(lambda entry: entry if entry["dlmsObisCode"] == VOLUME else None))
    plant.facts.name = "ELV0016000001"
    await plant.scheduler.turn()
    assert await bodies(plant) == before
    await plant.taken()
    plant.clock.ms = MOMENT + MINUTE
    await plant.read(*plant.meters, mapping=plant.meters[0].mapping)
    (found,) = await plant.turn()
    assert found.gateway == "ELV0016000001"
    assert {reading.object for reading in found.rows[0].readings} == {VOLUME}


async def test_a_row_that_fits_into_no_notification_waits_and_stops_nobody_else(plant: Plant) -> None:
    """Who looks is told which meter; with more room all of it follows."""
    (small,) = await plant.install(1)
    plant.config = replace(plant.config, max_size=256)
    for kind in (LP1, "load_profile_2"):
        plant.report(kind, "every 1 min", last_rows=0 if kind == LP1 else 1)  # type: ignore[arg-type]
    few = water(lambda entry: entry if entry["dlmsObisCode"] == VOLUME else None)
    await plant.turn()
    for plant.clock.ms in (MOMENT, MOMENT + MINUTE):
        await plant.read(plant.meters[0])
        await plant.read(small, mapping=few)
        found = await plant.turn()
        assert {(each.type, each.meter) for each in found} == {
            (LP1, "ELS20000002070A"),
            ("load_profile_2", "ELS20000002070A"),
        }
        assert set(plant.reports.problems) == {
            (LP1, plant.meters[0].key),
            ("load_profile_2", plant.meters[0].key),
        }
        problem = plant.reports.problems[LP1, plant.meters[0].key]
        assert plant.meters[0].name in problem
        assert "does not fit" in problem
    plant.config = replace(plant.config, max_size=65_535)
    found = [each for each in await plant.turn(MOMENT + 2 * MINUTE) if each.type == LP1]
    assert times(found) == [MOMENT, MOMENT + MINUTE]
    assert plant.reports.problems == {}


async def test_a_device_whose_rows_cannot_be_worked_out_stops_nobody_else(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even for a reason that nobody foresaw; it is told which device, and all follows when the cause is gone."""
    (other,) = await plant.install(1)
    plant.clock.ms = MOMENT
    await plant.read(*plant.meters)
    whole = plant.rows

    def rows(meter: Meter, profile: int) -> MeterRows:
        if meter is not other:
            raise ZeroDivisionError
        return whole(meter, profile)

    plant.rows = rows  # type: ignore[method-assign]
    await plant.start()
    (found,) = await plant.turn()
    assert found.meter == "ELS20000002070A"
    assert plant.meters[0].name in plant.reports.problems[LP1, plant.meters[0].key]
    assert "ZeroDivisionError" in caplog.text
    plant.rows = whole  # type: ignore[method-assign]
    await plant.start()
    (found,) = await plant.turn(MOMENT + MINUTE)
    assert times([found]) == [MOMENT]
    assert found.meter == "ELS20000001070A"


async def test_no_notification_is_larger_than_its_receiver_takes(plant: Plant) -> None:
    """Ciphered or not, whatever the number of rows."""
    plant.config = replace(plant.config, max_size=1000)
    for n in range(100):
        plant.clock.ms = MOMENT + n * 1000
        await plant.read(*plant.meters)
    await plant.scheduler.turn()
    waiting = await plant.store.outbox.waiting((LP1,), 1000, 1 << 40)
    apdus = [ciphered(notification.encode(each.id, NOON, each.body), each.id) for each in waiting]
    assert len(apdus) > 5
    assert max(map(len, apdus)) <= 1000
    assert len(times(await plant.taken())) == 100


async def test_a_profile_that_is_cut_anew_sends_nothing_twice(plant: Plant) -> None:
    """Rows that were sent are not sent again in another cut; those of new readings come as they are cut then."""
    start = at("2025-10-24 11:00")
    moments = [start + n * 15 * MINUTE for n in range(8)]
    sent = await plant.read_and_turn(*moments[:4])
    assert times(sent) == moments[:4]
    await plant.store.set_profiles({1: Interval.parse("30 min")}, ZONE)
    assert times(await plant.read_and_turn(*moments[4:])) == moments[4::2]
    await plant.store.set_profiles({1: Interval.parse("15 min")}, ZONE)
    assert times(await plant.turn(moments[-1] + MINUTE)) == [moments[-1]]


async def test_each_log_goes_in_its_own_notification(plant: Plant) -> None:
    """That of the gateway with its set-up, those of meters with who they are; times and codes as they are kept."""
    (odd,) = await plant.install(1, version=200, medium=0xF1)
    plant.clock.ms = MOMENT
    await plant.event(2, "Started.")
    await plant.event(4255, "status FF", odd)
    await plant.event(4004, "status 04", plant.meters[0])
    found = {each.meter: each for each in await plant.turn()}
    assert {name: [event.code for event in each.events] for name, each in found.items()} == {
        "": [2],
        "ELS20000001070A": [4004],
        "ELS20000002F1C8": [4255],
    }
    assert all(times([each]) == [MOMENT] for each in found.values())
    assert found[""].setup == "0.4.25.9.0.255"
    assert found["ELS20000002F1C8"].setup == "0.5.25.9.0.255"
    told = [(each.manufacturer, each.device_type, each.version) for each in found.values() if each.meter]
    assert sorted(told) == [("ELS", 7, 10), ("ELS", 241, 200)]
    messages = {event.message for each in found.values() for event in each.events}
    assert messages == {"Started.", "status FF", "status 04"}


async def test_events_carry_messages_and_short_codes_where_that_is_set(plant: Plant) -> None:
    """A code above 255 stays long; a message that fits into no notification is left out, and the event is not."""
    plant.config = replace(plant.config, event_messages=True, short_event_codes=True, max_size=256)
    plant.clock.ms = MOMENT
    await plant.event(47, "dlms.port")
    await plant.event(4000, "m" * 200, plant.meters[0])
    await plant.scheduler.turn()
    gateway, meter = await bodies(plant)
    assert gateway[3].content[0].content[2].tag == Tag.UNSIGNED
    assert gateway[3].content[0].content[3].content == "dlms.port"
    (event,) = meter[7].content
    assert (event.content[2].tag, event.content[2].content) == (Tag.LONG_UNSIGNED, 4000)
    assert len(event.content) == 3
    assert plant.reports.problems == {}


async def test_events_that_nobody_took_stay_in_their_log(plant: Plant) -> None:
    """Ten times as many as the log holds otherwise; all of them arrive, in order."""
    meter = plant.meters[0]
    count = 900
    await plant.store.add_events(
        [Event(meter.key, Log.STANDARD, MOMENT + n, 4000 + n % 256, "") for n in range(count)]
    )
    found = await plant.turn(MOMENT + MINUTE)
    assert [event.code for each in found for event in each.events] == [4000 + n % 256 for n in range(count)]


async def test_a_time_range_is_sent_again_on_request(plant: Plant) -> None:
    """Both ends included, of the devices that were named; what is unsent stays so."""
    (other,) = await plant.install(1)
    moments = [MOMENT + n * MINUTE for n in range(5)]
    await plant.read_and_turn(*moments)
    plant.clock.ms += MINUTE
    await plant.read(*plant.meters)
    count = await plant.reports.put_range(LP1, [other.key], moments[1], moments[3])
    assert count == 1
    (found,) = await plant.taken()
    assert (found.meter, times([found])) == ("ELS20000002070A", moments[1:4])
    (row,) = await plant.store.outbox.ledger(1)
    assert (row.manual, row.state) == (True, NotificationState.DELIVERED)
    assert times(await plant.turn(plant.clock.ms + MINUTE)) == [plant.clock.ms - MINUTE] * 2


async def test_a_request_that_finds_no_room_says_so(plant: Plant) -> None:
    """And says how much of it is on its way."""
    await plant.read_and_turn(MOMENT)
    plant.config = replace(plant.config, outbox_mb=0)
    with pytest.raises(CmeError, match="first 0 notifications"):
        await plant.reports.put_range(LP1, [plant.meters[0].key], MOMENT, MOMENT)
    with pytest.raises(CmeError, match="full"):
        await plant.reports.put_test(LP1, ADDRESS)
    with pytest.raises(CmeError, match="full"):
        await plant.reports.put_test("on_installation", ADDRESS)
    assert await plant.taken() == []


async def test_a_test_sends_the_newest_row_of_the_first_device_that_has_one(plant: Plant) -> None:
    """And nothing where nobody has one."""
    (read,) = await plant.install(1)
    assert await plant.reports.put_test(LP1, ADDRESS) == 0
    for plant.clock.ms in (MOMENT, MOMENT + MINUTE):
        await plant.read(read)
    assert await plant.reports.put_test(LP1, ADDRESS) == 1
    (found,) = await plant.taken()
    assert (found.meter, times([found])) == ("ELS20000002070A", [MOMENT + MINUTE])
