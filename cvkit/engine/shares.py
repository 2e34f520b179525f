"""Which of several processes reads and predicts which samples."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cvkit.engine.inference import Placed, as_planned, by_size, geometry_of, planned
from cvkit.engine.loader import in_order
from cvkit.engine.processes import cores
from cvkit.engine.ranks import Ranks
from cvkit.engine.workers import Key
from cvkit.structures import Batch, Failure, Geometry
from cvkit.tasks.contract import Dataset, Measurable


@dataclass(frozen=True)
class Share:
    """The samples that one of several processes reads.

    Attributes:
        batches: their places in the dataset, in the order in which they are read.
        alone: there is one process, so `by_size` makes the batches.
        done: places whose results are known; their samples only complete the batches of others.
    """

    batches: list[list[int]]
    alone: bool = False
    done: frozenset[int] = frozenset()

    @property
    def places(self) -> list[int]:
        """The places of which results are wanted, in order."""
        return sorted(place for batch in self.batches for place in batch if place not in self.done)

    @property
    def keys(self) -> list[list[Key]]:
        """What is read for each batch."""
        return [[(place, 0) for place in batch] for batch in self.batches]

    def placed(
        self,
        loaded: Iterable[Sequence[Batch | Failure]],
        batch_size: int,
        dataset: Dataset,
    ) -> Iterator[Placed]:
        """Yield the samples that were read in batches, with their places."""
        if self.alone:
            return by_size(loaded, batch_size, dataset)
        return as_planned(loaded, self.batches)


def share_of(
    ranks: Ranks, dataset: Dataset, batch_size: int, done: frozenset[int] = frozenset()
) -> Share:
    """Return the samples that this process reads.

    Each of the batches that one process would make of all samples goes to one process, so that
    results depend neither on the number of processes nor on what an earlier command has done: on
    some machines the last digits of a result depend on the size of its batch. The sizes of the
    samples are read before, by all processes together.

    Args:
        ranks: the processes.
        dataset: of all samples.
        batch_size: samples of a batch.
        done: places whose results are known already.
    """
    count, world, rank = len(dataset), ranks.world, ranks.layout.rank
    if world == 1 and not done:
        return Share([[place for place, _ in batch] for batch in in_order(count, batch_size)], True)
    if not isinstance(dataset, Measurable):  # taken to be of one size
        geometries: list[Geometry | None] = [Geometry((0, 0), (0, 0))] * count
    else:
        with ThreadPoolExecutor(cores(), "measure") as pool:
            parts = pool.map(lambda place: geometry_of(dataset, place), range(rank, count, world))
            found = ranks.gather(list(parts))
        geometries = [found[place % world][place // world] for place in range(count)]
    batches, number = [], 0
    for batch in planned(geometries, batch_size):
        if done.issuperset(batch):
            continue
        if geometries[batch[0]] is None:  # it cannot be read
            turn = batch[0]
        else:
            turn, number = number, number + 1
        if turn % world == rank:
            batches.append(batch)
    return Share(batches, done=done)
