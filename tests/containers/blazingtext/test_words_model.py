"""The maths of word vectors: against plain numpy, scipy and Python's own words."""

from __future__ import annotations

import collections
import io
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from common.compiled import compiled
from common.content_types import MediaType
from common.cores import Cores
from common.failures import ClientError
from containers.blazingtext import learning_kernels, model, similarity, subwords, tiles, tokens, word_artifact
from containers.blazingtext.learning import HogwildLearner, Settings, Task, parts_of
from containers.blazingtext.text import Block
from containers.blazingtext.text_kernels import hash_of
from containers.blazingtext.vocabulary import Counter, Vocabulary, of_entries

PLAIN = MediaType("text/plain")


def tokens_of(text: bytes) -> list[bytes]:
    return [token for block in tokens.read(io.BytesIO(text), "text", PLAIN) for token in block]


def vocabulary_of(text: bytes, min_count: int = 1, labelled: bool = False) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a text, and the numbers of its words."""
    counter = Counter(labelled)
    found = [counter.add(block) for block in tokens.read(io.BytesIO(text), "text", PLAIN)]
    vocabulary, entries = counter.vocabulary(min_count)
    return vocabulary, entries[np.concatenate(found)]


# --- tokens and vocabulary ---


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"one",
        b"a b\tc\vd\fe\0f\rg\nh  \n",
        b" \xc3\xa9t\xc3\xa9 \xff\xfe </s> x\r\n",
        b"word " * 40_000,
        b"ab " + b"z" * 200_000 + b" c\nd",
    ],
)
def test_text_is_split_as_fasttext_splits_it(text):
    wanted = [b"</s>" if part == b"\n" else part for part in re.findall(rb"[^ \n\r\t\v\f\0]+|\n", text)]
    assert tokens_of(text) == wanted


def test_where_a_stream_pauses_makes_no_difference():
    class Dripping(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:1000])

    text = b"some words of differing length\n" * 10_000
    one, other = (list(tokens.read(kind(text), "text", PLAIN)) for kind in (io.BytesIO, Dripping))
    assert [len(block) for block in one] == [len(block) for block in other]
    assert len(one) > 1


def test_other_encodings_are_read_as_the_content_type_says():
    stream = io.BytesIO("été \n".encode("utf-16"))
    (block,) = tokens.read(stream, "text", MediaType("text/plain", {"charset": "utf-16"}))
    assert list(block) == ["été".encode(), b"</s>"]


def test_a_token_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(tokens, "LONGEST_TOKEN", 1 << 18)
    blocks = tokens.read(io.BytesIO(b"x" * (1 << 20)), "channel x", PLAIN)
    with pytest.raises(ClientError, match="channel x has a token longer than 262144 bytes"):
        list(blocks)


def test_hashes_are_fasttexts():
    def reference(word: bytes) -> int:
        code = 2166136261
        for byte in word:
            code ^= byte | 0xFFFFFF00 if byte > 127 else byte
            code = code * 16777619 & 0xFFFFFFFF
        return code

    for word in (b"", b"a", b"</s>", "naïve".encode(), bytes(range(1, 256))):
        assert hash_of(np.frombuffer(bytearray(word), np.uint8), 0, len(word)) == reference(word)


def test_a_vocabulary_counts_orders_and_finds():
    random = np.random.default_rng(0)
    words = [f"w{number}".encode() for number in random.zipf(1.3, 30_000) % 5000]
    text = b"\n".join(b" ".join(words[start : start + 7]) for start in range(0, len(words), 7)) + b"\n"
    vocabulary, numbers = vocabulary_of(text, 3)
    listed = tokens_of(text)
    wanted = [(word, count) for word, count in collections.Counter(listed).most_common() if count >= 3]
    assert list(vocabulary) == [word for word, _ in wanted]
    assert vocabulary.counts.tolist() == [count for _, count in wanted]
    assert (vocabulary.words, vocabulary.labels, vocabulary.tokens) == (len(wanted), 0, len(listed))
    place = {word: number for number, (word, _) in enumerate(wanted)}
    assert numbers.tolist() == [place.get(word, -1) for word in listed]
    again = of_entries(list(vocabulary), vocabulary.counts, vocabulary.words, vocabulary.tokens)
    assert again.ids(tokens.split(text)).tolist() == numbers.tolist()


def test_labels_stand_behind_words_where_they_are_asked_for():
    text = b"__label__b word word __label__a __label__b other __label\n"
    plain, _ = vocabulary_of(text)
    labelled, _ = vocabulary_of(text, labelled=True)
    assert (plain.words, plain.labels) == (6, 0)
    assert list(labelled) == [b"word", b"other", b"__label", b"</s>", b"__label__b", b"__label__a"]
    assert (labelled.words, labelled.labels) == (4, 2)
    assert list(vocabulary_of(text, 2, labelled=True)[0])[-1] == b"__label__a"


# --- what chance decides ---


def test_words_are_drawn_by_the_power_of_their_counts():
    counts = np.array([1000, 300, 10, 1, 1])
    table = model.lots(counts)
    chance = np.zeros(5)
    for word, (own, other) in enumerate(table.astype(float)):
        chance[word] += own / 2**32 / 5
        chance[int(other)] += (1 - own / 2**32) / 5
    np.testing.assert_allclose(chance, counts**0.75 / (counts**0.75).sum(), rtol=1e-6)


def test_frequent_words_are_left_out_more_often():
    keep = model.keeping(np.array([500, 400, 1]), 10_000, 1e-3) / 2**32
    share = np.array([500, 400]) / 10_000
    np.testing.assert_allclose(keep[:2], np.sqrt(1e-3 / share) + 1e-3 / share, rtol=1e-6)
    assert keep[2] == pytest.approx(1)


def test_matrices_begin_where_cache_lines_do_and_the_same_for_a_seed():
    one, same, other = (model.initial(5, 3, 10, seed) for seed in (1, 1, 2))
    assert one.inputs.shape == (5, 16)
    assert one.outputs.shape == (3, 16)
    assert one.inputs.ctypes.data % 64 == 0
    assert np.abs(one.inputs).max() <= 0.05
    assert not one.inputs[:, 10:].any()
    assert np.array_equal(one.inputs, same.inputs)
    assert not np.array_equal(one.inputs, other.inputs)


# --- kernels ---

_dots, _update = tiles.dots(2, 3), tiles.updates(3)


@compiled
def _tile(left, left_rows, right, right_rows, scores):
    _dots(left, left_rows, 1, right, right_rows, 1, scores)


@compiled
def _change(left, left_rows, count, sums, sum_rows, right, right_rows, steps):
    _update(left, left_rows, count, sums, sum_rows, right, right_rows, 1, steps)


def test_tiles_are_products_of_the_rows_that_are_named():
    random = np.random.default_rng(0)
    left, right, sums = (random.normal(size=(9, 24)).astype(np.float32) for _ in range(3))
    rows, others = np.array([7, 2, 5], np.int32), np.array([8, 0, 3, 6], np.int32)
    scores = np.zeros((3, 4), np.float32)
    _tile(left, rows, right, others, scores)
    wanted = np.zeros_like(scores)
    wanted[1:, 1:] = left[rows[1:]] @ right[others[1:]].T
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)
    steps = random.normal(size=(3, 4)).astype(np.float32)
    wanted_sums, wanted_right = sums.copy(), right.copy()
    wanted_sums[others[:3]] += steps[:, 1:] @ right[others[1:]]
    wanted_right[others[1:]] += steps[:, 1:].T @ left[rows]
    _change(left, rows, 3, sums, others, right, others, steps)
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(right, wanted_right, rtol=1e-5, atol=1e-5)


def test_steps_are_the_rate_times_what_is_left_to_certainty():
    scores = np.linspace(-30, 30, 602).astype(np.float32).reshape(2, -1)
    wanted = -0.5 / (1 + np.exp(-scores.astype(float)))
    wanted[:, :2] += 0.5
    learning_kernels._steps(scores, 2, scores.shape[1], 2, np.float32(0.5))
    np.testing.assert_allclose(scores, wanted, atol=3e-5)


# With two words, a window of one and none left out, chance decides nothing: the negative is the other word.
LONG = [[0, 1, 1, 0, 1, 0, 0, 1] * 3]
PAIRS = [[0, 1], [1, 0], [0, 1], [0, 0], [1, 1]] * 3
RATE = 0.2


def learnt(mode: str, texts: list[list[int]], lengths: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Input and output rows from the kernels, and from plain numpy."""
    vocabulary, _ = vocabulary_of(b"first second")
    parts = parts_of(vocabulary, lengths, 50)
    with Cores(1) as cores:
        learner = HogwildLearner(vocabulary, parts, Settings(mode, 12, 1, 1, 4, 0.999, 3), cores)
    matrices = learner.matrices()
    random = np.random.default_rng(0)
    for matrix in (matrices.inputs, matrices.outputs):
        matrix[:, :12] = random.normal(size=(len(matrix), 12))
    inputs, outputs = matrices.inputs.astype(float), matrices.outputs.astype(float)
    for words in texts:
        block = Block(np.array(words, np.int32), vocabulary)
        learner.learn([Task(block, (RATE, RATE), np.uint64(9))])
        plain(mode, words, inputs, outputs, parts)
    return [matrices.inputs, matrices.outputs, inputs, outputs]


def plain(mode, words, inputs, outputs, parts):
    rows_of = [parts.rows[parts.bounds[word] : parts.bounds[word + 1]].tolist() for word in range(2)]
    for place, word in enumerate(words):
        around = [words[other] for other in (place - 1, place + 1) if 0 <= other < len(words)]
        if mode == "skipgram":
            targets, rows = [*around, *[1 - other for other in around]], [rows_of[word]]
            labels = (np.arange(len(targets)) < len(around))[None]
        else:
            targets, labels = [word, 1 - word], np.eye(1, 2)
            rows = [[w] for w in around]
            if mode == "cbow":
                rows = [[row for w in around for row in rows_of[w]]]
        hidden = np.array([inputs[part].mean(0) for part in rows])
        step = RATE * (labels - 1 / (1 + np.exp(-hidden @ outputs[targets].T)))
        change = step @ outputs[targets]
        np.add.at(outputs, targets, step.T @ hidden)
        for part, gradient in zip(rows, change, strict=True):
            np.add.at(inputs, part, gradient)


@pytest.mark.parametrize(
    ("mode", "texts", "lengths"),
    [
        ("skipgram", PAIRS, None),
        ("skipgram", PAIRS, (1, 3)),
        ("batch_skipgram", LONG, None),
        ("cbow", LONG, None),
        ("cbow", LONG, (1, 3)),
    ],
)
def test_learning_is_gradient_descent_on_the_log_loss(mode, texts, lengths):
    inputs, outputs, wanted_inputs, wanted_outputs = learnt(mode, texts, lengths)
    assert (len(inputs) > 2) == (lengths is not None)
    np.testing.assert_allclose(inputs, wanted_inputs, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(outputs, wanted_outputs, rtol=1e-3, atol=1e-3)


def test_parts_are_a_word_and_the_buckets_of_its_ngrams():
    vocabulary, _ = vocabulary_of("été </s> b\n".encode())
    parts = parts_of(vocabulary, (2, 3), 1000)
    found, bounds = subwords.subwords(vocabulary.text, vocabulary.offsets, 2, 3, 1000)
    for word in range(vocabulary.words):
        rows = parts.rows[parts.bounds[word] : parts.bounds[word + 1]].tolist()
        assert rows[0] == word
        assert [parts.buckets[row - vocabulary.words] for row in rows[1:]] == found[
            bounds[word] : bounds[word + 1]
        ].tolist()
    assert parts.count == vocabulary.words + len(set(found.tolist()))
    inputs = np.random.default_rng(0).normal(size=(parts.count, 8)).astype(np.float32)
    vectors = word_artifact.vectors(model.Matrices(inputs, inputs, 8), parts)
    for word in range(vocabulary.words):
        rows = parts.rows[parts.bounds[word] : parts.bounds[word + 1]]
        np.testing.assert_allclose(vectors[word], inputs[rows].mean(0), rtol=1e-5, atol=1e-6)


# --- evaluation ---


def test_rank_correlation_is_scipys():
    random = np.random.default_rng(0)
    for _ in range(5):
        first, second = random.integers(0, 9, 40), random.normal(size=40)
        assert similarity.spearman(first, second) == pytest.approx(spearmanr(first, second)[0])
    assert similarity.spearman(np.ones(3), np.arange(3)) == 0
    assert similarity.spearman(np.ones(1), np.ones(1)) == 0


def test_word_pairs_are_complete():
    sets = [similarity.pairs(name) for name in similarity.SETS]
    assert [len(listed) for listed in sets] == [353, 252, 203]
    assert all(0 <= score <= 10 for listed in sets for _, _, score in listed)
    everything = {frozenset(pair[:2]) for pair in sets[0]}
    assert {frozenset(pair[:2]) for pair in sets[1] + sets[2]} == everything


def test_vectors_that_agree_with_people_score_one():
    rows: dict[str, int] = {}
    vectors = []
    for first, second, score in similarity.pairs("EN-WS-353-ALL.txt")[:1]:
        rows |= {first: 0, second: 1}
        vectors += [[1.0, 0.0], [score, 1.0]]
    found = similarity.evaluate(rows, np.array(vectors, np.float32))
    assert found["EN-WS-353-ALL.txt"] == {"not_found": 352, "spearmans_rho": 0.0, "total_pairs": 353}
    words = sorted({word.lower() for pair in similarity.pairs("EN-WS-353-SIM.txt") for word in pair[:2]})
    vectors = np.random.default_rng(0).normal(size=(len(words), 5)).astype(np.float32)
    found = similarity.evaluate({word: row for row, word in enumerate(words)}, vectors)
    assert found["EN-WS-353-SIM.txt"]["not_found"] == 0
    rhos = [found[name]["spearmans_rho"] for name in similarity.SETS]
    assert found["mean_rho"] == pytest.approx(np.mean(rhos))
    assert set(found) == {*similarity.SETS, "mean_rho"}


def test_text_form_is_word2vecs(tmp_path: Path):
    vocabulary, _ = vocabulary_of(b"b b a\n")
    values = np.array([[0.5, -1e-7], [3, 4], [1234567, 0]], np.float32)
    word_artifact.write_text(tmp_path / "v", vocabulary, values)
    assert (tmp_path / "v").read_bytes() == b"3 2\nb 0.5 -1e-07\na 3 4\n</s> 1.2346e+06 0\n"
