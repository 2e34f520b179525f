"""JSON files that are read element by element give what they give as a whole, or the same error."""

import json
import random

import pytest

from cvkit import texts
from cvkit.data import json_lists
from cvkit.data.formats.coco import read_coco
from cvkit.data.json_lists import ListStart, read_lists
from cvkit.errors import DataError
from cvkit.texts import read_json

CONTENT = {
    "info": {"a": [1, 2], "empty": {}},
    "images": [{"id": number, "name": "ü\n" * number} for number in range(4)],
    "none": [],
    "annotations": [
        *([], 12345, {"box": [1.5, 2, 3e5, -4]}, "]}", None, [[{"a": "\\"}]]),
        *({"b": {}}, {"c": "},{"}, "}, {", [{"a": 1}, {"b": 2}], {"d": [{"e": 3}, {"f": 4}]}),
    ],
    "last": 123456789,
}
LISTS = ("images", "none", "annotations", "absent")


def whole(path):
    found = {}
    for name, value in read_lists(path, LISTS):
        if isinstance(value, ListStart):
            found[name] = []
        elif name in LISTS:
            found[name].append(value)
        else:
            found[name] = value
    return found


def outcome(read, path):
    try:
        return read(path)
    except DataError as error:
        return error.code, str(error)


def spoilt(text, rng):
    """Return a text with a character changed, added or removed, or without its end."""
    place, kind = rng.randrange(len(text)), rng.randrange(4)
    sign = rng.choice('{}[],:"NaN1e.\\ \n') if kind < 3 else ""
    return text[:place] + sign + (text[place + (kind < 2) :] if kind else "")


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 1 << 20])
def test_a_file_in_elements_is_the_file_as_a_whole(tmp_path, monkeypatch, piece_bytes):
    monkeypatch.setattr(texts, "PIECE_BYTES", piece_bytes)
    path, rng = tmp_path / "a.json", random.Random(piece_bytes)
    texts_of = [json.dumps(CONTENT, indent=i, ensure_ascii=a) for i in (None, 1) for a in (0, 1)]
    cases = [text.encode() for text in texts_of] + ["\ufeff{}".encode(), b"", b" \n", b"{} x"]
    cases += [spoilt(rng.choice(texts_of), rng).encode() for _ in range(120)]
    cases += [b'{"a": 1, "a": 2}', b'{"images": [{"b": 1, "b": 2}]}', b'{"images": [NaN]}']
    cases += [b'{"images": [\xff]}', b'{"\n\n":\xff', b"[" * 100_000, b'{"images": [1,]}']
    cases += [b'{"images": [' + b"[" * 100_000, b'{"images": [' + b"1" * 5000 + b"]}"]
    failed = 0
    for content in cases:
        path.write_bytes(content)
        expected = outcome(read_json, path)
        assert outcome(whole, path) == expected, content[:400]
        failed += isinstance(expected, tuple)
    assert 50 < failed < len(cases) - 5


@pytest.mark.parametrize("content", ["[]", "5", '"images"', "null"])
def test_another_value_than_an_object_is_told(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert outcome(whole, tmp_path / "a.json")[0] == "json.not_object"


def test_a_list_is_not_kept_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PIECE_BYTES", 1000)
    (tmp_path / "a.json").write_text(json.dumps({"images": ["x" * 100] * 1000}))
    longest = []
    more = json_lists._Text._more
    monkeypatch.setattr(
        json_lists._Text, "_more", lambda text: more(text) and not longest.append(len(text.text))
    )
    assert len(whole(tmp_path / "a.json")["images"]) == 1000
    assert len(longest) > 50
    assert max(longest) < 3000


@pytest.mark.parametrize("masks", [False, True])
def test_annotations_may_precede_their_images_and_sizes(tmp_path, masks):
    row = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 12.5}
    parts = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 90, "height": 60}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [row | {"segmentation": [[1, 2, 11, 2, 11, 22]]}],
    }
    found = []
    for names in (["images", "categories", "annotations"], ["annotations", "categories", "images"]):
        path = tmp_path / "a.json"
        path.write_text(json.dumps({name: parts[name] for name in names}))
        content = read_coco(path, tmp_path, tmp_path, masks=masks)
        assert not content.defects
        truth = content.images[0].truth
        codes = truth.masks.codes.tolist() if masks else truth.masks
        found.append((truth.boxes.tolist(), truth.areas.tolist(), codes))
    assert found[0] == found[1]
