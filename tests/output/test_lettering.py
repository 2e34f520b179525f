"""Words in pictures: any letters, shortened where there is no room."""

import itertools
import unicodedata
from pathlib import Path

import matplotlib
import matplotlib.font_manager
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from cvkit.output import lettering
from cvkit.output.lettering import PLAIN, fit, one_line, text_size, write_text

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def written(text, pixels=20, width=600):
    picture = np.full((40, width, 3), 255, np.uint8)
    write_text(picture, text, (4, 4), pixels)
    return picture


@pytest.mark.parametrize("letters", ["äßøéñŁ", "Жкицяю", "λΩπδσφ", "aAbB01"])
def test_letters_of_all_alphabets_can_be_told_apart(letters):
    shapes = [written(letter) for letter in (*letters, "?", "\ufffe")]
    assert all((shape < 128).any() for shape in shapes)
    for one, other in itertools.combinations(shapes, 2):
        assert not np.array_equal(one, other)


def test_dejavu_has_what_is_said_of_it():
    known = FT2Font(FONTS / "DejaVuSans.ttf").get_charmap()
    letters = [chr(c) for first, last in PLAIN for c in range(ord(first), ord(last) + 1)]
    assert len(letters) > 1000
    assert {c for c in letters if c.isprintable() and unicodedata.name(c, "")} <= {*map(chr, known)}


@pytest.fixture
def fonts_of_the_system(monkeypatch):
    """Replace the system's fonts by a list."""

    def become(*paths):
        monkeypatch.setattr(matplotlib.font_manager, "findSystemFonts", lambda: list(paths))
        lettering._font_with.cache_clear()
        lettering._coverage.cache_clear()

    yield become
    monkeypatch.undo()
    lettering._font_with.cache_clear()
    lettering._coverage.cache_clear()


def test_what_no_font_has_is_written_as_its_code(fonts_of_the_system):
    fonts_of_the_system()
    assert np.array_equal(written("a 猫 b"), written("a \\u732b b"))


def test_fonts_of_the_system_are_used_for_what_dejavu_lacks(fonts_of_the_system, tmp_path):
    known = FT2Font(FONTS / "DejaVuSans.ttf").get_charmap()
    more = FT2Font(FONTS / "STIXGeneral.ttf").get_charmap()
    letter = next(chr(c) for c in sorted(more.keys() - known.keys()) if chr(c).isprintable())
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts_of_the_system(str(tmp_path / "broken.ttf"), str(FONTS / "STIXGeneral.ttf"))
    shown = written(f"a{letter}b")
    fonts_of_the_system()
    coded = written(f"a{letter}b")
    assert not np.array_equal(shown, coded)
    assert np.array_equal(coded, written("a" + letter.encode("unicode_escape").decode() + "b"))


def test_controls_and_line_ends_cannot_leave_the_line():
    assert one_line("a\n b\t\x1b[31mc\x00") == "a b \\x1b[31mc\\x00"
    assert text_size("a\nb", 20) == text_size("a b", 20)


@pytest.mark.parametrize("text", ["cat 0.93", "a rather long name of a class 0.93", "Größe" * 400])
@pytest.mark.parametrize("room", [20, 60, 150, 10_000])
def test_words_are_shortened_in_the_middle_until_they_fit(text, room):
    short = fit(text, 14, room)
    assert text_size(short, 14)[0] <= room
    if short == text:
        return
    start, end = short.split("…")
    assert text.startswith(start) and text.endswith(end)
    assert 0 <= len(start) - len(end) <= 1
    longer = f"{text[: len(start) + 1]}…{text[len(text) - len(end) - 1 :]}"
    assert text_size(longer, 14)[0] > room, "no more than needed is left out"


@pytest.mark.parametrize("corner", [(-5, -5), (590, 30), (-1000, 0), (700, 10), (0, -100)])
def test_what_lies_outside_is_cut_off(corner):
    large = np.full((240, 2700, 3), 255, np.uint8)
    write_text(large, "cat", (corner[0] + 1000, corner[1] + 100), 20)
    small = np.full((40, 600, 3), 255, np.uint8)
    write_text(small, "cat", corner, 20)
    assert np.array_equal(small, large[100:140, 1000:1600])


def test_ink_has_the_colour_that_was_asked_for():
    picture = np.zeros((40, 100, 3), np.uint8)
    write_text(picture, "█", (4, 4), 20, (200, 100, 50))
    assert (picture.reshape(-1, 3).max(0) == (200, 100, 50)).all()
