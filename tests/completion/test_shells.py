"""Completion in real shells: keys are typed into a terminal, and cvkit says what it got."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 20  # seconds; a machine under load is slow
SHELLS = {
    "bash": ["bash", "--noprofile", "-i"],
    "zsh": ["zsh", "-d", "-i"],
    "fish": ["fish", "-i"],
}
COMMAND = f"""#!/bin/sh
test -n "$_CVKIT_COMPLETE" && exec {sys.executable} -m cvkit "$@" 2>>"$HOME/errors"
test "$1" = --install-completion && exec {sys.executable} -m cvkit "$@"
printf 'CALLED'; printf '[%s]' "$@"; echo '<'
"""
"""A cvkit that only completes, and shows what else it is called with."""


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command, folder, environment):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=side,
            stdout=side,
            stderr=side,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(side)
        self.main, self.seen = main, ""

    def type(self, keys):
        os.write(self.main, keys.encode())

    def wait_for(self, pattern):
        """Return the match of what the shell shows, from where the last one ended."""
        end = time.monotonic() + DEADLINE
        while not (match := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.main], [], [], min(left, 1))[0]:
                self.seen += os.read(self.main, 65536).decode(errors="replace")
        self.seen = self.seen[match.end() :]
        return match

    def called(self, keys):
        """Type a line and Enter; return the words that cvkit is called with."""
        self.type(keys + "\r")
        return re.findall(r"\[(.*?)\]", self.wait_for(r"CALLED((?:\[[^\r\n]*\])*)<\r")[1])

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.main)


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path):
    """Each shell, into which completion was installed the documented way."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home / "bin", here / "my data", here / "runs" / "segment-unet-001" / "ckpt"):
        folder.mkdir(parents=True)
    (here / "my data" / "a b.png").touch()
    (here / "runs" / "segment-unet-001" / "best.safetensors").touch()
    (here / "net one.safetensors").touch()
    (home / "photos").mkdir()
    (home / "bin" / "cvkit").write_text(COMMAND)
    (home / "bin" / "cvkit").chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
    }
    first = Terminal(SHELLS[request.param], here, environment)
    first.type("cvkit --install-completion\r")
    first.wait_for("in new shells")
    first.close()
    shell = Terminal(SHELLS[request.param], here, environment)
    yield shell
    shell.close()
    errors = home / "errors"
    assert not errors.exists() or not errors.read_text()


def test_a_tab_completes_the_word_in_every_shell(terminal):
    called = terminal.called
    begin = ["segment", "train"]
    assert called("cvkit seg\ttr\t--arch un\t--ep\t3") == [
        *begin,
        "--arch",
        "unet",
        "--epochs",
        "3",
    ]
    assert called("cvkit segment train --arch=un\t") == [*begin, "--arch=unet"]
    assert called("cvkit segment train --arch 'un\t") == [*begin, "--arch", "unet"]
    assert (
        called("cvkit segment train --resume runs/s\t")[-1].rstrip("/") == "runs/segment-unet-001"
    )
    assert called("cvkit segment train --loss ce+di\t")[-1] == "ce+dice"
    assert called("cvkit segment predict my\ta\t")[-1] == "my data/a b.png"
    assert called("cvkit segment predict -- 'my data/a\t")[-1] == "my data/a b.png"
    assert called("cvkit segment train --data=my\t")[-1].rstrip("/") == "--data=my data"
    assert called("cvkit segment predict ~/pho\t")[-1].rstrip("/").endswith("/home/photos")
    for typed in ("net\t", '"net\t'):
        assert called(f"cvkit segment predict --weights {typed}")[-1] == "net one.safetensors"
    assert called("cvkit classify predict --weights imagenet:swin_v2_t:\t")[-1] == (
        "imagenet:swin_v2_t:v1"
    )
    assert called("cvkit segment predict --weights=sce\t")[-1] == "--weights=scenes"
    assert called("cvkit segment predict --weights my\t")[-1].rstrip("/") == "my data"
    terminal.type("cvkit segment train --arch fcn-\t\t")
    terminal.wait_for(r"-16s[^<]*-32s|-32s[^<]*-16s")
