"""The index of docs/design.md: what it says to be in a file is there."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "design.md").read_text()
INDEX = re.search(r"^## Where is\n(.*?)^## ", PAGE, flags=re.DOTALL | re.MULTILINE)[1]
ROWS = re.findall(r"^\| (.+?) \| `(.+?)` \|$", INDEX, flags=re.MULTILINE)


def shown(path):
    """Return what tells a reader what a file holds: its path and its docstrings."""
    tree = ast.parse((ROOT / path).read_text())
    nodes = [tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))]
    return " ".join([path, *(ast.get_docstring(node) or "" for node in nodes)]).lower()


def test_the_index_is_large_enough_and_complete():
    assert len(ROWS) >= 12
    assert len(ROWS) == INDEX.count("\n|") - 2, "a row has another form"
    assert len({path for _, path in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("behaviour", "path"), ROWS, ids=[path for _, path in ROWS])
def test_what_the_index_names_is_in_the_file(behaviour, path):
    """The words in bold are in the file's name or in its docstrings."""
    words = re.findall(r"\*\*(.+?)\*\*", behaviour)
    assert words, behaviour
    text = shown(path)
    for word in words:
        assert word.lower() in text, f"{path} does not speak of {word}"


def test_the_packages_are_the_rows_of_the_architecture():
    rows = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["ROWS"]
    section = re.search(r"^## Packages\n(.*?)^## ", PAGE, flags=re.DOTALL | re.MULTILINE)[1]
    cells = re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
    shown = [set(re.findall(r"`([\w.]+)`", cell)) for cell in cells]
    assert shown[1:] == rows[2:] and shown[0] == rows[0] | rows[1]


def test_each_decision_has_a_heading_that_the_contents_list():
    titles = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", PAGE, flags=re.MULTILINE)
    assert [title for title, _ in listed] == [t for t in titles if t != "Contents"]
    assert len(listed) > 30
    paragraphs = re.split(r"^## .+$", PAGE, flags=re.MULTILINE)[1:]
    assert all(text.strip() for text in paragraphs)
