"""Each kind of answer as people read it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from local.ui import answers, pictures


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = png(np.full((30, 40, 3), 200, np.uint8))


def shown(answer: object, asked: bytes = b"1,2\n") -> str:
    return str(answers.shown(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), asked))


def test_objects_are_a_table_with_a_column_for_each_name():
    page = shown({"predictions": [{"score": 0.5, "label": "a"}, {"score": 1.25, "more": [1, 2]}]})
    assert page.count("<tr>") == 3
    for cell in ("<th scope=col>label</th>", '<td class="number">0.5</td>', "<td>1, 2</td>"):
        assert cell in page
    assert "<svg" not in page


def test_csv_and_json_lines_are_tables_too():
    assert "<th scope=col>answer</th>" in shown(b"0.25\n0.75\n")
    assert "<th scope=col>1</th>" in shown(b"0.25,a\n0.75,b\n")
    assert "<th scope=col>score</th>" in shown(b'{"score": 1}\n{"score": 2}\n')


def test_numbers_of_many_rows_are_curves():
    page = shown({"scores": [{"score": n / 7, "name": "x"} for n in range(30)]})
    assert page.count("<svg") == 1
    assert "score by row" in page


def test_a_single_rows_numbers_are_bars():
    assert shown({"predictions": [{"topic_weights": [0.1, 0.9]}]}).count("<svg") == 1
    assert shown(b"0.1,0.2,0.7\n").count("<svg") == 1
    assert "__label__b" in shown([{"label": ["__label__a", "__label__b"], "prob": [0.9, 0.1]}])


def test_a_forecast_is_drawn_with_its_bands_and_what_came_before():
    row = {"mean": [1.0, 2.0], "quantiles": {"0.1": [0.5, 1.0], "0.5": [1.0, 2.0], "0.9": [2.0, 3.0]}}
    asked = json.dumps({"instances": [{"start": "2024-01-01", "target": [1, None, "NaN", 2]}]}).encode()
    page = shown({"predictions": [row]}, asked)
    assert page.count("<svg") == 1
    assert "0.1 to 0.9" in page
    assert "<th scope=col>0.9</th>" in page
    assert shown({"predictions": [{"mean": [1.0, 2.0]}]}, asked).count("<svg") == 1


def test_a_pictures_probabilities_are_bars_of_the_likeliest_classes():
    page = shown([0.1, 0.7, 0.2], PHOTO)
    assert page.index("class 1") < page.index("class 2") < page.index("class 0")
    assert page.count("<svg") == 1
    assert 'src="data:image/png;base64,' in page


def test_a_pictures_probabilities_are_no_rows_in_json_lines_either():
    assert shown(b'{"prediction": [0.1, 0.7, 0.2]}\n', PHOTO).startswith(
        str(pictures.plain(pictures.Picture.of(PHOTO)))
    )
    assert "class 1" in shown(b'{"prediction": [0.1, 0.7, 0.2]}\n', PHOTO)


def test_boxes_lie_over_the_picture_where_their_score_is_large_enough():
    found = [[1, 0.9, 0.25, 0.5, 0.75, 1.2], [0, 0.1, 0, 0, 1, 1]]
    page = shown({"prediction": found}, PHOTO)
    assert page.count("<rect") == 1
    assert '<rect x="10.0" y="15.0" width="20.0" height="15.0"' in page
    assert "1 of 2 boxes" in page
    assert "the surest has 0.1" in shown({"prediction": found[1:]}, PHOTO)


def test_a_mask_lies_over_the_picture_in_the_colours_of_its_classes():
    mask = np.zeros((3, 4), np.uint8)
    mask[0], mask[1, 0] = 2, 255
    page = shown(png(mask), PHOTO)
    assert page.count("<img") == 2
    assert "33.3%" in page
    assert "no class" in page
    assert pictures.colour(2) in page
    assert shown(png(mask), b"not a picture").count("<img") == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n\n",
        b"\x00\x01\x02",
        b"\xff\xfe",
        b"\x89PNG broken",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"{}",
        b'{"predictions": []}',
        b'{"predictions": [null, 1, "a", [], {}]}',
        b'{"predictions": [{"mean": "x", "quantiles": {"a": [1]}}]}',
        b'{"predictions": [{"quantiles": {"0.5": [1, 2], "0.1": [1]}}]}',
        b'{"prediction": [[1, 2]]}',
        b'{"a": NaN, "b": Infinity}',
        b"NaN\n1\n2\n3\n4\n5\n6\n",
        b'"one',
        b"1,2\n3\n",
        b"1" * 5000,
    ],
)
@pytest.mark.parametrize("asked", [b"", b"{", b'{"instances": 1}', PHOTO, PHOTO[:40]])
def test_anything_can_be_shown(answer, asked):
    assert "Download the answer" in shown(answer, asked)


def test_what_an_answer_says_is_text():
    page = shown({"predictions": [{"<b>": "<script>alert(1)</script>"}]})
    assert "<script" not in page
    assert "<b>" not in page


def test_long_answers_are_cut_but_can_be_downloaded_whole():
    page = shown(b"0.5\n" * 100_000)
    assert page.count("<tr>") == 201
    assert "of 100,000 rows" in page
    assert "The first 100,000 characters." in page
