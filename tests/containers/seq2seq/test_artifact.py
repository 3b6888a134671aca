"""The files of a model, and all that may be wrong with them."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from common.failures import ClientError
from common.formats import ndarray
from containers.seq2seq import artifact, vocabulary
from containers.seq2seq.config import BOS
from tests.containers.seq2seq.networks import SOURCES, TARGETS, network
from tests.containers.seq2seq.networks import vocabulary as words


@pytest.fixture
def folder(tmp_path):
    made = network(num_layers_decoder=2)
    place = lambda name: nullcontext(tmp_path / name)  # noqa: E731
    artifact.write(place, made, words(SOURCES, "s"), words(TARGETS, "ä"))
    return tmp_path


@pytest.mark.parametrize("changed", [{}, {"encoder_type": "cnn", "decoder_type": "cnn"}])
def test_what_is_written_is_read(tmp_path, changed):
    made = network(**changed)
    artifact.write(lambda name: nullcontext(tmp_path / name), made, words(SOURCES, "s"), words(TARGETS, "ä"))
    assert {path.name for path in tmp_path.iterdir()} == set(artifact.NAMES)
    model = artifact.read(tmp_path)
    assert model.network.config == made.config
    assert not model.network.training
    source, lengths, target = torch.tensor([[4, 5, 6]]), torch.tensor([3]), torch.tensor([[BOS, 4]])
    assert torch.equal(model.network(source, lengths, target), made(source, lengths, target))
    assert (model.source, model.target) == (words(SOURCES, "s"), words(TARGETS, "ä"))
    assert '\n    "ä4": 4' in (tmp_path / "vocab.trg.json").read_text("utf-8")


def test_weights_have_room_of_their_own(folder):
    model = artifact.read(folder)
    assert all(weight.requires_grad for weight in model.network.parameters())
    with torch.no_grad():
        model.network.output.bias.add_(1)


@pytest.mark.parametrize("name", artifact.NAMES)
def test_files_that_are_missing_or_damaged(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2 - 1], b"\xff" * 100, b"[" * 100_000, whole[:-9] + b"!"):
        path.write_bytes(content)
        with pytest.raises(ClientError):
            artifact.read(folder)
    path.unlink()
    with pytest.raises(ClientError, match=f"there is no {name} in the model folder"):
        artifact.read(folder)
    path.mkdir()
    with pytest.raises(ClientError, match=f"{name} in the model folder can't be read"):
        artifact.read(folder)


def change(folder, **changed):
    path = folder / "config"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    "changed",
    [
        {"rnn_num_hidden": 10},
        {"rnn_num_hidden": 2_000_000_000},
        {"num_layers_encoder": 2_000_000_000},
        {"num_layers_decoder": 1},
        {"rnn_cell_type": "gru"},
        {"rnn_attention_type": "dot"},
        {"encoder_type": "cnn", "cnn_num_hidden": 2_000_000_000},
    ],
)
def test_a_configuration_of_another_network(folder, changed):
    change(folder, **changed)
    with pytest.raises(ClientError, match="doesn't hold the weights that config tells of"):
        artifact.read(folder)


def test_vocabularies_of_another_size(folder):
    (folder / "vocab.trg.json").write_bytes(vocabulary.dumps(words(TARGETS + 1, "t")))
    with pytest.raises(ClientError, match="hold 23 and 20 tokens; config tells of 23 and 19"):
        artifact.read(folder)


def test_weights_that_are_none(folder):
    path = folder / "params.best"
    arrays = ndarray.load(path)
    for broken, message in (
        ({**arrays, "arg:output.bias": np.full(TARGETS, np.nan, np.float32)}, "output.bias has values"),
        ({**arrays, "arg:output.bias": np.zeros(TARGETS, np.float64)}, "doesn't hold the weights"),
        ({**arrays, "arg:output.bias": np.zeros(TARGETS - 1, np.float32)}, "doesn't hold the weights"),
        (list(arrays.values()), "holds arrays without names"),
    ):
        ndarray.save(path, broken)
        with pytest.raises(ClientError, match=message):
            artifact.read(folder)
    large = arrays["arg:output.bias"].copy()
    large[:] = 3e38  # finite, though their sum isn't
    ndarray.save(path, {**arrays, "arg:output.bias": large})
    artifact.read(folder)
