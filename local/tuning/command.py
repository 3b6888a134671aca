"""`algodock tune`: a request from a file, from options or both, run in a folder and told as it goes."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from common.failures import ClientError, one_of
from common.hyperparameters import Parameter
from common.job import written
from common.manifest import Manifest
from local import storage
from local.jobs import ChannelSource, usual
from local.runtimes import Runtime
from local.screens import tell
from local.training import alone
from local.tuning import describing, trials, warm_start
from local.tuning.ranges import Words
from local.tuning.request import Tuning, documented, read
from local.tuning.running import Tuner, check
from local.tuning.trials import FAILED, RUNNING, STOPPED, Trial

DESCRIPTION, PAGE = "tuning.json", "tuning.html"
_KINDS = {
    "int": "IntegerParameterRanges",
    "float": "ContinuousParameterRanges",
    "other": "CategoricalParameterRanges",
}
_TRIALS = 10  # unless it is said how many
_REDRAWN = 15  # seconds from one page to the next while trials run


@dataclass(frozen=True)
class Options:
    """What the command line says, as `local.cli` declares it."""

    algorithm: Manifest
    name: str
    channels: Sequence[ChannelSource]
    hyperparameters: Mapping[str, str]
    environment: Mapping[str, str]
    range: Sequence[str] = ()
    metric: Mapping[str, str] = field(default_factory=dict)  # names and regexes of a user's own
    objective: str | None = None
    direction: str | None = None
    strategy: str = "Bayesian"
    max_jobs: int | None = None
    parallel: int = 1
    max_seconds: int | None = None
    early_stopping: bool = False
    min_resource: int | None = None
    max_resource: int | None = None
    seed: int = 0
    warm_start: Sequence[str] = ()
    input_mode: str = "File"
    distribution: str = "FullyReplicated"
    hosts: int = 1
    instance_type: str = "local"


def request_of(asked: Options) -> dict[str, Any]:
    """The request that says the same as the command line. Raises ClientError."""
    ranges = ranges_of(asked.algorithm, asked.range, asked.hyperparameters)
    limits: dict[str, Any] = {"MaxParallelTrainingJobs": asked.parallel}
    if asked.strategy == "Grid":
        ranges = grid_of(asked.algorithm, ranges)
    if asked.max_jobs is not None or asked.strategy != "Grid":
        limits["MaxNumberOfTrainingJobs"] = _TRIALS if asked.max_jobs is None else asked.max_jobs
    if asked.max_seconds is not None:
        limits["MaxRuntimeInSeconds"] = asked.max_seconds
    config: dict[str, Any] = {
        "Strategy": asked.strategy,
        "HyperParameterTuningJobObjective": objective_of(asked),
        "ResourceLimits": limits,
        "ParameterRanges": ranges,
        "TrainingJobEarlyStoppingType": "Auto" if asked.early_stopping else "Off",
        "RandomSeed": asked.seed,
    }
    resource = {"MinResource": asked.min_resource, "MaxResource": asked.max_resource}
    if asked.strategy == "Hyperband":
        given = {name: value for name, value in resource.items() if value is not None}
        config["StrategyConfig"] = {"HyperbandStrategyConfig": given}
    request: dict[str, Any] = {
        "HyperParameterTuningJobName": asked.name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {
            "StaticHyperParameters": dict(asked.hyperparameters),
            "AlgorithmSpecification": {
                "TrainingImage": f"algodock/{asked.algorithm.name}:cpu",
                "TrainingInputMode": asked.input_mode,
                "MetricDefinitions": [{"Name": n, "Regex": regex} for n, regex in asked.metric.items()],
            },
            "InputDataConfig": [channel_of(one, asked) for one in asked.channels],
            "OutputDataConfig": {"S3OutputPath": "file://local"},
            "ResourceConfig": {
                "InstanceType": asked.instance_type,
                "InstanceCount": asked.hosts,
                "VolumeSizeInGB": 1,
            },
            "RoleArn": "arn:aws:iam::000000000000:role/local",
            "StoppingCondition": {"MaxRuntimeInSeconds": asked.max_seconds or 86_400},
            "Environment": dict(asked.environment),
        },
    }
    if asked.warm_start:
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": parent} for parent in asked.warm_start
            ],
            "WarmStartType": "TransferLearning",
        }
    return request


def load(path: Path) -> dict[str, Any]:
    """A request from a file. Raises ClientError."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ClientError(f"{path} is not a request; accepted: a JSON object")
    return found


def ranges_of(
    algorithm: Manifest, written: Sequence[str], static: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """ParameterRanges of ``NAME=LOW:HIGH[:SCALING]``, ``NAME=WORD,WORD`` or ``NAME`` (as documented).

    Without any, those that AWS's documents recommend for what isn't static. Raises ClientError.
    """
    declared = {parameter.name: parameter for parameter in algorithm.declaration().parameters}
    found: dict[str, list[dict[str, Any]]] = {}
    for text in written:
        name, _, rest = text.partition("=")
        ends = rest.split(":")
        kind = declared[name].kind if name in declared else "float"
        if not rest:
            found.setdefault("AutoParameters", []).append(_automatic(name, declared.get(name)))
        elif len(ends) in (2, 3) and kind in ("int", "float"):
            found.setdefault(_KINDS[kind], []).append(
                {"Name": name, "MinValue": ends[0], "MaxValue": ends[1], "ScalingType": (*ends, "Auto")[2]}
            )
        elif len(ends) == 1:
            found.setdefault(_KINDS["other"], []).append({"Name": name, "Values": rest.split(",")})
        else:
            raise ClientError(
                f"--range {text} is not accepted; accepted: NAME=LOW:HIGH, NAME=LOW:HIGH:SCALING, "
                "NAME=WORD,WORD or NAME"
            )
    names = [name for name, parameter in declared.items() if parameter.tuning and name not in static]
    return found or {"AutoParameters": [_automatic(name, declared[name]) for name in names]}


def _automatic(name: str, parameter: Parameter | None) -> dict[str, str]:
    """AWS wants a value beside the name: the default, or where there is none the range's least."""
    if parameter is None or parameter.tuning is None:
        return {"Name": name}  # is refused in the words of all that can't be tuned
    value = parameter.tuning.range[0] if parameter.default is None else parameter.default
    return {"Name": name, "ValueHint": str(value).lower() if isinstance(value, bool) else str(value)}


def grid_of(algorithm: Manifest, ranges: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The same for strategy Grid, which takes words alone: documented ones where ranges are left to them."""
    declared = {parameter.name: parameter for parameter in algorithm.declaration().parameters}
    found = [*ranges.get(_KINDS["other"], [])]
    for one in ranges.get("AutoParameters", []):
        parameter = declared.get(one["Name"])
        if parameter and parameter.tuning and isinstance(words := documented(parameter), Words):
            found.append({"Name": words.name, "Values": list(words.values)})
    return {**{k: v for k, v in ranges.items() if k in _KINDS.values()}, _KINDS["other"]: found}


def objective_of(asked: Options) -> dict[str, str]:
    """The objective asked for, or the algorithm's first; in the direction given, or that documented.

    Raises ClientError.
    """
    known = {metric.name: metric.direction for metric in asked.algorithm.metrics}
    known |= dict.fromkeys(asked.metric, "none")
    usual = next((m.name for m in asked.algorithm.metrics if m.tuning_objective), None)
    name = asked.objective or next(iter(asked.metric), usual)
    if name is None or name not in known:
        raise ClientError(
            f"--objective {name} is unknown to {asked.algorithm.name}; accepted: {one_of(known)}, or one of "
            "your own with --metric"
        )
    direction = asked.direction or known[name]
    if direction == "none":
        raise ClientError(f"--direction is missing for {name}; accepted: Maximize or Minimize")
    return {"MetricName": name, "Type": direction}


def channel_of(channel: ChannelSource, asked: Options) -> dict[str, Any]:
    """A channel as a request has it. Raises ClientError for one that the algorithm hasn't."""
    _, distribution = usual(asked.algorithm.channel(channel.name), asked.input_mode, asked.distribution)
    place: dict[str, Any] = {
        "S3DataType": channel.data_type,
        "S3Uri": channel.uri if storage.is_s3(channel.uri) else str(Path(channel.uri).resolve()),
        "S3DataDistributionType": distribution,
    }
    if channel.attributes:
        place["AttributeNames"] = list(channel.attributes)
    found: dict[str, Any] = {"ChannelName": channel.name, "DataSource": {"S3DataSource": place}}
    if channel.content_type:
        found["ContentType"] = channel.content_type
    if channel.compression != "None":
        found["CompressionType"] = channel.compression
    if channel.record_wrapper != "None":
        found["RecordWrapperType"] = channel.record_wrapper
    if channel.shuffle_seed is not None:
        found["ShuffleConfig"] = {"Seed": channel.shuffle_seed}
    return found


def run(
    request: dict[str, Any],
    folder: Path,
    runtime: Callable[[], Runtime],
    screen: IO[str] = sys.stdout,
) -> int:
    """Runs a tuning, or goes on with the one that ``folder`` holds; returns the exit code.

    Raises ClientError for a request that can't be run, and for a folder that holds another tuning.
    """
    tuning = read(request)
    check(tuning)
    parents = warm_start.trials_of(tuning, request, folder)
    with alone(folder):
        return _run(tuning, request, folder, runtime, parents, screen)


def _run(
    tuning: Tuning,
    request: dict[str, Any],
    folder: Path,
    runtime: Callable[[], Runtime],
    parents: Sequence[Trial],
    screen: IO[str],
) -> int:
    earlier = trials.load(folder)
    if earlier and earlier[0] != request:
        raise ClientError(
            f"{folder} holds another tuning; accepted: an empty folder, or the same request to go on"
        )
    tuner = Tuner(tuning, request, folder, runtime, parents=parents)
    if earlier:
        tuner = Tuner(tuning, request, folder, runtime, parents=parents, trials=earlier[1], ran=earlier[2])
        done = sum(trial.status != RUNNING for trial in earlier[1])
        tell(screen, f"going on after {done} of {tuning.limits.trials} trials\n")
    tuner.tell = lambda trial: _told(tuner, trial, screen)
    status = tuner.run()
    _describe(tuner, status)
    _draw(tuner, status)
    return _summary(tuner, status, screen)


def _told(tuner: Tuner, trial: Trial, screen: IO[str]) -> None:
    """A line for each trial that begins or ends; what is known is written for whoever looks meanwhile."""
    _describe(tuner, RUNNING)
    _draw(tuner, RUNNING, now=False)
    values = " ".join(f"{name}={_short(value)}" for name, value in trial.values.items())
    number = tuner.trials.index(trial) + 1
    line = f"{number:>4}/{tuner.tuning.limits.trials}  {trial.status:<10}  {values}"
    if trial.ended is not None:
        value = "no objective" if trial.objective is None else f"{trial.objective:.6g}"
        line += f"  {tuner.tuning.objective.metric} {value}  {trial.ended - trial.created:.1f} s"
        if trial.reason:
            line += f"  {trial.reason}"
        if tuner.tuning.objective.best(tuner.trials) is trial:
            line += "  best"
    tell(screen, line + "\n")


def _short(value: str) -> str:
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.5g}"
    except ValueError:
        return value


def _describe(tuner: Tuner, status: str) -> None:
    tuning = tuner.tuning
    told = describing.describe(
        tuner.request, tuning.name, tuning.objective, tuner.trials, status, tuner.seconds
    )
    if tuning.warm_start == "IdenticalDataAndAlgorithm":
        every = [*tuner.parents, *tuner.trials]
        overall = describing.describe(tuner.request, tuning.name, tuning.objective, every, status, 0)
        if "BestTrainingJob" in overall:
            told["OverallBestTrainingJob"] = overall["BestTrainingJob"]
    with written(tuner.folder / DESCRIPTION) as path:
        path.write_text(json.dumps(told, indent=1))


def _draw(tuner: Tuner, status: str, *, now: bool = True) -> None:
    """Writes the page; while trials run only now and then, since drawing takes a part of a second."""
    place = tuner.folder / PAGE
    with suppress(FileNotFoundError):
        if not now and time.time() - place.stat().st_mtime < _REDRAWN:
            return
    if not now and not tuner.tuning.objective.best(tuner.trials):
        return
    from local.tuning import page  # Matplotlib takes a while to import

    with written(place) as path:
        path.write_text(page.page(tuner.tuning, tuner.trials, status, tuner.seconds), "utf-8")


def _summary(tuner: Tuner, status: str, screen: IO[str]) -> int:
    best = tuner.tuning.objective.best(tuner.trials)
    if status == FAILED:
        raise ClientError(f"all trials failed; the first: {tuner.trials[0].reason}")
    if best is None:
        tell(screen, f"no trial has printed {tuner.tuning.objective.metric}\n")
    else:
        values = " ".join(f"-p {name}={value}" for name, value in best.values.items())
        tell(screen, f"best: {tuner.tuning.objective.metric} {best.objective:.6g} with {values}\n")
        tell(screen, f"{tuner.folder / best.name}: its model and log\n")
    tell(screen, f"{tuner.folder}: {DESCRIPTION}, {PAGE}\n")
    return 130 if status == STOPPED else 0


def name_of(algorithm: Manifest, folder: str | None) -> str:
    """Of a tuning that isn't given one: its folder's, in the 32 letters that AWS allows."""
    found = re.sub("[^a-zA-Z0-9]+", "-", Path(folder).name if folder else "")[:32].strip("-")
    return found or f"{algorithm.name[:16].strip('-')}-{time.strftime('%y%m%d-%H%M%S')}"
