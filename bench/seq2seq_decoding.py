"""Beam search of five with the same networks, against Joey NMT, the open toolkit of recurrent ones.

Joey NMT is given our weights: both have a bidirectional LSTM, then an LSTM with input feeding and mlp
attention, equal sizes, threads and batches of 64 sentences sorted by length. Two tasks are decoded:

- ``words``: 8,000 words a side, answers of 25 words all, from weights that were drawn: what a step takes.
- ``sounds``: a word's letters to its sounds (tests/data/pronunciations.tsv.gz), by a network that has learned
  it: answers end when they do. Words that are answered without a fault are counted.

Both take turns; the time is the least of all turns. Run as::

    python -m bench.seq2seq_decoding [--peer-python PATH] [--hidden 512] [--sentences 256] [--turns 3]

where PATH is a Python that has joeynmt beside what this one has (joeynmt asks for versions of its own).
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from containers.seq2seq.beam import translate
from containers.seq2seq.config import BOS, EOS, PAD, UNK, Config
from containers.seq2seq.network import Network, initialize

BEAM, BATCH = 5, 64
PRONUNCIATIONS = Path(__file__).parents[1] / "tests" / "data" / "pronunciations.tsv.gz"
HELD_OUT = 500

Sequences = list[list[int]]


def network(vocabulary: tuple[int, int], hidden: int, **lengths: Any) -> Network:
    """What Joey NMT can build too: no bias of the output, a state that begins at zero."""
    config = Config(
        vocab_source_size=vocabulary[0],
        vocab_target_size=vocabulary[1],
        num_embed_source=hidden // 2,
        num_embed_target=hidden // 2,
        rnn_num_hidden=hidden,
        rnn_attention_num_hidden=hidden,
        rnn_decoder_state_init="zero",
        beam_size=BEAM,
        **lengths,
    )
    made = Network(config)
    initialize(made, "xavier", 2.34, "in", 0)
    made.output.bias.requires_grad_(False)
    return made.eval()


def words(hidden: int, count: int) -> tuple[Network, Sequences]:
    """Drawn weights, and sources of 10 to 30 words."""
    size = 8000
    made = network((size, size), hidden, max_seq_len_target=25, length_ratio_mean=100.0)
    with torch.no_grad():
        made.output.weight *= 20  # else all words are as likely
    random = np.random.default_rng(0)
    return made, [random.integers(4, size, random.integers(10, 31)).tolist() for _ in range(count)]


def sounds(hidden: int, updates: int) -> tuple[Network, Sequences, Sequences]:
    """A network that learned for so many updates, words that it has not seen, and their sounds."""
    with gzip.open(PRONUNCIATIONS, "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    pairs = [(list(word), sound.split()) for word, sound in rows]
    letters = {
        letter: id for id, letter in enumerate(sorted({each for word, _ in pairs for each in word}), 4)
    }
    symbols = {
        symbol: id for id, symbol in enumerate(sorted({each for _, sound in pairs for each in sound}), 4)
    }
    sources = [[letters[letter] for letter in word] for word, _ in pairs]
    targets = [[symbols[symbol] for symbol in sound] for _, sound in pairs]
    made = network((len(letters) + 4, len(symbols) + 4), hidden, length_ratio_mean=1.0, length_ratio_std=0.2)
    made.train()
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], 1e-3)
    random = np.random.default_rng(0)
    for _ in range(updates):
        chosen = random.integers(HELD_OUT, len(pairs), 128)
        source, lengths = padded([sources[index] for index in chosen])
        target, _ = padded([[BOS, *targets[index], EOS] for index in chosen])
        logits = made(source, lengths, target[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(made.parameters(), 1.0)
        optimizer.step()
    return made.eval(), sources[:HELD_OUT], targets[:HELD_OUT]


def padded(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """(n, longest) ids and their lengths."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), PAD)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return ids, lengths


def joey(made: Network) -> Any:
    """Joey NMT's network with the same weights."""
    from joeynmt.decoders import RecurrentDecoder  # type: ignore[import-not-found]
    from joeynmt.embeddings import Embeddings  # type: ignore[import-not-found]
    from joeynmt.encoders import RecurrentEncoder  # type: ignore[import-not-found]
    from joeynmt.model import Model  # type: ignore[import-not-found]

    config, hidden = made.config, made.config.rnn_num_hidden
    ids = SimpleNamespace(
        pad_index=PAD, unk_index=UNK, bos_index=BOS, eos_index=EOS, sep_index=None, specials=[], lang_tags=[]
    )
    encoder = RecurrentEncoder("lstm", hidden // 2, config.num_embed_source)
    decoder = RecurrentDecoder(
        "lstm", config.num_embed_target, hidden, encoder, "bahdanau", 1, config.vocab_target_size,
        init_hidden="zero", input_feeding=True,
    )  # fmt: skip
    source = Embeddings(config.num_embed_source, vocab_size=config.vocab_source_size, padding_idx=PAD)
    target = Embeddings(config.num_embed_target, vocab_size=config.vocab_target_size, padding_idx=PAD)
    theirs = Model(encoder, decoder, source, target, ids, ids).eval()
    ours = dict(made.state_dict())
    names = {
        "src_embed.lut.weight": "encoder.embedding.weight",
        "trg_embed.lut.weight": "decoder.embedding.weight",
        "decoder.att_vector_layer.weight": "decoder.hidden.weight",
        "decoder.att_vector_layer.bias": "decoder.hidden.bias",
        "decoder.output_layer.weight": "output.weight",
        "decoder.attention.key_layer.weight": "decoder.attention.source_weight",
        "decoder.attention.query_layer.weight": "decoder.attention.query_weight",
        "decoder.attention.energy_layer.weight": "decoder.attention.score_weight",
    }
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        names[f"encoder.rnn.{kind}_l0"] = f"encoder.forwards.{kind}_l0"
        names[f"encoder.rnn.{kind}_l0_reverse"] = f"encoder.backwards.{kind}_l0"
        names[f"decoder.rnn.{kind}_l0"] = f"decoder.cells.0.{kind}"
    theirs.load_state_dict({name: ours[own] for name, own in names.items()})
    return theirs


def joey_translates(theirs: Any, sources: Sequences, longest: int, shortest: int) -> Sequences:
    """Its beam search with a length penalty of 1, without </s>."""
    from joeynmt.search import beam_search  # type: ignore[import-not-found]

    answers: Sequences = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda index: -len(sources[index]))
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            source, lengths = padded([sources[index] for index in chosen])
            mask = (source != PAD)[:, None]
            encoded, hidden, _, _ = theirs("encode", src=source, src_length=lengths, src_mask=mask)
            found, _, _ = beam_search(
                theirs, BEAM, encoded, hidden, mask, longest, 1.0, min_output_length=shortest
            )
            for index, row in zip(chosen, found.tolist(), strict=True):
                row = [int(id) for id in row]
                answers[index] = row[: row.index(EOS)] if EOS in row else [id for id in row if id != PAD]
    return answers


def ours(made: Network, sources: Sequences, shortest: int) -> tuple[float, Sequences]:
    """Seconds, and the answers."""
    if shortest:
        made.output.bias[EOS] = -1e9
    arrays = [np.array(source) for source in sources]
    started = time.perf_counter()
    answers = translate(made, arrays, BEAM, sentences=BATCH)
    return time.perf_counter() - started, [answer.ids.tolist() for answer in answers]


def peer(path: str, threads: int) -> None:
    """What the child process does: decodes twice, and writes the least seconds and the answers."""
    torch.set_num_threads(threads)
    task = torch.load(path, weights_only=True)
    made = Network(Config.from_json(task["config"]))
    made.load_state_dict(task["weights"])
    theirs = joey(made)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        answers = joey_translates(theirs, task["sources"], task["longest"], task["shortest"])
        seconds.append(time.perf_counter() - started)
    torch.save({"seconds": min(seconds), "answers": answers}, path)


def compare(name: str, made: Network, sources: Sequences, targets: Sequences | None, options: Any) -> None:
    """Prints both in turns."""
    shortest = 0 if targets else made.config.max_seq_len_target
    best = [float("inf"), float("inf")]
    for _ in range(options.turns):
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            task = {
                "config": made.config.to_json(),
                "weights": made.state_dict(),
                "sources": sources,
                "longest": shortest or max(map(len, sources)) * 2,
                "shortest": shortest,
            }
            torch.save(task, file.name)
            command = [options.peer_python, "-m", "bench.seq2seq_decoding", "--peer", file.name]
            subprocess.run([*command, "--threads", str(options.threads)], check=True)
            found = torch.load(file.name, weights_only=True)
        for _ in range(2):
            seconds, answers = ours(made, sources, shortest)
            best[0] = min(best[0], seconds)
        best[1] = min(best[1], found["seconds"])
    for who, seconds, given in (("ours", best[0], answers), ("Joey NMT", best[1], found["answers"])):
        right = (
            ""
            if targets is None
            else f", {np.mean([g == t for g, t in zip(given, targets, strict=True)]):.1%} right"
        )
        print(f"{name}: {who:<9} {len(sources) / seconds:8.1f} sentences a second{right}")
    alike = np.mean([one == other for one, other in zip(answers, found["answers"], strict=True)])
    print(f"{name}: ratio {best[1] / best[0]:.2f}, {alike:.1%} of the answers are the same")


def main() -> None:
    """The bench."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peer:
        peer(options.peer, options.threads)
        return
    compare("words", *words(options.hidden, options.sentences), None, options)
    compare("sounds", *sounds(options.hidden // 2, options.updates), options)


if __name__ == "__main__":
    main()
