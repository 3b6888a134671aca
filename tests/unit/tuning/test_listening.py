"""What a tuner hears of a trial's log."""

from local.tuning.running import _Listener


def heard(regex, *lines):
    values = []
    listener = _Listener(regex, values.append)
    for line in lines:
        listener.write(line)
    return values


def test_the_first_group_of_each_line_is_the_value():
    assert heard(r"loss=(\S+)", "loss=1.5\nx\n", "[a] loss=-2e-3 (loss=7)\n") == [1.5, -0.002]


def test_tabs_are_seen_as_awss_logs_show_them_too():
    assert heard(r"#011validation-rmse:(\S+)", "[0]\ttrain-rmse:1\tvalidation-rmse:2.5\n") == [2.5]
    assert heard(r"\tvalidation-rmse:(\S+)", "[0]\ttrain-rmse:1\tvalidation-rmse:2.5\n") == [2.5]


def test_what_is_no_finite_number_tells_nothing():
    assert heard(r"loss=(\S+)?", "loss=nan\nloss=inf\nloss=\nloss=x\nloss=3\n") == [3.0]
