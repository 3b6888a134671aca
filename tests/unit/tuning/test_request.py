"""AWS's requests: read as they are, every fault told."""

import copy
import dataclasses

import pytest

from common import manifest
from common.failures import ClientError
from local.jobs import ChannelSource
from local.requests import checked
from local.tuning.command import Options, ranges_of, request_of
from local.tuning.ranges import LINEAR, LOGARITHMIC, Numbers, Words
from local.tuning.request import read
from local.tuning.running import check

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


CHANNEL = ("TrainingJobDefinition", "InputDataConfig")


def channel(name="train", **settings):
    place = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/x", "S3DataDistributionType": "FullyReplicated"}
    place |= {key: settings.pop(key) for key in list(settings) if key in (*place, "AttributeNames")}
    return {"ChannelName": name, "DataSource": {"S3DataSource": place}, **settings}


def test_how_channels_are_read_is_read():
    asked = [
        channel(
            S3DataType="ManifestFile",
            S3DataDistributionType="ShardedByS3Key",
            CompressionType="Gzip",
            RecordWrapperType="RecordIO",
            ShuffleConfig={"Seed": 0},
            InputMode="Pipe",
        ),
        channel("validation", S3DataType="AugmentedManifestFile", AttributeNames=["a-ref", "b"]),
        channel("test", CompressionType="None", RecordWrapperType="None"),
    ]
    train, validation, test = read(changed(*CHANNEL, to=asked)).channels
    assert (train.data_type, train.compression, train.record_wrapper) == ("ManifestFile", "Gzip", "RecordIO")
    assert (train.shuffle_seed, train.input_mode, train.distribution) == (0, "Pipe", "ShardedByS3Key")
    assert (validation.data_type, validation.attributes) == ("AugmentedManifestFile", ("a-ref", "b"))
    assert (validation.record_wrapper, validation.distribution) == ("None", "FullyReplicated")
    assert (test.data_type, test.compression, test.shuffle_seed) == ("S3Prefix", "None", None)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"S3DataType": "Prefix"}, "data type 'Prefix' is unknown; accepted: S3Prefix, ManifestFile or Aug"),
        ({"CompressionType": "Zip"}, "compression 'Zip' is unknown; accepted: None or Gzip"),
        ({"RecordWrapperType": "TFRecord"}, "record wrapper 'TFRecord' is unknown"),
        ({"InputMode": "Stream"}, "input mode 'Stream' is unknown"),
        ({"S3DataDistributionType": "Half"}, "distribution 'Half' is unknown"),
        ({"AttributeNames": ["a"]}, "is S3Prefix with attributes"),
        ({"ShuffleConfig": {"Seed": "x"}}, "the request can't be read: "),
        (
            {"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a"], "InputMode": "File"},
            "is an AugmentedManifestFile in File mode; accepted: Pipe",
        ),
    ],
)
def test_channels_that_cannot_be_are_told(settings, told):
    with pytest.raises(ClientError, match=told):
        read(changed(*CHANNEL, to=[channel(**settings)]))


def test_a_mode_of_the_training_data_is_not_the_others():
    found = read(changed(*CHANNEL, to=[channel(InputMode="Pipe"), channel("validation")]))
    assert [one.input_mode for one in found.channels] == ["Pipe", "File"]
    found = read(changed(*CHANNEL, to=[channel(), channel("validation", InputMode="Pipe")]))
    assert [one.input_mode for one in found.channels] == [None, "Pipe"]


def test_resources_may_be_said_in_other_words():
    request = copy.deepcopy(REQUEST)
    del request["TrainingJobDefinition"]["ResourceConfig"]
    configs = [{"InstanceType": "ml.p3.8xlarge", "InstanceCount": 3, "VolumeSizeInGB": 9}]
    request["TrainingJobDefinition"]["HyperParameterTuningResourceConfig"] = {"InstanceConfigs": configs}
    found = read(request)
    assert (found.instance_type, found.hosts) == ("ml.p3.8xlarge", 3)
    with pytest.raises(ClientError, match="InstanceGroups is given; accepted"):
        read(changed("TrainingJobDefinition", "ResourceConfig", to={"InstanceGroups": [{}]}))


def test_what_the_algorithm_has_not_is_told():
    needed = [channel(), channel("validation")]
    check(read(changed(*CHANNEL, to=needed)))
    with pytest.raises(ClientError, match="channel model is Pipe; accepted: File or FastFile"):
        check(read(changed(*CHANNEL, to=[*needed, channel("model", InputMode="Pipe")])))


def knn(ranges, **static):
    """A tuning of k-NN as the command line says it."""
    algorithm = manifest.load("knn")
    usual = {"predictor_type": "classifier", "k": "2", "sample_size": "300", **static}
    varied = {one.partition("=")[0] for one in ranges}
    fixed = {name: value for name, value in usual.items() if name not in varied}
    channels = [ChannelSource("train", "train"), ChannelSource("test", "test")]
    return read(request_of(Options(algorithm, "mine", channels, fixed, {}, range=ranges)))


def test_an_objective_of_a_channel_that_is_not_given_is_told():
    asked = Options(manifest.load("kmeans"), "mine", [ChannelSource("train", "train")], {"k": "3"}, {})
    with pytest.raises(ClientError, match="objective test:msd is of channel test, which isn't given"):
        check(read(request_of(asked)))
    own = dataclasses.replace(asked, metric={"mine": "(.*)"}, direction="Maximize")
    check(read(request_of(own)))


def test_rules_on_the_width_of_rows_wait_for_the_data():
    reduced = {"dimension_reduction_type": "sign", "dimension_reduction_target": "8"}
    check(knn(["k=1:9"], **reduced))
    with pytest.raises(ClientError, match="target is 8 and rows have 8 features"):
        check(knn(["k=1:9"], **reduced, feature_dim="8"))
    for name, static in (
        ("lda", {"num_topics": "5", "mini_batch_size": "9"}),
        ("randomcutforest", {"num_trees": "50"}),
        ("ipinsights", {"num_entity_vectors": "9", "vector_dim": "8"}),
    ):
        found = manifest.load(name)
        given = [ChannelSource(one.name, one.name) for one in found.channels]
        check(read(request_of(Options(found, "mine", given, static, {}))))


def test_a_rule_between_two_ranges_refuses_only_what_never_suits():
    either = ["k=1:1000", "sample_size=1:1000"]
    check(knn(either))
    check(knn(either[::-1]))  # draws go by the order: the first k is above sample_size in one of these
    with pytest.raises(ClientError, match="accepted: a k of at most sample_size"):
        check(knn(["k=500:1000", "sample_size=256:300"]))


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
        ((CONFIG, "ResourceLimits", "MaxRuntimeInSeconds"), 0, "MaxRuntimeInSeconds is '0'; accepted: a num"),
        ((CONFIG, "ResourceLimits", "MaxRuntimeInSeconds"), "x", "MaxRuntimeInSeconds is 'x'; accepted: a"),
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


@pytest.mark.parametrize("name", ["kmeans", "xgboost", "linear-learner"])
def test_ranges_that_are_left_to_the_documents_have_the_hint_that_aws_wants(name):
    algorithm = manifest.load(name)
    (ranges,) = ranges_of(algorithm, [], {}).values()
    declared = {parameter.name: parameter for parameter in algorithm.declaration().parameters}
    for one in ranges:
        assert one["ValueHint"]
        declared[one["Name"]].read(one["ValueHint"])
    assert ranges_of(algorithm, [ranges[0]["Name"]], {}) == {"AutoParameters": ranges[:1]}


def test_what_the_command_says_of_channels_is_what_aws_takes_and_what_is_read():
    algorithm = manifest.load("kmeans")
    sources = [
        ChannelSource(
            "train", "s3://b/m", "text/csv", (), "ManifestFile", "Gzip", "RecordIO", shuffle_seed=0
        ),
        ChannelSource("test", "s3://b/lines", None, ("a-ref", "b")),
    ]
    options = Options(
        algorithm, "mine", sources, {"k": "2"}, {}, ["mini_batch_size=100:500"], input_mode="Pipe"
    )
    request = request_of(options)
    channels = request["TrainingJobDefinition"]["InputDataConfig"]
    assert checked("CreateHyperParameterTuningJob", request)
    assert channels[0]["ShuffleConfig"] == {"Seed": 0}
    found = [dataclasses.replace(one, distribution=None) for one in read(request).channels]
    assert found == sources
