"""Seq2Seq hyperparameters, from SageMaker's developer guide (seq-2-seq-hyperparameters)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from common.failures import ClientError
from common.hyperparameters import Declaration, Rule, Tuning, Values, boolean, choice, integer, number, text
from containers.seq2seq.config import SPECIAL, Config

_LAYERS = Tuning((1, 10))
_DROPOUT = Tuning((0.0, 0.5))
_HIDDEN = Tuning((128, 256, 512, 1024, 2048), "Categorical")
_BATCHES = Tuning((16, 32, 64, 128, 256, 512, 1024, 2048), "Categorical")
_PLATEAU = {"lr_scheduler_type": ("plateau_reduce",)}
_FIXED = {"lr_scheduler_type": ("fixed_rate_inv_t", "fixed_rate_inv_sqrt_t")}
_RNN_DECODER = {"decoder_type": ("rnn",)}


def configured(
    values: Values, sources: int, targets: int, mean: float = 1.0, deviation: float = 0.0
) -> Config:
    """The network that a job asks for, for vocabularies of so many tokens.

    ``mean`` and ``deviation`` are those of target length / source length. Raises ClientError for what can't
    be together.
    """
    names = {field.name for field in dataclasses.fields(Config)}
    given: dict[str, Any] = {name: value for name, value in values.items() if name in names}
    if values["rnn_attention_num_hidden"] is None:
        given["rnn_attention_num_hidden"] = values["rnn_num_hidden"]
    return Config(
        vocab_source_size=sources,
        vocab_target_size=targets,
        length_ratio_mean=mean,
        length_ratio_std=deviation,
        **given,
    )


def _network(values: Values) -> str | None:
    try:
        configured(values, len(SPECIAL), len(SPECIAL))
    except ClientError as error:
        return f"hyperparameter {error}"
    return None


def _epochs(values: Values) -> str | None:
    least, most = values["min_num_epochs"], values["max_num_epochs"]
    if most is not None and least > most:
        return f"hyperparameter min_num_epochs is {least}; accepted: at most max_num_epochs, which is {most}"
    return None


def _clip(values: Values) -> str | None:
    if not values["clip_gradient"]:
        return "hyperparameter clip_gradient is 0; accepted: a number above 0, or below it for no clipping"
    return None


def _scale(values: Values) -> str | None:
    scale, kind = values["weight_init_scale"], values["weight_init_type"]
    if not scale or (scale < 0 and kind == "xavier"):
        accepted = "a number above 0" if kind == "xavier" else "a number that is not 0"
        return f"hyperparameter weight_init_scale is {scale:g}; accepted for {kind}: {accepted}"
    return None


def _updates(values: Values) -> str | None:
    if not values["max_num_batches"]:
        return "hyperparameter max_num_batches is 0; accepted: an integer of at least 1, or -1 for no limit"
    return None


def _unused(kind: str, *names: str) -> Rule:
    """Tells of parameters that only networks with ``kind`` on one side or both have."""

    def told(values: Values) -> str | None:
        given = sorted(values.given.intersection(names))
        if not given or kind in (values["encoder_type"], values["decoder_type"]):
            return None
        return f"{_effect(given)}: neither encoder_type nor decoder_type is {kind}"

    return told


def _single_layer(values: Values) -> str | None:
    given = values.given & {"rnn_attention_in_upper_layers"}
    if given and values["decoder_type"] == "rnn" and values["num_layers_decoder"] == 1:
        return f"{_effect(sorted(given))}: num_layers_decoder is 1"
    return None


def _no_residual(values: Values) -> str | None:
    """Residual connections begin at a layer that no recurrent side has."""
    layers = [
        values[f"num_layers_{side}"] for side in ("encoder", "decoder") if values[f"{side}_type"] == "rnn"
    ]
    if values["rnn_residual_connections"] and layers and max(layers) < values["rnn_first_residual_layer"]:
        return f"{_effect(['rnn_residual_connections'])}: recurrent layers are at most {max(layers)}"
    return None


def _never_stopped(values: Values) -> str | None:
    given = sorted(values.given & {"checkpoint_threshold", "min_num_epochs"})
    if given and values["max_num_epochs"] is not None:
        return f"{_effect(given)}: with max_num_epochs training goes on until then"
    return None


def _effect(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"hyperparameter {names[0]} has no effect"
    return f"hyperparameters {', '.join(names)} have no effect"


DECLARATION = Declaration(
    integer("batch_size", "Pairs per update, on all GPUs together.", default=64, min=1, tuning=_BATCHES),
    integer(
        "beam_size", "Width of the beam search that decodes, in training and at endpoints.", default=5, min=1
    ),
    integer(
        "bleu_sample_size",
        "Validation pairs decoded for BLEU at a checkpoint; -1: all. 0: none, but all if BLEU is optimized.",
        default=0,
        min=-1,
    ),
    integer(
        "bucket_width",
        "Step of the lengths by which pairs are grouped.",
        default=10,
        min=1,
        applies={"bucketing_enabled": (True,)},
    ),
    boolean("bucketing_enabled", "Make batches of pairs of like lengths; else of any, padded.", default=True),
    integer(
        "checkpoint_frequency_num_batches",
        "Updates between checkpoints, with validation.",
        default=1000,
        min=1,
    ),
    integer(
        "checkpoint_threshold",
        "Checkpoints without a better optimized_metric after which training stops.",
        default=3,
        min=1,
    ),
    number(
        "clip_gradient",
        "Largest magnitude of each component of the gradient; negative: no clipping.",
        default=1.0,
        tuning=Tuning((1.0, 5.0)),
    ),
    choice(
        "cnn_activation_type",
        "Activation of convolutional layers.",
        "glu",
        "relu",
        "softrelu",
        "sigmoid",
        "tanh",
        default="glu",
    ),
    number(
        "cnn_hidden_dropout",
        "Dropout between convolutional layers.",
        default=0.0,
        min=0,
        max=1,
        tuning=_DROPOUT,
    ),
    integer(
        "cnn_kernel_width_decoder",
        "Tokens that a layer of a convolutional decoder sees.",
        default=5,
        min=1,
        applies={"decoder_type": ("cnn",)},
    ),
    integer(
        "cnn_kernel_width_encoder",
        "Tokens that a layer of a convolutional encoder sees.",
        default=3,
        min=1,
        applies={"encoder_type": ("cnn",)},
    ),
    integer("cnn_num_hidden", "Hidden units of convolutional layers.", default=512, min=1, tuning=_HIDDEN),
    choice("decoder_type", "Decoder.", "rnn", "cnn", default="rnn"),
    number(
        "embed_dropout_source", "Dropout on source embeddings.", default=0.0, min=0, max=1, tuning=_DROPOUT
    ),
    number(
        "embed_dropout_target", "Dropout on target embeddings.", default=0.0, min=0, max=1, tuning=_DROPOUT
    ),
    choice("encoder_type", "Encoder.", "rnn", "cnn", default="rnn"),
    integer(
        "fixed_rate_lr_half_life",
        "Checkpoints until the learning rate is half of what it was at first.",
        default=10,
        min=1,
        applies=_FIXED,
        tuning=Tuning((10, 30)),
    ),
    number(
        "learning_rate",
        "Initial learning rate.",
        default=0.0003,
        min=0,
        exclusive_min=True,
        tuning=Tuning((5e-5, 0.2)),
    ),
    choice("loss_type", "Loss.", "cross-entropy", default="cross-entropy"),
    choice(
        "lr_scheduler_type",
        "Schedule of the learning rate.",
        "plateau_reduce",
        "fixed_rate_inv_t",
        "fixed_rate_inv_sqrt_t",
        default="plateau_reduce",
        tuning=Tuning(("plateau_reduce", "fixed_rate_inv_t", "fixed_rate_inv_sqrt_t"), "Categorical"),
    ),
    integer("max_num_batches", "Most updates; -1: no limit.", default=-1, min=-1),
    integer(
        "max_num_epochs",
        "Epochs to train, without early stopping; unset: until early stopping or max_num_batches.",
        min=1,
    ),
    integer("max_seq_len_source", "Source tokens that are kept of a sequence.", default=100, min=1),
    integer("max_seq_len_target", "Target tokens that are kept of a sequence.", default=100, min=1),
    integer("min_num_epochs", "Epochs before which training does not stop early.", default=0, min=0),
    number(
        "momentum",
        "Momentum of sgd; unset: none.",
        min=0,
        max=1,
        exclusive_max=True,
        applies={"optimizer_type": ("sgd",)},
        tuning=Tuning((0.5, 0.9)),
    ),
    integer("num_embed_source", "Size of source embeddings.", default=512, min=1, tuning=Tuning((256, 512))),
    integer("num_embed_target", "Size of target embeddings.", default=512, min=1, tuning=Tuning((256, 512))),
    integer("num_layers_decoder", "Layers of the decoder.", default=1, min=1, tuning=_LAYERS),
    integer("num_layers_encoder", "Layers of the encoder.", default=1, min=1, tuning=_LAYERS),
    choice(
        "optimized_metric",
        "Validation metric that tells which checkpoint is best and when to stop.",
        "perplexity",
        "accuracy",
        "bleu",
        default="perplexity",
    ),
    choice(
        "optimizer_type",
        "Optimizer.",
        "adam",
        "sgd",
        "rmsprop",
        default="adam",
        tuning=Tuning(("adam", "sgd", "rmsprop"), "Categorical"),
    ),
    number(
        "plateau_reduce_lr_factor",
        "Factor of the learning rate on a plateau.",
        default=0.5,
        min=0,
        exclusive_min=True,
        max=1,
        applies=_PLATEAU,
        tuning=Tuning((0.1, 0.5)),
    ),
    integer(
        "plateau_reduce_lr_threshold",
        "Checkpoints without a better optimized_metric that make a plateau.",
        default=3,
        min=1,
        applies=_PLATEAU,
        tuning=Tuning((1, 5)),
    ),
    boolean(
        "rnn_attention_in_upper_layers",
        "Give what is attended to to all decoder layers, not to the first only.",
        default=True,
        applies=_RNN_DECODER,
    ),
    integer(
        "rnn_attention_num_hidden",
        "Hidden units of attention; unset: rnn_num_hidden.",
        min=1,
        applies=_RNN_DECODER,
    ),
    choice(
        "rnn_attention_type",
        "How source positions are scored.",
        "dot",
        "fixed",
        "mlp",
        "bilinear",
        default="mlp",
        applies=_RNN_DECODER,
    ),
    choice("rnn_cell_type", "Recurrent cell.", "lstm", "gru", default="lstm"),
    choice(
        "rnn_decoder_state_init",
        "How the decoder's state begins: from the encoder's last states, their mean, or at zero.",
        "last",
        "avg",
        "zero",
        default="last",
        applies=_RNN_DECODER,
    ),
    integer(
        "rnn_first_residual_layer",
        "First recurrent layer with a residual connection.",
        default=2,
        min=1,
        applies={"rnn_residual_connections": (True,)},
    ),
    integer("rnn_num_hidden", "Hidden units of recurrent layers; even.", default=1024, min=2, tuning=_HIDDEN),
    boolean("rnn_residual_connections", "Add the input of recurrent layers to their output.", default=False),
    number(
        "rnn_decoder_hidden_dropout",
        "Dropout on the hidden state that joins the decoder's and what is attended to.",
        default=0.0,
        min=0,
        max=1,
        applies=_RNN_DECODER,
        tuning=_DROPOUT,
    ),
    choice(
        "training_metric",
        "Metric that is told of the training data.",
        "perplexity",
        "accuracy",
        default="perplexity",
    ),
    number("weight_decay", "Weight decay; biases have none.", default=0.0, min=0, tuning=Tuning((0.0, 0.1))),
    number(
        "weight_init_scale",
        "Scale of the initial weights; for uniform, tune from -1 to 1.",
        default=2.34,
        tuning=Tuning((2.0, 3.0)),
    ),
    choice(
        "weight_init_type",
        "Distribution of the initial weights.",
        "uniform",
        "xavier",
        default="xavier",
        tuning=Tuning(("xavier", "uniform"), "Categorical"),
    ),
    choice(
        "xavier_factor_type",
        "Sizes that xavier divides by: inputs, outputs or their mean.",
        "in",
        "out",
        "avg",
        default="in",
        applies={"weight_init_type": ("xavier",)},
    ),
    text("_tuning_objective_metric", "The tuner's; of no effect.", default=""),
    rules=(_network, _epochs, _clip, _scale, _updates),
    idle=(
        _unused("rnn", "rnn_cell_type", "rnn_num_hidden", "rnn_residual_connections"),
        _unused("cnn", "cnn_activation_type", "cnn_hidden_dropout", "cnn_num_hidden"),
        _single_layer,
        _no_residual,
        _never_stopped,
    ),
)
