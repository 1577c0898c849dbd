"""Push reports saved in config.toml as one setting, and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import ConfigError, PushReportConfig, load_config
from core.config_file import ConfigFile
from core.settings import changed_reports, report_tables

HAND_WRITTEN = """\
# the cellar

[push]
host = "hes.example.net"  # asked Karl for it

# sent to billing, too
[[push.report]]
type = "load_profile_1"  # the hourly one
# not before five past
schedule = "every 1 h + 5 min"

[[push.report]]
type = "billing_profile"
host = "billing.example.net"

[dlms]
port = 4060
"""

INLINE = '[push]\nreport = [{type = "load_profile_1", schedule = "daily 06:00"}]\n'


def saved(path: Path, text: str) -> ConfigFile:
    path.write_text(text)
    return ConfigFile(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_comments_stay_where_they_are(path: Path) -> None:
    """One value changes, and with it one line of the file."""
    file = saved(path, HAND_WRITTEN)
    tables = [
        {"type": "load_profile_1", "schedule": "every 30 min"},
        {"type": "billing_profile", "host": "billing.example.net"},
    ]
    file.save({"push.report": tables})
    assert path.read_text() == HAND_WRITTEN.replace("every 1 h + 5 min", "every 30 min")
    file.undo()
    assert path.read_text() == HAND_WRITTEN


@pytest.mark.parametrize("text", [HAND_WRITTEN, INLINE, "", '[[push.report]]\ntype = "load_profile_2"\n'])
def test_a_save_and_its_undo(path: Path, text: str) -> None:
    """Changed, added and removed reports, with the default head-end, in one save, however the file is laid out."""
    file = saved(path, text)
    before = load_config(path)
    wanted = (
        PushReportConfig("load_profile_1", schedule="weekly mon 06:00", host="h", port=4061, client_sap=103),
        PushReportConfig("fraud_event_log", enabled=False, last_rows=20),
        PushReportConfig("on_installation"),
    )
    file.save({"push.host": "hes.example.org", "push.report": report_tables(wanted)})
    push = load_config(path).push
    assert push.host == "hes.example.org"
    assert sorted(push.reports, key=lambda report: report.type) == sorted(
        wanted, key=lambda report: report.type
    )
    file.undo()
    assert load_config(path) == before


def test_the_first_report_is_taken_back(path: Path) -> None:
    """Of a file that has nothing else of pushes, as the first save makes it."""
    file = ConfigFile(path)
    before = load_config(path)
    file.save({"push.report": report_tables([PushReportConfig("billing_profile")])})
    file.undo()
    assert load_config(path) == before


def test_one_report_of_all_is_changed(path: Path) -> None:
    """In its place; one that there was not comes last."""
    push = load_config(saved(path, HAND_WRITTEN).path).push
    other = PushReportConfig("billing_profile", enabled=False)
    assert changed_reports(push, other) == (push.reports[0], other)
    new = PushReportConfig("fraud_event_log")
    assert changed_reports(push, new) == (*push.reports, new)
    assert push.described("fraud_event_log") == PushReportConfig("fraud_event_log", enabled=False)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("load_profile_1", "a list of tables"),
        ([{"type": ["load_profile_1"]}], "in quotes"),
        (["load_profile_1"], "a list of tables"),
        ([{"type": "load_profile_1"}, {"schedule": "daily 06:00"}], "each type of report once"),
        ([{"type": "load_profile_3"}], "load_profile_2"),
        ([{"type": "load_profile_1", "schedule": "dayly"}], "every 15 min"),
    ],
)
def test_what_is_no_list_of_reports_is_refused(path: Path, value: object, sentence: str) -> None:
    """In a sentence, and the file is as it was."""
    file = saved(path, HAND_WRITTEN)
    with pytest.raises(ConfigError, match=sentence):
        file.save({"push.report": value})
    assert path.read_text() == HAND_WRITTEN
