"""Reports of an evaluation for CI systems: JUnit XML, and Markdown for pull requests."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from cvkit.console import number
from cvkit.printable import printable

_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids."""
FAILURES = 20
"""Maximum number of failed inputs that a report lists."""


def junit(content: Mapping[str, Any]) -> str:
    """Return a JUnit XML report: a test for each gate, and one for the inputs.

    Args:
        content: of `eval --json`.
    """
    name = f"cvkit {content['task']} eval"
    checked = content["gates"]["checked"]
    failed = sum(not gate["passed"] for gate in checked)
    lost = content["failures"]
    counts = {"tests": len(checked) + 1, "failures": failed, "errors": int(bool(lost))}
    root = ElementTree.Element("testsuites", _text(counts))
    suite = ElementTree.SubElement(root, "testsuite", _text({"name": name, **counts}))
    for gate in checked:
        case = _case(suite, content["task"], _condition(gate))
        if not gate["passed"]:
            failure = {"message": gate["text"], "type": "gate.failed"}
            ElementTree.SubElement(case, "failure", _text(failure))
        ElementTree.SubElement(case, "system-out").text = _clean(gate["text"])
    case = _case(suite, content["task"], "every input is evaluated")
    if lost:
        error = {"message": content["evaluated"], "type": str(lost[0].get("code"))}
        shown = "\n".join(str(each["reason"]) for each in lost[:FAILURES])
        ElementTree.SubElement(case, "error", _text(error)).text = _clean(shown)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _case(suite: ElementTree.Element, task: str, name: str) -> ElementTree.Element:
    fields = {"classname": f"cvkit.{task}.eval", "name": name}
    return ElementTree.SubElement(suite, "testcase", _text(fields))


def _text(fields: Mapping[str, object]) -> dict[str, str]:
    return {name: _clean(str(value)) for name, value in fields.items()}


def _clean(text: str) -> str:
    return _NOT_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _condition(gate: Mapping[str, Any]) -> str:
    """Return what a gate requires, as text."""
    if gate["baseline"] is None:
        return f"{gate['name']} >= {gate['limit']:g}"
    return f"{gate['name']} within {gate['limit']:g} of {number(gate['baseline'])}"


def markdown(content: Mapping[str, Any]) -> str:
    """Return a report in GitHub's Markdown: gates, metrics with their rules, and the classes.

    Args:
        content: of `eval --json`, with flat names of metrics.
    """
    gates, lost = content["gates"], content["failures"]
    mark = "passed" if gates["passed"] else "**failed**"
    head = f"### cvkit {content['task']} eval" + (f": {mark}" if gates["checked"] else "")
    parts = [head, f"{_plain(content['evaluated'])}."]
    if gates["checked"]:
        rows = [
            ["passed" if gate["passed"] else "**failed**", _code(_condition(gate))]
            + [number(gate["value"])]
            for gate in gates["checked"]
        ]
        parts.append(_table(["gate", "limit", "value"], rows))
    numbers = content["numbers"].items()
    rows = [
        [_code(name), number(each["value"]), _plain(each["rule"] or "")] for name, each in numbers
    ]
    parts.append(_table(["metric", "value", "rule"], rows))
    if content["per_class"]:
        parts.append(_folded("Classes", _classes(content["per_class"])))
    if lost:
        more = f"\n- and {len(lost) - FAILURES} more" if len(lost) > FAILURES else ""
        listed = "\n".join(f"- {_code(str(each['reason']))}" for each in lost[:FAILURES])
        parts.append(_folded("Inputs that were not evaluated", listed + more))
    made = content.get("made_by") or content
    parts.append(f"Precision: {made.get('precision')}. Engine: {made.get('engine')}.")
    return "\n\n".join(parts) + "\n"


def _classes(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    *columns, count = next(iter(per_class.values()))
    rows = [
        [_code(name), *(number(row[column]) for column in columns), str(row[count])]
        for name, row in per_class.items()
    ]
    return _table(["class", *columns, count], rows)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(columns), ["---"] * len(columns), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    """Return text as code, in which Markdown has no meaning and `@name` notifies nobody."""
    text = printable(text).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = f" {text} " if text[:1] == "`" or text[-1:] == "`" else text
    return f"{fence}{inner}{fence}"


def _plain(text: str) -> str:
    """Return text in which no character has a meaning in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~@])", r"\\\1", printable(text))
