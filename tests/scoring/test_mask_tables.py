"""Masks of segment as run-length codes in a table, in predictions and in the truth."""

import numpy as np
import pytest
from PIL import Image

from cvkit.console import Reporter
from cvkit.errors import DataError
from cvkit.options.segment import SegmentEval
from cvkit.scoring import segment

DRAW = np.random.default_rng(3)
SHAPE = (5, 7)  # height, width
NAMES = ("a", "b", "c.d")


def coded(mask):
    """Return Kaggle's code, pixel by pixel: from 1, down the columns."""
    runs = []
    for place, inside in enumerate(mask.T.ravel().tolist(), 1):
        if inside and runs and sum(runs[-1]) == place:
            runs[-1][1] += 1
        elif inside:
            runs.append([place, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def rows_of(masks, classes):
    """Return a row for each class of each image."""
    for name, labels in masks.items():
        for index in range(1, classes):
            yield name, index, coded(labels == index)


def table(path, masks, classes, *, sized=False, suffix=""):
    columns = ["ImageId", *(["ClassId"] if classes > 2 else []), "EncodedPixels"]
    lines = [",".join(columns + (["Height", "Width"] if sized else []))]
    for name, index, code in rows_of(masks, classes):
        cells = [name + suffix, *([str(index)] if classes > 2 else []), code]
        lines.append(",".join(cells + ([*map(str, SHAPE)] if sized else [])))
    path.write_text("\n".join(lines) + "\n")
    return path


def pictures(folder, masks, end=".png", colours=False):
    folder.mkdir(parents=True)
    for name, labels in masks.items():
        image = Image.fromarray(labels)
        (image.convert("RGB") if colours else image).save(folder / f"{name}{end}")
    return folder


@pytest.fixture(params=[2, 4])
def case(request):
    """Return the number of classes, the truth and the predictions; the last image has none."""
    count = request.param
    truth = {name: DRAW.integers(0, count, SHAPE).astype(np.uint8) for name in NAMES}
    found = {name: np.where(labels == 1, 0, labels) for name, labels in truth.items()}
    found["a"], found["c.d"] = truth["b"], np.zeros_like(truth["a"])
    return count, truth, found


@pytest.fixture
def score(cvkit):
    def call(predictions, truth, *flags):
        flags = ("--truth", truth, "--no-files", "--json", *flags)
        return cvkit("segment", "eval", "--predictions", predictions, *flags)

    return call


def dataset(folder, truth, count):
    """Return truths in every form, and the flags that they need."""
    yield pictures(folder / "masks only", truth), ()
    pictures(folder / "pairs" / "masks" / "val", truth)
    pictures(folder / "pairs" / "images" / "val", truth, ".jpg", colours=True)
    yield folder / "pairs", ()
    (folder / "sized").mkdir()
    yield table(folder / "sized" / "t.csv", truth, count, sized=True, suffix=".tif"), ()
    pictures(folder / "beside" / "photos", truth, ".jpg", colours=True)
    path = table(folder / "beside" / "t.csv", truth, count, suffix=".jpg")
    yield path, ()
    yield path.parent, ("--split", "all")


def test_a_table_has_the_numbers_of_the_same_masks(case, score, tmp_path):
    count, truth, found = case
    wanted = score(pictures(tmp_path / "found", found), pictures(tmp_path / "truth", truth))
    assert wanted.code == 0, wanted.err
    assert 0.1 < wanted.json["metrics"]["miou"] < 0.9
    predicted = table(tmp_path / "p.csv", found, count, suffix=".jpg")
    for place, flags in dataset(tmp_path, truth, count):
        for each in (predicted, tmp_path / "found"):
            done = score(each, place, *flags)
            assert done.code == 0, (place, done.err)
            assert done.json["metrics"] == wanted.json["metrics"], place
            assert done.json["counts"] == wanted.json["counts"], place


def test_every_form_of_an_image_without_objects_is_background(score, tmp_path):
    truth = pictures(
        tmp_path / "truth", {"a": np.eye(3, dtype=np.uint8), "b": np.zeros((3, 3), np.uint8)}
    )
    path = tmp_path / "p.csv"
    path.write_text("image,EncodedPixels,label\na,1 1 5 1 9 1,1\nb,,\n")
    done = score(path, truth, "--missing", "error")
    assert done.code == 0, done.err
    assert done.json["metrics"]["miou"] == 1
    path.write_text("image,EncodedPixels,label\na,1 1 5 1 9 1,1\n")
    done = score(path, truth)
    assert done.code == 3 and done.json["counts"]["failed"] == 1
    path.write_text("image,EncodedPixels,label\na,1 1 5 1 9 1,1\nb,,\nc,,\n")
    assert "1 prediction has no ground truth, such as c" in score(path, truth).err


HEAD = "ImageId,ClassId,EncodedPixels"
MALFORMED = {
    "a,1,3 2 9": "p.csv:2: EncodedPixels '3 2 9' has 3 numbers, not pairs",
    "a,1,3 x": "p.csv:2: EncodedPixels '3 x' has 'x', which is not a whole number",
    "a,1,3 1.5": "p.csv:2: EncodedPixels '3 1.5' has '1.5', which is not a whole number",
    "a,1,0 2": "p.csv:2: EncodedPixels '0 2' has the start 0; the smallest is 1",
    "a,1,3 0": "p.csv:2: EncodedPixels '3 0' has the length 0; the smallest is 1",
    "a,1,35 2": "p.csv:2: EncodedPixels '35 2' ends at pixel 36, and an image of 7x5 has 35",
    "a,1,9 3 4 2": "p.csv:2: EncodedPixels '9 3 4 2' has the run 4 2, which does not begin after",
    "a,1,4 3 6 2": "p.csv:2: EncodedPixels '4 3 6 2' has the run 6 2, which overlaps the one",
    "a,1,4 2\n\na,2,\na.jpg,1,9 2": "p.csv:5: image 'a' has a row of class '1' already, ",
    "a,9,4 2": "p.csv:2: class '9' is not in the truth",
    "a,dog,4 2": "p.csv:2: class 'dog' is not in the truth",
    "a,,4 2": "p.csv:2: class '' is not in the truth",
    ",1,4 2": "p.csv:2: ImageId is empty",
    "a,1": "p.csv:2: the row has 2 cells instead of 3",
}


@pytest.mark.parametrize("rows", MALFORMED)
def test_a_malformed_row_is_named(tmp_path, rows):
    labels = np.arange(35).reshape(SHAPE).astype(np.uint8) % 4
    truth = pictures(tmp_path / "truth", {"a": labels, "b": labels})
    (truth / "classes.txt").write_text("ground\nroad\ncar\nsky\n")
    path = tmp_path / "p.csv"
    options = SegmentEval(predictions=path, truth=truth)
    path.write_text(f"{HEAD}\n{rows}\nb,2,1 1\n")
    with pytest.raises(DataError) as caught:
        segment.score(options, Reporter(True))
    assert MALFORMED[rows] in str(caught.value)
    path.write_text(f"{HEAD}\nb,2,1 1\na,road,1 2\n")
    assert len(segment.score(options, Reporter(True)).outcomes) == 2


def test_all_malformed_rows_are_listed_with_their_lines(score, tmp_path):
    truth = pictures(tmp_path / "truth", {"a": np.eye(3, dtype=np.uint8)})
    path = tmp_path / "p.csv"
    path.write_text('ImageId,EncodedPixels\n\na,1 x\n"a",9 9\n')
    err = score(path, truth).err
    assert "p.csv:3: EncodedPixels" in err and "p.csv:4: EncodedPixels" in err
    assert "p.csv:4: image 'a' has a row already" in err


@pytest.mark.parametrize("side", ["--predictions", "--truth"])
def test_sizes_of_the_table_must_be_those_of_the_images(score, tmp_path, side):
    masks = {"a": np.eye(5, 7, dtype=np.uint8)}
    folder = pictures(tmp_path / "masks", masks)
    path = table(tmp_path / "t.csv", masks, 2, sized=True)
    pair = (path, folder) if side == "--predictions" else (folder, path)
    assert score(*pair).json["metrics"]["miou"] == 1
    text = path.read_text()
    differ = "7x6 pixels" if side == "--predictions" else "prediction is (5, 7), truth (6, 7)"
    for height, message in (
        ("6", differ),
        ("0", "t.csv:2: width x height 7 x 0 are not"),
    ):
        path.write_text(text.replace(",5,7", f",{height},7"))
        done = score(*pair)
        assert done.code == 2 and message in done.err
    path.write_text("ImageId,EncodedPixels,Height\na,1 1,5\n")
    assert "has no column Width" in score(*pair).err


def test_a_truth_without_sizes_and_images_says_what_it_needs(score, tmp_path):
    masks = {"a": np.eye(3, dtype=np.uint8)}
    path = table(tmp_path / "t.csv", masks, 2)
    done = score(pictures(tmp_path / "found" / "f", masks), path)
    assert done.json["metrics"]["miou"] == 1  # the masks are beside the table, with its names
    (tmp_path / "empty").mkdir()
    path = path.rename(tmp_path / "empty" / "t.csv")
    done = score(tmp_path / "found" / "f", path)
    assert done.code == 2 and "t.csv:2: the size of image 'a' is not known" in done.err
    assert "Height and Width" in done.err


def test_of_several_images_with_a_name_only_the_size_is_needed(score, tmp_path):
    masks = {"a": np.eye(5, 7, dtype=np.uint8)}
    found = pictures(tmp_path / "found", masks)
    for folder in ("left", "right"):
        pictures(tmp_path / "truth" / folder, masks)
    assert score(found, table(tmp_path / "truth" / "t.csv", masks, 2, sized=True)).code == 0
    done = score(found, table(tmp_path / "truth" / "t.csv", masks, 2))
    assert done.code == 2 and "t.csv:2: image 'a' is the name of 2 images" in done.err


def test_objects_of_the_truth_may_overlap_and_small_ones_are_on_top(score, tmp_path):
    path = tmp_path / "t.csv"
    rows = ("a,dog,1 1,1,3", "a,cat,1 2,1,3", "a,dog,3 1,1,3")
    path.write_text("\n".join(["ImageId,ClassId,EncodedPixels,Height,Width", *rows]) + "\n")
    labels = np.array([[2, 1, 2]], np.uint8)  # background, cat, dog
    done = score(pictures(tmp_path / "found", {"a": labels}), path)
    assert done.json["metrics"]["miou"] == 1
    assert [*done.json["per_class"]] == ["background", "cat", "dog"]


def test_overlapping_predictions_are_said_and_the_smaller_one_counts(score, tmp_path):
    truth = pictures(tmp_path / "truth", {"a": np.array([[2, 1, 1]], np.uint8)})
    path = tmp_path / "p.csv"
    path.write_text(f"{HEAD}\na,2,1 1\na,1,1 3\n")
    done = score(path, truth)
    assert done.json["metrics"]["miou"] == 1
    assert "rows of different classes overlap in 1 image, such as a" in done.err


def test_classes_with_numbers_for_names_are_not_indices(score, tmp_path):
    truth = pictures(tmp_path / "truth", {"a": np.array([[0, 1, 2]], np.uint8)})
    (truth / "classes.txt").write_text("ground\n1\n3\n")
    path = tmp_path / "p.csv"
    path.write_text(f"{HEAD}\na,1,2 1\na,3,3 1\n")
    assert score(path, truth).json["metrics"]["miou"] == 1
    path.write_text(f"{HEAD}\na,1,2 1\na,2,3 1\n")
    assert "class '2' is not in the truth (it has ground, 1, 3)" in score(path, truth).err


def test_without_a_column_of_classes_there_are_two(score, tmp_path):
    truth = pictures(tmp_path / "truth", {"a": np.array([[0, 255, 255]], np.uint8)})
    path = tmp_path / "p.csv"
    path.write_text("ImageId,EncodedPixels\na,2 2\n")
    done = score(path, truth)
    assert done.json["metrics"]["miou"] == 1
    assert "255 is read as class 1" in done.err
    (truth / "classes.txt").write_text("ground\nroad\nsky\n")
    done = score(path, truth)
    assert done.code == 2 and "has no column ClassId, and the truth has 3 classes" in done.err


def test_a_truth_of_0_and_255_is_read_alike_whatever_is_predicted(score, tmp_path):
    truth = pictures(tmp_path / "truth", {"a": np.array([[0, 255, 255, 0]], np.uint8)})
    for place, row in enumerate(([0, 255, 255, 255], [0, 1, 1, 1])):
        found = pictures(tmp_path / f"found {place}", {"a": np.array([row], np.uint8)})
        assert score(found, truth).json["metrics"]["pixel_accuracy"] == 0.75


@pytest.mark.parametrize("header", ["path,cat,dog", "ImageId,rle", "EncodedPixels,x"])
@pytest.mark.parametrize("side", ["--predictions", "--truth"])
def test_another_table_says_what_is_read(score, tmp_path, header, side):
    folder = pictures(tmp_path / "masks", {"a": np.eye(3, dtype=np.uint8)})
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n{','.join('1' * (header.count(',') + 1))}\n")
    done = score(*((path, folder) if side == "--predictions" else (folder, path)))
    column = "ImageId" if header.startswith("Enc") else "EncodedPixels"
    assert done.code == 2 and f"t.csv has no column {column} (its first line has" in done.err
    assert "folders of PNGs, and from tables with columns ImageId and EncodedPixels" in done.err
    other = tmp_path / "t.txt"
    other.write_text("1")
    done = score(*((other, folder) if side == "--predictions" else (folder, other)))
    assert f"{side} {other} is not a folder (masks are read from folders of PNGs, and" in done.err


@pytest.mark.parametrize("name", ["../secret", "/secret", "a/../../secret", "9" * 256])
def test_names_of_a_table_of_truths_stay_in_the_folder_of_predictions(score, tmp_path, name):
    labels = {"secret": np.eye(5, 7, dtype=np.uint8)}
    pictures(tmp_path / "secrets", labels)
    found = pictures(tmp_path / "secrets" / "found", {"a": labels["secret"]})
    path = tmp_path / "t.csv"
    name = f"{tmp_path}/secrets{name}" if name.startswith("/") else name
    path.write_text(f"{HEAD},Height,Width\na,1,1 1,5,7\n{name},1,1 1,5,7\n")
    done = score(found, path)
    assert done.code == 2, done.out
    assert "t.csv:3: " in done.err and "the dataset folder" in done.err
