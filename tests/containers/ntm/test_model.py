"""The maths: losses and gradients, devices, topics, early stopping, word vectors, inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.batches import CSR, to_csr
from common.cluster import Cluster
from common.failures import ClientError
from common.job import Hosts
from common.optimizers import Settings
from containers.ntm import artifact, topics, vectors
from containers.ntm.engine import Engine
from containers.ntm.export import model_of
from containers.ntm.model import ACTIVATIONS, Documents, Network
from containers.ntm.predict import TopicModel
from containers.ntm.stopping import Patience

WORDS, TOPICS = 40, 3


def documents(count: int = 12, share: float = 0.06, seed: int = 0) -> np.ndarray:
    """Random word counts, at least one word each."""
    random = np.random.default_rng(seed)
    rows = random.poisson(2, (count, WORDS)) * (random.random((count, WORDS)) < share)
    rows[np.arange(count), random.integers(0, WORDS, count)] += 1
    return rows.astype(np.float32)


def sent(rows: CSR, seed: int = 5) -> Documents:
    noise = np.random.default_rng(seed).standard_normal((len(rows), TOPICS), np.float32)
    return Documents(*map(torch.from_numpy, (rows.indices, rows.values, rows.indptr, noise)))


def network(activation: str = "sigmoid", batch_norm: bool = False) -> Network:
    torch.manual_seed(3)
    made = Network(WORDS, TOPICS, [7, 5], activation, batch_norm=batch_norm)
    for parameter in made.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return made


def plainly(net: Network, rows: np.ndarray, noise: torch.Tensor) -> torch.Tensor:
    """The loss as papers write it, on dense rows: total, divergence, reconstruction."""
    x = torch.from_numpy(rows)
    hidden = ACTIVATIONS[net.activation](x @ net.word_weight + net.word_bias)
    hidden = ACTIVATIONS[net.activation](net.layers[0](hidden))
    normal = torch.distributions.Normal(net.mean(hidden), net.log_deviation(hidden).exp())
    mixtures = torch.softmax(normal.mean + normal.stddev * noise, 1)
    lengths = x.sum(1)
    kld = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1) / lengths
    recons = -(x * torch.log_softmax(net.projection(TOPICS * mixtures), 1)).sum(1) / lengths
    return torch.stack([(kld + recons).sum(), kld.sum(), recons.sum()])


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("share", [0.04, 0.5])  # sums of rows, and a dense product
def test_losses_and_gradients_are_the_papers(activation, share):
    rows = documents(share=share)
    ours, theirs = network(activation), network(activation)
    part = sent(to_csr(rows))
    found = ours.losses(part)
    expected = plainly(theirs, rows, part.noise)
    torch.testing.assert_close(found[:3], expected, rtol=1e-5, atol=1e-5)
    assert found[3] == len(rows)
    # A factor of what comes after must reach every gradient.
    (0.5 * found[0]).backward()
    (0.5 * expected[0]).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_word_that_comes_twice_counts_twice():
    once = CSR(np.array([3, 1], np.float32), np.array([4, 9]), np.array([0, 2]), (1, WORDS))
    twice = CSR(np.array([1, 1, 2], np.float32), np.array([4, 9, 4]), np.array([0, 3]), (1, WORDS))
    found = []
    for rows in (once, twice):
        net = network()
        loss = net.losses(sent(rows))
        loss[0].backward()
        found.append((loss.detach(), net.word_weight.grad, net.projection.weight.grad))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other)


def engine(devices: tuple[str, ...] = ("cpu",), batch_norm: bool = False, optimizer: str = "adam") -> Engine:
    torch.manual_seed(3)
    net = Network(WORDS, TOPICS, [7, 5], "tanh", batch_norm=batch_norm)
    settings = Settings(0.01)
    return Engine(net, optimizer, settings, devices=devices, cluster=Cluster(Hosts()), seed=1, threads=1)


def test_two_devices_learn_as_one_does():
    rows = to_csr(documents(31))
    batches = [rows[start : start + 5] for start in range(0, 31, 5)]  # the last has fewer rows than devices
    one, two = engine(), engine(("cpu", "cpu"))
    for _ in range(2):
        alone, together = one.learn(batches), two.learn(batches)
        np.testing.assert_allclose(alone.sums, together.sums, rtol=1e-5)
    assert (together.batches, together.records, together.documents) == (7, 31, 31)
    for mine, other in zip(one.state(), two.state(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_learning_lowers_the_loss_and_a_state_comes_back():
    rows = to_csr(documents(64))
    learner = engine()
    before = learner.score([rows]).means
    state = learner.state()
    for _ in range(60):
        learner.learn([rows])
    after = learner.score([rows]).means
    assert after["total"] < before["total"] - 0.3
    assert after["logppx"] == after["total"] == pytest.approx(after["kld"] + after["recons"], rel=1e-6)
    learner.restore(state)
    assert learner.score([rows]).means == before


@pytest.mark.parametrize("batch_norm", [False, True])
def test_answers_are_the_networks_and_batch_norm_is_folded_in(tmp_path, batch_norm):
    rows = documents(50)
    learner = engine(batch_norm=batch_norm)
    for _ in range(5):
        learner.learn([to_csr(rows), to_csr(rows[:1])])  # of one row there is nothing to normalise by
    net = learner.network.eval()
    with torch.no_grad():
        expected = torch.softmax(net.encode(sent(to_csr(rows)))[0], 1).numpy()
    artifact.write(tmp_path / "model_algo-1", model_of(net))
    model = TopicModel(artifact.read(tmp_path))
    for form in (rows, to_csr(rows)):
        answer = model.predict(form, {})["topic_weights"]
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(answer.sum(1), 1, rtol=1e-5)
    assert np.ptp(answer[:, 0]) > 1e-3


def test_batch_norm_normalises_while_training_only():
    rows = sent(to_csr(documents(50)))
    net = network(batch_norm=True).train()
    training = net.encode(rows)[0]
    assert not torch.allclose(training, net.eval().encode(rows)[0], atol=1e-3)
    assert (net.norms[0].running_mean != 0).all()


def test_the_kept_decoder_makes_words_of_topic_weights_that_add_up_to_1():
    net = network().eval()
    model, weights = model_of(net), torch.full((1, TOPICS), 1 / TOPICS)
    ours = weights.numpy() @ model.projection.weight.T + model.projection.bias
    np.testing.assert_allclose(ours, net.projection(TOPICS * weights).detach().numpy(), rtol=1e-5)


def test_sparse_answers_in_blocks_with_empty_rows(monkeypatch):
    monkeypatch.setattr("containers.ntm.predict._BLOCK", 30)  # a few entries a block
    rows = documents(20, share=0.4)
    rows[[0, 7, 8, 19]] = 0
    model = TopicModel(model_of(network()))
    np.testing.assert_allclose(
        model.predict(to_csr(rows), {})["topic_weights"], model.predict(rows, {})["topic_weights"], rtol=1e-5
    )


@pytest.mark.parametrize(("value", "part"), [(-1, "below 0"), (np.nan, "no number"), (1e39, "too large")])
def test_counts_that_can_not_be_answered(value, part):
    rows = documents(2)
    with np.errstate(over="ignore"):
        rows[1, 3] = value
    for form in (rows, to_csr(rows)):
        with pytest.raises(ClientError, match=part):
            TopicModel(model_of(network("relu"))).predict(form, {})


# --- topics ---


def test_top_words_and_how_unique_they_are():
    weights = np.array([[3, 0], [2, 5], [1, 4], [0, 1]], np.float32)
    top = topics.top_words(weights, 2)
    assert top.tolist() == [[0, 1], [1, 2]]
    assert topics.uniqueness(top).tolist() == [0.75, 0.75]
    assert topics.uniqueness(np.array([[5, 6], [5, 6], [5, 6]])).tolist() == pytest.approx([1 / 3] * 3)


def test_coherence_is_the_mean_cosine_of_pairs():
    found = np.array([[1, 0], [2, 0], [0, 3], [0, 0]], np.float32)
    assert topics.coherence(np.array([[0, 1]]), found).tolist() == [1]
    assert topics.coherence(np.array([[0, 2]]), found).tolist() == [0]
    assert topics.coherence(np.array([[0, 1, 2], [0, 1, 3]]), found) == pytest.approx([1 / 3, 1 / 3])


def test_lines_are_those_of_awss_logs():
    weights = np.array([[3, 0], [2, 5], [1, 4]], np.float32)
    found = np.eye(3, dtype=np.float32)
    assert topics.described(weights, None, None) == [
        "Topics from epoch:final (num_topics:2) [, tu 0.50]:",
        "0 1 2",
        "1 2 0",
    ]
    assert topics.described(weights, ["a", "b", "c"], found) == [
        "Topics from epoch:final (num_topics:2) [wetc 0.00, tu 0.50]:",
        "[0.00, 0.50] a b c",
        "[0.00, 0.50] b c a",
    ]


def test_patience_decides_as_a_public_log_of_awss_image_does():
    """The first epochs' validation losses of ntm_20newsgroups_topic_model.ipynb, num_patience_epochs 5."""
    losses = [7.136931283133371, 7.119487626211984, 7.116677624838693, 7.111966950552804, 7.098155226026263,
              7.1021351133074075, 7.092641285487583, 7.107043198176792, 7.067824908665249]  # fmt: skip
    patience = Patience(5, 0.001)
    said = [patience.observe(loss) for loss in losses]
    assert said[:5] == [[]] * 5
    assert said[5] == [
        "patience losses:[7.136931283133371, 7.119487626211984, 7.116677624838693, 7.111966950552804, "
        "7.098155226026263] min patience loss:7.098155226026263 current loss:7.1021351133074075 "
        "absolute loss difference:0.003979887281144734",
        "Bad epoch: loss has not improved (enough). Bad count:1",
    ]
    # A gain of 0.0055 is enough, and the count begins anew.
    assert [len(lines) for lines in said[6:]] == [1, 2, 1]
    assert said[7][1].endswith("Bad count:1")


def test_patience_ends_and_the_best_epoch_is_the_least_loss():
    patience = Patience(2, 0.01)
    for loss in (1.0, 0.9, 0.899, 0.898, 0.897):
        assert not patience.over
        lines = patience.observe(loss)
    assert patience.over
    assert lines[-1] == "Bad epochs exceeded patience. Stopping training early!"
    assert patience.best == 5  # a gain too small to go on for is a gain
    assert not Patience(2, 0.01).best
    broken = Patience(1, 0.01)
    for loss in (float("nan"), 2.0, float("nan")):
        broken.observe(loss)
    assert broken.best == 2


# --- word vectors ---


def test_signatures_are_alike_where_words_share_documents():
    rows = np.zeros((400, 3), np.float32)
    rows[:200, 0] = 1
    rows[100:300, 1] = 1  # shares half of its documents with word 0, and none with word 2
    rows[300:, 2] = 1
    made = vectors.Signatures(3, np.random.default_rng(0))
    for start in range(0, 400, 50):
        made.add(to_csr(rows[start : start + 50]))
    pairs = topics.coherence(np.array([[0, 1], [0, 2], [1, 2]]), made.vectors)
    assert pairs == pytest.approx([0.5, 0, 0], abs=0.25)


def test_vectors_from_a_file(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("4 2\nthe 1 2\ncat 0.5 -1e-1\nunknown many words\ncaf\u00e9 3 4\n", "utf-8")
    found, missing = vectors.read(path, ["cat", "dog", "caf\u00e9", "cat"])
    assert missing == 1
    assert found.tolist() == [[0.5, pytest.approx(-0.1)], [0, 0], [3, 4], [0.5, pytest.approx(-0.1)]]
    assert vectors.read(path, ["cow"])[1] == 1


@pytest.mark.parametrize("line", ["cat 1 x", "cat 1", "cat", "cat 1 nan", "cat 1 2 3"])
def test_vectors_that_are_none(tmp_path, line):
    path = tmp_path / "glove.txt"
    path.write_text(f"the 1 2\n{line}\n")
    with pytest.raises(ClientError, match=r"file glove.txt, line 2: not a word and its vector"):
        vectors.read(path, ["the", "cat"])


# --- the artifact ---


def test_a_model_comes_back_as_it_was(tmp_path):
    model = model_of(network())
    artifact.write(tmp_path / "model_algo-1", model)
    back = artifact.read(tmp_path)
    assert back.activation == "sigmoid"
    assert [layer.weight.shape for layer in back.encoder] == [(7, WORDS), (5, 7)]
    assert np.array_equal(back.projection.weight, model.projection.weight)
    assert back.projection.weight.shape == (WORDS, TOPICS)
