"""Refusals: always after the same time, and slower and slower for one peer only."""

from __future__ import annotations

from core.dlms.limits import ServerLimits
from core.dlms.throttle import Throttle

LIMITS = ServerLimits(rejection=0.5, slowdown=1.0, slowdown_most=4.0, forget=100.0, peers=3)


def test_the_first_refusal_takes_the_fixed_time() -> None:
    """And an acceptance of a peer without failures none."""
    throttle = Throttle(LIMITS)
    assert throttle.due("a", 10.0, accepted=False) == 10.5
    assert throttle.due("b", 10.0, accepted=True) == 10.0


def test_each_failure_doubles_the_wait_up_to_a_limit() -> None:
    """1, 2, 4, 4 seconds more than before."""
    throttle = Throttle(LIMITS)
    waits = []
    for number in range(5):
        now = 20.0 * number
        waits.append(throttle.due("a", now, accepted=False) - now)
    assert waits == [0.5, 1.5, 2.5, 4.5, 4.5]


def test_parallel_attempts_of_a_peer_wait_for_each_other() -> None:
    """Also the right one: many connections try no faster than one."""
    throttle = Throttle(LIMITS)
    assert throttle.due("a", 0.0, accepted=False) == 0.5
    assert throttle.due("a", 0.0, accepted=False) == 1.5
    assert throttle.due("a", 0.0, accepted=False) == 3.5
    assert throttle.due("a", 0.0, accepted=True) == 7.5


def test_keys_are_no_guess() -> None:
    """Who has them goes in at once, and takes the failures before with it."""
    throttle = Throttle(LIMITS)
    for _ in range(5):
        throttle.due("a", 0.0, accepted=False)
    throttle.proven("a")
    assert throttle.failures("a") == 0
    assert throttle.due("a", 1.0, accepted=True) == 1.0


def test_another_peer_does_not_wait() -> None:
    """Whatever one peer does, the others associate at once."""
    throttle = Throttle(LIMITS)
    for _ in range(50):
        throttle.due("a", 0.0, accepted=False)
    assert throttle.due("b", 0.0, accepted=True) == 0.0


def test_failures_are_forgotten_after_a_success_or_a_while() -> None:
    """A technician who mistyped once does not wait for ever."""
    throttle = Throttle(LIMITS)
    throttle.due("a", 0.0, accepted=False)
    throttle.due("a", 10.0, accepted=True)
    assert throttle.due("a", 20.0, accepted=True) == 20.0
    throttle.due("b", 0.0, accepted=False)
    assert throttle.due("b", 101.0, accepted=True) == 101.0


def test_no_more_peers_are_kept_than_allowed() -> None:
    """The oldest failures go first."""
    throttle = Throttle(LIMITS)
    for name in "abcd":
        throttle.due(name, 0.0, accepted=False)
    assert throttle.due("a", 1.0, accepted=True) == 1.0
    assert throttle.due("d", 1.0, accepted=True) > 1.0
