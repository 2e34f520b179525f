"""What ends a command from outside has the exit code of its kind, and one line."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from cvkit import cli


@pytest.mark.parametrize(
    "error, code, words",
    [
        (BrokenProcessPool("a process in the pool ended abruptly"), 6, "--workers 0"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 6, "--workers 0"),
        (MemoryError(), 6, "--batch-size"),
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
