"""Videos as they are: what is decoded, sampled, refused; frames carry their number as stripes."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit.data import video as reader
from cvkit.data.classified import ClassifiedImage, read_collection
from cvkit.data.clips import (
    ClipDataset,
    ClipRule,
    FrameRule,
    clip_frames,
    part_of,
    places,
    random_place,
)
from cvkit.data.files import walk_videos
from cvkit.data.scan import scan_videos
from cvkit.data.synthetic.scenes import MOTIONS, make_motion
from cvkit.data.video import VideoIndex, index_video, read_frames
from cvkit.errors import DataError

KINDS = {".mp4": "mp4v", ".avi": "MJPG", ".mov": "mp4v", ".mkv": "MJPG"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number, size_wh=(64, 48)):
    """Eight stripes, one below the other, bright where the number has a bit."""
    bits = np.array([number >> bit & 1 for bit in range(8)], np.uint8) * 255
    place = np.arange(size_wh[1]) * 8 // size_wh[1]
    return np.broadcast_to(bits[place][:, None, None], (*size_wh[::-1], 3)).copy()


def numbers_of(frames):
    found = []
    for frame in frames:
        stripes = np.array_split(frame.mean((1, 2)), 8)
        found.append(sum(int(stripe.mean() > 127) << bit for bit, stripe in enumerate(stripes)))
    return found


def write(path, frames=40, size_wh=(64, 48), fps=10):
    """Write a video whose frames carry their numbers."""
    code = cv2.VideoWriter_fourcc(*KINDS.get(path.suffix, "mp4v"))
    writer = cv2.VideoWriter(str(path), code, fps, size_wh)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number, size_wh))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_frames_are_found_by_their_numbers(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    index = index_video(path)
    assert len(index) == 40 and index.size_hw == (48, 64)
    assert index.fps == pytest.approx(10, rel=0.02)
    wanted = [3, 39, 0, 3, 17]
    frames = read_frames(path, index, wanted)
    assert numbers_of(frames) == wanted
    assert frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8


def test_colours_are_rgb(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (10, 20, 220), np.uint8))  # OpenCV's BGR: red
    writer.release()
    (frame,) = read_frames(tmp_path / "a.avi", index_video(tmp_path / "a.avi"), [1])
    red, _, blue = frame.mean((0, 1))
    assert red > 180 and blue < 60


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_seek_gives_what_decoding_from_the_start_gives(tmp_path, suffix):
    path = write(tmp_path / f"long{suffix}", frames=250)
    index = index_video(path)
    for wanted in ([60, 70], [200, 210, 249], [249], [48]):
        sought = reader._seek_and_decode(path, index, wanted)
        plain = reader.decode_from_start(path, wanted)
        assert sorted(sought or plain) == wanted
        for number in wanted:
            assert np.array_equal((sought or plain)[number], plain[number])
        assert numbers_of([plain[n] for n in wanted]) == wanted
    assert reader._seek_and_decode(path, index, [200])  # it does seek


def test_a_wrong_seek_is_noticed(tmp_path):
    path = write(tmp_path / "long.mp4", frames=120)
    index = index_video(path)
    lying = VideoIndex(index.times_ms * 1.37 + 3, index.size_hw, index.header_frames)
    assert numbers_of(read_frames(path, lying, [100])) == [100]


def test_an_index_is_kept_and_made_anew_when_the_file_changes(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.mp4")
    first = index_video(path)
    assert len(list(cache.rglob("*.npz"))) == 1
    monkeypatch.setattr(reader, "_decode_all", lambda path: pytest.fail("decoded again"))
    again = index_video(path)
    assert np.array_equal(first.times_ms, again.times_ms) and again.size_hw == first.size_hw
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    write(path, frames=12)
    assert len(index_video(path)) == 12
    for file in cache.rglob("*.npz"):
        file.write_bytes(b"damaged")
    assert len(index_video(path)) == 12


def test_the_dataset_is_not_written_to(tmp_path, cache):
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(folder / "a.mp4")
    before = {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}
    read_frames(path, index_video(path), [3])
    assert {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")} == before


def test_times_of_a_gif_with_uneven_frames(tmp_path):
    """A variable frame rate: 100 ms a frame, then 400."""
    pictures = [Image.new("RGB", (32, 24), (n * 20,) * 3) for n in range(10)]
    path = tmp_path / "a.gif"
    durations = [100] * 5 + [400] * 5
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations)
    index = index_video(path)
    assert len(index) == 10
    assert np.diff(index.times_ms)[:4] == pytest.approx([100] * 4, abs=1)
    assert np.diff(index.times_ms)[5:] == pytest.approx([400] * 4, abs=1)
    # Five frames a second: of the first half every second frame, of the second one each twice.
    numbers, looped = clip_frames(index.times_ms, ClipRule(10, fps=5), 0.0)
    assert numbers.tolist() == [0, 2, 4, 5, 5, 6, 6, 7, 7, 8] and not looped


def test_rotation_flags_are_honoured(tmp_path):
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 255  # bright on the left
    for _ in range(4):
        writer.write(picture)
    writer.release()
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes later
    quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[place : place + 36] = struct.pack(">9i", *quarter)
    path.write_bytes(content)
    index = index_video(path)
    assert index.size_hw == (64, 48)
    (frame,) = read_frames(path, index, [2])
    assert frame.shape == (64, 48, 3)
    top, bottom = frame[:32].mean(), frame[32:].mean()
    assert abs(top - bottom) > 200  # the bright half is not at a side any more


def test_a_folder_of_pictures_is_a_video(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture(number, (32, 24))).save(folder / f"frame{number}.png")
    index = index_video(folder)
    assert len(index) == 12 and index.fps == pytest.approx(25)
    assert numbers_of(read_frames(folder, index, [10, 2])) == [10, 2]  # not by the alphabet
    Image.new("RGB", (64, 48)).save(folder / "frame5.png")
    assert read_frames(folder, index, [5])[0].shape == (24, 32, 3)


def broken(tmp_path, name):
    path = tmp_path / name
    if name == "empty.mp4":
        path.write_bytes(b"")
    elif name == "text.mp4":
        path.write_text("no video " * 100)
    elif name == "cut.mp4":
        path.write_bytes(write(tmp_path / "whole.mp4").read_bytes()[:-600])
    elif name == "cut.avi":
        whole = write(tmp_path / "whole.avi", frames=60, size_wh=(160, 120)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif name == "cut.mkv":
        whole = write(tmp_path / "whole.mkv", frames=60, size_wh=(160, 120)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif name == "none.avi":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
        writer.release()
    elif name == "playlist.mp4":
        write(tmp_path / "real.mp4")
        path.write_text(f"#EXTM3U\n#EXTINF:4,\n{tmp_path / 'real.mp4'}\n#EXT-X-ENDLIST\n")
    elif name == "concat.mp4":
        write(tmp_path / "real.mp4")
        path.write_text("ffconcat version 1.0\nfile real.mp4\n")
    elif name == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "name, codes",
    [
        ("empty.mp4", {"video.unreadable"}),
        ("text.mp4", {"video.unreadable"}),
        ("cut.mp4", {"video.unreadable", "video.zero_frames", "video.truncated"}),
        ("cut.avi", {"video.truncated"}),
        ("cut.mkv", {"video.truncated"}),
        ("none.avi", {"video.unreadable", "video.zero_frames"}),
        ("folder", {"video.zero_frames"}),
        ("playlist.mp4", {"video.unreadable"}),
        ("concat.mp4", {"video.unreadable"}),
        ("missing.mp4", {"video.unreadable"}),
    ],
)
def test_broken_videos_are_named(tmp_path, name, codes):
    path = broken(tmp_path, name)
    with pytest.raises(DataError) as caught:
        index_video(path)
    assert caught.value.code in codes and str(path) in str(caught.value)


@pytest.mark.parametrize("size_wh", [(65, 49), (63, 48)])
def test_odd_sizes_are_read(tmp_path, size_wh):
    path = tmp_path / "odd.gif"
    first, *rest = (Image.fromarray(picture(number, size_wh)) for number in range(5))
    first.save(path, save_all=True, append_images=rest, duration=100)
    index = index_video(path)
    frames = read_frames(path, index, [0, 4])
    assert frames[0].shape[:2] == index.size_hw == size_wh[::-1]
    assert numbers_of(frames) == [0, 4]


def times(count, fps=25):
    return np.arange(count) * 1000.0 / fps


@pytest.mark.parametrize(
    "count, rule, place, wanted, looped",
    [
        (20, ClipRule(4), 0, [0, 1, 2, 3], False),
        (20, ClipRule(4), 1, [16, 17, 18, 19], False),
        (20, ClipRule(4, stride=3), 0.5, [5, 8, 11, 14], False),
        (5, ClipRule(8), 0.5, [0, 1, 2, 3, 4, 0, 1, 2], True),
        (1, ClipRule(3), 1, [0, 0, 0], True),
        (16, ClipRule(4, "uniform"), 0.5, [2, 6, 10, 14], False),
        (16, ClipRule(4, "uniform"), 0, [0, 4, 8, 12], False),
        (16, ClipRule(4, "uniform"), 1, [3, 7, 11, 15], False),
        (2, ClipRule(4, "uniform"), 0.5, [0, 0, 1, 1], True),
        (50, ClipRule(4, fps=5), 0, [0, 5, 10, 15], False),
        (50, ClipRule(4, fps=5), 1, [34, 39, 44, 49], False),
        (10, ClipRule(4, fps=5), 0, [0, 5, 0, 5], True),
        (50, ClipRule(3, fps=3), 0, [0, 8, 16], False),
    ],
)
def test_clips_are_made_of_these_frames(count, rule, place, wanted, looped):
    found = clip_frames(times(count), rule, place)
    assert (found[0].tolist(), found[1]) == (wanted, looped)


def test_clips_of_evaluation_begin_as_torchvisions_do():
    """floor(linspace(0, last, k)) over the possible clips."""
    count, span = 33, 16
    starts = [clip_frames(times(count), ClipRule(span), p)[0][0] for p in places(5)]
    assert starts == np.floor(np.linspace(0, count - span, 5)).astype(int).tolist()
    assert places(1) == [0.5]


@pytest.mark.parametrize("seed", range(20))
def test_frame_numbers_never_leave_the_video(seed):
    rng = np.random.default_rng(seed)
    gaps = rng.choice([20.0, 40.0, 41.3, 300.0], int(rng.integers(1, 60)))
    times_ms = np.concatenate([[rng.uniform(0, 50)], gaps]).cumsum()
    for sampling in ("clip", "uniform"):
        for fps in (0.0, 3.0, 30.0):
            rule = ClipRule(int(rng.integers(1, 40)), sampling, int(rng.integers(1, 5)), fps)
            for place in (0.0, 0.3, 1.0):
                numbers, _ = clip_frames(times_ms, rule, place)
                assert len(numbers) == rule.frames
                assert numbers.min() >= 0 and numbers.max() < len(times_ms)


def test_parts_are_cut_by_time(tmp_path):
    index = VideoIndex(times(50, 10), (4, 4), 50)
    assert part_of(index, (1.0, 2.0), tmp_path) == slice(10, 20)
    assert part_of(index, (4.5, float("inf")), tmp_path) == slice(45, 50)
    with pytest.raises(DataError, match="no frame between 9 and 10 seconds"):
        part_of(index, (9.0, 10.0), tmp_path)


def test_a_video_whose_clock_does_not_begin_at_0_is_cut_alike(tmp_path):
    later = VideoIndex(times(50, 10) + 700, (4, 4), 50)
    assert part_of(later, (1.0, 2.0), tmp_path) == slice(10, 20)
    assert part_of(later, None, tmp_path) == slice(0, 50)
    for rule in (ClipRule(4, fps=5), ClipRule(4, stride=3), ClipRule(4, "uniform")):
        for place in (0, 0.4, 1):
            plain, moved = (clip_frames(t, rule, place) for t in (times(50), times(50) + 700))
            assert np.array_equal(plain[0], moved[0]) and plain[1] == moved[1]


@pytest.mark.parametrize("shift", [0.0, 700.0])
@pytest.mark.parametrize(
    ("seconds", "first", "frames"), [(None, 0, 40), ((1.0, float("inf")), 10, 30), ((1, 3), 10, 20)]
)
def test_clips_of_a_part_lie_in_it_and_say_where(
    tmp_path, monkeypatch, shift, seconds, first, frames
):
    """Frames and seconds count from the beginning of the video, wherever its part begins."""
    path = write(tmp_path / "a.avi", frames=40)
    index = VideoIndex(times(40, 10) + shift, (48, 64), 40)
    for place in ("clips", "given"):
        monkeypatch.setattr(f"cvkit.data.{place}.index_video", lambda _: index)
    item = ClassifiedImage("a.avi", path, "a", seconds)
    sample = ClipDataset([item], ["a"], ClipRule(8), FrameRule(48, (48,)), clips=3).read(0)
    spare = frames - 8
    starts = [first, first + spare // 2, first + spare]
    assert [numbers_of(view)[0] for view in sample.image] == starts
    assert sample.video.starts == pytest.approx([start / 10 for start in starts])
    # What is said of the part itself is in the file's own clock.
    ends = [(100 * number + shift) / 1000 for number in (first, first + frames - 1)]
    assert sample.video.seconds == pytest.approx(ends)
    assert (sample.video.frames, sample.video.header_frames) == (frames, 40)
    training = ClipDataset([item], ["a"], ClipRule(8), FrameRule(48, (48,)), 1, still)
    seen = {numbers_of(training.read(0, seed).image)[0] for seed in range(60)}
    assert min(seen) < first + 4 and max(seen) > first + spare - 4
    assert all(first <= start <= first + spare for start in seen)


def test_training_begins_at_every_frame_that_leaves_room_alike():
    rng, rule = np.random.default_rng(0), ClipRule(4, stride=2)
    starts = [clip_frames(times(11), rule, random_place(11, rule, rng))[0][0] for _ in range(1000)]
    assert np.bincount(starts).tolist() == pytest.approx([200] * 5, abs=40)
    assert random_place(5, ClipRule(8), rng) <= 1  # none is left, and the video is repeated
    for rule in (ClipRule(4, "uniform"), ClipRule(4, fps=5)):
        drawn = np.array([random_place(11, rule, rng) for _ in range(1000)])
        assert np.histogram(drawn, 4, (0, 1))[0].tolist() == pytest.approx([250] * 4, abs=50)


@pytest.fixture
def dataset(tmp_path):
    """train and val of two classes; some videos in several forms."""
    root = tmp_path / "data"
    for split in ("train", "val"):
        for label in ("dark", "light"):
            folder = root / split / label
            folder.mkdir(parents=True)
            write(folder / "one.mp4", frames=20)
            write(folder / "two (copy)+.avi", frames=24)
    pictures = root / "train" / "dark" / "three"
    pictures.mkdir()
    for number in range(9):
        Image.fromarray(picture(number)).save(pictures / f"{number:03d}.jpg")
    (root / "train" / "dark" / "notes.txt").write_text("nothing")
    return root


def test_classes_are_folders_of_videos(dataset):
    data = read_collection(dataset, "auto", ["train", "val"], None, walk_videos)
    assert data.names == ("dark", "light")
    keys = [video.key for video in data.splits["train"]]
    dark = ["train/dark/one.mp4", "train/dark/two (copy)+.avi", "train/dark/three"]
    assert sorted(keys[:3]) == sorted(dark) and len(keys) == 5
    scan = scan_videos(data.splits["train"])
    assert not scan.defects and sorted(f for f, _ in scan.lengths) == [9, 20, 20, 24, 24]


def test_a_table_names_parts_of_videos(dataset):
    table = dataset / "clips.csv"
    table.write_text(
        "path,label,split,start,end\n"
        "train/dark/one.mp4,dark,train,0,1\n"
        "train/dark/one.mp4,light,train,1,\n"
        "val/light/one.mp4,light,val,,\n"
    )
    data = read_collection(table, "auto", ["train", "val"], None, walk_videos)
    first, second = data.splits["train"]
    assert first.seconds == (0, 1) and second.seconds == (1, float("inf"))
    rule, frame = ClipRule(4, "uniform"), FrameRule(48, (48,))
    for item, wanted in ((first, [1, 3, 6, 8]), (second, [11, 13, 16, 18])):
        sample = ClipDataset([item], data.names, rule, frame).read(0)
        assert numbers_of(sample.image[0]) == wanted
        assert sample.video.frames == 10
    assert data.splits["val"][0].seconds is None


@pytest.mark.parametrize("cells", ["2,1", "a,b", "-1,3"])
def test_parts_that_are_none_are_refused(dataset, cells):
    table = dataset / "clips.csv"
    table.write_text(f"path,label,start,end\ntrain/dark/one.mp4,dark,{cells}\n")
    with pytest.raises(DataError, match="is not a part of a video"):
        read_collection(table, "auto", ["train"], 0.5, walk_videos)


def test_views_are_clips_times_crops(tmp_path):
    path = write(tmp_path / "wide.mp4", frames=40, size_wh=(128, 64))
    item = ClassifiedImage("wide.mp4", path, "a")
    data = ClipDataset([item], ["a"], ClipRule(8), FrameRule(32, (32,), crops=3), clips=4)
    sample = data.read(0)
    assert len(data) == 1 and sample.image.shape == (12, 8, 32, 32, 3)
    assert [numbers_of(view)[0] for view in sample.image[::3]] == [0, 10, 21, 32]
    assert sample.video.starts == pytest.approx((0, 1.0, 2.1, 3.2))
    assert not sample.video.looped and sample.video.frames == 40


def test_crops_come_from_the_ends_of_the_longer_side():
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64], wide[:, 64:] = 100, 200
    rule = FrameRule(32, (32,), crops=3)
    assert [int(v.mean()) for v in rule.views([wide])] == [0, 100, 200]
    high = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert [int(v.mean()) for v in rule.views([high])] == [0, 100, 200]
    assert FrameRule(32, (40, 50)).views([wide]).shape == (1, 1, 32, 32, 3)


def still(clip, seed):
    """A transform that does nothing."""
    return clip


def test_training_clips_are_a_function_of_their_seed(tmp_path):
    path = write(tmp_path / "a.mp4", frames=40)
    item = ClassifiedImage("a.mp4", path, "a")
    data = ClipDataset([item], ["a"], ClipRule(8), FrameRule(48, (48,)), 3, still, reverse=0.5)
    assert len(data) == 3 and data.key(2) == "a.mp4"
    seen = {}
    for seed in range(40):
        numbers = numbers_of(data.read(0, seed).image)
        assert numbers == numbers_of(data.read(1, seed).image)
        assert np.array_equal(np.abs(np.diff(numbers)), [1] * 7)
        seen[seed] = tuple(numbers)
    forward = sum(numbers[0] < numbers[-1] for numbers in seen.values())
    assert 8 < forward < 32 and len(set(seen.values())) > 20
    starts = {min(numbers) for numbers in seen.values()}
    assert min(starts) < 6 and max(starts) > 26


def test_single_frames_of_the_samples_do_not_tell_the_motion():
    """Over many clips, place and size of the shape are distributed alike in every motion."""
    table = {name: [] for name in MOTIONS}
    for index in range(7 * 60):
        scene, motion = make_motion(5, index)
        assert motion == MOTIONS[index % 7]
        frame = scene.render(index // 7 % 16)
        y, x = np.nonzero(frame.visible == 0)
        table[motion].append((x.mean(), y.mean(), len(x)))
    means = np.array([np.mean(rows, 0) for rows in table.values()])
    spread = np.std([row for rows in table.values() for row in rows], 0)
    assert (np.abs(means - means.mean(0)) < 4 * spread / np.sqrt(60)).all()


@pytest.mark.parametrize("number", range(7))
def test_clips_show_the_motion_that_they_are_named_after(number):
    scene, motion = make_motion(2, number)
    shown = [scene.render(frame).visible == 0 for frame in (0, 5, 15)]
    (y0, x0), (_, _), (y1, x1) = (np.argwhere(mask).mean(0) for mask in shown)
    sizes = [mask.sum() for mask in shown]
    moved = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(motion, (0, 0))
    assert np.allclose([x1 - x0, y1 - y0], np.array(moved) * 0.4 * 64, atol=2.5)
    factor = {"grows": np.exp(1.6), "shrinks": np.exp(-1.6)}.get(motion, 1.0)
    assert sizes[2] / sizes[0] == pytest.approx(factor, rel=0.25)
    if moved == (0, 0) and factor == 1:
        assert (shown[0] ^ shown[1]).sum() > 0.1 * sizes[0]  # turned by 45 degrees


@pytest.fixture
def clips():
    place = os.environ.get("CVKIT_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("CVKIT_DATA does not name the folder of real data")
    return Path(place) / "video"


def test_real_containers_are_decoded_to_their_last_frame(clips):
    data = read_collection(clips, "auto", ["train", "val"], None, walk_videos)
    videos = [video for split in data.splits.values() for video in split]
    scan = scan_videos(videos)
    assert not scan.defects and len(scan.lengths) == 52
    assert scan.differing == 6
    for video in videos:  # some give their last frames without a time
        assert (np.diff(index_video(video.path).times_ms) > 0).all(), video.key
    for video in videos[::7]:
        index = index_video(video.path)
        last = read_frames(video.path, index, [len(index) - 1])[0]
        assert last.shape[:2] == index.size_hw
