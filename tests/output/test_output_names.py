"""What is written for inputs: no two files are one, on any file system, whatever the names."""

import os
import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvkit.output.names import class_words, output_names
from cvkit.storage import LONGEST_NAME, short_name, temporary_beside

SUFFIXES = (".png", ".jpg", ".csv", ".npy", ".mp4", ".txt")
"""Of what predict writes for an input."""
WORDS = ("a", "A", "b", "ß", "ss", "é", "e\u0301", "predictions.jsonl", "x" * 120)
ENDS = ("", ".png", ".jpg", ".PNG", ".png.jpg", ".csv", ".")
PART = st.builds("".join, st.tuples(st.sampled_from(WORDS), st.sampled_from(ENDS)))


def is_tree(keys):
    """Return whether files of these paths can lie in one folder: none is another's folder."""
    folders = {str(folder) for key in keys for folder in PurePosixPath(key).parents}
    return not folders & set(keys)


TREE = st.sets(st.lists(PART, min_size=1, max_size=3).map("/".join), max_size=12).filter(is_tree)


def folded(path):
    """Return what a file system that ignores case and the form of accents makes of a path."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def written(names):
    """Return every file that all writers together write, with its input."""
    places = [(f"{name}{suffix}", key) for key, name in names.items() for suffix in SUFFIXES]
    own = (f"sorted/{name}{os.path.splitext(key)[1]}" for key, name in names.items())
    return [*places, *zip(own, names, strict=True)]


def require_own_files(names):
    owners = {}
    for path, key in written(names):
        # An input's own files differ by their suffix.
        assert owners.setdefault(folded(path), key) == key, (path, key, names)
    folders = {str(folder) for path in owners for folder in PurePosixPath(path).parents}
    assert not folders & owners.keys(), names
    for path, _ in written(names):
        for part in PurePosixPath(path).parts:
            assert len(os.fsencode(part)) <= 255, part


@given(TREE)
def test_every_input_has_its_own_files(keys):
    names = output_names(keys)
    assert names.keys() == keys
    require_own_files(names)
    assert output_names(sorted(keys, reverse=True)) == names


@given(TREE, st.data())
def test_names_stay_where_inputs_come_and_go(keys, data):
    """As with --resume: what has files keeps them, and what comes later takes none of them."""
    first = output_names(data.draw(st.sets(st.sampled_from(sorted(keys)))) if keys else [])
    failed = data.draw(st.sets(st.sampled_from(sorted(first)))) if first else set()
    done = {key: name for key, name in first.items() if key not in failed}
    later = output_names(keys, done)
    assert later == later | done
    # A folder that only came later may be where a file already lies; then that input fails.
    assert len({folded(name) for name in later.values()}) == len(later)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a.png", "a.jpg", "a.png.jpg"], ["a.png", "a.jpg", "a.png.jpg"]),
        (["x.jpg", "x.png/y.jpg"], ["x.jpg", "x.png/y"]),
        (["x.jpg", "x/y.jpg"], ["x", "x/y"]),
        (["clip", "clip.mp4"], ["clip", "clip.mp4"]),
        (["predictions.jsonl.jpg", ".hidden.png"], ["predictions.jsonl", ".hidden"]),
    ],
)
def test_names_say_no_more_than_they_must(keys, names):
    assert list(output_names(keys).values()) == names


def test_names_that_differ_in_case_only_are_told_apart():
    first, second, third = output_names(["a.png", "A.png", "a.jpg"]).values()
    assert first.startswith("a.png-") and second.startswith("A.png-") and third == "a.jpg"
    assert first[6:] != second[6:]


def test_names_of_older_results_are_taken():
    assert output_names(["a.png"], {"a.jpg": "a"}) == {"a.jpg": "a", "a.png": "a.png"}
    assert output_names(["a.png"], {"a.png.x": "a.png", "a.jpg": "a"})["a.png"][:6] == "a.png-"


@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1))
def test_a_short_name_fits_and_is_one_for_each_name(name):
    long = name * (LONGEST_NAME // len(os.fsencode(name)) + 1)
    made = {short_name(long), short_name(long + "a"), short_name(long + "b")}
    assert len(made) == 3
    assert all(len(os.fsencode(text)) <= LONGEST_NAME for text in made)
    assert short_name("é.png") == "é.png"
    assert all(text.startswith(long[:20]) for text in made)


def test_a_name_that_is_no_utf8_is_shortened_too():
    name = os.fsdecode(b"\xe9" * 250)
    assert len(os.fsencode(short_name(name))) <= LONGEST_NAME


def test_files_written_at_once_have_different_temporaries(tmp_path):
    """Names were cut after 200 characters, so two writers shared one."""
    one, two = (tmp_path / ("é" * 110 + end) for end in ("a.png", "b.png"))
    assert temporary_beside(one) != temporary_beside(two)
    for path in (one, two):
        temporary_beside(path, ".tmp.mp4").touch()


@given(st.sets(st.text(st.sampled_from("aAb/_%2F.\0é"), max_size=6) | st.just("c" * 300)))
def test_classes_have_files_of_their_own(names):
    names = sorted(names)
    words = class_words(names)
    assert len({folded(word) for word in words}) == len(names)
    for word in words:
        assert word not in ("", ".", "..") and "/" not in word and "\0" not in word
        assert len(os.fsencode(f"comp3_det_test_{word}.txt")) <= 255


def test_classes_keep_their_names_where_they_can():
    assert class_words(("a/b", "a_b", "c/d", "e f")) == ("a%2Fb", "a_b", "c_d", "e f")
    assert class_words(["Cat", "cat"])[0].startswith("Cat-")
