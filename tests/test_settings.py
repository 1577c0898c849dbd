"""Settings one by one: what is shown of each, what can be typed for it, and saving with a way back."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from core.config import Config, ConfigError, DlmsConfig, load_config, parse_config
from core.config_file import ConfigFile
from core.cosem.dialect import find
from core.settings import Setting, lowered, settings, typed

ALL = {each.name: each for each in settings(Config())}
BAD = {
    "gateway.flag_id": ["ELVE", "elv", "", "E1V"],
    "gateway.name": ["x" * 65, "two\nlines"],
    "gateway.timezone": ["Mars/Olympus", "../../etc/passwd", "/etc/localtime"],
    "dlms.host": ["", "two words"],
    "push.host": ["two words"],
}
GOOD = {
    "gateway.flag_id": ["KAM"],
    "gateway.name": ["", "Keller 4", "x" * 64],
    "gateway.timezone": ["", "Europe/Stockholm", "UTC"],
    "dlms.host": ["::1", "192.0.2.7", "meters.example"],
    "push.host": ["", "192.0.2.7"],
    "dlms.port": ["1", "65535"],
    "dlms.inactivity_timeout": ["10", "86400"],
    "dlms.max_connections": ["1", "1000"],
    "push.port": ["1", "65535"],
    "push.client_sap": ["1", "65535"],
}
BAD_NUMBERS = ["0", "-1", "1.5", "", "many", "99999999", "0x10"]


def of(config: Config, name: str) -> Setting:
    return next(each for each in settings(config) if each.name == name)


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    """One with the shortest readout interval, of which every profile interval is a multiple."""
    file = ConfigFile(tmp_path / "config.toml")
    file.path.write_text('# Kellerweg 4\n[readout]\ninterval = "5 min"\n')
    return file


def test_every_key_of_the_plain_tables_is_a_setting() -> None:
    """Value and default as the file has them, what is allowed in words, and what there is to choose from."""
    names = [f"{table}.{key.name}" for table in ("gateway", "dlms", "profiles", "readout", "push")
             for key in dataclasses.fields(getattr(Config(), table)) if key.name != "reports"]  # fmt: skip
    assert [name for name in ALL if not name.startswith("obis.")] == names
    port = ALL["dlms.port"]
    assert (port.table, port.key, port.value, port.default) == ("dlms", "port", 4059, 4059)
    assert port.allowed == "a whole number from 1 to 65535"
    assert ALL["readout.interval"].choices[:2] == ("5 min", "10 min")
    assert ALL["profiles.billing_profile"].choices[-2:] == ("1 week", "1 month")
    assert ALL["dlms.policy"].choices == ("none", "authenticated-encrypted")
    assert ALL["dlms.enabled"].choices == ("true", "false")
    assert [name for name, each in ALL.items() if each.fixed] == ["gateway.serial"]
    changed = parse_config('[dlms]\nport = 4060\n[obis]\nload_profile_1 = "1.0.99.9.0.255"\n', Path("x"))
    assert (of(changed, "dlms.port").value, of(changed, "dlms.port").default) == (4060, 4059)
    assert of(changed, "obis.load_profile_1").value == "1.0.99.9.0.255"


def test_a_dialect_gives_its_codes_as_the_defaults() -> None:
    """What [obis] sets goes over them; the dialects to choose from are those that there are."""
    assert ALL["dlms.dialect"].choices == ("en13757", "idis")
    config = parse_config(
        '[dlms]\ndialect = "idis"\n[obis]\nbilling_profile = "0.0.98.1.0.255"\n', Path("config.toml")
    )
    idis = find("idis", Path("/nowhere"))
    found = {each.name: each for each in settings(config, idis, ("en13757", "idis", "mine"))}
    assert (found["dlms.dialect"].value, found["dlms.dialect"].allowed) == (
        "idis",
        "one of en13757, idis, mine",
    )
    for name, value, default in (
        ("load_profile_1", "0.1.24.3.0.255", "0.1.24.3.0.255"),
        ("billing_profile", "0.0.98.1.0.255", "0.1.24.3.2.255"),
        ("gateway_name", "0.128.42.0.0.255", "0.128.42.0.0.255"),
    ):
        assert (found[f"obis.{name}"].value, found[f"obis.{name}"].default) == (value, default)


@pytest.mark.parametrize("name", [name for name, each in ALL.items() if not each.fixed])
def test_every_setting_takes_what_it_says(file: ConfigFile, name: str) -> None:
    """Its default, each of its choices, and the ends of its range; read back as what was typed."""
    good = [*ALL[name].choices, *GOOD.get(name, []), str(ALL[name].default)]
    for text in good:
        if name == "readout.interval" and text != "5 min":
            file.set_values(
                {f"profiles.{key}": "all" for key in ("load_profile_1", "load_profile_2", "billing_profile")}
            )
        text = text.lower() if text in ("True", "False") else text
        config = file.save({name: typed(name, text)})
        value = of(config, name).value
        assert (str(value).lower() if isinstance(value, bool) else str(value)) == text
        assert load_config(file.path) == config
    assert file.path.read_text().startswith("# Kellerweg 4\n")


@pytest.mark.parametrize("name", list(ALL))
def test_no_setting_takes_what_it_does_not_say(file: ConfigFile, name: str) -> None:
    """The sentence names the key; the file is as it was."""
    before = file.path.read_bytes()
    numbers = BAD_NUMBERS if "whole number" in ALL[name].allowed else []
    numbers = [number for number in numbers if number != "0" or "from 0 " not in ALL[name].allowed]
    choices = ["", "some", "20 min", "25 h", "TRUE!"] if ALL[name].choices else []
    codes = ["1.0.99.1.0", "1.0.99.1.0.256", "", "x"] if name.startswith("obis.") else []
    bad = [*BAD.get(name, []), *numbers, *choices, *codes, *(["0016000001"] if ALL[name].fixed else [])]
    assert bad
    for text in bad:
        with pytest.raises(ConfigError, match=name.partition(".")[2]) as caught:
            file.save({name: typed(name, text)})
        if ALL[name].choices == () and not ALL[name].fixed:
            assert ALL[name].allowed in str(caught.value)
    assert file.path.read_bytes() == before
    assert [each.name for each in file.path.parent.iterdir()] == ["config.toml"]


def test_what_the_gateway_writes_itself_needs_no_dialect(file: ConfigFile) -> None:
    """A head-end can raise the policy although the dialect's file is gone meanwhile; a person's save is refused."""
    file.set_values({"dlms.dialect": "mine"})
    assert file.prepare().gateway.serial
    assert file.set_values({"dlms.policy": "authenticated-encrypted"}).dlms.dialect == "mine"
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match=r"there is no file .*mine\.toml"):
        file.save({"gateway.name": "Keller 4"})
    assert file.path.read_bytes() == before


def test_an_undo_to_a_dialect_that_is_gone_changes_nothing(file: ConfigFile) -> None:
    """Else the gateway would not start with it."""
    file.set_values({"dlms.dialect": "mine"})
    file.save({"dlms.dialect": "idis"})
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match=r"there is no file .*mine\.toml"):
        file.undo()
    assert (file.path.read_bytes(), file.replaced()) == (before, {"dlms.dialect": "mine"})


@pytest.mark.parametrize("name", ["dlms.prot", "dmls.port", "dlms", "", "meter.address", "push.report", "."])
def test_what_is_no_setting_cannot_be_typed(name: str) -> None:
    """A sentence with what is near, or with all there is."""
    with pytest.raises(ConfigError, match=r"is no known (table|key)"):
        typed(name, "1")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (DlmsConfig(), DlmsConfig(authentication="low"), ["from high to low"]),
        (DlmsConfig(authentication="low"), DlmsConfig(authentication="none"), ["without a password"]),
        (DlmsConfig(policy="authenticated-encrypted"), DlmsConfig(), ["policy from authenticated-encrypted to none"]),
        (DlmsConfig(policy="authenticated-encrypted"), DlmsConfig(authentication="none"), ["authentication", "policy"]),
        (DlmsConfig(authentication="none"), DlmsConfig(policy="authenticated-encrypted"), []),
        (DlmsConfig(), DlmsConfig(port=4060), []),
    ],
)  # fmt: skip
def test_what_becomes_less_secure_is_told(old: DlmsConfig, new: DlmsConfig, says: list[str]) -> None:
    """Level and policy, and nothing else."""
    found = lowered(Config(dlms=old), Config(dlms=new))
    assert len(found) == len(says)
    assert all(words in sentence for words, sentence in zip(says, found, strict=True))


def test_an_undo_puts_back_the_very_file(file: ConfigFile) -> None:
    """Byte for byte, where nobody else changed it."""
    file.save({"dlms.port": 4060})
    before = file.path.read_bytes()
    file.save({"dlms.port": 4061, "readout.interval": "10 min"})
    assert file.replaced() == {"dlms.port": 4060, "readout.interval": "5 min"}
    assert file.undo().dlms.port == 4060
    assert file.path.read_bytes() == before
    with pytest.raises(ConfigError, match="nothing to take back"):
        file.undo()


def test_an_undo_that_does_not_fit_any_more_changes_nothing(file: ConfigFile) -> None:
    """Somebody made a setting depend on the value that it would take away."""
    file.save({"readout.interval": "10 min"})
    file.save({"readout.interval": "5 min"})
    file.set_values({"profiles.load_profile_1": "15 min", "profiles.load_profile_2": "5 min"})
    before = file.path.read_bytes()
    with pytest.raises(
        ConfigError, match="load profile 1: 15 min is no multiple of the readout interval 10 min"
    ):
        file.undo()
    assert file.path.read_bytes() == before
    assert file.replaced() == {"readout.interval": "10 min"}


def test_a_save_that_changes_nothing_keeps_the_way_back(file: ConfigFile) -> None:
    """Else a second press of the same key would lose it."""
    file.save({"dlms.port": 4060})
    file.save({"dlms.port": 4060})
    assert file.undo().dlms.port == 4059


@pytest.mark.parametrize(
    "text", ["", "replaced = 5", "replaced = [5]", "[[replaced]]\nvalue = 5", "[[", "\0", "replaced = [[]]"]
)
def test_a_damaged_way_back_is_told(file: ConfigFile, text: str) -> None:
    """And taken for none."""
    file.previous.write_text(text)
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match="is damaged; delete it"):
        file.undo()
    assert file.path.read_bytes() == before


def test_what_is_kept_for_the_undo_is_readable_toml(file: ConfigFile) -> None:
    """For the owner only, with what it is for."""
    file.save({"dlms.port": 4060, "gateway.name": "Keller"})
    text = file.previous.read_text()
    assert text.startswith("# What the last save replaced")
    assert tomllib.loads(text) == {"replaced": [{"key": "dlms.port"}, {"key": "gateway.name"}]}
    assert file.previous.stat().st_mode & 0o077 == 0
