"""Divisions by class and group, against what can be said of them by hand."""

import itertools
import random
from collections import Counter

import pytest

from cvkit.data.grouping import group_names
from cvkit.data.stratify import joined_groups, stratified
from cvkit.errors import DataError, UsageError


def hashes(count):
    return [f"{n:064x}" for n in range(count)]


def counts(labels, parts):
    found = {}
    for names, part in zip(labels, parts, strict=True):
        found.setdefault(part, Counter()).update(set(names) or {""})
    return found


def test_every_fold_has_its_share_of_every_class():
    labels = [("a",)] * 50 + [("b",)] * 25 + [()] * 10
    parts = stratified(labels, range(85), hashes(85), [0.2] * 5, 0)
    assert {n: dict(c) for n, c in counts(labels, parts).items()} == {
        n: {"a": 10, "b": 5, "": 2} for n in range(5)
    }


def test_shares_hold_for_samples_with_several_classes():
    """The rarest combination is divided as evenly as its count allows."""
    drawn = random.Random(3)
    labels = [tuple(c for c in "abcd" if drawn.random() < 0.3) for _ in range(400)]
    labels += [("rare", "a")] * 4
    parts = stratified(labels, range(404), hashes(404), [0.75, 0.25], 1)
    totals, found = counts(labels, [0] * 404)[0], counts(labels, parts)
    assert found[1]["rare"] == 1
    for name, total in totals.items():
        assert abs(found[1][name] - total / 4) <= 2


@pytest.mark.parametrize("shares", [[0.8, 0.2], [0.7, 0.2, 0.1], [0.25] * 4])
def test_a_class_with_enough_samples_is_in_every_part(shares):
    labels = [("a",)] * 40 + [("b",)] * len(shares)
    parts = stratified(labels, range(len(labels)), hashes(len(labels)), shares, 0)
    assert all(found["b"] == 1 for found in counts(labels, parts).values())


def test_groups_are_never_divided_and_the_shares_still_hold():
    drawn = random.Random(5)
    groups = sorted(drawn.randrange(40) for _ in range(400))
    labels = [("ab"[drawn.randrange(2)],) for _ in range(400)]
    parts = stratified(labels, groups, hashes(400), [0.2] * 5, 0)
    for _, members in itertools.groupby(zip(groups, parts, strict=True), lambda pair: pair[0]):
        assert len({part for _, part in members}) == 1
    assert all(abs(n - 80) <= 12 for n in Counter(parts).values())


def test_neither_the_order_nor_the_numbers_of_groups_matter_but_the_seed_does():
    labels = [("a",) if n % 3 else ("b",) for n in range(60)]
    digests = hashes(60)
    first = dict(zip(digests, stratified(labels, range(60), digests, [0.5, 0.5], 0), strict=True))
    order = list(range(60))
    random.Random(1).shuffle(order)
    again = stratified(
        [labels[n] for n in order],
        [1000 + n for n in order],
        [digests[n] for n in order],
        [0.5, 0.5],
        0,
    )
    assert dict(zip([digests[n] for n in order], again, strict=True)) == first
    assert stratified(labels, range(60), digests, [0.5, 0.5], 1) != list(first.values())


def test_samples_that_share_any_key_are_in_one_group():
    found = joined_groups(["x", "y", "x", "z", "w"], [1, 1, 2, None, None])
    assert len({found[0], found[1], found[2]}) == 1
    assert len(set(found)) == 3


KEYS = ["p1/a_1.png", "p1/b_2.png", "p2/a_3.png"]


def test_groups_come_from_folders_patterns_and_tables(tmp_path):
    assert group_names("folder", KEYS) == ["p1", "p1", "p2"]
    assert group_names(r"regex:/(\w)_", KEYS) == ["a", "b", "a"]
    assert group_names("regex:p.", KEYS) == ["p1", "p1", "p2"]
    table = tmp_path / "t.csv"
    table.write_text("path,who\n" + "".join(f"{k},{n % 2}\n" for n, k in enumerate(KEYS)))
    assert group_names(f"csv:{table}:who", KEYS) == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("folders", "group_by.syntax"),
        ("regex:", "group_by.syntax"),
        ("csv:x.csv", "group_by.syntax"),
        ("regex:(", "group_by.regex"),
        ("regex:b_", "group_by.lacking"),
        ("csv:{table}:who", "group_by.lacking"),
        ("csv:{table}:where", "list.column"),
    ],
)
def test_samples_without_a_group_and_malformed_texts_are_refused(tmp_path, text, code):
    table = tmp_path / "t.csv"
    table.write_text(f"path,who\n{KEYS[0]},x\n")
    with pytest.raises((UsageError, DataError)) as refused:
        group_names(text.format(table=table), KEYS)
    assert refused.value.code == code
