"""Beam search against greedy choice, all answers there are, and the plain algorithm for one sentence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from containers.seq2seq.beam import most_words, translate
from containers.seq2seq.config import BOS, EOS, PAD
from containers.seq2seq.network import Network
from tests.containers.seq2seq.networks import SOURCES, config, network

CONVOLUTIONAL = {"encoder_type": "cnn", "decoder_type": "cnn", "num_layers_decoder": 2}


def sources(count: int, longest: int = 9) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(4, SOURCES, random.integers(1, longest + 1)) for _ in range(count)]


def following(made: Network, source: np.ndarray, words: list[int]) -> np.ndarray:
    """Log-probabilities of the word after ``words``, by the whole network."""
    with torch.no_grad():
        target = torch.tensor([[BOS, *words]])
        logits = made(torch.tensor(source)[None], torch.tensor([len(source)]), target)[0, -1]
        logits[[PAD, BOS]] = -math.inf
        return torch.log_softmax(logits, 0).double().numpy()


def plainly(made: Network, source: np.ndarray, beam: int) -> tuple[list[int], float]:
    """The search that Sockeye does for one sentence, to its very end."""
    hypotheses: list[tuple[float, list[int]]] = [(0.0, [])]
    for length in range(1, most_words(made.config, len(source)) + 1):
        candidates = []
        for worth, words in hypotheses:
            if words[-1:] == [EOS]:
                candidates.append((worth, words))
                continue
            for word, found in enumerate(following(made, source, words)):
                candidates.append(((worth * (length - 1) + found) / length, [*words, word]))
        candidates.sort(key=lambda candidate: -candidate[0])
        hypotheses = candidates[:beam]
        if all(words[-1] == EOS for _, words in hypotheses):
            break
    worth, words = hypotheses[0]
    return [word for word in words if word != EOS], worth


@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize(
    ("ending", "changed"),
    [(1.0, {}), (2.0, {"rnn_cell_type": "gru", "num_layers_decoder": 2}), (1.0, CONVOLUTIONAL)],
)
def test_it_finds_what_the_plain_search_finds(ending, changed, beam):
    made = network(**changed, scale=1.0, length_ratio_std=0.0, max_seq_len_target=7)
    made.output.bias.data[EOS] += ending
    given = sources(12)
    answers = translate(made, given, beam)
    for source, answer in zip(given, answers, strict=True):
        words, worth = plainly(made, source, beam)
        assert answer.ids.tolist() == words
        assert answer.score == pytest.approx(worth, abs=1e-5)
    assert beam < 5 or len({len(answer.ids) for answer in answers}) > 1


def test_a_beam_of_one_is_greedy():
    made = network(seed=4)
    for source, answer in zip(sources(5), translate(made, sources(5), 1), strict=True):
        words: list[int] = []
        while len(words) < most_words(made.config, len(source)):
            words.append(int(following(made, source, words).argmax()))
            if words[-1] == EOS:
                words.pop()
                break
        assert answer.ids.tolist() == words


def test_a_wide_beam_finds_the_best_of_all_answers():
    # <unk>, </s> and two words; at most three of them.
    made = network(vocab_target_size=6, max_seq_len_target=3, scale=1.0)
    made.output.bias.data[EOS] += 1.0
    source = sources(1)[0]
    best = (-math.inf, ())
    for size in (0, 1, 2, 3):
        for words in itertools.product((1, 4, 5), repeat=size):
            ended = [*words, EOS][:3]  # three words need not end
            logs = [following(made, source, ended[:at])[word] for at, word in enumerate(ended)]
            best = max(best, (float(np.mean(logs)), words))
    (answer,) = translate(made, [source], 100)
    assert tuple(answer.ids) == best[1]
    assert answer.score == pytest.approx(best[0], abs=1e-5)


def test_the_mean_and_not_the_sum_decides():
    made = network()
    for weight in made.parameters():
        weight.data.zero_()
    # Whatever was said: the word 4 with 0.6, </s> with 0.3. No answer is likelier than one of a few words.
    odds = made.output.bias.data
    odds.fill_(-30)
    odds[EOS], odds[4], odds[5] = math.log(0.3), math.log(0.6), math.log(0.1)
    (answer,) = translate(made, [np.array([4, 5])], 3)
    limit = most_words(made.config, 2)
    assert answer.ids.tolist() == [4] * limit
    assert answer.score == pytest.approx(math.log(0.6))


@pytest.mark.parametrize("changed", [{"rnn_attention_type": "dot"}, {}, CONVOLUTIONAL])
def test_sentences_do_not_know_each_other(changed):
    made = network(**changed, scale=1.0)
    made.output.bias.data[EOS] += 1.0
    given = sources(30)
    together = translate(made, given, attention=True)
    for size in (1, 7):
        for one, other in zip(translate(made, given, attention=True, sentences=size), together, strict=True):
            assert one.ids.tolist() == other.ids.tolist()
            assert one.score == pytest.approx(other.score, abs=1e-5)
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)


@pytest.mark.parametrize("changed", [{}, {"rnn_attention_type": "fixed"}, CONVOLUTIONAL])
def test_attention_is_that_of_the_answers_own_words(changed):
    made = network(**changed, scale=1.0)
    made.output.bias.data[EOS] += 1.0
    given = sources(10)
    for source, answer in zip(given, translate(made, given, attention=True), strict=True):
        lengths = torch.tensor([len(source)])
        encoded = made.encoder(torch.tensor(source)[None], lengths)
        loop, state = (
            made.decoder.loop(made.decoder.source(encoded, lengths)),
            made.decoder.start(encoded, lengths),
        )
        assert answer.attention.shape == (len(answer.ids), len(source))
        for at, word in enumerate([BOS, *answer.ids[:-1]] if len(answer.ids) else []):
            state, probabilities = loop.step(torch.tensor([word]), at, state, None, 1)
            np.testing.assert_allclose(answer.attention[at], probabilities[0].detach(), atol=1e-5)


def test_how_long_an_answer_may_be():
    limits = config(length_ratio_mean=1.2, length_ratio_std=0.15, max_seq_len_target=40)
    assert [most_words(limits, length) for length in (1, 10, 11, 20, 100)] == [15, 15, 30, 30, 40]
    assert most_words(config(length_ratio_mean=0.0, length_ratio_std=0.0), 5) == 1
    assert most_words(config(length_ratio_mean=1e300), 5) == 15


def test_long_and_empty_sources():
    made = network(max_seq_len_source=6)
    long = np.arange(4, 20)
    first, cut, empty = translate(made, [long, long[:6], np.array([], np.int64)], attention=True)
    assert first.ids.tolist() == cut.ids.tolist()
    assert (empty.ids.tolist(), empty.score, empty.attention.shape) == ([], 0.0, (0, 0))
    assert translate(made, []) == []
    assert translate(made, [long])[0].attention is None


def test_large_vocabularies_and_a_network_in_training():
    made = network(vocab_target_size=1003, embed_dropout_source=0.9, max_seq_len_target=3).train()
    given = sources(3)
    answers = translate(made, given)
    assert made.training
    for source, answer in zip(given, answers, strict=True):
        words, worth = plainly(made.eval(), source, 5)
        assert answer.ids.tolist() == words
        assert answer.score == pytest.approx(worth, abs=1e-5)
