"""Datasets of Hugging Face in parquet files: read with pyarrow, or refused with what else to do."""

import hashlib
import io
import sys

import numpy as np
import pytest
import small_datasets as small
from corpus import CASES, photo
from parquet_writing import boxed, labelled, names_of, needs_pyarrow, one, parquet
from PIL import Image

from cvkit.console import Reporter
from cvkit.data import parquet_files
from cvkit.data.boxes import read_boxes
from cvkit.data.checked import Request
from cvkit.data.classified import read_collection
from cvkit.data.dataset_check import check
from cvkit.data.decode import needed_bits, open_image, read_header, read_image
from cvkit.data.files import walk_videos
from cvkit.data.formats.contract import Query
from cvkit.data.formats.recognise import PARQUET, UNPACK, clear_task, detect_format, reader_of
from cvkit.data.known import content_hash
from cvkit.data.pages import page_path
from cvkit.data.scan import on_all_cores
from cvkit.errors import CvkitError
from cvkit.format_table import FORMATS

READ = [truth for truth in FORMATS if PARQUET in FORMATS[truth]]
VALUES = range(10, 80, 10)


def command_in(hint):
    """Return the program in a hint, which must compile."""
    code = hint.partition('python -c "')[2].removesuffix('"')
    compile(code, "hint", "exec")
    return code


@pytest.mark.parametrize("truth", sorted(FORMATS.keys() - {*READ}))
@pytest.mark.parametrize("folder", ["data", "."])
def test_labels_that_parquet_files_are_not_read_for_are_refused(tmp_path, truth, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(CvkitError, match="has parquet files") as caught:
        detect_format(truth, tmp_path)
    assert caught.value.code == "data.parquet"
    assert "datasets" in caught.value.hint


@pytest.mark.parametrize("truth", READ)
@pytest.mark.parametrize("wanted", ["auto", PARQUET])
def test_without_pyarrow_the_extra_and_the_command_that_unpacks_are_named(
    tmp_path, truth, wanted, monkeypatch
):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert truth in UNPACK
    reader = reader_of(truth, detect_format(truth, tmp_path, wanted))
    with pytest.raises(CvkitError, match="need the package pyarrow") as caught:
        reader.read(Query(root=tmp_path))
    assert (caught.value.code, caught.value.exit_code) == ("data.parquet", 2)
    assert caught.value.hint.startswith("pip install 'cvkit[parquet]', or ")
    assert str(tmp_path) in command_in(caught.value.hint)


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_commands_without_pyarrow_end_with_2(cvkit, tmp_path, task, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for words in (
        ("data", "check", tmp_path / "d", "--task", task),
        (task, "train", "--data", tmp_path / "d", "--out", tmp_path / "out"),
    ):
        done = cvkit(*words)
        assert done.code == 2
        assert "pip install 'cvkit[parquet]'" in done.err


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of images in groups of three, with the content of each."""
    contents = [photo(value) for value in VALUES]
    file = tmp_path_factory.mktemp("rows") / "x.parquet"
    file.write_bytes(parquet(contents, group=3))
    return file, contents


@needs_pyarrow
@pytest.mark.parametrize("kept", [parquet_files.MOST_KEPT, 0], ids=["whole groups", "parts"])
def test_rows_are_read_in_any_order_and_by_several_threads(rows, kept, monkeypatch):
    file, contents = rows
    monkeypatch.setattr(parquet_files, "MOST_KEPT", kept)
    monkeypatch.setattr(parquet_files, "BATCH", 2)
    monkeypatch.setattr(parquet_files._last, "rows", None)
    order = [*range(7), *range(7)[::-1], 3, 0, 6, 6, 1]
    paths = [page_path(file, number + 1) for number in order]
    assert [parquet_files.stored_image(path) for path in paths] == [contents[n] for n in order]
    values = on_all_cores(lambda path: int(read_image(path)[0, 0, 0]), paths * 5, None)
    assert [*values] == [VALUES[n] for n in order] * 5
    assert len(parquet_files._last.rows._images) <= (3 if kept else 2)


@needs_pyarrow
def test_a_row_is_the_image_file_that_it_has(rows):
    file, contents = rows
    path = page_path(file, 2)
    assert content_hash(path) == hashlib.sha256(contents[1]).hexdigest()
    assert read_header(path)[0] == (6, 8)
    for number in (0, 8):
        with pytest.raises(CvkitError, match="no such row") as caught:
            open_image(page_path(file, number))
        assert caught.value.code == "image.missing"


@needs_pyarrow
def test_a_file_that_changes_is_read_again(tmp_path):
    file = tmp_path / "x.parquet"
    for values in ([10], [20, 30]):
        file.write_bytes(parquet([photo(value) for value in values]))
        assert read_image(page_path(file, 1))[0, 0, 0] == values[0]


@needs_pyarrow
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "image.empty"),
        (b"text", "image.not_an_image"),
        (photo(10)[:45], "image.truncated"),
        (None, "parquet.null"),
        ("b.png", "parquet.null"),
    ],
    ids=["empty", "text", "cut", "null", "path"],
)
def test_a_row_that_is_no_image_is_refused_as_a_file_is(tmp_path, content, code):
    (tmp_path / "x.parquet").write_bytes(parquet([photo(10), content]))
    path = page_path(tmp_path / "x.parquet", 2)
    with pytest.raises(CvkitError) as caught:
        read_image(path)
    assert caught.value.code == code
    assert "x.parquet" in str(caught.value)


@needs_pyarrow
def test_rows_with_16_bits_are_read_as_files_with_16_bits(tmp_path):
    deep = np.random.default_rng(0).integers(4096, size=(6, 8, 3)).astype(np.uint16)
    import cv2

    content = cv2.imencode(".png", deep)[1].tobytes()
    (tmp_path / "x.png").write_bytes(content)
    (tmp_path / "x.parquet").write_bytes(parquet([photo(10), content]))
    path = page_path(tmp_path / "x.parquet", 2)
    assert needed_bits(path) == needed_bits(tmp_path / "x.png") == 12
    assert np.array_equal(read_image(path, 12), read_image(tmp_path / "x.png", 12))


@needs_pyarrow
@pytest.mark.parametrize(
    ("name", "task"), [("parquet_classes", "classify"), ("parquet_objects", "detect")]
)
def test_the_columns_say_for_which_task_a_dataset_is(tmp_path, name, task):
    case = CASES[name]
    case.write(tmp_path)
    assert clear_task(tmp_path, "auto", print) == task
    (other,) = {*READ} - {case.truth}
    with pytest.raises(CvkitError, match=f"not of {other}") as caught:
        detect_format(other, tmp_path)
    assert f"'cvkit {task}'" in caught.value.hint


@needs_pyarrow
def test_images_are_not_videos(tmp_path):
    CASES["parquet_classes"].write(tmp_path)
    with pytest.raises(CvkitError, match="images") as caught:
        read_collection(tmp_path, "auto", ["train"], None, walk_videos)
    assert (caught.value.exit_code, caught.value.hint) == (2, "use 'cvkit classify'")


FILES = {
    "train.parquet": "train",
    "data/train-00000-of-00001.parquet": "train",
    "data/train-00000-of-00001-1a2b3c4d5e6f7a8b.parquet": "train",
    "validation-00000-of-00001.parquet": "validation",
    "extra_part-00000-of-00001.parquet": "extra_part",
    "test_0.parquet": "test",
    "train/0000.parquet": "train",
    "data/0000.parquet": "all",
    "animals.parquet": "all",
}


@needs_pyarrow
@pytest.mark.parametrize("name", FILES)
def test_the_split_of_a_file_is_in_its_path(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(labelled([photo(10)], [0]))
    found = read_collection(tmp_path, "auto", [FILES[name]], None).splits
    assert [image.key for image in found[FILES[name]]] == [f"{name}#1"]


def findings(root, task):
    made = check(Request(place=root, task=task), Reporter(quiet=True))
    return {(each.rule, each.file or each.message) for each in made.findings}


@needs_pyarrow
@pytest.mark.parametrize(
    ("write", "task"), [(small.parquet, "classify"), (small.parquet_boxes, "detect")]
)
def test_missing_shards_and_files_without_a_split_are_reported(tmp_path, write, task):
    write(tmp_path)
    file = tmp_path / "train-00000-of-00001.parquet"
    (tmp_path / "more.parquet").write_bytes(file.read_bytes())
    assert findings(tmp_path, task) == {("file.unused", "more.parquet")}
    file.rename(tmp_path / "train-00000-of-00002.parquet")
    lost = f"{tmp_path.name}/train-00001-of-00002.parquet"
    assert ("split.id_without_file", lost.partition("/")[2]) in findings(tmp_path, task)


@needs_pyarrow
def test_objects_may_be_a_list_of_structs(tmp_path):
    box = {"bbox": [1.0, 2, 4, 2], "category": 1}
    features = {"objects": [{"bbox": {}, "category": names_of("dog", "cat")}]}
    for name, objects in (("lists", [one(1, 2, 4, 2, category=1), one()]), ("rows", [[box], []])):
        (tmp_path / name).mkdir()
        content = parquet([photo(10), photo(20)], features=features, objects=objects)
        (tmp_path / name / "train.parquet").write_bytes(content)
    read = [read_boxes(tmp_path / name, "auto", ["train"]) for name in ("lists", "rows")]
    assert [data.classes.names for data in read] == [("dog", "cat")] * 2
    for data in read:
        first, second = data.splits["train"]
        assert first.truth.boxes.tolist() == [[1, 2, 5, 4]]
        assert (first.truth.labels.tolist(), len(second.truth.labels)) == ([2], 0)


def stored(kind, **how):
    """Return an image file as Pillow does not write it by default."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (90, 9, 200)).save(stream, kind, **how)
    return stream.getvalue()


@needs_pyarrow
@pytest.mark.parametrize(
    ("write", "task", "to"), [(labelled, "classify", "folders"), (boxed, "detect", "coco")]
)
@pytest.mark.parametrize("link", [False, True])
def test_convert_writes_the_files_in_the_rows(cvkit, tmp_path, write, task, to, link):
    contents = [stored("PNG", compress_level=0), stored("JPEG", quality=40), photo(9)]
    labels = [0, 1, 0] if task == "classify" else [one(1, 2, 4, 2), one(), one(0, 0, 2, 2)]
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train-00000-of-00001.parquet").write_bytes(write(contents, labels))
    words = ("--task", task, "--to", to, "--out", tmp_path / "new", *["--link"] * link)
    done = cvkit("data", "convert", tmp_path / "d", *words)
    assert done.code == 0, done.err
    found = {path.name: path.read_bytes() for path in (tmp_path / "new").rglob("*.[jp][pn]g")}
    stem = "train-00000-of-00001"
    names = [f"{stem}-1.png", f"{stem}-2.jpg", f"{stem}-3.png"]
    assert found == dict(zip(names, contents, strict=True))


@needs_pyarrow
def test_a_division_keeps_equal_images_together(cvkit, tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    contents = [photo(value) for value in (10, 20, 30, 40, 10, 20, 30, 40)]
    (root / "all.parquet").write_bytes(labelled(contents, [0, 1] * 4))
    out = tmp_path / "s.json"
    done = cvkit("data", "split", root, "--task", "classify", "--val-fraction", "0.5", "--out", out)
    assert done.code == 0, done.err
    found = read_collection(root, "auto", ["train", "val"], 0.5).splits
    parts = [{content_hash(image.path) for image in images} for images in found.values()]
    assert not parts[0] & parts[1]
    assert sum(map(len, found.values())) == 8
