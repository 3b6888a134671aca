"""Five known events in half a year of New York taxi rides, found by a random cut forest and drawn.

A row is a day: 48 half hours, each less the median of the same half hour of the week, for a forest that isn't
told the hour finds every Sunday night unusual. A row starts at each half hour. `algodock` trains and scores.
With matplotlib installed it draws docs/images/taxi-anomalies.png. Run as::

    python examples/taxi_anomalies.py
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
PICTURE = HERE.parent / "docs" / "images" / "taxi-anomalies.png"
ALGODOCK = Path(sys.executable).with_name("algodock")
DAY, WEEK = 48, 336  # half hours
# NAB's windows (labels/combined_windows.json), and what happened in them.
EVENTS = {
    "NYC marathon": ("2014-10-30T15:30", "2014-11-03T22:30"),
    "Thanksgiving": ("2014-11-25T12:00", "2014-11-29T19:00"),
    "Christmas": ("2014-12-23T11:30", "2014-12-27T18:30"),
    "New Year": ("2014-12-29T21:30", "2015-01-03T04:30"),
    "snow storm": ("2015-01-24T20:30", "2015-01-29T03:30"),
}
# What else is among the highest peaks, by month: NAB has no windows for these.
HOLIDAYS = {"2014-07": "Independence Day", "2014-09": "Labor Day"}

Times = NDArray[np.datetime64]
Numbers = NDArray[np.float64]


def rides() -> tuple[Times, Numbers]:
    """The half hours and how many people rode in each: (10320,) both."""
    with (HERE / "nyc_taxi.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = np.array([row["timestamp"] for row in rows], "datetime64[m]")
    return times, np.array([float(row["value"]) for row in rows])


def days(counts: Numbers) -> Numbers:
    """(n - 47, 48): the day that ends with each half hour from the 48th on, less what is usual then."""
    phase = np.arange(len(counts)) % WEEK
    usual = np.array([np.median(counts[phase == half_hour]) for half_hour in range(WEEK)])
    return np.lib.stride_tricks.sliding_window_view(counts - usual[phase], DAY)


def peaks(scores: Numbers, count: int) -> list[int]:
    """The places of the highest scores, highest first, that are at least two days apart."""
    found: list[int] = []
    for place in np.argsort(-scores).tolist():
        if all(abs(place - other) >= 2 * DAY for other in found):
            found.append(place)
        if len(found) == count:
            break
    return found


def event(time: np.datetime64) -> str:
    """The known event whose window holds a time, or nothing."""
    inside = [name for name, (start, stop) in EVENTS.items()
              if np.datetime64(start) <= time <= np.datetime64(stop)]  # fmt: skip
    return inside[0] if inside else ""


def scored(rows: Numbers) -> Numbers:
    """What a forest trained on the rows scores them: (n,)."""
    with tempfile.TemporaryDirectory() as folder:
        written, job = Path(folder) / "days.csv", Path(folder) / "job"
        np.savetxt(written, rows, fmt="%g", delimiter=",")
        train = [str(ALGODOCK), "train", "randomcutforest", "--train", str(written), "--output", str(job)]
        train += ["--content-type", "text/csv;label_size=0", "-p", f"feature_dim={DAY}"]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        answer = subprocess.run([ALGODOCK, "predict", job, written], check=True, stdout=subprocess.PIPE)
    return np.array([item["score"] for item in json.loads(answer.stdout)["scores"]])


def draw(times: Times, counts: Numbers, scores: Numbers, found: list[int]) -> None:
    """The rides above, the scores below, known events shaded and the highest peaks numbered."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=(11, 5), height_ratios=(2, 3), layout="constrained"
    )
    above.plot(times, counts / 1000, color="#8a9aa9", linewidth=0.4)
    above.set_ylabel("riders in half an hour,\nthousands")
    below.plot(times[DAY - 1 :], scores, color="#c2410c", linewidth=0.8)
    below.set_ylabel("anomaly score of the day\nthat ends then")
    below.set_ylim(scores.min() - 0.05, scores.max() * 1.22)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
        for start, stop in EVENTS.values():
            axes.axvspan(np.datetime64(start), np.datetime64(stop), color="#fde68a", alpha=0.7, linewidth=0)
    label(below, times[DAY - 1 :], scores, found)
    below.xaxis.set_major_locator(dates.MonthLocator())
    below.xaxis.set_major_formatter(dates.DateFormatter("%b %Y"))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def label(axes: Any, ends: Times, scores: Numbers, found: list[int]) -> None:
    """Names events, holidays and the threshold, and numbers the peaks."""
    style: dict[str, Any] = {"fontsize": 8.5, "color": "#333"}
    threshold = scores.mean() + 3 * scores.std()
    axes.axhline(threshold, color="#555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(np.datetime64("2014-09-22"), threshold + 0.04, "mean + 3 standard deviations", **style)
    for name, (start, stop) in EVENTS.items():
        begin, end = np.datetime64(start), np.datetime64(stop)
        # The two that are neighbours make room for each other.
        side = {"Christmas": "right", "New Year": "left"}.get(name, "center")
        middle = {"right": end, "left": begin}.get(side, begin + (end - begin) / 2)
        axes.text(middle, scores.max() * 1.2, name, ha=side, va="top", **style)
    for rank, place in enumerate(found, 1):
        axes.plot(ends[place], scores[place], "o", color="#7c2d12", markersize=3)
        holiday = "" if event(ends[place]) else f"   {HOLIDAYS.get(str(ends[place])[:7], '')}"
        at, offset = (ends[place], scores[place]), (5, -9 if scores[place] < threshold else 3)
        axes.annotate(f"{rank}{holiday}", at, offset, textcoords="offset points", **style)


def main() -> None:
    """Trains, prints the ten highest peaks, draws."""
    times, counts = rides()
    scores = scored(days(counts))
    found = peaks(scores, 10)
    print("rank  score  the day before       known event")
    for rank, place in enumerate(found, 1):
        end = times[place + DAY - 1]
        print(f"{rank:4}  {scores[place]:.3f}  {str(end).replace('T', ' ')}     {event(end)}")
    if importlib.util.find_spec("matplotlib"):
        draw(times, counts, scores, found[:7])
        print(f"drawn: {PICTURE}")


if __name__ == "__main__":
    main()
