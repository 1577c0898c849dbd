"""config.toml is checked as a whole, a mistake is named, and what a technician wrote is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cme_tui.commands import config as command
from core.config import (
    Config,
    ConfigError,
    MeterConfig,
    load_config,
    parse_config,
    system_title,
    system_zone,
)
from core.config_file import ConfigFile, new_serial
from core.config_tables import add_meters, remove_meters, set_line
from core.interval import PROFILE_INTERVALS, READOUT_INTERVALS, Interval

PATH = Path("/etc/config.toml")

FULL = """
[gateway]
serial = "0016000000"
flag_id = "ABC"
name = "Kellerweg 4"
timezone = "Europe/Stockholm"
set_system_clock = true

[dlms]
enabled = false
host = "::"
port = 4061
authentication = "low"
policy = "authenticated-encrypted"
dialect = "idis"
inactivity_timeout = 60
max_connections = 4

[profiles]
load_profile_1 = "all"
load_profile_2 = "60 min"
billing_profile = "1 week"

[readout]
interval = "30 min"

[[line]]
name = "cellar"
url = "tcp:192.0.2.7:10001"
baud = 9600
margin_ms = 200
repeats = 1
transparent_port = 10001
transparent_host = "192.0.2.1"

[[meter]]
line = "cellar"
address = 5
name = "cold water"
enabled = false
interval = "1 d"
logical_device = 20
margin_ms = 100

[[meter]]
address = "12345678.HYD.25.07"

[push]
host = "hes.example"
port = 4070
client_sap = 103

[[push.report]]
type = "billing_profile"
enabled = false
schedule = "monthly 1 00:30"
host = "other.example"
port = 4071
client_sap = 104
last_rows = 96

[obis]
billing_profile = "0.0.98.2.0.255"
"""


def parse(text: str) -> Config:
    return parse_config(text, PATH)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_every_key_has_a_default(tmp_path: Path) -> None:
    """No file, an empty file and empty tables are the same configuration."""
    assert load_config(tmp_path / "none.toml") == Config()
    assert parse("") == Config()
    assert parse("[gateway]\n[dlms]\n[profiles]\n[readout]\n[push]\n[obis]\n") == Config()
    assert parse("[[line]]\n").lines[0].name == "line 1"
    assert (Config().dlms.port, Config().dlms.authentication, Config().gateway.flag_id) == (
        4059,
        "high",
        "ELV",
    )
    assert [str(getattr(Config().profiles, spec.name)) for spec in dataclasses.fields(Config().profiles)] == [
        "1 h",
        "1 d",
        "1 month",
    ]


def test_every_key_is_read() -> None:
    """Each of them comes out as it was written, the line of a meter filled in where there is only one."""
    config = parse(FULL)
    written = tomllib.loads(FULL)
    for table in ("gateway", "dlms"):
        assert dataclasses.asdict(getattr(config, table)) == written[table]
    assert config.profiles.load_profile_1.is_all
    assert config.profiles.load_profile_2 == Interval.parse("1 h")
    assert config.readout.interval.seconds == 1800
    assert dataclasses.asdict(config.lines[0]) == written["line"][0]
    assert [meter.address for meter in config.meters] == [5, "12345678.HYD.25.07"]
    assert [meter.line for meter in config.meters] == ["cellar", "cellar"]
    assert [meter.logical_device for meter in config.meters] == [20, None]
    assert config.meters[0].interval == Interval.parse("1 d")
    assert config.push.client_sap == 103
    assert dataclasses.asdict(config.push.reports[0]) == written["push"]["report"][0]
    assert dict(config.obis) == {"billing_profile": "0.0.98.2.0.255"}
    assert config.gateway.zone.key == "Europe/Stockholm"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[dlms]\nprot = 1", "[dlms] prot is no known key; did you mean port?"),
        ("[dmls]\nport = 1", "dmls is no known table; did you mean dlms?"),
        ("[[line]]\nbaudrate = 2400", "[[line]] number 1: baudrate is no known key; did you mean baud?"),
        (
            "[[line]]\n[[meter]]\naddress = 5\n[[meter]]\nadress = 6",
            "number 2: adress is no known key; did you mean address?",
        ),
        (
            "[[push.report]]\nhosts = 'x'",
            "[[push.report]] number 1: hosts is no known key; did you mean host?",
        ),
        ("[gateway]\nxyzzy = 1", "known are: flag_id, name, serial, set_system_clock, timezone."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text: str, says: str) -> None:
    """Where none is near, all that exist are listed."""
    assert says in refused(text)
    assert refused(text).startswith(f"{PATH}:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[dlms]\nport = 0", "[dlms] port must be a whole number from 1 to 65535, not 0."),
        ('[dlms]\nport = "4059"', 'port must be a whole number from 1 to 65535, not "4059".'),
        ("[dlms]\nport = true", "port must be a whole number from 1 to 65535, not true."),
        ("[dlms]\nport = 4059.0", "port must be a whole number"),
        ("[dlms]\nenabled = 1", "[dlms] enabled must be true or false, not 1."),
        ('[dlms]\nauthentication = "gmac"', 'must be one of "none", "low", "high", not "gmac".'),
        ("dlms = 4059", "[dlms] must be a table of settings, not 4059."),
        ("[line]\nbaud = 2400", "[[line]] must be a list of tables: write the name in double brackets."),
        ("meter = [5]", "[[meter]] number 1: must be a table"),
        ("[[line]]\nbaud = 2401", "must be one of 300, 600, 1200, 2400"),
        ("[[line]]\nbaud = 2400.0", "must be one of 300"),
        ('[[line]]\nurl = "tcp:host"', '"tcp:host:port"'),
        ('[[line]]\nurl = "tcp:host:65536"', '"tcp:host:port"'),
        ('[[line]]\nurl = "rfc2217:host"', '"rfc2217:host:port"'),
        ("[[line]]\ntransparent_port = 65536", "65535"),
        ('[[line]]\nurl = "sim:?late:x"', "The misfortune late takes seconds, not 'x'"),
        (
            '[[line]]\nurl = "sim:?drowned"',
            "'drowned' is nothing that can be simulated: choose among address, baud",
        ),
        ('[[line]]\nurl = "sim:?echo@5"', "echo is of the whole line"),
        ('[[line]]\nurl = "sim:?dead@x"', "'dead@x': "),
        ('[[line]]\nurl = "sim:?baud:2401"', "'baud:2401': give one of 300"),
        ('[[line]]\nurl = "sim:?meters:0"', "give a number from 1 to 5000"),
        ('[[line]]\nurl = "sim:folder?meters:3"', "not both"),
        ('[[line]]\nurl = "/dev/ttyUSB0"', '"serial:/dev/ttyUSB0"'),
        ('[gateway]\nserial = "16000000"', "10 digits"),
        ("[gateway]\nserial = 16000000", "10 digits"),
        ('[gateway]\nserial = "0268435456"', 'at most "0268435455"'),
        ('[gateway]\nflag_id = "elv"', "three capital letters"),
        ('[gateway]\nname = "a\\nb"', "on one line"),
        ('[gateway]\ntimezone = "Europe/Atlantis"', "IANA"),
        ('[gateway]\ntimezone = "../../etc/passwd"', "IANA"),
        (
            '[profiles]\nload_profile_1 = "20 min"',
            "load profile 1: 20 min is no multiple of the readout interval 15 min",
        ),
        (
            '[profiles]\nbilling_profile = "5 min"',
            "billing profile: 5 min is no multiple of the readout interval 15 min",
        ),
        ('[profiles]\nload_profile_1 = "45 min"', "load_profile_1 must be one of all, 5 min"),
        ("[profiles]\nload_profile_1 = 60", 'an interval such as "15 min"'),
        ('[profiles]\nload_profile_1 = "hourly"', 'an interval such as "15 min"'),
        ('[readout]\ninterval = "1 week"', "[readout] interval must be one of 5 min"),
        ('[readout]\ninterval = "all"', "[readout] interval must be one of 5 min"),
        ("[[meter]]\naddress = 5", "number 1: it has no line; add a [[line]] first."),
        ("[[line]]\n[[line]]\n[[meter]]\naddress = 5", "name one of: line 1, line 2."),
        (
            '[[line]]\nname = "cellar"\n[[meter]]\naddress = 5\nline = "celar"',
            'there is no line "celar"; did you mean cellar?',
        ),
        ("[[line]]\n[[meter]]\n", "address is missing"),
        ("[[line]]\n[[meter]]\naddress = 251", "a primary address from 1 to 250"),
        ("[[line]]\n[[meter]]\naddress = 12345678", "a secondary address in quotes"),
        ('[[line]]\n[[meter]]\naddress = "1234"', "a secondary address in quotes"),
        (
            '[[line]]\n[[meter]]\naddress = 5\n[[meter]]\naddress = "5"',
            "address 5 on line 1 is that of meter number 1 already",
        ),
        (
            '[[line]]\n[[meter]]\naddress = "12345678"\n[[meter]]\naddress = "12345678.*.*.*"',
            "is that of meter number 1 already",
        ),
        ('[[line]]\nname = "a"\n[[line]]\nname = "a"', 'two [[line]] tables have the name "a"'),
        ("[[line]]\n[[meter]]\naddress = 5\nlogical_device = 15", "from 16 to 65535"),
        (
            "[[line]]\n[[meter]]\naddress = 5\nlogical_device = 16\n"
            "[[meter]]\naddress = 6\nlogical_device = 16",
            "logical_device 16 is that of meter number 1 already",
        ),
        ('[[line]]\n[[meter]]\naddress = 5\ninterval = "1 month"', "number 1: interval must be one of 5 min"),
        ('[[push.report]]\nschedule = "daily 24:00"', '"daily 06:00"'),
        ('[[push.report]]\nschedule = "every 25 h"', 'must be at most "every 24 h"'),
        ("[[push.report]]\nschedule = 15", '"every 15 min"'),
        ('[[push.report]]\ntype = "load_profile"', '"load_profile_1"'),
        ('[obis]\nx = "1.0.99.1.0"', "six numbers from 0 to 255"),
        ('[obis]\nx = "1.0.99.1.0.256"', "six numbers from 0 to 255"),
        ("[dlms\n", "is not valid TOML"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(text: str, says: str) -> None:
    """The sentence has file, key, what is allowed and what was given."""
    sentence = refused(text)
    assert says in sentence
    assert str(PATH) in sentence


@pytest.mark.parametrize(
    "schedule",
    [
        "every 15 min",
        "every 2 h",
        "every 1 h + 5 min",
        "daily 06:00",
        "weekly sun 23:59",
        "monthly 28 00:00",
        "monthly last 06:00",
    ],
)
def test_reports_can_be_scheduled(schedule: str) -> None:
    """Every N minutes or hours, at an offset, daily, weekly, monthly."""
    assert parse(f'[[push.report]]\nschedule = "{schedule}"').push.reports[0].schedule == schedule


@given(readout=st.sampled_from(READOUT_INTERVALS), profile=st.sampled_from(PROFILE_INTERVALS))
@settings(deadline=None)
def test_a_profile_is_accepted_exactly_where_it_is_a_multiple_of_the_readout(
    readout: Interval, profile: Interval
) -> None:
    """All allowed values of both, with the other profiles out of the way."""
    text = f"""
    [readout]
    interval = "{readout}"
    [profiles]
    load_profile_1 = "{profile}"
    load_profile_2 = "all"
    billing_profile = "all"
    """
    fits = profile.is_all or (profile.seconds or 86400) % (readout.seconds or 0) == 0
    if fits:
        assert parse(text).profiles.load_profile_1 == profile
    else:
        assert f"{profile} is no multiple of the readout interval {readout}" in refused(text)


@given(st.text(max_size=200))
@settings(deadline=None)
def test_no_text_at_all_raises_anything_but_a_sentence(text: str) -> None:
    """Whatever a file holds."""
    with contextlib.suppress(ConfigError):
        assert parse(text) is not None


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """As is one that is a directory."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"[gateway]\nname = '\xff'")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_the_system_title_is_that_of_the_manual() -> None:
    """Serial 0016000000 of ELV."""
    assert system_title("ELV", "0016000000").hex().upper() == "454C560000F42400"
    assert parse(FULL).gateway.system_title.hex().upper() == "4142430000F42400"
    assert system_title("ELV", "0268435455").hex().upper() == "454C56000FFFFFFF"


def test_the_zone_of_the_system_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC where the system says nothing that is known."""
    monkeypatch.setenv("TZ", "America/Santiago")
    assert Config().gateway.zone.key == "America/Santiago"
    monkeypatch.setenv("TZ", "nowhere")
    assert system_zone().key == "UTC"


def test_the_serial_is_made_once(tmp_path: Path) -> None:
    """And is on disk before it is used."""
    file = ConfigFile(tmp_path / "config.toml")
    serial = file.prepare().gateway.serial
    assert len(serial) == 10
    assert serial.startswith("0016")
    before = file.path.stat()
    assert file.prepare().gateway.serial == serial == load_config(file.path).gateway.serial
    assert file.path.stat().st_mtime_ns == before.st_mtime_ns
    assert len({new_serial() for _ in range(50)}) > 40


def test_meters_get_the_next_free_logical_device_and_keep_it(tmp_path: Path) -> None:
    """From 16; one that was removed frees its address, the others stay where they are."""
    file = ConfigFile(tmp_path / "config.toml")
    file.edited(set_line(None, {"name": "cellar"}))
    for address in (1, 2, 3):
        file.edited(add_meters([MeterConfig(address=address)]))
    assert [meter.logical_device for meter in file.load().meters] == [None, None, None]
    assert [meter.logical_device for meter in file.prepare().meters] == [16, 17, 18]
    file.edited(remove_meters([("cellar", "2")]))
    file.edited(add_meters([MeterConfig(address="12345678.HYD.25.07")]))
    file.edited(add_meters([MeterConfig(address=9)]))
    found = {str(meter.address): meter.logical_device for meter in file.prepare().meters}
    assert found == {"1": 16, "3": 18, "12345678.HYD.25.07": 17, "9": 19}
    assert file.load() == file.prepare()


def test_changes_at_the_same_time_all_survive(tmp_path: Path) -> None:
    """A policy that a head-end raises is not lost to a reload that gives a meter its address just then."""
    for number in range(20):
        file = ConfigFile(tmp_path / f"{number}.toml")
        file.path.write_text(
            '[[line]]\nname = "a"\nurl = "tcp:192.0.2.7:1"\n[[meter]]\nline = "a"\naddress = 5\n'
        )
        with ThreadPoolExecutor(2) as pool:
            changes = pool.submit(file.prepare), pool.submit(file.set_values, {"dlms.policy": _RAISED})
        assert all(change.exception() is None for change in changes)
        config = file.load()
        assert (config.meters[0].logical_device, config.dlms.policy) == (16, _RAISED)


_RAISED = "authenticated-encrypted"


def test_comments_and_mode_survive_a_change(tmp_path: Path) -> None:
    """Only what was changed is different."""
    path = tmp_path / "config.toml"
    text = """\
# Kellerweg 4, key at the caretaker's
[dlms]
port = 4059   # agreed with the HES

[[line]]
name = "cellar"  # left of the boiler

[[meter]]
address   =   5      # behind the shelf

[[meter]]
address = 6
"""
    path.write_text(text)
    path.chmod(0o640)
    ConfigFile(path).set_values({"dlms.port": 4060})
    assert path.read_text() == text.replace("4059 ", "4060 ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    ConfigFile(path).prepare()
    changed = path.read_text()
    for comment in (
        "# Kellerweg 4",
        "# agreed",
        "# left of the boiler",
        "address   =   5      # behind the shelf",
    ):
        assert comment in changed
    ConfigFile(path).set_values({"dlms.port": None})
    assert load_config(path).dlms.port == 4059


def test_meters_written_on_one_line_can_be_changed_too(tmp_path: Path) -> None:
    """TOML has two spellings of a list of tables."""
    path = tmp_path / "config.toml"
    path.write_text('line = [{name = "cellar"}]\nmeter = [{address = 5}, {address = 6}]\n')
    file = ConfigFile(path)
    assert [meter.logical_device for meter in file.prepare().meters] == [16, 17]
    file.edited(add_meters([MeterConfig(address=7, name="gas")]))
    file.edited(remove_meters([("cellar", "5")]))
    assert [(meter.address, meter.name) for meter in file.load().meters] == [(6, ""), (7, "gas")]


def test_a_change_that_would_not_be_valid_changes_nothing(tmp_path: Path) -> None:
    """The file is as it was, byte for byte."""
    path = tmp_path / "config.toml"
    path.write_text('[readout]\ninterval = "15 min"\n')
    file = ConfigFile(path)
    before = path.read_bytes()
    for values in (
        {"profiles.load_profile_1": "20 min"},
        {"dlms.prot": 1},
        {"dmls.port": 1},
        {"dlms.port": 0},
    ):
        with pytest.raises(ConfigError):
            file.set_values(values)
    with pytest.raises(ConfigError, match="it has no line"):
        file.edited(add_meters([MeterConfig(address=5)]))
    with pytest.raises(ConfigError, match="no meter with address 5 on cellar"):
        file.edited(remove_meters([("cellar", "5")]))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    """Not even to give it a serial."""
    path = tmp_path / "config.toml"
    path.write_text("[dlms\n")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        ConfigFile(path).prepare()
    assert path.read_text() == "[dlms\n"


def test_config_check_says_what_is_wrong_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0 in order, 2 for bad input."""
    assert command.check(tmp_path) == 0
    assert "every setting has its default" in capsys.readouterr().out
    (tmp_path / "config.toml").write_text(FULL)
    assert command.check(tmp_path) == 0
    assert "in order (lines: 1, meters: 2)" in capsys.readouterr().out
    (tmp_path / "config.toml").write_text("[dlms]\nprot = 1\n")
    assert command.check(tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "did you mean port?" in err


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        ("dlms.port", "4061\n"),
        ("dlms.enabled", "false\n"),
        ("profiles.load_profile_2", "1 h\n"),
        ("obis.billing_profile", "0.0.98.2.0.255\n"),
        ("readout", "readout.interval = 30 min\n"),
    ],
)
def test_config_get_prints_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, printed: str
) -> None:
    """Bare for one key, with names for a table."""
    (tmp_path / "config.toml").write_text(FULL)
    assert command.get(tmp_path, key) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("key", ["dlms.prot", "dmls.port", "obis.x", "meter.address", ""])
def test_config_get_refuses_an_unknown_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """With exit 2 and one line on stderr."""
    assert command.get(tmp_path, key) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_config_check_refuses_what_the_gateway_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A code for an object that does not exist keeps the gateway from starting, so the check says it too."""
    (tmp_path / "config.toml").write_text('[obis]\nload_profil_1 = "1.0.99.1.0.255"\n')
    assert command.check(tmp_path) == 2
    assert "did you mean load_profile_1?" in capsys.readouterr().err
