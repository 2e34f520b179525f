"""The images inside the files given to predict: frames of videos and pages of TIFF files.

Every other image is its file. Animated GIF files are videos.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvkit.data.decode import main_pages, page_count
from cvkit.data.files import InputFile, is_video
from cvkit.data.given import no_such_frame
from cvkit.data.pages import page_of, page_path
from cvkit.data.video import VideoIndex, damaged, index_readable
from cvkit.data.video_frames import FrameReader, VideoFrame, frames_at
from cvkit.errors import CvkitError, DataError
from cvkit.structures import Failure

STACKS = (".tif", ".tiff")
"""Suffixes of files that may have several pages."""
FILES_AT_ONCE = 64
"""Files whose pages are counted together."""


@dataclass(frozen=True)
class Film:
    """A video whose frames are predicted.

    Attributes:
        file: the video.
        index: of it.
        frames: those that are used, in order.
    """

    file: InputFile
    index: VideoIndex
    frames: Sequence[VideoFrame]

    @property
    def fps(self) -> float:
        """Frames per second at which the used frames last as long as the video."""
        return self.index.fps * len(self.frames) / len(self.index)


@dataclass
class Unfolded:
    """Images, in the order of the files.

    Attributes:
        images: one by one.
        films: the videos among the files.
        failures: what cannot be read of the videos, at all or in part.
    """

    images: list[Any] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def unfold(
    files: Sequence[InputFile],
    fps: float = 0.0,
    on_video: Callable[[int], None] = lambda done: None,
) -> Unfolded:
    """Return the images inside files.

    A damaged video is a failure, and the frames that can be decoded are images. Files whose header
    is unusable are kept as they are: the error is reported when they are read.

    Args:
        files: as `list_inputs` returns them.
        fps: frames to use per second of a video, see `frames_at`; 0: all.
        on_video: called after each video with the number of videos that are done.
    """
    made, readers, done = Unfolded(), _readers(files), 0
    for file, pages in _with_pages(files):
        inner, number = page_of(file.path)
        if number is not None and inner in readers:
            _add_frame(made, file, readers[inner], number)
        elif is_moving(file.path):
            _add_film(made, file, fps)
            done += 1
            on_video(done)
        elif pages is not None:
            made.images += (
                InputFile(page_path(file.path, page), f"{file.key}#{page}") for page in pages
            )
        else:
            made.images.append(file)
    once = {image.key: image for image in made.images}  # a frame may be named beside its video
    made.images = list(once.values())
    return made


def _with_pages(files: Sequence[InputFile]) -> Iterator[tuple[InputFile, list[int] | None]]:
    """Yield each file with the numbers of its pages; None for a single image."""
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(files), FILES_AT_ONCE):
            some = files[first : first + FILES_AT_ONCE]
            yield from zip(some, pool.map(lambda file: pages_of(file.path), some), strict=True)


def pages_of(path: Path) -> list[int] | None:
    """Return the numbers of the pages of a file that has several; else None."""
    if path.suffix.lower() not in STACKS:
        return None
    try:
        pages = main_pages(path)
    except CvkitError:
        return None
    return pages if len(pages) > 1 else None


def holds_several(path: Path) -> bool:
    """Return whether a file holds several images: a video, or pages."""
    return is_moving(path) or pages_of(path) is not None


def is_moving(path: Path) -> bool:
    """Return whether a file is a video; a GIF with one picture is an image."""
    if not is_video(path) or path.suffix.lower() != ".gif":
        return is_video(path)
    try:
        return page_count(path) > 1
    except CvkitError:
        return False


def film_of(file: InputFile, fps: float = 0.0) -> tuple[Film, Failure | None]:
    """Return a video with its frames, and what is missing of it.

    Raises:
        DataError: no frame can be decoded.
    """
    index = index_readable(file.path)
    numbers = frames_at(index, fps).tolist()
    reader = FrameReader(file.path, numbers)
    film = Film(file, index, [_frame(file, index, reader, n) for n in numbers])
    if not index.damage:
        return film, None
    error = damaged(file.path, index)
    return film, Failure(file.key, error.code, str(error))


def _frame(file: InputFile, index: VideoIndex, reader: FrameReader, number: int) -> VideoFrame:
    seconds = float(index.times_ms[number]) / 1000
    return VideoFrame(reader, f"{file.key}#{number + 1}", number + 1, seconds, index.size_hw)


def _add_film(made: Unfolded, file: InputFile, fps: float) -> None:
    try:
        film, failure = film_of(file, fps)
    except DataError as error:
        made.failures.append(Failure(file.key, error.code, str(error)))
        return
    made.images += film.frames
    made.films.append(film)
    if failure is not None:
        made.failures.append(failure)


def _readers(files: Sequence[InputFile]) -> dict[Path, FrameReader]:
    """Return the readers of the videos of which single frames are named."""
    named: dict[Path, set[int]] = {}
    for file in files:
        video, number = page_of(file.path)
        if number is not None and is_moving(video):
            named.setdefault(video, set()).add(max(0, number - 1))
    return {video: FrameReader(video, sorted(numbers)) for video, numbers in named.items()}


def _add_frame(made: Unfolded, file: InputFile, reader: FrameReader, number: int) -> None:
    """Add a frame that was named by itself."""
    try:
        index = index_readable(reader.path)
        if not 1 <= number <= len(index):
            raise no_such_frame(file.path, index)
    except DataError as error:
        made.failures.append(Failure(file.key, error.code, str(error)))
        return
    seconds = float(index.times_ms[number - 1]) / 1000
    made.images.append(VideoFrame(reader, file.key, number, seconds, index.size_hw))
