"""Tables and pictures about detections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.output.confusion_picture import write_confusion
from cvkit.output.curves import write_precision_recall
from cvkit.output.files import write_csv
from cvkit.structures import ClassList


def write_box_reports(
    folder: Path,
    classes: ClassList,
    images: list[tuple[str, Any]],
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    errors: Any,
    *,
    iou: str,
) -> dict[str, str]:
    """Write tables and pictures; return their paths by name.

    Args:
        folder: exists.
        classes: of the data.
        images: (path, counts of objects, detections and those found) of each image.
        curves: recall and precision by class.
        errors: `cvkit.metrics.box_errors.BoxErrors`.
        iou: of the curves, as text.
    """
    names = ("per_image.csv", "precision_recall.csv", "precision_recall.png", "errors.csv")
    files = {name: folder / name for name in names}
    write_csv(
        files["per_image.csv"],
        ["path", "objects", "detections", "found"],
        ([path, image.objects, image.detections, image.found] for path, image in images),
    )
    rows = (
        [name, float(r), float(p)]
        for name, (recall, precision) in curves.items()
        for r, p in zip(recall, precision, strict=True)
    )
    write_csv(files["precision_recall.csv"], ["class", "recall", "precision"], rows)
    write_precision_recall(files["precision_recall.png"], curves, iou)
    write_csv(files["errors.csv"], ["kind", "count"], errors.counts.items())
    confusion = write_confusion(folder, errors.matrix, ["background", *classes.names])
    return {path.name.replace(".", "_"): str(path) for path in (*files.values(), *confusion)}
