"""Files are written whole or not at all; folders are numbered, never reused."""

import os
import stat

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


def test_a_full_folder_or_a_file_is_not_claimed(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="--overwrite"):
        storage.claim_output_folder(tmp_path / "full", reuse=False)
    storage.claim_output_folder(tmp_path / "full", reuse=True)
    with pytest.raises(UsageError, match="is a file"):
        storage.claim_output_folder(tmp_path / "full" / "x", reuse=True)
    with pytest.raises(UsageError, match="not a folder"):
        storage.claim_output_folder(tmp_path / "full" / "x" / "y", reuse=False)
    storage.claim_output_folder(tmp_path / "new" / "deep", reuse=False)
    assert (tmp_path / "new" / "deep").is_dir()


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
