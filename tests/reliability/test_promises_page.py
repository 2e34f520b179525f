"""The page of promises is what the last `make soak` found, and names what exists."""

import ast

import page
import pytest
from rows import ROOT, ROWS, SOAKS


def functions(path):
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_is_written_from_the_results():
    assert page.PAGE.read_text() == page.written(page.read_results()), "run make soak, or page.py"


@pytest.mark.parametrize("name", ROWS)
def test_a_promise_names_tests_and_planted_bugs_that_exist(name):
    row = ROWS[name]
    assert row.tests and row.planted and row.promise.endswith(".")
    for test in row.tests:
        file, _, function = test.partition("::")
        assert function in functions(ROOT / file), test
    for bug in row.planted:
        assert (ROOT / "tests" / "mutants" / f"{bug}.patch").is_file(), bug


def test_every_long_test_belongs_to_a_promise():
    names = {name for path in SOAKS for name in functions(path) if name.startswith("test_")}
    assert {name.split("_")[1].upper() for name in names} <= ROWS.keys()
    assert len(ROWS) == 35


def test_what_was_never_run_is_not_kept():
    results = dict.fromkeys(ROWS, page.NEVER)
    results["R2"] = page.NEVER | {"kept": True, "counts": {"levels": 90}, "date": "2026-01-02"}
    text = page.written(results)
    assert text.count("**no**: never run") == 34
    assert "1 of 35 promises are kept." in text
    assert "| yes | 90 levels | 2026-01-02 |" in text
