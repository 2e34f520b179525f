"""Sets up completion in the user's shell."""

import os
import shlex
from pathlib import Path

import shellingham

from cvkit import storage
from cvkit.completion.shells import SCRIPTS, VARIABLE, script
from cvkit.errors import UsageError


def current_shell() -> str:
    """Return the name of the shell that cvkit was called from.

    Raises:
        UsageError: it is unknown, or there is no completion for it.
    """
    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no completion for the shell {shell!r}",
            code="completion.shell",
            hint=f"supported: {', '.join(SCRIPTS)}; {VARIABLE}=source_bash cvkit prints a script",
        )
    return shell


def run(flag: str, arguments: list[str]) -> str:
    """Return the output of `--install-completion` or `--show-completion`.

    Args:
        flag: one of these two.
        arguments: of the flag: the name of a shell, or none for the current one.

    Raises:
        UsageError: unknown shell, or too many arguments.
    """
    if len(arguments) > 1:
        raise UsageError(
            f"{flag} takes the name of one shell, not {' '.join(arguments)}",
            code="completion.shell",
            hint=f"one of {', '.join(SCRIPTS)}",
        )
    shell = arguments[0] if arguments else current_shell()
    content = script(shell)
    if flag == "--show-completion":
        return content
    return f"{install(shell)} written; completion works in new shells\n"


def install(shell: str) -> Path:
    """Write the script of a shell to a place where new shells read it, and return its path.

    bash and zsh read it from their rc file, to which a line is added once; fish finds it.
    """
    home = Path.home()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    target, rc = {
        "bash": (folder / "cvkit" / "completion.bash", home / ".bashrc"),
        "zsh": (
            folder / "cvkit" / "completion.zsh",
            Path(os.environ.get("ZDOTDIR") or home) / ".zshrc",
        ),
        "fish": (folder / "fish" / "completions" / "cvkit.fish", None),
    }[shell]
    with storage.machine_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    storage.write_file(target, script(shell))
    if rc is not None:
        _add_line(rc, f"source {shlex.quote(str(target))}")
    return target


def _add_line(path: Path, line: str) -> None:
    """Add a line to a user's file, unless it is there; the rest is not changed."""
    with storage.machine_errors(path), open(path, "ab+") as stream:
        stream.seek(0)
        content = stream.read()
        if line.encode() not in content.splitlines():
            start = b"\n" if content and not content.endswith(b"\n") else b""
            stream.write(start + line.encode() + b"\n")
