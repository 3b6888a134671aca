"""Requests that bring an algorithm, or a job that ran here, to SageMaker: CreateAlgorithm, CreateTrainingJob.

They are checked against botocore's own model of the service, and nothing is sent: the AWS command line or
boto3 does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common import manifest
from common.failures import ClientError
from common.hyperparameters import Parameter
from common.instances import allowed, parse
from common.instances import check as check_instance
from common.manifest import Manifest, MetricSpec, Rules

# Where a declaration has no bound and a request must have one.
_WHOLE, _REAL = 2**31 - 1, 1e38
_MOST_METRICS = 40


def algorithm(found: Manifest, image: str, name: str, device: str) -> dict[str, Any]:
    """A CreateAlgorithm request for an image of ours in ECR. Raises ClientError."""
    declared = [one for one in found.declaration().parameters if one.documented]
    metrics = _metrics(found)
    objectives = [one for one in metrics if one.direction != "none"]
    training: dict[str, Any] = {
        "TrainingImage": image,
        "SupportedHyperParameters": [_hyperparameter(one) for one in declared],
        "SupportedTrainingInstanceTypes": list(_types("TrainingInstanceType", found.training, device)),
        "SupportsDistributedTraining": found.training.multi_host,
        "MetricDefinitions": [{"Name": one.name, "Regex": one.regex} for one in metrics],
        "TrainingChannels": [
            {
                "Name": channel.name,
                "Description": _short(channel.purpose),
                "IsRequired": channel.required,
                "SupportedContentTypes": list(channel.content_types),
                "SupportedCompressionTypes": ["None", "Gzip"],
                "SupportedInputModes": list(channel.input_modes),
            }
            for channel in found.channels
        ],
        "SupportedTuningJobObjectiveMetrics": [
            {"Type": one.direction, "MetricName": one.name} for one in objectives
        ],
    }
    if not training["SupportedTrainingInstanceTypes"]:
        raise ClientError(
            f"{found.name} trains on no {device.upper()} instance; accepted: {allowed(found.training)}, and "
            "--device with an image for them"
        )
    rules = found.inference.rules
    request = {
        "AlgorithmName": name,
        "AlgorithmDescription": _short(found.summary),
        "TrainingSpecification": training,
        "InferenceSpecification": {
            "Containers": [{"Image": image}],
            "SupportedTransformInstanceTypes": list(_types("TransformInstanceType", rules, device)),
            "SupportedRealtimeInferenceInstanceTypes": list(
                _types("ProductionVariantInstanceType", rules, device)
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
    count = hosts or int(told.get("hosts", 1))
    check_instance(found.training, instance_type, count, found.name)
    request: dict[str, Any] = {
        "TrainingJobName": re.sub(r"[^A-Za-z0-9]+", "-", job.resolve().name).strip("-"),
        "HyperParameters": {name: str(value) for name, value in told["hyperparameters"].items()},
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": told.get("input_mode", "File"),
            "MetricDefinitions": [{"Name": one.name, "Regex": one.regex} for one in _metrics(found)],
        },
        "RoleArn": role,
        "InputDataConfig": [_channel(name, uri, told) for name, uri in channels.items()],
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


def _channel(name: str, uri: str, told: Mapping[str, Any]) -> dict[str, Any]:
    def of(what: str) -> Any:
        return told.get(what, {}).get(name)

    attributes = of("attributes")
    source: dict[str, Any] = {
        "S3DataType": of("data_types") or ("AugmentedManifestFile" if attributes else "S3Prefix"),
        "S3Uri": uri,
        "S3DataDistributionType": of("distributions") or told.get("distribution", "FullyReplicated"),
    }
    found: dict[str, Any] = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
    if of("input_modes"):
        found["InputMode"] = of("input_modes")
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
    return found | ({"ContentType": of("content_types")} if of("content_types") else {})


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


def _types(shape: str, rules: Rules, device: str) -> Iterator[str]:
    """The service's instance types that the rules allow and that have the image's device."""
    for name in _service().shape_for(shape).enum:
        try:
            instance = parse(name)
            check_instance(rules, name, 1, "")
        except ClientError:
            continue
        if instance.device == device:
            yield name


def _metrics(found: Manifest) -> list[MetricSpec]:
    """As many as a request may have, those that one would tune for first."""
    ranked = sorted(found.metrics, key=lambda one: (not one.tuning_objective, one.direction == "none"))
    return ranked[:_MOST_METRICS]


def _hyperparameter(one: Parameter) -> dict[str, Any]:
    kind, limits = _range(one)
    found: dict[str, Any] = {
        "Name": one.name,
        "Description": _short(one.meaning),
        "Type": kind,
        "IsTunable": one.tuning is not None and kind != "FreeText",
        "IsRequired": one.required,
    }
    if limits:
        found["Range"] = limits
    if one.default is not None and not one.required:
        found["DefaultValue"] = _written(one.default)
    return found


def _range(one: Parameter) -> tuple[str, dict[str, Any]]:
    if one.kind != "list" and (one.choices or one.kind == "bool"):
        values = [*(one.choices or ("true", "false")), *one.also]
        return "Categorical", {"CategoricalParameterRangeSpecification": {"Values": values}}
    if one.also or one.reader is not None or one.kind not in ("int", "float"):
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
