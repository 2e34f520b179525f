"""Results as files of annotation programs, written from `predictions.jsonl` when all is predicted.

One image is in memory at a time. Files of one image have its name; files of all images replace
earlier ones when they are complete.
"""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import ElementTree

from cvkit.annotation import coco, cvat, geojson, label_studio, labelme, voc, yolo
from cvkit.annotation.xml_names import fits_xml
from cvkit.errors import CvkitWarning, OutputError
from cvkit.output.annotated import Annotated
from cvkit.storage import (
    machine_errors,
    whole_file,
    write_file,
    write_json,
    write_json_list,
    write_json_lists,
)
from cvkit.structures import ClassList, Failure
from cvkit.texts import shown
from cvkit.yaml_files import dump_yaml


@dataclass(frozen=True, kw_only=True)
class Results:
    """All results in a folder.

    Attributes:
        folder: of the results.
        classes: of objects, or of whole images or videos.
        read: yields the results, at each call from the first one.
        controls: of Label Studio's interface.
        media: `image` or `video`.
        ids: of the images, by path; None: numbers from 1.
        failures: of inputs that have no file, or are left out of one.
    """

    folder: Path
    classes: ClassList
    read: Callable[[], Iterator[Annotated]]
    controls: Sequence[str]
    media: str = "image"
    ids: Mapping[str, int] | None = None
    failures: list[Failure] = field(default_factory=list)


def write_annotations(results: Results, kinds: Sequence[str]) -> list[Failure]:
    """Write the files that `--save` asks for, as far as this module knows them.

    A `CvkitWarning` tells that some of the pictures they name are no files.

    Returns:
        The inputs that are missing from one of them, each once.
    """
    if results.media == "image" and set(kinds) & set(NAMING):
        _warn_of_frames(results)
    for kind in kinds:
        if kind in WRITERS:
            WRITERS[kind](results)
    return list({failure.path: failure for failure in results.failures}.values())


def _warn_of_frames(results: Results) -> None:
    paths = (each.path for each in results.read())
    if frame := next((path for path in paths if re.fullmatch(r".+#\d+", path, re.S)), None):
        text = (
            f"annotation programs find no picture {shown(frame)}, a part of a file: to go on with "
            "them, write frames or pages as pictures into a folder first (such as 'ffmpeg -i "
            "clip.mp4 frames/%06d.png') and predict that"
        )
        warnings.warn(text, CvkitWarning, stacklevel=2)


def _write_coco(results: Results) -> None:
    """Write `coco.json`: images, categories, and objects with polygons and scores."""
    ids = results.ids
    numbers = {
        each.path: place if ids is None else ids[each.path]
        for place, each in enumerate(results.read(), 1)
    }
    images = (coco.image_row(numbers[e.path], e.path, e.size_wh) for e in results.read())
    categories = coco.category_rows(results.classes)
    lists: dict[str, Iterable[object]] = {"images": images, "categories": categories}
    lists["annotations"] = _coco_rows(results, numbers)
    write_json_lists(results.folder / "coco.json", lists)


def _coco_rows(results: Results, images: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    categories = dict(zip(results.classes.names, results.classes.ids, strict=True))
    number = 0
    for each in results.read():
        for found in each.objects:
            number += 1
            x1, y1, x2, y2 = found.box
            area = (x2 - x1) * (y2 - y1)
            more: dict[str, object] = {"score": found.score}
            if found.part is not None:
                area, more["segmentation"] = float(found.part.sum()), coco.polygons(found)
            box = x1, y1, x2 - x1, y2 - y1
            image, category = images[each.path], categories[found.name]
            yield coco.object_row(number, image, category, box, area, **more)


def _write_yolo(results: Results) -> None:
    """Write `labels/NAME.txt` with a score at the end of each line, and `data.yaml` with names."""
    names = results.classes.names
    labels = {name: number for number, name in enumerate(names)}
    write_file(results.folder / "data.yaml", dump_yaml({"names": dict(enumerate(names))}))

    def content(each: Annotated) -> str:
        kept = list(each.objects)
        rows = yolo.numbers(kept, labels, each.size_wh)
        lines = (
            " ".join([str(label), *(f"{value:.6f}" for value in (*values, found.score))])
            for found, (label, *values) in zip(kept, rows, strict=True)
        )
        return "".join(f"{line}\n" for line in lines)

    _write_each(results, "labels/{}.txt", lambda each, path: write_file(path, content(each)))


def _write_voc(results: Results) -> None:
    """Write `voc/Annotations/NAME.xml` with boxes and scores."""

    def write(each: Annotated, path: Path) -> None:
        require_xml(each.path)
        tree = voc.tree(PurePosixPath(each.path).name, each.size_wh, each.objects)
        with whole_file(path) as stream:
            ElementTree(tree).write(stream, encoding="utf-8")

    _write_each(results, "voc/Annotations/{}.xml", write)


def _write_labelme(results: Results) -> None:
    """Write `labelme/NAME.json`, which names the image relative to itself."""

    def write(each: Annotated, path: Path) -> None:
        place = PurePosixPath(each.path).name
        if each.file:
            inside = path.parent.relative_to(results.folder)
            place = PurePosixPath(os.path.relpath(each.file, inside)).as_posix()
        tags = [name for name, _ in each.tags[:1]]
        write_json(path, labelme.document(place, each.size_wh, each.objects, tags))

    _write_each(results, "labelme/{}.json", write)


def _write_geojson(results: Results) -> None:
    """Write `geojson/NAME.geojson`, a collection of features in pixels of the image."""
    colors = dict(zip(results.classes.names, results.classes.colors, strict=True))

    def write(each: Annotated, path: Path) -> None:
        features = [geojson.feature(found, colors[found.name]) for found in each.objects]
        content = {"type": "FeatureCollection", "features": features}
        write_json(path, content, indent=None)

    _write_each(results, "geojson/{}.geojson", write)


def _write_cvat(results: Results) -> None:
    """Write `cvat.xml`; images whose path XML cannot hold are failures."""

    def pictures() -> Iterator[cvat.Picture]:
        for each in results.read():
            try:
                require_xml(each.path)
            except OutputError as error:
                results.failures.append(Failure(each.path, error.code, str(error)))
                continue
            yield cvat.Picture(each.path, each.size_wh, each.objects, each.tags[:1])

    with whole_file(results.folder / "cvat.xml") as stream:
        cvat.write(stream, results.classes, pictures(), scored=True)


def _write_label_studio(results: Results) -> None:
    """Write `labelstudio.json`, tasks with predictions, and `labelstudio.xml`, the interface."""
    interface = label_studio.interface(results.classes, results.controls, results.media)
    write_file(results.folder / "labelstudio.xml", interface)
    model = f"cvkit-{_model(results.folder)}"

    def tasks() -> Iterator[dict[str, Any]]:
        for each in results.read():
            found = label_studio.results(each.objects, each.size_wh)
            found += [label_studio.choice(*tag, results.media) for tag in each.tags[:1]]
            parts = enumerate(each.parts, 1)
            found += [label_studio.part(name, n, *frames) for n, (name, *frames) in parts]
            place = label_studio.local_file(each.path)
            yield label_studio.predicted(place, found, model, results.media)

    write_json_list(results.folder / "labelstudio.json", tasks())


def _model(folder: Path) -> str:
    """Return the first digits of the hash of the model."""
    return str(json.loads((folder / "predict.json").read_text())["model"])[:12]


def _write_each(results: Results, place: str, write: Callable[[Annotated, Path], None]) -> None:
    """Write a file for each image; keep the images for which that fails.

    Args:
        results: of all images.
        place: of the file, relative to the results, with `{}` for the image's name.
        write: writes a result to a path.
    """
    for each in results.read():
        path = results.folder / place.format(each.name)
        try:
            with machine_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write(each, path)
        except OutputError as error:
            results.failures.append(Failure(each.path, error.code, str(error)))


def require_xml(name: str) -> None:
    """Check that XML can hold a name.

    Raises:
        OutputError: it cannot.
    """
    if not fits_xml(name):
        raise OutputError(
            f"XML cannot hold the name {shown(name)}", code="xml.name", hint="rename it"
        )


WRITERS: dict[str, Callable[[Results], None]] = {
    "coco": _write_coco,
    "yolo": _write_yolo,
    "voc": _write_voc,
    "labelstudio": _write_label_studio,
    "cvat": _write_cvat,
    "labelme": _write_labelme,
    "geojson": _write_geojson,
}
"""What writes the values of `--save` that are formats of annotations."""
NAMING = ("coco", "voc", "labelstudio", "cvat", "labelme")
"""Those that name the picture which they are about."""
IN_XML = ("voc", "labelstudio", "cvat")
"""Values of `--save` for which classes must have names that XML can hold."""
