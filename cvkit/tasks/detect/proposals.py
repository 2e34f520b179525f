"""Proposals for the detectors that do not make their own."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage, trainable
from cvkit.data.division import ALL
from cvkit.data.formats.contract import DataFlags
from cvkit.data.proposals import (
    Proposals,
    inside_image,
    search_images,
    write_proposals,
)
from cvkit.engine.processes import cores
from cvkit.engine.runtime import StopSignal
from cvkit.errors import UsageError
from cvkit.metrics.coverage import coverage
from cvkit.models.detection.rcnn import RCNN
from cvkit.ops.proposals import selective_search
from cvkit.options.detect import DetectProposals
from cvkit.structures import Batch, Instances
from cvkit.tasks.checking import warn_of_cache
from cvkit.tasks.common import data_place, required, truth_of
from cvkit.tasks.contract import PostFit
from cvkit.tasks.detect.network import Network
from cvkit.tasks.detect.setup import checked_splits


def proposals_for(
    images: Sequence[AnnotatedImage],
    place: Path | None,
    mode: str,
    report: Reporter,
    bits: int | None,
) -> dict[str, np.ndarray]:
    """Return the [R, 4] proposals of images by key, read or searched, clipped to the image.

    Args:
        images: with their sizes.
        place: file or folder that `--proposals` names; None searches.
        mode: of selective search.
        report: for progress.
        bits: see `cvkit.data.decode.read_image`.

    Raises:
        DataError: the file is unusable or lacks an image.
    """
    if place is not None:
        found = Proposals(place).of([image.key for image in images])
    else:
        warn_of_cache("proposals", report)
        with report.progress("selective search", len(images)) as advance:
            workers = cores() if len(images) > 1 else 0
            found = search_images(images, mode=mode, workers=workers, on_step=advance, bits=bits)
    sizes = {image.key: image.size_wh for image in images}
    return {key: _inside(boxes, sizes[key]) for key, boxes in found.items()}


def _inside(boxes: np.ndarray, size_wh: tuple[int, int] | None) -> np.ndarray:
    """Return boxes clipped to an image if its size is known."""
    return boxes if size_wh is None else inside_image(boxes, size_wh[::-1])


class Searcher:
    """Finds the proposals of single images.

    Args:
        place: file or folder that `--proposals` names; None searches.
        mode: of selective search.
    """

    def __init__(self, place: Path | None, mode: str) -> None:
        self.mode = mode
        self.known = None if place is None else Proposals(place)

    def __call__(self, key: str, image: np.ndarray) -> np.ndarray:
        """Return the [R, 4] proposals of an image.

        Raises:
            DataError: the file lacks it, or it matches several.
        """
        if self.known is None:
            boxes = selective_search(image, self.mode)
        else:
            boxes = self.known.of([key])[key]
        return inside_image(boxes, image.shape[:2])


def find_proposals(
    network: Network,
    splits: Mapping[str, list[AnnotatedImage]],
    place: Path | None,
    mode: str,
    report: Reporter,
    bits: int | None,
) -> Mapping[str, np.ndarray] | None:
    """Return the proposals of all images by key; None for a network that makes its own.

    Args:
        network: that uses them.
        splits: the images.
        place: what `--proposals` names; None searches.
        mode: of selective search.
        report: for progress.
        bits: see `cvkit.data.decode.read_image`.

    Raises:
        UsageError: `--proposals` for a network that makes its own.
        DataError: the file is unusable or lacks an image.
    """
    if not network.needs_proposals:
        _refuse_proposals(network, place)
        return None
    images = [image for split in splits.values() for image in split]
    return proposals_for(images, place, mode, report, bits)


def _refuse_proposals(network: Network, place: Path | None) -> None:
    """Raise a UsageError if `--proposals` names a place."""
    if place is not None:
        raise UsageError(
            f"--proposals has no effect: {network.arch} makes its own", code="proposals.unsupported"
        )


def searcher(network: Network, place: Path | None, mode: str) -> Searcher | None:
    """Return the searcher for the regions of an image; None for a network that makes its own.

    Raises:
        UsageError: `--proposals` for a network that makes its own.
        DataError: the file is unusable.
    """
    if not network.needs_proposals:
        _refuse_proposals(network, place)
        return None
    return Searcher(place, mode)


def rcnn_post_fits(model: RCNN, seed: int) -> list[tuple[str, PostFit]]:
    """Return the post-fits of R-CNN, each with its title."""
    from cvkit.models.detection.rcnn_post_fits import NegativesAndBoxes, Positives

    first = Positives(model)
    second = NegativesAndBoxes(model, first, seed)
    return [("features of the objects", first), ("SVMs and box regressors", second)]


def fit_regions(fit: Any, batch: Batch, proposals: list[torch.Tensor]) -> None:
    """Pass images, their objects and proposals to a post-fit of R-CNN.

    Args:
        fit: of `cvkit.models.detection.rcnn_post_fits`.
        batch: training samples, not transformed.
        proposals: [R, 4] of each.
    """
    device = batch.images[0].device
    for image, sample, regions in zip(batch.images, batch.samples, proposals, strict=True):
        objects = trainable(truth_of(sample, Instances), required(sample.geometry).original_hw)
        boxes, labels = torch.from_numpy(objects.boxes), torch.from_numpy(objects.labels)
        fit.see(image, boxes.to(device), labels.to(device), regions)


def propose_dataset(
    options: DetectProposals, report: Reporter, stop: StopSignal
) -> dict[str, dict[str, Any]]:
    """Write the proposals of some splits; return their coverage by split.

    Raises:
        DataError: lists every defect of the data.
        Interrupted: a signal came; the regions found so far stay in the cache.
    """
    root = data_place(options.data, "detect")
    flags = DataFlags("DATA", "keep one of them in the folder")
    found = checked_splits(
        root, options.format, options.splits, report, images=options.images, flags=flags
    )
    warn_of_cache("proposals", report)
    everything: dict[str, np.ndarray] = {}
    result = {}
    splits = found.images
    if found.data.heap is not None:  # every split is the whole dataset
        splits = {ALL: next(iter(splits.values()))}
    for name, images in splits.items():
        started = time.monotonic()
        with report.progress(f"searching {name}", len(images)) as advance:
            boxes = search_images(
                images,
                mode=options.mode,
                seed=options.seed,
                max_boxes=options.max_boxes,
                workers=cores() if options.workers < 0 else options.workers,
                on_step=advance,
                stop=lambda: stop.raise_if_set("stopped", "run the same command again"),
            )
        everything |= boxes
        counted = [image.truth.pick(~required(image.truth.crowd)) for image in images]
        result[name] = coverage(
            [boxes[image.key] for image in images],
            [truth.boxes for truth in counted],
            [truth.labels for truth in counted],
        )
        result[name] |= {"images": len(images), "seconds": time.monotonic() - started}
    about = {"method": "selective search", "mode": options.mode, "seed": options.seed}
    write_proposals(options.out, everything, about)
    return result
