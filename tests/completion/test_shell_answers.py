"""How shells are answered, and how completion is installed."""

import os
from pathlib import Path

import pytest

from cvkit.completion import install
from cvkit.completion.shells import SCRIPTS, answer, script, split_line
from cvkit.errors import UsageError

BREAKS = " \t\n\"'><=;|&(:"
"""COMP_WORDBREAKS of bash."""


@pytest.mark.parametrize(
    ("line", "words", "cut", "quote"),
    [
        ("cvkit ", ["cvkit", ""], 0, ""),
        ("cvkit", ["cvkit"], 0, ""),
        ("cvkit  seg", ["cvkit", "seg"], 0, ""),
        ("cvkit --arch=un", ["cvkit", "--arch=un"], 7, ""),
        ("cvkit a:b:c", ["cvkit", "a:b:c"], 4, ""),
        ('cvkit "my fo', ["cvkit", "my fo"], 0, '"'),
        ("cvkit 'my fo", ["cvkit", "my fo"], 0, "'"),
        ("cvkit my\\ fo", ["cvkit", "my fo"], 0, ""),
        ('cvkit --data="my fo', ["cvkit", "--data=my fo"], 7, '"'),
        ("cvkit 'a b' c", ["cvkit", "a b", "c"], 0, ""),
        ("cvkit '' ", ["cvkit", "", ""], 0, ""),
        ("cvkit 'a\\", ["cvkit", "a\\"], 0, "'"),
        ('cvkit "a\\"b', ["cvkit", 'a"b'], 0, '"'),
        ('cvkit "a=b', ["cvkit", "a=b"], 0, '"'),
    ],
)
def test_a_line_of_bash_is_split_as_bash_does_it(line, words, cut, quote):
    assert split_line(line, BREAKS) == (words, cut, quote)


def bash(line):
    options, *words = answer("complete_bash", [line, BREAKS]).splitlines()
    return options, words


def test_bash_gets_what_follows_its_last_break():
    assert bash("cvkit segment train --arch=un") == ("", ["unet"])
    assert bash("cvkit classify eval --weights imagenet:swin_t:") == ("", ["v1"])
    assert bash("cvkit segment predict --weights sce") == ("plusdirs", ["scenes"])
    assert bash("cvkit segment predict ") == ("default", [])
    assert bash("cvkit tune segment --set wei") == ("", ["weights=", "weight-decay="])
    assert bash("cvkit tune segment --set weights") == ("nospace", ["weights="])


def test_names_are_quoted_as_they_must_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b.csv", "a$c.csv", "a\nd.csv"):
        (tmp_path / name).touch()
    line = "cvkit classify train --data "
    # Beside folders bash quotes by itself, but not what follows a colon.
    assert bash(f"{line}a") == ("plusdirs", ["a b.csv", "a$c.csv"])
    (tmp_path / "x:a b.csv").touch()
    assert bash(f"{line}x:a") == ("", ["a\\ b.csv"])
    (tmp_path / 'x:a"$.csv').touch()
    assert bash(f'{line}"x:a') == ("plusdirs", ["x:a b.csv", 'x:a"$.csv'])


def test_zsh_and_fish_get_meanings_and_fish_the_whole_word():
    about = "U-Net (2015), encoder-decoder with skip connections"
    words = ["segment", "train", "--arch=un"]
    assert answer("complete_zsh", words) == f"\nunet\t{about}\n"
    assert answer("complete_fish", words) == f"\n--arch=unet\t{about}\n"
    assert answer("complete_fish", ["segment", "predict", ""]) == "files\n"


def test_every_shell_has_a_script_that_asks(cvkit, monkeypatch):
    for shell in SCRIPTS:
        monkeypatch.setenv("_CVKIT_COMPLETE", f"source_{shell}")
        assert f"_CVKIT_COMPLETE=complete_{shell}" in cvkit().out


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("ZDOTDIR", raising=False)
    return tmp_path


@pytest.mark.parametrize(("shell", "rc"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_adds_one_line_to_what_the_user_wrote(cvkit, home, monkeypatch, shell, rc):
    monkeypatch.setattr(install.shellingham, "detect_shell", lambda: (shell, f"/bin/{shell}"))
    own = b"alias l=ls # caf\xe9"  # without an end of line, in Latin-1
    (home / rc).write_bytes(own)
    (home / rc).chmod(0o600)
    for _ in range(2):
        done = cvkit("--install-completion")
        assert done.code == 0
        assert (home / ".config" / "cvkit" / f"completion.{shell}").read_text() == SCRIPTS[shell]
        line = f"source {home}/.config/cvkit/completion.{shell}\n".encode()
        assert (home / rc).read_bytes() == own + b"\n" + line
    assert os.stat(home / rc).st_mode & 0o777 == 0o600
    assert cvkit("--show-completion").out == SCRIPTS[shell]


def test_fish_finds_its_script_by_itself(home):
    place = install.install("fish")
    assert place == home / ".config" / "fish" / "completions" / "cvkit.fish"
    assert place.read_text() == SCRIPTS["fish"]
    assert [path.name for path in home.iterdir()] == [".config"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_is_for_the_shell_that_is_named(cvkit, home, monkeypatch, shell):
    other = next(name for name in SCRIPTS if name != shell)
    monkeypatch.setattr(install.shellingham, "detect_shell", lambda: (other, other))
    assert cvkit("--show-completion", shell).out == SCRIPTS[shell]
    assert cvkit("--show-completion").out == SCRIPTS[other]
    done = cvkit("--install-completion", shell)
    assert done.code == 0
    place = done.out.partition(" written;")[0]
    assert Path(place).read_text() == SCRIPTS[shell]
    refused = cvkit("--install-completion", "tcsh")
    assert refused.code == 2 and "there is no completion for tcsh" in refused.err
    assert cvkit("--install-completion", shell, other).code == 2


@pytest.mark.parametrize("flag", ["--install-completion", "--show-completion"])
def test_an_unknown_shell_is_named(cvkit, home, monkeypatch, flag):
    def fail():
        raise install.shellingham.ShellDetectionFailure

    monkeypatch.setattr(install.shellingham, "detect_shell", fail)
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = cvkit(flag)
    assert done.code == 2
    assert (
        "error: there is no completion for the shell 'tcsh' (supported: bash, zsh, fish; "
        in done.err
    )
    assert not list(home.iterdir())
    with pytest.raises(UsageError, match="no completion for tcsh"):
        script("tcsh")
