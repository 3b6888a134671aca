"""Balances a pole by PPO: a program for the rl image, as AWS's examples of Ray RLlib are written.

algodock train rl -p sagemaker_program=train.py -p sagemaker_submit_directory=examples/cartpole --output pole
"""

from sagemaker_rl.ray_launcher import SageMakerRayLauncher


class Launcher(SageMakerRayLauncher):
    """Hyperparameters such as rl.training.config.lr are laid over what this says."""

    def get_experiment_config(self) -> dict:
        return {
            "training": {
                "env": "CartPole-v1",
                "run": "PPO",
                "stop": {"episode_reward_mean": 475, "timesteps_total": 300_000},
                "config": {
                    "num_workers": self.num_cpus - 1,
                    "num_gpus": self.num_gpus,
                    "gamma": 0.99,
                    "lr": 0.0003,
                    "num_sgd_iter": 10,
                    "sgd_minibatch_size": 128,
                    "train_batch_size": 2000,
                    "vf_share_layers": True,
                    "vf_loss_coeff": 0.01,
                    "model": {"fcnet_hiddens": [64, 64], "fcnet_activation": "relu"},
                    "monitor": True,
                },
            }
        }


if __name__ == "__main__":
    Launcher.train_main()
