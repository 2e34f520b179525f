"""Write the parts of README.md and weights/README.md that are made from the code and the models.

    python docs/update_readme.py

Each part stands between `<!-- NAME -->` and `<!-- /NAME -->`; a test compares them with the code.
"""

import re
from collections.abc import Callable
from pathlib import Path

from cvkit.catalog import ARCHS, BACKBONES, backbones_of
from cvkit.errors import EXIT_CODES
from cvkit.helptext import (
    TASK_ABOUT,
    default_text,
    in_panel_order,
    name_text,
    values_text,
)
from cvkit.options.base import hints
from cvkit.options.tree import OPTIONS
from cvkit.storage import sha256

ROOT = Path(__file__).parents[1]
README, WEIGHTS = ROOT / "README.md", ROOT / "weights" / "README.md"


def tasks() -> str:
    """Return the table of tasks, architectures and backbones."""
    rows = ["| task | architectures (`--arch`) | backbones (`--backbone`) |", "|---|---|---|"]
    for task, archs in sorted(ARCHS.items()):
        heads = ", ".join(f"`{name}`" for name in archs)
        rows.append(f"| `{task}`: {TASK_ABOUT[task]} | {heads} | {backbones(task)} |")
    return "\n".join(rows)


def backbones(task: str) -> str:
    """Return the cell with the backbones of a task."""
    if task == "classify":
        return "for `knn` and `linear`: pixels, or any of the networks of torchvision"
    names = backbones_of(task)
    bodies = ", ".join(f"`{name}`" for name in names if not BACKBONES[name].whole)
    whole = ", ".join(
        f"`{name}` ({', '.join(BACKBONES[name].whole)})" for name in names if BACKBONES[name].whole
    )
    return f"{bodies}; whole networks: {whole}" if whole else bodies


def exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| {code} | {text} |" for code, text in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def command(path: str, options_class: type) -> str:
    """Return the flags of a command as a folded table."""
    types = hints(options_class)
    lines = [f"<details><summary><code>cvkit {path}</code></summary>", ""]
    lines += ["| flag | values | default | meaning |", "|---|---|---|---|"]
    for field in in_panel_order(options_class):
        option = types[field.name].__metadata__[0]
        name, text = name_text(field, option), option.help.replace("|", "\\|")
        values = values_text(types[field.name]).replace("|", " ")
        default = f"`{default_text(field)}`" if default_text(field) else ""
        lines.append(f"| `{name}` | {values} | {default} | {text} |")
    return "\n".join([*lines, "", "</details>"])


def reference() -> str:
    """Return the flags of every command."""
    parts = []
    for name, entry in OPTIONS.items():
        verbs = entry.items() if isinstance(entry, dict) else [("", entry)]
        parts += [command(f"{name} {verb}".strip(), options_class) for verb, options_class in verbs]
    return "\n\n".join(parts)


def models() -> str:
    """Return the table of the models in weights/."""
    from cvkit.model_files import read_header

    rows = ["| name | task | arch | classes | data | metric | size | sha256 of the file |"]
    rows += ["|---|---|---|---|---|---|---|---|"]
    for path in sorted(WEIGHTS.parent.glob("*.safetensors")):
        header = read_header(path)
        network, (metric, rule) = header["network"], header["rule"].split(": ", 1)
        arch = " ".join(dict.fromkeys(v for v in (network["arch"], network["backbone"]) if v))
        names = ", ".join(row["name"] for row in header["classes"])
        value = header["metrics"][metric]
        rows.append(
            f"| `{path.stem}` | {header['task']} | {arch} | {names} | {header['data']['name']} "
            f"| {metric} {value:.4f} ({rule}; validation split, best epoch by it) "
            f"| {path.stat().st_size / 2**20:.1f} MB | `{sha256(path)}` |"
        )
    return "\n".join(rows)


FILES = {
    README: {"tasks": tasks, "exit codes": exit_codes, "reference": reference},
    WEIGHTS: {"models": models},
}


def updated(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return a README with its generated parts made anew."""
    for name, make in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        content = make()
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"a README has {count} parts named {name}")
    return text


if __name__ == "__main__":
    for path, parts in FILES.items():
        path.write_text(updated(path.read_text(), parts))
