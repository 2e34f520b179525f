"""The rules of the house: rows, no cycles, a cold command line, one importer of albumentations."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvkit.catalog import ARCHS, BACKBONES, TASKS
from cvkit.data.synthetic.samples import write_detection

ROOT = Path(__file__).parents[1] / "cvkit"
ROWS = [
    {"__main__"},
    {"api", "cli"},
    {"commands", "completion"},
    {"config", "crafting", "helptext", "mistakes"},
    {"explain", "loggers", "reporting", "tasks"},
    {"scoring"},
    {"dividing"},
    {"export"},
    {"engine", "data", "models", "metrics", "output"},
    {"annotation", "tasks.contract", "tasks.explainable"},
    {"ops", "console"},
    {"options", "structures", "model_files"},
    {"storage", "early", "yaml_files"},
    {"catalog", "examples", "published", "texts"},
    {"arch_table"},
    {"arch_facts", "backbone_table", "errors", "format_table", "pretext_table"},
    {"printable"},
]
"""From the top down; a module with a row of its own is named with its package."""
ROW = {name: number for number, names in enumerate(ROWS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def module(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Yield the cvkit modules that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name.startswith("cvkit."))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("cvkit."))


def home(name):
    """Return what of `ROWS` a dotted name belongs to."""
    _, *parts = name.split(".")
    pair = ".".join(parts[:2])
    return pair if pair in ROW else parts[0] if parts else ""


@pytest.mark.parametrize("path", FILES, ids=module)
def test_modules_import_only_from_rows_below_or_their_own_package(path):
    here = home(module(path))
    if path == ROOT / "__init__.py":
        return  # the functions of cvkit.api, lazily
    assert here in ROW, f"{here} has no row"
    for name in imports(path):
        there = home(name)
        if there != here and there != "__version__":
            assert ROW[there] > ROW[here], f"{module(path)} imports {name}"


def test_no_import_cycle_exists():
    known = {module(path): path for path in FILES}
    graph = {}
    for name, path in known.items():
        targets = set()
        for target in imports(path):
            while target not in known:
                target = target.rpartition(".")[0]
            targets.add(target)
        graph[name] = targets - {name, "cvkit"}
    done, active = set(), []

    def visit(name):
        assert name not in active, " -> ".join([*active, name])
        if name not in done:
            active.append(name)
            for target in graph[name]:
                visit(target)
            active.pop()
            done.add(name)

    for name in graph:
        visit(name)
    assert len(done) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_and_functions_stay_within_their_budget(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


NAMES = {*TASKS, *BACKBONES, *(name for table in ARCHS.values() for name in table)}
TABLES = {"catalog", "arch_table", "backbone_table", "format_table", "published"}
COMPARED = {
    "cvkit.completion.values": "completion starts without what knows the tasks",
    "cvkit.tasks.video.task": "`video` is a value of --save there",
}
"""Modules that may compare names, and why."""


KEYED = {
    "cvkit.engine.optim": "`linear` is a schedule, too",
    "cvkit.models.classify": "`lenet` and `mlp` are `parts` of rows",
    "cvkit.models.video.resnet3d": "`r3d` and the like are arguments of rows",
}
"""Modules with a table by such names, and why it stands there."""


def is_name(node, names=NAMES):
    """Return whether a part of an expression is one of some names, or holds one."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(is_name(each, names) for each in node.elts)
    return isinstance(node, ast.Constant) and node.value in names


def test_only_tables_have_rows_of_architectures_and_backbones():
    """A table by task is one row per task, as the page on extending lists them."""
    names, found = NAMES - TASKS.keys(), {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            keys = node.keys if isinstance(node, ast.Dict) else ()
            if any(is_name(key, names) for key in keys):
                found.setdefault(module(path), []).append(ast.unparse(node))
    tables = {f"cvkit.{name}" for name in TABLES}
    assert found.keys() - tables == KEYED.keys(), found


def test_only_tables_compare_names_of_tasks_architectures_and_backbones():
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            compared = isinstance(node, ast.Compare) and [node.left, *node.comparators]
            matched = isinstance(node, ast.MatchValue) and [node.value]
            if any(map(is_name, compared or matched or [])):
                found.setdefault(module(path), []).append(ast.unparse(node))
    tables = {f"cvkit.{name}" for name in TABLES}
    assert found.keys() - tables == COMPARED.keys(), found


def test_only_transforms_imports_albumentations():
    users = {path.parent.name for path in FILES if "import albumentations" in path.read_text()}
    assert users == {"transforms"}


HEAVY = ("torch", "torchvision", "albumentations", "cv2", "numpy", "matplotlib", "lightning_fabric")


def modules_after(arguments, **environment):
    code = (
        "import sys; from cvkit.cli import run; code = run(sys.argv[1:]);"
        "print('MODULES', code, *sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert not environment or not done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES"))
    code, *names = line.split()[1:]
    return int(code), set(names)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["segment", "--help"]]
    + [[task, verb, "--help"] for task in TASKS for verb in ("train", "eval", "predict")]
    + [["weights", verb, "--help"] for verb in ("list", "verify", "import", "prove", "average")]
    + [["data", verb, "--help"] for verb in ("stats", "show", "split")]
    + [
        ["detect", "proposals", "--help"],
        ["data", "check", "--help"],
        ["models", "--help"],
        ["samples", "--help"],
        ["tune", "--help"],
        ["pretrain", "--help"],
        ["probe", "--help"],
        ["bench", "--help"],
        ["explain", "--help"],
        ["attack", "--help"],
        ["dream", "--help"],
        ["features", "--help"],
        ["export", "--help"],
    ]
    + [["segment", "train", "--arch", "nonsense"]],
    ids=" ".join,
)
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    code, names = modules_after(arguments)
    assert code == (2 if "nonsense" in arguments else 0)
    assert not names & set(HEAVY)
    assert "typer" in names


@pytest.mark.parametrize("words", [["tr"], ["train", "--weights", ""], ["train", "--split", ""]])
def test_completion_imports_nothing_heavy_and_does_not_even_build_the_commands(words):
    code, names = modules_after(["detect", *words], _CVKIT_COMPLETE="complete_fish")
    assert code == 0
    assert not names & {*HEAVY, "yaml", "cvkit.completion.install"}


@pytest.mark.parametrize("task", TASKS)
def test_scoring_files_does_not_import_torch(scenes, tmp_path, task):
    predictions, truth = scenes / "masks" / "val", scenes
    if task in ("classify", "video"):
        predictions = truth = tmp_path / "scores.csv"
        truth.write_text("path,label,a,b\nx.jpg,a,0.7,0.3\ny.jpg,b,0.8,0.2\n")
    flags = ["--predictions", predictions, "--truth", truth, "--out", tmp_path / "out"]
    if task in ("detect", "instance"):
        write_detection(tmp_path / "boxes", {"val": 2}, seed=1, size_hw=(64, 64))
        (tmp_path / "results.json").write_text("[]")
        truth = tmp_path / "boxes" / "annotations" / "instances_val.json"
        flags = ["--predictions", tmp_path / "results.json", "--truth", truth, *flags[4:]]
        flags.append("--no-files")  # curves want matplotlib
    code, names = modules_after([task, "eval", *flags])
    assert code == 0
    assert "numpy" in names
    assert not names & {"torch", "torchvision", "albumentations", "lightning_fabric", "matplotlib"}
