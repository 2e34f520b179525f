"""The planted bugs fit the tree, and a caught one is told from one that broke its tests."""

import ast
from dataclasses import replace

import pytest
from mutants.patches import (
    ROOT,
    BadPatch,
    Mutant,
    Outcome,
    fails,
    mutated,
    parse,
    read_mutants,
    verdict,
)


def functions(path):
    """Return the names of a file's tests, those of classes too."""
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_planted_bug_fits_the_tree_and_names_tests_that_exist():
    known = {}
    for path in read_mutants():
        mutant = parse(path)
        for changed, text in mutated(mutant, ROOT).items():
            assert text != changed.read_text(), f"{path.name} leaves {changed.name} as it is"
        for test in mutant.tests:
            name, _, function = test.partition("::")
            if name not in known:
                assert (ROOT / name).is_file(), f"{path.name}: there is no {name}"
                known[name] = functions(ROOT / name)
            wanted = function.partition("[")[0].rpartition("::")[2]
            assert not wanted or wanted in known[name], f"{path.name}: there is no {test}"


DIFF = """# what: The larger one is smaller.
# tests: tests/test_a.py::test_a
# tests: tests/test_a.py::test_b[x]
diff --git a/a.py b/a.py
--- a/a.py
+++ b/a.py
@@ -1,3 +1,3 @@
 def larger(a, b):
-    return a if a > b else b
+    return a if a < b else b

"""


def write(tmp_path, diff, code):
    (tmp_path / "x.patch").write_text(diff)
    (tmp_path / "a.py").write_text(code)
    return parse(tmp_path / "x.patch")


CODE = "def larger(a, b):\n    return a if a > b else b\n\n"


def test_a_patch_is_put_where_its_lines_have_moved_to(tmp_path):
    mutant = write(tmp_path, DIFF, '"""More."""\n\n\n' + CODE)
    assert mutant.what == "The larger one is smaller."
    assert mutant.tests == ("tests/test_a.py::test_a", "tests/test_a.py::test_b[x]")
    (text,) = mutated(mutant, tmp_path).values()
    assert text == '"""More."""\n\n\n' + CODE.replace(">", "<")


@pytest.mark.parametrize(
    ("diff", "code", "reason"),
    [
        (DIFF.replace("# what: The", "The"), CODE, "has no line '# what:'"),
        (DIFF.replace("# tests", "# test"), CODE, "has no line '# tests:'"),
        (DIFF.partition("diff")[0], CODE, "changes nothing"),
        (DIFF.partition("+    return")[0].rstrip("\n"), CODE, "is cut off"),
        (DIFF, CODE.replace("a > b", "b < a"), "a.py has no such lines near 1"),
        (DIFF.replace("a/a.py", "a/b.py").replace("b/a.py", "b/b.py"), CODE, "there is no b.py"),
        (DIFF.replace("a < b else", "a < b els"), CODE, "is no Python any more"),
    ],
)
def test_a_patch_that_does_not_fit_says_why(tmp_path, diff, code, reason):
    with pytest.raises(BadPatch, match=reason):
        mutated(write(tmp_path, diff, code), tmp_path)


TEST = "tests/test_a.py::test_a"
CAUGHT = Outcome(1, 0.1, [[TEST, "call", "failed"]])
PASSED = Outcome(0, 0.1, [[TEST, "call", "passed"]])


@pytest.mark.parametrize(
    ("outcome", "plain", "marked"),
    [
        (CAUGHT, "caught", "bad"),
        (PASSED, "survived", "explained"),
        (Outcome(None, 9.0), "timeout", "bad"),
        (Outcome(1, 0.1, [[TEST, "setup", "failed"]]), "bad", "bad"),
        (Outcome(2, 0.1), "bad", "bad"),
        (Outcome(4, 0.1), "bad", "bad"),
        (Outcome(0, 0.1, broken="ImportError: no"), "bad", "bad"),
        (Outcome(-9, 0.1, broken="the process ended"), "bad", "bad"),
    ],
)
def test_only_a_test_that_fails_or_does_not_end_catches_a_bug(outcome, plain, marked):
    mutant = Mutant("x", "A bug.", (TEST,), "", {})
    assert verdict(mutant, outcome)[0] == plain
    assert verdict(replace(mutant, survives="it is equal"), outcome)[0] == marked


@pytest.mark.parametrize(
    ("outcome", "test", "reason"),
    [
        (PASSED, TEST, ""),
        (PASSED, "tests/test_a.py", ""),
        (PASSED, "tests/test_a.py::test_b", "does not pass without the bug: not found"),
        (Outcome(0, 0.1, [[TEST, "setup", "skipped"]]), TEST, "without the bug: skipped"),
        (CAUGHT, TEST, "does not pass"),
        (Outcome(None, 9.0), TEST, "do not end in time"),
        (
            Outcome(1, 0.1, [[f"{TEST}[1]", "call", "passed"], [f"{TEST}[2]", "call", "failed"]]),
            TEST,
            r"test_a\[2\] fails without the bug",
        ),
    ],
)
def test_tests_must_pass_without_the_bug(outcome, test, reason):
    found = fails(outcome, [test])
    assert reason.replace("\\", "") in found if reason else not found
