"""`--json` gives one object whatever happens, and a reader that leaves is no error."""

import importlib
import json
import os
import signal
import subprocess
import sys

import pytest
import typer

from cvkit import cli, early
from cvkit.cli import main
from cvkit.options.tree import OPTIONS

COMMANDS = [
    path
    for name, entry in OPTIONS.items()
    for path in ([(name, verb) for verb in entry] if isinstance(entry, dict) else [(name,)])
]
NEEDED = {
    ("samples",): ["folder"],
    ("tune",): ["classify"],
    ("bench",): ["classify"],
    ("compare",): ["a", "b"],
    ("data", "check"): ["nowhere"],
    ("data", "convert"): ["nowhere", "--to", "coco", "--out", "x"],
    ("data", "show"): ["nowhere", "--out", "x.png"],
    ("data", "split"): ["nowhere", "--out", "x.json"],
    ("data", "stats"): ["nowhere"],
    ("weights", "average"): ["a.safetensors", "b.safetensors", "--out", "x.safetensors"],
    ("weights", "import"): ["x.pth", "--out", "x.safetensors"],
    ("weights", "prove"): ["x.safetensors", "--data", "nowhere"],
    ("detect", "proposals"): ["nowhere", "--out", "x.npz"],
}


@pytest.fixture(scope="module")
def tree():
    return typer.main.get_command(cli.build_app())


@pytest.fixture(autouse=True)
def one_tree(tree, monkeypatch, tmp_path):
    """The command tree, built once; nothing is written here, and no variable asks for anything."""
    monkeypatch.setattr(cli, "build_app", lambda *_: tree)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CVKIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["word", "own variable", "variable of all", "configuration"])
def asking(request, monkeypatch, tmp_path):
    """Return the words that ask for JSON in one of the ways, or set the variable that does."""

    def ask(path):
        if request.param == "word":
            return ["--json"]
        if request.param == "configuration":
            (tmp_path / "c.yaml").write_text("json: true\n")
            takes = path and "config" in options_of(path).__dataclass_fields__
            return ["--config", "c.yaml"] if takes else ["--json"]
        verb = f"{path[-1]}_".upper() if path and request.param == "own variable" else ""
        monkeypatch.setenv(f"CVKIT_{verb}JSON", "1")
        return []

    return ask


def options_of(path):
    entry = OPTIONS[path[0]]
    return entry[path[1]] if isinstance(entry, dict) else entry


def failed(done, code, name=None):
    """Check that a failure is one object on stdout and one line on stderr."""
    assert done.code == code, done.err
    assert done.json["ok"] is False
    assert {"code", "message", "hint"} == set(done.json["error"])
    assert len(done.err.splitlines()) == 1
    assert name in (None, done.json["error"]["code"])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_failure_of_a_command_is_one_object(cvkit, asking, path, monkeypatch):
    words = [*path, *NEEDED.get(path, []), *asking(path)]
    failed(cvkit(*words, "--no-such-flag"), 2, "usage")
    failed(cvkit(*words, "a", "b", "--no-such"), 2, "usage")
    for error, code in (
        (ZeroDivisionError("x"), 1),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 6),
        (ImportError("cannot import name 'x'", name="cvkit.engine"), 1),
        (MemoryError(), 6),
        (KeyboardInterrupt(), 130),
        (KeyboardInterrupt(signal.SIGTERM), 143),
        (BrokenPipeError(32, "Broken pipe"), 6),
    ):

        def fail(name, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(cli, "resolve", fail)
            failed(cvkit(*words), code)


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("--nonsense",),
        ("segment", "nonsense"),
        ("segment", "--nonsense"),
        ("weights", "nonsense"),
        ("samples",),
        ("tune",),
        ("bench",),
        ("weights", "import"),
        ("segment", "train", "--epochs"),
    ],
    ids=" ".join,
)
def test_mistakes_above_a_command_are_one_object(cvkit, words, monkeypatch):
    failed(cvkit(*words, "--json"), 2, "usage")
    monkeypatch.setenv("CVKIT_JSON", "1")
    failed(cvkit(*words), 2, "usage")


@pytest.mark.parametrize(
    "content", ["json: true\nno_such: 1\n", "json: true\na: [1\n", '{"epochs": 0, "json": true}']
)
@pytest.mark.parametrize("path", [path for path in COMMANDS if path[-1] in ("train", "eval")])
def test_a_bad_configuration_is_answered_as_it_asks(cvkit, tmp_path, path, content):
    (tmp_path / "c.yaml").write_text(content)
    failed(cvkit(*path, "--config", "c.yaml"), 2)
    failed(cvkit(*path, "--config=c.yaml", "--no-such"), 2)
    (tmp_path / "c.yaml").write_text(content.replace("true", "false"))
    assert not cvkit(*path, "--config", "c.yaml").out


def test_who_asks_for_json_is_known_before_the_command_line_is_read(monkeypatch, tmp_path):
    asked = lambda *words: early.how_to_talk(words)["json"]  # noqa: E731
    assert asked("segment", "train", "--json")
    assert not asked("segment", "predict", "--", "--json")
    assert not asked("segment", "train")
    monkeypatch.setenv("CVKIT_JSON", "1")
    assert asked("models")
    monkeypatch.setenv("CVKIT_TRAIN_JSON", "0")
    assert asked("segment", "eval")
    assert not asked("segment", "train")
    assert asked("segment", "train", "--json")
    monkeypatch.setenv("CVKIT_JSON", "0")
    monkeypatch.setenv("CVKIT_EVAL_CONFIG", str(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("json: true")
    assert not asked("segment", "eval")
    monkeypatch.delenv("CVKIT_JSON")
    assert asked("segment", "eval")
    assert not asked("segment", "eval", "--config", "elsewhere.yaml")
    assert not asked("segment", "predict")


def test_a_pipe_that_names_a_configuration_is_left_to_the_command(cvkit):
    here, there = os.pipe()
    os.write(there, b"json: true\nno_such: 1\n")
    os.close(there)
    assert "no_such" in cvkit("segment", "train", "--config", f"/dev/fd/{here}").err
    os.close(here)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_successful_answer_follows_the_variable(cvkit, path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        cli, "resolve", lambda name: lambda options, *task: seen.append(options) or 0
    )
    monkeypatch.setenv("CVKIT_JSON", "1")
    monkeypatch.setenv("CVKIT_QUIET", "1")
    assert cvkit(*path, *NEEDED.get(path, [])).code == 0
    assert (seen[0].json, seen[0].quiet, seen[0].debug) == (True, True, False)
    monkeypatch.setenv(f"CVKIT_{path[-1]}_JSON".upper(), "0")
    assert cvkit(*path, *NEEDED.get(path, [])).code == 0
    assert seen[1].json is False
    monkeypatch.setenv("CVKIT_QUIET", "maybe")
    assert "CVKIT_QUIET=maybe" in cvkit(*path, *NEEDED.get(path, [])).err


def ended(prepare, words=(), **variables):
    """Fork a process that calls `prepare` and the command line; return code, stdout, stderr."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if not child:
        for number, (_, there) in enumerate(pipes, 1):
            os.dup2(there, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.environ.update(variables)
        code = 99
        try:
            prepare()
            main(list(words))
        except SystemExit as leaving:
            code = leaving.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for _, there in pipes:
        os.close(there)
    out, err = (os.fdopen(here).read() for here, _ in pipes)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), out, err


@pytest.mark.parametrize(
    ("path", "number"),
    [(path, (signal.SIGINT, signal.SIGTERM)[n % 2]) for n, path in enumerate(COMMANDS)],
)
def test_a_signal_before_a_command_handles_it_is_answered(path, number):
    code, out, err = ended(signalled(number), [*path, *NEEDED.get(path, []), "--json"])
    assert (code, err) == (128 + number, "error: interrupted\n")
    (line,) = out.splitlines()
    assert json.loads(line)["error"]["code"] == "interrupted"


def test_a_signal_is_answered_as_asked_and_by_one_process():
    said = "error: interrupted\n"
    (code, out, err), silent = ended(signalled(15), ["models"], CVKIT_JSON="1"), signalled(15)
    assert (code, json.loads(out)["ok"], err) == (143, False, said)
    assert ended(silent, ["models"]) == (143, "", said)
    assert ended(silent, ["models", "--json"], LOCAL_RANK="1") == (143, "", "")


def test_a_failure_is_told_by_one_process(cvkit, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    failed(cvkit("models", "--no-such", "--json"), 2, "usage")
    monkeypatch.setenv("LOCAL_RANK", "1")
    silent = cvkit("models", "--no-such", "--json", "--debug")
    assert (silent.code, silent.out, silent.err) == (2, "", "")


def signalled(number):
    """Return what makes a command get a signal before it begins."""

    def prepare():
        cli.resolve = lambda name: signal.raise_signal(number)

    return prepare


def test_signals_are_answered_before_the_command_line_is_imported():
    code = (
        "import signal, sys; sys.argv = ['cvkit', 'models', '--json'];"
        "import builtins; real = builtins.__import__\n"
        "def look(name, *rest):\n"
        "    if name == 'cvkit.cli': signal.raise_signal(signal.SIGTERM)\n"
        "    return real(name, *rest)\n"
        "import cvkit.__main__ as entry; builtins.__import__ = look; entry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 143
    assert json.loads(done.stdout)["error"]["code"] == "interrupted"
    broken = code.replace(
        "signal.raise_signal(signal.SIGTERM)", "raise ModuleNotFoundError('No module named typer')"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True)
    assert done.returncode == 6
    assert json.loads(done.stdout)["error"]["code"] == "machine.import"
    assert len(done.stderr.splitlines()) == 1


def leaving(words, stream=1):
    """Run the command line with a pipe as stdout or stderr whose reader has left."""
    here, there = os.pipe()
    os.close(here)

    def prepare():
        os.dup2(there, stream)
        if stream == 2:
            os.dup2(there, 1)

    try:
        return ended(prepare, words)
    finally:
        os.close(there)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_reader_that_leaves_is_no_bug(path):
    code, out, err = leaving([*path, "--no-such", "--json"])
    assert code in (2, 141)
    assert not out and "Traceback" not in err and "Exception" not in err


def test_a_reader_of_messages_that_leaves_is_no_bug():
    for words in (["models", "--no-such", "--json"], ["models", "--help"]):
        assert leaving(words, stream=2)[0] in (0, 2, 141)


@pytest.mark.parametrize(
    "words", [(), ("--version",), ("segment",), *((*path, "--help") for path in COMMANDS[:3])]
)
def test_a_page_that_nobody_reads_is_no_error(words):
    code, out, err = leaving(words)
    assert code in (0, 141)
    assert not out and not err


PRINTING = {
    "weights list": ["weights", "list"],
    "score": ["classify", "eval", "--predictions", "t.csv", "--truth", "t.csv", "--no-files"],
}


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("name", PRINTING)
def test_results_that_nobody_reads_are_no_error(tmp_path, name, more):
    importlib.import_module("cvkit.models.published")  # once, not in every fork
    (tmp_path / "t.csv").write_text("path,label,a,b\nx.jpg,a,0.7,0.3\ny.jpg,b,0.2,0.8\n")
    code, out, err = leaving([*PRINTING[name], *more])
    assert code in (0, 2, 141)
    assert not out and "Traceback" not in err and "Exception" not in err


def test_a_table_that_nobody_reads_ends_the_command(monkeypatch):
    from cvkit.console import print_table

    def prepare():
        def command(options, *task):
            print_table("many", ["n"], [[str(n) * 50] for n in range(5000)])
            return 0

        cli.resolve = lambda name: command

    here, there = os.pipe()
    os.close(here)

    def gone():
        os.dup2(there, 1)
        prepare()

    assert ended(gone, ["models"]) == (141, "", "")
    os.close(there)


def test_messages_that_nobody_reads_do_not_end_the_work():
    from cvkit.console import Reporter

    here, there = os.pipe()
    os.close(here)

    def gone():
        os.dup2(there, 2)

        def command(options, *task):
            report = Reporter()
            for _ in range(5000):
                report.say("x" * 50)
            with report.progress("training", 3) as advance:
                advance(1, "x")
            print("done")
            return 0

        cli.resolve = lambda name: command

    code, out, _ = ended(gone, ["models"])
    assert (code, out) == (0, "done\n")
    os.close(there)


@pytest.mark.parametrize("task", ["classify", "video"])
def test_a_failed_gate_is_one_object_with_its_numbers(cvkit, tmp_path, task):
    (tmp_path / "t.csv").write_text("path,label,a,b\nx.jpg,a,0.7,0.3\ny.jpg,b,0.8,0.2\n")
    metric = {"classify": "top1", "video": "video_top1"}[task]
    files = ("--predictions", "t.csv", "--truth", "t.csv", "--no-files", "--json")
    done = cvkit(task, "eval", *files, "--fail-under", f"{metric}=0.9")
    assert done.code == 4
    assert done.json["ok"] is False
    assert done.json["schema_version"] == early.SCHEMA_VERSION
    assert done.json["error"]["code"] == "gate.failed"
    assert done.json["metrics"][metric] == 0.5
    assert done.json["gates"]["failed"]
