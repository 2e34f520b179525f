"""The same detections in every format score the same, and each malformed row is named."""

import json

import numpy as np
import pytest

from cvkit.ops.rle import encode, run_lengths

SIZE = (80, 60)
NAMES = {7: "cat", 3: "dog"}
"""By id, not in the order of the ids, which numbers YOLO's classes: dog is 0, cat is 1."""
TRUTH = [("a", 7, [8, 6, 24, 18]), ("a", 3, [40, 30, 16, 24]), ("b", 3, [16, 12, 32, 30])]
FOUND = [
    ("a", "cat", [10, 6, 24, 18], 0.9),
    ("a", "cat", [40, 30, 16, 24], 0.75),
    ("b", "dog", [20, 12, 32, 30], 0.5),
    ("a", "dog", [40, 33, 16, 24], 0.25),
]
"""Image, class, x, y, width and height, and score; image c has neither objects nor detections."""


def write_truth(path, masks=False, names=NAMES, folder=""):
    ids = {name: number for number, name in enumerate("abc", 1)}
    images = [{"id": n, "file_name": f"{folder}{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
              for name, n in ids.items()]  # fmt: skip
    rows = []
    for number, (image, kind, box) in enumerate(TRUTH, 1):
        row = {"id": number, "image_id": ids[image], "category_id": kind, "bbox": box}
        row |= {"area": box[2] * box[3], "iscrowd": 0}
        rows.append(row | ({"segmentation": code(box)} if masks else {}))
    categories = [{"id": number, "name": name} for number, name in names.items()]
    content = {"images": images, "annotations": rows, "categories": categories}
    path.write_text(json.dumps(content))


def mask(box):
    x, y, w, h = box
    found = np.zeros(SIZE[::-1], bool)
    found[y : y + h, x : x + w] = True
    return found


def code(box):
    (text,) = encode(mask(box)[None]).codes
    return {"size": list(SIZE[::-1]), "counts": text.decode()}


def corners(box):
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def results(folder, rows, masks=False):
    ids, kinds = {"a": 1, "b": 2, "x": 9}, {name: number for number, name in NAMES.items()}
    found = [
        {"image_id": ids[image], "category_id": kinds[name], "score": score}
        | ({"segmentation": code(box)} if masks else {"bbox": box})
        for image, name, box, score in rows
    ]
    path = folder / "results.json"
    path.write_text(json.dumps(found))
    return path


def dataset(folder, rows):
    """A COCO dataset with scores; its ids differ from the truth's."""
    images = [{"id": f"i{name}", "file_name": f"photos/{name}.jpg"} for name in "xba"]
    found = [{"image_id": f"i{image}", "category_id": len(name + image), "bbox": box, "score": s}
             for image, name, box, s in rows]  # fmt: skip
    for row, (_, name, *_) in zip(found, rows, strict=True):
        row["category_id"] = {"cat": 20, "dog": 10}[name]
    categories = [{"id": 10, "name": "dog"}, {"id": 20, "name": "cat"}]
    content = {"images": images, "annotations": found, "categories": categories}
    path = folder / "predicted.json"
    path.write_text(json.dumps(content))
    return path


def yolo(folder, rows):
    lines = {}
    for image, name, (x, y, w, h), score in rows:
        values = (x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1], score
        line = f"{['dog', 'cat'].index(name)} " + " ".join(map(repr, values))
        lines.setdefault(image, []).append(line)
    for image, texts in lines.items():
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{image}.txt").write_text("\n".join(texts) + "\n")
    return folder


def xml(folder, rows):
    for image in {row[0] for row in rows}:
        objects = [
            f"<object><name>{name}</name><score>{score}</score><bndbox><xmin>{b[0] + 1}</xmin>"
            f"<ymin>{b[1] + 1}</ymin><xmax>{b[0] + b[2]}</xmax><ymax>{b[1] + b[3]}</ymax></bndbox>"
            "</object>"
            for each, name, b, score in rows
            if each == image
        ]
        (folder / f"{image}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    return folder


def voc(folder, rows):
    for name in {row[1] for row in rows}:
        lines = [f"{image} {score} {b[0] + 1} {b[1] + 1} {b[0] + b[2]} {b[1] + b[3]}\n"
                 for image, each, b, score in rows if each == name]  # fmt: skip
        (folder / f"comp4_det_test_{name}.txt").write_text("".join(lines))
    return folder


def table(header, sides):
    def write(folder, rows):
        lines = [",".join([f"{image}.jpg", name, str(score), *map(str, sides(box))])
                 for image, name, box, score in rows]  # fmt: skip
        path = folder / "boxes.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


FORMATS = {
    "results": results,
    "dataset": dataset,
    "yolo": yolo,
    "xml": xml,
    "voc": voc,
    "corners": table("path,label,score,x1,y1,x2,y2", corners),
    "sides": table("filename,class,confidence,x,y,width,height", lambda box: box),
}


@pytest.fixture
def score(cvkit, tmp_path):
    write_truth(tmp_path / "truth.json")
    (tmp_path / "found").mkdir()

    def call(kind, rows=FOUND, *flags, edit=None):
        place = FORMATS[kind](tmp_path / "found", rows)
        if edit:
            edit(place)
        return cvkit(*("detect", "eval", "--predictions", place, "--truth"),
                     *(tmp_path / "truth.json", "--no-files", "--json", *flags))  # fmt: skip

    return call


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_scores_the_same(score, kind, tmp_path):
    done = score(kind, FOUND, "--protocol", "coco,voc07,voc12")
    assert done.code == 0, done.err
    for path in (tmp_path / "found").rglob("*.*"):
        path.unlink()
    wanted = score("results", FOUND, "--protocol", "coco,voc07,voc12")
    assert done.json["metrics"] == pytest.approx(wanted.json["metrics"], abs=1e-12)
    assert done.json["per_class"]["dog"] == pytest.approx(wanted.json["per_class"]["dog"])
    assert 0.2 < wanted.json["metrics"]["AP"] < 0.9
    assert done.json["counts"] == wanted.json["counts"]
    assert done.json["counts"]["detections"] == 4


@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_a_truth_with_a_folder_are_found_by_their_names(score, kind, tmp_path):
    def move(place):  # as predict writes them
        if kind == "xml":
            (place / "voc" / "Annotations").mkdir(parents=True)
            for path in list(place.glob("*.xml")):
                path.rename(place / "voc" / "Annotations" / path.name)

    write_truth(tmp_path / "truth.json", folder="train/")
    done = score(kind, FOUND, edit=move)
    assert done.code == 0, done.err
    assert done.json["counts"]["detections"] == 4
    assert 0.2 < done.json["metrics"]["AP"] < 0.9


@pytest.mark.parametrize("kind", FORMATS)
def test_images_without_a_prediction_are_what_missing_says(score, kind):
    empty = score(kind, FOUND[:2])
    assert empty.code == 0, empty.err
    assert score(kind, FOUND[:2], "--missing", "empty").json["metrics"] == empty.json["metrics"]
    failed = score(kind, FOUND[:2], "--missing", "fail")
    assert failed.code == 3
    assert [row["path"] for row in failed.json["failures"]] == ["b.jpg", "c.jpg"]
    assert failed.json["evaluated"] == "evaluated 1 of 3 images, 2 without prediction"
    refused = score(kind, FOUND[:2], "--missing", "error")
    assert (refused.code, refused.json["error"]["code"]) == (2, "prediction.missing")
    assert "b.jpg" in refused.err and "--missing fail" in refused.err


@pytest.mark.parametrize("kind", FORMATS)
def test_images_beside_the_truth_are_what_extra_says(score, kind):
    rows = [*FOUND, ("x", "cat", [0, 0, 9, 9], 0.99)]
    for flags in ((), ("--extra", "error")):
        refused = score(kind, rows, *flags)
        assert (refused.code, refused.json["error"]["code"]) == (2, "results.image"), refused.err
    ignored = score(kind, rows, "--extra", "ignore")
    assert ignored.code == 0, ignored.err
    assert "1 prediction has no ground truth" in ignored.err
    assert ignored.json["metrics"] == score(kind, FOUND, "--extra", "ignore").json["metrics"]


def test_an_empty_file_of_an_image_is_a_prediction(score):
    def add(place):
        for name in "bc":
            (place / "labels" / f"{name}.txt").write_text("")

    done = score("yolo", FOUND[:2], "--missing", "error", edit=add)
    assert done.code == 0, done.err
    assert done.json["counts"]["evaluated"] == 3


def replaced(old, new, name=None):
    def edit(place):
        path = place / name if name else place
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


MALFORMED = [
    ("yolo", replaced("1 0.275 0.25", "5 0.275 0.25", "labels/a.txt"), "a.txt:1: class '5'"),
    ("yolo", replaced(" 0.75", "", "labels/a.txt"), "a.txt:2 has no score"),
    ("yolo", replaced("0.75", "nan", "labels/a.txt"), "a.txt:2 is not CLASS CX"),
    ("yolo", replaced("0.3 0.3 0.9", "-0.3 0.3 0.9", "labels/a.txt"), "a.txt:1: box"),
    ("xml", replaced("<score>0.9</score>", "", "a.xml"), "a.xml: object 1 has no score"),
    ("xml", replaced("<xmin>11<", "<xmin>q<", "a.xml"), "a.xml: object 1 has no name or no"),
    ("xml", replaced("</annotation>", "", "a.xml"), "a.xml is not XML"),
    ("corners", replaced("0.75", "high", None), "boxes.csv:3: score 'high'"),
    ("corners", replaced("0.75,40", "0.75,", None), "boxes.csv:3: x1"),
    ("sides", replaced("24,18", "-24,18", None), "boxes.csv:2: box"),
    ("sides", replaced("confidence", "sure", None), "none of the columns score"),
    ("sides", replaced(",x,", ",left,", None), "boxes.csv has no columns x1"),
    ("dataset", replaced('"score"', '"sure"', None), "annotations[0] has no 'score'"),
    (
        "dataset",
        replaced('"image_id": "ia"', '"image_id": "iq"', None),
        "annotations[0]: its image",
    ),
    ("yolo", lambda place: (place / "a.txt").write_text(""), "are of the same image, a.jpg"),
]


@pytest.mark.parametrize(("kind", "edit", "text"), MALFORMED, ids=[row[2] for row in MALFORMED])
def test_a_malformed_row_is_named(score, kind, edit, text):
    done = score(kind, FOUND, edit=edit)
    assert done.code == 2
    assert text in done.err


def test_all_malformed_lines_are_counted(score):
    def edit(place):
        for path in (place / "labels").iterdir():
            path.write_text("one two\n" + path.read_text())

    assert "a.txt:1 is not CLASS" in (err := score("yolo", FOUND, edit=edit).err)
    assert "b.txt:1 is not CLASS" in err


def test_a_list_names_the_numbers_of_yolo(score):
    def swap(place):
        (place / "classes.txt").write_text("cat\ndog\n")

    swapped = [(image, {"cat": "dog", "dog": "cat"}[name], *more) for image, name, *more in FOUND]
    assert (
        score("yolo", FOUND, edit=swap).json["metrics"]
        == (score("results", swapped).json["metrics"])
    )


def kaggle(box):
    """Return Kaggle's run-length code, pixel by pixel."""
    flat, runs = mask(box).T.ravel(), []
    for place, inside in enumerate(flat, 1):
        if inside and runs and runs[-1][0] + runs[-1][1] == place:
            runs[-1][1] += 1
        elif inside:
            runs.append([place, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def runs_table(folder, rows, header="ImageId,ClassId,Confidence,EncodedPixels"):
    lines = [f"{image},{name},{score},{kaggle(box)}" for image, name, box, score in rows]
    path = folder / "runs.csv"
    path.write_text("\n".join([header, *lines, "c,cat,1,"]) + "\n")
    return path


def test_run_length_codes_of_a_table_are_masks(cvkit, tmp_path):
    write_truth(tmp_path / "truth.json", masks=True)
    flags = ("--truth", tmp_path / "truth.json", "--no-files", "--json", "--predictions")
    done = cvkit("instance", "eval", *flags, runs_table(tmp_path, FOUND), "--missing", "error")
    assert done.code == 0, done.err
    wanted = cvkit("instance", "eval", *flags, results(tmp_path, FOUND, masks=True))
    assert done.json["metrics"] == wanted.json["metrics"]
    assert 0.2 < done.json["metrics"]["mask"]["AP"] < 0.9
    assert (
        run_lengths(code(FOUND[0][2])["counts"].encode())[0]
        == int(kaggle(FOUND[0][2]).split()[0]) - 1
    )


@pytest.mark.parametrize("text", ["1", "0 5", "4800 2", "9 3 10 2", "5 0", "a b", "5 -1"])
def test_a_malformed_code_is_named(cvkit, tmp_path, text):
    write_truth(tmp_path / "truth.json", masks=True)
    path = runs_table(tmp_path, FOUND)
    path.write_text(path.read_text().replace(kaggle(FOUND[1][2]), text))
    done = cvkit("instance", "eval", "--truth", tmp_path / "truth.json", "--predictions", path)
    assert done.code == 2 and "runs.csv:3: EncodedPixels" in done.err


def test_codes_without_scores_and_classes_are_of_the_only_class_and_said(cvkit, tmp_path):
    write_truth(tmp_path / "truth.json", masks=True, names=NAMES)
    content = json.loads((tmp_path / "truth.json").read_text())
    content["categories"] = [{"id": 7, "name": "cat"}]
    content["annotations"] = [row | {"category_id": 7} for row in content["annotations"]]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    path = tmp_path / "runs.csv"
    lines = [f"{image},{kaggle(box)}" for image, _, box in TRUTH]
    path.write_text("\n".join(["ImageId,EncodedPixels", *lines]) + "\n")
    flags = ("--truth", tmp_path / "truth.json", "--predictions", path, "--no-files", "--json")
    done = cvkit("instance", "eval", *flags)
    assert done.json["metrics"]["mask"]["AP"] == 1
    assert "has no scores" in done.err


def corners_of(box):
    """Return the corners of a box as a polygon."""
    x1, y1, x2, y2 = corners(box)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def polygon_files(folder, rows):
    """Write a YOLO text file per image, with a polygon per line."""
    (folder / "labels").mkdir()
    lines = {}
    for image, name, box, score in rows:
        points = [value / SIZE[place % 2] for place, value in enumerate(corners_of(box))]
        line = f"{['dog', 'cat'].index(name)} {' '.join(map(repr, points))} {score}"
        lines.setdefault(image, []).append(line)
    for image, texts in lines.items():
        (folder / "labels" / f"{image}.txt").write_text("\n".join(texts) + "\n")
    return folder


@pytest.fixture
def polygons(cvkit, tmp_path):
    """Score polygon files of `FOUND`, edited, for instance segmentation."""
    write_truth(tmp_path / "truth.json", masks=True)
    (tmp_path / "found").mkdir()
    place = polygon_files(tmp_path / "found", FOUND)

    def call(edit=lambda place: None, predictions=place, *flags):
        edit(place)
        words = ("--truth", tmp_path / "truth.json", "--no-files", "--json", *flags)
        return cvkit("instance", "eval", "--predictions", predictions, *words)

    return call


def test_polygons_of_text_files_are_masks(polygons, tmp_path):
    done = polygons()
    assert done.code == 0, done.err
    content = json.loads(results(tmp_path, FOUND).read_text())
    for row in content:
        row["segmentation"] = [corners_of(row.pop("bbox"))]
    (tmp_path / "polygons.json").write_text(json.dumps(content))
    wanted = polygons(predictions=tmp_path / "polygons.json")
    assert done.json["metrics"] == wanted.json["metrics"]
    assert 0.2 < done.json["metrics"]["mask"]["AP"] < 0.9
    assert done.json["counts"] == wanted.json["counts"]


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (replaced(" 0.75", "", "labels/a.txt"), "a.txt:2 has no score"),
        (replaced("0.75", "nan", "labels/a.txt"), "a.txt:2 is not CLASS X1 Y1"),
        (replaced("1 ", "one ", "labels/a.txt"), "a.txt:1 is not CLASS X1 Y1"),
        (replaced("1 ", "2 ", "labels/a.txt"), "a.txt:1: class '2'"),
        (replaced("1 ", "1 1e300 1 ", "labels/a.txt"), "a.txt:1 has coordinates over 10"),
        (
            lambda place: (place / "labels" / "b.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n"),
            "b.txt:1 is not CLASS X1 Y1",
        ),
        (
            lambda place: [
                path.rename(path.with_stem("q" + path.stem))
                for path in sorted((place / "labels").iterdir())
            ],
            "no file in",
        ),
        (lambda place: [p.unlink() for p in (place / "labels").iterdir()], "results.json"),
    ],
)
def test_a_malformed_polygon_is_named(polygons, edit, text):
    done = polygons(edit)
    assert done.code == 2
    assert text in done.err


@pytest.mark.parametrize("name", ["boxes.txt", "boxes.json"])
def test_what_is_no_json_is_refused_with_the_suffix_that_it_needs(monkeypatch, score, name):
    """A table or a text file under another name was only said to be invalid JSON."""

    def edit(place):
        place.write_text("path,label,score,x1,y1,x2,y2\n")

    monkeypatch.setitem(FORMATS, "renamed", lambda folder, rows: folder / name)
    done = score("renamed", FOUND, edit=edit)
    assert done.code == 2
    assert "needs the suffix .csv" in done.err
