"""What training of image networks is made of: rates, patience, checkpoints, earlier models, weights."""

import io
import json
import tarfile

import numpy as np
import pytest

from common.failures import ClientError
from common.formats import jsonfile, ndarray
from common.hyperparameters import Declaration
from common.learning import declaring, pretrained, previous, schedules
from common.learning.checkpoints import Checkpoints
from common.learning.stopping import Patience


def test_rates_fall_in_steps():
    rate = schedules.steps(1.0, 0.5, (2, 3), 10)
    assert [rate(update) for update in (0, 19, 20, 29, 30, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_rates_fall_to_nothing():
    poly, cosine = schedules.poly(2.0, 100), schedules.cosine(2.0, 100)
    assert (poly(0), poly(100), poly(150)) == (2, 0, 0)
    assert poly(50) == pytest.approx(2 * 0.5**0.9)
    assert (cosine(0), cosine(50), cosine(100)) == pytest.approx((2, 1, 0))


def ends(scores, **settings):
    patience = Patience(**{"least": 1, "patience": 2, "tolerance": 0.0, **settings})
    return next((n for n, score in enumerate(scores, 1) if patience.ends(score)), None)


def test_patience():
    assert ends([0.1, 0.2, 0.2, 0.1]) == 4
    assert ends([0.1, 0.2, 0.2, 0.3, 0.3, 0.3]) == 6
    assert ends([0.3, 0.2, 0.1, 0.1], least=4) == 4
    assert ends([0.5, 0.51, 0.52, 0.53], tolerance=0.1) == 3
    assert ends([0.0, 0.0, 0.0]) == 3
    assert ends([0.0, 0.1, 0.2, 0.3]) is None


def test_flags_and_epochs_as_people_write_them():
    declaration = Declaration(
        *declaring.early_stopping("accuracy", 10, 5), declaring.epochs("lr_scheduler_step", "...")
    )
    values = declaration.resolve({"early_stopping": "True", "lr_scheduler_step": "3, 10,20"})
    assert values["early_stopping"] is True
    assert values["lr_scheduler_step"] == (3, 10, 20)
    assert declaration.resolve({"lr_scheduler_step": ""})["lr_scheduler_step"] == ()
    assert values.as_texts()["lr_scheduler_step"] == "3,10,20"
    for written in ("3,2", "0", "x", "2,2"):
        with pytest.raises(ClientError, match="rising numbers of epochs"):
            declaration.resolve({"lr_scheduler_step": written})
    with pytest.raises(ClientError, match="accepted: True or False, or 1 or 0"):
        declaration.resolve({"early_stopping": "yes"})


def test_checkpoints_are_found_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"layers": 20})
    assert checkpoints.newest() is None
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, {"weights": np.full(3, epoch, np.float32)}, {"best": 0.5})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    found = checkpoints.newest()
    assert (found.epochs, found.facts, found.arrays["weights"].tolist()) == (3, {"best": 0.5}, [3, 3, 3])
    (tmp_path / "checkpoint-3").write_bytes((tmp_path / "checkpoint-3").read_bytes()[:100])
    assert checkpoints.newest().epochs == 2
    with pytest.raises(ClientError, match=r"hyperparameter layers is 32, and the checkpoint .* made with 20"):
        Checkpoints(tmp_path, {"layers": 32}).newest()


def test_without_a_folder_nothing_is_kept():
    checkpoints = Checkpoints(None, {})
    checkpoints.save(1, {"weights": np.zeros(1, np.float32)}, {})
    assert checkpoints.newest() is None
    assert not checkpoints.wanted


def archive(path, **members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


class FakeRun:
    """A run whose only channel is that of an earlier model."""

    def __init__(self, folder):
        self.folder = folder
        self.channels = {"model": self}

    def check(self):
        pass


@pytest.fixture
def run(tmp_path):
    (tmp_path / "model").mkdir()
    return FakeRun(tmp_path / "model")


def test_an_earlier_model_is_unpacked_for_the_moment(run):
    archive(run.folder / "model.tar.gz", **{"sub/a.json": b"{}"})
    with previous.opened(run) as folder:
        assert [path.name for path in folder.iterdir()] == ["a.json"]
    assert not folder.exists()


def test_an_earlier_model_may_be_there_as_files(run):
    (run.folder / "deep").mkdir()
    (run.folder / "deep" / "a.json").write_text("{}")
    with previous.opened(run) as folder:
        assert folder == run.folder / "deep"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "channel model is empty"),
        (lambda folder: (folder / "a.tar.gz").write_bytes(b"garbage"), "is not a whole"),
        (lambda folder: archive(folder / "a.tar.gz", link=None), "holds a link or device, link"),
        (lambda folder: archive(folder / "a.tar.gz", **{"../a": b"x"}), "is not a whole tar archive"),
        (lambda folder: [archive(folder / name, a=b"") for name in ("a.tar", "b.tgz")], "several archives"),
        (lambda folder: archive(folder / "a.tar.gz"), "holds no model"),
    ],
    ids=["empty", "garbage", "link", "outside", "several", "nothing"],
)
def test_archives_that_are_none(run, make, said):
    make(run.folder)
    with pytest.raises(ClientError, match=said), previous.opened(run):
        pass


def test_what_differs_is_named():
    previous.compare({"a": 1, "b": (3, 2)}, {"a": 1, "b": (3, 2)})
    with pytest.raises(ClientError, match="b is 3,2, and the model in channel model was trained with 3,4"):
        previous.compare({"a": 1, "b": (3, 2)}, {"a": 1, "b": (3, 4)})


def test_weights_are_kept_with_their_sums(tmp_path, monkeypatch):
    monkeypatch.setenv(pretrained.VARIABLE, str(tmp_path / "kept"))
    with pytest.raises(ClientError, match=r"there are no ImageNet weights of resnet-18 .*make pretrained"):
        pretrained.arrays("resnet-18")
    ndarray.save(tmp_path / "a.params", {"arg:x": np.arange(3, dtype=np.float32)})
    (tmp_path / "kept").mkdir()
    pretrained.main(["add", "resnet-18", str(tmp_path / "a.params"), "--folder", str(tmp_path / "kept")])
    assert pretrained.arrays("resnet-18")["arg:x"].tolist() == [0, 1, 2]
    with (tmp_path / "kept" / "resnet-18.params").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ClientError, match="differs from its checksum"):
        pretrained.arrays("resnet-18")


@pytest.mark.parametrize("content", [b"garbage!", None])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.params").write_bytes(content)
    with pytest.raises(SystemExit, match=r"NDArray files are read|can't be read"):
        pretrained.main(["add", "resnet-18", str(tmp_path / "a.params"), "--folder", str(tmp_path)])


def test_json_files(tmp_path):
    path = tmp_path / "a.json"
    assert jsonfile.read(path) is None
    path.write_text(json.dumps([1]))
    assert jsonfile.read(path) == [1]
    path.write_text("{")
    with pytest.raises(ClientError, match=r"a\.json is not JSON"):
        jsonfile.read(path)
