"""Word vectors by torch: on the CPU as the device that stands for a GPU, or two."""

from __future__ import annotations

import numpy as np
import pytest

from containers.blazingtext.learning import HogwildLearner, Learner, Settings, Task, parts_of
from containers.blazingtext.text import Block
from containers.blazingtext.tokens import split
from containers.blazingtext.vocabulary import Counter, Vocabulary

torch = pytest.importorskip("torch")
from common.cores import Cores  # noqa: E402
from containers.blazingtext.torch_learning import TorchLearner  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    """Work this small is slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def text() -> tuple[Vocabulary, np.ndarray]:
    """Sentences of two kinds, each of words of its own."""
    random = np.random.default_rng(0)
    lines = [
        " ".join(f"{kind}{number}" for number in random.integers(0, 10, 8))
        for kind in random.choice(["a", "b"], 300)
    ]
    counter = Counter(labelled=False)
    numbers = counter.add(split("\n".join(lines).encode() + b"\n"))
    vocabulary, entries = counter.vocabulary(1)
    return vocabulary, entries[numbers]


def learn(learner: Learner, text: tuple[Vocabulary, np.ndarray]) -> None:
    vocabulary, numbers = text
    for number in range(6):
        blocks = [Block(numbers[part::2].copy(), vocabulary) for part in range(2)]
        learner.learn(
            [Task(block, (0.2, 0.2), np.uint64(2 * number + k + 1)) for k, block in enumerate(blocks)]
        )


def apart(learner: Learner, vocabulary: Vocabulary, parts) -> float:
    """How much more alike words of one kind are than words of both."""
    from containers.blazingtext.word_artifact import vectors

    found = vectors(learner.matrices(), parts).copy()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    kinds = np.array([word[:1] for word in vocabulary])
    first, second = found[kinds == b"a"], found[kinds == b"b"]
    return float((first @ first.T).mean() - (first @ second.T).mean())


@pytest.mark.parametrize(
    ("mode", "lengths", "devices"),
    [
        ("skipgram", None, ["cpu"]),
        ("cbow", (2, 3), ["cpu"]),
        ("skipgram", (2, 3), ["cpu", "cpu"]),
        ("cbow", None, ["cpu", "cpu"]),
    ],
)
def test_it_learns_as_the_kernels_do(text, mode, lengths, devices):
    vocabulary, _ = text
    parts = parts_of(vocabulary, lengths, 100)
    settings = Settings(mode, 16, 3, 5, 7, 0.5, 1)
    ours = TorchLearner(vocabulary, parts, settings, devices)
    start = ours.matrices().inputs.copy()
    with Cores(1) as cores:
        kernels = HogwildLearner(vocabulary, parts, settings, cores)
        assert np.array_equal(start, kernels.matrices().inputs)
        learn(kernels, text)
    learn(ours, text)
    assert not ours.matrices().inputs[:, 16:].any()
    assert apart(kernels, vocabulary, parts) > 0.3
    assert apart(ours, vocabulary, parts) > 0.3


def test_equal_runs_give_equal_bytes(text):
    vocabulary, _ = text
    parts = parts_of(vocabulary, None, 0)
    found = []
    for _ in range(2):
        learner = TorchLearner(vocabulary, parts, Settings("skipgram", 8, 2, 3, 5, 0.5, 1), ["cpu"])
        learn(learner, text)
        found.append(learner.matrices().inputs.tobytes())
    assert found[0] == found[1]


def test_a_negative_that_is_the_positive_teaches_nothing():
    counter = Counter(labelled=False)
    numbers = counter.add(split(b"a b"))
    vocabulary, entries = counter.vocabulary(1)
    learner = TorchLearner(
        vocabulary, parts_of(vocabulary, None, 0), Settings("cbow", 8, 1, 9, 3, 0.9, 0), ["cpu"]
    )
    learner.learn([Task(Block(entries[numbers], vocabulary), (0.1, 0.1), np.uint64(5))])
    outputs = learner.matrices().outputs
    inputs = learner.matrices().inputs
    # Each output row has its positive step and those of the other word's negatives: none of its own.
    assert np.isfinite(outputs).all()
    assert outputs[0] @ inputs[1] > outputs[0] @ inputs[0]
