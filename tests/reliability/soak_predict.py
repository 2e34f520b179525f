"""Prediction and evaluation, R25 to R30: bad images, kills, names, and numbers.

Not part of `make test`: see `make soak`.
"""

import contextlib
import io
import json
import shutil
import time

import hostile_images
import numpy as np
import pytest
from copies import Forked
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cvkit.catalog import TASKS
from cvkit.engine import processes

OF_IMAGES = [name for name in TASKS if name != "video"]


def lines(out, name="predictions"):
    return [json.loads(row) for row in (out / f"{name}.jsonl").read_text().splitlines()]


def picture(path, number, size_wh=(48, 40)):
    rng = np.random.default_rng(number)
    values = rng.integers(0, 256, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    Image.fromarray(values).resize(size_wh).save(path, quality=95)


def without_times(folder):
    """Return the files of results, but for those that name their folder or a time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("predict.json", "failures.jsonl", "config.yaml")
    }


# R25


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """950 images, and beside them 50 bad files of twelve kinds."""
    root = tmp_path_factory.mktemp("thousand")
    good, both = root / "good", root / "both"
    good.mkdir()
    both.mkdir()
    for number in range(950):
        picture(good / f"{number:04}.jpg", number)
        shutil.copy(good / f"{number:04}.jpg", both)
    content = (good / "0000.jpg").read_bytes()
    for number in range(50):
        hostile_images.damaged(number, content, both)
    return good, both


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_r25_a_thousand_images(server, thousand, run_of, tmp_path, count, kind):
    good, both = thousand
    flags = ["--weights", run_of(kind), "--quiet", "--json", "--contact-sheet", 0]
    alone = server.run([kind, "predict", good, *flags, "--out", tmp_path / "alone"])
    mixed = server.run([kind, "predict", both, *flags, "--out", tmp_path / "mixed"])
    assert alone.code == 0, alone.err
    assert mixed.code == 3, mixed.err
    assert mixed.json["counts"] == {"predicted": 950, "failed": 50, "skipped": 0}
    assert len(lines(tmp_path / "mixed", "failures")) == 50
    wanted, found = without_times(tmp_path / "alone"), without_times(tmp_path / "mixed")
    different = [name for name in wanted if found.get(name) != wanted[name]]
    assert not [name for name in different if name.endswith((".png", ".jsonl"))], different[:5]
    count["results"] += 950
    count["failures"] += 50
    few = server.run([kind, "predict", both, *flags, "--max-failures", 5, "--out", tmp_path / "f"])
    assert few.code == 2 and "5" in few.err + few.out
    count["limits"] += 1


# R26


def test_r26_kills_of_a_prediction(server, thousand, run_of, tmp_path, chance, count):
    good, _ = thousand
    flags = ["--weights", run_of("segment"), "--quiet", "--contact-sheet", 0]
    whole = server.run(["segment", "predict", good, *flags, "--out", tmp_path / "whole"])
    assert whole.code == 0, whole.err
    wanted, out, kills = without_times(tmp_path / "whole"), tmp_path / "out", 0
    command = ["segment", "predict", good, *flags, "--out", out]
    while kills < 30:
        shutil.rmtree(out, ignore_errors=True)
        for _ in range(10):
            more = ["--resume"] if (out / "predict.json").exists() else []
            more = more or (["--overwrite"] if out.exists() else [])
            running = server.start([*command, *more])
            time.sleep(0.2 + chance.random() * whole.wall / 5)
            killed = running.kill()
            assert killed.code in (0, -9), killed.err
            if killed.code == 0:
                break
            kills += 1
        ended = server.run([*command, "--resume"])
        assert ended.code == 0, ended.err
        assert without_times(out) == wanted
        count["ends with the same files"] += 1
    count["kills"] += kills


# R27


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_r27_outputs(server, run_of, tmp_path, count, kind):
    inputs = tmp_path / "in"
    names = ("a/x.jpg", "b/x.jpg", "x.png", "X.jpg", "x.jpg", "a/x.png", "x", "deep/a/x.jpg")
    for number, name in enumerate(names):
        (inputs / name).parent.mkdir(parents=True, exist_ok=True)
        place = inputs / (name if "." in name else f"{name}.bmp")
        picture(place, number)
    out = tmp_path / "out"
    command = [kind, "predict", inputs, "--weights", run_of(kind), "--out", out, "--quiet"]
    assert server.run(command).code == 0
    before = without_times(out)
    found = [line["path"] for line in lines(out)]
    assert len(set(found)) == len(names)
    for line in lines(out):
        json.dumps(line, allow_nan=False)
    count["outputs"] += len(found)
    refused = server.run(command)
    assert refused.code == 2
    server.say_well(refused)
    assert without_times(out) == before
    count["refused"] += 1
    running = [server.start([*command[:-3], "--out", tmp_path / "two", "-q"]) for _ in range(2)]
    codes = sorted(each.wait().code for each in running)
    assert codes == [0, 2]
    assert without_times(tmp_path / "two").keys() == before.keys()
    count["pairs of processes"] += 1


# R28


def random_coco(rng):
    """A truth and results with crowds, the id 0, ties, sparse categories and empty images."""
    categories = sorted(rng.choice(90, rng.integers(1, 5), replace=False).tolist())
    images = rng.choice(50, rng.integers(1, 6), replace=False).tolist()
    annotations, results = [], []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            box = [*rng.integers(0, 60, 2).tolist(), *rng.integers(1, 110, 2).tolist()]
            area = float(rng.choice([box[2] * box[3], 1024, 9216, 1023.5]))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "bbox": box, "area": area}
                | {"category_id": int(rng.choice(categories)), "iscrowd": int(rng.random() < 0.2)}
            )
            if rng.random() < 0.8:
                moved = [box[0] + int(rng.integers(-3, 4)), *box[1:]]
                results.append({"image_id": image, "bbox": moved})
        for _ in range(rng.integers(0, 4)):
            box = [*rng.integers(0, 60, 2).tolist(), *rng.integers(1, 60, 2).tolist()]
            results.append({"image_id": image, "bbox": box})
    for row in results:
        row |= {"category_id": int(rng.choice(categories))}
        row |= {"score": float(rng.choice([0.1, 0.5, 0.5, 0.9, round(rng.random(), 3)]))}
    size = {"width": 200, "height": 200}
    truth = {
        "images": [{"id": each, "file_name": f"{each}.jpg"} | size for each in images],
        "annotations": annotations,
        "categories": [{"id": each, "name": f"c{each}"} for each in categories],
    }
    return truth, results


NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def reference(truth, results):
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = json.loads(json.dumps(truth))
        real.createIndex()
        found = COCO()
        found.dataset = {"images": truth["images"], "categories": truth["categories"]}
        found.dataset["annotations"] = [
            row | {"id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
            for number, row in enumerate(json.loads(json.dumps(results)), 1)
        ]
        found.createIndex()
        judge = COCOeval(real, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [None if value == -1 else value for value in judge.stats.tolist()]


def test_r28_coco(cvkit, tmp_path, count):
    for seed in range(500):
        truth, results = random_coco(np.random.default_rng(seed))
        (tmp_path / "t.json").write_text(json.dumps(truth))
        (tmp_path / "r.json").write_text(json.dumps(results))
        done = cvkit(
            *("detect", "eval", "--predictions", tmp_path / "r.json", "--json", "--no-files"),
            *("--truth", tmp_path / "t.json", "--quiet"),
        )
        assert done.code in (0, 3), (seed, done.err)
        found = done.json["metrics"]
        wanted = reference(truth, results)
        assert [found[name] for name in NAMES] == wanted, seed
        count["cases"] += 1


# R29


def together():
    """Let ranks be copies of the first one: importing torch takes a process seconds."""
    processes.start_process = Forked


@pytest.mark.parametrize("kind", list(TASKS))
def test_r29_batches_workers_and_ranks(server, data_of, run_of, tmp_path, count, kind):
    found = {}
    data, model = data_of(kind), run_of(kind)
    for batch in (1, 2, 7):
        for workers in (0, 2):
            for devices in (1, 2):
                out = tmp_path / f"{batch}-{workers}-{devices}"
                ended = server.run(
                    [kind, "eval", "--weights", model, "--data", data, "--json", "--quiet"]
                    + ["--batch-size", batch, "--workers", workers, "--out", out]
                    + (["--devices", devices, "--device", "cpu"] if devices > 1 else []),
                    together,
                )
                assert ended.code == 0, ended.err
                assert ended.json["counts"]["evaluated"] == 7
                found[batch, workers, devices] = ended.json["metrics"]
                count["evaluations"] += 1
    flat = [list(numbers(each)) for each in found.values()]
    for each in flat:
        assert np.allclose(each, flat[0], rtol=0, atol=1e-6)
    for batch in (1, 2, 7):  # the same batches: exactly equal
        same = [list(numbers(value)) for key, value in found.items() if key[0] == batch]
        assert all(each == same[0] for each in same)


def numbers(values):
    for value in values.values():
        if isinstance(value, dict):
            yield from numbers(value)
        else:
            yield -1.0 if value is None else value  # NaN would not equal itself


# R30


def truth_of(**more):
    size = {"width": 20, "height": 20}
    base = {
        "images": [{"id": 1, "file_name": "1.jpg"} | size],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return base | more


OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0}
FOUND = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8], "score": 0.9}
EMPTY = {
    "no images": (truth_of(images=[]), [], 2),
    "no objects, no results": (truth_of(), [], 0),
    "no objects": (truth_of(), [FOUND], 0),
    "no results": (truth_of(annotations=[OBJECT]), [], 0),
    "all found": (truth_of(annotations=[OBJECT]), [FOUND], 0),
    "only crowds": (truth_of(annotations=[OBJECT | {"iscrowd": 1}]), [FOUND], 0),
    "no categories": (truth_of(categories=[]), [], 2),
    "results of an unknown image": (
        truth_of(annotations=[OBJECT]),
        [FOUND | {"image_id": 9}],
        2,
    ),
    "results of an unknown class": (
        *(truth_of(annotations=[OBJECT]), [FOUND | {"category_id": 9}], 2),
    ),
    "a class without objects": (
        *(truth_of(annotations=[OBJECT]), [FOUND, FOUND | {"category_id": 2}], 0),
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_r30_empty_and_absent(cvkit, tmp_path, count, name):
    truth, results, code = EMPTY[name]
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    done = cvkit(
        *("detect", "eval", "--predictions", tmp_path / "r.json", "--json", "--no-files"),
        *("--truth", tmp_path / "t.json", "--quiet"),
    )
    assert done.code == code, done.err
    answer = json.loads(done.out, parse_constant=pytest.fail)
    if code == 0:
        wanted = reference(truth, results)
        assert [answer["metrics"][each] for each in NAMES] == wanted
        assert (wanted[0] is None) == (not truth["annotations"] or name == "only crowds")
    count["cases"] += 1


MASKS = {
    "all ignored": ([255, 255], [0, 1], {"miou": None, "pixel_accuracy": None}),
    "a class that is absent": ([0, 0], [0, 0], {"miou": 1.0, "mean_accuracy": 1.0}),
    "a class only in the prediction": ([0, 0], [0, 1], {"miou": 0.25, "mean_accuracy": 0.5}),
    "nothing right": ([0, 1], [1, 0], {"miou": 0.0, "pixel_accuracy": 0.0}),
    "no prediction": ([0, 1], None, 2),
    "no truth": (None, [0, 1], 2),
}


@pytest.mark.parametrize("name", MASKS)
def test_r30_masks(cvkit, tmp_path, count, name):
    *sides, wanted = MASKS[name]
    for side, values in zip(("truth", "found"), sides, strict=True):
        (tmp_path / side).mkdir()
        if values is not None:
            Image.fromarray(np.array([values], np.uint8)).save(tmp_path / side / "a.png")
    (tmp_path / "truth" / "classes.txt").write_text("ground\nroad\n")
    places = ("--predictions", tmp_path / "found", "--truth", tmp_path / "truth")
    done = cvkit("segment", "eval", *places, "--json", "--no-files", "--quiet")
    answer = json.loads(done.out, parse_constant=pytest.fail)
    if isinstance(wanted, int):
        assert done.code == wanted and not answer["ok"]
    else:
        assert done.code == 0, done.err
        assert {key: answer["metrics"][key] for key in wanted} == wanted
    count["cases"] += 1


TABLES = {
    "a class without samples": ("a,cat\nb,cat\n", "a,0.6,0.4\nb,0.9,0.1\n", {"top1": 1.0}),
    "no samples": ("", "a,0.6,0.4\n", 2),
    "no predictions": ("a,cat\n", "", 2),
    "nothing right": ("a,cat\nb,cat\n", "a,0.4,0.6\nb,0.1,0.9\n", {"macro_f1": 0.0}),
}


@pytest.mark.parametrize("task", ["classify", "video"])
@pytest.mark.parametrize("name", TABLES)
def test_r30_tables_of_scores(cvkit, tmp_path, count, name, task):
    truth, found, wanted = TABLES[name]
    (tmp_path / "t.csv").write_text(f"path,label\n{truth}")
    (tmp_path / "p.csv").write_text(f"path,cat,dog\n{found}")
    places = ("--predictions", tmp_path / "p.csv", "--truth", tmp_path / "t.csv")
    done = cvkit(task, "eval", *places, "--json", "--no-files", "--quiet")
    answer = json.loads(done.out, parse_constant=pytest.fail)
    if isinstance(wanted, int):
        assert done.code == wanted and not answer["ok"]
    else:
        assert done.code == 0, done.err
        names = {"top1": "video_top1"} if task == "video" else {}
        assert {key: answer["metrics"][names.get(key, key)] for key in wanted} == wanted
    count["cases"] += 1
