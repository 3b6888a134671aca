"""Ranges and their scalings, strategies, early stopping, and what mattered."""

import math

import numpy as np
import pytest

from local.tuning import pruning, search
from local.tuning.importance import importances
from local.tuning.ranges import LINEAR, LOGARITHMIC, REVERSE, Numbers, Words, automatic
from local.tuning.trials import COMPLETED, FAILED, STOPPED, Objective, Trial

LEAST = Objective("loss", "(.*)", maximize=False)
RATE = Numbers("rate", 0.0001, 1.0, LOGARITHMIC)
SIZE = Numbers("size", 8, 64, LINEAR, whole=True)
KIND = Words("kind", ("sgd", "adam"))


def trial(*reports, status=COMPLETED, **values):
    return Trial("t", {name: str(value) for name, value in values.items()}, 0.0, status, list(reports))


def test_shares_are_even_on_each_scale():
    assert float(RATE.text(0.5)) == pytest.approx(0.01)
    assert float(Numbers("x", 2, 4, LINEAR).text(0.5)) == 3.0
    # Dense near one: 0, 0.9 and 0.99 are as far from each other.
    assert float(Numbers("x", 0, 0.99, REVERSE).text(0.5)) == pytest.approx(0.9)


@pytest.mark.parametrize("one", [RATE, SIZE, Numbers("x", 0.0, 0.999, REVERSE), Numbers("x", 3, 3, LINEAR)])
def test_values_stay_within_the_range_and_tell_their_share(one):
    for share in np.linspace(0, 1, 23):
        written = one.text(share)
        assert one.low <= float(written) <= one.high
        if not one.whole and one.low < one.high:
            assert one.share(written) == pytest.approx(share, abs=1e-9)
    assert one.share(str(one.low - 1)) == 0


def test_whole_numbers_are_written_without_decimals():
    assert SIZE.text(0.5) == "36"


def test_automatic_scaling_is_logarithmic_for_orders_of_magnitude():
    assert automatic(0.001, 0.1) == LOGARITHMIC
    assert automatic(0.001, 0.09) == LINEAR
    assert automatic(0, 1000) == LINEAR


def test_random_draws_depend_on_seed_and_number_alone():
    ranges = (RATE, SIZE, KIND)
    first, again = search.Random(ranges, 7), search.Random(ranges, 7)
    assert [first.propose(n) for n in range(5)] == [again.propose(n) for n in (0, 1, 2, 3, 4)]
    assert first.propose(0) != search.Random(ranges, 8).propose(0)
    drawn = [math.log10(float(first.propose(n)["rate"])) for n in range(300)]
    assert np.quantile(drawn, 0.5) == pytest.approx(-2, abs=0.4)


def test_a_grid_is_every_combination_in_order():
    grid = search.Grid([Words("a", ("1", "2")), Words("b", ("x", "y"))])
    assert [tuple(grid.propose(n).values()) for n in range(4)] == [
        ("1", "x"),
        ("1", "y"),
        ("2", "x"),
        ("2", "y"),
    ]


def best_of(strategy, trials=40):
    """The least of a bowl with its bottom at a rate of 0.01, for adam, that a strategy finds."""
    found = []
    for number in range(trials):
        values = strategy.propose(number)
        loss = (math.log10(float(values["rate"])) + 2) ** 2 + (values["kind"] == "sgd")
        strategy.learn(number, values, loss)
        found.append(loss)
    return min(found)


@pytest.mark.slow
def test_bayesian_search_finds_lower_than_random_search():
    ranges = (RATE, KIND)
    bayesian = np.mean([best_of(search.Bayesian(ranges, seed, maximize=False)) for seed in range(5)])
    random = np.mean([best_of(search.Random(ranges, seed)) for seed in range(5)])
    assert bayesian < random


def test_bayesian_search_begins_where_others_ended():
    def nearby(warm):
        strategy = search.Bayesian((RATE,), 0, maximize=False)
        if warm:
            for share in np.linspace(0, 1, 40):
                strategy.learn(None, {"rate": RATE.text(share)}, abs(share - 0.5))
        return np.mean([abs(RATE.share(strategy.propose(n)["rate"]) - 0.5) for n in range(6)])

    assert nearby(warm=True) < 0.1 < nearby(warm=False)


def test_trials_without_an_objective_or_of_other_ranges_are_borne():
    strategy = search.Bayesian((RATE, KIND), 0, maximize=True)
    values = strategy.propose(0)
    strategy.learn(0, values, None)
    strategy.learn(None, {"rate": "0.1"}, 1.0)
    strategy.learn(None, {"rate": "0.1", "kind": "lbfgs"}, 1.0)
    strategy.learn(None, {"rate": "0.1", "kind": "adam"}, float("nan"))
    strategy.learn(None, {"rate": "auto", "kind": "adam"}, 1.0)
    assert set(strategy.propose(1)) == {"rate", "kind"}


def test_the_median_rule_compares_with_the_averages_so_far():
    others = [trial(4.0, 2.0), trial(3.0, 1.0), trial(5.0, 5.0, status=STOPPED)]
    rule = pruning.Median(LEAST)  # averages of two epochs: 3, 2 and 5, so that the median is 3
    assert rule.ends(trial(9.0, 3.1), others)
    assert not rule.ends(trial(9.0, 3.0), others)
    assert not rule.ends(trial(9.0), [])
    assert not rule.ends(trial(9.0), [trial(1.0, status=FAILED), trial(1.0, status="InProgress")])


def test_hyperband_keeps_a_third_at_each_rung():
    rule = pruning.Hyperband(LEAST, 1, 9)
    others = [trial(value) for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert [rule.ends(one, others) for one in others] == [False, False, True, True, True, True]
    assert not rule.ends(trial(9.0, 9.0), others)  # two epochs are no rung
    assert rule.ends(trial(*[0.0] * 9), others)  # all that there is to have
    alone = trial(9.0)
    assert not rule.ends(alone, [alone])


def test_what_mattered_is_told_from_what_did_not():
    generator = np.random.default_rng(0)
    made = []
    for _ in range(60):
        rate, size = RATE.text(generator.random()), SIZE.text(generator.random())
        loss = (math.log10(float(rate)) + 2) ** 2 + 0.1 * generator.normal()
        made.append(trial(loss, rate=rate, size=size, kind="sgd" if generator.random() < 0.5 else "adam"))
    found = importances((SIZE, RATE, KIND), made)
    assert next(iter(found)) == "rate"
    assert found["rate"] > 0.7
    assert found["size"] < 0.2
    assert found["kind"] < 0.2
    assert importances((RATE,), made[:3]) == {}


def test_the_best_is_the_earliest_of_equals_and_has_ended():
    trials = [trial(2.0), trial(1.0), trial(1.0), trial(0.0, status=FAILED), trial()]
    assert LEAST.best(trials) is trials[1]
    assert LEAST.best([trial()]) is None
