"""Without a place for caches everything works, and it is said once."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cvkit import storage
from cvkit.catalog import TASKS
from cvkit.data import video
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.proposals import search_images
from cvkit.data.synthetic import cache, samples
from cvkit.data.synthetic.cache import cached_samples
from cvkit.data.video import index_video
from cvkit.models import weights
from cvkit.structures import Instances


def no_home(monkeypatch, tmp_path):
    def fail():
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", fail)


def a_file(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))


def read_only(monkeypatch, tmp_path):
    cache, real = tmp_path / "cache", os.mkdir

    def mkdir(path, *more, **named):
        if Path(path).is_relative_to(cache):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, *more, **named)

    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(os, "mkdir", mkdir)


def full(monkeypatch, tmp_path):
    """There is a folder, but nothing can be written into it."""
    cache, real = tmp_path / "cache", os.open
    for name in ("videos", "proposals", "samples", "weights", "checked"):
        (cache / "cvkit" / name).mkdir(parents=True)

    def refuse(path, flags, *more, **named):
        if flags & os.O_CREAT and Path(path).is_relative_to(cache):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(os, "open", refuse)  # what Path.touch calls
    monkeypatch.setattr(np, "savez", lambda path, **_: refuse(path, os.O_CREAT))
    monkeypatch.setattr(np, "savez_compressed", lambda path, **_: refuse(path, os.O_CREAT))


@pytest.fixture(params=[no_home, a_file, read_only, full], ids=lambda f: f.__name__)
def no_cache(request, monkeypatch, tmp_path):
    storage.passing_folder.cache_clear()
    request.param(monkeypatch, tmp_path)
    yield
    storage.passing_folder.cache_clear()


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (40, 32))
    for shade in range(6):
        writer.write(np.full((32, 40, 3), 40 * shade, np.uint8))
    writer.release()
    return path


def test_a_video_is_decoded_once_without_a_cache(clip, no_cache, monkeypatch):
    assert storage.cache_trouble("videos")
    first = index_video(clip)
    assert len(first) == 6

    def refuse(path):
        raise AssertionError("decoded again")

    monkeypatch.setattr(video, "_decode_all", refuse)
    assert np.array_equal(index_video(clip).times_ms, first.times_ms)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4" + b"x" * 99, b"x" * 200])
def test_damaged_files_in_the_cache_are_made_anew(clip, tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    looks = (lambda: len(index_video(clip)), lambda: len(searched(tmp_path)))
    first = [look() for look in looks]
    places = list((tmp_path / "cache").rglob("*.npz"))
    assert len(places) == 2
    for place in places:
        place.write_bytes(content)
    assert [look() for look in looks] == first
    assert all(place.stat().st_size > 200 for place in places)


def searched(tmp_path):
    """Return the regions of an image."""
    pixels = np.zeros((24, 30, 3), np.uint8)
    pixels[6:18, 8:20] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    truth = Instances(np.zeros((0, 4)), np.zeros(0, int))
    image = AnnotatedImage("a.png", tmp_path / "a.png", image_id=1, truth=truth, size_wh=(30, 24))
    found = search_images([image], mode="fast", workers=0, on_step=lambda done, words: None)
    return found.get("a.png", ())


def test_regions_are_searched_without_a_cache(tmp_path, no_cache):
    """Images whose regions could not be kept were left out as if they were unreadable."""
    assert len(searched(tmp_path)) > 0


@pytest.mark.parametrize("task", TASKS)
def test_built_in_samples_are_made_without_a_cache(no_cache, monkeypatch, task):
    monkeypatch.setitem(cache.CACHED, task, ((7, 7), (32, 32)))
    folder = cached_samples(task)
    assert folder.is_relative_to(storage.passing_folder("samples"))
    assert (folder / "samples.json").is_file() and cached_samples(task) == folder


def test_weights_are_downloaded_for_one_run_without_a_cache(no_cache, monkeypatch):
    monkeypatch.delenv("CVKIT_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere")
    calls, said = [], []

    def download(url, target, **_):
        calls.append(url)
        Path(target).write_bytes(b"x")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(weights, "verified", lambda path: path)
    entry = SimpleNamespace(url="https://example.org/net-0123abcd.pth", meta={"_file_size": 1})
    first = weights.fetched(entry, offline=False, say=said.append)
    assert first == storage.passing_folder("weights") / "net-0123abcd.pth" and first.is_file()
    assert weights.fetched(entry, offline=False, say=said.append) == first
    assert len(calls) == len(said) == 1 and "for this run only: " in said[0]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """An input of each task."""
    root = tmp_path_factory.mktemp("inputs")
    for task in TASKS:
        samples.WRITERS[task](root / task, {"val": 1}, seed=1, size_hw=(32, 32))
    return root


@pytest.mark.parametrize("task", TASKS)
def test_predict_needs_no_cache_and_says_so_once(
    cvkit, run_of, inputs, task, monkeypatch, tmp_path
):
    run = run_of(task)
    read_only(monkeypatch, tmp_path)
    flags = ("--weights", run, "--out", tmp_path / "out", "--workers", 0)
    for more in ((), ("--resume",)):
        done = cvkit(task, "predict", inputs / task, *flags, *more)
        assert done.code == 0, done.err
        assert done.err.count("warning: ") == (task == "video")
        assert ("cannot be cached" in done.err) == (task == "video")
    assert not (tmp_path / "out" / "failures.jsonl").read_text()
