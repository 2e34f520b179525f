"""Images of 12 bits in files of 16: every task measures them, keeps the rule, and goes by it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.files import list_inputs, walk_images, walk_videos
from cvkit.data.synthetic.samples import write_classification, write_detection, write_segmentation
from cvkit.options.tree import OPTIONS
from cvkit.tasks.normalisation import value_bits, warn_of_bits

TASKS = list(catalog.TASKS)


def write_clips(folder):
    """Videos that are folders of pictures, of two classes."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("left", "right"):
            place = folder / split / label / "clip"
            place.mkdir(parents=True)
            for number in range(8):
                picture = rng.integers(0, 256, (48, 48, 3), np.uint8)
                Image.fromarray(picture).save(place / f"{number}.png")


def write_objects(folder):
    write_detection(folder, {"train": 4, "val": 2}, seed=3, size_hw=(48, 48))


WRITERS = {
    "classify": lambda folder: write_classification(
        folder, {"train": 12, "val": 6}, seed=3, size_hw=(48, 48)
    ),
    "segment": lambda folder: write_segmentation(
        folder, {"train": 4, "val": 2}, seed=3, size_hw=(48, 48)
    ),
    "detect": write_objects,
    "instance": write_objects,
    "video": write_clips,
}


def deepen(folder, shift=4):
    """Turn the images of a dataset into files of 16 bits whose values have 8 + shift bits."""
    for path in folder.rglob("*.png"):
        if "masks" not in path.parts:
            values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16)
            cv2.imwrite(str(path), values << shift)


@pytest.fixture(scope="module", params=TASKS)
def pair(request, tmp_path_factory):
    """The task's name, and the same dataset in 8 bits and in 12 of 16."""
    shallow, deep = (tmp_path_factory.mktemp(name) / "data" for name in ("shallow", "deep"))
    for folder in (shallow, deep):
        folder.mkdir()
        WRITERS[request.param](folder)
    deepen(deep)
    return request.param, shallow, deep


class Listening(Reporter):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.said.append(text)


def made(name, place, **more):
    options = OPTIONS[name]["train"](data=str(place), augment="none", **more)
    report = Listening()
    return catalog.resolve(catalog.TASKS[name]).for_training(options, report), options, report


def inputs(name, place):
    """The images (or videos) of the validation split, as predict finds them."""
    walk = walk_videos if name == "video" else walk_images
    places = [place / "val", place / "images" / "val", place]
    folder = next(p for p in places if p.is_dir())
    return list_inputs([str(folder)], walk=walk)


def test_training_measures_says_and_stores_the_bits(pair):
    name, shallow, deep = pair
    for place, bits in ((shallow, None), (deep, 12)):
        task, options, report = made(name, place)
        assert task.preprocessing.bits == bits
        assert task.header(options)["preprocessing"]["bits"] == bits
        assert task.inference_rule()["bits"] == bits
        told = [line for line in report.said if "12 bits" in line]
        assert len(told) == (bits == 12)


@pytest.mark.parametrize(
    ("bits", "wanted"),
    [((10, 12), 12), ((12, 10), 12), ((None, 10), 10), ((14, None, 16), 16), ((None, None), None)],
)
def test_the_split_with_the_largest_values_decides(bits, wanted):
    scans = [SimpleNamespace(bits=each) for each in bits]
    report = Listening()
    assert value_bits(OPTIONS["segment"]["train"](), scans, report) == wanted
    assert len(report.said) == (wanted is not None)
    for model, told in ((16, False), (8, wanted is not None), (None, False)):
        report = Listening()
        warn_of_bits(model, scans, report)
        assert len(report.said) == told
        assert not told or f"values of {wanted} bits" in report.said[0]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("split", "place"), [("train", 0), ("train", -1), ("val", 0), ("val", -1)])
def test_the_image_with_the_largest_values_decides(tmp_path, name, split, place):
    WRITERS[name](tmp_path)
    deepen(tmp_path, shift=2)
    assert made(name, tmp_path)[0].preprocessing.bits == 10
    images = sorted(p for p in tmp_path.rglob("*.png") if "masks" not in p.parts)
    path = [image for image in images if split in image.relative_to(tmp_path).parts][place]
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) << 2)
    assert made(name, tmp_path)[0].preprocessing.bits == 12


def test_training_evaluation_and_prediction_see_what_8_bits_show(pair):
    name, shallow, deep = pair
    found = {}
    for place in (shallow, deep):
        task, options, _ = made(name, place)
        header = task.header(options)
        seen = []
        for split, training in (("train", True), ("train", False), ("val", False)):
            data = task.dataset(split, training=training)
            seen += [data.read(index, seed=7).image for index in range(len(data))]
        used = OPTIONS[name]["predict"]()
        model = catalog.resolve(catalog.TASKS[name]).for_model(used, header)
        source = model.source(inputs(name, place))
        seen += [source.read(index).image for index in range(len(source))]
        found[place] = seen
    assert len(found[shallow]) == len(found[deep]) > 4
    for first, second in zip(found[shallow], found[deep], strict=True):
        assert np.array_equal(first, second)


def test_a_model_that_saw_no_such_files_goes_by_each_file(pair):
    name, shallow, deep = pair
    task, options, _ = made(name, shallow)
    used = OPTIONS[name]["predict"]()
    model = catalog.resolve(catalog.TASKS[name]).for_model(used, task.header(options))
    images = []
    for place in (shallow, deep):
        source = model.source(inputs(name, place))
        images.append(np.concatenate([source.read(i).image.ravel() for i in range(len(source))]))
    assert np.abs(images[0].astype(int) - images[1]).max() <= 0


def test_a_model_of_an_older_version_keeps_its_rule(pair):
    name, _, deep = pair
    task, options, _ = made(name, deep)
    header = task.header(options)
    del header["preprocessing"]["bits"]
    used = OPTIONS[name]["predict"]()
    model = catalog.resolve(catalog.TASKS[name]).for_model(used, header)
    source = model.source(inputs(name, deep))
    assert source.read(0).image.max() < 16


def test_a_resumed_run_keeps_its_rule(pair, tmp_path):
    name, _, deep = pair
    for text, bits in (
        ('{"preprocessing": {"bits": 14}}', 14),
        ('{"preprocessing": {"a": 1}}', 16),
    ):
        (tmp_path / "environment.json").write_text(text)
        task, _, _ = made(name, deep, resume=tmp_path)
        assert task.preprocessing.bits == bits


@pytest.mark.parametrize("name", ["detect", "instance"])
def test_another_input_size_keeps_the_bits(tmp_path, name):
    folder = tmp_path / "data"
    write_objects(folder)
    deepen(folder)
    task, options, _ = made(name, folder)
    used = OPTIONS[name]["predict"](min_size="64")
    model = catalog.resolve(catalog.TASKS[name]).for_model(used, task.header(options))
    assert (model.preprocessing.min_sizes, model.preprocessing.bits) == ((64,), 12)


@pytest.mark.parametrize("name", ["segment", "detect", "instance"])
def test_values_beyond_the_models_are_told_when_it_is_measured(tmp_path, name):
    folder = tmp_path / "data"
    WRITERS[name](folder)
    deepen(folder, shift=2)
    task, options, _ = made(name, folder)
    header = task.header(options)
    for shift, told in ((0, False), (4, True)):
        deepen(folder, shift)
        used = OPTIONS[name]["eval"](data=str(folder))
        model = catalog.resolve(catalog.TASKS[name]).for_model(used, header)
        report = Listening()
        model.with_data(used, header, report)
        assert any("14 bits" in line and "on 10" in line for line in report.said) == told
