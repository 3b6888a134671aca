"""The real `serve`: words and sentences, JSON and JSON Lines, equal to fastText's own answers; mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.content_types import parse
from common.failures import ClientError
from containers.blazingtext import fasttext_file, predict
from containers.blazingtext.codec import Request, TextCodec

MODELS = Path(__file__).parent / "models"
EXPECTED = json.loads((MODELS / "expected.json").read_text())
TEXTS, WORDS, ANSWERS = EXPECTED["texts"], EXPECTED["words"], EXPECTED["answers"]
JSON, LINES = "application/json", "application/jsonlines"


def folder_of(tmp_path: Path, name: str, as_name: str = "model.bin") -> Path:
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    shutil.copy(MODELS / name, folder / as_name)
    return folder


def answers(folder: Path, texts: list[str], count: int = 1) -> list[dict]:
    return list(predict.load(folder).predict(Request(texts, [count] * len(texts)), {}))


@pytest.mark.parametrize(
    "name", ["softmax.bin", "hs.bin", "ns.bin", "ova.bin", "quantised.ftz", "pruned.ftz"]
)
def test_sentences_are_labelled_as_fasttext_labels_them(name, tmp_path):
    found = answers(folder_of(tmp_path, name), TEXTS, 5)
    for answer, wanted, text in zip(found, ANSWERS[name], TEXTS, strict=True):
        # Of a hierarchical softmax, fastText leaves out labels below 0.00001.
        likely = dict(zip(wanted["label"], wanted["prob"], strict=True))
        assert len(answer["label"]) == len(set(answer["label"])) == 5
        assert len(likely) == 5 or name == "hs.bin"
        np.testing.assert_allclose(answer["prob"][: len(likely)], wanted["prob"], atol=2e-6, err_msg=text)
        # Labels as likely as others may stand in any order.
        for label, probability in zip(answer["label"], answer["prob"], strict=True):
            assert abs(likely.get(label, 0) - probability) < (1e-5 if name == "hs.bin" else 2e-6)
        if wanted["prob"][0] - wanted["prob"][1] > 1e-5:
            assert answer["label"][0] == wanted["label"][0]


@pytest.mark.parametrize("name", ["skipgram.bin", "cbow.bin"])
def test_words_have_the_vectors_that_fasttext_gives_them(name, tmp_path):
    # Either name is served, and vectors.bin where there is no model.bin.
    for as_name in ("model.bin", "vectors.bin"):
        found = answers(folder_of(tmp_path, name, as_name), WORDS)
        assert [answer["word"] for answer in found] == WORDS
        np.testing.assert_allclose([answer["vector"] for answer in found], ANSWERS[name], rtol=1e-4)
        (tmp_path / "model" / as_name).unlink()
    unknown = found[WORDS.index("Grüße")]["vector"]
    assert unknown.any() == (name == "skipgram.bin")


def test_a_classifiers_every_body(endpoint, tmp_path):
    folder_of(tmp_path, "softmax.bin")
    served = endpoint("blazingtext", tmp_path)
    texts = TEXTS[:2]
    wanted = [{k: v[:1] for k, v in answer.items()} for answer in ANSWERS["softmax.bin"][:2]]

    def same(found, wanted):
        assert [answer["label"] for answer in found] == [answer["label"] for answer in wanted]
        for answer, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(answer["prob"], other["prob"], atol=2e-6)

    body = json.dumps({"instances": texts})
    for accept in (None, JSON, LINES, "text/csv", "*/*"):
        response = served.invoke(body, JSON, accept)
        assert (response.status, response.content_type) == (200, JSON)
        assert list(response.json()[0]) == ["label", "prob"]
        same(response.json(), wanted)
    same(served.request("POST", "/invocations", body).json(), wanted)
    for count in (2, 5, 1_000_000, 10**30):
        body = json.dumps({"instances": texts, "configuration": {"k": count, "more": 1}, "id": 7})
        full = [{k: v[:count] for k, v in answer.items()} for answer in ANSWERS["softmax.bin"][:2]]
        same(served.invoke(body, f"{JSON}; charset=utf-8", JSON).json(), full)
    lines = [{"source": texts[0], "id": "a"}, {"k": 3, "source": texts[1]}]
    full = [wanted[0], {k: v[:3] for k, v in ANSWERS["softmax.bin"][1].items()}]
    for accept in (None, JSON, LINES):
        response = served.invoke("\n\n".join(map(json.dumps, lines)) + "\n", LINES, accept)
        assert (response.status, response.content_type) == (200, LINES)
        found = [json.loads(line) for line in response.body.splitlines()]
        assert list(found[0]) == ["prob", "label"]
        same(found, full)
    assert served.invoke('{"instances": []}', JSON).json() == []
    assert served.invoke("\n", LINES).status == 204
    for body, content_type, status in (
        ('{"instances": [3]}', JSON, 400),
        ('{"instances": ["a"], "configuration": {"k": 0}}', JSON, 400),
        ('{"source": "a", "k": "2"}', LINES, 400),
        ("a,b\n", "text/csv", 415),
    ):
        refused = served.invoke(body, content_type)
        assert refused.status == status, refused.body
        assert b"Traceback" not in refused.body


def test_word_vectors_every_body(endpoint, tmp_path):
    folder_of(tmp_path, "skipgram.bin", "vectors.bin")
    served = endpoint("blazingtext", tmp_path)
    response = served.invoke(json.dumps({"instances": WORDS}), JSON, LINES)
    assert (response.status, response.content_type) == (200, JSON)
    found = response.json()
    assert list(found[0]) == ["vector", "word"]
    assert [answer["word"] for answer in found] == WORDS
    np.testing.assert_allclose([answer["vector"] for answer in found], ANSWERS["skipgram.bin"], rtol=1e-4)
    body = "\n".join(json.dumps({"source": word}) for word in WORDS)
    assert [json.loads(line) for line in served.invoke(body, LINES).body.splitlines()] == found


def test_only_vectors_txt_is_served(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "vectors.txt").write_bytes("2 3\nfilm 0.25 -1 1e-3\nGrüße 1 2 3\n".encode())
    found = answers(folder, ["Grüße", "nobody", "film"])
    assert [answer["word"] for answer in found] == ["Grüße", "nobody", "film"]
    assert [answer["vector"].tolist() for answer in found] == [
        [1, 2, 3],
        [0, 0, 0],
        [0.25, -1, np.float32(1e-3)],
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "does not begin with two counts"),
        (b"film 1 2\n", "does not begin with two counts"),
        (b"2 0\na\nb\n", "does not begin with two counts"),
        (b"999999999 999999999\n", "ends early"),
        (b"1 3\nfilm 1 2 3\nplot 1 2 3\n", "has 2 words"),
        (b"2 3\nfilm 1 2 3\n plot 1 2\n", "line 3 of vectors.txt"),
        (b"1 3\nfilm 1 x 3\n", "line 2 of vectors.txt"),
        (b"1 3\nfilm 1 nan 3\n", "line 2 of vectors.txt"),
        (b"1 3\nfilm 1 2 3 4\n", "line 2 of vectors.txt"),
    ],
)
def test_damaged_vectors_are_refused(content, problem, tmp_path):
    (tmp_path / "vectors.txt").write_bytes(content)
    with pytest.raises(ClientError, match=problem):
        predict.load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ClientError, match=r"none of the files model.bin, vectors.bin or vectors.txt"):
        predict.load(tmp_path)


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        ("{", JSON, "the payload is not JSON"),
        ("[]", JSON, 'accepted: {"instances": [text, ...]}'),
        ('{"instances": "a"}', JSON, "the payload is not accepted"),
        ('{"instances": ["a", null]}', JSON, "instances[1] is 'None'; accepted: a text"),
        ('{"instances": [{"source": "a"}]}', JSON, "instances[0] is"),
        ('{"instances": ["a"], "configuration": 2}', JSON, "\"configuration\" is '2'"),
        ('{"instances": ["a"], "configuration": {"k": -1}}', JSON, '"k" of "configuration" is \'-1\''),
        ('{"instances": ["a"], "configuration": {"k": 1.5}}', JSON, "accepted: a whole number from 1"),
        ('{"instances": ["a"], "configuration": {"k": true}}', JSON, "accepted: a whole number from 1"),
        ('{"instances": ["a"], "configuration": {"k": NaN}}', JSON, "accepted: a whole number from 1"),
        ('{"source": "a"}\n\n"b"', LINES, 'line 3 is not accepted; accepted: {"source": text}'),
        ('{"text": "a"}', LINES, "line 1 is not accepted"),
        ('{"source": 3}', LINES, "\"source\" of line 1 is '3'"),
        ('{"source": "a", "k": 0}', LINES, "\"k\" of line 1 is '0'"),
        ('{"source": "a"', LINES, "line 1 is not JSON"),
        ("[" * 100_000, LINES, "line 1 is nested too deeply"),
    ],
)
def test_mistakes_in_requests(body, content_type, problem):
    with pytest.raises(ClientError) as fault:
        TextCodec().decode(body.encode(), parse(content_type))
    assert problem in str(fault.value)
    assert "\n" not in str(fault.value)


def test_odd_texts_are_answered(tmp_path):
    labeller = predict.load(folder_of(tmp_path, "softmax.bin"))
    odd = [
        "the film",
        "the\nfilm",
        "the\0film",
        " the\v\tfilm ",
        "the film </s> and what is behind",
        "the \ud800 film",
    ]
    odd += ["</s>", "", "\n", "x" * 100_000, "the " * 50_000]
    found = labeller.predict(Request(odd, [9] * len(odd)), {})
    assert len(found) == len(odd)
    for answer in found[1:5]:
        assert answer["prob"].tolist() == found[0]["prob"].tolist()
    assert found[6]["prob"].tolist() == found[7]["prob"].tolist() == found[8]["prob"].tolist()
    assert all(len(answer["label"]) == 5 for answer in found)
    words = predict.load(folder_of(tmp_path, "skipgram.bin"))
    found = words.predict(Request(["the film", "\ud800", "", "a\0b"], [1] * 4), {})
    assert [answer["word"] for answer in found] == ["the film", "?", "", "a\0b"]
    assert TextCodec().encode(found, parse(JSON)).startswith(b'[{"vector":[')


def test_a_text_without_a_known_feature_has_no_label(tmp_path):
    model = fasttext_file.read(MODELS / "hs.bin")
    (tmp_path / "model").mkdir()
    text = bytearray(model.vocabulary.text)
    text[text.index(b"</s>")] = ord("[")  # a vocabulary in which a line's end is no word
    model.vocabulary.text[:] = np.frombuffer(bytes(text), np.uint8)
    fasttext_file.write(
        tmp_path / "model" / "model.bin", model.arguments, model.vocabulary, model.inputs, model.outputs
    )
    found = answers(tmp_path / "model", ["unseenword", "the", ""], 2)
    assert [len(answer["label"]) for answer in found] == [0, 2, 0]
    assert [len(answer["prob"]) for answer in found] == [0, 2, 0]


def test_labels_that_are_no_utf_8_can_be_told(tmp_path):
    model = fasttext_file.read(MODELS / "softmax.bin")
    model.vocabulary.text[-2:] = 0xFF
    (tmp_path / "model").mkdir()
    fasttext_file.write(
        tmp_path / "model" / "model.bin", model.arguments, model.vocabulary, model.inputs, model.outputs
    )
    labels = answers(tmp_path / "model", ["the"], 5)[0]["label"]
    assert sum(label.endswith("\ufffd\ufffd") for label in labels) == 1
