"""What the README says is what the code does."""

import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.data.video import all_frames, index_video
from cvkit.options.base import hints
from cvkit.options.tree import OPTIONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    (cvkit [a-z].*)$", README, flags=re.MULTILINE)


def test_generated_parts_are_current():
    made = runpy.run_path(str(ROOT / "docs" / "update_readme.py"))
    for path, parts in made["FILES"].items():
        text = path.read_text()
        assert made["updated"](text, parts) == text, "run: python docs/update_readme.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_exists_with_its_flags(cvkit, command):
    words = command.split()[1:]
    entry = OPTIONS[words[0]]
    path = words[:2] if isinstance(entry, dict) else words[:1]
    assert cvkit(*path, "--help").code == 0
    known = hints(entry[words[1]] if isinstance(entry, dict) else entry)
    for flag in re.findall(r"--([a-z-]+)", command):
        assert flag.replace("-", "_") in known, flag


def test_the_readme_shows_commands():
    assert len(COMMANDS) > 6


def test_the_python_example_runs(trained, tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    shutil.copytree(trained, tmp_path / "runs" / "segment-unet-001")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert shown.startswith("(30, 40) ")


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


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
