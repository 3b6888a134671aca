"""Programs for Ray RLlib through the real `train` and `serve`: presets, restoring, hosts, a stop."""

import http.server
import json
import re
import shutil
import signal
import threading
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from common import manifest
from tests.conftest import TrainingJob, free_port

pytestmark = pytest.mark.timeout(400)
HEAD = "from sagemaker_rl.ray_launcher import SageMakerRayLauncher\n"
PRESET = """
class MyLauncher(SageMakerRayLauncher):
    def get_experiment_config(self):
        return {"training": {"env": "CartPole-v1", "run": "PPO", "stop": {"training_iteration": 3},
            "config": {
            "num_workers": self.num_cpus - 1, "num_gpus": self.num_gpus, "gamma": 0.98, "lr": 0.0001,
            "seed": 0,
            "horizon": 100, "num_sgd_iter": 10, "sgd_minibatch_size": 128, "train_batch_size": 1000,
            "observation_filter": "MeanStdFilter", "ignore_worker_failures": True, "use_pytorch": False,
            "model": {"fcnet_hiddens": [32, 32], "vf_share_layers": True}}}}

if __name__ == "__main__":
    MyLauncher.train_main()
"""
EVALUATE = """
from sagemaker_rl.evaluation import main
import train

train.MyLauncher().register_env_creator()
main()
"""
OLD_GYM = """
import gym
import numpy as np
from ray.tune.registry import register_env

class Corridor(gym.Env):
    def __init__(self, length):
        self.observation_space = gym.spaces.Box(low=0, high=1, shape=(length,))
        self.action_space = gym.spaces.Discrete(2)
        self.length = length

    def reset(self):
        self.place = 0
        return self.seen()

    def seen(self):
        return np.eye(self.length)[self.place]

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 1 else -1))
        done = self.place == self.length - 1
        return self.seen(), float(done) - 0.01, done, {}

class MyLauncher(SageMakerRayLauncher):
    def register_env_creator(self):
        register_env("Corridor-v1", lambda config: Corridor(**config))

    def get_experiment_config(self):
        return {"training": {"env": "Corridor-v1", "run": "DQN", "stop": {"timesteps_total": 1500},
            "config": {
            "env_config": {"length": 5}, "horizon": 50, "num_workers": 0, "lr": 0.001,
            "gamma": 0.8, "seed": 0, "hiddens": [16],
            "buffer_size": 5000, "learning_starts": 200, "timesteps_per_iteration": 500,
            "exploration_final_eps": 0.05, "schedule_max_timesteps": 8000, "exploration_fraction": 0.1,
            "sample_batch_size": 4, "train_batch_size": 32, "prioritized_replay": False,
            "target_network_update_freq": 200, "model": {"fcnet_hiddens": [16]}}}}

if __name__ == "__main__":
    MyLauncher.train_main()
"""
SETTLED = """
class MyLauncher(SageMakerRayLauncher):
    def get_experiment_config(self):
        return {"training": %s}

if __name__ == "__main__":
    MyLauncher.train_main()
"""
SAC = {
    "env": "Pendulum-v1",
    "run": "SAC",
    "stop": {"training_iteration": 1},
    "config": {
        "num_workers": 0,
        "horizon": 50,
        "learning_starts": 100,
        "timesteps_per_iteration": 150,
        "Q_model": {"fcnet_hiddens": [16], "fcnet_activation": "relu"},
        "policy_model": {"fcnet_hiddens": [16], "fcnet_activation": "relu"},
        "optimization": {
            "actor_learning_rate": 3e-4,
            "critic_learning_rate": 3e-4,
            "entropy_learning_rate": 3e-4,
        },
        "train_batch_size": 32,
    },
}
IMPALA = {
    "env": "FrozenLake-v1",  # its observations are flattened
    "run": "IMPALA",
    "stop": {"episodes_total": 5},
    "config": {"num_workers": 1, "min_iter_time_s": 1, "train_batch_size": 100, "sample_batch_size": 50},
}
TOGETHER = """
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from ray.tune.registry import register_env

class Meet(ParallelEnv):
    metadata = {"name": "meet"}
    possible_agents = ["left", "right"]

    def observation_space(self, agent):
        return Box(0, 9, (2,), np.float32)

    def action_space(self, agent):
        return Discrete(2)

    observation_spaces = property(lambda me: dict.fromkeys(me.possible_agents, me.observation_space("")))
    action_spaces = property(lambda me: dict.fromkeys(me.possible_agents, me.action_space("")))

    def seen(self):
        return {one: np.float32(self.places) for one in self.agents}

    def reset(self, seed=None, options=None):
        self.agents, self.places, self.steps = list(self.possible_agents), [0, 9], 0
        return self.seen(), {one: {} for one in self.agents}

    def step(self, actions):
        for number, one in enumerate(self.possible_agents):
            self.places[number] = min(9, max(0, self.places[number] + (1 if actions[one] else -1)))
        self.steps += 1
        met, late = abs(self.places[0] - self.places[1]) <= 1, self.steps == 30
        seen, agents = self.seen(), list(self.agents)
        if met or late:
            self.agents = []
        return (seen, {one: float(met) for one in agents}, {one: met for one in agents},
                {one: late for one in agents}, {one: {} for one in agents})

class MyLauncher(SageMakerRayLauncher):
    def register_env_creator(self):
        register_env("meet", lambda config: Meet())

    def get_experiment_config(self):
        return {"training": {"env": "meet", "run": "PPO", "stop": {"training_iteration": 1},
            "config": {
            "num_workers": 0, "train_batch_size": 200, "num_sgd_iter": 1, "sgd_minibatch_size": 50,
            "multiagent": {
                "policies": {"left", "right"}, "policy_mapping_fn": lambda agent, *_, **__: agent}}}}

if __name__ == "__main__":
    MyLauncher.train_main()
"""


def preset(settings):
    return HEAD + SETTLED % repr(settings)


@pytest.fixture
def job(training_job, tmp_path):
    """A job whose source is one file, or several."""

    def make(source, program="train.py", /, **hyperparameters):
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name, text in (source if isinstance(source, dict) else {"train.py": source}).items():
            (folder / name).write_text(text)
        made = training_job(
            "rl", sagemaker_program=program, sagemaker_submit_directory=str(folder), **hyperparameters
        )
        made.environment["ALGODOCK_NUM_THREADS"] = "2"
        return made

    return make


def rewards(log):
    regex = next(one.regex for one in manifest.load("rl").metrics if one.name == "episode_reward_mean")
    return [float(found) for found in re.findall(regex, log)]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_preset_is_trained_served_restored_and_evaluated(job, endpoint):
    done = job(HEAD + PRESET, **{"rl.training.config.lr": 0.003}).run().succeeded()
    assert "Applying RL hyperparameter rl.training.config.lr=0.003" in done.log
    assert len(rewards(done.log)) == 3
    assert rewards(done.log)[-1] > rewards(done.log)[0]
    assert max(map(float, re.findall("episode_reward_max: (.*)", done.log))) <= 100  # horizon
    written = json.loads((done.model / "params.json").read_text())
    assert (written["lr"], written["gamma"]) == (0.003, 0.98)
    (run,) = (done.root / "output" / "intermediate" / "training").glob("PPO_CartPole-v1_*")
    assert {"params.json", "progress.csv", "result.json"} < {path.name for path in run.iterdir()}
    assert list(run.glob("checkpoint_*"))

    served = endpoint("rl", done.root)
    (answer,) = served.invoke(b'{"instances": [[0, 0, 0.2, 1]]}', "application/json").json()["predictions"]
    assert answer["action"] == 1  # a pole that falls to the right
    assert sum(answer["probabilities"]) == pytest.approx(1)

    model = files(done.model)
    checkpoint = {name: body for name, body in model.items() if name.startswith("checkpoint/")}
    again = job(HEAD + PRESET, **{"rl.training.stop.training_iteration": 4}).channel("checkpoint", checkpoint)
    log = again.run().succeeded().log
    assert "training_iteration: 4" in log
    assert "training_iteration: 3" not in log

    sources = {"train.py": HEAD + PRESET, "evaluate-ray.py": EVALUATE}
    evaluated = job(sources, "evaluate-ray.py", evaluate_episodes=2, film="/dev/null/nowhere").channel(
        "model", model
    )
    evaluated.hyperparameters["film"] = str(evaluated.root / "output" / "intermediate" / "film")
    log = evaluated.run().succeeded().log
    played = re.findall(r"Episode reward: (\S+)\. Episode steps: (\d+)", log)
    assert len(played) == 2
    mean, most, least = (float(re.search(f"{name} Reward: (.*)", log)[1]) for name in ("Mean", "Max", "Min"))
    assert least <= mean <= most
    films = sorted((evaluated.root / "output" / "intermediate" / "film").glob("*.gif"))
    assert len(films) == 2
    with Image.open(films[0]) as film:
        assert film.n_frames > 10
        assert np.ptp(np.asarray(film.convert("L"))) > 100  # something is drawn


@pytest.mark.slow
def test_an_environment_of_old_gym_is_learned_by_dqn(job, endpoint):
    done = job(HEAD + OLD_GYM).run().succeeded()
    assert rewards(done.log)[-1] > 0.5
    served = endpoint("rl", done.root)
    (answer,) = served.invoke(b'{"instances": [[0, 0, 0, 1, 0]]}', "application/json").json()["predictions"]
    assert answer["action"] == 1
    assert answer["probabilities"] == [0, 1]


@pytest.mark.slow
def test_sac_has_real_actions(job, endpoint):
    done = job(preset(SAC)).run().succeeded()
    assert rewards(done.log)
    served = endpoint("rl", done.root)
    (answer,) = served.invoke(b"1,0,0.5\n", "text/csv").json()["predictions"]
    assert -2 <= answer["action"][0] <= 2
    assert answer["standard_deviation"][0] > 0
    assert answer["value"] is None


@pytest.mark.slow
def test_impala_flattens_what_is_no_box(job, endpoint):
    done = job(preset(IMPALA)).run().succeeded()
    served = endpoint("rl", done.root)
    answers = served.invoke(b'{"instances": [0, 14]}', "application/json").json()["predictions"]
    assert [len(answer["probabilities"]) for answer in answers] == [4, 4]
    assert served.invoke(b'{"instances": [16]}', "application/json").status == 400


@pytest.mark.slow
def test_agents_of_pettingzoo_have_policies_of_their_own(job, endpoint):
    done = job(HEAD + TOGETHER).run().succeeded()
    served = endpoint("rl", done.root)
    for agent in ("left", "right"):
        body = json.dumps({"policy": agent, "instances": [[0, 9]]}).encode()
        (answer,) = served.invoke(body, "application/json").json()["predictions"]
        assert answer["action"] in (0, 1)
    refused = served.invoke(b'{"instances": [[0, 9]]}', "application/json")
    assert b"no policy is named; accepted: policy with one of left, right" in refused.body


@pytest.mark.slow
def test_agents_may_share_a_policy(job, endpoint):
    shared = TOGETHER.replace('{"left", "right"}', '{"both"}').replace(
        "agent, *_, **__: agent", '*_, **__: "both"'
    )
    done = job(HEAD + shared).run().succeeded()
    served = endpoint("rl", done.root)
    (answer,) = served.invoke(b'{"instances": [[0, 9]]}', "application/json").json()["predictions"]
    assert answer["action"] in (0, 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (SAC | {"env": "Nowhere-v0"}, "env is 'Nowhere-v0', which neither register_env_creator registers"),
        (SAC | {"stopp": {}}, "the experiment has stopp; accepted: "),
        (SAC | {"config": {"num_workers": 40}}, "config num_workers is 40, which takes 41 CPUs"),
    ],
    ids=["environment", "experiment", "workers"],
)
def test_mistakes_are_told_in_a_sentence(job, settings, told):
    done = job(preset(settings)).run()
    assert done.code == 1
    assert told in done.failure


def test_a_checkpoint_that_is_none_is_told(job):
    job(preset(SAC)).channel("checkpoint", b"nothing").run().failed("has no checkpoint of RLlib; accepted")


@pytest.mark.slow
def test_a_stop_keeps_what_is_learned(job):
    made = job(HEAD + PRESET, **{"rl.training.stop.training_iteration": 10_000})
    process = made.start()
    for line in process.stdout:
        if "training_iteration: 1\n" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.stdout.read()
    assert process.wait(60) == 0, log
    assert (made.root / "model" / "policy.json").exists()
    assert (made.root / "model" / "checkpoint" / "rllib_checkpoint.json").exists()


HOSTS = IMPALA | {"run": "PPO", "stop": {"training_iteration": 1}}
HOSTS["config"] = {"num_workers": 3, "train_batch_size": 200, "num_sgd_iter": 1, "sgd_minibatch_size": 50}


def second(first, folder):
    """Another host of the same job."""
    (folder / "second").mkdir()
    return TrainingJob(
        "rl", folder / "second", dict(first.hyperparameters), environment=dict(first.environment)
    )


@pytest.mark.slow
def test_hosts_train_together(job, tmp_path):
    first = job(preset(HOSTS))
    first.environment["ALGODOCK_NUM_THREADS"] = "1"
    ended = first.run_with(second(first, tmp_path), timeout=200)
    assert [one.code for one in ended] == [0, 0], [one.log[-3000:] for one in ended]
    assert "2 hosts with 6 CPUs" in ended[0].log
    assert (ended[0].model / "policy.json").exists()
    assert not list(ended[1].model.iterdir())


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as two jobs need to find each other."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding", "").startswith("aws-chunked"):
            size, rest = body.split(b"\r\n", 1)
            body = rest[: int(size.split(b";")[0], 16)]
        self.objects[self.path.split("?")[0]] = body
        self.send_response(200)
        self.end_headers()

    def do_DELETE(self):
        self.objects.pop(self.path.split("?")[0], None)
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        found = self.objects.get(self.path.split("?")[0])
        body = b"<Error><Code>NoSuchKey</Code></Error>" if found is None else found
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_a_primary_and_a_secondary_job_find_each_other_on_s3(job, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shared = {"s3_bucket": "bucket", "s3_prefix": "mine", "aws_region": "us-east-1"}
    first = job(preset(HOSTS), rl_cluster_type="primary", rl_num_instances_secondary=1, **shared)
    first.environment |= {
        "ALGODOCK_NUM_THREADS": "1",
        "ALGODOCK_CLUSTER_PORT": str(free_port()),
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    other = second(first, tmp_path)
    other.hyperparameters |= {"rl_cluster_type": "secondary"}
    first.resources = {"current_host": "127.0.0.1", "hosts": ["127.0.0.1"]}
    other.resources = {"current_host": "127.0.0.2", "hosts": ["127.0.0.2"]}
    # What an earlier job left, whose head is gone.
    place = "/bucket/mine/dist-ray/config/"
    Bucket.objects |= {f"{place}{name}": b"" for name in ("CONFIG_DONE", "JOB_TERMINATED")}
    Bucket.objects[f"{place}MASTER_IP.json"] = b'{"IP": "127.0.0.9"}'
    waiting = other.start()
    done = first.run().succeeded()
    log = waiting.communicate(timeout=60)[0]
    server.shutdown()
    assert waiting.returncode == 0, log
    assert "2 hosts with 6 CPUs" in done.log
    told = json.loads(Bucket.objects["/bucket/mine/dist-ray/config/MASTER_IP.json"])
    assert told["IP"] == "127.0.0.1"
    assert {"/bucket/mine/dist-ray/config/CONFIG_DONE", "/bucket/mine/dist-ray/config/JOB_TERMINATED"} < set(
        Bucket.objects
    )


def test_a_source_may_bring_its_own_sagemaker_rl(job):
    done = job(
        {
            "train.py": "import sagemaker_rl\nprint(sagemaker_rl.WHOSE)\n",
            "sagemaker_rl.py": "WHOSE = 'mine'\n",
        }
    )
    assert "\nmine\n" in done.run().succeeded().log


@pytest.fixture(autouse=True)
def tidy(tmp_path):
    """Checkpoints of many small files."""
    yield
    shutil.rmtree(tmp_path / "source", ignore_errors=True)
