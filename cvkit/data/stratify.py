"""Stratified division of samples with several classes each, in groups."""

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from functools import partial


def joined_groups(*keys: Sequence[Hashable]) -> list[int]:
    """Return a group for each sample; samples that share any key are in the same one.

    Args:
        keys: of every sample, several times; None is not shared.
    """
    count = len(keys[0])
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for each in keys:
        first: dict[Hashable, int] = {}
        for place, key in enumerate(each):
            if key is not None:
                parent[root(place)] = root(first.setdefault(key, place))
    return [root(place) for place in range(count)]


def stratified(
    labels: Sequence[Collection[str]],
    groups: Sequence[int],
    hashes: Sequence[str],
    shares: Sequence[float],
    seed: int,
) -> list[int]:
    """Return the part of each sample; every part gets its share of every class, if groups allow it.

    Groups are given out class by class, the rarest first, each to the part that lacks most of this
    class (Sechidis et al., On the Stratification of Multi-label Data, 2011), or of all classes in
    a group of several samples. No part stays empty if there are enough groups. Large groups come
    first; then the order is a function of the seed and the content, so that neither names nor the
    order of the samples matter.

    Args:
        labels: classes of each sample; samples without classes form a class of their own.
        groups: of each sample; a group is never divided.
        hashes: of the content of each sample.
        shares: of the parts; they add up to 1.
        seed: of the order.
    """
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    content = {
        group: Counter(name for place in places for name in sorted(set(labels[place])) or ("",))
        for group, places in members.items()
    }
    order = _in_order(members, hashes, seed)
    totals = sum(content.values(), Counter())
    wanted = {name: _wanted(count, shares) for name, count in totals.items()}
    having: dict[str, list[int]] = {name: [] for name in totals}
    for group in order:
        for name in content[group]:
            having[name].append(group)
    sizes = Counter(groups)
    room = [share * len(labels) for share in shares]
    part_of, empty = dict[int, int](), {*range(len(shares))}

    def lack(group: int, name: str, part: int) -> tuple[float, float, int]:
        """Return how much a part needs a group, and in which order equal ones are taken."""
        need = wanted[name][part]
        if sizes[group] > 1:  # its other classes matter as much
            need = sum(n * wanted[each][part] / totals[each] for each, n in content[group].items())
        return need, room[part], -part

    for name in sorted(totals, key=lambda name: (totals[name], name)):
        for group in having[name]:
            if group in part_of:
                continue
            scarce = empty and len(members) - len(part_of) <= len(empty)
            open_parts = sorted(empty) if scarce else range(len(shares))
            part = max(open_parts, key=partial(lack, group, name))
            part_of[group] = part
            empty.discard(part)
            room[part] -= sizes[group]
            for each, count in content[group].items():
                wanted[each][part] -= count
    return [part_of[group] for group in groups]


def _in_order(members: dict[int, list[int]], hashes: Sequence[str], seed: int) -> list[int]:
    """Return the groups, the largest first, then by a hash of the seed and the content."""

    def rank(group: int) -> tuple[int, bytes]:
        first = min(hashes[place] for place in members[group])
        return -len(members[group]), hashlib.sha256(f"{seed}\0{first}".encode()).digest()

    return sorted(members, key=rank)


def _wanted(count: int, shares: Sequence[float]) -> list[float]:
    """Return how many samples of a class each part should have: at least one if possible."""
    wanted = [share * count for share in shares]
    largest = max(range(len(shares)), key=lambda n: shares[n])
    if count >= len(shares):
        for part, number in enumerate(wanted):
            if 0 < number < 1:
                wanted[part] = 1.0
                wanted[largest] -= 1 - number
    return wanted
