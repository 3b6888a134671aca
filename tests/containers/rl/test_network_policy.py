"""Policies written without Ray answer as RLlib's own networks do; what isn't in their space is told."""

import json

import gymnasium
import numpy as np
import pytest
import safetensors.numpy
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from sagemaker_rl import policies, ray_config

from common.failures import ClientError
from containers.rl import network_policy
from containers.rl.codec import Query
from containers.rl.predict import load

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
POINT = Box(-1, 1, (3,), np.float32)
PICTURE = Box(0, 1, (42, 42, 2), np.float32)
TWO = Discrete(2)
REAL = Box(np.float32([-2, 0]), np.float32([2, 5]))


def made(run, settings, observations, actions):
    """RLlib's module with weights drawn at random, and the same as our policy."""
    config = ray_config.algorithm_config(run, settings).environment(
        observation_space=observations, action_space=actions
    )
    torch.manual_seed(0)
    module = config.get_default_rl_module_spec()
    module.observation_space, module.action_space = observations, actions
    module.model_config = config.model_config
    module.inference_only = False
    network = module.build()
    writer = policies._Writer()
    told = policies._policy(writer, "p", network) | {"normalize_actions": True}
    weights = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in writer.weights.items()}
    told = json.loads(json.dumps(told))
    return network, network_policy._Policy(told, weights)


CASES = {
    "ppo": ("PPO", {"model": {"fcnet_hiddens": [8, 8]}}, POINT, TWO),
    "ppo shared": ("PPO", {"vf_share_layers": True, "model": {"fcnet_activation": "relu"}}, POINT, TWO),
    "ppo parts": ("PPO", {}, POINT, MultiDiscrete([2, 3])),
    "ppo picture": ("PPO", {}, PICTURE, TWO),
    "ppo normed": ("PPO", {"model": {"fcnet_use_layernorm": True}}, POINT, TWO),
    "ppo real": ("PPO", {}, POINT, REAL),
    "ppo free": ("PPO", {"model": {"free_log_std": True}}, POINT, REAL),
    "impala": ("IMPALA", {}, POINT, TWO),
    "appo": ("APPO", {}, POINT, TWO),
    "dqn": ("DQN", {"dueling": False}, POINT, TWO),
    "dqn duelling": ("DQN", {"hiddens": [16]}, POINT, TWO),
    "dqn atoms": ("DQN", {"num_atoms": 5, "v_min": -2.0, "v_max": 3.0}, POINT, TWO),
    "sac": ("SAC", {}, POINT, REAL),
    "sac discrete": ("SAC", {}, POINT, TWO),
}


@pytest.mark.parametrize("case", CASES)
def test_a_policy_answers_as_rllibs_network(case):
    run, settings, observations, actions = CASES[case]
    network, policy = made(run, settings, observations, actions)
    observations.seed(1)
    asked = [observations.sample() for _ in range(5)]
    batch = {"obs": torch.from_numpy(np.stack(asked))}
    with torch.inference_mode():
        theirs = network.forward_inference(batch)
        ours = policy.answer(asked)
        if "actions" in theirs:  # DQN's are the best already
            assert [one.action for one in ours] == theirs["actions"].tolist()
            values = network.compute_q_values(batch)["qf_preds"].max(1).values
        else:
            drawn = network.get_inference_action_dist_cls()
            best = drawn.from_logits(theirs["action_dist_inputs"]).to_deterministic().sample().numpy()
            values = network.compute_values(batch) if hasattr(network, "compute_values") else None
            if isinstance(actions, Box):
                from ray.rllib.utils.spaces.space_utils import unsquash_action

                best = np.tanh(best) if run == "SAC" else best
                best = np.stack([unsquash_action(one, actions) for one in best])
            np.testing.assert_allclose([one.action for one in ours], best, rtol=1e-5, atol=1e-6)
            if isinstance(actions, Discrete):
                chances = theirs["action_dist_inputs"].softmax(1)
                np.testing.assert_allclose([one.probabilities for one in ours], chances, rtol=1e-5)
    if values is None:
        assert all(one.value is None for one in ours)
    else:
        np.testing.assert_allclose([one.value for one in ours], values, rtol=1e-4, atol=1e-6)


def test_recurrent_networks_are_not_written():
    with pytest.raises(policies._Unknown):
        made("PPO", {"model": {"use_lstm": True}}, POINT, TWO)


NESTED = Dict({"a": Tuple([Discrete(3), Box(-1, 1, (2,), np.float32)]), "b": MultiDiscrete([2, 4])})


def test_spaces_survive_being_written():
    for space in (
        POINT,
        PICTURE,
        REAL,
        TWO,
        Discrete(4, start=-1),
        NESTED,
        Box(-np.inf, np.inf, (2,), np.float64),
    ):
        assert network_policy.space_of(json.loads(json.dumps(policies.space(space)))) == space


@pytest.fixture
def folder(tmp_path):
    """A model whose action is 1 where the sum of the first two numbers is above 0."""
    weights = {"w": np.float32([[-1, -1, 0], [1, 1, 0]]), "v": np.float32([[0, 0, 1]])}
    weights |= {"m": np.float32([0, 0, 1]), "d": np.float32([1, 1, 2])}
    safetensors.numpy.save_file(weights, tmp_path / "policy.safetensors")
    one = {
        "observations": policies.space(POINT),
        "actions": policies.space(TWO),
        "actor": [{"layer": "dense", "weight": "w"}],
        "critic": [{"layer": "dense", "weight": "v"}],
        "scale": {"mean": "m", "deviation": "d"},
    }
    (tmp_path / "policy.json").write_text(
        json.dumps({"algorithm": "PPO", "environment": "mine", "policies": {"default_policy": one}})
    )
    return tmp_path


def test_observations_are_scaled_first(folder):
    answers = load(folder).predict(Query([[1, 1, 5], [-1, 0, 101]], "instances"), {}).answers
    assert [one.action for one in answers] == [1, 0]
    assert [one.value for one in answers] == [2.0, 10.0]  # (5 - 1) / 2, and clipped
    np.testing.assert_allclose(
        answers[0].probabilities, [1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))], rtol=1e-5
    )


def test_every_body_in_and_out(endpoint, folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("ml")
    (root / "model").symlink_to(folder)
    served = endpoint("rl", root)
    best = {"action": 1, "value": 0.0}
    for body, kind in (
        (b'{"instances": [[1, 1, 1]]}', "application/json"),
        (b"1,1,1\n", "text/csv"),
        (b'{"instances": [[1, 1, 1]], "policy": "default_policy"}', "application/json"),
    ):
        (answer,) = served.invoke(body, kind).json()["predictions"]
        assert {"action": answer["action"], "value": answer["value"]} == best
        assert sum(answer["probabilities"]) == pytest.approx(1)
    (line,) = served.invoke(
        b"[1, 1, 1]\n", "application/jsonlines", "application/jsonlines"
    ).body.splitlines()
    assert json.loads(line)["action"] == 1
    value, chances = served.invoke(b"[1, 1, 1]", "application/json").json()
    assert value == [0.0]
    assert chances[0][1] > 0.9
    asked = b'{"inputs": {"observations": [[1, 1, 1]], "prev_action": [0], "is_training": false}}'
    told = served.invoke(asked, "application/json").json()["outputs"]
    assert (told["actions"], told["values"]) == ([1], [0.0])
    for body, said in (
        (b"[1, 1]", b"observation 0 (counted from 0) is [1, 1]; accepted: 3 finite numbers"),
        (b'{"instances": [[1, 1, 1], "x"]}', b"observation 1"),
        (b'{"instances": [[1, 1, 1]], "policy": "x"}', b"policy 'x' is unknown; accepted"),
    ):
        refused = served.invoke(body, "application/json")
        assert refused.status == 400
        assert said in refused.body


@pytest.mark.parametrize(
    ("space", "written", "told"),
    [
        (TWO, 2, "accepted: an integer from 0 to 1"),
        (TWO, 0.5, "accepted: an integer from 0 to 1"),
        (NESTED, {"a": [1, [0, 0]]}, "accepted: an object with a, b"),
        (NESTED, {"a": [1], "b": [0, 0]}, "o: a is .*accepted: a list of 2 parts"),
        (NESTED, {"a": [1, [0]], "b": [0, 0]}, "o: a: part 1 is .*accepted: 2 finite numbers"),
        (POINT, [1, 2, None], "accepted: 3 finite numbers"),
        (POINT, [1, 2, 1e300], "accepted: 3 finite numbers"),
        (TWO, 1e999, "accepted: an integer from 0 to 1"),
        (MultiDiscrete([2, 4]), [1, 4], "accepted: 2 whole numbers of MultiDiscrete"),
        (MultiDiscrete([2, 4]), [-1, 0], "accepted: 2 whole numbers"),
        (Box(0, 255, (2,), np.uint8), [300, 0], "accepted: 2 whole numbers of Box"),
        (Box(0, 255, (2,), np.uint8), [0.5, 0], "accepted: 2 whole numbers of Box"),
    ],
)
def test_what_is_not_in_a_space_is_told(space, written, told):
    with pytest.raises(ClientError, match=told):
        network_policy.element(space, written, "o")


def test_what_is_in_a_space_is_taken():
    found = network_policy.element(NESTED, {"a": [1, [0.5, 0]], "b": [1, 3]}, "o")
    assert NESTED.contains(found)
    assert gymnasium.spaces.flatten(NESTED, found).shape == (11,)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "policy.safetensors").write_bytes(b"nothing"),
        lambda folder: (folder / "policy.safetensors").unlink(),
        lambda folder: (folder / "policy.json").write_text('{"algorithm": "PPO"}'),
        lambda folder: (folder / "policy.json").write_text('{"algorithm": "PPO", "policies": {"p": {}}}'),
        lambda folder: (folder / "policy.json").write_text(
            (folder / "policy.json").read_text().replace('"w"', '"v"').replace('"scale"', '"other"')
        ),
        lambda folder: (folder / "policy.json").write_text(
            (folder / "policy.json").read_text().replace('"dense"', '"import os"')
        ),
    ],
    ids=["garbage", "no weights", "no policies", "an empty policy", "another shape", "no such layer"],
)
def test_damaged_models_are_told(folder, damage):
    damage(folder)
    with pytest.raises(ClientError, match=r"of the model is damaged|the model has no file"):
        load(folder)
