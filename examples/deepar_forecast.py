"""A week of New York taxi rides, forecast hour by hour by DeepAR and drawn beside what happened.

The series is the rides of `nyc_taxi.csv`, an hour's in one; the network learns from the 19 weeks before.
`algodock` trains and forecasts. With matplotlib installed it draws containers/deepar/forecast.png. Run as::

    python examples/deepar_forecast.py
"""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "containers" / "deepar" / "forecast.png"
ALGODOCK = Path(sys.executable).with_name("algodock")
START, CUT, WEEK = "2014-07-01 00:00:00", 132 * 24, 168  # hours: the forecast begins on a Monday, November 10
PARAMETERS = {
    "time_freq": "H",
    "context_length": 72,
    "prediction_length": WEEK,
    "epochs": 80,
    "mini_batch_size": 32,
    "learning_rate": 0.005,
}
QUANTILES = ["0.05", "0.25", "0.5", "0.75", "0.95"]

Numbers = NDArray[np.float64]


def rides() -> Numbers:
    """(5160,): how many people rode in each hour, the mean of its halves."""
    with (HERE / "nyc_taxi.csv").open(newline="") as file:
        counts = np.array([float(row["value"]) for row in csv.DictReader(file)])
    return counts.reshape(-1, 2).mean(axis=1)


def forecast(past: Numbers) -> dict[str, Numbers]:
    """The quantiles of the week that follows, (168,) each, of a model that learned from ``past``."""
    series = {"start": START, "target": past.tolist()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.json").write_text(json.dumps(series) + "\n")
        configuration = {"num_samples": 500, "output_types": ["quantiles"], "quantiles": QUANTILES}
        request = {"instances": [series], "configuration": configuration}
        (folder / "request.json").write_text(json.dumps(request))
        train = [str(ALGODOCK), "train", "forecasting-deepar", "--train", str(folder / "train.json")]
        for key, value in PARAMETERS.items():
            train += ["-p", f"{key}={value}"]
        subprocess.run([*train, "--output", str(folder / "job")], check=True, stdout=subprocess.DEVNULL)
        predict = [str(ALGODOCK), "predict", str(folder / "job"), str(folder / "request.json")]
        answer = subprocess.run(predict, check=True, stdout=subprocess.PIPE)
    found = json.loads(answer.stdout)["predictions"][0]["quantiles"]
    return {level: np.array(values) for level, values in found.items()}


def draw(before: Numbers, actual: Numbers, found: dict[str, Numbers]) -> None:
    """The last days before, then bands of 90 % and 50 %, the median and what happened."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    begin = np.datetime64(START) + np.timedelta64(CUT, "h")
    times = begin + np.arange(WEEK) * np.timedelta64(1, "h")
    earlier = begin - np.arange(len(before), 0, -1) * np.timedelta64(1, "h")
    figure, axes = pyplot.subplots(figsize=(11, 3.8), layout="constrained")
    plain: dict[str, Any] = {"color": "#333", "linewidth": 1.1}
    axes.plot(earlier, before / 1000, **plain)
    axes.fill_between(
        times, found["0.05"] / 1000, found["0.95"] / 1000, color="#fed7aa", linewidth=0, label="90 % of draws"
    )
    axes.fill_between(
        times, found["0.25"] / 1000, found["0.75"] / 1000, color="#fb923c", linewidth=0, label="50 % of draws"
    )
    axes.plot(times, found["0.5"] / 1000, color="#9a3412", linewidth=1.1, label="median")
    axes.plot(times, actual / 1000, label="what happened", **plain)
    axes.axvline(begin, color="#555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylabel("riders in half an hour, thousands")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(dates.DayLocator())
    axes.xaxis.set_major_formatter(dates.DateFormatter("%a %-d %b"))
    axes.legend(loc="upper center", ncols=4, frameon=False, fontsize=8.5, bbox_to_anchor=(0.5, 1.1))
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Trains, forecasts, prints how far off the forecast and the week before are, draws."""
    counts = rides()
    past, actual = counts[:CUT], counts[CUT : CUT + WEEK]
    found = forecast(past)
    total = np.abs(actual).sum()
    inside = (found["0.05"] <= actual) & (actual <= found["0.95"])
    print(f"sum of errors over sum of rides: median {np.abs(found['0.5'] - actual).sum() / total:.3f}, "
          f"the same hour a week before {np.abs(past[-WEEK:] - actual).sum() / total:.3f}")  # fmt: skip
    print(f"{inside.mean():.0%} of the hours are within the band of 90 %")
    if importlib.util.find_spec("matplotlib"):
        draw(past[-72:], actual, found)
        print(f"drawn: {PICTURE}")


if __name__ == "__main__":
    main()
