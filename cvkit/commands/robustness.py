"""Metrics under attacks and on corrupted inputs, beside those of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cvkit.commands.printing import nested
from cvkit.console import number, print_line, print_table
from cvkit.errors import UsageError
from cvkit.options.base import Eval
from cvkit.options.detect import DetectingEval
from cvkit.options.robust import (
    CORRUPTIONS,
    ONE_STEP,
    SEVERITIES,
    Attack,
    parse_attack,
    parse_corruptions,
)

if TYPE_CHECKING:
    from cvkit.tasks.attackable import Scores
    from cvkit.tasks.contract import Dataset, Task
    from cvkit.tasks.trained import Trained

Run = Callable[["Task", "Dataset", str], dict[str, "float | None"]]
"""Evaluates a task on a dataset under a title of the progress, and returns the metrics."""
PICTURE = "robustness.png"
PLAIN = ("tta", "sliding_window", "tiles")
"""Flags with which the network sees more than the input that is attacked."""
LEFT_OUT = {"attack": PLAIN, "corruptions": ("tiles",)}
RULES = {
    "fgsm": "one step of eps along the sign of the gradient of the loss",
    "pgd": "steps along that sign from a random start, each followed by the projection",
    "least-likely": "steps towards the class that the model finds least likely",
}
RULE = (
    "metrics of inputs whose pixel values, from 0 to 255 before the normalisation, are changed by "
    "at most eps; the attack knows the network"
)
CORRUPTED_RULE = "metrics of inputs that are corrupted as the network gets them, after resizing"


@dataclass(frozen=True)
class Plan:
    """What is measured besides the evaluation.

    Attributes:
        attacks: in order.
        corruptions: their severities.
        seed: of all that is random.
    """

    attacks: tuple[Attack, ...]
    corruptions: dict[str, tuple[int, ...]]
    seed: int

    @property
    def engine(self) -> str | None:
        """The engine that has gradients, if one is needed."""
        return "eager" if self.attacks else None


def plan_of(options: Eval) -> Plan:
    """Return what an evaluation measures besides, from its flags.

    Raises:
        UsageError: malformed, or flags that cannot be combined.
    """
    attacks = tuple(parse_attack(text) for text in getattr(options, "attack", ()))
    boxes = isinstance(options, DetectingEval)
    corruptions = parse_corruptions(options.corruptions, boxes=boxes)
    for name, others in LEFT_OUT.items():
        for other in others if getattr(options, name, None) else ():
            if getattr(options, other, None):
                raise UsageError(
                    f"--{name} and --{other.replace('_', '-')} cannot be combined",
                    code=f"{name}.combined",
                    hint=f"omit --{other.replace('_', '-')}",
                )
    if attacks and options.engine not in ("auto", "eager"):
        raise UsageError(
            f"--attack needs gradients, which --engine {options.engine} does not have",
            code="attack.engine",
            hint="--engine eager",
        )
    return Plan(attacks, corruptions, options.seed or 0)


def attackable(plan: Plan, trained: Trained) -> Scores | None:
    """Return the model as attacks see it, if there are attacks.

    Raises:
        UsageError: it has no gradient.
    """
    if not plan.attacks:
        return None
    if trained.runtime:
        raise UsageError(
            f"--weights {trained.path}: an exported file has no gradients for --attack",
            code="attack.exported",
            hint="give the model that it was made from",
        )
    from cvkit.tasks.attackable import scores_of

    return scores_of(trained.task, trained.model)


def measure(
    plan: Plan, scores: Scores | None, task: Task, data: Dataset, run: Run
) -> dict[str, Any]:
    """Return the metrics under attacks and on corrupted inputs; nothing if none is asked for.

    Args:
        plan: what is measured.
        scores: of `attackable`.
        task: with the data.
        data: of the evaluation.
        run: evaluates.
    """
    content: dict[str, Any] = {"seed": plan.seed, "best": task.best}
    if plan.attacks:
        assert scores is not None, "there are attacks"
        content["attack_rule"] = RULE
        content["attacks"] = list(_attacked(plan, scores, task, data, run))
    if plan.corruptions:
        content["corruption_rule"] = CORRUPTED_RULE
        content["corruptions"] = dict(_corrupted(plan, task, data, run))
    return {"robustness": content} if plan.attacks or plan.corruptions else {}


def _attacked(
    plan: Plan, scores: Scores, task: Task, data: Dataset, run: Run
) -> Iterator[dict[str, Any]]:
    from cvkit.tasks.attackable import AttackedTask

    for attack in plan.attacks:
        moved = cast("Task", AttackedTask(task, scores, attack, plan.seed))  # the loop predicts
        found = run(moved, data, attack.title)
        about = asdict(attack) if attack.name != ONE_STEP else {"name": ONE_STEP, "eps": attack.eps}
        yield {
            "attack": attack.title,
            **about,
            "rule": RULES[attack.name],
            "value": found[task.best],
            "metrics": nested(found),
        }


def _corrupted(
    plan: Plan, task: Task, data: Dataset, run: Run
) -> Iterator[tuple[str, dict[str, Any]]]:
    from cvkit.data.corruptions import TABLE, corrupted

    for name, severities in plan.corruptions.items():
        rows = []
        for severity in severities:
            made = corrupted(data, name, severity, plan.seed)
            found = run(task, made, f"{name} {severity}")
            about: dict[str, Any] = {
                "severity": severity,
                "number": TABLE[name].numbers[severity - 1],
            }
            rows.append(about | {"value": found[task.best], "metrics": nested(found)})
        yield name, {"rule": TABLE[name].rule, "mean": mean(rows), "severities": rows}


def write_picture(content: dict[str, Any], folder: Path) -> dict[str, str]:
    """Plot the deciding metric over the severities of corruptions, if there are any.

    Args:
        content: of `eval --json`, with flat names of metrics.
        folder: of the report.

    Returns:
        The path by the name of the file in the content.
    """
    made = content.get("robustness", {})
    if "corruptions" not in made:
        return {}
    from cvkit.output.curves import write_severities

    curves = {
        name: [(row["severity"], row["value"]) for row in kind["severities"]]
        for name, kind in made["corruptions"].items()
    }
    write_severities(folder / PICTURE, curves, made["best"], content["metrics"][made["best"]])
    return {"robustness": str(folder / PICTURE)}


def mean(rows: list[dict[str, Any]]) -> float | None:
    """Return the mean of the deciding metric; None if it is undefined somewhere."""
    values = [row["value"] for row in rows]
    return None if None in values else sum(values) / len(values)


def print_robustness(content: dict[str, Any]) -> None:
    """Print the tables of the content of `eval --json`, which has flat names of metrics."""
    made = content.get("robustness")
    if not made:
        return
    best = made["best"]
    clean = content["metrics"][best]
    if rows := made.get("attacks"):
        print_table(
            f"under attack, seed {made['seed']}",
            ["attack", f"{best} clean", "attacked", "rule"],
            [[row["attack"], number(clean), number(row["value"]), row["rule"]] for row in rows],
        )
        print_line(f"attacks          {made['attack_rule']}")
    if kinds := made.get("corruptions"):
        print_table(
            f"{best} of corrupted inputs, seed {made['seed']}",
            ["corruption", "clean", *map(str, SEVERITIES), "mean", "severities"],
            [_corruption_row(name, kinds[name], clean) for name in CORRUPTIONS if name in kinds],
        )
        print_line(f"corruptions      {made['corruption_rule']}")


def _corruption_row(name: str, kind: dict[str, Any], clean: float | None) -> list[str]:
    found = {row["severity"]: row for row in kind["severities"]}
    cells = [number(found[each]["value"]) if each in found else "-" for each in SEVERITIES]
    numbers = ", ".join(f"{row['number']:g}" for row in kind["severities"])
    return [name, number(clean), *cells, number(kind["mean"]), f"{numbers}: {kind['rule']}"]
