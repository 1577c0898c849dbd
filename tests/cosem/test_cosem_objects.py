"""Interface classes: attributes, rights and versions as the object list shows them."""

from __future__ import annotations

import pytest
from dlms_plant import ASSOCIATION, CHANNEL, CLOCK, NAME, NOTE, PROFILE, SAPS, VOLUME, Plant

from core.cosem import obis
from core.cosem.objects import (
    AssociationLN,
    Context,
    CosemObject,
    Data,
    DataAccessError,
    DataAccessResult,
    Register,
)
from core.dlms import axdr
from core.dlms.axdr import Value
from core.dlms.errors import EncodeError


def listed(
    context: Context,
) -> dict[tuple[int, bytes], tuple[int, list[int], list[int], dict[int, list[int]]]]:
    """The object list: version, attribute rights, method rights, selectors."""
    found = {}
    encoded = AssociationLN().read(2, None, context)
    assert isinstance(encoded, bytes)
    for entry in _items(axdr.decode(encoded)):
        class_id, version, name, rights = _items(entry)
        attributes, methods = ([_items(right) for right in _items(kind)] for kind in _items(rights))
        assert [right[0].content for right in attributes] == list(range(1, len(attributes) + 1))
        found[class_id.content, name.content] = (
            version.content,
            [right[1].content for right in attributes],
            [right[1].content for right in methods],
            {r[0].content: [s.content for s in r[2].content] for r in attributes if r[2].content},  # type: ignore[union-attr]
        )
    return found  # type: ignore[return-value]


def _items(value: Value) -> list[Value]:
    assert isinstance(value.content, list)
    return value.content


def test_the_management_client_sees_every_object_with_its_rights() -> None:
    """Class versions of the Blue Book; 1 = read, 2 = write, 3 = both; of the methods only reply_to_HLS is granted."""
    found = listed(Context(1, 16, "test", Plant().directory))
    assert found[17, SAPS] == (0, [1, 1], [0], {})
    assert found[15, ASSOCIATION] == (1, [1, 1, 1, 1, 1, 1, 0, 1, 1], [1, 0, 0, 0], {})
    assert found[8, CLOCK] == (0, [1, 3, 1, 1, 1, 1, 1, 1, 1], [0] * 6, {})
    assert found[1, NAME] == (0, [1, 1], [], {})
    assert found[1, CHANNEL] == (0, [1, 3], [], {})
    assert found[1, NOTE] == (0, [1, 3], [], {})
    assert found[3, VOLUME] == (0, [1, 1, 1], [0], {})
    assert found[7, PROFILE] == (1, [1] * 8, [0, 0], {2: [1, 2]})


def test_the_public_client_sees_what_is_public_and_writes_nothing() -> None:
    """No right to anything else, and it is not listed either."""
    found = listed(Context(16, 16, "test", Plant().directory))
    assert set(found) == {(17, SAPS), (15, ASSOCIATION), (8, CLOCK), (1, NAME)}
    assert all(set(rights) <= {0, 1} for _, rights, _, _ in found.values())


def test_any_other_client_has_no_right_at_all() -> None:
    """Even if an association let it in."""
    assert listed(Context(3, 16, "test", Plant().directory)) == {}


def test_the_secret_is_written_and_never_read() -> None:
    """Association LN, attribute 7, for the management client only."""
    secrets: list[object] = []
    association = AssociationLN(set_secret=lambda value, _: secrets.append(value.content))
    assert association.access(1).attributes[6] == 2
    assert association.access(16).attributes[6] == 0
    context = Context(1, 1, "test", Plant().directory)
    association.write(7, axdr.decode(axdr.octet_string(b"new secret")), context)
    assert secrets == [b"new secret"]
    with pytest.raises(DataAccessError) as refusal:
        association.read(7, None, context)
    assert refusal.value.code is DataAccessResult.READ_WRITE_DENIED


def test_the_association_describes_itself() -> None:
    """Partners, context name, what was agreed, mechanism, status, security setup."""
    context = Context(1, 16, "test", Plant().directory)
    context.conformance, context.client_pdu, context.server_pdu, context.mechanism = 0x00121C, 1024, 8192, 1
    association = AssociationLN()
    expected = {
        3: "02020f01120010",
        4: "02071102111012 02f4 1105110811011101",
        5: "0206041800121c12200012040011060f000900",
        6: "02071102111012 02f4 1105110811021101",
        8: "1602",
        9: "090600002b0000ff",
    }
    for attribute, text in expected.items():
        assert association.read(attribute, None, context) == bytes.fromhex(text), attribute
    context.ciphered, context.mechanism = True, 5
    assert association.read(4, None, context) == bytes.fromhex(expected[4])[:-1] + b"\x03"
    assert association.read(6, None, context) == bytes.fromhex(expected[6])[:-1] + b"\x05"


def test_reply_to_hls_is_over_once_the_association_is_open() -> None:
    """The association answers method 1 itself while it opens; afterwards, and for the others, it is refused."""
    association = AssociationLN()
    assert association.access(1).methods == (True, False, False, False)
    assert not any(association.access(16).methods)
    for method in (1, 2, 3, 4):
        with pytest.raises(DataAccessError, match="read-write-denied"):
            association.act(
                method, axdr.decode(axdr.octet_string(bytes(17))), Context(1, 1, "", Plant().directory)
            )


def test_the_object_list_follows_the_device() -> None:
    """It is kept for each client while the device is the same, and not a moment longer."""
    plant = Plant()
    association = AssociationLN()
    management, public = (Context(client, 16, "", plant.directory) for client in (1, 16))
    before = association.read(2, None, management)
    assert association.read(2, None, management) is before
    assert association.read(2, None, public) != before
    device = plant.directory.by_sap[16]
    extra = Data(bytes((8, 0, 99, 0, 0, 255)), axdr.unsigned(1))
    objects = {**device.objects, (1, extra.logical_name): extra}
    plant.directory.by_sap[16] = type(device)(16, device.name, objects)
    after = association.read(2, None, management)
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    assert after[2:].startswith(before[2:])
    assert extra.logical_name in after
    management.select(17)
    assert extra.logical_name not in association.read(2, None, management)  # type: ignore[operator]


def test_many_devices_do_not_fill_the_memory_with_their_lists() -> None:
    """Only the lists read last are kept."""
    association = AssociationLN()
    plant = Plant()
    device = plant.directory.by_sap[16]
    context = Context(1, 16, "", plant.directory)
    first = association.read(2, None, context)
    for _ in range(100):
        plant.directory.by_sap[16] = type(device)(16, device.name, dict(device.objects))
        association.read(2, None, context)
    plant.directory.by_sap[16] = device
    again = association.read(2, None, context)
    assert again == first
    assert again is not first


@pytest.mark.parametrize("exponent", [-128, -3, 0, 3, 6, 9, 12, 127])
def test_a_scaler_is_what_it_is(exponent: int) -> None:
    """10^3 is 3, not 2."""
    register = Register(VOLUME, axdr.long(1), exponent, 30)
    context = Context(1, 16, "test", Plant().directory)
    assert register.read(3, None, context) == bytes((2, 2, 15, exponent & 0xFF, 22, 30))


def test_a_scaler_that_does_not_exist_is_refused_when_the_register_is_made() -> None:
    """Not when a client reads it."""
    with pytest.raises(EncodeError):
        Register(VOLUME, axdr.long(1), 128, 30)


def test_a_value_may_come_from_a_function_or_an_async_function() -> None:
    """What is awaited is left to whoever can wait."""
    context = Context(1, 16, "test", Plant().directory)

    async def later() -> bytes:
        return axdr.unsigned(3)

    assert Data(NAME, axdr.unsigned(1)).read(2, None, context) == axdr.unsigned(1)
    assert Data(NAME, lambda: axdr.unsigned(2)).read(2, None, context) == axdr.unsigned(2)
    waiting = Data(NAME, later).read(2, None, context)
    assert not isinstance(waiting, bytes)
    with pytest.raises(StopIteration) as end:
        waiting.__await__().__next__()
    assert end.value.value == axdr.unsigned(3)


def test_a_logical_name_has_six_numbers() -> None:
    """As text and as bytes; anything else is an error that shows a right one."""
    assert obis.parse(" 0.128.1.0.0.255 ") == bytes((0, 128, 1, 0, 0, 255))
    assert obis.text(VOLUME) == "8.0.1.0.0.255"
    for wrong in ("", "1.2.3.4.5", "1.2.3.4.5.6.7", "1.2.3.4.5.256", "a.2.3.4.5.6", "-1.2.3.4.5.6", "²"):
        with pytest.raises(obis.ObisError, match=r"8\.0\.1\.0\.0\.255"):
            obis.parse(wrong)
    with pytest.raises(ValueError, match="6 bytes"):
        CosemObject(b"12345", ())
