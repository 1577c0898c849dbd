"""`cme-tui meters search` on a running gateway: what is no search is refused as bad input, in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cme_tui.__main__ import main
from core.facade import RunOptions
from core.launch import open_gateway


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a gateway that runs."""
    gateway = open_gateway(RunOptions(tmp_path, demo=True, dlms_port=0))
    yield tmp_path
    gateway.stop()


@pytest.mark.parametrize(
    "options",
    [("--range", "9-5"), ("--range", "1-251"), ("--range", "x"), ("--mask", "5"), ("--line", "nix")],
)
def test_a_search_that_cannot_be_is_bad_input(
    running: Path, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state-dir", str(running), "meters", "search", *options]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert options[1] in said.err or "--line" in said.err
    assert not said.out


def test_a_baud_rate_that_is_none_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["meters", "search", "--baud", "17"])
    assert ended.value.code == 2
    assert "invalid choice: 17" in capsys.readouterr().err


def test_the_estimate_alone_starts_nothing(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives it as one object."""
    command = ["--state-dir", str(running), "meters", "search", "--baud", "300", "2400", "--json"]
    assert main([*command, "--estimate"]) == 0
    assert set(json.loads(capsys.readouterr().out)["estimate"]) == {
        "nobody_s",
        "likely_s",
        "probes",
        "sentence",
    }
    assert main([*command[:4], "--stop"]) == 1
    assert "No search runs" in capsys.readouterr().err
