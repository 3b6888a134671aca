"""Models in memory: the one of an ordinary endpoint, or many that come and go."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.content_types import MediaType
from common.failures import ClientError
from common.job import written
from common.manifest import Manifest
from common.prediction import Codec, Columns, Predictor
from serve.codecs import StandardCodec

log = logging.getLogger("algodock.serve")


class LoadError(Exception):
    """Why a model can't be loaded, in one sentence."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Model:
    """A predictor with the codec of its bodies."""

    predictor: Predictor
    codec: Codec
    standard: StandardCodec

    def answer(self, body: bytes, content_type: MediaType, accept: MediaType) -> bytes | None:
        """A response's body for a request's; None for a request that holds no rows."""
        standard = content_type.name in getattr(self.codec, "standard", ())
        rows = (self.standard if standard else self.codec).decode(body, content_type)
        if rows is None:
            return None
        # An empty list of rows has an empty list of answers; predictors need not know about it.
        columns: Columns = (
            {} if getattr(rows, "shape", (1,))[0] == 0 else self.predictor.predict(rows, accept.parameters)
        )
        return getattr(self.codec, "encode", self.standard.encode)(columns, accept)


def load(manifest: Manifest, folder: Path, environment: Mapping[str, str] | None = None) -> Model:
    """Reads an extracted model archive. Raises LoadError when it isn't a model of this algorithm."""
    module = manifest.module("predict")
    if not os.path.isdir(folder):  # pathlib's raises for a folder in another user's
        raise LoadError(f"the model's folder {folder} is missing", 404)
    try:
        predictor: Predictor = module.load(folder)
        standard = StandardCodec(manifest.inference.root, predictor)
        own = getattr(module, "codec", None)
        codec = standard if own is None else own(os.environ if environment is None else environment)
    except ClientError as error:
        raise LoadError(str(error)) from None
    except MemoryError:
        raise LoadError(f"the model in {folder} doesn't fit in memory", 507) from None
    except Exception as error:
        log.exception("the model in %s can't be loaded", folder)
        raise LoadError(f"{folder.name} holds no model that can be read ({type(error).__name__})") from None
    return Model(predictor, codec, standard)


@dataclass(slots=True)
class _Entry:
    """A model that the platform has loaded, whether or not it is in memory just now."""

    name: str
    url: str
    folder: Path
    size: int  # bytes of its files: what it is taken to need in memory
    model: Model | None = None
    users: int = 0  # requests that it answers just now


class Unknown(Exception):
    """No model of that name is loaded."""


class Known(Exception):
    """A model of that name is loaded already."""


class Registry:
    """Many models in a bounded memory.

    A model that was loaded stays known until it is unloaded. Of the known ones, those used last are in
    memory; one that had to make room is read again when it is asked for. `LoadError` with status 507 says
    that there is no room even so: the model is larger than all there is, or every other is answering.

    The state belongs to one process with several threads. Several processes would each hold a copy of every
    model, and none could say that a model's memory is free again. What is known is kept in a small file as
    well, so that a process which replaces one that died goes on where that one stopped.
    """

    def __init__(
        self, manifest: Manifest, root: Path, memory: int, most: int = 0, state: Path | None = None
    ) -> None:
        self._manifest = manifest
        self._root = root
        self._memory = memory
        self._most = most
        self._state = state
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the last used comes last
        self._changed = threading.Condition()
        self._loading = threading.Lock()  # one at a time, so that room found stays free

    def restore(self) -> None:
        """Takes up the models that a process before this one knew; each is read when it is asked for."""
        if self._state is None or not self._state.exists():
            return
        try:
            listed: list[Any] = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return
        for name, url in listed:
            folder = self._folder(url)
            self._entries[name] = _Entry(name, url, folder, _size(folder))

    def forget(self) -> None:
        """Removes the file of what is known."""
        if self._state is not None:
            self._state.unlink(missing_ok=True)

    def add(self, name: str, url: str) -> None:
        """Loads a model. Raises Known, or LoadError with the status that tells why not."""
        with self._loading:
            with self._changed:
                if name in self._entries:
                    raise Known(name)
            folder = self._folder(url)
            if not os.path.isdir(folder):
                raise LoadError(f"the model's folder {url} is missing", 404)
            entry = _Entry(name, url, folder, _size(folder))
            self._bring(entry)
            with self._changed:
                self._entries[name] = entry
                self._save()

    def remove(self, name: str, patience: float) -> None:
        """Unloads a model once it has answered what it was asked; at most ``patience`` seconds later."""
        with self._changed:
            entry = self._entries.pop(name, None)
            if entry is None:
                raise Unknown(name)
            self._save()
            self._changed.wait_for(lambda: entry.users == 0, patience)
            entry.model = None

    def describe(self, name: str) -> dict[str, str]:
        """A model as the platform reads it. Raises Unknown."""
        with self._changed:
            entry = self._entries.get(name)
            if entry is None:
                raise Unknown(name)
            return {"modelName": entry.name, "modelUrl": entry.url}

    def page(self, after: str, limit: int) -> tuple[list[dict[str, str]], str | None]:
        """Up to ``limit`` models after the one named ``after``, by name, and the name to go on after."""
        with self._changed:
            names = sorted(name for name in self._entries if name > after)
            chosen = names[:limit]
            models = [{"modelName": name, "modelUrl": self._entries[name].url} for name in chosen]
        return models, chosen[-1] if chosen and len(names) > limit else None

    @contextmanager
    def using(self, name: str) -> Iterator[Model]:
        """The model, which stays in memory for the block. Raises Unknown, or LoadError."""
        entry = self._take(name)
        if entry is None:
            with self._loading:
                entry = self._take(name)  # another thread may have read it meanwhile
                if entry is None:
                    with self._changed:
                        known = self._entries.get(name)
                    if known is None:
                        raise Unknown(name)
                    self._bring(known)
                    entry = self._take(name)
                    if entry is None:
                        raise Unknown(name)  # unloaded while it was read
        try:
            assert entry.model is not None
            yield entry.model
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    def _take(self, name: str) -> _Entry | None:
        with self._changed:
            entry = self._entries.get(name)
            if entry is None:
                raise Unknown(name)
            if entry.model is None:
                return None
            entry.users += 1
            self._entries.move_to_end(name)
            return entry

    def _bring(self, entry: _Entry) -> None:
        self._make_room(entry)
        model = load(self._manifest, entry.folder)
        with self._changed:
            entry.model = model

    def _make_room(self, wanted: _Entry) -> None:
        """Drops the models that were not used for longest until ``wanted`` fits."""
        if wanted.size > self._memory:
            raise LoadError(
                f"model {wanted.name} takes {wanted.size} bytes and all models together may take "
                f"{self._memory}",
                507,
            )
        with self._changed:
            held = [entry for entry in self._entries.values() if entry.model is not None]
            idle = [entry for entry in held if entry.users == 0]
            count, size = len(held), sum(entry.size for entry in held)
            while (self._most and count >= self._most) or size + wanted.size > self._memory:
                if not idle:
                    raise LoadError(
                        f"there is no room for model {wanted.name} while every other one is answering", 507
                    )
                oldest = idle.pop(0)
                oldest.model = None
                count, size = count - 1, size - oldest.size
                log.info("model %s left memory for %s", oldest.name, wanted.name)

    def _folder(self, url: str) -> Path:
        path = Path(url)
        # The platform always says /opt/ml, whatever stands for it here.
        return self._root / path.relative_to("/opt/ml") if path.is_relative_to("/opt/ml") else path

    def _save(self) -> None:
        if self._state is None:
            return
        try:
            with written(self._state) as path:
                path.write_text(json.dumps([[entry.name, entry.url] for entry in self._entries.values()]))
        except OSError as error:
            log.warning("the list of loaded models can't be kept: %s", error.strerror)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
