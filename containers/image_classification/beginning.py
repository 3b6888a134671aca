"""The network that a job begins with, and how it learns."""

from __future__ import annotations

import torch

from common.learning import pretrained, previous
from common.learning.distributed import Group
from common.learning.learner import Learner
from common.metrics import log
from common.networks import parameters, resnet_v2
from common.networks.parameters import SYMBOL
from common.optimizers import Settings
from common.training import Run
from containers.image_classification import artifact
from containers.image_classification.network import LAST, Classifier


def learner(run: Run, group: Group) -> Learner[Classifier]:
    """The job's network on this process's device. Raises ClientError for what it can't begin with."""
    values = run.hyperparameters
    name = values["optimizer"]
    decayed = name in ("sgd", "nag")
    settings = Settings(
        rate=values["learning_rate"],
        # A mini-batch is a host's: what a process adds up is divided by its own part, then averaged.
        rescale=group.locals / values["mini_batch_size"],
        decay=values["weight_decay"] if decayed else 0.0,
        momentum=values["momentum"] if decayed else 0.0,
        keep={"adam": values["beta_1"], "rmsprop": values["gamma"]}.get(name),
        keep_square=values["beta_2"] if name == "adam" else None,
        epsilon=values["eps"] if name in ("adam", "rmsprop") else None,
    )
    return Learner(
        _network(run, group),
        group,
        "momentum" if name == "sgd" else name,
        settings,
        max(1, run.threads // group.locals),
        # MXNet decays what is called weight or gamma; beta and bias are both called bias here.
        undecayed=lambda parameter: parameter.endswith(".bias"),
        half=values["precision_dtype"] == "float16",
    )


def _network(run: Run, group: Group) -> Classifier:
    """Of an earlier model, of ImageNet's weights, or of random ones."""
    values = run.hyperparameters
    network = Classifier(
        values["num_layers"], values["image_shape"], values["num_classes"], bool(values["multi_label"])
    )
    resnet_v2.initialize(network, torch.Generator().manual_seed(run.seed))
    with previous.opened(run) as folder:
        if folder is not None:
            earlier = artifact.read(folder)
            previous.compare(
                values,
                {
                    "num_layers": earlier.depth,
                    "image_shape": earlier.shape,
                    "num_classes": earlier.classes,
                    "multi_label": int(earlier.multi_label),
                },
            )
            network.load_state_dict(earlier.state_dict())
            if group.leader:
                log.info("Going on from the model of channel %s", previous.CHANNEL)
            return network
    if values["use_pretrained_model"]:
        name = f"resnet-{values['num_layers']}"
        last = [each for each in parameters.named(network, SYMBOL) if f":{LAST}_" in each]
        parameters.fill(network, pretrained.arrays(name), SYMBOL, f"{name}.params", but=last)
        with torch.no_grad():
            network.bn_data.weight.fill_(1.0)  # not used by MXNet, whatever is written there
        if group.leader:
            log.info("Beginning with ImageNet's weights")
    return network
