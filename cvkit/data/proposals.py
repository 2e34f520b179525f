"""Files of proposals, and proposals computed for a whole dataset."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.decode import needed_bits, read_image
from cvkit.data.files import matches
from cvkit.data.named import Names
from cvkit.errors import CvkitError, DataError, MachineError, UsageError
from cvkit.storage import cache_folder, machine_errors, sha256, temporary_beside

VERSION = 1
"""Part of the names in the cache; raise it when selective search changes."""


def write_proposals(path: Path, found: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write proposals as .npz: `keys`, `offsets`, `boxes` and `about` (JSON).

    Args:
        path: of the file.
        found: [R, 4] boxes x1, y1, x2, y2 in pixels of each image by its key.
        about: how they were made.
    """
    counts = [len(boxes) for boxes in found.values()]
    temporary = temporary_beside(path, ".tmp.npz")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez_compressed(
                temporary,
                keys=np.array(list(found), dtype=np.str_),
                offsets=np.cumsum([0, *counts]),
                boxes=np.concatenate([*found.values(), np.zeros((0, 4))]).astype(np.float32),
                about=np.array(json.dumps(about)),
            )
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_proposals(place: Path) -> dict[str, np.ndarray]:
    """Return the proposals in a file, or in all .npz and .json files of a folder.

    A .json file holds an object of boxes by image path, or a list of objects with `path` (or
    `file_name`) and `boxes`.

    Raises:
        DataError: missing, malformed, or with a box that is none.
    """
    if place.is_dir():
        files = sorted([*matches(place, "*.npz"), *matches(place, "*.json")])
        if not files:
            raise DataError(f"--proposals {place} holds no .npz or .json", code="proposals.empty")
        return {key: boxes for file in files for key, boxes in read_proposals(file).items()}
    try:
        found = _read_npz(place) if place.suffix == ".npz" else _read_json(place)
    except FileNotFoundError as error:
        raise DataError(f"--proposals {place} does not exist", code="proposals.missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise DataError(
            f"--proposals {place} is malformed: {error}",
            code="proposals.syntax",
            hint="cvkit detect proposals writes such files",
        ) from error
    for key, boxes in found.items():
        if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise DataError(
                f"--proposals {place}: {key} has a box without area", code="proposals.box"
            )
    return found


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        boxes, offsets = file["boxes"].astype(np.float32).reshape(-1, 4), file["offsets"].tolist()
        pairs = zip(file["keys"].tolist(), offsets[:-1], offsets[1:], strict=True)
        return {key: boxes[first:last] for key, first, last in pairs}


def _read_json(path: Path) -> dict[str, np.ndarray]:
    content = json.loads(path.read_text())
    if isinstance(content, list):
        content = {row.get("path") or row["file_name"]: row["boxes"] for row in content}
    return {key: np.array(boxes, np.float32).reshape(-1, 4) for key, boxes in content.items()}


class Proposals:
    """The proposals in a file or folder, found by the names of images.

    Args:
        place: what `--proposals` names.

    Raises:
        DataError: see `read_proposals`.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.boxes = read_proposals(place)
        self.names = Names(list(self.boxes))

    def of(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the [R, 4] proposals of images; folders in their names may be missing or others.

        Raises:
            DataError: an image has none, could have several, or shares them with another one.
        """
        found = {key: self._name(key) for key in keys}
        if missing := [key for key, name in found.items() if name is None]:
            raise DataError(
                f"--proposals {self.place} lacks {len(missing)} images, such as {missing[0]}",
                code="proposals.image",
            )
        owners: dict[str, str] = {}
        for key, name in found.items():
            if (other := owners.setdefault(name, key)) != key:
                raise DataError(
                    f"--proposals {self.place}: its {name} may be {other} or {key}",
                    code="proposals.ambiguous",
                    hint="name images by their paths in the dataset",
                )
        return {key: self.boxes[name] for key, name in found.items()}

    def _name(self, key: str) -> str | None:
        """Return the name of an image's proposals; None if it has none.

        Raises:
            DataError: there are several.
        """
        places = self.names.find_inside(key) or self.names.find(PurePosixPath(key).name)
        names = [self.names.names[place] for place in places]
        if len(names) > 1:
            raise DataError(
                f"--proposals {self.place}: {key} may be its {names[0]} or {names[1]}",
                code="proposals.ambiguous",
                hint="name images by their paths in the dataset",
            )
        return names[0] if names else None


def inside_image(boxes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the [R, 4] boxes cut to an image, without those that then have no area."""
    limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    boxes = np.clip(boxes, 0, limit)
    return boxes[((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)]


def _search(path: Path, mode: str, seed: int, max_boxes: int, bits: int | None) -> np.ndarray:
    """Return the proposals of an image file, from the cache if it was searched before."""
    import cv2

    cv2.setNumThreads(1)
    from cvkit.ops.proposals import selective_search

    depth = 16 if bits == 16 else bits or needed_bits(path) or 16
    kind = "" if depth == 16 else f"-{depth}bits"
    name = f"{sha256(path)[:32]}-{mode}-{seed}-{max_boxes}{kind}-v{VERSION}.npz"
    with contextlib.suppress(UsageError, OSError, ValueError, KeyError, EOFError, BadZipFile):
        # If it is there, and not damaged.
        return _read_npz(cache_folder("proposals") / name[:2] / name)["image"]
    found = selective_search(read_image(path, depth), mode, seed=seed, max_boxes=max_boxes)
    with contextlib.suppress(UsageError, MachineError):  # `warn_of_cache` says it once
        write_proposals(cache_folder("proposals") / name[:2] / name, {"image": found}, {})
    return found


def search_images(
    images: Iterable[AnnotatedImage],
    *,
    mode: str,
    seed: int = 0,
    max_boxes: int = 2000,
    workers: int,
    on_step: Callable[[int, str], None],
    stop: Callable[[], None] = lambda: None,
    bits: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the [R, 4] proposals of images by key; unreadable ones are left out.

    Args:
        images: to search.
        mode: key of `cvkit.ops.proposals.MODES`.
        seed: of the ranking.
        max_boxes: of an image.
        workers: processes; 0 uses none.
        on_step: told the number of images done.
        stop: raises to stop.
        bits: see `read_image`.
    """
    images = list(images)
    result: dict[str, np.ndarray] = {}
    if workers == 0:
        for done, image in enumerate(images, 1):
            stop()
            if (found := _search_or_none(image.path, mode, seed, max_boxes, bits)) is not None:
                result[image.key] = found
            on_step(done, "")
        return result
    # Spawned processes inherit neither threads nor signal handlers of this one.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_signals) as pool:
        waiting = {
            pool.submit(_search_or_none, image.path, mode, seed, max_boxes, bits): image.key
            for image in images
        }
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                stop()
                if (found := future.result()) is not None:
                    result[waiting[future]] = found
                on_step(done, "")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {image.key: result[image.key] for image in images if image.key in result}


def _leave_signals() -> None:
    """Leave SIGINT to the main process, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _search_or_none(
    path: Path, mode: str, seed: int, max_boxes: int, bits: int | None
) -> np.ndarray | None:
    try:
        return _search(path, mode, seed, max_boxes, bits)
    except CvkitError:
        return None  # whoever reads the image says why it cannot be read
