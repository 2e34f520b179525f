"""Files of proposals: every image gets its own, however they are named."""

import json

import pytest

from cvkit.data import named
from cvkit.data.proposals import Proposals
from cvkit.errors import DataError


@pytest.fixture
def file(tmp_path):
    """Write a file with one box for each name, as wide as its place from 1; return its path."""

    def write(*names):
        path = tmp_path / "p.json"
        boxes = {name: [[0, 0, width, 9]] for width, name in enumerate(names, 1)}
        path.write_text(json.dumps(boxes))
        return path

    return write


@pytest.mark.parametrize(
    "names, keys, wanted",
    [
        (["images/a/x.jpg", "images/b/x.jpg"], ["images/b/x.jpg", "images/a/x.jpg"], [2, 1]),
        (["images/a/x.jpg", "images/b/x.jpg"], ["b/x.jpg", "a/x.jpg"], [2, 1]),
        (["a/x.jpg", "b/x.jpg"], ["images/b/x.jpg", "images/a/x.jpg"], [2, 1]),
        (["x.jpg", "y.jpg"], ["val/y.jpg"], [2]),
        (["train/x.jpg"], ["val/x.jpg"], [1]),  # the only one of that name
    ],
)
def test_images_get_their_own_proposals(file, names, keys, wanted):
    found = Proposals(file(*names)).of(keys)
    assert [int(found[key][0, 2]) for key in keys] == wanted


@pytest.mark.parametrize(
    "names, keys, code, words",
    [
        (["x.jpg"], ["y.jpg", "x.jpg"], "proposals.image", "lacks 1 image, such as y.jpg"),
        (["a/x.jpg", "b/x.jpg"], ["c/x.jpg"], "proposals.ambiguous", "its a/x.jpg or b/x.jpg"),
        (["x.jpg"], ["a/x.jpg", "b/x.jpg"], "proposals.ambiguous", "may be a/x.jpg or b/x.jpg"),
    ],
)
def test_proposals_without_one_image_are_refused(file, names, keys, code, words):
    """Of several images of one name the last one's proposals served all."""
    with pytest.raises(DataError, match=words) as caught:
        Proposals(file(*names)).of(keys)
    assert caught.value.code == code and "--proposals" in str(caught.value)


def test_names_are_sorted_once_for_all_images(file, monkeypatch):
    found = Proposals(file("a.jpg", "b.jpg"))
    monkeypatch.setattr(named.Names, "__init__", None)
    assert all(len(found.of([key])[key]) == 1 for key in ("a.jpg", "b.jpg"))
