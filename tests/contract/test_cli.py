"""The `algodock` command, as a person types it."""

import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from common import manifest
from common.formats import recordio
from local.jobs import free_port

ALGODOCK = Path(sys.executable).parent / "algodock"
DIGITS = Path(__file__).parents[2] / "examples" / "digits-train.csv"


def hearing():
    """A program that is started hears of a closed terminal, also where the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def algodock(*arguments, code=0, text=None, **environment):
    done = subprocess.run(
        [ALGODOCK, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=text,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A trained k-means job's output."""
    output = tmp_path_factory.mktemp("job") / "out"
    algodock("train", "kmeans", "--train", DIGITS, "-p", "k=10", "--output", output)
    return output


@pytest.fixture
def rows(tmp_path):
    """Five rows without their label."""
    path = tmp_path / "rows.csv"
    lines = DIGITS.read_text().splitlines()[:5]
    path.write_text("".join(line.split(",", 1)[1] + "\n" for line in lines))
    return path


def test_list_names_every_algorithm():
    printed = algodock("list").stdout
    for name in manifest.known():
        assert f"\n{name} " in printed


@pytest.mark.parametrize("name", manifest.known())
def test_describe_as_data_has_the_promised_keys(name):
    described = json.loads(algodock("describe", name, "--json").stdout)
    assert described["name"] == name
    for parameter in described["hyperparameters"]:
        assert {
            "name", "type", "required", "default", "min", "max", "exclusive_min", "exclusive_max",
            "choices", "tunable", "tuning_range", "scaling", "meaning",
        } <= set(parameter)  # fmt: skip
    # Reinforcement learning has an environment in place of data.
    assert described["channels"][0]["name"] == ("environment" if name == "rl" else "train")
    assert all({"name", "direction", "regex"} <= set(metric) for metric in described["metrics"])
    assert described["training"]["devices"]
    assert described["inference"]["content_types"]


@pytest.mark.parametrize("name", manifest.known())
def test_describe_as_text_names_every_documented_hyperparameter(name):
    printed = algodock("describe", name).stdout
    for parameter in manifest.load(name).declaration().parameters:
        assert not parameter.documented or parameter.name in printed


@pytest.mark.parametrize("command", ["list", "describe", "train", "serve", "predict", "transform", "convert"])
def test_help_has_an_example(command):
    assert f"example:\n  algodock {command}" in algodock(command, "--help").stdout


def test_train_packs_the_model_and_keeps_the_log(job):
    with tarfile.open(job / "model.tar.gz") as archive:
        assert archive.getnames() == ["model_algo-1"]
    assert "#quality_metric" in (job / "train.log").read_text()
    assert not (job / "ml" / "algo-1" / "input" / "data").exists(), "links to the user's files are gone"
    assert json.loads((job / "job.json").read_text())["hyperparameters"] == {"k": "10", "feature_dim": "64"}


def test_train_in_pipe_mode_on_two_hosts(tmp_path):
    algodock(
        "train", "kmeans", "--train", DIGITS, "-p", "k=10", "-p", "epochs=2", "--hosts", 2,
        "--input-mode", "Pipe", "--output", tmp_path / "out",
    )  # fmt: skip
    assert (tmp_path / "out" / "model.tar.gz").exists()


def test_predict_and_transform_and_convert_agree(job, rows, tmp_path):
    answer = algodock("predict", job, rows, "--accept", "text/csv").stdout
    assert len(answer.splitlines()) == 5
    assert algodock("predict", job, "-", "--accept", "text/csv", text=rows.read_text()).stdout == answer

    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    (source / "deeper" / "rows.csv").write_bytes(rows.read_bytes())
    algodock("convert", rows, source / "rows.pbr")
    algodock("transform", job, source, tmp_path / "out", "--accept", "text/csv")
    assert (tmp_path / "out" / "deeper" / "rows.csv.out").read_text() == answer
    assert (tmp_path / "out" / "rows.pbr.out").read_text().split() == answer.split()


def test_a_transform_filters_and_joins_as_awss_does(job, rows, tmp_path):
    answers = algodock("predict", job, rows, "--accept", "text/csv").stdout.splitlines()
    named = tmp_path / "named.csv"
    named.write_text("".join(f"row{n},{row}\n" for n, row in enumerate(rows.read_text().splitlines())))
    options = ("--input-filter", "$[1:]", "--join-source", "Input", "--output-filter", "$[0,-2:]")
    algodock("transform", job, named, tmp_path / "out", "--accept", "text/csv", *options)
    joined = (tmp_path / "out" / "named.csv.out").read_text().splitlines()
    assert joined == [f"row{n},{answer}" for n, answer in enumerate(answers)]
    single = ("--strategy", "SingleRecord", "--max-concurrent", "2")
    algodock("transform", job, named, tmp_path / "single", "--accept", "text/csv", *options, *single)
    assert (tmp_path / "single" / "named.csv.out").read_text().splitlines() == joined
    refused = algodock(
        "transform", job, named, tmp_path / "bad", "--accept", "text/csv", "--input-filter", "$[", code=1
    )
    assert "filter '$[' isn't read; accepted: $ with .name" in refused.stderr
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("ending", ["pbr", "csv", "libsvm", "npz", "parquet"])
def test_convert_there_and_back(tmp_path, ending):
    matrix = np.loadtxt(DIGITS, delimiter=",")
    middle, back = tmp_path / f"rows.{ending}", tmp_path / "back.csv"
    assert "1500 rows" in algodock("convert", DIGITS, middle, "--label-size", 1).stdout
    algodock("convert", middle, back, "--label-size", 1)
    assert np.array_equal(np.loadtxt(back, delimiter=","), matrix)


def test_endpoints_at_once_each_on_its_own_port_stopped_by_a_signal(job, rows):
    ports = [free_port(), free_port()]
    servers = [
        subprocess.Popen([ALGODOCK, "serve", job, "--port", str(port)], stdout=subprocess.PIPE, text=True)
        for port in ports
    ]
    for port, server in zip(ports, servers, strict=True):
        while "answers on" not in server.stdout.readline():
            assert server.poll() is None
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", rows.read_bytes(), {"Content-Type": "text/csv"}
        )
        with urllib.request.urlopen(request) as answer:
            assert len(json.load(answer)["predictions"]) == 5
    for number, server in zip((signal.SIGINT, signal.SIGTERM), servers, strict=True):
        server.send_signal(number)
        server.communicate(timeout=100)
    for port in ports:
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells no child of its parent's end")
def test_an_endpoint_ends_with_whoever_started_it_also_after_kill_9(job):
    port = free_port()
    command = [ALGODOCK, "serve", job, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while "answers on" not in server.stdout.readline():
        assert server.poll() is None
    server.kill()
    server.communicate(timeout=100)  # until nobody holds its output any more
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_second_run_in_a_jobs_folder_is_refused_while_the_first_goes_on(tmp_path):
    output = tmp_path / "out"
    command = ["train", "kmeans", "--train", DIGITS, "-p", "k=10", "-p", "epochs=1000000", "--output", output]
    first = subprocess.Popen([ALGODOCK, *map(str, command)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline()
    told = f"algodock: another run writes to {output}; accepted: another --output"
    assert algodock(*command, code=1).stderr.startswith(told)
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert (output / "model.tar.gz").exists()


def until_answered(server, port):
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").status
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_no_error(job, rows, closed, tmp_path):
    for command in (f"predict {job} {rows}", f"predict {job} -", f"transform {job} {rows} {tmp_path}/out"):
        given = rows.read_text() if command.endswith("-") else None
        line = f"{ALGODOCK} {command} {closed}"
        done = subprocess.run(line, shell=True, input=given, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
    port = free_port()
    serve = f"exec {ALGODOCK} serve {job} --port {port} {closed}"
    with subprocess.Popen(serve, shell=True) as server:
        until_answered(server, port)
        server.terminate()
    # 130 where it was stopped before it had itself heard that its endpoint answers.
    assert server.returncode in (0, 130)
    train = f"{ALGODOCK} train kmeans --train {DIGITS} -p k=3 --output {tmp_path}/job {closed}"
    assert subprocess.run(train, shell=True, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_stops_a_job_and_keeps_the_model(tmp_path, number):
    process = subprocess.Popen(
        [
            ALGODOCK, "train", "kmeans", "--train", str(DIGITS), "-p", "k=10", "-p", "epochs=1000000",
            "-p", "mini_batch_size=500", "--output", str(tmp_path / "out"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hearing,
    )  # fmt: skip
    for line in process.stdout:
        if "#progress_metric" in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert (tmp_path / "out" / "model.tar.gz").exists()


@pytest.mark.parametrize(("before", "count", "code"), [("", 5000, 130), ("nohup ", 20, 0)])
def test_a_closed_terminal_ends_a_transform_that_may_end(job, rows, tmp_path, before, count, code):
    scratch, source = tmp_path / "scratch", tmp_path / "in"
    scratch.mkdir()
    source.mkdir()
    for number in range(count):
        (source / f"{number}.csv").symlink_to(rows)
    line = f"exec {before}{ALGODOCK} transform {job} {source} {tmp_path}/out"
    with subprocess.Popen(
        line, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=hearing,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.stdout.read()
    assert process.returncode == code
    assert not list(scratch.iterdir())
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "kmean", "--train", DIGITS], "algorithm kmean is unknown"),
        (["train", "kmeans"], "needs --train DATA"),
        (["train", "kmeans", "--train", "/nowhere.csv"], "/nowhere.csv does not exist"),
        (["train", "kmeans", "--train", DIGITS, "-p", "k"], "accepted: NAME=VALUE"),
        (["train", "kmeans", "--train", DIGITS, "-p", "k=ten"], "k is 'ten'"),
        (["train", "kmeans", "--train", DIGITS, "-p", "k=3", "--hosts", "0"], "accepted: 1 or more"),
        (["train", "kmeans", "--train", DIGITS, "-p", "k=3", "--hosts", "999999"], "up to 254"),
        (["describe", "nothing"], "algorithm nothing is unknown"),
        (["predict", "/nowhere", DIGITS], "/nowhere does not exist"),
        (["predict", DIGITS, DIGITS], "is not a model.tar.gz"),
        (["convert", DIGITS, "rows.xls"], "the ending is unknown"),
        (["convert", "/nowhere.csv", "rows.pbr"], "/nowhere.csv is no file"),
        (["convert", "/", "rows.pbr"], "/ is no file; accepted: a file ending in .csv"),
        (["convert", DIGITS, "rows.pbr", "--label-size", "-1"], "accepted: a whole number from 0"),
        (["convert", DIGITS, "rows.svm", "--label-size", "2"], "0 or 1, one label a row"),
        (["convert", DIGITS, "/proc/rows.pbr"], "algodock: /proc/rows.pbr: No such file"),
        (["predict", "/nowhere", "/no-rows.csv"], "algodock: /no-rows.csv: No such file or directory"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, message, tmp_path):
    if arguments[0] == "train":
        arguments = [*arguments, "--output", tmp_path]
    assert message in algodock(*arguments, code=1).stderr


@pytest.mark.parametrize("ending", ["pbr", "csv", "npz", "parquet"])
def test_a_file_without_rows_is_not_converted(tmp_path, ending):
    (tmp_path / "empty.csv").write_text("\n")
    target = tmp_path / f"rows.{ending}"
    assert "empty.csv holds no rows" in algodock("convert", tmp_path / "empty.csv", target, code=1).stderr
    assert not target.exists()


@pytest.mark.parametrize("ending", ["pbr", "csv", "npz", "parquet"])
def test_sparse_rows_become_equally_wide_however_late_the_widest_comes(tmp_path, ending):
    source, middle, back = tmp_path / "rows.libsvm", tmp_path / f"rows.{ending}", tmp_path / "back.csv"
    # More than the decoder reads at once.
    source.write_text("1 0:1 1:2\n" * 300_000 + "0 9:3\n")
    algodock("convert", source, middle, "--label-size", 1)
    algodock("convert", middle, back, "--label-size", 1)
    with back.open() as lines:
        assert {line.count(",") for line in lines} == {10}


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_rows_that_are_too_wide_for_their_zeros_are_told(tmp_path, ending):
    source, target = tmp_path / "rows.libsvm", tmp_path / f"rows.{ending}"
    source.write_text("1 0:1 2000000000:2\n")
    told = algodock("convert", source, target, code=1).stderr
    assert "rows of 2,000,000,001 columns are too wide to be written with their zeros" in told
    assert [path.name for path in tmp_path.iterdir()] == ["rows.libsvm"]


def test_a_file_that_fails_keeps_no_other_from_its_answers(job, rows, tmp_path):
    source = tmp_path / "in"
    (source / ".ipynb_checkpoints").mkdir(parents=True)
    (source / ".ipynb_checkpoints" / "rows.csv").write_text("no rows")
    for name in ("a.csv", "c.csv"):
        (source / name).symlink_to(rows)
    (source / "b.csv").write_text("1,2\n")
    done = algodock("transform", job, source, tmp_path / "out", "--max-payload", "60", code=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv.out", "c.csv.out"]
    assert "algodock: b.csv: request 1: the endpoint answered 400" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_is_transformed_under_the_name_it_is_given(job, rows, tmp_path):
    (tmp_path / "_rows.csv").symlink_to(rows)
    algodock("transform", job, tmp_path / "_rows.csv", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_rows.csv.out"]


def test_answers_of_an_algorithm_s_own_type_are_joined(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(f"{n},{n % 7},{n % 3}\n" for n in range(40)))
    algodock("train", "xgboost", "--train", rows, "-p", "num_round=2", "--output", tmp_path / "job")
    options = ("--input-filter", "$[1:]", "--join-source", "Input", "--output-filter", "$[0]")
    algodock("transform", tmp_path / "job", rows, tmp_path / "out", *options)
    assert (tmp_path / "out" / "rows.csv.out").read_text().split() == [str(n) for n in range(40)]


def test_records_that_are_answered_are_nothing_else(job, rows, tmp_path):
    wanted = ("--accept", "application/x-recordio-protobuf")
    algodock("transform", job, rows, tmp_path / "out", *wanted)
    asked = [ALGODOCK, "predict", job, rows, *wanted]
    answer = subprocess.run(asked, capture_output=True, timeout=60, check=True).stdout
    assert answer == (tmp_path / "out" / "rows.csv.out").read_bytes()
    assert len(list(recordio.payloads(io.BytesIO(answer), "the answer"))) == 5


def test_gzipped_rows_are_read_everywhere(job, rows, tmp_path):
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(rows.read_bytes()))
    answer = algodock("predict", job, rows, "--accept", "text/csv").stdout
    assert algodock("predict", job, packed, "--accept", "text/csv").stdout == answer
    algodock("transform", job, packed, tmp_path / "out", "--accept", "text/csv")
    assert (tmp_path / "out" / "rows.csv.gz.out").read_text() == answer
    assert "5 rows" in algodock("convert", packed, tmp_path / "rows.pbr").stdout
    packed.write_bytes(packed.read_bytes()[:-9])
    assert "rows.csv.gz: the gzip data" in algodock("predict", job, packed, code=1).stderr


def test_a_model_of_another_algorithm_is_told_at_once(job, rows):
    done = algodock("predict", job, rows, "--algorithm", "knn", code=1)
    assert done.stderr.startswith("algodock: Unable to load model: the model has no file model_algo-1.json")


def test_a_port_that_is_taken_is_told_before_anything_starts(job):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = algodock("serve", job, "--port", port, code=1)
    assert done.stderr == (
        f"algodock: port {port} can't be used: Address already in use; accepted: a free one after --port\n"
    )
    assert not done.stdout
    assert "there are 1 to 65535" in algodock("serve", job, "--port", "70000", code=1).stderr


def test_output_that_nobody_reads_is_no_error(tmp_path):
    command = f"{ALGODOCK} describe xgboost --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_job_whose_log_nobody_reads_goes_on(tmp_path):
    command = f"{ALGODOCK} train kmeans --train {DIGITS} -p k=3 --output {tmp_path}/job | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1
    assert done.stderr == f"{tmp_path}/job: job.json, model.tar.gz, train.log\n"
    assert len((tmp_path / "job" / "train.log").read_text().splitlines()) > 5


def test_a_rows_mistake_is_the_endpoints_sentence(job):
    done = algodock("predict", job, "-", text="1,2,3\n", code=1)
    assert "the endpoint answered 400" in done.stderr
    assert "64" in done.stderr


def test_an_unsafe_archive_is_refused(tmp_path):
    outside = tmp_path / "model_algo-1"
    outside.write_bytes(b"x")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(outside, "../../escaped")
    done = algodock("predict", tmp_path / "model.tar.gz", DIGITS, "--algorithm", "kmeans", code=1)
    assert "is not a model.tar.gz" in done.stderr


def test_progress_moves_on_a_terminal(tmp_path):
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            ALGODOCK,
            "train",
            "kmeans",
            "--train",
            str(DIGITS),
            "-p",
            "k=10",
            "--output",
            str(tmp_path / "out"),
        ],
        stdout=follower,
        stderr=follower,
        close_fds=True,
    )
    os.close(follower)
    seen = b""
    started = time.monotonic()
    while time.monotonic() - started < 60:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed: the command has ended
            break
        seen += part
    assert process.wait(60) == 0
    assert b"done 100 %" in seen
    assert b"rows/s" in seen
    assert b"#metrics" not in seen, "log lines are for train.log, not for a terminal"
