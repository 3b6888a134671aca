"""Text to RecordIO and vocabularies, as AWS's script makes them, through the command."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.failures import ClientError
from common.formats import recordio
from common.formats.record_pb2 import Record
from containers.seq2seq import convert, vocabulary
from tests.containers.seq2seq.tasks import MANIFEST

ALGODOCK = Path(sys.executable).with_name("algodock")
SOURCE = "the cat sat\nthe dog\n\n the  cat <unk> ran \nlost\n"
TARGET = "die Katze saß\nder Hund\nleer\ndie Katze lief\n \n"


@pytest.fixture
def texts(tmp_path):
    """Two files, and where output goes."""
    (tmp_path / "text.en").write_text(SOURCE, "utf-8")
    with gzip.open(tmp_path / "text.de.gz", "wt", encoding="utf-8") as file:
        file.write(TARGET)
    return [str(tmp_path / "text.en"), str(tmp_path / "text.de.gz"), str(tmp_path / "data")]


def converted(*arguments: str) -> list[str]:
    return list(convert.convert(arguments, "algodock convert --for seq2seq"))


def pairs(path: Path) -> list[tuple[list[int], list[int]]]:
    found = []
    with path.open("rb") as file:
        for payload in recordio.payloads(file, path.name):
            features = Record.FromString(payload).features
            assert set(features) == {"source", "target"}
            found.append(tuple(list(features[key].int32_tensor.values) for key in ("source", "target")))
    return found


def test_the_command_makes_the_channels(texts, tmp_path):
    done = subprocess.run(
        [ALGODOCK, "convert", "--for", "seq2seq", *texts, "--validation", *texts[:2]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    data = tmp_path / "data"
    assert done.stdout.splitlines() == [
        f"{data}/vocab/vocab.src.json: 10 tokens",
        f"{data}/vocab/vocab.trg.json: 11 tokens",
        f"{data}/train/train.rec: 3 pairs, 2 left out with an empty side",
        f"{data}/validation/val.rec: 3 pairs, 2 left out with an empty side",
    ]
    # By falling count, then in falling order; lines left out count too, and special tokens keep their ids.
    source = ["<pad>", "<unk>", "<s>", "</s>", "the", "cat", "sat", "ran", "lost", "dog"]
    target = ["<pad>", "<unk>", "<s>", "</s>", "die", "Katze", "saß", "lief", "leer", "der", "Hund"]
    written = (data / "vocab" / "vocab.trg.json").read_text("utf-8")
    assert written == json.dumps({word: i for i, word in enumerate(target)}, indent=4, ensure_ascii=False)
    assert list(json.loads((data / "vocab" / "vocab.src.json").read_text("utf-8"))) == source
    expected = [([4, 5, 6], [4, 5, 6]), ([4, 9], [9, 10]), ([4, 5, 1, 7], [4, 5, 7])]
    assert pairs(data / "train" / "train.rec") == expected
    assert (data / "validation" / "val.rec").read_bytes() == (data / "train" / "train.rec").read_bytes()
    # The script's records, byte for byte, but for the order of a map's entries.
    first = (data / "train" / "train.rec").read_bytes()
    assert first[:4] == bytes.fromhex("0a23d7ce")
    assert len(first) % 4 == 0


def test_a_shared_vocabulary_and_bounds(texts, tmp_path):
    converted(*texts, "--single-vocab", "--num-words-source", "3", "--word-min-count-source", "2")
    files = [
        (tmp_path / "data" / "vocab" / name).read_bytes() for name in (vocabulary.SOURCE, vocabulary.TARGET)
    ]
    assert files[0] == files[1]
    assert list(json.loads(files[0])) == ["<pad>", "<unk>", "<s>", "</s>", "the", "die", "cat"]


def test_each_side_has_bounds_of_its_own(texts, tmp_path):
    converted(*texts, "--num-words-source", "1", "--word-min-count-target", "2")
    assert list(json.loads((tmp_path / "data/vocab/vocab.src.json").read_bytes()))[4:] == ["the"]
    assert list(json.loads((tmp_path / "data/vocab/vocab.trg.json").read_bytes()))[4:] == ["die", "Katze"]
    assert pairs(tmp_path / "data/train/train.rec")[1] == ([4, 1], [1, 1])


def test_vocabularies_that_exist_are_used(texts, tmp_path):
    converted(*texts)
    names = [str(tmp_path / "data" / "vocab" / name) for name in (vocabulary.SOURCE, vocabulary.TARGET)]
    (tmp_path / "new.en").write_text("dog cat bird\n")
    (tmp_path / "new.de").write_text("Hund Katze Vogel\n")
    new = [str(tmp_path / name) for name in ("new.en", "new.de", "more")]
    converted(*new, "--vocab", *names)
    assert pairs(tmp_path / "more" / "train" / "train.rec") == [([9, 5, 1], [10, 5, 1])]
    for name in names:
        assert (tmp_path / "more" / "vocab" / Path(name).name).read_bytes() == Path(name).read_bytes()


def test_files_of_other_lengths_and_without_pairs_are_refused(texts, tmp_path):
    (tmp_path / "short.de").write_text("ein\nzwei\n")
    with pytest.raises(ClientError, match=r"short.de ends before line 3, which .*text.en has"):
        converted(texts[0], str(tmp_path / "short.de"), texts[2])
    assert not (tmp_path / "data" / "train" / "train.rec").exists()
    (tmp_path / "blank.de").write_text("\n" * 5)
    with pytest.raises(ClientError, match="no line that is a sequence in both"):
        converted(texts[0], str(tmp_path / "blank.de"), texts[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "kmeans", "a", "b"], "kmeans has no converter of its own; accepted: "),
        (["--for", "seq"], "algorithm seq is unknown"),
        (["--for", "seq2seq", "nowhere.en", "nowhere.de", "out"], "nowhere.en: No such file"),
        (["rows.csv"], "convert needs a source and a target, or --for and an algorithm"),
    ],
)
def test_the_command_tells_what_is_wrong(arguments, message, tmp_path):
    done = subprocess.run([ALGODOCK, "convert", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_manifest_finds_the_converter():
    assert MANIFEST.module("convert") is convert
