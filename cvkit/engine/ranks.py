"""Processes that work together: they join, agree, and notice when one of them has ended."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # it has no list

from cvkit.early import command_line, how_to_talk, leave, print_failure, speaks
from cvkit.engine import processes
from cvkit.engine.processes import Layout, Started
from cvkit.engine.runtime import StopSignal
from cvkit.errors import CvkitError, Interrupted, MachineError, as_cvkit_error

Value = TypeVar("Value")

JOIN_SECONDS = 600.0
"""Seconds that a process waits for the others to join."""
PERIOD = 0.5
"""Seconds between two looks at the others."""
SILENT_SECONDS = 30.0
"""Seconds without a sign of life after which a process counts as dead."""
GRACE_SECONDS = 10.0
"""Seconds in which the main thread can report a failure of another process by itself."""
LEAVE_SECONDS = 10.0
"""Seconds in which the others can end by themselves before they are killed."""


class Ranks:
    """This process and those that it works with; one alone needs none of it.

    Attributes:
        layout: this process among the others.
        failure: of another process, once it is known.
    """

    def __init__(self, layout: Layout, stop: StopSignal) -> None:
        self.layout, self.stop = layout, stop
        self.failure: CvkitError | None = None

    @property
    def world(self) -> int:
        """Number of processes."""
        return self.layout.world

    @property
    def is_first(self) -> bool:
        """Whether this process reports for all, and writes what exists once."""
        return self.layout.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""
        return [value]

    def gather_first(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank, in the first; nothing in the others."""
        return [value]

    def share(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes."""
        return make()

    def raise_if_failed(self) -> None:
        """Do nothing while all processes are well.

        Raises:
            CvkitError: the failure of another process.
        """
        if self.failure is not None:
            raise self.failure

    def add_failures(self, places: list[int]) -> None:
        """Let the others know which inputs failed, by their places."""

    def last_place(self, most: int) -> int | None:
        """Return the place of the last failure that may be; None if there are fewer."""
        return None


class _Joined(Ranks):
    """Processes that have joined.

    Every process writes signs of life, its signal and its failure to a store in the first one, and
    a thread looks for those of the others. Where the main thread waits for a process that is gone,
    this thread ends the process.
    """

    def __init__(self, started: Started, stop: StopSignal) -> None:
        super().__init__(started.layout, stop)
        self.children = started.children
        self.store: PrefixStore | None = None
        self.failed_places: dict[int, list[int]] = {}
        self._own_places: list[int] = []
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._beat = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ranks", daemon=True)

    def join(self, address: tuple[str, int], backend: str) -> None:
        """Wait for the other processes.

        Raises:
            MachineError: they have not joined in time.
        """
        self._thread.start()
        rank, world, seconds = self.layout.rank, self.world, timedelta(seconds=JOIN_SECONDS)
        by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            store = TCPStore(
                *address,
                world,
                is_master=self.is_first and not by_agent,
                timeout=seconds,
                wait_for_workers=False,
                multi_tenant=True,
            )
            group = PrefixStore(f"cvkit/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
            group.set(f"joined/{rank}", "1")
            group.wait([f"joined/{each}" for each in range(world)], seconds)
            # How long they work is not known; that one of them ends is noticed here.
            dist.init_process_group(
                backend, store=group, rank=rank, world_size=world, timeout=timedelta(days=30)
            )
        except (RuntimeError, ValueError) as error:
            self._wait_for_news()
            raise MachineError(
                f"rank {rank} could not join {world} processes at {address[0]}:{address[1]}: "
                f"{str(error).splitlines()[0]}",
                code="ranks.join",
                hint="check that all were started, and that the machines reach this address",
            ) from error
        self.store = PrefixStore("cvkit-watch", group)

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank.

        Raises:
            CvkitError: another process has failed or ended.
            Interrupted: a signal came.
        """
        found: list[Any] = [None] * self.world
        with self._together():
            dist.all_gather_object(found, value)
        return found

    def gather_first(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank, in the first; nothing in the others.

        Raises:
            CvkitError: another process has failed or ended.
            Interrupted: a signal came.
        """
        found: list[Any] | None = [None] * self.world if self.is_first else None
        with self._together():
            dist.gather_object(value, found)
        return found or []

    def share(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes.

        Raises:
            CvkitError: another process has failed or ended.
            Interrupted: a signal came.
        """
        found: list[Any] = [make() if self.is_first else None]
        with self._together():
            dist.broadcast_object_list(found)
        value: Value = found[0]
        return value

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Say of a broken connection which process has ended."""
        try:
            yield
        except RuntimeError as error:
            self._wait_for_news()
            raise MachineError(
                f"the connection between the processes is lost: {str(error).splitlines()[0]}",
                code="ranks.lost",
                hint="see the messages of the other processes",
            ) from error

    def _wait_for_news(self) -> None:
        """Wait a little for the reason of a broken connection, and raise it.

        Raises:
            CvkitError: the failure of another process.
            Interrupted: a signal came.
        """
        deadline = time.monotonic() + GRACE_SECONDS / 2
        while time.monotonic() < deadline and not self.failure and not self.stop.number:
            time.sleep(PERIOD / 5)
        self.stop.raise_if_set("interrupted")
        self.raise_if_failed()

    def add_failures(self, places: list[int]) -> None:
        """Let the others know which inputs failed, by their places."""
        self._own_places += places

    def last_place(self, most: int) -> int | None:
        """Return the place of the last failure that may be; None if there are fewer."""
        known = {**self.failed_places, self.layout.rank: self._own_places}
        places = sorted(place for failed in known.values() for place in failed)
        return places[most - 1] if 0 < most <= len(places) else None

    def publish(self, error: CvkitError) -> None:
        """Let the others know that this process fails, or is interrupted."""
        if self.store is None or self.failure is not None:
            return
        with contextlib.suppress(RuntimeError):  # the first process has ended
            if isinstance(error, Interrupted):
                self.store.set("stop", str(error.exit_code - 128))
                return
            about = error.as_json() | {"exit_code": error.exit_code, "rank": self.layout.rank}
            self.store.compare_set("failed", "", json.dumps(about))

    def leave(self, error: CvkitError | None) -> None:
        """End the work together: wait for the others of this machine, or end them."""
        if error is not None:
            self.publish(error)
        if error is None or isinstance(error, Interrupted):
            self._wait_to_leave(LEAVE_SECONDS if error is None else LEAVE_SECONDS / 5)
        # This wakes those that wait for this process. With GPUs it would wait for those that ended.
        if dist.is_initialized() and (error is None or dist.get_backend() == "gloo"):
            dist.destroy_process_group()
        deadline = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < deadline and any(c.poll() is None for c in self._children()):
            time.sleep(PERIOD / 10)
        self._over.set()
        for child in self._children():
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(2 * PERIOD)

    def _wait_to_leave(self, seconds: float) -> None:
        """Wait a little for the others, which may still receive what this process has sent."""
        if self.store is None:
            return
        with contextlib.suppress(RuntimeError):  # the first process has ended
            self.store.set(f"left/{self.layout.rank}", "1")
            everyone = [f"left/{rank}" for rank in range(self.world)]
            self.store.wait(everyone, timedelta(seconds=seconds))

    def _children(self) -> list[processes.Child]:
        return list(self.children.values())

    def _watch(self) -> None:
        """Look at the others until the work is over; end the process if the main thread hangs."""
        while not self._over.wait(PERIOD):
            try:
                self.failure = self._look()
            except Exception:
                self.failure = _ended(0, "has ended, or cannot be reached")
            if self.failure is not None:
                break
        if self._over.wait(GRACE_SECONDS) or self.failure is None:
            return
        if speaks():
            print_failure(self.failure, how_to_talk(command_line)["json"])
        for child in self._children():
            child.send_signal(signal.SIGKILL)
        os._exit(self.failure.exit_code)

    def _look(self) -> CvkitError | None:
        """Exchange news with the others; return the failure of one of them."""
        gone = self._gone_child()
        if self.store is None:
            if gone is not None and self.stop.number:
                leave(self.stop.number)
            return gone or (None if processes.parent_lives() else _ended(0, "has ended"))
        if self.store.check(["failed"]):
            about = json.loads(self.store.get("failed"))
            return None if about["rank"] == self.layout.rank else _failed(about)
        if self.stop.number:
            self.store.set("stop", str(self.stop.number))
        elif self.store.check(["stop"]):
            self.stop.follow(int(self.store.get("stop")))
        self._exchange_places()
        silent = self._silent()
        found = gone or silent
        if found is not None and self.is_first and not self.stop.number:
            about = found.as_json() | {"exit_code": found.exit_code, "rank": -1}
            self.store.compare_set("failed", "", json.dumps(about))
        return None if self.stop.number else found

    def _gone_child(self) -> CvkitError | None:
        for rank, child in self.children.items():
            code = child.poll()
            if code:
                if self.store is not None and self.store.check(["failed"]):
                    return _failed(json.loads(self.store.get("failed")))
                return _ended(rank, processes.ending_of(code))
        return None

    def _silent(self) -> CvkitError | None:
        """Give a sign of life, and return the failure of a process that has given none for long."""
        assert self.store is not None
        self._beat += 1
        self.store.set(f"alive/{self.layout.rank}", str(self._beat))
        now = time.monotonic()
        for rank in range(self.world) if self.is_first else (0,):
            name = f"alive/{rank}"
            beat = self.store.get(name) if self.store.check([name]) else b""
            if rank not in self._beats or self._beats[rank][0] != beat:
                self._beats[rank] = beat, now
            if now - self._beats[rank][1] > SILENT_SECONDS:
                return _ended(rank, f"has given no sign of life for {SILENT_SECONDS:.0f} s")
        return None

    def _exchange_places(self) -> None:
        """Write the places of the inputs that failed here, and read those of the others."""
        assert self.store is not None
        if len(self._own_places) != len(self.failed_places.get(self.layout.rank, ())):
            self.failed_places[self.layout.rank] = list(self._own_places)
            self.store.set(f"places/{self.layout.rank}", json.dumps(self._own_places))
            self.store.set("places", "some")
        if self.store.check(["places"]):
            for rank in range(self.world):
                name = f"places/{rank}"
                if rank != self.layout.rank and self.store.check([name]):
                    self.failed_places[rank] = json.loads(self.store.get(name))


def _ended(rank: int, how: str) -> MachineError:
    return MachineError(
        f"rank {rank} {how}",
        code="ranks.ended",
        hint="see its messages above, and the system's log if memory ran out",
    )


def _failed(about: dict[str, Any]) -> CvkitError:
    """Return the error that another process has published."""
    message = about["message"] if about["rank"] < 0 else f"rank {about['rank']}: {about['message']}"
    error = CvkitError(message, code=about["code"], hint=about["hint"])
    error.exit_code = about["exit_code"]
    return error


@contextlib.contextmanager
def joined(
    started: Started, stop: StopSignal, device: torch.device | None = None
) -> Iterator[Ranks]:
    """Yield the processes that work together, once all of them are here.

    An error in one of them ends the others.

    Args:
        started: by `processes.start`.
        stop: of this process; a signal to one of them stops all.
        device: on which they share gradients; None if they share none.

    Raises:
        MachineError: the others have not joined in time.
    """
    if started.layout.world == 1:
        yield Ranks(started.layout, stop)
        return
    ranks = _Joined(started, stop)
    failure: CvkitError | None = None
    try:
        ranks.join(
            started.address, "nccl" if device is not None and device.type == "cuda" else "gloo"
        )
        with processes.sharing_cores(started.layout):
            yield ranks
    except CvkitError as error:
        failure = error
        raise
    except Exception as error:
        failure = as_cvkit_error(error)
        raise
    except BaseException:
        failure = Interrupted("interrupted", signal_number=stop.number or signal.SIGINT)
        raise
    finally:
        ranks.leave(failure)
