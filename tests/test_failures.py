"""What ends a command from outside has the exit code of its kind, and one line."""

import errno
import warnings
from concurrent.futures.process import BrokenProcessPool

import pytest

from cvkit import cli
from cvkit.errors import CvkitError, CvkitWarning


@pytest.mark.parametrize(
    "error, code, words",
    [
        (BrokenProcessPool("a process in the pool ended abruptly"), 6, "--workers 0"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 6, "--workers 0"),
        (MemoryError(), 6, "--batch-size"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "/dev/shm"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 6, "--batch-size"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt(15), 143, "interrupted"),
        (ZeroDivisionError("division by zero"), 1, "this is a bug in cvkit"),
    ],
)
def test_a_failure_is_one_line_with_its_exit_code(cvkit, monkeypatch, error, code, words):
    def fail(name):
        raise error

    monkeypatch.setattr(cli, "resolve", fail)
    done = cvkit("models", "--json")
    assert done.code == code
    assert words in done.err and len(done.err.strip().splitlines()) == 1
    assert done.json["ok"] is False


def test_a_message_shows_what_files_hold_as_it_is_and_no_more():
    text = "a\x1b[31m\u2028b\rcaf\u00e9 \udcff" + "x" * 9000
    error = CvkitError(text, code="x", hint="do\x07" + "y" * 9000, details=["next\n", "z" * 9000])
    first, second, third = error.shown().split("\n")
    assert first.startswith("a\\x1b[31m\\u2028b\\rcaf\u00e9 \\udcffxxx")
    assert second == "next\\n"
    assert third.startswith("zzz") and "(do\\x07yyy" in third
    assert len(first) < 1100 and first.count(" ... ") == 1
    assert len(third) < 2200 and third.count(" ... ") == 2


def test_a_bus_error_is_told_as_what_it_is(cvkit, monkeypatch):
    torchs = "DataLoader worker (pid(s) 7) is killed by signal: Bus error. It is possible that"

    def fail(name):
        raise RuntimeError(torchs)

    monkeypatch.setattr(cli, "resolve", fail)
    done = cvkit("models")
    assert done.code == 6 and "/dev/shm" in done.err and "--workers 0" in done.err


def test_a_warning_of_cvkit_is_one_line(cvkit, monkeypatch):
    def warn(name):
        warnings.warn("shared memory is small", CvkitWarning, stacklevel=1)
        return lambda *_: 0

    monkeypatch.setattr(cli, "resolve", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cvkit("models").err == "warning: shared memory is small\n"
