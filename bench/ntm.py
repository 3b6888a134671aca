"""Documents a second of the neural topic model, against a plain PyTorch loop of the same network and loss.

The peer is the loop that tutorials show for NVDM and ProdLDA: dense counts in memory, ``nn.Linear`` layers,
``log_softmax``, ``torch.optim``. Both sides have the same layers, loss, optimizer, batches and threads, and
learn from the same documents of 100 words on average, made of topics as LDA supposes. Two sizes: vocabulary,
topics and batch of SageMaker's notebook for 20 newsgroups (2,000, 20, 128), and 10,000 words and 50 topics
with the default batch of 256. Epochs of the two take turns; the time is the least of an epoch, and the loss
is that on held-out documents after the last. Run as::

    python -m bench.ntm [--documents 8000] [--epochs 8] [--optimizer adadelta|adam]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from common import instances
from common.batches import CSR, dense, to_csr
from common.cluster import Cluster
from common.job import Hosts
from common.optimizers import Settings
from containers.ntm.data import take
from containers.ntm.engine import Engine
from containers.ntm.model import Network
from containers.ntm.warm import compile_all

SIZES = ((2000, 20, 128), (10_000, 50, 256))
HELD_OUT = 1000
RATE = 0.003


def corpus(documents: int, vocabulary: int, topics: int) -> CSR:
    """Documents of mixed topics, whose words are as frequent as Zipf's law has it."""
    random = np.random.default_rng(0)
    frequency = 1 / np.arange(1, vocabulary + 1)
    chances = random.dirichlet(np.full(vocabulary, 0.05), topics) * frequency**0.5 + 0.1 * frequency / 5
    chances /= chances.sum(axis=1, keepdims=True)
    mixtures = random.dirichlet(np.full(topics, 0.1), documents)
    lengths = 20 + random.poisson(80, documents)
    return to_csr(
        np.stack(
            [random.multinomial(length, mix @ chances) for length, mix in zip(lengths, mixtures, strict=True)]
        ).astype(np.float32)
    )


class Plain(nn.Module):
    """The peer's network."""

    def __init__(self, vocabulary: int, topics: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(vocabulary, 3 * topics), nn.Sigmoid(), nn.Linear(3 * topics, 2 * topics), nn.Sigmoid()
        )
        self.mean, self.log_deviation = nn.Linear(2 * topics, topics), nn.Linear(2 * topics, topics)
        self.decoder = nn.Linear(topics, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """The sum over documents of the loss a word."""
        hidden = self.encoder(x)
        mean, log_deviation = self.mean(hidden), self.log_deviation(hidden)
        h = mean + log_deviation.exp() * torch.randn_like(mean)
        logs = torch.log_softmax(self.decoder(torch.softmax(h, 1)), 1)
        kld = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).sum(1)
        return ((kld - (x * logs).sum(1)) / x.sum(1)).sum()


Epoch = Callable[[], None]
Score = Callable[[], float]


def theirs(rows: CSR, held: CSR, topics: int, batch: int, optimizer: str) -> tuple[Epoch, Score]:
    """An epoch of the peer, and its loss on held-out documents."""
    torch.manual_seed(0)
    x, test = torch.from_numpy(dense(rows)), torch.from_numpy(dense(held))
    network = Plain(rows.shape[1], topics)
    stepping: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), RATE)
    if optimizer == "adadelta":
        stepping = torch.optim.Adadelta(network.parameters(), 1.0, rho=0.9, eps=1e-5)

    def epoch() -> None:
        for part in torch.randperm(len(x)).split(batch):
            stepping.zero_grad()
            network(x[part]).backward()
            stepping.step()

    def score() -> float:
        with torch.no_grad():
            return float(network(test)) / len(test)

    return epoch, score


def ours(rows: CSR, held: CSR, topics: int, batch: int, optimizer: str, threads: int) -> tuple[Epoch, Score]:
    """The same of Algodock."""
    torch.manual_seed(0)
    network = Network(rows.shape[1], topics, [3 * topics, 2 * topics], "sigmoid")
    engine = Engine(
        network,
        optimizer,
        Settings(RATE),
        devices=("cpu",),
        cluster=Cluster(Hosts()),
        seed=0,
        threads=threads,
    )
    random = np.random.default_rng(0)

    def epoch() -> None:
        order = random.permutation(len(rows))
        engine.learn(take(rows, order[start : start + batch]) for start in range(0, len(rows), batch))

    return epoch, lambda: engine.score([held]).means["total"]


def main() -> None:
    """Prints both sides, size by size, and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.ntm")
    parser.add_argument("--documents", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--optimizer", choices=("adadelta", "adam"), default="adadelta")
    chosen = parser.parse_args()
    compile_all()
    threads = instances.threads()
    torch.set_num_threads(threads)
    for vocabulary, topics, batch in SIZES:
        everything = corpus(chosen.documents + HELD_OUT, vocabulary, topics)
        rows, held = everything[: chosen.documents], everything[chosen.documents :]
        sides = {
            "plain PyTorch": theirs(rows, held, topics, batch, chosen.optimizer),
            "neural topic model": ours(rows, held, topics, batch, chosen.optimizer, threads),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(chosen.epochs):
            for name, (epoch, _) in sides.items():
                started = time.perf_counter()
                epoch()
                times[name].append(time.perf_counter() - started)
        print(
            f"{chosen.documents:,} documents, {vocabulary:,} words, {topics} topics, batches of {batch}, "
            f"{chosen.optimizer}, {threads} threads"
        )
        for name, (_, score) in sides.items():
            speed = chosen.documents / min(times[name])
            print(f"{name:20} {speed:9,.0f} documents/s   held-out loss {score():.4f}", flush=True)
        peer, own = (min(times[name]) for name in sides)
        print(f"{peer / own:.1f}x as fast")


if __name__ == "__main__":
    main()
