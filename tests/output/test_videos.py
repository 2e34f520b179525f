"""Marked videos: they play, are large enough, and the words do not hide the picture."""

import cv2
import numpy as np
import pytest

from cvkit.output.canvas import Canvas
from cvkit.output.videos import write_marked_video


def decoded(path):
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert video.isOpened()
    frames = []
    while True:
        more, frame = video.read()
        if not more:
            return frames, video.get(cv2.CAP_PROP_FPS)
        frames.append(frame[..., ::-1])


@pytest.mark.parametrize("size_hw", [(64, 64), (61, 97), (240, 320), (481, 643)])
def test_marked_videos_play_and_show_the_whole_picture(tmp_path, size_hw):
    height, width = size_hw
    slope = np.linspace(0, 200, width).astype(np.uint8)
    frames = np.zeros((6, height, width, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[..., 0], frame[..., 2] = slope, 40 * number
    path = tmp_path / "new" / "v.mp4"
    write_marked_video(path, frames, 12.5, ["Größe 0.93", "a very long name " * 30])
    shown, fps = decoded(path)
    assert len(shown) == 6 and fps == pytest.approx(12.5)
    for number, frame in enumerate(shown):
        picture = Canvas(frames[number]).picture
        high, wide = (side // 2 * 2 for side in picture.shape[:2])
        assert frame.shape[1] == wide and frame.shape[0] > high
        assert min(wide, high) >= 478
        seen, meant = frame[: high - 8].astype(int), picture[: high - 8, :wide].astype(int)
        assert np.abs(seen - meant).mean() < 6, "nothing is written over it"
        strip = frame[picture.shape[0] + 2 :]
        assert (strip < 90).any() and np.median(strip) > 240
        assert (strip[:, -4:] > 200).all(), "long names are shortened, not cut"


def test_a_video_without_words_is_the_video(tmp_path):
    write_marked_video(tmp_path / "v.mp4", np.full((3, 480, 640, 3), 90, np.uint8), 25, [])
    shown, _ = decoded(tmp_path / "v.mp4")
    assert len(shown) == 3
    assert np.abs(shown[2][:470].astype(int) - 90).max() < 6
