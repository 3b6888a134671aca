"""The network against plain equations, its gradients, and what must change nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
import torch
from torch import nn

from common.failures import ClientError
from containers.seq2seq.attention import padding
from containers.seq2seq.config import BOS, PAD, Config
from containers.seq2seq.convolution import Convolution
from containers.seq2seq.network import Network, initialize
from containers.seq2seq.recurrence import Cell
from tests.containers.seq2seq.networks import SOURCES, TARGETS, config, network

ATTENTIONS = ("dot", "fixed", "mlp", "bilinear")
RECURRENT = [
    {"rnn_cell_type": cell, "rnn_attention_type": attention, "num_layers_encoder": layers,
     "num_layers_decoder": layers, "rnn_residual_connections": True}
    for cell, attention, layers in [*itertools.product(("lstm", "gru"), ATTENTIONS, (1,)),
                                    ("lstm", "mlp", 3), ("gru", "bilinear", 3)]
]  # fmt: skip
OTHERS = [
    {"num_layers_decoder": 3, "rnn_attention_in_upper_layers": False, "rnn_residual_connections": True},
    {"num_layers_decoder": 3, "rnn_residual_connections": True, "rnn_first_residual_layer": 3},
    {"rnn_decoder_state_init": "avg"},
    {"rnn_decoder_state_init": "zero", "rnn_cell_type": "gru"},
    {"rnn_attention_type": "dot", "rnn_attention_num_hidden": 8},
    {"encoder_type": "cnn", "num_layers_encoder": 2},
    {"decoder_type": "cnn", "num_layers_decoder": 2},
    *({"encoder_type": "cnn", "decoder_type": "cnn", "num_layers_decoder": 3, "cnn_activation_type": kind}
      for kind in ("glu", "relu", "softrelu", "sigmoid", "tanh")),
    {"encoder_type": "cnn", "decoder_type": "cnn", "cnn_kernel_width_encoder": 1,
     "cnn_kernel_width_decoder": 1},
]  # fmt: skip
ALL = [*RECURRENT, *OTHERS]
# Of which each has something that differentiates by itself.
DIFFERENT = [*RECURRENT[:4], RECURRENT[6], RECURRENT[8], *OTHERS[:1], *OTHERS[2:3], *OTHERS[5:8]]


def pairs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources (4, 6), their lengths, and targets (4, 5)."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([6, 1, 4, 5])
    source = torch.randint(4, SOURCES, (4, 6), generator=generator)
    source[torch.arange(6) >= lengths[:, None]] = PAD
    target = torch.randint(4, TARGETS, (4, 5), generator=generator)
    target[:, 0] = BOS
    return source, lengths, target


@pytest.mark.parametrize("changed", DIFFERENT, ids=str)
def test_gradients(changed):
    made = network(**changed).double()
    names, weights = zip(*made.named_parameters(), strict=True)
    source, lengths, target = pairs()

    def loss(*values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(made, parameters, (source, lengths, target)).cos().sum((0, 1))

    assert torch.autograd.gradcheck(
        loss, [weight.detach().requires_grad_() for weight in weights], fast_mode=True
    )


@pytest.mark.parametrize("changed", ALL, ids=str)
def test_padding_changes_nothing(changed):
    made = network(**changed)
    source, lengths, target = pairs()
    together = made(source, lengths, target)
    assert together.shape == (4, 5, TARGETS)
    noise = torch.where(source == PAD, torch.randint(4, SOURCES, source.shape), source)
    torch.testing.assert_close(made(noise, lengths, target), together)
    for row, length in enumerate(lengths.tolist()):
        alone = made(source[row : row + 1, :length], lengths[row : row + 1], target[row : row + 1, :3])
        torch.testing.assert_close(alone[0], together[row, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changed", ALL, ids=str)
def test_padding_of_targets_changes_nothing(changed):
    made = network(**changed)
    source, lengths, target = pairs()
    sizes = [2, 5, 1, 4]
    inside = torch.arange(5) < torch.tensor(sizes)[:, None]
    target[~inside] = PAD
    names, weights = zip(*made.named_parameters(), strict=True)
    together = made(source, lengths, target)
    alone = [made(source[row : row + 1], lengths[row : row + 1], target[row : row + 1, :size])[0]
             for row, size in enumerate(sizes)]  # fmt: skip
    torch.testing.assert_close(together[inside], torch.cat(alone), rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(together[inside].cos().sum(), weights, allow_unused=True)
    wanted = torch.autograd.grad(torch.cat(alone).cos().sum(), weights, allow_unused=True)
    for name, one, other in zip(names, found, wanted, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("changed", ALL, ids=str)
def test_step_by_step_is_the_same_as_all_at_once(changed):
    made = network(**changed)
    source, lengths, target = pairs()
    with torch.no_grad():
        wanted = made(source, lengths, target)
        encoded = made.encoder(source, lengths)
        attended = made.decoder.source(encoded, lengths)
        loop, state = made.decoder.loop(attended), made.decoder.start(encoded, lengths)
        for position in range(target.shape[1]):
            state, probabilities = loop.step(target[:, position], position, state, None, 1)
            torch.testing.assert_close(made.output(state[0]), wanted[:, position], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
            assert not (probabilities * (source == PAD)).any()


@pytest.mark.parametrize("changed", ALL, ids=str)
def test_rows_in_some_of_the_places_are_as_in_all_of_them(changed):
    made = network(**changed)
    source, lengths, _ = pairs()
    with torch.no_grad():
        encoded = made.encoder(source, lengths)
        loop = made.decoder.loop(made.decoder.source(encoded, lengths))
        sentences = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
        state = tuple(part[sentences] for part in made.decoder.start(encoded, lengths))
        words = torch.arange(8) + 4
        (every, *_), all_probabilities = loop.step(words, 0, state, None, 2)
        slots = torch.tensor([0, 3, 4, 5, 7])
        state = tuple(part[slots] for part in state)
        (some, *_), probabilities = loop.step(words[slots], 0, state, slots, 2)
        torch.testing.assert_close(some, every[slots])
        torch.testing.assert_close(probabilities, all_probabilities[slots])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_cells_are_those_of_torch(kind):
    cell = Cell(kind, 5, 4).double()
    reference = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](5, 4).double()
    for name, weight in cell.named_parameters():
        weight.data.copy_(getattr(reference, name).data)
    inputs = torch.randn(3, 2, 5, dtype=torch.double)
    state = hidden = tuple(torch.randn(2, 2, 4, dtype=torch.double)[: 2 if kind == "lstm" else 1])
    whole, skipping = cell.begin(), cell.begin(2)
    for step in inputs:
        output, after = whole(None, step, state)
        _, same = skipping(cell.before(step[:, :2]), step[:, 2:], state)
        found = reference(step, hidden if kind == "lstm" else hidden[0])
        hidden = found if kind == "lstm" else (found,)
        torch.testing.assert_close(after, hidden)
        torch.testing.assert_close(same, hidden)
        assert output is after[0] or torch.equal(output, after[0])
        state = after
    sum(part.square().sum() for part in state).backward()
    sum(part.square().sum() for part in hidden).backward()
    for name, weight in cell.named_parameters():
        torch.testing.assert_close(weight.grad, getattr(reference, name).grad)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_lowest_layer_of_the_encoder_is_bidirectional(kind):
    encoder = network(rnn_cell_type=kind).encoder
    reference = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](6, 4, batch_first=True, bidirectional=True)
    for suffix, layer in (("", encoder.forwards), ("_reverse", encoder.backwards)):
        for name, weight in layer.named_parameters():
            getattr(reference, name + suffix).data.copy_(weight.data)
    source, lengths, _ = pairs()
    packed = nn.utils.rnn.pack_padded_sequence(
        encoder.embedding(source), lengths, batch_first=True, enforce_sorted=False
    )
    wanted, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    inside = torch.arange(6) < lengths[:, None]
    torch.testing.assert_close(encoder(source, lengths)[inside], wanted[inside])


def score(made: Network, query: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
    """One query's scores of a sentence's tokens by the papers' equations."""
    attention = made.decoder.attention
    if attention.kind == "mlp":
        inner = torch.tanh(encoded @ attention.source_weight.T + attention.query_weight @ query)
        return inner @ attention.score_weight[0]
    if attention.kind == "bilinear":
        return torch.stack([query @ attention.source_weight @ token for token in encoded])
    return (encoded @ attention.source_weight.T) @ (attention.query_weight @ query)


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("kind", ["dot", "mlp", "bilinear"])
def test_the_recurrent_decoder_is_sockeyes(kind, upper):
    made = network(
        rnn_attention_type=kind,
        num_layers_decoder=3,
        rnn_attention_in_upper_layers=upper,
        rnn_residual_connections=True,
        rnn_first_residual_layer=3,
    )
    decoder = made.decoder
    source, lengths, target = pairs()
    encoded = made.encoder(source, lengths)
    wanted = decoder(encoded, lengths, target)
    cells = [nn.LSTMCell(cell.weight_ih.shape[1], 8) for cell in decoder.cells]
    for cell, own in zip(cells, decoder.cells, strict=True):
        cell.load_state_dict(own.state_dict())
    for row, length in enumerate(lengths.tolist()):
        tokens = encoded[row, :length]
        first = [torch.tanh(layer(tokens[-1])) for layer in decoder.initial]
        states = list(zip(first[::2], first[1::2], strict=True))
        hidden = torch.zeros(8)
        for position, word in enumerate(target[row]):

            def attended(query, tokens=tokens):
                return torch.softmax(score(made, query, tokens), 0) @ tokens

            inputs = torch.cat([decoder.embedding(word), hidden])
            states[0] = cells[0](inputs, states[0])
            output, context = states[0][0], attended(states[0][0]) if upper else torch.empty(0)
            for number in (1, 2):
                states[number] = cells[number](torch.cat([output, context]), states[number])
                above = states[number][0]
                output = above + output if number == 2 else above
            if not upper:
                context = attended(output)
            hidden = torch.tanh(decoder.hidden(torch.cat([output, context])))
            torch.testing.assert_close(hidden, wanted[row, position], rtol=1e-4, atol=1e-5)


def test_the_state_begins_as_asked():
    _, lengths, _ = pairs()
    for kind in ("last", "avg"):
        decoder = network(rnn_decoder_state_init=kind).decoder
        encoded = torch.randn(4, 6, 8)
        for row, length in enumerate(lengths.tolist()):
            tokens = encoded[row, :length]
            summary = tokens[-1] if kind == "last" else tokens.mean(0)
            for found, layer in zip(decoder.start(encoded, lengths)[1:], decoder.initial, strict=True):
                torch.testing.assert_close(found[row], torch.tanh(layer(summary)))
    assert not any(
        part.any() for part in network(rnn_decoder_state_init="zero").decoder.start(encoded, lengths)
    )


def test_the_fixed_context_is_the_last_token():
    made = network(rnn_attention_type="fixed")
    _, lengths, _ = pairs()
    encoded = torch.randn(4, 6, 8)
    attending = made.decoder.attention.on(made.decoder.source(encoded, lengths))
    context, _ = attending(torch.randn(4, 1, 8))
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(context[row, 0], encoded[row, length - 1])


@pytest.mark.parametrize(
    "changed", [{}, {"encoder_type": "cnn", "decoder_type": "cnn", "num_layers_decoder": 3}]
)
def test_words_to_come_change_nothing(changed):
    made = network(**changed)
    source, lengths, target = pairs()
    before = made(source, lengths, target)
    target[:, 3] = 4 + (target[:, 3] - 3) % (TARGETS - 4)
    after = made(source, lengths, target)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_activations_of_convolutions():
    inputs = torch.randn(2, 3, 4)
    for kind, wanted in {
        "glu": lambda x: x[:, :3] * torch.sigmoid(x[:, 3:]),
        "relu": lambda x: x.clamp(min=0),
        "softrelu": lambda x: torch.log1p(torch.exp(x)),
        "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
        "tanh": torch.tanh,
    }.items():
        layer = Convolution(3, 1, kind)
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        plain = torch.einsum("oik,bil->bol", layer.weight, inputs) + layer.bias[:, None]
        torch.testing.assert_close(layer(inputs), wanted(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("embed_dropout_source", {}),
        ("embed_dropout_target", {}),
        ("rnn_decoder_hidden_dropout", {}),
        ("cnn_hidden_dropout", {"encoder_type": "cnn"}),
        ("cnn_hidden_dropout", {"decoder_type": "cnn"}),
    ],
)
def test_dropout_is_there_in_training_alone(name, changed):
    source, lengths, target = pairs()
    plain, made = network(**changed), network(**changed, **{name: 0.5})
    assert torch.equal(plain(source, lengths, target), made(source, lengths, target))
    plain.train()
    made.train()
    torch.testing.assert_close(plain(source, lengths, target), plain(source, lengths, target))
    first = made(source, lengths, target)
    assert not torch.allclose(first, made(source, lengths, target))
    first.sum().backward()


def test_initial_weights_are_sockeyes():
    made = Network(config(num_embed_source=40, rnn_num_hidden=64, num_embed_target=30))
    initialize(made, "xavier", 2.34, "in", 5)
    embedding, hidden = made.encoder.embedding.weight, made.decoder.hidden.weight
    for weight in (embedding, hidden):
        bound = math.sqrt(2.34 / weight.shape[1])
        assert bound * 0.9 < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    recurrent = made.decoder.cells[0].weight_hh
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(64) * 1.414**2, rtol=1e-4, atol=1e-4)
    assert not any(weight.any() for name, weight in made.named_parameters() if "bias" in name)
    again = Network(made.config)
    initialize(again, "xavier", 2.34, "in", 5)
    assert all(
        torch.equal(one, other) for one, other in zip(made.parameters(), again.parameters(), strict=True)
    )
    initialize(again, "xavier", 2.34, "in", 6)
    assert not torch.equal(again.output.weight, made.output.weight)


@pytest.mark.parametrize(("factor", "fan"), [("in", 8 * 5), ("out", 16 * 5), ("avg", (8 * 5 + 16 * 5) / 2)])
def test_fans_of_xavier(factor, fan):
    made = Network(config(decoder_type="cnn"))
    initialize(made, "xavier", 3.0, factor, 0)
    bound = math.sqrt(3 / fan)
    assert bound * 0.9 < made.decoder.layers[0].weight.abs().max() <= bound


def test_uniform_weights():
    made = Network(config())
    for scale in (0.07, -0.07):
        initialize(made, "uniform", scale, "in", 0)
        assert 0.06 < made.output.weight.abs().max() <= 0.07
    with pytest.raises(ClientError, match=r"weight_init_scale is -1.0; accepted with xavier"):
        initialize(made, "xavier", -1.0, "in", 0)


def test_padding_is_masked():
    assert padding(torch.tensor([1, 3]), 3)[:, 0].eq(0).tolist() == [[True, False, False], [True] * 3]


def test_a_configuration_is_written_and_read():
    written = config(encoder_type="cnn", length_ratio_mean=1.25)
    assert Config.from_json(written.to_json()) == written
    assert [field.name for field in dataclasses.fields(Config)] == list(json.loads(written.to_json()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vocab_source_size": 3}, "vocab_source_size is 3; the 4 special tokens"),
        ({"rnn_num_hidden": 7}, "rnn_num_hidden is 7; accepted: an even number"),
        ({"encoder_type": "lstm"}, "encoder_type is lstm; accepted: rnn or cnn"),
        ({"cnn_hidden_dropout": 1.5}, "cnn_hidden_dropout is 1.5; accepted: a number from 0 to 1"),
        ({"length_ratio_mean": math.nan}, "length_ratio_mean is nan; accepted: a finite number from 0 on"),
        ({"beam_size": 0}, "beam_size is 0; accepted: an integer from 1 on"),
        ({"beam_size": True}, "beam_size is True"),
        ({"rnn_residual_connections": 1}, "rnn_residual_connections is 1; accepted: true or false"),
        ({"rnn_residual_connections": True, "rnn_first_residual_layer": 1}, "accepted: an integer from 2 on"),
        ({"encoder_type": "cnn", "cnn_kernel_width_encoder": 4}, "is 4; accepted: an odd number"),
        ({"decoder_type": "cnn", "cnn_num_hidden": 6}, "attends to an rnn encoder of as many hidden units"),
    ],
)
def test_what_can_not_be_built_is_refused(changed, message):
    with pytest.raises(ClientError, match=message):
        config(**changed)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"beam_size": 1}', b"\xff"])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ClientError, match="the configuration"):
        Config.from_json(text)
    wrong = {**json.loads(config().to_json()), "other": 1}
    with pytest.raises(ClientError, match="the configuration has an unknown other"):
        Config.from_json(json.dumps(wrong))
