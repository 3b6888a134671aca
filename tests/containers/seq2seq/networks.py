"""Small networks with weights drawn from a seed, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import torch

from containers.seq2seq.config import SPECIAL, Config
from containers.seq2seq.network import Network, initialize

SOURCES, TARGETS = 23, 19


def config(**changed: Any) -> Config:
    """A tiny network's configuration."""
    sizes = {
        "num_embed_source": 6,
        "num_embed_target": 5,
        "rnn_num_hidden": 8,
        "rnn_attention_num_hidden": 7,
        "cnn_num_hidden": 8,
        "max_seq_len_source": 20,
        "max_seq_len_target": 15,
        "length_ratio_mean": 1.0,
        "length_ratio_std": 0.1,
    }
    return Config(**{"vocab_source_size": SOURCES, "vocab_target_size": TARGETS, **sizes, **changed})


def network(seed: int = 1, scale: float = 0.5, **changed: Any) -> Network:
    """A tiny network in evaluation mode, its biases drawn as well."""
    made = Network(config(**changed))
    initialize(made, "uniform", scale, "in", seed)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in made.named_parameters():
        if "bias" in name:
            weight.data.uniform_(-scale, scale, generator=generator)
    return made.eval()


def vocabulary(size: int, letter: str) -> dict[str, int]:
    """The special tokens and words such as ``s4``."""
    return {
        **{token: id for id, token in enumerate(SPECIAL)},
        **{f"{letter}{id}": id for id in range(len(SPECIAL), size)},
    }
