"""A number stands before its noun in the singular or the plural, whichever it needs."""

import ast
import re
from pathlib import Path

import pytest

from cvkit.texts import counted

ROOT = Path(__file__).parents[1] / "cvkit"
FILES = sorted(ROOT.rglob("*.py"))
NOUNS = re.compile(
    r"^ (?:\w+ )?(images|videos|classes|files|tensors|detections|predictions|samples|columns|clips"
    r"|frames|masks|boxes|lines|rows|inputs|epochs|steps|batches|objects|pixels|trials|bytes"
    r"|numbers|colours|truths|results|tables|models|categories|annotations)\b"
)
MORE_THAN_ONE = {
    "cvkit/data/formats/coco_places.py": "files",  # said only of several
    "cvkit/data/masks.py": "classes",  # of a range
    "cvkit/commands/train.py": "epochs",
    "cvkit/commands/weights_average.py": "models",  # N of M
    "cvkit/engine/curve_reading.py": "epochs",  # the last one is told apart
    "cvkit/scoring/detect.py": "classes",  # of a noun that was counted
    "cvkit/tasks/segment/setup.py": "images",  # of two splits together
    "cvkit/tasks/sheets.py": "results",  # N of M
    "cvkit/tasks/torchvision_import.py": "classes",  # more than 255
    "cvkit/output/confusion_picture.py": "classes",  # more than 250
    "cvkit/output/curves.py": "classes",  # more than 20
    "cvkit/scoring/voc_results.py": "files",  # said only of several
    "cvkit/tasks/classed.py": "classes",  # of two classes or more
    "cvkit/tasks/class_weights.py": "classes",
    "cvkit/data/formats/index_maps.py": "classes",  # of two classes or more
}


def test_one_is_told_from_several():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(n, "box", "boxes") for n in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]


def plural_counts(path):
    """Yield the line and noun of each number of things that an f-string says in the plural."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                code = ast.unparse(value.value)
                found = NOUNS.match(text.value)
                if found and re.search(r"len\(|sum\(|count|total|options\.\w+$|_failures$", code):
                    yield node.lineno, found[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_message_says_a_number_of_things_in_the_plural_only(path):
    known = MORE_THAN_ONE.get(f"cvkit/{path.relative_to(ROOT).as_posix()}")
    wrong = [(line, noun) for line, noun in plural_counts(path) if noun != known]
    assert not wrong, f"use counted(): {wrong}"
