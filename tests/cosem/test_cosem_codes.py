"""The logical names that are this product's own choice: each can be overridden, none can take another's place."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from core.config import ConfigError
from core.cosem import codes, obis
from core.cosem.codes import Codes
from core.cosem.devices import meter_device
from tests.cosem.house import METER, House

CHOSEN = {
    "gateway_name": "0.128.42.0.0.255",
    "meter_firmware_version": "1.0.0.2.0.255",
    "meter_manufacturer": "0.0.96.1.1.255",
    "meter_device_type": "0.0.96.1.2.255",
    "load_profile_1": "1.0.99.1.0.255",
    "load_profile_2": "1.0.99.2.0.255",
    "billing_profile": "0.0.98.1.0.255",
    "push_load_profile_1": "0.1.25.9.0.255",
    "push_load_profile_2": "0.2.25.9.0.255",
    "push_billing_profile": "0.3.25.9.0.255",
    "push_standard_event_log": "0.5.25.9.0.255",
    "push_fraud_event_log": "0.6.25.9.0.255",
}

PROFILES = {"load_profile_1", "load_profile_2", "billing_profile"}  # whoever has their rows names their codes


def test_without_settings_the_codes_are_those_of_the_table() -> None:
    """Nothing else can be overridden."""
    assert {name: obis.text(code) for name, code in asdict(codes.resolve({})).items()} == CHOSEN


@pytest.mark.parametrize("name", sorted(set(CHOSEN) - PROFILES))
async def test_a_code_that_is_overridden_moves_the_object(house: House, name: str) -> None:
    """The object is there under the new code and no longer under the old one, and is the same."""
    chosen = codes.resolve({name: "0.99.96.1.9.255"})
    facts = replace(house.facts, codes=chosen)
    moved = meter_device(facts, house.bench.meter, METER, {}).objects
    (item,) = (item for (_, code), item in moved.items() if code == obis.parse("0.99.96.1.9.255"))
    assert (item.class_id, getattr(Codes(), name)) not in moved
    assert type(item) is type(house.object(16, CHOSEN[name]))


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"gateway_nam": "0.0.96.1.9.255"}, '"gateway_nam"; did you mean gateway_name?'),
        ({"billing_profile": "1.0.99.1.0.255"}, "load_profile_1 and billing_profile the same code"),
        ({"push_load_profile_1": "0.0.43.0.0.255"}, "push_load_profile_1 the code 0.0.43.0.0.255"),
        ({"meter_device_type": "0.0.42.0.0.255"}, "meter_device_type the code 0.0.42.0.0.255"),
    ],
)
def test_a_code_that_is_taken_or_a_name_that_is_not_there_is_refused(
    overrides: dict[str, str], part: str
) -> None:
    """The sentence names the file, the key and what is wrong."""
    with pytest.raises(ConfigError) as refusal:
        codes.resolve(overrides)
    assert str(refusal.value).startswith("config.toml: [obis]")
    assert part in str(refusal.value)


def test_two_codes_can_be_swapped() -> None:
    """Load profile 1 and 2, as another product has them."""
    swapped = codes.resolve({"load_profile_1": "1.0.99.2.0.255", "load_profile_2": "1.0.99.1.0.255"})
    assert (swapped.load_profile_1, swapped.load_profile_2) == (
        Codes().load_profile_2,
        Codes().load_profile_1,
    )
