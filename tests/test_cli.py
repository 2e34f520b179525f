"""The command line's contract: help, errors, precedence, JSON, exit codes."""

import dataclasses
import re
import subprocess
import sys

import pytest
import yaml

from cvkit import __version__
from cvkit.commands.printing import print_models
from cvkit.errors import EXIT_CODES
from cvkit.examples import EXAMPLES
from cvkit.options.tree import OPTIONS

VERBS = [
    (name, verb) for name, entry in OPTIONS.items() if isinstance(entry, dict) for verb in entry
]
COMMANDS = VERBS + [(name,) for name, entry in OPTIONS.items() if not isinstance(entry, dict)]


def options_of(path):
    entry = OPTIONS[path[0]]
    return entry[path[1]] if len(path) > 1 else entry


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_every_flag_examples_first_and_exit_codes(cvkit, path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = cvkit(*path, "--help")
    assert shown.code == 0
    for field in dataclasses.fields(options_of(path)):
        flag = f"--{field.name.replace('_', '-')}"
        argument = {"folder": "DIR"}.get(field.name, field.name.upper())
        assert flag in shown.out or argument in shown.out, flag
    example = EXAMPLES[path][0]
    assert example in shown.out
    assert shown.out.index(example) < shown.out.index("Options")
    for code, text in EXIT_CODES.items():
        assert f"{code} {text}" in " ".join(shown.out.split())


@pytest.mark.parametrize("path", [(), ("segment",)])
def test_a_group_without_a_command_shows_its_page(cvkit, path):
    shown = cvkit(*path)
    assert shown.code == 0
    assert shown.out == cvkit(*path, "--help").out
    assert "Usage: cvkit" in shown.out
    assert not shown.err


def test_train_help_has_its_panels_in_order(cvkit):
    shown = cvkit("segment", "train", "--help").out
    panels = re.findall(r"╭─ (\w+) ─", shown)
    assert panels == ["Options", "Data", "Model", "Training", "Output", "Run"]


def test_every_example_names_flags_that_exist():
    for path, examples in EXAMPLES.items():
        for example in examples:
            words = example.split("cvkit ")[-1].split()
            target = tuple(words[:2]) if words[0] in dict(VERBS) else (words[0],)
            known = {f.name.replace("_", "-") for f in dataclasses.fields(options_of(target))}
            for flag in re.findall(r"--([a-z-]+)", example):
                assert flag in known, f"{path}: {example}"


def test_version_and_module_entry(cvkit):
    assert cvkit("--version").out == f"cvkit {__version__}\n"
    module = [sys.executable, "-m", "cvkit", "--version"]
    assert subprocess.check_output(module, text=True) == f"cvkit {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment", "train", "--arch", "unett"], ["unett", "unet"]),
        (["segment", "train", "--epochs", "0"], ["epochs", "0"]),
        (["segment", "train", "--epoch", "3"], ["--epochs"]),
        (["segment", "train", "--data", "/nowhere"], ["--data", "/nowhere"]),
        (["segment", "train", "--loss", "ce+magic"], ["--loss", "magic", "dice"]),
        (["segment", "train", "--image-size", "10"], ["--image-size", "WIDTHxHEIGHT"]),
        (["segment", "train", "--scale", "2,1"], ["--scale", "0.5,2"]),
        (["segment", "train", "--device", "cuda:77"], ["cuda:77", "cpu"]),
        (["segment", "train", "--precision", "fp16", "--device", "cpu"], ["fp16", "fp32"]),
        (["segment", "train", "--arch", "unet", "--deconv"], ["--deconv", "fcn-8s"]),
        (["segment", "train", "--arch", "deeplab", "--batch-size", "1"], ["--batch-size", "2"]),
        (["segment", "train", "--resume", "/nowhere"], ["/nowhere"]),
        (["segment", "trian"], ["trian", "train"]),
        (["samples"], ["DIR"]),
        (["samples", "/dev/null/x"], ["/dev/null", "not a folder"]),
        (["segment", "eval"], ["--weights", "--predictions"]),
        (["segment", "eval", "--weights", "/nowhere", "--data", "x"], ["/nowhere"]),
        (["segment", "eval", "--predictions", "/nowhere", "--truth", "."], ["/nowhere"]),
        (["segment", "eval", "--weights", "x", "--fail-under", "miou"], ["miou=0.7"]),
        (["segment", "predict", "--weights", "x"], ["input"]),
        (["segment", "predict", "/nowhere.jpg", "--weights", "scenes"], ["/nowhere.jpg"]),
        (["segment", "predict", "https://example.org/a.jpg", "--weights", "scenes"], ["URL"]),
    ],
)
def test_a_users_mistake_is_one_line_with_exit_code_2(cvkit, arguments, words):
    done = cvkit(*arguments)
    assert done.code == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert done.err.splitlines()[-1] == errors[0]
    assert "Traceback" not in done.err
    for word in words:
        assert word in errors[0]


def test_json_failure_is_one_object_on_stdout(cvkit):
    done = cvkit("segment", "train", "--data", "/nowhere", "--json")
    assert done.code == 2
    assert done.json["ok"] is False
    assert done.json["error"]["code"] == "data.missing"
    assert "/nowhere" in done.json["error"]["message"]


def test_precedence_is_defaults_config_environment_flags(
    scenes, cvkit, tiny, tmp_path, monkeypatch
):
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {scenes}\nepochs: 1\nlr: 0.5\nmomentum: 0.5\nseed: 5\n")
    monkeypatch.setenv("CVKIT_TRAIN_LR", "0.25")
    monkeypatch.setenv("CVKIT_TRAIN_SEED", "6")
    done = cvkit(
        *("segment", "train", "--config", config, "--seed", "7", "--out", tmp_path / "runs"), *tiny
    )
    assert done.code == 0, done.err
    stored = yaml.safe_load((tmp_path / "runs/segment-unet-001/config.yaml").read_text())
    assert (stored["momentum"], stored["lr"], stored["seed"]) == (0.5, 0.25, 7)
    assert stored["clip_grad"] == 1.0  # nobody said anything: the default


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epoch: 3", ["'epoch'", "epochs"]),
        ("epochs: many", ["epochs", "'many'", "whole number"]),
        ("epochs: 0", ["epochs", "0"]),
        ("arch: unett", ["unett", "unet"]),
        ("freeze_backbone: 1", ["freeze_backbone", "true or false"]),
        ("- 1", ["mapping"]),
        ("a: [1", ["YAML"]),
        ("a: &x [1]\nb: *x", ["aliases"]),
        ("a: !!python/object/apply:os.system [true]", ["YAML"]),
    ],
)
def test_a_bad_config_is_refused_with_its_key(cvkit, tmp_path, content, words):
    (tmp_path / "c.yaml").write_text(content)
    done = cvkit("segment", "train", "--config", tmp_path / "c.yaml")
    assert done.code == 2
    for word in words:
        assert word in done.err


def test_a_stored_config_reproduces_its_run(scenes, cvkit, tiny, tmp_path):
    first = cvkit(
        *("segment", "train", "--data", scenes, "--epochs", 1, "--out", tmp_path), *tiny
    ).out.strip()
    again = cvkit("segment", "train", "--config", f"{first}/config.yaml").out.strip()
    assert first != again

    def numbers(run):
        return open(f"{run}/metrics.jsonl").read()

    assert numbers(first) == numbers(again)


def test_models_lists_sizes_computed_from_the_networks(cvkit, capsys):
    listed = cvkit("models", "--json").json
    sizes = {(a["arch"], a["backbone"]): a["parameters"] for a in listed["archs"]}
    assert sizes["resnet50", None] == 25_557_032
    assert sizes["lenet", None] == 62_006  # 300 more than for one channel
    assert sizes["knn", None] is None
    assert sizes["fcn", "resnet50"] == 35_322_218
    assert sizes["unet", "unet-bn"] == 31_038_933
    backbones = {b["backbone"]: b for b in listed["backbones"]}
    assert backbones["resnet50"]["parameters"] == 23_508_032
    assert backbones["resnet50"]["weights"] == ["imagenet:v1", "imagenet:v2"]
    print_models(listed["archs"], listed["backbones"])
    shown = capsys.readouterr().out
    assert "25,557,032" in shown
    assert "deeplab-plus" in shown
