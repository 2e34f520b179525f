"""The samples of each training step."""

import itertools
import math
from collections.abc import Sequence

from cvkit.engine.progress import Settings
from cvkit.engine.workers import Key
from cvkit.errors import DataError
from cvkit.ops.seeds import key_seed, permutation
from cvkit.texts import counted

MODEL_SEED, ORDER_SEED, SAMPLE_SEED, STEP_SEED = range(4)
"""First part of the key of each kind of random decision."""


def batch_sizes(count: int, settings: Settings, world: int) -> list[int]:
    """Return how many samples each batch of an epoch has, in all processes together.

    No batch is larger than `batch_size`, and their sizes differ by at most one: an epoch ends with
        a full step, not with a remainder. If there are too few samples for batches of `min_batch`,
        the last step has fewer batches, and any samples still left over are left out.
    """
    per_step = settings.accumulate * world
    batches = math.ceil(count / (settings.batch_size * per_step)) * per_step
    most = count // settings.min_batch
    if batches > most:
        batches = most // world * world
    if not batches:
        return []
    size, larger = divmod(min(count, batches * settings.batch_size), batches)
    return [size + 1] * larger + [size] * (batches - larger)


def describe_epoch(count: int, settings: Settings, world: int) -> str:
    """Return a description of the steps of an epoch with `count` samples.

    Raises:
        DataError: it has no steps.
    """
    sizes, per_step = batch_sizes(count, settings, world), settings.accumulate * world
    if not sizes:
        raise DataError(
            f"{counted(count, 'training sample')}: one step needs at least {world} x "
            f"{settings.min_batch} for the batch norms of this network",
            code="data.too_small",
            hint="more samples" + (", or fewer --devices" if world > 1 else ""),
        )
    steps, left = math.ceil(len(sizes) / per_step), count - sum(sizes)
    each = str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[-1]} or {sizes[0]}"
    text = f"{counted(count, 'training sample')}: {counted(steps, 'step')} per epoch, "
    text += f"{counted(len(sizes), 'batch', 'batches')} of {each}"
    if left:
        text += f"; {left} left out, others in each epoch: a batch needs {settings.min_batch}" + (
            f" in each of {world} processes" if world > 1 else ""
        )
    return text


def batch_plan(
    count: int,
    epoch: int,
    settings: Settings,
    rank: int,
    world: int,
    groups: Sequence[int] | None = None,
) -> list[list[Key]]:
    """Return the batches of one process in an epoch, `accumulate` of them to a step.

    Every sample's position and seed depend on (seed, epoch, index) alone. Batch number m of a step
    goes to process m modulo `world`, so that two processes use the batches that one process would
    accumulate.

    Args:
        count: samples.
        epoch: from 0.
        settings: of the run.
        rank: of the process.
        world: number of processes.
        groups: a number for each sample; only the last batches mix different groups.
    """
    order = permutation(count, ORDER_SEED, settings.seed, epoch)
    keys = [(int(i), key_seed(SAMPLE_SEED, settings.seed, epoch, int(i))) for i in order]
    sizes = batch_sizes(count, settings, world)
    if groups is not None:
        keys = _by_group(keys, groups, sizes)
    ends = list(itertools.accumulate(sizes))
    starts = [0, *ends[:-1]]
    batches = [keys[start:end] for start, end in zip(starts, ends, strict=False)]
    return batches[rank::world]


def _by_group(keys: list[Key], groups: Sequence[int], sizes: Sequence[int]) -> list[Key]:
    """Return keys reordered so that batches come from one group as long as possible.

    Args:
        keys: of the samples.
        groups: a number for each sample.
        sizes: of the batches, in decreasing order.
    """
    waiting: dict[int, list[Key]] = {}
    result: list[Key] = []
    left = iter(sizes)
    size = next(left, 0)
    for key in keys:
        row = waiting.setdefault(groups[key[0]], [])
        row.append(key)
        if len(row) >= size > 0:
            result += row[:size]
            del row[:size]
            size = next(left, 0)
    return result + [key for _, row in sorted(waiting.items()) for key in row]
