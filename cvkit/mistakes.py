"""Messages and hints for command lines that Typer refuses. Imports nothing heavy."""

import difflib
import json
import os
from typing import TYPE_CHECKING

from cvkit.catalog import closest
from cvkit.errors import UsageError
from cvkit.options.described import choices_of, description, hints
from cvkit.options.tree import COMMANDS

if TYPE_CHECKING:
    from typer._click import ClickException, Context, Parameter

MEANT = {
    **dict.fromkeys(("batch", "batch_size_per_gpu", "bs"), ("batch_size",)),
    **dict.fromkeys(("conf", "conf_thres", "score_threshold"), ("threshold",)),
    **dict.fromkeys(("img", "imgsz", "img_size", "size"), ("image_size",)),
    **dict.fromkeys(("iou", "iou_thres", "nms_threshold"), ("nms",)),
    **dict.fromkeys(("lr0", "learning_rate"), ("lr",)),
    **dict.fromkeys(("model", "network"), ("arch", "weights")),
    **dict.fromkeys(("checkpoint", "ckpt"), ("weights",)),
    **dict.fromkeys(("dataset", "data_dir", "root"), ("data",)),
    **dict.fromkeys(("output", "output_dir", "project", "save_dir"), ("out",)),
    **dict.fromkeys(("gpu", "gpus"), ("device",)),
    **dict.fromkeys(("num_workers", "jobs"), ("workers",)),
    **dict.fromkeys(("source", "input"), ("inputs",)),
}
"""Flags of other programs and, in order of preference, cvkit's flags with the same meaning."""


def path_of(ctx: "Context") -> tuple[str, ...]:
    """Return the names that make up a command, without `cvkit`."""
    return tuple(ctx.command_path.split()[1:])


def explain(error: "ClickException", ctx: "Context", arguments: list[str]) -> UsageError:
    """Return Typer's refusal as a one-line error that names the refused value.

    Args:
        error: raised by Typer.
        ctx: of the command.
        arguments: after the names of the command.
    """
    message, hint = _explained(error, ctx, arguments)
    return UsageError(message, code="usage", hint=hint or f"{ctx.command_path} --help")


def _explained(error: "ClickException", ctx: "Context", arguments: list[str]) -> tuple[str, str]:
    kind, param = type(error).__name__, getattr(error, "param", None)
    flag = getattr(error, "option_name", "")
    if kind == "NoSuchOption":
        return f"there is no flag {flag}", _meant(flag, ctx)
    if kind == "BadOptionUsage":
        takes_none = "not take a value" in error.message
        return f"{flag} takes no value" if takes_none else f"{flag} needs a value", ""
    if kind == "MissingParameter" and param is not None:
        name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name
        return f"{name} is missing", ""
    if param is not None:
        return _refused_value(error, param, ctx, arguments)
    message = " ".join(error.format_message().split())
    if "unexpected extra argument" in message:
        extra = message.partition("(s) (")[2].removesuffix(")")
        return f"unexpected argument: {extra}", _place(ctx)
    return message, ""


def _meant(flag: str, ctx: "Context") -> str:
    """Return a hint with the likely flag; "" if none is near."""
    known = hints(COMMANDS[path_of(ctx)])
    name = flag.lstrip("-").replace("-", "_").lower()
    meant = next((each for each in MEANT.get(name, ()) if each in known), None)
    if meant == "inputs":
        return f"inputs are given without a flag: {ctx.command_path} PATH"
    typed = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts)]
    typed = [each for each in typed if each.startswith("-")]
    if meant:
        return f"did you mean --{meant.replace('_', '-')}?"
    near = difflib.get_close_matches(flag, typed, n=1)
    return f"did you mean {near[0]}?" if near else ""


def _place(ctx: "Context") -> str:
    """Return a hint for an unexpected argument; "" if there is none."""
    takes_data = "data" in hints(COMMANDS[path_of(ctx)])
    return f"a dataset is given with a flag: {ctx.command_path} --data DIR" if takes_data else ""


def _refused_value(
    error: "ClickException", param: "Parameter", ctx: "Context", arguments: list[str]
) -> tuple[str, str]:
    """Return the message and the hint for a refused value of a flag or an argument.

    The value is looked up as Typer does it: only the parser knows which arguments are flags, which
        flag takes the next one, and where an environment variable is used instead.
    """
    message = " ".join(error.format_message().split())
    given, *_ = ctx.command.make_parser(ctx).parse_args(list(arguments))
    value, source = param.consume_value(ctx, given)
    annotation = hints(COMMANDS[path_of(ctx)]).get(param.name or "")
    if not isinstance(value, str) or annotation is None:
        return message, ""
    is_option = param.param_type_name == "option"
    name, link = param.opts[0] if is_option else param.metavar or param.name or "", " "
    if source.name == "ENVIRONMENT":
        name, link = variable_of(param), "="
    elif is_option and any(
        value in (*other.opts, *other.secondary_opts) for other in ctx.command.params
    ):
        return f"'{name}' needs a value, but the flag '{value}' follows", ""
    near = closest(value, choices_of(annotation))
    reason = _reason(error, annotation)
    if repr(value) not in reason:
        name += link + (value if value.split() == [value] else json.dumps(value))
    return f"Invalid value for '{name}': {reason}", f"did you mean {near}?" if near else ""


def _reason(error: "ClickException", annotation: object) -> str:
    """Return why a value is refused."""
    option = description(annotation)
    text = " ".join(error.message.removeprefix("Value error, ").split())  # pydantic's prefix
    if "valid integer" in text:
        return "it is not a whole number"
    if "valid number" in text:
        return "it is not a number"
    if "valid boolean" in text:
        return "it is neither true nor false"
    low, high = option.min, option.max
    limits = {"greater than": f"at least {low:g}" if low is not None else ""}
    limits["less than"] = f"at most {high:.15g}" if high is not None else ""
    for start, limit in limits.items():
        if limit and f"should be {start}" in text:
            return f"it must be {limit}"
    return text


def variable_of(param: "Parameter") -> str:
    """Return the environment variable that gives a flag its value."""
    return next(name for name in param.envvar or () if os.environ.get(name))
