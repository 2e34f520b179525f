"""MPEG program streams store no number of frames: that one breaks off shows in its packets."""

import cv2
import numpy as np
import pytest

from cvkit.data.video import index_video
from cvkit.data.video_ends import damage_at_end
from cvkit.errors import DataError

CODES = {"a.mpg": "PIM1", "b.mpeg": "mp2v", "c.mpg": "mp2v"}


def written(path, frames=40, size=(96, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODES[path.name]), 25.0, size)
    rng = np.random.default_rng(1)
    for _ in range(frames):
        writer.write(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("frames", [12, 25, 40])
def test_a_program_stream_that_breaks_off_is_named(tmp_path, name, frames):
    path = tmp_path / name
    content = written(path, frames)
    assert damage_at_end(path) == ""
    assert len(index_video(path)) == frames
    half = len(content) // 2
    for cut in (half, half // 2048 * 2048, half + 3, half + 11, 2048 * 7 + 100, -2048, -2500):
        path.write_bytes(content[:cut])
        assert damage_at_end(path) == "it breaks off", cut
    with pytest.raises(DataError, match="it breaks off") as caught:
        index_video(path)
    assert caught.value.code == "video.truncated"


def test_a_stream_with_an_end_is_whole(tmp_path):
    path = tmp_path / "a.mpg"
    content = written(path)
    cut = content[: len(content) // 2048 // 2 * 2048]
    for end in (b"\x00\x00\x01\xb9", content[-2048:]):
        path.write_bytes(cut + end)
        assert damage_at_end(path) == ""


def test_other_files_are_left_to_their_decoders(tmp_path):
    path = tmp_path / "x.mpg"
    for content in (b"", b"\x00\x00\x01\xb3" + bytes(99), b"\x1a\x45\xdf\xa3", b"text" * 9):
        path.write_bytes(content)
        assert damage_at_end(path) == ""
