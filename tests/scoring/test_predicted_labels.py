"""What the folder of predict says of its model decides how its files are scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.data.classified import read_collection
from cvkit.data.synthetic.samples import write_classification

NAMES = ("sky", "road", "car")


def score(cvkit, task, predictions, truth, *more):
    flags = ["--predictions", predictions, "--truth", truth, "--no-files", "--json", *more]
    return cvkit(task, "eval", *flags)


def write_about(out, names, **labels):
    about = {"model": "x", "classes": [{"name": name} for name in names], "labels": labels}
    (out / "predict.json").write_text(json.dumps(about))


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(rows, np.uint8)).save(path)


@pytest.fixture
def masks(tmp_path):
    """A truth of 8 pixels in two images, and predictions of which 6 are right."""
    root, out = tmp_path / "data", tmp_path / "out"
    truths = {"a": [[0, 0], [1, 1]], "b": [[1, 1], [0, 0]]}
    found = {"a": [[0, 0], [1, 0]], "b": [[1, 1], [0, 1]]}
    lines = []
    for stem, rows in truths.items():
        save(root / "images" / "val" / f"{stem}.png", np.zeros((2, 2, 3)))
        save(root / "masks" / "val" / f"{stem}.png", rows)
        save(out / "masks" / "sub" / f"{stem}.png", found[stem])
        line = {"path": f"sub/{stem}.png", "mask": f"masks/sub/{stem}.png"}
        lines.append(json.dumps(line | {"labels": ["sky", "road"], "category_ids": [0, 1]}))
    (out / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    write_about(out, NAMES)
    return root, out


def test_the_models_classes_count_where_the_truth_lists_none(cvkit, masks):
    root, out = masks
    done = score(cvkit, "segment", out, root, "--absent-class", "zero")
    assert list(done.json["per_class"]) == list(NAMES)
    assert done.json["metrics"]["miou"] == pytest.approx((0.6 + 0.6 + 0) / 3)
    shutil.move(out / "predict.json", out / "other.json")
    bare = score(cvkit, "segment", out / "masks" / "sub", root, "--absent-class", "zero")
    assert bare.json["metrics"]["miou"] == pytest.approx(0.6)


@pytest.mark.parametrize("place", ["", "masks", "predictions.jsonl"])
@pytest.mark.parametrize("plain", [True, False])
def test_parts_of_the_folder_stand_for_it(cvkit, masks, place, plain):
    root, out = masks
    (root / "classes.txt").write_text("road\nsky\n")
    for path in (root / "masks" / "val").iterdir():
        save(path, 1 - np.asarray(Image.open(path)))
    if plain:
        shutil.copy(root / "classes.txt", root / "masks" / "val")
    done = score(cvkit, "segment", out / place, root / "masks" / "val" if plain else root)
    assert done.code == 0, done.err
    assert done.json["metrics"]["pixel_accuracy"] == pytest.approx(6 / 8)


@pytest.mark.parametrize(
    "labels, flags, right",
    [
        ({"mask_map": "9=1"}, (), 6),
        ({"mask_map": "7=1"}, ("--mask-map", "9=1"), 6),
        ({"ignore_index": 9}, (), 3),
        ({"ignore_index": 7}, ("--ignore-index", "9"), 3),
    ],
)
def test_labels_are_read_as_the_model_reads_them(cvkit, masks, labels, flags, right):
    root, out = masks
    for path in (root / "masks" / "val").iterdir():
        values = np.array(Image.open(path))
        save(path, np.where(values == 1, 9, 0))
    write_about(out, NAMES, **labels)
    done = score(cvkit, "segment", out, root, *flags)
    assert done.code == 0, done.err
    matrix = done.json["metrics"]["pixel_accuracy"] * done.json["counts"]["pixels"]
    assert round(matrix) == right


def test_images_that_differ_in_their_suffix_keep_apart(cvkit, masks):
    root, out = masks
    lines = (out / "predictions.jsonl").read_text()
    worse = lines.replace('.png", "mask"', '.jpg", "mask"').replace("masks/sub/", "masks/sub/bad-")
    for stem in "ab":
        save(out / "masks" / "sub" / f"bad-{stem}.png", [[0, 0], [0, 0]])
    (out / "predictions.jsonl").write_text(worse + lines)
    done = score(cvkit, "segment", out, root)
    assert done.code == 0 and done.json["metrics"]["pixel_accuracy"] == pytest.approx(6 / 8)


def test_a_mask_outside_the_folder_is_refused(cvkit, masks):
    root, out = masks
    text = (out / "predictions.jsonl").read_text().replace("masks/sub/a", "../data/masks/val/a")
    (out / "predictions.jsonl").write_text(text)
    done = score(cvkit, "segment", out, root)
    assert done.code == 2 and done.json["error"]["code"] == "path.escape"


def write_table(out, rows):
    out.mkdir(exist_ok=True)
    lines = [json.dumps({"path": row.split(",")[0]}) for row in rows]
    (out / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    header = "path,label,score,label_2,score_2"
    (out / "predictions.csv").write_text("\n".join([header, *rows]) + "\n")


TABLES = ("classify", "video")


@pytest.mark.parametrize("task", TABLES)
@pytest.mark.parametrize("place", ["", "predictions.csv"])
def test_of_equal_scores_the_models_first_class_wins(cvkit, tmp_path, task, place):
    out = tmp_path / "out"
    write_table(out, ["x,zebra,0.5,ant,0.5"])
    (tmp_path / "truth.csv").write_text("path,label\nx,zebra\n")
    write_about(out, ("zebra", "ant"))
    top1 = "top1" if task == "classify" else "video_top1"
    done = score(cvkit, task, out / place, tmp_path / "truth.csv")
    assert done.json["metrics"][top1] == 1 and list(done.json["per_class"]) == ["zebra", "ant"]
    write_about(out, ("ant", "zebra"))
    assert score(cvkit, task, out / place, tmp_path / "truth.csv").json["metrics"][top1] == 0


@pytest.mark.parametrize("task", TABLES)
def test_numbers_as_labels_are_those_of_the_models_classes(cvkit, tmp_path, task):
    out, truth = tmp_path / "out", tmp_path / "truth.csv"
    write_table(out, ["x,zebra,0.9,ant,0.1", "y,ant,0.8,zebra,0.2"])
    write_about(out, ("zebra", "ant"))
    truth.write_text("path,label\nx,0\ny,1\n")
    done = score(cvkit, task, out, truth)
    assert done.code == 0, done.err
    assert done.json["metrics"]["top1" if task == "classify" else "video_top1"] == 1
    truth.write_text("path,label\nx,2\ny,1\n")
    done = score(cvkit, task, out, truth)
    assert done.code == 2 and done.json["error"]["code"] == "class.unknown"
    truth.write_text("path,label\nx,cow\ny,hen\n")
    done = score(cvkit, task, out, truth)
    assert done.code == 2 and done.json["error"]["code"] == "class.unknown"


@pytest.mark.parametrize("kept", [{"split_seed": 3}, {}])
def test_data_are_divided_as_in_training(cvkit, tmp_path, kept):
    write_classification(tmp_path / "made", {"all": 24}, seed=3, size_hw=(32, 32))
    root, out = tmp_path / "made" / "all", tmp_path / "out"
    everything = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    names = sorted({name.split("/")[0] for name in everything})
    write_table(out, [f"{name},{name.split('/')[0]},0.9,{names[0]},0.1" for name in everything])
    write_about(out, names, val_fraction=0.5, **kept)

    def divided(fraction, seed):
        return {item.key for item in read_collection(
            root, "auto", ["val"], fraction, seed=seed).splits["val"]}  # fmt: skip

    def scored(*flags):
        flags = ["--predictions", out, "--truth", root, "--out", tmp_path / "runs", *flags]
        done = cvkit("classify", "eval", *flags, "--json")
        table = Path(done.json["files"]["per_image"]).read_text().splitlines()[1:]
        return {row.split(",")[0] for row in table}

    seed = kept.get("split_seed")
    assert 0 < len(divided(0.5, seed)) < 24
    assert scored() == divided(0.5, seed)
    assert scored("--val-fraction", "0.2") == divided(0.2, seed) != divided(0.5, seed)
    assert scored("--seed", "7") == divided(0.5, 7) != divided(0.5, seed)
