"""Charts, pages, judgements of classifiers, planes, samples, and the tape."""

import io
import re
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.decomposition import PCA

from common import manifest
from common.batches import CSR, Batch, to_csr
from common.channels.channel import Channel
from common.job import ChannelConfig
from common.manifest import ChannelSpec
from common.report import charts, curves, history, page, samples, tape, writing
from common.report.drawing import COLOURS
from common.report.planes import plane
from common.report.supervised import Curve, binary, classes, regression

RANDOM = np.random.default_rng(0)
DRAWN = {
    "lines": lambda: charts.lines(
        "a", {"train": ([0, 1], [1, 2]), "test": ([0, 1], [2, 1])}, "x", "y", whole=True
    ),
    "marks": lambda: charts.lines("a", {"m": ([0, 1], [0, 1])}, marks=[(0.5, 0.5, "here")], diagonal=True),
    "bands": lambda: charts.bands(
        "a", [2, 3], [1, 1], [([0, 0], [2, 2], "all")], ([0, 1], [1, 1]), ([2, 3], [1, 2])
    ),
    "bars": lambda: charts.bars("a", ["one", "two"], [1, 2], "x", "y"),
    "lying": lambda: charts.bars("a", ["one" * 30, "two"], [1, -2], "x"),
    "many": lambda: charts.bars("a", range(300), range(300), "x", "y"),
    "histogram": lambda: charts.histogram("a", {"b": [1, np.nan, 2], "c": [np.inf, 1]}, "x", 1.5),
    "empty": lambda: charts.histogram("a", {"b": []}, "x"),
    "scatter": lambda: charts.scatter("a", RANDOM.normal(size=(3000, 2)), RANDOM.integers(0, 3, 3000)),
    "texts": lambda: charts.scatter("a", RANDOM.normal(size=(3, 2)), texts=["漢字", "<y>", "$z"]),
    "cloud": lambda: charts.cloud(
        "a", np.array([[1, 2], [1, 3], [10, 1], [100, 2]]), "x", "y", logarithmic=True
    ),
    "words": lambda: charts.cloud("a", np.array([[0.0, 2], [1, 3]]), "x", "y", names=["b", "c"]),
    "matrix": lambda: charts.matrix("a", np.arange(6).reshape(2, 3), "ab", "cde", "x", "y", by_row=True),
    "large": lambda: charts.matrix("a", RANDOM.random((40, 40)), range(40), range(40)),
    "nothing": lambda: charts.matrix("a", np.zeros((2, 2), int), "ab", "ab"),
}


@pytest.mark.parametrize("name", list(DRAWN))
def test_charts_take_their_colours_from_the_page(name):
    svg = DRAWN[name]()
    ElementTree.fromstring(svg)
    assert svg.startswith("<svg")
    assert 'role="img" aria-label="a"' in svg
    assert "http" not in svg
    colours = set(re.findall(r"#[0-9a-f]{6}\b", svg))
    assert not colours, colours
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= set(COLOURS)
    assert len(svg) < 400_000


def test_names_of_two_charts_differ():
    first, second = DRAWN["marks"](), DRAWN["marks"]()
    clips = [set(re.findall(r'<clipPath id="(\w+)"', svg)) for svg in (first, second)]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_a_line_of_many_points_keeps_its_ends():
    svg = charts.lines("a", {"b": (np.arange(100_000), np.arange(100_000))})
    assert len(svg) < 40_000


def test_small_differences_stay_on_an_axis():
    """Coordinates are rounded to shorten a page; numbers that are read are not."""
    svg = charts.lines("a", {"b": ([0, 1], [0.0012, 0.0018])})
    ticks = re.findall(r">(0\.00\d+)</text>", svg)
    assert len(set(ticks)) == len(ticks) > 3


def test_a_long_line_keeps_its_peaks():
    ys = np.zeros(10_000)
    ys[[1234, 7001]] = 60, -20
    svg = charts.lines("a", {"b": (np.arange(10_000), ys)})
    assert len(svg) < 40_000
    assert ">60<" in svg
    assert ">−20<" in svg


def test_the_names_of_measures_fit_their_axis():
    svg = charts.lines("a", {"b": ([0, 1], [0, 1])}, "epoch", "binary_classification_cross_entropy_objective")
    assert "binary_classification_cross_ent…" in svg


@pytest.mark.parametrize("count", [30, 40])
def test_the_classes_below_a_matrix_leave_each_other_room(count):
    names = [f"{1000 + number}" for number in range(count)]
    svg = charts.matrix("a", np.eye(count, dtype=int), range(count), names)
    assert svg.count(">10") <= 24
    assert "rotate(-45" in svg


def test_a_line_that_begins_anew_is_broken():
    """The folds of a cross-validation."""
    paths = [
        re.search(r'<path d="([^"]*)"[^>]*stroke: var\(--c0\)', charts.lines("a", {"b": (xs, [1, 2, 3, 4])}))[
            1
        ]
        for xs in ([0, 1, 2, 3], [0, 1, 0, 1])
    ]
    assert [path.count("M") for path in paths] == [1, 2]


def test_one_component_has_a_whole_number():
    assert ">0.9" not in charts.lines("a", {"b": ([1], [5])}, whole=True)


def test_a_legend_is_read_row_by_row():
    svg = charts.scatter("a", np.zeros((10, 2)), np.arange(10), {n: f"kind {n}" for n in range(10)})
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>kind (\d)<', svg)
    read = sorted(found, key=lambda one: (float(one[1]), float(one[0])))
    assert [int(number) for _, _, number in read] == [*range(10)]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_legend_is_no_wider_than_its_chart(count):
    between = [([0, 0], [1, 1], f"0.{n} to 0.9") for n in range(count)]
    svg = charts.bands("a", [0, 1], [1, 1], between, ([-1], [1]), ([0], [1]))
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    found = re.findall(r'x="([\d.]+)"[^>]*>(before|what came|median|0\.\d to 0\.9)<', svg)
    assert len(found) == count + 3
    assert all(float(x) + 4 * len(name) < width for x, name in found)


def test_a_group_keeps_its_colour_where_another_is_empty():
    assert "fill: var(--c1)" in charts.histogram("a", {"label 1": [], "other": [1, 2]}, "x")


def test_counts_of_rows_are_whole():
    svg = charts.histogram("a", {"b": [1.0]}, "x")
    assert ">0.5<" not in svg
    assert ">0.2<" not in svg


def test_a_page_shows_any_text_as_it_is():
    bad = "<script>alert('x')</script> & \"more\""
    sections = [page.Section(bad, [page.table([bad], [[bad]]), page.paragraph(bad)], bad)]
    shown = page.document(bad, page.facts({bad: bad}), sections)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_the_best_of_a_curve():
    """The epoch whose model is kept is seldom the last."""
    metrics_of = manifest.load("image-classification").metrics
    lines = [f"Epoch[{e}] Validation-accuracy={a}" for e, a in enumerate((0.5, 0.75, 0.25))]
    assert curves.best(history.read(lines, metrics_of), metrics_of) == {
        "validation:accuracy": "0.75\N{NO-BREAK SPACE}(epoch\N{NO-BREAK SPACE}1)"
    }
    assert curves.best(history.read(lines[:1], metrics_of), metrics_of) == {}
    folds = [f"[{r}]\ttrain-rmse:1\tvalidation-rmse:{4 - r}" for r in (0, 1, 0, 1, 2)]
    boosted = manifest.load("xgboost").metrics
    assert curves.best(history.read(folds, boosted), boosted) == {}
    assert curves.best(history.read(folds[:2], boosted), boosted) == {
        "validation:rmse": "3\N{NO-BREAK SPACE}(round\N{NO-BREAK SPACE}1)"
    }


def test_boxes_are_seen_on_any_photograph():
    """By the colours of the night on a shadow; what is wanted is dashed and above what was found."""
    boxes = [(0, 0, 0.5, 0.5, "class 1", 1), (0, 0, 1, 1, "annotated 1", page.WANTED)]
    shown = page.pictures([page.Picture(b"", "image/jpeg", "a", boxes)])
    found, wanted = re.findall("<rect[^>]*>", shown)
    assert f'stroke="{COLOURS["c1"][1]}"' in found
    assert "dasharray" not in found
    assert "dasharray" in wanted
    assert "drop-shadow" in page.STYLE


def test_a_key_names_colours():
    shown = page.key([("#123456", "class <0>")])
    assert "background:#123456" in shown
    assert "class &lt;0&gt;" in shown


def test_sentences_in_a_table_keep_some_width():
    """On a phone the table scrolls; a column of single words would be taller than the window."""
    shown = page.table(["a"], [["a sentence that is longer than a few words"], ["word"]])
    assert '<td class="long">a sentence' in shown
    assert "<td>word" in shown


def test_long_names_break_where_their_words_end():
    assert "validation:<wbr>pixel_<wbr>accuracy" in page.facts({"validation:pixel_accuracy": 1})
    shown = page.table(
        ["metric", "value"], [["validation:binary_accuracy", 1], ["a_b", "a sentence of <a_b> and others"]]
    )
    for cell in ('<td class="name">validation:<wbr>binary_<wbr>accuracy</td>', "<td>a_b</td>", "&lt;a_b&gt;"):
        assert cell in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(["msd", "ssd"], "msd, ssd"), ((), ""), (True, "true"), (None, ""), (0.1, "0.1")],
    ids=str,
)
def test_hyperparameters_as_they_are_given(value, shown):
    assert writing._plain(value) == shown


@pytest.mark.parametrize(("rate", "shown"), [(0.361, "0.36"), (1.987, "2"), (88756.3, "88,756")], ids=str)
def test_rates(rate, shown):
    assert page.number(writing._rate(rate)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (0.1234567891, "0.123457"),
        (5000.0, "5,000"),
        (True, "True"),
        ("a", "a"),
        (-3, "-3"),
        (8.9947614221281e22, "8.99476e+22"),
    ],
    ids=str,
)
def test_numbers_are_readable(value, shown):
    assert page.number(value) == shown


@given(st.integers(0, 2**31), st.integers(2, 300), st.booleans())
@settings(max_examples=40)
def test_curves_are_scikit_learns(seed, count, coarse):
    random = np.random.default_rng(seed)
    truth = np.r_[True, False, random.random(count) < 0.4]
    scores = random.normal(size=len(truth))
    scores = scores.round(0) if coarse else scores
    curve = Curve.of(truth, scores)
    assert curve.area == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert curve.average_precision == pytest.approx(metrics.average_precision_score(truth, scores))
    threshold = float(random.choice(scores))
    called = scores >= threshold
    false_rate, recall, precision = curve.at(threshold)
    assert recall == pytest.approx(metrics.recall_score(truth, called))
    assert precision == pytest.approx(metrics.precision_score(truth, called))
    assert false_rate == pytest.approx(called[~truth].mean())


def test_a_classifier_that_never_meets_the_other_label():
    (confusion, scores) = list(binary(np.ones(5), np.linspace(0, 1, 5), 0.5, "here"))
    assert confusion.title == "Confusion"
    assert "area" not in "".join(scores.parts)


def test_classes_as_scikit_learn_counts_them():
    labels, guesses = RANDOM.integers(0, 3, 200), RANDOM.integers(0, 4, 200)
    (section,) = classes(labels, guesses, "here")
    told = re.findall(r"<tr><td>(\d)</td>((?:<td[^>]*>[^<]*</td>)+)</tr>", section.parts[1])
    precision, recall, *_ = metrics.precision_recall_fscore_support(labels, guesses, zero_division=np.nan)
    for name, cells in told:
        values = re.findall(r">([^<]*)</td>", cells)
        assert float(values[1]) == pytest.approx(precision[int(name)], abs=1e-4)
        assert values[2] == "" or float(values[2]) == pytest.approx(recall[int(name)], abs=1e-4)
    assert f"Accuracy {metrics.accuracy_score(labels, guesses):.4f}" in section.note


def test_many_classes_are_cut_to_the_commonest():
    labels = np.arange(1000) % 100
    (section,) = classes(labels, labels, "here")
    assert section.parts[1].count("<tr>") == 41
    assert "the 40 commonest of 100 classes" in section.parts[0]


def test_classes_that_are_cut_off_count_in_the_figures_of_the_others():
    labels = np.repeat(np.arange(100), np.arange(101, 1, -1))
    guesses = np.where(RANDOM.random(len(labels)) < 0.5, labels, RANDOM.integers(0, 100, len(labels)))
    (section,) = classes(labels, guesses, "here")
    precision, recall, _, rows = metrics.precision_recall_fscore_support(labels, guesses)
    cells = r"<tr><td>(\d+)</td>" + r'<td class="number">([^<]*)</td>' * 3
    told = re.findall(cells, section.parts[1])
    assert len(told) == 40
    for name, *values in told:
        expected = rows[int(name)], precision[int(name)], recall[int(name)]
        assert [float(value) for value in values] == pytest.approx(expected, abs=1e-4)


def test_regression_tells_its_errors():
    truth = RANDOM.normal(size=100)
    guess = truth + 0.5
    (section,) = regression(truth, guess, "here")
    assert "RMSE 0.5, mean absolute error 0.5" in section.note
    assert f"R² {metrics.r2_score(truth, guess):.4f}" in section.note


@pytest.mark.parametrize("shape", [(50, 5), (5, 50), (10, 1)], ids=str)
def test_planes_are_principal_components(shape):
    rows = RANDOM.normal(size=shape) * np.arange(1, shape[1] + 1)
    points, share = plane(rows)
    count = min(2, *shape)
    expected = PCA(count).fit(rows)
    np.testing.assert_allclose(np.abs(points[:, :count]), np.abs(expected.transform(rows)), atol=1e-6)
    assert share == pytest.approx(expected.explained_variance_ratio_.sum())


def run_of(channel):
    return SimpleNamespace(channels={"test": channel}, hyperparameters={"feature_dim": 2})


def channel_of(tmp_path, rows):
    folder = tmp_path / "test"
    folder.mkdir()
    text = "".join(f"{number},{number}.5,{-number}\n" for number in range(rows))
    (folder / "rows.csv").write_text(text)
    spec = ChannelSpec("test", "", ("text/csv",), labels="required")
    return Channel(ChannelConfig("test", content_type="text/csv"), spec, tmp_path)


@pytest.mark.parametrize("rows", [1, 4000, 8001, 50_000])
def test_a_sample_is_evenly_spread(tmp_path, rows):
    found = samples.rows(run_of(channel_of(tmp_path, rows)), "test", "train")
    assert (found.seen, found.whole) == (rows, True)
    labels = found.batch.labels
    steps = np.diff(labels)
    assert labels[0] == 0
    assert len(set(steps.tolist())) <= 1
    assert len(labels) == rows if rows <= 8000 else samples.ROWS <= len(labels) <= 2 * samples.ROWS
    np.testing.assert_array_equal(found.batch.features[:, 0], labels + 0.5)


def test_fewer_rows_of_a_sample_are_told_as_such(tmp_path):
    found = samples.rows(run_of(channel_of(tmp_path, 1500)), "test")
    assert found.fewer(2000) is found
    fewer = found.fewer(1000)
    assert fewer.described == "750 rows of channel test evenly spread over all 1,500"
    np.testing.assert_array_equal(fewer.batch.labels, np.arange(0, 1500, 2))


def test_one_row_is_not_told_as_many(tmp_path):
    found = samples.rows(run_of(channel_of(tmp_path, 1)), "test")
    assert found.described == "the only row of channel test"


def test_a_sample_of_nothing(tmp_path):
    assert samples.rows(run_of(channel_of(tmp_path, 3)), "validation") is None


def test_first_blocks_of_a_pipe(tmp_path):
    blocks = [Batch(np.full((3, 2), n, np.float32), np.full(3, n, np.float32)) for n in range(3)]
    channel = SimpleNamespace(piped=True, first=blocks, name="test")
    found = samples.rows(run_of(channel), "test")
    assert (len(found.batch), found.whole, found.described) == (9, False, "9 rows of channel test")
    assert samples.rows(run_of(SimpleNamespace(piped=True, first=[], name="test")), "test") is None


def test_sparse_rows_stay_sparse():
    batch = Batch(to_csr(np.eye(4, dtype=np.float32)), np.arange(4, dtype=np.float32))
    assert isinstance(batch[1::2].features, CSR)


def test_the_tape_hands_on_what_it_keeps(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("ALGODOCK_REPORT", "1")
    with tape.recording() as kept:
        print("one", 2)
        print("three")
    assert sys.stdout is stream
    assert stream.getvalue() == "one 2\nthree\n"
    assert kept.lines == ["one 2", "three"]


def test_a_large_model_is_not_opened_a_second_time(tmp_path, monkeypatch):
    """Training still holds it: memory might not do for two."""
    (tmp_path / "model").write_bytes(b"12345678901")
    monkeypatch.setattr(writing, "_LARGEST", 10)
    run = SimpleNamespace(job=SimpleNamespace(model=tmp_path))
    assert writing._own(run) == ([], "the model has 11 bytes, too much to be opened a second time")


def test_no_tape_without_a_report(monkeypatch):
    monkeypatch.setenv("ALGODOCK_REPORT", "0")
    stream = sys.stdout
    with tape.recording() as kept:
        assert kept is None
        assert sys.stdout is stream
