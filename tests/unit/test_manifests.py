"""Every manifest: whole, in step with its declaration, its README and the promises of the contract."""

import dataclasses
import re
import tomllib

import pytest

from common import content_types, manifest
from common.failures import ClientError
from local import tables

NAMES = list(manifest.known())


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_whole(name):
    found = manifest.load(name)
    # A user's program reads what it likes.
    assert found.other_channels or (found.channels[0].name == "train" and found.channels[0].required)
    assert set(found.training.devices) <= {"cpu", "gpu"}
    assert found.inference.default_accept in found.inference.accepts
    # Answers are JSON, also where AWS has none; but not pictures.
    assert content_types.JSON in found.inference.accepts or found.inference.default_accept == "image/png"
    for channel in found.channels:
        assert channel.labels in ("required", "ignored")
        assert channel.input_modes[0] == "File"
    for metric in found.metrics:
        assert re.compile(metric.regex).groups == 1
        assert metric.direction in ("Maximize", "Minimize", "none")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_whole(name):
    found = manifest.load(name)
    folder = manifest.CONTAINERS / found.folder
    for file in ("hyperparameters.py", "train.py", "predict.py", "report.py", "README.md"):
        assert (folder / file).is_file(), file
    # The maths, of images a network, is apart from I/O: it knows neither the job nor the server.
    maths = [path for path in (folder / "model.py", folder / "network.py") if path.is_file()]
    assert maths
    for path in maths:
        assert not re.search(
            r"^\s*(from|import) (common\.(job|training|metrics|channels)|serve|flask|logging)\b",
            path.read_text(),
            re.MULTILINE,
        ), path


def test_readmes_have_the_declarations_tables():
    assert not tables.stale(), "run: make tables"


def test_an_unknown_algorithm_is_told_with_those_there_are():
    with pytest.raises(ClientError, match="algorithm kmean is unknown; accepted: "):
        manifest.load("kmean")


def test_channels_of_other_names_are_taken_where_a_users_program_reads_them():
    closed = manifest.load("kmeans")
    with pytest.raises(ClientError, match="channel mine is unknown to kmeans"):
        closed.channel("mine")
    opened = dataclasses.replace(closed, other_channels="the script's own")
    assert opened.channel("mine") == manifest.ChannelSpec("mine", "the script's own", ())
    assert opened.channel("train") is closed.channels[0]


def test_builds_learn_what_to_install(capsys):
    manifest.main(["packages", "knn", "--device", "cpu"])
    assert "faiss-cpu" in capsys.readouterr().out
    manifest.main(["images"])
    lines = capsys.readouterr().out.splitlines()
    assert "kmeans kmeans cpu gpu" in lines
    assert "seq2seq seq2seq cpu gpu" in lines  # trains on a GPU, answers on either
    assert "randomcutforest randomcutforest cpu" in lines
    assert len(lines) == len(NAMES)
    manifest.main(["pretrained", "kmeans"])
    assert not capsys.readouterr().out.strip()


def test_nothing_imports_what_it_must_not():
    root = manifest.CONTAINERS.parent
    rules = {"common": "serve|containers|local", "serve": "containers|local", "containers": "serve|local"}
    for package, forbidden in rules.items():
        for path in (root / package).rglob("*.py"):
            found = re.findall(rf"^\s*(?:from|import) (?:{forbidden})\b.*", path.read_text(), re.MULTILINE)
            assert not found, f"{path}: {found}"


def test_every_package_of_a_manifest_is_pinned():
    root = manifest.CONTAINERS.parent
    pinned = {
        line.split("==")[0].lower()
        for line in (root / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for name in NAMES:
        for packages in manifest.load(name).packages.values():
            wanted += packages
    for requirement in wanted:
        package = re.split(r"[<>=!\[ ]", requirement)[0].lower()
        assert package in pinned or package.replace("-", "_") in pinned, requirement
