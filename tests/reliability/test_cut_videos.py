"""MPEG program streams store no number of frames: that one breaks off shows in its last picture."""

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
def test_a_program_stream_that_breaks_off_is_named(tmp_path, name):
    path = tmp_path / name
    content = written(path)
    assert damage_at_end(path) == ""
    assert len(index_video(path)) == 40
    noticed = 0
    for cut in (len(content) // 2, len(content) // 2 // 2048 * 2048, 2048 * 7 + 100, -3000):
        path.write_bytes(content[:cut])
        noticed += damage_at_end(path) == "its last picture breaks off"
    assert noticed == 4
    with pytest.raises(DataError, match="its last picture breaks off") as caught:
        index_video(path)
    assert caught.value.code == "video.truncated"


def test_other_videos_have_no_such_pictures(tmp_path):
    """Start codes of another codec mean something else, whatever the suffix."""
    path = tmp_path / "x.mpg"
    path.write_bytes(b"\x00\x00\x01\xba" + bytes(14) + b"\x00\x00\x01\x00\x00\x00\x01\x05" * 9)
    assert damage_at_end(path) == ""
