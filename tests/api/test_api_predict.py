"""`Predictor.predict` takes what programs have, and its results lead out of cvkit."""

import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

import cvkit
from cvkit.api.results import Classification, Detections, Segmentation
from cvkit.catalog import TASKS
from cvkit.errors import DataError, UsageError

SAMPLES = Path(__file__).parents[2] / "samples"
MODELS = {
    "classify": ("shapes", "classify/train", Classification),
    "segment": ("scenes", "segment/images/train", Segmentation),
    "detect": ("boxes", "detect/images/train", Detections),
    "instance": ("masks", "detect/images/train", Detections),
    "video": ("motions", "video/train", Classification),
}
IMAGE_TASKS = [task for task in MODELS if task != "video"]
loaded = {}


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def model(task):
    """The built-in model of the task, on the CPU."""
    if task not in loaded:
        flags = {"device": "cpu", "precision": "fp32", "batch_size": 2}
        loaded[task] = cvkit.load(MODELS[task][0], **flags)
    return loaded[task]


@pytest.fixture
def files(task):
    """Four samples of the task."""
    kinds = ("*.mp4",) if task == "video" else ("*.png", "*.jpg")
    found = sorted(path for kind in kinds for path in (SAMPLES / MODELS[task][1]).rglob(kind))
    assert len(found) >= 4
    return found[:4]


def frames(path):
    """Return all frames of a video as THWC RGB."""
    video, found = cv2.VideoCapture(str(path)), []
    while True:
        shown, frame = video.read()
        if not shown:
            return np.stack(found)
        found.append(frame[..., ::-1])


def array_of(path):
    return frames(path) if path.suffix == ".mp4" else np.array(Image.open(path).convert("RGB"))


def content(result):
    """Return everything a result says, but for its source."""
    return {name: value for name, value in result.as_dict().items() if name != "path"}


def forms_of(path):
    """Return the same input in every form that is taken."""
    array = array_of(path)
    tensor = torch.from_numpy(array).movedim(-1, -3)
    near = (tensor - 0.4).clamp(0)  # is rounded
    forms = {"text": str(path), "path": path, "array": array, "tensor": tensor}
    forms |= {"fractions": near / 255, "turned": np.asfortranarray(array)}
    if path.suffix != ".mp4":
        forms |= {"pillow": Image.open(path), "alpha": np.dstack([array, np.full_like(array, 255)])}
        forms["alpha"] = forms["alpha"][..., :4]
    return forms


def test_every_form_of_an_input_gives_the_same_result(model, files, task):
    wanted = model.predict(files[0])
    assert isinstance(wanted, MODELS[task][2]) and wanted.ok and wanted.source == str(files[0])
    for name, form in forms_of(files[0]).items():
        before = form.copy() if isinstance(form, np.ndarray) else None
        result = model.predict(form)
        assert content(result) == content(wanted), name
        if before is not None:
            assert result.source == "input 0" and (form == before).all()
    assert wanted.size_hw == array_of(files[0]).shape[-3:-1]


def test_several_inputs_give_several_results_in_order(model, files):
    one_by_one = [model.predict([file])[0] for file in files[:2]]
    together = model.predict(files[:2])
    assert isinstance(together, list)
    assert [r.source for r in together] == [str(file) for file in files[:2]]
    for single, shared in zip(one_by_one, together, strict=True):
        assert content(single).keys() == content(shared).keys()
    assert [content(r) for r in model.predict(tuple(files[:2]))] == [content(r) for r in together]
    stacked = np.stack([array_of(files[0])] * 2)
    assert len(model.predict(stacked)) == 2
    assert len(model.predict(torch.from_numpy(stacked).movedim(-1, -3))) == 2
    assert model.predict([]) == []


def test_an_iterator_is_read_batch_by_batch(model, files):
    taken = []

    def stream():
        for file in files:
            taken.append(file)
            yield file

    results = model.predict(stream())
    assert taken == []
    first = next(results)
    assert first.source == str(files[0]) and taken == files[:2]  # a batch has two
    assert [r.source for r in results] == [str(file) for file in files[1:]]


def test_a_file_that_cannot_be_read_costs_itself_only(model, files, tmp_path):
    broken = tmp_path / f"broken{files[0].suffix}"
    broken.write_bytes(b"nothing")
    inputs = [files[0], broken, files[1]]
    with pytest.raises(DataError, match=r"broken\."):
        model.predict(inputs)
    first, failed, last = model.predict(inputs, errors="return")
    assert first.ok and last.ok and last.source == str(files[1])
    assert not failed.ok and failed.source == str(broken) and failed.reason and failed.code
    with pytest.raises(UsageError, match="errors='ignore' is unknown"):
        model.predict(files, errors="ignore")


def test_results_are_saved_and_drawn(model, files, task, tmp_path):
    result = model.predict(files[0])
    picture = result.plot()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert result.save(tmp_path / "a.png") == tmp_path / "a.png"
    assert (np.array(Image.open(tmp_path / "a.png")) == picture).all()
    result.save(str(tmp_path / "a.json"))
    assert json.loads((tmp_path / "a.json").read_text()) == result.as_dict()
    with pytest.raises(UsageError, match=r"'\.tiff' is unknown"):
        result.save(tmp_path / "a.tiff")
    assert not (tmp_path / "a.tiff").exists()
    given = model.predict(array_of(files[0]))  # drawn from memory
    assert (given.plot() == picture).all()


@pytest.mark.parametrize("task", ["segment", "detect", "instance"])  # which have overlays
def test_a_picture_is_what_predict_draws(cvkit, model, files, task, tmp_path):
    flags = ("--weights", MODELS[task][0], "--device", "cpu", "--precision", "fp32")
    done = cvkit(task, "predict", files[0], *flags, "--out", tmp_path, "--overlay", "png")
    assert done.code == 0, done.err
    (drawn,) = (tmp_path / "overlays").iterdir()
    assert (np.array(Image.open(drawn)) == model.predict(files[0]).plot()).all()


@pytest.mark.parametrize("task", ["classify", "video"])
def test_classes_have_names_and_scores(model, files):
    result = model.predict(files[0])
    assert result.name == model.classes[result.label] == result.top(1)[0][0]
    assert result.score == result.scores.max() == result.top()[0][1]
    assert [name for name, _ in result.top(3)] == result.as_dict()["labels"][:3]
    for count in (0, -1):
        with pytest.raises(UsageError, match="must be positive"):
            result.top(count)
    assert (result.clips is not None) == (model.task == "video") and result.features is None


@pytest.mark.parametrize("task", ["segment"])
def test_label_maps_lead_out(model, files, tmp_path):
    result = model.predict(files[0])
    assert sum(result.areas().values()) == result.labels.size
    result.save_mask(tmp_path / "mask.png")
    assert (np.array(Image.open(tmp_path / "mask.png")) == result.labels).all()
    with pytest.raises(UsageError, match="a mask is a PNG"):
        result.save_mask(tmp_path / "mask.jpg")
    rows = result.to_coco(7)
    assert [row["image_id"] for row in rows] == [7] * len(result.areas())
    for row in rows:
        index = row["category_id"]  # the ids of the samples are the indices
        decoded = coco_mask.decode(row["segmentation"]).astype(bool)
        assert (decoded == (result.labels == index)).all() and row["area"] == decoded.sum()


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_objects_are_numbered_from_0_and_lead_out(model, files, task):
    result = model.predict(files[0])
    assert len(result) > 0 and result.labels.min() >= 0
    assert result.names == [model.classes[label] for label in result.labels]
    assert result.names == result.as_dict()["labels"]
    sure = result.above(0.5)
    assert 0 < len(sure) < len(result) and sure.scores.min() >= 0.5
    assert len(result.above(1.1)) == 0
    rows = sure.to_coco(3)
    assert len(rows) == len(sure)
    for row, (x1, y1, x2, y2), score in zip(rows, sure.boxes.tolist(), sure.scores, strict=True):
        assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1] and row["score"] == score
        assert row["category_id"] in (10, 20, 30, 50, 90)  # of the samples
    if task == "detect":
        assert sure.masks is None and sure.codes is None
        return
    assert sure.masks.shape == (len(sure), *sure.size_hw) and sure.masks.dtype == bool
    for row, code, mask in zip(rows, sure.codes, sure.masks, strict=True):
        assert (coco_mask.decode(row["segmentation"]) == coco_mask.decode(code)).all()
        assert (coco_mask.decode(code) == mask).all() and row["area"] == mask.sum()
    assert result.above(1.1).masks.shape == (0, *sure.size_hw)


class StandIn:
    """Records how supervision's classes are made."""

    def __init__(self, *arguments, **named):
        self.arguments, self.named = arguments, named


def test_supervision_gets_consistent_arrays(model, files, task, monkeypatch):
    result = model.predict(files[0])
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match="needs the package supervision"):
        result.to_supervision()

    def boxes_of(masks):
        places = [np.nonzero(mask) for mask in masks]
        return np.array([[x.min(), y.min(), x.max(), y.max()] for y, x in places])

    module = type("Module", (), {"Detections": StandIn, "Classifications": StandIn})
    module.mask_to_xyxy = staticmethod(boxes_of)
    monkeypatch.setitem(sys.modules, "supervision", module)
    made = result.to_supervision()
    if task in ("classify", "video"):
        numbers, scores = made.arguments
        assert (
            numbers.tolist() == list(range(len(model.classes))) and (scores == result.scores).all()
        )
        return
    count = len(made.named["xyxy"])
    assert len(made.named["class_id"]) == len(made.named["confidence"]) == count > 0
    names = [model.classes[index] for index in made.named["class_id"]]
    assert made.named["data"]["class_name"].tolist() == names
    if task != "detect":
        assert made.named["mask"].shape == (count, *result.size_hw)


GREY = np.zeros((8, 9), np.uint8)


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_grey_arrays_are_images(model):
    wanted = content(model.predict(np.dstack([GREY + 90] * 3)))
    for form in (GREY + 90, (GREY + 90)[..., None], torch.from_numpy(GREY + 90)[None]):
        assert content(model.predict(form)) == wanted


WRONG = {
    "floats": (np.zeros((8, 9, 3)), "uint8 values", "(255 * array)"),
    "shorts": (np.zeros((8, 9, 3), np.int16), "int16", 'array.astype("uint8")'),
    "channels first": (np.zeros((3, 8, 9), np.uint8), "(height, width, 3)", "np.moveaxis"),
    "empty": (np.zeros((0, 9, 3), np.uint8), "is empty", ""),
    "flat": (np.zeros(9, np.uint8), "shape (9,)", ""),
    "channels last": (torch.zeros(8, 9, 3), "(3, height, width)", "movedim"),
    "normalised": (torch.zeros(3, 8, 9) - 1, "outside 0 to 1", "omit the normalisation"),
    "no number": (torch.full((3, 8, 9), torch.nan), "outside 0 to 1", ""),
    "whole numbers": (torch.zeros(3, 8, 9, dtype=torch.int64), "torch.int64", ""),
    "content of a file": (b"abc", "bytes is neither", "PIL.Image.open(io.BytesIO(data))"),
    "an open file": (io.BytesIO(b"abc"), "predict: BytesIO is neither", "pass its path"),
    "an open file in a list": ([io.BytesIO(b"abc")], "input 0: BytesIO is neither", "its path"),
    "a mapping": ({"a.png": 1}, "dict is neither", ""),
    "nothing": (None, "NoneType is neither", ""),
    "a number in a list": ([5], "input 0: int is neither", ""),
    "a list in a list": ([["a.png"]], "input 0: list is neither", ""),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_what_is_no_image_is_refused(model, name):
    given, words, remedy = WRONG[name]
    with pytest.raises(UsageError) as caught:
        model.predict(given)
    assert words in str(caught.value) and remedy in caught.value.hint


@pytest.mark.parametrize("task", ["video"])
def test_what_is_no_video_is_refused(model):
    wrong = {
        "(frames, ..., 3)": np.zeros((8, 9, 3), np.uint8),
        "Image is neither": Image.new("RGB", (8, 8)),
        "(frames, 3, ...)": torch.zeros(8, 9, 9, 3),
        "uint8 values": np.zeros((4, 8, 9, 3)),
    }
    for words, given in wrong.items():
        with pytest.raises(UsageError) as caught:
            model.predict(given)
        assert words in str(caught.value), words
