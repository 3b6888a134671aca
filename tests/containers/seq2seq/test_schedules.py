"""Learning rates over time, and when training stops."""

from __future__ import annotations

import math

import pytest

from containers.seq2seq.schedules import InverseSquareRoot, InverseTime, PlateauReduce, Schedule
from containers.seq2seq.stopping import Patience


def test_fixed_rates_halve_at_their_half_life():
    assert Schedule(0.3).rate(1000) == 0.3
    for kind in (InverseTime, InverseSquareRoot):
        schedule = kind(0.4, 50)
        assert schedule.rate(0) == 0.4
        assert schedule.rate(50) == pytest.approx(0.2)
        schedule.checkpoint(False)
        assert schedule.rate(0) == 0.4
    assert InverseTime(0.4, 50).rate(150) == pytest.approx(0.1)
    assert InverseSquareRoot(0.4, 50).rate(250) == pytest.approx(0.1)


def test_a_plateau_reduces_and_is_counted_anew():
    schedule = PlateauReduce(1.0, 0.5, 2)
    rates = []
    for improved in (True, False, True, False, False, False, False, True, False):
        schedule.checkpoint(improved)
        rates.append(schedule.rate(7))
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_patience_ends_after_its_threshold_but_not_before_its_epochs():
    patience = Patience("perplexity", 2, 3)
    assert [patience.observe({"perplexity": value}) for value in (5.0, 4.0, 4.0)] == [True, True, False]
    assert not patience.over(10)
    assert not patience.observe({"perplexity": 4.5})
    assert patience.best == 2
    assert not patience.over(2)
    assert patience.over(3)
    assert patience.observe({"perplexity": 3.0})
    assert not patience.over(3)


def test_accuracy_and_bleu_are_better_when_larger():
    for metric in ("accuracy", "bleu"):
        patience = Patience(metric, 1)
        found = [patience.observe({metric: value, "perplexity": 1.0}) for value in (0.0, 0.2, 0.1)]
        assert found == [True, True, False]
        assert patience.over(0)
        assert patience.best_scores[metric] == 0.2


def test_what_is_no_number_is_never_the_best_and_no_threshold_is_never_reached():
    patience = Patience("perplexity", None)
    assert [patience.observe({"perplexity": value}) for value in (math.inf, math.nan, 9.0)] == [
        False,
        False,
        True,
    ]
    for _ in range(50):
        patience.observe({"perplexity": 10.0})
    assert not patience.over(1000)
