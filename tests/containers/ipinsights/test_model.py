"""The maths: gradients, Adam, negatives, tables and the AUC against other ways to compute them."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from common.cluster import Cluster
from common.cores import Cores
from containers.ipinsights import encoder, kernels, model
from containers.ipinsights.evaluation import Area
from containers.ipinsights.exchange import summed
from containers.ipinsights.learning import Gradients, Learner, Settings
from containers.ipinsights.model import Shape
from containers.ipinsights.negatives import Negatives, random_addresses
from containers.ipinsights.pairs import Pairs
from containers.ipinsights.rows import Rows
from containers.ipinsights.tables import Table
from containers.ipinsights.torch_learning import TorchLearner


def some_pairs(count: int, entities: int = 50, seed: int = 0) -> Pairs:
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 1 << 63, entities, dtype=np.uint64)
    addresses = generator.integers(0, 1 << 32, count, dtype=np.uint32)
    return Pairs(hashes[generator.integers(0, entities, count)], addresses)


def by_autograd(shape: Shape, pairs: Pairs, key: np.uint64, rates: tuple[int, int]) -> list:
    """The loss, and its gradients of tables and layers, of the same network written plainly."""
    negatives = Negatives(key, len(pairs), shape.block_rows(len(pairs)))
    rows = torch.from_numpy(shape.rows(pairs.entities)[negatives.order])
    observed = pairs.addresses[negatives.order]
    entities = torch.from_numpy(shape.initial_entities(np.arange(shape.num_entity_vectors)))
    prefixes = torch.from_numpy(shape.initial_prefixes())
    layers = torch.from_numpy(shape.initial_layers())
    parameters = [parameter.requires_grad_() for parameter in (entities, prefixes, layers)]

    def vectors(addresses: np.ndarray) -> torch.Tensor:
        places = np.empty((4, len(addresses)), np.int64)
        kernels.prefix_rows(addresses, places)
        widths = zip(torch.from_numpy(places), np.diff(shape.bounds).tolist(), strict=True)
        hidden = torch.cat([prefixes[place][:, :width] for place, width in widths], 1)
        return encoder.forward(hidden, shape.layers_of(layers))[0]

    whole = slice(0, len(pairs))
    real = vectors(observed)
    others = [(real, 1.0)]
    for rate in range(rates[1]):
        partners = [negatives.partners(rate, b) + b.start for b in negatives.blocks(whole)]
        others.append((real[torch.from_numpy(np.concatenate(partners)).long()], 0.0))
    others += [(vectors(negatives.addresses(rate, whole)), 0.0) for rate in range(rates[0])]
    loss = sum(
        torch.nn.functional.binary_cross_entropy_with_logits(
            (entities[rows] * other).sum(1), torch.full((len(pairs),), label), reduction="sum"
        )
        for other, label in others
    )
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return [loss.item(), *(gradient.numpy() for gradient in gradients)]


@pytest.mark.parametrize("devices", [None, ("cpu",), ("cpu", "cpu")])
@pytest.mark.parametrize(("layers", "rates", "dim"), [(0, (1, 1), 8), (1, (2, 0), 9), (3, (0, 3), 10)])
def test_gradients_are_those_of_autograd(layers, rates, dim, devices):
    shape, pairs, caught = Shape(40, dim, layers, 3), some_pairs(150), []

    def catch(gradients: Gradients) -> Gradients:
        caught.append(copy.deepcopy(gradients))
        return gradients

    settings = Settings(0.01, 1e-3, *rates)
    with Cores(2) as cores:
        learner = (
            Learner(shape, settings, cores) if devices is None else TorchLearner(shape, settings, devices)
        )
        learner.learn(pairs, np.uint64(5), catch)
    (found,) = caught
    loss, entities, prefixes, weights = by_autograd(shape, pairs, np.uint64(5), rates)
    assert found.sums[0] == pytest.approx(loss, rel=1e-6)
    assert found.sums[2:].tolist() == [150 * (1 + sum(rates)), 150]
    assert set(found.rows.tolist()) == set(shape.rows(pairs.entities).tolist())
    np.testing.assert_allclose(found.entities, entities[found.rows], atol=2e-6)
    np.testing.assert_allclose(found.prefixes, prefixes, atol=2e-6)
    np.testing.assert_allclose(found.layers, weights, atol=2e-6)
    assert not prefixes[found.touched == 0].any()


def test_many_steps_on_devices_give_the_model_of_the_cores():
    shape, settings = Shape(1000, 10, 2, 7), Settings(0.01, 1e-4, 3, 2)
    with Cores(2) as cores:
        learners = [
            Learner(shape, settings, cores),
            TorchLearner(shape, settings, ("cpu",)),
            TorchLearner(shape, settings, ("cpu", "cpu")),
        ]
        for learner in learners:
            for step in range(4):
                learner.learn(some_pairs(500, 300, seed=step), np.uint64(step))
        first, *others = (learner.model() for learner in learners)
    for other in others:
        np.testing.assert_array_equal(first.rows, other.rows)
        for name in ("entities", "prefixes", "layers"):
            np.testing.assert_allclose(getattr(first, name), getattr(other, name), atol=2e-4)
            assert np.abs(getattr(first, name) - getattr(other, name)).mean() < 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_model_of_the_cores():
    shape, settings = Shape(1000, 16, 1, 7), Settings(0.01, 1e-4, 2, 2)
    with Cores(2) as cores:
        learners = Learner(shape, settings, cores), TorchLearner(shape, settings, ("cuda",))
        for learner in learners:
            for step in range(4):
                learner.learn(some_pairs(500, 300, seed=step), np.uint64(step))
        mine, theirs = (learner.model() for learner in learners)
    for name in ("entities", "prefixes", "layers"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=1e-3)


def test_threads_and_chunks_make_no_difference_but_rounding(monkeypatch):
    shape, pairs = Shape(1000, 8, 1, 1), some_pairs(3000, 500)

    def learnt(threads: int) -> np.ndarray:
        with Cores(threads) as cores:
            learner = Learner(shape, Settings(0.01, 0, 2, 1), cores)
            for step in range(3):
                learner.learn(pairs, np.uint64(step))
            return learner.model().entities

    one = learnt(1)
    np.testing.assert_array_equal(one, learnt(1))
    np.testing.assert_allclose(one, learnt(3), atol=1e-4)
    monkeypatch.setattr("containers.ipinsights.learning._CHUNK", 8 * 700)
    np.testing.assert_allclose(one, learnt(2), atol=1e-4)


def test_adam_is_torchs_but_for_rows_that_have_no_gradient():
    generator = np.random.default_rng(0)
    table = Table(generator.normal(size=(6, 5)).astype(np.float32))
    peer = torch.from_numpy(table.values.copy()).requires_grad_()
    optimizer = torch.optim.Adam([peer], 0.05, weight_decay=0.1, eps=1e-8)
    rows = np.arange(6, dtype=np.int32)
    for step in range(1, 6):
        # Far from 0, where MXNet's epsilon and torch's are the same: they are added at different places.
        gradient = (generator.choice([-1, 1], (6, 5)) * generator.uniform(1, 9, (6, 5))).astype(np.float32)
        peer.grad = torch.from_numpy(gradient / 4)
        optimizer.step()
        rate = 0.05 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        kernels.adam(*table.all, rows, gradient, rows, rate, 0.25, 0.1)
        assert not gradient.any()
        np.testing.assert_allclose(table.values, peer.detach().numpy(), atol=2e-6)
    before = table.values.copy()
    kernels.adam(*table.all, rows[2:3], np.ones((1, 5), np.float32), rows[:1], 0.05, 1.0, 0.0)
    changed = (table.values != before).any(axis=1)
    assert changed.tolist() == [False, False, True, False, False, False]


# --- negatives ---


def test_random_addresses_have_uniform_octets_and_depend_on_their_number_alone():
    addresses = random_addresses(np.uint64(9), 0, 200_000)
    for shift in (0, 8, 16, 24):
        counts = np.bincount(addresses >> shift & 0xFF, minlength=256)
        assert abs(counts / 200_000 * 256 - 1).max() < 0.2
    np.testing.assert_array_equal(addresses[500:900], random_addresses(np.uint64(9), 500, 400))
    assert (addresses != random_addresses(np.uint64(10), 0, 200_000)).mean() > 0.99


def test_shuffles_are_permutations_within_blocks_of_a_random_order():
    negatives = Negatives(np.uint64(4), 1000, 64)
    assert sorted(negatives.order.tolist()) == list(range(1000))
    blocks = negatives.blocks(slice(0, 1000))
    assert [b.stop - b.start for b in blocks] == [64] * 15 + [40]
    places = [negatives.partners(0, block) for block in blocks]
    for block, partners in zip(blocks, places, strict=True):
        assert sorted(partners.tolist()) == list(range(block.stop - block.start))
    # A random permutation keeps one place on average.
    assert 4 <= sum((partners == np.arange(len(partners))).sum() for partners in places) <= 40
    assert places[0].tolist() != places[1].tolist() != negatives.partners(1, blocks[0]).tolist()
    spread = np.concatenate([Negatives(np.uint64(key), 8, 8).partners(0, slice(0, 8)) for key in range(2000)])
    assert abs(np.bincount(spread.reshape(-1, 8)[:, 3], minlength=8) / 250 - 1).max() < 0.35


def test_each_address_has_prefixes_of_its_own_and_neighbours_share_them():
    def places(addresses: np.ndarray) -> np.ndarray:
        rows = np.empty((4, len(addresses)), np.int64)
        kernels.prefix_rows(addresses.astype(np.uint32), rows)
        return rows

    one = np.arange(1 << 16) + (10 << 24 | 77 << 16)
    rows = places(one)
    assert len(np.unique(rows, axis=1).T) == len(one)
    for part, (least, most, count) in enumerate([(0, 256, 1), (256, 65792, 1), (65792, 131328, 256)]):
        assert len(np.unique(rows[part])) == count
        assert least <= rows[part].min() <= rows[part].max() < most
    assert all(len(np.unique(rows[3, at : at + 256])) == 256 for at in range(0, len(one), 256))
    assert places(np.array([0, (1 << 32) - 1]))[:, 0].tolist()[:2] == [0, 256]
    assert places(np.random.default_rng(0).integers(0, 1 << 32, 1000)).max() < kernels.PREFIX_ROWS


# --- tables ---


def test_rows_get_slots_in_the_order_of_their_coming():
    generator, known, expected = np.random.default_rng(0), Rows(), {}
    for _ in range(30):
        rows = generator.integers(0, 250_000_000, 1000) // int(generator.integers(1, 100_000))
        slots = known.slots(rows)
        assert slots.tolist() == [expected.setdefault(row, len(expected)) for row in rows.tolist()]
    assert known.all().tolist() == list(expected)
    unique, places = known.distinct(rows)
    assert len(set(unique.tolist())) == len(unique)
    np.testing.assert_array_equal(known.rows(unique)[places], rows)


def test_a_gigantic_table_needs_memory_for_what_was_seen():
    shape = Shape(250_000_000, 4, 0, 0)
    with Cores(1) as cores:
        learner = Learner(shape, Settings(0.01, 0, 1, 0), cores)
        pairs = some_pairs(2000, 2000)
        learner.learn(pairs, np.uint64(0))
        learnt = learner.model()
    assert len(learnt.rows) == len(np.unique(pairs.entities))
    assert learnt.rows.max() > 200_000_000
    strangers = some_pairs(5, seed=9)
    np.testing.assert_array_equal(
        learnt.entity_vectors(strangers.entities), shape.initial_entities(shape.rows(strangers.entities))
    )


def test_where_a_table_begins_is_a_function_of_seed_and_row():
    shape = Shape(1000, 6, 2, 5)
    all_rows = shape.initial_entities(np.arange(1000))
    np.testing.assert_array_equal(all_rows[[7, 999]], shape.initial_entities(np.array([7, 999])))
    assert abs(all_rows.mean()) < 0.002
    assert all_rows.std() == pytest.approx(model.SCALE / 3**0.5, rel=0.03)
    assert np.abs(all_rows).max() <= model.SCALE
    assert (all_rows != Shape(1000, 6, 2, 6).initial_entities(np.arange(1000))).mean() > 0.99
    layers = shape.layers_of(shape.initial_layers())
    assert [(w.shape, b.tolist()) for w, b in layers] == [((6, 6), [0] * 6)] * 2


def test_a_model_answers_as_it_learnt():
    shape, pairs = Shape(100, 7, 2, 0), some_pairs(300)
    with Cores(2) as cores:
        learner = Learner(shape, Settings(0.05, 0, 1, 1), cores)
        for step in range(20):
            learner.learn(pairs, np.uint64(step))
    learnt = learner.model()
    entities, addresses = learnt.vectors(pairs)
    np.testing.assert_allclose(learnt.scores(pairs), (entities * addresses).sum(axis=1), rtol=1e-4, atol=1e-6)
    others = Pairs(pairs.entities, random_addresses(np.uint64(1), 0, 300))
    assert np.mean(learnt.scores(pairs)) > np.mean(learnt.scores(others)) + 1


def test_a_hundred_layers_learn():
    shape, pairs = Shape(100, 8, 100, 0), some_pairs(200)
    with Cores(2) as cores:
        learner = Learner(shape, Settings(0.003, 0, 1, 0), cores)
        losses = [learner.learn(pairs, np.uint64(step)) for step in range(60)]
    assert losses[-1][0] < 0.6 * losses[0][0]


def test_one_pair_again_and_again_is_as_likely_as_not():
    """The SageMaker SDK's own test: the pair is also its shuffled negative, so random ones tip the scale."""
    shape = Shape(10, 100, 1, 0)
    pairs = Pairs(np.full(1000, 77, np.uint64), np.full(1000, 0xC0000207, np.uint32))
    with Cores(1) as cores:
        learner = Learner(shape, Settings(0.001, 1e-5, 1, 1), cores)
        for step in range(10):
            learner.learn(pairs, np.uint64(step))
        assert -1 < learner.model().scores(pairs[:1])[0] < 0


# --- AUC ---


def test_the_area_is_that_of_all_scores():
    generator = np.random.default_rng(0)
    observed, generated = generator.normal(0.5, 2, 5000), generator.normal(0, 1, 7000)
    generated[:2000] = observed[:2000]
    observed[:50], generated[:80] = 0.0, -0.0
    labels = np.repeat([1, 0], [5000, 7000])
    scores = np.concatenate([observed, generated]).astype(np.float32)
    area = Area()
    area.add(scores[:5000], scores[5000:9000])
    area.add(scores[:0], scores[9000:])
    assert Area.of(area.counts) == pytest.approx(roc_auc_score(labels, scores), abs=2e-5)
    better = Area()
    better.add(np.float32([1e-30, 3e38]), np.float32([-3e38, -1e-30]))
    assert Area.of(better.counts) == 1


# --- hosts ---


class Together(Cluster):
    """Hosts that are threads."""

    def __init__(self, rank: int, size: int, table: list, barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, size
        self._table, self._barrier = table, barrier

    def gather(self, array):
        self._table[self.rank] = array
        self._barrier.wait()
        found = list(self._table) if self.leader else []
        self._barrier.wait()
        return found

    def broadcast(self, array):
        if self.leader:
            self._table[0] = array
        self._barrier.wait()
        found = self._table[0]
        self._barrier.wait()
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        return found


def test_rows_of_hosts_are_summed_where_any_has_them():
    rows = [np.array([5, 900, 3]), np.empty(0, np.int64), np.array([3, 7])]
    values = [
        np.float32([[1, 2], [3, 4], [5, 6]]),
        np.empty((0, 2), np.float32),
        np.float32([[10, 20], [7, 7]]),
    ]
    table, barrier, found = [None] * 3, threading.Barrier(3), [None] * 3

    def host(rank: int) -> None:
        found[rank] = summed(Together(rank, 3, table, barrier), rows[rank], values[rank])

    threads = [threading.Thread(target=host, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for union, total in found:
        assert union.tolist() == [3, 5, 7, 900]
        assert total.tolist() == [[15, 26], [1, 2], [7, 7], [3, 4]]
