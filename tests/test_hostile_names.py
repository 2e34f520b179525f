"""Names from data are shown as they are, and never obeyed: by the terminal, by tables, by plots."""

import csv
import io
import json
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console

from cvkit import cli
from cvkit.catalog import TASKS
from cvkit.console import Reporter, print_line, print_table, table
from cvkit.data.video import index_video
from cvkit.errors import CvkitError, DataError
from cvkit.options.tree import OPTIONS
from cvkit.output.confusion_picture import draw_confusion
from cvkit.output.curves import write_precision_recall, write_scores_over_time
from cvkit.printable import printable

MARKUP = "[red]a"
ESCAPE = "\x1b[31mc"
TITLE = "\x1b]0;t\x07"
TURNED = "\u202eevil"
FORMULA = "$x_{$"
EMOJI = ":cat:"
BYTES = "d\udcff"
CLOSING = "b[/]"
BREAK = "a\nerror: b"
NAMES = {
    "classify": [CLOSING, BREAK, TITLE, TURNED, FORMULA, "\x9b1m"],
    "segment": [MARKUP, CLOSING, ESCAPE, TURNED, FORMULA, EMOJI],
    "detect": [CLOSING, BREAK, TITLE, TURNED, FORMULA],
    "instance": [CLOSING, MARKUP, BREAK, FORMULA, EMOJI],
    "video": [MARKUP, "[bold]", FORMULA, EMOJI, "[link=x]y", "$a$", "[b]"],
}
"""New names of the classes of the synthetic data, in their order."""
EVERY = sorted({name for names in NAMES.values() for name in names} | {BYTES})
FILE = "\x1b[2J[x]\u202e"
"""Begins the names of the images of the validation split."""


def obeyed(text):
    """Return the characters of a text that a terminal would obey."""
    turns = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    kinds = ("Cc", "Cs", "Zl", "Zp")
    return {c for c in text if (unicodedata.category(c) in kinds and c != "\n") or c in turns}


def test_what_a_terminal_obeys_is_escaped_and_nothing_else():
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    changed = {c for c in every if printable(c) != c}
    assert changed == obeyed("".join(every)) | {"\n"}
    assert not any(map(obeyed, map(printable, every)))
    assert printable("a\x1b[0m\n\u202e\udcff ü日") == r"a\x1b[0m\n\u202e\udcff ü日"


@pytest.fixture(scope="module")
def hostile(data_of, tmp_path_factory):
    """A dataset of each task whose classes and files have hostile names."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp(f"hostile-{task}")
            shutil.copytree(data_of(task), made[task], dirs_exist_ok=True)
            RENAME[task](made[task], NAMES[task])
        return made[task]

    return get


def to_table(root, names):
    folders = sorted({path.name for path in root.glob("train/*")})
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for path in sorted(root.rglob("*.png")):
            split, folder, _ = path.relative_to(root).parts
            new = path.with_name(FILE * (split == "val") + path.name)
            path.rename(new)
            writer.writerow([new.relative_to(root), names[folders.index(folder)], split])


def to_folders(root, names):
    for split in ("train", "val"):
        for folder, name in zip(sorted((root / split).iterdir()), names, strict=True):
            folder = folder.rename(folder.with_name(name))
            for path in sorted(folder.iterdir()) if split == "val" else ():
                path.rename(path.with_name(FILE + path.name))


def to_masks(root, names):
    lines = (root / "classes.txt").read_text().splitlines()
    new = (f"{name} {line.split(maxsplit=1)[1]}" for name, line in zip(names, lines, strict=True))
    (root / "classes.txt").write_text("\n".join(new) + "\n")
    for place in ("images", "masks"):
        for path in sorted((root / place / "val").iterdir()):
            path.rename(path.with_name(FILE + path.name))


def to_coco(root, names):
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        for category, name in zip(content["categories"], names, strict=True):
            category["name"] = name
        for image in content["images"] if "val" in path.name else ():
            old = next(root.rglob(os.path.basename(image["file_name"])))
            new = FILE + old.name
            old.rename(old.with_name(new))
            image["file_name"] = image["file_name"].replace(old.name, new)
        path.write_text(json.dumps(content))


RENAME = {
    "classify": to_table,
    "segment": to_masks,
    "detect": to_coco,
    "instance": to_coco,
    "video": to_folders,
}


def required(done, code=0):
    """Check that what was printed can be printed."""
    assert done.code == code, done.err
    assert not obeyed(done.out + done.err)
    return done


@pytest.mark.parametrize("task", TASKS)
def test_names_are_shown_as_they_are_by_every_verb(cvkit, hostile, flags_of, tmp_path, task):
    root, names = hostile(task), NAMES[task]
    data = ("--data", root)
    trained = required(cvkit(task, "train", *flags_of(task, epochs=1), *data, "--out", tmp_path))
    (run,) = tmp_path.iterdir()
    assert trained.out == f"{run}\n"
    shown = required(cvkit(task, "eval", "--weights", run, *data, "--out", tmp_path)).out
    for name in names:
        assert printable(name) in shown, name
    told = required(cvkit(task, "eval", "--weights", run, *data, "--out", tmp_path, "--json")).json
    assert set(told["per_class"]) == set(names)
    inputs = [path for path in sorted(root.rglob("*")) if path.name.startswith(FILE[:4])]
    inputs = [path for path in inputs if path.is_file() and "masks" not in path.parts]
    bad = tmp_path / f"{FILE}\n{inputs[0].suffix}"
    bad.write_bytes(b"no picture")
    out = tmp_path / "out"
    words = (task, "predict", *inputs, bad, "--weights", run, "--out", out)
    required(cvkit(*words), code=3)
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert {os.path.basename(line["path"]) for line in lines} == {path.name for path in inputs}
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert failure["path"].endswith(bad.name)
    stopped = required(cvkit(*words, "--overwrite", "--max-failures", 1), code=2)
    assert printable(bad.name) in stopped.err.splitlines()[-1]
    json.dumps(cvkit(*words, "--overwrite", "--max-failures", 1, "--json").json)


@pytest.mark.parametrize("task", TASKS)
def test_errors_of_data_are_lines_of_their_own(cvkit, hostile, tmp_path, task):
    root = tmp_path / "data"
    shutil.copytree(hostile(task), root)
    files = [path for path in sorted(root.rglob("*")) if path.name.startswith(FILE[:4])]
    damaged = [path for path in files if path.is_file() and "masks" not in path.parts]
    for path in damaged:
        path.write_bytes(b"no picture")
    done = required(cvkit(task, "train", "--data", root, "--workers", "0"), code=2)
    at = next(n for n, line in enumerate(done.err.splitlines()) if line.startswith("error: "))
    lines = done.err.splitlines()[at:]
    assert "defects:" in lines[0]
    assert len(lines) == 1 + len(damaged)
    for path in damaged:
        assert sum(printable(path.name) in line for line in lines) == 1
    told = cvkit(task, "train", "--data", root, "--workers", "0", "--json").json["error"]["message"]
    assert all(path.name in told for path in damaged)


SHAPES = Path(__file__).parents[1] / "weights" / "shapes.safetensors"


@pytest.fixture(scope="module")
def tree():
    return typer.main.get_command(cli.build_app())


@pytest.fixture
def one_tree(tree, monkeypatch):
    """The command tree, built once."""
    monkeypatch.setattr(cli, "build_app", lambda *_: tree)


COMMANDS = [
    path
    for name, entry in OPTIONS.items()
    for path in ([(name, verb) for verb in entry] if isinstance(entry, dict) else [(name,)])
]
SHIPPED = dict(zip(TASKS, ("shapes", "scenes", "boxes", "masks", "motions"), strict=True))
WORD = "\x1b[31m[/x]\u202e\udcff"


@pytest.mark.usefixtures("one_tree")
@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_words_of_the_command_line_are_not_obeyed(cvkit, path, tmp_path):
    needed = {("samples",): [tmp_path / "d"], ("tune",): ["classify"]}.get(path, [])
    for words in ([f"--{WORD}"], [f"--{WORD}=1"], ["--seed", WORD], ["--arch", WORD], [WORD, WORD]):
        done = cvkit(*path, *needed, *words)
        assert done.code == 2
        assert not obeyed(done.out + done.err)
        assert len(done.err.splitlines()) == 1
    debug = cvkit(*path, *needed, *words, "--debug")
    assert len(debug.err.splitlines()) > 1
    assert not obeyed(debug.out + debug.err)


@pytest.mark.usefixtures("one_tree")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("verb", ["train", "eval", "predict"])
def test_values_of_files_and_flags_are_not_obeyed(cvkit, tmp_path, task, verb):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({WORD[:-1]: 1}))
    place = tmp_path / WORD
    mark = {"train": "--resume", "eval": "--predictions", "predict": "--out"}[verb]
    for words in (
        ("--config", config),
        ("--config", place),
        ("--weights", place),
        (mark, place, *(("--truth", place) if verb == "eval" else ())),
    ):
        more = {"train": ("--data", place), "eval": (), "predict": (place,)}[verb]
        weights = () if "--weights" in words or verb != "predict" else ("--weights", SHIPPED[task])
        done = required(cvkit(task, verb, *more, *weights, *words), code=2)
        assert r"\x1b[31m[/x]\u202e" in done.err
    assert not place.exists()


def test_lists_of_weights_and_folders_are_not_obeyed(cvkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "\x1b[31m[x]\u202e"
    done = required(cvkit("samples", root, "--task", "classify", "--count", 2, "--size", 32))
    assert done.out == f"{printable(str(root))}\n"
    (tmp_path / "weights").mkdir()
    shutil.copy(SHAPES, tmp_path / "weights" / f"{root.name}.safetensors")
    assert printable(root.name) in required(cvkit("weights", "list")).out
    shown = required(cvkit("weights", "verify", tmp_path / "weights"))
    assert f"intact   {printable(str(tmp_path / 'weights' / root.name))}" in shown.out
    required(cvkit("models", "detect"))


@pytest.fixture
def terminal(monkeypatch):
    """A reporter on a terminal, and what it has shown there without rich's own styles."""
    reporter = Reporter()
    stream = io.StringIO()
    reporter.console = Console(file=stream, force_terminal=True, width=400, highlight=False)
    return reporter, lambda: re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", stream.getvalue())


@pytest.mark.parametrize(
    "name", sorted({name for names in NAMES.values() for name in names} | {BYTES})
)
def test_everything_that_talks_shows_a_name_as_it_is(terminal, capsys, name):
    reporter, shown = terminal
    reporter.say(name)
    reporter.warn(name)
    reporter.show(table(name, [name, "n"], [[name, "1"], [[name, name], "2"]]))
    with reporter.progress(name, 3) as advance:
        advance(1, name)
    assert not obeyed(shown())
    assert shown().count(printable(name)) >= 8
    print_line(name)
    print_table(name, [name], [[name]])
    printed = capsys.readouterr().out
    assert printed.count(printable(name)) == 4
    assert not obeyed(printed)
    error = CvkitError(name, code="x", hint=name, details=[name])
    assert error.shown() == f"{printable(name)}\n{printable(name)} ({printable(name)})"
    assert error.as_json()["message"] == f"{name}\n{name}"


def test_plots_and_pictures_take_any_name(tmp_path):
    names = [*EVERY, "_x", ""]
    curve = (np.array([0.0, 1.0]), np.array([1.0, 0.5]))
    write_precision_recall(tmp_path / "a.png", dict.fromkeys(names, curve), "0.5")
    scores = np.random.default_rng(0).random((3, len(names)))
    write_scores_over_time(tmp_path / "b.png", [0, 1, 2], scores, names)
    assert draw_confusion(np.eye(len(names), dtype=int), names).ndim == 3
    assert all(path.stat().st_size for path in tmp_path.iterdir())


def test_a_legend_has_every_name_as_it_is(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    seen = []
    real = Figure.savefig

    def look(figure, *rest, **more):
        seen.append([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
        return real(figure, *rest, **more)

    monkeypatch.setattr(Figure, "savefig", look)
    names = [FORMULA, "_x", ESCAPE, CLOSING, "plain"]
    curve = (np.array([0.0, 1.0]), np.array([1.0, 0.5]))
    write_precision_recall(tmp_path / "a.png", dict.fromkeys(names, curve), "0.5")
    write_scores_over_time(tmp_path / "b.png", [0], np.array([[0.5, 0.4, 0.3, 0.2, 0.1]]), names)
    assert seen == [[printable(name) for name in names]] * 2


def test_a_video_whose_name_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a\udcff.mp4"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match="not valid UTF-8"):
        index_video(path)
