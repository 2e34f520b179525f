"""Write the parts of README.md that are made from the code.

    python docs/update_readme.py

Each part stands between `<!-- NAME -->` and `<!-- /NAME -->`; a test compares them with the code.
"""

import dataclasses
import re
import typing
from pathlib import Path

import typer

from cvkit.catalog import ARCHS, BACKBONES
from cvkit.cli import TASK_ABOUT
from cvkit.errors import EXIT_CODES
from cvkit.options import OPTIONS, PANELS, hints

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


def _kind(annotation: object) -> str:
    kind = typing.get_args(annotation)[0]
    parts = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return " ".join(map(str, parts))
    inner = typing.get_args(parts[0])
    if inner and typing.get_origin(parts[0]) is typing.Literal:
        return " ".join(inner)
    return {"str": "text", "Path": "path", "int": "number", "float": "number", "bool": ""}.get(
        parts[0].__name__, parts[0].__name__
    )


def _default(field: dataclasses.Field) -> str:
    if field.default in (None, False, dataclasses.MISSING):
        return ""
    return f"`{str(field.default).lower() if field.default is True else field.default}`"


def command(path: str, options_class: type) -> str:
    """Return the flags of a command as a folded table."""
    types = hints(options_class)

    def place(field: dataclasses.Field) -> int:
        panel = getattr(types[field.name].__metadata__[0], "rich_help_panel", None)
        return PANELS.index(panel) if panel in PANELS else -1

    lines = [f"<details><summary><code>cvkit {path}</code></summary>", ""]
    lines += ["| flag | values | default | meaning |", "|---|---|---|---|"]
    for field in sorted(dataclasses.fields(options_class), key=place):
        option = types[field.name].__metadata__[0]
        argument = isinstance(option, typer.models.ArgumentInfo)
        name = field.name.upper() if argument else f"--{field.name.replace('_', '-')}"
        text = option.help.replace("|", "\\|")
        values = _kind(types[field.name])
        lines.append(f"| `{name}` | {values} | {_default(field)} | {text} |")
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
