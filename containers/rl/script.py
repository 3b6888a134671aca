"""Script mode: a user's program in a process of its own, as AWS's script containers run one.

AWS's library for this, sagemaker-training, can't be installed beside ours: it brings a program `train` too.
What is here keeps its contract: the source in OPT_ML/code, ``--name value`` for each hyperparameter, and its
environment variables (ENVIRONMENT_VARIABLES.md of its repository, aws/sagemaker-training-toolkit).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from common.failures import ClientError
from common.job import Job
from common.metrics import log
from common.training import Run

PROGRAM, SOURCE, COACH = "sagemaker_program", "sagemaker_submit_directory", "RLCOACH_PRESET"
_OURS = "sagemaker_"
_TOOLKIT = Path(__file__).parent / "toolkit"
_WITHOUT_A_SCREEN = {
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
}
_LAST = 20  # lines of a program's errors that a failure quotes
# Agents of Coach, the most particular first, and what RLlib has in their place.
_AGENTS = (
    ("ClippedPPO", "PPO"),
    ("PPO", "PPO"),
    ("SoftActorCritic", "SAC"),
    ("Rainbow", "DQN with its Rainbow settings"),
    ("DDQN", "DQN with double_q"),
    ("DQN", "DQN"),
    ("ActorCritic", "PPO or IMPALA"),
)


def execute(run: Run) -> None:
    """Runs the program to its end. Raises ClientError when there is none, or it fails."""
    values = run.job.hyperparameters
    code = run.job.root / "code"
    program = str(values[PROGRAM]).strip().strip('"')
    _fetch(str(values[SOURCE]).strip().strip('"'), code)
    if not (code / program).is_file():
        found = ", ".join(sorted(path.name for path in code.iterdir())[:10])
        raise ClientError(f"{PROGRAM} is '{program}', which the source hasn't; it has {found}")
    _refuse_coach(values, code)
    environment = _environment(run, program, code)
    _install(code, environment)
    environment["PYTHONPATH"] = os.pathsep.join(map(str, _modules(code)))
    interpreter = ["/bin/sh"] if program.endswith(".sh") else [sys.executable]
    _call([*interpreter, program, *arguments(own(values))], code, environment, run)


def own(values: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that are the program's, JSON read where they are written so."""
    return {name: _read(value) for name, value in values.items() if not name.startswith(_OURS)}


def arguments(values: Mapping[str, Any]) -> list[str]:
    """``--name value`` of each, ``-n value`` for a name of one letter."""
    words = []
    for name, value in values.items():
        words += [f"--{name}" if len(name) > 1 else f"-{name}", _text(value)]
    return words


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if not _nested(value) else json.dumps(value)


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _fetch(source: str, code: Path) -> None:
    """Puts a folder's files, or those of a tar.gz, on disk or on S3, into ``code``. Raises ClientError."""
    shutil.rmtree(code, ignore_errors=True)
    place = Path(source.removeprefix("file://"))
    if source.startswith("s3://"):
        code.mkdir(parents=True)
        place = code.parent / "sourcedir.tar.gz"
        _download(source, place)
    if place.is_dir():
        archives = [path for path in place.iterdir() if path.name.endswith(".tar.gz")]
        if len(archives) != 1 or len(list(place.iterdir())) > 1:
            shutil.copytree(place, code, ignore=shutil.ignore_patterns("__pycache__"))
            return
        (place,) = archives  # a channel that holds what the SDK packed
    if not place.is_file():
        raise ClientError(
            f"{SOURCE} is '{source}', where nothing is; accepted: a folder, a .tar.gz, or one on S3"
        )
    try:
        with tarfile.open(place) as archive:
            archive.extractall(code, filter="data")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        told = str(error).split("\n")[0]
        raise ClientError(f"{SOURCE} '{source}' is not a .tar.gz that can be unpacked: {told}") from None


def _download(source: str, place: Path) -> None:
    try:
        import boto3
    except ImportError:
        raise ClientError(f"{SOURCE} is on S3, and boto3 isn't installed; accepted: a folder") from None
    address = urlsplit(source)
    try:
        boto3.client("s3").download_file(address.netloc, address.path.lstrip("/"), str(place))
    except Exception as error:  # botocore's errors have no common base with those of connections
        raise ClientError(f"{SOURCE} '{source}' can't be fetched: {error}") from None


def _refuse_coach(values: Mapping[str, Any], code: Path) -> None:
    """Raises ClientError for sources that need Coach, with what RLlib has in its place."""
    texts = [path.read_text("utf-8", "replace") for path in sorted(code.rglob("*.py"))]
    uses = [text for text in texts if re.search(r"^\s*(from|import)\s+rl_coach\b", text, re.MULTILINE)]
    launched = [text for text in texts if "coach_launcher" in text]
    if COACH not in values and not uses and not launched:
        return
    agent = next((new for old, new in _AGENTS for text in uses if f"{old}Agent" in text), None)
    instead = f"its agent is {agent} there" if agent else "PPO, DQN and SAC are there"
    raise ClientError(
        "the source is a preset of Coach, whose last release is of 2019 and which no Python of today runs; "
        f"accepted: a program for Ray RLlib or another library ({instead}: docs/reinforcement-learning.md)"
    )


def _environment(run: Run, program: str, code: Path) -> dict[str, str]:
    """What the program finds in os.environ: this process's, without our modules, and SM_..."""
    job, hosts = run.job, run.job.hosts
    output = job.root / "output"
    for folder in (output / "intermediate", output / "data", job.model):
        folder.mkdir(parents=True, exist_ok=True)
    settings = own(job.hyperparameters)
    channels = {name: str(job.data / name) for name in job.channels}
    gpus = sum(device.startswith("cuda") for device in run.devices)
    region = str(job.hyperparameters.get("sagemaker_region", "")).strip('"')
    facts: dict[str, Any] = {
        "channel_input_dirs": channels,
        "current_host": hosts.current,
        "hosts": list(hosts.names),
        "hyperparameters": settings,
        "input_dir": str(job.root / "input"),
        "input_config_dir": str(job.root / "input" / "config"),
        "input_data_config": _config(job, "inputdataconfig"),
        "is_master": hosts.rank == 0,
        "job_name": str(job.hyperparameters.get("sagemaker_job_name", "")).strip('"'),
        "log_level": _read(job.hyperparameters.get("sagemaker_container_log_level", "20")),
        "model_dir": str(job.model),
        "module_dir": str(job.hyperparameters[SOURCE]).strip('"'),
        "module_name": Path(program).stem,
        "num_cpus": run.threads,
        "num_gpus": gpus,
        "output_dir": str(output),
        "output_data_dir": str(output / "data"),
        "output_intermediate_dir": str(output / "intermediate"),
        "resource_config": _config(job, "resourceconfig"),
        "user_entry_point": program,
    }
    told = {
        "SM_CHANNELS": json.dumps(sorted(channels)),
        "SM_HPS": json.dumps(settings),
        "SM_TRAINING_ENV": json.dumps(facts),
        "SM_USER_ARGS": json.dumps(arguments(settings)),
    }
    for name, fact in facts.items():
        if name not in ("channel_input_dirs", "hyperparameters", "is_master", "job_name"):
            told[f"SM_{name.upper()}"] = fact if isinstance(fact, str) else json.dumps(fact)
    told |= {f"SM_CHANNEL_{name.upper()}": place for name, place in channels.items()}
    told |= {f"SM_HP_{name.upper()}": _text(value) for name, value in settings.items()}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "ALGORITHM") and not name.startswith("SM_")
    }
    return {
        **_WITHOUT_A_SCREEN,
        **kept,
        **({"AWS_REGION": region} if region else {}),
        **told,
        "PYTHONUNBUFFERED": "1",
        "sagemaker_job_name": facts["job_name"] or "sagemaker-experiment",
        "TRAINING_JOB_NAME": facts["job_name"],
    }


def _modules(code: Path) -> list[Path]:
    """Where the program finds modules: its own first, then sagemaker_rl, and a stand-in for old gym."""
    importlib.invalidate_caches()  # requirements.txt may have brought it
    old_gym = [] if importlib.util.find_spec("gym") else [_TOOLKIT / "old_gym"]
    return [code, _TOOLKIT, *old_gym]


def _config(job: Job, name: str) -> Any:
    path = job.root / "input" / "config" / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _install(code: Path, environment: Mapping[str, str]) -> None:
    """Installs the source's requirements.txt. Raises ClientError."""
    if not (code / "requirements.txt").is_file():
        return
    log.info("Installing requirements.txt")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command += ["--root-user-action=ignore", "-r", "requirements.txt"]
    done = subprocess.run(command, cwd=code, env=dict(environment), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        told = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr)
        raise ClientError(f"requirements.txt of the source can't be installed: {told.strip()[-500:]}")


def _call(command: list[str], code: Path, environment: Mapping[str, str], run: Run) -> None:
    """Runs the program until it ends; a request to stop is its own affair. Raises ClientError."""
    shown = " ".join(["python" if command[0] == sys.executable else command[0], *command[1:]])
    log.info("Invoking user script with the command: %s", shown)
    process = subprocess.Popen(
        command,
        cwd=code,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    last: deque[str] = deque(maxlen=_LAST)
    streams = ((process.stdout, deque[str](maxlen=0)), (process.stderr, last))
    readers = [threading.Thread(target=_echo, args=stream, daemon=True) for stream in streams]
    for reader in readers:
        reader.start()
    told = False
    while True:
        try:
            status = process.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            if run.stop.requested and not told:
                told = True
                process.send_signal(signal.SIGTERM)
    for reader in readers:
        reader.join(5)
    if status:
        message = "".join(last).strip().split("\n")[-1][:700]
        raise ClientError(
            f'ExecuteUserScriptError: exit code {status}, error message "{message}", command "{shown[:200]}"'
        )


def _echo(stream: IO[str] | None, last: deque[str]) -> None:
    """Hands lines on as they come, to where a job's log goes, and keeps the last."""
    assert stream is not None
    for line in stream:
        last.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()
