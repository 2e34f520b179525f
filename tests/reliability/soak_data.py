"""Datasets and decoding, R15 to R24: damaged labels, bombs, odd folders and cut videos.

Not part of `make test`: see `make soak`.
"""

import hashlib
import json
import os
import socket
import sys
import time

import cv2
import hostile_images
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvkit.data.decode import read_image
from cvkit.data.files import walk_images
from cvkit.data.formats.xml_files import read_root
from cvkit.data.masks import MaskReader
from cvkit.data.video import index_video
from cvkit.errors import DataError

# R16


def mask_file(path, values, mode):
    image = Image.fromarray(values)
    if mode == "palette":
        image = Image.fromarray(values.astype(np.uint8), "L")
        image.putpalette([(7 * n) % 256 for n in range(768)])
    image.save(path)


def test_r16_values_of_masks(tmp_path, count):
    classes = 4

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.integers(0, 300), min_size=1, max_size=4),
        st.sampled_from(["grey", "palette", "wide"]),
    )
    def values(inside, mode):
        array = np.zeros((8, 8), np.uint16 if mode == "wide" else np.uint8)
        kept = [value % (65536 if mode == "wide" else 256) for value in inside]
        array.ravel()[: len(kept)] = kept
        path = tmp_path / "m.png"
        mask_file(path, array, mode)
        good = all(value < classes or value == 255 for value in kept)
        try:
            found = MaskReader(num_classes=classes).read(path)
        except DataError as error:
            assert not good and "m.png" in str(error), error
        else:
            assert good
            assert set(np.unique(found)) <= {*range(classes), 255}
        count["masks"] += 1

    values()


# R17

ESCAPES = (
    *("../x.png", "../../x.png", "a/../../x.png", "a/b/../../../x.png", "/etc/passwd", "//x/y.png"),
    *("C:\\x.png", "C:/x.png", "\\\\host\\share\\x.png", "..\\x.png", "a\\..\\..\\x.png"),
    *("/dev/zero", "/dev/stdin", "/proc/self/environ", "a\0b.png", "\0", "..", "../", "."),
    *(
        "/",
        "a/../../../../../../../../etc/passwd",
        "./../x.png",
        "a/./../../x.png",
        "~/x.png/../..",
    ),
    *("x" * 300 + ".png", "a/" * 2500 + "x.png", "..//x.png", "a//..//..//x.png", "\ud800.png"),
    *("file:///etc/passwd", "http://127.0.0.1:9/x.png", "../x.png\n", " ../x.png", "\u2025/x.png"),
    *("..\u2215x.png", "%2e%2e/x.png", "..%2fx.png", "....//x.png", "..;/x.png", "a/..", "con"),
)
"""Names in files that lead, or might lead, out of a dataset."""


def opened_outside(root, act):
    """Return what was opened in a folder beside the dataset, or for writing, during a call."""
    seen = []

    def hook(event, arguments):
        if event in ("open", "os.listdir", "os.scandir", "socket.connect") and active[0]:
            name = arguments[0]
            if isinstance(name, str | bytes | os.PathLike):
                path = os.path.abspath(os.fsdecode(name))
                allowed = (str(root), sys.prefix, sys.base_prefix, "/usr", "/proc/self/maps")
                if not path.startswith(allowed):
                    seen.append(path)

    active = [True]
    sys.addaudithook(hook)
    act()
    active[0] = False
    return seen


def coco_with(name):
    return {
        "images": [{"id": 1, "file_name": name, "width": 8, "height": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
        "categories": [{"id": 1, "name": "cat"}],
    }


@pytest.mark.parametrize("how", ["coco", "table", "voc list", "masks", "true masks", "predictions"])
def test_r17_paths_that_lead_out(server, tmp_path, count, how):
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    for number, name in enumerate(ESCAPES):
        root = tmp_path / "data" / str(number)
        (root / "ImageSets" / "Main").mkdir(parents=True)
        for place in ("JPEGImages", "Annotations", "images"):
            (root / place).mkdir()
        flags = []
        shown = name if "\0" not in name and "\ud800" not in name and "\n" not in name else "odd"
        if how == "coco":
            for split in ("train", "val"):
                (root / f"{split}.json").write_text(json.dumps(coco_with(name)))
            command = ["data", "check", root, "--task", "detect"]
        elif how == "table":
            text = (
                f"path,label,split\n{json.dumps(shown)},cat,train\n{json.dumps(shown)}x,dog,val\n"
            )
            (root / "labels.csv").write_text(text)
            command = ["data", "check", root, "--task", "classify"]
        elif how == "voc list":
            for split in ("train", "val"):
                (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{shown}\n")
            command = ["data", "check", root, "--task", "detect", "--format", "voc"]
        elif how == "masks":
            (root / "p.csv").write_text(
                f"ImageId,ClassId,EncodedPixels\n{json.dumps(shown)},1,1 2\n"
            )
            command = ["segment", "eval", "--predictions", root / "p.csv", "--truth", root]
            flags = ["--out", root / "out"]
        elif how == "true masks":
            (root / "t.csv").write_text(
                "ImageId,ClassId,EncodedPixels,Height,Width\n"
                f"{json.dumps(shown.removesuffix('.png'))},1,1 2,8,8\n"
            )
            command = ["segment", "eval", "--predictions", root / "images"]
            flags = ["--truth", root / "t.csv", "--out", root / "out"]
        else:
            line = {"path": name, "mask": name, "width": 8, "height": 8}
            (root / "predictions.jsonl").write_text(json.dumps(line) + "\n")
            (root / "predict.json").write_text("{}")
            command = ["segment", "eval", "--predictions", root, "--truth", root, "--out"]
            flags = [root / "out"]

        def act(root=root, command=(*command, *flags)):
            codes, seen = [], []
            seen += opened_outside(
                root, lambda: codes.append(server.cli.run([str(each) for each in command]))
            )
            kept = [path for path in seen if path.startswith(str(tmp_path)) or "passwd" in path]
            kept += [path for path in seen if path.startswith(("/dev/zero", "/proc/self/env"))]
            print("outside:", *kept)
            return 9 if kept else codes[0]

        ended = server.Running(act).wait(60)
        assert ended.code in (2, 3), (name, ended.code, ended.out[-500:], ended.err[-500:])
        assert "Traceback" not in ended.err
        count["names"] += 1


def test_r17_names_of_results_stay_in_their_folder(server, tmp_path, count):
    """Predictions of inputs with odd names are written below --out only."""
    photos = tmp_path / "in" / "deep"
    photos.mkdir(parents=True)
    names = (
        "..a.png",
        "...png",
        "a..b.png",
        "-x.png",
        "a b.png",
        "\\..\\x.png",
        "C:x.png",
        "~.png",
    )
    for name in (*names, "%2e%2e.png", "é\n.png"):
        Image.new("RGB", (32, 32)).save(photos / name, "PNG")
    out = tmp_path / "out"
    before = {path for path in tmp_path.rglob("*") if out not in path.parents}
    inputs = [f"{photos}/../deep/{name}" for name in names]
    ended = server.run(["segment", "predict", *inputs, "--weights", "scenes", "--out", out, "-q"])
    assert ended.code == 0, ended.err
    after = {path for path in tmp_path.rglob("*") if out not in path.parents and path != out}
    assert after == before
    assert len(list((out / "masks").rglob("*.png"))) == len(names)
    count["names"] += len(names)


# R18


def laughs(levels):
    rows = ['<!ENTITY a0 "ha">']
    rows += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, levels)]
    return f"<!DOCTYPE a [{''.join(rows)}]><annotation>&a{levels - 1};</annotation>"


def xml_files():
    deep = "<annotation>" + "<a>" * 100_000
    return {
        "billion laughs": laughs(10),
        "quadratic": f'<!DOCTYPE a [<!ENTITY a "{"x" * 50_000}">]><annotation>{"&a;" * 50_000}'
        "</annotation>",
        "file": '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
        "url": '<!DOCTYPE a [<!ENTITY a SYSTEM "http://127.0.0.1:9/">]><annotation>&a;</annotation>',
        "DTD": '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>',
        "parameter entity": '<!DOCTYPE a [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>'
        "<annotation/>",
        "empty DTD": "<!DOCTYPE annotation><annotation/>",
        "deep": deep,
        "deep and closed": deep + "</a>" * 100_000 + "</annotation>",
        "50 MB": "<annotation>" + "<a/>" * 12_500_000 + "</annotation>",
        "attributes": "<annotation " + " ".join(f'a{n}="x"' for n in range(200_000)) + "/>",
        "long text": "<annotation>" + "x" * 40_000_000 + "</annotation>",
        "inclusion": '<annotation xmlns:xi="http://www.w3.org/2001/XInclude">'
        '<xi:include href="/etc/passwd" parse="text"/></annotation',
        "encoding": '<?xml version="1.0" encoding="utf-7"?><annotation/>',
        "no end": "<annotation>",
        "nothing": "",
        "NUL": "<annotation>\0</annotation>",
    }


def test_r18_xml(server, tmp_path, count):
    for name, text in xml_files().items():
        path = tmp_path / "a.xml"
        path.write_text(text)

        def act(path=path):
            seen = []
            sys.addaudithook(lambda event, _: seen.append(event) if "socket" in event else None)
            try:
                read_root(path, "annotation", 10_000_000)
            except DataError as error:
                print(error)
                return 9 if seen else error.exit_code
            return 0

        ended = server.Running(act).wait()
        allowed = (0, 2) if name == "attributes" else (2,)  # only large
        assert ended.code in allowed, (name, ended.out[-300:], ended.err[-300:])
        assert ended.seconds < 1.5 and ended.grown < 200 * 2**20, (name, ended.seconds, ended.grown)
        count["files"] += 1


# R20 is in tests/data/test_decode.py; here are the same pixels for every command.


def test_r20_commands_read_the_same_pixels(tmp_path, count):
    rng = np.random.default_rng(4)
    for number in range(120):
        size = rng.integers(3, 40, 2)
        mode = ("RGB", "L", "RGBA", "P", "CMYK", "LA", "1", "I;16")[number % 8]
        values = rng.integers(0, 256, (*size, 4), np.uint8)
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, size, np.uint16))
        else:
            image = Image.fromarray(values, "RGBA").convert("RGB" if mode == "CMYK" else mode)
            image = image.convert(mode)
        suffix = ".tif" if mode in ("CMYK", "LA") else ".png"
        exif = Image.Exif()
        exif[0x0112] = number % 8 + 1
        path = tmp_path / f"{number}{suffix}"
        image.save(path, exif=exif)
        once, again = read_image(path), read_image(path)
        assert hashlib.sha256(once).digest() == hashlib.sha256(again).digest()
        assert once.dtype == np.uint8 and once.shape[2] == 3
        turned = number % 8 + 1 >= 5
        assert once.shape[:2] == (image.size if turned else image.size[::-1])
        count["files"] += 1


# R21


def test_r21_bombs(server, tmp_path, count):
    files = hostile_images.bombs() | hostile_images.foreign()
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)

        def act(path=path):
            try:
                read_image(path)
            except DataError as error:
                print(error)
                return error.exit_code
            return 0

        ended = server.Running(act).wait()
        assert ended.code == 2, (name, ended.err[-500:])
        assert ended.seconds < 2 and ended.grown < 300 * 2**20, (name, ended.seconds, ended.grown)
        count["refused"] += 1
    for name, content in hostile_images.texts().items():
        path = tmp_path / name
        path.write_bytes(content)

        def read(path=path):
            try:
                return 0 if read_image(path).shape == (2, 2, 3) else 9
            except DataError as error:
                return error.exit_code

        ended = server.Running(read).wait()
        assert ended.code in (0, 2), (name, ended.err[-500:])
        assert ended.seconds < 2 and ended.grown < 300 * 2**20, (name, ended.seconds, ended.grown)
        count["texts"] += 1


def test_r21_the_largest_image(server, tmp_path, count):
    path = tmp_path / "x.png"
    path.write_bytes(hostile_images.bits_of_100_megapixels())

    def act():
        return 0 if read_image(path).shape == (10_000, 9_999, 3) else 1

    ended = server.Running(act).wait()
    assert ended.code == 0, ended.err
    assert ended.grown < 600 * 2**20, ended.grown
    count["images"] += 1


# R22


def odd_tree(root):
    """Make a folder with whatever a folder can hold; return the names of its images."""
    root.mkdir()
    names = {
        b"a.png",
        b"caf\xe9.png",
        b"x" * 250 + b".png",
        b"new\nline.png",
        "\U0001f600.png".encode(),
        b" .png",
        b"-rf.png",
        b"a'b\"c.png",
        b"$(x).png",
        b"A.png",
        b"tab\t.png",
        b"%s.png",
    }
    for name in names:
        Image.new("RGB", (40, 40), (9, 99, 200)).save(os.path.join(os.fsencode(root), name), "PNG")
    (root / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(root / "deep" / "er" / "z.png")
    names.add(b"deep/er/z.png")
    (root / "loop").symlink_to(root)
    (root / "deep" / "up").symlink_to(root / "deep")
    os.mkfifo(root / "pipe.png")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "folder.png").mkdir()
    (root / "gone.png").symlink_to(root / "nowhere")
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "empty.png").touch()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(root / "socket.png"))
    listening.close()
    bad = {b"pipe.png", b"zero.png", b"gone.png", b"itself.png", b"empty.png", b"socket.png"}
    return names, bad


def test_r22_any_folder(server, tmp_path, count):
    names, bad = odd_tree(tmp_path / "in")
    out = tmp_path / "out"
    started = time.monotonic()
    listed = list(walk_images(tmp_path / "in"))
    assert time.monotonic() - started < 5
    flags = ["--weights", "scenes", "--out", out, "-q"]
    ended = server.run(["segment", "predict", tmp_path / "in", *flags])
    assert ended.code == 3, ended.err
    lines = [json.loads(row) for row in (out / "predictions.jsonl").read_text().splitlines()]
    failed = [json.loads(row) for row in (out / "failures.jsonl").read_text().splitlines()]
    found = [os.fsencode(line["path"]) for line in lines]
    lost = [os.fsencode(line["path"]) for line in failed]
    assert sorted(found) == sorted(names) and len(set(found)) == len(found)
    assert set(lost) >= bad and len(set(lost)) == len(lost)
    assert len(listed) >= len(names)
    count["names"] += len(names) + len(bad)


def test_r22_a_hundred_thousand_files(tmp_path, count):
    for folder in range(100):
        place = tmp_path / str(folder)
        place.mkdir()
        for number in range(1000):
            (place / f"{number}.png").touch()
    started = time.monotonic()
    assert len(list(walk_images(tmp_path))) == 100_000
    seconds = time.monotonic() - started
    assert seconds < 60, seconds
    count["files"] += 100_000


# R23


def snapshot(root):
    return {
        str(path): (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(root.rglob("*"))
    }


def test_r23_inputs_stay_as_they_are(server, data_of, run_of, training, tmp_path, count, task):
    data, model = data_of(task), run_of(task)
    before = snapshot(data) | snapshot(model)
    image = [p for p in sorted(data.rglob("*")) if p.suffix in (".png", ".jpg", ".mp4", ".avi")]
    commands = [
        training(task, tmp_path / "runs", epochs=1),
        [task, "eval", "--weights", model, "--data", data, "--out", tmp_path / "eval"],
        [task, "predict", *image[:3], "--weights", model, "--out", tmp_path / "out"],
        [task, "predict", *image[:3], "--weights", model, "--out", data],
        ["data", "check", data, "--task", task],
        ["data", "stats", data, "--task", task],
        ["data", "split", data, "--task", task, "--out", tmp_path / "splits.json"],
        ["weights", "verify", model],
        ["weights", "show", model],
        [task, "train", "--data", data, "--out", tmp_path / "x", "--epochs", "-1"],
        [task, "eval", "--weights", data, "--data", data, "--out", tmp_path / "y"],
    ]
    for command in commands:
        ended = server.run(command)
        assert ended.code in (0, 2, 3), (command, ended.err)
        assert snapshot(data) | snapshot(model) == before, command
        count["commands"] += 1


# R24

CODES = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}
CODES |= {".mpg": "PIM1", ".mpeg": "mp2v", ".webm": "VP80"}


def clip(path, frames=120, size=(96, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODES[path.suffix]), 25.0, size)
    rng = np.random.default_rng(1)
    for number in range(frames):
        frame = np.full((size[1], size[0], 3), 5 * number % 256, np.uint8)
        frame[:, : number % size[0]] = rng.integers(0, 256, 3)
        frame[8:40, 8:40] = rng.integers(0, 256, (32, 32, 3))
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("suffix", CODES)
def test_r24_cut_videos(tmp_path, count, suffix):
    whole = clip(tmp_path / f"a{suffix}")
    index = index_video(whole)
    assert len(index) == 120
    content = whole.read_bytes()
    for share in (0.05, 0.3, 0.5, 0.5001, 0.71, 0.9, 0.97):
        cut = tmp_path / f"cut{share}{suffix}"
        cut.write_bytes(content[: int(len(content) * share)])
        try:
            found = index_video(cut)
        except DataError as error:
            assert error.code in ("video.truncated", "video.unreadable", "video.zero_frames")
        else:
            assert len(found) >= 0.99 * 120, (share, len(found))
        count["clips"] += 1
