"""An algorithm's declaration: as data, as text for a terminal, and as a table for its README."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from common.hyperparameters import Parameter
from common.instances import allowed
from common.manifest import Manifest


def as_data(algorithm: Manifest) -> dict[str, Any]:
    """What ``algodock describe --json`` prints."""
    inference = asdict(algorithm.inference)
    return {
        "name": algorithm.name,
        "title": algorithm.title,
        "summary": algorithm.summary,
        "hyperparameters": [parameter.described() for parameter in algorithm.declaration().parameters],
        "channels": [asdict(channel) for channel in algorithm.channels],
        "metrics": [asdict(metric) for metric in algorithm.metrics],
        "training": asdict(algorithm.training),
        "inference": {**inference.pop("rules"), **inference},
        "artifact": list(algorithm.artifact),
    }


def as_text(algorithm: Manifest) -> str:
    """What ``algodock describe`` prints."""
    inference = algorithm.inference
    lines = [f"{algorithm.title} ({algorithm.name})", algorithm.summary, "", "Hyperparameters"]
    for parameter in algorithm.declaration().parameters:
        if parameter.documented:
            lines.append(f"  {parameter.name:<28} {_default(parameter):<14} {parameter.accepted()}")
            lines.append(f"  {'':<28} {parameter.meaning}")
    lines += ["", "Channels"]
    for channel in algorithm.channels:
        need = "required" if channel.required else "optional"
        lines.append(f"  {channel.name:<12} {need}: {channel.purpose}")
        lines.append(
            f"  {'':<12} {', '.join(channel.content_types) or 'anything'} "
            f"in {', '.join(channel.input_modes)} mode"
        )
    if algorithm.other_channels:
        lines.append(f"  {'any other':<12} optional: {algorithm.other_channels}")
    lines += ["", "Metrics"]
    lines += [f"  {metric.name:<32} {metric.direction:<9} {metric.meaning}" for metric in algorithm.metrics]
    rules = algorithm.training
    lines += [
        "",
        "Training",
        f"  runs on {allowed(rules)}; hosts: {'one or more' if rules.multi_host else 'one'}",
        "Inference",
        f"  takes    {', '.join(inference.content_types)}",
        f"  answers  {', '.join(inference.accepts)} (default {inference.default_accept})",
        f"Artifact   {', '.join(algorithm.artifact)}",
    ]
    return "\n".join(lines)


def as_table(algorithm: Manifest) -> str:
    """The hyperparameters as a Markdown table."""
    rows = ["| name | default | accepted | tuning range | meaning |", "| --- | --- | --- | --- | --- |"]
    for parameter in algorithm.declaration().parameters:
        cells = [f"`{parameter.name}`", _default(parameter), parameter.accepted(), _range(parameter)]
        meaning = parameter.meaning + ("" if parameter.documented else " (undocumented by AWS)")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in [*cells, meaning]) + " |")
    return "\n".join(rows)


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "**required**"
    value = parameter.default
    if value is None:
        return "—"
    return json.dumps(value) if isinstance(value, bool | list) else str(value)


def _range(parameter: Parameter) -> str:
    if parameter.tuning is None:
        return ""
    scaling = f" ({parameter.tuning.scaling})" if parameter.tuning.scaling else ""
    if parameter.kind in ("int", "float") and parameter.tuning.scaling != "Categorical":
        low, high = parameter.tuning.range
        return f"{low} to {high}{scaling}"
    return ", ".join(str(value) for value in parameter.tuning.range) + scaling
