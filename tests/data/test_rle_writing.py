"""Kaggle's run-length tables as they are written: what comes back, and what is said to be lost."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import mask_classes, read_pairs
from cvkit.data.masks import MaskReader
from cvkit.data.run_lengths import PIXELS, parse_runs, write_runs
from cvkit.data.tables import LONGEST_CELL, read_rows
from cvkit.errors import DataError
from cvkit.ops.rle import decode, encode, run_lengths
from cvkit.scoring.mask_tables import true_masks

NAMES = ("a", "a.v1", "a.png", " b", 'c, "d"', "ä b")
"""Stems of images; a table may call an image by the name of its file, or without its suffix."""


def convert(cvkit, task, source, out, *more):
    flags = ("--task", task, "--to", "rle", "--out", out, "--json", "--quiet", *more)
    return cvkit("data", "convert", source, *flags)


def shapes(rng, count, size_hw):
    """Return the masks of some objects, which may overlap, touch the border and be in parts."""
    layers = np.zeros((count, *size_hw), bool)
    for layer in layers:
        layer[:] = rng.random(size_hw) < rng.choice([0.02, 0.3, 1])
        layer[tuple(rng.integers(size_hw))] = True
    return layers


def draw_objects(root, rng, splits, classes):
    """Write a COCO dataset; return class and pixels of the objects of each image, by split."""
    wanted = {}
    (root / "annotations").mkdir(parents=True)
    for split in splits:
        images, rows, wanted[split] = [], [], {}
        for number, stem in enumerate(rng.permutation(NAMES)[:3].tolist(), 1):
            name, (height, width) = f"{split}-{stem}.png", rng.integers(1, 9, 2).tolist()
            Image.new("RGB", (width, height)).save(root / name)
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            mine = wanted[split][name] = []
            for layer in shapes(rng, rng.integers(3), (height, width)):
                code = coco.encode(np.asfortranarray(layer.astype(np.uint8)))
                label = int(rng.integers(len(classes)))
                rows.append(
                    {
                        "id": len(rows) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "bbox": coco.toBbox(code).tolist(),
                        "area": int(layer.sum()),
                        "segmentation": code | {"counts": code["counts"].decode()},
                    }
                )
                mine.append((classes[label], layer.tolist()))
        content = {"images": images, "annotations": rows}
        content["categories"] = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return wanted


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("splits", [["train", "val"], ["val"], ["other"]])
def test_objects_come_back_as_they_were(cvkit, tmp_path, splits, seed):
    rng = np.random.default_rng(seed)
    classes = [["cat"], ["object", "a,b"], ["z", "y", "background"], ["background"]][seed]
    wanted = draw_objects(tmp_path / "source", rng, splits, classes)
    done = convert(cvkit, "instance", tmp_path / "source", tmp_path / "out", "--lossless")
    assert done.code == 0, done.err
    asked = splits if splits != ["other"] else ["all"]
    data = read_boxes(tmp_path / "out", "auto", asked, masks=True)
    assert data.layout == "rle" and not data.defects
    used = {name for images in wanted.values() for mine in images.values() for name, _ in mine}
    assert data.classes.names == tuple(n for n in classes if n != "background" or n in used)
    for split, name in zip(splits, asked, strict=True):
        found = {
            image.path.name: [
                (data.classes.names[label - 1], layer.tolist())
                for label, layer in zip(image.truth.labels, decode(image.truth.masks), strict=True)
            ]
            for image in data.splits[name]
        }
        assert found == wanted[split]


def draw_masks(root, rng, names, *, ignored):
    wanted = {}
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(3):
            values = rng.integers(0, len(names) + ignored, rng.integers(1, 9, 2)).astype(np.uint8)
            values[values == len(names)] = 255
            values *= number > 0  # the first image is background
            Image.fromarray(values).save(root / "masks" / split / f"{split}{number}.png")
            Image.fromarray(values).save(root / "images" / split / f"{split}{number}.png")
            wanted[split, f"{split}{number}"] = values
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return wanted


def read_masks(root):
    pairs = read_pairs(root, detect_format("masks", root), ["train", "val"]).splits
    classes, colors = mask_classes(root, [pair.mask for row in pairs.values() for pair in row])
    reader = MaskReader(len(classes), colors)
    return classes, {
        (split, pair.image.stem): reader.read(pair.mask) for split in pairs for pair in pairs[split]
    }


@pytest.mark.parametrize("names", [["background", "b"], ["background", "z", "a,b", "c"]])
def test_masks_of_classes_come_back_as_they_were(cvkit, tmp_path, names):
    wanted = draw_masks(tmp_path / "source", np.random.default_rng(1), names, ignored=False)
    done = convert(cvkit, "segment", tmp_path / "source", tmp_path / "out", "--lossless")
    assert done.code == 0, done.err
    classes, found = read_masks(tmp_path / "out")
    assert classes.names == tuple(names)
    assert {key: values.tolist() for key, values in found.items()} == {
        key: values.tolist() for key, values in wanted.items()
    }
    header = (tmp_path / "out" / "val.csv").read_text().splitlines()[0]
    assert ("ClassId" in header) == (len(names) > 2)


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (["road", "sky"], 3),
        (["sky", "background"], 2),
        (["Background", "sky"], 1),
        (["background 1 2 3", "sky"], 1),
    ],
)
def test_what_a_table_of_classes_cannot_hold_is_said(cvkit, tmp_path, names, moved):
    wanted = draw_masks(tmp_path / "source", np.random.default_rng(2), names, ignored=True)
    unlabelled = sum(int((values == 255).sum()) for values in wanted.values())
    lost = [
        f"pixels without a label, which become background: {unlabelled}",
        f"classes with another index, name or colour, behind a background: {moved}",
    ]
    refused = convert(cvkit, "segment", tmp_path / "source", tmp_path / "out", "--lossless")
    assert refused.code == 2 and all(each in refused.json["error"]["message"] for each in lost)
    assert convert(cvkit, "segment", tmp_path / "source", tmp_path / "out").json["lost"] == lost
    short = [name.split()[0] for name in names]
    others = [name for name in short if name.lower() != "background"]
    classes, found = read_masks(tmp_path / "out")
    assert classes == make_classes(["background", *others])
    for key, values in wanted.items():
        meant = [short[v] if v < 255 else "background" for v in values.ravel()]
        assert [classes.names[v].lower() for v in found[key].ravel()] == [m.lower() for m in meant]


def test_runs_are_pixels_from_1_down_the_columns():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)
    code = write_runs(run_lengths(encode(mask[None]).codes[0]))
    assert code == "2 4"
    assert parse_runs(code, (2, 3)).tolist() == [[1, 4]]
    assert write_runs([6]) == "" and write_runs([0, 6]) == "1 6"
    assert write_runs([1, 0, 1, 2, 1, 1]) == "3 2 6 1"


def test_a_code_may_be_longer_than_other_cells(tmp_path):
    code = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    assert len(code) > LONGEST_CELL
    for column in (PIXELS, "label", PIXELS):
        (tmp_path / "t.csv").write_text(f"ImageId,{column}\na.png,{code}\n")
        if column == PIXELS:
            assert read_rows(tmp_path / "t.csv", ("ImageId",))[0][PIXELS] == code
            continue
        with pytest.raises(DataError, match="field larger than"):
            read_rows(tmp_path / "t.csv", ("ImageId",))


def table(root, name, *lines):
    (root / name).write_text("ImageId,EncodedPixels\n" + "".join(f"{line}\n" for line in lines))


def test_tables_that_are_no_splits_are_reported_or_refused(tmp_path):
    for stem in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{stem}.png")
    table(tmp_path, "train_v2.csv", "a.png,1 2")
    table(tmp_path, "sample_submission.csv", "b.png,1 1")
    with pytest.raises(DataError) as caught:
        read_boxes(tmp_path, "auto", ["all"], masks=True)
    assert caught.value.code == "split.ambiguous" and "val.csv" in caught.value.hint
    (tmp_path / "train_v2.csv").rename(tmp_path / "train.csv")
    data = read_boxes(tmp_path, "auto", ["train"], masks=True)
    assert [image.key for image in data.splits["train"]] == ["a.png"]
    assert any("sample_submission.csv" in note for note in data.notes)


def test_tables_of_folds_are_splits(tmp_path):
    for stem in ("fold-1", "fold-2"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{stem}.png")
        table(tmp_path, f"{stem}.csv", f"{stem}.png,1 2")
    data = read_boxes(tmp_path, "auto", ["fold-1"], masks=True)
    assert [image.key for image in data.splits["fold-1"]] == ["fold-1.png"]


def test_rows_without_a_class_have_the_only_one_of_the_list(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    table(tmp_path, "masks.csv", "a.png,1 2")
    for listed, name in (("background\ncat\n", "cat"), ("cat\nobject\n", "object")):
        (tmp_path / "classes.txt").write_text(listed)
        data = read_boxes(tmp_path, "auto", ["all"], masks=True)
        ((image,),) = data.splits.values()
        assert data.classes.names[image.truth.labels[0] - 1] == name
        ((_, _, mask),) = true_masks(tmp_path / "masks.csv")
        assert [mask.classes.names[index] for index, _ in mask.parts] == [name]


def test_classes_are_those_of_all_tables(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for split, name in (("train", "dog"), ("val", "cat")):
        text = f"ImageId,EncodedPixels,ClassId\na.png,1 2,{name}\n"
        (tmp_path / f"{split}.csv").write_text(text)
    for split in ("train", "val"):
        data = read_boxes(tmp_path, "auto", [split], masks=True)
        assert data.classes.names == ("cat", "dog")
