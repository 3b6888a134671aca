"""The pages in a real browser, by keyboard."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import free_port
from tests.unit.ui.browser import CHROMIUM, DRIVER, Browser, until
from tests.unit.ui.conftest import Folder, quality
from tests.unit.ui.test_server import running

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its driver is here"),
    pytest.mark.slow,
]
# What is said to it goes into the log, which it holds as `algodock train` does.
WRITER = "import sys; file = open(sys.argv[1], 'a', 1); [file.write(line) for line in sys.stdin]"


@pytest.fixture
def browser(tmp_path) -> Iterator[Browser]:
    made = Browser(tmp_path / "profile", free_port())
    yield made
    made.close()


def focused(browser):
    return browser.run("return document.activeElement.id")


def go_to(browser, name):
    """Presses Tab until the element has the focus."""
    for _ in range(40):
        if focused(browser) == name:
            return
        browser.press("Tab")
    raise AssertionError(f"the keyboard doesn't reach {name}")


def test_a_running_job_is_found_by_keyboard_and_followed(browser, trained):
    (trained / "live").mkdir()
    job = Folder(trained / "live").begin()
    program = [sys.executable, "-c", WRITER, str(job.place / "train.log")]
    with (
        running(trained) as (_, address),
        subprocess.Popen(program, stdin=subprocess.PIPE, text=True) as writer,
    ):

        def say(*lines):
            writer.stdin.writelines(lines)
            writer.stdin.flush()

        browser.open(address)
        browser.press("Tab")
        assert browser.run("return document.activeElement.className") == "skip"
        go_to(browser, "filter")
        browser.press("kmeans live")
        until(lambda: browser.text("#count") == "1 shown")
        go_to(browser, "link-live")
        # What is fetched meanwhile leaves the focus where it is.
        say(quality(0, 7.25))
        until(lambda: "7.25" in browser.text("#row-live"))
        assert focused(browser) == "link-live"
        browser.press("Enter")
        until(lambda: "7.25" in browser.text("#metrics"))
        assert "running" in browser.text("#facts")
        assert browser.run("return document.querySelectorAll('#metrics svg').length") == 0
        say(quality(1, 6.5), quality(2, 6.125))
        until(lambda: "6.125" in browser.text("#metrics") and "6.125" in browser.text("#log"))
        until(lambda: browser.run("return document.querySelectorAll('#metrics svg').length") == 1)
        job.end()
        writer.stdin.close()
        until(lambda: "completed" in browser.text("#facts"))


def test_a_model_is_tried_by_keyboard(browser, trained):
    with running(trained) as (_, address):
        browser.open(f"{address}/jobs/clusters")
        go_to(browser, "try")
        browser.press("Enter")
        until(lambda: "endpoint is off" in browser.text("#endpoint"))
        go_to(browser, "endpoint-button")
        browser.press("Enter")
        until(lambda: "is ready" in browser.text("#endpoint"), 60)
        assert focused(browser) == "endpoint-button"
        go_to(browser, "body")
        browser.press("0,0", "Enter", "6,1", "Control+Enter")
        until(lambda: "closest_cluster" in browser.text("#answer table"))
        assert browser.run("return document.querySelectorAll('#answer tbody tr').length") == 2
        browser.press(",1", "Control+Enter")
        until(lambda: "answered 400" in browser.text("#answer .failure"))


def test_a_long_name_leaves_the_other_columns_in_sight(browser, trained):
    place = trained / "image-classification_of_ants_and_bees,_shrunk_to_32_pixels_2026-11-30-19-16-22"
    place.mkdir()
    Folder(place).begin("image_classification").log(quality(0, 7.25)).age()
    hidden = "const box = document.getElementById('jobs'); return box.scrollWidth - box.clientWidth"
    with running(trained) as (_, address):
        browser.open(address)
        assert browser.run(hidden) == 0


def test_a_page_that_is_no_longer_fresh_says_so(browser, trained):
    (trained / "removed").mkdir()
    Folder(trained / "removed").begin()
    with running(trained) as (_, address):
        browser.open(f"{address}/jobs/removed")
        shutil.rmtree(trained / "removed")
        until(lambda: "no such job" in browser.text("#stale"))
        browser.open(f"{address}/jobs/clusters")
    until(lambda: "doesn't answer" in browser.text("#stale"))
    assert "completed" in browser.text("#facts")


def test_a_dropped_file_is_asked_about(browser, trained, tmp_path):
    (tmp_path / "rows.csv").write_text("0,0\n")
    with running(trained) as (_, address):
        browser.open(f"{address}/jobs/clusters/try")
        browser.run(
            "const files = new DataTransfer(); files.items.add(new File(['0,0\\n5,1\\n'], 'rows.csv'));"
            "document.getElementById('answer').dispatchEvent("
            "new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}))"
        )
        assert browser.run("return document.getElementById('file').files[0].name") == "rows.csv"
        go_to(browser, "send")
        browser.press("Enter")
        until(lambda: "closest_cluster" in browser.text("#answer table"), 60)
        browser.choose("#file", tmp_path / "rows.csv")
        go_to(browser, "send")
        browser.press("Enter")
        until(lambda: browser.run("return document.querySelectorAll('#answer tbody tr').length") == 1)
        assert focused(browser) == "send"
        (tmp_path / "rows.csv").write_text("0,0\n5,1\n7,7\n")
        browser.press("Enter")
        until(lambda: "choose it again" in browser.text("#answer"))
