"""What folders tell of jobs and tunings, at each moment of their lives."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.tuning import trials
from local.tuning.trials import Trial
from local.ui import curves
from local.ui.jobs import Job, Tuning
from local.ui.store import Store
from tests.unit.ui.browser import until
from tests.unit.ui.conftest import FIRST, quality


def status(store, key):
    return store.get(key).status


def test_a_job_that_has_ended_well_is_completed(folder, store):
    folder("a").begin().end()
    job = store.get("a")
    assert (job.status, job.algorithm, job.failure) == ("completed", "kmeans", "")
    assert job.channels == {"train": "train.csv"}


def test_a_failure_is_told_in_its_own_words(folder, store):
    folder("a").begin().end(model=False, failure="ClientError: k is missing")
    job = store.get("a")
    assert (job.status, job.failure) == ("failed", "ClientError: k is missing")


def test_a_job_that_was_killed_has_no_reason_to_tell(folder, store):
    folder("a").begin().end(model=False)
    job = store.get("a")
    assert job.status == "failed"
    assert "train.log" in job.failure


def test_what_a_program_leaves_that_was_asked_to_stop_is_no_failure(folder, store):
    folder("a").begin().end(model=False, failure="AlgorithmError: killed", status="Stopped")
    job = store.get("a")
    assert (job.status, job.failure) == ("stopped", "")


def test_a_damaged_description_tells_nothing(folder, store):
    folder("a").begin().end(status=["?"])
    folder("b").begin().end(failure="ClientError: k is missing", status=["?"])
    assert [status(store, key) for key in "ab"] == ["unknown", "failed"]


def test_a_young_folder_runs_and_an_old_one_ended_without_a_word(folder, store):
    made = folder("a").begin(k="2")
    job = store.get("a")
    assert (job.status, job.algorithm, job.hyperparameters) == ("running", "kmeans", {"k": "2"})
    assert job.channels == {"train": "File, text/csv"}
    made.age()
    assert status(store, "a") == "unknown"


@pytest.mark.parametrize(("mode", "expected"), [("a", "running"), ("r", "unknown")])
def test_a_job_runs_as_long_as_somebody_writes_its_log(folder, store, mode, expected):
    made = folder("a").begin().age()
    program = "import sys, time; file = open(*sys.argv[1:]); print(flush=True); time.sleep(60)"
    arguments = [sys.executable, "-c", program, str(made.place / "train.log"), mode]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            assert status(store, "a") == expected
        finally:
            process.kill()
    until(lambda: status(Store(store.root), "a") == "unknown")


def test_a_job_that_runs_again_in_its_folder_is_not_taken_for_the_earlier_one(folder, store):
    made = folder("a").begin().end(algorithm="pca").age()
    assert store.get("a").algorithm == "pca"
    made.begin(k="3")
    job = store.get("a")
    assert (job.status, job.algorithm, job.hyperparameters) == ("running", "kmeans", {"k": "3"})


def test_a_job_without_its_hosts_folders_is_read_from_what_is_left(folder, store):
    made = folder("a").begin().end()
    subprocess.run(["rm", "-r", str(made.place / "ml")], check=True)
    job = store.get("a")
    assert (job.status, job.hyperparameters) == ("completed", {"k": "2"})


def test_the_report_and_the_failure_are_found_in_the_archive_too(folder, store):
    made = folder("a").begin().end(model=False, failure="ClientError: no", report="<p>hello")
    subprocess.run(
        ["tar", "czf", made.place / "output.tar.gz", "-C", made.ml / "output", "data/report.html", "failure"],
        check=True,
    )
    subprocess.run(["rm", "-r", made.place / "ml"], check=True)
    job = store.get("a")
    assert (job.status, job.failure, job.report()) == ("failed", "ClientError: no", b"<p>hello")


def test_jobs_are_found_at_any_depth_up_to_four_and_the_newest_is_first(folder, store):
    folder("old").begin().age()
    folder("a/b/c/d").begin()
    folder("a/b/c/d2/e").begin()
    folder(".hidden").begin()
    assert [entry.key for entry in store.entries()] == ["a/b/c/d", "old"]


@pytest.mark.parametrize(
    "key", ["", "/", "..", "../jobs", "a/../../etc", "a/\0", "/etc", "none", "out", "x" * 5000]
)
def test_nothing_outside_the_folder_is_a_job(folder, store, tmp_path, key):
    folder("a").begin()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "train.log").write_text("secret")
    (store.root / "out").symlink_to(tmp_path / "elsewhere")
    assert store.get(key) is None
    assert [entry.key for entry in store.entries()] == ["a"]


def test_files_that_are_links_out_of_the_job_are_not_read(folder, store, tmp_path):
    (tmp_path / "secret").write_text(FIRST + "secret")
    made = folder("a").begin()
    for name in ("train.log", "ml/algo-1/output/failure", "ml/algo-1/output/data/report.html"):
        (made.place / name).unlink(missing_ok=True)
        (made.place / name).symlink_to(tmp_path / "secret")
    job = store.get("a")
    assert (job.failure, job.report(), job.file("train.log"), curves.tail(job)) == ("", None, None, "")


def test_a_pipe_in_place_of_a_file_holds_nothing_up(folder, store):
    made = folder("a").begin()
    (made.place / "train.log").unlink()
    os.mkfifo(made.place / "train.log")
    assert curves.tail(store.get("a")) == ""


def test_a_job_can_be_shown_alone(folder, tmp_path):
    folder("a").begin()
    folder("b").begin()
    alone = Store(tmp_path / "jobs" / "a")
    assert [entry.key for entry in alone.entries()] == ["a"]
    assert alone.get("a")
    assert alone.get("b") is None


def test_a_folder_that_is_not_there_has_no_jobs(tmp_path):
    assert Store(tmp_path / "none").entries() == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"algorithm": 3, "hyperparameters": 7, "channels": [1]}', "\xff", "[" * 100_000]
)
def test_descriptions_that_are_damaged_are_passed_over(folder, store, text):
    made = folder("a").begin().end()
    (made.place / "job.json").write_text(text)
    (made.ml / "input" / "config" / "hyperparameters.json").write_text(text)
    assert isinstance(store.get("a"), Job)


REQUEST = {
    "HyperParameterTuningJobConfig": {
        "HyperParameterTuningJobObjective": {"MetricName": "test:msd", "Type": "Minimize"}
    },
    "TrainingJobDefinition": {"AlgorithmSpecification": {"TrainingImage": "algodock/kmeans:cpu"}},
}


def tuned(folder, store, status="Completed"):
    made = [folder(f"t/t-00{number}").begin().log(quality(0, number, "test")).end() for number in (1, 2)]
    tried = [
        Trial(f"t-00{number}", {"k": str(number)}, 100.0, "Completed", [float(number)], 103.0)
        for number in (1, 2)
    ]
    tried.append(Trial("../elsewhere", {}, 100.0))
    trials.save(made[0].place.parent, REQUEST, tried, 6.0, status)
    return store.root / "t"


def test_a_tuning_has_its_trials_beneath(folder, store):
    tuned(folder, store)
    (tuning,) = store.entries()
    assert isinstance(tuning, Tuning)
    assert (tuning.status, tuning.algorithm, tuning.seconds) == ("completed", "kmeans", 6.0)
    assert [job.key for job in tuning.jobs] == ["t/t-001", "t/t-002"]
    assert tuning.best.name == "t-001"


def test_a_tuning_that_was_killed_has_ended_without_a_word(folder, store):
    place = tuned(folder, store, "InProgress")
    assert store.get("t").status == "running"
    os.utime(place / "trials.json", (1, 1))
    assert store.get("t").status == "unknown"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[" * 100_000, '{"request": {}, "status": 1, "seconds": null, "trials": []}']
)
def test_a_tuning_whose_file_is_damaged_is_left_out(folder, store, text):
    folder("t")
    (store.root / "t" / "trials.json").write_text(text)
    assert store.entries() == []


@pytest.mark.parametrize(
    "change",
    [
        *({"name": 3}, {"values": []}, {"reports": ["x"]}, {"created": "x"}, {"ended": "x"}, {"more": 1}),
        *({"created": 1e300}, {"created": math.nan}, {"ended": -1e300}, {"reports": [10**400]}),
    ],
)
def test_a_tuning_whose_trials_are_damaged_is_left_out(folder, store, change):
    place = tuned(folder, store)
    kept = json.loads((place / "trials.json").read_text())
    kept["trials"][0] |= change
    (place / "trials.json").write_text(json.dumps(kept))
    assert not any(isinstance(entry, Tuning) for entry in store.entries())


def test_a_tuning_that_ran_no_number_of_seconds_is_left_out(folder, store):
    place = tuned(folder, store)
    kept = json.loads((place / "trials.json").read_text())
    (place / "trials.json").write_text(json.dumps({**kept, "seconds": math.nan}))
    assert not any(isinstance(entry, Tuning) for entry in store.entries())


@pytest.mark.parametrize("name", ["..", ".", "../other", "/etc", "", "../../out"])
def test_trials_are_below_their_tuning(folder, store, name):
    place = tuned(folder, store)
    folder("other").begin()
    kept = json.loads((place / "trials.json").read_text())
    kept["trials"][0]["name"] = name
    (place / "trials.json").write_text(json.dumps(kept))
    assert [job.key for job in store.get("t").jobs] == ["t/t-002"]


def test_folders_whose_names_are_no_text_are_passed_over(folder, store):
    folder("a").begin()
    place = os.fsencode(store.root) + b"/\xff"
    os.mkdir(place)
    with open(place + b"/train.log", "w"):
        pass
    folder("two\nlines").begin()
    assert [entry.key for entry in store.entries()] == ["a"]


def test_the_metrics_of_a_log_are_read_as_it_grows(folder, store):
    made = folder("a").begin().log(quality(0, 5.0), quality(1, 4.0))
    job = store.get("a")
    assert curves.objective(job) == ("train:msd", 4.0)
    assert curves.figures(job).count("<svg") == 1
    made.log(quality(2, 3.0), quality(2, 2.5, "test")).end()
    job = store.get("a")
    assert curves.objective(job) == ("test:msd", 2.5)
    assert [row[:2] for row in curves.finals(job)] == [("train:msd", 3.0), ("test:msd", 2.5)]


def test_lines_that_only_look_like_metrics_break_nothing(folder, store):
    bad = [
        '#metrics {"Metrics": {"x.time": 3}, "Dimensions": []}\n',
        f"#quality_metric: host=a, epoch={'9' * 5000}, b c <loss>=1\n",
    ]
    folder("a").begin().log(*bad, "\x00\xff\n")
    job = store.get("a")
    curves.finals(job)
    curves.figures(job)
    assert "\x00" in curves.tail(job)


def test_metrics_that_are_too_large_for_a_chart_are_told(folder, store):
    folder("a").begin().log(quality(0, 1e308), quality(1, -1e308))
    assert "too large for a chart" in curves.figures(store.get("a"))


def test_the_tail_is_the_last_lines(folder, store):
    folder("a").begin().log(*(f"line {number}\n" for number in range(10_000)))
    lines = curves.tail(store.get("a")).splitlines()
    assert (len(lines), lines[-1]) == (500, "line 9999")


def test_a_real_job(trained: Path):
    job = Store(trained).get("clusters")
    assert (job.status, job.algorithm) == ("completed", "kmeans")
    assert job.seconds < 120
    assert b"<html" in job.report()
    assert json.loads((job.folder / "job.json").read_text())["algorithm"] == "kmeans"
