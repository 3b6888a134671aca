"""The log lines that people's regexes read, held against the specs' own regexes."""

import io
import json
import re

import pytest

from common.metrics import Metrics, set_up_logging


@pytest.fixture
def printed():
    stream = io.StringIO()
    set_up_logging(stream=stream)
    return stream, Metrics("AWS/KMeansWebscale", "algo-1", stream)


@pytest.mark.parametrize(
    ("call", "regex", "value"),
    [
        (
            lambda m: m.quality("test", "msd", 0.25),
            r"#quality_metric: host=\S+, test msd <loss>=(\S+)",
            "0.25",
        ),
        (
            lambda m: m.quality("train", "mse_objective", 0.5, epoch=3),
            r"#quality_metric: host=\S+, epoch=\S+, train \S+_objective <loss>=(\S+)",
            "0.5",
        ),
        (
            lambda m: m.quality("train", "rmse", 1.5, epoch=0, batch=2),
            r"#quality_metric: host=\S+, epoch=0, batch=2 train rmse <loss>=(\S+)",
            "1.5",
        ),
        (
            lambda m: m.quality("test", "accuracy", 0.5, "score"),
            r"#quality_metric: host=\S+, test accuracy <score>=(\S+)",
            "0.5",
        ),
        (lambda m: m.progress(100.0), r"#progress_metric: host=\S+, completed (\S+) %", "100.0"),
        (
            lambda m: m.throughput(100, 0.5),
            r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
            "200.0",
        ),
        (lambda m: m.score("test", "msd", 1), r"#test_score \(algo-1\) : \('msd', (\S+)\)", "1.0"),
    ],
)
def test_lines_match_the_specs_regexes(printed, call, regex, value):
    stream, metrics = printed
    call(metrics)
    line = stream.getvalue()
    assert re.match(r"^\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] #", line)
    assert re.search(regex, line)[1] == value


def test_metrics_lines_are_json_without_a_prefix_and_a_blank_line_follows(printed):
    stream, metrics = printed
    metrics.add("update.time", 10)
    metrics.add("update.time", 30)
    metrics.flush(Meta="training_data_iter", epoch=0)
    first, blank, rest = stream.getvalue().split("\n", 2)
    assert (blank, rest) == ("", "")
    line = json.loads(first.removeprefix("#metrics "))
    assert line["StartTime"] <= line["EndTime"]
    assert line["Dimensions"] == {
        "Algorithm": "AWS/KMeansWebscale",
        "Host": "algo-1",
        "Operation": "training",
        "Meta": "training_data_iter",
        "epoch": 0,
    }
    assert line["Metrics"] == {"update.time": {"sum": 40, "count": 2, "min": 10, "max": 30}}
    metrics.flush()
    assert len(stream.getvalue().splitlines()) == 2, "nothing gathered, nothing printed"
