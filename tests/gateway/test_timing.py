"""What readouts cost on the wire, and what is said of a schedule that does not fit."""

from __future__ import annotations

import pytest

from core.interval import Interval
from core.mbus.address import PrimaryAddress, SecondaryAddress
from core.timing import Demand, readout_s, reset_s, schedule, selection_s, silence_s

PRIMARY, SECONDARY = PrimaryAddress(5), SecondaryAddress("12345678")


def demands(count: int, interval: str, cost_s: float) -> list[Demand]:
    return [Demand(Interval.parse(interval), cost_s)] * count


def test_a_typical_meter_at_2400_baud_costs_what_the_wire_takes() -> None:
    """0.635 s by primary and 0.775 s by secondary address; 250 of them 2.6 and 3.2 min (EN 13757-2, 5.5)."""
    assert readout_s(2400, PRIMARY) == pytest.approx(0.635)
    assert readout_s(2400, SECONDARY) == pytest.approx(0.775)
    assert 250 * readout_s(2400, PRIMARY) / 60 == pytest.approx(2.6, abs=0.05)
    assert 250 * readout_s(2400, SECONDARY) / 60 == pytest.approx(3.2, abs=0.05)


def test_a_meter_with_several_telegrams_is_asked_for_each_and_reset_first() -> None:
    """By secondary address the selection resets it."""
    assert readout_s(2400, PRIMARY, [100, 50]) == pytest.approx(
        reset_s(2400) + readout_s(2400, PRIMARY, [100]) + readout_s(2400, PRIMARY, [50])
    )
    assert readout_s(2400, SECONDARY, [100, 50]) == pytest.approx(
        selection_s(2400) + readout_s(2400, PRIMARY, [100]) + readout_s(2400, PRIMARY, [50])
    )


def test_a_silent_meter_costs_a_time_out_for_each_try() -> None:
    """330 bit times, 50 ms and the margin, after a request of 5 bytes."""
    assert silence_s(2400, PRIMARY, 2, 0.1) == pytest.approx(3 * ((330 + 55) / 2400 + 0.05 + 0.1))


def test_a_cycle_that_is_too_short_says_what_the_line_needs_and_what_to_do() -> None:
    """Minutes are rounded up, and the interval that is named is one that would do."""
    view = schedule(demands(100, "15 min", 10.0))
    assert view is not None
    assert not view.fits
    assert view.sentence == (
        "15 min cycle, this line needs 17 min. Choose a readout interval of 30 min, a higher baud rate, "
        "or a second line for some of its meters."
    )


@pytest.mark.parametrize(
    ("cost_s", "needs"), [(9.01, "16 min"), (71.3, "119 min"), (72.3, "2 h 1 min"), (72.0, "2 h")]
)
def test_what_a_line_needs_is_told_in_minutes_and_hours(cost_s: float, needs: str) -> None:
    view = schedule(demands(100, "15 min", cost_s))
    assert view is not None
    assert f"this line needs {needs}." in view.sentence


def test_a_line_that_cannot_do_it_within_a_day_is_not_told_to_take_an_interval() -> None:
    view = schedule(demands(250, "1 d", 400.0))
    assert view is not None
    assert "Choose a higher baud rate" in view.sentence


def test_a_cycle_that_fits_says_nothing() -> None:
    view = schedule(demands(100, "15 min", 9.0))
    assert view is not None
    assert (view.fits, view.sentence, view.cost_s) == (True, "", 900.0)


def test_meters_that_are_read_rarely_weigh_less() -> None:
    """10 every 5 min and 200 a day need 30 s and 200 * 3 s * 5 min / 1 d of each 5 min."""
    view = schedule([*demands(10, "5 min", 3.0), *demands(200, "1 d", 3.0)])
    assert view is not None
    assert (view.interval, view.fits) == ("5 min", True)
    assert view.cost_s == pytest.approx(30 + 200 * 3 * 300 / 86_400)


def test_a_line_without_meters_has_no_schedule() -> None:
    assert schedule([]) is None
