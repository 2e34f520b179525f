"""Every flag that only some trainings have does in each of their tasks what it says."""

import shutil

import numpy as np
import pytest
from data_view_parts import lists_of
from effect_parts import BOXES, Row, cases, require_effect
from PIL import Image
from test_train_effects import body_changes, loss, seen, start, train_keys, val_keys

from cvkit import catalog, load
from cvkit.data.synthetic.samples import WRITERS
from cvkit.tasks.detect import proposals as proposed

CLASSIFY, SEGMENT, VIDEO = ("classify",), ("segment",), ("video",)
DETECT, INSTANCE = ("detect",), ("instance",)
CLASSED = CLASSIFY + VIDEO
KNN = {"arch": "knn"}
MOBILE = "mobilenet_v3_small"
FRAMES = {"arch": "single-frame", "backbone": MOBILE, "image_size": "32"}
LSTM = FRAMES | {"arch": "cnn-lstm", "hidden": 8}
FRAME_ATTENTION = FRAMES | {"arch": "cnn-transformer", "hidden": 8}
FAST = {"arch": "fast-rcnn"}


def shapes(at, **more):
    """The layers of the network and the shapes of their weights."""
    return {name: tuple(value.shape) for name, value in start(at, **more).items()}


def judged(at, **more):
    return at.begun(**more).judged


def scores(at, **more):
    """What a trained model says of the images of validation."""
    run = at.begun(**more).done.run
    files = sorted((at.data() / "val").rglob("*.png"))
    return [result.scores for result in load(run).predict(files)]


def inputs(at, **more):
    """The sizes of the images inside a detector."""
    made = at.begun(**more)
    return made.job.model.eval().transform(list(made.batch.images)).sizes_hw


def fitted_last(at, **more):
    """What is fitted after the last step."""
    job = at.begun(**more).job
    return [title for title, _ in job.task.post_fits(job.model, 0)]


def asked_mode(at, **more):
    """How selective search is asked to search."""
    modes = []

    def search(images, *, mode, **_):
        modes.append(mode)
        return {image.key: np.array([[2, 2, 20, 20]], np.float32) for image in images}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposed, "search_images", search)
        at.begun(**more).job  # noqa: B018
    return modes


def regions(side):
    """Return what makes a file with a region of this side for every image."""

    def make(at):
        names = sorted(path.name for path in at.data().rglob("*.png"))
        return at.write(f"regions{side}.json", {name: [[1, 1, side, side]] for name in names})

    return make


def changed(name, change):
    """Return what makes a copy of the data that a function changes."""

    def make(at):
        def build(path):
            shutil.copytree(at.data(), path)
            change(path)

        return str(at.once(name, build))

    return make


def heap(at):
    """Data that are not divided."""

    def build(path):
        WRITERS[at.task](path, {"train": 21 if at.task in CLASSED else 8}, 9, (32, 32))
        if at.task not in CLASSED:
            return
        for folder in (path / "train").iterdir():
            folder.rename(path / folder.name)
        (path / "train").rmdir()

    return str(at.once("heap", build))


HEAP = {"data": heap}
LISTS = lists_of(heap, val_fraction=0.5), lists_of(heap, val_fraction=0.7)


def uneven(path):
    """Leave fewer files to all classes but the first one."""
    first = sorted((path / "train").iterdir())[0]
    (file,) = first.iterdir()
    for number in range(3):
        (first / f"more{number}{file.suffix}").write_bytes(file.read_bytes())


def table_too(path):
    """Add a table that lists one file less than the folders hold."""
    files = sorted(file.relative_to(path) for file in path.rglob("*/*/*.*"))
    rows = [f"{file},{file.parts[1]},{file.parts[0]}" for file in files]
    assert rows[-1].endswith(",val")
    (path / "labels.csv").write_text("\n".join(["path,label,split", *rows[:-1]]) + "\n")


def voc_too(path):
    """Add VOC's folders with one image of each split."""
    (path / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass"):
        (path / name).mkdir()
    for split in ("train", "val"):
        image = min((path / "images" / split).iterdir())
        shutil.copy(image, path / "JPEGImages" / image.name)
        shutil.copy(path / "masks" / split / image.name, path / "SegmentationClass" / image.name)
        (path / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(image.stem + "\n")


def yolo_too(path):
    """Add the labels of YOLO, with one object in each image."""
    for split in ("train", "val"):
        (path / "labels" / split).mkdir(parents=True)
        for image in (path / "images" / split).iterdir():
            (path / "labels" / split / f"{image.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    lines = f"path: {path}\ntrain: images/train\nval: images/val\nnames: [thing]\n"
    (path / "data.yaml").write_text(lines)


def index_too(path):
    """Add maps of objects, with one in each image."""
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 4:20] = 1
    for split in ("train", "val"):
        (path / "masks" / split).mkdir(parents=True)
        for image in (path / "images" / split).iterdir():
            Image.fromarray(mask).save(path / "masks" / split / image.name)


def pictures(times):
    """Return what makes a folder with all images, their brightness divided."""

    def make(at):
        def build(path):
            path.mkdir()
            for file in (at.data() / "images").rglob("*.png"):
                Image.fromarray(np.asarray(Image.open(file)) // times).save(path / file.name)

        return at.once(f"pictures{times}", build)

    return make


def annotations(split):
    return lambda at: at.data() / "annotations" / f"instances_{split}.json"


BOTH = {"train_json": annotations("train"), "val_json": annotations("val"), "images": pictures(1)}
FORMATS = {
    "classify": (("folders", "csv"), changed("table", table_too)),
    "video": (("folders", "csv"), changed("table", table_too)),
    "segment": (("pairs", "voc"), changed("voc", voc_too)),
    "detect": (("coco", "yolo"), changed("yolo", yolo_too)),
    "instance": (("coco", "index"), changed("index", index_too)),
}
ROWS = [
    *(
        Row(
            "format",
            values,
            lambda at, **more: at.begun(**more).keys + [seen(at, **more)],
            (task,),
            {"data": data},
        )
        for task, (values, data) in FORMATS.items()
    ),
    # classify
    Row("arch", ("lenet", "mlp", "linear", "knn", MOBILE), shapes, CLASSIFY),
    Row("backbone", (None, MOBILE), shapes, CLASSIFY, {"arch": "linear"}),
    Row("backbone", (MOBILE, "shufflenet_v2_x0_5"), shapes, CLASSIFY, {"arch": None}),
    Row("stem", ("imagenet", "small"), loss, CLASSIFY, {"arch": MOBILE}),
    Row("stem", ("small", "auto"), loss, CLASSIFY, {"arch": MOBILE}, same=True),
    Row("stochastic_depth", (0.0, 0.9), loss, CLASSIFY, {"arch": "efficientnet_b0"}),
    Row("aux_weight", (None, 0.0, 0.9), loss, CLASSIFY, {"arch": "googlenet", "image_size": "64"}),
    Row("hidden", ("512,512", "16", "16,16", "16,8,4"), shapes, CLASSIFY, {"arch": "mlp"}),
    Row("neighbors", (1, 3), scores, CLASSIFY, KNN),
    Row(
        "distance",
        ("l1", "l2", "cosine"),
        scores,
        CLASSIFY,
        KNN | {"neighbors": 3, "votes": "distance"},
    ),
    Row("votes", ("uniform", "distance"), scores, CLASSIFY, KNN | {"neighbors": 3}),
    Row("erasing", (0.0, 1.0), seen, CLASSIFY),
    Row("cutmix", (0.0, 1.0), loss, CLASSIFY),
    Row("loss", ("ce", "hinge", "squared-hinge"), loss, CLASSIFY),
    # all
    Row("val_fraction", (0.2, 0.6), train_keys, base={"data": heap}),
    Row("splits", (None, *LISTS), train_keys, base=HEAP),
    Row("test_fraction", (0.0, 0.4), train_keys, base=HEAP | {"val_fraction": 0.3}),
    Row("group_by", (None, "regex:\\d(?=\\.|$)"), train_keys, base=HEAP | {"val_fraction": 0.5}),
    Row("fold", ("1/2", "2/2"), train_keys, base=HEAP | {"splits": lists_of(heap, folds=2)}),
    # classify and video
    Row("dropout", (0.0, 0.9), loss, CLASSIFY),
    Row("dropout", (0.0, 0.9), loss, VIDEO, LSTM),
    Row("image_size", ("32", "40"), seen, CLASSED),
    Row("mixup", (0.0, 0.5), loss, CLASSED),
    *(
        Row(
            "class_weights",
            ("none", "balanced", "sqrt", numbers),
            loss,
            (task,),
            {"data": changed("uneven", uneven)},
        )
        for task, numbers in (("classify", "9,1,2,3,4,5"), ("video", "9,1,2,3,4,5,6"))
    ),
    # segment
    Row("arch", tuple(catalog.ARCHS["segment"]), shapes, SEGMENT),
    Row("backbone", ("toy", MOBILE), shapes, SEGMENT),
    Row("output_stride", (16, 32), loss, SEGMENT, {"backbone": MOBILE}),
    Row("aux_weight", (None, 0.0, 0.9), loss, SEGMENT, {"arch": "fcn"}),
    Row("deconv", (False, True), shapes, SEGMENT),
    Row("image_size", ("32x32", "64x32"), seen, SEGMENT),
    Row("resize", ("fit", "native"), judged, SEGMENT, {"image_size": "64x64"}),
    Row("scale", ("0.5,2", "3,4"), seen, SEGMENT),
    Row("ignore_index", (255, 1), seen, SEGMENT),
    Row("mask_map", (None, "1=255"), seen, SEGMENT),
    Row("loss", ("ce", "dice", "focal", "ohem", "ce+dice", "ce+0.5*dice"), loss, SEGMENT),
    Row("class_weights", ("none", "balanced", "sqrt", "9,1,2,3,4,5"), loss, SEGMENT),
    # detect and instance
    Row("arch", ("faster-rcnn", "faster-rcnn-v2"), shapes, DETECT),
    Row("arch", ("mask-rcnn", "mask-rcnn-v2"), shapes, INSTANCE),
    Row("backbone", ("toy", MOBILE), shapes, BOXES),
    Row("neck", ("fpn", "c4"), shapes, BOXES, {"backbone": "resnet18", "channels": 256}),
    Row("channels", (16, 24), shapes, BOXES),
    Row("roi", ("align", "pool"), loss, BOXES),
    Row("anchor_size", (8, 32), loss, BOXES),
    Row("trainable_layers", (None, 0, 2), body_changes, BOXES),
    Row("freeze_bn", (False, True), body_changes, BOXES),
    Row("train_json", (annotations("train"), annotations("val")), train_keys, BOXES, BOTH),
    Row("val_json", (annotations("train"), annotations("val")), val_keys, BOXES, BOTH),
    Row("images", (pictures(1), pictures(2)), seen, BOXES, BOTH),
    Row("min_size", ("32", "64", "x1.5"), inputs, BOXES),
    Row("max_size", (0, 48), inputs, BOXES, {"min_size": "x2"}),
    Row("image_size", ("32", "64", "64x48"), inputs, BOXES, {"min_size": ...}),
    Row("roi_samples", (2, 16), loss, BOXES),
    Row("proposals", (regions(20), regions(30)), seen, DETECT, FAST),
    Row("proposal_mode", ("fast", "quality"), asked_mode, DETECT, FAST),
    Row(
        "head",
        ("svm", "softmax"),
        fitted_last,
        DETECT,
        {"arch": "rcnn", "backbone": MOBILE, "min_size": "32", "proposals": regions(20)}
        | {"channels": 256, "roi_samples": 0},
    ),
    # video
    Row("arch", ("single-frame", "early-fusion", "cnn-lstm"), shapes, VIDEO, FRAMES),
    Row("backbone", (MOBILE, "shufflenet_v2_x0_5"), shapes, VIDEO, FRAMES),
    Row("fusion", ("pool", "concat"), shapes, VIDEO, FRAMES | {"arch": "late-fusion"}),
    Row("cell", ("lstm", "gru", "rnn"), shapes, VIDEO, LSTM),
    Row("heads", (2, 4), loss, VIDEO, FRAME_ATTENTION),
    Row("depth", (1, 2), shapes, VIDEO, FRAME_ATTENTION),
    Row("positions", ("sine", "learned"), shapes, VIDEO, FRAME_ATTENTION),
    Row("hidden", (8, 16), shapes, VIDEO, LSTM),
    Row("hidden", (8, 16), shapes, VIDEO, LSTM | {"arch": "conv-lstm"}),
    Row("bidirectional", (False, True), shapes, VIDEO, LSTM),
    Row("frames", (4, 8), seen, VIDEO),
    Row("sampling", ("clip", "uniform"), seen, VIDEO),
    Row("stride", (1, 3), seen, VIDEO),
    Row("fps", (0.0, 5.0), seen, VIDEO),
    Row("clips", (1, 2), train_keys, VIDEO),
    Row("views", ("1x1", "2x1", "1x3"), judged, VIDEO),
    Row("flip", (0.0, 1.0), seen, VIDEO),
    Row("reverse", (0.0, 1.0), seen, VIDEO),
]


@cases(ROWS)
def test_a_training_does_what_its_own_flag_says(places, task, row):
    at = places(task)
    require_effect(row, [row.measure(at, **row.base | {row.flag: value}) for value in row.values])
