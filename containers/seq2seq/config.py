"""What shapes a network and its decoding: all that must be known to build it again."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from common.failures import ClientError, one_of

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
"""The first tokens of every vocabulary, whose ids are ``PAD``, ``UNK``, ``BOS`` and ``EOS``."""

_CHOICES = {
    "encoder_type": ("rnn", "cnn"),
    "decoder_type": ("rnn", "cnn"),
    "rnn_cell_type": ("lstm", "gru"),
    "rnn_attention_type": ("dot", "fixed", "mlp", "bilinear"),
    "rnn_decoder_state_init": ("last", "avg", "zero"),
    "cnn_activation_type": ("glu", "relu", "softrelu", "sigmoid", "tanh"),
}
_PROBABILITIES = (
    "embed_dropout_source",
    "embed_dropout_target",
    "rnn_decoder_hidden_dropout",
    "cnn_hidden_dropout",
)
# A number beyond this is no size but damage.
_LARGEST = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Fields have the names and defaults of hyperparameters. Raises ClientError for what can't be built.

    ``length_ratio_mean`` and ``length_ratio_std`` are the mean and the standard deviation of target length /
    source length in the training data; they bound how long an answer may become.
    """

    vocab_source_size: int
    vocab_target_size: int
    encoder_type: str = "rnn"
    decoder_type: str = "rnn"
    num_layers_encoder: int = 1
    num_layers_decoder: int = 1
    num_embed_source: int = 512
    num_embed_target: int = 512
    embed_dropout_source: float = 0.0
    embed_dropout_target: float = 0.0
    rnn_cell_type: str = "lstm"
    rnn_num_hidden: int = 1024
    rnn_residual_connections: bool = False
    rnn_first_residual_layer: int = 2
    rnn_attention_type: str = "mlp"
    rnn_attention_num_hidden: int = 1024
    rnn_attention_in_upper_layers: bool = True
    rnn_decoder_state_init: str = "last"
    rnn_decoder_hidden_dropout: float = 0.0
    cnn_activation_type: str = "glu"
    cnn_kernel_width_encoder: int = 3
    cnn_kernel_width_decoder: int = 5
    cnn_num_hidden: int = 512
    cnn_hidden_dropout: float = 0.0
    max_seq_len_source: int = 100
    max_seq_len_target: int = 100
    length_ratio_mean: float = 1.0
    length_ratio_std: float = 0.0
    beam_size: int = 5

    def __post_init__(self) -> None:
        """Raises ClientError for values, or values together, that no network can have."""
        for field in dataclasses.fields(self):
            _check(field.name, str(field.type), getattr(self, field.name))
        for name in ("vocab_source_size", "vocab_target_size"):
            if getattr(self, name) < len(SPECIAL):
                raise ClientError(
                    f"{name} is {getattr(self, name)}; the {len(SPECIAL)} special tokens alone are more"
                )
        if "rnn" in (self.encoder_type, self.decoder_type):
            if self.rnn_num_hidden % 2:
                raise ClientError(f"rnn_num_hidden is {self.rnn_num_hidden}; accepted: an even number")
            if self.rnn_residual_connections and self.rnn_first_residual_layer < 2:
                raise ClientError(
                    "rnn_first_residual_layer is 1, whose input is of another size than its output; "
                    "accepted: an integer from 2 on"
                )
        if self.encoder_type == "cnn" and not self.cnn_kernel_width_encoder % 2:
            raise ClientError(
                f"cnn_kernel_width_encoder is {self.cnn_kernel_width_encoder}; accepted: an odd number"
            )
        if self.decoder_type == "cnn" and self.encoder_num_hidden != self.cnn_num_hidden:
            raise ClientError(
                f"rnn_num_hidden is {self.rnn_num_hidden} and cnn_num_hidden {self.cnn_num_hidden}; "
                "a cnn decoder attends to an rnn encoder of as many hidden units"
            )

    @property
    def encoder_num_hidden(self) -> int:
        """Numbers of each encoded source token."""
        return self.rnn_num_hidden if self.encoder_type == "rnn" else self.cnn_num_hidden

    @property
    def decoder_num_hidden(self) -> int:
        """Numbers of each decoded state."""
        return self.rnn_num_hidden if self.decoder_type == "rnn" else self.cnn_num_hidden

    def to_json(self) -> str:
        """A JSON object of all fields."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Config:
        """What ``to_json`` wrote. Raises ClientError for anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ClientError("the configuration is not a JSON object")
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            wrong = min(set(values) ^ names)
            raise ClientError(
                f"the configuration {'has an unknown' if wrong in values else 'has no'} {wrong[:60]}"
            )
        return cls(**values)


def _check(name: str, kind: str, value: Any) -> None:
    if kind == "int":
        good = type(value) is int and 1 <= value < _LARGEST
        accepted = "an integer from 1 on"
    elif kind == "bool":
        good, accepted = type(value) is bool, "true or false"
    elif kind == "str":
        good, accepted = value in _CHOICES[name], one_of(_CHOICES[name])
    else:
        most = 1.0 if name in _PROBABILITIES else math.inf
        good = type(value) in (int, float) and 0 <= value <= most and math.isfinite(value)
        accepted = "a number from 0 to 1" if name in _PROBABILITIES else "a finite number from 0 on"
    if not good:
        raise ClientError(f"{name} is {str(value)[:60]}; accepted: {accepted}")
