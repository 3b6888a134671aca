"""Which parents a tuning may begin warm from, and what it takes over."""

import copy

import pytest

from common.failures import ClientError
from local.tuning import trials, warm_start
from local.tuning.request import read
from local.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Trial

STATIC = {
    "k": "3",
    "feature_dim": "4",
    "epochs": "1",
    "mini_batch_size": "5",
    "local_lloyd_tol": "0.2",
    "local_lloyd_max_iter": "3",
}
PARENT = {
    "HyperParameterTuningJobName": "parent",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
        "ParameterRanges": {
            "IntegerParameterRanges": [{"Name": "extra_center_factor", "MinValue": "4", "MaxValue": "10"}]
        },
    },
    "TrainingJobDefinition": {
        "AlgorithmSpecification": {"TrainingImage": "algodock/kmeans:cpu", "TrainingInputMode": "File"},
        "StaticHyperParameters": STATIC,
        "InputDataConfig": [
            {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://bucket/train"}}}
        ],
    },
}
KEPT = [
    Trial("done", {"extra_center_factor": "4"}, 0.0, COMPLETED, [3.0, 2.0]),
    Trial("stopped", {"extra_center_factor": "5"}, 0.0, STOPPED, [5.0]),
    Trial("failed", {"extra_center_factor": "6"}, 0.0, FAILED, [1.0]),
    Trial("silent", {"extra_center_factor": "7"}, 0.0, COMPLETED, []),
]


def child(kind="TransferLearning", **static):
    request = copy.deepcopy(PARENT)
    request["HyperParameterTuningJobName"] = "child"
    request["WarmStartConfig"] = {
        "WarmStartType": kind,
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
    }
    request["TrainingJobDefinition"]["StaticHyperParameters"] = {**STATIC, **static}
    return request


@pytest.fixture
def folder(tmp_path):
    """Where the child will be, beside its parent."""
    (tmp_path / "parent").mkdir()
    trials.save(tmp_path / "parent", PARENT, KEPT, 1.0, COMPLETED)
    return tmp_path / "child"


def taken(request, folder):
    return warm_start.trials_of(read(request), request, folder)


def test_trials_that_printed_the_objective_are_taken_over(folder):
    assert [trial.name for trial in taken(child(), folder)] == ["done", "stopped"]
    assert [trial.objective for trial in taken(child("IdenticalDataAndAlgorithm"), folder)] == [2.0, 5.0]


def swapped():
    """What was tuned is static, and what was static is tuned."""
    request = child(extra_center_factor="4")
    del request["TrainingJobDefinition"]["StaticHyperParameters"]["mini_batch_size"]
    request["HyperParameterTuningJobConfig"]["ParameterRanges"] = {
        "IntegerParameterRanges": [{"Name": "mini_batch_size", "MinValue": "3", "MaxValue": "10"}]
    }
    return request


def test_what_was_static_is_known_of_each_trial_where_it_is_tuned_now(folder):
    found = taken(swapped(), folder)
    assert [trial.values["mini_batch_size"] for trial in found] == ["5", "5"]


def test_up_to_ten_changes_are_taken_and_a_static_values_counts_twice(folder):
    assert taken(
        child(k="4", epochs="2", feature_dim="3", mini_batch_size="10", local_lloyd_tol="0.1"), folder
    )
    with pytest.raises(ClientError, match="accepted: 10 changes"):
        taken(child(**dict.fromkeys(STATIC, "2")), folder)


def with_objective(request):
    request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] = {
        "Type": "Minimize",
        "MetricName": "test:ssd",
    }


def with_other_data(request):
    source = request["TrainingJobDefinition"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    source["S3Uri"] = "s3://bucket/other"


def with_another_hyperparameter(request):
    request["TrainingJobDefinition"]["StaticHyperParameters"]["init_method"] = "random"


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (with_objective, "TransferLearning", "parent parent has objective test:msd; accepted: test:ssd"),
        (with_another_hyperparameter, "TransferLearning", "only one side has init_method"),
        (with_other_data, "IdenticalDataAndAlgorithm", "parent parent had other data"),
    ],
)
def test_parents_that_dont_suit_are_refused(folder, change, kind, told):
    request = child(kind)
    change(request)
    with pytest.raises(ClientError, match=told):
        taken(request, folder)


def test_other_data_suits_transfer_learning(folder):
    request = child()
    with_other_data(request)
    assert taken(request, folder)


def test_a_parent_must_be_there_and_have_ended(folder):
    trials.save(folder.parent / "parent", PARENT, KEPT, 1.0, RUNNING)
    with pytest.raises(
        ClientError, match="is InProgress; accepted: one that is Completed, Stopped or Failed"
    ):
        taken(child(), folder)
    (folder.parent / "parent" / trials.FILE).write_text("{")
    with pytest.raises(ClientError, match="is damaged"):
        taken(child(), folder)
    (folder.parent / "parent" / trials.FILE).unlink()
    with pytest.raises(ClientError, match="is no tuning"):
        taken(child(), folder)
