"""The decoding processes of a loader: their signals, their end, and what keeps them."""

import ctypes
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Self

from cvkit.tasks.contract import Dataset

Key = tuple[int, int]
"""(index of a sample, seed of its random transform)."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class KeptWorkers:
    """Workers that go on from one pass over a dataset to the next, inside a `with`.

    Starting and ending them would cost time in every epoch.
    """

    def __init__(self) -> None:
        self.keeps, self._idle = False, dict[int, Running]()

    def __enter__(self) -> Self:
        self.keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self.keeps = False
        while self._idle:
            self._idle.popitem()[1].end()

    def take(self, dataset: Dataset, workers: int) -> "Running | None":
        """Return the workers of a dataset, at least as many as asked for; None without any."""
        running = self._idle.pop(id(dataset), None)
        if running is not None and running.workers < workers:
            running.end()
            return None
        return running

    def put(self, running: "Running") -> None:
        """Keep workers that have completed a pass."""
        self._idle[id(running.dataset)] = running


class Plan(list[list[Key]]):
    """The batches of a pass, which are replaced for the next one."""


class Running:
    """A loader and its workers, if it has any.

    Args:
        dataset: that they read.
        loader: of the batches in `plan`.
        plan: of the current pass.
        over: the shared number by which a signal ends the workers. It has no lock: a second
            signal would wait for what the first one's handler holds.
    """

    def __init__(self, dataset: Dataset, loader: Any, plan: Plan, over: Any) -> None:
        self.dataset, self.loader, self.plan, self.over = dataset, loader, plan, over
        self.workers: int = loader.num_workers
        self._processes = set[BaseProcess]()

    def read(self, batches: Sequence[Sequence[Key]]) -> Iterator[list[Any]]:
        """Return the samples of each list of keys; starts the workers that do not run yet."""
        self.plan[:] = [list(keys) for keys in batches]
        before = set(multiprocessing.active_children())
        # Until a worker has its handlers, torch's would end it: a signal waits till then.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores
                found: Iterator[list[Any]] = iter(self.loader)
            return found
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._processes |= set(multiprocessing.active_children()) - before

    def end(self) -> None:
        """End the workers."""
        if self.over is not None:
            self.over.value = 1
        for worker in self._processes:
            worker.terminate()
        self.loader._iterator = None  # joins them


def start_worker(over: Any, parent: int | None, _: int) -> None:
    """Leave signals to the main process, which stops at a safe point and ends its workers.

    Where it is killed, its workers are killed with it: torch's own would notice only while they
    wait for work.

    SIGTERM reaches the workers as well where it is sent to a whole group of processes, so it
    ends a worker only once `over`, a number that the processes share, is 1.
    """

    def end(number: int, frame: object) -> None:
        if over.value:
            os._exit(0)

    if parent is not None:
        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed in between
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
