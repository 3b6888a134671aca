"""Log lines as curves and numbers."""

import pytest

from common import manifest
from common.report import history

XGBOOST = manifest.load("xgboost").metrics
KMEANS = manifest.load("kmeans").metrics
STAMP = "[11/30/2026 10:00:00 INFO 140000] "


def curve(found, channel, measure):
    (one,) = [c for c in found.curves if (c.channel, c.measure) == (channel, measure)]
    return one


def test_quality_by_epoch_and_at_the_end():
    lines = [
        f"{STAMP}#quality_metric: host=algo-1, epoch=0, train rmse <loss>=3.5",
        f"{STAMP}#quality_metric: host=algo-1, epoch=1, train rmse <loss>=2.5",
        f"{STAMP}#quality_metric: host=algo-1, train rmse <loss>=2.25",
        f"{STAMP}#quality_metric: host=algo-1, test binary_f_1.000 <score>=0.75",
    ]
    found = history.read(lines, KMEANS)
    assert (curve(found, "train", "rmse").xs, curve(found, "train", "rmse").ys) == ([0, 1], [3.5, 2.5])
    assert found.finals == {("train", "rmse"): 2.25, ("test", "binary_f_1.000"): 0.75}
    assert found.epochs == 2


def test_batches_count_only_where_there_are_no_epochs():
    batches = [
        f"#quality_metric: host=algo-1, epoch=0, batch={b} train loss <loss>={3 - b}" for b in (0, 1, 2)
    ]
    (alone,) = history.read(batches, KMEANS).curves
    assert (alone.unit, alone.xs, alone.ys) == ("batch", [0, 1, 2], [3, 2, 1])
    epochs = [f"#quality_metric: host=algo-1, epoch={e}, train loss <loss>={e}" for e in (0, 1)]
    (together,) = history.read(batches + epochs, KMEANS).curves
    assert together.unit == "epoch"


def test_rounds_of_boosting():
    lines = ["[0]\ttrain-rmse:2.5\tvalidation-rmse:2.75", "[1]\ttrain-rmse:2.0\tvalidation-rmse:2.5"]
    found = history.read(lines, XGBOOST)
    assert curve(found, "validation", "rmse").ys == [2.75, 2.5]
    assert curve(found, "train", "rmse").unit == "round"
    cross = history.read(["[1]\ttrain-auc:0.75+0.125\ttest-auc:0.5+0.25"], XGBOOST)
    assert cross.finals == {("train", "auc"): 0.75, ("test", "auc"): 0.5}


def test_one_line_of_batches_an_epoch_is_a_curve_by_epoch():
    """Object detection's losses: batch= counts the updates of the epoch, whose loss it is."""
    lines = [
        f"#quality_metric: host=algo-1, epoch={e}, batch=16 train smooth_l1 <loss>=({3 - e})" for e in (0, 1)
    ]
    found = history.read(lines, manifest.load("object-detection").metrics)
    (only,) = found.curves
    assert (only.unit, only.xs, only.ys) == ("epoch", [0, 1], [3, 2])
    assert found.finals == {("train", "smooth_l1"): 2}
    assert found.epochs == 2
    assert history.read(lines[:1], ()).finals == {("train", "smooth_l1"): 3}


def test_folds_and_their_mean():
    """Each fold begins anew, and a line of the folds' means follows the last."""
    fold = [f"[{r}]\ttrain-rmse:{3 - r}\tvalidation-rmse:{4 - r}" for r in range(2)]
    found = history.read([*fold, *fold, "[2]\ttrain-rmse:2.0\tvalidation-rmse:3.0"], XGBOOST)
    assert curve(found, "train", "rmse").xs == [0, 1, 0, 1]
    assert found.finals == {("train", "rmse"): 2, ("validation", "rmse"): 3}
    assert found.epochs == 2


def test_folds_of_several_repeats_and_of_a_job_under_way():
    fold, mean = ["[0]\ttrain-rmse:3", "[1]\ttrain-rmse:2"], ["[2]\ttrain-rmse:2.5"]
    found = history.read([*fold, *fold, *mean, *fold, *fold, *mean, *mean], XGBOOST)
    assert (curve(found, "train", "rmse").xs, found.epochs) == ([0, 1] * 4, 2)
    found = history.read([*fold, *fold], XGBOOST)
    assert curve(found, "train", "rmse").xs == [0, 1, 0, 1]
    assert curve(history.read([*fold, fold[0]], XGBOOST), "train", "rmse").xs == [0, 1, 0]


def test_batches_of_no_epoch_are_not_epochs():
    lines = [f"#quality_metric: host=a, batch={b} train loss <loss>={b}" for b in range(3)]
    found = history.read(lines, ())
    assert (found.curves[0].unit, found.epochs) == ("batch", 0)


def test_several_lines_of_an_epoch_stand_side_by_side():
    """Checkpoints of seq2seq; the last is told once more at the end."""
    values = [(0, 9), (1, 8), (1, 7), (2, 6), (2, 6)]
    lines = [f"#quality_metric: host=a, epoch={e}, validation perplexity <loss>={v}" for e, v in values]
    found = history.read(lines, ())
    (only,) = found.curves
    assert (only.xs, only.ys) == ([0, 1, 1.5, 2], [9, 8, 7, 6])
    assert found.epochs == 3


def test_epochs_that_are_counted_from_one():
    lines = [f"#quality_metric: host=a, epoch={e}, train total_loss <loss>={e}" for e in (1, 2, 3)]
    assert history.read(lines, ()).epochs == 3


def test_an_algorithms_own_forms_by_its_manifests_regexes():
    lines = [f"{STAMP}Epoch[{e}] Validation-accuracy={0.5 + e / 10}" for e in range(3)]
    found = history.read(lines, manifest.load("image-classification").metrics)
    assert curve(found, "validation", "accuracy").xs == [0, 1, 2]
    brackets = "#quality_metric: host=algo-1, epoch=1, validation mAP <score>=(0.25)"
    assert history.read([brackets], ()).finals == {("validation", "mAP"): 0.25}


def test_metrics_lines_tell_rows_and_seconds():
    lines = [
        '#metrics {"Metrics": {"Max Records Seen Between Resets": {"sum": 9, "min": 9, "max": 9}},'
        ' "Dimensions": {"Meta": "training_data_iter"}}',
        '#metrics {"Metrics": {"update.time": {"sum": 1500, "count": 3, "max": 9},'
        ' "epochs": {"sum": 3, "count": 3, "max": 1}}, "Dimensions": {}}',
        '#metrics {"Metrics": {"update.time": {"sum": 500, "max": 9}}, "Dimensions": 0}',
        f"{STAMP}#throughput_metric: host=algo-1, train throughput=250.5 records/second",
        f"{STAMP}#progress_metric: host=algo-1, completed 50 % of epochs",
    ]
    found = history.read(lines, KMEANS)
    assert found.rows == {"training_data_iter": 9}
    assert found.timers == {"update.time": 2.0}
    assert (found.epochs, found.throughput, found.progress) == (3, [250.5], 50.0)


NOTHING = {
    "broken": "#metrics {broken",
    "list": "#metrics []",
    "empty": "#metrics {}",
    "no number": "#quality_metric: host=a, train x <loss>=none",
    "nothing": "",
    "bracket": "[3]",
    "number": '#metrics {"Metrics": {"update.time": 1}, "Dimensions": {}}',
    "throughput": "#throughput_metric: host=a, train throughput=fast records/second",
    "zero": "\x00",
}


@pytest.mark.parametrize("line", NOTHING.values(), ids=NOTHING)
def test_lines_that_mean_nothing_are_passed_over(line):
    found = history.read([line], XGBOOST)
    assert not found.curves
    assert not found.finals


def test_values_that_are_no_numbers_are_no_points_of_a_curve():
    written = enumerate(("1", "nan", "inf", "2"))
    lines = [f"#quality_metric: host=a, epoch={e}, train loss <loss>={value}" for e, value in written]
    (only,) = history.read(lines, ()).curves
    assert (only.xs, only.ys) == ([0, 3], [1, 2])


def test_warnings_are_kept():
    found = history.read(["[11/30/2026 10:00:00 WARNING 1] mind this", f"{STAMP}not this"], ())
    assert found.warnings == ["mind this"]
