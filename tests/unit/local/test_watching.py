"""What a person sees of a job, and what becomes of the job when nobody looks any more."""

import io
import os
import signal
import threading
from pathlib import Path

import pytest

from local import cli
from local.watching import Terminal, end, watch

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


class Host:
    """Writes lines, is asked to stop while it does or isn't, and ends."""

    def __init__(self, *lines, code=0, meanwhile=lambda: None):
        self._lines, self._code, self._meanwhile = lines, code, meanwhile
        self.asked: list[str] = []

    def lines(self):
        for line in self._lines:
            self._meanwhile()
            yield line

    def stop(self):
        self.asked.append("stop")

    def kill(self):
        self.asked.append("kill")

    def wait(self):
        return self._code


def test_the_job_goes_on_when_whoever_read_its_lines_has_enough(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    host = Host("a\n", "b\n")
    with os.fdopen(writing, "w") as screen:
        assert watch([host], tmp_path / "log", screen) == 0
        assert os.stat(screen.fileno()).st_rdev == os.stat(os.devnull).st_rdev
    assert (tmp_path / "log").read_text() == "a\nb\n"
    assert not host.asked


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")

    def fileno(self):
        return self.kept.fileno()


def test_the_job_goes_on_when_its_terminal_is_closed(tmp_path):
    with (tmp_path / "other").open("w") as kept:
        screen = Gone()
        screen.kept = kept
        host = Host("a\n", "b\n")
        assert watch([host], tmp_path / "log", screen) == 0
    assert (tmp_path / "log").read_text() == "a\nb\n"
    assert not host.asked


def test_what_only_looks_like_a_metric_ends_nothing():
    screen = io.StringIO()
    terminal = Terminal(screen)
    terminal.show(f"{STAMP}#progress_metric: host=a, completed x % of epochs\n")
    assert not screen.getvalue()


def test_hosts_that_nobody_follows_are_ended_also_where_some_have_ended(monkeypatch):
    hosts = [Host(), Host()]

    def ended():
        raise OSError("no such container")

    monkeypatch.setattr(hosts[0], "kill", ended)
    end(hosts)
    assert hosts[1].asked == ["kill"]


def test_a_log_that_cannot_be_kept_ends_the_hosts(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    hosts = [Host("a\n"), Host()]
    with pytest.raises(OSError, match="No space left"):
        watch(hosts, Path("/dev/full"), io.StringIO())
    assert ["kill" in host.asked for host in hosts] == [True, True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_asks_to_stop_and_a_second_one_ends(tmp_path, monkeypatch, number):
    main = threading.main_thread().ident
    before = signal.signal(number, signal.default_int_handler)
    try:
        heard = threading.Semaphore(0)
        host = Host(*"ab", meanwhile=lambda: (signal.pthread_kill(main, number), heard.acquire(timeout=60)))
        for asked in ("stop", "kill"):
            monkeypatch.setattr(host, asked, lambda asked=asked: (host.asked.append(asked), heard.release()))
        screen = io.StringIO()
        watch([host], tmp_path / "log", screen)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert host.asked == ["stop", "kill"]
    assert screen.getvalue().count("stopping") == 2


def test_a_terminal_that_is_closed_is_told_of_twice_and_the_model_is_kept(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        host = Host("a\n", meanwhile=lambda: [signal.raise_signal(signal.SIGHUP) for _ in range(2)])
        assert watch([host], tmp_path / "log", io.StringIO()) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert host.asked == ["stop"]


def test_a_terminal_that_is_closed_interrupts_once():
    before = signal.signal(signal.SIGHUP, cli._hang_up)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_when_one_host_fails_the_others_are_asked_to_stop(tmp_path):
    going = threading.Event()
    other = Host("b\n", meanwhile=lambda: going.wait(60))
    other.stop = lambda: (other.asked.append("stop"), going.set())
    assert watch([Host(code=3), other], tmp_path / "log", io.StringIO()) == 3
    assert other.asked == ["stop"]
