"""Ranges, what can't be together, and what is told to have no effect."""

from __future__ import annotations

import pytest

from common.failures import ClientError
from containers.seq2seq.hyperparameters import DECLARATION, configured


def idle(**values: str) -> list[str]:
    return DECLARATION.without_effect(DECLARATION.resolve(values))


def test_all_defaults_are_the_guides():
    values = DECLARATION.resolve({})
    assert idle() == []
    expected = {
        "batch_size": 64, "beam_size": 5, "bleu_sample_size": 0, "bucket_width": 10,
        "bucketing_enabled": True,
        "checkpoint_frequency_num_batches": 1000, "checkpoint_threshold": 3, "clip_gradient": 1,
        "cnn_activation_type": "glu", "cnn_hidden_dropout": 0, "cnn_kernel_width_decoder": 5,
        "cnn_kernel_width_encoder": 3, "cnn_num_hidden": 512, "decoder_type": "rnn",
        "embed_dropout_source": 0,
        "embed_dropout_target": 0, "encoder_type": "rnn", "fixed_rate_lr_half_life": 10,
        "learning_rate": 0.0003, "loss_type": "cross-entropy", "lr_scheduler_type": "plateau_reduce",
        "max_num_batches": -1, "max_num_epochs": None, "max_seq_len_source": 100, "max_seq_len_target": 100,
        "min_num_epochs": 0, "momentum": None, "num_embed_source": 512, "num_embed_target": 512,
        "num_layers_decoder": 1, "num_layers_encoder": 1, "optimized_metric": "perplexity",
        "optimizer_type": "adam", "plateau_reduce_lr_factor": 0.5, "plateau_reduce_lr_threshold": 3,
        "rnn_attention_in_upper_layers": True, "rnn_attention_num_hidden": None, "rnn_attention_type": "mlp",
        "rnn_cell_type": "lstm", "rnn_decoder_state_init": "last", "rnn_first_residual_layer": 2,
        "rnn_num_hidden": 1024, "rnn_residual_connections": False, "rnn_decoder_hidden_dropout": 0,
        "training_metric": "perplexity", "weight_decay": 0, "weight_init_scale": 2.34,
        "weight_init_type": "xavier", "xavier_factor_type": "in", "_tuning_objective_metric": "",
    }  # fmt: skip
    assert dict(values) == expected


def test_the_network_is_the_one_asked_for():
    values = DECLARATION.resolve({"rnn_num_hidden": "64", "beam_size": "2", "num_embed_target": "30"})
    config = configured(values, 100, 200, 1.5, 0.25)
    assert (config.vocab_source_size, config.vocab_target_size) == (100, 200)
    assert (config.length_ratio_mean, config.length_ratio_std) == (1.5, 0.25)
    assert (config.rnn_num_hidden, config.beam_size, config.num_embed_target) == (64, 2, 30)
    assert config.rnn_attention_num_hidden == 64
    given = DECLARATION.resolve({"rnn_attention_num_hidden": "32"})
    assert configured(given, 10, 10).rnn_attention_num_hidden == 32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rnn_num_hidden": "63"}, "rnn_num_hidden is 63; accepted: an even number"),
        ({"rnn_num_hidden": "1"}, "rnn_num_hidden is '1'; accepted: an integer of at least 2"),
        (
            {"min_num_epochs": "4", "max_num_epochs": "3"},
            "min_num_epochs is 4; accepted: at most max_num_epochs",
        ),
        ({"clip_gradient": "0"}, "clip_gradient is 0; accepted: a number above 0, or below it"),
        ({"weight_init_scale": "-1"}, "weight_init_scale is -1; accepted for xavier: a number above 0"),
        (
            {"weight_init_scale": "0", "weight_init_type": "uniform"},
            "accepted for uniform: a number that is not 0",
        ),
        ({"max_num_batches": "0"}, "max_num_batches is 0; accepted: an integer of at least 1, or -1"),
        ({"max_num_epochs": "0"}, "max_num_epochs is '0'; accepted: an integer of at least 1"),
        ({"bleu_sample_size": "-2"}, "bleu_sample_size is '-2'; accepted: an integer of at least -1"),
        (
            {"momentum": "1", "optimizer_type": "sgd"},
            "momentum is '1'; accepted: a number of at least 0 and below 1",
        ),
        ({"learning_rate": "0"}, "learning_rate is '0'; accepted: a number above 0"),
        ({"loss_type": "hinge"}, "loss_type is 'hinge'; accepted: cross-entropy"),
        (
            {"embed_dropout_source": "1.5"},
            "embed_dropout_source is '1.5'; accepted: a number of at least 0 and",
        ),
        (
            {"rnn_residual_connections": "true", "rnn_first_residual_layer": "1"},
            "rnn_first_residual_layer is 1",
        ),
        ({"decoder_type": "cnn"}, "rnn_num_hidden is 1024 and cnn_num_hidden 512"),
        ({"batchsize": "3"}, "hyperparameter batchsize is unknown; did you mean batch_size?"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(ClientError, match=message.replace("?", r"\?")):
        DECLARATION.resolve(values)


def test_uniform_takes_a_negative_scale():
    DECLARATION.resolve({"weight_init_scale": "-0.5", "weight_init_type": "uniform"})


CNN = {"encoder_type": "cnn", "decoder_type": "cnn"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bucket_width": "5", "bucketing_enabled": "false"}, "bucket_width has no effect: it applies when"),
        ({"cnn_num_hidden": "64"}, "cnn_num_hidden has no effect: neither encoder_type nor decoder"),
        ({"cnn_hidden_dropout": "0.1", "cnn_activation_type": "relu"},
         "hyperparameters cnn_activation_type, cnn_hidden_dropout have no effect"),
        ({"cnn_kernel_width_encoder": "5"}, "cnn_kernel_width_encoder has no effect"),
        ({"cnn_kernel_width_decoder": "3"}, "cnn_kernel_width_decoder has no effect"),
        ({"rnn_num_hidden": "64", **CNN}, "rnn_num_hidden has no effect: neither encoder_type"),
        ({"rnn_attention_type": "dot", **CNN}, "rnn_attention_type has no effect: it applies when decoder"),
        ({"fixed_rate_lr_half_life": "12"}, "fixed_rate_lr_half_life has no effect"),
        ({"plateau_reduce_lr_factor": "0.3", "lr_scheduler_type": "fixed_rate_inv_t"}, "plateau_reduce_lr"),
        ({"momentum": "0.9"}, "momentum has no effect: it applies when optimizer_type is sgd"),
        ({"xavier_factor_type": "out", "weight_init_type": "uniform"}, "xavier_factor_type has no effect"),
        ({"rnn_first_residual_layer": "3"}, "rnn_first_residual_layer has no effect"),
        ({"rnn_attention_in_upper_layers": "false"}, "rnn_attention_in_upper_layers has no effect: num_lay"),
        ({"rnn_residual_connections": "true"}, "rnn_residual_connections has no effect: recurrent"),
        ({"checkpoint_threshold": "5", "max_num_epochs": "3"}, "checkpoint_threshold has no effect: with"),
    ],
)  # fmt: skip
def test_what_is_given_in_vain_is_told(values, message):
    (sentence,) = idle(**values)
    assert message in sentence


def test_nothing_is_told_of_what_matters():
    assert not idle(
        num_layers_decoder="2", rnn_residual_connections="true", rnn_first_residual_layer="2",
        rnn_attention_in_upper_layers="false", cnn_num_hidden="1024", decoder_type="rnn", encoder_type="cnn",
        rnn_attention_num_hidden="64", momentum="0.5", optimizer_type="sgd", checkpoint_threshold="2",
    )  # fmt: skip
