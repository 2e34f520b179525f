"""Write the parts of README.md that are made from the code.

    python docs/update_readme.py

Each part stands between `<!-- NAME -->` and `<!-- /NAME -->`; a test compares them with the code.
"""

import re
from pathlib import Path

from cvkit.catalog import ARCHS, BACKBONES
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

README = Path(__file__).parents[1] / "README.md"


def tasks() -> str:
    """Return the table of tasks, architectures and backbones."""
    rows = ["| task | architectures (`--arch`) | backbones (`--backbone`) |", "|---|---|---|"]
    for task, archs in ARCHS.items():
        bodies = ", ".join(f"`{name}`" for name, entry in BACKBONES.items() if not entry.whole)
        whole = ", ".join(
            f"`{name}` ({', '.join(entry.whole)})"
            for name, entry in BACKBONES.items()
            if entry.whole
        )
        heads = ", ".join(f"`{name}`" for name in archs)
        rows.append(
            f"| `{task}`: {TASK_ABOUT[task]} | {heads} | {bodies}; whole networks: {whole} |"
        )
    return "\n".join(rows)


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


PARTS = {"tasks": tasks, "exit codes": exit_codes, "reference": reference}


def updated(text: str) -> str:
    """Return a README with its generated parts made anew."""
    for name, make in PARTS.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        content = make()
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md has {count} parts named {name}")
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
