"""A CreateHyperParameterTuningJob request, read and checked; every fault is told at once.

Places of data are S3 prefixes, file:// addresses or paths of this machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common import manifest
from common.failures import ClientError, one_of
from common.hyperparameters import Parameter
from common.manifest import Manifest
from local.jobs import ChannelSource
from local.tuning import ranges
from local.tuning.ranges import Numbers, Range, Words
from local.tuning.trials import Objective

STRATEGIES = ("Bayesian", "Random", "Grid", "Hyperband")
WARM_STARTS = ("IdenticalDataAndAlgorithm", "TransferLearning")
# AWS's limits.
_MOST_TRIALS = {"Random": 10_000}
_MOST_TRIALS_OTHERWISE, _MOST_PARALLEL, _MOST_RANGES, _MOST_WORDS, _MOST_NAMES = 750, 100, 30, 30, 100
_MOST_RESOURCE = 20_000
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}")


@dataclass(frozen=True)
class Limits:
    """When a tuning ends."""

    trials: int
    parallel: int
    seconds: float = math.inf
    trial_seconds: float = math.inf
    target: float | None = None
    not_improving: int | None = None


@dataclass(frozen=True)
class Tuning:
    """What a request asks for."""

    name: str
    algorithm: Manifest
    strategy: str
    ranges: tuple[Range, ...]
    static: Mapping[str, str]
    objective: Objective
    limits: Limits
    early_stopping: bool
    resource: tuple[int, int]  # least and most epochs, of Hyperband
    seed: int
    channels: tuple[ChannelSource, ...]
    input_mode: str
    distribution: str
    hosts: int
    instance_type: str
    environment: Mapping[str, str]
    checkpoints: bool
    parents: tuple[str, ...]
    warm_start: str | None


def read(request: Mapping[str, Any]) -> Tuning:
    """The tuning that a request in AWS's JSON asks for. Raises ClientError with every fault."""
    try:
        return _Reader(request).tuning()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ClientError(f"the request can't be read: {told}") from None


def algorithm_of(image: str) -> Manifest:
    """The algorithm whose image an address like ``.../algodock/kmeans:cpu`` names. Raises ClientError."""
    name = image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    return manifest.load(name.removeprefix("sagemaker-"))


class _Reader:
    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._faults: list[str] = []
        if "TrainingJobDefinitions" in request:
            raise ClientError("TrainingJobDefinitions is not accepted; accepted: one TrainingJobDefinition")
        self._config = request["HyperParameterTuningJobConfig"]
        self._job = request["TrainingJobDefinition"]
        specification = self._job["AlgorithmSpecification"]
        self._algorithm = algorithm_of(specification.get("TrainingImage") or specification["AlgorithmName"])
        self._parameters = {p.name: p for p in self._algorithm.declaration().parameters}
        self._open = self._algorithm.declaration().takes_any(self._job.get("StaticHyperParameters", {}))

    def tuning(self) -> Tuning:
        """Everything. Raises ClientError."""
        config, job = self._config, self._job
        strategy = self._one_of("Strategy", config.get("Strategy", "Bayesian"), STRATEGIES)
        static = {name: str(value) for name, value in job.get("StaticHyperParameters", {}).items()}
        found = tuple(self._ranges(config.get("ParameterRanges", {})))
        self._check_names(found, static, strategy)
        early = self._one_of(
            "TrainingJobEarlyStoppingType",
            config.get("TrainingJobEarlyStoppingType", "Off"),
            ("Off", "Auto"),
        )
        if strategy == "Hyperband" and early == "Auto":
            self._fault("TrainingJobEarlyStoppingType is Auto; accepted with strategy Hyperband: Off")
        objective = self._objective()
        resource = self._resource(static) if strategy == "Hyperband" else (0, 0)
        limits = self._limits(strategy, found)
        seed = self._integer("RandomSeed", config.get("RandomSeed", 0), 0, 2**32 - 1)
        name = str(self._request.get("HyperParameterTuningJobName", f"{self._algorithm.name[:24]}-tuning"))
        if not _NAME.fullmatch(name):
            self._fault(
                f"HyperParameterTuningJobName is '{name}'; accepted: 1 to 32 letters, digits, inner hyphens"
            )
        warm = self._request.get("WarmStartConfig") or {}
        parents = tuple(
            one["HyperParameterTuningJobName"] for one in warm.get("ParentHyperParameterTuningJobs", [])
        )
        if warm:
            self._one_of("WarmStartType", warm.get("WarmStartType"), WARM_STARTS)
            if not 1 <= len(parents) <= 5:
                self._fault(f"{len(parents)} parents are given; accepted: 1 to 5")
            if strategy not in ("Bayesian", "Random"):
                self._fault(f"strategy {strategy} can't begin warm; accepted: Bayesian or Random")
        resources = self._resources()
        given = job.get("InputDataConfig", [])
        channels = tuple(self._channels(given))
        if self._faults:
            raise ClientError("; ".join(self._faults))
        return Tuning(
            name=name,
            algorithm=self._algorithm,
            strategy=strategy,
            ranges=found,
            static=static,
            objective=objective,
            limits=limits,
            early_stopping=early == "Auto",
            resource=resource,
            seed=seed,
            channels=channels,
            input_mode=self._input_mode(given),
            distribution=_distribution(given),
            hosts=int(resources.get("InstanceCount", 1)),
            instance_type=resources.get("InstanceType", "local"),
            environment=job.get("Environment", {}),
            checkpoints="CheckpointConfig" in job,
            parents=parents,
            warm_start=warm.get("WarmStartType"),
        )

    def _fault(self, sentence: str) -> None:
        self._faults.append(sentence)

    def _one_of(self, name: str, value: Any, accepted: tuple[str, ...]) -> str:
        if value not in accepted:
            self._fault(f"{name} is '{value}'; accepted: {one_of(accepted)}")
        return str(value)

    def _integer(self, name: str, value: Any, least: int, most: int) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            self._fault(f"{name} is '{value}'; accepted: an integer from {least} to {most}")
        return number

    def _seconds(self, given: Mapping[str, Any]) -> float:
        value = given.get("MaxRuntimeInSeconds")
        try:
            seconds = math.inf if value is None else float(value)
        except (ValueError, TypeError):
            seconds = 0.0
        if not seconds > 0:
            self._fault(f"MaxRuntimeInSeconds is '{value}'; accepted: a number of seconds above 0")
        return seconds

    def _ranges(self, given: Mapping[str, Any]) -> Iterator[Range]:
        for one in given.get("IntegerParameterRanges") or ():
            yield from self._numbers(one, whole=True)
        for one in given.get("ContinuousParameterRanges") or ():
            yield from self._numbers(one, whole=False)
        for one in given.get("CategoricalParameterRanges") or ():
            yield from self._words(one["Name"], [str(value) for value in one["Values"]])
        for one in given.get("AutoParameters") or ():
            yield from self._documented(one["Name"])

    def _numbers(self, given: Mapping[str, Any], whole: bool) -> Iterator[Range]:
        name, kind = given["Name"], "an integer" if whole else "a number"
        ends = []
        for end in ("MinValue", "MaxValue"):
            try:
                ends.append(float(int(given[end])) if whole else float(given[end]))
            except ValueError:
                self._fault(f"{end} of {name} is '{given[end]}'; accepted: {kind}")
                return
        low, high = ends
        if not low <= high < math.inf:
            self._fault(f"the range of {name} is {low:g} to {high:g}; accepted: finite and not falling")
            return
        scaling = given.get("ScalingType") or "Auto"
        if scaling not in ranges.SCALINGS or (whole and scaling == ranges.REVERSE):
            accepted = ranges.SCALINGS[: 3 if whole else 4]
            self._fault(f"ScalingType of {name} is {scaling}; accepted: {one_of(accepted)}")
            return
        if scaling == ranges.LOGARITHMIC and low <= 0:
            self._fault(f"the range of {name} begins at {low:g}; accepted with Logarithmic: above 0")
            return
        if scaling == ranges.REVERSE and not 0 <= low <= high < 1:
            self._fault(
                f"the range of {name} is {low:g} to {high:g}; accepted with ReverseLogarithmic: 0 to below 1"
            )
            return
        if not self._accepts(name, [str(given["MinValue"]), str(given["MaxValue"])]):
            return
        yield Numbers(name, low, high, ranges.automatic(low, high) if scaling == "Auto" else scaling, whole)

    def _words(self, name: str, values: list[str]) -> Iterator[Range]:
        if not 1 <= len(values) <= _MOST_WORDS:
            self._fault(f"{name} has {len(values)} values; accepted: 1 to {_MOST_WORDS}")
        elif self._accepts(name, values):
            yield Words(name, tuple(values))

    def _documented(self, name: str) -> Iterator[Range]:
        """The range that AWS's documents recommend."""
        parameter = self._parameters.get(name)
        if parameter is None or parameter.tuning is None:
            self._accepts(name, [])
        else:
            yield documented(parameter)

    def _accepts(self, name: str, values: list[str]) -> bool:
        """Whether the algorithm tunes that parameter and takes these values; a fault where not."""
        parameter = self._parameters.get(name)
        if self._open:
            return True
        if parameter is None or parameter.tuning is None:
            tunable = [p.name for p in self._parameters.values() if p.tuning]
            self._fault(
                f"{name} is no tunable hyperparameter of {self._algorithm.name}; accepted: {one_of(tunable)}"
            )
            return False
        for value in values:
            try:
                parameter.read(value)
            except ValueError as error:
                self._fault(f"the range of {name} has '{value}'; accepted: {error}")
                return False
        return True

    def _check_names(self, found: tuple[Range, ...], static: Mapping[str, str], strategy: str) -> None:
        names = [one.name for one in found]
        if not names and not self._faults:
            self._fault("nothing is to be tuned; accepted: 1 to 30 ranges")
        for name in sorted({name for name in names if names.count(name) > 1 or name in static}):
            self._fault(f"{name} is given twice, as ranges or static values; accepted: once")
        if len(names) > _MOST_RANGES:
            self._fault(f"{len(names)} ranges are given; accepted: at most {_MOST_RANGES}")
        if len(names) + len(static) + 1 > _MOST_NAMES:
            self._fault(f"{len(names) + len(static)} hyperparameters are given; accepted: at most 99")
        if strategy == "Grid" and any(isinstance(one, Numbers) for one in found):
            self._fault("strategy Grid has a range of numbers; accepted: categorical ranges")

    def _objective(self) -> Objective:
        given = self._config["HyperParameterTuningJobObjective"]
        kind = self._one_of("Type of the objective", given["Type"], ("Maximize", "Minimize"))
        metrics = {metric.name: metric.regex for metric in self._algorithm.metrics}
        for own in self._job["AlgorithmSpecification"].get("MetricDefinitions") or ():
            metrics[own["Name"]] = own["Regex"]
        name = given["MetricName"]
        if name not in metrics:
            self._fault(f"the objective {name} is unknown; accepted: {one_of(metrics)}")
        regex = metrics.get(name, "")
        try:
            if name in metrics and not re.compile(regex).groups:
                self._fault(f"the regex of {name} has no group; accepted: one round the number")
        except re.error as error:
            self._fault(f"the regex of {name} is not accepted: {error}")
        return Objective(name, regex, kind == "Maximize")

    def _limits(self, strategy: str, found: tuple[Range, ...]) -> Limits:
        given = self._config.get("ResourceLimits", {})
        criteria = self._config.get("TuningJobCompletionCriteria") or {}
        most = _MOST_TRIALS.get(strategy, _MOST_TRIALS_OTHERWISE)
        wanted = given.get("MaxNumberOfTrainingJobs")
        if strategy == "Grid":
            product = math.prod(len(one.values) for one in found if isinstance(one, Words))
            if wanted is not None and int(wanted) != product:
                self._fault(f"MaxNumberOfTrainingJobs is {wanted}; accepted for this grid: {product}")
            wanted = product
        trials = self._integer("MaxNumberOfTrainingJobs", wanted, 1, most)
        if (criteria.get("ConvergenceDetected") or {}).get("CompleteOnConvergence") == "Enabled":
            self._fault(
                "CompleteOnConvergence is Enabled; accepted: Disabled, since AWS's test isn't published "
                "(MaxNumberOfTrainingJobsNotImproving ends a tuning that gets no better)"
            )
        idle = (criteria.get("BestObjectiveNotImproving") or {}).get("MaxNumberOfTrainingJobsNotImproving")
        target = criteria.get("TargetObjectiveMetricValue")
        return Limits(
            trials,
            self._integer(
                "MaxParallelTrainingJobs", given.get("MaxParallelTrainingJobs", 1), 1, _MOST_PARALLEL
            ),
            self._seconds(given),
            self._seconds(self._job.get("StoppingCondition") or {}),
            None if target is None else float(target),
            None if idle is None else int(idle),
        )

    def _resources(self) -> Mapping[str, Any]:
        found = self._job.get("ResourceConfig") or self._job.get("HyperParameterTuningResourceConfig") or {}
        if found.get("InstanceGroups"):
            self._fault("InstanceGroups is given; accepted: InstanceType and InstanceCount")
        # Those that are listed are tried in turn where an instance can't be had.
        return next(iter(found.get("InstanceConfigs") or ()), found)

    def _channels(self, given: list[Mapping[str, Any]]) -> Iterator[ChannelSource]:
        usual = self._job["AlgorithmSpecification"].get("TrainingInputMode", "File")
        # Where the training data have a mode of their own, the job's is the others'.
        mode = None if usual == self._input_mode(given) else usual
        for one in given:
            try:
                yield _channel(one, mode)
            except ClientError as error:
                self._fault(str(error))

    def _input_mode(self, channels: list[Mapping[str, Any]]) -> str:
        """That of the training data, as with distributions; its channel may say it, or the job."""
        usual = self._job["AlgorithmSpecification"].get("TrainingInputMode", "File")
        said = {one["ChannelName"]: one.get("InputMode") for one in channels}
        return str(said.get("train") or usual)

    def _resource(self, static: Mapping[str, str]) -> tuple[int, int]:
        given = (self._config.get("StrategyConfig") or {}).get("HyperbandStrategyConfig") or {}
        most = given.get("MaxResource") or next((static[name] for name in _EPOCHS if name in static), None)
        if most is None:
            self._fault(f"MaxResource is missing; accepted: epochs, there or as a static {one_of(_EPOCHS)}")
            return 0, 0
        highest = self._integer("MaxResource", most, 1, _MOST_RESOURCE)
        lowest = self._integer("MinResource", given.get("MinResource") or 1, 1, max(highest, 1))
        return lowest, highest


def documented(parameter: Parameter) -> Range:
    """The range of a tunable parameter that AWS's documents recommend."""
    assert parameter.tuning is not None
    values, scaling = parameter.tuning.range, parameter.tuning.scaling or "Auto"
    if scaling == "Categorical" or parameter.kind not in ("int", "float"):
        return Words(parameter.name, tuple(_written(value) for value in values))
    low, high = float(values[0]), float(values[1])
    if scaling not in ranges.SCALINGS[1:]:
        scaling = ranges.automatic(low, high)
    return Numbers(parameter.name, low, high, scaling, parameter.kind == "int")


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _channel(given: Mapping[str, Any], mode: str | None) -> ChannelSource:
    place = given["DataSource"].get("S3DataSource", {})
    uri = place.get("S3Uri") or given["DataSource"]["FileSystemDataSource"]["DirectoryPath"]
    seed = (given.get("ShuffleConfig") or {}).get("Seed")
    return ChannelSource(
        given["ChannelName"],
        uri.removeprefix("file://"),
        given.get("ContentType"),
        tuple(place.get("AttributeNames") or ()),
        data_type=place.get("S3DataType", ""),
        compression=given.get("CompressionType") or "None",
        record_wrapper=given.get("RecordWrapperType") or "None",
        shuffle_seed=None if seed is None else int(seed),
        input_mode=given.get("InputMode") or (None if place.get("AttributeNames") else mode),
        distribution=place.get("S3DataDistributionType") or "FullyReplicated",
    )


def _distribution(channels: list[Mapping[str, Any]]) -> str:
    """That of the training data, which a local job has for all channels that have none of their own."""
    places = {one["ChannelName"]: one["DataSource"].get("S3DataSource", {}) for one in channels}
    found = places.get("train", {}).get("S3DataDistributionType", "FullyReplicated")
    return str(found)
