"""`algodock create-algorithm` and `create-training-job`: requests that SageMaker takes, and faults."""

import json
import re
import subprocess
import sys
from pathlib import Path

import botocore.session
import botocore.validate
import pytest

from common import manifest
from common.failures import ClientError
from local import requests

ALGODOCK = Path(sys.executable).with_name("algodock")
IMAGE = "111122223333.dkr.example/algodock/kmeans:cpu"
ROLE = "arn:aws:iam::111122223333:role/sagemaker"
ALL = sorted(manifest.known())


def service():
    return botocore.session.get_session().get_service_model("sagemaker")


def call(*arguments, code=0):
    done = subprocess.run([ALGODOCK, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def each(shape, value, path=""):
    """Every text in a request with the shape that it has to have."""
    if shape.type_name == "structure":
        for name, part in value.items():
            yield from each(shape.members[name], part, f"{path}.{name}")
    elif shape.type_name == "list":
        most = shape.metadata.get("max")
        assert most is None or len(value) <= most, f"{path} has {len(value)}"
        for number, part in enumerate(value):
            yield from each(shape.member, part, f"{path}[{number}]")
    elif shape.type_name == "string":
        yield path, shape, value


def matches(pattern, text):
    letters = re.sub(r"\\p\{\w+\}", r"\\s\\S", pattern)  # classes of letters, which `re` hasn't
    return re.fullmatch(letters, text)


@pytest.mark.parametrize("name", ALL)
def test_every_algorithms_request_is_what_the_service_takes(name):
    found = manifest.load(name)
    device = found.training.devices[0]
    request = requests.algorithm(found, IMAGE, f"algodock-{name}", device)
    shape = service().operation_model("CreateAlgorithm").input_shape
    assert not botocore.validate.ParamValidator().validate(request, shape).has_errors()
    for path, text, value in each(shape, request):
        assert not text.enum or value in text.enum, path
        assert len(value) <= text.metadata.get("max", len(value)), path
        assert matches(text.metadata.get("pattern", r"[\s\S]*"), value), (path, value)
    training = request["TrainingSpecification"]
    objectives = {one["MetricName"] for one in training["SupportedTuningJobObjectiveMetrics"]}
    assert objectives <= {one["Name"] for one in training["MetricDefinitions"]}
    for one in training["SupportedHyperParameters"]:
        assert not one["IsTunable"] or one["Type"] != "FreeText"


def test_the_rules_of_instances_are_in_it():
    request = requests.algorithm(manifest.load("kmeans"), IMAGE, "mine", "cpu")
    types = request["TrainingSpecification"]["SupportedTrainingInstanceTypes"]
    assert "ml.m5.large" in types
    assert not [one for one in types if one.startswith(("ml.p", "ml.g4", "ml.g5", "ml.trn", "ml.inf"))]
    gpu = requests.algorithm(manifest.load("seq2seq"), IMAGE, "mine", "gpu")["TrainingSpecification"]
    assert all(one.startswith(("ml.p", "ml.g")) for one in gpu["SupportedTrainingInstanceTypes"])
    told = "lda trains on no GPU instance; accepted: any CPU instance, by --device cpu and the :cpu image"
    with pytest.raises(ClientError, match=told):
        requests.algorithm(manifest.load("lda"), IMAGE, "mine", "gpu")


def test_processors_are_the_images():
    inference = requests.algorithm(manifest.load("kmeans"), IMAGE, "mine", "cpu")["InferenceSpecification"]
    types = inference["SupportedRealtimeInferenceInstanceTypes"]
    assert "ml.c7i.large" in types
    assert not [one for one in types if re.match(r"ml\.[a-z]\d+g", one)]  # Graviton


@pytest.mark.parametrize("name", [one for one in ALL if "gpu" in manifest.load(one).training.devices])
def test_a_gpu_image_may_answer_on_a_cpu(name):
    found = manifest.load(name)
    inference = requests.algorithm(found, IMAGE, "mine", "gpu")["InferenceSpecification"]
    for key in ("SupportedTransformInstanceTypes", "SupportedRealtimeInferenceInstanceTypes"):
        assert "ml.m5.xlarge" in inference[key]
        assert ("ml.p3.2xlarge" in inference[key]) == ("gpu" in found.inference.rules.devices)


@pytest.mark.parametrize("name", ALL)
def test_what_is_documented_as_tunable_is(name):
    found = manifest.load(name)
    training = requests.algorithm(found, IMAGE, "mine", found.training.devices[-1])["TrainingSpecification"]
    told = {one["Name"] for one in training["SupportedHyperParameters"] if one["IsTunable"]}
    assert told == {one.name for one in found.declaration().parameters if one.documented and one.tuning}


def test_a_default_is_told_and_not_sent():
    """The SDK's AlgorithmEstimator gives each DefaultValue to the job, and what is given isn't left out:
    XGBoost finds base_score in the labels, verbosity outdoes silent."""
    request = requests.algorithm(manifest.load("xgboost"), IMAGE, "mine", "cpu")
    told = {one["Name"]: one for one in request["TrainingSpecification"]["SupportedHyperParameters"]}
    assert not [one for one in told.values() if "DefaultValue" in one]
    assert told["eta"]["Description"].endswith(" Default: 0.3.")
    assert "Default" not in told["num_round"]["Description"]


@pytest.mark.parametrize(
    ("channel", "spelling"), [("train", "text/csv;label_size=0"), ("test", "text/csv;label_size=1")]
)
def test_spellings_of_csv_that_aws_documents_are_named(channel, spelling):
    request = requests.algorithm(manifest.load("randomcutforest"), IMAGE, "mine", "cpu")
    channels = {one["Name"]: one for one in request["TrainingSpecification"]["TrainingChannels"]}
    assert channels[channel]["SupportedContentTypes"][:3] == [
        "application/x-recordio-protobuf",
        "text/csv",
        spelling,
    ]


@pytest.mark.parametrize("spelling", ["csv", "libsvm", "text/x-libsvm", "parquet", "recordio-protobuf"])
def test_short_names_of_types_that_awss_image_takes_are_named(spelling):
    """SageMaker compares texts: what isn't listed is refused before the image sees it."""
    request = requests.algorithm(manifest.load("xgboost"), IMAGE, "mine", "cpu")
    channels = {one["Name"]: one for one in request["TrainingSpecification"]["TrainingChannels"]}
    assert spelling in channels["train"]["SupportedContentTypes"]
    assert spelling not in channels["code"]["SupportedContentTypes"]


@pytest.mark.parametrize("name", ALL)
def test_each_type_is_named_once(name):
    found = manifest.load(name)
    training = requests.algorithm(found, IMAGE, "mine", found.training.devices[-1])["TrainingSpecification"]
    for one in training["TrainingChannels"]:
        assert len(set(one["SupportedContentTypes"])) == len(one["SupportedContentTypes"])


@pytest.mark.parametrize("name", ALL)
def test_true_may_be_spelt_as_python_does_and_the_image_reads_every_word(name):
    """The SDK writes True as "True", and AWS documents that spelling for the algorithms for images."""
    found = manifest.load(name)
    training = requests.algorithm(found, IMAGE, "mine", found.training.devices[-1])["TrainingSpecification"]
    for one in training["SupportedHyperParameters"]:
        words = one.get("Range", {}).get("CategoricalParameterRangeSpecification", {}).get("Values", [])
        assert "true" not in words or {"true", "false", "True", "False"} <= set(words)
        for word in words:
            found.declaration()[one["Name"]].read(word)


def test_a_metric_ends_where_the_next_begins():
    request = requests.algorithm(manifest.load("xgboost"), IMAGE, "mine", "cpu")
    line = "[7]#011train-rmse:1.5#011validation-rmse:2.5e-05#011validation-mae:0.5"
    found = {
        one["Name"]: re.findall(one["Regex"], line)
        for one in request["TrainingSpecification"]["MetricDefinitions"]
    }
    assert found["validation:rmse"] == ["2.5e-05"]
    assert found["validation:mae"] == ["0.5"]


@pytest.mark.parametrize("name", ALL)
def test_gzip_is_for_pipes(name):
    found = manifest.load(name)
    training = requests.algorithm(found, IMAGE, "mine", found.training.devices[-1])["TrainingSpecification"]
    for one in training["TrainingChannels"]:
        assert ("Gzip" in one["SupportedCompressionTypes"]) == ("Pipe" in one["SupportedInputModes"])


def test_the_command_prints_it():
    told = json.loads(call("create-algorithm", "xgboost", "--image", IMAGE))
    assert told["AlgorithmName"] == "algodock-xgboost"
    (eta,) = [
        one for one in told["TrainingSpecification"]["SupportedHyperParameters"] if one["Name"] == "eta"
    ]
    assert eta["Range"] == {"ContinuousParameterRangeSpecification": {"MinValue": "0", "MaxValue": "1"}}
    assert eta["IsTunable"] is True


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "my_digits"
    rows = folder.parent / "rows.csv"
    rows.write_text("1,2\n3,4\n5,6\n" * 10)
    call(
        "train", "kmeans", "--train", rows, "-p", "k=2", "-p", "epochs=2", "--output", folder, "--checkpoints"
    )
    return folder


def channels_of(folder, told):
    """The channels that are asked for of a job with this description."""
    (folder / "job.json").write_text(json.dumps(told))
    request = requests.training_job(folder, IMAGE, ROLE, "s3://b/jobs", {}, "ml.m5.large", None)
    return {one["ChannelName"]: one for one in request["InputDataConfig"]}


def test_channels_keep_modes_and_distributions_of_their_own(tmp_path):
    told = {
        "algorithm": "kmeans",
        "hyperparameters": {"k": "2", "feature_dim": "2"},
        "channels": {"train": "s3://b/train", "test": "s3://b/test"},
        "input_mode": "File",
        "input_modes": {"train": "Pipe"},
        "distributions": {"train": "ShardedByS3Key"},
    }
    channels = channels_of(tmp_path, told)
    assert channels["train"]["InputMode"] == "Pipe"
    assert "InputMode" not in channels["test"]
    found = {
        name: one["DataSource"]["S3DataSource"]["S3DataDistributionType"] for name, one in channels.items()
    }
    assert found == {"train": "ShardedByS3Key", "test": "FullyReplicated"}


def test_a_channel_that_cant_be_piped_isnt(tmp_path):
    told = {
        "algorithm": "ntm",
        "hyperparameters": {"num_topics": "2", "feature_dim": "9"},
        "channels": {"train": "s3://b/train", "auxiliary": "s3://b/words"},
        "input_mode": "Pipe",
    }
    modes = {name: one.get("InputMode") for name, one in channels_of(tmp_path, told).items()}
    assert modes == {"train": None, "auxiliary": "File"}


def test_a_long_name_is_cut(tmp_path):
    folder = tmp_path / ("long_" * 15)
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"algorithm": "rl", "channels": {}, "hyperparameters": {}}))
    request = requests.training_job(folder, IMAGE, ROLE, "s3://b/jobs", {}, "ml.m5.large")
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", request["TrainingJobName"])


def test_a_local_job_is_run_there_by_a_request(job):
    options = (
        "--image",
        IMAGE,
        "--role",
        ROLE,
        "--output",
        "s3://bucket/jobs",
        "--instance-type",
        "ml.m5.large",
    )
    told = json.loads(call("create-training-job", job, *options, "--channel", "train=s3://bucket/rows"))
    shape = service().operation_model("CreateTrainingJob").input_shape
    assert not botocore.validate.ParamValidator().validate(told, shape).has_errors()
    assert told["TrainingJobName"] == "my-digits"
    assert {"k": "2", "epochs": "2"}.items() <= told["HyperParameters"].items()
    (channel,) = told["InputDataConfig"]
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == "s3://bucket/rows"
    assert channel["ContentType"] == "text/csv"  # which nobody said: the file's ending told it
    assert told["ResourceConfig"]["InstanceCount"] == 1
    assert told["CheckpointConfig"] == {"S3Uri": "s3://bucket/jobs/my-digits/checkpoints"}
    assert told["AlgorithmSpecification"]["MetricDefinitions"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--channel", "test=s3://x/y"], "the job has no channel test; it has train"),
        ([], "accepted: its place on S3, --channel train=s3://..."),
        (
            ["--channel", "train=s3://x/y", "--instance-type", "ml.trn1.2xlarge"],
            "whose accelerator is no GPU",
        ),
    ],
)
def test_faults_are_told_in_a_sentence(job, options, told):
    usual = ("--image", IMAGE, "--role", ROLE, "--output", "s3://b/o", "--instance-type", "ml.m5.large")
    said = call("create-training-job", job, *usual, *options, code=1)
    assert told in said
    assert "Traceback" not in said


def test_a_source_of_this_machine_cant_run_there(tmp_path):
    told = {"algorithm": "rl", "channels": {}, "hyperparameters": {"sagemaker_submit_directory": "source"}}
    (tmp_path / "job.json").write_text(json.dumps(told))
    options = ("--image", IMAGE, "--role", ROLE, "--output", "s3://b/o", "--instance-type", "ml.m5.large")
    said = call("create-training-job", tmp_path, *options, code=1)
    assert "sagemaker_submit_directory is source; accepted: a .tar.gz of it on S3" in said


def test_what_is_no_job_is_told(tmp_path):
    options = ("--image", IMAGE, "--role", ROLE, "--output", "s3://b/o", "--instance-type", "ml.m5.large")
    assert "has no job.json; accepted" in call("create-training-job", tmp_path, *options, code=1)
    (tmp_path / "job.json").write_text("{")
    assert "job.json is damaged" in call("create-training-job", tmp_path, *options, code=1)
