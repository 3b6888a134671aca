"""Presets of AWS's examples in the words of RLlib of today: what is renamed, done otherwise, and refused."""

import pytest
from sagemaker_rl.faults import Fault
from sagemaker_rl.hyperparameters import apply
from sagemaker_rl.ray_config import algorithm_config, cpus

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
PPO = {  # as the examples' presets have it
    "ignore_worker_failures": True,
    "gamma": 0.995,
    "kl_coeff": 1.0,
    "num_sgd_iter": 20,
    "lr": 0.0001,
    "sgd_minibatch_size": 100,
    "train_batch_size": 500,
    "lambda": 0.9,
    "model": {"fcnet_hiddens": [32, 16], "free_log_std": True},
    "vf_share_layers": True,
    "use_gae": True,
    "num_workers": 3,
    "num_gpus": 1,
    "batch_mode": "complete_episodes",
    "observation_filter": "MeanStdFilter",
    "simple_optimizer": True,
    "straggler_mitigation": False,
    "monitor": True,
    "use_pytorch": False,
    "evaluation_interval": 5,
    "evaluation_num_episodes": 7,
    "evaluation_config": {"explore": False, "num_envs_per_worker": 2},
}


def test_a_preset_of_ppo_is_translated():
    found = algorithm_config("PPO", PPO)
    assert (found.gamma, found.lambda_, found.kl_coeff, found.lr) == (0.995, 0.9, 1.0, 0.0001)
    assert (found.num_epochs, found.minibatch_size, found.train_batch_size_per_learner) == (20, 100, 500)
    assert (found.num_env_runners, found.num_gpus_per_learner) == (3, 1)
    assert found.model_config["fcnet_hiddens"] == [32, 16]
    assert found.model_config["vf_share_layers"] is True
    assert found.model_config["free_log_std"] is True
    assert found.batch_mode == "complete_episodes"
    assert found.ignore_env_runner_failures is True
    assert (found.evaluation_duration, found.evaluation_duration_unit) == (7, "episodes")
    assert found.evaluation_config == {"explore": False, "num_envs_per_env_runner": 2}
    assert cpus(found) == 4


def test_a_preset_of_dqn_is_translated():
    found = algorithm_config(
        "DQN",
        {
            "buffer_size": 7000,
            "prioritized_replay": True,
            "prioritized_replay_alpha": 0.5,
            "learning_starts": 300,
            "hiddens": [64],
            "exploration_final_eps": 0.1,
            "exploration_fraction": 0.2,
            "schedule_max_timesteps": 5000,
            "timesteps_per_iteration": 250,
            "sample_batch_size": 2,
            "dueling": False,
        },
    )
    buffer = found.replay_buffer_config
    assert (buffer["type"], buffer["capacity"], buffer["alpha"]) == (
        "PrioritizedEpisodeReplayBuffer",
        7000,
        0.5,
    )
    assert found.num_steps_sampled_before_learning_starts == 300
    assert found.model_config["head_fcnet_hiddens"] == [64]
    assert found.epsilon == [(0, 1.0), (1000, 0.1)]
    assert found.min_sample_timesteps_per_iteration == 250
    assert found.rollout_fragment_length == 2
    assert found.dueling is False


def test_later_presets_exploration_is_translated():
    way = {"type": "EpsilonGreedy", "initial_epsilon": 0.9, "final_epsilon": 0.01, "epsilon_timesteps": 400}
    assert algorithm_config("DQN", {"exploration_config": way}).epsilon == [(0, 0.9), (400, 0.01)]
    drawn = {"exploration_config": {"type": "StochasticSampling"}}
    assert algorithm_config("PPO", drawn).explore is True
    plain = algorithm_config("DQN", {"prioritized_replay": False}).replay_buffer_config
    assert plain["type"] == "EpisodeReplayBuffer"
    assert "alpha" not in plain


def test_a_preset_of_sac_is_translated():
    networks = {"hidden_activation": "relu", "hidden_layer_sizes": [8]}
    found = algorithm_config(
        "SAC",
        {
            "optimization": {
                "actor_learning_rate": 0.1,
                "critic_learning_rate": 0.2,
                "entropy_learning_rate": 0.3,
            },
            "Q_model": networks,
            "policy_model": networks,
            "tau": 0.01,
        },
    )
    assert (found.actor_lr, found.critic_lr, found.alpha_lr, found.tau) == (0.1, 0.2, 0.3, 0.01)
    assert found.model_config["fcnet_hiddens"] == [8]
    found.validate()


def test_schedules_win_over_single_values():
    found = algorithm_config(
        "PPO", {"lr": 1.0, "lr_schedule": [[0, 0.1], [10, 0.01]], "entropy_coeff_schedule": None}
    )
    assert found.lr == [[0, 0.1], [10, 0.01]]


def test_words_of_today_are_taken_too():
    found = algorithm_config("PPO", {"num_env_runners": 1, "num_epochs": 3, "grad_clip": 0.5})
    assert (found.num_env_runners, found.num_epochs, found.grad_clip) == (1, 3, 0.5)


@pytest.mark.parametrize(
    ("run", "config", "told"),
    [
        ("A3C", {}, "run is A3C, which RLlib gave up; accepted: PPO or IMPALA"),
        ("PPPO", {}, "run is 'PPPO', which RLlib hasn't; accepted: APPO, BC"),
        (
            "PPO",
            {"sgd_minibatchsize": 1},
            "config sgd_minibatchsize has no equal .* did you mean sgd_minibatch_size?",
        ),
        (
            "PPO",
            {"soft_horizon": True},
            "config soft_horizon is True, which RLlib has no more; accepted: False",
        ),
        ("PPO", {"model": {"framestack": True}}, "config model.framestack has no equal"),
        ("PPO", {"model": {"fcnet_hidden": [1]}}, "did you mean fcnet_hiddens?"),
        (
            "PPO",
            {"observation_filter": "Other"},
            "observation_filter is 'Other'; accepted: NoFilter or MeanStd",
        ),
        ("PPO", {"buffer_size": 5}, "config capacity is of algorithms with a replay buffer"),
        ("PPO", {"exploration_final_eps": 0.1}, "config exploration_final_eps is of DQN"),
        ("DQN", {"exploration_config": {"type": "SoftQ"}}, "exploration_config.type is 'SoftQ'"),
        ("DQN", {"prioritized_replay_eps": 1e-6}, "prioritized_replay_eps has no equal"),
        ("IMPALA", {"vtrace": False}, "config vtrace is False"),
        ("SAC", {"optimization": {"learning_rate": 1}}, "config optimization.learning_rate has no equal"),
        ("SAC", {"Q_model": {"fcnet_hiddens": [1]}, "policy_model": {"fcnet_hiddens": [2]}}, "one for both"),
        ("PPO", {"evaluation_config": {"nothing": 1}}, "config evaluation_config.nothing has no equal"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(run, config, told):
    with pytest.raises(Fault, match=told):
        algorithm_config(run, config)


def test_hyperparameters_are_laid_over_the_experiment(capsys):
    usual = {"training": {"run": "PPO", "config": {"lr": 1.0, "model": {}}}}
    found = apply(
        usual,
        {
            "rl.training.config.lr": "0.5",
            "rl.training.config.model.fcnet_hiddens": "[4, 4]",
            "rl.training.stop.time_total_s": 3,
            "rl.training.config.use_gae": "True",
            "rl.training.run": "APPO",
            "other": "1",
        },
    )
    assert found == {
        "training": {
            "run": "APPO",
            "stop": {"time_total_s": 3},
            "config": {"lr": 0.5, "model": {"fcnet_hiddens": [4, 4]}, "use_gae": True},
        }
    }
    assert usual["training"]["config"]["lr"] == 1.0
    assert "Applying RL hyperparameter rl.training.config.lr=0.5\n" in capsys.readouterr().out
    with pytest.raises(Fault, match=r"rl\.training\.run\.x leads into a value that is no dictionary"):
        apply(usual, {"rl.training.run.x": 1})
