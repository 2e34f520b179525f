"""Trained models as Python objects."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import torch

from cvkit.api.inputs import Media, inputs_of, read_inputs
from cvkit.api.results import KINDS, failed
from cvkit.data.files import InputFile
from cvkit.data.given import GivenImage
from cvkit.data.video_frames import VideoFrame
from cvkit.engine.loader import read_sample, stack
from cvkit.engine.processes import cores
from cvkit.errors import DataError, UsageError
from cvkit.options.base import Predict
from cvkit.structures import Failure, Sample
from cvkit.tasks.common import required
from cvkit.tasks.contract import Dataset
from cvkit.tasks.engine_choice import use_engine
from cvkit.tasks.trained import Trained, load_trained


class Predictor:
    """Predicts images or videos; made by `cvkit.load`."""

    def __init__(self, trained: Trained, batch_size: int, fps: float = 0.0) -> None:
        self._trained, self._batch_size, self._fps = trained, batch_size, fps

    @property
    def task(self) -> str:
        """Name of the task, such as `segment`."""
        return self._trained.task.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in index order."""
        return self._trained.task.classes.names

    def predict(
        self, images: Media | Iterable[Media], *, errors: Literal["raise", "return"] = "raise"
    ) -> Any:
        """Return the result of an image or a video, or those of several.

        Image tasks also take paths of videos and of TIFF files with several pages: their frames or
        pages are images in order. `cvkit.load(..., fps=2)` uses two frames per second. A video is
        decoded once before, to index its frames.

        Args:
            images: one image (or video), or several. One is a path, an image of Pillow, an array
                (HWC RGB uint8, HW grey; THWC for videos) or a tensor (CHW, TCHW; uint8, or floating
                point from 0 to 1). Arrays and tensors with one more dimension are several.
            errors: `raise`: the first input that cannot be read ends the call; `return`: a
                `cvkit.api.results.Failed` takes the place of its result.

        Returns:
            For one, its `cvkit.api.results.Result`; for a list, tuple or array of several, a list
            of them in order; for any other iterable, an iterator that reads as many inputs as a
            batch has (`cvkit.load(..., batch_size=8)`) before it yields their results. So does one
            path that holds several images.

        Raises:
            DataError: an input cannot be read, with `errors="raise"`.
            UsageError: something that is none of these.
        """
        if errors not in ("raise", "return"):
            raise UsageError(
                f"predict: errors={errors!r} is unknown",
                code="predict.errors",
                hint="'raise' or 'return'",
            )
        given = inputs_of(images, self._trained.task.dimensions)
        results = self._results(given.items, errors == "return")
        if given.single:
            return next(results)
        return list(results) if given.listed else results

    def _results(self, items: Iterable[Any], keep_failures: bool) -> Iterator[Any]:
        task = self._trained.task
        inputs = read_inputs(items, task.dimensions, self._fps)
        with ThreadPoolExecutor(cores(), "read") as readers:
            while chunk := list(itertools.islice(inputs, self._batch_size)):
                read = [item for item in chunk if not isinstance(item, Failure)]
                results = iter(self._predicted(task.source(read), readers) if read else [])
                for item in chunk:
                    found = item if isinstance(item, Failure) else next(results)
                    if isinstance(found, Failure):
                        if not keep_failures:
                            raise DataError(found.reason, code=found.code)
                        yield failed(found)
                    else:
                        yield self._made(item, *found)

    @torch.inference_mode()
    def _predicted(
        self, data: Dataset, readers: ThreadPoolExecutor
    ) -> list[tuple[Any, Sample] | Failure]:
        """Return the results of some inputs with their samples, or why there is none."""
        trained, keys = self._trained, [(index, 0) for index in range(len(data))]
        found: list[tuple[Any, Sample] | Failure] = []
        for item in stack(list(readers.map(partial(read_sample, data), keys))):
            if isinstance(item, Failure):
                found.append(item)
                continue
            with trained.fabric.autocast():
                results = trained.task.predict(trained.model, item.to(trained.fabric.device))
            for result, sample in zip(results, item.samples, strict=True):
                found.append(result if isinstance(result, Failure) else (result, sample))
        return found

    def _made(self, item: Any, result: Any, sample: Sample) -> Any:
        task, kind = self._trained.task, KINDS.get(type(result))
        if kind is None:
            return result
        size_hw, draw = required(sample.geometry).original_hw, partial(_drawn, task, item)
        moment = (sample.frame, sample.time_seconds)
        return kind(item.key, size_hw, task.classes.names, task.classes, result, draw, *moment)


def _drawn(task: Any, item: Any, result: Any) -> Any:
    if isinstance(item, VideoFrame):  # its reader has gone on
        pixels = item.reader.recent(item.number - 1)
        path = InputFile(item.path, item.key)
        item = path if pixels is None else GivenImage(pixels, item.key)
    return task.plot(result, item)


def load_predictor(weights: str, task: str, options: Predict) -> Predictor:
    """Return a predictor of a task that `cvkit.tasks.naming.task_of` knows; see `cvkit.load`."""
    trained = load_trained(weights, options, task)
    use_engine(options.engine, trained, None, options.batch_size)  # how many come is not known
    return Predictor(trained, options.batch_size, getattr(options, "fps", 0.0))
