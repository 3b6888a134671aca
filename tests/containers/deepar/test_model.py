"""The maths: calendar and lags, windows, recurrent layers, losses, draws, forecasts and scores."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from common.cluster import Cluster
from common.job import Hosts
from containers.deepar import kernels, scoring, statistics, symbol
from containers.deepar.forecaster import Forecaster
from containers.deepar.frequencies import Frequency, parse
from containers.deepar.losses import LOSSES
from containers.deepar.model import Network, Part
from containers.deepar.recurrence import Memory, by_torch, native
from containers.deepar.sampling import LIKELIHOODS
from containers.deepar.series import Series
from containers.deepar.windows import Epoch, Span, Store
from tests.containers.deepar.jobs import small_model

START = np.datetime64("2019-12-30T22:30:00", "s")


def series(target, start=START, cat=(), dynamic=None) -> Series:
    values = np.array(target, np.float32)
    rows = np.zeros((0, len(values)), np.float32) if dynamic is None else np.array(dynamic, np.float32)
    return Series(start, values, tuple(cat), rows)


# --- time ---


def test_calendar_features_are_the_guides():
    for written in ("30min", "5H", "3D", "2W", "7M"):
        frequency = parse(written)
        times = frequency.times(START, 200, -20)
        features = frequency.calendar(START, 200, -20)
        assert (features.shape, features.dtype) == ((200, frequency.width), np.float32)
        for time, found in zip(times.tolist(), features, strict=True):
            day = [time.weekday() / 6, (time.day - 1) / 30, (time.timetuple().tm_yday - 1) / 365]
            expected = {
                "min": [time.minute / 59, time.hour / 23, *day],
                "H": [time.hour / 23, *day],
                "D": day,
                "W": [(time.day - 1) / 30, (time.isocalendar().week - 1) / 52],
                "M": [(time.month - 1) / 11],
            }[frequency.unit]
            np.testing.assert_allclose(found + 0.5, expected, atol=1e-6)


def test_times_go_on_by_the_frequency():
    assert parse("2M").times(START, 3).astype("M8[M]").astype(str).tolist() == [
        "2019-12",
        "2020-02",
        "2020-04",
    ]
    for written, seconds in (("min", 60), ("15min", 900), ("H", 3600), ("1D", 86400), ("2W", 14 * 86400)):
        times = parse(written).times(START, 3, 1)
        assert (times - START).astype(int).tolist() == [seconds, 2 * seconds, 3 * seconds]


def test_lags_look_at_the_same_point_of_seasons():
    hourly = parse("H").lags().tolist()
    assert hourly[:7] == [1, 2, 3, 4, 5, 6, 7]
    days = [24 * day + shift for day in range(1, 8) for shift in (-1, 0, 1)]
    weeks = [168 * week + shift for week in range(2, 5) for shift in (-1, 0, 1)]
    assert hourly[7:] == [*days, *weeks, 719, 720, 721]
    daily = parse("D").lags().tolist()
    assert {7, 14, 21, 28, 30, 56, 84, 364, 728, 1092} <= set(daily)
    assert parse("M").lags().tolist() == [*range(1, 8), 11, 12, 13, 23, 24, 25, 35, 36, 37]
    assert {52, 104, 156} <= set(parse("W").lags().tolist())
    assert {60, 120, 180} <= set(parse("min").lags().tolist())
    assert {24, 12, 84} <= set(parse("2H").lags().tolist())
    for unit, multiple in itertools.product(("min", "H", "D", "W", "M"), (1, 2, 5, 30, 1000)):
        lags = Frequency(multiple, unit).lags()
        assert (np.diff(lags) > 0).all()
        assert (lags.min(), lags.max() <= 1200) == (1, True)


@pytest.mark.parametrize("written", ["", "5", "S", "0H", "-1H", "H2", "h", "1.5H", "99999999H", "MIN"])
def test_times_that_are_none(written):
    with pytest.raises(ValueError, match=r".*"):
        parse(written)


# --- windows ---


def test_windows_hold_what_is_known_at_each_step():
    random = np.random.default_rng(0)
    span = Span(parse("D"), np.array([1, 3, 9], np.int64), 6, 4)
    targets = [random.normal(5, 3, size) for size in (30, 12, 9)]
    targets[0][[0, 1, 7, 8, 20]] = np.nan
    dynamic = [random.normal(size=(2, len(target))) for target in targets]
    starts = [START, START + np.timedelta64(86400, "s"), START]
    store = Store(
        [series(t, s, (n, 1), d) for n, (t, s, d) in enumerate(zip(targets, starts, dynamic, strict=True))],
        span,
        scale=3.5,
    )
    rows, at = np.array([0, 1, 2, 0, 1, 2]), np.array([26, 3, 1, 2, 8, 9])
    windows = store.windows(rows, at)
    assert windows.inputs.shape == (10, 3 + 3 + 1 + 2, 6)
    for column, (row, begin) in enumerate(zip(rows, at, strict=True)):
        target = targets[row]
        filled = target.copy()
        for point in range(len(filled)):
            if np.isnan(filled[point]):
                filled[point] = filled[point - 1] if point else 0
        past = target[max(begin - 6, 0) : begin]
        past = past[~np.isnan(past)]
        scale = np.abs(past).mean() if len(past) else 3.5
        assert windows.scale[column] == pytest.approx(scale, rel=1e-6)
        assert windows.cats[column].tolist() == [row, 1]
        calendar = span.frequency.calendar(starts[row], 10, int(begin) - 6)
        for step in range(10):
            point = begin - 6 + step
            lagged = [
                filled[point - lag] / scale if 0 <= point - lag < len(target) else 0 for lag in (1, 3, 9)
            ]
            features = dynamic[row][:, point] if 0 <= point < len(target) else [0, 0]
            age = math.log10(2 + max(point, 0))
            expected = [*lagged, *calendar[step], age, *features]
            np.testing.assert_allclose(windows.inputs[step, :, column], expected, rtol=1e-4, atol=1e-5)
            seen = 0 <= point < len(target) and not np.isnan(target[point])
            assert windows.weights[step, column] == seen
            if seen:
                assert windows.targets[step, column] == pytest.approx(target[point] / scale, rel=1e-5)


def test_dynamic_features_are_told_from_their_centers_in_their_spreads():
    span = Span(parse("D"), np.array([1], np.int64), 2, 1, (15_000.0, 0.5), (100.0, 0.25))
    one = series([1, 2, 3], START, (), np.array([[15_100, 14_900, 15_000], [0.5, 1, 0]]))
    shown = Store([one], span).windows(np.array([0]), np.array([1])).inputs[:, -2:, 0]
    assert shown.tolist() == [[0, 0], [1, 0], [-1, 2]]  # nothing before the series


@pytest.mark.parametrize("rare", [2, 50])
def test_the_spread_of_two_values_is_half_of_what_lies_between_them(rare):
    feature = 7 + 4 * (np.arange(100) % rare == 0)
    parts = [np.array([part, [3] * 50]) for part in (feature[:50], feature[50:])]
    halves = [series([1] * 50, START, (), part) for part in parts]
    centers, spreads = statistics.spreads(halves, 2, Cluster(Hosts()))
    assert centers == pytest.approx([feature.mean(), 3])
    assert spreads == pytest.approx([2, 1])


def test_a_scale_of_nothing_is_the_seriess_or_the_channels():
    span = Span(parse("D"), np.array([1], np.int64), 3, 2)
    store = Store([series([4, 8, 0, 0, 0, 1, 1]), series([0] * 7), series([])], span, scale=2.5)
    scale = store.windows(np.array([0, 1, 2]), np.array([5, 5, 0])).scale
    np.testing.assert_allclose(scale, [12 / 5, 2.5, 2.5])
    assert Store([series([9, 9])], span, scaled=False).windows(np.array([0]), np.array([1])).scale == [1]


def test_an_epoch_is_ten_batches_or_each_series_once():
    few = Epoch.of(14, 64)
    assert (few.passes, few.probability) == (46, 0.9937888198757764)
    assert Epoch.of(200, 32) == Epoch(2, 0.8)
    assert Epoch.of(320, 32) == Epoch.of(5000, 32) == Epoch(1, 1.0)
    lengths = np.array([20, 5, 4])
    rows, at = Epoch(400, 0.5).draw(lengths, 4, np.random.default_rng(0))
    assert len(rows) == pytest.approx(600, abs=60)
    assert set(at[rows == 0]) == set(range(1, 17))
    assert set(at[rows == 1]) == {1}
    assert set(at[rows == 2]) == {0}
    rows, _ = Epoch(1, 1.0).draw(np.full(50, 9), 4, np.random.default_rng(0))
    assert sorted(rows) == list(range(50)) != rows.tolist()


# --- the network ---


@pytest.mark.parametrize(
    ("steps", "width", "windows", "cells", "layers", "rate"),
    [(7, 6, 5, 3, 1, 0.3), (1, 2, 2, 4, 2, 0.5), (20, 5, 3, 17, 3, 0), (9, 4, 16, 8, 2, 0.2)],
)
def test_layers_and_their_gradients_are_torchs(steps, width, windows, cells, layers, rate):
    torch.manual_seed(0)
    inputs = torch.randn(steps, width, windows)
    bases = [torch.randn(4 * cells, windows) for _ in range(layers)]
    weights = [torch.randn(4 * cells, wide + cells) * 0.3 for wide in [width] + [cells] * (layers - 1)]
    memory = Memory((steps, width, windows), cells, layers)
    slopes = torch.randn(steps, cells, windows)
    found = []
    for again in range(2):  # the same memory twice
        for layer, held in enumerate(memory.held):
            kernels.choose(3 + layer + again, rate, held.view(-1).numpy())
        for function, more in ((native, memory), (by_torch, memory.held)):
            given = [[tensor.clone().requires_grad_() for tensor in many] for many in (bases, weights)]
            out = function(inputs, *given, more)
            (out * slopes).sum().backward()
            found.append([out.detach().clone(), *(tensor.grad for many in given for tensor in many)])
    for first, second in ((found[0], found[1]), (found[2], found[3])):
        for ours, theirs in zip(first, second, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-6)


def test_layers_without_zoneout_are_torchs_lstm():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4, 5, 2)
    inputs = torch.randn(9, 3, 4)
    bases = [
        (getattr(lstm, f"bias_ih_l{n}") + getattr(lstm, f"bias_hh_l{n}"))[:, None].expand(-1, 3)
        for n in (0, 1)
    ]
    weights = [torch.cat([getattr(lstm, f"weight_{k}h_l{n}") for k in "ih"], 1) for n in (0, 1)]
    memory = Memory((9, 4, 3), 5, 2)
    for held in memory.held:
        held.zero_()
    ours = native(inputs.transpose(1, 2), bases, weights, memory)
    torch.testing.assert_close(ours.detach(), lstm(inputs)[0].detach().transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_zoneout_holds_its_share_of_either_kind():
    held = np.empty(200_000, np.uint8)
    kernels.choose(5, 0.2, held)
    output, cell = held & kernels.HELD_OUTPUT > 0, held & kernels.HELD_CELL > 0
    assert output.mean() == pytest.approx(0.2, abs=0.005)
    assert cell.mean() == pytest.approx(0.2, abs=0.005)
    assert (output & cell).mean() == pytest.approx(0.04, abs=0.005)
    other = np.empty_like(held)
    kernels.choose(6, 0.2, other)
    assert (held != other).mean() > 0.3


def test_losses_are_the_distributions_densities():
    random = np.random.default_rng(0)
    scale = random.uniform(0.5, 20, 50).astype(np.float32)
    parameters = random.normal(size=(50, 3)).astype(np.float32)
    first, second, third = (np.log1p(np.exp(parameters[:, n].astype(float))) + 1e-5 for n in range(3))
    counts = random.poisson(5, 50).astype(np.float32)
    counts[0] = 1e6
    real, share = random.normal(size=50).astype(np.float32), random.uniform(size=50).astype(np.float32)
    share[:2] = 0.0, 1.0
    mean = parameters[:, 0].astype(float)
    shape = second / np.sqrt(scale)
    inside = share.clip(1e-4, 1 - 1e-4)
    one = np.ones(50, np.float32)
    cases = {
        "gaussian": (real, scale, -stats.norm(mean * scale, second * scale).logpdf(real * scale)),
        "student-T": (real, scale, -stats.t(2 + third, mean * scale, second * scale).logpdf(real * scale)),
        "beta": (share, one, -stats.beta(first, second).logpdf(inside)),
        "negative-binomial": (
            counts / scale, scale, -stats.nbinom(1 / shape, 1 / (1 + shape * first * scale)).logpmf(counts),
        ),
        "deterministic-L1": (real, scale, np.abs(real - mean)),
    }  # fmt: skip
    for name, (target, scales, expected) in cases.items():
        numbers = torch.from_numpy(parameters.T[: LIKELIHOODS[name].parameters].copy())
        found = LOSSES[name](numbers, torch.from_numpy(target), torch.from_numpy(scales)).numpy()
        keep = slice(1, None) if name == "negative-binomial" else slice(None)
        np.testing.assert_allclose(found[keep], expected[keep], rtol=2e-4, atol=2e-4, err_msg=name)
        assert np.isfinite(found).all()


def test_draws_are_of_the_distributions():
    random = np.random.default_rng(0)
    numbers = np.array([[0.7], [-0.4], [1.1]], np.float32)
    first, second, third = (np.log1p(np.exp(numbers[:, 0].astype(float))) + 1e-5).tolist()
    scale, mean = 6.0, 0.7
    shape = second / math.sqrt(scale)
    distributions = {
        "gaussian": stats.norm(mean * scale, second * scale),
        "student-T": stats.t(2 + third, mean * scale, second * scale),
        "beta": stats.beta(first, second),
        "negative-binomial": stats.nbinom(1 / shape, 1 / (1 + shape * first * scale)),
    }
    for name, distribution in distributions.items():
        likelihood = LIKELIHOODS[name]
        rows = np.repeat(numbers[: likelihood.parameters], 40_000, axis=1)
        drawn = likelihood.draw(rows, np.full(40_000, scale, np.float32), random)
        assert drawn.dtype == np.float32
        points = distribution.ppf([0.05, 0.25, 0.5, 0.75, 0.95])
        below = [(drawn <= point).mean() for point in points]
        np.testing.assert_allclose(below, distribution.cdf(points), atol=0.01, err_msg=name)
    point = LIKELIHOODS["deterministic-L1"].draw(numbers[:1], np.array([scale], np.float32), random)
    assert point == pytest.approx([0.7 * 6])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(model, one: Series, steps: int) -> np.ndarray:
    """What describes the distribution at the last of ``steps`` points behind a series' context."""
    settings, weights = model.settings, model.weights
    span, cells, keep = settings.span, settings.num_cells, settings.dropout_rate
    length = len(one) - (steps - 1)  # where the forecast begins: what follows was drawn
    past = np.abs(one.target[max(0, length - span.context) : length])
    scale = past.mean()
    state = [(np.zeros(cells), np.zeros(cells)) for _ in range(settings.num_layers)]
    vectors = [weights[f"embedding{n}_weight"][value] for n, value in enumerate(one.cat)]
    for point in range(length - span.context, length + steps):
        lagged = [one.target[point - lag] / scale if point >= lag else 0.0 for lag in settings.lags]
        calendar = span.frequency.calendar(one.start, 1, point)[0]
        features = one.dynamic[:, point] if point >= 0 else np.zeros(len(one.dynamic))
        x = np.concatenate(
            [lagged, calendar, [math.log10(2 + max(point, 0))], features, *vectors, [np.log(scale)]]
        )
        for layer, (hidden, cell) in enumerate(state):
            sums = weights[f"lstm{layer}_i2h_weight"] @ x + weights[f"lstm{layer}_i2h_bias"]
            i, f, g, o = np.split(sums + weights[f"lstm{layer}_h2h_weight"] @ hidden, 4)
            value = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            x = keep * hidden + (1 - keep) * sigmoid(o) * np.tanh(value)
            state[layer] = (x, keep * cell + (1 - keep) * value)
    return (weights["projection_weight"] @ x + weights["projection_bias"]) * scale


@pytest.mark.parametrize("layers", [1, 2])
def test_forecasts_go_on_from_their_own_draws(layers):
    model = small_model(likelihood="deterministic-L1", num_layers=layers, lags=[1, 2, 3, 7])
    random = np.random.default_rng(1)
    horizon = model.settings.prediction_length
    many = [
        series(random.normal(4, 1, size), cat=(n % 2, n % 3), dynamic=random.normal(size=(1, size + horizon)))
        for n, size in enumerate((12, 3, 30))
    ]
    paths = Forecaster(model).paths(many, 2, random)
    assert (paths.shape, paths.dtype) == ((3, 2, horizon), np.float32)
    np.testing.assert_array_equal(paths[:, 0], paths[:, 1])
    for one, path in zip(many, paths[:, 0], strict=True):
        extended = one.target.tolist()
        for step in range(1, horizon + 1):
            grown = series(extended, cat=one.cat, dynamic=one.dynamic)
            expected = float(reference(model, grown, step)[0])
            assert path[step - 1] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            extended.append(expected)


def test_the_network_that_learns_is_the_one_that_forecasts():
    model = small_model(likelihood="gaussian", dropout_rate=0.0)
    settings, span = model.settings, model.settings.span
    network = Network(span.width(1), [2, 3], 2, 3, 2, "gaussian", 0.0)
    names = dict(zip(("embedding0_weight", "embedding1_weight"), network.embeddings, strict=True))
    for layer in range(2):
        names[f"lstm{layer}_i2h_bias"] = network.biases[layer]
    names |= {"projection_weight": network.head.weight, "projection_bias": network.head.bias}
    for name, parameter in names.items():
        parameter.data = torch.from_numpy(model.weights[name].copy())
    first = torch.from_numpy(model.weights["lstm0_i2h_weight"].copy())
    second = torch.from_numpy(model.weights["lstm1_i2h_weight"])
    own = [torch.from_numpy(model.weights[f"lstm{layer}_h2h_weight"]) for layer in range(2)]
    network.layers[0].data = torch.cat([first[:, : -settings.constant], own[0]], 1)
    network.layers[1].data = torch.cat([second, own[1]], 1)
    network.constant.data = first[:, -settings.constant :].contiguous()

    random = np.random.default_rng(2)
    one = series(random.normal(4, 1, 20), cat=(1, 2), dynamic=random.normal(size=(1, 20)))
    windows = Store([one], span).windows(np.array([0]), np.array([16]))
    part = Part(
        *(torch.from_numpy(getattr(windows, n)) for n in ("inputs", "targets", "weights", "scale", "cats")), 1
    )
    found = network(part).detach().numpy()[:, :, 0] * windows.scale[0]
    for step in range(4):
        expected = reference(model, one.until(16 + step), step + 1)
        np.testing.assert_allclose(found[span.context + step], expected, rtol=1e-4, atol=1e-5)
    total, count = network.losses(part).tolist()
    assert count == 9
    targets, scale = torch.from_numpy(windows.targets), torch.from_numpy(windows.scale)
    losses = LOSSES["gaussian"](network(part).detach().unbind(1), targets, scale)
    assert total == pytest.approx(float(losses.sum()), rel=1e-5)


def test_other_devices_compute_the_same():
    span = Span(parse("D"), np.array([1, 7], np.int64), 5, 3)
    target = np.random.default_rng(0).normal(4, 1, 40)
    windows = Store([series(target, cat=(1,))], span).windows(np.zeros(6, np.int64), np.arange(6, 30, 4))
    arrays = (windows.inputs, windows.targets, windows.weights, windows.scale, windows.cats)
    part = Part(*map(torch.from_numpy, arrays), seed=1)
    found = []
    for machine, zoneout in ((True, 0.0), (False, 0.0), (False, 0.3)):
        torch.manual_seed(0)
        network = Network(span.width(0), [2], 2, 4, 2, "student-T", zoneout, native=machine)
        losses = network.losses(part)
        losses[0].backward()
        found.append([losses.detach(), *(parameter.grad for parameter in network.parameters())])
    for ours, theirs in zip(found[0], found[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(found[2][0]).all()
    assert found[2][0][0] != found[1][0][0]


def test_the_symbol_describes_a_step():
    """Each node is computed as MXNet documents its operator."""
    model = small_model(num_layers=1)
    cells = model.settings.num_cells
    graph = json.loads(symbol.dumps(model.settings))
    random = np.random.default_rng(0)
    given = {
        "data": random.normal(size=(2, 3 + 3 + 1 + 1)),
        "cat": np.array([[1, 2], [0, 1]]),
        "scale": np.array([[2.0], [3.0]]),
        "lstm0_begin_state_0": random.normal(size=(2, cells)),
        "lstm0_begin_state_1": random.normal(size=(2, cells)),
        **model.weights,
    }
    values: list[np.ndarray] = []
    for node in graph["nodes"]:
        inputs = [values[number] for number, _, _ in node["inputs"]]
        attributes = node.get("attrs", {})
        match node["op"]:
            case "null":
                value = given[node["name"]]
            case "slice_axis":
                value = inputs[0][:, int(attributes["begin"]) : int(attributes["end"])]
            case "Embedding":
                assert inputs[1].shape == (int(attributes["input_dim"]), int(attributes["output_dim"]))
                value = inputs[1][inputs[0]]
            case "Flatten":
                value = inputs[0].reshape(len(inputs[0]), -1)
            case "log":
                value = np.log(inputs[0])
            case "Concat":
                value = np.concatenate(inputs, axis=int(attributes["dim"]))
            case "FullyConnected":
                assert len(inputs[1]) == int(attributes["num_hidden"])
                value = inputs[0] @ inputs[1].T + (inputs[2] if len(inputs) > 2 else 0)
            case "elemwise_add":
                value = inputs[0] + inputs[1]
            case "elemwise_mul":
                value = inputs[0] * inputs[1]
            case "_mul_scalar":
                value = inputs[0] * float(attributes["scalar"])
            case "Activation":
                value = {"tanh": np.tanh, "sigmoid": sigmoid}[attributes["act_type"]](inputs[0])
        values.append(value)
    head, hidden, cell = (values[number] for number, _, _ in graph["heads"])
    vectors = [model.weights[f"embedding{n}_weight"][given["cat"][:, n]] for n in range(2)]
    x = np.concatenate([given["data"], *vectors, np.log(given["scale"])], 1)
    old_hidden, old_cell = given["lstm0_begin_state_0"], given["lstm0_begin_state_1"]
    weights = model.weights
    sums = x @ weights["lstm0_i2h_weight"].T + old_hidden @ weights["lstm0_h2h_weight"].T
    i, f, g, o = np.split(sums + weights["lstm0_i2h_bias"], 4, axis=1)
    value = sigmoid(f) * old_cell + sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(cell, 0.1 * old_cell + 0.9 * value)
    np.testing.assert_allclose(hidden, 0.1 * old_hidden + 0.9 * sigmoid(o) * np.tanh(value))
    np.testing.assert_allclose(head, hidden @ weights["projection_weight"].T + weights["projection_bias"])


# --- scores ---


def test_scores_are_the_guides():
    random = np.random.default_rng(0)
    paths = random.normal(5, 2, (6, 30, 4)).astype(np.float32)
    actual = random.normal(5, 2, (6, 4)).astype(np.float32)
    actual[0, 1] = actual[3, 3] = np.nan
    levels = [0.1, 0.5, 0.77]
    ours = scoring.quantiles(paths, levels)
    np.testing.assert_allclose(ours, np.quantile(paths, levels, axis=1).swapaxes(0, 1), rtol=1e-5)
    parts = [scoring.sums(paths[part], actual[part], levels) for part in (slice(4), slice(4, 6))]
    found = scoring.scores(sum(parts), levels)
    seen = ~np.isnan(actual)
    truth = actual[seen]
    losses = []
    for index, level in enumerate(levels):
        short = truth - ours[:, index][seen]
        losses.append(2 * np.where(short > 0, level * short, (level - 1) * short).sum())
    total = np.abs(truth).sum()
    assert found == {
        "RMSE": pytest.approx(np.sqrt(((paths.mean(1)[seen] - truth) ** 2).mean())),
        "mean_absolute_QuantileLoss": pytest.approx(np.mean(losses)),
        "mean_wQuantileLoss": pytest.approx(np.mean(losses) / total),
        **{
            f"wQuantileLoss[{q}]": pytest.approx(loss / total) for q, loss in zip(levels, losses, strict=True)
        },
    }
