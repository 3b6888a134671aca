"""AWS's requests: read as they are, every fault told."""

import copy

import pytest

from common.failures import ClientError
from local.tuning.ranges import LINEAR, LOGARITHMIC, Numbers, Words
from local.tuning.request import read

REQUEST = {
    "HyperParameterTuningJobName": "mine",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Bayesian",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 12, "MaxParallelTrainingJobs": 2},
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                {
                    "Name": "learning_rate",
                    "MinValue": "0.0001",
                    "MaxValue": "0.1",
                    "ScalingType": "Logarithmic",
                }
            ],
            "IntegerParameterRanges": [
                {"Name": "mini_batch_size", "MinValue": "8", "MaxValue": "64", "ScalingType": "Auto"}
            ],
            "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "adam"]}],
        },
        "TrainingJobEarlyStoppingType": "Auto",
        "RandomSeed": 7,
    },
    "TrainingJobDefinition": {
        "AlgorithmSpecification": {
            "TrainingImage": "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1",
            "TrainingInputMode": "File",
        },
        "StaticHyperParameters": {"num_classes": "2", "num_training_samples": "80"},
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "ContentType": "application/x-recordio",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": "s3://bucket/train",
                        "S3DataDistributionType": "ShardedByS3Key",
                    }
                },
            }
        ],
        "ResourceConfig": {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 2},
    },
}


def changed(*path, to):
    request = copy.deepcopy(REQUEST)
    place = request
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return request


def test_a_request_of_aws_is_read_as_it_is():
    found = read(REQUEST)
    assert found.algorithm.name == "image-classification"
    assert found.ranges == (
        Numbers("mini_batch_size", 8, 64, LINEAR, whole=True),
        Numbers("learning_rate", 0.0001, 0.1, LOGARITHMIC),
        Words("optimizer", ("sgd", "adam")),
    )
    assert (found.limits.trials, found.limits.parallel, found.seed) == (12, 2, 7)
    assert found.early_stopping
    assert found.objective.maximize
    assert "Validation-accuracy" in found.objective.regex
    assert (found.hosts, found.instance_type, found.distribution) == (2, "ml.p3.2xlarge", "ShardedByS3Key")
    assert found.channels[0].uri == "s3://bucket/train"


CONFIG = "HyperParameterTuningJobConfig"
RANGES = (CONFIG, "ParameterRanges")
CONTINUOUS = (*RANGES, "ContinuousParameterRanges")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ((CONFIG, "Strategy"), "Annealing", "Strategy is 'Annealing'; accepted: Bayesian, Random, Grid or"),
        ((CONFIG, "RandomSeed"), -1, "RandomSeed is '-1'"),
        ((CONFIG, "ResourceLimits", "MaxNumberOfTrainingJobs"), 751, "integer from 1 to 750"),
        ((CONFIG, "ResourceLimits", "MaxParallelTrainingJobs"), 0, "integer from 1 to 100"),
        (
            (CONFIG, "HyperParameterTuningJobObjective", "MetricName"),
            "loss",
            "the objective loss is unknown; accepted: validation:accuracy",
        ),
        (
            (*RANGES, "IntegerParameterRanges"),
            [{"Name": "epochs", "MinValue": "1", "MaxValue": "2"}],
            "epochs",
        ),
        (CONTINUOUS, [{"Name": "nonsense", "MinValue": "1", "MaxValue": "2"}], "nonsense is no tunable"),
        (CONTINUOUS, [{"Name": "learning_rate", "MinValue": "1", "MaxValue": "0.1"}], "not falling"),
        (
            CONTINUOUS,
            [{"Name": "learning_rate", "MinValue": "x", "MaxValue": "1"}],
            "MinValue of learning_rate",
        ),
        (
            CONTINUOUS,
            [{"Name": "learning_rate", "MinValue": "0.1", "MaxValue": "7"}],
            "range of learning_rate has",
        ),
        (
            CONTINUOUS,
            [{"Name": "momentum", "MinValue": "0", "MaxValue": "0.9", "ScalingType": "Logarithmic"}],
            "accepted with Logarithmic: above 0",
        ),
        (
            (*RANGES, "CategoricalParameterRanges"),
            [{"Name": "optimizer", "Values": ["lbfgs"]}],
            "optimizer has 'lbfgs'",
        ),
        (RANGES, {}, "nothing is to be tuned"),
        ((CONFIG, "Strategy"), "Grid", "Grid has a range of numbers"),
        (
            ("TrainingJobDefinition", "StaticHyperParameters"),
            {"optimizer": "sgd"},
            "optimizer is given twice",
        ),
        (("HyperParameterTuningJobName",), "a_b", "HyperParameterTuningJobName is 'a_b'"),
        (("WarmStartConfig",), {"WarmStartType": "Warm"}, "WarmStartType is 'Warm'"),
        (("TrainingJobDefinitions",), [], "TrainingJobDefinitions is not accepted"),
        ((CONFIG,), {}, "HyperParameterTuningJobObjective is missing"),
        (
            ("TrainingJobDefinition", "AlgorithmSpecification"),
            {"TrainingImage": "x/unknown:1"},
            "algorithm unknown is unknown",
        ),
    ],
)
def test_faults_are_told(path, value, told):
    with pytest.raises(ClientError, match=told):
        read(changed(*path, to=value))


def test_all_faults_are_told_at_once():
    request = changed(CONFIG, "Strategy", to="Annealing")
    request[CONFIG]["RandomSeed"] = "x"
    with pytest.raises(ClientError, match=r"Strategy is.*RandomSeed is"):
        read(request)


def test_hyperband_has_as_many_epochs_as_the_static_value_says():
    request = changed(CONFIG, "Strategy", to="Hyperband")
    with pytest.raises(ClientError, match="TrainingJobEarlyStoppingType is Auto"):
        read(request)
    request[CONFIG]["TrainingJobEarlyStoppingType"] = "Off"
    with pytest.raises(ClientError, match="MaxResource is missing"):
        read(request)
    request["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] = "27"
    assert read(request).resource == (1, 27)
    request[CONFIG]["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": 3, "MaxResource": 9}}
    assert read(request).resource == (3, 9)


def test_automatic_ranges_are_the_documented_ones():
    request = changed(*RANGES, to={"AutoParameters": [{"Name": "optimizer"}, {"Name": "mini_batch_size"}]})
    assert read(request).ranges == (
        Words("optimizer", ("sgd", "adam", "rmsprop", "nag")),
        Numbers("mini_batch_size", 8, 512, LINEAR, whole=True),
    )
