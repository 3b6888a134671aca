"""Target tokens a second in training, against Joey NMT, the open toolkit of recurrent networks that installs.

Both sides begin with the same weights (a bidirectional LSTM below, an LSTM with input feeding and mlp
attention above), and see the same batches of 64 pairs in the same order: words by Zipf's law, word for
word into another vocabulary, with lengths as sentences have them. Joey NMT's step is that of its trainer:
batches sorted by length, the loss of a token, gradients clipped by value, torch's Adam. Both take turns,
each with a first batch that isn't measured; of each batch the least time of all turns counts, and the
loss is that of the last quarter. The losses part a little since MXNet's Adam, which is ours, adds its
1e-8 elsewhere than torch's. Run as::

    python -m bench.seq2seq_training [--peer-python PATH] [--hidden 256] [--words 8000] [--batches 24]
        [--turns 3] [--threads 1]

where PATH is a Python that has joeynmt, which asks for versions of its own (``pip install joeynmt``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.seq2seq_decoding import joey, network
from containers.seq2seq.bucketing import Batch, Bucketed, Lengths, buckets
from containers.seq2seq.config import EOS, PAD
from containers.seq2seq.network import Network
from containers.seq2seq.pairs import Pairs, packed

Times = list[tuple[float, float]]

SIZE = 64
RATE = 0.001


def batches(words: int, count: int) -> list[Batch]:
    """Pairs in buckets, as a job has them."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.normal(13, 4, SIZE * count).round().astype(np.int64), 4, 30)
    chances = 1 / np.arange(1, words - 3)
    ids = random.choice(words - 4, lengths.sum(), p=chances / chances.sum()).astype(np.int32)
    translated = random.permutation(words - 4).astype(np.int32)[ids]
    pairs = Pairs(packed(ids + 4, lengths), packed(translated + 4, lengths))
    made = Bucketed(pairs, buckets((100, 101), 10, Lengths.of(pairs).mean), SIZE)
    return list(made.epoch(random))


def tail(losses: list[float], parts: list[Batch]) -> float:
    """The mean loss of a token in the last quarter."""
    start = len(losses) * 3 // 4
    return sum(losses[start:]) / sum(part.tokens for part in parts[start:])


def timed(learn: Callable[[Batch], float], parts: list[Batch]) -> tuple[Times, float]:
    """The seconds that each batch but the first takes, by the clock and of the processor, and the loss."""
    learn(parts[0])
    seconds, losses = [], []
    for part in parts[1:]:
        started = time.perf_counter(), time.process_time()
        losses.append(learn(part))
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return seconds, tail(losses, parts[1:])


def ours(made: Network, parts: list[Batch], threads: int) -> tuple[Times, float]:
    """Seconds of the batches, and loss."""
    from common.cluster import Cluster
    from common.job import Hosts
    from common.optimizers import Settings
    from containers.seq2seq.learner import Learner
    from containers.seq2seq.schedules import Schedule
    from containers.seq2seq.warm import compile_all

    compile_all()
    learner = Learner(
        made,
        "adam",
        Settings(clip=1.0),
        Schedule(RATE),
        devices=("cpu",),
        cluster=Cluster(Hosts()),
        threads=threads,
    )
    return timed(lambda part: float(learner.learn(part)[0]), parts)


def theirs(made: Network, parts: list[Batch]) -> tuple[Times, float]:
    """The same of Joey NMT."""
    from joeynmt.batch import Batch as JoeyBatch

    model = joey(made).train()
    model.loss_function = ("crossentropy", 0.0)
    optimizer = torch.optim.Adam(model.parameters(), RATE)

    def learn(part: Batch) -> float:
        target = torch.cat([part.inputs[:, :1], part.labels], 1)
        batch = JoeyBatch(
            part.source,
            part.lengths,
            None,
            target,
            None,
            torch.arange(len(part)),
            torch.device("cpu"),
            PAD,
            EOS,
        )
        batch.sort_by_src_length()
        loss, _, _, _ = model(return_type="loss", **vars(batch))
        mean = batch.normalize(loss, normalization="tokens")
        mean.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
        return float(mean.item()) * part.tokens

    return timed(learn, parts)


def drawn(options: Any) -> tuple[Network, list[Batch]]:
    """The network and the batches of both sides."""
    made = network((options.words, options.words), options.hidden)
    return made, batches(options.words, options.batches + 1)


def child(options: Any) -> tuple[Times, float]:
    """Joey NMT in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        sizes = [f"--{name}={getattr(options, name)}" for name in ("hidden", "words", "batches", "threads")]
        command = [options.peer_python, "-m", "bench.seq2seq_training", *sizes, "--peer", file.name]
        subprocess.run(command, check=True)
        found = torch.load(file.name, weights_only=True)
    return found["seconds"], found["loss"]


def main() -> None:
    """The bench."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peer:
        seconds, loss = theirs(*drawn(options))
        torch.save({"seconds": seconds, "loss": loss}, options.peer)
        return
    best: dict[str, NDArray[np.float64]] = {}  # seconds of each batch
    losses: dict[str, float] = {}
    for _ in range(options.turns):
        for name, (found, loss) in (
            ("Joey NMT", child(options)),
            ("ours", ours(*drawn(options), options.threads)),
        ):
            best[name] = np.minimum(best.get(name, np.inf), np.array(found))
            losses[name] = loss
    tokens = sum(part.tokens for part in drawn(options)[1][1:])
    totals = {name: times.sum(0) for name, times in best.items()}
    for name, (clock, processor) in totals.items():
        print(
            f"{name:<9} {tokens / clock:8,.0f} target tokens a second, {tokens / processor:8,.0f} a second "
            f"of processor time, loss {losses[name]:.3f}"
        )
    clock, processor = totals["Joey NMT"] / totals["ours"]
    print(f"ratio {clock:.2f}, of processor time {processor:.2f}")


if __name__ == "__main__":
    main()
