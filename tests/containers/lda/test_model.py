"""LDA on arrays: moments against brute force, tensors and topics that are known, real speeches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.decomposition import LatentDirichletAllocation

from common.batches import CSR, to_csr
from common.cores import Cores
from common.failures import ClientError
from containers.lda import kernels, model
from containers.lda.corpus import Corpus, Counts, check, join, tidy
from containers.lda.decomposition import decompose
from containers.lda.model import Mixer, Topics
from containers.lda.moments import Moments
from containers.lda.predict import LDA
from tests.containers.lda.corpora import bars, matched, notebook_error, speech_counts, vocabulary


@pytest.fixture
def cores():
    with Cores(2) as pool:
        yield pool


def speeches() -> tuple[Counts, Counts, int]:
    """Passages to train on, one in five to test with, and the size of the vocabulary."""
    rows = speech_counts()
    return join([tidy(rows[start::5]) for start in range(4)]), tidy(rows[4::5]), rows.shape[1]


def learnt(
    documents: Counts, words: int, topics: int, cores: Cores, alpha0: float = 1.0, **rest: object
) -> Topics:
    corpus = Corpus(documents, words)
    found = model.spectrum(corpus, topics, alpha0, np.random.default_rng(0), cores, **rest)  # type: ignore[arg-type]
    return model.refine(corpus, found.alpha[:topics], found.beta[:topics], alpha0, cores)[0]


def plain_moments(counts: np.ndarray, alpha0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The moments as they are defined, from all ordered pairs and triples of distinct words."""
    size = counts.shape[1]
    sums = [np.zeros((size,) * order) for order in (1, 2, 3)]
    weights = [0.0, 0.0, 0.0]
    for row in counts.astype(int):
        tokens = np.repeat(np.arange(size), row)
        for order in (1, 2, 3):
            chosen = list(itertools.permutations(tokens, order))
            for one in chosen:
                sums[order - 1][one] += len(tokens) / len(chosen)
            weights[order - 1] += len(tokens) if chosen else 0
    mean, pairs, triples = (total / weight for total, weight in zip(sums, weights, strict=True))
    second = pairs - alpha0 / (alpha0 + 1) * np.outer(mean, mean)
    mixed = np.einsum("ij,k->ijk", pairs, mean)
    mixed = mixed + mixed.transpose(0, 2, 1) + mixed.transpose(2, 1, 0)
    cube = np.einsum("i,j,k->ijk", mean, mean, mean)
    third = triples - alpha0 / (alpha0 + 2) * mixed + 2 * alpha0**2 / ((alpha0 + 1) * (alpha0 + 2)) * cube
    return mean, second, third


# --- documents ---


def test_rows_become_sorted_unique_counts_of_their_own():
    rows = CSR(
        np.array([1, 2, 0, 3, 4], np.float32), np.array([2, 0, 1, 2, 0]), np.array([0, 4, 4, 5]), (3, 3)
    )
    tidied = tidy(rows)
    assert tidied.indices.tolist() == [0, 2, 0]
    assert tidied.counts.tolist() == [2, 4, 4]
    assert tidied.indptr.tolist() == [0, 2, 2, 3]
    assert tidied.sums().tolist() == [6, 0, 4]
    dense = tidy(np.array([[2, 0, 4], [0, 0, 0], [4, 0, 0]], np.float32))
    for name in ("counts", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(dense, name), getattr(tidied, name))
    both = join([tidied, dense])
    assert both.indptr.tolist() == [0, 2, 2, 3, 5, 5, 6]
    assert len(join([])) == 0


def test_a_corpus_has_the_same_entries_by_word(cores):
    counts = np.random.default_rng(0).poisson(0.3, (400, 30)).astype(np.float32)
    corpus = Corpus(tidy(counts), 30)
    turned = tidy(np.ascontiguousarray(counts.T))
    for name in ("counts", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(corpus.words, name), getattr(turned, name))
    matrix = np.random.default_rng(1).normal(size=(30, 7))
    np.testing.assert_allclose(corpus.documents.times(matrix, cores), counts @ matrix, atol=1e-12)
    np.testing.assert_allclose(corpus.words.times(counts @ matrix, cores), counts.T @ counts @ matrix)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("value", "shown"), [(-1, "-1.0"), (0.5, "0.5"), (np.nan, "nan"), (3e7, "3"), (np.inf, "inf")]
)
def test_what_is_no_count_is_told_with_its_place(value, shown, sparse):
    rows = np.array([[0, 1, 0], [2, 0, value]], np.float32)
    with pytest.raises(ClientError, match=rf"channel test: feature 2 .* of row 12 is {shown}.*accepted"):
        check(to_csr(rows) if sparse else rows, "test", 10)
    check(np.maximum(rows[:1], 0), "test")


# --- moments ---


@pytest.mark.parametrize("alpha0", [0.2, 1.0, 7.0])
def test_whitened_moments_are_those_of_brute_force(cores, alpha0):
    counts = np.random.default_rng(0).poisson([[3, 2, 1, 0.5, 2]] * 12).astype(np.float32)
    # Documents of one word and two have no triples, and none at all says nothing.
    counts = np.vstack([counts, np.eye(5)[:2], [[0, 1, 1, 0, 0]], np.zeros((1, 5))]).astype(np.float32)
    mean, second, third = plain_moments(counts, alpha0)
    moments = Moments(Corpus(tidy(counts), 5), alpha0, cores)
    np.testing.assert_allclose(moments.mean, mean)
    np.testing.assert_allclose(moments.second(np.eye(5)), second, atol=1e-15)
    whitening = moments.whitening(5, 5, np.random.default_rng(0))
    matrix = whitening.matrix
    assert matrix.shape[1] >= 2
    np.testing.assert_allclose(matrix.T @ second @ matrix, np.eye(matrix.shape[1]), atol=1e-9)
    expected = np.einsum("abc,ai,bj,ck->ijk", third, matrix, matrix, matrix)
    np.testing.assert_allclose(moments.third(whitening), expected, atol=1e-9 * np.abs(expected).max())


def test_the_strongest_eigenvectors_are_found_without_the_matrix(cores):
    generator = np.random.default_rng(0)
    beta = generator.dirichlet(np.full(300, 0.05), 8)
    counts = generator.multinomial(60, generator.dirichlet(np.full(8, 0.1), 2000) @ beta).astype(np.float32)
    moments = Moments(Corpus(tidy(counts), 300), 0.8, cores)
    expected = np.linalg.eigvalsh(moments.second(np.eye(300)))[::-1][:10]
    whitening = moments.whitening(8, 10, generator)
    np.testing.assert_allclose(whitening.values[:8], expected[:8], rtol=1e-3)
    image = moments.second(whitening.vectors[:, :8])
    np.testing.assert_allclose(
        image, whitening.vectors[:, :8] * whitening.values[:8], atol=1e-3 * expected[7]
    )
    assert whitening.first(3).undone(np.eye(3)).shape == (300, 3)


# --- decomposition ---


def tensor(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("ai,bi,ci,i->abc", vectors, vectors, vectors, weights)


def test_orthogonal_components_are_found_whatever_the_start():
    generator = np.random.default_rng(0)
    vectors = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    known = tensor(vectors, np.linspace(1, 5, 12))
    for own in generator.spawn(5):
        fit = decompose(known, own, 1000, 1e-8)
        assert fit.error < 1e-6
        assert fit.iterations < 50
        np.testing.assert_allclose(np.abs(vectors.T @ fit.vectors).max(axis=1), 1, atol=1e-6)


def test_components_that_are_not_orthogonal_are_found_too():
    generator = np.random.default_rng(0)
    vectors = np.linalg.qr(generator.normal(size=(6, 6)))[0] + 0.15 * generator.normal(size=(6, 6))
    vectors /= np.linalg.norm(vectors, axis=0)
    fit = decompose(tensor(vectors, np.linspace(1, 2, 6)), generator, 1000, 1e-10)
    assert fit.error < 1e-4
    np.testing.assert_allclose(np.abs(vectors.T @ fit.vectors).max(axis=1), 1, atol=1e-4)


def test_the_decomposition_ends_at_its_cap_its_tolerance_and_on_request():
    generator = np.random.default_rng(0)
    noisy = generator.normal(size=(8, 8, 8))
    noisy = sum(noisy.transpose(order) for order in itertools.permutations(range(3)))

    def run(cap: int, tolerance: float, stopped=lambda: False):
        return decompose(noisy, np.random.default_rng(1), cap, tolerance, stopped)

    assert [run(cap, 1e-12).iterations for cap in (1, 7)] == [1, 7]
    assert run(1000, 1e-12).error < run(7, 1e-12).error
    assert run(1000, 1e-2).iterations < run(1000, 1e-8).iterations
    assert run(1000, 1e-12, lambda: True).iterations == 1
    assert decompose(np.zeros((3, 3, 3)), generator, 5, 1e-8).vectors.shape == (3, 3)


# --- topics ---


def test_exact_moments_give_exact_topics(cores, monkeypatch):
    generator = np.random.default_rng(0)
    alpha, beta = np.array([0.6, 0.4, 0.3, 0.2]), generator.dirichlet(np.full(30, 0.3), 4)
    total = alpha.sum()

    class Exact(Moments):
        """What a corpus without end would have."""

        def second(self, matrix):
            return beta.T @ (alpha[:, None] / (total * (total + 1)) * (beta @ matrix))

        def third(self, whitening):
            weights = 2 * alpha / (total * (total + 1) * (total + 2))
            return tensor(whitening.matrix.T @ beta.T, weights)

    monkeypatch.setattr(model, "Moments", Exact)
    corpus = Corpus(tidy(np.ones((3, 30), np.float32)), 30)
    found = model.spectrum(corpus, 4, total, generator, cores)
    assert len(found.alpha) == 4
    np.testing.assert_allclose(found.alpha, alpha, rtol=1e-6)
    np.testing.assert_allclose(found.beta, beta, atol=1e-7)


@pytest.mark.parametrize("topics", [5, 10])
def test_known_topics_are_found(cores, topics):
    beta, counts, _ = bars(topics)
    corpus = Corpus(tidy(counts), 25)
    found = model.spectrum(corpus, topics, 1.0, np.random.default_rng(0), cores)
    assert notebook_error(beta, found.beta) < 0.05
    np.testing.assert_allclose(found.alpha[:topics], 1 / topics, rtol=0.15)
    refined, history = model.refine(corpus, found.alpha[:topics], found.beta[:topics], 1.0, cores)
    # SageMaker's notebooks call 2 percent good.
    assert notebook_error(beta, refined.beta) < 0.01
    np.testing.assert_allclose(refined.alpha, 1 / topics, rtol=0.08)
    assert refined.alpha.sum() == pytest.approx(1)
    np.testing.assert_allclose(refined.beta.sum(axis=1), 1, rtol=1e-6)
    assert history == sorted(history)


def test_more_topics_are_computed_and_the_weightiest_kept(cores):
    train, _, words = speeches()
    found = model.spectrum(Corpus(train, words), 21, 1.0, np.random.default_rng(0), cores)
    assert len(found.alpha) == 27  # 21 and a quarter, rounded up
    assert found.alpha.tolist() == sorted(found.alpha.tolist(), reverse=True)
    assert len(found.fits) == 10
    assert len({round(fit.error, 6) for fit in found.fits}) > 1
    assert found.best.error == min(fit.error for fit in found.fits)
    # With fewer topics asked for than there are, those there are come to light.
    _, counts, _ = bars(5)
    assert len(model.spectrum(Corpus(tidy(counts), 25), 4, 1.0, np.random.default_rng(0), cores).alpha) == 5


@pytest.mark.parametrize(
    ("values", "noise", "kept"),
    [
        ([9, 8, 7, 6, 5], 0.1, 5),
        ([9, 8, 7, 6, 5], 5.5, 4),
        ([9, 8, 7, 6, 5], 8.5, 3),
        ([9, 8, 7, 0.2, 0.1], 0, 3),
        ([9, 8, 7, 6, 0.1], 0, 4),
        ([9, 0.1, 0.1], 0, 3),
    ],
)
def test_directions_that_are_noise_are_left_out_beyond_those_asked_for(values, noise, kept):
    assert model._clear(np.array(values, float), noise, 3) == kept


def test_a_corpus_that_is_too_poor_is_refused(cores):
    counts = np.tile(np.float32([3, 1, 2, 0]), (5, 1))
    with pytest.raises(ClientError, match=r"num_topics is 4, but the moments .* have rank 1; accepted"):
        model.spectrum(Corpus(tidy(counts), 4), 4, 1.0, np.random.default_rng(0), cores)


def test_a_request_to_stop_still_gives_topics(cores):
    _, counts, _ = bars(5, documents=500)
    corpus = Corpus(tidy(counts), 25)
    found = model.spectrum(
        corpus, 5, 1.0, np.random.default_rng(0), cores, max_restarts=50, stopped=lambda: True
    )
    assert [fit.iterations for fit in found.fits] == [1]
    topics, history = model.refine(corpus, found.alpha[:5], found.beta[:5], 1.0, cores, lambda: True)
    assert history == []
    np.testing.assert_allclose(topics.beta.sum(axis=1), 1, rtol=1e-6)


def test_a_word_that_no_training_document_has_is_still_possible(cores):
    _, counts, _ = bars(5, documents=500)
    topics = learnt(tidy(np.pad(counts, ((0, 0), (0, 3)))), 28, 5, cores)
    assert (topics.beta > 0).all()
    assert (topics.beta[:, 25:] < 1e-5).all()


def test_equal_seeds_give_equal_bytes_with_any_number_of_threads_and_documents_in_any_order():
    train, _, words = speeches()
    found = []
    for threads in (1, 2):
        with Cores(threads) as cores:
            found.append(learnt(train, words, 8, cores))
    assert found[0].beta.tobytes() == found[1].beta.tobytes()
    assert found[0].alpha.tobytes() == found[1].alpha.tobytes()
    beta, counts, _ = bars(5, documents=2000)
    with Cores(2) as cores:
        straight, turned = (learnt(tidy(rows), 25, 5, cores) for rows in (counts, counts[::-1]))
    np.testing.assert_allclose(matched(beta, straight.beta), matched(beta, turned.beta), atol=1e-5)


# --- mixtures and likelihood ---


def plain_mixture(counts: np.ndarray, topics: Topics) -> np.ndarray:
    """The mixture of the largest posterior, by a general optimizer over logarithms."""

    def loss(logs: np.ndarray) -> float:
        mixture = np.exp(logs - logs.max())
        mixture /= mixture.sum()
        return -float(counts @ np.log(mixture @ topics.beta) + topics.alpha @ np.log(mixture))

    logs = minimize(loss, np.zeros(len(topics.alpha)), method="BFGS", options={"gtol": 1e-8}).x
    mixture = np.exp(logs - logs.max())
    return mixture / mixture.sum()


def some_topics(topics: int = 4, words: int = 30) -> Topics:
    generator = np.random.default_rng(3)
    beta = generator.dirichlet(np.full(words, 0.3), topics).astype(np.float32)
    return Topics(np.linspace(0.1, 0.5, topics).astype(np.float32), beta)


def test_mixtures_are_the_best_there_are():
    topics = some_topics()
    counts = np.random.default_rng(0).poisson(1.5, (20, 30)).astype(np.float32)
    found = Mixer(topics).mixtures(tidy(counts))
    np.testing.assert_allclose(found, [plain_mixture(row, topics) for row in counts], atol=2e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(Mixer(topics).mixtures(tidy(counts[::-1])), found[::-1])


def test_a_document_without_words_has_the_prior_as_mixture():
    topics = some_topics()
    found = Mixer(topics).mixtures(tidy(np.zeros((2, 30), np.float32)))
    np.testing.assert_allclose(found, [topics.alpha / topics.alpha.sum()] * 2, rtol=1e-6)


def test_words_that_no_topic_has_say_nothing():
    topics = Topics(np.float32([0.5, 0.5]), np.float32([[1, 0, 0], [0, 1, 0]]))
    found = Mixer(topics).mixtures(tidy(np.float32([[3, 1, 0], [3, 1, 5], [0, 0, 5]])))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    np.testing.assert_allclose(found[2], 0.5)


def test_known_mixtures_are_found(cores):
    beta, counts, mixtures = bars(5, documents=600)
    found = Mixer(Topics(np.full(5, 0.2, np.float32), beta.astype(np.float32)), cores).mixtures(tidy(counts))
    assert np.abs(found - mixtures).sum(axis=1).mean() < 0.1


def test_halves_of_a_document():
    documents = tidy(np.array([[3, 1, 0, 2], [0, 0, 0, 0], [0, 1, 0, 0], [5, 0, 4, 1]], np.float32))
    seen, hidden = model.split(documents)
    # Six words a a a b d d: those of the odd places, a a d, and of the even ones, a b d.
    assert seen.counts.tolist() == [2, 1, 1, 3, 2]
    assert seen.indices.tolist() == [0, 3, 1, 0, 2]
    assert hidden.counts.tolist() == [1, 1, 1, 2, 2, 1]
    assert (seen.sums() + hidden.sums()).tolist() == documents.sums().tolist()


def test_each_half_is_scored_by_the_mixture_of_the_other(cores):
    topics = some_topics()
    documents = tidy(np.random.default_rng(0).poisson(0.7, (25, 30)).astype(np.float32))
    expected = 0.0
    for seen, hidden in (halves := model.split(documents), halves[::-1]):
        likely = Mixer(topics).mixtures(seen) @ topics.beta
        np.testing.assert_allclose(likely.sum(axis=1), 1, rtol=1e-5)
        expected += float(hidden.counts @ np.log(likely[hidden.rows(), hidden.indices]))
    assert Mixer(topics, cores).likelihood(documents) == pytest.approx(expected, rel=1e-6)


def test_a_small_alpha0_gives_mixtures_of_few_topics(cores):
    train, test, words = speeches()
    shares = []
    for alpha0 in (0.1, 1.0, 10.0):
        topics = learnt(train, words, 8, cores, alpha0)
        assert topics.alpha.sum() == pytest.approx(alpha0, rel=1e-4)
        shares.append(float(Mixer(topics).mixtures(test).max(axis=1).mean()))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[2] + 0.1


# --- quality ---


def test_speeches_are_told_better_than_by_word_frequencies_and_by_scikit_learn(cores):
    train, test, words = speeches()
    corpus = Corpus(train, words)
    topics = learnt(train, words, 10, cores)
    mixer, count = Mixer(topics, cores), float(test.sums().sum())
    frequencies = (corpus.words.sums() + 0.1) / (corpus.words.sums() + 0.1).sum()
    unigrams = float(test.counts @ np.log(frequencies[test.indices])) / count
    dense = np.zeros((len(train), words))
    dense[train.rows(), train.indices] = train.counts
    peer = LatentDirichletAllocation(
        10, doc_topic_prior=0.1, topic_word_prior=0.05, learning_method="online", max_iter=4, random_state=0
    ).fit(dense)
    rows = peer.components_ / peer.components_.sum(axis=1, keepdims=True)
    theirs = Topics(np.full(10, 0.1, np.float32), rows.astype(np.float32))
    ours = mixer.likelihood(test) / count
    assert ours > unigrams + 0.25
    assert ours > Mixer(theirs, cores).likelihood(test) / count + 0.01
    # What is left out are the moments alone: the refinement adds to them, and they to a start at random.
    found = model.spectrum(corpus, 10, 1.0, np.random.default_rng(0), cores)
    smooth = Topics(
        found.alpha[:10].astype(np.float32), (0.95 * found.beta[:10] + 0.05 * frequencies).astype(np.float32)
    )
    assert unigrams + 0.2 < Mixer(smooth, cores).likelihood(test) / count < ours


def test_topics_of_speeches_go_with_their_times(cores):
    """Vietnam, the Soviets, Iraq: a topic's words come from the years one would expect."""
    train, _, words = speeches()
    topics = learnt(train, words, 20, cores)
    names = vocabulary()
    tops = [{names[word] for word in row.argsort()[::-1][:15]} for row in topics.beta]
    for pair in (("vietnam", "peace"), ("iraq", "terrorists"), ("health", "care"), ("school", "children")):
        assert any(set(pair) <= top for top in tops), (pair, tops)


def test_each_kernel_is_compiled_once():
    """What is given to kernels has one type, so that `warm` compiles all that jobs and requests need."""
    _, counts, _ = bars(5, documents=300)
    with Cores(2) as cores:
        topics = learnt(tidy(counts), 25, 5, cores)
    counts.flags.writeable = False
    LDA(topics).predict(counts, {})
    sparse = to_csr(counts)
    LDA(Topics(topics.alpha, topics.beta[::-1][::-1])).predict(sparse[3:40], {})
    for name in ("transpose", "products", "expect", "collect", "mix", "score"):
        assert len(getattr(kernels, name).signatures) == 1, name
