"""Which names mean the same file."""

import pytest

from cvkit.data.joining import join_names


@pytest.mark.parametrize(
    "truths, found, wanted",
    [
        (["a.png"], ["a.png"], {"a.png": "a.png"}),
        (["images/val/a.png"], ["a.png"], {"images/val/a.png": "a.png"}),
        (["images/val/a.png"], ["val/a.png", "train/a.png"], {"images/val/a.png": "val/a.png"}),
        (["a.png"], ["photos/a.png"], {"a.png": "photos/a.png"}),
        (["images/val/a.png"], ["a.png", "val/a.png"], {"images/val/a.png": "val/a.png"}),
        # Equal names come first; their file is not given to a second truth.
        (["x/a.png", "a.png"], ["a.png"], {"a.png": "a.png"}),
        (["x/a.png", "a.png"], ["a.png", "y/x/a.png"], {"x/a.png": "y/x/a.png", "a.png": "a.png"}),
        # What could be several is none.
        (["a.png"], ["x/a.png", "y/a.png"], {}),
        (["x/a.png", "y/a.png"], ["a.png"], {}),
        (["a.png"], ["a.png", "a.png"], {}),
        # The end of a name is whole parts of it.
        (["aa.png"], ["a.png"], {}),
        (["x/aa.png"], ["a.png"], {}),
        # Other folders count only where nothing else fits.
        (
            ["x/a.png", "x/b.png"],
            ["y/a.png", "y/b.png"],
            {"x/a.png": "y/a.png", "x/b.png": "y/b.png"},
        ),
        (["val/a.png", "val/b.png"], ["val/a.png", "train/b.png"], {"val/a.png": "val/a.png"}),
        ([], ["a.png"], {}),
        (["a.png"], [], {}),
    ],
)
def test_names_of_the_same_file_are_joined(truths, found, wanted):
    assert join_names(truths, found) == wanted


def test_where_a_file_lies_tells_equal_names_apart():
    found = ["train/a.png", "val/a.png"]
    assert join_names(["a.png"], found) == {}
    longer = {"a.png": ["/data/images/val/a.png"]}
    assert join_names(["a.png"], found, longer) == {"a.png": "val/a.png"}
