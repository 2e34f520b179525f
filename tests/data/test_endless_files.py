"""Pipes and devices, which may have no end, are refused before they are opened."""

import os
import threading

import pytest

from cvkit import texts
from cvkit.data.boxes import read_boxes
from cvkit.data.files import list_inputs
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.yolo import find_yaml
from cvkit.data.proposals import read_proposals
from cvkit.data.tables import read_rows
from cvkit.data.transforms.pipelines import load_pipeline
from cvkit.errors import CvkitError, UsageError
from cvkit.texts import read_json, read_lines, read_text
from cvkit.yaml_files import MOST_BYTES, read_yaml

READERS = {
    "text": ("a.txt", read_text),
    "lines": ("a.txt", lambda path: read_lines(path, area="split")),
    "json": ("a.json", read_json),
    "yaml": ("a.yaml", read_yaml),
    "table": ("a.csv", lambda path: read_rows(path, ["path"])),
    "coco": ("a.json", lambda path: read_coco(path, None, path.parent)),
    "proposals, npz": ("a.npz", read_proposals),
    "proposals, json": ("a.json", read_proposals),
    "pipeline, yaml": ("a.yaml", lambda path: load_pipeline(path, ["none"])),
    "pipeline, json": ("a.json", lambda path: load_pipeline(path, ["none"])),
}
"""Name of a file, and what reads it."""


@pytest.fixture
def pipe(tmp_path):
    """Returns a function that makes a pipe, and a list that gets those that were opened."""
    opened, waiting, done = [], [], threading.Event()

    def write(path):
        while not done.is_set():
            writing = os.open(path, os.O_WRONLY)  # waits until somebody reads
            opened.append(path)
            os.close(writing)

    def make(path):
        os.mkfifo(path)
        waiting.append((path, threading.Thread(target=write, args=(path,), daemon=True)))
        waiting[-1][1].start()
        return path

    yield make, opened
    done.set()
    for path, thread in waiting:
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go on
        thread.join()
        os.close(reading)


@pytest.mark.parametrize("name", READERS)
def test_pipes_are_not_opened(pipe, tmp_path, name):
    (make, opened), (file, read) = pipe, READERS[name]
    with pytest.raises(CvkitError, match=r"is not a (regular )?file"):
        read(make(tmp_path / file))
    assert not opened


@pytest.mark.parametrize("name", READERS)
def test_devices_are_not_read(tmp_path, name):
    file, read = READERS[name]
    (tmp_path / file).symlink_to("/dev/null")  # one that ends, should it be read
    with pytest.raises(CvkitError, match=r"is not a (regular )?file"):
        read(tmp_path / file)


def test_an_annotation_that_is_a_pipe_is_a_defect(pipe, tmp_path):
    make, opened = pipe
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    make(tmp_path / "Annotations" / "a.xml")
    found = read_boxes(tmp_path, "voc", ["all"])
    assert {defect.code for defect in found.defects} >= {"xml.not_a_file"}
    assert not opened


def test_pipes_in_a_folder_are_not_opened_to_recognise_it(pipe, tmp_path):
    make, opened = pipe
    make(tmp_path / "data.yaml")
    make(tmp_path / "more.json")
    assert find_yaml(tmp_path) is None
    assert not opened
    with pytest.raises(CvkitError):
        read_boxes(tmp_path, "auto", ["train"])
    assert not opened


def test_a_list_of_inputs_may_be_a_pipe_but_no_device(tmp_path):
    (tmp_path / "a.jpg").touch()
    reading, writing = os.pipe()
    os.write(writing, f"{tmp_path / 'a.jpg'}\n".encode())
    os.close(writing)
    (file,) = list_inputs([f"@/dev/fd/{reading}"])
    os.close(reading)
    assert file.path == tmp_path / "a.jpg"
    with pytest.raises(UsageError, match="the list /dev/null is a device"):
        list_inputs(["@/dev/null"])


def test_a_text_that_is_too_large_is_refused(tmp_path):
    place = tmp_path / "a.yaml"
    place.write_bytes(b"#" * MOST_BYTES)
    assert read_yaml(place) is None
    place.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(CvkitError, match="is larger than 1 MB"):
        read_yaml(place)


def test_a_pipe_that_may_be_read_waits_for_its_writer_but_not_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    os.mkfifo(path)
    monkeypatch.setattr(texts, "PIPE_SECONDS", 0.2)
    with pytest.raises(CvkitError, match="nothing was written to the pipe"):
        read_text(path, pipes=True)
    monkeypatch.setattr(texts, "PIPE_SECONDS", 30)

    def write():
        with path.open("wb") as stream:  # waits until somebody reads
            for _ in range(3):
                stream.write(b"x" * 100_000)

    writing = threading.Timer(0.1, write)
    writing.start()
    assert read_text(path, pipes=True) == "x" * 300_000
    writing.join()
