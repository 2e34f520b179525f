"""What evaluations and predictions are measured by."""

import contextlib
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from effect_parts import BOXES
from PIL import Image

from cvkit import published
from cvkit.commands.evaluate import evaluate
from cvkit.commands.predict import predict
from cvkit.console import Reporter
from cvkit.engine import loader, processes, ranks
from cvkit.engine.loader import in_order, load
from cvkit.errors import CvkitError, GateFailed
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS
from cvkit.tasks.trained import load_trained

HANDLERS = {"eval": evaluate, "predict": predict}
BEST = {"classify": "top1", "segment": "miou", "detect": "AP", "instance": "box.AP"}
BEST["video"] = "video_top1"

SHIPPED = {"segment": "scenes", "detect": "boxes", "instance": "masks"}
"""Models whose results are not the same everywhere, as those after an epoch may be."""


def shipped(at):
    """The model in weights/ of a task."""
    return SHIPPED[at.task]


def model(**more):
    """Return what makes a model that was trained for an epoch."""
    return lambda at: str(at.begun(**more).done.run / "last.safetensors")


def inputs(at):
    """The files of validation."""
    places = [at.data() / "images" / "val", at.data() / "val"]
    return [str(next(place for place in places if place.is_dir()))]


def options(at, verb, **more):
    """Options of eval or predict."""
    base = {"weights": model(), "workers": 0, "precision": "fp32", "quiet": True}
    if verb == "eval":
        base |= {"data": str(at.data()), "out": at.root / "evals", "files": False}
    else:
        number = len(list(at.root.glob("out-*")))
        base |= {"inputs": inputs(at), "out": at.root / f"out-{number}"}
    chosen = {n: v(at) if callable(v) else v for n, v in (base | more).items()}
    return with_given(OPTIONS[at.task][verb](**chosen), more)


def run(at, verb, **more):
    """Return the exit code and the JSON of a command; of one that is refused the message."""
    printed = io.StringIO()
    asked = options(at, verb, **more, json=True)
    try:
        with contextlib.redirect_stdout(printed):
            code = HANDLERS[verb](asked, at.task)
    except GateFailed as error:
        return 4, str(error)
    except CvkitError as error:
        return error.exit_code, str(error)
    return code, json.loads(printed.getvalue())


def told(verb):
    """Return what measures the message with which a command is refused; empty if it is not."""

    def measure(at, **more):
        _, found = run(at, verb, **more)
        return found if isinstance(found, str) else ""

    return measure


def together(verb):
    """Return what measures which processes a command lets work together."""

    def measure(at, **more):
        seen = []

        class Asked(CvkitError):
            pass

        def joined(started, *_):
            seen.append((started.layout.world, started.layout.nodes, sorted(started.children)))
            raise Asked("asked", code="asked")

        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0"}.items():
                patch.setenv(name, value)
            patch.setattr(processes, "cores", lambda: 8)
            patch.setattr(processes, "start_process", lambda *_: None)
            patch.setattr(ranks, "joined", joined)
            run(at, verb, **more)
        return seen

    return measure


def engine(verb):
    """Return what measures what a command says that its network ran on."""

    def measure(at, **more):
        return run(at, verb, **more)[1]["engine"]

    return measure


def results(verb):
    """Return what measures what a model says of the first samples."""

    def measure(at, **more):
        asked = options(at, verb, **more)
        trained = load_trained(asked.weights, asked, at.task)
        if verb == "eval":
            task = trained.task.with_data(asked, trained.header, Reporter(quiet=True))
            data = task.dataset(asked.split, training=False)
        else:
            from cvkit.data.files import list_inputs, walk_images, walk_videos

            walk = walk_videos if at.task == "video" else walk_images
            task = trained.task
            data = task.source(list_inputs(asked.inputs, without=[asked.out], walk=walk))
        if at.task == "segment":  # labels alone hide small differences
            task = replace(task, inference=replace(task.inference, confidence=True))
        with load(data, in_order(min(2, len(data)), 2), 0) as loaded:
            (batch,) = next(loaded)
        with trained.fabric.autocast():
            found = task.predict(trained.model, batch)
        return [_fields(each) for each in found]

    return measure


def _fields(result):
    rows = {name: getattr(result, name) for name in result.__dataclass_fields__}
    if rows.get("masks") is not None:
        rows["masks"] = list(rows["masks"])
    return {name: value for name, value in rows.items() if value is not None}


def content(at, **more):
    """What eval prints about the numbers."""
    code, found = run(at, "eval", **more)
    assert code in (0, 3), found
    kept = ("metrics", "per_class", "counts", "rules", "errors")
    return {name: found[name] for name in kept if name in found}


class Near:
    """Content whose fractions are equal if they are as close as rounding in batches leaves them."""

    def __init__(self, found):
        self.fractions = []

        def keep(text):
            self.fractions.append(float(text))
            return None

        self.rest = json.loads(json.dumps(found), parse_float=keep)

    def __eq__(self, other):
        alike = self.rest == other.rest and len(self.fractions) == len(other.fractions)
        return alike and np.allclose(self.fractions, other.fractions, atol=1e-4)


def near_content(at, **more):
    """What eval prints about the numbers, up to rounding."""
    return Near(content(at, **more))


def near_scores(at, **more):
    """The scores of each input, up to rounding; of masks the classes."""
    return Near([[line["path"], line.get("scores", line["labels"])] for line in lines(at, **more)])


def report(at, **more):
    """The names of what eval prints, and where it writes."""
    code, found = run(at, "eval", **more)
    assert code == 0, found
    return [sorted(found), found.get("folder", "").rpartition("/")[0]]


def written_files(at, **more):
    """The names of the files in the report folder."""
    code, found = run(at, "eval", **more)
    assert code == 0, found
    assert sorted(Path(path).name for path in found["files"].values()) == sorted(
        path.name
        for path in Path(found["folder"]).iterdir()
        if path.name not in ("report.json", "counts.npz", "eval.json")
    )
    return sorted(found["files"])


def evaluated(at, **more):
    """The paths of the samples that eval looked at."""
    _, found = run(at, "eval", **more | {"files": True})
    table = next(Path(path) for name, path in found["files"].items() if name.startswith("per_"))
    with table.open(newline="") as stream:
        return [row["path"] for row in csv.DictReader(stream)]


def written(at, **more):
    """The names of the files that predict writes."""
    code, found = run(at, "predict", **more)
    assert code == 0, found
    out = Path(found["out"])
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def lines(at, **more):
    """What predict says of each input."""
    _, found = run(at, "predict", **more)
    out = Path(found["out"]) if isinstance(found, dict) else more["out"]
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def pictures(at, **more):
    """The pixels that predict draws."""
    _, found = run(at, "predict", **more)
    return [np.asarray(Image.open(path)) for path in sorted(Path(found["out"]).rglob("*.png"))]


def batches(verb):
    """Return what measures how many processes read the samples, and in which batches."""

    def measure(at, **more):
        seen, make = [], loader.DataLoader
        with pytest.MonkeyPatch.context() as patch:

            class Watched(make):
                def __iter__(self):
                    lengths = [len(batch) for batch in self.batch_sampler]
                    seen.append((self.num_workers, lengths))
                    return super().__iter__()

            patch.setattr(loader, "DataLoader", Watched)
            run(at, verb, **more)
        return seen

    return measure


def network_use(verb):
    """Return what measures what is said where a published model is not here."""

    def measure(at, **more):
        def nothing(url, *_, **__):
            raise OSError("asked the network")

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CVKIT_WEIGHTS", str(at.root / "none"))
            patch.setenv("TORCH_HOME", str(at.root / "none"))
            patch.setattr("torch.hub.download_url_to_file", nothing)
            name = next(iter(published.PUBLISHED[at.task]))
            message = told(verb)(at, weights=name, **more)
        assert "asked the network" in message or "--offline" in message
        return message

    return measure


def labels(at):
    """The class of each sample of validation."""
    return {str(p.relative_to(at.data())): p.parent.name for p in sorted(at.data().glob("val/*/*"))}


def table(shift, *, truth=False):
    """Return what makes a table of scores, or of labels, whose classes are moved by a number."""

    def make(at):
        own = labels(at)
        names = sorted(set(own.values()))
        rows = []
        for path, label in own.items():
            found = names[(names.index(label) + shift) % len(names)]
            scores = [f"{0.9 if name == found else 0.1 / len(names):.3f}" for name in names]
            rows.append(",".join([path, *([found] if truth else scores)]))
        head = "path,label" if truth else ",".join(["path", *names])
        return at.write(f"{'truth' if truth else 'scores'}{shift}.csv", "\n".join([head, *rows]))

    return make


def masks(shift):
    """Return what makes a folder of masks whose classes are moved by a number."""

    def make(at):
        def build(path):
            path.mkdir()
            for file in (at.data() / "masks" / "val").iterdir():
                moved = (np.asarray(Image.open(file)) + shift) % 6
                Image.fromarray(moved.astype(np.uint8)).save(path / file.name)

        return at.once(f"masks{shift}", build)

    return make


def objects(shift, *, truth=False, shrink=0.0):
    """Return what makes COCO's objects or results whose classes are moved by a number."""

    def make(at):
        found = json.loads((at.data() / "annotations" / "instances_val.json").read_text())
        ids = [row["id"] for row in found["categories"]]
        for row in found["annotations"]:
            row["category_id"] = ids[(ids.index(row["category_id"]) + shift) % len(ids)]
            row["bbox"][2] *= 1 - shrink
            row["score"] = 0.9
        what = found if truth else found["annotations"]
        return at.write(f"{'truth' if truth else 'results'}{shift}-{shrink}.json", what)

    return make


def predictions(shift):
    """Return what makes predictions of a task that are all right, or all wrong."""
    return lambda at: _files(at)(shift)(at)


def truth(shift):
    """Return what makes the truth of the right predictions, or of wrong ones."""

    def make(at):
        kind = _files(at)
        return kind(shift)(at) if kind is masks else kind(shift, truth=True)(at)

    return make


def _files(at):
    return {"segment": masks}.get(at.task, objects if at.task in BOXES else table)


FILES = {"weights": None, "data": None, "predictions": predictions(0), "truth": truth(0)}
"""Options of scoring files that are all right."""
