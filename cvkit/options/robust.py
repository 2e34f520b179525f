"""Flags of eval about attacked and corrupted images."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.options.panels import DATA, MODEL, flag

ATTACKS = ("fgsm", "pgd", "least-likely")
"""The attacks of `--attack`."""
ONE_STEP = "fgsm"
"""The attack of one step, whose length is the limit."""
EPS, STEPS = 2.0, 10
CORRUPTIONS = ("brightness", "contrast", "blur", "noise", "jpeg", "rotation")
"""The corruptions of `--corruptions`."""
SEVERITIES = (1, 2, 3, 4, 5)
MOVES_OBJECTS = ("rotation",)
"""Corruptions that the truth must follow, which boxes cannot do exactly."""
ATTACK_HELP = (
    "fgsm, pgd or least-likely, as NAME[:eps=2,steps=10,step=0.5]: eps is the largest change of a "
    "pixel value from 0 to 255, before the normalisation; pgd starts at random, with --seed; may "
    "be repeated"
)


@dataclass(frozen=True)
class Attack:
    """An attack: who moves the pixels, how far and how often.

    Attributes:
        name: one of `ATTACKS`.
        eps: largest change of a pixel value, of 0 to 255.
        steps: number of gradients.
        step: length of a step, in pixel values.
    """

    name: str
    eps: float
    steps: int
    step: float

    @property
    def title(self) -> str:
        """Name and numbers, as `--attack` takes them."""
        rest = "" if self.name == ONE_STEP else f",steps={self.steps},step={self.step:g}"
        return f"{self.name}:eps={self.eps:g}{rest}"


def parse_attack(text: str) -> Attack:
    """Return what `--attack` means, such as `pgd:eps=2,steps=10`.

    A step is 2.5 eps / steps long if nothing is said, so that all of the ball can be reached
    (Towards Deep Learning Models Resistant to Adversarial Attacks, 2017, arXiv:1706.06083).

    Raises:
        UsageError: unknown, malformed or out of range.
    """
    name, _, rest = text.partition(":")
    if name not in ATTACKS:
        raise UsageError(
            f"--attack {text!r}: there is no attack {name!r}",
            code="attack.unknown",
            hint=nearest(name, ATTACKS, ", ".join(ATTACKS)),
        )
    values = {"eps": EPS} if name == ONE_STEP else {"eps": EPS, "steps": STEPS, "step": 0.0}
    for part in filter(None, rest.split(",")):
        key, _, number = part.partition("=")
        if key not in values:
            raise _malformed(text, f"{name} has no {key!r}", nearest(key, values, _usual(name)))
        values[key] = _number(text, key, number)
    eps, steps = values["eps"], int(values.get("steps", 1))
    step = eps if name == ONE_STEP else values["step"] or 2.5 * eps / steps
    return Attack(name, eps, steps, step)


def _number(text: str, key: str, word: str) -> float:
    low, high = {"eps": (0.0, 255.0), "step": (0.0, 255.0), "steps": (0, 10_000)}[key]
    try:
        value = int(word) if key == "steps" else float(word)
    except ValueError:
        kind = "a whole number" if key == "steps" else "a number"
        raise _malformed(text, f"{key} is {word!r}, not {kind}", f"such as {key}=2") from None
    if not low < value <= high:
        raise _malformed(text, f"{key} is {word}", f"above {low:g} and up to {high:g}")
    return value


def _usual(name: str) -> str:
    return "eps" if name == ONE_STEP else "eps, steps, step"


def _malformed(text: str, what: str, hint: str) -> UsageError:
    return UsageError(f"--attack {text!r}: {what}", code="attack.syntax", hint=hint)


def parse_corruptions(text: str, *, boxes: bool) -> dict[str, tuple[int, ...]]:
    """Return the corruptions that `--corruptions` names, with their severities.

    Args:
        text: of the flag, such as `all` or `blur,noise:3`.
        boxes: the truth has boxes, which cannot follow a rotation: `all` leaves it out.

    Raises:
        UsageError: unknown, malformed, or not for boxes.
    """
    known = [name for name in CORRUPTIONS if not (boxes and name in MOVES_OBJECTS)]
    if text == "all":
        return dict.fromkeys(known, SEVERITIES)
    chosen: dict[str, tuple[int, ...]] = {}
    for part in filter(None, text.split(",")):
        name, colon, severity = part.partition(":")
        if name not in CORRUPTIONS:
            raise UsageError(
                f"--corruptions {text!r}: there is no corruption {name!r}",
                code="corruptions.unknown",
                hint=nearest(name, ("all", *CORRUPTIONS), ", ".join(("all", *CORRUPTIONS))),
            )
        if name not in known:
            raise UsageError(
                f"--corruptions {name}: a box around a turned object is not the turned box",
                code="corruptions.boxes",
                hint=f"use {', '.join(known)}",
            )
        if colon and severity not in map(str, SEVERITIES):
            raise UsageError(
                f"--corruptions {part!r}: {severity!r} is no severity",
                code="corruptions.severity",
                hint=f"from {SEVERITIES[0]} to {SEVERITIES[-1]}; without it, all of them",
            )
        more = (int(severity),) if colon else SEVERITIES
        chosen[name] = tuple(sorted({*chosen.get(name, ()), *more}))
    return chosen


@dataclass(frozen=True, kw_only=True)
class Corruptible:
    """Flags of natural corruptions."""

    corruptions: Annotated[
        str,
        flag(
            DATA,
            f"Also evaluate on corrupted inputs: all, or some of {', '.join(CORRUPTIONS)}, "
            "separated by commas, each at severities 1 to 5 or, as in blur:3, at one",
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class Attackable:
    """Flags of attacks."""

    attack: Annotated[list[str], flag(MODEL, f"Also evaluate under an attack: {ATTACK_HELP}")] = (
        dataclasses.field(default_factory=list)
    )
