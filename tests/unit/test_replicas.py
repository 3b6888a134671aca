"""A module on several devices, played by the CPU, has the gradients that it has on one."""

import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from common import cluster
from common.cluster import Cluster
from common.job import Hosts
from common.replicas import Replicas, biases

ROWS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def module() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def loss(net: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return torch.stack([net(rows).square().sum(), torch.tensor(float(len(rows)))])


def gradients(net: torch.nn.Module) -> list[np.ndarray]:
    return [parameter.grad.numpy().copy() for parameter in net.parameters()]


def whole() -> list[np.ndarray]:
    net = module()
    loss(net, ROWS)[0].backward()
    return gradients(net)


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_gradients_are_those_of_all_rows(devices):
    replicas = Replicas(module(), ["cpu"] * devices, Cluster(Hosts()))
    for _ in range(2):  # nothing is left over from the call before
        sums = replicas.backward(loss, ROWS.chunk(devices), 2)
    assert sums[1] == 12
    for ours, theirs in zip(gradients(replicas.module), whole(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parameters_and_gradients_are_views_of_two_vectors():
    replicas = Replicas(module(), ["cpu", "cpu"], Cluster(Hosts()))
    replicas.backward(loss, ROWS.chunk(2), 2)
    before = [parameter.detach().clone() for parameter in replicas.module.parameters()]
    replicas.weights.sub_(replicas.gradient)
    for parameter, old in zip(replicas.module.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old - parameter.grad)


def test_fewer_parts_than_devices_and_an_optimizer_between():
    replicas = Replicas(module(), ["cpu", "cpu"], Cluster(Hosts()))
    optimizer = torch.optim.SGD(replicas.module.parameters(), lr=0.1)
    replicas.backward(loss, ROWS.chunk(2), 2)
    optimizer.step()
    replicas.sync()
    assert replicas.backward(loss, [ROWS], 2)[1] == 12
    alone = gradients(replicas.module)
    replicas.backward(loss, ROWS.chunk(2), 2)
    for ours, theirs in zip(gradients(replicas.module), alone, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_hosts_add_theirs_and_one_may_have_no_rows(monkeypatch):
    monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", "7191")
    names = ("127.0.0.1", "127.0.0.2")
    found: dict[str, tuple[float, list[np.ndarray]]] = {}

    def work(name: str, parts: list[torch.Tensor], net: torch.nn.Module) -> None:
        with ExitStack() as stack:
            joined = cluster.join(Hosts(name, names))
            stack.callback(joined.close)
            replicas = Replicas(net, ["cpu"], joined)
            sums = replicas.backward(loss, parts, 2)
            found[name] = sums[1], gradients(replicas.module)

    threads = [
        threading.Thread(target=work, args=(name, parts, module()))
        for name, parts in zip(names, ([ROWS], []), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for count, of_host in found.values():
        assert count == 12
        for ours, theirs in zip(of_host, whole(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(found) == 2


def test_where_biases_lie():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LSTM(3, 2))
    vector = torch.cat([parameter.reshape(-1) for parameter in module.parameters()])
    found = torch.cat([vector[part] for part in biases(module)])
    expected = [module[0].bias, module[1].bias_ih_l0, module[1].bias_hh_l0]
    assert torch.equal(found, torch.cat(expected))
