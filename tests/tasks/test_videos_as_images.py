"""Videos and files with several pages as inputs of the image tasks: a result per frame or page."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

import cvkit as package
from cvkit.catalog import TASKS, resolve
from cvkit.commands import predict as command
from cvkit.data.video import all_frames, index_video
from cvkit.errors import DataError, Interrupted

IMAGE_TASKS = [task for task in TASKS if task != "video"]
COUNT = 9


def lines(out, name="predictions"):
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def film(path, count=COUNT, fps=10, code="mp4v"):
    """Write a video whose frames differ, of shapes that the models may find."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (48, 32))
    for number in range(count):
        frame = np.full((32, 48, 3), 40 + 11 * number, np.uint8)
        frame[4 : 12 + number, 3 + number : 17 + 2 * number] = (12 * number, 200, 90)
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def mixed(tmp_path):
    """A folder with two videos, one in a subfolder, an image and a file with three pages."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    film(folder / "b.mp4")
    film(folder / "sub" / "b.avi", count=4, fps=5, code="MJPG")
    frames = list(all_frames(folder / "b.mp4", index_video(folder / "b.mp4")))
    Image.fromarray(frames[0]).save(folder / "a.png")
    first, *more = [Image.fromarray(frame) for frame in frames[3:6]]
    first.save(folder / "c.tif", save_all=True, append_images=more)
    return folder


@pytest.fixture
def predict(cvkit, run_of):
    def call(task, inputs, out, *more):
        flags = ("--weights", run_of(task), "--out", out, "--workers", 0, "--json")
        return cvkit(task, "predict", inputs, *flags, "--engine", "eager", *more)

    return call


def result(line):
    """Return what a line says of the picture, but not of its file."""
    left_out = ("path", "name", "frame", "time_seconds", "mask", "overlay")
    return {name: value for name, value in line.items() if name not in left_out}


def near(one, other):
    """Compare results whose batches differ."""
    assert one.keys() == other.keys() and one["labels"] == other["labels"]
    assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_each_frame_and_page_has_a_line(predict, mixed, tmp_path, task):
    out = tmp_path / "out"
    done = predict(task, mixed, out)
    assert done.code == 0, done.err
    found = {line["path"]: line for line in lines(out)}
    assert [*found] == [
        "a.png",
        *(f"b.mp4#{number}" for number in range(1, COUNT + 1)),
        *("c.tif#1", "c.tif#2", "c.tif#3"),
        *(f"sub/b.avi#{number}" for number in range(1, 5)),
    ]
    for path, line in found.items():
        assert ("frame" in line) == ("#" in path and "tif" not in path)
    for number in range(1, COUNT + 1):
        line = found[f"b.mp4#{number}"]
        assert (line["frame"], line["time_seconds"]) == (number, pytest.approx((number - 1) / 10))
    assert found["sub/b.avi#4"]["time_seconds"] == pytest.approx(0.6)
    # The same pictures have the same results, whichever file they are in.
    near(result(found["a.png"]), result(found["b.mp4#1"]))
    for page in range(1, 4):
        near(result(found[f"c.tif#{page}"]), result(found[f"b.mp4#{page + 3}"]))
    first, second = lines(out, "videos")
    assert (first["path"], first["frames"], first["header_frames"]) == ("b.mp4", COUNT, COUNT)
    assert (first["used"], first["predicted"], first["fps"]) == (COUNT, COUNT, pytest.approx(10))
    assert (second["path"], second["seconds"]) == ("sub/b.avi", pytest.approx([0, 0.6]))
    if task != "classify":
        assert len({line["overlay"] for line in found.values()}) == len(found)
        assert all((out / line["overlay"]).is_file() for line in found.values())


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_marked_videos_last_as_long_as_the_videos(predict, mixed, tmp_path, task):
    out = tmp_path / "out"
    assert predict(task, mixed, out, "--save", "video", "--fps", 5).code == 0
    used = {"b.mp4": 5, "sub/b.avi": 4}
    for line, (path, count) in zip(lines(out, "videos"), used.items(), strict=True):
        assert (line["path"], line["used"], line["predicted"]) == (path, count, count)
        index, source = index_video(out / line["video"]), index_video(mixed / path)
        assert len(index) == count
        assert len(index) / index.fps == pytest.approx(len(source) / source.fps, rel=0.01)
    assert (out / "videos" / "b.mp4").is_file() and (out / "videos" / "sub" / "b.mp4").is_file()
    overlays = {line["path"] for line in lines(out) if "overlay" in line}
    pages = {"a.png", "c.tif#1", "c.tif#2", "c.tif#3"}
    assert overlays == (set() if task == "classify" else pages), "frames are in the video"
    assert (out / "contact_sheet.png").is_file()


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_marked_frames_are_the_overlays(predict, mixed, tmp_path, task):
    """Each frame of the video shows its own result: it is nearest to its own picture."""
    out, model = tmp_path / "out", None
    assert predict(task, mixed / "b.mp4", out, "--save", "video", "--overwrite").code == 0
    shown = list(all_frames(out / "videos" / "b.mp4", index_video(out / "videos" / "b.mp4")))
    run = json.loads((out / "predict.json").read_text())["options"]["weights"]
    model = package.load(run, engine="eager", precision="fp32", workers=0, batch_size=4)
    height = min(shown[0].shape[0], 320)  # without what is below the picture
    pictures = [each.plot()[:height] for each in model.predict(mixed / "b.mp4")]
    distances = np.array(
        [[np.abs(a[:height].astype(int) - b).mean() for b in pictures] for a in shown]
    )
    assert distances.argmin(1).tolist() == list(range(COUNT))


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_an_interrupted_prediction_is_completed_to_the_same_bytes(
    predict, mixed, tmp_path, task, monkeypatch
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    flags = ("--save", "video", "--batch-size", 3)
    assert predict(task, mixed, whole, *flags).code == 0
    kind, calls = resolve(TASKS[task]), []
    real = kind.predict

    def interrupted(self, model, batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise Interrupted("interrupted", signal_number=15)
        return real(self, model, batch)

    monkeypatch.setattr(kind, "predict", interrupted)
    assert predict(task, mixed, out, *flags).code == 143
    monkeypatch.setattr(kind, "predict", real)
    assert 0 < len(lines(out)) < len(lines(whole)) and not (out / "videos").exists()
    done = predict(task, mixed, out, *flags, "--resume")
    assert done.code == 0 and done.json["counts"]["skipped"] > 0
    names = ["predictions.jsonl", "videos.jsonl", "videos/b.mp4", "videos/sub/b.mp4"]
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    # What is complete is left as it is; what is lost is made again.
    kept = (out / "videos" / "sub" / "b.mp4").stat().st_mtime_ns
    (out / "videos" / "b.mp4").unlink()
    assert predict(task, mixed, out, *flags, "--resume").code == 0
    assert (out / "videos" / "b.mp4").read_bytes() == (whole / "videos" / "b.mp4").read_bytes()
    assert (out / "videos" / "sub" / "b.mp4").stat().st_mtime_ns == kept


def test_overwriting_makes_videos_anew(predict, mixed, tmp_path):
    out, made = tmp_path / "out", []
    for least in (0.0, 1.0):
        flags = ("--save", "video", "--draw-threshold", least, "--overwrite")
        assert predict("detect", mixed / "b.mp4", out, *flags).code == 0
        made.append((out / "videos" / "b.mp4").read_bytes())
    assert made[0] != made[1]


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_damaged_videos_are_reported_and_what_is_left_is_kept(predict, mixed, tmp_path, task):
    out, cut = tmp_path / "out", mixed / "sub" / "cut.avi"
    film(cut, count=20, code="MJPG")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (mixed / "none.mp4").write_bytes(b"none")
    done = predict(task, mixed, out, "--save", "video", "--json-results")
    assert done.code == 3
    failures = {failure["path"]: failure for failure in lines(out, "failures")}
    assert {path: f["code"] for path, f in failures.items()} == {
        "none.mp4": "video.unreadable",
        "sub/cut.avi": "video.truncated",
    }
    left = sum(line["path"].startswith("sub/cut.avi#") for line in lines(out))
    assert 0 < left < 20 and f"{left} of 20 frames" in failures["sub/cut.avi"]["reason"]
    assert done.json["counts"] == {"predicted": 17 + left, "failed": 2, "skipped": 0}
    assert {f["path"] for f in done.json["failures"]} == failures.keys()
    (about,) = [line for line in lines(out, "videos") if line["path"] == "sub/cut.avi"]
    assert (about["frames"], about["header_frames"]) == (left, 20)
    assert len(index_video(out / about["video"])) == left


def test_a_frame_without_a_result_stays_in_the_video(predict, mixed, tmp_path, monkeypatch):
    from cvkit.tasks.segment.task import Segment

    real = Segment.write

    def write(self, result, sample, stem, folder):
        if sample.frame == 4:
            raise DataError("no space for it", code="output.name")
        return real(self, result, sample, stem, folder)

    monkeypatch.setattr(Segment, "write", write)
    out = tmp_path / "out"
    assert predict("segment", mixed / "b.mp4", out, "--save", "video").code == 3
    (about,) = lines(out, "videos")
    assert (about["used"], about["predicted"]) == (COUNT, COUNT - 1)
    assert len(index_video(out / about["video"])) == COUNT
    monkeypatch.setattr(Segment, "write", real)
    before = (out / about["video"]).read_bytes()
    assert predict("segment", mixed / "b.mp4", out, "--save", "video", "--resume").code == 0
    (about,) = lines(out, "videos")
    assert about["predicted"] == COUNT and (out / about["video"]).read_bytes() != before


def test_the_table_has_a_row_per_frame(cvkit, run_of, mixed, tmp_path, monkeypatch):
    flags = ("--weights", run_of("classify"), "--out", tmp_path / "out", "--workers", 0)
    done = cvkit("classify", "predict", mixed / "b.mp4", mixed / "c.tif", *flags)
    assert "3 images and 9 frames of 1 video with" in done.err
    rows = [row.split("│")[0].strip() for row in done.err.splitlines() if "│" in row]
    assert [row for row in rows if row.startswith("b.mp4")] == [f"b.mp4#{n}" for n in range(1, 10)]
    monkeypatch.setattr(command, "LISTED", 2)
    done = cvkit("classify", "predict", mixed / "b.mp4", *flags, "--overwrite", "--fps", 1)
    assert "1 frame of 1 video with" in done.err


def test_sorted_frames_and_pages_are_pictures(predict, mixed, tmp_path):
    out = tmp_path / "out"
    assert predict("classify", mixed, out, "--save", "sorted").code == 0
    frames = list(all_frames(mixed / "b.mp4", index_video(mixed / "b.mp4")))
    for line in lines(out):
        place = out / line["sorted"]
        assert place.is_symlink() == (line["path"] == "a.png")
        if line["path"] == "b.mp4#6" or line["path"] == "c.tif#3":
            assert (np.asarray(Image.open(place)) == frames[5]).all()


def test_results_of_pages_are_scored_as_the_stack_they_are(cvkit, run_of, predict, tmp_path):
    folder = tmp_path / "data"
    for name, size in (("images", (32, 32, 3)), ("masks", (32, 32))):
        (folder / name / "val").mkdir(parents=True)
        rng = np.random.default_rng(len(name))
        pages = [Image.fromarray(rng.integers(0, 3, size).astype(np.uint8)) for _ in range(4)]
        pages[0].save(folder / name / "val" / "s.tif", save_all=True, append_images=pages[1:])
    out = tmp_path / "out"
    assert predict("segment", folder / "images", out).code == 0
    scored = cvkit(
        *("segment", "eval", "--predictions", out, "--truth", folder, "--split", "val"),
        *("--json", "--no-files"),
    )
    assert scored.code == 0, scored.err
    assert scored.json["counts"]["evaluated"] == 4
    asked = ("--weights", run_of("segment"), "--data", folder, "--workers", 0)
    direct = cvkit("segment", "eval", *asked, "--json", "--no-files", "--engine", "eager")
    assert scored.json["metrics"]["miou"] == pytest.approx(direct.json["metrics"]["miou"], abs=1e-6)


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_a_program_gets_frames_lazily(run_of, mixed, task):
    model = package.load(run_of(task), engine="eager", precision="fp32", workers=0, batch_size=2)
    found = model.predict(str(mixed / "b.mp4"))
    first = next(found)
    assert (first.source, first.frame) == (f"{mixed / 'b.mp4'}#1", 1)
    assert first.time_seconds == 0 and first.as_dict()["frame"] == 1
    rest = list(found)
    assert [each.frame for each in rest] == list(range(2, COUNT + 1))
    assert rest[-1].time_seconds == pytest.approx(0.8)
    one = model.predict([np.asarray(Image.open(mixed / "a.png"))])[0]
    assert (one.plot() == first.plot()).all() and one.frame is None is one.time_seconds
    listed = model.predict([mixed / "a.png", mixed / "c.tif", mixed / "sub" / "b.avi"])
    assert [each.source.rsplit("/")[-1] for each in listed] == [
        *("a.png", "c.tif#1", "c.tif#2", "c.tif#3"),
        *(f"b.avi#{number}" for number in range(1, 5)),
    ]
    few = package.load(run_of(task), engine="eager", precision="fp32", workers=0, fps=5)
    assert [each.frame for each in few.predict(mixed / "b.mp4")] == [1, 3, 5, 7, 9]


def test_a_program_is_told_of_damage_after_the_frames(run_of, tmp_path):
    cut = film(tmp_path / "cut.avi", count=20, code="MJPG")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    model = package.load(run_of("classify"), engine="eager", precision="fp32", workers=0)
    *good, last = model.predict([cut], errors="return")
    assert all(each.ok for each in good) and len(good) > 2
    assert (last.ok, last.code, last.source) == (False, "video.truncated", str(cut))
    with pytest.raises(DataError, match="of 20 frames can be decoded"):
        list(model.predict(cut))
