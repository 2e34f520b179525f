"""`--image-size 64` is a frame of 64x64 pixels in every task."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cvkit.catalog import TASKS, resolve
from cvkit.console import Reporter
from cvkit.data.classes import make_classes
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import UsageError
from cvkit.options.classify import ClassifyTrain
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS
from cvkit.options.video import VideoTrain
from cvkit.tasks.classify import setup as classify_setup
from cvkit.tasks.classify.network import Network
from cvkit.tasks.classify.network import Preprocessing as Crop
from cvkit.tasks.classify.setup import Inference
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.continued import read_start
from cvkit.tasks.detect.inputs import Preprocessing, input_sizes, resized
from cvkit.tasks.segment import setup as segment_setup
from cvkit.tasks.video import network as video_network

DETECTING = ("detect", "instance")
SQUARE = ("classify", "video")
SMALL = {
    "classify": {"arch": "lenet"},
    "segment": {"backbone": "mobilenet_v3_small"},
    "detect": {"backbone": "mobilenet_v3_small", "channels": 16},
    "instance": {"backbone": "mobilenet_v3_small", "channels": 16},
    "video": {"arch": "r3d-small", "frames": 4},
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A dataset of each task whose images are 128 wide and 96 high."""
    root = tmp_path_factory.mktemp("wide")
    for task in TASKS:
        counts = {"train": 14, "val": 7} if task in SQUARE else {"train": 3, "val": 2}
        WRITERS[task](root / task, counts, 5, (96, 128))
    return root


def prepare(task, root, **own):
    options = OPTIONS[task]["train"](data=str(root / task), **SMALL[task], **own)
    return resolve(TASKS[task]).for_training(options, Reporter(quiet=True))


def input_hw(task, made, training):
    """Return height and width of what the network sees of a sample."""
    sample = made.dataset("train" if training else "val", training=training).read(0, 1)
    image = np.asarray(sample.image)
    if task not in DETECTING:
        return image.shape[-3:-1]
    model = made.build().train(training)
    inputs = next(m for m in model.modules() if type(m).__name__ == "DetectionInputs")
    return tuple(inputs([torch.from_numpy(image).movedim(-1, 0)]).sizes_hw[0])


UNEVEN = [(90, 300), (300, 101), (400, 400)]
"""Sizes whose shorter sides are 90, 101 and 400: the middle one is not the mean."""


@pytest.mark.parametrize(
    ("sizes_hw", "side", "resize"),
    [
        (UNEVEN, 96, 110),  # 101 * 7/8 / 16 is 5.5, of two nearest ones the even; 109.7
        ([(150, 200)] * 3, 128, 146),  # 8.2; 146.3
        ([(800, 600)] * 3, 224, 256),
        ([(40, 60), (52, 50), (90, 70)], 50, 50),
    ],
)
def test_auto_cuts_seven_eighths_of_the_middle_one_of_the_shorter_sides(sizes_hw, side, resize):
    made = classify_setup.preprocessing_for(ClassifyTrain(arch="resnet18"), sizes_hw)
    assert (made.image_size, made.resize_size) == (side, resize)
    made = video_network.preprocessing_for(VideoTrain(arch="r3d-small"), sizes_hw)
    if side > 112:
        side, resize = 112, 128
    assert (made.image_size, made.resize_hw) == (side, (resize,))


@pytest.mark.parametrize(
    ("sizes_hw", "wanted_wh"),
    [
        ([(90, 300), (300, 101), (395, 400)], (304, 304)),  # 300 / 16 is 18.75
        ([(600, 800), (1200, 1600), (600, 800)], (512, 384)),
        ([(427, 640)] * 2, (512, 336)),  # 341.6 / 16 is 21.35
        ([(20, 45)], (48, 32)),
    ],
)
def test_auto_segments_at_multiples_of_16_of_the_middle_size(sizes_hw, wanted_wh):
    assert segment_setup.image_size("auto", sizes_hw) == wanted_wh


def test_ten_crops_are_cut_from_an_eighth_more_where_nothing_would_be_left():
    task = Classify(
        classes=make_classes(["a", "b"]),
        network=Network(arch="resnet18", backbone="resnet18", small=True, image_size=61),
        preprocessing=Crop(61, 61),
        inference=Inference(ten_crop=True),
    )
    assert (task._rule.image_size, task._rule.resize_size, task._rule.whole) == (61, 70, True)
    larger = replace(task, preprocessing=Crop(61, 80))
    assert larger._rule.resize_size == 80
    one = replace(task, inference=Inference())
    assert (one._rule.resize_size, one._rule.whole) == (61, False)


@pytest.mark.parametrize("task", TASKS)
def test_a_number_is_a_square_frame(wide, task):
    made = prepare(task, wide, image_size="64")
    assert made.preprocessing == prepare(task, wide, image_size="64x64").preprocessing
    fitted = (48, 64)  # 96x128 in a frame of 64x64
    assert input_hw(task, made, training=True) == (fitted if task in DETECTING else (64, 64))
    assert input_hw(task, made, training=False) == ((64, 64) if task in SQUARE else fitted)


@pytest.mark.parametrize("task", [task for task in TASKS if task not in SQUARE])
def test_a_frame_has_a_width_and_a_height(wide, task):
    made = prepare(task, wide, image_size="96x48")
    assert input_hw(task, made, training=False) == (48, 64)
    made = prepare(task, wide, image_size="48x96")  # turned, as portraits are
    assert input_hw(task, made, training=False) == (48, 64)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("text", ["", "64x", "x64", "-64", "8", "64x8", "99999", "6e1", "64 64"])
def test_what_is_no_size_is_refused_before_data_are_read(cvkit, task, text):
    done = cvkit(task, "train", "--data", "/nowhere", f"--image-size={text}")
    assert done.code == 2
    assert "--image-size" in done.err and "/nowhere" not in done.err
    if text:
        assert f"--image-size {text!r} is neither a side in pixels nor WIDTHxHEIGHT" in done.err


@pytest.mark.parametrize("task", TASKS)
def test_a_misspelt_auto_is_told(cvkit, task):
    done = cvkit(task, "train", "--data", "/nowhere", "--image-size", "Atuo")
    assert done.code == 2 and done.err.endswith("(did you mean auto?)\n")


@pytest.mark.parametrize("task", [*SQUARE, "rcnn"])
def test_squares_are_asked_for_where_only_they_serve(cvkit, task):
    more = ("--arch", "rcnn") if task == "rcnn" else ()
    name = "detect" if more else task
    done = cvkit(name, "train", "--data", "/nowhere", *more, "--image-size", "64x48")
    assert done.code == 2 and "is not a square" in done.err and "(such as 48)" in done.err


@pytest.mark.parametrize("task", DETECTING)
def test_a_frame_and_a_shorter_side_exclude_each_other(cvkit, task):
    for flag in ("--min-size", "--max-size"):
        flags = ("--image-size", "64", flag, "320")
        done = cvkit(task, "train", "--data", "/nowhere", *flags)
        assert done.code == 2
        assert f"--image-size 64 and {flag} 320 cannot be combined" in done.err
    model = {"detect": "boxes", "instance": "masks"}[task]
    for verb, more in (("eval", ("--data", "/nowhere")), ("predict", ("/nowhere.png",))):
        flags = ("--weights", model, "--image-size", "64", "--min-size", "320")
        done = cvkit(task, verb, *more, *flags)
        assert done.code == 2
        assert "--image-size 64 and --min-size 320 cannot be combined" in done.err


@pytest.mark.parametrize("task", DETECTING)
@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_trained_detector_takes_a_frame_too(task, verb):
    before = Preprocessing((128,), 213, mean=(0.1, 0.2, 0.3))
    options = OPTIONS[task][verb](image_size="96x64")
    found = resized(before, options, "faster-rcnn")
    assert found == replace(before, min_sizes=(64,), max_size=96)
    assert resized(before, OPTIONS[task][verb](), "faster-rcnn") == before
    with pytest.raises(UsageError, match="rcnn, which sees crops"):
        resized(before, options, "rcnn")


def test_the_crops_of_rcnn_have_the_size_of_the_frame():
    options = OPTIONS["detect"]["train"](arch="rcnn", image_size="64")
    assert input_sizes(options, [], [(96, 128)]).min_sizes == (64,)


@pytest.mark.parametrize("task", DETECTING)
def test_a_frame_stands_in_for_the_sizes_of_the_model_to_begin_with(task):
    model = {"detect": "boxes", "instance": "masks"}[task]
    options = OPTIONS[task]["train"](weights=model, image_size="64")
    found, _ = read_start(with_given(options, ["weights", "image_size"]), task)
    assert (found.min_size, found.max_size) == ("auto", 0)
    plain, start = read_start(with_given(replace(options, image_size="auto"), ["weights"]), task)
    sizes = start.header["preprocessing"]
    assert plain.max_size == sizes["max_size"]
    assert json.dumps(sizes["min_sizes"]) == f"[{plain.min_size}]"
