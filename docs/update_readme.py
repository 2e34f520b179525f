"""Write the parts of README.md, the pages and weights/README.md that are made from the code.

    python docs/update_readme.py

Each part is between `<!-- NAME -->` and `<!-- /NAME -->`; a test compares them with the code.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cvkit.catalog import ARCHS, BACKBONES, TASKS, backbones_of
from cvkit.data.rules import ERRORS, WARNINGS, aliases_of
from cvkit.errors import EXIT_CODES
from cvkit.helptext import short_help
from cvkit.published import published_text
from cvkit.storage import sha256

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README, WEIGHTS = ROOT / "README.md", ROOT / "weights" / "README.md"
sys.path.insert(0, str(DOCS))

from reference import reference, variables  # noqa: E402, it lies beside this file


def listed(names: list[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


def tasks() -> str:
    """Return the table of tasks and architectures."""
    rows = ["| task | result | architectures (`--arch`) |", "|---|---|---|"]
    for task in TASKS:
        result = short_help((task,)).rstrip(".").rpartition(": ")[2]
        rows.append(f"| [`{task}`](docs/{task}.md) | {result} | {listed(list(ARCHS[task]))} |")
    return "\n".join(rows)


def architectures(task: str) -> str:
    """Return the table of the architectures of a task; torchvision's classifiers are one row."""
    rows = ["| `--arch` | what it is |", "|---|---|"]
    named = {name: arch for name, arch in ARCHS[task].items() if name not in BACKBONES}
    if taken := [name for name in ARCHS[task] if name in BACKBONES]:
        rows.append(f"| {listed(taken)} | torchvision's networks of these names |")
    rows += [f"| `{name}` | {arch.about} |" for name, arch in named.items()]
    return "\n".join(rows)


def backbones(task: str) -> str:
    """Return the list of the backbones of a task."""
    names = backbones_of(task)
    text = listed([name for name in names if not BACKBONES[name].whole]) + "."
    for name in names:
        if archs := BACKBONES[name].whole:
            text += f" `{name}` is a whole network, for {listed(list(archs))}."
    return text


def exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| {code} | {text} |" for code, text in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def exit_line() -> str:
    """Return the exit codes in a line."""
    return "Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + "."


def published() -> str:
    """Return the table of the published models that `--weights` takes by name."""
    rows = ["| task | `--weights` |", "|---|---|"]
    rows += [f"| `{task}` | {published_text(task)} |" for task in TASKS if published_text(task)]
    return "\n".join(rows)


def aliases(rule: str) -> str:
    """Return the further names of a rule."""
    return ", ".join(f"`{alias}`" for alias in aliases_of(rule))


def rules() -> str:
    """Return the tables of the rules of the data check."""
    parts = []
    for title, rows in (("Errors", ERRORS), ("Warnings", WARNINGS)):
        lines = [f"### {title}", "", "| rule | what is wrong | what to do | also known as |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| `{name}` | {rule.about} | {rule.remedy} | {aliases(name)} |".replace("<", "&lt;")
            for name, rule in sorted(rows.items())
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def contents(path: Path) -> str:
    """Return the headings of the second level of a page as links."""
    titles = re.findall(r"^## (.+)$", path.read_text(), flags=re.MULTILINE)
    return "\n".join(f"- [{title}](#{slug(title)})" for title in titles if title != "Contents")


def slug(title: str) -> str:
    """Return the name of a heading in links."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


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


FILES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"tasks": tasks, "exit codes": exit_line},
    WEIGHTS: {"models": models},
    DOCS / "reference.md": {"variables": variables, "reference": reference},
    DOCS / "troubleshooting.md": {"exit codes": exit_codes},
    DOCS / "data_check.md": {"rules": rules},
    DOCS / "weights.md": {"published": published},
    DOCS / "design.md": {"contents": partial(contents, DOCS / "design.md")},
    **{
        DOCS / f"{task}.md": {
            "architectures": partial(architectures, task),
            "backbones": partial(backbones, task),
        }
        for task in TASKS
    },
}


def updated(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return a page with its generated parts made anew."""
    for name, make in parts.items():
        pattern = rf"(<!-- {name} -->\n)(?:.*?\n)?(<!-- /{name} -->)"
        content = f"\n{make()}\n\n"
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"a page has {count} parts named {name}")
    return text


if __name__ == "__main__":
    for path, parts in FILES.items():
        path.write_text(updated(path.read_text(), parts))
