"""Frames of videos as images: which ones, in which order, and whoever asks for them."""

import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from cvkit.data import video_frames
from cvkit.data.decode import main_pages
from cvkit.data.files import InputFile, list_inputs, walk_media
from cvkit.data.given import pixels_of, place_of, read_picture
from cvkit.data.unfolding import film_of, unfold
from cvkit.data.video import VideoIndex, all_frames, index_readable, index_video
from cvkit.data.video_frames import FrameReader, frames_at
from cvkit.errors import CvkitWarning, DataError

COUNT = 60


def noise(number):
    return np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video in which no two frames are alike, and its frames in order."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(COUNT):
        writer.write(noise(number))
    writer.release()
    frames = list(all_frames(path, index_video(path)))
    assert len(frames) == COUNT and len({frame.tobytes() for frame in frames}) == COUNT
    return path, frames


@pytest.fixture
def opened(monkeypatch):
    """The videos that were opened, one by one."""
    seen, real = [], video_frames.open_video

    def counting(path):
        seen.append(path)
        return real(path)

    monkeypatch.setattr(video_frames, "open_video", counting)
    return seen


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("threads", [1, 8])
def test_threads_decode_a_video_once(clip, opened, threads, step):
    path, frames = clip
    numbers = list(range(0, COUNT, step))
    reader = FrameReader(path, numbers)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(reader.read, numbers))
    assert all((found[n] == frames[number]).all() for n, number in enumerate(numbers))
    assert len(opened) == 1


def test_frames_in_any_order_are_right(clip):
    path, frames = clip
    reader, rng = FrameReader(path, list(range(COUNT))), random.Random(3)
    for number in [rng.randrange(COUNT) for _ in range(150)]:
        found = reader.read(number)
        assert (found == frames[number]).all()
        found[:] = 0  # what was handed out is the caller's


def test_a_frame_that_is_late_leaves_the_decoder_where_it_is(clip, opened, monkeypatch):
    path, frames = clip
    monkeypatch.setattr(video_frames, "RECENT_BYTES", 0)
    reader = FrameReader(path, list(range(COUNT)))
    for number in (40, 39, 41, 40, 42):
        assert (reader.read(number) == frames[number]).all()
    assert len(opened) == 1
    reader.read(0)
    assert (reader.read(1) == frames[1]).all() and len(opened) == 2


def test_few_videos_are_open_at_the_same_time(clip, opened):
    path, frames = clip
    readers = [FrameReader(path, list(range(COUNT))) for _ in range(8)]
    for number in range(3):
        for reader in readers:
            assert (reader.read(number) == frames[number]).all()
    assert sum(reader._video is not None for reader in readers) <= video_frames.OPEN
    assert sum(bool(reader._recent) for reader in readers) <= video_frames.OPEN


def test_a_frame_that_is_lost_fails_alone(clip):
    reader = FrameReader(clip[0], [*range(COUNT), 900])
    with pytest.raises(DataError, match=r"clip\.mp4#901 cannot be decoded") as caught:
        reader.read(900)
    assert caught.value.code == "video.truncated"


def index_of(times_ms):
    return VideoIndex(np.array(times_ms, float), (48, 64), len(times_ms))


@pytest.mark.parametrize(
    ("times_ms", "fps", "wanted"),
    [
        ([0, 100, 200, 300, 400, 500], 0, [0, 1, 2, 3, 4, 5]),
        ([0, 100, 200, 300, 400, 500], 5, [0, 2, 4]),
        ([0, 100, 200, 300, 400, 500], 4, [0, 2, 5]),  # at 0, 250 and 500 ms
        ([0, 100, 200, 300, 400, 500], 10, [0, 1, 2, 3, 4, 5]),
        ([0, 100, 200, 300, 400, 500], 1000, [0, 1, 2, 3, 4, 5]),  # each once
        ([0, 100, 200, 300, 400, 500], 0.1, [0]),
        ([40, 140, 240, 340], 5, [0, 2]),  # from its first frame on
        ([0, 10, 20, 900, 1000, 1990], 1, [0, 4]),  # by time, not by count
        ([7], 3, [0]),
    ],
)
def test_frames_are_chosen_by_their_times(times_ms, fps, wanted):
    assert frames_at(index_of(times_ms), fps).tolist() == wanted


@pytest.mark.parametrize("fps", [0, 5, 3, 0.3, 7, 100])
def test_used_frames_last_as_long_as_the_video(clip, fps):
    film, failure = film_of(InputFile(clip[0], "clip.mp4"), fps)
    assert failure is None
    assert len(film.frames) / film.fps == pytest.approx(COUNT / 10)
    assert [f.time_seconds for f in film.frames] == pytest.approx(
        [(f.number - 1) / 10 for f in film.frames]
    )
    assert [f.key for f in film.frames] == [f"clip.mp4#{f.number}" for f in film.frames]


def pages(path, count, **more):
    images = [Image.fromarray(noise(number)) for number in range(count)]
    images[0].save(path, save_all=True, append_images=images[1:], **more)


def test_a_folder_is_unfolded_in_order(clip, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clip.mp4").symlink_to(clip[0])
    pages(tmp_path / "stack.tif", 3)
    pages(tmp_path / "one.tif", 1)
    pages(tmp_path / "moving.gif", 4, duration=50)
    pages(tmp_path / "still.gif", 1)
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    (tmp_path / "broken.mp4").write_bytes(b"none")
    (tmp_path / "broken.tif").write_bytes(b"none")
    (tmp_path / "notes.txt").write_text("none")
    found = unfold(list_inputs([str(tmp_path)], walk=walk_media), 0.5)
    assert [image.key for image in found.images] == [
        *("a.png", "broken.tif", "moving.gif#1", "one.tif"),
        *("stack.tif#1", "stack.tif#2", "stack.tif#3", "still.gif"),
        *(f"sub/clip.mp4#{number}" for number in (1, 21, 41)),
    ]
    assert [film.file.key for film in found.films] == ["moving.gif", "sub/clip.mp4"]
    ((path, code),) = [(failure.path, failure.code) for failure in found.failures]
    assert (path, code) == ("broken.mp4", "video.unreadable")
    by_key = {image.key: image for image in found.images}
    assert (pixels_of(by_key["stack.tif#2"]) == noise(1)).all()
    assert (pixels_of(by_key["sub/clip.mp4#41"]) == clip[1][40]).all()
    assert place_of(by_key["a.png"]) == tmp_path / "a.png"
    assert place_of(by_key["stack.tif#2"]) is None is place_of(by_key["sub/clip.mp4#41"])


def test_single_frames_and_pages_may_be_named(clip, tmp_path):
    pages(tmp_path / "stack.tif", 3)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{clip[0]}#{n}\n" for n in (30, 4, 61, 0)))
    inputs = [f"{tmp_path}/stack.tif#3", f"@{listed}"]
    found = unfold(list_inputs(inputs, walk=walk_media))
    assert (pixels_of(found.images[0]) == noise(2)).all()
    assert [image.number for image in found.images[1:]] == [30, 4]
    assert [(pixels_of(i) == clip[1][i.number - 1]).all() for i in found.images[1:]] == [True] * 2
    assert {failure.code for failure in found.failures} == {"inputs.frame"}
    assert len(found.failures) == 2 and "60 frames" in found.failures[0].reason
    both = unfold(list_inputs([str(clip[0]), f"{clip[0]}#7"], walk=walk_media))
    assert [image.number for image in both.images] == list(range(1, COUNT + 1)), "each once"
    assert (read_picture(Path(f"{clip[0]}#60")) == clip[1][59]).all()


def cut(path, keep):
    """Cut off the end of an AVI file, whose header still promises all frames."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


@pytest.fixture
def half(tmp_path):
    path = tmp_path / "half.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(40):
        writer.write(noise(number))
    writer.release()
    cut(path, 0.5)
    return path


def test_a_damaged_video_gives_what_can_be_decoded_and_a_failure(half):
    index = index_readable(half)
    assert 10 < len(index) < 40 and index.header_frames == 40
    with pytest.raises(DataError, match=rf"{len(index)} of 40 frames can be decoded"):
        index_video(half)
    for _ in range(2):  # decoded, then from the cache
        found = unfold([InputFile(half, "half.avi")])
        assert len(found.images) == len(index)
        (failure,) = found.failures
        assert (failure.path, failure.code) == ("half.avi", "video.truncated")
        assert f"{len(index)} of 40 frames" in failure.reason


def test_smaller_copies_and_masks_are_no_pages(tmp_path):
    path = tmp_path / "pyramid.tif"
    kinds = (0, 1, 4, 0, 5)
    images = [Image.fromarray(noise(number)) for number in range(len(kinds))]
    for image, kind in zip(images, kinds, strict=True):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[254] = kind
        image.encoderinfo = {"tiffinfo": tags}
    images[0].save(
        path, save_all=True, append_images=images[1:], tiffinfo=images[0].encoderinfo["tiffinfo"]
    )
    assert main_pages(path) == [1, 4]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_that_are_no_videos_are_told_of(tmp_path, suffix):
    pages(tmp_path / f"a{suffix}", 3, duration=50, lossless=True)
    pages(tmp_path / f"b{suffix}", 1, lossless=True)
    found = unfold(list_inputs([str(tmp_path)], walk=walk_media))
    assert [image.key for image in found.images] == [f"a{suffix}", f"b{suffix}"]
    with pytest.warns(CvkitWarning, match="only the first picture is read"):
        assert (pixels_of(found.images[0]) == noise(0)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels_of(found.images[1])
