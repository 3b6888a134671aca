"""The real `train` and the real `serve`: environments by name and one's own, bodies, mistakes, a stop."""

import json
import re
import signal

import numpy as np
import pytest

from common import manifest
from common.formats import ndarray
from containers.rl import artifact

OWN = b"""
import gymnasium

class Corridor(gymnasium.Env):
    observation_space = gymnasium.spaces.MultiDiscrete([5, 2])
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return [0, 1], {}

    def step(self, action):
        assert action in (1, 2)
        self.place = max(0, self.place + (1 if action == 2 else -1))
        return [self.place, 0], float(self.place == 4), self.place == 4, False, {}

gymnasium.register("Corridor-v0", Corridor, max_episode_steps=50)
"""


def metric(log, name):
    regex = next(one.regex for one in manifest.load("rl").metrics if one.name == name)
    return [float(found) for found in re.findall(regex, log)]


def test_taxi_is_learned_and_the_log_tells_how(training_job):
    done = training_job("rl", environment="Taxi-v3", episodes=20000, iterations=5).run().succeeded()
    means = metric(done.log, "episode_reward_mean")
    assert len(means) == 5
    assert means[0] < -100
    assert means[-1] > 0
    assert metric(done.log, "episode_reward_max")[-1] <= 20
    assert metric(done.log, "test:reward_mean")[0] > 6.5  # 7.9 is the best there is
    table, states, actions, name = artifact.read(done.model)
    assert (table.shape, states.sizes, actions.sizes, name) == ((500, 6), (500,), (6,), "Taxi-v3")


def test_equal_jobs_give_equal_bytes(training_job, tmp_path):
    files = []
    for _ in range(2):
        done = training_job("rl", environment="FrozenLake-v1", episodes=500).run().succeeded()
        files.append((done.model / artifact.TABLE).read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("look_ahead", [1, 4])
def test_an_environment_of_ones_own_is_played_and_answers(training_job, endpoint, look_ahead):
    job = training_job(
        "rl", environment="mine:Corridor-v0", episodes=300, look_ahead=look_ahead, learning_rate=0.5
    )
    done = job.channel("environment", {"mine.py": OWN}).run().succeeded()
    assert metric(done.log, "test:reward_mean") == [1.0]
    served = endpoint("rl", done.model.parent)
    (answer,) = served.invoke(b'{"instances": [[2, 0]]}', "application/json").json()["predictions"]
    assert answer["action"] == 2
    assert answer["probabilities"] == [0, 1]


def test_blackjack_is_played_step_by_step(training_job):
    done = training_job("rl", environment="Blackjack-v1", episodes=3000, learning_rate=0.02).run().succeeded()
    assert "played step by step" in done.log
    assert -0.4 < metric(done.log, "test:reward_mean")[0] < 0.4


def test_a_table_is_learned_on(training_job):
    first = training_job("rl", environment="Taxi-v3", episodes=3000).run().succeeded()
    files = {path.name: path.read_bytes() for path in first.model.iterdir()}
    again = training_job("rl", environment="Taxi-v3", episodes=10, epsilon=0, epsilon_min=0)
    done = again.channel("model", files).run().succeeded()
    fresh = training_job("rl", environment="Taxi-v3", episodes=10, epsilon=0, epsilon_min=0).run().succeeded()
    assert metric(done.log, "test:reward_mean")[0] > metric(fresh.log, "test:reward_mean")[0] + 50
    assert "initial_value has no effect" not in done.log
    again.hyperparameters["initial_value"] = "1"
    assert "initial_value has no effect" in again.run().succeeded().log
    other = training_job("rl", environment="FrozenLake-v1").channel("model", files)
    other.run().failed("has 500 states and 6 actions; accepted for this environment: 16 and 4")


def test_episodes_that_needn_t_end_are_broken_off(training_job):
    """What knows nothing walks along the cliff for ever, and CliffWalking has no limit of its own."""
    job = training_job("rl", environment="CliffWalking-v1", episodes=1, epsilon=0, epsilon_min=0)
    (length,) = re.findall("episode_len_mean: (.*)", job.run().succeeded().log)
    assert float(length) <= 10_000


@pytest.mark.parametrize(
    ("hyperparameters", "told"),
    [
        ({"sagemaker_submit_directory": "source"}, "hyperparameter sagemaker_program is missing"),
        ({}, "hyperparameter environment is missing; accepted: Gymnasium"),
        ({"RLCOACH_PRESET": "preset"}, "names a preset of Coach"),
        ({"environment": "Nowhere-v3"}, "environment is 'Nowhere-v3', which can't be made"),
        ({"environment": "nomodule:A-v0"}, "environment is 'nomodule:A-v0', which can't be made"),
        ({"environment": "CartPole-v1"}, "accepted: Discrete, MultiDiscrete or a Tuple"),
        ({"environment": "Taxi-v3", "env_config": "[1]"}, "env_config is '[1]'; accepted: a JSON object"),
        ({"environment": "Taxi-v3", "env_config": '{"depth": 1}'}, "which can't be made"),
        ({"environment": "Taxi-v3", "epsilon": "0.1", "epsilon_min": "0.5"}, "epsilon_min is 0.5"),
        ({"environment": "Taxi-v3", "gamma": "1"}, "hyperparameter gamma is unknown"),
        ({"environment": "Taxi-v3", "learning_rate": "0"}, "accepted: a number above 0"),
    ],
)
def test_mistakes_are_told_in_a_sentence(training_job, hyperparameters, told):
    training_job("rl", **hyperparameters).run().failed(told)


@pytest.fixture
def by_hand(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    told = {
        "algorithm": "q_learning",
        "environment": "mine",
        "observations": {"sizes": [3], "offsets": [0]},
        "actions": {"sizes": [2], "offsets": [0]},
    }
    (folder / artifact.POLICY).write_text(json.dumps(told))
    artifact.dump(np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), folder / artifact.TABLE)
    return tmp_path


ANSWERS = [
    {"action": 1, "value": 1.0, "probabilities": [0.0, 1.0]},
    {"action": 0, "value": 2.0, "probabilities": [1.0, 0.0]},
    {"action": 0, "value": 0.5, "probabilities": [0.5, 0.5]},
]


def test_every_body_in_and_out(endpoint, by_hand):
    served = endpoint("rl", by_hand)
    for body, kind in (
        (b'{"instances": [0, 1, 2]}', "application/json"),
        (b'{"instances": [[0], [1], [2]]}', "application/json"),
        (b"0\n1\n2\n", "text/csv"),
    ):
        assert served.invoke(body, kind).json() == {"predictions": ANSWERS}
    lines = served.invoke(b"[0]\n1\n[2]\n", "application/jsonlines", "application/jsonlines").body
    assert [json.loads(line) for line in lines.splitlines()] == ANSWERS
    assert served.invoke(b"[1]", "application/json").json() == [[2.0], [[1.0, 0.0]]]
    asked = b'{"inputs": {"observations": [[0], [2]], "is_training": false}}'
    assert served.invoke(asked, "application/json").json() == {
        "outputs": {"actions": [1, 0], "values": [1.0, 0.5], "probabilities": [[0.0, 1.0], [0.5, 0.5]]}
    }


def test_bad_bodies_are_refused(endpoint, by_hand):
    served = endpoint("rl", by_hand)
    for body, kind in (
        (b"{", "application/json"),
        (b'{"rows": []}', "application/json"),
        (b"[7]", "application/json"),
        (b"[0.5]", "application/json"),
        (b'["a"]', "application/json"),
        (b"[0, 1]", "application/json"),
        (b'{"instances": [null]}', "application/json"),
        (b"x\n", "text/csv"),
        (b"1\n{\n", "application/jsonlines"),
    ):
        answer = served.invoke(body, kind)
        assert answer.status == 400, (body, answer)
        assert b"Traceback" not in answer.body
    assert served.invoke(b"[1]", "application/json").status == 200


def test_a_stop_keeps_what_is_learned(training_job):
    job = training_job("rl", environment="Blackjack-v1", episodes=100_000_000, iterations=10_000)
    process = job.start()
    for line in process.stdout:
        if "episode_reward_mean" in line or "played step" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(60) == 0
    assert artifact.read(job.root / "model")[0].shape == (704, 2)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (artifact.POLICY, b"{"),
        (artifact.POLICY, b"[]"),
        (artifact.TABLE, b"nothing"),
        (artifact.TABLE, ndarray.dumps({"q_table": np.zeros((2, 2))})),
    ],
)
def test_damaged_models_are_told(by_hand, file, content):
    from common.failures import ClientError
    from containers.rl.predict import load

    (by_hand / "model" / file).write_bytes(content)
    with pytest.raises(ClientError):
        load(by_hand / "model")
    (by_hand / "model" / file).unlink()
    with pytest.raises(ClientError, match="accepted: a model of algorithm rl"):
        load(by_hand / "model")
