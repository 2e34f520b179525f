"""Files are written whole or not at all; folders are numbered, never reused."""

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

import pytest

from cvkit import storage
from cvkit.errors import MachineError, UsageError


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_content(tmp_path, monkeypatch, operation):
    path = tmp_path / "file.txt"
    storage.write_file(path, "old")

    def crash(*_):
        raise Crash(operation)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, crash)
        with pytest.raises(Crash):
            storage.write_file(path, "new, and longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    storage.write_file(path, "new")
    assert path.read_text() == "new"


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path, monkeypatch
):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def named(source, target):
        done.append(f"name {os.path.basename(target)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    storage.write_file(tmp_path / "a.txt", "content")
    storage.write_json_list(tmp_path / "b.json", [1])
    assert done == [
        *("content", "name a.txt", "folder"),
        *("content", "name b.json", "folder"),
    ]


def test_a_stream_that_breaks_off_leaves_the_old_content(tmp_path):
    path = tmp_path / "rows.json"
    storage.write_json_list(path, range(3))
    assert path.read_text() == "[0, 1, 2]\n"

    def rows():
        yield 1
        assert path.read_text() == "[0, 1, 2]\n", "the new content is elsewhere until it is whole"
        raise Crash

    with pytest.raises(Crash):
        storage.write_json_list(path, rows())
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json_list(path, [1, float("nan")])
    assert path.read_text() == "[0, 1, 2]\n"
    assert list(tmp_path.iterdir()) == [path]
    storage.write_json_list(path, [])
    assert path.read_text() == "[]\n"


def test_what_a_kill_left_behind_is_removed(tmp_path):
    (tmp_path / ".best.safetensors.123.tmp").write_text("half")
    (tmp_path / "best.safetensors").write_text("whole")
    storage.remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_json_is_strict(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_folders_are_numbered_above_all_that_exist(tmp_path):
    names = [storage.new_numbered_folder(tmp_path / "runs", "a-b").name for _ in range(2)]
    assert names == ["a-b-001", "a-b-002"]
    (tmp_path / "runs" / "a-b-0999").mkdir()
    (tmp_path / "runs" / "a-b-notes").mkdir()
    assert storage.new_numbered_folder(tmp_path / "runs", "a-b").name == "a-b-1000"


def test_a_full_folder_or_a_file_is_no_place_for_output(tmp_path):
    def claim(folder, reuse):
        with storage.output_folder(folder, reuse=reuse, say=pytest.fail):
            assert folder.is_dir()

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="--overwrite"):
        claim(tmp_path / "full", reuse=False)
    claim(tmp_path / "full", reuse=True)
    with pytest.raises(UsageError, match="is a file"):
        claim(tmp_path / "full" / "x", reuse=True)
    with pytest.raises(UsageError, match="not a folder"):
        claim(tmp_path / "full" / "x" / "y", reuse=False)
    claim(tmp_path / "new" / "deep", reuse=False)
    (tmp_path / "new" / "deep" / storage.LOCK).touch()  # of a process that was killed
    claim(tmp_path / "new" / "deep", reuse=False)
    assert not list((tmp_path / "new" / "deep").iterdir())


@pytest.fixture
def fork():
    """Fork a process that calls a function and then waits; return its number."""
    children = []

    def start(function):
        here, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                function(lambda: os.write(there, b"."))
            except UsageError as error:
                os.write(there, str(error).encode())
            finally:
                os._exit(0)
        os.close(there)
        children.append(child)
        with os.fdopen(here, "rb") as pipe:
            return child, pipe.read(200 if function.__name__ == "ask" else 1).decode()

    yield start
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def test_a_folder_is_held_by_one_process_only_and_its_kill_lets_go(tmp_path, fork):
    def hold(ready):
        with storage.held(tmp_path, pytest.fail):
            ready()
            signal.pause()

    def ask(ready):
        with storage.held(tmp_path, pytest.fail):
            ready()

    holder, said = fork(hold)
    assert said == "."
    told = f"{tmp_path} is in use by process {holder}"
    told += " (wait until it ends, or choose another folder)"
    assert fork(ask)[1] == told
    with pytest.raises(UsageError, match=f"process {holder} "), storage.held(tmp_path, pytest.fail):
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert (tmp_path / storage.LOCK).is_file()
    assert fork(ask)[1] == "."
    assert not list(tmp_path.iterdir())


def test_a_lock_does_not_outlive_its_process_in_a_child(tmp_path, fork):
    """A process that decodes images may be killed later than the one that trains."""

    def hold(ready):
        with storage.held(tmp_path, pytest.fail):
            if not os.fork():
                signal.alarm(20)
                ready()
                signal.pause()
            signal.pause()

    holder, _ = fork(hold)
    with pytest.raises(UsageError), storage.held(tmp_path, pytest.fail):
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    with storage.held(tmp_path, pytest.fail):
        pass


def test_a_child_that_leaves_the_block_does_not_unlock_it(tmp_path):
    try:
        with storage.held(tmp_path, pytest.fail):
            child = os.fork()
            if not child:
                raise Crash
            os.waitpid(child, 0)
            with pytest.raises(UsageError), storage.held(tmp_path, pytest.fail):
                pass
    except Crash:
        os._exit(0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = []
    with storage.held(tmp_path, said.append):
        assert len(said) == 1
        assert f"{tmp_path} cannot be locked" in said[0]
    assert not list(tmp_path.iterdir())


def test_a_number_that_another_process_takes_first_is_left_to_it(tmp_path, monkeypatch):
    real, others = Path.mkdir, []

    def mkdir(folder, *args, **more):
        if folder.name == "a-001" and not others:
            others.append(folder)
            os.mkdir(folder)
        real(folder, *args, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert storage.new_numbered_folder(tmp_path, "a").name == "a-002"
    assert others == [tmp_path / "a-001"]


def test_processes_that_start_runs_at_once_get_folders_of_their_own(tmp_path):
    go, started = os.pipe()
    children = []
    for _ in range(8):
        children.append(os.fork())
        if not children[-1]:
            try:
                os.close(started)
                os.read(go, 1)  # all of them at the moment when the other end is closed
                for _ in range(10):
                    folder = storage.new_numbered_folder(tmp_path / "runs", "a")
                    (folder / str(os.getpid())).touch(exist_ok=False)
            finally:
                os._exit(0)
    os.close(started)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    os.close(go)
    folders = list((tmp_path / "runs").iterdir())
    assert {folder.name for folder in folders} == {f"a-{n:03d}" for n in range(1, 81)}
    assert all(len(list(folder.iterdir())) == 1 for folder in folders)


def test_the_disks_refusal_names_path_and_free_space(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(MachineError, match=r"x\.txt: the disk is full \(\d+ MiB free\)") as caught:
        storage.write_file(tmp_path / "x.txt", "x")
    assert caught.value.exit_code == 6


def test_numbers_are_compared_as_numbers(tmp_path):
    for name in ("run-999", "run-1000", "run-x"):
        (tmp_path / name).mkdir()
    assert storage.new_numbered_folder(tmp_path, "run").name == "run-1001"
