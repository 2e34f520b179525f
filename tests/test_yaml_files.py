"""The one reader of YAML: what it reads, what it refuses, and that there is no other."""

import ast
import itertools
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvkit.errors import DataError, UsageError
from cvkit.yaml_files import MOST_BYTES, MOST_LEVELS, MOST_VALUES, dump_yaml, parse_yaml, read_yaml

ROOT = Path(__file__).parents[1] / "cvkit"


def test_no_other_module_reads_or_writes_yaml():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] in ("yaml", "ruamel") for name in names):
                assert path == ROOT / "yaml_files.py", f"{path} imports a YAML library"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-3\nb: -2E5\nc: .5\nd: 1.", {"a": 1e-3, "b": -2e5, "c": 0.5, "d": 1.0}),
        ("a: 2024-01-01\nb: 12:30:45", {"a": "2024-01-01", "b": "12:30:45"}),
        ("0: cat\n1: dog", {0: "cat", 1: "dog"}),
        ("a: [1, ~, yes, 'no', 0x1f]", {"a": [1, None, True, "no", 31]}),
        ("a: !!str 5\nb: &x 6", {"a": "5", "b": 6}),
        ("<<: {a: 1}\n=: 2", {"<<": {"a": 1}, "=": 2}),
        ("a: 9223372036854775807", {"a": 2**63 - 1}),
        ("\ufeffa: caf\u00e9", {"a": "caf\u00e9"}),
        ("", None),
    ],
)
def test_plain_values_are_read(tmp_path, text, value):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == value


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("a: &x [1]\nb: *x", "alias", 2),
        ("a: &x {b: 1}\nc:\n  <<: *x", "alias", 3),
        ("a: 1\nb: !!python/name:os.system x", "tag", 2),
        ("a: !!binary aGk=", "tag", 1),
        ("a: !!timestamp 2024-01-01", "tag", 1),
        ("a: !!int x", "tag", 1),
        ("a: !!set {b}", "tag", 1),
        ("a: !own 1", "tag", 1),
        ("a: 1\nb: {c: 1, c: 2}", "duplicate_key", 2),
        ("a: 1\n[1, 2]: 3", "key", 2),
        ("true: 1", "key", 1),
        ("1.5: 1", "key", 1),
        ("~: 1", "key", 1),
        (f"a:\n  - {10**400}", "number", 2),
        (f"a: 0x{'f' * 400}", "number", 1),
        ("a: 9223372036854775808", "number", 1),
        ("a: 0b_", "syntax", None),
        ("a: 1\nb: [", "syntax", 2),
        ("a: 1\nb: \x07", "syntax", 2),
        ("a: 1\n---\nb: 2", "syntax", 2),
        ("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1), "depth", 1),
        ("- a\n" * MOST_VALUES, "size", MOST_VALUES),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_no_table_of_settings_needs_is_refused_with_its_line(text, kind, line):
    with pytest.raises(DataError) as caught:
        parse_yaml(text, "a.yaml")
    assert caught.value.code == f"yaml.{kind}"
    if line:
        assert f"a.yaml:{line}" in str(caught.value) or f"a.yaml:{line + 1}" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "a.yaml", area="config", error=UsageError)
    assert caught.value.code == f"config.{kind}"


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"#" * (MOST_BYTES + 1), "size", "1 MB"),
        (b"a: 1\nb: \xff\n", "encoding", "a.yaml:2 is not UTF-8"),
        (None, "missing", "does not exist"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, kind, words):
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert caught.value.code == f"yaml.{kind}"


def test_a_few_lines_do_not_swell_to_gigabytes():
    names = "abcdefgh"
    lines = [f"{names[0]}: &{names[0]} [{', '.join('x' * 9)}]"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="aliases"):
        parse_yaml("\n".join(lines), "a.yaml")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text("ab:#-[]{}&*!|>'\"%@`,? \n019.e+~\u00e9\u2028\U0001f600", max_size=9),
    st.sampled_from(["1e-3", "1:30", "2024-01-01", "0x1", "yes", "~", "<<", "=", "08", ".5", "&a"]),
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text("abc_", min_size=1), st.one_of(SCALARS, st.lists(SCALARS))))
def test_what_is_written_is_read_back(values):
    assert parse_yaml(dump_yaml(values), "a.yaml") == values


def test_what_occurs_twice_is_written_out():
    both = ["a"]
    assert parse_yaml(dump_yaml({"b": both, "c": both}), "a.yaml") == {"b": ["a"], "c": ["a"]}
