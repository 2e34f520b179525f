"""Every flag of eval does in each task what it says."""

import json
from pathlib import Path

import numpy as np
from data_view_parts import lists_of
from effect_parts import BOXES, COUNTS, TASKS, Row, cases, require_effect
from model_parts import (
    BEST,
    FILES,
    batches,
    content,
    engine,
    evaluated,
    model,
    near_content,
    network_use,
    objects,
    predictions,
    report,
    results,
    run,
    shipped,
    table,
    together,
    told,
    truth,
    written_files,
)
from PIL import Image
from test_train_effects import without
from test_train_own_effects import FAST, FORMATS, annotations, heap, pictures, regions

from cvkit.data.synthetic.samples import WRITERS

CLASSIFY, SEGMENT, DETECT = ("classify",), ("segment",), ("detect",)
INSTANCE, VIDEO = ("instance",), ("video",)
FOLDERS = CLASSIFY + VIDEO
ATTACKED = FOLDERS + SEGMENT
ALONE = {"weights": None, "data": None}
ALL_BUT_SEGMENT = tuple(task for task in TASKS if task != "segment")
MOVED = {"weights": model(arch="unet", lr=0.01)}
"""A network whose scores differ between pixels; equal ones would hide what rounding changes."""
LARGE = {"weights": model(image_size="64x64")}
NATIVE = {"weights": model(resize="native")}


def gated(at, fail_under, **more):
    """The exit code under a limit; `None` stands for none."""
    limits = [] if fail_under is None else [f"{BEST[at.task]}={fail_under}"]
    return run(at, "eval", fail_under=limits, **more)[0]


def compared(at, **more):
    """The exit code, where an evaluation may be compared with an earlier one."""
    return run(at, "eval", **more)[0]


def without_one(make):
    """Return what makes predictions, or a truth, without one of its samples."""

    def lessen(at):
        whole = Path(make(at))
        path = at.root / f"fewer-{whole.name}"
        if whole.is_dir():
            path.mkdir(exist_ok=True)
            for file in sorted(whole.iterdir())[1:]:
                (path / file.name).write_bytes(file.read_bytes())
        elif whole.suffix == ".csv":
            path.write_text("\n".join(whole.read_text().splitlines()[:-1]) + "\n")
        else:
            content = json.loads(whole.read_text())
            rows = content if isinstance(content, list) else content["annotations"]
            first = rows[0]["image_id"]
            rows[:] = [row for row in rows if row["image_id"] != first]
            if isinstance(content, dict):
                content["images"] = [row for row in content["images"] if row["id"] != first]
            path.write_text(json.dumps(content))
        return path

    return lessen


LACKING = FILES | {"predictions": without_one(predictions(0))}
"""Options of scoring files without a prediction for one sample."""


def earlier(at):
    """The report of an evaluation in which all is right."""

    def build(path):
        path.write_text(json.dumps(run(at, "eval", **FILES)[1]))

    return at.once("earlier", build)


def file_of(name):
    """Return what measures the file that a flag names, if it is written."""

    def measure(at, **more):
        run(at, "eval", **more)
        path = more[name](at)
        return path.name if path.is_file() else ""

    return measure


WRONG = FILES | {"predictions": predictions(1)}
"""Options of scoring files that are all wrong."""


def bounds(at, **more):
    """The bootstrap intervals."""
    return run(at, "eval", **more)[1].get("intervals")


def robust(at, **more):
    """The metrics of attacked and corrupted inputs."""
    return run(at, "eval", **more)[1].get("robustness")


def large(at):
    """Images that are larger than a model's windows."""
    return str(at.once("large", lambda path: WRITERS[at.task](path, COUNTS[at.task], 8, (64, 96))))


WIDE = {"data": large, "weights": shipped}


def sparse(at):
    """Masks of two of the three classes that their folder names."""

    def build(path):
        path.mkdir()
        (path / "classes.txt").write_text("a\nb\nc\n")
        mask = np.zeros((8, 8), np.uint8)
        mask[:4] = 1
        Image.fromarray(mask).save(path / "one.png")

    return at.once("sparse", build)


SPARSE = ALONE | {"predictions": sparse, "truth": sparse}
SHRUNK = FILES | {"predictions": objects(0, shrink=0.3), "protocol": "voc12"}
COCO = {"data": None, "json_file": annotations("val"), "images": pictures(1)}
HEAP = {"data": heap, "weights": model(data=heap)}
LISTS = lists_of(heap, val_fraction=0.5), lists_of(heap, val_fraction=0.7)
ROWS = [
    Row("weights", (model(), model(epochs=2, seed=3)), results("eval")),
    Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), content),
    Row("predictions", (predictions(0), predictions(1)), content, base=FILES),
    Row("truth", (truth(0), truth(1)), content, base=FILES),
    Row("missing", ("fail", "error"), compared, base=LACKING),
    Row("missing", ("auto", "fail"), compared, BOXES, LACKING),
    Row("missing", ("auto", "empty"), content, BOXES, LACKING, same=True),
    Row("missing", ("auto", "fail"), content, FOLDERS + SEGMENT, LACKING, same=True),
    Row("extra", ("ignore", "error"), compared, base=FILES | {"truth": without_one(truth(0))}),
    Row("split", ("val", "train"), evaluated),
    Row("batch_size", (1, 2), batches("eval")),
    Row("batch_size", (1, 2), near_content, same=True),
    Row("bootstrap", (0, 10, 20), bounds),
    Row("bootstrap", (0, 10, 20), bounds, base=FILES),
    Row("bootstrap", (0, 10), bounds, BOXES, {"protocol": "coco,voc07", "files": True}),
    Row("bootstrap", (0, 10), bounds, SEGMENT, {"dialect": "mmseg,cvkit", "files": True}),
    Row("seed", (None, 5), bounds, base=FILES | {"bootstrap": 10}),
    Row("fail_under", (None, 0.5), gated, base=FILES | {"predictions": predictions(1)}),
    Row("fail_under", (None, 0.5), gated, base=FILES, same=True),
    Row("baseline", (None, earlier), compared, base=WRONG),
    Row("max_drop", ([], ["1"]), compared, base=WRONG | {"baseline": earlier}),
    Row(
        "allow_different",
        (False, True),
        compared,
        base=FILES | {"truth": truth(1), "baseline": earlier, "max_drop": ["1"]},
    ),
    *(
        Row(
            name,
            (lambda at: at.root / "a.x", lambda at: at.root / "b.x"),
            file_of(name),
            base=FILES,
        )
        for name in ("junit", "markdown")
    ),
    Row("out", (lambda at: at.root / "a", lambda at: at.root / "b"), report, base={"files": True}),
    Row("files", (True, False), report),
    Row("report", (False, True), written_files, base={"files": True}),
    Row("report", (False, True), written_files, base=FILES | {"files": True}),
    Row("report", (False, True), content, same=True, base={"files": True}),
    Row("device", ("cpu", "cuda:99"), told("eval")),
    Row("device", ("cpu", "auto"), results("eval"), same=True),
    Row("precision", ("fp32", "bf16"), results("eval"), ALL_BUT_SEGMENT),
    Row("precision", ("fp32", "bf16"), results("eval"), SEGMENT, MOVED),
    Row("engine", ("eager", "fused"), engine("eval")),
    Row("engine", ("eager", "fused"), near_content, same=True),
    Row("workers", (0, 1), batches("eval")),
    Row("devices", (1, 2), together("eval")),
    Row("nodes", (1, 2), together("eval")),
    Row("offline", (False, True), network_use("eval")),
    *(
        Row("format", values, evaluated, (task,), {"data": data})
        for task, (values, data) in FORMATS.items()
        if task not in BOXES
    ),
    *(
        Row(
            "format",
            values,
            told("eval"),
            (task,),
            {"data": data, "weights": model(data=data, format=values[1])},
        )
        for task, (values, data) in FORMATS.items()
        if task in BOXES
    ),
    Row("val_fraction", (None, 0.6), evaluated, base=HEAP),
    Row("splits", (None, *LISTS), evaluated, base=HEAP),
    Row("fold", ("1/2", "2/2"), evaluated, base=HEAP | {"splits": lists_of(heap, folds=2)}),
    Row("exclude", (None, without(0), without(1)), evaluated),
    Row("seed", (None, 5), evaluated, base=HEAP),
    Row("tta", (None, "flip", "ten-crop"), results("eval"), CLASSIFY),
    Row("tta", (None, "flip", "scales", "flip,scales"), results("eval"), SEGMENT, LARGE),
    Row("ignore_index", (None, 1), content, SEGMENT),
    Row("mask_map", (None, "1=255"), content, SEGMENT),
    Row("ignore_index", (None, 1), content, SEGMENT, FILES),
    Row("mask_map", (None, "1=255"), content, SEGMENT, FILES),
    Row("absent_class", ("exclude", "zero", "nan"), content, SEGMENT, SPARSE),
    Row("dialect", ("cvkit", "torchvision", "cvkit,smp"), content, SEGMENT, SPARSE),
    Row("sliding_window", (False, True), results("eval"), SEGMENT, NATIVE | {"data": large}),
    Row("tiles", ("", "32", "40x32"), results("eval"), SEGMENT + BOXES, WIDE),
    Row(
        "overlap",
        (0.1, 0.5),
        results("eval"),
        SEGMENT + BOXES,
        WIDE | {"tiles": "32"},
    ),
    Row("attack", ([], ["fgsm"], ["fgsm", "least-likely:steps=1"]), robust, ATTACKED),
    Row("corruptions", ("", "noise:1", "blur:1,noise:1"), robust),
    Row("seed", (0, 1), robust, CLASSIFY, {"corruptions": "noise:1"}),
    Row("threshold", (None, 0.9), results("eval"), BOXES),
    Row("nms", (None, 0.01), results("eval"), BOXES),
    Row("min_size", ("", "64"), results("eval"), BOXES),
    Row("image_size", ("", "64", "64x48"), results("eval"), BOXES),
    Row("max_detections", (None, 1), results("eval"), BOXES),
    Row("threshold", (None, 0.95), content, BOXES, FILES),
    Row("max_detections", (None, 1), content, BOXES, FILES),
    Row("json_file", (annotations("val"), annotations("train")), evaluated, BOXES, COCO),
    Row("images", (pictures(1), pictures(2)), results("eval"), BOXES, COCO),
    Row("protocol", ("coco", "voc07", "voc12", "voc12,coco"), content, BOXES, FILES),
    Row("iou", (0.5, 0.9), content, BOXES, SHRUNK),
    Row("mask_threshold", (0.3, 0.7), results("eval"), INSTANCE),
    Row("boundary", (False, True), content, INSTANCE, FILES),
    Row(
        "proposals",
        (regions(20), regions(30)),
        results("eval"),
        DETECT,
        {"weights": model(**FAST, proposals=regions(20))},
    ),
    Row("fuse", ([], ["other"]), content, VIDEO, FILES),
    Row("weight", (1.0, 0.1), content, VIDEO, FILES | {"fuse": ["other"]}),
    Row("views", ("", "2x1", "1x3"), results("eval"), VIDEO, {"data": large}),
]


@cases(ROWS)
def test_an_evaluation_does_what_its_flag_says(places, task, row):
    at = places(task)
    found = []
    for value in row.values:
        more = row.base | {row.flag: value}
        if more.get("fuse"):
            more["fuse"] = [f"{table(1)(at)}=3" if row.flag == "fuse" else f"{table(1)(at)}=0.5"]
        found.append(row.measure(at, **more))
    require_effect(row, found)
