"""No flag of any command is without a test of its effect; those that all commands have are here."""

import dataclasses
from types import SimpleNamespace

import pytest
import test_attack_effects
import test_data_effects
import test_dream_effects
import test_eval_effects
import test_explain_effects
import test_features_effects
import test_predict_effects
import test_tool_effects
import test_train_effects
import test_train_own_effects
from effect_parts import TASKS
from model_parts import inputs, model
from test_tool_effects import TEN, fresh, reports

from cvkit import cli
from cvkit.commands import train, tune
from cvkit.models import listing
from cvkit.models.weights import shipped_models
from cvkit.options.tree import OPTIONS

COMMANDS = [
    (name, verb) for name, entry in OPTIONS.items() if isinstance(entry, dict) for verb in entry
] + [(name,) for name, entry in OPTIONS.items() if not isinstance(entry, dict)]
HERE = ("json", "quiet", "debug", "config")
"""Flags that are tested below, for each command that has them."""
SILENT = [("weights", "list"), ("weights", "verify"), ("models",), ("samples",), ("compare",)]
SILENT += [("data", "check")]
SILENT += [("data", "stats"), ("data", "show"), ("data", "split")]
"""Commands that have nothing to say on stderr where all is well."""


def flags(path):
    entry = OPTIONS[path[0]]
    return {f.name for f in dataclasses.fields(entry[path[1]] if len(path) > 1 else entry)}


def rows_of(path):
    """Return the flags of a command that have a row in a table."""
    tables = {
        "train": test_train_effects.ROWS + test_train_own_effects.ROWS,
        "eval": test_eval_effects.ROWS,
        "predict": test_predict_effects.ROWS,
    }
    tools = test_tool_effects.ROWS | test_data_effects.ROWS | test_explain_effects.ROWS
    tools |= test_attack_effects.ROWS | test_dream_effects.ROWS | test_features_effects.ROWS
    if path in tools:
        return {row.flag for row in tools[path]}
    return {row.flag for row in tables[path[1]] if path[0] in row.tasks}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_flag_has_a_row_and_every_row_a_flag(path):
    assert rows_of(path) == flags(path) - set(HERE)


def test_every_row_tries_two_values_or_more():
    tables = [test_train_effects, test_train_own_effects, test_eval_effects, test_predict_effects]
    for row in [row for table in tables for row in table.ROWS]:
        assert len(row.values) > 1, row.flag
        assert row.tasks, row.flag


@pytest.fixture
def words(places, monkeypatch):
    """Return a command line that works; trainings and lists of networks are stand-ins."""

    def training(options, task, report, *_):
        report.say("training")
        kept = {"epoch": 1, "m": 0.5}
        progress = SimpleNamespace(kept=lambda which: kept, history=[])
        made = SimpleNamespace(metric_names=("m",), best="m")
        return train.Outcome(options.out / "r", made, progress, True)

    monkeypatch.setattr(train, "run_training", training)
    monkeypatch.setattr(tune, "run_training", training)
    monkeypatch.setattr(listing, "list_archs", lambda tasks: [])
    monkeypatch.setattr(listing, "list_backbones", list)

    def get(path):
        task = path[0] if path[0] in TASKS else "detect"
        at = places(task)
        data, out = ("--data", at.data()), ("--out", fresh(at, "out"))
        ready = ("--weights", model()(at), "--workers", 0)
        more = {
            "train": (*data, *out),
            "eval": (*ready, *data, *out),
            "predict": (*ready, *inputs(at), *out),
            "proposals": (at.data(), "--out", fresh(at, "p.npz"), "--workers", 0),
            "pretrain": (*data, *out),
            "probe": (
                *("--data", places("classify").data(), "--workers", 0, "--image-size", 32),
                *("--backbone", "mobilenet_v3_small", "--stem", "imagenet"),
            ),
            "tune": ("segment", "--trials", 1, *out),
            "bench": (
                *("detect", *inputs(at), "--weights", model()(at), "--seconds", 0.1),
                *("--no-memory", "--engines", "eager", "--batch-sizes", 1),
            ),
            "export": (
                *("--weights", model()(places("classify")), "--format", "torchscript"),
                *("--data", places("classify").data(), "--images", 1),
                *("--out", fresh(at, "m.torchscript")),
            ),
            "explain": (
                *("--weights", model()(places("classify")), *inputs(places("classify"))),
                *("--method", "gradient", "--out", fresh(at, "explained")),
            ),
            "attack": (
                *("--weights", model()(places("classify")), *inputs(places("classify"))),
                *("--attack", "fgsm", "--out", fresh(at, "attacked")),
            ),
            "dream": (
                *("--weights", model()(places("classify")), "--target", "circle"),
                *("--steps", 1, "--out", fresh(at, "dreamt")),
            ),
            "features": (
                *("--weights", model()(places("classify")), *inputs(places("classify"))),
                *("--maps", "none", "--workers", 0, "--out", fresh(at, "features")),
            ),
            "verify": shipped_models()[:1],
            "import": (
                *(TEN(at), "--arch", "mobilenet_v3_small", "--out", fresh(at, "m.safetensors")),
                *("--classes", at.write("ten.txt", "".join(f"c{n}\n" for n in range(10)))),
            ),
            "prove": (model()(at), "--data", at.data(), "--workers", 0),
            "average": (model()(at), model(1)(at), "--out", fresh(at, "mean.safetensors")),
            "check": (at.data(), "--task", "detect"),
            "convert": (
                *(at.data(), "--task", "detect", "--to", "coco", "--out", fresh(at, "converted")),
            ),
            "compare": (*reports(0, 3)(at), "--no-files", "--bootstrap", 10),
            "split": (at.data(), "--task", "detect", "--out", fresh(at, "s.json")),
            "stats": (at.data(), "--task", "detect"),
            "show": (at.data(), "--task", "detect", "--out", fresh(at, "s.png")),
            "samples": (fresh(at, "s"), "--count", 5, "--size", 32),
        }
        return [*path, *more.get(path[-1], ())]

    return get


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_json_prints_one_object_and_without_it_there_are_words(cvkit, words, path):
    plain, coded = cvkit(*words(path)), cvkit(*words(path), "--json")
    assert plain.code == coded.code == 0, plain.err + coded.err
    assert not plain.out.startswith("{")
    assert plain.out
    assert coded.json["ok"] is True


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_quiet_says_nothing_and_prints_the_same(cvkit, words, path):
    plain, quiet = cvkit(*words(path)), cvkit(*words(path), "--quiet")
    assert plain.code == quiet.code == 0, plain.err + quiet.err
    assert not quiet.err
    assert bool(plain.err) == (path not in SILENT)
    assert len(quiet.out.splitlines()) == len(plain.out.splitlines())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_debug_shows_where_an_error_came_from(cvkit, path):
    plain, shown = cvkit(*path, "--no-such-flag"), cvkit(*path, "--no-such-flag", "--debug")
    assert plain.code == shown.code == 2
    assert "Traceback" not in plain.err
    assert "Traceback" in shown.err


@pytest.mark.parametrize("path", [p for p in COMMANDS if "config" in flags(p)], ids=" ".join)
def test_a_configuration_gives_the_flags_that_nobody_else_gives(cvkit, monkeypatch, path, places):
    at, found = places(path[0]), []
    make = cli.assemble
    monkeypatch.setattr(cli, "assemble", lambda *own: found.append(make(*own)) or stop())

    def stop():
        raise cli.typer.Exit(0)

    file = at.write("config.yaml", "batch_size: 3\nworkers: 1\n")
    for more in ((), ("--config", file), ("--config", file, "--workers", 2)):
        assert cvkit(*path, *more).code == 0
    assert [each.batch_size == 3 for each in found] == [False, True, True]
    assert [each.workers for each in found[1:]] == [1, 2]
