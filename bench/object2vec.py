"""Pairs a second that Object2Vec learns from, against a plain PyTorch loop of the same network.

Two cases. `ratings`: a user and a film, one token each, 943 and 1,682 of them as in MovieLens 100k;
pooled_embedding of 300 numbers to an enc_dim of 1,024, one layer of 256 with tanh, squared error,
mini-batches of 64: about the network of SageMaker's notebook for recommendations. `sentences`: pairs of the
sentences in tests/data, labelled 1 where both are of one kind; hcnn with its four layers, tokens of 300
numbers, an enc_dim of 512, the standard head, mini-batches of 32.

The peer is written as one would write it: nn.Embedding, nn.Linear, nn.Conv1d over sequences padded to the
longest of the mini-batch, a mask before the largest value is taken, DataLoader, torch.optim.Adam. Both sides
begin with the same weights, have as many threads and see as many pairs; epochs take turns. The time is the
least of an epoch; the loss on held-out pairs is told after each. Run as::

    python -m bench.object2vec [--pairs 20000] [--epochs 3] [--case ratings|sentences]

With ``--movies FOLDER`` or ``--sts FOLDER`` it measures quality instead: of train.csv and test.csv with the
columns userId, movieId and rating the root of the mean squared error, of those with score, sentence1 and
sentence2 Pearson's correlation. A tenth of train.csv is the validation that ends training.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from common import instances
from common.cluster import Cluster
from common.job import Hosts
from common.optimizers import Settings
from containers.object2vec.engine import Engine, Options
from containers.object2vec.model import EncoderPlan, Network, Plan
from containers.object2vec.pairs import Matches, Pairs, Ragged, as_they_are, batches
from containers.object2vec.stopping import Patience
from containers.object2vec.warm import compile_all

SENTENCES = Path(__file__).parents[1] / "tests" / "data" / "subjectivity.txt.gz"
COMPARATORS = ("hadamard", "concat", "abs_diff")
RATE = 0.0004
# What is set for quality beside the network.
MOVIES = {"rate": 0.001, "dropout": 0.5}
STS = {"rate": 0.003, "dropout": 0.2}
Epoch = Callable[[], None]
Score = Callable[[], float]


def ratings(count: int) -> tuple[Pairs, Plan, int, list[int]]:
    """Ratings of users and films with hidden tastes; the network, the mini-batch, the vocabularies."""
    random = np.random.default_rng(0)
    users, films = 943, 1682
    tastes, kinds = random.normal(size=(users, 8)), random.normal(size=(films, 8))
    chosen = random.integers(0, users, count), random.integers(0, films, count)
    labels = 3.5 + (tastes[chosen[0]] * kinds[chosen[1]]).sum(1) / 4 + random.normal(size=count) / 2
    starts = np.arange(count + 1, dtype=np.int64)
    first, second = (Ragged(side.astype(np.int32), starts) for side in chosen)
    encoder = EncoderPlan("pooled_embedding", 1, 3, 300)
    plan = Plan((encoder, encoder), 1024, COMPARATORS, 1, 256, "tanh", None)
    return Pairs((first, second), labels.astype(np.float32)), plan, 64, [users, films]


def sentences(count: int) -> tuple[Pairs, Plan, int, list[int]]:
    """Pairs of sentences of the same kind or not."""
    with gzip.open(SENTENCES, "rt") as file:
        rows = [line.split() for line in file]
    vocabulary: dict[str, int] = {}
    known = Ragged.of([[vocabulary.setdefault(w, len(vocabulary)) for w in row[1:]] for row in rows])
    kinds = np.array([row[0] for row in rows])
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(rows), (2, count))
    labels = (kinds[chosen[0]] == kinds[chosen[1]]).astype(np.float32)
    encoder = EncoderPlan("hcnn", 4, 3, 300)
    plan = Plan((encoder, encoder), 512, COMPARATORS, 2, 512, "linear", 2)
    return Pairs((known.take(chosen[0]), known.take(chosen[1])), labels), plan, 32, [len(vocabulary)] * 2


class Encoder(nn.Module):
    """The peer's: of padded tokens, (sequences, longest), and their lengths."""

    def __init__(self, plan: EncoderPlan, enc_dim: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, plan.token_dim)
        self.pooled = plan.network == "pooled_embedding"
        filters = enc_dim // plan.layers
        self.layers = nn.ModuleList(
            [nn.Linear(plan.token_dim, enc_dim)]
            if self.pooled
            else [
                nn.Conv1d(filters if number else plan.token_dim, filters, plan.width, padding="same")
                for number in range(plan.layers)
            ]
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(sequences, enc_dim)."""
        hidden = self.embedding(tokens)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None])[..., None]
        hidden = hidden * mask
        if self.pooled:
            pooled: Tensor = self.layers[0](hidden.sum(1) / lengths[:, None])
            return pooled
        hidden, mask = hidden.transpose(1, 2), mask.transpose(1, 2)
        found = []
        for layer in self.layers:
            hidden = functional.relu(layer(hidden)) * mask
            found.append(hidden.amax(2))
        return torch.cat(found, 1)


class Peer(nn.Module):
    """The same network in torch's own words."""

    def __init__(self, plan: Plan, vocabularies: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            Encoder(one, plan.enc_dim, size) for one, size in zip(plan.encoders, vocabularies, strict=True)
        )
        layers: list[nn.Module] = []
        width = 4 * plan.enc_dim
        for _ in range(plan.mlp_layers):
            layers += [
                nn.Linear(width, plan.mlp_dim),
                nn.Tanh() if plan.activation == "tanh" else nn.Identity(),
            ]
            width = plan.mlp_dim
        self.head = nn.Sequential(*layers, nn.Linear(width, plan.classes or 1))

    def begin(self, network: Network, tables: Sequence[Tensor]) -> None:
        """Takes the weights over."""
        with torch.no_grad():
            for mine, other, table in zip(self.encoders, network.encoders, tables, strict=True):
                mine.embedding.weight.copy_(table)
                theirs = [other.projection] if mine.pooled else other.layers
                for layer, found in zip(mine.layers, theirs, strict=True):
                    weight = found.weight
                    if not mine.pooled:
                        weight = weight.view(len(weight), layer.kernel_size[0], -1).transpose(1, 2)
                    layer.weight.copy_(weight)
                    layer.bias.copy_(found.bias)
            linear = [layer for layer in self.head if isinstance(layer, nn.Linear)]
            for layer, found in zip(linear, network.head, strict=True):
                layer.load_state_dict(found.state_dict())

    def loss(self, batch: list[Tensor]) -> Tensor:
        """The mean over the batch."""
        first, second = self.encoders[0](*batch[0:2]), self.encoders[1](*batch[2:4])
        found = self.head(torch.cat([first * second, first, second, (first - second).abs()], 1))
        if found.shape[1] == 1:
            return functional.mse_loss(found.squeeze(1), batch[4])
        return functional.cross_entropy(found, batch[4].long())


def collated(items: list[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
    """A padded mini-batch."""
    first, second, labels = zip(*items, strict=True)
    batch = []
    for side in (first, second):
        batch += [pad_sequence(list(side), batch_first=True), torch.tensor([len(one) for one in side])]
    return [*batch, torch.stack(labels)]


def theirs(data: Pairs, held: Pairs, size: int, peer: Peer) -> tuple[Epoch, Score]:
    """An epoch of the peer, and its loss on held-out pairs."""

    def items(pairs: Pairs) -> list[tuple[Tensor, Tensor, Tensor]]:
        sides = [torch.from_numpy(side.tokens).long().split(side.lengths.tolist()) for side in pairs.sides]
        return list(zip(*sides, torch.from_numpy(pairs.labels), strict=True))

    loader = DataLoader(items(data), size, shuffle=True, collate_fn=collated)
    testing = DataLoader(items(held), size, collate_fn=collated)
    optimizer = torch.optim.Adam(peer.parameters(), RATE)

    def epoch() -> None:
        peer.train()
        for batch in loader:
            optimizer.zero_grad()
            peer.loss(batch).backward()
            optimizer.step()

    def score() -> float:
        with torch.no_grad():
            return sum(float(peer.loss(batch)) * len(batch[4]) for batch in testing) / len(held)

    return epoch, score


def ours(data: Pairs, held: Pairs, size: int, engine: Engine) -> tuple[Epoch, Score]:
    """The same of Algodock."""
    generator = np.random.default_rng(0)

    def epoch() -> None:
        for batch in batches(data, as_they_are(data), size, generator):
            engine.learn(batch)

    return epoch, lambda: engine.score(batches(held, as_they_are(held), size, None)).mean


def engine_of(
    plan: Plan, vocabularies: Sequence[int], threads: int, seed: int = 0, **options: float
) -> Engine:
    """One of random weights; of one vocabulary both encoders share the table."""
    torch.manual_seed(seed)
    network = Network(plan)
    tables = [
        torch.randn(size, one.token_dim) / 10 for size, one in zip(vocabularies, plan.encoders, strict=False)
    ]
    settings = Settings(options.get("rate", RATE), decay=options.get("decay", 0.0))
    return Engine(
        network,
        tables,
        Options("adam", settings, options.get("dropout", 0.0), threads=threads, cluster=Cluster(Hosts())),
    )


def compared(name: str, data: Pairs, plan: Plan, size: int, vocabularies: list[int], epochs: int) -> None:
    """Prints both sides and the ratio."""
    threads = instances.threads()
    count = len(data) * 9 // 10
    train, held = data[:count], data[count:]
    engine = engine_of(plan, vocabularies, threads)
    peer = Peer(plan, vocabularies)
    peer.begin(engine.network, [table.weights for table in engine.tables])
    sides = {"PyTorch": theirs(train, held, size, peer), "Object2Vec": ours(train, held, size, engine)}
    times: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(epochs):
        for side, (epoch, score) in sides.items():
            started = time.perf_counter()
            epoch()
            times[side].append(time.perf_counter() - started)
            losses[side].append(score())
    print(f"{name}: {count:,} pairs an epoch in mini-batches of {size}, {threads} threads")
    for side in sides:
        found = ", ".join(f"{loss:.4f}" for loss in losses[side])
        print(f"  {side:10} {count / min(times[side]):8,.0f} pairs/s, losses on held-out pairs {found}")
    print(f"  Object2Vec is {min(times['PyTorch']) / min(times['Object2Vec']):.2f}x as fast")


def fitted(
    data: Pairs, plan: Plan, size: int, vocabularies: list[int], seed: int = 0, **options: float
) -> tuple[Callable[[Pairs], np.ndarray], Pairs]:
    """What scores pairs after training that a tenth of ``data`` ends, and that tenth."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(data))
    parts = [Matches(part, part, data.labels[part]) for part in np.split(order, [len(order) // 10])]
    engine = engine_of(plan, vocabularies, instances.threads(), seed, **options)
    engine.network.start_at(float(data.labels.mean()))
    patience, best = Patience(3, 1e-4), engine.state()
    for _ in range(50):
        for batch in batches(data, parts[1], size, random):
            engine.learn(batch)
        if patience.observe(engine.score(batches(data, parts[0], size, None)).mean):
            best = engine.state()
        if patience.over:
            break
    engine.restore(best)
    return engine.answers, next(batches(data, parts[0], len(data), None))


def movies(folder: Path, seeds: int) -> None:
    """Prints how far ratings are missed by."""
    rows = {name: list(csv.DictReader((folder / f"{name}.csv").open())) for name in ("train", "test")}
    known: list[dict[str, int]] = [{}, {}]
    for row in rows["train"] + rows["test"]:
        for numbers, key in zip(known, ("userId", "movieId"), strict=True):
            numbers.setdefault(row[key], len(numbers))

    def pairs(name: str) -> Pairs:
        sides = [
            Ragged.of([[numbers[row[key]]] for row in rows[name]])
            for numbers, key in zip(known, ("userId", "movieId"), strict=True)
        ]
        labels = np.array([row["rating"] for row in rows[name]], np.float32)
        return Pairs((sides[0], sides[1]), labels)

    encoder = EncoderPlan("pooled_embedding", 1, 3, 32)
    plan = Plan((encoder, encoder), 64, COMPARATORS, 1, 64, "tanh", None)
    test, found = pairs("test"), []
    for seed in range(seeds):
        answers, _ = fitted(pairs("train"), plan, 256, [len(k) for k in known], seed, **MOVIES)
        found.append(float(np.sqrt(np.mean((answers(test)[:, 0] - test.labels) ** 2))))
    print(f"ratings: root of the mean squared error {np.mean(found):.4f} over {seeds} seeds")


def sts(folder: Path, seeds: int) -> None:
    """Prints how scores of similarity go with people's."""
    rows = {name: list(csv.DictReader((folder / f"{name}.csv").open())) for name in ("train", "test")}
    vocabulary: dict[str, int] = {"": 0}

    def words(text: str) -> list[int]:
        found = re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())
        return [vocabulary.setdefault(word, len(vocabulary)) for word in found] or [0]

    def pairs(name: str) -> Pairs:
        sides = [Ragged.of([words(row[key]) for row in rows[name]]) for key in ("sentence1", "sentence2")]
        return Pairs((sides[0], sides[1]), np.array([row["score"] for row in rows[name]], np.float32))

    train, test, found = pairs("train"), pairs("test"), []
    encoder = EncoderPlan("pooled_embedding", 1, 3, 100)
    plan = Plan((encoder, encoder), 100, ("hadamard", "abs_diff"), 1, 32, "relu", None)
    for seed in range(seeds):
        answers, held = fitted(train, plan, 32, [len(vocabulary)], seed, **STS)
        found.append([float(np.corrcoef(answers(p)[:, 0], p.labels)[0, 1]) for p in (test, held)])
    tested, same = np.mean(found, axis=0)
    print(
        f"sentences: Pearson's correlation {tested:.3f}, {same:.3f} on pairs held out of train.csv, "
        f"over {seeds} seeds"
    )


def main() -> None:
    """Prints what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.object2vec")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--case", choices=("ratings", "sentences"))
    parser.add_argument("--movies", type=Path)
    parser.add_argument("--sts", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    compile_all()
    torch.set_num_threads(instances.threads())
    if chosen.movies:
        movies(chosen.movies, chosen.seeds)
    if chosen.sts:
        sts(chosen.sts, chosen.seeds)
    if chosen.movies or chosen.sts:
        return
    for name, make in (("ratings", ratings), ("sentences", sentences)):
        if chosen.case in (None, name):
            compared(name, *make(chosen.pairs), chosen.epochs)


if __name__ == "__main__":
    main()
