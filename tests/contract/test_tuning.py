"""`algodock tune` as people run it: trials, results, going on after a kill, warm starts, faults."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import botocore.session
import botocore.validate
import numpy as np
import pytest

ALGODOCK = Path(sys.executable).with_name("algodock")
QUIET = {**os.environ, "ALGODOCK_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
TRIALS = 4


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    features = generator.normal(size=(400, 3))
    labels = features @ [1.0, -2.0, 0.5] + 0.1 * generator.normal(size=400)
    np.savetxt(path, np.column_stack([labels, features]), fmt="%.5f", delimiter=",")
    return path


def command(rows, folder, *more):
    return [
        *(ALGODOCK, "tune", "xgboost", "--train", rows, "--validation", rows, "-p", "num_round=5"),
        *("--objective", "validation:rmse", "--range", "eta=0.01:0.5", "--range", "max_depth=1:6"),
        *("--max-jobs", TRIALS, "--output", folder, *more),
    ]


def call(arguments, code=0):
    done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True, env=QUIET)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def result(folder):
    return json.loads((folder / "tuning.json").read_text())


@pytest.fixture(scope="module")
def tuned(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "first_one"
    return folder, call(command(rows, folder, "--strategy", "Random", "--parallel", "2", "--seed", "3"))


def test_the_best_trial_has_the_least_objective_and_a_model(tuned):
    folder, told = tuned
    found = result(folder)
    assert found["HyperParameterTuningJobStatus"] == "Completed"
    assert found["TrainingJobStatusCounters"]["Completed"] == TRIALS
    summaries = found["TrainingJobSummaries"]
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in summaries]
    assert values == sorted(values)
    best = found["BestTrainingJob"]
    assert best == summaries[0]
    assert (folder / best["TrainingJobName"] / "model.tar.gz").is_file()
    assert f"best: validation:rmse {values[0]:.6g}" in told
    for one in summaries:
        job = json.loads((folder / one["TrainingJobName"] / "job.json").read_text())
        assert job["hyperparameters"]["_tuning_objective_metric"] == "validation:rmse"
        assert job["hyperparameters"].items() >= one["TunedHyperParameters"].items()
        # What the log has last is what the job is worth.
        log = (folder / one["TrainingJobName"] / "train.log").read_text()
        last = log.rsplit("validation-rmse:", 1)[1].split()[0]
        assert float(last) == one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]


def test_results_have_the_shape_of_awss_description(tuned):
    model = botocore.session.get_session().get_service_model("sagemaker")
    found = result(tuned[0])
    summaries = found.pop("TrainingJobSummaries")
    shapes = [("DescribeHyperParameterTuningJobResponse", found)]
    shapes += [("HyperParameterTrainingJobSummary", one) for one in summaries]
    for shape, value in shapes:
        faults = botocore.validate.ParamValidator().validate(value, model.shape_for(shape))
        assert not faults.has_errors(), faults.generate_report()


def test_the_page_is_whole_and_needs_nothing_else(tuned):
    page = (tuned[0] / "tuning.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count('role="img"') == 4  # the history, what mattered, and two hyperparameters
    assert result(tuned[0])["BestTrainingJob"]["TrainingJobName"] in page
    assert "http" not in page


def test_the_same_seed_tries_the_same(tuned, rows, tmp_path):
    call(command(rows, tmp_path / "first_one", "--strategy", "Random", "--seed", "3"))

    def tried(folder):
        return sorted(
            json.dumps(one["TunedHyperParameters"]) for one in result(folder)["TrainingJobSummaries"]
        )

    assert tried(tmp_path / "first_one") == tried(tuned[0])


def test_a_killed_tuning_goes_on(rows, tmp_path):
    folder = tmp_path / "killed"
    arguments = [str(part) for part in command(rows, folder)]
    running = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env=QUIET, start_new_session=True
    )
    for line in running.stdout:
        if "Completed" in line:
            break
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = json.loads((folder / "trials.json").read_text())["trials"]
    told = call(arguments)
    assert "going on after" in told
    after = json.loads((folder / "trials.json").read_text())["trials"]
    assert after[0] == before[0]
    assert [trial["status"] for trial in after] == ["Completed"] * TRIALS


def test_an_interrupt_stops_what_is_under_way_and_keeps_it(rows, tmp_path):
    folder = tmp_path / "stopped"
    arguments = [*command(rows, folder, "--range", "gamma=0:5"), "-p", "num_round=100000"]
    arguments = [str(part) for part in arguments if part != "num_round=5"]
    arguments.remove("-p")
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=QUIET)
    assert "InProgress" in running.stdout.readline()
    deadline = time.monotonic() + 60
    while "validation-rmse" not in "".join(p.read_text() for p in folder.glob("*/train.log")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=120)[0]
    assert running.returncode == 130, told
    found = result(folder)
    assert found["HyperParameterTuningJobStatus"] == "Stopped"
    assert found["TrainingJobStatusCounters"]["Stopped"] == 1
    assert (folder / found["BestTrainingJob"]["TrainingJobName"] / "model.tar.gz").is_file()


def test_a_warm_start_takes_over_what_its_parent_found(tuned, rows, tmp_path):
    told = call(command(rows, tmp_path / "second", "--warm-start", tuned[0], "--max-jobs", "1"))
    assert "best: validation:rmse" in told
    assert "is no tuning" in call(command(rows, tmp_path / "third", "--warm-start", tmp_path), code=1)


def test_hyperband_gives_the_best_the_most_rounds(rows, tmp_path):
    more = ["--strategy", "Hyperband", "--min-resource", "3", "--max-resource", "27", "--max-jobs", "6"]
    arguments = [part for part in command(rows, tmp_path / "out", *more) if part != "num_round=5"]
    arguments[arguments.index("-p") + 1 : arguments.index("-p") + 1] = ["num_round=27"]
    call(arguments)
    kept = json.loads((tmp_path / "out" / "trials.json").read_text())["trials"]
    rounds = {trial["name"]: len(trial["reports"]) for trial in kept}
    best = result(tmp_path / "out")["BestTrainingJob"]
    assert rounds[best["TrainingJobName"]] == 27
    assert best["TrainingJobStatus"] == "Completed"


def test_a_metric_of_ones_own_is_found_in_the_log(rows, tmp_path):
    arguments = [*command(rows, tmp_path / "out", "--max-jobs", "1"), "--metric", r"mine=train-rmse:(\S+)"]
    arguments[arguments.index("validation:rmse")] = "mine"
    assert "--direction is missing for mine; accepted: Maximize or Minimize" in call(arguments, code=1)
    assert "best: mine" in call([*arguments, "--direction", "Minimize"])
    (log,) = (tmp_path / "out").glob("*/train.log")
    objective = result(tmp_path / "out")["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]
    assert objective["Value"] == float(log.read_text().rsplit("train-rmse:", 1)[1].split()[0])


def test_ranges_are_the_documented_ones_but_for_what_is_given(rows, tmp_path):
    call(
        [
            *(ALGODOCK, "tune", "xgboost", "--train", rows, "--validation", rows, "--max-jobs", "1"),
            *(
                "-p",
                "num_round=3",
                "-p",
                "eta=0.3",
                "--objective",
                "validation:rmse",
                "--output",
                tmp_path / "out",
            ),
        ]
    )
    tuned = result(tmp_path / "out")["BestTrainingJob"]["TunedHyperParameters"]
    assert {"max_depth", "min_child_weight", "subsample"} < set(tuned)
    assert not {"eta", "num_round"} & set(tuned)


def test_a_request_in_awss_json_is_run(tuned, tmp_path):
    request = json.loads((tuned[0] / "trials.json").read_text())["request"]
    request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] = 1
    (tmp_path / "job.json").write_text(json.dumps(request))
    call([ALGODOCK, "tune", "--request", tmp_path / "job.json", "--output", tmp_path / "out"])
    assert result(tmp_path / "out")["TrainingJobStatusCounters"]["Completed"] == 1


def test_a_request_leaves_no_room_for_other_options(tuned, tmp_path):
    said = call(
        [ALGODOCK, "tune", "--request", tmp_path / "job.json", "--max-jobs", "3", "--seed", "1"], code=1
    )
    assert "--max-jobs is given beside --request" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--range", "num_round=1:x"], "MaxValue of num_round is 'x'; accepted: an integer"),
        (["--range", "seed=1:2"], "seed is no tunable hyperparameter of xgboost; accepted: "),
        (["--range", "eta=1"], "eta is given twice"),
        (["--range", "eta=1:2:3:4"], "--range eta=1:2:3:4 is not accepted; accepted: NAME=LOW:HIGH"),
        (["--objective", "validation:mood"], "--objective validation:mood is unknown to xgboost"),
        (["-p", "objectiv=x"], "hyperparameter objectiv is unknown; did you mean objective?"),
        (["--max-jobs", "0"], "MaxNumberOfTrainingJobs is '0'; accepted: an integer from 1 to 750"),
        (["--strategy", "Grid"], "strategy Grid has a range of numbers"),
        (["--output", "s3://bucket/x"], "--output s3://bucket/x is not accepted; accepted: a folder"),
    ],
)
def test_faults_are_told_in_a_sentence_before_anything_runs(rows, tmp_path, more, told):
    said = call(command(rows, tmp_path / "out", *more), code=1)
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_tuning_is_left_alone(tuned, rows):
    before = (tuned[0] / "trials.json").read_bytes()
    assert "holds another tuning" in call(command(rows, tuned[0], "--seed", "4"), code=1)
    assert (tuned[0] / "trials.json").read_bytes() == before


def test_when_all_trials_fail_the_reason_is_told(tmp_path):
    (tmp_path / "bad.csv").write_text("1,2\n1,x\n")
    said = call(command(tmp_path / "bad.csv", tmp_path / "out"), code=1)
    assert "all trials failed; the first: ClientError" in said
    assert result(tmp_path / "out")["HyperParameterTuningJobStatus"] == "Failed"


def test_a_program_of_ones_own_is_tuned_by_whatever_it_reads(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "main.py").write_text("import sys\nprint('episode_reward_mean:', sys.argv[2])\n")
    call(
        [
            *(ALGODOCK, "tune", "rl", "-p", "sagemaker_program=main.py", "--range", "mine=1:5"),
            *("-p", f"sagemaker_submit_directory={tmp_path / 'source'}", "--max-jobs", "2"),
            *("--output", tmp_path / "out"),
        ]
    )
    best = result(tmp_path / "out")["BestTrainingJob"]
    found = float(best["TunedHyperParameters"]["mine"])
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(found)
