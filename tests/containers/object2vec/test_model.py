"""Encoders, head, tables and negatives against plain references, and what each option changes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from common.cluster import Cluster
from common.failures import ClientError
from common.job import Hosts
from common.optimizers import OPTIMIZERS, Settings
from containers.object2vec import engine as engines
from containers.object2vec import model, pairs, ragged, tables, train
from containers.object2vec.engine import Engine, Options
from containers.object2vec.hyperparameters import DECLARATION
from containers.object2vec.model import EncoderPlan, Network, Plan
from containers.object2vec.negatives import Negatives
from containers.object2vec.pairs import Pairs, Ragged, as_they_are, batches
from containers.object2vec.ragged import Sequences
from containers.object2vec.stopping import Patience

VOCABULARY, DIM = 20, 5


def some(count: int, longest: int, seed: int = 0) -> Ragged:
    random = np.random.default_rng(seed)
    return Ragged.of(
        [random.integers(0, VOCABULARY, random.integers(1, longest + 1)).tolist() for _ in range(count)]
    )


def data(count: int = 60, longest: int = 7) -> Pairs:
    labels = np.random.default_rng(9).integers(0, 2, count).astype(np.float32)
    return Pairs((some(count, longest, 1), some(count, longest, 2)), labels)


def sequences(of: Ragged, table: torch.Tensor) -> Sequences:
    return Sequences(
        table, torch.from_numpy(of.tokens.astype(np.int64)), torch.from_numpy(of.starts), of.lengths
    )


def network(kind: str, enc_dim: int = 6, layers: int = 2, width: int = 3, **plan: object) -> Network:
    torch.manual_seed(0)
    one = EncoderPlan(kind, layers, width, DIM)
    values = {"comparators": ("hadamard", "concat", "abs_diff"), "mlp_layers": 1, "mlp_dim": 4,
              "activation": "tanh", "classes": 2}  # fmt: skip
    return Network(Plan((one, one), enc_dim, **{**values, **plan}))


def alone(encoder: nn.Module, vectors: torch.Tensor, kind: str, width: int, enc_dim: int) -> torch.Tensor:
    """What an encoder should make of one sequence's embeddings, (tokens, DIM), by torch's own layers."""
    if kind == "pooled_embedding":
        return encoder.projection(vectors.mean(0))
    if kind == "bilstm":
        hidden = vectors[:, None]
        for layer in encoder.layers:
            hidden = layer(hidden)[0]
        return hidden.amax((0, 1))[:enc_dim]
    hidden, found = vectors.t()[None], []
    for layer in encoder.layers:
        weight = layer.weight.view(len(layer.weight), width, -1).transpose(1, 2)
        # As torch pads for padding="same": an even filter looks one token further to the right.
        padded = functional.pad(hidden, ((width - 1) // 2, width // 2))
        hidden = functional.conv1d(padded, weight, layer.bias).relu()
        found.append(hidden.amax((0, 2)))
    return torch.cat(found)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("longest", [1, 6])
@pytest.mark.parametrize(
    ("kind", "layers", "width", "enc_dim"),
    [
        ("pooled_embedding", 1, 3, 6),
        *(("hcnn", layers, width, 7) for layers, width in ((1, 1), (2, 2), (3, 3), (4, 4), (1, 9))),
        ("bilstm", 1, 3, 6),
        ("bilstm", 3, 3, 7),
    ],
)
def test_encoders_and_their_gradients(monkeypatch, kind, layers, width, enc_dim, longest, native):
    if not native:
        monkeypatch.setattr(ragged, "_native", lambda values: False)
    encoder = network(kind, enc_dim, layers, width).encoders[0]
    for count in (3, 30):
        of = some(count, longest)
        table = torch.randn(VOCABULARY, DIM, requires_grad=True)
        other, mirrored = table.detach().clone().requires_grad_(), copy.deepcopy(encoder)
        found = encoder(sequences(of, table), lambda values: values)
        parts = [of.tokens[start:stop] for start, stop in zip(of.starts, of.starts[1:], strict=False)]
        expected = torch.stack(
            [alone(mirrored, other[torch.from_numpy(p).long()], kind, width, enc_dim) for p in parts]
        )
        assert found.shape == (count, enc_dim)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        if kind == "hcnn":
            assert (found >= 0).all()
        slopes = torch.randn_like(found)
        found.backward(slopes)
        expected.backward(slopes)
        torch.testing.assert_close(table.grad, other.grad, rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(encoder.parameters(), mirrored.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
            mine.grad = None


def test_layers_share_the_dimension():
    widths = [len(layer.weight) for layer in network("hcnn", 10, 4).encoders[0].layers]
    assert widths == [3, 3, 2, 2]


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
@pytest.mark.parametrize("depth", [0, 2])
def test_comparators_come_in_the_order_given(activation, depth):
    u, v = torch.randn(3, 6), torch.randn(3, 6)
    parts = {"hadamard": [u * v], "concat": [u, v], "abs_diff": [(u - v).abs()]}
    for order in (("abs_diff",), ("concat", "hadamard"), ("abs_diff", "hadamard", "concat")):
        one = network("hcnn", comparators=order, mlp_layers=depth, activation=activation, classes=None)
        hidden = torch.cat([part for name in order for part in parts[name]], 1)
        for layer in one.head[:-1]:
            hidden = model.ACTIVATIONS[activation](functional.linear(hidden, layer.weight, layer.bias))
        expected = functional.linear(hidden, one.head[-1].weight, one.head[-1].bias)
        torch.testing.assert_close(one.compare(u, v), expected)
        assert expected.shape == (3, 1)


def test_losses():
    for classes in (3, None):
        one = network("pooled_embedding", classes=classes)
        table = torch.randn(VOCABULARY, DIM)
        sides = tuple(sequences(some(8, 4, seed), table) for seed in (1, 2))
        labels = torch.tensor([0.0, 1, 2, 0, 1, 2, 0, 1])
        examples = model.Examples(sides, labels, 0.5, lambda values: values)
        found = one.losses(examples)
        scores = one.compare(*(one.encode(side, of) for side, of in enumerate(sides)))
        if classes:
            total = functional.cross_entropy(scores, labels.long(), reduction="sum")
            assert found[2] == (scores.argmax(1) == labels).sum()
        else:
            total = functional.mse_loss(scores[:, 0], labels, reduction="sum")
        torch.testing.assert_close(found[1], total.detach())
        torch.testing.assert_close(found[0], total * 0.5)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    values, generator = torch.ones(200, 200), torch.Generator().manual_seed(0)
    dropped = model.dropout(0.25, generator)(values)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    assert (model.dropout(1.0, generator)(values) == 0).all()
    assert model.dropout(0.0, generator)(values) is values


# --- tables ---


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adadelta", "adagrad", "adam", "sgd", "rmsprop"])
def test_a_dense_table_moves_as_if_every_row_were_touched_in_each_step(name, decay):
    random = np.random.default_rng(0)
    start = torch.from_numpy(random.normal(size=(30, 4)).astype(np.float32))
    settings = Settings(0.02, decay=decay)
    whole, gradient = start.clone(), torch.zeros_like(start)
    expected = OPTIMIZERS[name](whole.view(-1), gradient.view(-1), settings, native=False)
    other = OPTIMIZERS[name](torch.zeros(1), torch.zeros(1), settings)
    table = tables.table(start.clone(), name, other, 1, sparse=False)
    for step in range(250):
        # Some rows are touched at once, others after a long while or never.
        some_rows = random.choice(30 if step in (0, 240) else 6, 3, replace=False)
        numbers = torch.from_numpy(some_rows)
        slopes = torch.from_numpy(random.normal(size=(3, 4)).astype(np.float32))
        gradient.zero_()[numbers] = slopes
        rows = table.rows(numbers)
        torch.testing.assert_close(rows, whole[numbers], rtol=2e-4, atol=2e-5)
        expected.step()
        other.step()
        table.learn(numbers, rows, slopes)
    table.settle()
    torch.testing.assert_close(table.weights, whole, rtol=2e-4, atol=2e-5)
    assert not torch.equal(whole, start)


@pytest.mark.parametrize("name", ["adagrad", "adam", "sgd"])
def test_a_sparse_table_moves_the_rows_that_are_touched(name):
    other = OPTIMIZERS[name](torch.zeros(1), torch.zeros(1), Settings(0.1, decay=0.1))
    table = tables.table(torch.ones(9, 2), name, other, 1, sparse=True)
    for number in (3, 4):
        other.step()
        numbers = torch.tensor([number])
        table.learn(numbers, table.rows(numbers), torch.ones(1, 2))
    table.settle()
    moved = (table.weights != 1).any(1)
    assert moved.nonzero().flatten().tolist() == [3, 4]


# --- the engine ---


def engine(kind: str = "hcnn", devices: tuple[str, ...] = ("cpu",), tied: bool = False, **values) -> Engine:
    options = {"optimizer": "adam", "settings": Settings(0.01), "devices": devices, **values}
    random = torch.Generator().manual_seed(0)
    found = [torch.randn(VOCABULARY, DIM, generator=random) for _ in range(1 if tied else 2)]
    return Engine(network(kind), found, Options(**options, cluster=Cluster(Hosts())))


def learned(one: Engine, steps: int = 3) -> list[torch.Tensor]:
    for batch in list(batches(data(), as_they_are(data()), 16, np.random.default_rng(0)))[:steps]:
        one.learn(batch)
    return one.state()


@pytest.mark.parametrize("kind", ["hcnn", "bilstm", "pooled_embedding"])
@pytest.mark.parametrize("tied", [True, False])
def test_devices_and_pieces_of_a_batch_add_up(monkeypatch, kind, tied):
    expected = learned(engine(kind, tied=tied))
    for mine, other in zip(learned(engine(kind, ("cpu",) * 3, tied)), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    monkeypatch.setattr(engines, "_FLOATS", 500)
    one = engine(kind, tied=tied)
    assert len(one._pieces(data(), 0, 60)) > 5
    for mine, other in zip(learned(one), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_fewer_pairs_than_devices():
    one, other = engine("pooled_embedding", ("cpu",) * 4), engine("pooled_embedding")
    for engine_ in (one, other):
        engine_.learn(data(2))
    for mine, theirs in zip(one.state(), other.state(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_step_is_that_of_plain_autograd():
    one = engine("hcnn", optimizer="sgd", settings=Settings(0.1))
    before, start = copy.deepcopy(one.network), [table.weights.clone() for table in one.tables]
    batch = data(16)
    sums = one.learn(batch)
    leaves = [table.requires_grad_() for table in start]
    for parameter in before.parameters():
        parameter.grad = None
    sides = tuple(sequences(side, leaf) for side, leaf in zip(batch.sides, leaves, strict=True))
    losses = before.losses(
        model.Examples(sides, torch.from_numpy(batch.labels), 1 / 16, lambda values: values)
    )
    losses[0].backward()
    assert sums.tolist() == pytest.approx(losses[1:].tolist(), rel=1e-5)
    for mine, parameter in zip(one.network.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter - 0.1 * parameter.grad, rtol=1e-4, atol=1e-6)
    for table, leaf in zip(one.tables, leaves, strict=True):
        torch.testing.assert_close(table.weights, (leaf - 0.1 * leaf.grad).detach(), rtol=1e-4, atol=1e-6)


def test_frozen_tables_stay_and_states_come_back():
    one = engine(frozen=(True, False))
    start = [table.weights.clone() for table in one.tables]
    kept = learned(one)
    assert torch.equal(one.tables[0].weights, start[0])
    assert not torch.equal(one.tables[1].weights, start[1])
    scored = one.score([data()])
    learned(one)
    assert one.score([data()]).loss != scored.loss
    one.restore(kept)
    assert one.score([data()]).loss == scored.loss
    assert 0 <= scored.accuracy <= 1
    assert scored.pairs == 60


# --- each hyperparameter's effect ---

VALUES = {
    "enc0_max_seq_len": 7, "enc0_vocab_size": VOCABULARY, "enc0_token_embedding_dim": DIM, "enc_dim": 6,
    "mlp_dim": 4, "mini_batch_size": 16, "learning_rate": 0.01,
}  # fmt: skip


def trained(**values: object) -> list[torch.Tensor]:
    """All that two epochs of a job's hyperparameters teach."""
    resolved = DECLARATION.resolve({name: str(value) for name, value in {**VALUES, **values}.items()})
    run = SimpleNamespace(
        hyperparameters=resolved, seed=0, devices=("cpu",), cluster=Cluster(Hosts()), threads=1, channels={},
        stop=SimpleNamespace(requested=False),
    )  # fmt: skip
    found = data()
    rate = resolved["negative_sampling_rate"]
    work = train.Work(
        run, train.build(run, train._embeddings(run), 0.5), found, None, Patience(1, 0.1),
        np.random.default_rng(0), Negatives(found, rate) if rate else None,
    )  # fmt: skip
    for _ in range(2):
        for batch in train._batches(work):
            work.engine.learn(batch)
    return work.engine.state()


BASE = trained()
ENC1 = {"enc1_max_seq_len": 7, "enc1_vocab_size": VOCABULARY, "enc1_token_embedding_dim": DIM}


@pytest.mark.parametrize(
    "values",
    [
        {"enc0_network": "bilstm"},
        {"enc0_network": "pooled_embedding"},
        {"enc0_cnn_filter_width": 2},
        {"enc0_layers": 2},
        {"enc0_token_embedding_dim": 6},
        {"enc0_vocab_size": 30},
        {"enc1_network": "bilstm", **ENC1},
        {"enc1_network": "pooled_embedding", **ENC1},
        {"enc1_network": "hcnn", "enc1_layers": 1, **ENC1},
        {"enc1_network": "hcnn", "enc1_cnn_filter_width": 5, **ENC1},
        {"enc1_network": "hcnn", **ENC1, "enc1_token_embedding_dim": 4},
        {"enc1_network": "hcnn", **ENC1, "enc1_vocab_size": 21},
        {"bucket_width": 2},
        {"comparator_list": "concat"},
        {"comparator_list": "concat, hadamard, abs_diff"},
        {"dropout": 0.3},
        {"enc_dim": 8},
        {"learning_rate": 0.02},
        {"mini_batch_size": 15},
        {"mlp_activation": "tanh"},
        {"mlp_activation": "relu"},
        {"mlp_dim": 5},
        {"mlp_layers": 0},
        {"mlp_layers": 1},
        {"negative_sampling_rate": 1},
        {"num_classes": 3},
        *({"optimizer": name} for name in ("adadelta", "adagrad", "sgd", "rmsprop")),
        {"output_layer": "mean_squared_error"},
        {"tied_token_embedding_weight": "True"},
        {"token_embedding_storage_type": "row_sparse"},
        {"weight_decay": 0.1},
    ],
)
def test_each_hyperparameter_changes_what_is_learned(values):
    found = trained(**values)
    assert all(torch.isfinite(tensor).all() for tensor in found)
    same = [
        mine.shape == other.shape and torch.equal(mine, other)
        for mine, other in zip(found, BASE, strict=False)
    ]
    assert len(found) != len(BASE) or not all(same)


def test_encoder_0_spelled_out_is_enc0_and_the_same_seed_gives_the_same_bytes():
    for again in (trained(), trained(enc1_network="hcnn", **ENC1)):
        assert all(torch.equal(mine, other) for mine, other in zip(again, BASE, strict=True))


def test_sparse_storage_switches_buckets_off():
    one, other = (trained(token_embedding_storage_type="row_sparse", bucket_width=width) for width in (0, 2))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    values = {"token_embedding_storage_type": "row_sparse", "bucket_width": 2}
    (said,) = DECLARATION.without_effect(DECLARATION.resolve({**VALUES, **values}))
    assert said.startswith("hyperparameter bucket_width has no effect")


def test_dropout_has_an_effect_in_each_network():
    for kind in ("hcnn", "bilstm", "pooled_embedding"):
        layers = {"enc0_layers": 2} if kind != "pooled_embedding" else {}
        values = {"enc0_network": kind, "mlp_layers": 0, **layers}
        assert not torch.equal(trained(**values)[0], trained(dropout=0.5, **values)[0])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"enc1_network": "hcnn"}, "enc1_max_seq_len and enc1_vocab_size is missing"),
        ({"enc1_network": "hcnn", "enc1_max_seq_len": 3}, "enc1_vocab_size is missing"),
        ({"comparator_list": "concat,concat"}, "each at most once"),
        ({"comparator_list": ""}, "comparator_list is ''"),
        ({"comparator_list": "sum"}, "comparator_list is 'sum'; accepted: hadamard, concat and abs_diff"),
        (
            {"token_embedding_storage_type": "row_sparse", "optimizer": "rmsprop"},
            "adam, adagrad or sgd where",
        ),
        ({"enc0_pretrained_embedding_file": "a/b"}, "a file name of letters"),
        ({"enc0_pretrained_embedding_file": "a.txt"}, "without enc0_vocab_file"),
        ({"enc0_vocab_file": "a.json"}, "without enc0_pretrained_embedding_file"),
        (
            {"tied_token_embedding_weight": "true", "enc1_network": "hcnn", **ENC1, "enc1_vocab_size": 9},
            "enc0_vocab_size is '20' and enc1_vocab_size is '9'; accepted: the same for both",
        ),
        ({"enc0_layers": 5}, "enc0_layers is '5'"),
        ({"mini_batch_size": 10001, "enc_dim": 3}, "enc_dim is '3'"),
    ],
)
def test_settings_that_do_not_go_together(values, said):
    with pytest.raises(ClientError, match=said.replace("(", r"\(")):
        DECLARATION.resolve({**VALUES, **values})


def test_auto_layers_and_the_spellings_of_clients():
    values = {"enc0_layers": "AUTO", "comparator_list": "hadamard,abs_diff", "dropout": "1.0"}
    assert DECLARATION.resolve({**VALUES, **values})["comparator_list"] == ["hadamard", "abs_diff"]
    assert len(train.plan.of(DECLARATION.resolve(VALUES)).encoders) == 2
    for kind, depth in (("hcnn", 4), ("bilstm", 1)):
        resolved = DECLARATION.resolve({**VALUES, "enc0_network": kind})
        assert [one.layers for one in train.plan.of(resolved).encoders] == [depth, depth]


# --- mini-batches, negatives, patience ---


def test_batches_hold_every_pair_once():
    found = data(50)
    for bucket in (0, 2):
        seen = list(batches(found, as_they_are(found), 8, np.random.default_rng(0), bucket))
        tokens = [tuple(side.tokens[side.starts[i] : side.starts[i + 1]]) for batch in seen
                  for side in batch.sides for i in range(len(batch))]  # fmt: skip
        expected = [tuple(side.tokens[side.starts[i] : side.starts[i + 1]]) for side in found.sides
                    for i in range(50)]  # fmt: skip
        assert sorted(tokens) == sorted(expected)
        assert max(map(len, seen)) == 8
        spread = max(int(np.ptp(side.lengths)) for batch in seen for side in batch.sides)
        assert (spread < bucket) == bool(bucket)


def test_negatives_are_pairs_that_were_not_observed():
    found = Pairs((some(80, 2, 1), some(80, 2, 2)), np.ones(80, np.float32))
    keys = [[tuple(side.tokens[a:b]) for a, b in zip(side.starts, side.starts[1:], strict=False)]
            for side in found.sides]  # fmt: skip
    observed = set(zip(*keys, strict=True))
    made = Negatives(found, 3).matches(np.random.default_rng(0))
    assert made.labels.sum() == 80
    assert 200 < len(made) <= 320
    kept = [0, 0]
    for place in range(80, len(made)):
        first, second = made.first[place], made.second[place]
        assert (keys[0][first], keys[1][second]) not in observed
        kept[0] += 1
        assert first != second
    assert made.labels[80:].max() == 0


def test_pairs_that_are_all_observed_have_no_negatives():
    both = Ragged.of([[0], [0], [1], [1]]), Ragged.of([[0], [1], [0], [1]])
    all_pairs = Pairs(both, np.ones(4, np.float32))
    made = Negatives(all_pairs, 5).matches(np.random.default_rng(0))
    assert made.labels.tolist() == [1, 1, 1, 1]
    assert not Negatives(all_pairs, 5).exist
    assert Negatives(all_pairs[:3], 5).exist


def test_patience_counts_epochs_that_gain_too_little():
    one = Patience(2, 0.1)
    assert [one.observe(loss) for loss in (1.0, 0.8, 0.75, 0.6)] == [True] * 4
    assert one.bad == 0
    assert [one.observe(loss) for loss in (0.7, float("nan"))] == [False, False]
    assert one.over
    assert (one.best, one.least) == (4, 0.6)


def test_pairs_are_cut_as_views_of_their_rows():
    part = data()[10:13]
    assert len(part) == 3
    joined = pairs.join([data()[:10], data()[10:]])
    for mine, other in zip(joined.sides, data().sides, strict=True):
        np.testing.assert_array_equal(mine.tokens, other.tokens)
        np.testing.assert_array_equal(mine.starts, other.starts)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("kind", ["hcnn", "bilstm", "pooled_embedding"])
def test_a_gpu_learns_what_the_cpu_does(kind):
    found = learned(engine(kind, ("cuda",)))
    for mine, other in zip(found, learned(engine(kind)), strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=1e-2, atol=1e-3)
