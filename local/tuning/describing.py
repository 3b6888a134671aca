"""A tuning as AWS describes a tuning job: DescribeHyperParameterTuningJob's answer, with its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from local.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Objective, Trial

# Names of local jobs have the form of AWS's, in a region and an account that there aren't.
_ARN = "arn:aws:sagemaker:us-east-1:000000000000"
_OUTCOMES = {RUNNING: "Pending", FAILED: "Failed"}


def describe(
    request: Mapping[str, Any],
    name: str,
    objective: Objective,
    trials: Sequence[Trial],
    status: str,
    seconds: float,
) -> dict[str, Any]:
    """What DescribeHyperParameterTuningJob answers, and in TrainingJobSummaries what
    ListTrainingJobsForHyperParameterTuningJob does, the best first. Times are ISO 8601 texts.
    """
    summaries = [_summary(name, objective, trial) for trial in ranked(objective, trials)]
    counts = Counter(trial.status for trial in trials)
    outcomes = Counter(_outcome(trial) for trial in trials)
    best = objective.best(trials)
    found: dict[str, Any] = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobArn": f"{_ARN}:hyper-parameter-tuning-job/{name}",
        "HyperParameterTuningJobConfig": request["HyperParameterTuningJobConfig"],
        "TrainingJobDefinition": request["TrainingJobDefinition"],
        "HyperParameterTuningJobStatus": status,
        "CreationTime": _time(min((trial.created for trial in trials), default=0.0)),
        "TrainingJobStatusCounters": {
            "Completed": counts[COMPLETED],
            "InProgress": counts[RUNNING],
            "RetryableError": 0,
            "NonRetryableError": counts[FAILED],
            "Stopped": counts[STOPPED],
        },
        "ObjectiveStatusCounters": {kind: outcomes[kind] for kind in ("Succeeded", "Pending", "Failed")},
        "ConsumedResources": {"RuntimeInSeconds": round(seconds)},
        "TuningJobCompletionDetails": {
            "NumberOfTrainingJobsObjectiveNotImproving": _not_improving(trials, best)
        },
        "TrainingJobSummaries": summaries,
    }
    ends = [trial.ended for trial in trials if trial.ended]
    if ends and status != RUNNING:
        found["HyperParameterTuningEndTime"] = _time(max(ends))
    if best is not None:
        found["BestTrainingJob"] = _summary(name, objective, best)
    if "WarmStartConfig" in request:
        found["WarmStartConfig"] = request["WarmStartConfig"]
    if status == FAILED:
        reasons = [trial.reason for trial in trials if trial.reason]
        found["FailureReason"] = f"all training jobs failed; the first: {reasons[0] if reasons else 'none'}"
    return found


def ranked(objective: Objective, trials: Sequence[Trial]) -> list[Trial]:
    """The best first, then those without an objective, each in their order."""
    valued = [trial for trial in trials if trial.objective is not None and trial.status != FAILED]
    sign = -1 if objective.maximize else 1
    valued.sort(key=lambda trial: sign * (trial.objective or 0.0))
    return valued + [trial for trial in trials if trial not in valued]


def _summary(name: str, objective: Objective, trial: Trial) -> dict[str, Any]:
    found: dict[str, Any] = {
        "TrainingJobName": trial.name,
        "TrainingJobArn": f"{_ARN}:training-job/{trial.name}",
        "TuningJobName": name,
        "CreationTime": _time(trial.created),
        "TrainingStartTime": _time(trial.created),
        "TrainingJobStatus": trial.status,
        "TunedHyperParameters": dict(trial.values),
        "ObjectiveStatus": _outcome(trial),
    }
    if trial.ended:
        found["TrainingEndTime"] = _time(trial.ended)
    if trial.reason:
        found["FailureReason"] = trial.reason[:1024]
    if trial.objective is not None and trial.status != FAILED:
        found["FinalHyperParameterTuningJobObjectiveMetric"] = {
            "Type": "Maximize" if objective.maximize else "Minimize",
            "MetricName": objective.metric,
            "Value": trial.objective,
        }
    return found


def _outcome(trial: Trial) -> str:
    return _OUTCOMES.get(trial.status, "Succeeded" if trial.objective is not None else "Failed")


def _not_improving(trials: Sequence[Trial], best: Trial | None) -> int:
    ended = [trial for trial in trials if trial.status in (COMPLETED, STOPPED)]
    return 0 if best is None else len(ended) - 1 - next(n for n, trial in enumerate(ended) if trial is best)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
