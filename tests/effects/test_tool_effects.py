"""Every flag of the commands that belong to no training does what it says."""

import contextlib
import io
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import data_view_parts
import pretrain_parts
import pytest
import torch
import torchvision
from effect_parts import Places, Row, require_effect
from model_parts import model
from PIL import Image
from test_train_own_effects import changed, pictures, yolo_too

from cvkit.commands import (
    bench,
    compare,
    evaluate,
    export,
    proposals,
    show,
    tune,
    weights,
    weights_average,
)
from cvkit.commands.reports import Measured
from cvkit.data import proposals as search
from cvkit.errors import CvkitError, UsageError
from cvkit.models import listing
from cvkit.models.weights import shipped_models
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS
from cvkit.tasks import comparison
from cvkit.tasks.torchvision_import import imported_model

NUMBERS = {"n": 0}


def fresh(at, name):
    """Return a path that nothing lies at yet."""
    NUMBERS["n"] += 1
    return at.root / f"{NUMBERS['n']}-{name}"


def printed(call):
    """Return the JSON that a command prints, or the message with which it is refused."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            call()
    except CvkitError as error:
        return str(error)
    return json.loads(out.getvalue())


def proposed(at, **more):
    """The file of proposals, or the message; selective search itself is a stand-in."""
    calls = []

    def searching(image, mode="fast", *, seed=0, max_boxes=2000):
        calls.append(1)
        number = len(mode) + seed + min(max_boxes, 3) + int(image.mean())
        boxes = [[1, 1, 5 + number % 20, 9], [2, 2, 9, 9], [3, 3, 20, 20]][:max_boxes]
        return torch.tensor(boxes).float().numpy()

    base = {"data": str(at.data()), "workers": 0, "quiet": True, "json": True}
    base |= {"out": fresh(at, "p.npz"), "splits": ["train", "val"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.ops.proposals.selective_search", searching)
        patch.setattr(search, "cache_folder", lambda name: at.root / str(NUMBERS["n"]) / name)
        options = OPTIONS["detect"]["proposals"](**base | more)
        said = printed(lambda: proposals.proposals(options, "detect"))
    if isinstance(said, str):
        return said
    found = search.read_proposals(options.out)
    about = {n: v for n, v in said.items() if n not in ("out", "train", "val")}
    return [about, list(found), [boxes.tolist() for boxes in found.values()]]


def proposed_at(at, out, **more):
    proposed(at, out=out, **more)
    return out.exists(), str(out)


def pool(at, **more):
    """How many processes search."""
    counts = []

    class Pool(Exception):
        pass

    def start(workers, **_):
        counts.append(workers)
        raise Pool

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Pool):
        patch.setattr(search, "ProcessPoolExecutor", start)
        proposed(at, **more)
    return counts


def again(at, **more):
    """What happens where the file is already there."""
    path = fresh(at, "there.npz")
    path.write_bytes(b"old")
    said = proposed(at, out=path, **more)
    return "refused" if isinstance(said, str) else "written"


def study(at, **more):
    """What a study runs and finds; its trainings are stand-ins."""
    runs = []

    def training(options, task, *_):
        runs.append((task, options))
        progress = SimpleNamespace(kept=lambda which: {"m": len(runs)})
        return SimpleNamespace(run=Path("r"), progress=progress, task=SimpleNamespace(best="m"))

    base = {"task": "segment", "out": fresh(at, "studies"), "quiet": True, "json": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "run_training", training)
        few = {} if more.get("strategy") == "grid" else {"trials": 2}
        options = OPTIONS["tune"](**base | few | more)
        said = printed(lambda: tune.tune(options))
    if isinstance(said, str):
        return said
    names = ("data", "epochs", "lr", "weight_decay", "batch_size", "augment", "arch")
    done = [(task, [getattr(options, n) for n in names]) for task, options in runs]
    return [done, len(said["ranking"])]


def study_place(at, **more):
    return [str(path) for path in more["out"].iterdir()] if study(at, **more) else []


def half_done(at):
    """A study of which one trial of two is done."""

    def make(path):
        path.mkdir()
        first = tune._trial_options  # the plan of the same flags
        assert first
        plan = search_plan()
        (path / "trials.jsonl").write_text(
            json.dumps(
                {"trial": 0} | plan[0] | {"metric": "m", "value": 1, "run": "r", "reason": ""}
            )
            + "\n"
        )

    return at.once("half", make)


def search_plan():
    from cvkit.engine import search

    options = OPTIONS["tune"](task="segment", trials=2)
    space = tune._space(options)
    return search.trials(space, options.strategy, options.trials, options.points, options.seed)


def state_dict(name, package=torchvision.models, **own):
    """Return what makes a file with the weights of a network of torchvision."""

    def make(at):
        def write(path):
            torch.manual_seed(len(name) + len(own))
            net = getattr(package, name)(weights=None, **own)
            torch.save(net.state_dict(), path)

        return at.once(f"{name}-{'-'.join(own)}.pth", write)

    return make


def imported(at, **more):
    """What an imported model says of itself and begins with, or the message."""
    options = OPTIONS["weights"]["import"](**{"out": fresh(at, "m.safetensors")} | more)
    try:
        tensors, header, _ = imported_model(options)
    except CvkitError as error:
        return str(error)
    first = next(iter(tensors))
    parts = ("task", "network", "classes", "preprocessing")
    return [first, tensors[first], {name: header[name] for name in parts}]


def imported_at(at, out, **more):
    """Whether the command writes where it should."""
    options = OPTIONS["weights"]["import"](out=out, quiet=True, json=True, **more)
    said = printed(lambda: weights.import_weights(options))
    return [said["out"], out.exists()]


def imported_again(at, **more):
    path = fresh(at, "old.safetensors")
    path.write_bytes(b"old")
    options = OPTIONS["weights"]["import"](out=path, quiet=True, json=True, **more)
    said = printed(lambda: weights.import_weights(options))
    return "refused" if isinstance(said, str) else "written"


def listed(at, task):
    """The tasks whose architectures are listed."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "list_archs", lambda tasks: asked.extend(tasks) or [])
        patch.setattr(listing, "list_backbones", list)
        printed(lambda: show.models(OPTIONS["models"](task=task, json=True)))
    return asked


def verified(at, files):
    said = printed(
        lambda: weights.verify_weights(OPTIONS["weights"]["verify"](files=files, json=True))
    )
    return [row["path"] for row in said["files"]]


def copied(name):
    """Return what makes a model of that name."""

    def make(at):
        path = fresh(at, name)
        path.write_bytes(Path(model()(at)).read_bytes())
        return path

    return make


class Halves(dict):
    """The same number by every name."""

    def __missing__(self, name):
        return 0.5


def proved(at, **more):
    """What is evaluated, and the model that is noted as proven."""
    asked = []

    def measure(options, *_):
        asked.append([Path(options.weights).name, options.data, options.split])
        asked[-1] += [options.batch_size, options.workers, options.precision]
        return Measured({"metrics": Halves(), "counts": {"evaluated": 1}}, None, {})

    if "file" not in more:
        more["file"] = copied("m.safetensors")(at)
    values = {"data": "d", "quiet": True, "json": True} | more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "measure_model", measure)
        said = printed(lambda: weights.prove_weights(OPTIONS["weights"]["prove"](**values)))
    return [asked, Path(said["path"]).name]


def models(*names):
    """Return what makes models of these names; greedy chooses the last one alone."""
    return lambda at: [copied(f"{name}.safetensors")(at) for name in names]


def soup(at, **more):
    """What is evaluated, and the names of the models that are averaged."""
    asked, values = [], iter([0.1, 0.5, 0.2, 0.1, 0.1])

    def measure(options, *_):
        asked.append([options.data, options.split, options.batch_size, options.workers])
        return Measured({"metrics": defaultdict(lambda: next(values))}, None, {})

    if "files" not in more:
        more["files"] = models("a", "b")(at)
    if more.get("method") != "uniform":
        more = {"method": "greedy", "data": "d"} | more
    more = {"out": fresh(at, "soup.safetensors")} | more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "measure_model", measure)
        options = OPTIONS["weights"]["average"](**more, quiet=True, json=True)
        said = printed(lambda: weights_average.average_weights(options))
    if isinstance(said, str):
        return said
    return [asked, [Path(path).name.partition("-")[2] for path in said["averaged"]]]


def soup_at(at, **more):
    soup(at, **more)
    return more["out"].is_file() and more["out"].name.partition("-")[2]


def soup_again(at, **more):
    """What happens where the file is already there."""
    path = fresh(at, "there.safetensors")
    path.write_bytes(b"old")
    return "refused" if isinstance(soup(at, out=path, **more), str) else "written"


def scores(at, wrong):
    """Return a table of scores of 12 images, the first `wrong` of them mistaken."""
    rows = [f"s{n}.jpg,{(n % 2) ^ (n < wrong)},{1 - (n % 2) ^ (n < wrong)}" for n in range(12)]
    return at.write(f"{wrong}-scores.csv", "\n".join(["path,a,b", *rows]) + "\n")


def labelled(at, other=0):
    """Return a table of the classes of the images, the last `other` of them wrong."""
    rows = [f"s{n}.jpg,{'ba'[(n % 2) ^ (n >= 12 - other)]}" for n in range(12)]
    return at.write(f"{other}-labels.csv", "\n".join(["path,label", *rows]) + "\n")


def reported(at, wrong, **more):
    """Return the report folder of an evaluation with so many mistakes."""
    base = {"predictions": scores(at, wrong), "truth": labelled(at), "out": at.root / "evals"}
    options = OPTIONS["classify"]["eval"](**base | {"json": True, "quiet": True} | more)
    return Path(printed(lambda: evaluate.evaluate(options, "classify"))["folder"])


def reports(*wrong):
    """Return what makes report folders."""
    return lambda at: [reported(at, each) for each in wrong]


def compared(at, **more):
    """The JSON of a comparison without its place, or the message with which it is refused."""
    base = {"evaluations": reports(0, 3)(at), "json": True, "files": False, "bootstrap": 20}
    base |= {"out": at.root / "comparisons", "quiet": True}
    said = printed(lambda: compare.compare(OPTIONS["compare"](**base | more)))
    said = {"refused": said} if isinstance(said, str) else said
    return {name: value for name, value in said.items() if name != "compared"}


def compared_at(at, **more):
    """The folder that a comparison names."""
    found = compared(at, **{"files": True} | more)
    return found.get("folder") and str(Path(found["folder"]).parent)


def split_truth(at):
    """A folder of classes with two splits that hold different images of the same names."""
    root = at.root / "split-truth"
    for split, turned in (("val", 0), ("train", 1)):
        for n in range(12):
            file = root / split / "ba"[(n % 2) ^ turned] / f"s{n}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(file)
    return root


def unlike(at):
    """Report folders of different ground truths."""
    return [reported(at, 0), reported(at, 3, truth=labelled(at, 2))]


SCORED = {
    "evaluations": lambda at: [scores(at, 0), scores(at, 3)],
    "task": "classify",
    "truth": labelled,
}


def sampled(at, **more):
    """The names of the samples and the bytes of the first picture."""
    folder = fresh(at, "samples")
    base = {"folder": folder, "count": 5, "size": 32, "json": True}
    said = printed(lambda: show.samples(OPTIONS["samples"](**base | more)))
    names = sorted(path for path in Path(said["folder"]).rglob("*") if path.is_file())
    picture = next(path for path in names if path.suffix in (".png", ".mp4"))
    return [[str(path.relative_to(said["folder"])) for path in names], picture.read_bytes()]


def benched(at, **more):
    """What a measurement would measure, or the message; nothing is measured."""
    seen = []

    def stop(subject, report):
        seen.append(subject)
        raise UsageError("measured", code="test")

    base = {"task": "detect", "inputs": photos(at), "quiet": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "compare", stop)
        options = with_given(OPTIONS["bench"](**base | more), base | more)
        said = printed(lambda: bench.bench(options))
    for s in seen:
        said = [s.task.name, s.weights, s.task.network, [file.key for file in s.files], s.data]
        said += [s.labelled and len(s.labelled[1]), s.split, s.pairs, s.batch_sizes, s.seconds]
        said += [s.flags, s.options.device, s.options.offline]
    return said


def photos(at, split="val"):
    return [str(at.data() / "images" / split)]


def bench_done(at, **more):
    """What is called, and the file that is written; the measurement is a stand-in."""
    called = []
    base = {"task": "detect", "inputs": photos(at), "quiet": True, "json": True}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("compare", "measure_memory", "evaluate"):
            found = SimpleNamespace(failures=[])
            patch.setattr(comparison, name, lambda *_, n=name, f=found: called.append(n) or f)
        patch.setattr("cvkit.tasks.comparison_report.content_of", lambda *_: {"notes": []})
        said = printed(lambda: bench.bench(OPTIONS["bench"](**base | more)))
    out = more.get("out")
    return called, said if isinstance(said, str) else "", out and (str(out), out.read_bytes())


def classifier(at):
    """The places of the task whose networks are the quickest to export."""
    return Places("classify", at.root, at._made)


def lenet(side):
    return lambda at: model(image_size=side)(classifier(at))


def exported(at, **more):
    """What is in a file and its report, or the message; torch itself writes and runs it."""
    here = classifier(at)
    base = {"weights": model()(here), "format": "torchscript", "json": True, "quiet": True}
    chosen = base | {"out": fresh(at, "m.torchscript"), "data": str(here.data())} | more
    chosen = {name: value(here) if callable(value) else value for name, value in chosen.items()}
    options = with_given(OPTIONS["export"](**chosen), chosen)
    said = printed(lambda: export.export(options))
    if isinstance(said, str):
        return said
    names = ("task", "arch", "format", "inputs", "dynamic", "proof", "metric", "data")
    return [said[name] for name in names]


def exported_as(at, format, **more):
    """The same, written where the command puts it by default."""
    folder = fresh(at, "here")
    folder.mkdir()
    with contextlib.chdir(folder):
        return exported(at, format=format, **more)


def converted(at, **more):
    """What would be written, and on how many samples it would be calibrated."""
    seen = []

    def stop(path, form, inputs, told, header, calibration=()):
        seen.append((told.precision, sum(len(each[0]) for each in calibration)))
        raise UsageError("converted", code="test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.export.formats.convert", stop)
        said = exported(at, format="onnx", out=fresh(at, "m.onnx"), **more)
    return seen or said


def exported_at(at, out, **more):
    """Whether the file that --out names is new."""
    said = exported(at, out=out, **more)
    return said if isinstance(said, str) else str(out)


def exported_before(at, **more):
    out = fresh(at, "m.torchscript")
    out.write_bytes(b"old")
    exported(at, out=out, **more)
    return out.read_bytes() == b"old"


def published_away(at, **more):
    """What is said where a published model is not here, and the network is asked."""

    def nothing(url, *_, **__):
        raise OSError("asked the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVKIT_WEIGHTS", str(at.root / "none"))
        patch.setenv("TORCH_HOME", str(at.root / "none"))
        patch.setattr("torch.hub.download_url_to_file", nothing)
        return exported(at, **{"weights": "coco", "task": "detect"} | more)


def there(at):
    path = fresh(at, "b.json")
    path.write_text("old")
    return path


SMALL = state_dict("mobilenet_v3_small")
TEN = state_dict("mobilenet_v3_small", num_classes=10)
CLASSES = {"ten": lambda at: at.write("ten.txt", "".join(f"c{n}\n" for n in range(10)))}
CLASSES["other"] = lambda at: at.write("other.txt", "".join(f"d{n}\n" for n in range(10)))
FILE = {"file": SMALL, "arch": "mobilenet_v3_small"}
SEGMENTER = state_dict(
    "lraspp_mobilenet_v3_large", torchvision.models.segmentation, weights_backbone=None
)
DETECTOR = state_dict(
    "fasterrcnn_mobilenet_v3_large_320_fpn", torchvision.models.detection, weights_backbone=None
)
BOXED = {"file": DETECTOR, "task": "detect", "arch": "fasterrcnn_mobilenet_v3_large_320_fpn"}
FCN = {"task": "segment", "arch": "lraspp", "file": SEGMENTER}
YOLO = changed("yolo", yolo_too)
GRID = {"strategy": "grid", "points": 2}
ROWS = {
    ("detect", "proposals"): [
        Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), proposed),
        Row("out", (lambda at: fresh(at, "a.npz"), lambda at: fresh(at, "b.npz")), proposed_at),
        Row("overwrite", (False, True), again),
        Row("splits", (["train"], ["val"], ["train", "val"]), proposed),
        Row("format", ("coco", "voc"), proposed),
        Row("images", (pictures(1), pictures(9)), proposed, base={"format": "coco"}),
        Row("mode", ("fast", "quality"), proposed),
        Row("max_boxes", (1, 2), proposed),
        Row("seed", (0, 1), proposed),
        Row("workers", (0, 1, 2), pool),
    ],
    ("tune",): [
        Row("task", ("segment", "video"), study),
        Row("data", ("samples", "elsewhere"), study),
        Row("trials", (1, 2), study),
        Row("strategy", ("random", "grid", "halving"), study),
        Row("epochs", (1, 2), study),
        Row("lr", ("1e-4,1e-2", "0.5"), study),
        Row("weight_decay", ("1e-5,1e-1", "0.5"), study),
        Row("batch_size", (None, "3"), study),
        Row("augment", (None, "none"), study),
        Row("points", (2, 3), study, base={"strategy": "grid"}),
        Row("set", ([], ["arch=fcn"]), study),
        Row("seed", (0, 1), study),
        Row("out", (lambda at: fresh(at, "a"), lambda at: fresh(at, "b")), study_place),
        Row("resume", (None, half_done), study),
    ],
    ("bench",): [
        Row("task", ("detect", "classify"), benched),
        Row("inputs", (photos, lambda at: photos(at, "train")), benched),
        Row("data", (None, lambda at: str(at.data()), lambda at: str(at.data(6))), benched),
        Row("split", ("val", "train"), benched, base={"data": lambda at: str(at.data())}),
        Row("weights", (None, model()), benched),
        Row("arch", (None, "faster-rcnn"), benched),
        Row("set", ([], ["threshold=0.7"]), benched),
        Row("engines", (None, "fused", "eager"), benched),
        Row("precisions", ("fp32,bf16", "bf16"), benched),
        Row("batch_sizes", ("1,8", "8", "2,3"), benched),
        Row("seconds", (1.0, 2.0), benched),
        Row("memory", (True, False), bench_done),
        Row("device", ("auto", "cpu"), benched),
        Row("offline", (False, True), benched),
        Row(
            "out",
            (None, lambda at: fresh(at, "a.json"), lambda at: fresh(at, "b.json")),
            bench_done,
        ),
        Row("overwrite", (False, True), bench_done, base={"out": there}),
    ],
    ("export",): [
        Row("weights", (lenet("32"), lenet("28")), exported),
        Row("task", (None, "detect", "instance"), published_away, base={"offline": True}),
        Row("format", ("torchscript", "torch-export"), exported_as, base={"out": None}),
        Row("dynamic", (None, "none"), exported),
        Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), exported),
        Row("split", ("val", "train"), exported),
        Row("images", (2, 3), exported),
        Row("half", (False, True), converted),
        Row("int8", (False, True), converted),
        Row("calibrate", (2, 4), converted, base={"int8": True}),
        Row("max_drop", (None, 0.5), exported),
        Row("offline", (False, True), published_away),
        Row(
            "out",
            (lambda at: fresh(at, "a.torchscript"), lambda at: fresh(at, "b.torchscript")),
            exported_at,
        ),
        Row("overwrite", (False, True), exported_before),
    ],
    ("weights", "list"): [],
    ("weights", "verify"): [Row("files", (shipped_models()[:1], shipped_models()[1:2]), verified)],
    ("weights", "average"): [
        Row("files", (models("a", "b"), models("a", "b", "c")), soup, base={"method": "uniform"}),
        Row(
            "out",
            (lambda at: fresh(at, "x.safetensors"), lambda at: fresh(at, "y.safetensors")),
            soup_at,
        ),
        Row("method", ("uniform", "greedy"), soup),
        Row("data", ("a", "b"), soup),
        Row("split", ("val", "train"), soup),
        Row("batch_size", (None, 1, 2), soup),
        Row("workers", (-1, 0), soup),
        Row("overwrite", (False, True), soup_again),
    ],
    ("weights", "prove"): [
        Row("file", (copied("a.safetensors"), copied("b.safetensors")), proved),
        Row("data", ("a", "b"), proved),
        Row("split", ("val", "train"), proved),
        Row("batch_size", (None, 1, 2), proved),
        Row("workers", (-1, 0), proved),
    ],
    ("weights", "import"): [
        Row("file", (SMALL, state_dict("mobilenet_v3_small", dropout=0.1)), imported, base=FILE),
        Row(
            "out",
            (lambda at: fresh(at, "a.safetensors"), lambda at: fresh(at, "b.safetensors")),
            imported_at,
            base=FILE,
        ),
        Row("task", ("classify", "segment"), imported, base=FCN),
        Row("arch", ("mobilenet_v3_small", "mobilenet_v3_large"), imported, base=FILE),
        Row("backbone", ("mobilenet_v3_large", "resnet50"), imported, base=FCN),
        Row(
            "classes",
            (CLASSES["ten"], CLASSES["other"], "auto"),
            imported,
            base=FILE | {"file": TEN},
        ),
        Row("preset", ("v1", "v2"), imported, base=FILE),
        Row("eps", (None, 1e-3), imported, base=BOXED),
        Row("overwrite", (False, True), imported_again, base=FILE),
    ],
    ("models",): [Row("task", (None, "video"), listed)],
    ("compare",): [
        Row("evaluations", (reports(0, 3), reports(3, 0), reports(0, 3, 3)), compared),
        Row("task", ("classify", "video", None), compared, base=SCORED),
        Row("truth", (labelled, lambda at: labelled(at, 3), None), compared, base=SCORED),
        Row("split", ("val", "train"), compared, base=SCORED | {"truth": split_truth}),
        Row("bootstrap", (20, 30), compared),
        Row("seed", (0, 1), compared),
        Row("max_drop", (None, 0.2), compared),
        Row("max_drop", (None, 0.3), compared, same=True),
        Row("changed", (0, 1, 2), compared),
        Row("accept_differences", (False, True), compared, base={"evaluations": unlike}),
        Row("out", (lambda at: at.root / "x", lambda at: at.root / "y"), compared_at),
        Row("files", (True, False), compared_at),
    ],
    ("samples",): [
        Row(
            "folder",
            (lambda at: fresh(at, "s"), lambda at: fresh(at, "t")),
            lambda at, **m: (sampled(at, **m), str(m["folder"])),
        ),
        Row("task", ("segment", "classify", "detect", "video"), sampled),
        Row("count", (5, 6), sampled),
        Row("seed", (0, 1), sampled),
        Row("size", (32, 64), sampled),
    ],
}
ROWS |= data_view_parts.ROWS | pretrain_parts.ROWS
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(
    ("path", "row"), PAIRS, ids=[f"{'-'.join(path)}-{row.flag}" for path, row in PAIRS]
)
def test_a_command_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    found = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, found)
