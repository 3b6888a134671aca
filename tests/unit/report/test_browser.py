"""A report in a real browser: on a phone and on a screen, by day and by night."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from common.report import charts, page
from common.report.drawing import COLOURS
from common.report.page import Picture, Section
from common.report.supervised import binary, regression
from tests.conftest import free_port
from tests.unit.ui.browser import CHROMIUM, DRIVER, Browser

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its driver is here"),
    pytest.mark.slow,
]
RANDOM = np.random.default_rng(0)
# What a chart's texts and lines are drawn with, and what they are drawn on.
SEEN = """
const shown = (one, name) => getComputedStyle(one)[name];
const texts = [...document.querySelectorAll("svg text")];
return {
  width: document.documentElement.scrollWidth, window: innerWidth,
  fetched: performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length,
  paper: shown(document.body, "backgroundColor"), ink: shown(document.body, "color"),
  texts: [...new Set(texts.map(one => shown(one, "fill")))],
  smallest: Math.min(...texts.map(one => one.getBoundingClientRect().height)),
  outside: [...document.querySelectorAll("svg, img, dl")].filter(
    one => one.getBoundingClientRect().right > innerWidth + 1).length,
  pictures: [...document.images].every(one => one.complete && one.naturalWidth > 0),
};
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of every kind of part, with names that are long."""
    file = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 255, (60, 80, 3), np.uint8)).save(file, "JPEG")
    picture = Picture(
        file.getvalue(), "image/jpeg", "class 1, predicted 0", [(0.1, 0.1, 0.9, 0.9, "class 1", 1)]
    )
    truth, scores = RANDOM.random(80) < 0.5, RANDOM.random(80)
    words = charts.scatter("words", RANDOM.normal(size=(30, 2)), texts=["word"] * 30)
    wide = page.table(["a_hyperparameter_with_a_long_name"] * 8, [["some_value_of_it"] * 8] * 3)
    sections = [
        *binary(truth, scores, 0.5, "some rows"),
        *regression(scores, scores + 0.1, "some rows"),
        Section("Others", [page.figures((words, "words")), page.pictures([picture] * 7), wide]),
    ]
    place = tmp_path_factory.mktemp("page") / "report.html"
    place.write_text(
        page.document("A report", page.facts({"status": "completed", "time": "2.0 s"}), sections)
    )
    return place


def rgb(written):
    return "rgb({}, {}, {})".format(*bytes.fromhex(written[1:]))


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", [500, 1200], ids=["phone", "screen"])
def test_it_is_readable(report, tmp_path, width, dark):
    browser = Browser(tmp_path / "profile", free_port(), width=width, dark=dark)
    try:
        browser.open(report.as_uri())
        found = browser.run(SEEN)
    finally:
        browser.close()
    assert found["window"] <= width
    assert found["width"] <= found["window"], "the page scrolls sideways"
    assert not found["outside"]
    assert found["fetched"] == 0
    assert found["pictures"]
    assert found["paper"] == rgb(COLOURS["paper"][dark])
    assert found["ink"] == rgb(COLOURS["ink"][dark])
    assert set(found["texts"]) <= {rgb(COLOURS[name][dark]) for name in ("ink", "soft")}
    assert found["smallest"] > 7
