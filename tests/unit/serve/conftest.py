import json
from pathlib import Path

import pytest

import containers
from common import manifest as manifests
from serve import app, models, settings

ALGORITHMS = Path(__file__).parent / "algorithms"
CENTERS = [[0, 0, 0], [3, 4, 0]]


@pytest.fixture(autouse=True)
def _algorithms(monkeypatch):
    """The algorithms beside this file in place of the real ones."""
    monkeypatch.setattr(manifests, "CONTAINERS", ALGORITHMS)
    monkeypatch.setattr(containers, "__path__", [str(ALGORITHMS)])
    manifests.load.cache_clear()
    yield
    manifests.load.cache_clear()


@pytest.fixture
def manifest():
    return manifests.load("nearest")


@pytest.fixture
def make_model():
    """Writes a model's files into a folder."""

    def make(folder, centers=CENTERS, padding=0):
        folder.mkdir(parents=True)
        (folder / "centers.json").write_text(json.dumps(centers))
        (folder / "model.tar.gz").write_bytes(b"x" * padding)
        return folder

    return make


@pytest.fixture
def client(manifest, make_model, tmp_path):
    """A client of an endpoint with the environment given."""

    def make(**environment):
        folder = tmp_path / "model"
        if not folder.exists():
            make_model(folder)
        chosen = settings.read(environment, 2)
        return app.single(
            app.Types.of(manifest, chosen.default_accept), chosen, models.load(manifest, folder)
        ).test_client()

    return make
