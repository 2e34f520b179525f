"""Every flag of predict does in each task what it says."""

import json
from pathlib import Path

import cv2
import numpy as np
from effect_parts import BOXES, Row, cases, require_effect
from model_parts import (
    batches,
    engine,
    inputs,
    lines,
    model,
    near_scores,
    network_use,
    pictures,
    results,
    run,
    shipped,
    together,
    told,
    written,
)
from test_eval_effects import (
    ALL_BUT_SEGMENT,
    CLASSIFY,
    DETECT,
    INSTANCE,
    LARGE,
    MOVED,
    NATIVE,
    SEGMENT,
    VIDEO,
    large,
)
from test_train_own_effects import FAST, regions

from cvkit.options.saves import MARKED, SAVES


def training(at):
    return [inputs(at)[0].replace("/val", "/train")]


def paths(at, **more):
    return [line["path"] for line in lines(at, **more)]


def folder(at, **more):
    return run(at, "predict", **more)[1]["out"]


def filled(at, **more):
    """What a second prediction into the same folder does."""
    out = at.root / f"filled-{at.task}-{sorted(more.items())[-1]}".replace(" ", "")
    first = {name: value for name, value in more.items() if name not in ("resume", "overwrite")}
    assert run(at, "predict", out=out, **first)[0] == 0
    code, found = run(at, "predict", out=out, **more)
    return [code, found["counts"] if code == 0 else "refused"]


def failures(at, **more):
    """What predict counts where two inputs cannot be read."""
    broken = []
    for number in range(2):
        suffix = "mp4" if at.task == "video" else "png"
        path = at.root / f"broken-{at.task}-{number}.{suffix}"
        path.write_text("no picture")
        broken.append(str(path))
    code, found = run(at, "predict", inputs=[*broken, *inputs(at)], **more)
    return [code, found["counts"] if isinstance(found, dict) else "stopped"]


def numbers(at, **more):
    """The ids of the images in the results of all inputs."""
    _, found = run(at, "predict", **more)
    with open(f"{found['out']}/results.json") as stream:
        return sorted({row["image_id"] for row in json.load(stream)})


def coco(first):
    """Return what makes a COCO file whose image ids begin with a number."""

    def make(at):
        content = json.loads((at.data() / "annotations" / "instances_val.json").read_text())
        for row in content["images"]:
            row["id"] += first
        return at.write(f"ids{first}.json", content | {"annotations": []})

    return make


def embedded(at, embeddings, **more):
    """What predict writes, and whether the features are where they were asked for."""
    return [written(at, embeddings=embeddings, **more), bool(embeddings and embeddings.exists())]


def sheet(at, **more):
    """The contact sheet, if there is one."""
    place = Path(folder(at, **more)) / "contact_sheet.png"
    return place.read_bytes() if place.exists() else None


def clip(at):
    """A video of ten frames per second."""
    path = at.root / f"clip-{at.task}.mp4"
    if not path.exists():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (32, 32))
        for number in range(6):
            writer.write(np.full((32, 32, 3), 30 * number, np.uint8))
        writer.release()
    return [str(path)]


def keys(at, **more):
    return sorted(run(at, "predict", **more)[1])


WIDE = {"inputs": lambda at: [large(at) + "/images/val"], "weights": shipped}


def files(task):
    """Return the values of --save that an image can show."""
    return tuple(kind for kind in SAVES[task] if kind != MARKED)


ROWS = [
    Row("inputs", (inputs, training), paths),
    Row("weights", (model(), model(epochs=2, seed=3)), results("predict")),
    Row(
        "out", (lambda at: at.root / f"o1-{at.task}", lambda at: at.root / f"o2-{at.task}"), folder
    ),
    Row("overwrite", (False, True), filled),
    Row("resume", (False, True), filled),
    Row("batch_size", (1, 2), batches("predict")),
    Row("batch_size", (1, 2), near_scores, same=True),
    Row("max_failures", (0, 1), failures),
    Row("device", ("cpu", "cuda:99"), told("predict")),
    Row("device", ("cpu", "auto"), results("predict"), same=True),
    Row("precision", ("fp32", "bf16"), results("predict"), ALL_BUT_SEGMENT),
    Row("precision", ("fp32", "bf16"), results("predict"), SEGMENT, MOVED),
    Row("engine", ("eager", "fused"), engine("predict")),
    Row("engine", ("eager", "fused"), near_scores, same=True),
    Row("workers", (0, 1), batches("predict")),
    Row("devices", (1, 2), together("predict")),
    Row("nodes", (1, 2), together("predict")),
    Row("offline", (False, True), network_use("predict")),
    Row("contact_sheet", (0, 1, 2), sheet),
    Row("json_results", (False, True), keys),
    Row("top_k", (1, 2), lines, CLASSIFY + VIDEO),
    Row("save", ("", *files("classify")), written, CLASSIFY),
    Row("save", ("", "video", "sorted,video"), written, CLASSIFY, {"inputs": clip}),
    Row("save", ("", "video"), written, SEGMENT + BOXES, {"inputs": clip}),
    Row("save", ("", "none"), written, same=True),
    Row("fps", (0.0, 2.0, 5.0), paths, CLASSIFY + SEGMENT + BOXES, {"inputs": clip}),
    Row("embeddings", (None, lambda at: at.root / "features.npz"), embedded, CLASSIFY),
    Row("tta", (None, "flip", "ten-crop"), results("predict"), CLASSIFY),
    Row("tta", (None, "flip", "scales", "flip,scales"), results("predict"), SEGMENT, LARGE),
    Row("overlay", ("png", "jpg", "none"), written, SEGMENT + BOXES),
    Row(
        "sliding_window",
        (False, True),
        results("predict"),
        SEGMENT,
        NATIVE | {"inputs": lambda at: [large(at) + "/images/val"]},
    ),
    Row("tiles", ("", "32", "40x32"), results("predict"), SEGMENT + BOXES, WIDE),
    Row("overlap", (0.1, 0.5), results("predict"), SEGMENT + BOXES, WIDE | {"tiles": "32"}),
    Row("threshold", (None, 0.9), lines, BOXES),
    Row("nms", (None, 0.01), lines, BOXES),
    Row("min_size", ("", "64"), lines, BOXES),
    Row("image_size", ("", "64", "64x48"), lines, BOXES),
    Row("max_detections", (None, 1), lines, BOXES),
    Row("draw_threshold", (0.0, 1.0), pictures, BOXES),
    Row("image_ids", (coco(100), coco(200)), numbers, BOXES),
    Row("save", ("", *files("detect"), "yolo,csv"), written, DETECT),
    Row("save", ("", *files("instance")), written, INSTANCE),
    Row("save", ("", *files("segment")), written, SEGMENT),
    Row(
        "proposals",
        (regions(20), regions(30)),
        results("predict"),
        DETECT,
        {"weights": model(**FAST, proposals=regions(20))},
    ),
    Row("mask_threshold", (0.3, 0.7), results("predict"), INSTANCE),
    Row("per_clip", (False, True), written, VIDEO),
    Row("save", ("", "video", "labelstudio"), written, VIDEO),
    Row(
        "views",
        ("", "2x1", "1x3"),
        results("predict"),
        VIDEO,
        {"inputs": lambda at: [large(at) + "/val"]},
    ),
]


@cases(ROWS)
def test_a_prediction_does_what_its_flag_says(places, task, row):
    at = places(task)
    values = [value(at) if callable(value) else value for value in row.values]
    require_effect(row, [row.measure(at, **row.base | {row.flag: value}) for value in values])
