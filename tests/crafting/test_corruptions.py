"""Corruptions against formulas written out, and what they do to datasets and metrics."""

import colorsys
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit.data.classified import read_collection
from cvkit.data.corruptions import TABLE, corrupted, turned
from cvkit.data.datasets import ClassificationDataset, CropRule
from cvkit.data.synthetic.samples import write_classification
from cvkit.errors import UsageError
from cvkit.options.robust import CORRUPTIONS, SEVERITIES, parse_corruptions
from cvkit.structures import IGNORE, Classes, Sample, SegMap


@pytest.fixture
def image():
    noise = np.random.default_rng(3).integers(0, 256, (121, 163, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def test_brightness_raises_the_value_of_hsv(image):
    found = TABLE["brightness"](image, 2, 0)
    for place in ((0, 0), (7, 30), (120, 162)):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        wanted = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2)))
        assert abs(found[place] - wanted).max() <= 1


def test_contrast_moves_towards_the_mean_colour(image):
    mean = image.astype(float).mean((0, 1))
    wanted = np.rint((image - mean) * 0.2 + mean)
    assert np.array_equal(TABLE["contrast"](image, 3, 0), wanted)


def test_blur_is_a_gaussian_that_grows_with_the_shorter_side():
    image = np.zeros((112, 201, 3), np.uint8)
    image[56, 100] = 255
    sigma = 6 * 112 / 224
    at = np.arange(201) - 100
    row = np.exp(-(at**2) / (2 * sigma**2))
    row *= 255 / (2 * np.pi * sigma**2)
    assert abs(TABLE["blur"](image, 5, 0)[56, :, 1] - row).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_its_deviation_and_depends_on_the_seed_alone(severity):
    grey = np.full((200, 200, 3), 128, np.uint8)
    one, again, other = (TABLE["noise"](grey, severity, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    wanted = (
        128
        + 255
        * TABLE["noise"].numbers[severity - 1]
        * np.random.default_rng(1).standard_normal((200, 200, 3), np.float32)
    ).clip(0, 255)
    assert abs(one - wanted).max() <= 0.51


def test_jpeg_is_what_another_library_makes(image):
    for severity, quality in enumerate((25, 18, 15, 10, 7), 1):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "jpeg", quality=quality)
        wanted = np.asarray(Image.open(stream)).astype(int)
        assert abs(TABLE["jpeg"](image, severity, 0) - wanted).mean() < 1


def test_a_turn_by_90_degrees_is_that_of_numpy():
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    found = turned(image, 90, cv2.INTER_LINEAR, (0, 0, 0))
    assert np.array_equal(found, np.rot90(image))


def test_severities_are_ordered_and_noise_has_the_same_pattern(image):
    for name in CORRUPTIONS:
        made = [TABLE[name](image, severity, 5).astype(int) for severity in SEVERITIES]
        change = [abs(each - image).mean() for each in made]
        assert change[0] > 0, name
        assert change == sorted(change) or name == "rotation", name
    mild, strong = (TABLE["noise"](image, s, 5).astype(int) - image for s in (1, 3))
    free = (mild != 0) & (abs(strong) < 40)
    assert (np.sign(mild[free]) * np.sign(strong[free]) >= 0).all()


class Samples:
    """Label maps whose images show them, in one size."""

    def __init__(self, ragged=False):
        self.sizes = [(40, 40), (30, 60)] if ragged else [(40, 40)] * 3

    def __len__(self):
        return len(self.sizes)

    def key(self, index):
        return f"{index}.png"

    def read(self, index, seed=0):
        labels = np.zeros(self.sizes[index], np.uint8)
        labels[8:20, 5:25] = 1
        image = np.repeat(labels[..., None] * 200, 3, 2)
        return Sample(self.key(index), image, truth=SegMap(labels))


def test_a_rotation_turns_the_label_map_with_the_image_and_knows_nothing_of_what_comes_in():
    for index in range(3):
        for severity in SEVERITIES:
            sample = corrupted(Samples(), "rotation", severity, 4).read(index)
            labels, red = sample.truth.labels, sample.image[..., 0].astype(int)
            known = labels != IGNORE
            assert not known[0, 0] and known[20, 20]
            sure = known & ((red > 180) | (red < 20))
            assert sure.mean() > 0.5
            assert ((red > 100)[sure] == (labels == 1)[sure]).all()
            assert (red[~known] != 200).all()
    assert {TABLE["rotation"].number(2, seed) for seed in range(20)} == {12, -12}


def test_frames_of_a_clip_are_turned_alike_and_the_class_stays():
    clip = np.repeat(Samples().read(0).image[None, None], 4, 1)  # [V, T, H, W, C]
    made = TABLE["rotation"](clip, 3, 1)
    assert made.shape == clip.shape and (made == made[:, :1]).all()
    noisy = TABLE["noise"](clip, 3, 1)
    assert (noisy[0, 0] != noisy[0, 1]).any()


def test_a_sample_does_not_depend_on_those_around_it(image):
    class Photos(Samples):
        def read(self, index, seed=0):
            return Sample(self.key(index), image, truth=Classes(1))

    data = corrupted(Photos(), "noise", 2, 9)
    alone = [data.read(index).image for index in (2, 0, 1)]
    again = [corrupted(Photos(), "noise", 2, 9).read(index).image for index in (2, 0, 1)]
    assert all(map(np.array_equal, alone, again))
    assert not np.array_equal(alone[0], alone[1])
    assert not np.array_equal(alone[0], corrupted(Photos(), "noise", 2, 8).read(2).image)
    assert data.read(0).truth == Classes(1) and not hasattr(data, "geometry")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of the size that the built-in classifier knows, so that nothing is resized."""
    root = tmp_path_factory.mktemp("photos")
    write_classification(root, {"train": 6, "val": 12}, 4, (64, 64))
    return root


def test_the_metric_is_that_of_corrupted_files(cvkit, photos, tmp_path):
    flags = ("--weights", "shapes", "--json", "--no-files", "--seed", 3)
    done = cvkit("classify", "eval", "--data", photos, *flags, "--corruptions", "noise:2,jpeg:1")
    assert done.code == 0, done.err
    made = done.json["robustness"]
    assert made["seed"] == 3 and list(made["corruptions"]) == ["noise", "jpeg"]
    for name, severity in (("noise", 2), ("jpeg", 1)):
        root = shutil.copytree(photos, tmp_path / name)
        found = read_collection(photos, "auto", ["val"], 0.2)
        data = ClassificationDataset(found.splits["val"], found.names, CropRule(64, 64, "bilinear"))
        for index in range(len(data)):
            image = corrupted(data, name, severity, 3).read(index).image
            Image.fromarray(image).save(root / data.key(index))
        files = cvkit("classify", "eval", "--data", root, *flags[:4])
        assert files.code == 0, files.err
        (row,) = made["corruptions"][name]["severities"]
        assert row["severity"] == severity
        assert row["metrics"] == files.json["metrics"], name
        assert row["value"] == row["metrics"]["top1"] == made["corruptions"][name]["mean"]
    assert made["corruptions"]["noise"]["mean"] < done.json["metrics"]["top1"]


@pytest.mark.parametrize(
    ("text", "boxes", "code"),
    [
        ("blurr", False, "corruptions.unknown"),
        ("blur:6", False, "corruptions.severity"),
        ("blur:", False, "corruptions.severity"),
        ("rotation", True, "corruptions.boxes"),
    ],
)
def test_corruptions_that_cannot_be_are_refused(text, boxes, code):
    with pytest.raises(UsageError) as caught:
        parse_corruptions(text, boxes=boxes)
    assert caught.value.code == code


def test_all_means_those_that_the_truth_can_follow():
    assert list(parse_corruptions("all", boxes=False)) == list(CORRUPTIONS) == list(TABLE)
    assert {*CORRUPTIONS} - {*parse_corruptions("all", boxes=True)} == {"rotation"}
    assert parse_corruptions("blur:3,noise,blur:1", boxes=True) == {
        "blur": (1, 3),
        "noise": SEVERITIES,
    }


@pytest.mark.parametrize("task", ["segment", "detect", "instance", "video"])
def test_every_task_has_a_table_a_curve_and_a_section(cvkit, run_of, data_of, tmp_path, task):
    done = cvkit(
        *(task, "eval", "--weights", run_of(task), "--data", data_of(task), "--workers", 0),
        *("--corruptions", "contrast:1,contrast:5", "--out", tmp_path, "--report"),
    )
    assert done.code == 0, done.err
    report = json.loads(next(tmp_path.glob("*/report.json")).read_text())
    rows = report["robustness"]["corruptions"]["contrast"]["severities"]
    assert [(row["severity"], row["number"]) for row in rows] == [(1, 0.4), (5, 0.05)]
    assert rows[0]["metrics"].keys() == report["metrics"].keys()
    assert "of corrupted inputs, seed 0" in done.out and "0.4, 0.05: factor" in done.out
    assert Image.open(report["files"]["robustness"]).size[0] > 300
    assert "corrupted inputs" in next(tmp_path.glob("*/report.html")).read_text()
