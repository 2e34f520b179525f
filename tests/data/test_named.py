"""Finding files by what others call them."""

import pytest

from cvkit.data.named import Names, without_suffix

DEEP = ("images/val/x.jpg", "images/val/a/x.jpg", "images/val/b/x.jpg", "images/val/b/y.jpg")


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("images/val/a/x.jpg", [1]),  # the name itself
        ("a/x.jpg", [1]),  # from the folder of all
        ("x.jpg", [0]),  # also from there: the others have folders
        ("val/b/x.jpg", [2]),  # the end of one
        ("y.jpg", [3]),
        ("c/y.jpg", []),
        ("z.jpg", []),
        ("jpg", []),
        ("", []),
    ],
)
def test_files_are_found_by_the_ends_of_their_names(name, wanted):
    assert Names(DEEP).find(name) == wanted


def test_a_name_may_mean_several_files():
    assert Names(["a/x.jpg", "b/x.jpg"]).find("x.jpg") == [0, 1]
    assert Names(["x", "x"]).find("x") == [0, 1]


def test_longer_names_end_with_those_that_are_known():
    names = Names(["x.jpg", "a/x.jpg"])
    assert names.find("photos/val/x.jpg") == []
    assert names.find_inside("photos/val/x.jpg") == [0]
    assert names.find_inside("photos/a/x.jpg") == [1]
    assert names.find_inside("photos/y.jpg") == []
    assert Names([]).find_inside("a/b") == []


def test_only_the_last_suffix_goes():
    assert [without_suffix(n) for n in ("a.b/c.d.jpg", "c")] == ["a.b/c.d", "c"]
