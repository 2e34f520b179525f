"""Streams that are closed, full or without a reader: the exit code and the messages stay right."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from cvkit import early
from cvkit.config import assemble
from cvkit.engine import processes, runtime
from cvkit.errors import MachineError, UsageError, as_cvkit_error
from cvkit.options.base import Train
from cvkit.options.tree import options_of
from cvkit.storage import machine_errors, require_writable

MISTAKE = ("segment", "train", "--no-such", "--json")


def shell(arguments, redirections, **environment):
    """Run the command line with its streams redirected by a shell."""
    command = f'"$0" -m cvkit {" ".join(arguments)} {redirections}'
    return subprocess.run(
        ["sh", "-c", command, sys.executable],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_neither_exit_code_nor_output(closed):
    done = shell(MISTAKE, closed)
    assert done.returncode == 2
    assert ("2>&-" in closed) == (done.stderr == "")
    if " >&-" in f" {closed}":
        assert done.stdout == ""
    else:
        (line,) = done.stdout.splitlines()
        assert json.loads(line)["error"]["code"] == "usage"


@pytest.mark.parametrize("arguments", [("samples", "out", "--count", "2"), ("--help",)])
def test_a_full_stdout_is_the_machines_failure(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = shell(arguments, ">/dev/full", PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 6
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "No space left on device" in line


def test_a_mistake_keeps_its_exit_code_where_nothing_can_be_written():
    assert shell(MISTAKE, ">/dev/full 2>/dev/full").returncode == 2


def test_a_full_stderr_does_not_end_the_work(tmp_path):
    done = shell(("samples", str(tmp_path / "out"), "--count", "2"), "2>/dev/full", CVKIT_EPOCS="1")
    assert done.returncode == 0
    assert done.stdout.split() == [str(tmp_path / "out")]


def test_a_warning_without_a_reader_ends_as_any_other_output(tmp_path):
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run(
        [sys.executable, "-m", "cvkit", "samples", tmp_path / "out", "--count", "2"],
        stdout=subprocess.PIPE,
        stderr=there,
        env=os.environ | {"CVKIT_EPOCS": "1"},
    )
    os.close(there)
    assert done.returncode == 141


@pytest.fixture
def leaving(monkeypatch, capfd):
    """Send a stop signal's handler two signals; return exit code, stdout and stderr."""

    class Left(BaseException):
        pass

    def leave(code):
        raise Left(code)

    def call(*arguments, number=signal.SIGINT):
        early.answer_signals(arguments)
        monkeypatch.setattr(os, "_exit", leave)
        stop = runtime.StopSignal()
        stop._handle(number, None)
        with pytest.raises(Left) as left:
            stop._handle(number, None)
        return left.value.args[0], *capfd.readouterr()

    monkeypatch.setattr(early, "_answer", early._Answer())
    return call


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_is_answered(leaving, number, code):
    assert leaving("segment", "train", number=number) == (code, "", "error: interrupted\n")
    found, out, err = leaving("segment", "train", "--json", number=number)
    assert (found, err) == (code, "error: interrupted\n")
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_a_signal_after_the_answer_adds_nothing(leaving, monkeypatch, capfd):
    early.answer_signals(["--json"])
    early.print_failure(UsageError("x", code="y"), as_json=True)
    assert len(capfd.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(early, "answer_signals", lambda arguments: None)
    assert leaving("--json") == (130, "", "")


@pytest.mark.parametrize(("rank", "speaks"), [("0", True), ("1", False), ("x", True), ("", True)])
def test_only_a_rank_above_0_is_silent(monkeypatch, rank, speaks):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert early.speaks() == speaks


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (errno.ENAMETOOLONG, 2, "this name is too long"),
        (errno.EACCES, 2, "permission denied"),
        (errno.EFBIG, 6, "the file size limit is reached"),
        (errno.EMFILE, 6, "too many files are open"),
        (errno.ENFILE, 6, "too many files are open on this machine"),
        (errno.EDQUOT, 6, "the disk quota is used up"),
        (errno.EROFS, 6, "the file system is read-only"),
        (errno.EIO, 6, "the disk reported an error"),
    ],
)
def test_what_the_operating_system_refuses_is_no_bug(number, code, text):
    found = as_cvkit_error(OSError(number, os.strerror(number), "some/file"))
    assert found.exit_code == code
    assert str(found).startswith(f"some/file: {text} (")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_where_the_user_may_not_write_is_a_wrong_out(tmp_path, number):
    with pytest.raises(UsageError, match="choose another --out"), machine_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(MachineError), machine_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "instance", "video"])
def test_training_asks_before_it_reads_data_whether_it_may_write(
    cvkit, tmp_path, monkeypatch, task
):
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    done = cvkit(task, "train", "--data", "/nowhere", "--out", tmp_path / "a" / "b")
    assert done.code == 2
    assert f"cannot write {tmp_path / 'a' / 'b'}: {tmp_path} is not writable" in done.err
    require_writable(tmp_path.parent)


@pytest.mark.parametrize("path", [("segment", "train"), ("classify", "eval"), ("video", "predict")])
def test_a_device_is_no_configuration(path, tmp_path):
    for place in ("/dev/null", tmp_path):
        with pytest.raises(UsageError, match=f"{place} is not a file"):
            assemble(options_of(path), {"config": type(tmp_path)(place)}, {})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_more_processes_than_cores_are_refused_before_they_start(monkeypatch, device):
    monkeypatch.setattr(processes, "start_process", lambda *_: pytest.fail("processes start"))
    cores = processes.cores()
    with pytest.raises(UsageError, match=f"--devices {cores + 1} exceeds the number of cores"):
        processes.start(Train(device=device, devices=cores + 1))


def test_a_signal_after_that_of_another_rank_is_the_first(monkeypatch):
    monkeypatch.setattr(runtime, "leave", lambda number: pytest.fail("it leaves at once"))
    stop = runtime.StopSignal()
    stop.follow(signal.SIGTERM)
    stop._handle(signal.SIGINT, None)
    assert stop.number == signal.SIGINT
