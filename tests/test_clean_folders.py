"""Tests leave nothing in the project's folder."""

from leftovers import CACHES, left_in


def test_what_a_test_leaves_is_found_and_what_tools_leave_is_not(tmp_path):
    (tmp_path / "old").touch()
    (tmp_path / "runs").mkdir()
    for name in CACHES:
        (tmp_path / name).mkdir()
    assert left_in(tmp_path, {"old"}) == ["runs"]
