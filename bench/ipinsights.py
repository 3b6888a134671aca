"""IP Insights on 1,000,000 pairs of 100,000 accounts, against a plain PyTorch loop of the same network.

vector_dim 128, one encoder layer, one random and one shuffled negative, mini-batches of 10,000, learning
rate 0.01. Both sides take the same pairs in the same order, with all cores, from hashes and addresses in
memory to a model. The peer is written as one would write it: nn.Embedding tables of the same sizes for
accounts and prefixes, one nn.Linear, torch.randint and torch.randperm for negatives, BCEWithLogitsLoss; with
torch.optim.Adam, and with sparse gradients and torch.optim.SparseAdam, of which the faster one counts. Sides
take turns; the time is the least over the seeds and the AUC (held-out pairs against random addresses, and
against each other's) the mean. Then the whole path from CSV bytes is timed for ours, and the AUC of ten
epochs on the requests of tests/data, the last 2,000 held out, is printed. Needs torch. Run as::

    python -m bench.ipinsights [--pairs 1000000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common import instances
from common.batches import Float32
from common.content_types import CSV, MediaType
from common.cores import Cores
from containers.ipinsights.evaluation import Area
from containers.ipinsights.learning import Learner, Settings
from containers.ipinsights.model import BATCHES, SCALE, Shape
from containers.ipinsights.pairs import Pairs
from containers.ipinsights.reading import decode_bytes
from containers.ipinsights.warm import compile_all

REQUESTS = Path(__file__).parents[1] / "tests" / "data" / "apache_access.csv"
ACCOUNTS = 50_000
SHAPE = Shape(100_000, 128, 1, 0)
BATCH = 10_000
RATE, DECAY = 0.01, 1e-5
SETTINGS = Settings(RATE, DECAY, 1, 1)
Score = Callable[[Pairs], Float32]


def logins(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Accounts and addresses: each account has a few of 5,000 networks, each network a few ranges."""
    random = np.random.default_rng(0)
    networks, ranges, homes = 5000, 4, 3
    bits = random.integers(10, 17, (networks, ranges))
    starts = random.integers(1 << 24, 224 << 24, (networks, ranges)) >> bits << bits
    popularity = 1 / np.arange(1, networks + 1) ** 0.9
    of_account = random.choice(networks, (ACCOUNTS, homes), p=popularity / popularity.sum())
    accounts = random.integers(0, ACCOUNTS, count)
    home = of_account[accounts, random.choice(homes, count, p=[0.7, 0.2, 0.1])]
    chosen = random.integers(0, ranges, count)
    within = (random.random(count) * (1 << bits[home, chosen])).astype(np.int64)
    return accounts, (starts[home, chosen] + within).astype(np.uint32)


def ours(pairs: Pairs, threads: int, seed: int) -> tuple[float, Score]:
    """Seconds, and what scores pairs."""
    started = time.perf_counter()
    shape = replace(SHAPE, seed=seed)
    with Cores(threads) as cores:
        learner = Learner(shape, SETTINGS, cores)
        for start in range(0, len(pairs), BATCH):
            learner.learn(pairs[start : start + BATCH], shape.key(BATCHES, start))
    return time.perf_counter() - started, learner.model().scores


class Peer(nn.Module):
    """The same network in torch's own words."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        dim, width = SHAPE.vector_dim, SHAPE.vector_dim // 4
        self.accounts = nn.Embedding(SHAPE.num_entity_vectors, dim, sparse=sparse)
        sizes = 1 << 8, 1 << 16, 1 << 16, 1 << 16
        self.prefixes = nn.ModuleList(nn.Embedding(size, width, sparse=sparse) for size in sizes)
        self.layer = nn.Linear(dim, dim)
        for table in (self.accounts, *self.prefixes):
            nn.init.uniform_(table.weight, -SCALE, SCALE)

    def addresses(self, addresses: Tensor) -> Tensor:
        """The vectors of int64 addresses."""
        rows = (
            addresses >> 24,
            addresses >> 16,
            ((addresses >> 16) * 40503 ^ (addresses >> 8)) & 0xFFFF,
            ((addresses >> 8) * 40503 ^ addresses) & 0xFFFF,
        )
        hidden = torch.cat([table(row) for table, row in zip(self.prefixes, rows, strict=True)], 1)
        return hidden + self.layer(torch.relu(hidden))


def theirs(pairs: Pairs, sparse: bool, seed: int) -> tuple[float, Score]:
    """Seconds, and what scores pairs."""
    rows = torch.from_numpy(SHAPE.rows(pairs.entities))
    addresses = torch.from_numpy(pairs.addresses.astype(np.int64))
    torch.manual_seed(seed)
    started = time.perf_counter()
    peer = Peer(sparse)
    tables = [p for name, p in peer.named_parameters() if not name.startswith("layer")]
    optimizers: list[torch.optim.Optimizer]
    if sparse:
        optimizers = [
            torch.optim.SparseAdam(tables, RATE),
            torch.optim.Adam(peer.layer.parameters(), RATE, weight_decay=DECAY),
        ]
    else:
        optimizers = [torch.optim.Adam(peer.parameters(), RATE, weight_decay=DECAY)]
    criterion = nn.BCEWithLogitsLoss()
    for start in range(0, len(rows), BATCH):
        observed = addresses[start : start + BATCH]
        count = len(observed)
        accounts = peer.accounts(rows[start : start + BATCH])
        vectors = peer.addresses(torch.cat([observed, torch.randint(0, 1 << 32, (count,))]))
        real, random = vectors[:count], vectors[count:]
        others = (real, real[torch.randperm(count)], random)
        scores = torch.cat([(accounts * other).sum(1) for other in others])
        labels = torch.zeros(3 * count)
        labels[:count] = 1
        for optimizer in optimizers:
            optimizer.zero_grad()
        criterion(scores, labels).backward()
        for optimizer in optimizers:
            optimizer.step()

    def score(asked: Pairs) -> Float32:
        with torch.no_grad():
            known = peer.accounts(torch.from_numpy(SHAPE.rows(asked.entities)))
            found = peer.addresses(torch.from_numpy(asked.addresses.astype(np.int64)))
            return (known * found).sum(1).numpy()

    return time.perf_counter() - started, score


def areas(score: Score, held_out: Pairs) -> tuple[float, float]:
    """AUC against random addresses, and against those of other pairs."""
    random = np.random.default_rng(1)
    anywhere = random.integers(0, 1 << 32, len(held_out), dtype=np.uint32)
    found = []
    for others in (anywhere, random.permutation(held_out.addresses)):
        area = Area()
        area.add(score(held_out), score(Pairs(held_out.entities, others)))
        found.append(Area.of(area.counts))
    return found[0], found[1]


def main() -> None:
    """Prints all sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.ipinsights")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    compile_all()
    threads = instances.threads()
    torch.set_num_threads(threads)
    accounts, addresses = logins(chosen.pairs + 50_000)
    hashes = np.empty(ACCOUNTS, np.uint64)
    names = [f"account_{number}" for number in range(ACCOUNTS)]
    everything = Pairs(_hashed(names, hashes)[accounts], addresses)
    pairs, held_out = everything[: chosen.pairs], everything[chosen.pairs :]
    sides: dict[str, Callable[[int], tuple[float, Score]]] = {
        "PyTorch, Adam": lambda seed: theirs(pairs, False, seed),
        "PyTorch, SparseAdam": lambda seed: theirs(pairs, True, seed),
        "IP Insights": lambda seed: ours(pairs, threads, seed),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    quality: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for seed in range(chosen.seeds):
        for name, run in sides.items():
            seconds, score = run(seed)
            times[name].append(seconds)
            quality[name].append(areas(score, held_out))
    print(f"{chosen.pairs:,} pairs of {ACCOUNTS:,} accounts in batches of {BATCH:,}, {threads} threads")
    for name, needed in times.items():
        random, shuffled = np.mean(quality[name], axis=0)
        print(
            f"{name:20} {min(needed):7.2f} s {chosen.pairs / min(needed):10,.0f} pairs/s   "
            f"AUC {random:.4f} against random addresses, {shuffled:.4f} against others'"
        )
    *peers, own = (min(needed) for needed in times.values())
    print(f"IP Insights is {min(peers) / own:.1f}x as fast as the faster peer")
    _from_text(names, accounts[: chosen.pairs], addresses[: chosen.pairs], threads)
    _requests(chosen.seeds, threads)


def _hashed(names: list[str], hashes: np.ndarray) -> np.ndarray:
    from containers.ipinsights.text_kernels import hash_each

    data = np.frombuffer(bytearray("".join(names).encode()), np.uint8)
    hash_each(data, np.cumsum([len(name) for name in names]), hashes)
    return hashes


def _from_text(names: list[str], accounts: np.ndarray, addresses: np.ndarray, threads: int) -> None:
    octets = addresses[:, None] >> np.array([24, 16, 8, 0], np.uint32) & np.uint32(0xFF)
    rows = zip(accounts.tolist(), octets.tolist(), strict=True)
    text = "".join([f"{names[a]},{o[0]}.{o[1]}.{o[2]}.{o[3]}\n" for a, o in rows]).encode()
    started = time.perf_counter()
    pairs = decode_bytes(text, "the text", MediaType(CSV))
    assert pairs is not None
    read = time.perf_counter() - started
    learnt, _ = ours(pairs, threads, 0)
    print(
        f"from {len(text) / 1e6:.0f} MB of CSV: {read:.2f} s to read and {learnt:.2f} s to learn, one after "
        f"the other {len(pairs) / (read + learnt):,.0f} pairs/s (a job does both at once)"
    )


def _requests(seeds: int, threads: int) -> None:
    pairs = decode_bytes(REQUESTS.read_bytes(), "the requests", MediaType(CSV))
    assert pairs is not None
    train, test = pairs[:-2000], pairs[-2000:]
    known = np.isin(test.entities, train.entities)
    test, found = Pairs(test.entities[known], test.addresses[known]), []
    for seed in range(seeds):
        shape = Shape(2000, 128, 1, seed)
        with Cores(threads) as cores:
            learner = Learner(shape, SETTINGS, cores)
            for epoch in range(10):
                for start in range(0, len(train), 1000):
                    learner.learn(train[start : start + 1000], shape.key(BATCHES, epoch, start))
        found.append(areas(learner.model().scores, test))
    random, shuffled = np.mean(found, axis=0)
    print(f"requests: AUC {random:.3f} against random addresses, {shuffled:.3f} against others'")


if __name__ == "__main__":
    main()
