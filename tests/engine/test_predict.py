"""Prediction: one bad image costs one image, nothing is lost or mixed, a kill is repaired."""

import contextlib
import json
import os
import shutil
import signal
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cvkit import storage
from cvkit.data.files import list_inputs
from cvkit.engine.journal import Journal
from cvkit.engine.predict import Records
from cvkit.errors import DataError, UsageError
from cvkit.output.canvas import enlarged_hw
from cvkit.structures import Failure


def records(out, name="predictions"):
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def photo(path, seed, size_wh=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for index, name in enumerate(
        ("a/x.jpg", "b/x.jpg", "x.png", "X.jpg", "é ü.png", "deep/er/z.bmp")
    ):
        photo(folder / name, index, (50 + index, 40))
    return folder


def predict(cvkit, inputs, trained, out, *more):
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return cvkit("segment", "predict", *inputs, "--weights", trained, "--out", out, "-q", *more)


def test_output_mirrors_the_input_tree_and_never_collides(cvkit, photos, trained, tmp_path):
    out = tmp_path / "out"
    done = predict(cvkit, photos, trained, out)
    assert done.code == 0, done.err
    found = records(out)
    assert [line["path"] for line in found] == [
        *("X.jpg", "x.png", "é ü.png", "a/x.jpg", "b/x.jpg", "deep/er/z.bmp")
    ]
    names = {line["path"]: line["mask"] for line in found}
    assert names["a/x.jpg"] == "masks/a/x.png"
    assert {names["X.jpg"], names["x.png"]} == {"masks/X.jpg.png", "masks/x.png.png"}
    assert len(set(names.values())) == 6
    for line in found:
        with Image.open(photos / line["path"]) as image:
            size = image.size
        mask = Image.open(out / line["mask"])
        assert mask.mode == "P"
        assert mask.size == size == (line["width"], line["height"])
        assert mask.getpalette()[3:6] == [128, 0, 0]
        labels, counts = np.unique(np.asarray(mask), return_counts=True)
        stored = dict(zip(line["category_ids"], line["pixels"], strict=True))
        assert stored == dict(zip(labels.tolist(), counts.tolist(), strict=True))
        assert all(0 <= score <= 1 for score in line["scores"])
        assert Image.open(out / line["overlay"]).size[0] == enlarged_hw(size[::-1])[1]
    assert records(out, "failures") == []


def test_one_bad_image_costs_one_image(cvkit, photos, trained, tmp_path):
    good, mixed = tmp_path / "good", tmp_path / "mixed"
    assert predict(cvkit, photos, trained, good).code == 0
    bad = {"a/empty.jpg": b"", "text.png": b"not an image", "half.jpg": None}
    for name, content in bad.items():
        if content is None:
            photo(photos / "half.jpg", 1, (200, 200))
            content = (photos / "half.jpg").read_bytes()[:3000]
        (photos / name).write_bytes(content)
    os.mkfifo(photos / "pipe.png")
    done = predict(cvkit, photos, trained, mixed, "--batch-size", 3, "--json")
    assert done.code == 3
    assert done.json["counts"] == {"predicted": 6, "failed": 4, "skipped": 0}
    failures = {line["path"]: line for line in records(mixed, "failures")}
    assert failures.keys() == bad.keys() | {"pipe.png"}
    assert failures["half.jpg"]["code"] == "image.truncated"
    assert all(line["reason"] for line in failures.values())
    assert records(mixed) == records(good)
    for line in records(good):
        for kind in ("mask", "overlay"):
            assert (mixed / line[kind]).read_bytes() == (good / line[kind]).read_bytes()


@pytest.mark.parametrize("more", [("--batch-size", 1), ("--batch-size", 7), ("--workers", 2)])
def test_results_do_not_depend_on_batches_or_workers(cvkit, photos, trained, tmp_path, more):
    first, second = tmp_path / "first", tmp_path / "second"
    predict(cvkit, photos, trained, first, "--workers", 0)
    predict(cvkit, photos, trained, second, *more)
    assert [line["path"] for line in records(first)] == [line["path"] for line in records(second)]
    for line in records(first):
        a, b = (np.asarray(Image.open(out / line["mask"])) for out in (first, second))
        assert (a == b).mean() > 0.999  # another batch size may round another way


def test_a_full_folder_is_refused_without_overwrite(cvkit, photos, trained, tmp_path):
    out = tmp_path / "out"
    assert predict(cvkit, photos, trained, out).code == 0
    before = (out / "predictions.jsonl").read_text()
    refused = predict(cvkit, photos, trained, out)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert (out / "predictions.jsonl").read_text() == before
    assert predict(cvkit, photos / "a", trained, out, "--overwrite").code == 0
    assert [line["path"] for line in records(out)] == ["x.jpg"]


def test_resume_repairs_a_torn_line_and_does_the_rest(cvkit, photos, trained, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(cvkit, photos, trained, whole, "--batch-size", 1)
    shutil.copytree(whole, out)
    text = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(text[:3]) + text[3][:25])
    for line in records(whole)[3:]:
        (out / line["mask"]).unlink()
    done = predict(cvkit, photos, trained, out, "--resume", "--batch-size", 1, "--json")
    assert done.json["counts"] == {"predicted": 3, "failed": 0, "skipped": 3}
    assert records(out) == records(whole)
    for line in records(whole):
        assert (out / line["mask"]).read_bytes() == (whole / line["mask"]).read_bytes()


def test_resume_reads_its_journal_line_by_line(tmp_path):
    """The whole file was read at once; with masks it has gigabytes."""
    filler = "0" * 20_000
    with (tmp_path / "predictions.jsonl").open("w") as stream:
        for n in range(100):
            stream.write(json.dumps({"path": f"{n}.jpg", "masks": filler}) + "\n")
        stream.write('{"path": "torn')
    tracemalloc.start()
    journal = Journal(tmp_path, resume=True, model="x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    journal.close()
    assert journal.done == {f"{n}.jpg" for n in range(100)}
    assert peak < 300_000, peak  # of 2 MB
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 100


def test_resume_refuses_another_model_and_foreign_files(cvkit, photos, trained, tmp_path):
    out = tmp_path / "out"
    predict(cvkit, photos, trained, out)
    about = json.loads((out / "predict.json").read_text())
    (out / "predict.json").write_text(json.dumps(about | {"model": "0" * 64}))
    refused = predict(cvkit, photos, trained, out, "--resume")
    assert refused.code == 2
    assert "another model" in refused.err
    (out / "predict.json").write_text(json.dumps(about))
    (out / "predictions.jsonl").write_text("my notes\n")
    refused = predict(cvkit, photos, trained, out, "--resume")
    assert refused.code == 2
    assert (out / "predictions.jsonl").read_text() == "my notes\n"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_prediction_resumes_to_the_same_files(
    cvkit, spawn, wait_until, trained, tmp_path, workers
):
    for index in range(60):
        photo(tmp_path / "in" / f"{index:03d}.jpg", index)
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(cvkit, tmp_path / "in", trained, whole, "--batch-size", 1)
    command = ("segment", "predict", tmp_path / "in", "--weights", trained, "--out", out)
    process = spawn(*command, "--batch-size", 1, "--workers", workers)
    journal = out / "predictions.jsonl"
    wait_until(lambda: journal.exists() and journal.stat().st_size >= 3000, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = predict(cvkit, tmp_path / "in", trained, out, "--resume", "--batch-size", 1, "--json")
    assert 0 < done.json["counts"]["skipped"] < 60
    assert records(out) == records(whole)


def test_a_signal_ends_at_a_whole_line(cvkit, photos, trained, tmp_path, monkeypatch):
    from cvkit.tasks.segment.task import Segment

    real = Segment.predict

    def interrupted(self, model, batch):
        signal.raise_signal(signal.SIGINT)
        return real(self, model, batch)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "predict", interrupted)
        stopped = predict(cvkit, photos, trained, out, "--batch-size", 1)
    assert stopped.code == 130
    assert "--resume" in stopped.err
    assert len(records(out)) == 1
    assert predict(cvkit, photos, trained, out, "--resume").code == 0
    assert len(records(out)) == 6


def test_two_predictions_cannot_share_a_folder(cvkit, photos, trained, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for how in ((), ("--overwrite",), ("--resume",)):
        with storage.held(out, pytest.fail):
            refused = predict(cvkit, photos, trained, out, *how)
        assert refused.code == 2
        assert f"{out} is in use by process {os.getpid()}" in refused.err
        assert not list(out.iterdir())


def test_inputs_are_never_modified(cvkit, photos, trained, tmp_path):
    def fingerprint():
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in photos.rglob("*") if p.is_file()}

    before = fingerprint()
    predict(cvkit, photos, trained, tmp_path / "out")
    assert fingerprint() == before


def test_too_many_failures_stop_the_run(cvkit, tmp_path, trained):
    for index in range(5):
        (tmp_path / f"{index}.png").write_bytes(b"bad")
    done = predict(cvkit, tmp_path, trained, tmp_path / "out", "--max-failures", 2)
    assert done.code == 2
    assert len(records(tmp_path / "out", "failures")) == 2


def test_no_failure_is_recorded_after_the_last_one_that_may_be(tmp_path):
    """They come together where an image before them waited for others of its size."""
    journal = Journal(tmp_path, resume=False, model="x")
    kept = Records(None, journal, {}, max_failures=2, on_line=pytest.fail)
    for place in range(5):
        kept.written.put(place, Failure(str(place), "image.empty", "empty"))
    with contextlib.closing(journal):
        with pytest.raises(DataError, match="2 inputs failed"):
            kept.record()
        kept.record(finish=True)
    assert [line["path"] for line in records(tmp_path, "failures")] == ["0", "1"]


def test_inputs_come_from_files_folders_globs_lists_and_stdin(photos, tmp_path, monkeypatch):
    import io

    def keys(*inputs):
        return [file.key for file in list_inputs([str(i) for i in inputs])]

    assert keys(photos / "a", photos / "b") == ["a/x.jpg", "b/x.jpg"]
    assert keys(photos / "*.jpg") == ["X.jpg"]
    assert keys(photos / "**" / "x.jpg") == ["a/x.jpg", "b/x.jpg"]
    names = tmp_path / "list.txt"
    names.write_text(f"{photos}/a/x.jpg\n\n{photos}/x.png\n")
    assert keys(f"@{names}") == ["a/x.jpg", "x.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos}/x.png\n"))
    assert keys("-") == ["x.png"]
    (photos / "loop").symlink_to(photos)
    assert len(keys(photos)) == 6
    assert len(keys(photos, photos / "a")) == 6, "an image named twice is one image"
    (photos / "notes.txt").write_text("no image")
    assert len(keys(photos)) == 6
    (photos / "notes").mkdir()
    with pytest.raises(UsageError, match="no image found"):
        keys(photos / "notes")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "'' does not exist"),
        ("  ", "'  ' does not exist"),
        ("no.jpg", "no.jpg does not exist"),
        ("@", "cannot read the list ''"),
        ("@no.txt", "cannot read the list no.txt"),
    ],
)
def test_a_name_that_means_nothing_is_shown(name, shown, photos):
    with pytest.raises(UsageError) as told:
        list_inputs([str(photos / "a"), name])
    assert str(told.value).startswith(shown)


def test_results_inside_the_inputs_are_not_inputs(cvkit, photos, trained):
    assert predict(cvkit, photos, trained, photos / "out").code == 0
    done = predict(cvkit, photos, trained, photos / "out", "--overwrite", "--json")
    assert done.json["counts"]["predicted"] == 6


def test_names_that_are_no_utf8_survive(cvkit, trained, tmp_path):
    folder = tmp_path / "in"
    photo(folder / "plain.png", 0)
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    shutil.copy(os.fsencode(folder / "plain.png"), raw)
    out = tmp_path / "out"
    assert predict(cvkit, folder, trained, out).code == 0
    paths = [line["path"] for line in records(out)]
    assert os.fsencode(paths[0]) == b"caf\xe9.png"
    assert os.path.exists(os.fsencode(out / "masks") + b"/caf\xe9.png")


def test_files_that_are_not_read_are_counted(cvkit, photos, trained, tmp_path):
    for name in ("a/one.avif", "a/two.AVIF", "three.heic", "b/.hidden.avif", "notes.txt"):
        (photos / name).write_bytes(b"x")
    flags = ("--weights", trained, "--out", tmp_path / "out")
    done = cvkit("segment", "predict", photos, *flags)
    assert done.code == 0
    assert f"warning: {photos}: 2 .avif, 1 .heic not read" in done.err
    assert len(records(tmp_path / "out")) == 6
