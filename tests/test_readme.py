"""What the README and the pages say is what the code does."""

import dataclasses
import json
import re
import runpy
import shlex
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image

import cvkit.cli
from cvkit import catalog
from cvkit.arch_facts import Segmenter
from cvkit.backbone_table import BackboneEntry
from cvkit.catalog import TASKS
from cvkit.data.boxes import read_boxes
from cvkit.data.division import Division
from cvkit.data.video import all_frames, index_video
from cvkit.format_table import FORMATS, Format
from cvkit.helptext import ROOT_FLAGS, name_text
from cvkit.metrics.gates import parse_gates, require_known
from cvkit.models.build import build
from cvkit.models.specs import SegmenterSpec
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS, commands
from cvkit.published import PUBLISHED
from cvkit.scoring.contract import scoring_of

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FILES = [ROOT / "README.md", *PAGES]
MADE = runpy.run_path(str(ROOT / "docs" / "update_readme.py"))
SHOWN = [
    (path, line)
    for path in [*FILES, ROOT / "weights" / "README.md"]
    for line in re.findall(r"^    (\S.*)$", path.read_text(), flags=re.MULTILINE)
]
"""Lines of code blocks, each with its page."""
COMMANDS = {
    (path.name, f"cvkit {found[1]}")
    for path, line in SHOWN
    if (found := re.search(r"(?:^|[/\s|])cvkit ([a-z].*?)(?: > \S+)?$", line))
}
COMMANDS |= {
    (path.name, command)
    for path in FILES
    for command in re.findall(r"`(cvkit [a-z][^`]*)`", path.read_text())
}


def ids(pairs):
    return [": ".join(pair) for pair in pairs]


def flags_of(options_class):
    """Return the flags of a command as they are typed."""
    types = hints(options_class)
    options = {name: kind.__metadata__[0] for name, kind in types.items() if name != "given"}
    fields = options_class.__dataclass_fields__
    texts = (name_text(fields[name], option) for name, option in options.items())
    return {flag for text in texts for flag in text.split(", ") if flag.startswith("-")}


def code_spans(path):
    """Return what a page shows as code inside a line, outside of its generated parts."""
    text = re.sub(r"<!-- (.+?) -->.*?<!-- /\1 -->", "", path.read_text(), flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def headings(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    return {MADE["slug"](title) for title in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)}


def test_generated_parts_are_current():
    for path, parts in MADE["FILES"].items():
        text = path.read_text()
        assert MADE["updated"](text, parts) == text, "run: python docs/update_readme.py"


def test_every_generated_part_is_made_by_the_script():
    for path in FILES:
        found = re.findall(r"<!-- /(.+?) -->", path.read_text())
        assert sorted(found) == sorted(MADE["FILES"].get(path, {})), path


def sections(path):
    """Return the text under each heading of a page, by the heading's anchor."""
    parts = re.split(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {MADE["slug"](title): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize(("words", "options_class"), list(commands()), ids=lambda v: str(v)[:40])
def test_the_reference_has_each_flag_of_a_command_once(words, options_class):
    found = sections(ROOT / "docs" / "reference.md")
    own = found["-".join(("cvkit", *words))]
    places = [own, found["flags-of-every-command"]]
    places += [found[anchor] for anchor in re.findall(r"\]\(#(.+?)\)", own)]
    rows = [line for place in places for line in place.splitlines() if line.startswith("| `")]
    types = hints(options_class)
    for field in dataclasses.fields(options_class):
        option = types[field.name].__metadata__[0]
        (row,) = [r for r in rows if r.startswith(f"| `{name_text(field, option)}` |")]
        cells = row.replace("\\|", "/").strip("| ").split(" | ")
        assert cells[-1] == option.help.replace("|", "/")
        if field.default not in (None, dataclasses.MISSING, "", True, False):
            assert f"`{field.default}`" in cells
    assert len(rows) == len(dataclasses.fields(options_class))


def test_the_readme_is_short_and_every_page_is_in_the_navigation():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250
    config = yaml.safe_load((ROOT / ".mkdocs.yml").read_text())
    listed = re.findall(r"[\w/]+\.md", json.dumps(config["nav"]))
    assert sorted(listed) == [path.relative_to(ROOT / "docs").as_posix() for path in PAGES]


@pytest.fixture(scope="module")
def command_tree():
    """The command line, built once: building takes longer than reading a command."""
    return typer.main.get_command(cvkit.cli.build_app())


@pytest.fixture
def parsed(monkeypatch, command_tree):
    """Return the options that a command line means; no command runs."""
    seen = []
    monkeypatch.setattr(cvkit.cli, "build_app", lambda *_: command_tree)
    monkeypatch.setattr("cvkit.cli.resolve", lambda _: lambda options, *_: seen.append(options))
    monkeypatch.setattr(cvkit.cli, "assemble", lambda kind, values, _: kind(**values))

    def call(command):
        code = cvkit.cli.run(shlex.split(command)[1:])
        return code, seen[-1] if seen else None

    return call


@pytest.mark.parametrize(("page", "command"), sorted(COMMANDS), ids=ids(sorted(COMMANDS)))
def test_every_command_shown_is_one_that_cvkit_takes(parsed, page, command):
    words = command.removesuffix(" --help").split()[1:]
    if (words[0] in OPTIONS and len(words) == 1) or tuple(words) in dict(commands()):
        return  # a name, without arguments
    code, options = parsed(command)
    assert code == 0
    task = getattr(options, "task", words[0])
    if options is None:  # a page of help
        return
    names = [getattr(options, "weights", None)]
    if hasattr(options, "fail_under") and options.fail_under:
        known = scoring_of(task).metric_names(options)
        require_known(parse_gates(options.fail_under), known, None)
    for name in filter(None, names):
        is_path = "/" in name or name.endswith(".safetensors")
        shipped = (ROOT / "weights" / f"{name}.safetensors").is_file()
        assert is_path or shipped or name in PUBLISHED[task], f"no model is called {name}"


def test_commands_are_found_in_every_form():
    found = {command for _, command in COMMANDS}
    assert "cvkit samples scenes/ --task segment --count 200 --seed 1" in found  # of a page
    assert any(c.startswith("cvkit segment predict - ") for c in found)  # behind a pipe
    assert "cvkit models segment" in found  # inside a line
    for task in TASKS:
        for verb in ("train", "eval", "predict"):
            assert any(c.startswith(f"cvkit {task} {verb} ") for c in found), (task, verb)
    readme = {command for page, command in COMMANDS if page == "README.md"}
    for task in TASKS:
        verbs = {command.split()[2] for command in readme if command.startswith(f"cvkit {task} ")}
        assert verbs >= {"train", "eval", "predict"}, task


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_flag_named_exists(path):
    """A flag on the page of a task is one of that task."""
    mine = [kind for words, kind in commands() if path.stem not in TASKS or words[0] == path.stem]
    known = {flag for kind in mine for flag in flags_of(kind)}
    known |= {flag for names, _, _ in ROOT_FLAGS for flag in names.split(", ")}
    for span in code_spans(path):
        for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", span):
            assert flag in known or span.startswith(("cvkit ", "python ", "-m ")), f"{flag}: {span}"
    for _, line in (pair for pair in SHOWN if pair[0] == path):
        for flag in re.findall(r"cvkit (--[a-z-]+)", line):
            assert flag in known, line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_pictures_links_and_files_named_exist(path):
    text = path.read_text()
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text):
        place = (path.parent / target) if target else path
        assert place.exists(), target
        if path.is_relative_to(ROOT / "docs"):
            assert place.is_relative_to(ROOT / "docs"), f"{target} is not on the site"
        assert not anchor or anchor in headings(place), f"{target}#{anchor}"
    tops = ("cvkit/", "docs/", "tests/", "benchmarks/", "weights/", "samples/", ".ci/")
    for span in code_spans(path):
        if span.startswith(tops) and not re.search(r"[A-Z*{ ]", span):
            assert (ROOT / span).exists(), span


def test_scripts_and_targets_shown_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    found = 0
    for path, line in SHOWN:
        words = line.split("#")[0].split()
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), f"{path.name}: {line}"
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), f"{path.name}: {line}"
        else:
            continue
        found += 1
    assert found > 5
    for path in FILES:
        for target in re.findall(r"`make ([a-z]+)", path.read_text()):
            assert target in targets, target


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_has_its_rule_on_the_page(task):
    page = (ROOT / "docs" / "metrics.md").read_text()
    eval_class = OPTIONS[task]["eval"]
    protocols = ("coco", "voc07", "voc12") if task == "detect" else ("",)
    for protocol in protocols:
        options = eval_class(protocol=protocol) if protocol else eval_class()
        for name in scoring_of(task).metric_names(options):
            assert f"`{name}`" in page or f"`{name.rpartition('.')[2]}`" in page, name


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_example_runs(trained, tmp_path, monkeypatch, capsys, page):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    shutil.copytree(trained, tmp_path / "runs" / "segment-unet-001")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, page, "exec"), {})
    shown = capsys.readouterr().out
    assert shown.startswith("(30, 40) ")


@pytest.fixture
def toys():
    """Return the Python code of the page on extending, in its order."""
    return re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), flags=re.DOTALL
    )


def planted(monkeypatch, name, code, table, row, kind):
    """Make code a module of cvkit, and a line of code a row of a table."""
    if code:
        module = types.ModuleType(name)
        exec(code, module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    for key, entry in eval(f"{{{row}}}", {kind.__name__: kind}).items():
        monkeypatch.setitem(table, key, entry)


def test_the_architecture_and_the_backbone_of_the_page_on_extending_work(toys, monkeypatch):
    network, arch, backbone, *_ = toys
    name = "cvkit.models.segmentation.coarse"
    planted(monkeypatch, name, network, catalog.SEGMENTERS, arch, Segmenter)
    planted(monkeypatch, "", "", catalog.BACKBONES, backbone, BackboneEntry)
    monkeypatch.setitem(catalog.BUILDERS, "efficientnet_b4", "efficientnet_b4")  # follows from it
    for body in ("resnet18", "efficientnet_b4"):
        model = build("segment", SegmenterSpec("coarse", body, None, True, False), 3).eval()
        assert model(torch.zeros(1, 3, 65, 33))["out"].shape == (1, 3, 65, 33)


def test_the_data_format_of_the_page_on_extending_works(toys, monkeypatch, tmp_path):
    *_, reader, row = toys
    name = "cvkit.data.formats.boxes_csv"
    planted(monkeypatch, name, reader, FORMATS["boxes"], row, Format)
    lines = ["image,class,x1,y1,x2,y2"]
    for number in range(6):
        Image.new("RGB", (40, 30), (40 * number, 9, 9)).save(tmp_path / f"{number}.png")
        lines += [f"{number}.png,dog,1,2,11,12", f"{number}.png,cat,5,5,25,20.5"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    data = read_boxes(tmp_path, "auto", ["train", "val"], division=Division(0.34, 0))
    assert (data.layout, data.classes.names, data.defects) == ("boxes-csv", ("cat", "dog"), [])
    assert {split: len(images) for split, images in data.splits.items()} == {"train": 4, "val": 2}
    for image in (image for images in data.splits.values() for image in images):
        assert image.truth.boxes.tolist() == [[1, 2, 11, 12], [5, 5, 25, 20.5]]
        assert image.truth.labels.tolist() == [2, 1]
    (tmp_path / "boxes.csv").write_text(f"{lines[0]}\n../x.png,cat,1,2,3,4\n")
    assert len(read_boxes(tmp_path, "auto", ["all"]).defects) == 1


def test_the_numbers_of_the_readme_are_those_that_were_measured():
    section = re.search(r"^## Numbers\n(.*?)^## ", (ROOT / "README.md").read_text(), re.S | re.M)[1]
    rows = re.findall(r"^\| (.+) \|$", section, flags=re.MULTILINE)
    results = [row.rpartition("|")[2] for row in rows if re.search(r"\d[^|]*$", row)]
    assert len(results) >= 9
    measured = "".join(
        (ROOT / "docs" / f"{name}.md").read_text() for name in ("measurements", "motion")
    )
    for result in results:
        for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", result.replace(" on 36 clips", "")):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", measured), result


def test_the_picture_of_the_first_page_is_small():
    assert (ROOT / "docs" / "images" / "photographs.jpg").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("task", "count", "size"),
    [("segment", 8, 128), ("classify", 12, 64), ("detect", 8, 128), ("video", 14, 64)],
)
def test_samples_are_what_the_command_makes(cvkit, tmp_path, task, count, size):
    flags = ("--task", task, "--count", count, "--size", size, "--seed", 7)
    assert cvkit("samples", tmp_path / "s", *flags).code == 0
    files = [path for path in (tmp_path / "s").rglob("*") if path.suffix in (".png", ".mp4")]
    assert len(files) >= count
    for made in files:
        kept = ROOT / "samples" / task / made.relative_to(tmp_path / "s")
        if made.suffix == ".png":
            assert Image.open(made).tobytes() == Image.open(kept).tobytes()
        else:  # another version of the encoder may choose other bytes
            shown = [list(all_frames(path, index_video(path))) for path in (made, kept)]
            assert np.abs(np.array(shown[0], int) - np.array(shown[1], int)).mean() < 3
    for made in (tmp_path / "s").rglob("*.json"):
        kept = ROOT / "samples" / task / made.relative_to(tmp_path / "s")
        assert json.loads(made.read_text()) == json.loads(kept.read_text())
    total = sum(p.stat().st_size for p in (ROOT / "samples").rglob("*") if p.is_file())
    assert total < 3_000_000
