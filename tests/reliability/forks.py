"""Commands in forks of a process that has imported everything: a kill costs a tenth of a second.

`Commands.start` returns a `Running` command, which can be killed, signalled and waited for; what
it printed and how much memory it took beyond its parent are in the `Ended` that `wait` returns.
"""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import cvkit
from cvkit import cli
from cvkit.early import answer_signals

LONGEST = 300
"""Seconds after which a command counts as hung."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative for the number of the signal that killed it.
        out, err: what it printed.
        seconds: of a processor that it took, however busy the machine is.
        wall: seconds that passed.
        grown: bytes of memory that it took at its peak, beyond what it began with.
    """

    code: int
    out: str
    err: str
    seconds: float
    wall: float
    grown: int

    @property
    def json(self) -> Any:
        return json.loads(self.out.strip().splitlines()[-1])


class Running:
    """A command in a process group that is led by a fork of this process."""

    def __init__(self, act: Callable[[], int], ready: Callable[[], object] = lambda: None) -> None:
        self.started, self.ended = time.monotonic(), None
        self._out = tempfile.TemporaryFile("w+b")  # noqa: SIM115, closed when it has ended
        self._err = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal waits until the fork answers it, as `python -m cvkit` does from its first line.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        self.pid = os.fork()
        if not self.pid:
            self._run(act, ready, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(self.pid, self.pid)

    def _run(self, act: Callable[[], int], ready: Callable[[], object], mask: set[Any]) -> None:
        code = 99
        try:
            os.setpgid(0, 0)
            for number, stream in ((1, self._out), (2, self._err)):
                os.dup2(stream.fileno(), number)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(io.FileIO(number, "w", closefd=False), write_through=True)
                for number in (1, 2)
            )
            ready()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = act()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                # As the interpreter would: it joins every process that is left.
                import multiprocessing.util

                multiprocessing.util._exit_function()
            os._exit(code)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.ended is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._finish(status, usage)
        return self.ended is None

    def _finish(self, status: int, usage: Any) -> None:
        wall = time.monotonic() - self.started
        texts = []
        for stream in (self._out, self._err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
            stream.close()
        grown = max(0, usage.ru_maxrss * 1024 - _BASE[0])
        seconds = usage.ru_utime + usage.ru_stime
        self.ended = Ended(os.waitstatus_to_exitcode(status), *texts, seconds, wall, grown)

    def send(self, number: int) -> None:
        """Send the command itself a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> Ended:
        """Kill the command and all that it has started."""
        self.kill_group()
        return self.wait()

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = LONGEST) -> Ended:
        """Wait for its end.

        Raises:
            AssertionError: it has not ended after so many seconds, or has left children.
        """
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                self.kill_group()
                os.waitpid(self.pid, 0)
                raise AssertionError(f"still there after {seconds} s")
            time.sleep(0.003)
        left = True
        for _ in range(400):  # children of a killed process need a moment
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                left = False
                break
            time.sleep(0.005)
        if left:
            self.kill_group()
        assert not left or self.ended.code < 0, "children are left"
        return self.ended


_BASE = [0]
"""Bytes that a fork has at its peak if it does nothing."""


def import_everything() -> None:
    """Import what commands need, so that forks have it."""
    for module in pkgutil.walk_packages(cvkit.__path__, "cvkit."):
        if module.name != "cvkit.__main__":
            with contextlib.suppress(ImportError):  # of an optional package
                importlib.import_module(module.name)
    torch.set_num_threads(1)  # a fork would not take threads along
    _BASE[0] = 0
    _BASE[0] = Running(lambda: 0).wait().grown


def start(arguments: Sequence[object], prepare: Callable[[], object] = lambda: None) -> Running:
    """Start a command line in a fork; `prepare` is called in it before."""

    words = [str(argument) for argument in arguments]

    def act() -> int:
        prepare()
        return cli.run(words)

    return Running(act, lambda: answer_signals(words))


def run(arguments: Sequence[object], prepare: Callable[[], object] = lambda: None) -> Ended:
    """Run a command line in a fork."""
    return start(arguments, prepare).wait()


@contextlib.contextmanager
def told(command: Sequence[object]) -> Iterator[None]:
    """Name the command in what fails."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"of {' '.join(ascii(str(word)[:80]) for word in command)}")
        raise


def at_most(kind: int, amount: int) -> Callable[[], None]:
    """Return what sets a limit of the operating system for a fork."""
    return lambda: resource.setrlimit(kind, (amount, amount))


def say_well(ended: Ended) -> None:
    """Check that a command that failed says so as people can use it.

    At most five lines, no traceback, an exit code of the table.
    """
    assert ended.code in (2, 3, 4, 5, 6, 130, 143), (ended.code, ended.err)
    assert "Traceback" not in ended.err, ended.err
    errors = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert len(errors) <= 5, ended.err
