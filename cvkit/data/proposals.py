"""Files of proposals, and proposals computed for a whole dataset."""

import contextlib
import json
import math
import os
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.annotated import MOST_PIXELS, AnnotatedImage
from cvkit.data.decode import needed_bits, read_image
from cvkit.data.files import matches
from cvkit.data.named import Names
from cvkit.errors import CvkitError, DataError, MachineError, UsageError, raise_defects
from cvkit.storage import cache_folder, machine_errors, sha256, temporary_beside
from cvkit.texts import counted, is_number, is_text, read_json, require_regular, shown

VERSION = 1
"""Part of the names in the cache; increase it when selective search changes."""


def write_proposals(path: Path, found: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write proposals as .npz: `keys`, `offsets`, `boxes` and `about` (JSON).

    Args:
        path: of the file.
        found: [R, 4] boxes x1, y1, x2, y2 in pixels of each image by its key.
        about: description of how they were made.
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

    A .json file contains an object of boxes by image path, or a list of objects with `path` (or
    `file_name`) and `boxes`.

    Raises:
        DataError: missing, malformed, or with an invalid box.
    """
    if place.is_dir():
        files = sorted([*matches(place, "*.npz"), *matches(place, "*.json")])
        if not files:
            raise DataError(
                f"--proposals {place} contains no .npz or .json file", code="proposals.empty"
            )
        return {key: boxes for file in files for key, boxes in read_proposals(file).items()}
    try:
        found = _read_npz(place) if place.suffix == ".npz" else _read_boxes(place)
    except FileNotFoundError as error:
        raise DataError(f"--proposals {place} does not exist", code="proposals.missing") from error
    except (*BROKEN, DataError) as error:
        reason = error.as_json()["message"] if isinstance(error, DataError) else error
        raise DataError(
            f"--proposals {place} is malformed: {reason}",
            code="proposals.syntax",
            hint="cvkit detect proposals writes such files",
        ) from error
    raise_defects((d for d in map(_box_defect, found.items()) if d), f"--proposals {place}")
    return found


def _box_defect(pair: tuple[str, np.ndarray]) -> DataError | None:
    """Return what is wrong with the boxes of an image; None if nothing is."""
    key, boxes = pair
    if (np.abs(boxes) <= MOST_PIXELS).all() and (boxes[:, 2:] > boxes[:, :2]).all():
        return None
    return DataError(
        f"{shown(key)} has a box without area, or far outside its image", code="proposals.box"
    )


BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, SyntaxError, MemoryError, OverflowError),
)
"""The exceptions of zipfile and numpy for a damaged .npz file."""


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    require_regular(path, area="proposals")
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            _require_size(file, member)
    with np.load(path, allow_pickle=False) as file:
        keys, boxes, offsets = file["keys"], file["boxes"], file["offsets"]
    kinds = keys.dtype.kind + boxes.dtype.kind + offsets.dtype.kind
    if kinds not in ("Ufi", "Ufu") or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            "keys must be text, boxes an array [N, 4] of numbers, offsets whole numbers"
        )
    steps = np.diff(offsets, prepend=0)
    if offsets.shape != (len(keys) + 1,) or offsets[0] or (steps < 0).any():
        raise ValueError("offsets must increase from 0, and there must be one more than keys")
    if offsets[-1] != len(boxes) or len(set(keys.tolist())) < len(keys):
        raise ValueError("offsets must end at the number of boxes, and keys must be unique")
    parts = np.split(boxes.astype(np.float32), offsets[1:-1])
    return dict(zip(keys.tolist(), parts, strict=True)) if len(keys) else {}


def _require_size(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Check that an array is as large as its header says, before numpy allocates memory for it.

    Raises:
        ValueError: it is not, or it is not an array.
    """
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{shown(member.filename)} has .npy format {version}")
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version[0]](stream)
        begin = stream.tell()
    if math.prod(shape) * dtype.itemsize != member.file_size - begin or min(shape, default=0) < 0:
        raise ValueError(f"{shown(member.filename)} is not as large as its header says")


def _read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Return the boxes in a JSON file.

    Raises:
        DataError: lists the images with invalid boxes.
    """
    content = read_json(path)
    if isinstance(content, list):
        rows = [row if isinstance(row, dict) else {} for row in content]
        pairs = [(row.get("path") or row.get("file_name"), row.get("boxes")) for row in rows]
    elif isinstance(content, dict):
        pairs = list(content.items())
    else:
        raise DataError("it is neither an object nor a list", code="proposals.syntax")
    defects: list[CvkitError] = []
    result: dict[str, np.ndarray] = {}
    for place, (key, boxes) in enumerate(pairs):
        are_boxes = isinstance(boxes, list) and all(
            isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) for box in boxes
        )
        if isinstance(key, str) and is_text(key) and are_boxes and key not in result:
            wide = np.array(boxes, np.float64).reshape(-1, 4)
            result[key] = wide.clip(-2 * MOST_PIXELS, 2 * MOST_PIXELS).astype(np.float32)
            continue
        twice = is_text(key) and are_boxes
        reason = "occurs twice" if twice else "has no list of [x1, y1, x2, y2]"
        defects.append(DataError(f"[{place}]: {shown(key)} {reason}", code="proposals.syntax"))
    raise_defects(defects, path.name)
    return result


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
        """Return the [R, 4] proposals of images; folders in their names may be missing or differ.

        Raises:
            DataError: an image has none, matches several, or shares them with another image.
        """
        names = {key: self._name(key) for key in keys}
        if missing := [key for key, name in names.items() if name is None]:
            raise DataError(
                f"--proposals {self.place} lacks {counted(len(missing), 'image')}, such as "
                f"{missing[0]}",
                code="proposals.image",
            )
        found = {key: name for key, name in names.items() if name is not None}
        owners: dict[str, str] = {}
        for key, name in found.items():
            if (other := owners.setdefault(name, key)) != key:
                raise DataError(
                    f"--proposals {self.place}: its {name} may be {other} or {key}",
                    code="proposals.ambiguous",
                    hint="use the paths of the images in the dataset",
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
                hint="use the paths of the images in the dataset",
            )
        return names[0] if names else None


def inside_image(boxes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the [R, 4] boxes clipped to an image, without those that then have no area."""
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
    with contextlib.suppress(UsageError, *BROKEN):  # if it exists and is not damaged
        return _read_npz(cache_folder("proposals") / name[:2] / name)["image"]
    found = selective_search(read_image(path, depth), mode, seed=seed, max_boxes=max_boxes)
    with contextlib.suppress(UsageError, MachineError):  # `warn_of_cache` reports it once
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
        max_boxes: per image.
        workers: processes; 0 uses none.
        on_step: called with the number of images done so far.
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
    # Spawned processes inherit neither the threads nor the signal handlers of this one.
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
        return None  # the error is reported when the image is read
