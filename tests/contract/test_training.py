"""What every training container does, shown on k-means through the real `train`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from common.formats import ndarray

rng = np.random.default_rng(0)
POINTS = np.concatenate([rng.normal(center, 0.3, (200, 3)) for center in (-3, 0, 3)]).astype(np.float32)
CSV = b"".join(b",".join(b"%.5f" % value for value in row) + b"\n" for row in POINTS)
TYPE = "text/csv;label_size=0"


def centers(finished):
    (matrix,) = ndarray.load(finished.model / "model_algo-1")
    return matrix[np.argsort(matrix[:, 0])]


@pytest.mark.parametrize("mode", ["File", "FastFile", "Pipe"])
def test_every_input_mode_gives_the_same_model(training_job, mode):
    done = training_job("kmeans", k=3, feature_dim=3, epochs=3).channel("train", CSV, TYPE, mode).run()
    done.succeeded()
    assert centers(done) == pytest.approx(np.array([[-3] * 3, [0] * 3, [3] * 3]), abs=0.15)


def test_equal_runs_give_equal_bytes_and_another_seed_another_model(training_job):
    def model(seed):
        job = training_job("kmeans", k=3, feature_dim=3, mini_batch_size=100).channel("train", CSV, TYPE)
        job.environment["ALGODOCK_SEED"] = seed
        return (job.run().succeeded().model / "model_algo-1").read_bytes()

    assert model("1") == model("1")
    assert model("1") != model("2")


def test_without_any_config_file_but_hyperparameters(training_job):
    job = training_job("kmeans", k=3, feature_dim=2).channel("train", CSV)
    job.channels = {}
    process = job.start()  # inputdataconfig.json is {}: the required channel is missing
    process.communicate()
    (job.root / "input" / "config" / "inputdataconfig.json").unlink()
    (job.root / "input" / "data" / "train" / "data").write_bytes(b"")
    shutil.copy(_records(job.root), job.root / "input" / "data" / "train" / "data")
    environment = {**os.environ, "ALGORITHM": "kmeans", "OPT_ML": str(job.root)}
    (job.root / "output" / "failure").unlink()
    done = subprocess.run([f"{_bin()}/train"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _bin():
    return os.path.dirname(sys.executable)


def _records(folder):
    from common.batches import Batch
    from common.formats import encode_batch

    path = folder / "records.pbr"
    path.write_bytes(encode_batch(Batch(POINTS[:, :2].copy())))
    return path


def test_all_hyperparameter_faults_at_once(training_job):
    done = training_job("kmeans", k=0, feature_dims=3, epochs="many").channel("train", CSV, TYPE).run()
    done.failed("k is '0'", "feature_dims is unknown; did you mean feature_dim?", "epochs is 'many'")
    assert "feature_dim is missing" in done.failure


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda job: job.channels.pop("train"), ["channel train is missing"]),
        (lambda job: job.channel("evaluation", CSV), ["channel evaluation", "train or test"]),
        (
            lambda job: job.channels["train"].update(ContentType="image/png"),
            ["image/png", "application/x-recordio-protobuf", "text/csv"],
        ),
        (lambda job: job.channels["train"].update(TrainingInputMode="Pipe"), ["channel train", "Pipe"]),
        (lambda job: job.channels["train"].update(TrainingInputMode="Stream"), ["Stream", "FastFile"]),
        (lambda job: job.channel("train", CSV + b"1,2\n", TYPE), ["line 601", "data"]),
        (lambda job: job.channel("train", b"a,b,c\n" + CSV, TYPE), ["header", "data"]),
        (lambda job: job.channel("train", CSV, "text/csv"), ["3 columns", "4 are expected"]),
        (lambda job: setattr(job, "resources", {"hosts": ["a"], "current_host": "b"}), ["current_host"]),
        (
            lambda job: setattr(
                job,
                "resources",
                {"hosts": ["a"], "current_host": "a", "current_instance_type": "ml.inf1.xlarge.big"},
            ),
            ["ml.inf1.xlarge.big"],
        ),
        (lambda job: job.environment.update(ALGODOCK_SEED="-1"), ["ALGODOCK_SEED"]),
        (lambda job: job.environment.update(ALGODOCK_NUM_THREADS="0"), ["ALGODOCK_NUM_THREADS"]),
    ],
)
def test_a_users_mistake_is_one_sentence_in_the_failure_file(training_job, change, parts):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    change(job)
    done = job.run().failed(*parts)
    assert "\n" not in done.failure.strip()
    assert len(done.failure) < 1024


def test_a_pipe_channel_without_data_folder_says_so_at_once(training_job):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    (job.root / "input" / "data" / "train").rename(job.root / "input" / "data" / "elsewhere")
    job.run().failed("train", "File")


def test_a_job_that_is_run_again_and_ends_well_has_no_failure_file(training_job):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", b"1,2\n", TYPE)
    job.run().failed("2 columns")
    job.channel("train", CSV, TYPE).run().succeeded()


def test_an_unknown_algorithm_is_refused_with_those_there_are(training_job):
    job = training_job("k-nearest-galaxies").channel("train", CSV)
    job.run().failed("k-nearest-galaxies", "kmeans")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_keeps_what_is_trained(training_job, number):
    job = training_job("kmeans", k=3, feature_dim=3, epochs=1_000_000, mini_batch_size=100)
    job.channel("train", CSV, TYPE)
    process = job.start()
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "#progress_metric" in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "".join(seen) + rest
    (matrix,) = ndarray.load(job.root / "model" / "model_algo-1")
    assert matrix.shape == (3, 3)
    assert not (job.root / "output" / "failure").exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can begin a process 1"
)
def test_a_second_request_to_stop_ends_process_1_too():
    code = (
        "import os, signal, time; from common.stopping import Stop; Stop().listen();"
        "[os.kill(1, signal.SIGTERM) for _ in range(2)]; time.sleep(0.1); print('goes on')"
    )
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    if "unshare" in done.stderr:
        pytest.skip("this machine has no namespaces of processes")
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


def _by_somebody_else(job):
    """Trains as a user who owns the job's model and output only; the failure."""
    for folder in job.root.parents:
        if "pytest" in str(folder):
            folder.chmod(0o755)
    for name in ("model", "output"):
        (job.root / name).mkdir(parents=True)
        os.chown(job.root / name, 12345, 12345)
    job.start().kill()  # what configures it is written by now
    done = subprocess.run(
        ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", f"{_bin()}/train"],
        env={**os.environ, "ALGORITHM": job.algorithm, "OPT_ML": str(job.root), "HOME": "/nonexistent"},
        capture_output=True,
        timeout=60,
    )
    assert b"Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
    return (job.root / "output" / "failure").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_a_data_folder_of_somebody_else_is_told(training_job, mode):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE, mode)
    job.pipes = {}
    data = job.root / "input" / "data"
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    place = data / ("train" if mode == "File" else "train_0")
    told = f"ClientError: channel train: {place} can't be read: Permission denied"
    assert _by_somebody_else(job) == told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_checkpoint_folder_of_somebody_else_is_told(training_job):
    job = training_job("xgboost", num_round=2).channel("train", CSV, "text/csv")
    config = job.root / "input" / "config"
    config.mkdir(parents=True)
    (config / "checkpointconfig.json").write_text('{"LocalPath": "/opt/ml/checkpoints"}')
    (job.root / "checkpoints").mkdir(mode=0o755)
    place = job.root / "checkpoints" / "xgboost-checkpoint.0"
    told = f"ClientError: user 12345 can't read or write {place}: Permission denied"
    assert _by_somebody_else(job) == told


def test_requests_to_stop_are_heard_before_numpy_is_imported():
    # As process 1, which has no handlers of its own, `train` would miss them for as long as that takes.
    code = "import sys, common.training; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_that_comes_too_late_changes_nothing(training_job, number, tmp_path):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    # Where the interpreter ends, when handlers written in Python are gone.
    late = f"import atexit, os; atexit.register(os.kill, os.getpid(), {int(number)})"
    (tmp_path / "sitecustomize.py").write_text(late)
    job.environment["PYTHONPATH"] = str(tmp_path)
    assert (job.run().succeeded().model / "model_algo-1").exists()


def test_a_stop_is_heeded_while_a_pipe_has_not_come(training_job):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE, "Pipe")
    job.pipes = {}
    process = job.start()
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode in (0, 1)
    assert not list((job.root / "model").glob("*"))


def test_records_cut_short_in_a_pipe_name_channel_epoch_and_record(training_job):
    job = training_job("kmeans", k=3, feature_dim=2, mini_batch_size=100)
    whole = _records(job.root.parent).read_bytes()
    job.channel("train", whole[:-5], "application/x-recordio-protobuf", "Pipe")
    job.run().failed("train", "epoch 0", "record 600")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_another_user_with_read_only_input(training_job, tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and "pytest" in str(folder):
            folder.chmod(0o755)
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    process = job.start()
    process.communicate()
    for folder in ("model", "output"):
        shutil.rmtree(job.root / folder, ignore_errors=True)
        (job.root / folder).mkdir()
        os.chown(job.root / folder, 12345, 12345)
    done = subprocess.run(
        ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", f"{_bin()}/train"],
        env={**os.environ, "ALGORITHM": "kmeans", "OPT_ML": str(job.root), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (job.root / "model" / "model_algo-1").stat().st_uid == 12345


def test_a_model_that_could_not_be_written_is_not_trained(training_job):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", b"no data", TYPE)
    (job.root / "model").write_text("a file")
    done = job.run()
    assert done.failure == f"ClientError: the folder {job.root}/model can't be made: File exists"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_model_folder_of_somebody_else_is_told_at_once(training_job):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", b"no data", TYPE)
    (job.root / "model").mkdir(mode=0o755)
    (job.root / "output").mkdir()
    os.chown(job.root / "output", 12345, 12345)
    job.start().communicate()
    (job.root / "output" / "failure").unlink()
    for folder in (job.root, *job.root.parents):
        if "pytest" in str(folder):
            folder.chmod(0o755)
    subprocess.run(
        ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", f"{_bin()}/train"],
        env={**os.environ, "ALGORITHM": "kmeans", "OPT_ML": str(job.root), "HOME": "/nonexistent"},
        capture_output=True,
    )
    told = (job.root / "output" / "failure").read_text()
    assert told.startswith(f"ClientError: the folder {job.root}/model can't be written to by user 12345")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_a_failure(training_job, tmp_path):
    job = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    model = job.root / "model"
    model.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", str(model)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        (model / "filler").write_bytes(b"x" * 4096)
        done = job.run()
        assert done.code == 1
        assert done.failure == f"AlgorithmError: the disk is full: {model}/model_algo-1 can't be written"
        assert "Traceback" not in done.log
        assert os.listdir(model) == ["filler"]
    finally:
        subprocess.run(["umount", str(model)], check=True)


def test_the_log_has_the_documented_form(training_job):
    log = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE).run().succeeded().log
    lines = log.splitlines()
    assert "Docker entrypoint called with argument(s): train" in lines[0]
    assert "Test data is not provided." in log
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#metrics "):
            assert following == ""
            assert set(json.loads(line[9:])) == {"StartTime", "EndTime", "Dimensions", "Metrics"}
        elif line:
            assert re.match(r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [A-Z]+ \d+\] ", line), line
    assert re.search(r"#progress_metric: host=\S+, completed (\S+) %", log)


def test_two_jobs_at_once_do_not_meet(training_job):
    first = training_job("kmeans", k=3, feature_dim=3).channel("train", CSV, TYPE)
    second = training_job("kmeans", k=2, feature_dim=3).channel("train", CSV, TYPE)
    processes = [first.start(), second.start()]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert len(ndarray.load(first.root / "model" / "model_algo-1")[0]) == 3
    assert len(ndarray.load(second.root / "model" / "model_algo-1")[0]) == 2


def hosts(jobs, port):
    """Makes the jobs the hosts of one cluster on this machine."""
    names = [f"127.0.0.{rank + 1}" for rank in range(len(jobs))]
    for name, job in zip(names, jobs, strict=True):
        job.resources = {"current_host": name, "hosts": names}
        job.environment["ALGODOCK_CLUSTER_PORT"] = str(port)
    return jobs


def test_a_host_that_cannot_begin_is_named_by_the_others_in_seconds(training_job):
    from local.jobs import free_port

    jobs = hosts([training_job("kmeans", k=3, feature_dim=3) for _ in range(2)], free_port())
    jobs[0].channel("train", CSV, TYPE)
    jobs[1].channel("train", CSV, "text/yaml")
    processes = [job.start() for job in jobs]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 1
    assert "text/yaml" in (jobs[1].root / "output" / "failure").read_text()
    first = (jobs[0].root / "output" / "failure").read_text()
    assert first.startswith("ClientError: host 127.0.0.2 failed: channel train: content type 'text/yaml'")


def test_a_host_that_is_killed_ends_the_others_with_its_name(training_job):
    from local.jobs import free_port

    jobs = [
        training_job("kmeans", k=3, feature_dim=3, epochs=1_000_000, mini_batch_size=50) for _ in range(3)
    ]
    processes = [job.channel("train", CSV, TYPE).start() for job in hosts(jobs, free_port())]
    for line in processes[1].stdout:
        if "#progress_metric" in line:
            processes[1].kill()
            break
    for process, job in ((processes[0], jobs[0]), (processes[2], jobs[2])):
        process.communicate(timeout=60)
        assert process.returncode == 1
        assert "host 127.0.0.2 left the job" in (job.root / "output" / "failure").read_text()
