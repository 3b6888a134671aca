"""Buckets are Sockeye's, and batches hold every pair once, padded no further than they must be."""

from __future__ import annotations

import numpy as np
import pytest

from containers.seq2seq.bucketing import Bucketed, Lengths, assigned, buckets
from containers.seq2seq.config import BOS, EOS, PAD
from tests.containers.seq2seq.tasks import as_pairs, turned


# What define_parallel_buckets of Sockeye's December 2017 gives.
@pytest.mark.parametrize(
    ("most", "width", "ratio", "expected"),
    [
        ((50, 50), 10, 1.0, [(10, 10), (20, 20), (30, 30), (40, 40), (50, 50)]),
        ((50, 50), 10, 0.5, [(10, 5), (20, 10), (30, 15), (40, 20), (50, 25), (50, 30), (50, 35), (50, 40),
                             (50, 45), (50, 50)]),
        ((50, 50), 10, 1.5, [(7, 10), (14, 20), (21, 30), (28, 40), (35, 50), (42, 50), (49, 50), (50, 50)]),
        ((75, 50), 10, 1.5, [(7, 10), (14, 20), (21, 30), (28, 40), (35, 50), (42, 50), (49, 50), (56, 50),
                             (63, 50), (70, 50), (75, 50)]),
        ((7, 5), 10, 1.0, [(7, 5)]),
        ((1, 2), 1, 10.0, [(2, 2)]),
    ],
)  # fmt: skip
def test_buckets_are_sockeyes(most, width, ratio, expected):
    assert buckets(most, width, ratio) == expected


def test_a_pair_is_in_the_first_bucket_that_holds_it():
    pairs = as_pairs(
        [([4], [4]), ([4] * 10, [4] * 9), ([4] * 10, [4] * 10), ([4] * 11, [4]), ([4] * 20, [4] * 19)]
    )
    assert assigned(pairs, [(10, 10), (20, 20)]).tolist() == [0, 0, 1, 1, 1]


def test_length_ratios_are_told():
    lengths = Lengths.of(as_pairs([([4, 4], [4]), ([4], [4, 4, 4])]))
    assert lengths.mean == pytest.approx(1.75)
    assert lengths.deviation == pytest.approx(1.25)


def rows(batch) -> list[tuple[list[int], list[int]]]:
    """A batch's pairs, seen through what the network gets."""
    found = []
    for source, length, inputs, labels in zip(
        batch.source.tolist(),
        batch.lengths.tolist(),
        batch.inputs.tolist(),
        batch.labels.tolist(),
        strict=True,
    ):
        assert set(source[length:]) <= {PAD}
        end = labels.index(EOS)
        assert set(labels[end + 1 :]) <= {PAD}
        assert inputs[0] == BOS
        assert inputs[1 : end + 1] == labels[:end]
        found.append((source[:length], labels[:end]))
    return found


@pytest.mark.parametrize("random", [None, np.random.default_rng(0)])
def test_an_epoch_has_every_pair_once(random):
    coded = turned(203, longest=25)
    batched = Bucketed(as_pairs(coded), buckets((25, 26), 10, 1.0), 16)
    batches = list(batched.epoch(random))
    assert len(batches) == len(batched)
    assert sorted(pair for batch in batches for pair in rows(batch)) == sorted(coded)
    for batch in batches:
        assert len(batch) <= 16
        assert batch.source.shape[1] == batch.lengths.max()
        assert batch.tokens == (batch.labels != PAD).sum()
        lengths = batch.lengths.tolist()
        assert (max(lengths) + (max(lengths) < 25)) // 10 <= (min(lengths) + 1) // 10 + 1


def test_epochs_are_shuffled_by_the_seed_alone():
    coded = turned(100)
    batched = Bucketed(as_pairs(coded), [(25, 26)], 16)
    first, again, other = (
        [pair for batch in batched.epoch(np.random.default_rng(seed)) for pair in rows(batch)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert [pair for batch in batched.epoch() for pair in rows(batch)] == coded


def test_a_batch_is_split_evenly():
    (batch,) = Bucketed(as_pairs(turned(5)), [(25, 26)], 16).epoch()
    assert [len(part) for part in batch.split(2)] == [2, 3]
    assert [len(part) for part in batch.split(7)] == [1] * 5
    assert sum(part.tokens for part in batch.split(3)) == batch.tokens
    assert [pair for part in batch.split(3) for pair in rows(part)] == rows(batch)


def test_a_pad_within_a_target_counts_as_padding():
    (batch,) = Bucketed(as_pairs([([4], [5, PAD, 6])]), [(25, 26)], 16).epoch()
    assert batch.tokens == 3
