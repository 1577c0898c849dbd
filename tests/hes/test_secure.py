"""Ciphered associations and HLS 5 between the client and a server of the real classes, and faults that are named."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from dlms_plant import KEYS, MANAGEMENT_NAME, PASSWORD, Plant

from cme_tui.hes.access import Access, Level
from cme_tui.hes.head_end import CLIENT_TITLE, FRAME_COUNTER, HeadEnd, HesError, RejectedError
from cme_tui.hes.rehearsal import Outcome, Rehearsal, Step
from core.cosem import obis
from core.cosem.objects import Data
from core.dlms import admission, axdr
from core.dlms.admission import Policy
from core.dlms.limits import ServerLimits

NAME = (1, "0.0.42.0.0.255")


@pytest.fixture
def plant() -> Plant:
    """One whose receive frame counter everybody can read."""
    plant = Plant(rows=20, lowest=admission.Level.NONE)
    plant.release_slow.set()
    counters = plant.access.counters
    frame_counter = Data(
        obis.parse(FRAME_COUNTER[1]),
        lambda: axdr.double_long_unsigned(max(0, counters.last(CLIENT_TITLE))),
        public=True,
    )
    management = plant.directory.by_sap[1]
    objects = {**management.objects, (1, frame_counter.logical_name): frame_counter}
    plant.directory.by_sap[1] = dataclasses.replace(management, objects=objects)
    return plant


@pytest.fixture
async def access(plant: Plant) -> AsyncIterator[Access]:
    """What fits the plant, which takes no time to refuse."""
    server = plant.server(ServerLimits(rejection=0.01, slowdown=0.01, slowdown_most=0.02))
    await server.start("127.0.0.1", 0)
    yield Access(
        "127.0.0.1", server.port, "none", False, PASSWORD.decode(), KEYS.encryption, KEYS.authentication
    )
    await server.stop()


async def name(head_end: HeadEnd) -> bytes:
    return bytes.fromhex((await head_end.get(*NAME, 2))["octets"])


@pytest.mark.parametrize("level", ["none", "low", "high"])
async def test_a_ciphered_association_reads_what_a_plain_one_does(
    level: Level, plant: Plant, access: Access
) -> None:
    """Under the policy that wants everything ciphered; the second one goes on with the counter."""
    plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
    async with HeadEnd(dataclasses.replace(access, ciphered=True)) as head_end:
        for _ in range(2):
            assert "invocation counter from" in await head_end.associate(level)
            assert await name(head_end) == MANAGEMENT_NAME.encode()
            assert len(await head_end.objects()) == 6
            await head_end.release()
    assert plant.access.counters.accepted[CLIENT_TITLE] > 4


@pytest.mark.parametrize("key", ["encryption_key", "authentication_key"])
async def test_a_wrong_key_is_named(key: str, access: Access) -> None:
    """What a technician sees who has typed a key wrongly into the head-end system."""
    wrong = dataclasses.replace(access, **{key: bytes(16)})  # type: ignore[arg-type]
    async with HeadEnd(wrong) as head_end:
        with pytest.raises(HesError, match="deciphering-error"):
            await head_end.associate("high")


async def test_the_policy_refuses_a_plain_association_by_name(plant: Plant, access: Access) -> None:
    """A head-end system that does not cipher is told why it does not get in."""
    plant.access.protection = Policy.AUTHENTICATED_ENCRYPTED
    async with HeadEnd(access) as head_end:
        with pytest.raises(RejectedError, match="application-context-name-not-supported"):
            await head_end.associate("low")


async def test_a_rehearsal_names_each_fault(access: Access) -> None:
    """A clock that is wrong and registers without a value fail by name, everything else passes."""
    steps = {step.name: step async for step in Rehearsal(access).steps()}
    for level in ("no authentication", "low (LLS)", "high (HLS 5 GMAC)"):
        assert steps[f"management, {level}"].outcome is Outcome.PASSED, steps[f"management, {level}"].text
    failed = {name: step.text for name, step in steps.items() if step.outcome is Outcome.FAILED}
    assert set(failed) == {"clock", "device 16: values", "device 17: values"}
    assert "set the clock" in failed["clock"]
    summary, *others = failed["device 16: values"].splitlines()
    assert summary.startswith("8-0:3.0.0 register, attribute 2: other-reason, and 1 more")
    assert "8-0:5.0.0 register, attribute 2: temporary-failure" in others
    assert_passed(steps["device 16: profiles"], "1-0:99.1.0: 20 rows")


def assert_passed(step: Step, text: str) -> None:
    assert step.outcome is Outcome.PASSED, step.text
    assert text in step.text
