"""Steps of optimizers on flat vectors, in machine code and by torch, are those that MXNet makes."""

import numpy as np
import pytest
import torch

from common.optimizers import OPTIMIZERS, Settings

# What mxnet 1.9.1 makes of these weights in three steps: rescale_grad 0.5, learning_rate 0.1 (not adadelta).
STEPS = ([0.2, -4.0, 0.0], [0.1, 3.0, 1.0], [-0.3, 0.5, 0.0])
MXNET = {
    ("sgd", 0, np.inf): [1.0, -1.9749999, 0.44999999],
    ("adam", 0, np.inf): [0.81497902, -1.8905579, 0.36806351],
    ("adagrad", 0, np.inf): [0.93545759, -1.9699504, 0.40000001],
    ("adadelta", 0, np.inf): [0.99608707, -2.0005403, 0.49000201],
    ("rmsprop", 0, np.inf): [0.7980442, -1.9141397, 0.18377233],
    ("sgd", 0.1, 0.5): [0.97054803, -1.9660929, 0.43564951],
    ("adam", 0.1, 0.5): [0.74747461, -1.9146748, 0.2529749],
    ("adagrad", 0.1, 0.5): [0.90819383, -1.9459249, 0.38614953],
    ("adadelta", 0.1, 0.5): [0.72763264, -1.465269, 0.35550177],
    ("rmsprop", 0.1, 0.5): [0.64939398, -1.9414556, -0.1223422],
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("name", "decay", "clip"), list(MXNET))
def test_optimizers_are_mxnets(name, decay, clip, native):
    weights, gradient = torch.tensor([1.0, -2.0, 0.5]), torch.zeros(3)
    optimizer = OPTIMIZERS[name](weights, gradient, Settings(0.1, 0.5, clip, decay), native=native)
    for step in STEPS:
        gradient.copy_(torch.tensor(step))
        optimizer.step()
    np.testing.assert_allclose(weights.numpy(), MXNET[name, decay, clip], rtol=1e-5)


# The same with every constant set to another than its own.
CONSTANTS = {
    "nag": {"momentum": 0.8},
    "momentum": {"momentum": 0.8},
    "adam": {"keep": 0.7, "keep_square": 0.9, "epsilon": 1e-3},
    "rmsprop": {"keep": 0.8, "epsilon": 1e-3},
    "centred_rmsprop": {"keep": 0.8, "keep_square": 0.7, "epsilon": 1e-3},
}
MXNET_WITH_CONSTANTS = {
    ("nag", 0, np.inf): [0.98527998, -1.8205999, 0.37799999],
    ("momentum", 0, np.inf): [0.98159999, -1.8069999, 0.41],
    ("adam", 0, np.inf): [0.84183556, -1.913913, 0.36432949],
    ("rmsprop", 0, np.inf): [0.90464598, -1.9467081, 0.27859628],
    ("centred_rmsprop", 0, np.inf): [0.57593668, -1.7236903, 0.08021493],
    ("momentum", 0.1, 0.5): [0.93006802, -1.8904129, 0.3845295],
    ("adam", 0.1, 0.5): [0.76640207, -1.9367918, 0.25655106],
    ("rmsprop", 0.1, 0.5): [0.74750179, -1.9648239, 0.14296712],
    ("centred_rmsprop", 0.1, 0.5): [0.34215009, -1.7694738, -0.22025754],
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("name", "decay", "clip"), list(MXNET_WITH_CONSTANTS))
def test_their_constants_are_mxnets_too(name, decay, clip, native):
    weights, gradient = torch.tensor([1.0, -2.0, 0.5]), torch.zeros(3)
    settings = Settings(0.1, 0.5, clip, decay, **CONSTANTS[name])
    optimizer = OPTIMIZERS[name](weights, gradient, settings, native=native)
    for step in STEPS:
        gradient.copy_(torch.tensor(step))
        optimizer.step()
    np.testing.assert_allclose(weights.numpy(), MXNET_WITH_CONSTANTS[name, decay, clip], rtol=1e-4)


@pytest.mark.parametrize("native", [True, False])
def test_biases_do_not_decay_and_threads_change_nothing(native):
    size = 600_000
    gradient = torch.randn(size, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 2):
        weights = torch.ones(size)
        settings = Settings(0.1, 1.0, np.inf, 0.5)
        undecayed = [slice(10, 20), slice(size - 5, size)]
        OPTIMIZERS["sgd"](weights, gradient, settings, undecayed, threads, native=native).step()
        found.append(weights)
    assert torch.equal(*found)
    decayed = torch.full((size,), 0.95)
    decayed[10:20] = decayed[-5:] = 1
    torch.testing.assert_close(found[0], decayed - 0.1 * gradient)


@pytest.mark.parametrize("native", [True, False])
def test_momentum_is_polyaks(native):
    weights, gradient = torch.tensor([1.0, -2.0, 0.5]), torch.zeros(3)
    settings = Settings(0.1, 0.5, 1.2, 0.1, momentum=0.9)
    optimizer = OPTIMIZERS["momentum"](weights, gradient, settings, native=native)
    expected, moved = weights.numpy().astype(float), np.zeros(3)
    for rate, step in zip((0.1, 0.05, 0.05), STEPS, strict=True):
        gradient.copy_(torch.tensor(step))
        optimizer.rate = rate
        optimizer.step()
        moved = 0.9 * moved - rate * (np.clip(0.5 * np.array(step), -1.2, 1.2) + 0.1 * expected)
        expected += moved
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_parts_may_learn_faster(native):
    gradient, weights = torch.ones(10), torch.ones(10)
    speeds = [(slice(2, 4), 10.0), (slice(8, 10), 2.0)]
    settings = Settings(0.1, decay=0.5)
    OPTIMIZERS["sgd"](weights, gradient, settings, [slice(3, 5)], speeds=speeds, native=native).step()
    rate = np.array([1, 1, 10, 10, 1, 1, 1, 1, 2, 2]) * 0.1
    decay = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 1]) * 0.5
    np.testing.assert_allclose(weights.numpy(), 1 - rate * (1 + decay), rtol=1e-6)
