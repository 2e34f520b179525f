"""Columns of the matrix of confusions are told apart in little space."""

from cvkit.reporting.matrix import short_name


def test_names_that_begin_alike_differ_when_they_are_short():
    names = [f"kind of bird {number}" for number in range(12)]
    assert len({short_name(name) for name in names}) == 12
    assert max(len(short_name(name)) for name in names) == 10
    assert short_name("background") == "background"
