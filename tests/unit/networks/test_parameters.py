"""Names of parameters in MXNet's files."""

import numpy as np
import pytest
import torch
from torch import nn

from common.failures import ClientError
from common.networks import parameters
from common.networks.parameters import GLUON, SYMBOL


def network():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict({"conv0": nn.Conv2d(3, 4, 3, bias=False), "bn0": nn.BatchNorm2d(4), "head": inner})


def test_names_of_symbols():
    assert list(parameters.named(network(), SYMBOL)) == [
        "arg:conv0_weight",
        "arg:bn0_gamma",
        "arg:bn0_beta",
        "aux:bn0_moving_mean",
        "aux:bn0_moving_var",
        "arg:head_0_weight",
        "arg:head_0_bias",
        "arg:head_1_gamma",
        "arg:head_1_beta",
        "aux:head_1_moving_mean",
        "aux:head_1_moving_var",
    ]


def test_names_of_gluon_blocks():
    names = list(parameters.named(network(), GLUON))
    assert names[:3] == ["conv0.weight", "bn0.gamma", "bn0.beta"]
    assert names[-2:] == ["head.1.running_mean", "head.1.running_var"]


@pytest.mark.parametrize("naming", [SYMBOL, GLUON])
def test_what_is_dumped_fills_another(naming):
    first, second = network(), network()
    with torch.no_grad():
        for tensor in parameters.named(second, naming).values():
            tensor.fill_(7)
    kept = next(iter(parameters.named(second, naming)))
    parameters.fill(second, {**parameters.dump(first, naming), "more": np.zeros(1)}, naming, "f", but={kept})
    for name, tensor in parameters.named(second, naming).items():
        expected = torch.full_like(tensor, 7) if name == kept else parameters.named(first, naming)[name]
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("bn0.gamma"), "m.params holds no bn0.gamma"),
        (lambda a: a.update({"bn0.gamma": np.ones(5)}), "bn0.gamma has the shape 5, where 4 is needed"),
        (lambda a: a.update({"bn0.beta": np.array([1, 2, 3, np.nan])}), "bn0.beta holds values that are not"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(change, said):
    target = network()
    before = parameters.dump(target, GLUON)
    arrays = {name: array + 1 for name, array in before.items()}
    change(arrays)
    with pytest.raises(ClientError, match=said):
        parameters.fill(target, arrays, GLUON, "m.params")
    after = parameters.dump(target, GLUON)
    assert all(np.array_equal(before[name], after[name]) for name in before)
