"""Palette PNGs, overlays, legends and tables."""

import csv
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cvkit.errors import MachineError
from cvkit.ops.rle import encode
from cvkit.output.boxes import describe_boxes
from cvkit.output.curves import (
    write_curves,
    write_lr_curve,
    write_precision_recall,
    write_scores_over_time,
)
from cvkit.output.files import write_csv, write_label_png, write_rgb
from cvkit.output.instances import write_index_map
from cvkit.output.records import describe_labels
from cvkit.structures import Classes, ClassList, Geometry, Instances, Sample, SegMap
from cvkit.tasks.classed import describe_classes

CLASSES = ClassList(("none", "cat", "dog"), (7, 8, 9), ((0, 0, 0), (200, 0, 0), (0, 0, 200)))
LABELS = np.array([[0] * 30, [1] * 30, [2] * 30, [255] * 30], np.uint8).repeat(10, 0)


def test_label_png_holds_indices_and_the_voc_palette(tmp_path):
    write_label_png(tmp_path / "new" / "m.png", LABELS)
    with Image.open(tmp_path / "new" / "m.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), LABELS)
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["m.png"]


def test_the_palette_of_a_mask_has_the_colours_of_its_classes(tmp_path):
    write_label_png(tmp_path / "m.png", LABELS, CLASSES.colors)
    with Image.open(tmp_path / "m.png") as image:
        own = [channel for color in CLASSES.colors for channel in color]
        assert image.getpalette()[:12] == [*own, 128, 128, 0]
        assert np.array_equal(np.asarray(image), LABELS)


def test_rgb_survives_as_png(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    write_rgb(tmp_path / "i.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "i.png")), image)


def scanlines(path):
    """Return the number of the filter of each row of a PNG."""
    content, place, packed = path.read_bytes(), 8, b""
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT":
            packed += content[place + 8 : place + 8 + length]
        place += length + 12
    with Image.open(path) as image:
        stride = 1 + image.width * len(image.getbands())
    return set(zlib.decompress(packed)[::stride])


@pytest.mark.parametrize("noise", [1, 16, 255])
def test_pictures_are_written_fast_and_still_compressed(tmp_path, noise):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120))
    image = np.clip(np.asarray(coarse, int) + rng.integers(0, noise, (120, 160, 3)), 0, 255)
    image = image.astype(np.uint8)
    write_rgb(tmp_path / "i.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "i.png")), image)
    least = len(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
    assert (tmp_path / "i.png").stat().st_size < 1.3 * least
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):
        assert scanlines(tmp_path / "i.png") == {2}  # up: the cheapest that helps


def test_maps_are_written_by_runs(tmp_path, monkeypatch):
    kinds, save = [], Image.Image.save

    def recorded(image, stream, kind, **options):
        kinds.append((kind, options))
        save(image, stream, kind, **options)

    monkeypatch.setattr(Image.Image, "save", recorded)
    write_label_png(tmp_path / "m.png", LABELS)
    write_index_map(tmp_path / "o.png", encode(LABELS[None] == 1))
    assert kinds == [("PNG", {"compress_type": zlib.Z_RLE})] * 2
    assert np.array_equal(np.asarray(Image.open(tmp_path / "o.png")), LABELS == 1)


def test_a_record_lists_the_classes_by_size_with_their_own_ids():
    labels = np.array([[1, 1, 1, 2]], np.uint8)
    sure = np.array([[0.5, 0.75, 1.0, 0.25]], np.float16)
    assert describe_labels(SegMap(labels, sure), CLASSES) == {
        "width": 4,
        "height": 1,
        "labels": ["cat", "dog"],
        "category_ids": [8, 9],
        "scores": [0.75, 0.25],
        "pixels": [3, 1],
    }


def test_tables_keep_precision_and_empty_cells(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b"], [[1 / 3, None], ['x,"y"', 2]])
    with (tmp_path / "t.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows == [["a", "b"], [repr(1 / 3), ""], ['x,"y"', "2"]]


def test_a_refused_write_is_the_machines_fault(tmp_path, monkeypatch):
    import os

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MachineError, match=r"m\.png: the disk is full"):
        write_label_png(tmp_path / "m.png", LABELS)
    assert list(tmp_path.iterdir()) == []


def test_curves_are_drawn_also_where_a_metric_is_missing(tmp_path):
    line = {"loss": 1.0, "losses": {"out": 0.7, "aux": 0.3}, "lr": 0.1}
    history = [line | {"epoch": 1, "miou": None}, line | {"epoch": 2, "miou": 0.5}]
    write_curves(tmp_path / "c.png", history, "miou")
    with Image.open(tmp_path / "c.png") as image:
        assert image.size[0] > 1000


@pytest.fixture
def drawn(monkeypatch):
    """Return the x and y of each line of a picture, by the axis' title and the line's label."""

    def lines_of(draw, *arguments):
        figures = []
        keep = lambda figure, *_, **__: figures.append(figure)  # noqa: E731
        monkeypatch.setattr(Figure, "savefig", keep)
        draw(*arguments)
        return {
            (axis.get_title() or axis.get_ylabel(), line.get_label()): tuple(
                np.asarray(values, float).tolist() for values in line.get_data()
            )
            for axis in figures[0].axes
            for line in axis.lines
        }

    return lines_of


def test_every_curve_shows_its_own_numbers(drawn, tmp_path):
    names = ("loss", "val_loss", "train_miou", "miou", "lr")
    history = [
        {"epoch": epoch, "losses": {"out": 0.01 * epoch, "aux": 0.02 * epoch}}
        | {name: (place + epoch) / 10 for place, name in enumerate(names)}
        for epoch in (1, 2)
    ]
    found = drawn(write_curves, tmp_path / "c.png", history, "miou")
    rate = next(label for title, label in found if title == "learning rate")
    wanted = {
        ("loss", "training"): [0.1, 0.2],
        ("loss", "validation"): [0.2, 0.3],
        ("loss", "out"): [0.01, 0.02],
        ("loss", "aux"): [0.02, 0.04],
        ("miou", "training"): [0.3, 0.4],
        ("miou", "validation"): [0.4, 0.5],
        ("learning rate", rate): [0.5, 0.6],
    }
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key] == ([1, 2], pytest.approx(values)), key


def test_axes_have_the_numbers_that_they_are_named_after(drawn, tmp_path, monkeypatch):
    recall, precision = np.array([0.0, 0.5]), np.array([1.0, 0.75])
    found = drawn(write_precision_recall, tmp_path / "p.png", {"cat": (recall, precision)}, "0.5")
    assert list(found.values()) == [([0, 0.5], [1, 0.75])]
    scores = np.array([[0.1, 0.6, 0.3], [0.0, 0.2, 0.8]])
    found = drawn(write_scores_over_time, tmp_path / "s.png", [0.0, 1.5], scores, ["x", "y", "z"])
    # The best class first: the mean of z is 0.55, of y 0.4, of x 0.05.
    assert list(found.values()) == [([0, 1.5], list(scores[:, place])) for place in (2, 1, 0)]
    found = drawn(write_lr_curve, tmp_path / "l.png", [0.001, 0.01], [2.0, 1.0], 0.005)
    curve, suggested = found.values()
    assert curve == ([0.001, 0.01], [2, 1]) and suggested[0] == [0.005, 0.005]


def test_lines_say_the_size_of_the_image_and_the_classes_of_the_data():
    labels = np.array([[0, 1, 1], [2, 1, 2]], np.uint8)
    scores = np.array([0.125, 0.25, 0.625], np.float32)
    sample = Sample("a.jpg", None, Geometry((2, 3), (8, 8)))
    boxes = np.array([[0, 0, 2, 1], [1, 0, 3, 2]], np.float32)
    objects = Instances(boxes, np.array([3, 1]), scores=np.array([0.75, 0.5], np.float32))
    pixels = describe_labels(SegMap(labels, np.full((2, 3), 0.5, np.float16)), CLASSES)
    one = describe_classes(Classes(2, scores), sample, CLASSES, 2)
    several = describe_boxes(objects, CLASSES, (2, 3))
    for line in (pixels, one, several):
        assert (line["width"], line["height"]) == (3, 2)
        for name, id_ in zip(line["labels"], line["category_ids"], strict=True):
            assert CLASSES.ids[CLASSES.names.index(name)] == id_
    assert (pixels["labels"], pixels["pixels"]) == (["cat", "dog", "none"], [3, 2, 1])
    assert (one["labels"], one["scores"]) == (["dog", "cat"], [0.625, 0.25])
    assert (several["labels"], several["scores"]) == (["dog", "none"], [0.75, 0.5])
    assert several["boxes"] == boxes.tolist()


NAMES = ["$5", r"$\bad{$", "_hidden", "plain", "x" * 500]


@pytest.mark.parametrize("kind", ["precision_recall", "scores_over_time"])
def test_legends_show_names_as_they_are(tmp_path, monkeypatch, kind):
    legends = []
    add = Axes.legend
    monkeypatch.setattr(Axes, "legend", lambda *a, **k: legends.append(add(*a, **k)) or legends[-1])
    if kind == "precision_recall":
        line = np.array([0.0, 1.0])
        write_precision_recall(tmp_path / "p.png", dict.fromkeys(NAMES, (line, line)), "0.5")
    else:
        scores = np.linspace(0.3, 0.1, 5)[None].repeat(2, 0)
        write_scores_over_time(tmp_path / "s.png", [0.0, 1.0], scores, NAMES)
    texts = [text.get_text() for text in legends[0].get_texts()]
    shown = [text.replace(r"\$", "$").removeprefix("\u2009") for text in texts]
    assert shown[:4] == NAMES[:4]
    assert shown[4].startswith("xxx") and len(shown[4]) < 60
    assert Image.open(next(tmp_path.iterdir())).size[0] > 500


def test_a_video_that_the_disk_does_not_take_whole_is_no_video(tmp_path):
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from cvkit.errors import MachineError
from cvkit.output.videos import write_marked_video
frames = np.random.default_rng(0).integers(0, 255, (40, 60, 80, 3), dtype=np.uint8)
write_marked_video(Path(sys.argv[1]), frames, 25, ["whole"])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    write_marked_video(Path(sys.argv[2]), frames, 25, ["cut"])
except MachineError as error:
    sys.exit(error.code)
"""
    paths = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "machine.write"
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]


def test_names_survive_a_table_whatever_letters_they_have(tmp_path):
    names = ["a\rb.png", "a\nb.png", 'say "a", b', "=1+1", "a\r\nb", " a ", "ä;b", "-", "a\tb"]
    rows = [[name, 0.1 + 0.2, number] for number, name in enumerate(names)]
    write_csv(tmp_path / "t.csv", ["path", "a\rclass", "n"], rows)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as stream:
        header, *found = csv.reader(stream)
    assert header == ["path", "a\rclass", "n"]
    assert found == [[str(cell) for cell in row] for row in rows]


def test_a_table_without_returns_has_no_needless_quotes(tmp_path):
    write_csv(tmp_path / "t.csv", ["path", "n"], [["a b.png", None], ["c,d.png", 2]])
    assert (tmp_path / "t.csv").read_text() == 'path,n\na b.png,\n"c,d.png",2\n'
