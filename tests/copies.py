"""Processes that run the command line as new ones, without importing the large libraries again.

They are copies of one process that has imported all of cvkit and done nothing else, so unlike
copies of the tests' process they have every thread that a library starts at its first use.
"""

import contextlib
import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import traceback
from types import ModuleType
from unittest import mock

import cvkit

HANGS_SECONDS = 240
"""Seconds after which a copy counts as hung."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        module.name
        for module in pkgutil.walk_packages(cvkit.__path__, "cvkit.")
        if module.name != "cvkit.__main__"
    ]
)


class Copy:
    """The command line in a copy, with the methods of `subprocess.Popen` that tests use.

    Args:
        arguments: of the command line.
        environment: all variables of the process.
        folder: for what it prints.
        together: the ranks that it starts are copies of it.
    """

    def __init__(self, arguments, environment, folder, together=False):
        self.files = [folder / f"{name}.txt" for name in ("stdout", "stderr")]
        given = [str(argument) for argument in arguments]
        paths = [str(path) for path in self.files]
        self.process = CONTEXT.Process(
            target=_work, args=(given, dict(environment), paths, together), daemon=False
        )
        for path in self.files:
            path.touch()
        # A copy would otherwise import what runs the tests.
        with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=HANGS_SECONDS):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("cvkit", timeout)
        return self.process.exitcode

    def communicate(self, timeout=HANGS_SECONDS):
        """Wait for the end; return what was printed on stdout and on stderr."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self.files)
        return out, err

    def kill(self):
        self.process.kill()

    def send_signal(self, number):
        os.kill(self.pid, number)


def _work(arguments, environment, paths, together):
    """Be the command line, as far as a test can tell."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), number)
    if together:
        from cvkit.engine import processes

        processes.start_process = Forked
    sys.argv = ["cvkit", *arguments]
    runpy.run_module("cvkit", run_name="__main__")


def forked(act):
    """Return the number of a process that is a copy of this one, and ends with the code of `act`.

    A process in which ranks have worked together, with their threads, cannot be copied safely, so
    they never work in the process of the tests.
    """
    pid = os.fork()
    if pid == 0:
        code = 99
        signal.alarm(HANGS_SECONDS)  # which ends the process, and so the test
        try:
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


class Forked:
    """A rank that is a copy of the first one, which has imported everything."""

    prepare = staticmethod(lambda rank: None)

    def __init__(self, arguments, variables):
        from cvkit import cli

        def work():
            os.environ.update(variables)
            Forked.prepare(int(variables["RANK"]))
            return cli.run(arguments)

        self.pid, self.code = forked(work), None

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
