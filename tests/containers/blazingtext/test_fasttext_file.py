"""fastText's binary files: those that Facebook's program made, round trips, holes, and damage of any kind.

The files in ``models`` were made by fastText 0.9.2 from tests/data/subjectivity.txt.gz, four numbers a vector
so that they are small; ``expected.json`` is what ``fasttext predict-prob`` and ``print-word-vectors`` print.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from common.failures import ClientError
from containers.blazingtext import fasttext_file, predict
from containers.blazingtext.codec import Request
from containers.blazingtext.fasttext_file import Arguments, Kind, Loss, Rows
from containers.blazingtext.vocabulary import of_entries

MODELS = Path(__file__).parent / "models"
BINARIES = ["softmax.bin", "hs.bin", "ns.bin", "ova.bin", "skipgram.bin", "cbow.bin"]
ALL = [*BINARIES, "quantised.ftz", "pruned.ftz"]
SIZE = (MODELS / "softmax.bin").stat().st_size
HEAD = 8 + 12 * 4 + 8  # bytes before the dictionary's counts
ARGUMENTS = Arguments(3, 5, 5, 1, 5, 2, Loss.SOFTMAX, Kind.SUPERVISED, 6, 0, 0, 100, 1e-4)
ENTRIES = of_entries([b"</s>", b"film", b"__label__a", b"__label__b"], np.array([3, 2, 2, 1]), 2, 8)


@pytest.mark.parametrize("name", BINARIES)
def test_what_fasttext_wrote_is_written_the_same(name, tmp_path):
    model = fasttext_file.read(MODELS / name)
    assert model.pruning is None
    fasttext_file.write(tmp_path / "again", model.arguments, model.vocabulary, model.inputs, model.outputs)
    assert (tmp_path / "again").read_bytes() == (MODELS / name).read_bytes()


def test_what_files_say():
    model = fasttext_file.read(MODELS / "ns.bin")
    assert (model.arguments.kind, model.arguments.loss) == (Kind.SUPERVISED, Loss.NEGATIVE_SAMPLING)
    assert (model.arguments.min_char, model.arguments.max_char, model.arguments.bucket) == (2, 4, 300)
    words = list(model.vocabulary)
    assert words[:2] == [b"</s>", b"the"] or words[0] in (b"the", b",", b".")
    assert {b"__label__objective", b"__label__film"} <= set(words[model.vocabulary.words :])
    assert model.inputs.count == model.vocabulary.words + 300
    pruned = fasttext_file.read(MODELS / "pruned.ftz")
    assert pruned.pruning is not None
    assert pruned.inputs.count == 450 == pruned.vocabulary.words + len(pruned.pruning.buckets)
    dense, quantised = (fasttext_file.read(MODELS / name) for name in ("softmax.bin", "quantised.ftz"))
    close = np.corrcoef(dense.inputs.values[:-1].ravel(), quantised.inputs.values[:-1].ravel())[0, 1]
    assert 0.98 < close < 1


def test_rows_of_zeros_are_holes_and_are_left_out(tmp_path):
    values = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    values[-1] = 0
    rows, outputs = Rows(8, np.array([0, 3, 4]), values), np.ones((2, 3), np.float32)
    dense = np.zeros((8, 3), np.float32)
    dense[[0, 3, 4]] = values[:-1]
    fasttext_file.write(tmp_path / "a", ARGUMENTS, ENTRIES, rows, outputs)
    fasttext_file.write(tmp_path / "b", ARGUMENTS, ENTRIES, dense, outputs)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = fasttext_file.read(tmp_path / "a")
    assert found.inputs.numbers.tolist() == [0, 3, 4]
    assert (found.inputs.values == values).all()
    assert found.inputs.places().tolist() == [0, 3, 3, 1, 2, 3, 3, 3]
    assert found.inputs.values[found.inputs.places()].tolist() == dense.tolist()
    # The last row too.
    dense[7] = 1
    fasttext_file.write(tmp_path / "c", ARGUMENTS, ENTRIES, dense, outputs)
    assert fasttext_file.read(tmp_path / "c").inputs.numbers.tolist() == [0, 3, 4, 7]


def test_a_large_table_of_few_rows_is_written_and_read_sparingly(tmp_path):
    count = 4_000_000
    rows = Rows(count, np.array([5, count - 1]), np.array([[1, 2, 3], [4, 5, 6], [0, 0, 0]], np.float32))
    arguments = Arguments(3, 5, 5, 1, 5, 2, Loss.SOFTMAX, Kind.SUPERVISED, count - 2, 0, 0, 100, 1e-4)
    fasttext_file.write(tmp_path / "a", arguments, ENTRIES, rows, np.ones((2, 3), np.float32))
    status = (tmp_path / "a").stat()
    assert status.st_size > count * 12
    assert status.st_blocks * 512 < 1 << 20
    found = fasttext_file.read(tmp_path / "a").inputs
    assert (found.count, found.numbers.tolist(), found.values.shape) == (count, [5, count - 1], (3, 3))


def test_classifiers_of_version_11_have_no_subwords(tmp_path):
    content = bytearray((MODELS / "ns.bin").read_bytes())
    content[4:8] = struct.pack("<i", 11)
    (tmp_path / "old.bin").write_bytes(content)
    assert fasttext_file.read(tmp_path / "old.bin").arguments.max_char == 0


@pytest.mark.parametrize("name", ALL)
def test_truncated_files_are_refused(name, tmp_path):
    content = (MODELS / name).read_bytes()
    path = tmp_path / name
    random = np.random.default_rng(0)
    for size in (
        0,
        1,
        7,
        8,
        20,
        HEAD,
        HEAD + 27,
        HEAD + 40,
        len(content) - 1,
        *random.integers(0, len(content), 60),
    ):
        path.write_bytes(content[:size])
        with pytest.raises(ClientError, match=name) as fault:
            fasttext_file.read(path)
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize("name", ALL)
def test_damaged_files_are_refused_or_answer(name, tmp_path):
    content = (MODELS / name).read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        # Most of what a file can get wrong is said at its beginning.
        most = len(content) if random.random() < 0.4 else HEAD + 60
        for at in random.integers(0, most, random.integers(1, 4)):
            damaged[at] = random.integers(0, 256)
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "model.bin").write_bytes(damaged)
        try:
            predict.load(folder).predict(Request(["the film is a plot", ""], [2, 9]), {})
        except ClientError as fault:
            refused += "model.bin" in str(fault)
    assert refused > 20


def overwritten(name: str, at: int, *values: int, form: str = "<i") -> bytes:
    content = bytearray((MODELS / name).read_bytes())
    for number, value in enumerate(values):
        struct.pack_into(form, content, at + number * struct.calcsize(form), value)
    return bytes(content)


def after_words(name: str) -> int:
    """Where the first matrix begins."""
    model = fasttext_file.read(MODELS / name)
    return HEAD + 28 + len(model.vocabulary.text) + 10 * len(model.vocabulary)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"2 3\nthe 1 2 3\nfilm 4 5 6\n", "magic number"),
        (overwritten("softmax.bin", 4, 13), "has version 13, and 11 and 12 are read"),
        (overwritten("softmax.bin", 8, 0), "has arguments out of range"),
        (overwritten("softmax.bin", 8, 5), "where 5 columns are due"),
        (overwritten("softmax.bin", 8 + 6 * 4, 9), "a loss or a kind of model that is unknown"),
        (overwritten("softmax.bin", 8 + 8 * 4, 1 << 30), "input rows where"),
        (overwritten("ns.bin", 8 + 8 * 4, 0), "has subwords and no buckets"),
        (overwritten("softmax.bin", HEAD, 1 << 30, 1 << 30, 0), "ends early"),
        (overwritten("softmax.bin", HEAD, -1, -1, 0), "don't add up"),
        (overwritten("softmax.bin", HEAD, 7, 5, 3), "don't add up"),
        (overwritten("softmax.bin", HEAD + 20, 0, form="<q"), "pruned dictionary but is not quantised"),
        (overwritten("softmax.bin", HEAD + 20, 1 << 60, form="<q"), "ends early"),
        (overwritten("softmax.bin", after_words("softmax.bin") + 1, 1 << 40, form="<q"), "ends early"),
        (overwritten("softmax.bin", after_words("softmax.bin") + 1, -1, form="<q"), "has a matrix of -1"),
        (overwritten("softmax.bin", after_words("softmax.bin") + 17, 0x7FC00000), "no numbers from -1e.17"),
        (overwritten("softmax.bin", SIZE - 4, 0x7F7FFFFF), "no numbers from"),
        (overwritten("hs.bin", after_words("hs.bin") - 9, 1 << 60, form="<q"), "counts out of range"),
        (overwritten("pruned.ftz", 8 + 8 * 4, 200_000_000), "buckets, and up to"),
        (overwritten("pruned.ftz", 8 + 8 * 4, 3), "numbers out of range"),
    ],
)  # fmt: skip
def test_absurd_sizes_and_values_are_refused(content, problem, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ClientError, match=f"model.bin.*{problem}"):
        fasttext_file.read(path)


def test_words_and_labels_stand_in_order(tmp_path):
    mixed = of_entries([b"__label__a", b"film", b"x", b"y"], np.array([3, 2, 2, 1]), 2, 8)
    fasttext_file.write(
        tmp_path / "a.bin", ARGUMENTS, mixed, np.ones((8, 3), np.float32), np.ones((2, 3), np.float32)
    )
    content = bytearray((tmp_path / "a.bin").read_bytes())
    content[HEAD + 28 + len("__label__a") + 9] = 1
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ClientError, match="words and labels out of order"):
        fasttext_file.read(tmp_path / "a.bin")
