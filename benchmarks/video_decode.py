"""Decoding videos: frames a second of cvkit's reader, of plain OpenCV and of PyAV, alternating.

Measures the first look at each file (every frame is decoded, none is converted), all frames as RGB,
and a clip of 16 frames from the end of each file, sought and decoded from the start. PyAV, which
cvkit does not need, is measured where it is installed.

    python benchmarks/video_decode.py FOLDER [ROUNDS]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2

from cvkit.data import video
from cvkit.data.files import walk_videos

try:
    import av  # type: ignore[import-not-found]  # optional
except ImportError:
    av = None


def plain(path: Path) -> int:
    """Decode a file as most programs do; return the number of frames."""
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.read()[0]:
        count += 1
    return count


def pyav(path: Path, convert: bool) -> int:
    """Decode a file with PyAV and FFmpeg's threads, its pictures into RGB if asked."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if convert:
                frame.to_ndarray(format="rgb24")
            count += 1
    return count


def main() -> None:
    """Measure, and print medians over the rounds."""
    folder = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    paths = [path for path in walk_videos(folder) if path.is_file()]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        indices = {path: video.index_video(path) for path in paths}
        frames = sum(len(index) for index in indices.values())

        def last(path: Path, sought: bool) -> None:
            wanted = range(len(indices[path]))[-16:]
            if sought:
                video.read_frames(path, indices[path], wanted)
            else:
                video.decode_from_start(path, list(wanted))

        legs = {
            "plain OpenCV, all frames": (frames, plain),
            "cvkit, first look": (frames, video._decode_all),
            "cvkit, all frames": (
                frames,
                lambda p: sum(1 for _ in video.all_frames(p, indices[p])),
            ),
            "last 16, from the start": (16 * len(paths), lambda p: last(p, False)),
            "last 16, sought": (16 * len(paths), lambda p: last(p, True)),
        }
        if av is not None:
            legs["PyAV, first look"] = (frames, lambda p: pyav(p, False))
            legs["PyAV, all frames"] = (frames, lambda p: pyav(p, True))
        found: dict[str, list[float]] = {name: [] for name in legs}
        for _ in range(rounds):
            for name, (_, leg) in legs.items():
                start = time.perf_counter()
                for path in paths:
                    leg(path)
                found[name].append(time.perf_counter() - start)
    print(f"{len(paths)} videos, {frames} frames")
    for name, (count, _) in legs.items():
        seconds = statistics.median(found[name])
        print(f"{name}: {seconds:.2f} s, {count / seconds:.0f} frames/s")


if __name__ == "__main__":
    main()
