"""What hyperparameters say of the network and of the data."""

from __future__ import annotations

from common.hyperparameters import Values
from containers.object2vec.model import EncoderPlan, Plan
from containers.object2vec.reading import Rules

_AUTO = {"hcnn": 4, "bilstm": 1, "pooled_embedding": 1}


def prefixes(values: Values) -> tuple[str, str]:
    """How the names of each encoder's settings begin: those of encoder 1 may be encoder 0's."""
    return "enc0_", "enc0_" if values["enc1_network"] == "enc0" else "enc1_"


def of(values: Values) -> Plan:
    """The network."""
    first, second = (_encoder(values, prefix) for prefix in prefixes(values))
    return Plan(
        (first, second),
        values["enc_dim"],
        tuple(values["comparator_list"]),
        values["mlp_layers"],
        values["mlp_dim"],
        values["mlp_activation"],
        classes(values),
    )


def _encoder(values: Values, prefix: str) -> EncoderPlan:
    network, layers = values[f"{prefix}network"], values[f"{prefix}layers"]
    return EncoderPlan(
        network,
        # Token embeddings are averaged once, whatever is said about layers.
        _AUTO[network] if layers == "auto" or network == "pooled_embedding" else layers,
        values[f"{prefix}cnn_filter_width"],
        values[f"{prefix}token_embedding_dim"],
    )


def classes(values: Values) -> int | None:
    """How many there are; None for scores."""
    return values["num_classes"] if values["output_layer"] == "softmax" else None


def vocabularies(values: Values) -> tuple[int, int]:
    """Token ids of each side."""
    first, second = (values[f"{prefix}vocab_size"] for prefix in prefixes(values))
    return first, second


def longest(values: Values) -> tuple[int, int]:
    """Tokens that are read of each side's sequences."""
    first, second = (values[f"{prefix}max_seq_len"] for prefix in prefixes(values))
    return first, second


def rules(values: Values, channel: str) -> Rules:
    """What a channel's pairs may hold."""
    positive = channel == "train" and values["negative_sampling_rate"] > 0
    return Rules(vocabularies(values), longest(values), classes(values), positive)
