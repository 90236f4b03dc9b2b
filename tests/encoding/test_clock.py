"""A search's time, by a clock that the tests turn themselves."""

import pytest

from lic_jax.distortion.base import RateDistortion
from lic_jax.encoding.clock import Clock
from lic_jax.encoding.method import SearchSettings


@pytest.fixture
def turn(monkeypatch):
    """Lets so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr("lic_jax.encoding.clock.time.perf_counter", lambda: now[0])

    def turn(seconds):
        now[0] += seconds

    return turn


def test_without_a_limit_steps_are_all_that_counts(turn):
    clock = Clock(SearchSettings(iterations=4), batches=1)
    for step in range(4):
        assert (clock.progress, clock.expected_steps, clock.is_over) == (step / 4, 4, False)
        turn(1e6)
        clock.tick()
    assert clock.progress == 1 and clock.is_over


def test_the_first_step_whose_program_is_compiled_says_nothing_of_the_others(turn):
    clock = Clock(SearchSettings(iterations=1000, time_limit=100.0), batches=1)
    turn(30)
    clock.tick()
    assert clock.expected_steps == 1000 and not clock.is_over
    turn(0.5)
    clock.tick()
    assert clock.expected_steps == 200


def test_time_to_finish_is_left(turn):
    """Eight steps' worth: what ends a search takes about as long."""
    clock = Clock(SearchSettings(iterations=10**6, time_limit=100.0), batches=1)
    while not clock.is_over:
        turn(1)
        clock.tick()
    assert clock.step == 93
    assert clock.progress == pytest.approx(clock.step / 100)


def test_a_batch_has_its_share_of_the_time_that_is_left(turn):
    clock = Clock(SearchSettings(iterations=10**6, time_limit=100.0), batches=2)
    steps = []
    for _ in range(2):
        while not clock.is_over:
            turn(0.1)
            clock.tick()
        steps.append(clock.step)
        if len(steps) == 1:
            turn(40)  # for what is not searching
            clock.next_batch()
    assert steps == pytest.approx([492, 100], abs=3)  # of 50 seconds, and of what 49 and 40 leave of 100


def test_a_report_that_says_stop_is_heard(turn):
    clock = Clock(SearchSettings(iterations=10, report=lambda progress: progress.step == 1), batches=1)
    cost = RateDistortion(1.0, 1.0, 0.0, 1.0, 1.0)
    clock.report(cost)
    assert not clock.is_over
    clock.tick()
    clock.report(cost)
    assert clock.is_over
