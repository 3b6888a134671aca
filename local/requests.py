"""Requests that bring an algorithm, or a job that ran here, to SageMaker: CreateAlgorithm, CreateTrainingJob.

They are checked against botocore's own model of the service, and nothing is sent: the AWS command line or
boto3 does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import manifest
from common.content_types import CSV, SYNONYMS
from common.content_types import parse as parse_type
from common.failures import ClientError
from common.hyperparameters import Parameter
from common.instances import allowed, parse
from common.instances import check as check_instance
from common.manifest import ChannelSpec, Manifest, MetricSpec, Rules
from local.jobs import usual

# Where a declaration has no bound and a request must have one.
_WHOLE, _REAL = 2**31 - 1, 1e38
_MOST_METRICS = 40
_LONGEST_NAME = 63
# Families with arm64 processors: Graviton (m6g, c7gd), Grace (p6e-gb200).
_ARM = re.compile(r"[a-z]+\d+g[a-z]*|.*-gb\d+")


def algorithm(found: Manifest, image: str, name: str, device: str) -> dict[str, Any]:
    """A CreateAlgorithm request for an image of ours in ECR. Raises ClientError."""
    declared = [one for one in found.declaration().parameters if one.documented]
    metrics = _metrics(found)
    objectives = [one for one in metrics if one.direction != "none"]
    training: dict[str, Any] = {
        "TrainingImage": image,
        "SupportedHyperParameters": [_hyperparameter(one) for one in declared],
        "SupportedTrainingInstanceTypes": list(_types("TrainingInstanceType", found.training, (device,))),
        "SupportsDistributedTraining": found.training.multi_host,
        "MetricDefinitions": [_definition(one) for one in metrics],
        "TrainingChannels": [
            {
                "Name": channel.name,
                "Description": _short(channel.purpose),
                "IsRequired": channel.required,
                "SupportedContentTypes": list(_content_types(channel)),
                # SageMaker takes gzip off in Pipe mode alone.
                "SupportedCompressionTypes": ["None", "Gzip"] if "Pipe" in channel.input_modes else ["None"],
                "SupportedInputModes": list(channel.input_modes),
            }
            for channel in found.channels
        ],
        "SupportedTuningJobObjectiveMetrics": [
            {"Type": one.direction, "MetricName": one.name} for one in objectives
        ],
    }
    if not training["SupportedTrainingInstanceTypes"]:
        other = "cpu" if device == "gpu" else "gpu"
        raise ClientError(
            f"{found.name} trains on no {device.upper()} instance; accepted: {allowed(found.training)}, by "
            f"--device {other} and the :{other} image"
        )
    rules = found.inference.rules
    answering = ("cpu", device)  # a GPU image runs on a CPU too
    request = {
        "AlgorithmName": name,
        "AlgorithmDescription": _short(found.summary),
        "TrainingSpecification": training,
        "InferenceSpecification": {
            "Containers": [{"Image": image}],
            "SupportedTransformInstanceTypes": list(_types("TransformInstanceType", rules, answering)),
            "SupportedRealtimeInferenceInstanceTypes": list(
                _types("ProductionVariantInstanceType", rules, answering)
            ),
            "SupportedContentTypes": list(found.inference.content_types),
            "SupportedResponseMIMETypes": list(found.inference.accepts),
        },
    }
    return checked("CreateAlgorithm", request)


def training_job(
    job: Path,
    image: str,
    role: str,
    output: str,
    places: Mapping[str, str],
    instance_type: str,
    hosts: int | None = None,
) -> dict[str, Any]:
    """A CreateTrainingJob request for the job whose folder this is. Raises ClientError.

    ``places`` has each channel's data on S3; those that were on S3 already needn't be named.
    """
    try:
        told = json.loads((job / "job.json").read_text("utf-8"))
        found = manifest.load(told["algorithm"])
        channels = {name: places.get(name, uri) for name, uri in told["channels"].items()}
    except FileNotFoundError:
        raise ClientError(f"{job} has no job.json; accepted: the folder of a job of algodock train") from None
    except (ValueError, KeyError, AttributeError):
        raise ClientError(f"{job / 'job.json'} is damaged; accepted: what algodock train wrote") from None
    unknown = [name for name in places if name not in channels]
    if unknown:
        raise ClientError(f"the job has no channel {unknown[0]}; it has {', '.join(channels) or 'none'}")
    for name, uri in channels.items():
        if not uri.startswith("s3://"):
            raise ClientError(
                f"channel {name} is {uri}; accepted: its place on S3, --channel {name}=s3://..."
            )
    source = str(told["hyperparameters"].get("sagemaker_submit_directory", "s3://"))
    if not source.startswith("s3://"):
        raise ClientError(
            f"hyperparameter sagemaker_submit_directory is {source}; accepted: a .tar.gz of it on S3, by "
            "which the job is to be trained here first"
        )
    laid_out = _laid_out(job)
    count = hosts or int(told.get("hosts", 1))
    check_instance(found.training, instance_type, count, found.name)
    request: dict[str, Any] = {
        "TrainingJobName": re.sub(r"[^A-Za-z0-9]+", "-", job.resolve().name)[:_LONGEST_NAME].strip("-"),
        "HyperParameters": {name: str(value) for name, value in told["hyperparameters"].items()},
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": told.get("input_mode", "File"),
            "MetricDefinitions": [_definition(one) for one in _metrics(found)],
        },
        "RoleArn": role,
        "InputDataConfig": [
            _channel(found.channel(name), uri, told, laid_out) for name, uri in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": count, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "Environment": told.get("environment", {}),
    }
    if not channels:
        del request["InputDataConfig"]
    if place := told.get("checkpoints"):
        usual = f"{output.rstrip('/')}/{request['TrainingJobName']}/checkpoints"
        request["CheckpointConfig"] = {"S3Uri": place if isinstance(place, str) else usual}
    return checked("CreateTrainingJob", request)


def _laid_out(job: Path) -> dict[str, dict[str, Any]]:
    """The inputdataconfig.json that the job's first host found; empty where it's gone."""
    path = job / "ml" / "algo-1" / "input" / "config" / "inputdataconfig.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _channel(
    spec: ChannelSpec, uri: str, told: Mapping[str, Any], laid_out: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    name, jobs_mode = spec.name, told.get("input_mode", "File")
    mode, distribution = usual(spec, jobs_mode, told.get("distribution", "FullyReplicated"))

    def of(what: str) -> Any:
        return told.get(what, {}).get(name)

    attributes = of("attributes")
    source: dict[str, Any] = {
        "S3DataType": of("data_types") or ("AugmentedManifestFile" if attributes else "S3Prefix"),
        "S3Uri": uri,
        "S3DataDistributionType": of("distributions") or distribution,
    }
    found: dict[str, Any] = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
    mode = of("input_modes") or mode
    if mode != jobs_mode:
        found["InputMode"] = mode
    if attributes:
        source["AttributeNames"] = list(attributes)
        # An older job.json doesn't tell the wrapper.
        wrapped = "record_wrappers" not in told or of("record_wrappers")
        found |= {"InputMode": "Pipe", "RecordWrapperType": "RecordIO" if wrapped else "None"}
    elif of("record_wrappers"):
        found["RecordWrapperType"] = of("record_wrappers")
    if of("compressions"):
        found["CompressionType"] = of("compressions")
    if of("shuffle_seeds") is not None:
        found["ShuffleConfig"] = {"Seed": of("shuffle_seeds")}
    # Where nobody said the type, the files' ending told it here; SageMaker doesn't look at endings.
    content_type = of("content_types") or laid_out.get(name, {}).get("ContentType")
    return found | ({"ContentType": content_type} if content_type else {})


def checked(operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request, once botocore's model of the operation takes it. Raises ClientError."""
    from botocore.validate import ParamValidator

    faults = ParamValidator().validate(request, _service().operation_model(operation).input_shape)
    if faults.has_errors():
        raise ClientError(f"{operation} doesn't take the request: {faults.generate_report()}")
    return request


def _service() -> Any:
    from botocore.session import get_session

    return get_session().get_service_model("sagemaker")


def _types(shape: str, rules: Rules, devices: Sequence[str]) -> Iterator[str]:
    """The service's instance types with an x86 processor and one of the devices that the rules allow."""
    for name in _service().shape_for(shape).enum:
        try:
            instance = parse(name)
            check_instance(rules, name, 1, "")
        except ClientError:
            continue
        if instance.device in devices and not _ARM.fullmatch(instance.family):
            yield name


def _content_types(channel: ChannelSpec) -> Iterator[str]:
    """Those of the manifest, CSV as AWS's documents spell it for this channel, and other spellings.

    SageMaker compares texts: what isn't listed is refused.
    """
    yield from channel.content_types
    if CSV in channel.content_types:
        yield f"{CSV};label_size={int(channel.labels == 'required')}"
    taken = {parse_type(one).name for one in channel.content_types}
    yield from (
        word for word, name in SYNONYMS.items() if name in taken and word not in channel.content_types
    )


def _metrics(found: Manifest) -> list[MetricSpec]:
    """As many as a request may have, those that one would tune for first."""
    ranked = sorted(found.metrics, key=lambda one: (not one.tuning_objective, one.direction == "none"))
    return ranked[:_MOST_METRICS]


def _definition(one: MetricSpec) -> dict[str, str]:
    # CloudWatch writes a tab as #011: what follows one would belong to the number.
    return {"Name": one.name, "Regex": one.regex.replace(r"(\S+)", r"([^\s#]+)")}


def _hyperparameter(one: Parameter) -> dict[str, Any]:
    kind, limits = _range(one)
    # No DefaultValue: SDKs and the console send it with every job, and what is given isn't what was left out.
    default = "" if one.required or one.default in (None, "", ()) else f" Default: {_written(one.default)}."
    found: dict[str, Any] = {
        "Name": one.name,
        "Description": _short(one.meaning + default),
        "Type": kind,
        "IsTunable": one.tuning is not None and kind != "FreeText",
        "IsRequired": one.required,
    }
    if limits:
        found["Range"] = limits
    return found


def _range(one: Parameter) -> tuple[str, dict[str, Any]]:
    if one.kind != "list" and (one.choices or one.kind == "bool"):
        values = [*(one.choices or ("true", "false")), *one.also]
        if "true" in values:
            values += ["True", "False"]  # as the SDK writes Python's
        return "Categorical", {"CategoricalParameterRangeSpecification": {"Values": values}}
    # What can be tuned is a number, though then a word such as auto can't be given: left out, it holds.
    worded = (one.also or one.reader is not None) and one.tuning is None
    if worded or one.kind not in ("int", "float"):
        return "FreeText", {}
    most = _WHOLE if one.kind == "int" else _REAL
    ends = [-most if one.min is None else one.min, most if one.max is None else one.max]
    if one.kind == "int":
        ends = [int(end) for end in ends]
    word = "Integer" if one.kind == "int" else "Continuous"
    limits = {"MinValue": str(ends[0]), "MaxValue": str(ends[1])}
    return word, {f"{word}ParameterRangeSpecification": limits}


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= 1000 else f"{text[:997]}..."
