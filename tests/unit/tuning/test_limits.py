"""When a tuning begins no more trials, and what becomes of those under way; jobs are played by a function."""

import copy
import threading

import pytest

from local.tuning import running
from local.tuning.request import read
from local.tuning.running import Tuner
from local.tuning.trials import COMPLETED, RUNNING, Trial
from tests.unit.tuning.test_warm_start import PARENT

CONFIG = "HyperParameterTuningJobConfig"


class Host:
    """Runs until it is stopped."""

    def __init__(self):
        self.ended = threading.Event()

    def stop(self):
        self.ended.set()

    kill = stop


class Runtime:
    def start(self, manifest, hosts, environment):
        return [Host()]

    def close(self):
        pass


@pytest.fixture
def tuner(tmp_path, monkeypatch):
    """A tuner whose jobs print these values, one a trial; None runs on till it is stopped."""

    def make(values, **limits):
        left = iter(values)

        def train(spec, runtime, log, stopped):
            value = next(left)
            (host,) = runtime.start(None, [], {})
            try:
                if value is None:
                    assert host.ended.wait(60)
                    return 1  # it took it badly
                log.write(f"#quality_metric: host=algo-1, test msd <loss>={value}\n")
                return 0
            finally:
                runtime.close()

        monkeypatch.setattr(running, "train", train)
        monkeypatch.setattr(running, "failure", lambda spec: "it failed")
        request = copy.deepcopy(PARENT)
        request["TrainingJobDefinition"]["InputDataConfig"] = []
        request["TrainingJobDefinition"]["StoppingCondition"] = {
            "MaxRuntimeInSeconds": limits.pop("trial", 86400)
        }
        request[CONFIG]["ResourceLimits"]["MaxNumberOfTrainingJobs"] = len(values)
        request[CONFIG]["ResourceLimits"] |= limits.pop("resources", {})
        request[CONFIG] |= limits
        return Tuner(read(request), request, tmp_path, Runtime)

    return make


def test_all_trials_run_where_nothing_ends_them(tuner):
    made = tuner([3, 1, 2])
    assert made.run() == "Completed"
    assert [trial.objective for trial in made.trials] == [3, 1, 2]


def test_a_target_that_is_reached_ends_the_tuning(tuner):
    made = tuner([3, 1.5, 2], TuningJobCompletionCriteria={"TargetObjectiveMetricValue": "1.5"})
    assert made.run() == "Completed"
    assert [trial.objective for trial in made.trials] == [3, 1.5]


def test_it_ends_when_it_gets_no_better(tuner):
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    made = tuner([3, 2, 4, 5, 6, 1], TuningJobCompletionCriteria=criteria)
    assert made.run() == "Completed"
    assert [trial.objective for trial in made.trials] == [3, 2, 4, 5, 6]


def test_its_time_stops_what_is_under_way(tuner):
    made = tuner([2, None, 1], resources={"MaxRuntimeInSeconds": 3})
    assert made.run() == "Completed"
    assert [trial.status for trial in made.trials] == ["Completed", "Stopped"]


def test_a_trials_time_stops_that_trial(tuner):
    made = tuner([None, 1], trial=1)
    assert made.run() == "Completed"
    assert [trial.status for trial in made.trials] == ["Stopped", "Completed"]


def test_time_that_is_up_before_the_first_trial_is_no_failure(tuner):
    made = tuner([1], resources={"MaxRuntimeInSeconds": 1})
    made._earlier = 2.0  # of a run that was killed
    assert made.run() == "Completed"
    assert not made.trials


def test_a_tuning_that_goes_on_tries_again_what_ran_beside_others(tuner):
    made = tuner([3, 1, 2, 4], Strategy="Random")
    draws = [made._strategy().propose(number) for number in range(4)]
    made.trials = [
        Trial(f"parent-{number + 1:03d}-0", draws[number], 0.0, status, [5.0])
        for number, status in enumerate((RUNNING, COMPLETED, RUNNING))
    ]
    assert made.run() == "Completed"
    assert [trial.number for trial in made.trials] == [1, 0, 2, 3]
    assert [trial.values for trial in made.trials] == [draws[1], draws[0], draws[2], draws[3]]


def test_an_interrupt_does_not_wait_for_a_trial_that_never_began(tuner):
    made = tuner([None, None], resources={"MaxParallelTrainingJobs": 2})

    def tell(trial):
        if trial.number == 1:  # while the page is drawn, say
            raise KeyboardInterrupt

    made.tell = tell
    assert made.run() == "Stopped"
    assert [(trial.number, trial.status) for trial in made.trials] == [(0, "Stopped")]
