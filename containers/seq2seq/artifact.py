"""The files of a model, named as Sockeye's: params.best, config, version and the two vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from common.failures import ClientError
from common.formats import ndarray
from containers.seq2seq import vocabulary
from containers.seq2seq.config import Config
from containers.seq2seq.network import Network
from containers.seq2seq.vocabulary import SOURCE, TARGET, Vocabulary

PARAMETERS, CONFIG, VERSION = "params.best", "config", "version"
NAMES = (PARAMETERS, CONFIG, VERSION, SOURCE, TARGET)
_VERSION = "1"
# No more is read of a text file.
_LARGEST_TEXT = 1 << 28


@dataclass(frozen=True, slots=True)
class Model:
    """A network in evaluation mode, on the CPU, and what its ids mean."""

    network: Network
    source: Vocabulary
    target: Vocabulary


def write(
    place: Callable[[str], AbstractContextManager[Path]],
    network: Network,
    source: Vocabulary,
    target: Vocabulary,
) -> None:
    """Writes all files; ``place`` gives the path of each (`Run.artifact`)."""
    weights = {f"arg:{name}": value.cpu().numpy() for name, value in network.state_dict().items()}
    texts = {
        CONFIG: network.config.to_json().encode(),
        VERSION: f"{_VERSION}\n".encode(),
        SOURCE: vocabulary.dumps(source),
        TARGET: vocabulary.dumps(target),
    }
    with place(PARAMETERS) as path:
        ndarray.save(path, weights)
    for name, text in texts.items():
        with place(name) as path:
            path.write_bytes(text)


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that is damaged."""
    version = _text(folder, VERSION).decode("utf-8", "replace").strip()
    if version != _VERSION:
        raise ClientError(f"{VERSION} in the model folder is '{version[:40]}'; accepted: {_VERSION}")
    try:
        config = Config.from_json(_text(folder, CONFIG))
    except ClientError as error:
        raise ClientError(f"{CONFIG} in the model folder: {error}") from None
    source, target = (vocabulary.loads(_text(folder, name), name) for name in (SOURCE, TARGET))
    if (len(source), len(target)) != (config.vocab_source_size, config.vocab_target_size):
        raise ClientError(
            f"{SOURCE} and {TARGET} hold {len(source)} and {len(target)} tokens; {CONFIG} tells of "
            f"{config.vocab_source_size} and {config.vocab_target_size}"
        )
    return Model(_network(config, _arrays(folder)), source, target)


def _text(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            return file.read(_LARGEST_TEXT)
    except FileNotFoundError:
        raise ClientError(f"there is no {name} in the model folder") from None
    except OSError as error:
        raise ClientError(f"{name} in the model folder can't be read: {error.strerror}") from None


def _arrays(folder: Path) -> dict[str, ndarray.Array]:
    path = folder / PARAMETERS
    try:
        content = bytearray(path.read_bytes())
    except FileNotFoundError:
        raise ClientError(f"there is no {PARAMETERS} in the model folder") from None
    except OSError as error:
        raise ClientError(f"{PARAMETERS} in the model folder can't be read: {error.strerror}") from None
    try:
        arrays = ndarray.load(content)
    except ClientError as error:
        raise ClientError(f"{PARAMETERS} in the model folder: {error}") from None
    if not isinstance(arrays, dict):
        raise ClientError(f"{PARAMETERS} in the model folder holds arrays without names")
    return arrays


def _network(config: Config, arrays: dict[str, ndarray.Array]) -> Network:
    """The network whose weights ``arrays`` are."""
    wrong = ClientError(f"{PARAMETERS} in the model folder doesn't hold the weights that {CONFIG} tells of")
    if config.num_layers_encoder + config.num_layers_decoder > len(arrays):
        raise wrong
    try:
        # Its weights are never touched, so that what damage claims takes no memory.
        network = Network(config)
    except (RuntimeError, MemoryError, OverflowError):
        raise wrong from None
    weights = {}
    state = network.state_dict()
    if {f"arg:{name}" for name in state} != set(arrays):
        raise wrong
    for name, expected in state.items():
        array = arrays[f"arg:{name}"]
        if array.shape != tuple(expected.shape) or array.dtype.str != "<f4":
            raise wrong
        weights[name] = torch.tensor(array)  # aligned as in training, so that results are the same
        if not torch.isfinite(weights[name].sum()) and not torch.isfinite(weights[name]).all():
            raise ClientError(
                f"{PARAMETERS} in the model folder: {name} has values that are not finite numbers"
            )
    network.load_state_dict(weights, assign=True)
    return network.eval()
