"""Script mode: a program of one's own gets what AWS's script containers give it."""

import io
import json
import signal
import tarfile

import pytest

from containers.rl.script import arguments, own

TELLS = b"""
import argparse, json, os, sys
import common  # the source's own
parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float)
parser.add_argument("--rl.training.config.lr", dest="lr")
parser.add_argument("-n")
chosen = parser.parse_args()
told = {"arguments": vars(chosen), "common": common.NAME, "folder": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("SM_")}}
with open(os.path.join(os.environ["SM_MODEL_DIR"], "told.json"), "w") as file:
    json.dump(told, file)
open(os.path.join(os.environ["SM_OUTPUT_INTERMEDIATE_DIR"], "frame"), "w").close()
print("episode_reward_mean: 21.7")
"""
COMMON = b"NAME = 'mine'\n"
SETTINGS = {"learning_rate": "5", "rl.training.config.lr": "0.1", "n": "3"}


def packed(**files):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        for name, content in files.items():
            found = tarfile.TarInfo(name.replace("__", "."))
            found.size = len(content)
            archive.addfile(found, io.BytesIO(content))
    return body.getvalue()


@pytest.fixture
def job(training_job, tmp_path):
    """A job whose source is a folder with these files."""

    def make(program="main.py", source=None, **settings):
        return training_job(
            "rl",
            sagemaker_program=program,
            sagemaker_submit_directory=str(source or tmp_path / "source"),
            **settings,
        )

    (tmp_path / "source").mkdir()
    return make


def test_a_program_gets_arguments_environment_and_folders(job, tmp_path):
    (tmp_path / "source" / "main.py").write_bytes(TELLS)
    (tmp_path / "source" / "common.py").write_bytes(COMMON)
    done = job(**SETTINGS, sagemaker_region="x").channel("training", b"1").run().succeeded()
    told = json.loads((done.model / "told.json").read_text())
    assert told["arguments"] == {"learning_rate": 5.0, "lr": "0.1", "n": "3"}
    assert told["common"] == "mine"
    assert told["folder"] == str(done.root / "code")
    environment = told["environment"]
    assert environment["SM_MODEL_DIR"] == str(done.model)
    assert environment["SM_CHANNEL_TRAINING"] == str(done.root / "input" / "data" / "training")
    assert json.loads(environment["SM_CHANNELS"]) == ["training"]
    assert json.loads(environment["SM_HPS"]) == {"learning_rate": 5, "rl.training.config.lr": 0.1, "n": 3}
    assert environment["SM_HP_LEARNING_RATE"] == "5"
    assert json.loads(environment["SM_HOSTS"]) == [environment["SM_CURRENT_HOST"]]
    assert json.loads(environment["SM_TRAINING_ENV"])["hyperparameters"]["n"] == 3
    assert json.loads(environment["SM_RESOURCE_CONFIG"]) is not None
    assert int(environment["SM_NUM_CPUS"]) >= 1
    assert (done.root / "output" / "intermediate" / "frame").exists()
    assert "episode_reward_mean: 21.7" in done.log


def test_a_source_comes_as_an_archive_in_a_channel(job, tmp_path):
    made = job(source=tmp_path / "ml-1" / "input" / "data" / "code", learning_rate="1")
    made.channel("code", {"sourcedir.tar.gz": packed(main__py=TELLS, common__py=COMMON)})
    assert (made.run().succeeded().model / "told.json").exists()


def test_a_shell_program_runs(job, tmp_path):
    (tmp_path / "source" / "go.sh").write_text('echo "$2" > "$SM_MODEL_DIR/first"\n')
    assert (job("go.sh", k="7").run().succeeded().model / "first").read_text() == "7\n"


def test_a_programs_failure_is_told_with_its_last_words(job, tmp_path):
    (tmp_path / "source" / "main.py").write_text("raise ValueError('too bad')\n")
    done = job().run()
    assert done.code == 1
    assert "ExecuteUserScriptError: exit code 1" in done.failure
    assert "ValueError: too bad" in done.failure
    assert "Traceback" in done.log  # the program's own


def test_a_stop_reaches_the_program_which_saves(job, tmp_path):
    (tmp_path / "source" / "main.py").write_text(
        "import os, signal, sys, time\n"
        "def save(*_):\n"
        "    open(os.environ['SM_MODEL_DIR'] + '/saved', 'w').close()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    made = job()
    process = made.start()
    for line in process.stdout:
        if line == "ready\n":
            break
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(60) == 0
    assert (made.root / "model" / "saved").exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "sagemaker_program is 'main.py', which the source hasn't"),
        ({"main.py": "from rl_coach.agents.clipped_ppo_agent import ClippedPPOAgentParameters"}, "PPO there"),
        (
            {"main.py": "from sagemaker_rl.coach_launcher import SageMakerCoachPresetLauncher"},
            "preset of Coach",
        ),
        (
            {"main.py": "", "requirements.txt": "no_such_package_anywhere==99\n"},
            "requirements.txt of the source",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(job, tmp_path, files, told):
    (tmp_path / "source" / "other.txt").write_text("x")
    for name, content in files.items():
        (tmp_path / "source" / name).write_text(content)
    done = job().run()
    assert done.code == 1
    assert told in done.failure
    assert "Traceback" not in done.log


@pytest.mark.parametrize("archive", [b"nothing", packed(a__py=b"x")[:60]], ids=["garbage", "truncated"])
def test_broken_archives_and_places_are_told(job, tmp_path, archive):
    (tmp_path / "source.tar.gz").write_bytes(archive)
    job(source=tmp_path / "source.tar.gz").run().failed("is not a .tar.gz that can be unpacked")
    job(source=tmp_path / "nowhere").run().failed("where nothing is; accepted: a folder")


def test_coach_is_refused_by_its_hyperparameter(job, tmp_path):
    (tmp_path / "source" / "main.py").write_text("")
    job(RLCOACH_PRESET="preset").run().failed("a preset of Coach")


def test_arguments_are_written_as_awss_library_does():
    values = own({"a": "1", "flag": "true", "list": "[1, 2]", "text": '"x"', "sagemaker_program": "x"})
    assert values == {"a": 1, "flag": True, "list": [1, 2], "text": "x"}
    assert arguments(values) == ["-a", "1", "--flag", "True", "--list", "[1, 2]", "--text", "x"]
