"""Losses and updates against torch's own, on one device and several."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from common.cluster import Cluster
from common.job import Hosts
from common.optimizers import Settings
from containers.seq2seq.bucketing import Batch, Bucketed
from containers.seq2seq.config import PAD
from containers.seq2seq.learner import Learner, Sums
from containers.seq2seq.model import output_loss
from containers.seq2seq.network import Network
from containers.seq2seq.schedules import InverseTime, Schedule
from tests.containers.seq2seq.networks import network
from tests.containers.seq2seq.tasks import as_pairs, turned


def batches(count: int = 40, size: int = 16) -> list[Batch]:
    return list(Bucketed(as_pairs(turned(count)), [(20, 21)], size).epoch())


def plain(net: Network, batch: Batch) -> tuple[torch.Tensor, int]:
    """The summed loss, and how many tokens are the likeliest."""
    logits = net(batch.source, batch.lengths, batch.inputs).flatten(0, 1)
    labels = batch.labels.flatten()
    loss = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=PAD)
    return loss, int(((logits.argmax(1) == labels) & (labels != PAD)).sum())


def learner(devices: int = 1, optimizer: str = "sgd", accuracy: bool = True, **settings: float) -> Learner:
    return Learner(
        network().train(),
        optimizer,
        Settings(**settings),
        Schedule(0.1),
        devices=("cpu",) * devices,
        cluster=Cluster(Hosts()),
        accuracy=accuracy,
    )


def test_the_loss_after_a_layer_is_torchs():
    torch.manual_seed(0)
    layer = nn.Linear(7, 11)
    labels = torch.randint(0, 11, (13,))
    found = []
    for ours in (True, False):
        rows = torch.randn(13, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
        layer.zero_grad()
        if ours:
            loss, right = output_loss(rows, layer, labels, 0.25, accuracy=True)
            assert right == (layer(rows).argmax(1) == labels).sum()
            assert output_loss(rows, layer, labels, 0.25, accuracy=False)[1] == 0
        else:
            loss = 0.25 * functional.cross_entropy(layer(rows), labels, reduction="sum")
        (3 * loss).backward()
        found.append([loss.detach(), rows.grad, layer.weight.grad.clone(), layer.bias.grad.clone()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_scores_are_sums_over_all_tokens_but_padding():
    parts = batches()
    found = learner().score(parts)
    with torch.no_grad():
        losses, right = zip(*(plain(network(), batch) for batch in parts), strict=True)
    tokens = sum(len(target) + 1 for _, target in turned(40))
    assert (found.tokens, found.pairs, found.batches) == (tokens, 40, 3)
    assert found.perplexity == pytest.approx(math.exp(float(sum(losses)) / tokens), rel=1e-5)
    assert found.accuracy == sum(right) / tokens


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_an_update_is_by_the_mean_gradient_of_a_token(devices):
    (batch,) = batches(10)
    mine = learner(devices)
    sums = mine.learn(batch)
    other = network().train()
    loss, right = plain(other, batch)
    assert sums.tolist() == pytest.approx([loss.item(), right, batch.tokens], rel=1e-5)
    (loss / batch.tokens).backward()
    for (name, weight), found in zip(other.named_parameters(), mine.network.parameters(), strict=True):
        torch.testing.assert_close(found, weight - 0.1 * weight.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_more_devices_than_pairs():
    (batch,) = batches(2)
    found = [mine.learn(batch).tolist() for mine in (learner(1), learner(5))]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_gradients_are_clipped_value_by_value_and_biases_do_not_decay():
    (batch,) = batches(10)
    clipped, decayed, neither = learner(clip=1e-3), learner(decay=0.5), learner()
    start = dict(network().named_parameters())
    for mine in (clipped, decayed, neither):
        mine.learn(batch)
    for name, weight in clipped.network.named_parameters():
        assert (weight - start[name]).abs().max() <= 1.001e-4
    after = dict(neither.network.named_parameters())
    for name, weight in decayed.network.named_parameters():
        expected = after[name] - (0 if "bias" in name else 0.1 * 0.5 * start[name])
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_the_rate_is_the_schedules():
    parts = batches()
    mine = learner()
    mine.schedule = InverseTime(0.2, 1)
    other = network().train()
    for updates, batch in enumerate(parts):
        mine.learn(batch)
        other.zero_grad()
        loss, _ = plain(other, batch)
        (loss / batch.tokens).backward()
        with torch.no_grad():
            for weight in other.parameters():
                weight -= 0.2 / (1 + updates) * weight.grad
    assert mine.updates == 3
    for found, weight in zip(mine.network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, weight, rtol=1e-4, atol=1e-6)


def test_a_state_is_gone_back_to_on_all_devices():
    mine = learner(2)
    (batch,) = batches(10)
    before, score = mine.state(), mine.score([batch]).perplexity
    for _ in range(3):
        mine.learn(batch)
    assert mine.score([batch]).perplexity < score
    mine.restore(before)
    assert mine.score([batch]).perplexity == score
    assert mine.learn(batch).tolist() == learner(2).learn(batch).tolist()


def test_accuracy_is_counted_where_it_is_told():
    (batch,) = batches(10)
    assert learner(accuracy=False).learn(batch)[1] == 0


def test_sums_of_nothing_and_of_much():
    assert (Sums().perplexity, Sums().accuracy) == (1.0, 0.0)
    much = Sums()
    much.add(np.array([1e6, 0.0, 10.0]), 5)
    assert much.perplexity == math.inf


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_learns_as_the_cpu_does():
    parts = batches()
    found = []
    for device in ("cpu", "cuda"):
        mine = Learner(
            network().train(),
            "adam",
            Settings(clip=1.0),
            Schedule(0.01),
            devices=(device,),
            cluster=Cluster(Hosts()),
        )
        for batch in parts:
            mine.learn(batch)
        found.append((mine.state().cpu(), mine.score(parts).perplexity))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-3, atol=1e-4)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-3)
