"""What cannot work, or would have no effect, is refused before anything begins."""

import ast
from functools import partial
from pathlib import Path

import pytest
from data_view_parts import lists_of
from effect_parts import BOXES, TASKS
from model_parts import FILES, options, predictions
from model_parts import model as trained
from test_tool_effects import DETECTOR, FILE, SEGMENTER, fresh
from test_tool_effects import photos as pictures_of
from test_train_effects import model
from test_train_own_effects import (
    FAST,
    FRAMES,
    KNN,
    MOBILE,
    annotations,
    changed,
    heap,
    pictures,
    regions,
    yolo_too,
)

from cvkit.commands import (
    bench,
    evaluate,
    explain,
    export,
    features,
    predict,
    proposals,
    train,
    tune,
    weights,
    weights_average,
)
from cvkit.data.synthetic.samples import write_classification, write_videos
from cvkit.engine import processes
from cvkit.errors import CvkitError
from cvkit.export import formats as exports
from cvkit.options.job import with_given
from cvkit.options.saves import ALWAYS
from cvkit.options.tree import OPTIONS

ROOT = Path(__file__).parents[2] / "cvkit"
SETUP = (
    *("train_flags", "classify/setup", "segment/setup", "detect/setup", "detect/network"),
    *("detect/inputs", "video/setup", "video/network", "classed", "inference_flags"),
    *("detect/proposals", "common", "continued", "classify/network", "segment/task"),
    *("torchvision_import", "normalisation"),
)
FILES_OF = [ROOT / "tasks" / f"{name}.py" for name in SETUP]
FILES_OF += [
    ROOT / "commands" / f"{name}.py" for name in ("train", "tune", "bench", "evaluate", "predict")
]
FILES_OF += [ROOT / "commands" / f"{name}.py" for name in ("proposals", "weights", "export_flags")]
FILES_OF += [ROOT / "commands" / "weights_average.py"]
FILES_OF += [ROOT / "export" / "table.py", ROOT / "options" / "saves.py"]
FILES_OF += [ROOT / "commands" / name for name in ("predict_inputs.py", "explain.py")]
FILES_OF += [ROOT / "explain" / name for name in ("plan.py", "layers.py", "attention.py")]
FILES_OF += [ROOT / "tasks" / "regions.py", ROOT / "tasks" / "file_labels.py"]
FILES_OF += [
    ROOT / "commands" / name for name in ("features.py", "looking.py", "explain_patches.py")
]
FILES_OF += [ROOT / "explain" / "encoding.py", ROOT / "options" / "features.py"]
FILES_OF += [ROOT / "engine" / name for name in ("freezing.py", "optim.py", "runtime.py")]
FILES_OF += [ROOT / "data" / name for name in ("boxes.py", "formats/recognise.py")]
FILES_OF += [ROOT / "models" / name for name in ("backbones.py", "classify.py")]
FILES_OF += [ROOT / "models" / part / "build.py" for part in ("segmentation", "detection")]
FILES_OF += [ROOT / "models" / "video" / "frames.py"]
ELSEWHERE = {
    "json.several": "tests/data/test_joined.py",
    "task.unclear": "tests/test_data_views.py",
    "fold.syntax": "tests/tasks/test_split_lists.py",
    "fold.combined": "tests/tasks/test_split_lists.py",
    "fold.count": "tests/tasks/test_split_lists.py",
    "bootstrap.metric": "tests/extending/test_bare_task.py",
    "task.import": "tests/extending/test_bare_task.py",
    "preset.unknown": "tests/models/test_import.py",
    "classes.missing": "tests/models/test_import.py",
    "devices.missing": "needs a GPU",
    "arch.unknown": "the choices of --arch hold",
    "backbone.unknown": "the choices of --backbone hold",
    "batch_size.min": "tests/engine/test_norms.py",
    "resume.changed": "tests/engine/test_search.py",
    "image_size.unsupported": "tests/engine/test_steps.py",
    "data.missing": "tests/test_remedies.py",
    "class_weights.zero": "tests/engine/test_steps.py",
    "import.idle": "tests/test_model_files.py",
    "classes.idle": "tests/models/test_foreign_backbones.py",
    "out.input": "tests/test_commands.py",
    "inputs.unreadable": "tests/explain/test_patches.py",
    "weights.exported": "tests/explain/test_explain_command.py",
    "format.file": "tests/data/test_formats.py",
    "layer.missing": "tests/explain/test_features_command.py",
    "maps.missing": "tests/explain/test_features_command.py",
    "normalize.unread": "tests/tasks/test_normalisation.py",
}
"""Codes of refusals that are not about flags alone, and where they are tested."""
FROZEN = {"freeze_backbone": True}
NOT_BOXES = tuple(task for task in TASKS if task not in BOXES)
CLASSIFY, SEGMENT, DETECT, VIDEO = ("classify",), ("segment",), ("detect",), ("video",)
CLASSED = CLASSIFY + VIDEO
RCNN = {"arch": "rcnn", "backbone": MOBILE, "channels": 256, "min_size": "64", "roi_samples": 0}
RCNN |= {"proposals": regions(20)}
YOLO = {"data": changed("yolo", yolo_too), "format": "yolo"}
TWICE = {"weights": "m.safetensors", "pretrained": "imagenet"}
TRAIN = [
    (TASKS, {"momentum": 1.0}, "momentum.senseless"),
    (TASKS, {"ema": 1.0}, "ema.senseless"),
    (TASKS, {"warmup_epochs": 2.0}, "warmup-epochs.senseless"),
    (TASKS, {"unfreeze_at": 2}, "unfreeze-at.senseless"),
    (TASKS, {"unfreeze_at": 1}, "unfreeze-at.senseless"),
    (TASKS, {"weights": ""}, "weights.senseless"),
    (TASKS, {"pretrained": ""}, "pretrained.senseless"),
    *((TASKS, {n: 1e38}, f"{n.replace('_', '-')}.senseless") for n in ("lr", "l1", "l2")),
    (TASKS, {"weight_decay": 1e38}, "weight-decay.senseless"),
    (TASKS, {"clip_grad": 1e38}, "clip-grad.senseless"),
    (TASKS, {"freeze": "no.layer"}, "freeze.unknown"),
    (TASKS, {"unfreeze_at": 2, "epochs": 2}, "freeze.nothing"),
    (TASKS, {"device": "cuda:99"}, "device.missing"),
    (TASKS, {"device": "cpu", "precision": "fp16"}, "precision"),
    (TASKS, TWICE, "weights.pretrained"),
    (TASKS, {"augment": "missing.yaml"}, "augment.missing"),
    (BOXES, {"augment": "lecture"}, "augment.missing"),
    (TASKS, {"schedule": "step:2,1"}, "schedule.syntax"),
    (TASKS, {"schedule": "step:1"}, "schedule.senseless"),
    (NOT_BOXES, {"schedule": "auto"}, "schedule.syntax"),
    (TASKS, {"normalize": "data", "weights": model}, "normalize.weights"),
    (TASKS, {"find_lr": True, "devices": 2}, "find_lr.unsupported"),
    (TASKS, {"find_lr": True, "report": True}, "report.idle"),
    (TASKS, {"find_lr": True, "log": "csv"}, "log.idle"),
    (TASKS, {"log": "csw"}, "log.unknown"),
    (TASKS, {"find_lr": True, "resume": lambda at: at.root}, "find_lr.unsupported"),
    (TASKS, {"check": True, "resume": lambda at: at.root}, "check.resume"),
    (TASKS, {"unfreeze_at": 2, "epochs": 2, "devices": 2}, "freeze.devices"),
    (TASKS, {"compile": True, "checkpoint_gradients": True}, "checkpoint-gradients.senseless"),
    (CLASSIFY, {"freeze": "backbone,head"}, "freeze.everything"),
    (VIDEO, FROZEN, "freeze_backbone.unsupported"),
    (
        CLASSIFY,
        {"arch": "linear", "checkpoint_gradients": True},
        "checkpoint_gradients.unsupported",
    ),
    (CLASSIFY, {"arch": MOBILE, "backbone": "vgg11"}, "backbone.unsupported"),
    (CLASSIFY, {"arch": "lenet", "backbone": "vgg11"}, "backbone.unsupported"),
    (CLASSIFY, {"stem": "small"}, "stem.unsupported"),
    *(
        (CLASSIFY, {"loss": loss, "label_smoothing": 0.1}, "label_smoothing.unsupported")
        for loss in ("hinge", "squared-hinge")
    ),
    (CLASSIFY, {"aux_weight": 0.1}, "aux_weight.unsupported"),
    (CLASSIFY, {"hidden": "16"}, "hidden.unsupported"),
    *(
        (CLASSIFY, {"arch": "mlp", "hidden": text}, "hidden.syntax")
        for text in ("16,", "0", "a", "1.5", "-1", "70000", "9,9,9,9,9,9,9,9,9")
    ),
    (CLASSIFY, KNN | {"devices": 2}, "devices.unsupported"),
    (CLASSIFY, KNN | {"weights": model}, "weights.unsupported"),
    (CLASSIFY, KNN | {"check": True}, "check.unsupported"),
    (CLASSIFY, KNN | {"find_lr": True}, "find_lr.knn"),
    (CLASSIFY, {"stochastic_depth": 0.1}, "stochastic_depth.unsupported"),
    (CLASSIFY, {"pretrained": "imagenet"}, "pretrained.unsupported"),
    (CLASSED, {"class_weights": "1,2"}, "class_weights.syntax"),
    (SEGMENT, {"class_weights": "1,2"}, "class_weights.syntax"),
    (TASKS, {"val_fraction": 0.0}, "split"),
    (TASKS, {"val_fraction": 1.0}, "split"),
    (TASKS, {"val_fraction": 0.5, "test_fraction": 0.5}, "split"),
    (NOT_BOXES, {"image_size": "tall"}, "image_size.syntax"),
    (SEGMENT, {"aux_weight": 0.1}, "aux_weight.unsupported"),
    (SEGMENT, {"arch": "deeplab", "batch_size": 1}, "batch_size.min"),
    (SEGMENT, {"loss": "ce+ce"}, "loss.syntax"),
    (SEGMENT, {"scale": "2,1"}, "scale.syntax"),
    (SEGMENT, {"arch": "unet", "deconv": True}, "deconv.unsupported"),
    (SEGMENT, {"output_stride": 8}, "output_stride.unsupported"),
    (SEGMENT, {"backbone": "unet-bn"}, "backbone.unsupported"),
    (BOXES, {"label_smoothing": 0.1}, "label-smoothing.unsupported"),
    (BOXES, {"neck": "c4"}, "channels.unsupported"),
    (BOXES, {"neck": "c4", "channels": 256}, "neck.unsupported"),
    (BOXES, {"trainable_layers": 99}, "trainable_layers.range"),
    (BOXES, {"min_size": "tall"}, "min_size.syntax"),
    (CLASSED, {"image_size": "64x32"}, "image_size.square"),
    (BOXES, {"image_size": "64", "min_size": "64"}, "image_size.twice"),
    (BOXES, {"min_size": "64", "max_size": 32}, "max_size.small"),
    (BOXES, {"val_json": annotations("val")}, "json.pair"),
    (
        BOXES,
        {
            "train_json": annotations("train"),
            "val_json": annotations("val"),
            "splits": lambda at: lists_of(lambda at: str(at.data()))(at),
        },
        "splits.files",
    ),
    (DETECT, YOLO | {"images": pictures(1)}, "images.idle"),
    (
        DETECT,
        {"format": "yolo", "train_json": annotations("train"), "val_json": annotations("val")},
        "format.json",
    ),
    (DETECT, {"backbone": "vit_b_16"}, "backbone.unsupported"),
    (DETECT, {"head": "softmax"}, "head.unsupported"),
    (DETECT, FAST | {"anchor_size": 8}, "anchor-size.unsupported"),
    (DETECT, RCNN | {"anchor_size": 8}, "anchor-size.unsupported"),
    (DETECT, RCNN | {"neck": "c4"}, "neck.unsupported"),
    (DETECT, RCNN | {"roi": "pool"}, "roi.unsupported"),
    (DETECT, RCNN | {"channels": 16}, "channels.unsupported"),
    (DETECT, RCNN | {"min_size": "native"}, "min_size.native"),
    (
        DETECT,
        RCNN | {"backbone": "shufflenet_v2_x0_5", "trainable_layers": 1},
        "trainable_layers.unsupported",
    ),
    (
        DETECT,
        {"arch": "faster-rcnn-2015", "backbone": "vgg11", "channels": 256},
        "min_size.anchors",
    ),
    (DETECT, {"proposals": regions(20)}, "proposals.unsupported"),
    (VIDEO, {"augment": "randaugment"}, "augment.missing"),
    (VIDEO, {"augment": "trivialaugment"}, "augment.missing"),
    (VIDEO, {"fps": 5.0, "stride": 2}, "fps.stride"),
    (VIDEO, {"views": "2x2"}, "views.syntax"),
    *(
        (VIDEO, {name: value}, f"{name}.unused")
        for name, value in {
            **{"fusion": "concat", "cell": "gru", "bidirectional": True, "hidden": 8},
            **{"dropout": 0.1, "backbone": MOBILE},
            **{"heads": 2, "depth": 1, "positions": "learned"},
        }.items()
    ),
    (VIDEO, FRAMES | {"label_smoothing": 0.1}, "label-smoothing.unused"),
    (VIDEO, FRAMES | {"arch": "slow-fusion", "frames": 3}, "frames.few"),
    (VIDEO, FRAMES | {"arch": "slow-fusion", "backbone": "swin_t"}, "backbone.unsupported"),
    (VIDEO, {"pretrained": "kinetics"}, "pretrained.unsupported"),
    (VIDEO, {"pretrained": "imagenet"}, "pretrained.unsupported"),
]
CASES = [(task, flags, code) for tasks, flags, code in TRAIN for task in tasks]


def code_of(call):
    with pytest.raises(CvkitError) as refused:
        call()
    assert len(str(refused.value).splitlines()) == 1
    return refused.value.code


def fail(*_, **__):
    pytest.fail("something began")


@pytest.mark.parametrize(
    ("task", "flags", "code"), CASES, ids=[f"{t}-{'-'.join(f)}-{c}" for t, f, c in CASES]
)
def test_a_training_that_cannot_mean_what_it_says_is_refused(
    places, monkeypatch, task, flags, code
):
    asked = places(task).options(**flags)
    monkeypatch.setattr(train.TrainingJob, "run_folder", fail)
    monkeypatch.setattr(processes, "start", lambda options: processes.Started(processes.Layout()))
    assert code_of(lambda: train.train(asked, task)) == code


IDLE = {"tta": "flip", "sliding_window": True, "views": "2x1", "nms": 0.1, "min_size": "64"}
IDLE |= {"data": "d", "mask_threshold": 0.4, "json_file": Path("j"), "proposals": Path("p")}
IDLE |= {"exclude": Path("e"), "tiles": "64", "overlap": 0.3}
IDLE |= {"attack": ["fgsm"], "corruptions": "blur"}
IN_TABLES = {"format": "csv", "val_fraction": 0.5, "seed": 3}
IN_FILES = {"truth": Path("t"), "fuse": ["a"], "weight": 0.5}


def eval_cases():
    """Yield task, flags and code of every evaluation that is refused."""
    for task in TASKS:
        known = OPTIONS[task]["eval"].__dataclass_fields__
        yield task, {"weights": None}, "eval.what"
        yield task, {"files": False, "report": True}, "report.idle"
        yield task, FILES | {"weights": "w"}, "eval.what"
        for name, value in IDLE.items():
            if name in known:
                yield task, FILES | {name: value}, f"{name}.idle"
        for name, value in IN_FILES.items():
            if name in known:
                yield task, {"weights": "w", name: value}, f"{name}.idle"
        yield task, {"data": heap, "val_fraction": 0.0}, "split.empty"
        yield task, {"data": heap, "fold": "1/2"}, "fold.alone"
        yield task, {"data": heap, "splits": Path("s"), "val_fraction": 0.3}, "val_fraction.idle"
        yield task, {"data": heap, "splits": Path("nowhere.json")}, "json.missing"
    for task in CLASSED:
        for name, value in {**IN_TABLES, "splits": Path("s"), "fold": "1/2"}.items():
            yield task, FILES | {name: value}, f"{name}.idle"
    for task in BOXES:
        yield task, FILES | {"format": "coco"}, "format.idle"
        yield task, FILES | {"splits": Path("s")}, "splits.idle"
    for task in ("detect", "instance"):
        yield task, FILES | {"iou": 0.7}, "iou.idle"
        yield task, {"iou": 0.7}, "iou.idle"
    yield "instance", FILES | {"protocol": "voc12", "boundary": True}, "boundary.idle"
    yield "segment", FILES | {"dialect": "smp", "bootstrap": 9}, "bootstrap.idle"
    yield "segment", FILES | {"dialect": "smp", "absent_class": "zero"}, "absent_class.idle"
    yield "detect", {"data": None, "json_file": annotations("val"), "format": "voc"}, "format.json"
    yield "detect", YOLO | {"images": pictures(1)}, "images.idle"
    for task in BOXES:
        yield task, {"image_size": "64", "min_size": "64"}, "image_size.twice"
    yield "detect", {"proposals": regions(20)}, "proposals.unsupported"
    yield "detect", {"weights": "rcnn", "min_size": "64"}, "min_size.crops"
    yield "segment", {"tta": "flip", "sliding_window": True}, "tta.window"
    yield "segment", {"tiles": "64", "sliding_window": True}, "tiles.window"
    for task in ("segment", *BOXES):
        yield task, {"tiles": "64px"}, "tiles.syntax"
        yield task, {"overlap": 0.3}, "overlap.idle"
    yield "detect", {"weights": "rcnn", "tiles": "64"}, "tiles.proposals"
    for task in ("classify", "segment"):
        yield task, {"tta": "up"}, "tta.syntax"
    yield "segment", {"tta": "scales"}, "tta.scales"
    yield "video", {"views": "2x2"}, "views.syntax"


EVALS = list(eval_cases())


@pytest.mark.parametrize(
    ("task", "flags", "code"), EVALS, ids=[f"{t}-{'-'.join(f)}-{c}" for t, f, c in EVALS]
)
def test_an_evaluation_of_which_nothing_depends_on_a_flag_is_refused(
    places, monkeypatch, task, flags, code
):
    at = places(task)
    if flags.get("weights") == "rcnn":
        flags = flags | {"weights": at.begun(**RCNN | {"head": "softmax"}).done.run}
    monkeypatch.setattr("cvkit.engine.evaluate.evaluate", fail)
    monkeypatch.setattr(evaluate, "_report_folder", fail)
    chosen = {name: str(v) if name == "weights" and v else v for name, v in flags.items()}
    asked = options(at, "eval", **chosen)
    assert code_of(lambda: evaluate.evaluate(asked, task)) == code


PREDICTS = [
    *((task, {"inputs": []}, "inputs.missing") for task in TASKS),
    *((task, {"resume": True, "overwrite": True}, "out.resume") for task in TASKS),
    *((task, {"device": "cuda:99"}, "device.missing") for task in TASKS),
    *((task, {"resume": True, "out": None}, "out.missing") for task in TASKS),
    *((task, {"json_results": True}, "json.results") for task in TASKS),
    *(
        (task, {"overlay": "none", "contact_sheet": 3}, "sheet.overlay")
        for task in ("segment", *BOXES)
    ),
    ("detect", {"overlay": "none", "draw_threshold": 0.2}, "draw_threshold.idle"),
    *((task, {"save": "pdf"}, "save.unknown") for task in TASKS),
    *((task, {"save": "video"}, "save.idle") for task in TASKS if task != "video"),
    *((task, {"fps": 5.0}, "fps.idle") for task in TASKS if task != "video"),
    *((task, {"save": kind}, "save.idle") for task, kind in ALWAYS),
    ("detect", {"proposals": regions(20)}, "proposals.unsupported"),
    ("segment", {"tta": "flip", "sliding_window": True}, "tta.window"),
    ("segment", {"tiles": "64", "sliding_window": True}, "tiles.window"),
    *((task, {"tiles": "64px"}, "tiles.syntax") for task in ("segment", *BOXES)),
    *((task, {"overlap": 0.3}, "overlap.idle") for task in ("segment", *BOXES)),
    ("segment", {"tta": "up"}, "tta.syntax"),
    ("segment", {"tta": "flip,scales"}, "tta.scales"),
    ("classify", {"tta": "up"}, "tta.syntax"),
    ("classify", {"embeddings": Path("f.npy")}, "embeddings.suffix"),
    ("classify", {"embeddings": Path("no/f.npz")}, "embeddings.folder"),
    ("classify", {"embeddings": lambda at: at.write("f.npz", "")}, "embeddings.exists"),
    ("video", {"views": "2x2"}, "views.syntax"),
]


@pytest.mark.parametrize(
    ("task", "flags", "code"), PREDICTS, ids=[f"{t}-{'-'.join(f)}-{c}" for t, f, c in PREDICTS]
)
def test_a_prediction_that_cannot_work_is_refused(places, monkeypatch, task, flags, code):
    monkeypatch.setattr("cvkit.storage.output_folder", fail)
    asked = options(places(task), "predict", **flags)
    assert code_of(lambda: predict.predict(asked, task)) == code


ONNX = {"format": "onnx"}


def _made(name, at):
    """Return the path, as text, of an empty file."""
    return str(at.write(name, ""))


def _beside(at, there, name):
    """Return the path of a file that is not there, beside one that is."""
    return at.write(there, "").with_name(f"{at.task}-{name}")


def _clips(at):
    """Return a video, which only models for video take."""
    write_videos(at.root / "explained-clips", {"val": 1}, 1, (32, 32))
    return [str(next((at.root / "explained-clips").rglob("*.mp4")))]


def _classed(at):
    """Return a dataset with neither boxes nor masks."""
    write_classification(at.root / "explained-classes", {"train": 6, "val": 6}, 1, (32, 32))
    return at.root / "explained-classes"


SHAPES = {"weights": "shapes"}
EXPLAIN = [
    ({"inputs": []}, "inputs.missing"),
    ({"weights": None}, "weights.missing"),
    *(
        ({name: value}, f"{name}.idle")
        for name, value in (
            *(("samples", 3), ("noise", 0.3), ("steps", 3), ("patch", 3), ("stride", 3)),
            *(("layer", "x"), ("value", 1.0), ("overwrite", True), ("channels", "1"), ("top", 2)),
        )
    ),
    ({"method": "gradient,rollout,smooth-grad", "patch": 3}, "patch.idle"),
    ({"method": "occlusion", "patch": 3, "stride": 4}, "stride.gaps"),
    *(
        (SHAPES | {"method": "patches", name: value}, f"{name}.idle")
        for name, value in (
            *(("target", "circle"), ("truth", Path("x")), ("measure", True), ("seed", 1)),
            *(("value", 1.0), ("samples", 3)),
        )
    ),
    (SHAPES | {"method": "patches,gradient"}, "method.combined"),
    (SHAPES | {"method": "patches", "channels": "x"}, "channels.syntax"),
    (SHAPES | {"method": "patches", "channels": "100000"}, "channels.unknown"),
    (SHAPES | {"method": "patches", "layer": "backbone.conv6"}, "layer.unknown"),
    (SHAPES | {"method": "gradcam"}, "method.unknown"),
    (SHAPES | {"method": "rollout"}, "method.unsupported"),
    (SHAPES | {"method": "attention"}, "method.unsupported"),
    (SHAPES | {"method": "grad-cam", "layer": "backbone.conv6"}, "layer.unknown"),
    (SHAPES | {"target": "squair"}, "target.unknown"),
    (SHAPES | {"target": "box 0"}, "target.unsupported"),
    (SHAPES | {"target": "box 1"}, "target.unsupported"),
    (SHAPES | {"target": "point 1,2"}, "target.unsupported"),
    ({"target": "point 1,2"}, "target.unsupported"),
    ({"target": "box 0"}, "target.unknown"),
    ({"truth": _classed}, "truth.regions"),
    ({"truth": lambda at: at.data(6)}, "truth.inputs"),
    ({"weights": "motions", "inputs": _clips, "truth": _classed}, "truth.unsupported"),
    ({"device": "cuda:99"}, "device.missing"),
]
FEATURES = [
    ({"inputs": []}, "inputs.missing"),
    ({"weights": None}, "weights.missing"),
    ({"overwrite": True}, "overwrite.idle"),
    ({"maps": "tnse"}, "maps.unknown"),
    ({"maps": "pca,none"}, "maps.combined"),
    ({"maps": "none", "points": 50}, "points.idle"),
    ({"maps": "none", "seed": 1}, "seed.idle"),
    ({"maps": "pca,tsne", "seed": 1}, "seed.idle"),
    ({"maps": "pca", "perplexity": 5.0}, "perplexity.idle"),
    ({"neighbors": 3}, "neighbors.idle"),
    ({"clusters": 1000}, "clusters.many"),
    ({"layer": "backbone.body.layer9"}, "layer.unknown"),
    ({"queries": "nowhere"}, "inputs.missing"),
    ({"truth": _classed}, "truth.inputs"),
    ({"device": "cuda:99"}, "device.missing"),
]
TOOLS = [
    *((("tune",), {"strategy": s, "points": 4}, "points.idle") for s in ("random", "halving")),
    (("tune",), {"strategy": "grid", "trials": 4}, "trials.idle"),
    (("tune",), {"strategy": "grid", "seed": 4}, "seed.idle"),
    (("tune",), {"lr": "high"}, "range.syntax"),
    (("tune",), {"batch_size": "many"}, "range.syntax"),
    (("tune",), {"set": ["lr"]}, "set.syntax"),
    (("tune",), {"set": ["lr=1"]}, "set.taken"),
    *((("tune",), {"task": t, "set": ["devices=2"]}, "tune.processes") for t in TASKS),
    (("tune",), {"set": ["nodes=2"]}, "tune.processes"),
    (("tune",), {"task": "classify", "set": ["arch=knn"]}, "tune.idle"),
    (("bench",), {"arch": "faster-rcnn", "weights": "boxes"}, "weights.idle"),
    (("bench",), {"arch": "faster-rcnn", "data": "samples"}, "data.idle"),
    (("bench",), {"arch": "none"}, "arch.unknown"),
    (("bench",), {"task": "classify", "arch": "knn"}, "arch.untrained"),
    (("bench",), {"split": "val"}, "split.idle"),
    (("bench",), {"batch_sizes": "1,0"}, "batch_sizes.syntax"),
    (("bench",), {"batch_sizes": "many"}, "batch_sizes.syntax"),
    (("bench",), {"engines": "auto"}, "engines.unknown"),
    (("bench",), {"precisions": "fp8"}, "precisions.unknown"),
    (("bench",), {"precisions": "fp16"}, "engine.missing"),
    (("bench",), {"overwrite": True}, "overwrite.idle"),
    (("bench",), {"out": Path("b.txt")}, "out.suffix"),
    (("bench",), {"out": lambda at: at.write("b.json", "")}, "out.exists"),
    (("bench",), {"out": Path("no/b.json")}, "out.folder"),
    (("bench",), {"set": ["threshold"]}, "set.syntax"),
    (("bench",), {"set": ["engine=fused"]}, "set.taken"),
    (("bench",), {"set": ["channels=16"]}, "set.unknown"),
    (("bench",), {"set": ["overlay=none", "draw-threshold=0.3"]}, "draw_threshold.idle"),
    (("bench",), {"inputs": ["nowhere"]}, "inputs.missing"),
    (("bench",), {"data": "nowhere"}, "data.missing"),
    (("export",), {"weights": None}, "weights.missing"),
    *(
        (("export",), {"weights": partial(_made, f"m{kind.suffix}")}, "export.source")
        for kind in exports.FORMATS.values()
    ),
    *((("explain",), flags, code) for flags, code in EXPLAIN),
    *((("features",), flags, code) for flags, code in FEATURES),
    (("export",), {"split": "val"}, "split.idle"),
    (("export",), {"max_drop": 0.1}, "max_drop.idle"),
    (("export",), {"dynamic": "batches"}, "dynamic.unknown"),
    (("export",), {"half": True}, "half.unsupported"),
    (("export",), {"int8": True, "data": "samples"}, "int8.unsupported"),
    (("export",), ONNX | {"half": True, "int8": True, "data": "samples"}, "half.combined"),
    (("export",), ONNX | {"int8": True}, "int8.data"),
    (("export",), {"calibrate": 3}, "calibrate.idle"),
    (("export",), {"weights": "motions", "dynamic": "size"}, "dynamic.unsupported"),
    (("export",), {"overwrite": True}, "overwrite.idle"),
    (("export",), {"out": Path("m.onnx")}, "out.suffix"),
    (("export",), {"out": lambda at: at.write("m.pt2", "")}, "out.exists"),
    (("export",), {"out": lambda at: _beside(at, "n.pt2.export.json", "n.pt2")}, "out.exists"),
    (("export",), {"out": Path("no/m.pt2")}, "out.folder"),
    (("export",), {"weights": "boxes"}, "export.unsupported"),
    (("export",), {"weights": "nowhere"}, "model.missing"),
    (("detect", "proposals"), {"out": Path("p.txt")}, "out.suffix"),
    (("detect", "proposals"), {"out": lambda at: at.write("p.npz", "")}, "out.exists"),
    (("detect", "proposals"), YOLO | {"images": pictures(1)}, "images.idle"),
    (("weights", "average"), {"files": [Path("a")]}, "average.few"),
    (("weights", "average"), {"out": Path("p.txt")}, "out.suffix"),
    (("weights", "average"), {"out": lambda at: at.write("s.safetensors", "")}, "out.exists"),
    (("weights", "average"), {"method": "greedy"}, "average.data"),
    *(
        (("weights", "average"), {name: value}, f"{name.replace('_', '-')}.idle")
        for name, value in {"data": "d", "split": "all", "batch_size": 2, "workers": 0}.items()
    ),
    (("weights", "import"), FILE | {"out": Path("p.txt")}, "out.suffix"),
    (("weights", "import"), FILE | {"out": lambda at: at.write("p.safetensors", "")}, "out.exists"),
    (("weights", "import"), FILE | {"backbone": "vgg11"}, "backbone.idle"),
    (("weights", "import"), FILE | {"eps": 0.1}, "eps.idle"),
    *(
        (("weights", "import"), more | {name: value}, f"{name}.idle")
        for more, name, value in (
            ({"file": SEGMENTER, "task": "segment", "arch": "lraspp_mobilenet_v3_large"}, "eps", 1),
            ({"file": SEGMENTER, "task": "segment", "arch": "fcn_resnet50"}, "preset", "v2"),
            (
                {"file": DETECTOR, "task": "detect", "arch": "fasterrcnn_resnet50_fpn"},
                "preset",
                "v2",
            ),
            ({"file": SEGMENTER, "task": "video", "arch": "r3d"}, "preset", "v2"),
            ({"file": SEGMENTER, "task": "video", "arch": "r3d"}, "backbone", "vgg11"),
        )
    ),
]


@pytest.mark.parametrize(
    ("path", "flags", "code"), TOOLS, ids=[f"{p[-1]}-{'-'.join(f)}-{c}" for p, f, c in TOOLS]
)
def test_a_command_whose_flags_cannot_work_is_refused(places, monkeypatch, path, flags, code):
    at = places("detect")
    monkeypatch.setattr(tune, "run_training", fail)
    monkeypatch.setattr(tune, "_study_folder", fail)
    monkeypatch.setattr("cvkit.engine.bench.measure", fail)
    monkeypatch.setattr("cvkit.tasks.detect.proposals.search_images", fail)
    monkeypatch.setattr("cvkit.engine.checkpoint.save_model", fail)
    monkeypatch.setattr("cvkit.export.formats.convert", fail)
    monkeypatch.setattr("cvkit.explain.run.explain_inputs", fail)
    monkeypatch.setattr("cvkit.explain.extract.extract", fail)
    monkeypatch.setattr("cvkit.explain.patches.strongest", fail)
    base = {
        "tune": {"task": "segment"},
        "bench": {"task": "detect", "inputs": pictures_of(at)},
        "proposals": {"data": str(at.data())},
        "import": {"out": fresh(at, "m.safetensors")},
        "average": {"files": [Path("a"), Path("b")], "out": fresh(at, "s.safetensors")},
        "export": {"format": "torch-export", "weights": "shapes"},
        "explain": {"weights": "boxes", "inputs": pictures_of(at), "method": "gradient"},
        "features": {"weights": "boxes", "inputs": pictures_of(at)},
    }[path[-1]]
    chosen = {n: v(at) if callable(v) else v for n, v in (base | flags).items()}
    entry = OPTIONS[path[0]]
    asked = with_given((entry[path[1]] if len(path) > 1 else entry)(**chosen), chosen)
    call = {
        "tune": lambda: tune.tune(asked),
        "bench": lambda: bench.bench(asked),
        "proposals": lambda: proposals.proposals(asked, "detect"),
        "import": lambda: weights.import_weights(asked),
        "average": lambda: weights_average.average_weights(asked),
        "export": lambda: export.export(asked),
        "explain": lambda: explain.explain(asked),
        "features": lambda: features.features(asked),
    }[path[-1]]
    assert code_of(call) == code


@pytest.mark.parametrize("flag", ["--seed", "--val-fraction"])
@pytest.mark.parametrize("how", ["model", "files"])
@pytest.mark.parametrize("task", CLASSED)
def test_dividing_what_is_split_already_is_told(cvkit, places, task, how, flag):
    at = places(task)
    ways = {
        "model": ("--weights", trained()(at), "--data", at.data(), "--workers", 0),
        "files": ("--predictions", predictions(0)(at), "--truth", at.data()),
    }
    words = (task, "eval", *ways[how], "--no-files")
    told = "warning: --{} has no effect: the data are already split"
    for more in ((), (flag, "0.5" if flag == "--val-fraction" else 3)):
        done = cvkit(*words, *more)
        assert done.code == 0, done.err
        assert (told.format(flag[2:]) in done.err) == bool(more)


def codes():
    """Yield the codes of the refusals in the modules that look at flags."""
    for file in FILES_OF:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UsageError":
                code = next(k.value for k in node.keywords if k.arg == "code")
                if isinstance(code, ast.Constant):
                    yield code.value
                elif isinstance(code.values[-1], ast.Constant):  # after the name of the flag
                    yield code.values[-1].value
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "refuse_idle":
                yield f".{node.args[3].value}"


def test_every_refusal_about_flags_is_tested():
    tested = {code for *_, code in TRAIN + EVALS + PREDICTS + TOOLS} | set(ELSEWHERE)
    ends = {f".{code.rpartition('.')[2]}" for code in tested}
    for code in codes():
        assert code in tested or code in ends, code
