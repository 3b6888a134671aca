"""Log lines as a person at a terminal sees them."""

import io

from local.watching import Terminal

STAMP = "[11/30/2026 10:00:00 INFO 140000] "


def test_one_line_moves_and_what_is_worth_reading_stays():
    screen = io.StringIO()
    terminal = Terminal(screen)
    for line in (
        f"{STAMP}#quality_metric: host=algo-1, epoch=3, train rmse <loss>=0.123456789",
        f"{STAMP}#quality_metric: host=algo-1, epoch=3, batch=7 train loss <loss>=2.0",
        f"{STAMP}#progress_metric: host=algo-1, completed 50.0 % of epochs",
        f"{STAMP}#throughput_metric: host=algo-1, train throughput=12345.6 records/second",
        "[4]\ttrain-auc:0.75\tvalidation-auc:0.5",
        f"{STAMP}Reading data",
        "[11/30/2026 10:00:01 WARNING 1] mind this",
        f"{STAMP}#quality_metric: host=algo-1, test rmse <loss>=0.5",
    ):
        terminal.show(line + "\n")
    terminal.close()
    moving, *kept = screen.getvalue().replace("\r\x1b[K", "\n").split("mind this")
    assert moving.strip().split("\n")[-1] == (
        "epoch 3  train rmse 0.12346  train loss 2  done 50 %  speed 12,346 rows/s  round 4  "
        "train-auc 0.75  validation-auc 0.5"
    )
    assert kept == ["\n\ntest rmse: 0.5\n\n"]
